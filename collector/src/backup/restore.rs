//! A backup made a store again. Invariant: a store has its name only once all of it was checked against the signed
//! checkpoint and is durable, and begins a new epoch: what was ordered behind the backup is older than what comes now.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::checkpoint::{Checkpoint, CheckpointError, origin};
use seatbeat_ledger::fold::{COLLECTOR, Fold, FoldError};
use seatbeat_ledger::merkle::{Frontier, Hash};
use seatbeat_proto::frame::{self, Frame};
use seatbeat_proto::instant;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{EpochBegan, JournalRecord};
use serde::Serialize;

use super::manifest::{self, CopyError, Manifest};
use super::{BATCH, JOURNAL, SNAPSHOT, VAULT_KEY, VAULT_ROWS};
use crate::config::Config;
use crate::journal::{FileJournal, Journal as _, JournalError, Position};
use crate::keys::{Keys, KeysError};
use crate::set_back::{SetBack, Unreached};
use crate::store::{self, StoreError};
use crate::vault::{Sealed, Vault, VaultError};

/// What is restored, and where to.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The backup.
    pub backup: PathBuf,
    /// The store that is to be; nothing is there yet.
    pub store: PathBuf,
    /// Why.
    pub reason: String,
    /// Signed checkpoints that were kept elsewhere, or folders of them.
    pub witnessed: Vec<PathBuf>,
    /// The time of day.
    pub now: Timestamp,
}

/// A store that can be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Where it is.
    pub store: PathBuf,
    /// Records that the backup held.
    pub records: u64,
    /// The log's root over them, in base64.
    pub root: String,
    /// When the backup was made.
    pub made_at: Option<Timestamp>,
    /// The epoch that has begun.
    pub epoch: u64,
    /// The last of the given checkpoints that this log does not reach.
    pub unreached: Option<Unreached>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It has no manifest, or one that is none.
    #[error("`{folder}` is no backup: {why}")]
    NoBackup {
        /// The folder.
        folder: PathBuf,
        /// How it shows.
        why: String,
    },
    /// A store, or something else, is there.
    #[error("`{0}` is not empty: a backup is restored to a new store")]
    Exists(PathBuf),
    /// Nobody said why.
    #[error("a restore goes on record: its reason is missing")]
    NoReason,
    /// A file of the backup is not as it was.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The journal is not the one that the checkpoint is of.
    #[error("the backup's journal is not what its checkpoint says: {0}")]
    Journal(String),
    /// A given checkpoint is none of this log.
    #[error("`{path}` is no checkpoint of this log")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: CheckpointError,
    },
    /// The keys belong to other books.
    #[error("the keys in the backup's vault are not those that its journal names")]
    ForeignVault,
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal cannot be written or read.
    #[error(transparent)]
    Records(#[from] JournalError),
    /// A record cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The vault cannot be made.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// It lacks a key.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl RestoreError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoBackup { .. } => Some("name the folder that `seatbeat backup` wrote".into()),
            Self::Exists(_) => {
                Some("name a new folder with --store DIR; nothing that is there is touched".into())
            }
            Self::NoReason => Some("--reason \"the disk failed\"".into()),
            Self::Copy(CopyError::Changed(_) | CopyError::Outside(_))
            | Self::Journal(_)
            | Self::ForeignVault => Some("this copy was changed or is damaged: restore another one".into()),
            Self::Copy(CopyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Some("the backup is not complete: restore another copy".into())
            }
            Self::Copy(_) => None,
            Self::Checkpoint { .. } => Some(
                "name checkpoints that this collector signed: `statements/checkpoints` has one a day".into(),
            ),
            Self::Store(error) => error.hint(),
            Self::Records(error) => error.hint(),
            Self::Vault(error) => error.hint(),
            Self::Fold(_) => Some("restore with the version that wrote it, or a later one".into()),
            Self::Keys(_) => Some("restore another copy".into()),
        }
    }
}

/// Makes a store of a backup. Blocks while every record is read.
///
/// # Errors
/// When the backup is not whole, is not what its checkpoint says, or the store is there or cannot be written.
pub fn restore(asked: &Asked) -> Result<Restored, RestoreError> {
    if asked.reason.trim().is_empty() {
        return Err(RestoreError::NoReason);
    }
    let manifest = read_manifest(&asked.backup)?;
    let is_empty = match fs::read_dir(&asked.store) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let Some(name) = asked.store.file_name().filter(|_| is_empty) else {
        return Err(RestoreError::Exists(asked.store.clone()));
    };
    let mut aside = name.to_owned();
    aside.push(".restoring");
    let aside = asked.store.with_file_name(aside);
    store::remove_folder(&aside)?;
    store::make_folder(&aside)?;
    let made = fill(asked, &manifest, &aside);
    let named = made.and_then(|restored| {
        let failed = |source| CopyError::Io { act: "give its name to", path: asked.store.clone(), source };
        fs::rename(&aside, &asked.store).map_err(failed)?;
        manifest::sync_folder_of(&asked.store)?;
        Ok(restored)
    });
    if named.is_err() {
        // Half a store helps nobody, and keys are in it.
        let _ = fs::remove_dir_all(&aside);
    }
    named
}

fn read_manifest(backup: &Path) -> Result<Manifest, RestoreError> {
    let none = |why: String| RestoreError::NoBackup { folder: backup.to_owned(), why };
    let path = backup.join(manifest::FILE);
    let bytes = fs::read(&path).map_err(|error| none(format!("`{}`: {error}", path.display())))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| none(format!("its manifest is damaged: {error}")))?;
    if manifest.format != manifest::FORMAT {
        let known = manifest::FORMAT;
        return Err(none(format!("it has format {}, this version knows format {known}", manifest.format)));
    }
    Ok(manifest)
}

fn fill(asked: &Asked, manifest: &Manifest, aside: &Path) -> Result<Restored, RestoreError> {
    let mut parts: BTreeMap<&Path, PathBuf> = BTreeMap::new();
    for entry in &manifest.files {
        let from = entry.check(&asked.backup)?;
        let is_journal = entry.path.starts_with(JOURNAL);
        if is_journal || entry.path == Path::new(SNAPSHOT) || entry.path == Path::new(Config::FILE) {
            manifest::copy(&from, &aside.join(&entry.path), Some(entry.bytes))?;
        }
        parts.insert(&entry.path, from);
    }
    let part = |name: &str| {
        let why = || format!("its manifest names no `{name}`");
        let missing = || RestoreError::NoBackup { folder: asked.backup.clone(), why: why() };
        parts.get(Path::new(name)).cloned().ok_or_else(missing)
    };
    part(Config::FILE)?;
    let mut journal = FileJournal::open(&aside.join(JOURNAL))?;
    let notes = notes(&asked.witnessed)?;
    let read = read_journal(&journal, &notes)?;
    let (service, origin) = signer(&read.fold)?;
    let signed = Checkpoint::verify(&manifest.checkpoint, &origin, &service)
        .map_err(|error| RestoreError::Journal(error.to_string()))?;
    if (signed.size, signed.root) != (read.frontier.size(), read.frontier.root()) {
        return Err(RestoreError::Journal(format!(
            "{} records are there, {} were signed, or their root is another",
            read.frontier.size(),
            signed.size
        )));
    }
    let rows = rows(&part(VAULT_ROWS)?)?;
    let key = zeroize::Zeroizing::new(manifest::read(&part(VAULT_KEY)?)?);
    let keys = Keys::read(&Vault::put_back(&aside.join("vault"), &key, rows)?)?;
    if !read.fold.founded().is_some_and(|founded| keys.belong_to(founded)) {
        return Err(RestoreError::ForeignVault);
    }
    let unreached = last_unreached(&notes, &read, &origin, &service)?;
    let epoch = read.fold.orders().epoch() + 1;
    journal.append(&[began(epoch, asked).encode_to_vec()])?;
    let set_back =
        SetBack { epoch, restored_at_ms: instant::to_ms(asked.now), frontier: read.frontier.clone() };
    set_back.keep(aside)?;
    unreached.as_ref().map(|unreached| unreached.keep(aside)).transpose()?;
    Ok(Restored {
        store: asked.store.clone(),
        records: signed.size,
        root: STANDARD.encode(signed.root),
        made_at: instant::from_ms(manifest.made_at_ms).ok(),
        epoch,
        unreached,
    })
}

fn began(epoch: u64, asked: &Asked) -> JournalRecord {
    JournalRecord {
        recorded_at_ms: instant::to_ms(asked.now),
        actor: COLLECTOR.to_owned(),
        reason: asked.reason.clone(),
        fact: Some(Fact::EpochBegan(EpochBegan { epoch })),
        ..Default::default()
    }
}

/// All that a journal says, with the roots that given checkpoints are of.
struct Read {
    fold: Fold,
    frontier: Frontier,
    roots: BTreeMap<u64, Hash>,
}

fn read_journal(journal: &FileJournal, notes: &[Note]) -> Result<Read, RestoreError> {
    let wanted: BTreeMap<u64, ()> = notes.iter().filter_map(Note::size).map(|size| (size, ())).collect();
    let mut read = Read { fold: Fold::default(), frontier: Frontier::default(), roots: BTreeMap::new() };
    loop {
        let batch = journal.read_from(Position(read.frontier.size()), BATCH)?;
        if batch.is_empty() {
            return Ok(read);
        }
        for (_, record) in batch {
            read.fold.apply(&record)?;
            read.frontier.append(&record);
            if wanted.contains_key(&read.frontier.size()) {
                read.roots.insert(read.frontier.size(), read.frontier.root());
            }
        }
    }
}

/// Who signs the log's checkpoints, and what it is called.
fn signer(fold: &Fold) -> Result<(VerifyingKey, String), RestoreError> {
    let founded = fold.founded().ok_or_else(|| RestoreError::Journal("it was never founded".to_owned()))?;
    let key = VerifyingKey::from_bytes(&founded.service_key);
    let key = key.map_err(|_| RestoreError::Journal("its service key is none".to_owned()))?;
    Ok((key, origin(&founded.reseller)))
}

/// A checkpoint that was given, not yet verified.
struct Note {
    path: PathBuf,
    text: String,
}

impl Note {
    fn size(&self) -> Option<u64> {
        self.text.lines().nth(1)?.parse().ok()
    }
}

/// Checkpoints from files, and of folders from whatever ends in `.checkpoint`.
fn notes(paths: &[PathBuf]) -> Result<Vec<Note>, RestoreError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |source| CopyError::Io { act: "read", path: path.clone(), source };
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in fs::read_dir(path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == "checkpoint") {
                files.push(path);
            }
        }
    }
    files.sort();
    let read = |path: PathBuf| {
        let text = String::from_utf8_lossy(&manifest::read(&path)?).into_owned();
        Ok(Note { path, text })
    };
    files.into_iter().map(read).collect()
}

/// The largest checkpoint that is of more records than there are, or of other ones.
fn last_unreached(
    notes: &[Note],
    read: &Read,
    origin: &str,
    key: &VerifyingKey,
) -> Result<Option<Unreached>, RestoreError> {
    let mut last: Option<Unreached> = None;
    for note in notes {
        let checkpoint = Checkpoint::verify(&note.text, origin, key)
            .map_err(|source| RestoreError::Checkpoint { path: note.path.clone(), source })?;
        let is_reached = checkpoint.size == 0 || read.roots.get(&checkpoint.size) == Some(&checkpoint.root);
        if !is_reached && last.as_ref().is_none_or(|last| last.size < checkpoint.size) {
            last = Some(Unreached::by(&checkpoint));
        }
    }
    Ok(last)
}

/// The vault's rows as [`super::framed`] wrote them.
fn rows(path: &Path) -> Result<Vec<Sealed>, RestoreError> {
    let bytes = manifest::read(path)?;
    let damaged = || CopyError::Changed(path.to_owned());
    let (mut rows, mut at) = (Vec::new(), 0);
    loop {
        match frame::read(&bytes[at..]) {
            Frame::Whole { body, length } => {
                rows.push(postcard::from_bytes(body).map_err(|_| damaged())?);
                at += length;
            }
            Frame::End => return Ok(rows),
            Frame::Torn | Frame::Damaged => return Err(damaged().into()),
        }
    }
}
