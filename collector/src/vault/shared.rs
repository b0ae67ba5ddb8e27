//! A vault that several collectors share: the database has it, and each collector a copy in its own rows. Invariant: what
//! was put is in the database before anybody hears of it; the copy is the database's as of some write, and only goes on.

use std::path::Path;
use std::sync::PoisonError;

use super::table::{Head, Table};
use super::{KEY_FILE, MARKER, MARKER_NAME, Vault, VaultError, WRITES_FILE, seal};
use crate::postgres::Address;
use crate::rows::{BATCH_ROWS_MAX, Change, Rows};
use crate::store;

impl Vault {
    /// Makes a vault in a database, with a new key.
    ///
    /// # Errors
    /// When there is one there or in the folder already, or either cannot be written.
    pub fn create_shared(folder: &Path, address: &Address) -> Result<Self, VaultError> {
        let table = Table::open(address)?;
        let vault = Self::create(folder)?;
        vault.fill(&table)?;
        Ok(Self { table: Some(table), ..vault })
    }

    /// Opens a database's vault with what of it lies in the folder; a copy that is damaged is laid aside and made anew.
    ///
    /// # Errors
    /// When it cannot be reached, there is none, it was made with another key, or it lost what was read from it before.
    pub fn open_shared(folder: &Path, address: &Address) -> Result<Self, VaultError> {
        if !folder.join(WRITES_FILE).exists() {
            return Err(VaultError::NotInitialised { folder: folder.into() });
        }
        Self::beside(folder, Table::open(address)?)
    }

    /// Makes the copy of a database's vault for one more collector, with the key that the others have.
    ///
    /// # Errors
    /// As [`Vault::open_shared`], and when there is a vault in the folder.
    pub fn join(folder: &Path, key: &[u8], address: &Address) -> Result<Self, VaultError> {
        if folder.join(WRITES_FILE).exists() {
            return Err(VaultError::Exists { folder: folder.into() });
        }
        store::make_folder(folder)?;
        store::write_file(&folder.join(KEY_FILE), key)?;
        Self::beside(folder, Table::open(address)?)
    }

    /// Moves the vault to a database. One that was moved there before stays as it is.
    ///
    /// # Errors
    /// When there is another's, or it cannot be written.
    pub fn share(self, address: &Address) -> Result<Self, VaultError> {
        let table = Table::open(address)?;
        let head = table.head()?;
        if head.number == 0 {
            self.fill(&table)?;
        } else {
            self.expect_own(&head, &table)?;
        }
        Ok(Self { table: Some(table), ..self })
    }

    /// Removes from a database what was made there with the key in the folder, if anything.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn take_back(folder: &Path, address: &Address) -> Result<(), VaultError> {
        let table = Table::open(address)?;
        let Ok(seal) = seal::Seal::read(&folder.join(KEY_FILE)) else { return Ok(()) };
        let is_ours = seal.unseal(MARKER_NAME, &table.head()?.marker).is_some();
        if is_ours { Ok(table.clear()?) } else { Ok(()) }
    }

    /// Whether other collectors have it, too.
    pub fn is_shared(&self) -> bool {
        self.table.is_some()
    }

    /// Takes in what others wrote. Nothing where the vault is this collector's alone.
    ///
    /// # Errors
    /// When the database cannot be asked, lost what was read from it, or the copy cannot be written.
    pub fn catch_up(&self) -> Result<(), VaultError> {
        let Some(table) = &self.table else { return Ok(()) };
        let mut known = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        self.follow(table, &mut known)
    }

    /// Writes to the database, and takes that in with whatever came before it. False where a row was not there that had
    /// to be.
    pub(super) fn write_shared(
        &self,
        table: &Table,
        changes: &[Change],
        only_there: bool,
    ) -> Result<bool, VaultError> {
        let mut known = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        for batch in changes.chunks(BATCH_ROWS_MAX) {
            if table.write(batch, only_there)?.is_none() {
                return Ok(false);
            }
        }
        self.follow(table, &mut known)?;
        Ok(true)
    }

    fn beside(folder: &Path, table: Table) -> Result<Self, VaultError> {
        let head = table.head()?;
        if head.number == 0 {
            return Err(VaultError::NotShared { place: table.place() });
        }
        let opened = Self::unlock(folder).and_then(|vault| Ok((vault.marked()?, vault)));
        let (marked, vault) = match opened {
            Err(VaultError::Damaged { what, .. }) => {
                let aside = store::lay_aside(&Self::rows_of(folder))?;
                tracing::warn!(what, ?aside, "the copy of the vault is damaged: it is made anew");
                (None, Self::unlock(folder)?)
            }
            opened => opened?,
        };
        vault.expect_own(&head, &table)?;
        {
            let mut known = vault.writes.lock().unwrap_or_else(PoisonError::into_inner);
            *known = marked.unwrap_or(0);
            vault.follow(&table, &mut known)?;
            vault.settle(*known)?;
        }
        Ok(Self { table: Some(table), ..vault })
    }

    /// The whole vault in an empty database.
    fn fill(&self, table: &Table) -> Result<(), VaultError> {
        let known = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let marker = self.seal.seal(MARKER_NAME, MARKER);
        if table.fill(&self.rows.all()?, *known, &marker)? {
            Ok(())
        } else {
            Err(VaultError::Taken { place: table.place() })
        }
    }

    fn expect_own(&self, head: &Head, table: &Table) -> Result<(), VaultError> {
        let is_ours = self.seal.unseal(MARKER_NAME, &head.marker).is_some();
        let foreign = || VaultError::Foreign { place: table.place(), path: self.folder.join(KEY_FILE) };
        is_ours.then_some(()).ok_or_else(foreign)
    }

    /// Brings the copy up to the database's newest write. A crash may take the newest rows from the copy: they are read
    /// again.
    fn follow(&self, table: &Table, known: &mut u64) -> Result<(), VaultError> {
        loop {
            let newer = table.newer(*known)?;
            if newer.until < *known {
                return Err(VaultError::Lost { place: table.place(), found: newer.until, known: *known });
            }
            if newer.until == *known {
                return Ok(());
            }
            let erased = |sealed: Vec<u8>| (!sealed.is_empty()).then_some(sealed);
            let changes: Vec<Change> =
                newer.rows.into_iter().map(|(name, sealed)| (name, erased(sealed))).collect();
            for batch in changes.chunks(BATCH_ROWS_MAX) {
                self.rows.write(batch, &self.marker(*known))?;
            }
            self.rows.write(&[], &self.marker(newer.until))?;
            *known = newer.until;
            self.note(&changes);
            if newer.is_all {
                return Ok(());
            }
        }
    }
}

impl Vault {
    fn rows_of(folder: &Path) -> std::path::PathBuf {
        folder.join(super::ROWS)
    }

    /// Opens the rows of a folder.
    pub(super) fn rows_in(folder: &Path) -> Result<Rows, VaultError> {
        Ok(Rows::open(&Self::rows_of(folder), false)?)
    }
}

#[cfg(test)]
mod tests;
