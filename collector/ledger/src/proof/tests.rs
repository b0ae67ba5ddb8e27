//! Proofs against the RFC's definition, its vectors, and another implementation.

use super::*;
use crate::merkle::leaf;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
}

/// A source with everything, by the definition.
struct All(Vec<Hash>);

impl Subtrees for All {
    fn hash(&self, subtree: Subtree) -> Option<Hash> {
        let start = usize::try_from(subtree.index << subtree.level).ok()?;
        let part = self.0.get(start..start + (1 << subtree.level))?;
        Some(part.iter().fold(Frontier::default(), |mut log, leaf| {
            log.append_leaf(*leaf);
            log
        }))
        .map(|log| log.root())
    }
}

fn root_of(count: u64) -> Hash {
    root(&All(leaves(count)), count).unwrap()
}

#[test]
fn every_record_is_proven_at_every_size_and_nothing_else_is() {
    for size in 1..40 {
        let (all, root) = (All(leaves(size)), root_of(size));
        for index in 0..size {
            let path = inclusion(&all, index, size).unwrap();
            assert!(includes(&all.0[index as usize], index, size, &path, &root), "{index} of {size}");
            assert!(!includes(&leaf(b"other"), index, size, &path, &root));
            assert!(!includes(&all.0[index as usize], index + 1, size, &path, &root));
            let longer: Vec<Hash> = path.iter().copied().chain([root]).collect();
            assert!(!includes(&all.0[index as usize], index, size, &longer, &root));
            for part in 0..path.len() {
                let mut changed = path.clone();
                changed[part][0] ^= 1;
                assert!(!includes(&all.0[index as usize], index, size, &changed, &root));
                assert!(!includes(&all.0[index as usize], index, size, &path[..part], &root));
            }
        }
        assert_eq!(inclusion(&all, size, size), Err(ProofError::Beyond { index: size, size }));
    }
}

#[test]
fn every_earlier_size_is_proven_and_another_root_is_not() {
    for size in 0..40 {
        let (all, new) = (All(leaves(size)), Head { size, root: root_of(size) });
        for earlier in 0..=size {
            let proof = consistency(&all, earlier, size).unwrap();
            let old = Head { size: earlier, root: root_of(earlier) };
            assert!(extends(&old, &new, &proof), "{earlier} of {size}");
            assert!(!extends(&Head { root: [7; 32], ..old }, &new, &proof));
            if earlier > 0 && earlier < size {
                assert!(!extends(&old, &Head { root: [7; 32], ..new }, &proof));
                assert!(!extends(&old, &new, &proof[..proof.len() - 1]));
                let longer: Vec<Hash> = proof.iter().copied().chain([new.root]).collect();
                assert!(!extends(&old, &new, &longer));
            }
        }
        let beyond = size + 1;
        assert_eq!(consistency(&all, beyond, size), Err(ProofError::Beyond { index: beyond, size }));
        assert!(!extends(&Head { size: beyond, root: root_of(beyond) }, &new, &[]));
    }
}

#[test]
fn one_pass_keeps_exactly_what_the_wanted_proofs_need() {
    const SIZE: u64 = 1003;
    let mut harvest = Harvest::default();
    let (indexes, sizes) = ([0, 1, 511, 512, 777, 1002], [1, 2, 512, 700, 1002, 1003]);
    for index in indexes {
        harvest.want_inclusion(index, SIZE).unwrap();
    }
    for old in sizes {
        harvest.want_consistency(old, SIZE).unwrap();
        harvest.want_root(old);
    }
    let all = All(leaves(SIZE));
    all.0.iter().for_each(|leaf| harvest.append_leaf(*leaf));
    assert_eq!((harvest.size(), harvest.log_root()), (SIZE, root_of(SIZE)));
    for index in indexes {
        assert_eq!(inclusion(&harvest, index, SIZE), inclusion(&all, index, SIZE));
    }
    for old in sizes {
        assert_eq!(consistency(&harvest, old, SIZE), consistency(&all, old, SIZE));
        assert_eq!(root(&harvest, old), root(&all, old));
    }
    assert!(harvest.wanted.len() < 120, "{} hashes are kept", harvest.wanted.len());
    let other = inclusion(&harvest, 300, SIZE).unwrap_err();
    assert!(matches!(other, ProofError::Missing(_)), "{other}");
}

fn hex(text: &str) -> Hash {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..32).map(|at| byte(at * 2)).collect::<Vec<u8>>().try_into().unwrap()
}

/// The eight leaves, roots and proofs that certificate-transparency-go and its forerunners test with.
#[test]
fn the_vectors_of_certificate_transparency_hold() {
    let texts =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let bytes = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
    };
    let all = All(texts.iter().map(|text| leaf(&bytes(text))).collect());
    let path = |index, size| inclusion(&all, index, size).unwrap();
    assert_eq!(path(0, 1), Vec::<Hash>::new());
    let expected = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    assert_eq!(path(0, 8), expected.map(hex));
    let expected = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(path(5, 8), expected.map(hex));
    let expected = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(consistency(&all, 6, 8).unwrap(), expected.map(hex));
    let expected = [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ];
    assert_eq!(consistency(&all, 2, 5).unwrap(), expected.map(hex));
}

/// Hashes of a log as `tlog_tiles` stores them.
struct Stored(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

#[test]
fn another_implementation_makes_and_takes_the_same_proofs() {
    let mut stored = Stored(Vec::new());
    for size in 1..70u64 {
        let more = tlog_tiles::stored_hashes(size - 1, &(size - 1).to_be_bytes(), &stored).unwrap();
        stored.0.extend(more);
        let (all, ours) = (All(leaves(size)), root_of(size));
        let theirs = tlog_tiles::tree_hash(size, &stored).unwrap();
        assert_eq!(theirs.0, ours);
        for index in 0..size {
            let proof = tlog_tiles::prove_record(size, index, &stored).unwrap();
            let path = inclusion(&all, index, size).unwrap();
            assert_eq!(proof.iter().map(|hash| hash.0).collect::<Vec<_>>(), path);
            let leaf = tlog_tiles::record_hash(&index.to_be_bytes());
            tlog_tiles::check_record(&proof, size, theirs, index, leaf).unwrap();
        }
        for old in 1..=size {
            let proof = tlog_tiles::prove_tree(size, old, &stored).unwrap();
            let path = consistency(&all, old, size).unwrap();
            assert_eq!(proof.iter().map(|hash| hash.0).collect::<Vec<_>>(), path, "{old} of {size}");
        }
    }
}
