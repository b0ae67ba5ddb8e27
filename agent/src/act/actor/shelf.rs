//! The one file of whoever carries orders out. Invariant: it is there whole or not at all, for its owner alone, and one
//! that is damaged is nobody's: no order is taken by it.

use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use seatbeat_proto::hex;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::sealing::SealKey;
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::super::book::{Book, Forged, Ordered};
use super::super::trust::Trust;
use crate::sealed;
use crate::spool::disk::Disk;

/// Its name.
const FILE: &str = "book.json";

/// How long a seal key that was used opens what was sealed to it before: the other orders of its batch are on their way.
const SEAL_KEPT_MS: i64 = 24 * 3_600_000;

/// Most seal keys that open anything.
const SEALS_MAX: usize = 8;

/// Why orders are not taken.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// A file or folder.
    #[error("failed to {act} `{}`", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody changed it.
    #[error("the book of orders `{}` is damaged", .0.display())]
    Damaged(PathBuf),
    /// Keys that cannot be used.
    #[error("the order keys are not usable")]
    Keys,
}

impl ActorError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root, or as the user who owns the folder".into())
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on the disk".into())
            }
            Self::File { .. } => None,
            Self::Damaged(_) => Some(
                "`seatbeat-agent trust-orders so1.…` begins a new one; see to it that no old order is under way".into(),
            ),
            Self::Keys => Some("copy them again from `seatbeat orders key show`".into()),
        }
    }
}

/// All that is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    machine: String,
    service_key: String,
    pub(super) trust: Trust,
    pub(super) book: Book,
    #[serde(default)]
    pub(super) forged: Forged,
    /// The last one is the one that others seal to.
    seals: Vec<Seal>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seal {
    secret: Secret,
    /// Hexadecimal.
    public: String,
    /// When the one behind it came, Unix milliseconds.
    renewed_ms: Option<i64>,
}

/// As it lies on the disk, in hexadecimal; shown nowhere.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Secret {
    /// Bytes of a key that is not sealed: other systems than Windows keep it so, and so did earlier versions there.
    const LENGTH: usize = 32;

    fn of(key: &SealKey) -> Self {
        let bytes = key.to_bytes();
        match sealed::seal(bytes.as_slice()) {
            Ok(sealed) => Self(hex::format(&sealed)),
            Err(error) => {
                tracing::warn!(
                    error = error.to_string(),
                    "a key lies unsealed in the agent's private folder"
                );
                Self(hex::format(bytes.as_slice()))
            }
        }
    }

    fn open(&self) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = Zeroizing::new(hex::parse_all(&self.0)?);
        if bytes.len() == Self::LENGTH { Some(bytes) } else { sealed::open(&bytes) }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Kept {
    fn new(machine: &MachineId, service: &VerifyingKey, seal: &SealKey) -> Self {
        Self {
            machine: machine.to_string(),
            service_key: hex::format(service.as_bytes()),
            trust: Trust::default(),
            book: Book::default(),
            forged: Forged::default(),
            seals: vec![Seal::new(seal)],
        }
    }

    /// What secrets are to be sealed to.
    pub(super) fn seal_public(&self) -> Vec<u8> {
        self.seals.last().and_then(|newest| hex::parse_all(&newest.public)).unwrap_or_default()
    }

    /// The secrets of an order.
    pub(super) fn open_secrets(&self, ordered: &Ordered, machine: &MachineId) -> Option<wire::OrderSecrets> {
        let sealed = hex::parse_all(&ordered.sealed)?;
        let order = wire::Order {
            order: ordered.id.to_string(),
            machine: machine.to_string(),
            product: ordered.product.clone(),
            expires_at_ms: ordered.expires_at_ms,
            ..wire::Order::default()
        };
        self.seals.iter().rev().find_map(|seal| seal.key()?.open(&order, &sealed).ok())
    }

    /// A seal key that was used gives way to a new one.
    pub(super) fn renew_seal(&mut self, new: &SealKey, now_ms: i64) {
        let waits = self.book.orders().iter().any(|entry| !entry.ordered.sealed.is_empty());
        let old =
            |seal: &Seal| seal.renewed_ms.is_some_and(|at_ms| now_ms.abs_diff(at_ms) > SEAL_KEPT_MS as u64);
        self.seals.retain(|seal| waits || !old(seal));
        if let Some(newest) = self.seals.last_mut() {
            newest.renewed_ms = Some(now_ms);
        }
        self.seals.push(Seal::new(new));
        let surplus = self.seals.len().saturating_sub(SEALS_MAX);
        self.seals.drain(..surplus);
    }

    fn is_of(&self, machine: &MachineId, service: &VerifyingKey) -> bool {
        self.machine == machine.as_str() && self.service_key == hex::format(service.as_bytes())
    }
}

impl Seal {
    fn new(key: &SealKey) -> Self {
        Self { secret: Secret::of(key), public: hex::format(&key.public()), renewed_ms: None }
    }

    fn key(&self) -> Option<SealKey> {
        SealKey::from_bytes(&self.secret.open()?).ok()
    }
}

/// The folder.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    disk: Box<dyn Disk>,
}

impl Shelf {
    pub(super) fn new(folder: &Path, disk: Box<dyn Disk>) -> Result<Self, ActorError> {
        let fault = |source| ActorError::File { act: "create the folder", path: folder.to_owned(), source };
        // A process that was killed may have left a book whose name no sync covers, and it is about to be relied upon.
        disk.create_folder(folder).and_then(|()| disk.sync_folder(folder)).map_err(fault)?;
        Ok(Self { folder: folder.to_owned(), disk })
    }

    /// What is kept for this machine and collector; `None`: nothing is.
    pub(super) fn read(
        &self,
        machine: &MachineId,
        service: &VerifyingKey,
    ) -> Result<Option<Kept>, ActorError> {
        let path = self.path();
        let bytes = match self.disk.read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ActorError::File { act: "read", path, source }),
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| ActorError::Damaged(path.clone()))?;
        if kept.seals.last().and_then(Seal::key).is_none() {
            return Err(ActorError::Damaged(path));
        }
        Ok(Some(kept).filter(|kept| kept.is_of(machine, service)))
    }

    /// Nothing was ordered yet, and nobody is trusted.
    pub(super) fn blank(&self, machine: &MachineId, service: &VerifyingKey) -> Kept {
        Kept::new(machine, service, &self.disk.new_seal_key())
    }

    /// What secrets are sealed to next.
    pub(super) fn new_seal(&self) -> SealKey {
        self.disk.new_seal_key()
    }

    pub(super) fn write(&self, kept: &Kept) -> Result<(), ActorError> {
        let (path, aside) = (self.path(), self.folder.join(format!("{FILE}.tmp")));
        let write = || {
            let bytes = Zeroizing::new(serde_json::to_vec(kept)?);
            let mut tape = self.disk.create(&aside)?;
            tape.write(&bytes)?;
            tape.sync()?;
            self.disk.rename(&aside, &path)?;
            self.disk.sync_folder(&self.folder)
        };
        write().map_err(|source| ActorError::File { act: "write", path: path.clone(), source })
    }

    pub(super) fn remove(&self) -> Result<(), ActorError> {
        let path = self.path();
        let removed = match self.disk.remove(&path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| self.disk.sync_folder(&self.folder)),
        };
        removed.map_err(|source| ActorError::File { act: "remove", path, source })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }
}

/// Whether keys that were brought are in force now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// They are.
    Taken,
    /// A later revision is.
    Newer(u64),
}

/// Makes order keys that an administrator brought those of a machine, whatever it trusted before; `only_newer` leaves
/// what is as new or newer. What was ordered before stays in the book when it is of the same collector; a damaged book
/// is begun anew.
///
/// # Errors
/// When the keys are not usable, or it cannot be written.
pub fn pin(
    folder: &Path,
    disk: Box<dyn Disk>,
    machine: &MachineId,
    service: &VerifyingKey,
    keys: &wire::OrderKeys,
    only_newer: bool,
) -> Result<Pinned, ActorError> {
    let trust = Trust::brought(keys).ok_or(ActorError::Keys)?;
    let shelf = Shelf::new(folder, disk)?;
    let found = match shelf.read(machine, service) {
        Err(ActorError::Damaged(_)) => None,
        found => found?,
    };
    let mut kept = found.unwrap_or_else(|| shelf.blank(machine, service));
    if only_newer && kept.trust.revision >= trust.revision {
        return Ok(Pinned::Newer(kept.trust.revision));
    }
    kept.trust = trust;
    shelf.write(&kept)?;
    Ok(Pinned::Taken)
}

#[cfg(test)]
mod tests {
    use seatbeat_proto::sealing::SealKey;

    use super::*;
    use crate::spool::disk::RealDisk;

    #[test]
    fn a_seal_key_lies_sealed_where_the_system_can_and_one_that_was_kept_before_is_still_opened() {
        let key = RealDisk.new_seal_key();
        let kept = Secret::of(&key);
        assert_eq!(kept.open().unwrap().as_slice(), key.to_bytes().as_slice());
        let plain = hex::format(key.to_bytes().as_slice());
        assert_eq!(kept.0 == plain, !cfg!(windows), "only there the system seals");
        let before = Seal { secret: Secret(plain), public: hex::format(&key.public()), renewed_ms: None };
        assert_eq!(before.key().as_ref().map(SealKey::public), Some(key.public()));
        for damaged in ["", "abc", "00"] {
            let seal = Seal { secret: Secret(damaged.to_owned()), public: String::new(), renewed_ms: None };
            assert!(seal.key().is_none(), "{damaged}");
        }
    }
}
