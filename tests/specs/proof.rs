//! A sealed month as whoever is billed by it checks it: bundle, checkpoint, sample and replay, by both programs' words.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use seatbeat_fleet::seed::Seed;
use serde_json::Value;

use crate::desk::{Desk, eventually, text};
use crate::months::{OCTOBER, desk_in_october, instant, report, restart_at};
use crate::reporters::reporter;

const NONCE: &str = "chosen by the auditor";

/// A collector whose October has two machines, sealed.
fn sealed_october() -> Desk {
    let (mut desk, door) = desk_in_october(3, "2");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    for name in ["one", "other"] {
        let mut machine = reporter(name, &Seed::new(7));
        runtime.block_on(door.enrol(&machine, instant(OCTOBER))).expect("the token lets it in");
        let at = ["2026-10-18T08:00:00Z", "2026-10-20T08:00:00Z"];
        runtime.block_on(report(&door, &mut machine, OCTOBER, &at));
    }
    restart_at(&mut desk, "2026-11-04T12:00:00Z");
    desk.operator_ok(&["statement", "close", "2026-10"]);
    desk
}

fn key(desk: &Desk) -> String {
    desk.operator_json(&["status"])["statement_key"].as_str().expect("a key").to_owned()
}

fn bundle(desk: &Desk, more: &[&str]) -> PathBuf {
    let out = desk.path("out");
    let arguments = [&["statement", "bundle", "2026-10", "--to", text(&out)], more].concat();
    let told = desk.operator_json(&arguments);
    PathBuf::from(told["file"].as_str().expect("a file"))
}

fn rows(bundle: &Path) -> Vec<Value> {
    let text = fs::read_to_string(bundle).expect("the bundle is there");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn a_sealed_month_is_checked_at_every_level_by_whoever_has_the_key() {
    let desk = sealed_october();
    let key = key(&desk);
    let file = bundle(&desk, &[]);
    assert!(file.ends_with("2026-10-ingram-r1.bundle.jsonl"), "{}", file.display());
    let verify =
        |more: &[&str]| desk.operator_json(&[&["verify", text(&file), "--key", &key], more].concat());
    for level in ["0", "1"] {
        assert_eq!(verify(&["--level", level])["verified"], true);
    }
    let sample = desk.path("sample.json");
    desk.operator_ok(&["statement", "answer", "2026-10", "--nonce", NONCE, "--to", text(&sample)]);
    let told = verify(&["--sample", text(&sample), "--nonce", NONCE]);
    assert_eq!((&told["level"], &told["sample"]["counted"]), (&Value::from(2), &Value::from(4)), "{told:#}");
    let out = desk.path("export");
    desk.operator_ok(&["export", "--period", "2026-10", "--to", text(&out)]);
    let told = verify(&["--sample", text(&sample), "--export", text(&out)]);
    assert_eq!((&told["level"], &told["seats"]), (&Value::from(3), &Value::from(2)), "{told:#}");
    let said = desk.operator_fails(&["verify", text(&file)]);
    assert!(said.contains("is self-attested: only the file itself says whose key signed it"), "{said}");
    let said = desk.operator_fails(&[
        "verify",
        text(&file),
        "--key",
        &key,
        "--sample",
        text(&sample),
        "--nonce",
        "another nonce of mine",
    ]);
    assert!(said.contains("answers another nonce than yours"), "{said}");
}

#[test]
fn a_changed_bundle_is_refused_with_what_and_where_and_a_hint() {
    let desk = sealed_october();
    let key = key(&desk);
    let file = bundle(&desk, &[]);
    let whole = fs::read_to_string(&file).expect("the bundle is there");
    let lines: Vec<&str> = whole.lines().collect();
    let refused = |text: String| {
        fs::write(&file, text).expect("the bundle can be changed");
        desk.operator_fails(&["verify", self::text(&file), "--key", &key])
    };
    let said = refused(lines[..4].join("\n"));
    assert!(
        said.contains("is cut off after line 4: its end line is missing\nhint: ask for the file again"),
        "{said}"
    );
    let without = [&lines[..3], &lines[4..]].concat().join("\n");
    let said = refused(without);
    assert!(
        said.contains("line cus_a, DS-CLOUD: the statement counts 2 machines, the bundle has 1"),
        "{said}"
    );
    fs::write(&file, whole).expect("the bundle can be written");
    let stranger = STANDARD.encode(SigningKey::from_bytes(&[9; 32]).verifying_key().as_bytes());
    let said = desk.operator_fails(&["verify", text(&file), "--key", &stranger]);
    assert!(
        said.contains("the statement was signed by the key") && said.contains("hint: is this the key"),
        "{said}"
    );
}

#[test]
fn checkpoints_leave_daily_and_bundles_are_proven_to_be_of_the_same_log() {
    let mut desk = sealed_october();
    let key = key(&desk);
    let statements = desk.store().join("statements");
    let first = statements.join("checkpoints/2026-10-20.checkpoint");
    let dropped = statements.join("2026-10-ingram-r1.bundle.jsonl");
    assert!(first.exists(), "no checkpoint of the first day was dropped");
    // Jobs run when the collector starts, and each minute.
    assert!(desk.stop(), "{}", desk.log());
    desk.start();
    eventually("the bundle is dropped beside its statement", || dropped.exists().then_some(()));
    let told = desk.operator_json(&["verify", text(&dropped), "--key", &key, "--checkpoint", text(&first)]);
    assert_eq!(told["verified"], true);
    let rows = rows(&dropped);
    assert!(rows.iter().all(|row| row.get("opened").is_none()), "it names machines");

    let note = fs::read_to_string(&first).expect("it can be read");
    let size = note.lines().nth(1).expect("a checkpoint tells its size");
    let forged = note.replacen(&format!("\n{size}\n"), "\n5\n", 1);
    let kept = desk.path("kept.checkpoint");
    fs::write(&kept, forged).expect("it can be written");
    let said = desk.operator_fails(&["verify", text(&dropped), "--key", &key, "--checkpoint", text(&kept)]);
    assert!(said.contains("the given checkpoint:"), "{said}");
    let said = desk.operator_fails(&[
        "statement",
        "bundle",
        "2026-10",
        "--to",
        text(&desk.path("x")),
        "--checkpoint",
        text(&kept),
    ]);
    assert!(said.contains("the checkpoint that was given cannot be proven"), "{said}");
    let named = bundle(&desk, &["--names", "--checkpoint", text(&first)]);
    let told = desk.operator_json(&["verify", text(&named), "--key", &key]);
    assert_eq!(told["opened"], 2, "{told:#}");
    let said = desk.operator_fails(&["statement", "bundle", "2026-09", "--to", text(&desk.path("x"))]);
    assert!(said.contains("period 2026-09 is not sealed"), "{said}");
    let said = desk.operator_fails(&[
        "statement",
        "answer",
        "2026-10",
        "--nonce",
        "short",
        "--to",
        text(&desk.path("x.json")),
    ]);
    assert!(said.contains("the nonce has 5 characters, fewer than 16"), "{said}");
}
