//! What a backup says of itself. Invariant: each file stands in it with its length and its SHA-256, and one that does
//! not is none of it; a backup without it was never finished.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use seatbeat_proto::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store;

/// Its name in the backup.
pub const FILE: &str = "manifest.json";

/// The format written here.
pub const FORMAT: u32 = 1;

/// Bytes that are read at once.
const CHUNK_LENGTH: usize = 256 * 1024;

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which format the backup has.
    pub format: u32,
    /// Which version wrote it.
    pub version: String,
    /// Whose books they are.
    pub reseller: String,
    /// When it was made, by the collector's clock, in Unix milliseconds.
    pub made_at_ms: i64,
    /// Records of the journal.
    pub records: u64,
    /// The log over them, signed.
    pub checkpoint: String,
    /// All files but this one.
    pub files: Vec<Entry>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the backup's folder.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// A file that is not copied, or not what the manifest says.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The system failed an act.
    #[error("failed to {act} `{path}`")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Shorter than it has to be.
    #[error("`{0}` is shorter than it was when it was looked at")]
    Short(PathBuf),
    /// Other bytes than were written.
    #[error("`{0}` is not what was backed up: its SHA-256 is another")]
    Changed(PathBuf),
    /// A path that leads out of the backup.
    #[error("the manifest names `{0}`, which is not in the backup")]
    Outside(PathBuf),
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    move |source| CopyError::Io { act, path: path.to_owned(), source }
}

/// Copies the first bytes of a file, all of it where no number is given; the copy is its owner's alone, and durable.
/// Answers its length and its SHA-256.
///
/// # Errors
/// When the system fails, or there are not so many.
pub fn copy(from: &Path, to: &Path, bytes: Option<u64>) -> Result<(u64, String), CopyError> {
    let source = File::open(from).map_err(failed("read", from))?;
    if let Some(folder) = to.parent() {
        let source = |error| CopyError::Io { act: "make the folder of", path: to.to_owned(), source: error };
        store::make_folder(folder).map_err(|error| source(io::Error::other(error)))?;
    }
    let written = failed("write", to);
    let mut copy = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(to) {
        Ok(copy) => copy,
        Err(error) => return Err(written(error)),
    };
    let (length, digest) = each_piece(from, source.take(bytes.unwrap_or(u64::MAX)), |piece| {
        copy.write_all(piece).map_err(failed("write", to))
    })?;
    if bytes.is_some_and(|expected| expected != length) {
        return Err(CopyError::Short(from.to_owned()));
    }
    copy.sync_all().map_err(failed("sync", to))?;
    sync_folder_of(to)?;
    Ok((length, digest))
}

/// Makes the names in a file's folder durable.
///
/// # Errors
/// When the system fails.
pub fn sync_folder_of(path: &Path) -> Result<(), CopyError> {
    store::sync_folder_of(path).map_err(|error| failed("sync the folder of", path)(io::Error::other(error)))
}

/// Length and SHA-256 of bytes.
pub fn digest(bytes: &[u8]) -> (u64, String) {
    (bytes.len() as u64, hex::format(&Sha256::digest(bytes)))
}

fn each_piece(
    path: &Path,
    mut source: impl Read,
    mut take: impl FnMut(&[u8]) -> Result<(), CopyError>,
) -> Result<(u64, String), CopyError> {
    let (mut digest, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; CHUNK_LENGTH];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok((length, hex::format(&digest.finalize()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read", path)(error)),
        };
        digest.update(&buffer[..read]);
        length += read as u64;
        take(&buffer[..read])?;
    }
}

impl Entry {
    /// Of a file below a backup's folder.
    pub fn new(path: &str, (bytes, sha256): (u64, String)) -> Self {
        Self { path: path.into(), bytes, sha256 }
    }

    /// Checks the file against it.
    ///
    /// # Errors
    /// When it is missing, or has other bytes.
    pub fn check(&self, backup: &Path) -> Result<PathBuf, CopyError> {
        if !self.path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(CopyError::Outside(self.path.clone()));
        }
        let path = backup.join(&self.path);
        let file = File::open(&path).map_err(failed("read", &path))?;
        let found = each_piece(&path, file, |_| Ok(()))?;
        if found == (self.bytes, self.sha256.clone()) { Ok(path) } else { Err(CopyError::Changed(path)) }
    }
}

/// Reads a whole file.
///
/// # Errors
/// When the system fails; the error names it.
pub fn read(path: &Path) -> Result<Vec<u8>, CopyError> {
    fs::read(path).map_err(failed("read", path))
}
