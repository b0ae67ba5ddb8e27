//! Where statements stand, at exact instants.

use prost::Message as _;
use seatbeat_proto::instant;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{
    JournalRecord, PolicySet, Signed, StatementApproved, StatementRevision, StatementSealed,
};

use super::*;
use crate::fold::Verdict;
use crate::registry::Refusal;
use crate::statement::Blocker;

const UNATTENDED: Timetable =
    Timetable { grace: SignedDuration::from_hours(72), approve_on_day: 5, unattended: true };

fn month(text: &str) -> Period {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

struct House(Fold);

impl House {
    fn in_zone(zone: &str) -> Self {
        let mut house = Self(Fold::default());
        let toml = format!("zone = \"{zone}\"");
        house.write(
            "opr_a",
            "2026-01-01T00:00:00Z",
            Fact::PolicySet(PolicySet { toml, ..Default::default() }),
        );
        house
    }

    fn write(&mut self, actor: &str, now: &str, fact: Fact) -> Verdict {
        let recorded_at_ms = instant::to_ms(at(now));
        let (actor, reason) = (actor.to_owned(), String::new());
        let record = JournalRecord { recorded_at_ms, actor, reason, fact: Some(fact), ..Default::default() };
        self.0.apply(&record.encode_to_vec()).unwrap()
    }

    fn approve(&mut self, now: &str, digest: &str, statements: &[(&str, u32)]) -> Verdict {
        let one = |(distributor, revision): &(&str, u32)| StatementRevision {
            distributor: (*distributor).to_owned(),
            revision: *revision,
        };
        let fact = StatementApproved {
            period: "2026-10".to_owned(),
            digest: digest.to_owned(),
            journal_size: self.0.position(),
            statements: statements.iter().map(one).collect(),
        };
        self.write("opr_a", now, Fact::StatementApproved(fact))
    }

    fn seal(&mut self, now: &str, distributor: &str, revision: u32, body: &str) -> Verdict {
        let statement = Some(Signed { payload: body.as_bytes().to_vec(), signature: vec![0; 64] });
        let (distributor, period) = (distributor.to_owned(), "2026-10".to_owned());
        self.write(
            "opr_b",
            now,
            Fact::StatementSealed(StatementSealed { distributor, period, revision, statement }),
        )
    }

    /// Where the statements of a month stand when its draft is blocked by so many things.
    fn standings(&self, timetable: &Timetable, period: &str, now: &str, blockers: usize) -> Vec<Standing> {
        let unassigned = Blocker::of_machine("unassigned", &"mch_a".parse().unwrap());
        let drafted = || -> Result<Drafted, ()> {
            Ok(Drafted {
                digest: "sha256:draft".to_owned(),
                distributors: vec!["ingram".to_owned()],
                blockers: vec![InTheWay::Statement(unassigned.clone()); blockers],
            })
        };
        standings(&self.0, timetable, month(period), at(now), drafted).unwrap()
    }

    fn named(&self, period: &str, now: &str) -> &'static str {
        overall(&self.standings(&UNATTENDED, period, now, 0)).unwrap().name()
    }
}

fn wait(house: &House, timetable: &Timetable, period: &str, now: &str, blockers: usize) -> Wait {
    let standings = house.standings(timetable, period, now, blockers);
    match overall(&standings) {
        Some(Life::Draft { wait, .. }) => *wait,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_month_is_open_until_its_last_instant_in_the_billing_zone_and_in_grace_until_that_is_over() {
    let berlin = House::in_zone("Europe/Berlin");
    // Winter time since the 25th: the month ends at 23:00 in UTC.
    for (now, expected) in [
        ("2026-10-31T22:59:59.999999999Z", "open"),
        ("2026-10-31T23:00:00Z", "grace"),
        ("2026-11-03T22:59:59.999999999Z", "grace"),
        ("2026-11-03T23:00:00Z", "draft"),
    ] {
        assert_eq!(berlin.named("2026-10", now), expected, "{now}");
    }
    // Summer time since the 29th: it ends at 22:00.
    assert_eq!(berlin.named("2026-03", "2026-03-31T21:59:59Z"), "open");
    assert_eq!(berlin.named("2026-03", "2026-03-31T22:00:00Z"), "grace");
    let open = berlin.standings(&UNATTENDED, "2026-10", "2026-10-05T00:00:00Z", 0);
    assert_eq!(open.len(), 1);
    assert_eq!(
        (&open[0].distributor, &open[0].life),
        (&None, &Life::Open { ends_at: at("2026-10-31T23:00:00Z") })
    );
}

#[test]
fn a_draft_is_approved_on_its_day_in_the_billing_zone_or_waits_for_a_person_from_then_on() {
    let berlin = House::in_zone("Europe/Berlin");
    let day = at("2026-11-04T23:00:00Z");
    let check = |now, blockers, expected| {
        assert_eq!(wait(&berlin, &UNATTENDED, "2026-10", now, blockers), expected, "{now}");
    };
    check("2026-11-04T22:59:59.999999999Z", 0, Wait::Day { at: day });
    check("2026-11-04T22:59:59.999999999Z", 2, Wait::Day { at: day });
    check("2026-11-04T23:00:00Z", 0, Wait::Collector);
    check("2026-11-04T23:00:00Z", 2, Wait::Person { since: day });
    let spring = wait(&berlin, &UNATTENDED, "2026-03", "2026-04-04T12:00:00Z", 0);
    assert_eq!(spring, Wait::Day { at: at("2026-04-04T22:00:00Z") });
}

#[test]
fn a_day_without_a_midnight_begins_when_its_clocks_do() {
    let santiago = House::in_zone("America/Santiago");
    let sixth = Timetable { approve_on_day: 6, ..UNATTENDED };
    // On 2026-09-06 clocks go from midnight to one.
    assert_eq!(sixth.approves_at(santiago.0.usage().zone(), month("2026-08")), at("2026-09-06T04:00:00Z"));
    assert_eq!(wait(&santiago, &sixth, "2026-08", "2026-09-06T04:00:00Z", 0), Wait::Collector);
}

#[test]
fn nothing_is_approved_before_the_grace_is_over_nor_unattended_where_that_is_off() {
    let utc = House::in_zone("UTC");
    let first = Timetable { approve_on_day: 1, ..UNATTENDED };
    assert_eq!(
        overall(&utc.standings(&first, "2026-10", "2026-11-03T00:00:00Z", 0)).unwrap().name(),
        "grace"
    );
    assert_eq!(wait(&utc, &first, "2026-10", "2026-11-04T00:00:00Z", 0), Wait::Collector);
    let attended = Timetable { unattended: false, ..UNATTENDED };
    let since = at("2026-11-04T00:00:00Z");
    assert_eq!(wait(&utc, &attended, "2026-10", "2026-11-20T00:00:00Z", 0), Wait::Person { since });
}

#[test]
fn an_approved_draft_is_sealed_for_each_distributor_and_nothing_is_drafted_meanwhile() {
    let mut house = House::in_zone("UTC");
    let both = [("ingram", 1), ("td", 1)];
    assert_eq!(house.approve("2026-11-05T09:00:00Z", "sha256:all", &both), Verdict::Taken);
    let shown = |house: &House| -> Vec<String> {
        let all = house.standings(&UNATTENDED, "2026-10", "2026-11-05T10:00:00Z", 9);
        all.iter().map(|one| format!("{} {}", one.distributor.as_deref().unwrap(), one.life.name())).collect()
    };
    assert_eq!(shown(&house), ["ingram approved", "td approved"]);
    assert_eq!(house.0.approved_periods().collect::<Vec<_>>(), [month("2026-10")]);
    house.seal("2026-11-05T09:00:00Z", "ingram", 1, "one");
    assert_eq!(shown(&house), ["ingram sealed", "td approved"]);
    let all = house.standings(&UNATTENDED, "2026-10", "2026-11-05T10:00:00Z", 0);
    let Some(Life::Approved { digest, by, .. }) = overall(&all) else { panic!("{all:?}") };
    assert_eq!((digest.as_str(), by.as_str()), ("sha256:all", "opr_a"));
    house.seal("2026-11-05T09:00:00Z", "td", 1, "two");
    assert_eq!(shown(&house), ["ingram sealed", "td sealed"]);
    assert_eq!(house.0.approved(month("2026-10")), None);
}

#[test]
fn an_approval_of_a_revision_that_is_sealed_is_refused() {
    let mut house = House::in_zone("UTC");
    house.seal("2026-11-05T09:00:00Z", "ingram", 1, "one");
    let refused = Verdict::Refused(Refusal::Sealed);
    assert_eq!(house.approve("2026-11-05T09:00:00Z", "sha256:x", &[("ingram", 1)]), refused);
    assert_eq!(house.approve("2026-11-05T09:00:00Z", "sha256:x", &[("ingram", 3)]), refused);
    let nothing = Verdict::Refused(Refusal::Malformed);
    assert_eq!(house.approve("2026-11-05T09:00:00Z", "sha256:x", &[]), nothing);
    assert_eq!(house.approve("2026-11-05T09:00:00Z", "sha256:x", &[("ingram", 2)]), Verdict::Taken);
}

#[test]
fn a_sealed_statement_is_superseded_by_its_next_revision_and_both_are_told() {
    let mut house = House::in_zone("UTC");
    for (revision, body) in [(1, "one"), (2, "two"), (3, "three")] {
        house.seal(&format!("2026-11-0{}T09:00:00Z", 4 + revision), "ingram", revision, body);
    }
    let all = house.standings(&UNATTENDED, "2026-10", "2026-12-01T00:00:00Z", 0);
    let superseded = |revision: u32, position, body: &str| Life::Superseded {
        revision,
        digest: digest(body.as_bytes()),
        position,
        at: at(&format!("2026-11-0{}T09:00:00Z", 4 + revision)),
        by_revision: revision + 1,
    };
    let sealed = Life::Sealed {
        revision: 3,
        digest: digest(b"three"),
        position: 3,
        by: "opr_b".to_owned(),
        at: at("2026-11-07T09:00:00Z"),
    };
    let lives: Vec<&Life> = all.iter().map(|one| &one.life).collect();
    assert_eq!(lives, [&superseded(1, 1, "one"), &superseded(2, 2, "two"), &sealed]);
    assert_eq!(overall(&all), Some(&sealed));
}

#[test]
fn a_standing_reads_back_from_its_json() {
    let house = House::in_zone("UTC");
    let mut all = house.standings(&UNATTENDED, "2026-10", "2026-11-09T00:00:00Z", 1);
    all.extend(house.standings(&UNATTENDED, "2026-11", "2026-11-09T00:00:00Z", 1));
    let text = serde_json::to_string(&all).unwrap();
    assert!(
        text.contains(r#""state":"draft""#) && text.contains(r#""wait":{"for":"person","since":"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Vec<Standing>>(&text).unwrap(), all);
}
