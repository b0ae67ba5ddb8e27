//! What was seen of a machine, by any source on any system: the one input of matching, and the snapshot file.
//! Invariant: it holds only what a catalogue asked for, in the catalogue's own spelling, and nothing of a person.
//! A source that is not listed as unreadable was read, so what it does not list is not there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

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
    /// The Windows registry, uninstall entries included.
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
}

/// Everything that was seen. Its JSON form is the snapshot file (`seatbeat-agent scan --save`); every field but
/// `format` and `os` may be left out, and an unknown one is an error.
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
    /// Paths that exist, spelt as the catalogue does (`{x86}\Trend Micro\…`).
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
    /// Registry keys that exist. `HKLM\SOFTWARE\…` stands for the 64-bit and the 32-bit view.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub registry_keys: BTreeSet<String>,
    /// Registry values as text (a DWORD in decimal), by `key!name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registry_values: BTreeMap<String, String>,
    /// Entries of the Uninstall keys, of both views and of each user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uninstall: Vec<Uninstall>,
    /// Product codes known to Windows Installer, `{8-4-4-4-12}`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub msi_product_codes: BTreeSet<String>,
    /// Upgrade codes known to Windows Installer, unpacked.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub msi_upgrade_codes: BTreeSet<String>,
    /// Windows services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Rows of Windows Security Center.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_center: Vec<SecurityCenterRow>,
    /// Version resources by path, spelt as the catalogue does.
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
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Whose database it is in.
    pub manager: PackageManager,
    /// Its name.
    pub name: String,
    /// Its version, release included.
    #[serde(default)]
    pub version: String,
    /// dpkg's three words (`install ok installed`); rpm lists only what is installed.
    #[serde(default = "Package::installed_state")]
    pub state: String,
}

impl Package {
    /// The state of a package that is all there.
    pub const INSTALLED: &'static str = "install ok installed";

    /// Whether all of it is there: not removed, half unpacked, or left with its settings only.
    pub fn is_installed(&self) -> bool {
        let mut words = self.state.split_whitespace();
        let wanted = words.next();
        matches!(wanted, Some("install" | "hold")) && words.eq(["ok", "installed"])
    }

    fn installed_state() -> String {
        Self::INSTALLED.to_owned()
    }
}

/// Whose package database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageManager {
    /// Debian's.
    Dpkg,
    /// Red Hat's and SUSE's.
    Rpm,
}

/// One systemd unit that has a unit file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// `LoadState`: `loaded`, `masked`, …; empty when systemd was not asked.
    #[serde(default)]
    pub load: String,
    /// `ActiveState`: `active`, `inactive`, `failed`, …; empty when systemd was not asked.
    #[serde(default)]
    pub active: String,
    /// `UnitFileState`: `enabled`, `disabled`, …; empty when it could not be told.
    #[serde(default)]
    pub enabled: String,
}

/// One running process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Full path of its program, or its bare name where the path may not be read.
    pub exe: String,
}

/// A vendor program whose answer is read. The commands behind the ids are compiled into the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VendorCommand {
    /// `dsa_query -c GetAgentStatus`
    #[serde(rename = "dsa_query-GetAgentStatus")]
    DsaAgentStatus,
    /// `dsa_query -c GetComponentInfo`
    #[serde(rename = "dsa_query-GetComponentInfo")]
    DsaComponentInfo,
    /// `tmxbc -v`
    #[serde(rename = "tmxbc-v")]
    TmxbcVersion,
}

impl VendorCommand {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::DsaAgentStatus, Self::DsaComponentInfo, Self::TmxbcVersion];

    /// Its id, and the name of its file (`<id>.txt`) in a folder of collected output.
    pub fn id(self) -> &'static str {
        match self {
            Self::DsaAgentStatus => "dsa_query-GetAgentStatus",
            Self::DsaComponentInfo => "dsa_query-GetComponentInfo",
            Self::TmxbcVersion => "tmxbc-v",
        }
    }

    /// The command of this id.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.id() == id)
    }
}

/// One entry of an Uninstall key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uninstall {
    /// Name of its key.
    pub key: String,
    /// `DisplayName`.
    #[serde(default)]
    pub name: String,
    /// `DisplayVersion`.
    #[serde(default)]
    pub version: String,
}

/// One Windows service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its display name.
    #[serde(default)]
    pub display: String,
    /// Whether it runs now.
    #[serde(default)]
    pub running: bool,
    /// `auto`, `demand`, `disabled`, …; empty when not read.
    #[serde(default)]
    pub start: String,
}

/// One antivirus row of Windows Security Center.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityCenterRow {
    /// `displayName`.
    pub name: String,
    /// `productState`.
    pub state: u32,
    /// Whether `pathToSignedProductExe` exists. A row can outlive its program.
    pub program_exists: bool,
}

impl SecurityCenterRow {
    /// Bits of `productState` that say whether it protects.
    const STATE_MASK: u32 = 0xF000;
    const STATE_ON: u32 = 0x1000;

    /// Whether the row says that the product protects.
    pub fn is_on(&self) -> bool {
        self.state & Self::STATE_MASK == Self::STATE_ON
    }
}
