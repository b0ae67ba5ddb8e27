//! How names, versions, addresses and a vendor's answers are read. Invariant: no input makes any of it panic,
//! and work is linear in the input, but for `glob` (stars times length of a name).

use std::cmp::Ordering;

/// Bytes of a vendor program's answer that are looked at: fifty times the longest one known.
pub const OUTPUT_LENGTH_MAX: usize = 64 * 1024;

/// Whether `name` is `pattern`, letter case aside, `*` standing for any text.
pub fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, of));
                at += 1;
            }
            Some(byte) if byte.eq_ignore_ascii_case(&name[of]) => {
                at += 1;
                of += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (at, of) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Whether `text` has `part` in it, letter case aside.
pub fn contains(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

/// Whether a process's program is the one wanted: the whole path, or its last part when `wanted` is a bare name and
/// the program is not one in a person's own folder.
pub fn is_program(wanted: &str, exe: &str) -> bool {
    // A program that was replaced while it runs.
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
    match wanted.contains(['/', '\\']) {
        true => glob(wanted, exe),
        false => {
            glob(wanted, exe.rsplit(['/', '\\']).next().unwrap_or(exe)) && !super::names::is_in_home(exe)
        }
    }
}

/// The value of the line `key: value`. An index line (`AgentStatus.5: dsmUrl`) names a key and is no value of it.
pub fn output_value<'a>(output: &'a str, key: &str) -> Option<&'a str> {
    keyed_lines(output).find(|(name, value)| *name == key && !value.is_empty()).map(|(_, value)| value)
}

/// Whether any line is about what the key is about: of `AgentStatus.dsmUrl`, `AgentStatus`.
pub fn output_has_topic(output: &str, key: &str) -> bool {
    let topic = |key: &str| key.split('.').next().unwrap_or(key).to_owned();
    let wanted = topic(key);
    keyed_lines(output).any(|(name, _)| topic(name) == wanted)
}

fn keyed_lines(output: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut end = output.len().min(OUTPUT_LENGTH_MAX);
    while !output.is_char_boundary(end) {
        end -= 1;
    }
    output[..end]
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
}

/// The first thing in `text` that looks like a version: digits, a dot, digits.
pub fn version_in(text: &str) -> Option<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '~')))
        .map(|word| word.trim_start_matches(['v', 'V']).trim_end_matches(['.', '-']))
        .find(|word| {
            word.split_once('.').is_some_and(|(major, rest)| {
                !major.is_empty()
                    && major.bytes().all(|b| b.is_ascii_digit())
                    && rest.as_bytes().first().is_some_and(u8::is_ascii_digit)
            })
        })
}

/// A whole number in decimal, or `0x…`.
pub fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A pattern's number as people know it (`19.123.05`): decoded from the registry's whole number, or from what stands
/// after the comma in `P.4=pattern/…,1912305`; one that has dots already stays as it is.
pub fn pattern_number(text: &str) -> Option<String> {
    let text = text.rsplit(',').map(str::trim).find(|part| !part.is_empty())?;
    if text.contains('.') {
        return text.bytes().all(|b| b.is_ascii_digit() || b == b'.').then(|| text.to_owned());
    }
    let number = number(text).filter(|number| (1..=i64::from(u32::MAX)).contains(number))?;
    Some(format!("{}.{:03}.{:02}", number / 100_000, number % 100_000 / 100, number % 100))
}

/// Compares dotted versions number by number; what is missing is 0, and what follows the numbers is ignored.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| {
        let mut numbers: Vec<u64> = text
            .split(['.', '-'])
            .map_while(|part| {
                let digits: String = part.chars().take_while(char::is_ascii_digit).take(18).collect();
                digits.parse().ok()
            })
            .collect();
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        numbers
    };
    numbers(a).cmp(&numbers(b))
}

/// The host of `https://host:port/…`, in lower case; of an IPv6 address the part between the brackets.
pub fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim().split_once("://")?;
    if !scheme.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    (!host.is_empty() && plain).then(|| host.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_takes_the_whole_name() {
        for (pattern, name, expected) in [
            ("ds_agent", "ds_agent", true),
            ("ds_agent", "DS_Agent", true),
            ("ds_agent", "ds_agent2", false),
            (
                "*.workload.*.cloudone.trendmicro.com",
                "agents-004.workload.us-1.cloudone.trendmicro.com",
                true,
            ),
            ("*.manage.trendmicro.com", "x.manage.trendmicro.com.example.org", false),
            ("a*b*c", "a1b2b3c", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_index_line_is_no_value() {
        let output = "AgentStatus.5: dsmUrl\nAgentStatus.dsmUrl:\r\nAgentStatus.agentState: green\r\n";
        assert_eq!(output_value(output, "AgentStatus.dsmUrl"), None);
        assert_eq!(output_value(output, "AgentStatus.agentState"), Some("green"));
        let url = "AgentStatus.dsmUrl: https://dsm.corp.example.com:4119/";
        assert_eq!(output_value(url, "AgentStatus.dsmUrl"), Some("https://dsm.corp.example.com:4119/"));
    }

    #[test]
    fn hosts_are_read_from_addresses_and_from_nothing_else() {
        for (url, host) in [
            ("https://dsm.corp.example.com:4119/", Some("dsm.corp.example.com")),
            ("https://AGENTS.deepsecurity.trendmicro.com:443/", Some("agents.deepsecurity.trendmicro.com")),
            ("https://[2001:db8::1]:4120/", Some("2001:db8::1")),
            ("https://agents.deepsecurity.trendmicro.com@evil.example/", Some("evil.example")),
            ("dsmUrl", None),
            ("https://", None),
            ("https:///path", None),
            ("https://a b/", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
        }
    }

    #[test]
    fn a_pattern_number_is_decoded_from_each_of_its_forms() {
        for (text, number) in [
            ("1912305", Some("19.123.05")),
            ("0x1d2ded", Some("19.123.01")),
            ("17.555.00", Some("17.555.00")),
            ("pattern/vsapi.zip, 598700", Some("5.987.00")),
            ("99", Some("0.000.99")),
            ("0", None),
            ("-1", None),
            ("", None),
            (",,", None),
            ("99999999999999999999", None),
            ("1.2.x", None),
        ] {
            assert_eq!(pattern_number(text).as_deref(), number, "{text}");
        }
    }

    #[test]
    fn versions_are_numbers_not_text() {
        assert_eq!(compare_versions("13.95", "14"), Ordering::Less);
        assert_eq!(compare_versions("14.0.9", "14.0.10"), Ordering::Less);
        assert_eq!(compare_versions("14", "14.0.0"), Ordering::Equal);
        assert_eq!(compare_versions("20.0.0.7303", "20.0.2-1390.ol7"), Ordering::Less);
        assert_eq!(version_in("tmxbc version: v1.2.0.3456 (build 7)"), Some("1.2.0.3456"));
        assert_eq!(version_in("no version"), None);
    }
}
