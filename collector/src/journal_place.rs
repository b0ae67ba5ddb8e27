//! Where a store's journal is, by its configuration: in the store's files, or in a database with a copy in them.
//! Invariant: the password of a database is read from a file or the environment, and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::{Config, ConfigError};
use crate::journal::{
    Archiver, FileJournal, FileReader, Journal, JournalError, LateCheck, LocalDisk, Position, SharedJournal,
};
use crate::postgres::{Address, PostgresError, schema};

/// Has the database's password, where no file is configured.
pub const PASSWORD_VARIABLE: &str = "SEATBEAT_JOURNAL_PASSWORD";

/// A place that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file with the password.
    #[error("failed to read the database's password from `{path}`")]
    Password {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address.
    #[error(transparent)]
    Address(#[from] PostgresError),
}

impl PlaceError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(_) => None,
            Self::Password { .. } => Some(
                "`journal_password_file` names it: one line, readable by the collector's user alone".into(),
            ),
            Self::Address(error) => error.hint(),
        }
    }
}

/// The database that a store's configuration names; none where the journal lies in the store.
///
/// # Errors
/// When the configuration or the password cannot be read, or the address is none.
pub fn of_store(folder: &Path) -> Result<Option<Address>, PlaceError> {
    let path = folder.join(Config::FILE);
    if !path.exists() {
        return Ok(None);
    }
    of_config(&Config::read(&path)?)
}

/// The database that a configuration names; none where it names none.
///
/// # Errors
/// When the password cannot be read, or the address is none.
pub fn of_config(config: &Config) -> Result<Option<Address>, PlaceError> {
    let Some(text) = &config.journal else { return Ok(None) };
    let password = config.journal_password_file.as_deref();
    address(text, password, config.journal_certificate.as_deref()).map(Some)
}

/// A database's address with its password.
///
/// # Errors
/// As [`of_config`].
pub fn address(
    text: &str,
    password_file: Option<&Path>,
    certificate: Option<&Path>,
) -> Result<Address, PlaceError> {
    let password = match password_file {
        Some(path) => {
            let read = std::fs::read_to_string(path).map(Zeroizing::new);
            let text = read.map_err(|source| PlaceError::Password { path: path.to_owned(), source })?;
            Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
        }
        None => std::env::var(PASSWORD_VARIABLE).ok().map(Zeroizing::new),
    };
    Ok(Address::parse(text, password.as_ref().map(|password| password.as_str()), certificate)?)
}

/// An open journal, wherever it is.
pub enum Opened {
    /// In files alone.
    Files(FileJournal),
    /// In a database, with a copy in files.
    Shared(Box<SharedJournal>),
}

impl Opened {
    /// Opens it, in segments of at most this size. Segments that end before `known` are only looked at.
    ///
    /// # Errors
    /// As [`FileJournal::open`] and [`SharedJournal::open`].
    pub fn open(
        folder: &Path,
        address: Option<&Address>,
        known: Position,
        segment_bytes_max: u64,
    ) -> Result<Self, JournalError> {
        Ok(match address {
            Some(address) => {
                let shared = SharedJournal::open_in_segments(address, folder, known, segment_bytes_max)?;
                Self::Shared(Box::new(shared))
            }
            None => {
                let disk = Arc::new(LocalDisk);
                Self::Files(FileJournal::open_on_behind(folder, disk, segment_bytes_max, known)?)
            }
        })
    }

    fn files(&self) -> &FileJournal {
        match self {
            Self::Files(files) => files,
            Self::Shared(shared) => shared.copy(),
        }
    }

    /// Reads what is in the files, while the journal is being written.
    pub fn reader(&self) -> FileReader {
        self.files().reader()
    }

    /// What moves old segments to an archive.
    pub fn archiver(&self) -> Archiver {
        self.files().archiver()
    }

    /// What is still to be read of the segments that the opening passed over.
    pub fn check(&self) -> LateCheck {
        self.files().check()
    }

    /// How many records it holds.
    pub fn size(&self) -> Position {
        self.files().reader().size()
    }

    /// The journal itself.
    pub fn into_journal(self) -> Box<dyn Journal> {
        match self {
            Self::Files(files) => Box::new(files),
            Self::Shared(shared) => shared,
        }
    }
}

/// Gets a database ready to hold a journal and a vault; whether it held none of our tables before.
///
/// # Errors
/// When it cannot be reached, refuses, or was made ready by a later version.
pub fn migrate(address: &Address) -> Result<bool, PostgresError> {
    schema::migrate(address)
}

#[cfg(test)]
mod tests;
