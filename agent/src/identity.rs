//! Who this machine is and whom it believes (`identity.toml`). Invariant: an identity that was read is complete and
//! belongs to the machine key beside it.

use std::ffi::OsStr;

use ed25519_dalek::VerifyingKey;
use seatbeat_proto::hex;
use seatbeat_proto::ids::{CustomerId, MachineId, TokenId};
use seatbeat_proto::signed::public_key;
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

use crate::state::{StateError, StateFolder};

const FILE: &str = "identity.toml";

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// This machine.
    pub machine: MachineId,
    /// Whose it is.
    pub customer: CustomerId,
    /// The token that let it in.
    pub token: TokenId,
    /// The collector's, `host:port`; tried in turn.
    pub addresses: Vec<String>,
    /// SHA-256 of the collector's public key.
    pub pin: [u8; 32],
    /// Key of the facts' HMAC.
    pub salt: [u8; 32],
    /// The collector's own key: settings, checkpoints, orders for reports.
    pub service: VerifyingKey,
    /// The machine's own.
    pub public_key: VerifyingKey,
}

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error("this machine is not enrolled")]
    NotEnrolled,
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file holds something else.
    #[error("the identity `{path}` is not understood: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// Where and why.
        why: String,
    },
    /// The key beside it is another one.
    #[error("the machine key is not the one that was enrolled")]
    OtherKey,
}

impl IdentityError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotEnrolled => Some(
                "run `seatbeat-agent enrol --token sb1.…` with a token from the operator, as the same user"
                    .into(),
            ),
            Self::State(error) => error.hint(),
            Self::Unreadable { .. } | Self::OtherKey => Some(
                "put the state folder back from a backup, or `seatbeat-agent enrol --again --token sb1.…`"
                    .into(),
            ),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Text {
    machine: String,
    customer: String,
    token: String,
    addresses: Vec<String>,
    pin: String,
    salt: String,
    service_key: String,
    public_key: String,
}

impl Identity {
    /// The identity that a token and the collector's answer make together; `None`: a key in the token is none.
    pub fn new(
        token: &wire::TokenText,
        machine: MachineId,
        customer: CustomerId,
        public: VerifyingKey,
    ) -> Option<Self> {
        Some(Self {
            machine,
            customer,
            token: token.token.parse().ok()?,
            addresses: token.addresses.clone(),
            pin: token.pin.as_slice().try_into().ok()?,
            salt: token.salt.as_slice().try_into().ok()?,
            service: public_key(&token.service_key).ok()?,
            public_key: public,
        })
    }

    /// Reads it, whatever key is beside it.
    ///
    /// # Errors
    /// When there is none or it is not understood.
    pub fn load(state: &StateFolder) -> Result<Self, IdentityError> {
        let bytes = state.read(FILE)?.ok_or(IdentityError::NotEnrolled)?;
        let unreadable = |why: String| IdentityError::Unreadable {
            path: state.path().join(FILE).display().to_string(),
            why,
        };
        let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
        let text: Text = toml::from_str(&text).map_err(|error| unreadable(error.message().to_owned()))?;
        text.parse().map_err(unreadable)
    }

    /// Checks that a key is this identity's.
    ///
    /// # Errors
    /// When it is another one.
    pub fn check_key(&self, key: &VerifyingKey) -> Result<(), IdentityError> {
        if self.public_key == *key { Ok(()) } else { Err(IdentityError::OtherKey) }
    }

    /// Whether a file of the state folder is it.
    pub fn is_file(name: &OsStr) -> bool {
        name == FILE
    }

    /// Removes it: this machine is nobody's any more.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(state: &StateFolder) -> Result<(), StateError> {
        state.remove(FILE)
    }

    /// Stores it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store(&self, state: &StateFolder) -> Result<(), IdentityError> {
        let text = Text {
            machine: self.machine.to_string(),
            customer: self.customer.to_string(),
            token: self.token.to_string(),
            addresses: self.addresses.clone(),
            pin: hex::format(&self.pin),
            salt: hex::format(&self.salt),
            service_key: hex::format(self.service.as_bytes()),
            public_key: hex::format(self.public_key.as_bytes()),
        };
        let text = toml::to_string(&text)
            .map_err(|error| IdentityError::Unreadable { path: FILE.to_owned(), why: error.to_string() })?;
        Ok(state.write(FILE, text.as_bytes())?)
    }
}

impl Text {
    fn parse(self) -> Result<Identity, String> {
        let bytes = |name: &str, text: &str| {
            hex::parse::<32>(text).ok_or_else(|| format!("`{name}` is not 64 hexadecimal digits"))
        };
        let key = |name: &str, text: &str| {
            public_key(&bytes(name, text)?).map_err(|_| format!("`{name}` is no Ed25519 key"))
        };
        if self.addresses.is_empty() {
            return Err("it names no address".into());
        }
        Ok(Identity {
            machine: self.machine.parse().map_err(|error| format!("{error}"))?,
            customer: self.customer.parse().map_err(|error| format!("{error}"))?,
            token: self.token.parse().map_err(|error| format!("{error}"))?,
            addresses: self.addresses,
            pin: bytes("pin", &self.pin)?,
            salt: bytes("salt", &self.salt)?,
            service: key("service_key", &self.service_key)?,
            public_key: key("public_key", &self.public_key)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatbeat_proto::signed::new_key;

    fn identity() -> Identity {
        let token = wire::TokenText {
            token: "tok_1".into(),
            secret: vec![1; 16],
            addresses: vec!["collector.example:8443".into()],
            pin: vec![2; 32],
            salt: vec![3; 32],
            service_key: new_key().verifying_key().to_bytes().to_vec(),
            expires_at_ms: 0,
            ..wire::TokenText::default()
        };
        let (machine, customer) = ("mch_a".parse().unwrap(), "cus_a".parse().unwrap());
        Identity::new(&token, machine, customer, new_key().verifying_key()).unwrap()
    }

    #[test]
    fn an_identity_comes_back_as_it_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::at(dir.path().to_owned());
        assert!(matches!(Identity::load(&state), Err(IdentityError::NotEnrolled)));
        let stored = identity();
        stored.store(&state).unwrap();
        let loaded = Identity::load(&state).unwrap();
        assert_eq!(loaded, stored);
        loaded.check_key(&stored.public_key).unwrap();
        assert!(matches!(loaded.check_key(&new_key().verifying_key()), Err(IdentityError::OtherKey)));
    }

    #[test]
    fn a_damaged_identity_names_the_file_and_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::at(dir.path().to_owned());
        identity().store(&state).unwrap();
        let path = dir.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        for (was, is, expected) in [
            ("pin = \"02", "pin = \"0", "`pin` is not 64 hexadecimal digits"),
            ("machine = \"mch_a\"", "machine = \"a\"", "`a` is not a machine id"),
            ("addresses = [\"collector.example:8443\"]", "addresses = []", "it names no address"),
            ("customer = ", "costumer = ", "missing field `customer`"),
        ] {
            assert!(text.contains(was), "{was}");
            std::fs::write(&path, text.replace(was, is)).unwrap();
            let error = Identity::load(&state).unwrap_err().to_string();
            assert!(error.contains("identity.toml") && error.contains(expected), "{error}");
        }
    }
}
