//! Ids of things, one newtype a kind. Invariant: the text carries the kind (`mch_…`), and an id once parsed
//! is printable, without spaces, and short enough to be a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest id text in bytes: it is a key in every index, and goes into each signed report.
pub const ID_LENGTH_MAX: usize = 72;

/// An id that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: expected `{prefix}` and 1 to {} letters, digits, `-`, `_` or `.`", ID_LENGTH_MAX - prefix.len())]
pub struct IdError {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id nobody else has (100 random bits).
            ///
            /// # Panics
            /// When the operating system has no randomness to give.
            pub fn random() -> Self {
                let mut bytes = [0u8; 20];
                getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
                Self::from_digest(&bytes)
            }

            /// The id that belongs to these bytes, always the same one.
            pub fn derived_from(bytes: &[u8]) -> Self {
                Self::from_digest(&Sha256::digest(bytes))
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            fn from_digest(bytes: &[u8]) -> Self {
                let mut text = String::from($prefix);
                text.extend(bytes.iter().take(20).map(|byte| ALPHABET[usize::from(byte & 31)] as char));
                Self(text.into())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_id(text, $prefix) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError { text: text.chars().take(ID_LENGTH_MAX).collect(), kind: $kind, prefix: $prefix })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Crockford's base 32 in lower case: no letter that looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn is_id(text: &str, prefix: &str) -> bool {
    text.len() <= ID_LENGTH_MAX
        && text.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        })
}

id!(
    /// One physical or virtual computer, as one key on it made itself known.
    MachineId, "mch_", "a machine id"
);
id!(
    /// An end customer of the reseller.
    CustomerId, "cus_", "a customer id"
);
id!(
    /// One unbroken chain of evidence written by one machine.
    SpoolId, "spl_", "a spool id"
);
id!(
    /// An enrolment token.
    TokenId, "tok_", "a token id"
);
id!(
    /// Who may use the operator door.
    OperatorId, "opr_", "an operator id"
);
id!(
    /// A program's token at the operator door.
    ApiTokenId, "apt_", "an API token id"
);
id!(
    /// One order to one machine.
    OrderId, "ord_", "an order id"
);
id!(
    /// Orders that an operator gave together.
    BatchId, "bat_", "a batch id"
);
id!(
    /// A block of seats of a product that the reseller holds.
    LicenceId, "lic_", "a licence id"
);
id!(
    /// One price list, as it was imported.
    PriceListId, "prl_", "a price list id"
);
id!(
    /// The reseller whose collector this is.
    ResellerId, "rsl_", "a reseller id"
);

/// A product id of the catalogue (`wfbs-svc`), or `family/…` for a family whose product could not be told.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProductId(std::sync::Arc<str>);

/// A product id that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a product id: expected letters, digits, `-`, `_`, `.`, optionally after `family/`")]
pub struct ProductIdError(String);

impl ProductId {
    /// What the id of an ambiguous family starts with.
    pub const FAMILY_PREFIX: &'static str = "family/";

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this names a family whose product could not be told apart.
    pub fn is_family(&self) -> bool {
        self.0.starts_with(Self::FAMILY_PREFIX)
    }
}

impl FromStr for ProductId {
    type Err = ProductIdError;

    fn from_str(text: &str) -> Result<Self, ProductIdError> {
        let name = text.strip_prefix(Self::FAMILY_PREFIX).unwrap_or(text);
        if is_id(name, "") && text.len() <= ID_LENGTH_MAX {
            Ok(Self(text.into()))
        } else {
            Err(ProductIdError(text.chars().take(ID_LENGTH_MAX).collect()))
        }
    }
}

impl TryFrom<String> for ProductId {
    type Error = ProductIdError;

    fn try_from(text: String) -> Result<Self, ProductIdError> {
        text.parse()
    }
}

impl From<ProductId> for String {
    fn from(id: ProductId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_carries_the_kind() {
        assert!("mch_a".parse::<MachineId>().is_ok());
        assert!("cus_a".parse::<MachineId>().is_err());
        assert!("mch_".parse::<MachineId>().is_err());
        assert!("mch_a b".parse::<MachineId>().is_err());
        assert_eq!(
            "x".parse::<MachineId>().unwrap_err().to_string(),
            "`x` is not a machine id: expected `mch_` and 1 to 68 letters, digits, `-`, `_` or `.`"
        );
    }

    #[test]
    fn the_same_key_gives_the_same_id_and_random_ones_differ() {
        assert_eq!(MachineId::derived_from(b"key"), MachineId::derived_from(b"key"));
        assert_ne!(MachineId::derived_from(b"key"), MachineId::derived_from(b"yek"));
        assert_ne!(SpoolId::random(), SpoolId::random());
        let made = SpoolId::random();
        assert_eq!(made.as_str().parse::<SpoolId>().unwrap(), made);
    }

    #[test]
    fn a_family_is_told_from_a_product() {
        assert!("family/worry-free".parse::<ProductId>().unwrap().is_family());
        assert!(!"wfbs-svc".parse::<ProductId>().unwrap().is_family());
        assert!("family/".parse::<ProductId>().is_err());
        assert!("a/b".parse::<ProductId>().is_err());
    }
}
