//! One likely reason after the other, and which of two is told.

use super::*;
use crate::body::SealedBody;
use crate::policy::Policy;
use crate::reconciliation::compare::compare;
use crate::reconciliation::house::{House, against, body_json, key};
use crate::scenario::Scenario;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{
    LicenceSuspended, MappedField, MappingRow, MappingSet, UploadNoted, UploadPart, UploadStatus,
};

/// Why `a A` differs where 40 were sealed, by what is known.
fn check(theirs: &str, known: &Known, expected: &str) {
    let body = |lines: &[&str]| -> SealedBody { serde_json::from_value(body_json(lines, &[])).unwrap() };
    let source = if theirs.matches(' ').count() > 2 { "invoice" } else { "lmpi" };
    let mut house = House::sealed(&["a A 40 128.00 3.20"]);
    house.said(source, &[theirs]);
    let set = house.fold.reconciliation().get(&against(source)).unwrap();
    let found =
        compare(&body(&["a A 40 128.00 3.20"]), &source.parse().unwrap(), set).unwrap().differences.remove(0);
    assert_eq!(why(&found, known).to_string(), expected, "{theirs}");
}

fn one<T>(value: T) -> BTreeMap<Key, T> {
    [(key("a", "A"), value)].into()
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn each_reason_is_told_where_it_goes_the_way_of_the_difference() {
    let nothing = Known::default();
    check("a A 44", &nothing, "not known");
    check("a A 40 140.00", &nothing, "the same seats at another price");
    check("b B 9", &nothing, "they have no such line");
    let corrected = |delta: &str| Known { corrected: one(delta.parse().unwrap()), ..Known::default() };
    check("a A 44", &corrected("4"), "a later statement corrects it by +4");
    check("a A 44", &corrected("1"), "a later statement corrects it by +1");
    check("a A 44", &corrected("-4"), "not known");
    check("a A 37", &corrected("-3"), "a later statement corrects it by -3");
    let unmapped = Known { mapped: Some([key("b", "A")].into()), ..Known::default() };
    check("b B 9", &unmapped, "not mapped: they do not know the line");
    let mapped = Known { mapped: Some([key("a", "A")].into()), ..Known::default() };
    check("b B 9", &mapped, "they have no such line");
    let pending = Known { pending: one(Status::Rejected), ..Known::default() };
    check("a A 37", &pending, "not settled there: rejected");
    let set = Known { set: one("55".to_owned()), ..Known::default() };
    check("a A 55", &set, "55 were set there, as more run than were sealed");
    check("a A 44", &set, "not known");
    let suspended = Known { suspended: one(instant("2026-10-20T09:00:00Z")), ..Known::default() };
    check("a A 44", &suspended, "its licence was suspended on 2026-10-20T09:00:00Z");
    let unheard = Unheard { silent: 3, retired: 1, switched_off: 0, days: 12 };
    let unheard = Known { unheard: one(unheard), ..Known::default() };
    check("a A 44", &unheard, "machines in no line: 3 silent, 1 retired; not heard from for 12 days");
    check("a A 37", &unheard, "not known");
}

#[test]
fn what_is_certain_is_told_before_what_only_goes_the_same_way() {
    let all = Known {
        mapped: None,
        pending: one(Status::Sent),
        set: one("44".to_owned()),
        suspended: one(instant("2026-10-20T09:00:00Z")),
        corrected: one("4".parse().unwrap()),
        unheard: one(Unheard { silent: 4, ..Unheard::default() }),
    };
    check("a A 44", &all, "a later statement corrects it by +4");
    let all = Known { corrected: one("1".parse().unwrap()), ..all };
    check("a A 44", &all, "44 were set there, as more run than were sealed");
    check("a A 45", &all, "not settled there: sent");
    let all = Known { pending: BTreeMap::new(), ..all };
    check("a A 45", &all, "its licence was suspended on 2026-10-20T09:00:00Z");
    let all = Known { suspended: BTreeMap::new(), ..all };
    check("a A 45", &all, "a later statement corrects it by +1");
    let all = Known { corrected: BTreeMap::new(), ..all };
    check("a A 45", &all, "machines in no line: 4 silent");
    check("a A 40 140.00", &all, "the same seats at another price");
}

/// What the house knows of the lines that differ from what lmpi says.
fn gathered(house: &House, lines: &[&str], corrections: &[Correction]) -> Known {
    let against = against("lmpi");
    let body: SealedBody = serde_json::from_value(body_json(lines, &[])).unwrap();
    let set = house.fold.reconciliation().get(&against).unwrap();
    let found = compare(&body, &against.source, set).unwrap();
    let policy = house.fold.terms().policy(against.period).unwrap();
    Known::gather(&house.fold, &against, (1, &policy), corrections, &found)
}

#[test]
fn mappings_uploads_suspensions_and_corrections_are_gathered_for_the_lines_that_differ() {
    let lines = ["a A 40 128.00 3.20", "b A 9 28.80 3.20"];
    let mut house = House::sealed(&lines);
    house.said("lmpi", &["a A 44", "b A 9"]);
    assert_eq!(gathered(&house, &lines, &[]), Known::default());
    let field = MappedField { name: "subscription".to_owned(), value: "1".to_owned() };
    let row = MappingRow { customer: "cus_b".to_owned(), sku: "A".to_owned(), fields: vec![field] };
    house.taken(Fact::MappingSet(MappingSet { destination: "lmpi".to_owned(), rows: vec![row] }));
    let noted = |status: UploadStatus, parts, noted: Vec<UploadPart>| {
        Fact::UploadNoted(UploadNoted {
            destination: "lmpi".to_owned(),
            distributor: "ingram".to_owned(),
            period: "2026-10".to_owned(),
            revision: 1,
            submission: 1,
            status: status.into(),
            parts,
            noted,
        })
    };
    let part = |customer: &str| UploadPart {
        customer: customer.to_owned(),
        sku: "A".to_owned(),
        quantity: "55".to_owned(),
        ..Default::default()
    };
    house.taken(noted(UploadStatus::Built, 2, vec![]));
    house.taken(noted(UploadStatus::Sent, 0, vec![part("cus_a"), part("cus_b")]));
    let suspended = LicenceSuspended {
        customer: "cus_a".to_owned(),
        sku: "A".to_owned(),
        at_ms: house.now_ms - 1_000,
        receipt: "r".to_owned(),
    };
    house.taken(Fact::LicenceSuspended(suspended));
    let correction = |for_period: &str, delta: &str| Correction {
        for_period: for_period.parse().unwrap(),
        customer: "cus_a".parse().unwrap(),
        sku: "A".parse().unwrap(),
        delta: delta.parse().unwrap(),
        cost: None,
        distributor: None,
    };
    let carried = [correction("2026-10", "3"), correction("2026-10", "1"), correction("2026-09", "7")];
    let known = gathered(&house, &lines, &carried);
    assert_eq!(known.mapped, Some([key("b", "A")].into()));
    assert_eq!((known.pending, known.set), (one(Status::Sent), one("55".to_owned())));
    assert_eq!((known.corrected, known.suspended.len()), (one("4".parse().unwrap()), 1));
    house.taken(noted(UploadStatus::Settled, 0, vec![part("cus_a"), part("cus_b")]));
    assert_eq!(gathered(&house, &lines, &[]).pending, BTreeMap::new());
}

#[test]
fn machines_that_are_in_no_line_are_those_that_fell_silent_or_were_given_up() {
    let scenario = Scenario::new().policy("presume_days = 3").report("m", "09-20 08:00", "a");
    let scenario = ["n", "o", "p", "q"]
        .iter()
        .fold(scenario, |scenario, machine| scenario.assigned("09-01 00:00", machine, "acme"))
        .report("n", "09-25 08:00", "a")
        .report("o", "09-29 08:00", "a")
        .retired("09-30 08:00", "o")
        .report("p", "10-30 08:00", "a")
        .report("q", "09-29 08:00", "a b")
        .switched("off", "09-30 08:00", "q", "a");
    let found = |policy: &Policy, keys: &[Key]| {
        unheard(&scenario.usage(), policy, "2026-10".parse().unwrap(), &keys.iter().cloned().collect())
    };
    let policy = scenario.parsed_policy();
    let told = found(&policy, &[key("acme", "A"), key("zeta", "A")]);
    let expected = Unheard { silent: 2, retired: 1, switched_off: 1, days: 32 };
    assert_eq!(told, [(key("acme", "A"), expected)].into());
    assert_eq!(found(&policy, &[key("zeta", "A")]), BTreeMap::new());
}
