//! Rows in sled, with a tally of what ought to be there: sled may open a damaged file without an error and with rows
//! missing. Invariant: rows that open are, all together, what one earlier write left; anything else is `Damaged`.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::lock::patiently;

/// Most rows in one batch: sled spends gigabytes on much larger ones.
pub const BATCH_ROWS_MAX: usize = 512;

/// Memory for sled's page cache; its own default is a gigabyte.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Free space below which nothing is written: sled that once met a full disk takes no more until it is opened again,
/// and its file grows by half a MiB at a time.
const ROOM_BYTES_MIN: u64 = 2 * 1024 * 1024;

/// Sorts before every other key.
const TALLY_KEY: &[u8] = b"\0tally";

/// What can be wrong with rows.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// What is there is not what was written.
    #[error("what `{folder}` holds is not what was written to it: {what}")]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// How it shows.
        what: String,
    },
    /// Another process has them open.
    #[error("`{folder}` is in use by another process")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// More than one batch takes.
    #[error("{rows} rows are more than one batch takes ({BATCH_ROWS_MAX})")]
    TooMany {
        /// How many came.
        rows: usize,
    },
    /// The disk is about to be full; nothing was written.
    #[error("no room to write to `{folder}`: {free} bytes are free")]
    Full {
        /// The folder.
        folder: PathBuf,
        /// Bytes that are free on its disk.
        free: u64,
    },
    /// The system failed an act.
    #[error("failed to {act} `{folder}`")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write failed.
    #[error("`{folder}` takes no more rows since an earlier error")]
    Failed {
        /// The folder.
        folder: PathBuf,
    },
}

/// One row to be, or, without a value, to be no more.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A row's key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// An open set of rows.
pub struct Rows {
    folder: PathBuf,
    tree: sled::Db,
    /// sled's one data file: a failed sync of any write since the opening shows on this handle.
    data: File,
    state: Mutex<State>,
}

struct State {
    tally: Tally,
    stamp: Vec<u8>,
    failed: bool,
    room_bytes_min: u64,
}

impl Rows {
    /// Opens rows, made where there are none, and checks every one of them. `background_flush` lets sled hand
    /// writes to the system twice a second; without it only [`Rows::sync`] does.
    pub fn open(folder: &Path, background_flush: bool) -> Result<Self, RowsError> {
        crate::store::make_folder(folder).map_err(|error| match error {
            crate::store::StoreError::Io { act, source, .. } => {
                RowsError::Io { act, folder: folder.into(), source }
            }
            other => RowsError::Io { act: "create", folder: folder.into(), source: io::Error::other(other) },
        })?;
        let config = sled::Config::new()
            .path(folder.join("sled"))
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(background_flush.then_some(500));
        let opened = || {
            guarded(folder, || {
                let tree = config.open()?;
                let state = State::read(&tree)?;
                Ok((tree, state))
            })
        };
        let is_in_use = |error: &RowsError| matches!(error, RowsError::InUse { .. });
        let (tree, state) = match patiently(opened, is_in_use) {
            Err(RowsError::Damaged { .. }) if remove_unfinished(folder) => patiently(opened, is_in_use)?,
            opened => opened?,
        };
        let state = state.map_err(|what| RowsError::Damaged { folder: folder.into(), what })?;
        let failed = |source| RowsError::Io { act: "open", folder: folder.into(), source };
        let data = File::open(folder.join("sled/db")).map_err(failed)?;
        Ok(Self { folder: folder.into(), tree, data, state: Mutex::new(state) })
    }

    /// What was written with the rows last; empty where nothing ever was.
    pub fn stamp(&self) -> Vec<u8> {
        self.state().stamp.clone()
    }

    /// One row's value.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        guarded(&self.folder, || Ok(self.tree.get(key)?.map(|value| value.to_vec())))
    }

    /// Rows whose keys begin alike, at most `limit`, in the order of their keys or from the last one back.
    pub fn scan(&self, prefix: &[u8], limit: usize, backwards: bool) -> Result<Vec<Row>, RowsError> {
        guarded(&self.folder, || {
            let rows = self.tree.scan_prefix(prefix);
            let copied = |row: sled::Result<(sled::IVec, sled::IVec)>| {
                row.map(|(key, value)| (key.to_vec(), value.to_vec()))
            };
            if backwards {
                rows.rev().take(limit).map(copied).collect()
            } else {
                rows.take(limit).map(copied).collect()
            }
        })
    }

    /// All rows, in the order of their keys.
    pub fn all(&self) -> Result<Vec<Row>, RowsError> {
        let mut rows = self.scan(b"", usize::MAX, false)?;
        rows.retain(|(key, _)| key != TALLY_KEY);
        Ok(rows)
    }

    /// Changes rows and the stamp, all at once. A key may be there only once.
    pub fn write(&self, changes: &[Change], stamp: &[u8]) -> Result<(), RowsError> {
        if changes.len() > BATCH_ROWS_MAX {
            return Err(RowsError::TooMany { rows: changes.len() });
        }
        let mut state = self.state();
        if state.failed {
            return Err(RowsError::Failed { folder: self.folder.clone() });
        }
        let free = self.free_bytes()?;
        if free < state.room_bytes_min {
            return Err(RowsError::Full { folder: self.folder.clone(), free });
        }
        let written = guarded(&self.folder, || {
            let mut tally = state.tally;
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                if let Some(old) = self.tree.get(key)? {
                    tally.remove(key, &old);
                }
                match value {
                    Some(value) => {
                        tally.add(key, value);
                        batch.insert(key.as_slice(), value.as_slice());
                    }
                    None => batch.remove(key.as_slice()),
                }
            }
            batch.insert(TALLY_KEY, [tally.encode().as_slice(), stamp].concat());
            self.tree.apply_batch(batch)?;
            Ok(tally)
        });
        match written {
            Ok(tally) => {
                state.tally = tally;
                state.stamp = stamp.to_vec();
                Ok(())
            }
            Err(error) => {
                state.failed = true;
                Err(error)
            }
        }
    }

    /// Returns when all writes are durable. sled's own flush hands them to the system but does not sync on Linux.
    pub fn sync(&self) -> Result<(), RowsError> {
        let flushed = guarded(&self.folder, || self.tree.flush());
        let synced = flushed.and_then(|_| {
            self.data.sync_all().map_err(|source| RowsError::Io {
                act: "sync",
                folder: self.folder.clone(),
                source,
            })
        });
        if synced.is_err() {
            self.state().failed = true;
        }
        synced
    }

    /// Makes the files that sled has made durable, with their names.
    pub fn sync_files(&self) -> Result<(), RowsError> {
        self.sync()?;
        let folder = self.folder.join("sled");
        let sync = || {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_file() {
                    File::open(path)?.sync_all()?;
                }
            }
            File::open(&folder)?.sync_all()?;
            File::open(&self.folder)?.sync_all()
        };
        sync().map_err(|source| RowsError::Io { act: "sync", folder: self.folder.clone(), source })
    }

    fn free_bytes(&self) -> Result<u64, RowsError> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(|errno| RowsError::Io {
            act: "ask for the free space of",
            folder: self.folder.clone(),
            source: errno.into(),
        })?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the rows and compares them with the tally; the inner error says how they differ.
    fn read(tree: &sled::Db) -> sled::Result<Result<Self, String>> {
        let (mut counted, mut noted) = (Tally::default(), None);
        for row in tree.iter() {
            let (key, value) = row?;
            if key == TALLY_KEY {
                noted = Some(value.to_vec());
            } else {
                counted.add(&key, &value);
            }
        }
        let (tally, stamp) = match noted.as_deref().map(|row| row.split_first_chunk::<TALLY_LENGTH>()) {
            None => (Tally::default(), Vec::new()),
            Some(Some((tally, stamp))) => (Tally::decode(tally), stamp.to_vec()),
            Some(None) => return Ok(Err("its tally is cut off".into())),
        };
        if counted.rows != tally.rows {
            return Ok(Err(format!("it has {} rows of {}", counted.rows, tally.rows)));
        }
        if counted != tally {
            return Ok(Err("a row is not what was written".into()));
        }
        Ok(Ok(Self { tally, stamp, failed: false, room_bytes_min: ROOM_BYTES_MIN }))
    }
}

const TALLY_LENGTH: usize = 8 + 32;

/// How many rows there are, and the exclusive or of their digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    rows: u64,
    digest: [u8; 32],
}

impl Tally {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.mix(key, value);
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.mix(key, value);
    }

    fn mix(&mut self, key: &[u8], value: &[u8]) {
        let hasher = Sha256::new().chain_update((key.len() as u64).to_le_bytes());
        let row: [u8; 32] = hasher.chain_update(key).chain_update(value).finalize().into();
        self.digest.iter_mut().zip(row).for_each(|(all, one)| *all ^= one);
    }

    fn encode(&self) -> [u8; TALLY_LENGTH] {
        let mut bytes = [0; TALLY_LENGTH];
        bytes[..8].copy_from_slice(&self.rows.to_le_bytes());
        bytes[8..].copy_from_slice(&self.digest);
        bytes
    }

    fn decode(bytes: &[u8; TALLY_LENGTH]) -> Self {
        let (mut rows, mut digest) = ([0; 8], [0; 32]);
        rows.copy_from_slice(&bytes[..8]);
        digest.copy_from_slice(&bytes[8..]);
        Self { rows: u64::from_le_bytes(rows), digest }
    }
}

/// Removes snapshots of its log that sled had not finished when it was ended: it takes one for the newest there is, and
/// refuses what it holds. Whether there was any.
fn remove_unfinished(folder: &Path) -> bool {
    let remove = || -> io::Result<bool> {
        let mut removed = false;
        for entry in fs::read_dir(folder.join("sled"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "generating") {
                fs::remove_file(&path)?;
                removed = true;
            }
        }
        Ok(removed)
    };
    // Where that fails, what sled said is told.
    remove().unwrap_or(false)
}

/// Runs an act of sled, which panics on some of what it reads.
fn guarded<T>(folder: &Path, act: impl FnOnce() -> sled::Result<T>) -> Result<T, RowsError> {
    let damaged = |what: String| RowsError::Damaged { folder: folder.into(), what };
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) if source.to_string().contains("could not acquire lock") => {
            Err(RowsError::InUse { folder: folder.into() })
        }
        Ok(Err(sled::Error::Io(source))) => {
            Err(RowsError::Io { act: "use the rows in", folder: folder.into(), source })
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("sled could not go on with what it read".into())),
    }
}

#[cfg(test)]
pub(crate) mod damage {
    use super::*;

    /// Makes the disk seem to lack room, or to have it again.
    pub fn fill(rows: &Rows, full: bool) {
        rows.state().room_bytes_min = if full { u64::MAX } else { 0 };
    }

    /// Every file below a folder, with its bytes.
    pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.append(&mut files(&path));
            } else {
                let bytes = fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
        found.sort();
        found
    }

    /// Makes a folder hold exactly these files.
    pub fn restore(folder: &Path, files: &[(PathBuf, Vec<u8>)]) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).unwrap();
        for (path, bytes) in files {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Places to damage in a file: all bytes that are not zero, thinned out to `most`, and as many zeros.
    pub fn places(bytes: &[u8], most: usize) -> Vec<usize> {
        let thinned = |zero: bool| {
            let all: Vec<_> = (0..bytes.len()).filter(|&at| (bytes[at] == 0) == zero).collect();
            let step = (all.len() / most).max(1);
            all.into_iter().step_by(step).collect::<Vec<_>>()
        };
        [thinned(false), thinned(true)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sled_was_writing_when_it_was_ended_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::open(folder.path(), false).unwrap();
        rows.write(&[(b"key".to_vec(), Some(b"value".to_vec()))], b"stamp").unwrap();
        rows.sync().unwrap();
        drop(rows);
        let unfinished = folder.path().join("sled/snap.FFFFFFFFFFFFFFFF.generating");
        for left in [b"".as_slice(), b"begun", &[0; 40]] {
            fs::write(&unfinished, left).unwrap();
            let rows = Rows::open(folder.path(), false).unwrap();
            assert_eq!(rows.get(b"key").unwrap().as_deref(), Some(b"value".as_slice()));
            assert_eq!(rows.stamp(), b"stamp");
        }
    }
}
