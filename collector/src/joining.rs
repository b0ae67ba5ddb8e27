//! One more collector on a database that another was set up with. Invariant: a folder that holds anything is left as it is;
//! what was cut short is begun anew; nothing is written to the database.

use std::path::Path;

use seatbeat_ledger::fold::Fold;
use seatbeat_proto::ids::ResellerId;

use crate::config::Config;
use crate::found::FoundError;
use crate::journal::{Position, SEGMENT_BYTES_MAX};
use crate::journal_place::{self, Opened};
use crate::keys::Keys;
use crate::store::{self, Store};
use crate::vault::Vault;

/// Is there while a store is being made.
const UNFINISHED: &str = "joining";

/// Records from the first on that tell whose books they are.
const FIRST_RECORDS: usize = 3;

/// What a new store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Whose it is.
    pub reseller: ResellerId,
    /// How many records were fetched.
    pub records: u64,
}

/// Makes a store in `folder` of what the configured database holds, with the vault's key that the others have.
///
/// # Errors
/// When the folder holds anything, no database is configured, or it cannot be reached, has no books, or the key is
/// another's.
pub fn join(folder: &Path, config: &Config, key: &[u8]) -> Result<Joined, FoundError> {
    let store = Store::open(folder)?;
    let (unfinished, config_file) = (folder.join(UNFINISHED), folder.join(Config::FILE));
    let parts = [store.vault(), store.journal()];
    if config_file.exists() {
        return Err(FoundError::Founded(folder.to_owned()));
    }
    if unfinished.exists() {
        parts.iter().try_for_each(|part| store::remove_folder(part))?;
    } else if parts.iter().any(|part| part.exists()) {
        return Err(FoundError::Founded(folder.to_owned()));
    }
    let address = journal_place::of_config(config)?.ok_or(FoundError::NoDatabase)?;
    store::write_file(&unfinished, b"")?;
    let keys = Keys::read(&Vault::join(&store.vault(), key, &address)?)?;
    let journal = Opened::open(&store.journal(), Some(&address), Position(0), SEGMENT_BYTES_MAX)?;
    let mut fold = Fold::default();
    for (_, record) in journal.reader().read_from(Position(0), FIRST_RECORDS)? {
        fold.apply(&record)?;
    }
    let founded = fold.founded().ok_or_else(|| FoundError::Empty(address.to_string()))?;
    if !keys.belong_to(founded) {
        return Err(FoundError::ForeignVault(address.to_string()));
    }
    store::write_file(&config_file, toml::to_string(config)?.as_bytes())?;
    store::remove_file(&unfinished)?;
    Ok(Joined { reseller: founded.reseller.clone(), records: journal.size().0 })
}
