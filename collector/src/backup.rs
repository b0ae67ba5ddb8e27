//! Backups: all that a collector cannot do without, as it was at one position of its journal, copied while it runs.
//! Invariant: a backup has its name only once all of it is durable and its journal was read back to the root that its
//! checkpoint signs; it is its owner's alone, for the keys are in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seatbeat_ledger::checkpoint::{Checkpoint, origin};
use seatbeat_ledger::merkle::{Frontier, Hash};
use seatbeat_proto::frame;
use serde::Serialize;

use crate::books::Books;
use crate::config::Config;
use crate::journal::{FileReader, INDEX, JournalError, Position, inspect};
use crate::snapshot;
use crate::store::{self, StoreError};
use crate::vault::VaultError;
use manifest::{CopyError, Entry, Manifest};

pub mod manifest;
pub mod restore;

/// Records that are read back at once.
const BATCH: usize = 4096;

/// Below the backup's folder: where each part lies.
const JOURNAL: &str = "journal";
const VAULT_KEY: &str = "vault/vault.key";
const VAULT_ROWS: &str = "vault/rows";
const SNAPSHOT: &str = "snapshot";

/// A backup that is whole and durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    /// Where it is.
    pub folder: PathBuf,
    /// Records of its journal.
    pub records: u64,
    /// The log's root over them, in base64.
    pub root: String,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Why nothing was backed up.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there.
    #[error("`{0}` is there already: a backup needs a folder of its own")]
    Exists(PathBuf),
    /// It names no place.
    #[error("`{0}` is no place for a backup: name a folder by its whole path")]
    Place(PathBuf),
    /// A file was not copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A folder or file was not written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The vault cannot be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What was copied is not what is known.
    #[error("the journal's copy has {found} records, and not {expected} with the root that is known of them")]
    Differs {
        /// Records that were read back.
        found: u64,
        /// Records that were to be copied.
        expected: u64,
    },
}

impl BackupError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(_) => Some("name a new folder, for instance one with the day in its name".into()),
            Self::Place(_) => {
                Some("the collector writes it on its own machine: begin with `/`, below a folder that is there".into())
            }
            Self::Copy(CopyError::Io { source, .. }) => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(
                    "the collector's user has to be able to write there; under systemd also \
                     `ReadWritePaths=` of its unit"
                        .into(),
                ),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space on that disk".into())
                }
                _ => None,
            },
            Self::Copy(_) => None,
            Self::Store(error) => error.hint(),
            Self::Journal(error) => error.hint(),
            Self::Vault(error) => error.hint(),
            Self::Differs { .. } => Some(
                "this disk or the backup's gives back other bytes than were written: `seatbeat doctor` looks at \
                 the journal; keep the older backups"
                    .into(),
            ),
        }
    }
}

/// Backs books up into a folder that is not there yet. Blocks; the books are in use meanwhile.
///
/// # Errors
/// When the folder is there or cannot be written, or a part cannot be read; nothing is left of it then.
pub fn back_up(books: &Books, folder: &Path) -> Result<BackedUp, BackupError> {
    let name = folder.file_name().filter(|_| folder.is_absolute());
    let name = name.ok_or_else(|| BackupError::Place(folder.to_owned()))?;
    if folder.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(folder.to_owned()));
    }
    let mut aside = name.to_owned();
    aside.push(".part");
    let aside = folder.with_file_name(aside);
    store::remove_folder(&aside)?;
    store::make_folder(&aside)?;
    let made = fill(books, &aside);
    let named = made.and_then(|made| {
        // A folder that somebody made meanwhile is not written over: it would have to be empty.
        fs::rename(&aside, folder).map_err(|source| CopyError::Io {
            act: "give its name to",
            path: folder.to_owned(),
            source,
        })?;
        manifest::sync_folder_of(folder)?;
        Ok(BackedUp { folder: folder.to_owned(), ..made })
    });
    if named.is_err() {
        // Half a backup helps nobody, and keys are in it.
        let _ = fs::remove_dir_all(&aside);
    }
    named
}

fn fill(books: &Books, aside: &Path) -> Result<BackedUp, BackupError> {
    let mut files = Vec::new();
    // The snapshot first: it is of records that the journal's copy has, then. Without one the next start takes longer.
    if let Some(path) = snapshot::newest(books.folder()) {
        match manifest::copy(&path, &aside.join(SNAPSHOT), None) {
            Ok(copied) => files.push(Entry::new(SNAPSHOT, copied)),
            Err(CopyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut records = 0;
    let held = books.archiver().hold();
    let index = books.folder().join(JOURNAL).join(INDEX);
    if index.exists() {
        let path = format!("{JOURNAL}/{INDEX}");
        files.push(Entry::new(&path, manifest::copy(&index, &aside.join(&path), None)?));
    }
    for segment in books.journal_files() {
        records = segment.end().0;
        if segment.archived.is_some() {
            continue;
        }
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("{JOURNAL}/{name}");
        files
            .push(Entry::new(&path, manifest::copy(&segment.path, &aside.join(&path), Some(segment.bytes))?));
    }
    drop(held);
    let root = read_back(&aside.join(JOURNAL), records)?;
    let known = books.read(|fold| (fold.position() == records).then(|| fold.root()));
    if known.is_some_and(|known| known != root) {
        return Err(BackupError::Differs { found: records, expected: records });
    }
    // Behind the journal: whatever its records name is in the vault already.
    let (key, rows) = books.vault().copy()?;
    files.push(written(aside, VAULT_KEY, &key)?);
    files.push(written(aside, VAULT_ROWS, &framed(rows)?)?);
    let config = books.folder().join(Config::FILE);
    files.push(Entry::new(Config::FILE, manifest::copy(&config, &aside.join(Config::FILE), None)?));
    let reseller = books.read(|fold| fold.founded().map(|founded| founded.reseller.clone()));
    let checkpoint = reseller.as_ref().map(|reseller| {
        Checkpoint { origin: origin(reseller), size: records, root }.sign(books.keys().service())
    });
    let bytes = files.iter().map(|entry| entry.bytes).sum();
    let manifest = Manifest {
        format: manifest::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reseller: reseller.map(|reseller| reseller.to_string()).unwrap_or_default(),
        made_at_ms: books.clock().now_ms(),
        records,
        checkpoint: checkpoint.unwrap_or_default(),
        files,
    };
    let text = serde_json::to_vec_pretty(&manifest).expect("names and numbers make JSON");
    store::write_file(&aside.join(manifest::FILE), &text)?;
    Ok(BackedUp { folder: aside.to_owned(), records, root: STANDARD.encode(root), bytes })
}

/// The root over a copied journal, each record read from the disk again.
fn read_back(journal: &Path, expected: u64) -> Result<Hash, BackupError> {
    let reader = inspect(journal)?.reader;
    let mut frontier = Frontier::default();
    each_record(&reader, |record| frontier.append(record))?;
    match frontier.size() {
        found if found == expected => Ok(frontier.root()),
        found => Err(BackupError::Differs { found, expected }),
    }
}

fn each_record(reader: &FileReader, mut take: impl FnMut(&[u8])) -> Result<(), JournalError> {
    let mut next = Position(0);
    loop {
        let batch = reader.read_from(next, BATCH)?;
        if batch.is_empty() {
            return Ok(());
        }
        next = next.plus(batch.len() as u64);
        batch.iter().for_each(|(_, record)| take(record));
    }
}

fn written(aside: &Path, path: &str, bytes: &[u8]) -> Result<Entry, BackupError> {
    let to = aside.join(path);
    if let Some(folder) = to.parent() {
        store::make_folder(folder)?;
    }
    store::write_file(&to, bytes)?;
    let checked = manifest::digest(bytes);
    Ok(Entry::new(path, checked))
}

/// Rows of the vault, sealed as they are, one behind the other.
fn framed(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    for row in rows {
        let row = postcard::to_allocvec(&row).expect("two byte strings can be written down");
        frame::append(&mut bytes, &row).map_err(|frame::TooLong(bytes)| JournalError::TooLarge {
            bytes,
            limit: frame::BODY_LENGTH_MAX,
        })?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
