//! Witnesses' cosignatures of checkpoints (C2SP `tlog-cosignature`, `cosignature/v1`): somebody else saw this log at
//! this size, and never one that contradicts it.
//! Invariant: a cosignature is added to a note only after it was verified; the note's text stays as the log signed it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use seatbeat_proto::hex;
use seatbeat_proto::signed::{hash, public_key, verify_bare};

/// Signature type of a timestamped Ed25519 cosignature (`signed-note`).
const COSIGNATURE_TYPE: u8 = 0x04;

/// A witness and its key, written as `signed-note` has it: `name+hash+key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    name: String,
    key: VerifyingKey,
}

/// A text that is no witness key, or a note that a witness did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// Not in the format of a verifier key.
    #[error("`{0}` is not a witness key: expected `name+hash+key` with a cosignature/v1 key")]
    Key(String),
    /// The note has no signatures.
    #[error("the text is no signed checkpoint")]
    Malformed,
    /// No line is this witness's signature.
    #[error("the checkpoint is not cosigned by the witness `{0}`")]
    Missing(String),
}

impl Witness {
    /// A witness of this name and key.
    ///
    /// # Errors
    /// When the name cannot stand in a note: empty, or with white space or a plus sign.
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, CosignatureError> {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
            return Err(CosignatureError::Key(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// Its name, as its signature lines begin with it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When the witness says it saw this checkpoint, in Unix seconds.
    ///
    /// # Errors
    /// When no line of the note is its signature over the text.
    pub fn verify(&self, note: &str) -> Result<u64, CosignatureError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(CosignatureError::Malformed)?;
        let seen_at = signatures.lines().find_map(|line| self.seen_at(text, line));
        seen_at.ok_or_else(|| CosignatureError::Missing(self.name.clone()))
    }

    /// When it saw the text, where the line is its signature over it.
    fn seen_at(&self, text: &str, line: &str) -> Option<u64> {
        let blob = line.strip_prefix("— ")?.strip_prefix(&self.name)?.strip_prefix(' ')?;
        let blob = STANDARD.decode(blob).ok()?;
        let (time, signature) = blob.strip_prefix(self.key_id().as_slice())?.split_at_checked(8)?;
        let seen_at = u64::from_be_bytes(time.try_into().ok()?);
        verify_bare(&self.key, message(text, seen_at).as_bytes(), signature).ok()?;
        Some(seen_at)
    }

    /// The note with the witness's lines of another copy of it; what is there already is not added again.
    ///
    /// # Errors
    /// When the other copy is of another text, or the witness did not sign it.
    pub fn add_from(&self, note: &str, cosigned: &str) -> Result<String, CosignatureError> {
        self.verify(cosigned)?;
        let (text, signatures) = note.split_once("\n\n").ok_or(CosignatureError::Malformed)?;
        let (other, more) = cosigned.split_once("\n\n").ok_or(CosignatureError::Malformed)?;
        if other != text {
            return Err(CosignatureError::Missing(self.name.clone()));
        }
        let mut known: BTreeSet<&str> = signatures.lines().collect();
        let mut joined = note.trim_end_matches('\n').to_owned();
        for line in more.lines().filter(|line| self.seen_at(text, line).is_some()) {
            if known.insert(line) {
                joined = format!("{joined}\n{line}");
            }
        }
        Ok(joined + "\n")
    }

    fn key_id(&self) -> [u8; 4] {
        let digest = hash(&[self.name.as_bytes(), b"\n", &[COSIGNATURE_TYPE], self.key.as_bytes()].concat());
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

/// The line by which a witness says that it saw this note at an instant (Unix seconds).
///
/// # Errors
/// When the note has no signatures.
pub fn cosign(note: &str, name: &str, key: &SigningKey, seen_at: u64) -> Result<String, CosignatureError> {
    let witness = Witness::new(name, key.verifying_key())?;
    let (text, _) = note.split_once("\n\n").ok_or(CosignatureError::Malformed)?;
    let signature = key.sign(message(text, seen_at).as_bytes()).to_bytes();
    let blob = [witness.key_id().as_slice(), &seen_at.to_be_bytes(), &signature].concat();
    Ok(format!("— {name} {}\n", STANDARD.encode(blob)))
}

fn message(text: &str, seen_at: u64) -> String {
    format!("cosignature/v1\ntime {seen_at}\n{text}\n")
}

impl FromStr for Witness {
    type Err = CosignatureError;

    fn from_str(text: &str) -> Result<Self, CosignatureError> {
        let refused = || CosignatureError::Key(text.chars().take(100).collect());
        let mut parts = text.trim().splitn(3, '+');
        let mut part = || parts.next().ok_or_else(refused);
        let (name, id, key) = (part()?, part()?, part()?);
        let key = STANDARD.decode(key).map_err(|_| refused())?;
        let key = key.strip_prefix(&[COSIGNATURE_TYPE]).ok_or_else(refused)?;
        let witness = Self::new(name, public_key(key).map_err(|_| refused())?)?;
        if hex::format(&witness.key_id()) == id { Ok(witness) } else { Err(refused()) }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = hex::format(&self.key_id());
        let key = [&[COSIGNATURE_TYPE], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{id}+{}", self.name, STANDARD.encode(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use seatbeat_proto::signed::new_key;

    fn note(size: u64) -> (String, SigningKey) {
        let key = new_key();
        (Checkpoint { origin: "seatbeat/rsl_a".into(), size, root: [9; 32] }.sign(&key), key)
    }

    #[test]
    fn a_witness_is_believed_for_the_text_it_signed_and_its_key_only() {
        let (note, log) = note(7);
        let (key, other) = (new_key(), new_key());
        let line = cosign(&note, "witness.example/one", &key, 1_791_000_000).unwrap();
        let cosigned = format!("{note}{line}");
        let witness = Witness::new("witness.example/one", key.verifying_key()).unwrap();
        assert_eq!(witness.verify(&cosigned), Ok(1_791_000_000));
        assert!(Checkpoint::verify(&cosigned, "seatbeat/rsl_a", &log.verifying_key()).is_ok());
        let missing = Err(CosignatureError::Missing("witness.example/one".into()));
        assert_eq!(witness.verify(&note), missing);
        assert_eq!(witness.verify(&cosigned.replacen("\n7\n", "\n8\n", 1)), missing);
        let stranger = Witness::new("witness.example/one", other.verifying_key()).unwrap();
        assert_eq!(stranger.verify(&cosigned), missing);
    }

    #[test]
    fn a_witness_key_is_written_and_read_as_notes_have_it() {
        let witness = Witness::new("witness.example", new_key().verifying_key()).unwrap();
        assert_eq!(witness.to_string().parse(), Ok(witness.clone()));
        let text = witness.to_string();
        let (start, key) = text.rsplit_once('+').unwrap();
        for wrong in ["", "a", "a+b", &format!("x{text}"), &format!("{start}+AA{key}"), start] {
            assert!(wrong.parse::<Witness>().is_err(), "{wrong}");
        }
        assert!(Witness::new("two words", new_key().verifying_key()).is_err());
    }

    #[test]
    fn a_cosigned_copy_gives_its_lines_to_the_note_once() {
        let (note, _) = note(7);
        let key = new_key();
        let witness = Witness::new("w", key.verifying_key()).unwrap();
        let copy = format!("{note}{}", cosign(&note, "w", &key, 5).unwrap());
        let joined = witness.add_from(&note, &copy).unwrap();
        assert_eq!(joined, copy);
        assert_eq!(witness.add_from(&joined, &copy).unwrap(), copy);
        assert!(witness.add_from(&note, &note).is_err());
        assert!(witness.add_from(&note.replacen("\n7\n", "\n8\n", 1), &copy).is_err());
    }

    #[test]
    fn lines_of_a_copy_that_the_witness_did_not_sign_are_left_out() {
        let (note, _) = note(7);
        let key = new_key();
        let witness = Witness::new("w", key.verifying_key()).unwrap();
        let line = cosign(&note, "w", &key, 5).unwrap();
        let other = cosign(&note, "w", &new_key(), 6).unwrap();
        let copy = format!("{note}— w AAAA\n{other}{line}— w not base64\n{line}");
        assert_eq!(witness.add_from(&note, &copy).unwrap(), format!("{note}{line}"));
    }

    #[test]
    fn another_implementation_reads_the_notes_and_verifies_them() {
        let (note, log) = note(7);
        let line = cosign(&note, "w", &new_key(), 5).unwrap();
        let vkey = signed_note_key("seatbeat/rsl_a", &log.verifying_key());
        let verifier = signed_note::StandardVerifier::new(&vkey).unwrap();
        let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let theirs = signed_note::Note::from_bytes(format!("{note}{line}").as_bytes()).unwrap();
        let (verified, unverified) = theirs.verify(&known).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 1));
        let text = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
        assert_eq!((text.origin(), text.size(), text.hash().0), ("seatbeat/rsl_a", 7, [9; 32]));
    }

    fn signed_note_key(name: &str, key: &VerifyingKey) -> String {
        let digest = hash(&[name.as_bytes(), b"\n\x01", key.as_bytes()].concat());
        let id = hex::format(&digest[..4]);
        format!("{name}+{id}+{}", STANDARD.encode([&[1], key.as_bytes().as_slice()].concat()))
    }
}
