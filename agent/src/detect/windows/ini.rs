//! Ini files. Invariant: pure; a line that is neither a section nor a value is skipped, and of two values of one name the
//! first counts, as Windows reads them.

use seatbeat_proto::catalogue::glob;

/// The first value of this key in a section that fits (`*`: any), with the section's own name.
pub fn value<'a>(text: &'a str, section: &str, key: &str) -> Option<(&'a str, &'a str)> {
    let mut within = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) =
            line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name.trim())
        {
            within = glob(section, name).then_some(name);
        } else if let Some(name) = within
            && let Some((known, value)) = line.split_once('=')
            && known.trim().eq_ignore_ascii_case(key)
        {
            return Some((name, unquoted(value.trim())));
        }
    }
    None
}

fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "x=0\r\n; P.4=9\r\n[Odd\r\n[ A ]\r\nother\r\nP.4 = \"1893500\"\r\nP.4=2\r\n[B]\r\np.4=3\r\n";

    #[test]
    fn a_value_is_found_in_its_section_or_in_the_first_that_has_it() {
        for (section, key, expected) in [
            ("A", "P.4", Some(("A", "1893500"))),
            ("b", "P.4", Some(("B", "3"))),
            ("*", "p.4", Some(("A", "1893500"))),
            ("*", "x", None),
            ("C", "P.4", None),
            ("*", "; P.4", None),
        ] {
            assert_eq!(value(FILE, section, key), expected, "{section} {key}");
        }
    }
}
