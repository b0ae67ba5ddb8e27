//! Two months in short words: what sealed September said, what October says, and why they differ.

use super::*;
use crate::record::Record;
use crate::record_set::RecordSet;
use crate::scenario::{Scenario, instant};

/// October beside a sealed September: `m` and `n` are acme's, `o` too.
fn two_months() -> Scenario {
    Scenario::new()
        .policy("presume_days = 0\nuncounted = [\"u\"]")
        .assigned("08-01 00:00", "m", "acme")
        .assigned("08-01 00:00", "n", "acme")
}

/// The variance of October after September was sealed as `sealed` says: `acme A 1>2 new 1`.
fn rows(sealed: &Scenario, now: &Scenario) -> Vec<String> {
    rows_by(RULES_VERSION, sealed, now)
}

fn rows_by(rules_version: u32, sealed: &Scenario, now: &Scenario) -> Vec<String> {
    let mut body: serde_json::Value = serde_json::from_str(&sealed.statement_of("2026-09")).unwrap();
    body["policy"] = sealed.parsed_policy().public_toml_or_json();
    body["rules_version"] = rules_version.into();
    let bodies = SealedBody::parse_array(&format!("[{body}]")).unwrap();
    let policy = now.parsed_policy();
    let records = RecordSet::new(Record::parse_jsonl(now.records()).unwrap(), None);
    let usage = records.usage(&policy.zone);
    let input = CloseInput {
        usage: &usage,
        usage_elsewhere: &[],
        policy: &policy,
        period: "2026-10".parse().unwrap(),
        as_of: None,
        sealed: &bodies,
    };
    let lines = crate::close::close(input).unwrap().statement.lines;
    let sealed_at = instant("10-04 00:00").parse().unwrap();
    let rows = variance(&input, &lines, sealed_at).unwrap().unwrap();
    for row in &rows {
        let sum = row.parts.values().try_fold(Quantity::ZERO, |sum, part| sum.plus(*part)).unwrap();
        assert_eq!(sum, row.after.minus(row.before).unwrap(), "{row:?}");
    }
    rows.into_iter()
        .map(|row| {
            let parts = row.parts.iter().map(|(part, quantity)| {
                let name = serde_json::to_value(part).unwrap();
                format!(" {} {quantity}", name.as_str().unwrap())
            });
            let customer = row.customer.as_str().trim_start_matches("cus_").to_owned();
            format!("{customer} {} {}>{}{}", row.sku, row.before, row.after, parts.collect::<String>())
        })
        .collect()
}

/// The same records before and after the seal, up to what `more` adds.
fn check(before: Scenario, more: impl FnOnce(Scenario) -> Scenario, expected: &[&str]) {
    assert_eq!(rows(&before.clone(), &more(before)), expected);
}

fn september(machine: &str) -> Scenario {
    two_months().report(machine, "09-05 08:00", "a")
}

#[test]
fn a_line_that_stays_is_not_listed() {
    check(september("m"), |now| now.report("m", "10-05 08:00", "a"), &[]);
}

#[test]
fn machines_come_and_go() {
    check(
        september("m"),
        |now| now.report("m", "10-05 08:00", "a").report("n", "10-05 09:00", "a"),
        &["acme A 1>2 new 1"],
    );
    check(
        september("m"),
        |now| now.report("n", "10-05 09:00", "b"),
        &["acme A 1>0 gone -1", "acme B 0>1 new 1"],
    );
}

#[test]
fn a_machine_that_changed_hands_went_and_came() {
    check(
        september("m"),
        |now| now.assigned("10-01 00:00", "m", "zeta").report("m", "10-05 08:00", "a"),
        &["acme A 1>0 moved -1", "zeta A 0>1 moved 1"],
    );
}

#[test]
fn switches_and_suspensions_have_their_own_parts() {
    let off = |now: Scenario| now.switched("off", "09-20 00:00", "m", "a");
    check(september("m"), off, &["acme A 1>0 switched_off -1"]);
    let off_before = off(two_months().report("m", "08-05 08:00", "a"));
    check(
        off_before,
        |now| now.switched("on", "10-03 00:00", "m", "a").report("m", "10-05 08:00", "a"),
        &["acme A 0>1 switched_on 1"],
    );
    let suspended = |now: Scenario| now.licence("suspended", "09-20 00:00", "acme", "A");
    check(september("m"), |now| suspended(now).report("m", "10-05 08:00", "a"), &["acme A 1>0 suspended -1"]);
    let before =
        two_months().licence("suspended", "08-20 00:00", "acme", "A").report("m", "09-05 08:00", "a");
    check(
        before,
        |now| now.licence("resumed", "10-02 00:00", "acme", "A").report("m", "10-05 08:00", "a"),
        &["acme A 0>1 suspended 1"],
    );
}

#[test]
fn agents_joined_or_parted_after_the_seal_are_not_late_evidence() {
    let two = || september("m").report("n", "09-05 09:00", "a");
    check(
        two(),
        |now| now.machines("merged", "10-05 00:00", "m", "n").report("m", "10-05 08:00", "a"),
        &["acme A 2>1 merged -1"],
    );
    check(
        two().machines("merged", "09-06 00:00", "m", "n"),
        |now| {
            let both = now.report("m", "10-05 08:00", "a").report("n", "10-05 08:00", "a");
            both.machines("split", "10-05 00:00", "m", "n")
        },
        &["acme A 1>2 merged 1"],
    );
}

#[test]
fn late_evidence_and_adjustments_are_corrections_and_declarations_are_declared() {
    check(
        september("m"),
        |now| {
            now.report("n", "09-05 08:00", "a").report("m", "10-05 08:00", "a").report(
                "n",
                "10-05 08:00",
                "a",
            )
        },
        &["acme A 1>2 correction 1"],
    );
    check(
        september("m"),
        |now| {
            let adjusted =
                now.report("m", "10-05 08:00", "a").adjusted("10-30 00:00", "acme", "A", "2026-10", 3);
            adjusted.declared("10-30 00:00", "acme", "A", "2026-10", 2)
        },
        &["acme A 1>6 declared 2 correction 3"],
    );
}

#[test]
fn another_policy_or_mapping_is_policy() {
    let distinct = |now: Scenario| {
        now.policy("[sku.A]\ncount = \"distinct\"").report("m", "10-05 08:00", "a").report(
            "n",
            "10-06 08:00",
            "a",
        )
    };
    check(september("m").report("n", "09-06 08:00", "a"), distinct, &["acme A 1>2 policy 1"]);
    check(
        september("m"),
        |now| now.sku("10-01 00:00", "acme", "a", "X").report("m", "10-05 08:00", "a"),
        &["acme A 1>0 policy -1", "acme X 0>1 policy 1"],
    );
    check(
        september("m"),
        |now| now.sku("10-01 00:00", "acme", "a", "null").report("m", "10-05 08:00", "a"),
        &["acme A 1>0 policy -1"],
    );
}

#[test]
fn a_difference_to_what_other_rules_sealed_is_the_rule_s() {
    let (before, now) = (september("m"), september("m").report("n", "09-05 08:00", "a"));
    let now = now.report("m", "10-05 08:00", "a").report("n", "10-05 08:00", "a");
    assert_eq!(rows_by(RULES_VERSION + 1, &before, &now), ["acme A 1>2 rule 1"]);
    assert_eq!(rows_by(RULES_VERSION, &before, &now), ["acme A 1>2 correction 1"]);
}

#[test]
fn what_an_average_is_rounded_by_is_the_rule_s() {
    let average = |scenario: Scenario| scenario.policy("[sku.A]\ncount = \"average\"");
    check(
        average(two_months()),
        |now| {
            let now = now.report("m", "10-05 08:00", "a").report("n", "10-05 08:00", "a");
            now.report("n", "10-06 08:00", "a").report("m", "10-06 08:00", "a")
        },
        // 4 of 31 are 0.129; 2 of 31 twice are 0.0645 each.
        &["acme A 0>0.13 new 0.12 rule 0.01"],
    );
}

#[test]
fn without_a_sealed_period_before_there_is_no_variance() {
    let usage = Usage::default();
    let policy = Policy::default();
    let input = CloseInput {
        usage: &usage,
        usage_elsewhere: &[],
        policy: &policy,
        period: "2026-10".parse().unwrap(),
        as_of: None,
        sealed: &[],
    };
    assert_eq!(variance(&input, &[], Timestamp::UNIX_EPOCH).unwrap(), None);
}
