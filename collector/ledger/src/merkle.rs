//! The log over the journal: an RFC 6962 Merkle tree whose leaves are the records, in journal order.
//! Invariant: the root is a function of the leaves alone; a frontier of n leaves holds one hash for each set bit of n.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of a tree node.
pub type Hash = [u8; 32];

/// Root of the tree without leaves (RFC 6962, 2.1): SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Hash of a leaf (RFC 6962, 2.1).
pub fn leaf(record: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(record).finalize().into()
}

/// Hash of an inner node (RFC 6962, 2.1).
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The right edge of the tree: all that is needed to append leaves and to tell the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    /// Roots of the whole subtrees, largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a record's leaf.
    pub fn append(&mut self, record: &[u8]) {
        self.append_leaf(leaf(record));
    }

    /// Appends a leaf by its hash.
    pub fn append_leaf(&mut self, leaf: Hash) {
        self.append_leaf_with(leaf, |_, _| {});
    }

    /// Appends a leaf, and tells of each subtree that is whole by it: its level and its hash, the leaf first.
    pub(crate) fn append_leaf_with(&mut self, leaf: Hash, mut whole: impl FnMut(u32, &Hash)) {
        let mut hash = leaf;
        let (mut merged, mut level) = (self.size, 0);
        whole(level, &hash);
        while merged & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node(&left, &hash);
            (merged, level) = (merged >> 1, level + 1);
            whole(level, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root over all leaves so far.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Root as RFC 6962 defines it, by recursion.
    fn by_definition(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => leaf(one),
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&by_definition(&many[..split]), &by_definition(&many[split..]))
            }
        }
    }

    #[test]
    fn the_frontier_agrees_with_the_definition_at_every_size() {
        let mut leaves = Vec::new();
        let mut frontier = Frontier::default();
        for n in 0..130u32 {
            assert_eq!(frontier.root(), by_definition(&leaves), "{n} leaves");
            assert_eq!(frontier.peaks.len(), n.count_ones() as usize);
            let record = n.to_be_bytes().to_vec();
            frontier.append(&record);
            leaves.push(record);
        }
    }

    #[test]
    fn the_vectors_of_certificate_transparency_hold() {
        // The eight leaves and roots that certificate-transparency-go tests with.
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut frontier = Frontier::default();
        assert_eq!(hex(&frontier.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        frontier.append(leaves[0]);
        assert_eq!(hex(&frontier.root()), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        for record in &leaves[1..] {
            frontier.append(record);
        }
        assert_eq!(hex(&frontier.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }
}
