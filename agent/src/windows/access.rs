//! Who may change a file, read from its access list as text (SDDL). Invariant: pure; whatever is not understood counts
//! as somebody else who may write.

/// Accounts that may do everything on a machine anyway: SYSTEM, administrators, and the installer of Windows itself.
const SYSTEM: [&str; 6] = [
    "SY",
    "BA",
    "S-1-5-18",
    "S-1-5-32-544",
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
    // Who made a file: it counts as its owner does, who is looked at.
    "S-1-3-4",
];

/// As [`SYSTEM`], for whoever made what is below a folder: it stands for nobody on the folder itself.
const CREATOR_OWNER: [&str; 2] = ["CO", "S-1-3-0"];

/// Bits of an access mask with which what is in a file, or who may write it, is changed: write, append, delete, delete
/// below, extended attributes and attributes, write the access list or the owner, and both generic ones that hold these.
const WRITE: u32 =
    0x2 | 0x4 | 0x10 | 0x40 | 0x100 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0x1000_0000 | 0x4000_0000;

/// Bits with which others may add something to a folder, but change nothing that is there: files and folders.
const ADD: u32 = 0x2 | 0x4;

/// Words for rights, as SDDL has them.
const WORDS: [(&str, u32); 16] = [
    ("GA", 0x1000_0000),
    ("GR", 0x8000_0000),
    ("GW", 0x4000_0000),
    ("GX", 0x2000_0000),
    ("FA", 0x001F_01FF),
    ("FR", 0x0012_0089),
    ("FW", 0x0012_0116),
    ("FX", 0x0012_00A0),
    ("RC", 0x0002_0000),
    ("SD", 0x0001_0000),
    ("WD", 0x0004_0000),
    ("WO", 0x0008_0000),
    ("CC", 0x1),
    ("DC", 0x2),
    ("LC", 0x4),
    ("SW", 0x8),
];

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// A file, or the folder that it is in.
    Own,
    /// A folder further above: that others may add to it (the root of a disk) changes nothing below.
    Above,
}

/// Why somebody else than the system may have had a hand in it; `None`: nobody may. `own` is the account that this
/// process runs as.
pub fn stranger(sddl: &str, own: &str, thing: Thing) -> Option<String> {
    let is_known = |account: &str| SYSTEM.contains(&account) || account == own;
    let Some(owner) = part(sddl, "O:") else { return Some("its owner is not known".into()) };
    if !is_known(owner) {
        return Some(format!("it belongs to {owner}"));
    }
    let Some(list) = part(sddl, "D:") else { return Some("it has no access list".into()) };
    if list.contains("NO_ACCESS_CONTROL") {
        return Some("everybody may write it".into());
    }
    entries(list).find_map(|entry| match entry {
        Some(entry) if entry.lets_write(thing) && !is_known(entry.account) => {
            Some(format!("{} may write it", entry.account))
        }
        Some(_) => None,
        None => Some("its access list is not understood".into()),
    })
}

struct Entry<'a> {
    allows: bool,
    only_below: bool,
    mask: u32,
    account: &'a str,
}

impl Entry<'_> {
    fn lets_write(&self, thing: Thing) -> bool {
        let mask = if thing == Thing::Above { WRITE & !ADD & !0x100 & !0x10 } else { WRITE };
        let stands_for_nobody = self.only_below || CREATOR_OWNER.contains(&self.account);
        self.allows && !stands_for_nobody && self.mask & mask != 0
    }
}

/// The text behind a head (`O:`, `D:`) up to the next one.
fn part<'a>(sddl: &'a str, head: &str) -> Option<&'a str> {
    let from = find_outside(sddl, head)? + head.len();
    let rest = &sddl[from..];
    let end = ["O:", "G:", "D:", "S:"].iter().filter_map(|head| find_outside(rest, head)).min();
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// Where a head stands outside of brackets: an entry may hold the same letters.
fn find_outside(text: &str, head: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && text[at..].starts_with(head) => return Some(at),
            _ => {}
        }
    }
    None
}

/// Each `(type;flags;rights;object;inherited object;account)`; `None`: one that is not understood.
fn entries(list: &str) -> impl Iterator<Item = Option<Entry<'_>>> {
    list.split('(').skip(1).map(|text| {
        let words: Vec<&str> = text.split_once(')')?.0.split(';').collect();
        let [kind, flags, rights, _, _, account, ..] = words.as_slice() else { return None };
        Some(Entry {
            // Object and callback entries allow, too, where their kind begins so.
            allows: kind.starts_with('A')
                || kind.starts_with("OA")
                || kind.starts_with("XA")
                || kind.starts_with("ZA"),
            only_below: flags.as_bytes().chunks(2).any(|flag| flag == b"IO"),
            mask: mask(rights)?,
            account,
        })
    })
}

fn mask(rights: &str) -> Option<u32> {
    if let Some(digits) = rights.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    if !rights.is_empty() && rights.bytes().all(|byte| byte.is_ascii_digit()) {
        return rights.parse().ok();
    }
    rights.as_bytes().chunks(2).try_fold(0, |mask, word| {
        let word = std::str::from_utf8(word).ok()?;
        let known = WORDS.iter().find(|(known, _)| *known == word).map(|(_, bits)| *bits);
        // What no list here names is taken for everything.
        Some(mask | known.unwrap_or(u32::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "S-1-5-21-1-2-3-500";

    fn why(sddl: &str) -> Option<String> {
        stranger(sddl, OWN, Thing::Own)
    }

    #[test]
    fn the_programs_of_the_system_and_the_agents_own_folder_are_nobody_elses() {
        let programs = "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464G:SYD:PAI\
            (A;;FA;;;S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464)(A;OICIIO;GA;;;CO)\
            (A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;BU)(A;OICIIO;GXGR;;;BU)(A;;0x1200a9;;;AC)";
        let private = "O:BAG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
        for sddl in [private, programs, "O:SYG:SYD:(A;;FA;;;SY)(D;;FA;;;WD)", "O:S-1-5-18D:(A;;FR;;;WD)"] {
            assert_eq!(why(sddl), None, "{sddl}");
        }
        assert_eq!(why(&format!("O:{OWN}D:(A;;FA;;;{OWN})")), None);
    }

    #[test]
    fn others_who_may_write_are_named_and_what_is_not_understood_is_not_trusted() {
        for (sddl, expected) in [
            ("O:BUG:SYD:(A;;FA;;;SY)", "it belongs to BU"),
            ("O:S-1-5-21-9-9-9-1001D:(A;;FA;;;SY)", "it belongs to S-1-5-21-9-9-9-1001"),
            ("O:SYD:(A;;FA;;;SY)(A;;FA;;;WD)", "WD may write it"),
            ("O:SYD:(A;;0x1301bf;;;AU)", "AU may write it"),
            ("O:SYD:(A;;FW;;;BU)", "BU may write it"),
            ("O:SYD:(A;;GRGW;;;BU)", "BU may write it"),
            ("O:SYD:(A;;DCLC;;;BU)", "BU may write it"),
            ("O:SYD:(A;;QQ;;;BU)", "BU may write it"),
            ("O:SYD:(A;;SD;;;BU)S:(AU;FA;FA;;;WD)", "BU may write it"),
            ("O:SYD:NO_ACCESS_CONTROL", "everybody may write it"),
            ("O:SYG:SY", "it has no access list"),
            ("D:(A;;FA;;;SY)", "its owner is not known"),
            ("O:SYD:(A;;FA)", "its access list is not understood"),
            ("O:SYD:(A;;0xzz;;;SY)", "its access list is not understood"),
            ("", "its owner is not known"),
        ] {
            assert_eq!(why(sddl).as_deref(), Some(expected), "{sddl}");
        }
    }

    #[test]
    fn that_others_may_add_to_the_root_of_a_disk_changes_nothing_below() {
        let root = "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464G:SYD:PAI(A;;LC;;;AU)\
            (A;OICIIO;SDGXGWGR;;;AU)(A;;FA;;;SY)(A;OICIIO;GA;;;SY)(A;OICIIO;GA;;;BA)(A;;FA;;;BA)(A;;0x1200a9;;;BU)";
        assert_eq!(stranger(root, OWN, Thing::Above), None);
        assert_eq!(stranger(root, OWN, Thing::Own).as_deref(), Some("AU may write it"));
        let deletes = "O:SYD:(A;;SD;;;AU)";
        assert_eq!(stranger(deletes, OWN, Thing::Above).as_deref(), Some("AU may write it"));
    }
}
