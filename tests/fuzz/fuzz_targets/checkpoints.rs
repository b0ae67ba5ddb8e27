//! Signed checkpoints of a log. Invariant: what verifies was signed: it is, value for value, a checkpoint that the key's
//! holder made.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, key, parts, same, text};
use seatbeat_ledger::checkpoint::Checkpoint;

const ORIGIN: &str = "seatbeat/rsl_fuzz";
const LOG: u8 = 30;

/// The checkpoints that were ever signed.
fn signed() -> [Checkpoint; 2] {
    let checkpoint = |size, byte| Checkpoint { origin: ORIGIN.to_owned(), size, root: [byte; 32] };
    [checkpoint(7, 9), checkpoint(18_446_744_073_709_551_615, 0)]
}

fuzz_target!(|bytes: &[u8]| {
    let Some(note) = text(bytes) else { return };
    let public = key(LOG).verifying_key();
    if let Ok(read) = bounded(note.len(), 64, || Checkpoint::verify(note, ORIGIN, &public)) {
        assert!(signed().contains(&read), "{read:?}");
    }
    // Lines of others, in front of the log's own or behind it, change nothing; nor does the own line twice.
    let [before, behind, body] = parts(bytes).map(|part| text(part).unwrap_or_default());
    for checkpoint in signed() {
        let note = checkpoint.sign(&key(LOG));
        let (text, own) = note.split_once("\n\n").expect("it is a note");
        let before = if before.is_empty() || before.ends_with('\n') {
            before.to_owned()
        } else {
            format!("{before}\n")
        };
        let joined = format!("{text}\n\n{before}{own}{behind}");
        same(&Checkpoint::verify(&joined, ORIGIN, &public), &Ok(checkpoint.clone()));
        let changed = format!("{body}\n\n{own}");
        if let Ok(read) = Checkpoint::verify(&changed, ORIGIN, &public) {
            same(&read, &checkpoint);
        }
    }
});
