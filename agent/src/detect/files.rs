//! Small files with one name a line: groups and loaded kernel modules. Invariant: bounded; nothing but wanted names
//! is kept.

use std::collections::BTreeSet;
use std::io::{self, Read};

use seatbeat_proto::catalogue::{Observations, Source, Wanted, glob};

use super::root::{Root, is_absent};
use super::{Sensor, lines};

/// Bytes of each file that are read: a group list with a hundred thousand members fits.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `/etc/group` under a root.
pub struct Groups(pub Root);

impl Sensor for Groups {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        match names(&self.0, "/etc/group", b':', &wanted.groups) {
            Ok(names) => seen.groups.extend(names),
            Err(error) => {
                seen.unreadable.insert(Source::Groups, format!("failed to read /etc/group: {error}"));
            }
        }
    }
}

/// `/proc/modules` of the running machine.
pub struct KernelModules(pub Root);

impl Sensor for KernelModules {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if !self.0.is_live() {
            seen.unreadable.insert(Source::KernelModules, "a foreign root has no running kernel".into());
            return;
        }
        match names(&self.0, "/proc/modules", b' ', &wanted.kernel_modules) {
            Ok(names) => seen.kernel_modules.extend(names),
            Err(error) => {
                seen.unreadable
                    .insert(Source::KernelModules, format!("failed to read /proc/modules: {error}"));
            }
        }
    }
}

/// First words of the lines that are wanted; none when there is no such file.
fn names(root: &Root, path: &str, end: u8, wanted: &BTreeSet<&str>) -> io::Result<BTreeSet<String>> {
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    match root.open(path) {
        Ok(file) => read(file, end, wanted),
        Err(error) if is_absent(&error) => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

pub(super) fn read(file: impl Read, end: u8, wanted: &BTreeSet<&str>) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    lines::for_each(file, BYTES_MAX, |line| {
        let name = line.split(|byte| *byte == end).next().unwrap_or_default();
        if let Ok(name) = std::str::from_utf8(name)
            && names.len() < lines::FOUND_MAX
            && wanted.iter().any(|wanted| glob(wanted, name))
        {
            names.insert(name.to_owned());
        }
    })?;
    Ok(names)
}
