//! Snapshot files: observations as JSON, written by `scan --save`, read by `scan --snapshot` and by simulated machines.
//!
//! ```json
//! { "format": "seatbeat-snapshot/1", "os": "linux",
//!   "packages": [{"manager": "dpkg", "name": "ds-agent", "version": "20.0.0.7303", "state": "install ok installed"}],
//!   "vendor_output": {"dsa_query-GetAgentStatus": "AgentStatus.agentState: green\n…"} }
//! ```
//! The fields are those of [`Observations`]; all but `format` and `os` may be left out, an unknown one is an error.
//! Invariant: what was saved is read back equal; a file is bounded.

use std::io::Read;
use std::path::{Path, PathBuf};

use seatbeat_proto::catalogue::{Observations, Os, Wanted};

use super::Sensor;

/// Longest file in bytes: a hundred times the largest machine's.
pub const LENGTH_MAX: u64 = 4 * 1024 * 1024;

/// Why a snapshot file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read.
    #[error("failed to read snapshot `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is longer than a snapshot can be.
    #[error("snapshot `{0}` is longer than {LENGTH_MAX} bytes")]
    TooLong(PathBuf),
    /// It is no snapshot.
    #[error("`{path}` is no snapshot")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("failed to write snapshot `{path}`")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl SnapshotError {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Write { .. } => "name a file in a folder that is there and may be written".into(),
            _ => "`seatbeat-agent scan --save FILE` writes one".into(),
        }
    }
}

/// A machine that was looked at before.
pub struct Snapshot(Observations);

impl Snapshot {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is too long, or is no snapshot.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::Read { path: path.to_owned(), source };
        Self::read(std::fs::File::open(path).map_err(failed)?, path)
    }

    pub(super) fn read(file: impl Read, path: &Path) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        file.take(LENGTH_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LENGTH_MAX {
            return Err(SnapshotError::TooLong(path.to_owned()));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|source| SnapshotError::Parse { path: path.to_owned(), source })
    }

    /// The system it was taken of.
    pub fn os(&self) -> Os {
        self.0.os
    }
}

impl Sensor for Snapshot {
    fn look(&self, _wanted: &Wanted<'_>, seen: &mut Observations) {
        *seen = self.0.clone();
    }
}

/// Writes observations as a snapshot file.
///
/// # Errors
/// When the file cannot be written.
pub fn save(seen: &Observations, path: &Path) -> Result<(), SnapshotError> {
    let failed = |source| SnapshotError::Write { path: path.to_owned(), source };
    let mut text = serde_json::to_string_pretty(seen).map_err(|error| failed(error.into()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(failed)
}
