//! What can be wrong with a vault, and what to do about it. Invariant: no value of a row stands in an error.

use std::path::{Path, PathBuf};

use super::KEY_LENGTH;
use super::VALUE_BYTES_MAX;
use crate::postgres::PostgresError;
use crate::rows::RowsError;
use crate::store::StoreError;

/// Why the vault does not open, give or take.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Nobody has made it.
    #[error("there is no vault in `{folder}`")]
    NotInitialised {
        /// Where it should be.
        folder: PathBuf,
    },
    /// It was made before.
    #[error("there is a vault in `{folder}` already")]
    Exists {
        /// Where it is.
        folder: PathBuf,
    },
    /// Its key is not there.
    #[error("the vault's key `{path}` is missing or not {KEY_LENGTH} bytes long")]
    Key {
        /// Where it should be.
        path: PathBuf,
    },
    /// Its key is another's.
    #[error("`{path}` is not the key that the vault was made with")]
    WrongKey {
        /// The key file.
        path: PathBuf,
    },
    /// It was made, and now nothing is in it.
    #[error("the vault in `{folder}` was emptied: it holds no row, not even its marker")]
    Emptied {
        /// Where it is.
        folder: PathBuf,
    },
    /// What it holds is not what was put into it.
    #[error("the vault in `{folder}` is damaged: {what}")]
    Damaged {
        /// Where it is.
        folder: PathBuf,
        /// How it shows.
        what: String,
    },
    /// Longer than a value may be.
    #[error("the value of `{row}` has {bytes} bytes, more than the vault takes ({VALUE_BYTES_MAX})")]
    TooLarge {
        /// The row.
        row: String,
        /// Its length.
        bytes: usize,
    },
    /// The key or the marker cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows cannot be read or written.
    #[error(transparent)]
    Rows(RowsError),
    /// The database cannot be asked.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The database's vault was made with another key.
    #[error("the vault in `{place}` was made with another key than `{path}`")]
    Foreign {
        /// Where the database is.
        place: String,
        /// The key file here.
        path: PathBuf,
    },
    /// There is none in the database yet.
    #[error("`{place}` holds no vault")]
    NotShared {
        /// Where the database is.
        place: String,
    },
    /// There is one in the database already.
    #[error("`{place}` holds a vault already")]
    Taken {
        /// Where the database is.
        place: String,
    },
    /// There is one in the database that has other rows.
    #[error("`{place}` holds a vault that was moved there before, and one of the two was written to since")]
    Differs {
        /// Where the database is.
        place: String,
    },
    /// The database's vault lost what was read from it.
    #[error("the vault in `{place}` ends at write {found}, this collector has read {known}")]
    Lost {
        /// Where the database is.
        place: String,
        /// Its last write.
        found: u64,
        /// The last one that was read.
        known: u64,
    },
}

impl VaultError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        let set_aside = |folder: &Path| {
            format!(
                "restore `{0}` from a backup. Counts and statements do not depend on it; names and the collector's \
                 keys do: without a backup set it aside with `mv {0} {0}.damaged`, keep it, and set the collector \
                 up again",
                folder.display()
            )
        };
        match self {
            Self::NotInitialised { .. } => Some("`seatbeat init` makes a store with its vault".into()),
            Self::Exists { folder } => Some(format!(
                "`mv {0} {0}.old` sets it aside; the keys in it are lost to the collector then",
                folder.display()
            )),
            Self::Key { path } | Self::WrongKey { path } => {
                Some(format!("restore `{}` from a backup; nothing else opens the vault", path.display()))
            }
            Self::Emptied { folder } | Self::Damaged { folder, .. } => Some(set_aside(folder)),
            Self::Foreign { .. } => Some(
                "take the `vault/vault.key` of a collector on that database (`seatbeat join --vault-key FILE`); nothing else \
                 opens its vault"
                    .into(),
            ),
            Self::Differs { .. } => Some(
                "set `journal` in seatbeat.toml where the one in the database is right; else copy to an empty database".into(),
            ),
            Self::NotShared { .. } => Some(
                "`seatbeat journal copy --from STORE --to DATABASE` moves a store's journal and vault there".into(),
            ),
            Self::Taken { .. } => Some(
                "`seatbeat join` sets another collector up on it; for new books name an empty database, or where an earlier \
                 `init` was cut short and its store is gone, `DROP SCHEMA seatbeat CASCADE` there"
                    .into(),
            ),
            Self::Lost { .. } => Some(
                "restore the database from its backup (up to its newest WAL), or fail over to the replica that has all"
                    .into(),
            ),
            Self::Postgres(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Rows(RowsError::Full { .. }) => Some("free some space on that disk".into()),
            Self::Rows(RowsError::Failed { .. }) => {
                Some("restart the collector once the disk is well and has room again".into())
            }
            Self::Rows(_) | Self::TooLarge { .. } => None,
        }
    }
}

impl From<RowsError> for VaultError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Damaged { folder, what } => Self::Damaged { folder, what },
            other => Self::Rows(other),
        }
    }
}
