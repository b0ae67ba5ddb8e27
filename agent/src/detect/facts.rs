//! Hardware and system facts that tell one machine from another. Invariant: a value that many machines share is no
//! fact, and no fact leaves this file but as an HMAC under the reseller's salt; so the same value gives the same
//! bytes on every machine of that reseller, and different ones for different kinds of fact.

#[cfg(not(windows))]
mod files;

#[cfg(target_os = "linux")]
use std::io::Read as _;
use std::path::Path;

use hmac::{Hmac, Mac};
use seatbeat_proto::wire;
use sha2::Sha256;

#[cfg(target_os = "linux")]
use super::Root;
#[cfg(target_os = "linux")]
use files::FILE_LENGTH_MAX;
#[cfg(not(windows))]
use files::of_this_machine;

/// Bytes of each HMAC that are kept: two of a million machines meet with a chance below 2^-88.
const FACT_LENGTH: usize = 16;

/// Network cards that are told of.
#[cfg(windows)]
const CARDS_MAX: usize = 64;

/// Values that makers leave where a number should be, in lower case.
const JUNK: [&str; 36] = [
    "to be filled by o.e.m.",
    "to be filled by o.e.m",
    "default string",
    "default",
    "none",
    "null",
    "n/a",
    "na",
    "not applicable",
    "not available",
    "not specified",
    "not present",
    "not defined",
    "unspecified",
    "undefined",
    "unknown",
    "unknow",
    "invalid",
    "empty",
    "oem",
    "o.e.m.",
    "system serial number",
    "system product name",
    "system manufacturer",
    "base board serial number",
    "board serial number",
    "chassis serial number",
    "serial number",
    "serial",
    "sernum0",
    "standard",
    "type1 - chassis serial number",
    "01234567",
    "0123456789",
    "123456789",
    "1234567890",
];

/// SMBIOS UUIDs that whole production runs share, in lower case.
const JUNK_UUIDS: [&str; 8] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "03020100-0504-0706-0809-0a0b0c0d0e0f",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "12345678-1234-1234-1234-123456789abc",
    "01234567-89ab-cdef-0123-456789abcdef",
    "4c4c4544-0000-2010-8020-80c04f202020",
    "11111111-2222-3333-4444-555555555555",
];

/// The facts of the machine whose file system stands at `root`, sealed under the salt of the reseller (32 bytes).
/// What cannot be read, or is junk, is left out: of another system than the running one (`/`), all but its own id and
/// name. Whether the machine is one of a pool is for its installer to say.
pub fn read(root: &Path, salt: &[u8], pool: bool) -> wire::Facts {
    let facts = if root == Path::new("/") { of_this_machine(root, salt) } else { of_another(root, salt) };
    wire::Facts { os: std::env::consts::OS.to_owned(), pool, ..facts }
}

#[cfg(not(target_os = "linux"))]
fn of_another(_root: &Path, _salt: &[u8]) -> wire::Facts {
    wire::Facts::default()
}

/// A foreign root has no hardware of its own, and its links are not to be followed out of it.
#[cfg(target_os = "linux")]
fn of_another(root: &Path, salt: &[u8]) -> wire::Facts {
    let Ok(root) = Root::foreign(root) else { return wire::Facts::default() };
    let text = |path: &str| {
        let mut text = String::new();
        root.open(path).ok()?.take(FILE_LENGTH_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let seal =
        |kind: &str, value: Option<String>| value.map(|value| seal(salt, kind, &value)).unwrap_or_default();
    wire::Facts {
        os_id: seal("os-id", text("/etc/machine-id").and_then(machine_id)),
        host_name: seal("host-name", text("/etc/hostname").and_then(host_name)),
        ..wire::Facts::default()
    }
}

/// What firmware and system say there, each under the same rules as elsewhere.
#[cfg(windows)]
fn of_this_machine(_root: &Path, salt: &[u8]) -> wire::Facts {
    let told = super::windows::facts::read();
    let seal =
        |kind: &str, value: Option<String>| value.map(|value| seal(salt, kind, &value)).unwrap_or_default();
    let mut macs: Vec<Vec<u8>> =
        told.macs.into_iter().filter_map(mac).map(|mac| self::seal(salt, "mac", &mac)).collect();
    macs.sort();
    macs.dedup();
    macs.truncate(CARDS_MAX);
    wire::Facts {
        smbios_uuid: seal("smbios-uuid", told.smbios.uuid.and_then(uuid)),
        system_serial: seal("system-serial", told.smbios.system_serial.and_then(serial)),
        board_serial: seal("board-serial", told.smbios.board_serial.and_then(serial)),
        disk_serial: seal("disk-serial", told.disk_serial.and_then(serial)),
        macs,
        os_id: seal("os-id", told.machine_guid.map(|guid| guid.replace('-', "")).and_then(machine_id)),
        host_name: seal("host-name", told.host_name.and_then(host_name)),
        ..wire::Facts::default()
    }
}

/// HMAC-SHA-256 over the kind of fact, a zero byte and the value, cut to [`FACT_LENGTH`] bytes.
fn seal(salt: &[u8], kind: &str, value: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes a key of any length");
    mac.update(kind.as_bytes());
    mac.update(&[0]);
    mac.update(value.as_bytes());
    mac.finalize().into_bytes()[..FACT_LENGTH].to_vec()
}

fn uuid(text: String) -> Option<String> {
    let uuid = text.trim().to_ascii_lowercase();
    let digits: Vec<u8> = uuid.bytes().filter(|byte| *byte != b'-').collect();
    let whole = digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit);
    (whole && !is_uniform(&digits) && !JUNK_UUIDS.contains(&uuid.as_str())).then_some(uuid)
}

fn serial(text: String) -> Option<String> {
    let serial: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    let serial = serial.trim().to_ascii_lowercase();
    let told = serial.len() >= 4 && serial.bytes().any(|byte| byte.is_ascii_alphanumeric());
    let marks: Vec<u8> = serial.bytes().filter(u8::is_ascii_alphanumeric).collect();
    (told && !is_uniform(&marks) && !JUNK.contains(&serial.as_str())).then_some(serial)
}

fn machine_id(text: String) -> Option<String> {
    let id = text.trim().to_ascii_lowercase();
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && !is_uniform(id.as_bytes()))
        .then_some(id)
}

fn host_name(text: String) -> Option<String> {
    let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let own = !name.is_empty() && name != "(none)" && name.split('.').next() != Some("localhost");
    own.then_some(name)
}

fn is_uniform(bytes: &[u8]) -> bool {
    bytes.windows(2).all(|pair| pair[0] == pair[1])
}

/// An address that its maker gave, of one card.
fn mac(text: String) -> Option<String> {
    let address = text.trim().to_ascii_lowercase();
    let parts: Option<Vec<u8>> = address.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let parts = parts.filter(|parts| parts.len() == 6)?;
    // The two low bits: sent to many, and given by somebody else than the maker.
    (parts[0] & 0b11 == 0 && !is_uniform(&parts)).then_some(address)
}

#[cfg(all(test, not(windows)))]
mod tests {
    use super::files::{disk_serial, onboard_macs};
    use super::*;

    const SALT: [u8; 32] = [7; 32];

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn facts(files: &[(&str, &str)]) -> wire::Facts {
        of_this_machine(machine(files).path(), &SALT)
    }

    #[test]
    fn the_same_value_gives_the_same_bytes_and_no_value_leaves_in_clear() {
        let files = [
            ("sys/class/dmi/id/product_uuid", "4C4C4544-0042-3510-8052-B4C04F4E3732\n"),
            ("sys/class/dmi/id/product_serial", "5K2RN72\n"),
            ("sys/class/dmi/id/board_serial", "5K2RN72\n"),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("proc/sys/kernel/hostname", "PC-17\n"),
        ];
        let (one, two) = (facts(&files), facts(&files));
        assert_eq!(one, two);
        assert_ne!(one.system_serial, one.board_serial, "a value is another fact elsewhere");
        for fact in [&one.smbios_uuid, &one.system_serial, &one.board_serial, &one.os_id, &one.host_name] {
            assert_eq!(fact.len(), FACT_LENGTH);
        }
        let other = of_this_machine(machine(&files).path(), &[8; 32]);
        assert_ne!(one.smbios_uuid, other.smbios_uuid, "another reseller's salt");
    }

    #[test]
    fn of_another_system_only_its_own_id_and_name_are_known() {
        let folder = machine(&[
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("etc/hostname", "pc-17\n"),
            ("sys/class/dmi/id/product_serial", "5K2RN72\n"),
        ]);
        let facts = read(folder.path(), &SALT, true);
        assert_eq!((facts.os_id.len(), facts.host_name.len(), facts.pool), (FACT_LENGTH, FACT_LENGTH, true));
        assert!(facts.system_serial.is_empty() && facts.macs.is_empty());
        assert_eq!(read(Path::new("/"), &SALT, false).os, std::env::consts::OS);
    }

    #[test]
    fn junk_is_no_fact() {
        for junk in
            ["", "0", "00000000", "To be filled by O.E.M.", "Default string", " None ", "....", "xxxxxxxx"]
        {
            assert_eq!(serial(junk.to_owned()), None, "{junk:?}");
        }
        for junk in [
            "03000200-0400-0500-0006-000700080009",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "Not Settable",
            "",
        ] {
            assert_eq!(uuid(junk.to_owned()), None, "{junk:?}");
        }
        assert_eq!(machine_id("uninitialized\n".into()), None);
        assert_eq!(host_name("localhost.localdomain".into()), None);
        assert_eq!(facts(&[]), wire::Facts::default());
    }

    #[test]
    fn only_cards_that_are_part_of_the_machine_count() {
        let card = |folder: &Path, name: &str, device: Option<&str>, address: &str| {
            let card = folder.join("sys/class/net").join(name);
            std::fs::create_dir_all(&card).unwrap();
            for (file, text) in [("type", "1\n"), ("addr_assign_type", "0\n"), ("address", address)] {
                std::fs::write(card.join(file), text).unwrap();
            }
            if let Some(device) = device {
                let device = folder.join("sys/devices").join(device);
                std::fs::create_dir_all(&device).unwrap();
                std::os::unix::fs::symlink(device, card.join("device")).unwrap();
            }
        };
        let folder = machine(&[]);
        let path = folder.path();
        card(path, "eth0", Some("pci0000:00/0000:00:1f.6"), "00:1a:2b:3c:4d:5e\n");
        card(path, "usb0", Some("pci0000:00/usb1/1-1"), "00:1a:2b:3c:4d:5f\n");
        card(path, "lo", None, "00:00:00:00:00:00\n");
        card(path, "made-up", Some("pci0000:00/0000:00:02.0"), "52:54:00:12:34:56\n");
        assert_eq!(onboard_macs(path), ["00:1a:2b:3c:4d:5e"]);
        assert_eq!(of_this_machine(path, &SALT).macs.len(), 1);
    }

    #[test]
    fn the_system_disk_is_found_below_its_layers() {
        let folder = machine(&[
            (
                "proc/self/mountinfo",
                "22 1 0:5 / /proc rw - proc proc rw\n29 1 253:0 / / rw - ext4 /dev/dm-0 rw\n",
            ),
            ("sys/devices/nvme0n1/serial", "S4EWNX0R123456\n"),
            ("sys/devices/nvme0n1/nvme0n1p2/partition", "2\n"),
            ("sys/devices/virtual/dm-0/slaves/.keep", ""),
        ]);
        let path = folder.path();
        std::fs::remove_file(path.join("sys/devices/virtual/dm-0/slaves/.keep")).unwrap();
        std::fs::create_dir_all(path.join("sys/dev/block")).unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(path.join(target), path.join(name)).unwrap()
        };
        link("sys/devices/virtual/dm-0", "sys/dev/block/253:0");
        link("sys/devices/nvme0n1/nvme0n1p2", "sys/devices/virtual/dm-0/slaves/nvme0n1p2");
        assert_eq!(disk_serial(path).as_deref(), Some("s4ewnx0r123456"));
    }
}
