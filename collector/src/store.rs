//! The collector's folder: what lies where, who may use it, and files that change whole or not at all.
//! Invariant: one process at a time holds a store, and nobody but its owner reads it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::lock::lock;

/// For the owner only: the store holds keys and names.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

const LOCK: &str = "lock";

/// A store that this process holds; dropped, or with the process's end, it is free again.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    _lock: File,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it.
    #[error("the store `{folder}` is in use{}", holder.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    InUse {
        /// The store.
        folder: PathBuf,
        /// The process that holds it, where it says so.
        holder: Option<u32>,
    },
    /// Others than its owner can read a folder that is not empty and not yet a store.
    #[error("the folder `{folder}` is open to others (mode {mode:03o}) and holds other files")]
    Exposed {
        /// The folder.
        folder: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system failed an act.
    #[error("failed to {act} `{path}`")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { .. } => Some("stop the other `seatbeat serve` first, or name another store".into()),
            Self::Exposed { folder, .. } => {
                Some(format!("`chmod 700 {}`, or name an empty folder", folder.display()))
            }
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("name a folder that this user can write".into())
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space on that disk".into())
                }
                _ => None,
            },
        }
    }

    fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { act, path: path.to_owned(), source }
    }
}

impl Store {
    /// Takes hold of a store; a missing folder is made.
    ///
    /// # Errors
    /// When another process holds it, when others can read it, or when it cannot be written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        make_folder(folder)?;
        close_to_others(folder)?;
        let path = folder.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(StoreError::io("open the lock file", &path))?;
        match lock(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(StoreError::InUse { folder: folder.into(), holder: holder.trim().parse().ok() });
            }
            Err(errno) => return Err(StoreError::io("lock", &path)(errno.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(StoreError::io("write the lock file", &path))?;
        Ok(Self { folder: folder.into(), _lock: file })
    }

    /// The folder itself; the snapshots lie in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the journal lies.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Where the vault lies.
    pub fn vault(&self) -> PathBuf {
        self.folder.join("vault")
    }

    /// Is there while the store is being founded.
    pub fn unfinished(&self) -> PathBuf {
        self.folder.join("founding")
    }

    /// Where the lookup rows lie.
    pub fn lookup(&self) -> PathBuf {
        self.folder.join("lookup")
    }
}

/// The process that holds a store, as the system's own table of locks has it: nothing is locked to find out, since a
/// collector that starts at that moment would be refused.
pub fn holder(folder: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let path = folder.join(LOCK);
    let about = fs::metadata(&path).ok()?;
    let device = (rustix::fs::major(about.dev()), rustix::fs::minor(about.dev()));
    let place = format!("{:02x}:{:02x}:{}", device.0, device.1, about.ino());
    // Some file systems show another device there than to whoever asks for the file: then the holder's word counts.
    let inode = format!(":{}", about.ino());
    let said = fs::read_to_string(&path).unwrap_or_default();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let is_flock = words.next() == Some("FLOCK");
        // ADVISORY WRITE pid major:minor:inode
        let (pid, where_held) = (words.nth(2)?, words.next()?);
        let is_here = where_held == place || where_held.ends_with(&inode) && said.trim() == pid;
        (is_flock && is_here).then(|| pid.parse().ok())?
    })
}

/// Makes a folder, and those above it, for its owner only; one that is there stays as it is. Its name is durable when this
/// returns, whoever made it, as far as the folder around it may be read.
///
/// # Errors
/// When the system fails.
pub fn make_folder(folder: &Path) -> Result<(), StoreError> {
    let made = folder.ancestors().take_while(|path| !path.exists()).count();
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(StoreError::io("create the folder", folder))?;
    folder.ancestors().take(made.max(1)).filter(|path| path.file_name().is_some()).try_for_each(|path| {
        match sync_folder_of(path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    })
}

/// Writes a file, for its owner only, whole or not at all: at every moment, a power cut included, its path holds
/// the old bytes or the new ones.
///
/// # Errors
/// When the system fails; the old file stands then.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let aside = write_aside(path, &[bytes])?;
    fs::rename(&aside, path).map_err(StoreError::io("replace", path))?;
    sync_folder_of(path)
}

/// Removes a file for good; one that is not there is none.
///
/// # Errors
/// When the system fails.
pub(crate) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Removes a folder and what is in it for good; one that is not there is none.
///
/// # Errors
/// When the system fails.
pub(crate) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Gives a damaged folder another name: it may be what somebody looks for later. Its new name.
pub(crate) fn lay_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let mut aside = folder.with_file_name(name);
    while aside.exists() {
        aside.as_mut_os_string().push("-again");
    }
    fs::rename(folder, &aside).map_err(StoreError::io("rename", folder))?;
    Ok(aside)
}

/// Writes bytes, durably, beside the path where they are to be; where they are now.
pub(crate) fn write_aside(path: &Path, parts: &[&[u8]]) -> Result<PathBuf, StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let aside = path.with_file_name(name);
    let write = || {
        // A file left by an earlier try may have other permissions.
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&aside)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&aside);
        StoreError::Io { act: "write", path: aside.clone(), source }
    })?;
    Ok(aside)
}

/// Makes the names in a file's folder durable.
///
/// # Errors
/// When the system fails.
pub fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
        _ => sync_folder(Path::new(".")),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StoreError::io("sync the folder", folder))
}

/// A store, and an empty folder about to be one, is closed to others; any other folder is only looked at.
fn close_to_others(folder: &Path) -> Result<(), StoreError> {
    let read = StoreError::io("read the folder", folder);
    let look = || {
        let mode = fs::metadata(folder)?.permissions().mode() & 0o777;
        let ours = folder.join(LOCK).exists() || fs::read_dir(folder)?.next().is_none();
        Ok((mode, ours))
    };
    let (mode, ours) = look().map_err(read)?;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if !ours {
        return Err(StoreError::Exposed { folder: folder.into(), mode });
    }
    fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))
        .map_err(StoreError::io("close to others the folder", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_holder_is_refused_by_name_until_the_first_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        let expected =
            format!("the store `{}` is in use by process {}", folder.path().display(), std::process::id());
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some());
        assert_eq!(holder(folder.path()), Some(std::process::id()));
        drop(store);
        assert_eq!(holder(folder.path()), None);
        Store::open(folder.path()).unwrap();
    }

    #[test]
    fn only_the_owner_reads_a_store_and_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/store");
        let store = Store::open(&path).unwrap();
        write_file(&path.join("file"), b"secret").unwrap();
        for (made, expected) in
            [(path.clone(), 0o700), (path.join("lock"), 0o600), (path.join("file"), 0o600)]
        {
            assert_eq!(mode(&made), expected, "{}", made.display());
        }
        drop(store);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Store::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700, "a store is closed again");
    }

    #[test]
    fn an_open_folder_with_other_files_is_neither_used_nor_changed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.odt"), b"mine").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::Exposed { mode: 0o755, .. }), "{error}");
        assert_eq!(mode(folder.path()), 0o755);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_left_over_try_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_file(&path, b"old and longer").unwrap();
        fs::write(folder.path().join("file.new"), b"half a tr").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_that_is_no_folder_is_named_in_the_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Store::open(file.path()).unwrap_err();
        assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
        let error = write_file(&file.path().join("below"), b"").unwrap_err();
        assert!(error.to_string().contains("below"), "{error}");
    }
}
