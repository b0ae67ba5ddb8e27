//! Where statements stand, in words. Invariant: what comes next is said where there is something to do; nothing here
//! decides what that is.

use seatbeat_ledger::life::{Life, Standing, Wait, overall};

use super::super::moment;
use crate::console::months::Month;

/// A life in words.
pub struct Stands {
    /// Its name.
    pub state: &'static str,
    /// How its badge looks.
    pub tone: &'static str,
    /// Of what was sealed.
    pub revision: String,
    /// Since when.
    pub since: String,
    /// By whom.
    pub by: String,
    /// What it waits for, or what became of it.
    pub next: String,
}

impl Stands {
    /// Of a life.
    pub fn of(life: &Life) -> Self {
        let mut stands = Self {
            state: life.name(),
            tone: "",
            revision: String::new(),
            since: String::new(),
            by: String::new(),
            next: String::new(),
        };
        match life {
            Life::Open { ends_at } => stands.next = format!("ends {}", moment::shown(*ends_at)),
            Life::Grace { until } => {
                stands.next = format!("reports may still arrive until {}", moment::shown(*until));
            }
            Life::Draft { since, blockers, wait, .. } => {
                stands.tone = if blockers.is_empty() { "warn" } else { "bad" };
                stands.since = moment::shown(*since);
                let blocked = match blockers.len() {
                    0 => String::new(),
                    1 => "1 thing is in the way; ".to_owned(),
                    count => format!("{count} things are in the way; "),
                };
                stands.next = format!("{blocked}{}", waits(*wait));
            }
            Life::Approved { by, at, .. } => {
                (stands.since, stands.by) = (moment::shown(*at), by.clone());
                "about to be sealed".clone_into(&mut stands.next);
            }
            Life::Sealed { revision, by, at, .. } => {
                stands.tone = "good";
                (stands.revision, stands.since) = (revision.to_string(), moment::shown(*at));
                stands.by.clone_from(by);
            }
            Life::Superseded { revision, at, by_revision, .. } => {
                (stands.revision, stands.since) = (revision.to_string(), moment::shown(*at));
                stands.next = format!("superseded by revision {by_revision}");
            }
        }
        stands
    }
}

/// Each statement of a month, with its distributor.
pub fn shown(standings: &[Standing]) -> Vec<(String, Stands)> {
    let one =
        |standing: &Standing| (standing.distributor.clone().unwrap_or_default(), Stands::of(&standing.life));
    standings.iter().map(one).collect()
}

fn waits(wait: Wait) -> String {
    match wait {
        Wait::Day { at } => format!("sealed by itself at {}, if nothing is in the way", moment::shown(at)),
        Wait::Collector => "about to be sealed".to_owned(),
        Wait::Person { since } => format!("waits for a person since {}", moment::shown(since)),
    }
}

/// What there is to do with a month.
pub fn next(month: &Month) -> String {
    let blockers = month.draft.as_ref().map_or(0, |draft| draft.review.blockers.len());
    let Some(draft) = &month.draft else { return String::new() };
    match overall(&month.standings) {
        Some(Life::Open { .. }) => {
            "The month is not over: this is what its statement would be now.".to_owned()
        }
        Some(Life::Grace { .. }) => {
            format!("Reports of it may still arrive until {}.", moment::shown(draft.closes_at))
        }
        Some(Life::Draft { .. }) if blockers == 0 => "Nothing is in its way: it can be approved.".to_owned(),
        Some(Life::Draft { .. }) => "It cannot be approved yet: see what is in the way.".to_owned(),
        Some(Life::Approved { .. }) => "A draft of it was approved, and is about to be sealed.".to_owned(),
        Some(Life::Sealed { .. } | Life::Superseded { .. }) => {
            "It is sealed. This is what it would be now; it can be sealed in place of what was.".to_owned()
        }
        None => String::new(),
    }
}

/// Whether it makes sense to ask for an approval: the month is over and nothing is in the way. Whoever seals it decides.
pub fn may_be_approved(month: &Month) -> bool {
    let is_over = matches!(
        overall(&month.standings),
        Some(Life::Draft { .. } | Life::Sealed { .. } | Life::Superseded { .. })
    );
    is_over && month.draft.as_ref().is_some_and(|draft| draft.review.blockers.is_empty())
}
