//! Signed checkpoints of the log, in the C2SP formats `tlog-checkpoint` and `signed-note`.
//! Invariant: a note that is read here was signed by the named key over exactly the text that is returned.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use seatbeat_proto::ids::ResellerId;
use seatbeat_proto::signed::{hash, verify_bare};

use crate::merkle::Hash;

/// A size of the log and its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log it is; also the name of the key that signs.
    pub origin: String,
    /// Number of records.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

/// Text that is no checkpoint of this origin and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not in the format of a checkpoint.
    #[error("the text is no checkpoint")]
    Malformed,
    /// A checkpoint of another log.
    #[error("the checkpoint is of another log")]
    Origin,
    /// No line is this key's signature.
    #[error("the checkpoint is not signed by this key")]
    Signature,
    /// A line names this key, but its signature is of another text.
    #[error("the checkpoint was changed after it was signed")]
    Forged,
}

/// The origin of a reseller's log.
pub fn origin(reseller: &ResellerId) -> String {
    format!("seatbeat/{reseller}")
}

impl Checkpoint {
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// The signed note.
    pub fn sign(&self, key: &SigningKey) -> String {
        let text = self.text();
        let signature = key.sign(text.as_bytes()).to_bytes();
        let blob = [key_id(&self.origin, &key.verifying_key()).as_slice(), &signature].concat();
        format!("{text}\n— {} {}\n", self.origin, STANDARD.encode(blob))
    }

    /// Reads a note that `key` signed under the name `origin`; other signatures (witnesses') are passed over.
    ///
    /// # Errors
    /// When it is no checkpoint, of another origin, or not signed by the key.
    pub fn verify(note: &str, origin: &str, key: &VerifyingKey) -> Result<Self, CheckpointError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(CheckpointError::Malformed)?;
        let text = format!("{text}\n");
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(CheckpointError::Malformed);
        if line()? != origin {
            return Err(CheckpointError::Origin);
        }
        let size = decimal(line()?)?;
        let root = STANDARD.decode(line()?).map_err(|_| CheckpointError::Malformed)?;
        let root = root.try_into().map_err(|_| CheckpointError::Malformed)?;
        let id = key_id(origin, key);
        let start = format!("— {origin} ");
        let blobs = signatures.lines().filter_map(|line| STANDARD.decode(line.strip_prefix(&start)?).ok());
        let ours: Vec<Vec<u8>> =
            blobs.filter_map(|blob| blob.strip_prefix(id.as_slice()).map(<[u8]>::to_vec)).collect();
        if ours.is_empty() {
            return Err(CheckpointError::Signature);
        }
        if !ours.iter().any(|signature| verify_bare(key, text.as_bytes(), signature).is_ok()) {
            return Err(CheckpointError::Forged);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// A number without leading zeros, as the format demands.
fn decimal(text: &str) -> Result<u64, CheckpointError> {
    let number: u64 = text.parse().map_err(|_| CheckpointError::Malformed)?;
    if number.to_string() == text { Ok(number) } else { Err(CheckpointError::Malformed) }
}

/// Key id of an Ed25519 key (`signed-note`): the start of SHA-256 over name, newline, type 1 and key.
fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let digest = hash(&[name.as_bytes(), b"\n\x01", key.as_bytes()].concat());
    [digest[0], digest[1], digest[2], digest[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatbeat_proto::signed::new_key;

    #[test]
    fn a_checkpoint_is_read_back_only_with_its_key_and_origin() {
        let key = new_key();
        let checkpoint = Checkpoint { origin: "seatbeat/rsl_a".into(), size: 7, root: [9; 32] };
        let note = checkpoint.sign(&key);
        let public = key.verifying_key();
        assert_eq!(Checkpoint::verify(&note, "seatbeat/rsl_a", &public), Ok(checkpoint));
        assert_eq!(Checkpoint::verify(&note, "seatbeat/rsl_b", &public), Err(CheckpointError::Origin));
        let other = new_key().verifying_key();
        assert_eq!(Checkpoint::verify(&note, "seatbeat/rsl_a", &other), Err(CheckpointError::Signature));
        let forged = note.replacen("\n7\n", "\n8\n", 1);
        assert_eq!(Checkpoint::verify(&forged, "seatbeat/rsl_a", &public), Err(CheckpointError::Forged));
        let padded = note.replacen("\n7\n", "\n07\n", 1);
        assert_eq!(Checkpoint::verify(&padded, "seatbeat/rsl_a", &public), Err(CheckpointError::Malformed));
    }

    #[test]
    fn a_witness_may_add_its_line() {
        let key = new_key();
        let note = Checkpoint { origin: "seatbeat/rsl_a".into(), size: 7, root: [9; 32] }.sign(&key);
        let witnessed = format!("{note}— witness.example AAAA\n");
        assert!(Checkpoint::verify(&witnessed, "seatbeat/rsl_a", &key.verifying_key()).is_ok());
    }
}
