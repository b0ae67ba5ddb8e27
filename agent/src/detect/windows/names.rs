//! How the catalogue's names become names of this machine, and what the registry holds becomes text. Invariant: pure; a
//! name that cannot be placed is no name, never a guess.

use std::collections::BTreeMap;

use seatbeat_proto::catalogue::{Folder, folder_of, is_registry_name};

/// Kinds of registry values, as Windows numbers them.
const TEXT: u32 = 1;
const EXPANDED_TEXT: u32 = 2;
const NUMBER: u32 = 4;
const TEXTS: u32 = 7;
const LONG_NUMBER: u32 = 11;

/// The hive and the rest of a key of the catalogue (`HKLM\SOFTWARE\…`).
pub fn split_root(key: &str) -> Option<(Root, &str)> {
    let (root, rest) = key.split_once('\\')?;
    let root = match root {
        "HKLM" | "HKEY_LOCAL_MACHINE" => Root::Machine,
        "HKCU" | "HKEY_CURRENT_USER" => Root::Users,
        _ => return None,
    };
    Some((root, rest))
}

/// Whose part of the registry a key is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The machine's.
    Machine,
    /// Each user's who is signed in.
    Users,
}

/// A key of the 32-bit view, spelt as it is seen from the other one.
pub fn in_32_bit_view(key: &str) -> String {
    match key.split_once('\\') {
        Some((root, rest)) if root.eq_ignore_ascii_case("SOFTWARE") => format!(r"{root}\WOW6432Node\{rest}"),
        _ => key.to_owned(),
    }
}

/// A value as text: numbers in decimal, several texts with semicolons; other kinds hold nothing that is asked for.
pub fn value_text(kind: u32, bytes: &[u8]) -> Option<String> {
    match kind {
        TEXT | EXPANDED_TEXT => Some(utf16(bytes).split('\0').next().unwrap_or_default().to_owned()),
        TEXTS => Some(utf16(bytes).split('\0').filter(|text| !text.is_empty()).collect::<Vec<_>>().join(";")),
        NUMBER => Some(u32::from_le_bytes(bytes.try_into().ok()?).to_string()),
        LONG_NUMBER => Some(u64::from_le_bytes(bytes.try_into().ok()?).to_string()),
        _ => None,
    }
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// The folders that paths of the catalogue begin with.
pub struct Folders<'a> {
    /// `{programs}`
    pub programs: String,
    /// `{x86}`
    pub programs_x86: String,
    /// What was read of the registry already.
    pub values: &'a BTreeMap<String, String>,
}

impl Folders<'_> {
    /// Where a path of the catalogue is on this machine; `None`: its folder is named by a value that is not there.
    pub fn place(&self, path: &str) -> Option<String> {
        match folder_of(path)? {
            (Folder::Root, rest) => Some(rest.to_owned()),
            (Folder::Programs, rest) => Some(format!("{}{rest}", self.programs.trim_end_matches('\\'))),
            (Folder::ProgramsX86, rest) => {
                Some(format!("{}{rest}", self.programs_x86.trim_end_matches('\\')))
            }
            (Folder::RegistryValue(value), rest) => {
                let named = self.values.iter().find(|(known, _)| is_registry_name(value, known));
                let folder = named?.1.trim().trim_matches('"').trim_end_matches('\\');
                let is_absolute = folder.as_bytes().get(1) == Some(&b':');
                is_absolute.then(|| format!("{folder}{rest}"))
            }
        }
    }
}

/// `path!section!key` of the catalogue; the path may hold a `!` of its own, in the value that names its folder.
pub fn split_ini(name: &str) -> Option<(&str, &str, &str)> {
    let (rest, key) = name.rsplit_once('!')?;
    let (path, section) = rest.rsplit_once('!')?;
    Some((path, section, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn values_of_each_kind_are_text_and_what_has_none_is_nothing() {
        assert_eq!(value_text(TEXT, &text("14.0\0junk")).as_deref(), Some("14.0"));
        assert_eq!(value_text(EXPANDED_TEXT, &text(r"%x%\y")).as_deref(), Some(r"%x%\y"));
        assert_eq!(value_text(TEXTS, &text("a\0b\0\0")).as_deref(), Some("a;b"));
        assert_eq!(value_text(NUMBER, &1_893_500_u32.to_le_bytes()).as_deref(), Some("1893500"));
        assert_eq!(value_text(LONG_NUMBER, &u64::MAX.to_le_bytes()).as_deref(), Some("18446744073709551615"));
        for (kind, bytes) in [(NUMBER, &[1_u8][..]), (3, b"abcd"), (0, b""), (LONG_NUMBER, &[0; 4])] {
            assert_eq!(value_text(kind, bytes), None, "{kind}");
        }
    }

    #[test]
    fn paths_of_the_catalogue_are_placed_under_the_machines_own_folders() {
        let values = BTreeMap::from([
            (r"HKLM\SOFTWARE\WOW6432Node\X!Folder".to_owned(), "\"D:\\Agent\\\" ".to_owned()),
            (r"HKLM\SOFTWARE\Y!Folder".to_owned(), r"\\server\share".to_owned()),
        ]);
        let folders = Folders {
            programs: r"C:\Programme".into(),
            programs_x86: r"C:\Programme (x86)\".into(),
            values: &values,
        };
        for (path, expected) in [
            (r"{x86}\T\a.exe", Some(r"C:\Programme (x86)\T\a.exe")),
            (r"{programs}\T\a.exe", Some(r"C:\Programme\T\a.exe")),
            (r"C:\T\a.exe", Some(r"C:\T\a.exe")),
            (r"{HKLM\SOFTWARE\X!Folder}\a.exe", Some(r"D:\Agent\a.exe")),
            (r"{HKLM\SOFTWARE\X!Folder}\..\s\a.ini", Some(r"D:\Agent\..\s\a.ini")),
            (r"{HKLM\SOFTWARE\Y!Folder}\a.exe", None),
            (r"{HKLM\SOFTWARE\Z!Folder}\a.exe", None),
        ] {
            assert_eq!(folders.place(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn names_are_split_where_their_parts_meet() {
        assert_eq!(split_root(r"HKLM\SOFTWARE\X"), Some((Root::Machine, r"SOFTWARE\X")));
        assert_eq!(split_root(r"HKEY_CURRENT_USER\X"), Some((Root::Users, "X")));
        assert_eq!(split_root(r"HKCR\X"), None);
        assert_eq!(in_32_bit_view(r"SOFTWARE\TrendMicro\X"), r"SOFTWARE\WOW6432Node\TrendMicro\X");
        assert_eq!(in_32_bit_view(r"SYSTEM\X"), r"SYSTEM\X");
        let name = r"{HKLM\SOFTWARE\X!Folder}\a.ini!*!P.4";
        assert_eq!(split_ini(name), Some((r"{HKLM\SOFTWARE\X!Folder}\a.ini", "*", "P.4")));
        assert_eq!(split_ini("a.ini!k"), None);
    }
}
