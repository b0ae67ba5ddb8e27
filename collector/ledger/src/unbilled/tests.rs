//! Each reason, in the words of the contract.

use super::*;
use crate::scenario::Scenario;

/// All that is told of all machines: `reason machine customer sku product > who bears it: days`.
fn told(scenario: &Scenario, is_lost_only: bool) -> Vec<String> {
    let (policy, usage, period) = (scenario.parsed_policy(), scenario.usage(), "2026-10".parse().unwrap());
    let lines = scenario.output().statement.lines;
    let (days, names) = (usage.zone().days(period), Names::new(&usage));
    let mut telling = Telling::new(&usage, &policy, period, &days, &lines, &names).unwrap();
    let mut rows: Vec<Unbilled> = Vec::new();
    for machine in names.machines(&usage) {
        let told = telling.machine(&machine);
        rows.extend(if is_lost_only { told.seats_lost().collect() } else { told.reasons });
    }
    rows.extend(telling.rejected());
    rows.iter().map(words).collect()
}

fn words(row: &Unbilled) -> String {
    let mut words = vec![serde_json::to_value(row.reason).unwrap().as_str().unwrap().to_owned()];
    words.push(row.machine.to_string().replace("mch_", ""));
    words.extend(row.customer.iter().map(|one| one.to_string().replace("cus_", "")));
    words.extend(row.sku.iter().map(ToString::to_string));
    words.extend(row.product.iter().map(ToString::to_string));
    words.extend(row.borne_by.iter().map(|one| format!("> {one}")));
    words.extend(row.counted_with.iter().map(|one| format!("> {one}")));
    let days: Vec<String> = row.days.iter().map(ToString::to_string).collect();
    format!("{}: {}", words.join(" "), days.join(" "))
}

fn check(scenario: &Scenario, rows: &[&str]) {
    assert_eq!(told(scenario, false), rows);
}

fn exact() -> Scenario {
    Scenario::new().policy("presume_days = 0")
}

#[test]
fn a_machine_that_is_counted_on_all_its_days_has_no_reason() {
    check(
        &exact().reports("m", [1, 2, 3], "a"),
        &[
            "went_silent m acme a: 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31",
        ],
    );
    check(&Scenario::new().reports("m", [30], "a"), &[]);
    assert_eq!(told(&exact().reports("m", [1, 2, 3], "a"), true), [""; 0], "its seat is in a line");
}

#[test]
fn whose_and_as_what_it_is_billed_is_not_known() {
    let lone = Scenario::bare().policy("uncounted = [\"dsm\"]");
    check(&lone.clone().report("x", "10-31 08:00", "a"), &["unassigned x: 31"]);
    check(&lone.report("x", "10-31 08:00", "dsm"), &["uncounted x: 31"]);
    check(&exact().report("m", "10-31 08:00", "spnt"), &["unmapped m acme spnt: 31"]);
    check(&exact().report("m", "10-31 08:00", "family/x"), &["unmapped m acme family/x: 31"]);
}

#[test]
fn what_is_deliberately_not_billed_is_told_from_what_the_policy_does_not_count() {
    let free = exact().policy("uncounted = [\"dsm\"]");
    check(&free.clone().report("m", "10-31 08:00", "dsm"), &["uncounted m acme dsm: 31"]);
    let null = free.sku("09-01 00:00", "acme", "a", "null").report("m", "10-31 08:00", "a");
    check(&null, &["null_sku m acme a: 31"]);
}

#[test]
fn days_of_a_suspended_licence_are_told_seen_or_presumed() {
    let suspended =
        Scenario::new().policy("presume_days = 1").licence("suspended", "10-29 08:00", "acme", "A");
    check(&suspended.reports("m", [28, 30], "a"), &["suspended m acme A: 30 31"]);
}

#[test]
fn days_that_another_owner_bears_are_told_with_who_it_is() {
    let moved = exact().assigned("10-30 00:00", "m", "zeta").reports("m", [28, 29, 31], "a");
    check(&moved, &["moved m zeta A > cus_acme: 31", "went_silent m zeta a: 30"]);
    let each = moved.policy("moved = \"each_owner\"");
    check(&each, &["went_silent m zeta a: 30"]);
}

#[test]
fn what_a_filter_drops_is_told_with_the_filter() {
    let few = exact().policy("[sku.A]\nmin_days = 3").reports("m", [30, 31], "a");
    check(&few, &["min_days m acme A: 30 31"]);
    let free = exact().policy("[sku.A]\nfree_first_month = true").reports("m", [30, 31], "a");
    check(&free, &["free_first_month m acme A: 30 31"]);
}

#[test]
fn a_seat_that_is_not_there_on_the_day_of_its_line_is_told() {
    let two = || exact().assigned("09-01 00:00", "n", "acme").assigned("09-01 00:00", "o", "acme");
    let water = two().reports("m", [30, 31], "a").reports("n", [30], "a").reports("o", [31], "a");
    check(&water, &["went_silent n acme a: 31", "off_day o acme A: 31"]);
    let end = water.policy("[sku.A]\ncount = \"month_end\"");
    check(&end, &["off_day n acme A: 30", "went_silent n acme a: 31"]);
    let distinct =
        two().reports("m", [30], "a").reports("n", [31], "a").policy("[sku.A]\ncount = \"distinct\"");
    check(&distinct, &["went_silent m acme a: 31"]);
}

#[test]
fn silent_days_say_what_ended_the_use() {
    let seen = || Scenario::new().policy("presume_days = 2").report("m", "10-28 08:00", "a");
    check(&seen().retired("10-29 08:00", "m"), &["retired m acme a: 30"]);
    check(&seen().switched("off", "10-29 08:00", "m", "a"), &["switched_off m acme a: 30"]);
    check(&seen().flagged("10-28 09:00", "m", "pool"), &["pool m acme a: 29 30"]);
    check(&seen(), &["went_silent m acme a: 31"]);
    let before = Scenario::new().policy("presume_days = 0").report("m", "09-30 08:00", "a");
    assert!(told(&before, true)[0].starts_with("went_silent m acme a: 1 2 3"), "{:?}", told(&before, true));
}

#[test]
fn a_machine_that_reports_nothing_active_is_told_and_so_is_a_product_that_stopped() {
    check(&exact().report("m", "10-31 08:00", "a-"), &["not_active m acme: 31"]);
    check(&exact().report("m", "10-31 08:00", ""), &["not_active m acme: 31"]);
    let stopped = exact().report("m", "10-30 08:00", "a b").report("m", "10-31 08:00", "a- b");
    check(&stopped, &["not_active m acme a: 31"]);
    assert_eq!(told(&stopped, true), [""; 0], "both seats are in lines");
}

#[test]
fn a_suite_is_billed_as_one_and_its_products_need_no_reason() {
    let suite =
        exact().policy("[suite.ab]\nproducts = [\"a\", \"b\"]").sku("09-01 00:00", "acme", "ab", "AB");
    check(&suite.report("m", "10-31 08:00", "a b"), &[]);
}

#[test]
fn an_agent_that_is_part_of_another_machine_is_told_with_it() {
    let joined =
        exact().machines("merged", "10-09 00:00", "m", "n").reports("m", [30], "a").reports("n", [31], "a");
    check(&joined, &["merged n acme > mch_m: 31"]);
}

#[test]
fn rejected_reports_are_told_by_the_day_they_came() {
    let late = exact().report_at(("m", "s", 1), "07-05 08:00", "10-05 08:00", "a");
    let ahead = late.report_at(("m", "s", 2), "10-07 08:00", "10-06 08:00", "a");
    check(&ahead, &["clock_ahead m: 6", "too_old m: 5"]);
}

#[test]
fn days_are_those_of_the_billing_zone() {
    let berlin = exact().policy("zone = \"Europe/Berlin\"").policy("[sku.A]\nmin_days = 9");
    check(&berlin.report("m", "10-30 23:00", "a"), &["min_days m acme A: 31"]);
}
