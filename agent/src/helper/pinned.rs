//! Who this machine is, as its helper knows it. Invariant: written by root alone, on a command of root's, and never taken
//! from the agent.

use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use seatbeat_proto::hex;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{key_from_text, key_text};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::state::{StateError, StateFolder};

/// The helper's folder.
pub const MACHINE_FOLDER: &str = "/var/lib/seatbeat-agent-helper";

/// Its file.
const FILE: &str = "pinned.toml";

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Which machine this is.
    pub machine: MachineId,
    /// Asks for reports and calls orders back; switches nothing.
    pub service: VerifyingKey,
    /// What hardware facts are hashed with.
    pub salt: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    machine: String,
    service_key: String,
    salt: String,
}

/// Why the helper does not know who this machine is.
#[derive(Debug, thiserror::Error)]
pub enum PinnedError {
    /// Nobody said.
    #[error("`{}` is not there: this machine's helper does not know who it is", .0.display())]
    Missing(PathBuf),
    /// It says something else.
    #[error("`{}` is damaged", .0.display())]
    Damaged(PathBuf),
    /// The folder.
    #[error(transparent)]
    State(#[from] StateError),
}

impl PinnedError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => {
                Some("enrol the machine as root: `seatbeat-agent enrol --token sb1.…`".into())
            }
            Self::Damaged(_) => Some("enrol the machine again as root, with `--again`".into()),
            Self::State(error) => error.hint(),
        }
    }
}

impl Pinned {
    /// Of a machine that was let in just now.
    pub fn of(identity: &Identity) -> Self {
        Self { machine: identity.machine.clone(), service: identity.service, salt: identity.salt }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub fn load(folder: &Path) -> Result<Self, PinnedError> {
        let path = folder.join(FILE);
        let bytes = StateFolder::at(folder.to_owned()).read(FILE)?;
        let bytes = bytes.ok_or_else(|| PinnedError::Missing(path.clone()))?;
        let text = std::str::from_utf8(&bytes).ok().and_then(|text| toml::from_str::<Text>(text).ok());
        let read = |text: Text| {
            Some(Self {
                machine: text.machine.parse().ok()?,
                service: key_from_text(&text.service_key).ok()?,
                salt: hex::parse::<32>(&text.salt)?,
            })
        };
        text.and_then(read).ok_or(PinnedError::Damaged(path))
    }

    /// Writes it, for root alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store(&self, folder: &Path) -> Result<(), PinnedError> {
        let text = Text {
            machine: self.machine.to_string(),
            service_key: key_text(&self.service),
            salt: hex::format(&self.salt),
        };
        let state = StateFolder::at(folder.to_owned());
        state.create()?;
        let text = toml::to_string(&text).map_err(|_| PinnedError::Damaged(folder.join(FILE)))?;
        Ok(state.write(FILE, text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pinned_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("helper");
        assert!(matches!(Pinned::load(&folder), Err(PinnedError::Missing(_))));
        let pinned = Pinned {
            machine: "mch_a".parse().unwrap(),
            service: seatbeat_proto::signed::new_key().verifying_key(),
            salt: [7; 32],
        };
        pinned.store(&folder).unwrap();
        assert_eq!(Pinned::load(&folder).unwrap(), pinned);
        std::fs::write(folder.join(FILE), "machine = \"mch_a\"\n").unwrap();
        assert!(matches!(Pinned::load(&folder), Err(PinnedError::Damaged(_))));
    }
}
