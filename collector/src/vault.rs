//! The vault: names, secrets and other text that can be erased, each row encrypted under the vault's key.
//! Invariant: no count ever depends on it; a row is given out exactly as it was put under that very key, or not at
//! all; a vault that lost rows says so instead of opening without them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use seatbeat_proto::ids::MachineId;
use zeroize::Zeroizing;

use crate::looks::Looks;
use crate::rows::{BATCH_ROWS_MAX, Change, Rows};
use crate::store::{self, StoreError};
pub use error::VaultError;
use recent::Recent;
pub use row::{VaultKind, VaultRow};
use seal::Seal;
use table::{Before, MARK_LENGTH, Table, Write};

mod error;
mod recent;
mod row;
mod seal;
mod shared;
mod table;

/// Longest value in bytes: sled puts large values into files of their own and never syncs those.
pub const VALUE_BYTES_MAX: usize = 4 * 1024;

/// How often a value is put whose row others change at the same time.
const PUT_TRIES: u32 = 5;

const KEY_FILE: &str = "vault.key";
/// The number of the last write, behind each write: sled may open a damaged file as it was some writes ago. Without
/// this file the making of the vault was cut short.
const WRITES_FILE: &str = "vault.writes";

const ROWS: &str = "rows";

/// Bytes of a vault's key.
pub const KEY_LENGTH: usize = 32;
/// The stamp that proves that the rows are this vault's; the number of the write follows in it.
const MARKER_NAME: &[u8] = b"marker";
const MARKER: &[u8] = b"seatbeat vault 1";

/// A row as it lies in the vault: its key, and its value under the vault's key.
pub type Sealed = (Vec<u8>, Vec<u8>);

/// A row's id (or a secret's name) and value.
pub type Opened = (String, Zeroizing<Vec<u8>>);

/// An open vault. Its acts block: a write returns after a sync of the disk, or behind the database's commit.
pub struct Vault {
    folder: PathBuf,
    seal: Seal,
    rows: Rows,
    /// The last write; held while one is going on.
    writes: Mutex<Write>,
    /// Where the vault is, if other collectors have it, too: the rows are a copy then.
    table: Option<Table>,
    renamed: Recent<MachineId>,
    signed: Recent<String>,
    looks: Looks,
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
            store::write_file(&key_path, seal::new_key().as_ref())?;
        }
        let vault = Self::unlock(folder)?;
        // Rows are there already when only the last step of an earlier try is missing.
        let known = vault.marked()?.unwrap_or_default();
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
        if marked.number < noted {
            return Err(vault.damaged(&format!("its last {} writes are lost", noted - marked.number)));
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
        if let Err(error) = self.catch_up() {
            tracing::warn!(%error, "others' newest rows may be missing from the copy of the vault");
        }
        let _nobody_writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(KEY_FILE);
        let key = fs::read(&path).map(Zeroizing::new);
        let key = key.map_err(|source| StoreError::Io { act: "read", path: path.clone(), source })?;
        if !self.seal.is_of(&key) {
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
            changes.insert(row.key(), Some(self.sealed(row, value)?));
        }
        self.write(&changes.into_iter().collect::<Vec<_>>())
    }

    /// Puts a value into a row whose value is as expected (none: there is no such row); false where it is not, because
    /// another collector changed it.
    ///
    /// # Errors
    /// As [`Vault::put`].
    ///
    /// # Panics
    /// As [`Vault::put`].
    pub fn put_if(
        &self,
        row: VaultRow<'_>,
        expected: impl Fn(Option<&[u8]>) -> bool,
        value: &[u8],
    ) -> Result<bool, VaultError> {
        let (name, sealed) = (row.key(), self.sealed(&row, value)?);
        for _ in 0..PUT_TRIES {
            let found = self.rows.get(&name)?;
            if found.as_ref() == Some(&sealed) {
                // An earlier try, whose answer was lost, has put it there.
                return Ok(true);
            }
            let known = found.as_ref().map(|sealed| self.unseal(&name, sealed)).transpose()?;
            if !expected(known.as_deref().map(Vec::as_slice)) {
                return Ok(false);
            }
            let change = [(name.clone(), Some(sealed.clone()))];
            let Some(table) = &self.table else { return self.write(&change).map(|()| true) };
            if self.write_shared(table, &change, &Before::Value(found))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn sealed(&self, row: &VaultRow<'_>, value: &[u8]) -> Result<Vec<u8>, VaultError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(VaultError::TooLarge { row: row.to_string(), bytes: value.len() });
        }
        Ok(self.seal.seal(&row.key(), value))
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
        let names: std::collections::BTreeSet<Vec<u8>> = rows.iter().map(VaultRow::key).collect();
        self.write(&names.into_iter().map(|name| (name, None)).collect::<Vec<_>>())
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
        let seal = Seal::read(&folder.join(KEY_FILE))?;
        let rows = Self::rows_in(folder)?;
        Ok(Self {
            folder: folder.into(),
            seal,
            rows,
            writes: Mutex::default(),
            table: None,
            renamed: Recent::default(),
            signed: Recent::default(),
            looks: Looks::default(),
        })
    }

    /// The number of the write that the rows reflect; none where nothing was ever written.
    fn marked(&self) -> Result<Option<Write>, VaultError> {
        let stamp = self.rows.stamp();
        if stamp.is_empty() {
            return Ok(None);
        }
        if !self.seal.names(&stamp) {
            return Err(VaultError::WrongKey { path: self.folder.join(KEY_FILE) });
        }
        let marker = self.unseal(MARKER_NAME, &stamp)?;
        let written = marker.strip_prefix(MARKER).and_then(|written| written.split_first_chunk());
        let write = written.and_then(|(number, mark)| {
            let number = u64::from_le_bytes(*number);
            let mark = if mark.is_empty() { [0; MARK_LENGTH] } else { mark.try_into().ok()? };
            Some(Write { number, mark })
        });
        write.map(Some).ok_or_else(|| self.damaged("its marker is another's"))
    }

    fn marker(&self, write: Write) -> Vec<u8> {
        let mark = if write.mark == [0; MARK_LENGTH] { &[] } else { write.mark.as_slice() };
        self.seal.seal(MARKER_NAME, &[MARKER, &write.number.to_le_bytes(), mark].concat())
    }

    fn write(&self, changes: &[Change]) -> Result<(), VaultError> {
        if let Some(table) = &self.table {
            return self.write_shared(table, changes, &Before::Anything).map(|_| ());
        }
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a change only the marker is written.
        for batch in changes.chunks(BATCH_ROWS_MAX).chain(changes.is_empty().then_some(changes)) {
            let next = Write { number: writes.number + 1, ..Write::default() };
            self.rows.write(batch, &self.marker(next))?;
            *writes = next;
        }
        self.settle(writes.number)?;
        self.note(changes);
        Ok(())
    }

    /// Makes what was written durable, and notes that it was.
    fn settle(&self, writes: u64) -> Result<(), VaultError> {
        self.rows.sync()?;
        Ok(store::write_file(&self.folder.join(WRITES_FILE), &encode_writes(writes))?)
    }

    /// Which machines' names were written since an earlier place: where it is now, and they; none: too many, or nothing
    /// is known of that place.
    pub fn renamed_since(&self, known: u64) -> (u64, Option<Vec<MachineId>>) {
        self.renamed.since(known)
    }

    /// The names of the rows that operators sign in with or stay signed in by, as [`Vault::renamed_since`].
    pub fn signed_since(&self, known: u64) -> (u64, Option<Vec<String>>) {
        self.signed.since(known)
    }

    fn note(&self, changes: &[Change]) {
        let name = |(name, _): &Change| String::from_utf8_lossy(name).into_owned();
        let of_machine = |name: String| name.strip_prefix(VaultKind::HostName.prefix())?.parse().ok();
        self.renamed.note(changes.iter().map(name).filter_map(of_machine));
        let signs = [VaultKind::Account, VaultKind::Session];
        let is_signed = |name: &String| signs.iter().any(|kind| name.starts_with(kind.prefix()));
        self.signed.note(changes.iter().map(name).filter(is_signed));
    }

    fn unseal(&self, name: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let row =
            || self.damaged(&format!("the row `{}` cannot be decrypted", String::from_utf8_lossy(name)));
        self.seal.unseal(name, sealed).ok_or_else(row)
    }

    fn damaged(&self, what: &str) -> VaultError {
        VaultError::Damaged { folder: self.folder.clone(), what: what.into() }
    }
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
