//! Answers to an auditor's nonce. Invariant: an answer that is read is written down as it was read; a bundle is checked
//! against any answer without a panic, and no two places are picked twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, key, same};
use seatbeat_ledger::sample::{PICKS, Sample, picks};
use seatbeat_ledger::verify::{Level, Question, Verifier};

const STATEMENT: u8 = 108;

const BUNDLE: &[u8] = include_bytes!("../corpus/bundles/honest");

fuzz_target!(|bytes: &[u8]| {
    let Ok(sample) = bounded(bytes.len(), 2048, || Sample::parse(bytes)) else { return };
    let written = serde_json::to_vec(&sample).expect("an answer has a form");
    same(&Sample::parse(&written), &Ok(sample.clone()));
    let size = sample.picks.first().map_or(1, |pick| pick.record.index);
    let picked = picks(&sample.nonce, &sample.statement.0, size);
    assert!(picked.len() <= PICKS && picked.is_sorted_by(|one, other| one < other));
    assert!(picked.iter().all(|index| *index < size));
    let question = Question {
        key: Some(key(STATEMENT).verifying_key()),
        level: Level::Sampled,
        checkpoint: None,
        witnesses: Vec::new(),
        sample: Some(sample),
        replay: None,
    };
    let mut verifier = Verifier::new(question);
    let _ = BUNDLE
        .strip_suffix(b"\n")
        .unwrap_or(BUNDLE)
        .split(|byte| *byte == b'\n')
        .all(|line| verifier.line(line));
    let _ = verifier.finish();
});
