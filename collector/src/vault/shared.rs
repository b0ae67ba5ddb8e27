//! A vault that several collectors share: the database has it, and each collector a copy in its own rows. Invariant: what
//! was put is in the database before anybody hears of it; the copy is the database's as of some write, and only goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use super::seal::Seal;
use super::table::{Before, MARK_LENGTH, Newer, Table, Write, new_mark};
use super::{KEY_FILE, MARKER, MARKER_NAME, Vault, VaultError, WRITES_FILE};
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

    /// Moves the vault to a database. One that was moved there before, and not written to since, stays as it is.
    ///
    /// # Errors
    /// When there is another, or it cannot be written.
    pub fn share(self, address: &Address) -> Result<Self, VaultError> {
        let table = Table::open(address)?;
        let there = table.newer(NOTHING)?;
        if there.newest == 0 {
            self.fill(&table)?;
        } else {
            self.expect_own(&there.marker, &table)?;
            let known = self.writes.lock().unwrap_or_else(PoisonError::into_inner).number;
            if there.newest < known || !self.rows.all()?.into_iter().eq(all_of(&table)?.0) {
                return Err(VaultError::Differs { place: table.place() });
            }
        }
        Ok(Self { table: Some(table), ..self })
    }

    /// Whether a database's vault was made with the key in the folder.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn is_of(folder: &Path, address: &Address) -> Result<bool, VaultError> {
        let Ok(seal) = Seal::read(&folder.join(KEY_FILE)) else { return Ok(false) };
        Ok(seal.unseal(MARKER_NAME, &Table::open(address)?.newer(NOTHING)?.marker).is_some())
    }

    /// Removes from a database what was made there with the key in the folder, if anything.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn take_back(folder: &Path, address: &Address) -> Result<(), VaultError> {
        if Self::is_of(folder, address)? {
            Table::open(address)?.clear()?;
        }
        Ok(())
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
        let look = self.looks.begin();
        self.follow(table, &mut known)?;
        self.looks.end(&look);
        Ok(())
    }

    /// Returns once the copy has what others had written when it was asked, as far as somebody follows them; not waited
    /// for after a while. At once where nobody else writes.
    pub async fn caught_up(&self) {
        if self.is_shared() {
            let looked = self.looks.watched();
            looked.caught_up().await;
        }
    }

    /// Writes to the database, and takes that in with whatever came before it. False where something else was there than
    /// what had to be.
    pub(super) fn write_shared(
        &self,
        table: &Table,
        changes: &[Change],
        before: &Before,
    ) -> Result<bool, VaultError> {
        let mut known = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_written = true;
        for batch in changes.chunks(BATCH_ROWS_MAX) {
            is_written &= table.write(batch, before.clone())?;
        }
        self.follow(table, &mut known)?;
        Ok(is_written)
    }

    fn beside(folder: &Path, table: Table) -> Result<Self, VaultError> {
        let there = table.newer(NOTHING)?;
        if there.newest == 0 {
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
        vault.expect_own(&there.marker, &table)?;
        {
            let mut known = vault.writes.lock().unwrap_or_else(PoisonError::into_inner);
            *known = marked.unwrap_or_default();
            vault.follow(&table, &mut known)?;
            vault.settle(known.number)?;
        }
        Ok(Self { table: Some(table), ..vault })
    }

    /// The whole vault in an empty database.
    fn fill(&self, table: &Table) -> Result<(), VaultError> {
        let mut known = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = Write { number: known.number, mark: new_mark() };
        let marker = self.seal.seal(MARKER_NAME, MARKER);
        if !table.fill(&self.rows.all()?, behind, &marker)? {
            return Err(VaultError::Taken { place: table.place() });
        }
        self.rows.write(&[], &self.marker(behind))?;
        *known = behind;
        Ok(())
    }

    fn expect_own(&self, marker: &[u8], table: &Table) -> Result<(), VaultError> {
        let is_ours = self.seal.unseal(MARKER_NAME, marker).is_some();
        let foreign = || VaultError::Foreign { place: table.place(), path: self.folder.join(KEY_FILE) };
        is_ours.then_some(()).ok_or_else(foreign)
    }

    /// Brings the copy up to the database's newest write. A crash may take the newest rows from the copy: they are read
    /// again.
    fn follow(&self, table: &Table, known: &mut Write) -> Result<(), VaultError> {
        loop {
            let newer = table.newer(known.number)?;
            if !is_behind(&newer, known) {
                return Err(VaultError::Lost {
                    place: table.place(),
                    found: newer.newest,
                    known: known.number,
                });
            }
            if newer.known.is_none() && known.number > 0 {
                return self.fetch_anew(table, known);
            }
            if newer.newest == known.number {
                return Ok(());
            }
            let erased = |sealed: Vec<u8>| (!sealed.is_empty()).then_some(sealed);
            let changes = newer.rows.into_iter().map(|(name, sealed)| (name, erased(sealed)));
            self.take_in(&changes.collect::<Vec<_>>(), known, newer.until)?;
            if newer.until.number == newer.newest {
                return Ok(());
            }
        }
    }

    /// All rows anew: what was read last is too long ago to be told apart.
    fn fetch_anew(&self, table: &Table, known: &mut Write) -> Result<(), VaultError> {
        let (there, until) = all_of(table)?;
        let gone =
            self.rows.all()?.into_iter().map(|(name, _)| name).filter(|name| !there.contains_key(name));
        let gone: Vec<Change> = gone.map(|name| (name, None)).collect();
        let there = there.into_iter().map(|(name, sealed)| (name, Some(sealed)));
        self.take_in(&gone.into_iter().chain(there).collect::<Vec<_>>(), known, until)
    }

    fn take_in(&self, changes: &[Change], known: &mut Write, until: Write) -> Result<(), VaultError> {
        for batch in changes.chunks(BATCH_ROWS_MAX) {
            self.rows.write(batch, &self.marker(*known))?;
        }
        self.rows.write(&[], &self.marker(until))?;
        *known = until;
        self.note(changes);
        Ok(())
    }
}

/// Behind every write: a question for the head alone.
const NOTHING: u64 = i64::MAX.unsigned_abs();

/// Whether what is there goes on from a write that was read.
fn is_behind(newer: &Newer, known: &Write) -> bool {
    let is_same = newer.known.is_none_or(|mark| mark == known.mark || known.mark == [0; MARK_LENGTH]);
    newer.newest >= known.number && is_same
}

/// Sealed values by their rows' names.
type ByName = BTreeMap<Vec<u8>, Vec<u8>>;

/// All rows of a database's vault by their names, and its newest write.
fn all_of(table: &Table) -> Result<(ByName, Write), VaultError> {
    let (mut rows, mut until) = (BTreeMap::new(), Write::default());
    loop {
        let newer = table.newer(until.number)?;
        rows.extend(newer.rows);
        until = newer.until;
        if until.number == newer.newest {
            rows.retain(|_, sealed: &mut Vec<u8>| !sealed.is_empty());
            return Ok((rows, until));
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
