//! What was seen of a machine, by any source on any system: the one input of matching, and the snapshot file.
//! Invariant: it holds only what a catalogue asked for, in the catalogue's own spelling, and nothing of a person.
//! A source that is not listed as unreadable was read, so what it does not list is not there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::things::{Package, Process, SecurityCenterRow, Service, Uninstall, Unit, VendorCommand};

/// Name and version of the snapshot format; the first field of each file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotFormat {
    /// The first one.
    #[default]
    #[serde(rename = "seatbeat-snapshot/1")]
    V1,
}

/// The kind of operating system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Os {
    /// Any distribution.
    #[default]
    Linux,
    /// Desktop or server.
    Windows,
    /// Apple's desktops.
    Macos,
}

impl Os {
    /// Its name in the catalogue and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
            Self::Macos => "macos",
        }
    }

    /// The system of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Linux, Self::Windows, Self::Macos].into_iter().find(|os| os.as_str() == name)
    }
}

/// One outside thing that is read; each can fail by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// dpkg's status file.
    Dpkg,
    /// The rpm database.
    Rpm,
    /// Which systemd unit files are there.
    UnitFiles,
    /// What systemd says of its units' state.
    UnitState,
    /// `/etc/init.d`.
    InitScripts,
    /// The process list.
    Processes,
    /// Files and folders.
    Paths,
    /// The group list.
    Groups,
    /// Loaded kernel modules or drivers.
    KernelModules,
    /// Listening TCP ports.
    ListeningPorts,
    /// Output of the vendor's own programs.
    VendorOutput,
    /// The Windows registry, uninstall entries and run values included.
    Registry,
    /// Windows Installer.
    Msi,
    /// The Windows service list.
    Services,
    /// Windows Security Center.
    SecurityCenter,
    /// Version resources of files.
    FileVersions,
    /// Named pipes.
    Pipes,
    /// macOS installer receipts.
    Receipts,
    /// launchd jobs.
    Launchd,
    /// macOS application bundles.
    Bundles,
    /// macOS system extensions.
    SystemExtensions,
    /// Property lists.
    Plists,
    /// Ini files.
    IniFiles,
    /// Tasks of a Domino server.
    DominoTasks,
}

/// Everything that was seen. Its JSON form is the snapshot file (`scan --save`, `scan --snapshot`):
///
/// ```json
/// { "format": "seatbeat-snapshot/1", "os": "windows",
///   "unreadable": {"msi": "access is denied"},
///   "registry_values": {"HKLM\\SOFTWARE\\TrendMicro\\PC-cillinNTCorp\\CurrentVersion\\Misc.!ProgramVer": "14.0.12033"},
///   "uninstall": [{"key": "OfficeScanNT", "name": "Trend Micro Apex One Security Agent", "version": "14.0.12033",
///                  "publisher": "Trend Micro Inc.", "hive": "machine32"}],
///   "services": [{"name": "ntrtscan", "display": "Apex One NT RealTime Scan", "running": true, "start": "auto"}],
///   "security_center": [{"name": "Trend Micro Apex One Antivirus", "state": 266240, "program_exists": true}] }
/// ```
///
/// Every field but `format` and `os` may be left out, an unknown one is an error. A field that is left out says that
/// nothing of the kind is there, unless its source stands under `unreadable` (a source's name is a word of
/// [`Source`]; a vendor's command that is left out always is unknown). Letter case does not matter in names.
///
/// - Paths (`paths`, `file_versions`, `ini_values`) are spelt as in the catalogue (`{x86}\Trend Micro\…`,
///   `{HKLM\…!HomeDirectory}\SpntSvc.exe`) or as on the disk (`C:\Program Files (x86)\Trend Micro\…`).
/// - Registry keys and values (`key!name`) are spelt for the 64-bit view or the 32-bit one (`WOW6432Node`); the two
///   are one. A DWORD is written in decimal or `0x…`.
/// - Windows Installer codes are braced (`{8-4-4-4-12}`) or packed, as the registry has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observations {
    /// Always `seatbeat-snapshot/1`.
    pub format: SnapshotFormat,
    /// The system that was looked at.
    pub os: Os,
    /// Sources that could not be read, and why. A source left out was read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<Source, String>,
    /// Packages of dpkg and rpm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// systemd units that have a unit file, by full name (`ds_agent.service`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, Unit>,
    /// Names in `/etc/init.d`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub init_scripts: BTreeSet<String>,
    /// Running processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// Paths that exist.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub paths: BTreeSet<String>,
    /// Local groups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Loaded kernel modules (Linux) or kernel drivers (Windows).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kernel_modules: BTreeSet<String>,
    /// TCP ports that something listens on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub listening_ports: BTreeSet<u16>,
    /// What the vendor's programs answered. A command left out gave no answer: what it would say is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vendor_output: BTreeMap<VendorCommand, String>,
    /// Registry keys that exist.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub registry_keys: BTreeSet<String>,
    /// Registry values as text, by `key!name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registry_values: BTreeMap<String, String>,
    /// Entries of the Uninstall keys, of both views and of each user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uninstall: Vec<Uninstall>,
    /// Product codes known to Windows Installer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub msi_product_codes: BTreeSet<String>,
    /// Upgrade codes known to Windows Installer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub msi_upgrade_codes: BTreeSet<String>,
    /// Windows services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Rows of Windows Security Center.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_center: Vec<SecurityCenterRow>,
    /// Version resources by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub file_versions: BTreeMap<String, String>,
    /// Named pipes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pipes: BTreeSet<String>,
    /// macOS installer receipts and their versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub receipts: BTreeMap<String, String>,
    /// launchd jobs by label; true when loaded, false when there is only the property list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub launchd: BTreeMap<String, bool>,
    /// Application bundles by path, with `CFBundleShortVersionString`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bundles: BTreeMap<String, String>,
    /// System extensions by bundle id; true when activated and enabled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub system_extensions: BTreeMap<String, bool>,
    /// Values of property lists as text, by `path!key:key`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plist_values: BTreeMap<String, String>,
    /// Values of ini files as text, by `path!section!key`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ini_values: BTreeMap<String, String>,
    /// Names of values of the machine's Windows `Run` keys, of both views.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub run_values: BTreeSet<String>,
    /// Tasks that a Domino server on this machine runs (`SMDreal`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub domino_tasks: BTreeSet<String>,
}
