//! A record's place in the log as one text (C2SP `tlog-proof`): index, audit path and signed checkpoint.
//! Invariant: one text a proof; what is read here is written back byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::merkle::Hash;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A longer path belongs to no log of fewer than 2^64 records.
const PATH_LENGTH_MAX: usize = 64;

/// Where a record stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// From 0.
    pub index: u64,
    /// Leaf to root.
    pub path: Vec<Hash>,
    /// The signed note, with whatever witnesses added.
    pub checkpoint: String,
}

/// A text that is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is no proof of a record's place in a log (tlog-proof)")]
pub struct TlogProofError;

impl TlogProof {
    /// The proof as text.
    pub fn text(&self) -> String {
        let path: String = self.path.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        format!("{HEADER}\nindex {}\n{path}\n{}", self.index, self.checkpoint)
    }

    /// Reads a text; opaque data in it is passed over.
    ///
    /// # Errors
    /// When it is not in the format.
    pub fn parse(text: &str) -> Result<Self, TlogProofError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(TlogProofError)?;
        let mut lines = head.split('\n').filter(|line| !line.starts_with("extra "));
        if lines.next() != Some(HEADER) {
            return Err(TlogProofError);
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(TlogProofError)?;
        let number: u64 = index.parse().map_err(|_| TlogProofError)?;
        let path = lines.map(parse_hash).collect::<Option<Vec<Hash>>>().ok_or(TlogProofError)?;
        if number.to_string() != index || path.len() > PATH_LENGTH_MAX {
            return Err(TlogProofError);
        }
        Ok(Self { index: number, path, checkpoint: checkpoint.to_owned() })
    }
}

/// A hash as a checkpoint writes it.
pub fn parse_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_read_as_it_was_written() {
        let note = "origin\n2\nAAAA\n\n— origin AAAA\n".to_owned();
        for path in [vec![], vec![[1; 32]], vec![[1; 32], [2; 32]]] {
            let proof = TlogProof { index: 5, path, checkpoint: note.clone() };
            assert_eq!(TlogProof::parse(&proof.text()), Ok(proof));
        }
        let extra = format!("{HEADER}\nextra AAAA\nindex 10\n\n{note}");
        assert_eq!(TlogProof::parse(&extra).unwrap().index, 10);
        for wrong in [
            "",
            "index 1",
            "c2sp.org/tlog-proof@v2\nindex 1\n\nx",
            "c2sp.org/tlog-proof@v1\nindex 01\n\nx",
            "c2sp.org/tlog-proof@v1\r\nindex 1\n\nx",
            "c2sp.org/tlog-proof@v1\nindex 1\r\n\nx",
        ] {
            assert_eq!(TlogProof::parse(wrong), Err(TlogProofError), "{wrong}");
        }
    }
}
