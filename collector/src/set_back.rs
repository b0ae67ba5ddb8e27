//! What a store remembers of having been restored, and of a checkpoint that its log cannot reach. Invariant: neither
//! is needed for a count; a file that is missing or damaged is none.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seatbeat_ledger::checkpoint::Checkpoint;
use seatbeat_ledger::merkle::Frontier;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::{self, StoreError};

/// Where the log went another way, once it was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBack {
    /// The epoch that began then.
    pub epoch: u64,
    /// When, in Unix milliseconds.
    pub restored_at_ms: i64,
    /// The log that the backup held.
    pub frontier: Frontier,
}

/// A checkpoint that was signed of records which are not, or no longer, there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreached {
    /// How many records.
    pub size: u64,
    /// The root over them, in base64.
    pub root: String,
}

impl SetBack {
    /// Name of the file in the store.
    pub const FILE: &str = "restored.json";

    /// Keeps it in a store.
    ///
    /// # Errors
    /// When the system fails.
    pub fn keep(&self, store: &Path) -> Result<(), StoreError> {
        keep(&store.join(Self::FILE), self)
    }

    /// What a store remembers; none where it was never restored.
    pub fn of(store: &Path) -> Option<Self> {
        read(&store.join(Self::FILE))
    }
}

impl Unreached {
    /// Name of the file in the store; whoever has settled the matter removes it.
    pub const FILE: &str = "unreached.json";

    /// Of a checkpoint whose signature holds.
    pub fn by(checkpoint: &Checkpoint) -> Self {
        Self { size: checkpoint.size, root: STANDARD.encode(checkpoint.root) }
    }

    /// Remembers it for good, so that what was settled is not told again.
    const REMEMBERED: &str = "unreached.known.json";

    /// Keeps it in a store.
    ///
    /// # Errors
    /// When the system fails.
    pub fn keep(&self, store: &Path) -> Result<(), StoreError> {
        keep(&store.join(Self::REMEMBERED), self)?;
        keep(&store.join(Self::FILE), self)
    }

    /// The last that was ever told, settled or not.
    pub fn known(store: &Path) -> Option<Self> {
        read(&store.join(Self::REMEMBERED))
    }

    /// What a store is told of; none where all is well, or was settled.
    pub fn of(store: &Path) -> Option<Self> {
        read(&store.join(Self::FILE))
    }

    /// What an operator is told.
    pub fn words(&self) -> String {
        format!(
            "this log cannot reach its own checkpoint of record {} (root {}): what was written up to there and is \
             not here is lost. Agents send their reports of the last 62 days again; what operators did is on no \
             record: do it again, then remove `{}` from the store",
            self.size,
            self.root,
            Self::FILE
        )
    }
}

fn keep(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    store::write_file(path, &serde_json::to_vec(value).expect("numbers and texts make JSON"))
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
