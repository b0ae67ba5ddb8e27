//! The vault: names, secrets and other text that can be erased, each row encrypted under the vault's key.
//! Invariant: no count ever depends on it; a row is given out exactly as it was put under that very key, or not at
//! all; a vault that lost rows says so instead of opening without them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use seatbeat_proto::ids::{CustomerId, LicenceId, MachineId, OperatorId, OrderId, TokenId};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::rows::{BATCH_ROWS_MAX, Change, Rows, RowsError};
use crate::store::{self, StoreError};
use renamed::Renamed;

mod renamed;

/// Longest value in bytes: sled puts large values into files of their own and never syncs those.
pub const VALUE_BYTES_MAX: usize = 4 * 1024;

const KEY_FILE: &str = "vault.key";
/// The number of the last write, behind each write: sled may open a damaged file as it was some writes ago. Without
/// this file the making of the vault was cut short.
const WRITES_FILE: &str = "vault.writes";

const KEY_LENGTH: usize = 32;
const KEY_ID_LENGTH: usize = 8;
const NONCE_LENGTH: usize = 24;
const SEAL_FORMAT: u8 = 1;
/// The stamp that proves that the rows are this vault's; the number of the write follows in it.
const MARKER_KEY: &[u8] = b"marker";
const MARKER: &[u8] = b"seatbeat vault 1";

/// A kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultKind {
    /// What a customer is called.
    CustomerName,
    /// How a customer is billed.
    CustomerBilling,
    /// What a machine is called.
    HostName,
    /// What an operator is called.
    OperatorName,
    /// What an operator noted about an enrolment token.
    TokenNote,
    /// A licence's activation code.
    LicenceCode,
    /// What was sealed to a machine for an order.
    OrderSealed,
    /// What lets the collector in at a destination.
    DestinationSecrets,
    /// What an operator signs in with.
    Account,
    /// A session of an operator's.
    Session,
    /// A secret of the collector.
    Secret,
}

impl VaultKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::CustomerName => "customer-name/",
            Self::CustomerBilling => "customer-billing/",
            Self::HostName => "host-name/",
            Self::OperatorName => "operator-name/",
            Self::TokenNote => "token-note/",
            Self::LicenceCode => "licence-code/",
            Self::OrderSealed => "order-sealed/",
            Self::DestinationSecrets => "destination-secrets/",
            Self::Account => "account/",
            Self::Session => "session/",
            Self::Secret => "secret/",
        }
    }
}

/// One row's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultRow<'a> {
    /// What a customer is called.
    CustomerName(&'a CustomerId),
    /// How a customer is billed.
    CustomerBilling(&'a CustomerId),
    /// What a machine is called.
    HostName(&'a MachineId),
    /// What an operator is called.
    OperatorName(&'a OperatorId),
    /// What an operator noted about an enrolment token.
    TokenNote(&'a TokenId),
    /// A licence's activation code.
    LicenceCode(&'a LicenceId),
    /// What was sealed to a machine for an order; removed once the order is over.
    OrderSealed(&'a OrderId),
    /// What lets the collector in at a destination, by the name that is configured.
    DestinationSecrets(&'a str),
    /// What an operator signs in with.
    Account(&'a OperatorId),
    /// A session, by a name of its own.
    Session(&'a str),
    /// A secret of the collector, by the name the code gives it.
    Secret(&'static str),
}

impl VaultRow<'_> {
    fn key(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for VaultRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = match self {
            Self::CustomerName(id) => (VaultKind::CustomerName, id.as_str()),
            Self::CustomerBilling(id) => (VaultKind::CustomerBilling, id.as_str()),
            Self::HostName(id) => (VaultKind::HostName, id.as_str()),
            Self::OperatorName(id) => (VaultKind::OperatorName, id.as_str()),
            Self::TokenNote(id) => (VaultKind::TokenNote, id.as_str()),
            Self::LicenceCode(id) => (VaultKind::LicenceCode, id.as_str()),
            Self::OrderSealed(id) => (VaultKind::OrderSealed, id.as_str()),
            Self::DestinationSecrets(name) => (VaultKind::DestinationSecrets, *name),
            Self::Account(id) => (VaultKind::Account, id.as_str()),
            Self::Session(name) => (VaultKind::Session, *name),
            Self::Secret(name) => (VaultKind::Secret, *name),
        };
        write!(f, "{}{id}", kind.prefix())
    }
}

/// A row as it lies in the vault: its key, and its value under the vault's key.
pub type Sealed = (Vec<u8>, Vec<u8>);

/// A row's id (or a secret's name) and value.
pub type Opened = (String, Zeroizing<Vec<u8>>);

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

/// An open vault. Its acts block: a write returns after a sync of the disk.
pub struct Vault {
    folder: PathBuf,
    cipher: XChaCha20Poly1305,
    key_id: [u8; KEY_ID_LENGTH],
    rows: Rows,
    /// The number of the last write; held while one is going on.
    writes: Mutex<u64>,
    renamed: Mutex<Renamed>,
}

impl Vault {
    /// Makes a vault with a new key. A making that was cut short is gone on with.
    ///
    /// # Errors
    /// When there is one already, or the system fails.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn create(folder: &Path) -> Result<Self, VaultError> {
        if folder.join(WRITES_FILE).exists() {
            return Err(VaultError::Exists { folder: folder.into() });
        }
        store::make_folder(folder)?;
        let key_path = folder.join(KEY_FILE);
        if !key_path.exists() {
            let mut key = Zeroizing::new([0; KEY_LENGTH]);
            getrandom::fill(key.as_mut()).expect("the operating system gives random bytes");
            store::write_file(&key_path, key.as_ref())?;
        }
        let vault = Self::unlock(folder)?;
        // Rows are there already when only the last step of an earlier try is missing.
        let known = vault.marked()?.unwrap_or(0);
        *vault.writes.lock().unwrap_or_else(PoisonError::into_inner) = known;
        vault.rows.sync_files()?;
        vault.write(&[])?;
        Ok(vault)
    }

    /// Opens a vault; every row is read and checked.
    ///
    /// # Errors
    /// When there is none, its key is not there or another's, or it does not hold what was put into it.
    pub fn open(folder: &Path) -> Result<Self, VaultError> {
        if !folder.join(WRITES_FILE).exists() {
            return Err(VaultError::NotInitialised { folder: folder.into() });
        }
        let vault = Self::unlock(folder)?;
        let Some(marked) = vault.marked()? else {
            return Err(VaultError::Emptied { folder: folder.into() });
        };
        let path = folder.join(WRITES_FILE);
        let noted =
            fs::read(&path).map_err(|source| StoreError::Io { act: "read", path: path.clone(), source })?;
        let noted =
            decode_writes(&noted).ok_or_else(|| vault.damaged(&format!("`{WRITES_FILE}` is damaged")))?;
        if marked < noted {
            return Err(vault.damaged(&format!("its last {} writes are lost", noted - marked)));
        }
        *vault.writes.lock().unwrap_or_else(PoisonError::into_inner) = marked;
        // A process that was killed may have left rows that no sync covered yet.
        vault.rows.sync_files()?;
        Ok(vault)
    }

    /// Makes a vault of what [`Vault::copy`] gave.
    ///
    /// # Errors
    /// When there is one already, the key is none, a row is not under it, or the system fails.
    pub fn put_back(folder: &Path, key: &[u8], rows: Vec<Sealed>) -> Result<Self, VaultError> {
        if folder.join(WRITES_FILE).exists() {
            return Err(VaultError::Exists { folder: folder.into() });
        }
        store::make_folder(folder)?;
        store::write_file(&folder.join(KEY_FILE), key)?;
        let vault = Self::unlock(folder)?;
        for (row, sealed) in &rows {
            vault.unseal(row, sealed)?;
        }
        let changes: Vec<Change> = rows.into_iter().map(|(row, sealed)| (row, Some(sealed))).collect();
        vault.write(&changes)?;
        Ok(vault)
    }

    /// The vault's key and all rows under it, as they were at one moment. Whoever has both reads everything.
    ///
    /// # Errors
    /// When they cannot be read, or a row is not what was put there.
    pub fn copy(&self) -> Result<(Zeroizing<Vec<u8>>, Vec<Sealed>), VaultError> {
        let _nobody_writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(KEY_FILE);
        let key = fs::read(&path).map(Zeroizing::new);
        let key = key.map_err(|source| StoreError::Io { act: "read", path: path.clone(), source })?;
        if key_id(&key) != self.key_id {
            return Err(VaultError::WrongKey { path });
        }
        let rows = self.rows.all()?;
        for (row, sealed) in &rows {
            self.unseal(row, sealed)?;
        }
        Ok((key, rows))
    }

    /// Puts a value into a row; it is durable when this returns.
    ///
    /// # Errors
    /// When the value is longer than [`VALUE_BYTES_MAX`] or cannot be written. After a failed write the vault only
    /// reads, until it is opened again.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn put(&self, row: VaultRow<'_>, value: &[u8]) -> Result<(), VaultError> {
        self.put_all(&[(row, value)])
    }

    /// Puts values into rows, in batches of at most [`BATCH_ROWS_MAX`]; all are durable when this returns. Of two
    /// values for one row the later one stays.
    ///
    /// # Errors
    /// As [`Vault::put`]; batches before the failed one are kept.
    ///
    /// # Panics
    /// As [`Vault::put`].
    pub fn put_all(&self, rows: &[(VaultRow<'_>, &[u8])]) -> Result<(), VaultError> {
        let mut changes = std::collections::BTreeMap::new();
        for (row, value) in rows {
            if value.len() > VALUE_BYTES_MAX {
                return Err(VaultError::TooLarge { row: row.to_string(), bytes: value.len() });
            }
            let key = row.key();
            let sealed = self.seal(&key, value)?;
            changes.insert(key, Some(sealed));
        }
        self.write(&changes.into_iter().collect::<Vec<_>>())
    }

    /// Erases a row; it is gone for good when this returns. sled keeps the old bytes on the disk until it reuses
    /// their place; they are of no use without the key.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn delete(&self, row: VaultRow<'_>) -> Result<(), VaultError> {
        self.write(&[(row.key(), None)])
    }

    /// Erases rows, as [`Vault::delete`] does one.
    ///
    /// # Errors
    /// As there; batches before the failed one are gone.
    pub fn delete_all(&self, rows: &[VaultRow<'_>]) -> Result<(), VaultError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.write(&rows.iter().map(|row| (row.key(), None)).collect::<Vec<_>>())
    }

    /// A row's value.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was put there.
    pub fn get(&self, row: VaultRow<'_>) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let key = row.key();
        self.rows.get(&key)?.map(|sealed| self.unseal(&key, &sealed)).transpose()
    }

    /// All rows of a kind: each with its id (or a secret's name), in the ids' order.
    ///
    /// # Errors
    /// When one cannot be read, or is not what was put there.
    pub fn scan(&self, kind: VaultKind) -> Result<Vec<Opened>, VaultError> {
        let prefix = kind.prefix();
        let rows = self.rows.scan(prefix.as_bytes(), usize::MAX, false)?;
        let opened = rows.into_iter().map(|(key, sealed)| {
            let id = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            Ok((id, self.unseal(&key, &sealed)?))
        });
        opened.collect()
    }

    fn unlock(folder: &Path) -> Result<Self, VaultError> {
        let path = folder.join(KEY_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(VaultError::Key { path }),
            Err(source) => return Err(StoreError::Io { act: "read", path, source }.into()),
        };
        let cipher =
            XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| VaultError::Key { path: path.clone() })?;
        let key_id = key_id(&bytes);
        let rows = Rows::open(&folder.join("rows"), false)?;
        Ok(Self {
            folder: folder.into(),
            cipher,
            key_id,
            rows,
            writes: Mutex::new(0),
            renamed: Mutex::default(),
        })
    }

    /// The number of the write that the rows reflect; none where nothing was ever written.
    fn marked(&self) -> Result<Option<u64>, VaultError> {
        let stamp = self.rows.stamp();
        if stamp.is_empty() {
            return Ok(None);
        }
        if stamp.get(1..1 + KEY_ID_LENGTH) != Some(&self.key_id) {
            return Err(VaultError::WrongKey { path: self.folder.join(KEY_FILE) });
        }
        let marker = self.unseal(MARKER_KEY, &stamp)?;
        let number = marker.strip_prefix(MARKER).and_then(|number| number.try_into().ok());
        number
            .map(|number| Some(u64::from_le_bytes(number)))
            .ok_or_else(|| self.damaged("its marker is another's"))
    }

    fn write(&self, changes: &[Change]) -> Result<(), VaultError> {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a change only the marker is written.
        for batch in changes.chunks(BATCH_ROWS_MAX).chain(changes.is_empty().then_some(changes)) {
            let number = *writes + 1;
            let marker = self.seal(MARKER_KEY, &[MARKER, &number.to_le_bytes()].concat())?;
            self.rows.write(batch, &marker)?;
            *writes = number;
        }
        self.rows.sync()?;
        self.note_renamed(changes);
        Ok(store::write_file(&self.folder.join(WRITES_FILE), &encode_writes(*writes))?)
    }

    /// Which machines' names were written since an earlier place, as [`Renamed::since`].
    pub fn renamed_since(&self, known: u64) -> (u64, Option<Vec<MachineId>>) {
        self.renamed.lock().unwrap_or_else(PoisonError::into_inner).since(known)
    }

    fn note_renamed(&self, changes: &[Change]) {
        let mut renamed = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |key: &[u8]| {
            let id = std::str::from_utf8(key).ok()?.strip_prefix(VaultKind::HostName.prefix())?;
            id.parse().ok()
        };
        changes.iter().filter_map(|(key, _)| named(key)).for_each(|machine| renamed.note(machine));
    }

    /// `format | key id | nonce | ciphertext and tag`; the row's key, the format and the key id are bound to it.
    fn seal(&self, row_key: &[u8], value: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).expect("the operating system gives random bytes");
        let aad = self.bound_to(row_key);
        let sealed = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: value, aad: &aad })
            .map_err(|_| self.damaged("a value cannot be encrypted"))?;
        Ok([&[SEAL_FORMAT], self.key_id.as_slice(), &nonce, &sealed].concat())
    }

    fn unseal(&self, row_key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let row =
            || self.damaged(&format!("the row `{}` cannot be decrypted", String::from_utf8_lossy(row_key)));
        let rest = sealed.strip_prefix(&[SEAL_FORMAT]).ok_or_else(row)?;
        let rest = rest.strip_prefix(&self.key_id).ok_or_else(row)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LENGTH>().ok_or_else(row)?;
        let aad = self.bound_to(row_key);
        let value = self.cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &aad });
        value.map(Zeroizing::new).map_err(|_| row())
    }

    fn bound_to(&self, row_key: &[u8]) -> Vec<u8> {
        [&[SEAL_FORMAT], self.key_id.as_slice(), row_key].concat()
    }

    fn damaged(&self, what: &str) -> VaultError {
        VaultError::Damaged { folder: self.folder.clone(), what: what.into() }
    }
}

fn key_id(key: &[u8]) -> [u8; KEY_ID_LENGTH] {
    let mut id = [0; KEY_ID_LENGTH];
    let digest = Sha256::new_with_prefix(b"seatbeat vault key id").chain_update(key).finalize();
    id.copy_from_slice(&digest[..KEY_ID_LENGTH]);
    id
}

fn encode_writes(number: u64) -> Vec<u8> {
    let number = number.to_le_bytes();
    [number.as_slice(), &crc32c::crc32c(&number).to_le_bytes()].concat()
}

fn decode_writes(bytes: &[u8]) -> Option<u64> {
    let (number, checksum) = bytes.split_first_chunk::<8>()?;
    let fits = checksum == crc32c::crc32c(number).to_le_bytes();
    fits.then(|| u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests;
