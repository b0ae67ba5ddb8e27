//! What an administrator may set on a machine (`agent.toml`). Invariant: a key nobody knows is an error, and without
//! a file everything has its default.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name.
pub const FILE: &str = "agent.toml";

/// The configuration folder of an agent that belongs to the machine, on Linux.
const MACHINE_FOLDER: &str = "/etc/seatbeat-agent";

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds between two scans, 60 to 21600; 0 (default): 900. A scan reads package lists and the process
    /// table; the collector's settings go before.
    pub scan_interval_s: u32,
    /// Whether the machine is one of a pool of short-lived virtual machines (default: no). Then it is expected
    /// to look like others, and its licence is not presumed to be in use once it is silent.
    pub pool: bool,
}

/// A configuration that is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file.
    #[error("failed to read the configuration `{}`", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is in it.
    #[error("the configuration `{}` is not understood", path.display())]
    Parse {
        /// Which one.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
}

impl Config {
    /// Where it is: named, in the state folder that was named, or in the machine's or user's configuration folder.
    pub fn path(named: Option<PathBuf>, state_named: Option<&Path>) -> Option<PathBuf> {
        let folder = || {
            if let Some(state) = state_named {
                return Some(state.to_owned());
            }
            if crate::state::is_root() {
                return Some(PathBuf::from(MACHINE_FOLDER));
            }
            directories::ProjectDirs::from("", "", "seatbeat-agent").map(|dirs| dirs.config_dir().to_owned())
        };
        named.or_else(|| folder().map(|folder| folder.join(FILE)))
    }

    /// Reads it; a file that is not there says nothing, unless it was named.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn load(path: &Path, must_exist: bool) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_the_default_and_an_unknown_key_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(Config::load(&path, false).unwrap(), Config::default());
        assert!(matches!(Config::load(&path, true), Err(ConfigError::Read { .. })));
        std::fs::write(&path, "scan_interval_s = 60\npool = true\n").unwrap();
        assert_eq!(Config::load(&path, true).unwrap(), Config { scan_interval_s: 60, pool: true });
        std::fs::write(&path, "scan_intervall = 60\n").unwrap();
        let error = Config::load(&path, false).unwrap_err();
        let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(chain.contains("scan_intervall") && chain.contains("line 1"), "{chain}");
    }

    #[test]
    fn a_named_state_folder_has_its_configuration_in_it() {
        let path = Config::path(None, Some(Path::new("/s"))).unwrap();
        assert_eq!(path, Path::new("/s").join(FILE));
        let named = Config::path(Some("/c.toml".into()), Some(Path::new("/s"))).unwrap();
        assert_eq!(named, Path::new("/c.toml"));
    }
}
