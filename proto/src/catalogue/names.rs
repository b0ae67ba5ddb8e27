//! How Windows and the file system spell one thing in several ways: registry views, packed installer codes, program
//! folders, a folder that is named by a registry value. Invariant: pure text; two spellings of one thing compare
//! equal, and nothing else does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::text::glob;

/// The folder that a path of the catalogue begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder<'a> {
    /// No folder: the path stands as it is.
    Root,
    /// `{x86}`: `%ProgramFiles(x86)%` on 64-bit Windows, `%ProgramFiles%` on 32-bit.
    ProgramsX86,
    /// `{programs}`: `%ProgramFiles%`.
    Programs,
    /// `{key!name}`: the text of a registry value, with or without a separator at its end.
    RegistryValue(&'a str),
}

/// Splits a path of the catalogue into its folder and the rest, which begins with a separator after a folder.
/// Nothing when what stands in braces is not known.
pub fn folder_of(path: &str) -> Option<(Folder<'_>, &str)> {
    let Some(inner) = path.strip_prefix('{') else { return Some((Folder::Root, path)) };
    let (name, rest) = inner.split_once('}')?;
    let folder = match name {
        "x86" => Folder::ProgramsX86,
        "programs" => Folder::Programs,
        value if value.starts_with(r"HKLM\SOFTWARE\") && value.contains('!') => Folder::RegistryValue(value),
        _ => return None,
    };
    rest.starts_with('\\').then_some((folder, rest))
}

/// Whether `name`, as it was observed, is the path `wanted` of the catalogue: in the catalogue's own spelling, or as
/// Windows writes it (`C:\Program Files (x86)\…`, or under the folder that a registry value was seen to name).
pub fn is_path(wanted: &str, name: &str, registry_values: &BTreeMap<String, String>) -> bool {
    if glob(wanted, name) {
        return true;
    }
    match folder_of(wanted) {
        None | Some((Folder::Root, _)) => false,
        Some((Folder::ProgramsX86, rest)) => {
            ["?:\\Program Files (x86)", "?:\\Program Files"].iter().any(|folder| is_under(folder, rest, name))
        }
        Some((Folder::Programs, rest)) => is_under("?:\\Program Files", rest, name),
        Some((Folder::RegistryValue(value), rest)) => {
            let named = registry_values.iter().find(|(known, _)| is_registry_name(value, known));
            named.is_some_and(|(_, folder)| is_under(folder.trim().trim_end_matches('\\'), rest, name))
        }
    }
}

/// Whether `name` is `folder` and then `rest`; a `?` that `folder` begins with stands for any drive letter.
fn is_under(folder: &str, rest: &str, name: &str) -> bool {
    let Some((head, tail)) = name.split_at_checked(folder.len()) else { return false };
    let (folder, head) = match folder.strip_prefix('?') {
        Some(folder) => {
            let drive = head.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
            (folder, if drive { &head[1..] } else { return false })
        }
        None => (folder, head),
    };
    !folder.is_empty() && folder.eq_ignore_ascii_case(head) && glob(rest, tail)
}

/// Whether an observed registry key, or value `key!name`, is the one the catalogue wants: in the 64-bit or the 32-bit
/// view, with the root's long or short name.
pub fn is_registry_name(wanted: &str, name: &str) -> bool {
    glob(wanted, name) || glob(wanted, &one_view(name)) || glob(&one_view(wanted), &one_view(name))
}

/// The name without the 32-bit view's key, and with the short name of its root.
fn one_view(name: &str) -> Cow<'_, str> {
    const LONG: &str = "HKEY_LOCAL_MACHINE\\";
    const VIEW: &str = "\\wow6432node";
    let mut name = Cow::Borrowed(name);
    if name.get(..LONG.len()).is_some_and(|root| root.eq_ignore_ascii_case(LONG)) {
        name = Cow::Owned(format!("HKLM\\{}", &name[LONG.len()..]));
    }
    if let Some(at) = name.to_ascii_lowercase().find(VIEW) {
        let after = at + VIEW.len();
        if matches!(name.as_bytes().get(after), None | Some(b'\\' | b'!')) {
            name = Cow::Owned(format!("{}{}", &name[..at], &name[after..]));
        }
    }
    name
}

/// How Windows Installer writes a code in the registry (`2A8B0DEB68928F94096DAF00D8733A2D`), turned back into
/// `{BED0B8A2-2986-49F8-90D6-FA008D37A3D2}`. Nothing when it is no packed code.
pub fn unpack_msi_code(packed: &str) -> Option<String> {
    if packed.len() != 32 || !packed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let reversed = |from: usize, to: usize| packed[from..to].chars().rev().collect::<String>();
    let mut code = format!("{{{}-{}-{}-", reversed(0, 8), reversed(8, 12), reversed(12, 16));
    for at in (16..32).step_by(2) {
        if at == 20 {
            code.push('-');
        }
        code.push_str(&reversed(at, at + 2));
    }
    code.push('}');
    Some(code.to_ascii_uppercase())
}

/// A Windows Installer code as `{8-4-4-4-12}`: braced already, bare, or packed. Nothing when it is none.
pub fn msi_code(text: &str) -> Option<String> {
    let bare = text.trim().trim_start_matches('{').trim_end_matches('}');
    let groups: Vec<&str> = bare.split('-').collect();
    let is_hex = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match is_hex && groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) {
        true => Some(format!("{{{}}}", bare.to_ascii_uppercase())),
        false => unpack_msi_code(bare),
    }
}

/// Whether the path lies in a person's own folder, where anybody can put a file of any name.
pub fn is_in_home(path: &str) -> bool {
    let path = path.replace('\\', "/").to_ascii_lowercase();
    let path = path.split_once(':').map_or(path.as_str(), |(_, rest)| rest);
    ["/users/", "/documents and settings/", "/home/", "/tmp/", "/var/tmp/"]
        .iter()
        .any(|home| path.starts_with(home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_installer_codes_are_unpacked() {
        for (packed, code) in [
            ("8A88AE84D667B304CB368C99791A74A6", "{48EA88A8-766D-403B-BC63-C89997A1476A}"),
            ("717E70A0D5BB99B448B0C6D5DE252B77", "{0A07E717-BB5D-4B99-840B-6C5DED52B277}"),
            ("2A8B0DEB68928F94096DAF00D8733A2D", "{BED0B8A2-2986-49F8-90D6-FA008D37A3D2}"),
            ("338E6F1CE52B93C40A623D5293850B0D", "{C1F6E833-B25E-4C39-A026-D3253958B0D0}"),
            ("DE15F83AA10D4EC419BE8B420AA0B8FD", "{A38F51ED-D01A-4CE4-91EB-B824A00A8BDF}"),
        ] {
            assert_eq!(unpack_msi_code(packed).as_deref(), Some(code));
            for spelling in [code, packed, &code.to_lowercase(), &packed.to_lowercase(), &code[1..37]] {
                assert_eq!(msi_code(spelling).as_deref(), Some(code), "{spelling}");
            }
        }
        for junk in [
            "",
            "{}",
            "8A88AE84D667B304CB368C99791A74A",
            "{48EA88A8-766D}",
            "Überspitzte32Zeichenlang!!!!!!!!!",
        ] {
            assert_eq!(msi_code(junk), None, "{junk}");
        }
    }

    #[test]
    fn both_views_are_one_registry() {
        let wanted = r"HKLM\SOFTWARE\TrendMicro\Wofie\CurrentVersion!Application Path";
        for name in [
            wanted,
            r"HKLM\SOFTWARE\WOW6432Node\TrendMicro\Wofie\CurrentVersion!Application Path",
            r"HKEY_LOCAL_MACHINE\Software\Wow6432Node\TrendMicro\Wofie\CurrentVersion!Application Path",
        ] {
            assert!(is_registry_name(wanted, name), "{name}");
        }
        for name in [
            r"HKLM\SOFTWARE\WOW6432Nodes\TrendMicro\Wofie\CurrentVersion!Application Path",
            r"HKCU\SOFTWARE\TrendMicro\Wofie\CurrentVersion!Application Path",
            r"HKLM\SOFTWARE\TrendMicro\Wofie\CurrentVersion!Application",
        ] {
            assert!(!is_registry_name(wanted, name), "{name}");
        }
    }

    #[test]
    fn a_path_is_known_in_each_of_its_spellings() {
        let values = BTreeMap::from([(r"HKLM\SOFTWARE\X!Folder".to_owned(), r"D:\Agent\".to_owned())]);
        for (wanted, name, expected) in [
            (r"{x86}\T\a.exe", r"{x86}\T\a.exe", true),
            (r"{x86}\T\a.exe", r"C:\Program Files (x86)\T\A.exe", true),
            (r"{x86}\T\a.exe", r"d:\program files\T\a.exe", true),
            (r"{programs}\T\a.exe", r"C:\Program Files\T\a.exe", true),
            (r"{programs}\T\a.exe", r"C:\Program Files (x86)\T\a.exe", false),
            (r"{x86}\T\a.exe", r"C:\Users\x\Program Files (x86)\T\a.exe", false),
            (r"{HKLM\SOFTWARE\X!Folder}\a.exe", r"D:\Agent\a.exe", true),
            (r"{HKLM\SOFTWARE\X!Folder}\a.exe", r"D:\Other\a.exe", false),
            (r"{HKLM\SOFTWARE\Y!Folder}\a.exe", r"\a.exe", false),
            (r"{x86}\T", "ü", false),
        ] {
            assert_eq!(is_path(wanted, name, &values), expected, "{wanted} {name}");
        }
        assert_eq!(folder_of("{x64}\\a"), None);
        assert_eq!(folder_of("{x86}a"), None);
        assert_eq!(folder_of("/opt/x"), Some((Folder::Root, "/opt/x")));
    }

    #[test]
    fn a_home_is_where_anybody_puts_files() {
        for path in [r"C:\Users\x\DSAgent.exe", "/home/x/ds_agent", "/Users/x/iCoreService", "/tmp/x"] {
            assert!(is_in_home(path), "{path}");
        }
        for path in [r"C:\Program Files\Users\a.exe", "/opt/home/x", "/Library/x", "iCoreService"] {
            assert!(!is_in_home(path), "{path}");
        }
    }
}
