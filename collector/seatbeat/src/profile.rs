//! The operator's profile: where the collector is and the token that opens its operator door. Invariant: the file is
//! its owner's alone from the moment it exists, and one that is there is never overwritten.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use seatbeat_collector::store::{StoreError, make_folder, sync_folder_of};
use serde::{Deserialize, Serialize};

/// Names a profile in place of the default one.
pub const VARIABLE: &str = "SEATBEAT_OPERATOR";

const FILE: &str = "operator.toml";

/// The first operator's, of the collector that the package runs: in its store, which root and the collector's user read.
pub const SYSTEM: &str = "/var/lib/seatbeat/operator.toml";

/// How an operator reaches a collector.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `host:port` of the operator door on this machine, or `https://host:port`.
    pub address: String,
    /// Opens it.
    pub token: String,
    /// Authorities (PEM) that are trusted beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The system names no folder for it.
    #[error("failed to find the operator's configuration folder: no home folder is known")]
    NoFolder,
    /// Not there.
    #[error("there is no operator profile `{0}`")]
    Missing(PathBuf),
    /// Another collector's token would be lost.
    #[error("the operator profile `{0}` exists already and is not overwritten")]
    Exists(PathBuf),
    /// The file cannot be read.
    #[error("failed to read the operator profile `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not as it has to be. The parser's text is left out: it quotes the line, and the line is a secret.
    #[error("the operator profile `{path}` is not valid: {what}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without the text itself.
        what: String,
    },
    /// The file cannot be written.
    #[error("failed to write the operator profile `{path}`")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The profile's file: as asked for, as the environment says, or in the operator's configuration folder; for root, who
/// has none there, that of the machine's own collector.
///
/// # Errors
/// When nothing names it and no home folder is known.
pub fn path(asked: Option<&Path>) -> Result<PathBuf, ProfileError> {
    if let Some(path) = asked {
        return Ok(path.to_owned());
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let folders = ProjectDirs::from("", "", "seatbeat").ok_or(ProfileError::NoFolder)?;
    let own = folders.config_dir().join(FILE);
    let is_roots = rustix::process::geteuid().is_root() && !own.exists() && Path::new(SYSTEM).exists();
    Ok(if is_roots { SYSTEM.into() } else { own })
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// When it is missing or not one.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ProfileError::Missing(path.to_owned()),
            _ => ProfileError::Read { path: path.to_owned(), source },
        })?;
        toml::from_str(&text)
            .map_err(|error| ProfileError::Parse { path: path.to_owned(), what: error.message().to_owned() })
    }
}

/// A place for a profile, held by one process at a time. The profile waits beside it until it is of use: it is
/// durable before the store that it opens is founded, so that no store is left without one.
pub struct Place {
    path: PathBuf,
    aside: PathBuf,
    file: File,
    /// Whether what waits is of no use without this process.
    is_ours: bool,
}

impl Place {
    /// Takes the place.
    ///
    /// # Errors
    /// When a profile is there already, another process makes one, or its folder cannot be written.
    pub fn take(path: &Path) -> Result<Self, ProfileError> {
        let failed = |source: std::io::Error| ProfileError::Write { path: path.to_owned(), source };
        let unsynced = |error: StoreError| failed(std::io::Error::other(error));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_folder(folder).map_err(unsynced)?;
        }
        if path.exists() {
            return Err(ProfileError::Exists(path.to_owned()));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let aside = path.with_file_name(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&aside).map_err(failed)?;
        file.try_lock().map_err(|error| failed(error.into()))?;
        // The one who held it may have been done just now.
        if path.exists() {
            return Err(ProfileError::Exists(path.to_owned()));
        }
        let is_ours = file.metadata().map_err(failed)?.len() == 0;
        Ok(Self { path: path.to_owned(), aside, file, is_ours })
    }

    /// The profile that an attempt which was cut short left here.
    pub fn left(&self) -> Option<Profile> {
        Profile::read(&self.aside).ok()
    }

    /// Writes the profile, durably, to wait beside its place.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&mut self, profile: &Profile) -> Result<(), ProfileError> {
        self.is_ours = true;
        let text = toml::to_string(profile).expect("a profile is some texts");
        let mut file = &self.file;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_folder_of(&self.aside).map_err(std::io::Error::other))
            .map_err(|source| ProfileError::Write { path: self.path.clone(), source })
    }

    /// Puts the profile that waits in its place.
    ///
    /// # Errors
    /// When the system fails; it still waits then.
    pub fn publish(mut self) -> Result<PathBuf, ProfileError> {
        self.is_ours = false;
        std::fs::rename(&self.aside, &self.path)
            .and_then(|()| sync_folder_of(&self.path).map_err(std::io::Error::other))
            .map_err(|source| ProfileError::Write { path: self.path.clone(), source })?;
        Ok(self.path.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_ours {
            // It opens nothing.
            let _ = std::fs::remove_file(&self.aside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile { address: "127.0.0.1:8080".to_owned(), token: "sbo1.secret".to_owned(), ca: None }
    }

    fn publish(path: &Path) {
        let mut place = Place::take(path).unwrap();
        place.write(&profile()).unwrap();
        place.publish().unwrap();
    }

    #[test]
    fn a_profile_reads_back_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/operator.toml");
        publish(&path);
        assert!(Profile::read(&path).unwrap() == profile());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_profile_is_never_overwritten_and_a_place_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.toml");
        let mut given_up = Place::take(&path).unwrap();
        assert!(Place::take(&path).is_err(), "one at a time");
        given_up.write(&profile()).unwrap();
        drop(given_up);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        publish(&path);
        assert!(matches!(Place::take(&path), Err(ProfileError::Exists(_))));
        assert!(Profile::read(&path).unwrap() == profile());
    }

    #[test]
    fn a_missing_profile_and_a_damaged_one_are_told_apart_without_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.toml");
        assert!(matches!(Profile::read(&path), Err(ProfileError::Missing(_))));
        std::fs::write(&path, "address = \"a\"\ntoken = \"sbo1.secret").unwrap();
        let error = Profile::read(&path).err().unwrap().to_string();
        assert!(error.contains("is not valid") && !error.contains("secret"), "{error}");
    }
}
