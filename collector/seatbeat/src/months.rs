//! A month's draft, and where statements stand, in words. Invariant: what comes next is said where there is something
//! to do; nothing here decides what that is.

use seatbeat_collector::console::rows::{Draft, PeriodState};
use seatbeat_ledger::life::{Life, Standing, Wait};
use seatbeat_ledger::review::InTheWay;
use seatbeat_ledger::statement::Statement;

use crate::out::{self, Align, Column};
use crate::{moment, review, shown};

/// A draft for people.
pub fn draft(draft: &Draft) -> String {
    let fields = out::fields(&[
        ("state", draft.state.as_str().to_owned()),
        ("digest", draft.digest.clone()),
        ("unattended", unattended(draft)),
        ("next", next(draft)),
    ]);
    // What is in the way comes first, and once.
    let statement = Statement { blockers: Vec::new(), ..draft.output.statement.clone() };
    out::page([
        out::section("In the way", &review::in_the_way(&blockers(draft))),
        Some(shown::statement(&statement)),
        draft.review.as_ref().map(|review| review::page(review, draft.period)),
        draft.variance.as_ref().map(|rows| shown::variance(rows)),
        Some(shown::earnings(&draft.output.earnings)),
        Some(fields),
    ])
}

/// All that blocks it; a collector without reviews tells the statement's blockers only.
pub fn blockers(draft: &Draft) -> Vec<InTheWay> {
    match &draft.review {
        Some(review) => review.blockers.clone(),
        None => draft.output.statement.blockers.iter().cloned().map(InTheWay::Statement).collect(),
    }
}

/// What becomes of it when nobody does anything.
fn unattended(draft: &Draft) -> String {
    let wait = draft.standings.iter().find_map(|standing| match &standing.life {
        Life::Draft { wait, .. } => Some(*wait),
        _ => None,
    });
    wait.map(waits).unwrap_or_default()
}

fn waits(wait: Wait) -> String {
    match wait {
        Wait::Day { at } => format!("sealed at {}, if nothing blocks it", moment::shown(at)),
        Wait::Collector => "about to be sealed".to_owned(),
        Wait::Person { since } => format!("waits for a person since {}", moment::shown(since)),
    }
}

fn next(draft: &Draft) -> String {
    let period = draft.period;
    match draft.state {
        PeriodState::Open => "the month is not over".to_owned(),
        PeriodState::Grace => {
            format!("its evidence may still arrive until {}", moment::shown(draft.closes_at))
        }
        PeriodState::Draft if blockers(draft).is_empty() => {
            format!("seal exactly this: `seatbeat statement close {period} --approve {}`", draft.digest)
        }
        PeriodState::Draft => "it cannot be sealed yet: see what is in the way".to_owned(),
        PeriodState::Approved => "a draft of it was approved, and is about to be sealed".to_owned(),
        PeriodState::Sealed => format!(
            "sealed already: `seatbeat statement show {period}`; this is what it would be now, and \
             `seatbeat statement close {period} --supersede --approve {} --reason WHY` seals it in its place",
            draft.digest
        ),
    }
}

/// Where statements stand, one a line.
pub fn table(standings: &[Standing]) -> String {
    let columns = [
        Column("PERIOD", Align::Left),
        Column("DISTRIBUTOR", Align::Left),
        Column("STATE", Align::Left),
        Column("REVISION", Align::Right),
        Column("SINCE", Align::Left),
        Column("BY", Align::Left),
        Column("RECORD", Align::Right),
        Column("DIGEST", Align::Left),
        Column("NEXT", Align::Left),
    ];
    out::table(&columns, standings.iter().map(row).collect())
}

fn row(standing: &Standing) -> Vec<String> {
    let none = String::new;
    let (revision, since, by, record, digest, next) = match &standing.life {
        Life::Open { ends_at } => {
            (none(), none(), none(), none(), none(), format!("ends {}", moment::shown(*ends_at)))
        }
        Life::Grace { until } => {
            let next = format!("evidence may arrive until {}", moment::shown(*until));
            (none(), none(), none(), none(), none(), next)
        }
        Life::Draft { since, digest, blockers, wait } => {
            let blocked = match blockers.len() {
                0 => none(),
                count => format!("{}; ", out::count(count as u64, "thing blocks it", "things block it")),
            };
            let next = format!("{blocked}{}", waits(*wait));
            (none(), moment::shown(*since), none(), none(), digest.clone(), next)
        }
        Life::Approved { digest, by, at } => {
            (none(), moment::shown(*at), by.clone(), none(), digest.clone(), "about to be sealed".to_owned())
        }
        Life::Sealed { revision, digest, position, by, at } => {
            let (revision, record) = (revision.to_string(), position.to_string());
            (revision, moment::shown(*at), by.clone(), record, digest.clone(), none())
        }
        Life::Superseded { revision, digest, position, at, by_revision } => {
            let (revision, record) = (revision.to_string(), position.to_string());
            let next = format!("superseded by revision {by_revision}");
            (revision, moment::shown(*at), none(), record, digest.clone(), next)
        }
    };
    let distributor = standing.distributor.clone().unwrap_or_default();
    let state = standing.life.name().to_owned();
    vec![standing.period.to_string(), distributor, state, revision, since, by, record, digest, next]
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A draft in this state that these things block.
    pub fn draft(state: PeriodState, blockers: &str) -> Draft {
        let statement = format!(
            r#"{{"period":"2026-10","zone":"UTC","lines":[],"corrections":[],"totals":[],"flags":[],
                "blockers":{blockers},"rejected":[]}}"#
        );
        Draft {
            period: "2026-10".parse().unwrap(),
            state,
            standings: Vec::new(),
            digest: "sha256:00".to_owned(),
            closes_at: "2026-11-04T00:00:00Z".parse().unwrap(),
            output: seatbeat_ledger::statement::MeterOutput {
                statement: serde_json::from_str(&statement).unwrap(),
                earnings: Vec::new(),
            },
            variance: None,
            review: None,
        }
    }

    #[test]
    fn a_draft_says_what_comes_next() {
        let check = |state, blockers, expected: &str| {
            let shown = super::draft(&draft(state, blockers));
            assert!(shown.lines().next_back().unwrap().ends_with(expected), "{shown}");
        };
        let blocker = r#"[{"blocker":"unassigned","machine":"mch_a"}]"#;
        check(PeriodState::Open, "[]", "the month is not over");
        check(PeriodState::Grace, "[]", "until 2026-11-04 00:00:00Z");
        check(PeriodState::Draft, "[]", "`seatbeat statement close 2026-10 --approve sha256:00`");
        check(PeriodState::Draft, blocker, "see what is in the way");
        check(
            PeriodState::Sealed,
            "[]",
            "--supersede --approve sha256:00 --reason WHY` seals it in its place",
        );
    }

    #[test]
    fn a_standing_says_what_it_waits_for() {
        let standings = r#"[
            {"period":"2026-11","state":"open","ends_at":"2026-12-01T00:00:00Z"},
            {"period":"2026-10","distributor":"ingram","state":"draft","since":"2026-11-04T00:00:00Z","digest":"sha256:0",
             "blockers":[{"blocker":"unassigned","machine":"mch_a"}],
             "wait":{"for":"person","since":"2026-11-05T00:00:00Z"}},
            {"period":"2026-09","distributor":"ingram","state":"superseded","revision":1,"digest":"sha256:1",
             "position":7,"at":"2026-10-05T00:00:00Z","by_revision":2}]"#;
        let shown = table(&serde_json::from_str::<Vec<Standing>>(standings).unwrap());
        for expected in [
            "2026-11               open",
            "ends 2026-12-01 00:00:00Z",
            "1 thing blocks it; waits for a person since 2026-11-05 00:00:00Z",
            "superseded by revision 2",
        ] {
            assert!(shown.contains(expected), "{expected:?} in\n{shown}");
        }
    }
}
