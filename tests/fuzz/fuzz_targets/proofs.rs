//! Proofs of a log. Invariant: a text that is read is written back byte for byte; a record, or a beginning of the log, is
//! proven only when it is the log's own, whatever path is shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, same, text};
use seatbeat_ledger::merkle::{Frontier, Hash, leaf};
use seatbeat_ledger::proof::{Harvest, Head, consistency, extends, includes, inclusion};
use seatbeat_ledger::tlog_proof::TlogProof;

fuzz_target!(|bytes: &[u8]| {
    if let Some(text) = text(bytes)
        && let Ok(proof) = bounded(text.len(), 64, || TlogProof::parse(text))
    {
        let head = text.split_once("\n\n").map_or("", |(head, _)| head);
        // What is passed over is not written again.
        if !head.lines().any(|line| line.starts_with("extra ")) {
            assert_eq!(proof.text(), text);
        }
        same(&TlogProof::parse(&proof.text()), &Ok(proof));
    }
    let Some((head, changes)) = bytes.split_first_chunk::<3>() else { return };
    let (size, index, old) = (u64::from(head[0]) + 1, u64::from(head[1]), u64::from(head[2]));
    included(size, index, changes);
    extended(size, old, changes);
    anything(changes);
});

fn record(index: u64) -> Hash {
    leaf(&index.to_be_bytes())
}

fn root(size: u64) -> Hash {
    let mut log = Frontier::default();
    (0..size).for_each(|index| log.append_leaf(record(index)));
    log.root()
}

fn harvested(size: u64, want: impl FnOnce(&mut Harvest)) -> Harvest {
    let mut harvest = Harvest::default();
    want(&mut harvest);
    (0..size).for_each(|index| harvest.append_leaf(record(index)));
    harvest
}

/// The honest path with what the input does to it: hashes are changed, left out, put in.
fn changed(mut path: Vec<Hash>, changes: &[u8]) -> Vec<Hash> {
    for change in changes.chunks_exact(3).take(6) {
        let at = usize::from(change[1]) % (path.len() + 1);
        match (change[0] % 4, path.get_mut(at)) {
            (0, Some(hash)) => hash[usize::from(change[2]) % 32] ^= change[2],
            (1, Some(_)) => drop(path.remove(at)),
            (2, _) => path.insert(at, record(u64::from(change[2]))),
            (3, Some(hash)) => *hash = record(u64::from(change[2])),
            _ => {}
        }
    }
    path
}

fn included(size: u64, index: u64, changes: &[u8]) {
    let mut harvest = Harvest::default();
    if harvest.want_inclusion(index, size).is_err() {
        assert!(index >= size);
        return;
    }
    let harvest = harvested(size, |fresh| *fresh = harvest);
    let honest = inclusion(&harvest, index, size).expect("the pass kept it");
    let root = root(size);
    assert!(includes(&record(index), index, size, &honest, &root));
    let path = changed(honest.clone(), changes);
    assert_eq!(includes(&record(index), index, size, &path, &root), path == honest);
    let other = changes.first().map_or(0, |byte| u64::from(*byte));
    if other != index {
        assert!(!includes(&record(other), index, size, &path, &root));
        assert!(!includes(&record(index), other, size, &path, &root));
    }
}

fn extended(size: u64, old: u64, changes: &[u8]) {
    let mut harvest = Harvest::default();
    if harvest.want_consistency(old, size).is_err() {
        assert!(old > size);
        return;
    }
    let harvest = harvested(size, |fresh| *fresh = harvest);
    let honest = consistency(&harvest, old, size).expect("the pass kept it");
    let (before, after) = (Head { size: old, root: root(old) }, Head { size, root: root(size) });
    assert!(extends(&before, &after, &honest));
    let path = changed(honest.clone(), changes);
    assert_eq!(extends(&before, &after, &path), path == honest);
    let forged = Head { root: record(old), ..before };
    assert!(!extends(&forged, &after, &path) && !extends(&forged, &after, &honest));
}

/// Numbers and hashes that belong together in no way, up to the largest there are.
fn anything(bytes: &[u8]) {
    let Some((numbers, hashes)) = bytes.split_first_chunk::<16>() else { return };
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| numbers[at + byte]));
    let path: Vec<Hash> = hashes.as_chunks::<32>().0.to_vec();
    let (one, other) = (Head { size: number(0), root: [1; 32] }, Head { size: number(8), root: [2; 32] });
    assert!(!includes(&[3; 32], one.size, other.size, &path, &other.root));
    assert!(!extends(&one, &other, &path));
}
