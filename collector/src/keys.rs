//! The collector's keys, kept in the vault. Invariant: they are made once, when the books are founded; a vault
//! without them is refused, never refilled.

use ed25519_dalek::SigningKey;
use seatbeat_ledger::bundle::pseudonym::PseudonymKey;
use seatbeat_ledger::fold::Founded;
use seatbeat_proto::signed::new_key;
use zeroize::Zeroizing;

use crate::vault::{Vault, VaultError, VaultRow};

const SERVICE: VaultRow<'static> = VaultRow::Secret("service-key");
const STATEMENT: VaultRow<'static> = VaultRow::Secret("statement-key");
const SALT: VaultRow<'static> = VaultRow::Secret("facts-salt");
const TLS_KEY: VaultRow<'static> = VaultRow::Secret("collector-key");
const TLS_CERTIFICATE: VaultRow<'static> = VaultRow::Secret("collector-certificate");

/// Keys of one collector.
pub struct Keys {
    service: SigningKey,
    statement: SigningKey,
    salt: Zeroizing<[u8; 32]>,
    tls_key: Zeroizing<Vec<u8>>,
    tls_certificate: Vec<u8>,
}

/// Keys that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The vault does not give or take them.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// One is missing or of the wrong length.
    #[error("the vault does not hold the key `{0}`")]
    Missing(&'static str),
    /// The certificate cannot be made.
    #[error("failed to make the collector's certificate")]
    Certificate(#[from] rcgen::Error),
}

impl Keys {
    /// Makes all keys and keeps them in the vault.
    ///
    /// # Errors
    /// When the vault does not take them.
    pub fn make(vault: &Vault) -> Result<Self, KeysError> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = rcgen::CertificateParams::new(vec!["seatbeat-collector".to_owned()])?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "seatbeat collector");
        let certificate = parameters.self_signed(&pair)?;
        let mut salt = Zeroizing::new([0u8; 32]);
        getrandom::fill(salt.as_mut()).expect("the operating system gives random bytes");
        let keys = Self {
            service: new_key(),
            statement: new_key(),
            salt,
            tls_key: Zeroizing::new(pair.serialize_der()),
            tls_certificate: certificate.der().to_vec(),
        };
        vault.put(SERVICE, keys.service.as_bytes())?;
        vault.put(STATEMENT, keys.statement.as_bytes())?;
        vault.put(SALT, keys.salt.as_slice())?;
        vault.put(TLS_KEY, &keys.tls_key)?;
        vault.put(TLS_CERTIFICATE, &keys.tls_certificate)?;
        Ok(keys)
    }

    /// Reads them from the vault.
    ///
    /// # Errors
    /// When one is missing.
    pub fn read(vault: &Vault) -> Result<Self, KeysError> {
        Ok(Self {
            service: SigningKey::from_bytes(&*seed(vault, SERVICE, "service-key")?),
            statement: SigningKey::from_bytes(&*seed(vault, STATEMENT, "statement-key")?),
            salt: seed(vault, SALT, "facts-salt")?,
            tls_key: vault.get(TLS_KEY)?.ok_or(KeysError::Missing("collector-key"))?,
            tls_certificate: vault
                .get(TLS_CERTIFICATE)?
                .ok_or(KeysError::Missing("collector-certificate"))?
                .to_vec(),
        })
    }

    /// Whether these are the keys that the journal was founded with.
    pub fn belong_to(&self, founded: &Founded) -> bool {
        self.service.verifying_key().as_bytes() == &founded.service_key
            && self.statement.verifying_key().as_bytes() == &founded.statement_key
    }

    /// Signs settings, checkpoints and requests that switch nothing.
    pub fn service(&self) -> &SigningKey {
        &self.service
    }

    /// Signs sealed statements.
    pub fn statement(&self) -> &SigningKey {
        &self.statement
    }

    /// Key of machines' pseudonyms in bundles: belongs to the service key, so that a vault made before there were
    /// bundles has it too, and goes into no record.
    pub fn pseudonyms(&self) -> PseudonymKey {
        PseudonymKey::derived_from(self.service.as_bytes())
    }

    /// Key of the machines' hashed facts.
    pub fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// The agent door's private key (PKCS #8, DER).
    pub fn tls_key(&self) -> &[u8] {
        &self.tls_key
    }

    /// The agent door's certificate (DER).
    pub fn tls_certificate(&self) -> &[u8] {
        &self.tls_certificate
    }
}

fn seed(vault: &Vault, row: VaultRow<'_>, name: &'static str) -> Result<Zeroizing<[u8; 32]>, KeysError> {
    let value = vault.get(row)?.ok_or(KeysError::Missing(name))?;
    let bytes: [u8; 32] = value.as_slice().try_into().map_err(|_| KeysError::Missing(name))?;
    Ok(Zeroizing::new(bytes))
}
