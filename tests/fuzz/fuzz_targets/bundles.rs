//! Bundles: a sealed statement with the evidence behind it, line by line. Invariant: what is called verified is the
//! statement, the log and the rows that the reseller signed; memory is by the length of a line.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, key};
use seatbeat_ledger::sealed::{body_bytes, file, seal};
use seatbeat_ledger::verify::{Failures, Level, Question, Verdict, Verifier};
use serde_json::Value;

/// The key that signed the bundle among the seeds.
const STATEMENT: u8 = 108;

/// All bundles that the reseller ever made.
const HONEST: [&[u8]; 2] =
    [include_bytes!("../corpus/bundles/honest"), include_bytes!("../corpus/bundles/other")];

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    // The honest bundle's first byte is an opening brace.
    match mode {
        b'{' => as_it_came(&[b"{", bytes].concat()),
        _ => sealed_anew(bytes),
    }
});

fn verdict(bytes: &[u8], level: Level) -> Result<Verdict, Failures> {
    let question = Question {
        key: Some(key(STATEMENT).verifying_key()),
        level,
        checkpoint: None,
        witnesses: Vec::new(),
        sample: None,
        replay: None,
    };
    let mut verifier = Verifier::new(question);
    for line in bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n') {
        if !verifier.line(line) {
            break;
        }
    }
    verifier.finish()
}

/// Rows of machines: what opens their names may be left out.
fn is_row(line: &[u8]) -> bool {
    [b"{\"agents\"".as_slice(), b"{\"confirmed\"", b"{\"last\""].iter().any(|start| line.starts_with(start))
}

fn rows(bundle: &[u8]) -> BTreeSet<&[u8]> {
    bundle.split(|byte| *byte == b'\n').filter(|line| is_row(line)).collect()
}

fn as_it_came(bytes: &[u8]) {
    let Ok(verdict) = bounded(bytes.len(), 2048, || verdict(bytes, Level::Recomputed)) else { return };
    let honest = HONEST.map(|bundle| {
        let verdict = self::verdict(bundle, Level::Recomputed).expect("the seed is what it should be");
        (bundle, verdict)
    });
    let made = honest.iter().find(|(_, honest)| honest.digest == verdict.digest);
    let (bundle, honest) = made.expect("the reseller sealed nothing else");
    assert_eq!(verdict.body, honest.body);
    assert_eq!((verdict.seats, verdict.excluded), (honest.seats, honest.excluded));
    assert_eq!((verdict.log_size, verdict.sealed_at), (honest.log_size, honest.sealed_at));
    assert_eq!(rows(bytes), rows(bundle));
}

/// A statement of whatever body, signed by the reseller: everything behind the signature meets it.
fn sealed_anew(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(body) = serde_json::from_slice::<Value>(&bytes[..at]) else { return };
    let Ok(body) = body_bytes(&body) else { return };
    let key = key(STATEMENT);
    let signed = seal(body, &key);
    let Ok(file) = file(&signed, key.verifying_key().as_bytes()) else { return };
    let statement = String::from_utf8_lossy(&file);
    let bundle =
        [format!("{{\"seatbeat\":\"bundle/1\",\"statement\":{statement}}}").as_bytes(), &bytes[at..]]
            .concat();
    for level in [Level::Proofs, Level::Recomputed] {
        let _ = bounded(bundle.len(), 4096, || verdict(&bundle, level));
    }
}
