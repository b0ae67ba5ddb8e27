//! Bundles that are honest, and what is asked of them.

mod fleets;
mod house;
mod recipes;

use super::*;
use crate::cosignature::cosign;
use house::{House, machine_id, ms};
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;

/// One price group with tiers, two distributors, a SKU of which few days are not enough, one whose first month is free.
const POLICY: &str = r#"
presume_days = 3
uncounted = ["dsm"]
[default_sku]
a = "A"
b = "B"
c = "C"
e = "E"
[sku.A]
price_group = "g"
[sku.B]
count = "average"
price_group = "g"
[sku.C]
min_days = 3
free_first_month = true
price_group = "h"
[sku.E]
price_group = "i"
[price_group.g]
distributor = "ingram"
currency = "USD"
tiers = [{ from = 1, cost = "2.10" }, { from = 4, cost = "1.80" }]
[price_group.h]
distributor = "ingram"
currency = "USD"
mode = "graduated"
tiers = [{ from = 1, cost = "1.00" }, { from = 2, cost = "0.50" }]
[price_group.i]
distributor = "other"
currency = "EUR"
tiers = [{ from = 1, cost = "9.99" }]
[price.A]
reseller = "4.00"
"#;

/// Nonce of an auditor.
const NONCE: &str = "the auditor's own 1";

/// A reseller's October: eight machines of two customers, one joined of two agents, a correction of September.
fn october() -> House {
    let mut house = House::new("rsl_acme", POLICY, &["cus_acme", "cus_zeta"]);
    for machine in 1..=5 {
        house.enrol(machine, "cus_acme");
    }
    for machine in 6..=9 {
        house.enrol(machine, "cus_zeta");
    }
    for (machine, products) in [(1, "a b"), (2, "a"), (3, "a c"), (6, "a b c")] {
        house.now_ms = ms("09-10 06:00");
        house.report(machine, ms("09-10 06:00"), products);
    }
    house.at("10-04 00:00").seal("2026-09");
    house.checkpoint = house.checkpoint_of(house.journal.len());
    // Came late: a correction.
    house.now_ms = ms("10-05 00:00");
    house.report(7, ms("09-10 07:00"), "a");
    house.reports(1, 1..=20, "a b");
    house.reports(2, [1, 2, 9, 10], "a");
    house.reports(3, 5..=9, "a- c");
    house.reports(4, [7], "c dsm");
    house.reports(5, [8, 9], "dsm");
    house.new_spool(1);
    house.reports(1, 21..=31, "a b");
    house.checkpoint = house.checkpoint_of(house.journal.len() - 3);
    house.reports(6, 1..=31, "a b? c e");
    house.reports(7, [3, 30], "a b-");
    house.reports(8, [14, 15], "a");
    house.reports(9, [16, 17], "a e");
    house.now_ms = ms("11-01 00:00");
    house.report(9, ms("11-01 05:00"), "a");
    let merged = wire::MachinesMerged {
        kept: machine_id(8).to_string(),
        absorbed: machine_id(9).to_string(),
        at_ms: house.now_ms,
    };
    house.write(Fact::MachinesMerged(merged));
    let adjusted = wire::Adjusted {
        customer: "cus_zeta".into(),
        sku: "A".into(),
        period: "2026-10".into(),
        delta: 2,
        at_ms: house.now_ms,
    };
    house.write(Fact::Adjusted(adjusted));
    house.at("11-05 00:00").seal("2026-10");
    house.at("11-06 00:00");
    house.report(1, ms("11-06 00:00"), "a");
    house
}

fn asked(house: &House, level: Level) -> Question {
    Question {
        sample: Some(house.sample("2026-10", "ingram", NONCE).unwrap()),
        replay: Some(house.replay("2026-10", "ingram")),
        ..house.question(level)
    }
}

#[test]
fn an_honest_bundle_verifies_at_every_level() {
    let house = october();
    let bundle = house.bundle("2026-10", "ingram", &[], false);
    for level in [Level::Proofs, Level::Recomputed, Level::Sampled, Level::Replayed] {
        let verdict = verify(bundle.as_bytes(), asked(&house, level)).unwrap();
        assert_eq!((verdict.level, verdict.self_attested), (level, false));
        assert_eq!(verdict.body.statement.corrections.len(), 1);
    }
    let verdict = verify(bundle.as_bytes(), asked(&house, Level::Replayed)).unwrap();
    let quantity = |customer: &str, sku: &str| {
        let customer: CustomerId = customer.parse().unwrap();
        let line = verdict
            .body
            .statement
            .lines
            .iter()
            .find(|line| line.customer == customer && line.sku.as_str() == sku);
        line.map(|line| line.quantity.to_string())
    };
    assert_eq!(quantity("cus_acme", "A").as_deref(), Some("2"));
    assert_eq!(quantity("cus_zeta", "A").as_deref(), Some("4"));
    let outcomes = verdict.outcomes.unwrap();
    for outcome in ["counted", "not_billed", "other_month", "clock_ahead", "withheld", "not_evidence"] {
        assert!(outcomes.contains_key(outcome), "{outcome} is not among {outcomes:?}");
    }
    let other = house.bundle("2026-10", "other", &[], false);
    let question = Question {
        sample: Some(house.sample("2026-10", "other", NONCE).unwrap()),
        replay: Some(house.replay("2026-10", "other")),
        ..house.question(Level::Replayed)
    };
    let outcomes = verify(other.as_bytes(), question).unwrap().outcomes.unwrap();
    assert!(outcomes.contains_key("other_distributor"), "{outcomes:?}");
}

#[test]
fn a_bundle_names_nobody_unless_it_is_asked_to() {
    let house = october();
    let bundle = house.bundle("2026-10", "ingram", &[], false);
    let rows: Vec<&str> = bundle.lines().skip(1).collect();
    for machine in 1..=9 {
        assert!(!rows.concat().contains(machine_id(machine).as_str()), "machine {machine}");
    }
    let named = house.bundle("2026-10", "ingram", &[], true);
    assert!(named.contains(&format!("host of {}", machine_id(1))));
    let verdict = verify(named.as_bytes(), house.question(Level::Recomputed)).unwrap();
    assert_eq!(verdict.opened, verdict.seats + verdict.excluded);
}

#[test]
fn without_a_key_the_verdict_says_that_only_the_bundle_says_whose_it_is() {
    let house = october();
    let bundle = house.bundle("2026-10", "ingram", &[], false);
    let question = Question { key: None, ..house.question(Level::Recomputed) };
    assert!(verify(bundle.as_bytes(), question).unwrap().self_attested);
}

#[test]
fn a_checkpoint_that_was_kept_is_proven_to_be_of_the_same_log() {
    let house = october();
    let kept: Vec<u64> = vec![3, 40, 60];
    let bundle = house.bundle("2026-10", "ingram", &kept, false);
    let check = |size: usize| {
        let checkpoint = Some(house.checkpoint_of(size));
        verify(bundle.as_bytes(), Question { checkpoint, ..house.question(Level::Proofs) })
    };
    for size in [3, 40, 60, house.journal.len()] {
        check(size).unwrap();
    }
    assert_eq!(check(41).unwrap_err().0, [Failure::NoProofFor(41)]);
}

#[test]
fn a_witness_that_was_asked_for_has_to_have_cosigned() {
    let house = october();
    let key = seatbeat_proto::signed::new_key();
    let witness = Witness::new("witness.example", key.verifying_key()).unwrap();
    let bundle = house.bundle("2026-10", "ingram", &[], false);
    let question = || Question { witnesses: vec![witness.clone()], ..house.question(Level::Proofs) };
    let missing = verify(bundle.as_bytes(), question()).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "the bundle's checkpoint: the checkpoint is not cosigned by the witness `witness.example`"
    );
    let note = house.checkpoint_of(house.journal.len());
    let line = cosign(&note, "witness.example", &key, 1_791_000_000).unwrap();
    let mut lines: Vec<String> = bundle.lines().map(str::to_owned).collect();
    let mut part: LogPart = serde_json::from_str(&lines[1]).unwrap();
    part.log.inclusion.push_str(&line);
    lines[1] = crate::jcs::to_canonical(&part).unwrap();
    let verdict = verify(lines.join("\n").as_bytes(), question()).unwrap();
    assert_eq!(verdict.witnessed, [("witness.example".to_owned(), 1_791_000_000)]);
}
