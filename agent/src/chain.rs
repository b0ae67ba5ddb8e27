//! What is known of a spool without its bytes: ids, numbers, hashes. Invariant: the hashes are those of
//! consecutive sequences, and the last one is the tip.

use std::collections::VecDeque;

use seatbeat_proto::ids::SpoolId;

/// SHA-256 of an evidence payload.
pub type Hash = [u8; 32];

/// The kept part of one spool's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    spool: SpoolId,
    /// Sequence of the evidence before the oldest kept; 0: the oldest kept is the first ever.
    before: u64,
    before_hash: Option<Hash>,
    hashes: VecDeque<Hash>,
}

impl Chain {
    /// A chain nothing was written to yet.
    pub fn new(spool: SpoolId) -> Self {
        Self::starting_after(spool, 0, None)
    }

    /// A chain whose evidence up to and with `before` is not kept any more.
    pub fn starting_after(spool: SpoolId, before: u64, before_hash: Option<Hash>) -> Self {
        Self { spool, before, before_hash, hashes: VecDeque::new() }
    }

    /// The spool it is.
    pub fn spool(&self) -> &SpoolId {
        &self.spool
    }

    /// Sequence of the newest evidence; 0: nothing written yet.
    pub fn tip(&self) -> u64 {
        self.before + self.hashes.len() as u64
    }

    /// Hash of the newest evidence; `None`: nothing written yet.
    pub fn tip_hash(&self) -> Option<&Hash> {
        self.hashes.back().or(self.before_hash.as_ref())
    }

    /// Sequence of the oldest evidence that is kept, or of the next one when none is.
    pub fn oldest(&self) -> u64 {
        self.before + 1
    }

    /// Hash at a sequence: of the kept ones and the one before them.
    pub fn hash_at(&self, sequence: u64) -> Option<&Hash> {
        match sequence.checked_sub(self.before)? {
            0 => self.before_hash.as_ref(),
            index => self.hashes.get(usize::try_from(index - 1).ok()?),
        }
    }

    /// Adds the next evidence.
    pub fn push(&mut self, hash: Hash) {
        self.hashes.push_back(hash);
    }

    /// Forgets the oldest `count`; the tip is never forgotten.
    pub fn forget_oldest(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(hash) = self.hashes.pop_front() {
                self.before += 1;
                self.before_hash = Some(hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgetting_the_oldest_keeps_the_tip_and_the_hash_before_the_kept_ones() {
        let mut chain = Chain::new("spl_1".parse().unwrap());
        assert_eq!((chain.tip(), chain.tip_hash(), chain.oldest()), (0, None, 1));
        for number in 1..=5 {
            chain.push([number; 32]);
        }
        chain.forget_oldest(3);
        assert_eq!((chain.tip(), chain.tip_hash(), chain.oldest()), (5, Some(&[5; 32]), 4));
        assert_eq!(chain.hash_at(2), None);
        assert_eq!(chain.hash_at(3), Some(&[3; 32]));
        assert_eq!(chain.hash_at(4), Some(&[4; 32]));
        assert_eq!(chain.hash_at(6), None);
        chain.forget_oldest(9);
        assert_eq!((chain.tip(), chain.tip_hash(), chain.oldest()), (5, Some(&[5; 32]), 6));
    }
}
