//! What a draft is reviewed with.

use super::*;
use crate::entitlements::{Holder, Licence, Move};
use crate::scenario::Scenario;
use seatbeat_proto::ids::LicenceId;

const EIGHTY: coverage::Rule = coverage::Rule { percent: 80, days: 14 };

fn review(scenario: &Scenario, back_dated: &[BackDated]) -> Review {
    review_with(scenario, back_dated, &[])
}

fn review_with(scenario: &Scenario, back_dated: &[BackDated], open: &[OpenDifferences]) -> Review {
    let (policy, usage, statement) =
        (scenario.parsed_policy(), scenario.usage(), scenario.output().statement);
    let input = ReviewInput {
        usage: &usage,
        registry: None,
        licences: &Licences::default(),
        policy: &policy,
        statement: &statement,
        as_of: None,
        coverage: EIGHTY,
        open_differences: open,
    };
    Review::of(input, back_dated.iter().rev())
}

#[test]
fn low_coverage_stands_before_the_statement_s_blockers_and_is_in_no_body() {
    let silent = Scenario::new().report("m", "10-05 08:00", "spnt");
    let found = review(&silent, &[]);
    let shown = serde_json::to_string(&found.blockers).unwrap();
    assert_eq!(
        shown,
        r#"[{"blocker":"low_coverage","heard":0,"expected":1,"percent":80,"days":14},{"blocker":"unmapped_product","customer":"cus_acme","product":"spnt"}]"#
    );
    assert_eq!(serde_json::from_str::<Vec<InTheWay>>(&shown).unwrap(), found.blockers);
    assert!(!silent.statement_json().contains("low_coverage"));
    assert_eq!(found.silent.rows[0].machine.as_str(), "mch_m");
    assert_eq!(review(&Scenario::new().report("m", "10-18 00:00", "a"), &[]).blockers, []);
}

#[test]
fn lists_are_bounded_and_say_how_long_they_are() {
    let mut scenario = Scenario::bare();
    for machine in 0..ROWS_MAX + 5 {
        scenario = scenario.report(&format!("x{machine}"), "10-31 08:00", "a");
    }
    let unbilled = review(&scenario, &[]).unbilled;
    assert_eq!((unbilled.total, unbilled.rows.len()), (ROWS_MAX as u64 + 5, ROWS_MAX));
}

#[test]
fn a_line_shows_since_when_its_licence_is_on_or_suspended() {
    let seen = || Scenario::new().report("m", "10-05 08:00", "a b");
    assert_eq!(review(&seen(), &[]).licences, []);
    let said = |scenario: Scenario| -> Vec<String> {
        let word = |one: &LicenceState| format!("{} {:?} {}", one.sku, one.licence, one.since);
        review(&scenario, &[]).licences.iter().map(word).collect()
    };
    let off = || seen().licence("suspended", "10-20 09:00", "acme", "A");
    assert_eq!(said(off()), ["A Suspended 2026-10-20T09:00:00Z"]);
    assert_eq!(said(off().licence("resumed", "10-25 09:00", "acme", "A")), ["A On 2026-10-25T09:00:00Z"]);
    let later = off().licence("resumed", "11-01 00:00", "acme", "A");
    assert_eq!(
        said(later),
        ["A Suspended 2026-10-20T09:00:00Z"],
        "what is said of the next month is the next month's"
    );
}

#[test]
fn a_line_shows_what_its_customer_holds_of_which_licence() {
    let (id, given): (LicenceId, Timestamp) =
        ("lic_a".parse().unwrap(), "2026-10-02T09:00:00Z".parse().unwrap());
    let mut licences_of_all = Licences::default();
    let licence = Licence::new("a".parse().unwrap(), "A".parse().unwrap(), 9, None, given);
    licences_of_all.add(id.clone(), licence).unwrap();
    for (machine, seats) in [(None, 3), (Some("mch_m".parse().unwrap()), 1)] {
        let to = Some(Holder { customer: "cus_acme".parse().unwrap(), machine });
        licences_of_all.allot(&id, &Move { from: None, to, seats }, given).unwrap();
    }
    let scenario = Scenario::new().report("m", "10-05 08:00", "a b");
    let lines = scenario.output().statement.lines;
    let found = licences(&scenario.usage(), &licences_of_all, &lines, "2026-10".parse().unwrap());
    assert_eq!(found.len(), 1, "only the line of that SKU: {found:?}");
    assert_eq!((found[0].sku.as_str(), found[0].licence, found[0].since), ("A", Switch::On, given));
    assert_eq!(found[0].held, [HeldSeats { licence: id, code: String::new(), seats: 4 }]);
}

fn dated_back(at: &str, recorded_at: &str, period: Option<&str>) -> BackDated {
    BackDated {
        position: 7,
        at: at.parse().unwrap(),
        recorded_at: recorded_at.parse().unwrap(),
        operator: "opr_a".to_owned(),
        reason: "forgotten".to_owned(),
        period: period.map(|period| period.parse().unwrap()),
        says: r#"{"type":"machine_retired","machine":"mch_a"}"#.to_owned(),
    }
}

#[test]
fn records_that_were_dated_back_are_told_in_the_months_that_they_may_change() {
    let is_told = |at: &str, recorded_at: &str, period: Option<&str>| {
        review(&Scenario::new(), &[dated_back(at, recorded_at, period)]).back_dated.total == 1
    };
    assert!(is_told("2026-10-01T00:00:00Z", "2026-10-05T00:00:00Z", None));
    assert!(is_told("2026-09-01T00:00:00Z", "2026-11-05T00:00:00Z", None));
    assert!(!is_told("2026-09-01T00:00:00Z", "2026-09-30T23:59:59Z", None), "it was told a month before");
    assert!(!is_told("2026-11-01T00:00:00Z", "2026-11-05T00:00:00Z", None));
    assert!(is_told("2026-11-01T00:00:00Z", "2026-11-05T00:00:00Z", Some("2026-10")));
    assert!(!is_told("2026-10-01T00:00:00Z", "2026-10-05T00:00:00Z", Some("2026-09")));
    let rows = review(&Scenario::new(), &[dated_back("2026-10-01T00:00:00Z", "2026-10-05T00:00:00Z", None)]);
    let row = &rows.back_dated.rows[0];
    assert_eq!((row.operator.as_str(), row.record["machine"].as_str()), ("opr_a", Some("mch_a")));
}

#[test]
fn open_differences_of_a_sealed_month_are_in_the_way_and_read_back_as_such() {
    let open = OpenDifferences {
        blocker: "open_differences".to_owned(),
        period: "2026-09".parse().unwrap(),
        distributor: "ingram".to_owned(),
        source: "invoice".parse().unwrap(),
        lines: 2,
    };
    let scenario = Scenario::new().report("m", "10-31 08:00", "a");
    let mut found = review_with(&scenario, &[], std::slice::from_ref(&open));
    assert_eq!(found.blockers, [InTheWay::OpenDifferences(open)]);
    let shown = serde_json::to_string(&found.blockers).unwrap();
    assert_eq!(
        shown,
        r#"[{"blocker":"open_differences","period":"2026-09","distributor":"ingram","source":"invoice","lines":2}]"#
    );
    assert_eq!(serde_json::from_str::<Vec<InTheWay>>(&shown).unwrap(), found.blockers);
    found.keep_only(&"cus_zeta".parse().unwrap());
    assert_eq!(found.blockers.len(), 1);
}
