//! A month from its evidence to its sealed statement, by the clock: grace, unattended approval, late evidence.

use std::fs;

use jiff::Timestamp;
use seatbeat_fleet::client::{Connection, Door};
use seatbeat_fleet::machine::Machine;
use seatbeat_fleet::seed::Seed;

use crate::desk::{Desk, eventually, text};
use crate::reporters::reporter;

const OCTOBER: &str = "2026-10-20T09:00:00Z";

const POLICY: &str = r#"
zone = "UTC"
presume_days = 0
[default_sku]
dsa-cloud = "DS-CLOUD"
[sku.DS-CLOUD]
price_group = "server"
[price_group.server]
distributor = "ingram"
currency = "USD"
tiers = [{ from = 1, cost = "3.20" }]
"#;

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Lets a machine report at each of these instants, as of `now`.
async fn report(door: &Door, machine: &mut Machine, now: &str, at: &[&str]) {
    let links: Vec<_> = at.iter().filter_map(|at| machine.link_at(instant(at))).collect();
    let mut connection = Connection::open(door, machine, instant(now)).await.expect("the collector runs");
    for link in &links {
        connection.send(link).await.expect("it is taken");
    }
    connection.wait_acked(links.last().expect("a link").tip.sequence).await.expect("it is acknowledged");
    connection.close().await;
}

/// A running collector with a policy, a customer and a token for two machines.
fn desk_in_october() -> (Desk, Door) {
    let mut desk = Desk::founded_at(Some(OCTOBER));
    desk.start();
    let policy = desk.path("policy.toml");
    fs::write(&policy, POLICY).expect("a policy can be written");
    desk.operator_ok(&["policy", "set", text(&policy)]);
    let door = Door::of(&desk.customer_with_token("cus_a", "2")).expect("a token opens a door");
    (desk, door)
}

fn restart_at(desk: &mut Desk, clock: &str) {
    assert!(desk.stop(), "{}", desk.log());
    desk.set_clock(clock);
    desk.start();
}

/// Where each statement stands: month, distributor and state.
fn states(desk: &Desk) -> Vec<[String; 3]> {
    let list = desk.operator_json(&["statement", "list"]);
    let text = |one: &serde_json::Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let standing = |one| ["period", "distributor", "state"].map(|field| text(one, field));
    list["statements"].as_array().expect("a list").iter().map(standing).collect()
}

#[test]
fn a_month_waits_for_its_grace_is_sealed_on_its_day_and_corrected_by_the_next() {
    let (mut desk, door) = desk_in_october();
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
    let (mut desk, door) = desk_in_october();
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
