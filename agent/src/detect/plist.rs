//! Property lists (Info.plist, receipts, settings), in their XML and their binary form. Invariant: pure and bounded:
//! depth, values and texts have limits, and a list that is damaged tells nothing instead of half of it.
//!
//! Forms: Apple's PropertyList-1.0.dtd and CFBinaryPList.c. Read by hand, since what is asked for is a text under a
//! path of keys: a tree of a hundred thousand nested arrays is never built, so it need not be taken apart either.

use std::collections::BTreeMap;

/// Longest list in bytes: ten times the longest Info.plist of an application.
pub const LENGTH_MAX: usize = 1024 * 1024;

/// Deepest value: Info.plist has six levels.
const DEPTH_MAX: usize = 24;

/// Most values, containers included.
const VALUES_MAX: usize = 20_000;

/// Longest text in bytes that is kept, and longest path of keys.
const TEXT_LENGTH_MAX: usize = 1024;

/// Texts, numbers, instants and booleans by their `key:key`; an array's places are numbers from 0.
pub type Values = BTreeMap<String, String>;

/// A list that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlistError {
    /// It is longer than one can be.
    #[error("it is longer than {LENGTH_MAX} bytes")]
    TooLong,
    /// It has more values, or is deeper, than one can have.
    #[error("it has more than {VALUES_MAX} values or {DEPTH_MAX} levels")]
    TooMuch,
    /// It is cut, or no property list.
    #[error("it is no whole property list")]
    Damaged,
}

/// Reads a list of either form.
///
/// # Errors
/// When it is too long, too deep, or damaged.
pub fn read(bytes: &[u8]) -> Result<Values, PlistError> {
    if bytes.len() > LENGTH_MAX {
        return Err(PlistError::TooLong);
    }
    if bytes.starts_with(b"bplist0") { binary(bytes) } else { xml(&super::vendor::text(bytes)) }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    values: Values,
    count: usize,
}

impl Found {
    fn count_one(&mut self) -> Result<(), PlistError> {
        self.count += 1;
        if self.count > VALUES_MAX { Err(PlistError::TooMuch) } else { Ok(()) }
    }

    fn put(&mut self, path: &str, text: &str) {
        if path.len() <= TEXT_LENGTH_MAX && text.len() <= TEXT_LENGTH_MAX {
            self.values.insert(path.to_owned(), text.to_owned());
        }
    }
}

fn below(path: &str, key: &str) -> String {
    // A path that is too long already is not kept: it need not grow.
    if path.is_empty() || path.len() > TEXT_LENGTH_MAX { key.to_owned() } else { format!("{path}:{key}") }
}

/// A container that is open in XML: its path, and the key or the place of what comes next.
enum Open {
    Dictionary(String, Option<String>),
    Array(String, usize),
}

fn xml(text: &str) -> Result<Values, PlistError> {
    let body = text.find("<plist").and_then(|at| text[at..].find('>').map(|end| at + end + 1));
    let mut rest = &text[body.ok_or(PlistError::Damaged)?..];
    let (mut found, mut open) = (Found::default(), Vec::new());
    loop {
        let (tag, after) = next_tag(rest)?;
        rest = after;
        match tag {
            "/plist" if open.is_empty() => return Ok(found.values),
            "/dict" | "/array" => {
                open.pop().ok_or(PlistError::Damaged)?;
                continue;
            }
            "key" => {
                let (key, after) = content(rest, "key")?;
                rest = after;
                match open.last_mut() {
                    Some(Open::Dictionary(_, next)) => *next = Some(key),
                    _ => return Err(PlistError::Damaged),
                }
                continue;
            }
            _ => {}
        }
        found.count_one()?;
        let path = path_of_next(&mut open)?;
        match tag {
            "dict" => open.push(Open::Dictionary(path, None)),
            "array" => open.push(Open::Array(path, 0)),
            "dict/" | "array/" | "data/" => {}
            "string/" => found.put(&path, ""),
            "true/" | "false/" => found.put(&path, tag.trim_end_matches('/')),
            "string" | "integer" | "real" | "date" => {
                let (value, after) = content(rest, tag)?;
                rest = after;
                found.put(&path, if tag == "string" { &value } else { value.trim() });
            }
            "data" => rest = content(rest, tag)?.1,
            _ => return Err(PlistError::Damaged),
        }
        if open.len() > DEPTH_MAX {
            return Err(PlistError::TooMuch);
        }
    }
}

/// The next tag's words between its brackets, spaces and attributes dropped, and what follows it.
fn next_tag(mut text: &str) -> Result<(&str, &str), PlistError> {
    loop {
        let begin = text.find('<').ok_or(PlistError::Damaged)?;
        text = &text[begin + 1..];
        if let Some(comment) = text.strip_prefix("!--") {
            text = comment.split_once("-->").ok_or(PlistError::Damaged)?.1;
            continue;
        }
        let (tag, after) = text.split_once('>').ok_or(PlistError::Damaged)?;
        if tag.starts_with(['?', '!']) {
            text = after;
            continue;
        }
        let name = tag.split_whitespace().next().ok_or(PlistError::Damaged)?;
        let is_empty = tag.trim_end().ends_with('/') && !name.ends_with('/');
        let name = match (is_empty, name) {
            (true, "string") => "string/",
            (true, "true") => "true/",
            (true, "false") => "false/",
            (true, "dict") => "dict/",
            (true, "array") => "array/",
            (true, _) => return Err(PlistError::Damaged),
            (false, name) => name,
        };
        return Ok((name, after));
    }
}

/// The text up to the end of an element, its entities undone, and what follows it.
fn content<'a>(text: &'a str, element: &str) -> Result<(String, &'a str), PlistError> {
    let end = text.find("</").ok_or(PlistError::Damaged)?;
    let after = text[end + 2..].strip_prefix(element).and_then(|after| after.trim_start().strip_prefix('>'));
    Ok((plain(&text[..end])?, after.ok_or(PlistError::Damaged)?))
}

fn plain(text: &str) -> Result<String, PlistError> {
    if let Some(literal) = text.trim().strip_prefix("<![CDATA[").and_then(|text| text.strip_suffix("]]>")) {
        return Ok(literal.to_owned());
    }
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        plain.push_str(before);
        let (name, after) = entity.split_once(';').ok_or(PlistError::Damaged)?;
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let letter = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => match name.strip_prefix('#') {
                Some(digits) if digits.starts_with(['x', 'X']) => number(&digits[1..], 16),
                Some(digits) => number(digits, 10),
                None => None,
            },
        };
        plain.push(letter.ok_or(PlistError::Damaged)?);
        rest = after;
    }
    if rest.contains('<') {
        return Err(PlistError::Damaged);
    }
    Ok(plain + rest)
}

fn path_of_next(open: &mut [Open]) -> Result<String, PlistError> {
    match open.last_mut() {
        None => Ok(String::new()),
        Some(Open::Dictionary(path, next)) => {
            next.take().map(|key| below(path, &key)).ok_or(PlistError::Damaged)
        }
        Some(Open::Array(path, place)) => {
            *place += 1;
            Ok(below(path, &(*place - 1).to_string()))
        }
    }
}

/// A binary list: numbers of its objects lead to where they begin.
struct Binary<'a> {
    bytes: &'a [u8],
    begins: Vec<usize>,
    reference_length: usize,
}

fn binary(bytes: &[u8]) -> Result<Values, PlistError> {
    let trailer = bytes.len().checked_sub(32).filter(|at| *at >= 8).ok_or(PlistError::Damaged)?;
    let (offset_length, reference_length) = (bytes[trailer + 6].into(), bytes[trailer + 7].into());
    let word = |at: usize| number(bytes, trailer + at, 8);
    let (count, top, table) = (word(8)?, word(16)?, word(24)?);
    if count > VALUES_MAX {
        return Err(PlistError::TooMuch);
    }
    let begin = |index: usize| {
        let at = index.checked_mul(offset_length).and_then(|at| at.checked_add(table));
        number(bytes, at.ok_or(PlistError::Damaged)?, offset_length)
    };
    let begins = (0..count).map(begin).collect::<Result<_, _>>()?;
    let list = Binary { bytes, begins, reference_length };
    let mut found = Found::default();
    list.walk(top, String::new(), 0, &mut found)?;
    Ok(found.values)
}

/// A number of so many bytes, the greatest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Result<usize, PlistError> {
    let end = at.checked_add(length).filter(|_| (1..=8).contains(&length)).ok_or(PlistError::Damaged)?;
    let digits = bytes.get(at..end).ok_or(PlistError::Damaged)?;
    let value = digits.iter().fold(0_u64, |value, digit| value << 8 | u64::from(*digit));
    usize::try_from(value).map_err(|_| PlistError::Damaged)
}

impl Binary<'_> {
    fn walk(&self, object: usize, path: String, depth: usize, found: &mut Found) -> Result<(), PlistError> {
        found.count_one()?;
        // An array may hold itself.
        if depth > DEPTH_MAX {
            return Err(PlistError::TooMuch);
        }
        let at = *self.begins.get(object).ok_or(PlistError::Damaged)?;
        let marker = *self.bytes.get(at).ok_or(PlistError::Damaged)?;
        let (kind, low) = (marker >> 4, usize::from(marker & 0xF));
        match kind {
            0x0 if low == 8 || low == 9 => found.put(&path, if low == 9 { "true" } else { "false" }),
            0x1 if low <= 3 => {
                let length = 1 << low;
                let value = number(self.bytes, at + 1, length)?;
                // Of eight bytes it has a sign.
                let text = if length == 8 { (value as i64).to_string() } else { value.to_string() };
                found.put(&path, &text);
            }
            0x5 | 0x6 => {
                let (length, from) = self.length(at, low)?;
                found.put(&path, &self.text(kind, length, from)?);
            }
            0xA | 0xC => {
                let (length, from) = self.length(at, low)?;
                for place in 0..length {
                    let item = self.reference(from, place)?;
                    self.walk(item, below(&path, &place.to_string()), depth + 1, found)?;
                }
            }
            0xD => {
                let (length, from) = self.length(at, low)?;
                for place in 0..length {
                    let key = self.key(self.reference(from, place)?)?;
                    let value = self.reference(from, place.saturating_add(length))?;
                    self.walk(value, below(&path, &key), depth + 1, found)?;
                }
            }
            // Reals, instants, data and ids hold nothing that is asked for.
            _ => {}
        }
        Ok(())
    }

    /// How many letters or items there are, and where they begin.
    fn length(&self, at: usize, low: usize) -> Result<(usize, usize), PlistError> {
        let (length, from) = if low < 0xF {
            (low, at + 1)
        } else {
            let size = *self.bytes.get(at + 1).ok_or(PlistError::Damaged)?;
            if size >> 4 != 1 || size & 0xF > 3 {
                return Err(PlistError::Damaged);
            }
            let width = 1 << (size & 0xF);
            (number(self.bytes, at + 2, width)?, at + 2 + width)
        };
        if length > self.bytes.len() { Err(PlistError::Damaged) } else { Ok((length, from)) }
    }

    fn reference(&self, from: usize, place: usize) -> Result<usize, PlistError> {
        let at = place.checked_mul(self.reference_length).and_then(|at| at.checked_add(from));
        number(self.bytes, at.ok_or(PlistError::Damaged)?, self.reference_length)
    }

    fn key(&self, object: usize) -> Result<String, PlistError> {
        let at = *self.begins.get(object).ok_or(PlistError::Damaged)?;
        let marker = *self.bytes.get(at).ok_or(PlistError::Damaged)?;
        let (length, from) = self.length(at, usize::from(marker & 0xF))?;
        self.text(marker >> 4, length, from)
    }

    fn text(&self, kind: u8, length: usize, from: usize) -> Result<String, PlistError> {
        let width = match kind {
            0x5 => 1,
            0x6 => 2,
            _ => return Err(PlistError::Damaged),
        };
        let end = length.checked_mul(width).and_then(|long| long.checked_add(from));
        let letters = end.and_then(|end| self.bytes.get(from..end)).ok_or(PlistError::Damaged)?;
        if width == 1 {
            return Ok(String::from_utf8_lossy(letters).into_owned());
        }
        let units: Vec<u16> =
            letters.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        Ok(String::from_utf16_lossy(&units))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An application's Info.plist as Xcode writes it, comments and entities and all.
    pub const INFO: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<!-- <key>CFBundleShortVersionString</key><string>0</string> -->
	<key>CFBundleIdentifier</key>
	<string>com.trendmicro.tmsecurity</string>
	<key>CFBundleShortVersionString</key>
	<string>3.5.7180</string>
	<key>LSUIElement</key>
	<true/>
	<key>NSHumanReadableCopyright</key>
	<string>&#169; Trend Micro &amp; others &lt;2024&gt;</string>
	<key>Empty</key>
	<string/>
	<key>CFBundleDocumentTypes</key>
	<array>
		<dict>
			<key>Rank</key>
			<integer>7</integer>
			<key>Icon</key>
			<data>AAEC</data>
		</dict>
	</array>
</dict>
</plist>
"#;

    /// `{"GlobalStatus": {"bHasRegToSrv": true}, "PackageVersion": "3.5", "n": 300}`, as `plutil -convert binary1`
    /// lays it out.
    pub fn binary_list() -> Vec<u8> {
        let objects: [&[u8]; 8] = [
            &[0xD3, 1, 2, 3, 4, 5, 6],
            b"\x5CGlobalStatus",
            b"\x5EPackageVersion",
            b"\x51n",
            &[0xD1, 7, 8],
            b"\x533.5",
            &[0x11, 0x01, 0x2C],
            b"\x5CbHasRegToSrv",
        ];
        let mut bytes = b"bplist00".to_vec();
        let mut begins = Vec::new();
        for object in objects.iter().copied().chain([&[0x09_u8][..]]) {
            begins.push(u8::try_from(bytes.len()).unwrap());
            bytes.extend_from_slice(object);
        }
        let table = bytes.len() as u64;
        bytes.extend_from_slice(&begins);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 1]);
        for word in [begins.len() as u64, 0, table] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn an_info_plist_is_read() {
        let values = read(INFO.as_bytes()).unwrap();
        assert_eq!(values["CFBundleShortVersionString"], "3.5.7180");
        assert_eq!(values["NSHumanReadableCopyright"], "© Trend Micro & others <2024>");
        assert_eq!((values["LSUIElement"].as_str(), values["Empty"].as_str()), ("true", ""));
        assert_eq!(values["CFBundleDocumentTypes:0:Rank"], "7");
        assert_eq!(values.len(), 6, "{values:?}");
    }

    #[test]
    fn a_binary_list_is_read() {
        let values = read(&binary_list()).unwrap();
        assert_eq!(values["GlobalStatus:bHasRegToSrv"], "true");
        assert_eq!((values["PackageVersion"].as_str(), values["n"].as_str()), ("3.5", "300"));
    }

    #[test]
    fn a_list_that_is_cut_too_deep_or_holds_itself_is_none() {
        for cut in 0..INFO.len() - "\n</plist>\n".len() {
            if INFO.is_char_boundary(cut) {
                assert!(read(&INFO.as_bytes()[..cut]).is_err(), "cut at {cut}");
            }
        }
        let whole = binary_list();
        (0..whole.len()).for_each(|cut| assert!(read(&whole[..cut]).is_err(), "cut at {cut}"));
        let deep = format!("<plist>{}", "<array>".repeat(100_000));
        assert_eq!(read(deep.as_bytes()), Err(PlistError::TooMuch));
        assert_eq!(read(&vec![b' '; LENGTH_MAX + 1]), Err(PlistError::TooLong));
        let mut itself = whole;
        let begin = itself[itself.len() - 41 + 4];
        itself[usize::from(begin)] = 0xA1;
        itself[usize::from(begin) + 1] = 4;
        assert_eq!(read(&itself), Err(PlistError::TooMuch));
    }
}
