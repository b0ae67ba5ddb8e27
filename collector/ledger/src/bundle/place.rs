//! Where a statement stands in the log, as a bundle proves it. Invariant: asked before a pass over the leaves, answered
//! after it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seatbeat_proto::wire::Signed;

use super::marks::HashText;
use super::sealed_record::Around;
use super::{Consistency, LogProofs};
use crate::proof::{Harvest, ProofError, consistency, inclusion, root};
use crate::tlog_proof::TlogProof;

/// Most earlier checkpoints in one bundle: one a day over two years, of which each costs some forty hashes.
pub const EARLIER_MAX: usize = 800;

/// Positions that a bundle speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Records that the statement was closed from.
    pub cut: u64,
    /// The record that sealed it.
    pub sealed_at: u64,
    /// Records that the bundle's checkpoint is over.
    pub head: u64,
    /// Sizes of checkpoints that left the house.
    pub earlier: Vec<u64>,
}

/// Proofs that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Beyond the log, or a pass that was not whole.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The record at the place is not the one that sealed the statement.
    #[error("record {0} of the journal did not seal this statement")]
    Record(u64),
    /// The journal says something else than it did when the month was closed.
    #[error("the first {0} records of the journal are not those that the statement was closed from")]
    Cut(u64),
}

impl Place {
    /// Asks for what is needed.
    ///
    /// # Errors
    /// When a position is beyond the log.
    pub fn want(&self, harvest: &mut Harvest) -> Result<(), PlaceError> {
        harvest.want_inclusion(self.sealed_at, self.head)?;
        harvest.want_root(self.cut);
        for size in self.sizes() {
            harvest.want_consistency(size, self.head)?;
        }
        Ok(())
    }

    /// The proofs, after the pass. `record` is the one at `sealed_at`; `cut_root` is the body's.
    ///
    /// # Errors
    /// When the journal is not the one that the statement was sealed in.
    pub fn proofs(
        &self,
        harvest: &Harvest,
        record: &[u8],
        statement: &Signed,
        cut_root: &str,
        checkpoint: String,
    ) -> Result<LogProofs, PlaceError> {
        let around = Around::cut(record, &statement.payload).ok_or(PlaceError::Record(self.sealed_at))?;
        if STANDARD.encode(root(harvest, self.cut)?) != cut_root {
            return Err(PlaceError::Cut(self.cut));
        }
        let path = inclusion(harvest, self.sealed_at, self.head)?;
        let proof = |size| -> Result<Consistency, PlaceError> {
            let hashes = consistency(harvest, size, self.head)?;
            Ok(Consistency { hashes: hashes.into_iter().map(HashText).collect(), size })
        };
        Ok(LogProofs {
            consistency: self.sizes().into_iter().map(proof).collect::<Result<_, _>>()?,
            inclusion: TlogProof { index: self.sealed_at, path, checkpoint }.text(),
            record: around,
        })
    }

    /// The cut and the newest of the earlier sizes, each once, in order.
    fn sizes(&self) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.earlier.iter().copied().filter(|size| *size <= self.head).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let spare = sizes.len().saturating_sub(EARLIER_MAX);
        let mut sizes = sizes.split_off(spare);
        sizes.push(self.cut);
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}
