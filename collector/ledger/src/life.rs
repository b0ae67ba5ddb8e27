//! The life of a statement: open, grace, draft, approved, sealed, superseded. One of each (distributor, period).
//! Invariant: a function of the fold, the timetable and an instant; how a sealed statement travels is not part of it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::calendar::{Period, Zone};
use crate::fold::Fold;
use crate::review::InTheWay;
use crate::sealed::digest;

/// When a month becomes a draft, and when that is approved without anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timetable {
    /// How long after the month's end its evidence may still arrive.
    pub grace: SignedDuration,
    /// The day of the following month on which a draft that nothing blocks is approved, from its first instant on.
    pub approve_on_day: i8,
    /// Whether that happens at all.
    pub unattended: bool,
}

/// Where a month stands by the clock alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is not over.
    Open {
        /// The first instant of the next month.
        ends_at: Timestamp,
    },
    /// Its evidence may still arrive.
    Grace {
        /// The end of its grace.
        until: Timestamp,
    },
    /// Its evidence has had its time.
    Over {
        /// The end of its grace.
        since: Timestamp,
    },
}

impl Timetable {
    /// The end of a month's grace.
    pub fn closes_at(&self, zone: &Zone, period: Period) -> Timestamp {
        ends_at(zone, period).checked_add(self.grace).unwrap_or(Timestamp::MAX)
    }

    /// When a month's draft is approved without anybody, or begins to wait for somebody: never before its grace is
    /// over.
    pub fn approves_at(&self, zone: &Zone, period: Period) -> Timestamp {
        let day = period.next().first_day().plus(i32::from(self.approve_on_day) - 1);
        zone.first_instant(day).max(self.closes_at(zone, period))
    }

    /// Where a month stands.
    pub fn phase(&self, zone: &Zone, period: Period, now: Timestamp) -> Phase {
        let (ends_at, until) = (ends_at(zone, period), self.closes_at(zone, period));
        if now < ends_at {
            Phase::Open { ends_at }
        } else if now < until {
            Phase::Grace { until }
        } else {
            Phase::Over { since: until }
        }
    }

    fn wait(&self, zone: &Zone, period: Period, now: Timestamp, is_blocked: bool) -> Wait {
        let approves_at = self.approves_at(zone, period);
        if !self.unattended {
            return Wait::Person { since: self.closes_at(zone, period) };
        }
        match (now < approves_at, is_blocked) {
            (true, _) => Wait::Day { at: approves_at },
            (false, true) => Wait::Person { since: approves_at },
            (false, false) => Wait::Collector,
        }
    }
}

fn ends_at(zone: &Zone, period: Period) -> Timestamp {
    zone.first_instant(period.next().first_day())
}

/// What a draft waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Wait {
    /// The day of unattended approval.
    Day {
        /// Its first instant.
        at: Timestamp,
    },
    /// The collector, which seals it at its next turn.
    Collector,
    /// A person: something blocks it, or nothing is approved unattended.
    Person {
        /// Since when.
        since: Timestamp,
    },
}

/// Where a statement stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Life {
    /// The month is not over.
    Open {
        /// When it is.
        ends_at: Timestamp,
    },
    /// Its evidence may still arrive.
    Grace {
        /// Until then.
        until: Timestamp,
    },
    /// It can be approved, as soon as nothing blocks it.
    Draft {
        /// The end of its grace.
        since: Timestamp,
        /// Over all bodies of the month; what an approval names.
        digest: String,
        /// What blocks it.
        blockers: Vec<InTheWay>,
        /// What it waits for.
        wait: Wait,
    },
    /// Exactly this draft is about to be sealed.
    Approved {
        /// Over all bodies of the month.
        digest: String,
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// It is what was sealed last.
    Sealed {
        /// From 1.
        revision: u32,
        /// Of its own body.
        digest: String,
        /// Where its record stands in the journal.
        position: u64,
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// It was sealed, and another was sealed in its place.
    Superseded {
        /// From 1.
        revision: u32,
        /// Of its own body.
        digest: String,
        /// Where its record stands in the journal.
        position: u64,
        /// When it was sealed.
        at: Timestamp,
        /// The revision behind it.
        by_revision: u32,
    },
}

/// What is known of a month's draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drafted {
    /// Over all its bodies.
    pub digest: String,
    /// Who gets one of them.
    pub distributors: Vec<String>,
    /// What blocks it.
    pub blockers: Vec<InTheWay>,
}

/// A statement and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The month.
    pub period: Period,
    /// For whom; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distributor: Option<String>,
    /// Where it stands.
    #[serde(flatten)]
    pub life: Life,
}

impl Life {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Grace { .. } => "grace",
            Self::Draft { .. } => "draft",
            Self::Approved { .. } => "approved",
            Self::Sealed { .. } => "sealed",
            Self::Superseded { .. } => "superseded",
        }
    }

    /// What will be, or is, of more weight than another statement of the month: one that is on its way, then what is
    /// sealed.
    fn weight(&self) -> u8 {
        match self {
            Self::Approved { .. } => 2,
            Self::Superseded { .. } => 0,
            _ => 1,
        }
    }
}

/// The statements of a month, by distributor and revision: those that were sealed, those that are about to be, or else
/// the one that is coming. `drafted` is asked only for a month whose grace is over and that nobody has approved.
///
/// # Errors
/// As `drafted`.
pub fn standings<E>(
    fold: &Fold,
    timetable: &Timetable,
    period: Period,
    now: Timestamp,
    drafted: impl FnOnce() -> Result<Drafted, E>,
) -> Result<Vec<Standing>, E> {
    let mut found: Vec<Standing> = Vec::new();
    let mut note = |distributor: Option<&str>, life| {
        found.push(Standing { period, distributor: distributor.map(str::to_owned), life });
    };
    let approval = fold.approved(period);
    let mut is_settled = approval.is_some();
    for (distributor, sealed) in fold.sealed(period) {
        is_settled = true;
        let later = sealed.earlier.iter().map(|one| one.revision).skip(1).chain([sealed.revision]);
        for (earlier, by_revision) in sealed.earlier.iter().zip(later) {
            let (revision, digest) = (earlier.revision, earlier.digest.clone());
            let (position, at) = (earlier.position, earlier.sealed_at);
            note(Some(distributor), Life::Superseded { revision, digest, position, at, by_revision });
        }
        let (revision, position, at) = (sealed.revision, sealed.position, sealed.sealed_at);
        let (digest, by) = (digest(&sealed.body), sealed.by.clone());
        note(Some(distributor), Life::Sealed { revision, digest, position, by, at });
    }
    for (distributor, revision) in approval.iter().flat_map(|approval| &approval.statements) {
        let is_sealed =
            fold.sealed(period).any(|(name, sealed)| name == distributor && sealed.revision >= *revision);
        if let Some(approval) = approval.filter(|_| !is_sealed) {
            let (digest, by, at) = (approval.digest.clone(), approval.by.clone(), approval.at);
            note(Some(distributor), Life::Approved { digest, by, at });
        }
    }
    if is_settled {
        return Ok(found);
    }
    let zone = fold.usage().zone();
    match timetable.phase(zone, period, now) {
        Phase::Open { ends_at } => note(None, Life::Open { ends_at }),
        Phase::Grace { until } => note(None, Life::Grace { until }),
        Phase::Over { since } => {
            let Drafted { digest, distributors, blockers } = drafted()?;
            let wait = timetable.wait(zone, period, now, !blockers.is_empty());
            for distributor in distributors {
                let (digest, blockers) = (digest.clone(), blockers.clone());
                note(Some(&distributor), Life::Draft { since, digest, blockers, wait });
            }
        }
    }
    Ok(found)
}

/// Where a month stands as a whole: of its statements the one that has most to say.
pub fn overall(standings: &[Standing]) -> Option<&Life> {
    // Of equal ones the first.
    standings.iter().map(|standing| &standing.life).rev().max_by_key(|life| life.weight())
}

#[cfg(test)]
mod tests;
