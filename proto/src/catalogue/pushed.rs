//! A newer catalogue, as it is sent to agents. Invariant: the release key signed its bytes, it is newer than the one
//! in use, and it says what to look for and nothing to do: actions and vendor commands are ids of closed lists.

use ed25519_dalek::VerifyingKey;

use super::Catalogue;
use super::read::CatalogueError;
use crate::signed::{BadSignature, Domain, verify};
use crate::wire::{MESSAGE_LENGTH_MAX, Signed};

/// Longest catalogue file in bytes, five times the embedded one: it goes in one message, with its signature, a reason
/// and what frames them.
pub const CATALOGUE_LENGTH_MAX: usize = MESSAGE_LENGTH_MAX - 8 * 1024;

/// The public key (base64) that a pushed catalogue has to be signed by, as this program was built with it.
pub const RELEASE_KEY: Option<&str> = option_env!("SEATBEAT_RELEASE_KEY");

/// Why a catalogue that was sent is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushedError {
    /// It is longer than a catalogue can be.
    #[error("the catalogue has {0} bytes, and can have {CATALOGUE_LENGTH_MAX}")]
    TooLong(usize),
    /// The release key did not sign it.
    #[error("failed to verify the catalogue")]
    Signature(#[from] BadSignature),
    /// It is no text.
    #[error("the catalogue is not UTF-8")]
    NotText,
    /// It has a word that this program does not know, or a mistake.
    #[error("failed to read the catalogue")]
    Parse(#[from] CatalogueError),
    /// It is not newer than the one in use.
    #[error("the catalogue is version {sent}, and version {current} is in use")]
    NotNewer {
        /// Its version.
        sent: u32,
        /// The version in use.
        current: u32,
    },
}

impl Catalogue {
    /// Reads a catalogue that was sent: its length, then its signature, and only then its text.
    ///
    /// # Errors
    /// When it is too long, not signed by the release key as a catalogue, not newer than `current_version`, or says
    /// something that this program does not know.
    pub fn from_signed(
        signed: &Signed,
        release_key: &VerifyingKey,
        current_version: u32,
    ) -> Result<Self, PushedError> {
        if signed.payload.len() <= CATALOGUE_LENGTH_MAX {
            verify(release_key, Domain::Catalogue, signed)?;
        }
        Self::from_unverified(signed, current_version)
    }

    /// As [`Catalogue::from_signed`], for whoever only passes it on and does not know the release key: an agent
    /// verifies it all the same.
    ///
    /// # Errors
    /// As [`Catalogue::from_signed`], but for the signature.
    pub fn from_unverified(signed: &Signed, current_version: u32) -> Result<Self, PushedError> {
        if signed.payload.len() > CATALOGUE_LENGTH_MAX {
            return Err(PushedError::TooLong(signed.payload.len()));
        }
        let file = std::str::from_utf8(&signed.payload).map_err(|_| PushedError::NotText)?;
        let catalogue = Self::parse(file)?;
        match catalogue.version > current_version {
            true => Ok(catalogue),
            false => Err(PushedError::NotNewer { sent: catalogue.version, current: current_version }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed::{new_key, sign};

    const FILE: &str = "schema = \"seatbeat-catalogue/1\"\nversion = 7\n";

    fn taken(domain: Domain, file: &[u8], current: u32) -> Result<u32, String> {
        let key = new_key();
        let signed = sign(&key, domain, file.to_vec());
        let read = Catalogue::from_signed(&signed, &key.verifying_key(), current);
        read.map(|catalogue| catalogue.version).map_err(|error| error.to_string())
    }

    #[test]
    fn a_newer_catalogue_of_the_release_key_is_taken() {
        assert_eq!(taken(Domain::Catalogue, FILE.as_bytes(), 6), Ok(7));
        let embedded = include_bytes!("../../catalogue/trend-micro.toml");
        assert!(embedded.len() * 4 < CATALOGUE_LENGTH_MAX);
        assert_eq!(taken(Domain::Catalogue, embedded, 0), Ok(Catalogue::EMBEDDED_VERSION));
    }

    #[test]
    fn an_older_one_and_the_same_again_are_not() {
        for current in [7, 8, u32::MAX] {
            let why = format!("the catalogue is version 7, and version {current} is in use");
            assert_eq!(taken(Domain::Catalogue, FILE.as_bytes(), current), Err(why));
        }
    }

    #[test]
    fn a_forged_one_is_refused_before_it_is_read() {
        let refused = Err("failed to verify the catalogue".to_owned());
        for domain in [Domain::Settings, Domain::Order, Domain::Evidence, Domain::Statement] {
            assert_eq!(taken(domain, FILE.as_bytes(), 0), refused);
        }
        let (key, other) = (new_key(), new_key());
        let signed = sign(&key, Domain::Catalogue, FILE.into());
        let read = |signed: &Signed, key: &VerifyingKey| Catalogue::from_signed(signed, key, 0);
        let bad = Err(PushedError::Signature(BadSignature));
        assert_eq!(read(&signed, &other.verifying_key()), bad);
        let changed = Signed { payload: FILE.replace('7', "8").into(), ..signed.clone() };
        assert_eq!(read(&changed, &key.verifying_key()), bad);
        assert_eq!(read(&Signed { signature: Vec::new(), ..signed }, &key.verifying_key()), bad);
    }

    #[test]
    fn one_that_is_too_long_is_refused_unread() {
        let mut file = FILE.to_owned();
        file.push_str(&"#".repeat(CATALOGUE_LENGTH_MAX + 1 - FILE.len()));
        let why = "the catalogue has 253953 bytes, and can have 253952".to_owned();
        assert_eq!(taken(Domain::Catalogue, file.as_bytes(), 0), Err(why));
        file.pop();
        assert_eq!(taken(Domain::Catalogue, file.as_bytes(), 0), Ok(7));
    }

    #[test]
    fn it_names_actions_and_commands_and_cannot_bring_its_own() {
        let product =
            |line: &str| format!("{FILE}[[product]]\nid = \"dsa\"\nname = \"P\"\ncount = \"none\"\n{line}\n");
        assert_eq!(taken(Domain::Catalogue, product("actions = \"dsa-reset\"").as_bytes(), 0), Ok(7));
        for line in [
            "actions = \"rm-rf\"",
            "actions = \"splx-stop\"",
            "command = \"rm -rf /\"",
            "version = [{ output = \"sh -c id\" }]",
            "active.linux = { run = \"id\" }",
            "signals = [{ os = \"linux\", kind = \"command\", match = \"id\", role = \"identify\" }]",
        ] {
            let said = taken(Domain::Catalogue, product(line).as_bytes(), 0);
            assert_eq!(said, Err("failed to read the catalogue".to_owned()), "{line}");
        }
        assert_eq!(taken(Domain::Catalogue, b"\xFF", 0), Err("the catalogue is not UTF-8".to_owned()));
    }
}
