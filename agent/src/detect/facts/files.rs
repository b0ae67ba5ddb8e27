//! Facts of the running machine as files of `/sys`, `/proc` and `/etc` tell them. Invariant: each file is read once and
//! no further than a fact is long; links lead where the kernel put them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use seatbeat_proto::wire;

use super::{host_name, mac, machine_id, seal, serial, uuid};

/// Bytes of a fact's file that are read; serial numbers are some tens.
pub(super) const FILE_LENGTH_MAX: u64 = 4096;

/// Network cards that are looked at.
const CARDS_MAX: usize = 64;

/// Layers (volume on RAID on partition on disk) that are followed down to the system disk.
const LAYERS_MAX: usize = 6;

/// What the machine says whose file system stands at `root`.
pub(super) fn of_this_machine(root: &Path, salt: &[u8]) -> wire::Facts {
    let dmi = |name: &str| text(&root.join("sys/class/dmi/id").join(name));
    let seal =
        |kind: &str, value: Option<String>| value.map(|value| seal(salt, kind, &value)).unwrap_or_default();
    let mut macs: Vec<Vec<u8>> =
        onboard_macs(root).into_iter().map(|mac| super::seal(salt, "mac", &mac)).collect();
    macs.sort();
    macs.dedup();
    wire::Facts {
        smbios_uuid: seal("smbios-uuid", dmi("product_uuid").and_then(uuid)),
        system_serial: seal("system-serial", dmi("product_serial").and_then(serial)),
        board_serial: seal("board-serial", dmi("board_serial").and_then(serial)),
        disk_serial: seal("disk-serial", disk_serial(root)),
        macs,
        os_id: seal("os-id", text(&root.join("etc/machine-id")).and_then(machine_id)),
        host_name: seal("host-name", text(&root.join("proc/sys/kernel/hostname")).and_then(host_name)),
        ..wire::Facts::default()
    }
}

fn text(path: &Path) -> Option<String> {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(FILE_LENGTH_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Addresses of cards that are part of the machine: not of docks and sticks, not made up, not virtual.
pub(super) fn onboard_macs(root: &Path) -> Vec<String> {
    let cards = root.join("sys/class/net");
    let names = std::fs::read_dir(&cards).into_iter().flatten().take(CARDS_MAX).flatten();
    names.filter_map(|entry| onboard_mac(&entry.path())).collect()
}

fn onboard_mac(card: &Path) -> Option<String> {
    const ETHERNET: &str = "1";
    const PERMANENT: &str = "0";
    let device = std::fs::canonicalize(card.join("device")).ok()?;
    if device.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb")) {
        return None;
    }
    let says = |path: PathBuf, word: &str| text(&path).is_some_and(|text| text.trim() == word);
    if !says(card.join("type"), ETHERNET) || !says(card.join("addr_assign_type"), PERMANENT) {
        return None;
    }
    if device.ancestors().any(|part| says(part.join("removable"), "removable")) {
        return None;
    }
    mac(text(&card.join("address"))?)
}

/// Serial number of the disk that `/` is on.
pub(super) fn disk_serial(root: &Path) -> Option<String> {
    let mounts = text_whole(&root.join("proc/self/mountinfo"))?;
    let device = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let device = words.nth(2)?;
        (words.nth(1)? == "/").then(|| device.to_owned())
    })?;
    let mut folder = std::fs::canonicalize(root.join("sys/dev/block").join(device)).ok()?;
    for _ in 0..LAYERS_MAX {
        if folder.join("partition").exists() {
            folder.pop();
        }
        let mut below: Vec<PathBuf> = std::fs::read_dir(folder.join("slaves"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        below.sort();
        match below.into_iter().next().and_then(|path| std::fs::canonicalize(path).ok()) {
            Some(path) => folder = path,
            None => break,
        }
    }
    let plain = ["serial", "device/serial"].iter().find_map(|name| text(&folder.join(name)).and_then(serial));
    plain.or_else(|| {
        // SCSI's page 0x80: four bytes of header, then the number.
        let page = bytes(&folder.join("device/vpd_pg80"))?;
        serial(String::from_utf8_lossy(page.get(4..)?).into_owned())
    })
}

/// The mount list can be longer than a fact; `/` is among its first lines.
fn text_whole(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(64 * FILE_LENGTH_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
