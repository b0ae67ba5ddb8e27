//! Debian packages, from dpkg's own status file. Invariant: streamed, bounded, and read, never written; a package
//! keeps dpkg's own words for its state, so that leftovers are told from what is installed.

use std::io::{self, Read};

use seatbeat_proto::catalogue::{Observations, Package, PackageManager, Source, Wanted, glob};

use super::root::{Root, is_absent};
use super::{Sensor, lines};

pub(super) const STATUS: &str = "/var/lib/dpkg/status";

/// One file a package, as images without dpkg have it.
pub(super) const STATUS_FOLDER: &str = "/var/lib/dpkg/status.d";

/// Bytes of the status file that are read: twenty times that of a large desktop.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Files of the status folder that are read.
const FILES_MAX: usize = 10_000;

/// dpkg's database under a root.
pub struct Dpkg(pub Root);

impl Sensor for Dpkg {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if wanted.debs.is_empty() {
            return;
        }
        match self.packages(wanted) {
            Ok(packages) => seen.packages.extend(packages),
            Err(error) => {
                seen.unreadable.insert(Source::Dpkg, format!("failed to read {STATUS}: {error}"));
            }
        }
    }
}

impl Dpkg {
    fn packages(&self, wanted: &Wanted<'_>) -> io::Result<Vec<Package>> {
        let mut packages = Vec::new();
        match self.0.open(STATUS) {
            Ok(file) => read(file, wanted, "", &mut packages)?,
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
        for name in self.0.names(STATUS_FOLDER, FILES_MAX)? {
            if !name.ends_with(".md5sums") {
                // A file there is a package that is installed; it has no word of its own for that.
                let file = self.0.open(&format!("{STATUS_FOLDER}/{name}"))?;
                read(file, wanted, Package::INSTALLED, &mut packages)?;
            }
        }
        Ok(packages)
    }
}

#[derive(Default)]
struct Stanza {
    name: Option<String>,
    state: Option<String>,
    version: Option<String>,
}

/// Reads stanzas; of the packages that are wanted only.
pub(super) fn read(
    file: impl Read,
    wanted: &Wanted<'_>,
    default_state: &str,
    found: &mut Vec<Package>,
) -> io::Result<()> {
    let mut stanza = Stanza::default();
    lines::for_each(file, BYTES_MAX, |line| {
        if line.trim_ascii().is_empty() {
            keep(std::mem::take(&mut stanza).end(wanted, default_state), found);
        } else if let Some(name) = field(line, b"Package:") {
            stanza.name = Some(name);
        } else if let Some(state) = field(line, b"Status:") {
            stanza.state = Some(state);
        } else if let Some(version) = field(line, b"Version:") {
            stanza.version = Some(version);
        }
    })?;
    keep(stanza.end(wanted, default_state), found);
    Ok(())
}

fn keep(package: Option<Package>, found: &mut Vec<Package>) {
    found.extend(package.filter(|_| found.len() < lines::FOUND_MAX));
}

fn field(line: &[u8], name: &[u8]) -> Option<String> {
    let value = line.strip_prefix(name)?;
    Some(String::from_utf8_lossy(value.trim_ascii()).into_owned())
}

impl Stanza {
    fn end(self, wanted: &Wanted<'_>, default_state: &str) -> Option<Package> {
        let name = self.name?;
        wanted.debs.iter().any(|deb| glob(deb, &name)).then(|| Package {
            manager: PackageManager::Dpkg,
            version: self.version.unwrap_or_default(),
            state: self.state.unwrap_or_else(|| default_state.to_owned()),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: &[u8]) -> Vec<Package> {
        let wanted = Wanted { debs: ["ds-agent"].into(), ..Wanted::default() };
        let mut found = Vec::new();
        read(status, &wanted, "", &mut found).unwrap();
        found
    }

    #[test]
    fn a_package_is_found_in_its_stanza_only() {
        let status = b"Package: adduser\nStatus: install ok installed\nVersion: 3.1\nDescription: x\n Package: ds-agent\n\
            \nPackage: ds-agent\nStatus: install ok installed\nVersion: 20.0.0.7303\nDescription: Trend\n more\n\
            \nPackage: ds-agent-docs\nStatus: install ok installed\n";
        let found = found(status);
        assert_eq!(found.len(), 1);
        assert!(found[0].is_installed());
        assert_eq!(found[0].version, "20.0.0.7303");
    }

    #[test]
    fn what_was_removed_is_not_installed() {
        for state in [
            "deinstall ok config-files",
            "install ok half-installed",
            "install reinstreq half-installed",
            "install ok unpacked",
            "install ok half-configured",
            "purge ok not-installed",
            "unknown ok not-installed",
            "installed",
            "",
        ] {
            let found = found(format!("Package: ds-agent\nStatus: {state}\nVersion: 1\n").as_bytes());
            assert!(!found[0].is_installed(), "{state}");
        }
        for state in [
            "hold ok installed",
            "deinstall ok installed",
            "install reinstreq installed",
            "install ok triggers-pending",
            "install ok triggers-awaited",
        ] {
            let found = found(format!("Package: ds-agent\r\nStatus: {state}\r\n\r\n").as_bytes());
            assert!(found[0].is_installed(), "{state}");
        }
    }
}
