//! A month from its evidence to its sealed statement, by the clock: grace, unattended approval, late evidence.

use std::fs;

use seatbeat_fleet::seed::Seed;

use crate::desk::{eventually, text};
use crate::months::{OCTOBER, configure, desk_in_october, instant, report, restart_at, states};
use crate::reporters::reporter;

#[test]
fn a_month_waits_for_its_grace_is_sealed_on_its_day_and_corrected_by_the_next() {
    let (mut desk, door) = desk_in_october(0, "2");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut machines = ["early", "late"].map(|name| reporter(name, &Seed::new(7)));
    for machine in &machines {
        runtime.block_on(door.enrol(machine, instant(OCTOBER))).expect("the token lets it in");
    }
    runtime.block_on(report(&door, &mut machines[0], OCTOBER, &["2026-10-20T08:00:00Z"]));

    restart_at(&mut desk, "2026-11-02T12:00:00Z");
    let said = desk.operator_fails(&["statement", "close", "2026-10"]);
    assert!(said.contains("2026-11-04"), "the end of the grace is not in:\n{said}");

    restart_at(&mut desk, "2026-11-04T12:00:00Z");
    let draft = desk.operator_json(&["statement", "close", "2026-10", "--dry-run"]);
    assert_eq!(draft["state"], "draft", "{draft:#}");
    assert_eq!(states(&desk), [["2026-10", "ingram", "draft"], ["2026-11", "", "open"]]);
    let wait = serde_json::json!({ "for": "day", "at": "2026-11-05T00:00:00Z" });
    assert_eq!(draft["standings"][0]["wait"], wait, "{draft:#}");
    let file = desk.store().join("statements/2026-10-ingram-r1.json");
    assert!(!file.exists(), "it was sealed before its day");
    let said = desk.operator_fails(&["statement", "close", "2026-10"]);
    assert!(said.contains("only 1 of 2 machines were heard from") && said.contains("hint: "), "{said}");
    let late = machines[1].id().to_string();
    assert_eq!(draft["review"]["silent"]["rows"][0]["machine"], late, "{draft:#}");

    restart_at(&mut desk, "2026-11-05T00:10:00Z");
    let waits = eventually("somebody is told", || {
        let alarms = desk.operator_json(&["status"])["alarms"].to_string();
        alarms.contains("the statement of 2026-10 waits for a person").then_some(alarms)
    });
    assert!(waits.contains("low_coverage") && !file.exists(), "{waits}");
    configure(&desk, "coverage_percent", "50");

    restart_at(&mut desk, "2026-11-05T00:10:00Z");
    eventually("it is sealed on its day", || file.exists().then_some(()));
    let sealed = fs::read(&file).expect("the statement was dropped");
    let key = desk.operator_json(&["status"])["statement_key"].as_str().expect("a key").to_owned();
    let body = desk.operator_json(&["verify", text(&file), "--key", &key])["body"].clone();
    assert_eq!(body["lines"][0]["quantity"], "1", "{body:#}");
    let again = desk.operator_fails(&["statement", "close", "2026-10"]);
    assert!(again.contains("sealed already"), "{again}");
    assert_eq!(states(&desk), [["2026-10", "ingram", "sealed"], ["2026-11", "", "open"]]);

    // A laptop that was away comes back with a report of October.
    restart_at(&mut desk, "2026-11-10T09:00:00Z");
    let evidence = ["2026-10-20T08:30:00Z", "2026-11-10T08:00:00Z"];
    runtime.block_on(report(&door, &mut machines[1], "2026-11-10T09:00:00Z", &evidence));
    // Neither machine is heard from at the end of November, and nobody minds.
    configure(&desk, "coverage_percent", "0");
    restart_at(&mut desk, "2026-12-05T00:10:00Z");
    let next = desk.store().join("statements/2026-11-ingram-r1.json");
    eventually("the next month is sealed on its day", || next.exists().then_some(()));
    let body = desk.operator_json(&["verify", text(&next), "--key", &key])["body"].clone();
    let correction = serde_json::json!([
        { "for_period": "2026-10", "customer": "cus_a", "sku": "DS-CLOUD", "delta": "1", "cost": "3.20" }
    ]);
    assert_eq!(body["corrections"], correction, "{body:#}");
    assert_eq!(fs::read(&file).expect("it is still there"), sealed, "a sealed statement changed");
}

#[test]
fn what_was_exported_meters_to_what_was_sealed() {
    let (mut desk, door) = desk_in_october(0, "2");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut machine = reporter("pc", &Seed::new(8));
    runtime.block_on(door.enrol(&machine, instant(OCTOBER))).expect("the token lets it in");
    runtime.block_on(report(&door, &mut machine, OCTOBER, &["2026-10-19T08:00:00Z", "2026-10-20T08:00:00Z"]));
    restart_at(&mut desk, "2026-11-04T12:00:00Z");
    desk.operator_ok(&["statement", "close", "2026-10"]);

    let out = desk.path("out");
    desk.operator_ok(&["export", "--period", "2026-10", "--to", text(&out)]);
    let (records, policy) = (out.join("records.jsonl"), out.join("policy.toml"));
    let arguments = ["meter", "--records", text(&records), "--policy", text(&policy), "--period", "2026-10"];
    let metered = desk.operator_json(&arguments);
    let sealed = fs::read(desk.store().join("statements/2026-10-ingram-r1.json")).expect("it was dropped");
    let sealed: serde_json::Value = serde_json::from_slice(&sealed).expect("it is JSON");
    for part in ["period", "zone", "lines", "corrections", "totals", "flags", "blockers", "rejected"] {
        assert_eq!(metered["statement"][part], sealed["body"][part], "{part}");
    }
}
