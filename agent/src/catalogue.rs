//! Which catalogue tells products apart: the one this program was built with, or a newer one that was pushed.
//! Invariant: a pushed one was signed by the release key and is durable before it is used; whatever is wrong with
//! what was kept of it, the built-in one is there.

use std::ops::Deref;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use prost::Message as _;
use seatbeat_proto::catalogue::{Catalogue, PushedError};
use seatbeat_proto::wire;

use crate::plain::chain;
use crate::state::{StateError, StateFolder};

/// File of the pushed one, as it was signed.
pub const FILE: &str = "catalogue.signed";

/// What helps when the one that was kept is not used.
pub const PASSED_OVER_HINT: &str =
    "the collector sends its own again, where it is newer and signed by a key that this agent trusts";

/// A catalogue that is in use.
#[derive(Debug, Clone)]
pub enum InUse {
    /// The one this program was built with.
    BuiltIn,
    /// A newer one.
    Pushed(Arc<Catalogue>),
}

impl Deref for InUse {
    type Target = Catalogue;

    fn deref(&self) -> &Catalogue {
        match self {
            Self::BuiltIn => Catalogue::embedded(),
            Self::Pushed(catalogue) => catalogue,
        }
    }
}

/// Why a catalogue that the collector sent is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This agent was told no key that one would have to be signed by.
    #[error("the catalogue that the collector sent is not taken: this agent trusts no release key")]
    NoReleaseKey,
    /// It is forged, not newer, or says what this agent does not know.
    #[error("the catalogue that the collector sent is not taken: {}", chain(.0))]
    Unfit(PushedError),
}

impl Refused {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoReleaseKey => {
                "install an agent that was built with a release key, or set `release_key` in agent.toml"
            }
            Self::Unfit(PushedError::Signature(_)) => {
                "find out who pushed it (`seatbeat catalogue show`): another key than this agent's signed it"
            }
            Self::Unfit(PushedError::Parse(_)) => "update the agent: the catalogue is of a newer version",
            Self::Unfit(_) => "push a catalogue of a greater version (`seatbeat catalogue push`)",
        }
    }
}

/// The catalogue in use, and whom a newer one is taken from.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// Signs pushed catalogues; none: none is taken.
    pub release_key: Option<VerifyingKey>,
    /// What is used.
    pub in_use: InUse,
    /// Why the pushed one that was kept is not used.
    pub passed_over: Option<String>,
}

impl Shelf {
    /// The newest that is there and can be used.
    ///
    /// # Errors
    /// When the state folder cannot be read.
    pub fn open(state: &StateFolder, release_key: Option<VerifyingKey>) -> Result<Self, StateError> {
        let (in_use, passed_over) = match state.read(FILE)? {
            None => (InUse::BuiltIn, None),
            Some(kept) => match read(&kept, release_key.as_ref()) {
                Ok(catalogue) => (InUse::Pushed(Arc::new(catalogue)), None),
                Err(why) => (InUse::BuiltIn, Some(why)),
            },
        };
        Ok(Self { release_key, in_use, passed_over })
    }

    /// Nothing but the built-in one, and nobody from whom another is taken.
    pub fn built_in() -> Self {
        Self { release_key: None, in_use: InUse::BuiltIn, passed_over: None }
    }

    /// Uses a catalogue, which is durable in [`FILE`], from now on.
    pub fn take(&mut self, catalogue: Arc<Catalogue>) {
        self.in_use = InUse::Pushed(catalogue);
        self.passed_over = None;
    }

    /// Whether it is the one this program was built with.
    pub fn is_built_in(&self) -> bool {
        matches!(self.in_use, InUse::BuiltIn)
    }
}

fn read(kept: &[u8], release_key: Option<&VerifyingKey>) -> Result<Catalogue, String> {
    let key = release_key.ok_or("the pushed catalogue is not used: this agent trusts no release key")?;
    let signed = wire::Signed::decode(kept)
        .map_err(|_| "the pushed catalogue is not used: its file is damaged".to_owned())?;
    Catalogue::from_signed(&signed, key, Catalogue::EMBEDDED_VERSION).map_err(|why| match why {
        PushedError::NotNewer { sent, current } => {
            format!("the pushed catalogue {sent} is not used: this agent was built with {current}")
        }
        why => format!("the pushed catalogue is not used: {}", chain(&why)),
    })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use seatbeat_proto::signed::{Domain, new_key, sign};

    use super::*;

    fn signed(key: &SigningKey, version: u32) -> wire::Signed {
        let file = format!("schema = \"seatbeat-catalogue/1\"\nversion = {version}\n");
        sign(key, Domain::Catalogue, file.into_bytes())
    }

    fn shelf(state: &StateFolder, key: &SigningKey) -> (u32, Option<String>) {
        let shelf = Shelf::open(state, Some(key.verifying_key())).unwrap();
        (shelf.in_use.version, shelf.passed_over)
    }

    #[test]
    fn what_was_taken_is_used_after_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        let (state, key) = (StateFolder::at(dir.path().to_owned()), new_key());
        let built_in = Catalogue::EMBEDDED_VERSION;
        assert_eq!(shelf(&state, &key), (built_in, None));
        let newer = signed(&key, built_in + 1);
        let catalogue = Catalogue::from_signed(&newer, &key.verifying_key(), built_in).unwrap();
        let mut open = Shelf::open(&state, Some(key.verifying_key())).unwrap();
        state.write(FILE, &newer.encode_to_vec()).unwrap();
        open.take(Arc::new(catalogue));
        assert_eq!((open.in_use.version, open.is_built_in()), (built_in + 1, false));
        assert_eq!(shelf(&state, &key), (built_in + 1, None));
    }

    #[test]
    fn a_kept_one_that_cannot_be_used_gives_way_to_the_built_in_one_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let (state, key) = (StateFolder::at(dir.path().to_owned()), new_key());
        let built_in = Catalogue::EMBEDDED_VERSION;
        let newer = signed(&key, built_in + 1).encode_to_vec();
        let mut flipped = newer.clone();
        flipped[20] ^= 1;
        for (kept, key, words) in [
            (signed(&key, built_in).encode_to_vec(), &key, "this agent was built with"),
            (newer[..newer.len() / 2].to_vec(), &key, "its file is damaged"),
            (flipped, &key, "failed to verify the catalogue"),
            (vec![], &key, "failed to verify the catalogue"),
            (newer.clone(), &new_key(), "failed to verify the catalogue"),
        ] {
            state.write(FILE, &kept).unwrap();
            let (version, why) = shelf(&state, key);
            assert_eq!(version, built_in);
            assert!(why.as_ref().is_some_and(|why| why.contains(words)), "{why:?}");
        }
        let nobody = Shelf::open(&state, None).unwrap();
        assert!(nobody.is_built_in() && nobody.passed_over.unwrap().contains("trusts no release key"));
    }
}
