//! The rows of an [`Observations`]: packages, units, services, entries, each as its source lists it.
//! Invariant: text as it was read; only what has a fixed set of words is an enum.

use serde::{Deserialize, Serialize};

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

    /// Whether all of it is there: not removed, half unpacked, or left with its settings only. What somebody wants to
    /// become of it (dpkg's first word) is not yet so; triggers that wait are work on other packages (dpkg(1)).
    pub fn is_installed(&self) -> bool {
        let mut words = self.state.split_whitespace();
        let (wanted, _error, status, rest) = (words.next(), words.next(), words.next(), words.next());
        wanted.is_some()
            && matches!(status, Some("installed" | "triggers-awaited" | "triggers-pending"))
            && rest.is_none()
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
    /// `Publisher`; empty when there is none or it was not read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub publisher: String,
    /// Where its key is.
    #[serde(default)]
    pub hive: Hive,
}

/// Where an Uninstall key is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hive {
    /// The machine's, in the view of its own word length.
    #[default]
    Machine,
    /// The machine's, in the 32-bit view of a 64-bit system.
    Machine32,
    /// A user's.
    User,
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

/// What a Security Center row says of protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// It does not protect.
    Off,
    /// It protects.
    On,
    /// Its user put it off for a while.
    Snoozed,
    /// Its licence ended, and it does not protect.
    Expired,
    /// A state of its own, or one that nobody has written down.
    Other,
}

impl SecurityCenterRow {
    /// Bits of `productState` that say whether it protects.
    const STATE_MASK: u32 = 0xF000;
    /// Bits that say whether its patterns are out of date.
    const SIGNATURE_MASK: u32 = 0x00F0;

    /// What the row says, whether or not its program is still there.
    pub fn protection(&self) -> Protection {
        match self.state & Self::STATE_MASK {
            0x0000 => Protection::Off,
            0x1000 => Protection::On,
            0x2000 => Protection::Snoozed,
            0x3000 => Protection::Expired,
            _ => Protection::Other,
        }
    }

    /// Whether the row says that the product protects.
    pub fn is_on(&self) -> bool {
        self.protection() == Protection::On
    }

    /// Whether the row says that the product's patterns are out of date.
    pub fn is_outdated(&self) -> bool {
        self.state & Self::SIGNATURE_MASK != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_security_center_state_is_read_by_its_masks() {
        for (state, protection, outdated) in [
            (0x41000, Protection::On, false),
            (0x41010, Protection::On, true),
            (0x40000, Protection::Off, false),
            (0x42000, Protection::Snoozed, false),
            (0x43010, Protection::Expired, true),
            (0x44000, Protection::Other, false),
            (0x61000, Protection::On, false),
        ] {
            let row = SecurityCenterRow { name: "x".into(), state, program_exists: true };
            assert_eq!((row.protection(), row.is_outdated()), (protection, outdated), "{state:#x}");
        }
    }
}
