//! Founding: a new collector's store, its keys and the first records. Invariant: a folder that holds books already
//! is never touched; a founding that was cut short leaves nothing that opens as books.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::fold::{FORMAT, Fold, FoldError};
use seatbeat_ledger::policy::{Policy, PolicyError};
use seatbeat_proto::ids::{OperatorId, ResellerId};
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Founded, JournalRecord, OperatorAdded, PolicySet};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::Config;
use crate::console::sign_in::accounts::{Account, Login};
use crate::journal::{Condition, Journal, JournalError, Position, PostgresJournal, SEGMENT_BYTES_MAX};
use crate::journal_place::{self, Opened, PlaceError};
use crate::keys::{Keys, KeysError};
use crate::store::{self, Store, StoreError};
use crate::vault::{Vault, VaultError, VaultRow};

/// What every operator token starts with.
pub const OPERATOR_TOKEN_PREFIX: &str = "sbo1.";

/// A founded store, and what its first operator needs.
pub struct FoundedStore {
    /// Whose it is.
    pub reseller: ResellerId,
    /// The first operator.
    pub operator: OperatorId,
    /// Opens the operator door; only its hash is kept here.
    pub operator_token: Zeroizing<String>,
    /// The public key that statements are signed with.
    pub statement_key: [u8; 32],
}

/// A store that was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// Somebody's books are there.
    #[error("`{0}` holds a collector's books already")]
    Founded(PathBuf),
    /// The folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault cannot be made.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The keys cannot be made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Where the journal is to be cannot be told.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The database's journal has records.
    #[error("`{0}` holds a collector's books already")]
    Taken(String),
    /// The configuration names no database.
    #[error("the configuration names no database: `journal` is not set")]
    NoDatabase,
    /// The database's journal has no records.
    #[error("`{0}` holds no collector's books")]
    Empty(String),
    /// The vault belongs to other books.
    #[error("the keys in the vault are not those that the journal in `{0}` names")]
    ForeignVault(String),
    /// A record in it cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The first policy is not one.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The configuration cannot be written as TOML.
    #[error("failed to write the configuration as TOML")]
    Config(#[from] toml::ser::Error),
}

/// A store that has all but its first records: dropped, it is none.
pub struct Founding {
    _store: Store,
    vault: Vault,
    journal: Box<dyn Journal>,
    records: Vec<Vec<u8>>,
    unfinished: PathBuf,
    founded: FoundedStore,
}

impl Founding {
    /// Gets a store ready in `folder`, with `policy` (TOML) as its first policy. What an earlier attempt that was cut
    /// short left there is removed.
    ///
    /// # Errors
    /// When the folder holds books already, cannot be written, or the policy is not one.
    pub fn begin(folder: &Path, config: &Config, policy: &str, clock: Clock) -> Result<Self, FoundError> {
        Policy::parse(policy)?;
        let store = Store::open(folder)?;
        let (unfinished, config_file) = (store.unfinished(), folder.join(Config::FILE));
        if config_file.exists() && !unfinished.exists() {
            return Err(FoundError::Founded(folder.to_owned()));
        }
        let address = journal_place::of_config(config)?;
        if let Some(address) = &address {
            journal_place::migrate(address).map_err(JournalError::from)?;
            // Its own, where only the last step of an earlier attempt is missing.
            let is_taken = PostgresJournal::size_at(address)?.0 > 0;
            if is_taken && !(unfinished.exists() && Vault::is_of(&store.vault(), address)?) {
                return Err(FoundError::Taken(address.to_string()));
            }
        }
        let journal = Opened::open(&store.journal(), address.as_ref(), Position(0), SEGMENT_BYTES_MAX)?;
        if journal.size().0 > 0 {
            return Err(FoundError::Founded(folder.to_owned()));
        }
        if unfinished.exists() {
            if let Some(address) = &address {
                Vault::take_back(&store.vault(), address)?;
            }
            store::remove_folder(&store.vault())?;
        }
        if !store.vault().exists() {
            store::write_file(&unfinished, b"")?;
        }
        let vault = match &address {
            Some(address) => Vault::create_shared(&store.vault(), address)?,
            None => Vault::create(&store.vault())?,
        };
        let keys = Keys::make(&vault)?;
        store::write_file(&config_file, toml::to_string(config)?.as_bytes())?;
        let founded = FoundedStore {
            reseller: ResellerId::random(),
            operator: OperatorId::random(),
            operator_token: new_operator_token(),
            statement_key: keys.statement().verifying_key().to_bytes(),
        };
        let records = first_records(&founded, &keys, policy, clock.now_ms());
        Ok(Self { _store: store, vault, journal: journal.into_journal(), records, unfinished, founded })
    }

    /// What the store's first operator needs; it is of use once the founding is finished.
    pub fn founded(&self) -> &FoundedStore {
        &self.founded
    }

    /// Gives the first operator a name to sign in with; a password comes later.
    ///
    /// # Errors
    /// When the vault cannot be written.
    pub fn set_login(&self, login: &Login) -> Result<(), FoundError> {
        let account = Account { login: login.to_string(), ..Account::default() };
        let value = serde_json::to_vec(&account).expect("an account has text keys and plain values");
        Ok(self.vault.put(VaultRow::Account(&self.founded.operator), &value)?)
    }

    /// Writes the first records: from here on the store holds books.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn finish(mut self) -> Result<FoundedStore, FoundError> {
        self.journal.append_if(&self.records, Condition::EndsAt(Position(0)))?;
        // The first start removes it otherwise.
        let _ = store::remove_file(&self.unfinished);
        Ok(self.founded)
    }
}

/// Sets a store up in `folder`, with `policy` (TOML) as its first policy.
///
/// # Errors
/// As [`Founding::begin`] and [`Founding::finish`].
pub fn found(folder: &Path, config: &Config, policy: &str, clock: Clock) -> Result<FoundedStore, FoundError> {
    Founding::begin(folder, config, policy, clock)?.finish()
}

/// The founded store that an operator's token opens; none when it is no token of it.
///
/// # Errors
/// When the store is in use or its journal cannot be read.
pub fn opened_by(folder: &Path, token: &str) -> Result<Option<FoundedStore>, FoundError> {
    let store = Store::open(folder)?;
    let address = journal_place::of_store(folder)?;
    let journal = Opened::open(&store.journal(), address.as_ref(), Position(0), SEGMENT_BYTES_MAX)?;
    let mut fold = Fold::default();
    for (_, record) in journal.reader().read_from(Position(0), FIRST_RECORDS)? {
        fold.apply(&record)?;
    }
    let let_in = fold.operators().by_token(&hash(token.as_bytes()), Timestamp::UNIX_EPOCH);
    let Some((operator, founded)) = let_in.map(|who| who.operator).zip(fold.founded()) else {
        return Ok(None);
    };
    Ok(Some(FoundedStore {
        reseller: founded.reseller.clone(),
        operator,
        operator_token: Zeroizing::new(token.to_owned()),
        statement_key: founded.statement_key,
    }))
}

/// How many records a founding writes.
const FIRST_RECORDS: usize = 3;

fn first_records(founded: &FoundedStore, keys: &Keys, policy: &str, recorded_at_ms: i64) -> Vec<Vec<u8>> {
    let facts: [Fact; FIRST_RECORDS] = [
        Fact::Founded(Founded {
            reseller: founded.reseller.to_string(),
            format: FORMAT,
            service_key: keys.service().verifying_key().to_bytes().to_vec(),
            statement_key: founded.statement_key.to_vec(),
        }),
        Fact::OperatorAdded(OperatorAdded {
            operator: founded.operator.to_string(),
            token_hash: hash(founded.operator_token.as_bytes()).to_vec(),
            ..Default::default()
        }),
        Fact::PolicySet(PolicySet { toml: policy.to_owned(), ..Default::default() }),
    ];
    let record = |fact| {
        let (actor, reason) = ("collector".to_owned(), "founded".to_owned());
        JournalRecord { recorded_at_ms, actor, reason, fact: Some(fact), ..Default::default() }
            .encode_to_vec()
    };
    facts.into_iter().map(record).collect()
}

/// What opens the operator door, for somebody new.
pub(crate) fn new_operator_token() -> Zeroizing<String> {
    new_token(OPERATOR_TOKEN_PREFIX)
}

/// A token of 256 random bits behind what tells its kind.
pub(crate) fn new_token(prefix: &str) -> Zeroizing<String> {
    let mut secret = Zeroizing::new([0u8; 32]);
    getrandom::fill(secret.as_mut()).expect("the operating system gives random bytes");
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret));
    Zeroizing::new(format!("{prefix}{}", text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "zone = \"UTC\"";

    fn begun(folder: &Path) -> Result<Founding, FoundError> {
        Founding::begin(folder, &Config::default(), POLICY, Clock::real())
    }

    #[test]
    fn a_founding_that_was_cut_short_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let first = begun(folder.path()).unwrap().founded().statement_key;
        let founded = begun(folder.path()).unwrap().finish().unwrap();
        assert_ne!(founded.statement_key, first, "no key of the first attempt is used");
        assert!(matches!(begun(folder.path()), Err(FoundError::Founded(_))));
        let opened = opened_by(folder.path(), &founded.operator_token).unwrap();
        assert_eq!(opened.map(|store| store.reseller), Some(founded.reseller));
        assert!(opened_by(folder.path(), "sbo1.another").unwrap().is_none());
    }

    #[test]
    fn a_vault_without_its_journal_is_not_taken_for_an_attempt() {
        let folder = tempfile::tempdir().unwrap();
        begun(folder.path()).unwrap().finish().unwrap();
        let vault = || std::fs::read(folder.path().join("vault/vault.key")).unwrap();
        let key = vault();
        std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
        assert!(begun(folder.path()).is_err());
        std::fs::remove_file(folder.path().join(Config::FILE)).unwrap();
        assert!(matches!(begun(folder.path()), Err(FoundError::Vault(VaultError::Exists { .. }))));
        assert_eq!(vault(), key);
    }
}
