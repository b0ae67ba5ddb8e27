//! The state folder: what the agent must not lose, and the lock that keeps a second one out. Invariant: a file in
//! it is there whole or not at all, and nobody but its owner can read the machine key.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use seatbeat_proto::hex;
use seatbeat_proto::signed::new_key;
use zeroize::Zeroizing;

use crate::sealed;
use crate::spool::disk::{Disk as _, RealDisk};

/// The folder of an agent that belongs to the machine, on Linux.
pub const MACHINE_FOLDER: &str = "/var/lib/seatbeat-agent";

/// How often, and how long after each other, a lock that is held is tried.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The machine's secret key, hexadecimal.
const KEY: &str = "machine.key";

#[cfg(windows)]
const STOP: &str = "sc stop SeatbeatAgent";
#[cfg(not(windows))]
const STOP: &str = "systemctl stop seatbeat-agent";

#[cfg(windows)]
const DENIED_HINT: &str = "run it as administrator; a folder that somebody else made has to go first";
#[cfg(not(windows))]
const DENIED_HINT: &str = "run it as the user who owns the folder, or name another one with `--state DIR`";

/// What went wrong with the state folder.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or folder in it.
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
    /// Another agent runs on it.
    #[error("another agent uses the state folder `{}`", .0.display())]
    InUse(PathBuf),
    /// The user has no home.
    #[error("there is no home folder to keep the agent's state in")]
    Homeless,
    /// Others can read the key.
    #[error("the machine key `{}` can be read by others (mode {mode:03o})", path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is in the key file is no key.
    #[error("the machine key `{}` is damaged", .0.display())]
    KeyDamaged(PathBuf),
    /// There is none.
    #[error("there is no machine key `{}`", .0.display())]
    KeyMissing(PathBuf),
}

impl StateError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                DENIED_HINT.into()
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk".into()
            }
            Self::File { .. } => return None,
            Self::InUse(_) => format!("stop the running agent first (`{STOP}`)"),
            Self::Homeless => "name a folder with `--state DIR`".into(),
            Self::KeyExposed { path, .. } => format!(
                "`chmod 600 {}`; when somebody may have copied it, remove the state folder and enrol again",
                path.display()
            ),
            Self::KeyDamaged(_) | Self::KeyMissing(_) => {
                "put it back from a backup, or enrol again as a new machine in another state folder".into()
            }
        })
    }
}

/// See the module's text.
#[derive(Debug, Clone)]
pub struct StateFolder {
    path: PathBuf,
}

/// As long as this lives no other agent uses the folder.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl StateFolder {
    /// A folder, which need not be there.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The machine's folder, whoever asks.
    ///
    /// # Errors
    /// When the system does not say where data is kept.
    #[cfg(windows)]
    pub fn default_path() -> Result<PathBuf, StateError> {
        crate::windows::places::data_folder().map_err(|_| StateError::Homeless)
    }

    /// The machine's folder for root on Linux, else one of the user's own.
    ///
    /// # Errors
    /// When the user has no home.
    #[cfg(not(windows))]
    pub fn default_path() -> Result<PathBuf, StateError> {
        if is_root() {
            return Ok(PathBuf::from(MACHINE_FOLDER));
        }
        let folders = directories::ProjectDirs::from("", "", "seatbeat-agent").ok_or(StateError::Homeless)?;
        Ok(folders.state_dir().unwrap_or_else(|| folders.data_local_dir()).to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the spool files.
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// Makes the folder, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> Result<(), StateError> {
        #[cfg(windows)]
        let made = crate::windows::folder::make(&self.path);
        #[cfg(not(windows))]
        let made = RealDisk.create_folder(&self.path);
        made.map_err(|source| self.fault("create the folder", &self.path, source))
    }

    /// Keeps every other agent out. What is in the folder is durable then, with its name: one that was killed may have left
    /// what no sync covers.
    ///
    /// # Errors
    /// When another one is in it, the lock file cannot be made, or the disk fails.
    pub fn lock(&self) -> Result<Lock, StateError> {
        self.create()?;
        let path = self.path.join("lock");
        let file = private().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|source| self.fault("open", &path, source))?;
        // A program that this process is just starting holds a copy of the lock until it runs.
        let mut locked = file.try_lock();
        for _ in 1..LOCK_TRIES {
            if !matches!(locked, Err(std::fs::TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(LOCK_PAUSE);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => match RealDisk.sync_folder(&self.path) {
                Ok(()) => Ok(Lock { _file: file }),
                Err(source) => Err(self.fault("sync the folder", &self.path, source)),
            },
            Err(std::fs::TryLockError::WouldBlock) => Err(StateError::InUse(self.path.clone())),
            Err(std::fs::TryLockError::Error(source)) => Err(self.fault("lock", &path, source)),
        }
    }

    /// Whether an agent runs on it now.
    pub fn is_in_use(&self) -> bool {
        let file = OpenOptions::new().write(true).open(self.path.join("lock"));
        file.is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    }

    /// A file's bytes; `None`: it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.fault("read", &path, source)),
        }
    }

    /// Writes a file: after a crash it is the old one or the new one.
    ///
    /// # Errors
    /// When it cannot be written; the old one is still there then.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.replace(name, bytes, true)
    }

    /// As [`StateFolder::write`], without waiting for the disk: for what can be lost.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_unsynced(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.replace(name, bytes, false)
    }

    /// The machine key.
    ///
    /// # Errors
    /// When it is missing, damaged, or others can read it.
    pub fn key(&self) -> Result<SigningKey, StateError> {
        let path = self.path.join(KEY);
        let text = self.read(KEY)?.map(Zeroizing::new).ok_or_else(|| StateError::KeyMissing(path.clone()))?;
        check_private(&path)?;
        let text = sealed::open(&text).ok_or_else(|| StateError::KeyDamaged(path.clone()))?;
        let text = std::str::from_utf8(&text).ok().map(str::trim_end);
        let seed = text.and_then(hex::parse::<32>).map(Zeroizing::new);
        seed.map(|seed| SigningKey::from_bytes(&seed)).ok_or(StateError::KeyDamaged(path))
    }

    /// The machine key; made and stored when there is none yet.
    ///
    /// # Errors
    /// As [`StateFolder::key`], or when it cannot be stored.
    pub fn key_or_new(&self) -> Result<SigningKey, StateError> {
        match self.key() {
            Err(StateError::KeyMissing(_)) => {
                let key = new_key();
                let text = Zeroizing::new(hex::format(Zeroizing::new(key.to_bytes()).as_slice()) + "\n");
                let sealed = sealed::seal(text.as_bytes())
                    .map_err(|source| self.fault("seal", &self.path.join(KEY), source))?;
                self.write(KEY, &sealed)?;
                Ok(key)
            }
            other => other,
        }
    }

    /// Removes a file; it need not be there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed
                .and_then(|()| RealDisk.sync_folder(&self.path))
                .map_err(|source| self.fault("remove", &path, source)),
        }
    }

    /// Removes the machine key: nothing can be signed as this machine any more.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_key(&self) -> Result<(), StateError> {
        self.remove(KEY)
    }

    fn replace(&self, name: &str, bytes: &[u8], synced: bool) -> Result<(), StateError> {
        let (path, aside) = (self.path.join(name), self.path.join(format!("{name}.tmp")));
        let write = || {
            let mut file = private().write(true).create(true).truncate(true).open(&aside)?;
            file.write_all(bytes)?;
            if synced {
                file.sync_all()?;
            }
            std::fs::rename(&aside, &path)?;
            if synced { RealDisk.sync_folder(&self.path) } else { Ok(()) }
        };
        write().map_err(|source| self.fault("write", &path, source))
    }

    fn fault(&self, act: &'static str, path: &Path, source: io::Error) -> StateError {
        StateError::File { act, path: path.to_owned(), source }
    }
}

/// Whether this process may do everything on a Linux machine.
pub fn is_root() -> bool {
    #[cfg(target_os = "linux")]
    return rustix::process::geteuid().is_root();
    #[cfg(not(target_os = "linux"))]
    false
}

#[cfg(unix)]
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    // The folder is private, and hands that down.
    OpenOptions::new()
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).map_err(|source| StateError::File {
        act: "read",
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(StateError::KeyExposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_private(_path: &Path) -> Result<(), StateError> {
    // The folder is private, and hands that down.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, StateFolder) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::at(dir.path().join("state"));
        (dir, state)
    }

    #[test]
    fn a_second_agent_is_kept_out_until_the_first_is_gone() {
        let (_dir, state) = folder();
        assert!(!state.is_in_use());
        let lock = state.lock().unwrap();
        assert!(state.is_in_use());
        let refused = state.lock().unwrap_err();
        assert!(refused.to_string().starts_with("another agent uses the state folder `"), "{refused}");
        assert!(refused.hint().is_some());
        drop(lock);
        assert!(!state.is_in_use());
        state.lock().unwrap();
    }

    #[test]
    fn the_key_is_made_once() {
        let (_dir, state) = folder();
        state.create().unwrap();
        assert!(matches!(state.key(), Err(StateError::KeyMissing(_))));
        let key = state.key_or_new().unwrap();
        assert_eq!(state.key_or_new().unwrap(), key);
        assert_eq!(state.key().unwrap(), key);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_and_a_damaged_one_are_refused_and_not_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, state) = folder();
        state.create().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.path()), 0o700);
        state.key_or_new().unwrap();
        let path = state.path().join(KEY);
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(state.key_or_new(), Err(StateError::KeyExposed { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "abc").unwrap();
        assert!(matches!(state.key_or_new(), Err(StateError::KeyDamaged(_))));
    }

    #[test]
    fn a_file_that_is_not_there_is_none_and_one_that_is_written_again_is_replaced() {
        let (_dir, state) = folder();
        state.create().unwrap();
        assert_eq!(state.read("x").unwrap(), None);
        state.write("x", b"first").unwrap();
        state.write_unsynced("x", b"2").unwrap();
        assert_eq!(state.read("x").unwrap().as_deref(), Some(b"2".as_slice()));
    }
}
