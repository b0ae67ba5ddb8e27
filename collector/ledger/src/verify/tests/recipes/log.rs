//! The log's proofs are changed, or the log itself is another; the file is cut.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::cosignature::cosign;

pub(super) const RECIPES: &[Recipe] = &[
    (
        "truncated file",
        |p| p.lines.truncate(8),
        "the bundle is cut off after line 8: its end line is missing",
    ),
    (
        "cut inside a line",
        |p| {
            p.lines.truncate(8);
            let cut = p.lines[7].len() / 2;
            p.lines[7].truncate(cut);
        },
        "line 8 is not the beginning of a section: EOF while parsing a string at line 1 column 21",
    ),
    (
        "cut behind its first line",
        |p| p.lines.truncate(1),
        "the bundle is cut off after line 1: its end line is missing",
    ),
    (
        "an empty file",
        |p| p.lines.clear(),
        "line 1 is not the beginning of a bundle: EOF while parsing a value at line 1 column 0",
    ),
    (
        "another count of lines",
        |p| {
            let last = p.lines.len() - 1;
            p.edit(last, |end| end["end"] = 3.into());
        },
        "line 19: the end line tells of 3 lines before it, there are 18",
    ),
    (
        "something behind the end",
        |p| p.lines.push("{}".to_owned()),
        "line 20: something follows the end of the bundle",
    ),
    (
        "not a bundle",
        |p| p.edit(0, |value| value["seatbeat"] = "bundle/9".into()),
        "the file is not a bundle: its first line's `seatbeat` field is not `bundle/1`",
    ),
    (
        "forged checkpoint",
        |p| {
            let size = p.house.journal.len();
            p.proof(&format!("\n{size}\n"), &format!("\n{}\n", size + 1));
        },
        "the bundle's checkpoint: the checkpoint was changed after it was signed",
    ),
    (
        "checkpoint of another key",
        |p| {
            let note = p.house.checkpoint_of(p.house.journal.len());
            let read = |key: &ed25519_dalek::SigningKey| {
                Checkpoint {
                    origin: note.lines().next().unwrap().to_owned(),
                    size: p.house.journal.len() as u64,
                    root: STANDARD.decode(note.lines().nth(2).unwrap()).unwrap().try_into().unwrap(),
                }
                .sign(key)
            };
            let forged = read(&p.house.statement_key.clone());
            p.proof(&note, &forged);
        },
        "the bundle's checkpoint: the checkpoint is not signed by this key",
    ),
    (
        "checkpoint of another log",
        |p| p.proof("seatbeat/rsl_acme\n", "seatbeat/rsl_emca\n"),
        "the bundle's checkpoint: the checkpoint is of another log",
    ),
    (
        "swapped proof",
        |p| {
            p.log(|log| {
                let text = log["inclusion"].as_str().unwrap().to_owned();
                let mut lines: Vec<&str> = text.lines().collect();
                lines.swap(2, 3);
                log["inclusion"] = (lines.join("\n") + "\n").into();
            });
        },
        "the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107",
    ),
    (
        "another place in the log",
        |p| {
            p.log(|log| {
                let text = log["inclusion"].as_str().unwrap().to_owned();
                let index = text.lines().nth(1).unwrap().to_owned();
                log["inclusion"] = text.replacen(&index, "index 17", 1).into();
            });
        },
        "the record that sealed the statement is not in the log: nothing leads from record 17 to the checkpoint over 107; the statement was sealed at record 17, but its cut is of 104 records",
    ),
    (
        "no proof",
        |p| p.log(|log| log["inclusion"] = "".into()),
        "the bundle's proof of the statement's place in the log is not one",
    ),
    (
        "swapped proof of the cut",
        |p| {
            p.log(|log| {
                let (one, other) =
                    (log["consistency"][0]["hashes"].clone(), log["consistency"][1]["hashes"].clone());
                (log["consistency"][0]["hashes"], log["consistency"][1]["hashes"]) = (other, one);
            });
        },
        "the statement's cut of 104 records is not the beginning of the log that the checkpoint over 107 is of",
    ),
    (
        "no proof of the cut",
        |p| p.log(|log| _ = log["consistency"].as_array_mut().unwrap().pop()),
        "the bundle does not prove the statement's cut of 104 records",
    ),
    (
        "the record of another statement",
        |p| {
            let other = p.house.bundle("2026-10", "other", &[40], false);
            p.lines[1] = other.lines().nth(1).unwrap().to_owned();
        },
        "the bundle's record does not fit a body of 3510 bytes: it sealed another",
    ),
    (
        "rolled-back log",
        |p| {
            // The auditor has a checkpoint over records that are gone.
            let size = p.house.journal.len() as u64 + 5;
            let origin = "seatbeat/rsl_acme".to_owned();
            let kept = Checkpoint { origin, size, root: [1; 32] }.sign(&p.house.service_key);
            p.question.checkpoint = Some(kept);
        },
        "the given checkpoint is over 112 records, the bundle's log has 107: the log was rolled back, or the bundle is older",
    ),
    (
        "rewritten log",
        |p| {
            // The auditor's checkpoint is over other records than the log now begins with.
            let origin = "seatbeat/rsl_acme".to_owned();
            let kept = Checkpoint { origin, size: 40, root: [1; 32] }.sign(&p.house.service_key);
            p.question.checkpoint = Some(kept);
        },
        "the given checkpoint over 40 records is not the beginning of the bundle's log of 107: the log was rewritten",
    ),
    (
        "rewritten log of the same size",
        |p| {
            let (origin, size) = ("seatbeat/rsl_acme".to_owned(), p.house.journal.len() as u64);
            let kept = Checkpoint { origin, size, root: [1; 32] }.sign(&p.house.service_key);
            p.question.checkpoint = Some(kept);
        },
        "the given checkpoint over 107 records is not the beginning of the bundle's log of 107: the log was rewritten",
    ),
    (
        "an older checkpoint that is not proven",
        |p| p.question.checkpoint = Some(p.house.checkpoint_of(39)),
        "the bundle proves nothing about the given checkpoint over 39 records",
    ),
    (
        "a checkpoint of another reseller",
        |p| {
            let origin = "seatbeat/rsl_other".to_owned();
            let kept = Checkpoint { origin, size: 40, root: [1; 32] }.sign(&p.house.service_key);
            p.question.checkpoint = Some(kept);
        },
        "the given checkpoint is of seatbeat/rsl_other, the bundle's log is seatbeat/rsl_acme: it is another reseller's",
    ),
    (
        "a checkpoint that somebody else signed",
        |p| {
            let origin = "seatbeat/rsl_acme".to_owned();
            let kept = Checkpoint { origin, size: 40, root: [1; 32] }.sign(&p.house.statement_key);
            p.question.checkpoint = Some(kept);
        },
        "the given checkpoint: the checkpoint is not signed by this key",
    ),
    (
        "a witness's word for another checkpoint",
        |p| {
            let key = p.house.statement_key.clone();
            let note = p.house.checkpoint_of(40);
            let line = cosign(&note, "witness.example", &key, 5).unwrap();
            p.log(|log| log["inclusion"] = (log["inclusion"].as_str().unwrap().to_owned() + &line).into());
            p.question.witnesses = vec![Witness::new("witness.example", key.verifying_key()).unwrap()];
        },
        "the bundle's checkpoint: the checkpoint is not cosigned by the witness `witness.example`",
    ),
];
