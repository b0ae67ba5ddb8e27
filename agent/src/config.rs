//! What an administrator may set on a machine (`agent.toml`). Invariant: a key nobody knows is an error, and without
//! a file everything has its default.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use seatbeat_proto::catalogue::RELEASE_KEY;
use seatbeat_proto::signed::{BadKey, key_from_text};
use serde::{Deserialize, Serialize};

use crate::proxy::{ProxyError, Wanted};
use crate::road::Road;
use crate::road::out::Out;

/// The file's name.
pub const FILE: &str = "agent.toml";

/// The configuration folder of an agent that belongs to the machine, on Linux.
#[cfg(not(windows))]
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
    /// Public key (base64) that a pushed catalogue has to be signed by, for those who build agents themselves
    /// (default: the one this agent was built with, if any; without one no pushed catalogue is taken). With it, the
    /// file has to belong to root or the agent's user, and nobody else may write it.
    pub release_key: String,
    /// The proxy that leads to the collector, `http://host:port` or `http://name:password@host:port` (HTTP CONNECT);
    /// `none`: straight, whatever the system says. Empty (default): what the environment says (HTTPS_PROXY, ALL_PROXY,
    /// NO_PROXY), on Windows also what `netsh winhttp` or a policy set; where that one does not connect, straight.
    pub proxy: String,
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
    /// A release key in a file that others can change.
    #[error(
        "the release key in `{}` is not trusted: others may write that file (mode {mode:03o}, user {owner})",
        path.display()
    )]
    Exposed {
        /// Which one.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whose it is.
        owner: u32,
    },
    /// A proxy that is none.
    #[error("the proxy in the configuration is not understood")]
    Proxy(#[from] ProxyError),
    /// The file, which is to be changed.
    #[error("failed to write the configuration `{}`", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A release key that is none.
    #[error("the release key {place} is not understood")]
    ReleaseKey {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        #[source]
        source: BadKey,
    },
}

impl ConfigError {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { .. } | Self::Parse { .. } => {
                "the keys are `scan_interval_s`, `pool`, `proxy` and `release_key`".into()
            }
            Self::Proxy(error) => error.hint().into(),
            Self::Write { .. } => "run it as the administrator of this machine".into(),
            Self::Exposed { path, .. } => {
                format!(
                    "`chown root {0} && chmod 644 {0}`, once its key is known to be the right one",
                    path.display()
                )
            }
            Self::ReleaseKey { .. } => {
                "copy it as `seatbeat catalogue keygen` printed it: 44 characters that end in `=`".into()
            }
        }
    }
}

impl Config {
    /// Who may sign a pushed catalogue: the key that was set, else the one that this agent was built with.
    ///
    /// # Errors
    /// When it is no key.
    pub fn release_key(&self) -> Result<Option<VerifyingKey>, ConfigError> {
        let (text, place) = match (self.release_key.as_str(), RELEASE_KEY) {
            ("", None | Some("")) => return Ok(None),
            ("", Some(built_in)) => (built_in, "that this agent was built with"),
            (set, _) => (set, "in the configuration"),
        };
        let key = key_from_text(text);
        key.map(Some).map_err(|source| ConfigError::ReleaseKey { place: place.to_owned(), source })
    }

    /// The way to the collector.
    ///
    /// # Errors
    /// When the proxy is none.
    pub fn road(&self) -> Result<Arc<dyn Road>, ConfigError> {
        Ok(Arc::new(Out::new(Wanted::parse(&self.proxy)?)))
    }

    /// Sets the proxy here and in the file, which keeps everything else that is in it.
    ///
    /// # Errors
    /// When it is none, or the file cannot be written.
    pub fn keep_proxy(&mut self, path: &Path, proxy: &str) -> Result<(), ConfigError> {
        Wanted::parse(proxy)?;
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let before = match std::fs::read_to_string(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.map_err(read)?,
        };
        let is_other = |line: &&str| line.split_once('=').is_none_or(|(key, _)| key.trim() != "proxy");
        // In front: what follows a table's head would be that table's.
        let set = format!("proxy = {}\n", toml::Value::String(proxy.trim().to_owned()));
        let kept = before.lines().filter(is_other).map(|line| format!("{line}\n"));
        let text: String = std::iter::once(set).chain(kept).collect();
        write(path, &text).map_err(|source| ConfigError::Write { path: path.to_owned(), source })?;
        self.proxy = proxy.trim().to_owned();
        Ok(())
    }

    /// Where it is: named, in the state folder that was named, or in the machine's or user's configuration folder.
    pub fn path(named: Option<PathBuf>, state_named: Option<&Path>) -> Option<PathBuf> {
        let folder = || {
            // The machine's own folder is no other place, although the service names it.
            #[cfg(not(windows))]
            if state_named == Some(Path::new(crate::state::MACHINE_FOLDER)) {
                return Some(PathBuf::from(MACHINE_FOLDER));
            }
            if let Some(state) = state_named {
                return Some(state.to_owned());
            }
            #[cfg(windows)]
            return crate::windows::places::data_folder().ok();
            #[cfg(not(windows))]
            if crate::state::is_root() {
                return Some(PathBuf::from(MACHINE_FOLDER));
            }
            #[cfg(not(windows))]
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
                let config: Self = toml::from_str(&text)
                    .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?;
                if !config.release_key.is_empty() {
                    check_writers(path)?;
                }
                Ok(config)
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }
}

/// Whole or not at all; who may read it stays as it was, and a new one, which may hold a proxy's password, is its owner's.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        std::fs::create_dir_all(folder)?;
    }
    let aside = path.with_extension("toml.tmp");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&aside)?;
    if let Ok(about) = std::fs::metadata(path) {
        file.set_permissions(about.permissions())?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            std::os::unix::fs::fchown(&file, Some(about.uid()), Some(about.gid()))?;
        }
    }
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&aside, path)
}

#[cfg(unix)]
fn check_writers(path: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::MetadataExt as _;
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(read)?;
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    let ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if ours && mode & 0o022 == 0 {
        return Ok(());
    }
    Err(ConfigError::Exposed { path: path.to_owned(), mode, owner })
}

#[cfg(windows)]
fn check_writers(path: &Path) -> Result<(), ConfigError> {
    crate::windows::folder::check(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

#[cfg(not(any(unix, windows)))]
fn check_writers(path: &Path) -> Result<(), ConfigError> {
    Err(ConfigError::Read { path: path.to_owned(), source: io::ErrorKind::Unsupported.into() })
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
        assert_eq!(
            Config::load(&path, true).unwrap(),
            Config { scan_interval_s: 60, pool: true, ..Config::default() }
        );
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
        #[cfg(unix)]
        assert_eq!(
            Config::path(None, Some(Path::new(crate::state::MACHINE_FOLDER))).unwrap(),
            Path::new("/etc/seatbeat-agent/agent.toml"),
            "whoever runs it"
        );
    }

    #[test]
    fn a_proxy_is_kept_beside_what_is_there_and_one_that_is_none_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below").join(FILE);
        let mut config = Config::default();
        config.keep_proxy(&path, " http://me:\"word\\@proxy.example:80 ").unwrap();
        assert_eq!(Config::load(&path, true).unwrap(), config);
        std::fs::write(&path, "# why\nscan_interval_s = 60\nproxy=\"old\"\npool = true").unwrap();
        config.keep_proxy(&path, "none").unwrap();
        let expected = "proxy = \"none\"\n# why\nscan_interval_s = 60\npool = true\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        let refused = config.keep_proxy(&path, "socks5://x").unwrap_err();
        assert!(refused.hint().contains("http://proxy.example:3128"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert!(Config { proxy: "ftp://x".into(), ..Config::default() }.road().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn who_may_read_the_file_stays_as_it_was() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        Config::default().keep_proxy(&path, "none").unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        Config::default().keep_proxy(&path, "proxy.example").unwrap();
        assert_eq!(mode(), 0o640);
    }

    #[cfg(unix)]
    #[test]
    fn a_release_key_that_others_could_have_written_or_that_is_none_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let key = seatbeat_proto::signed::new_key().verifying_key();
        let text = seatbeat_proto::signed::key_text(&key);
        std::fs::write(&path, format!("release_key = \"{text}\"\n")).unwrap();
        for (mode, trusted) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match Config::load(&path, true) {
                Ok(config) => assert!(trusted && config.release_key().unwrap() == Some(key), "{mode:o}"),
                Err(error) => assert!(!trusted && error.hint().contains("chmod"), "{mode:o}: {error}"),
            }
        }
        let odd = Config { release_key: "AAAA".into(), ..Config::default() };
        let error = odd.release_key().unwrap_err();
        assert_eq!(error.to_string(), "the release key in the configuration is not understood");
    }
}
