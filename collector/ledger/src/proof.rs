//! Proofs of the log (RFC 6962, 2.1.1 and 2.1.2): that a record is in it, and that it only ever grew.
//! Invariant: making proofs needs one pass over the leaves and memory for the proofs alone; what verifies follows
//! from the roots and nothing else.

use std::collections::BTreeMap;

use crate::merkle::{Frontier, Hash, empty_root, node};

/// A whole subtree: `level` 0 are the leaves, a level above has half as many; `index` counts from the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    /// Two to the level is the number of its leaves.
    pub level: u32,
    /// How many of its size stand to its left.
    pub index: u64,
}

/// Where hashes of whole subtrees come from: a pass over the leaves, or tiles that somebody kept.
pub trait Subtrees {
    /// Hash of a subtree that is wholly in the log; `None` when it is not known here.
    fn hash(&self, subtree: Subtree) -> Option<Hash>;
}

/// A proof that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Beyond the tree.
    #[error("there is no record {index} among {size}")]
    Beyond {
        /// Which record, or how many.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// The source does not know a hash that is needed.
    #[error("the hash of subtree {} at level {} is not at hand", .0.index, .0.level)]
    Missing(Subtree),
}

/// The audit path of the record at `index` in the tree over the first `size` records, leaf to root.
///
/// # Errors
/// When there is no such record, or the source lacks a hash.
pub fn inclusion(source: &impl Subtrees, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
    hashes(source, &inclusion_ranges(index, size)?)
}

/// The proof that the tree over `old` records is the beginning of the one over `size`.
///
/// # Errors
/// When the old tree is larger, or the source lacks a hash.
pub fn consistency(source: &impl Subtrees, old: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
    hashes(source, &consistency_ranges(old, size)?)
}

/// The root over the first `size` records.
///
/// # Errors
/// When the source lacks a hash.
pub fn root(source: &impl Subtrees, size: u64) -> Result<Hash, ProofError> {
    if size == 0 { Ok(empty_root()) } else { range_root(source, Range { lo: 0, hi: size }) }
}

/// Leaves `lo` to before `hi`, as the definitions split the tree.
#[derive(Debug, Clone, Copy)]
struct Range {
    lo: u64,
    hi: u64,
}

impl Range {
    /// Where the left part ends: the largest power of two below the length.
    fn split(self) -> u64 {
        self.lo + (self.hi - self.lo).next_power_of_two() / 2
    }

    /// The whole subtrees that make it up, left to right.
    fn subtrees(self) -> Vec<Subtree> {
        let (mut lo, mut parts) = (self.lo, Vec::new());
        while lo < self.hi {
            let level = (self.hi - lo).ilog2();
            parts.push(Subtree { level, index: lo >> level });
            lo += 1 << level;
        }
        parts
    }
}

fn inclusion_ranges(index: u64, size: u64) -> Result<Vec<Range>, ProofError> {
    if index >= size {
        return Err(ProofError::Beyond { index, size });
    }
    let (mut range, mut path) = (Range { lo: 0, hi: size }, Vec::new());
    while range.hi - range.lo > 1 {
        let split = range.split();
        let (left, right) = (Range { hi: split, ..range }, Range { lo: split, ..range });
        let (next, sibling) = if index < split { (left, right) } else { (right, left) };
        path.push(sibling);
        range = next;
    }
    path.reverse();
    Ok(path)
}

fn consistency_ranges(old: u64, size: u64) -> Result<Vec<Range>, ProofError> {
    if old > size {
        return Err(ProofError::Beyond { index: old, size });
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let (mut range, mut path, mut is_left_edge) = (Range { lo: 0, hi: size }, Vec::new(), true);
    while old != range.hi {
        let split = range.split();
        let (left, right) = (Range { hi: split, ..range }, Range { lo: split, ..range });
        if old <= split {
            path.push(right);
            range = left;
        } else {
            path.push(left);
            range = right;
            is_left_edge = false;
        }
    }
    if !is_left_edge {
        path.push(range);
    }
    path.reverse();
    Ok(path)
}

fn hashes(source: &impl Subtrees, ranges: &[Range]) -> Result<Vec<Hash>, ProofError> {
    ranges.iter().map(|range| range_root(source, *range)).collect()
}

fn range_root(source: &impl Subtrees, range: Range) -> Result<Hash, ProofError> {
    let mut right: Option<Hash> = None;
    for subtree in range.subtrees().into_iter().rev() {
        let left = source.hash(subtree).ok_or(ProofError::Missing(subtree))?;
        right = Some(right.map_or(left, |right| node(&left, &right)));
    }
    Ok(right.unwrap_or_else(empty_root))
}

/// One pass over the leaves that keeps what the wanted proofs need: some forty hashes for each.
#[derive(Debug, Clone, Default)]
pub struct Harvest {
    wanted: BTreeMap<Subtree, Option<Hash>>,
    log: Frontier,
}

impl Harvest {
    /// Keeps what an audit path needs. Ask before the pass.
    ///
    /// # Errors
    /// When there is no such record.
    pub fn want_inclusion(&mut self, index: u64, size: u64) -> Result<(), ProofError> {
        self.want(&inclusion_ranges(index, size)?);
        Ok(())
    }

    /// Keeps what a consistency proof needs. Ask before the pass.
    ///
    /// # Errors
    /// When the old tree is larger.
    pub fn want_consistency(&mut self, old: u64, size: u64) -> Result<(), ProofError> {
        self.want(&consistency_ranges(old, size)?);
        Ok(())
    }

    /// Keeps what the root over the first `size` records needs. Ask before the pass.
    pub fn want_root(&mut self, size: u64) {
        self.want(&[Range { lo: 0, hi: size }]);
    }

    fn want(&mut self, ranges: &[Range]) {
        for subtree in ranges.iter().flat_map(|range| range.subtrees()) {
            self.wanted.entry(subtree).or_default();
        }
    }

    /// The next leaf of the pass.
    pub fn append_leaf(&mut self, leaf: Hash) {
        let wanted = &mut self.wanted;
        let at = self.log.size();
        self.log.append_leaf_with(leaf, |level, hash| {
            if let Some(kept) = wanted.get_mut(&Subtree { level, index: at >> level }) {
                *kept = Some(*hash);
            }
        });
    }

    /// Leaves seen so far.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// Root over the leaves seen so far.
    pub fn log_root(&self) -> Hash {
        self.log.root()
    }
}

impl Subtrees for Harvest {
    fn hash(&self, subtree: Subtree) -> Option<Hash> {
        self.wanted.get(&subtree).copied().flatten()
    }
}

/// Whether an audit path leads from a leaf to the root (RFC 9162, 2.1.3.2).
pub fn includes(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// A size of the log and its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of records.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

/// Whether a proof shows one head to be a later one of the same log (RFC 9162, 2.1.4.2).
pub fn extends(old: &Head, new: &Head, proof: &[Hash]) -> bool {
    if old.size == 0 || old.size >= new.size {
        let is_same = old.size == new.size && old.root == new.root;
        return proof.is_empty() && (is_same || (old.size == 0 && old.root == empty_root()));
    }
    let whole = if old.size.is_power_of_two() { Some(old.root) } else { None };
    let mut proof = whole.iter().chain(proof);
    let Some(first) = proof.next() else { return false };
    let (mut place, mut last) = (old.size - 1, new.size - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for hash in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            (old_hash, new_hash) = (node(hash, &old_hash), node(hash, &new_hash));
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            new_hash = node(&new_hash, hash);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && old_hash == old.root && new_hash == new.root
}

#[cfg(test)]
mod tests;
