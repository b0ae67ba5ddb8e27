//! Founding: a new collector's store, its keys and the first records. Invariant: a folder that holds books already
//! is never touched; a founding that was cut short leaves nothing that opens as books.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use seatbeat_ledger::fold::FORMAT;
use seatbeat_ledger::policy::{Policy, PolicyError};
use seatbeat_proto::ids::{OperatorId, ResellerId};
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Founded, JournalRecord, OperatorAdded, PolicySet};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::Config;
use crate::journal::{FileJournal, Journal as _, JournalError};
use crate::keys::{Keys, KeysError};
use crate::store::{self, Store, StoreError};
use crate::vault::{Vault, VaultError};

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
    /// The first policy is not one.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The configuration cannot be written as TOML.
    #[error("failed to write the configuration as TOML")]
    Config(#[from] toml::ser::Error),
}

/// Sets a store up in `folder`, with `policy` (TOML) as its first policy.
///
/// # Errors
/// When the folder holds books already, cannot be written, or the policy is not one.
pub fn found(folder: &Path, config: &Config, policy: &str, clock: Clock) -> Result<FoundedStore, FoundError> {
    Policy::parse(policy)?;
    let store = Store::open(folder)?;
    let mut journal = FileJournal::open(&store.journal())?;
    if journal.size().0 > 0 {
        return Err(FoundError::Founded(folder.to_owned()));
    }
    let vault = Vault::create(&store.vault())?;
    let keys = Keys::make(&vault)?;
    let (operator, operator_token) = (OperatorId::random(), operator_token());
    let reseller = ResellerId::random();
    let statement_key = keys.statement().verifying_key().to_bytes();
    let facts = [
        Fact::Founded(Founded {
            reseller: reseller.to_string(),
            format: FORMAT,
            service_key: keys.service().verifying_key().to_bytes().to_vec(),
            statement_key: statement_key.to_vec(),
        }),
        Fact::OperatorAdded(OperatorAdded {
            operator: operator.to_string(),
            token_hash: hash(operator_token.as_bytes()).to_vec(),
        }),
        Fact::PolicySet(PolicySet { toml: policy.to_owned() }),
    ];
    store::write_file(&folder.join(Config::FILE), toml::to_string(config)?.as_bytes())?;
    let recorded_at_ms = clock.now_ms();
    let records: Vec<Vec<u8>> = facts
        .into_iter()
        .map(|fact| {
            let actor = "collector".to_owned();
            JournalRecord { recorded_at_ms, actor, reason: "founded".to_owned(), fact: Some(fact) }
                .encode_to_vec()
        })
        .collect();
    journal.append(&records)?;
    Ok(FoundedStore { reseller, operator, operator_token, statement_key })
}

fn operator_token() -> Zeroizing<String> {
    let mut secret = Zeroizing::new([0u8; 32]);
    getrandom::fill(secret.as_mut()).expect("the operating system gives random bytes");
    Zeroizing::new(format!("{OPERATOR_TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret)))
}
