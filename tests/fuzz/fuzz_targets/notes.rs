//! Witnesses' keys and cosigned notes. Invariant: a key that is read is shown as it was written; what verifies was signed,
//! and a note to which lines were added has the text that it had.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, key, parts, same, text};
use seatbeat_ledger::checkpoint::Checkpoint;
use seatbeat_ledger::cosignature::{Witness, cosign};

const LOG: u8 = 30;
const WITNESS: u8 = 31;
const SEEN_AT: u64 = 1_793_512_800;

fuzz_target!(|bytes: &[u8]| {
    let [key_text, given] = parts(bytes);
    if let Some(Ok(witness)) = text(key_text).map(|text| bounded(text.len(), 64, || text.parse::<Witness>()))
    {
        same(&witness.to_string().parse(), &Ok(witness.clone()));
        assert_eq!(text(key_text).map(str::trim), Some(witness.to_string().as_str()));
    }
    let Some(given) = text(given) else { return };
    let note = Checkpoint { origin: "seatbeat/rsl_fuzz".to_owned(), size: 7, root: [9; 32] }.sign(&key(LOG));
    let witness = Witness::new("witness.example", key(WITNESS).verifying_key()).expect("it is a name");
    let line = cosign(&note, witness.name(), &key(WITNESS), SEEN_AT).expect("it is a note");
    let signed = note.split_once("\n\n").map(|(text, _)| text);
    if let Ok(seen_at) = bounded(given.len(), 64, || witness.verify(given)) {
        assert_eq!(seen_at, SEEN_AT, "the witness signed nothing else");
        assert_eq!(given.split_once("\n\n").map(|(text, _)| text), signed);
    }
    if let Ok(joined) = witness.add_from(&note, given) {
        assert!(joined.starts_with(&note) && joined.contains(&line));
        // Each line that is added was verified.
        for added in joined[note.len()..].lines() {
            let alone = format!("{}\n\n{added}\n", signed.unwrap_or_default());
            same(&witness.verify(&alone), &Ok(SEEN_AT));
        }
        same(&witness.verify(&joined), &Ok(SEEN_AT));
        same(&witness.add_from(&joined, given), &Ok(joined.clone()));
    }
    // Whatever note it is, what a witness says of it holds for it.
    if let Ok(line) = cosign(given, witness.name(), &key(WITNESS), SEEN_AT) {
        let end = if given.ends_with('\n') { "" } else { "\n" };
        same(&witness.verify(&format!("{given}{end}{line}")), &Ok(SEEN_AT));
    }
});
