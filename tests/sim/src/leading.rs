//! Which collector runs the jobs, as they all ask for the lease: the asking, a leader that stands still in the middle of
//! a job, and what it writes then. Invariant: whoever has the lease is known from what the database answered, and what a
//! job writes carries the fence of the lease under which it was decided.

use seatbeat_collector::journal::LEASE_SECONDS;
use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_proto::wire::journal_record::Fact;

use crate::collector::NotWritten;
use crate::invariant::Invariant;
use crate::world::{Event, MINUTE, SECOND, World};

/// Longest time for which a leader stands still.
const STILL_MAX: i64 = 10 * MINUTE;

/// Under what a collector runs the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Which collector.
    pub collector: usize,
    /// Of its lease; none where it is alone.
    pub fence: Option<i64>,
}

/// What the database has told about the lease.
#[derive(Debug, Default)]
pub struct Leases {
    /// The highest fence.
    fence: i64,
    /// Who has it, and until when.
    held: Option<(u64, i64)>,
}

/// A job's records that are not written yet.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Under what they were decided.
    pub term: Term,
    /// In which life of the collector.
    pub life: u64,
    /// Why.
    pub reason: String,
    /// What.
    pub facts: Vec<Fact>,
}

impl World {
    /// A collector runs the jobs, if it may.
    pub fn lead(&mut self, collector: usize) {
        if self.collectors[collector].running.is_none() {
            return;
        }
        let Some(term) = self.term_of(collector) else { return };
        self.run_identity(term);
        self.close_what_is_due(term);
        self.upload(term);
    }

    /// The term of a collector that has the lease, or gets it, and has folded all that came before it.
    pub fn term_of(&mut self, collector: usize) -> Option<Term> {
        let Some(database) = self.database.clone() else {
            return (collector == 0).then_some(Term { collector, fence: None });
        };
        let holder = self.collectors[collector].holder()?;
        let held = database.ask(collector, holder, self.now).ok().flatten()?;
        let leases = &mut self.witness.leases;
        let until_ms = self.now + i64::from(LEASE_SECONDS) * SECOND;
        let before = leases.held.replace((holder, until_ms));
        let is_taken_over = before.is_some_and(|(other, until_ms)| other != holder && until_ms > self.now);
        let is_higher = before.is_none_or(|(other, _)| other == holder) || held.fence > leases.fence;
        leases.fence = leases.fence.max(held.fence);
        if is_taken_over || !is_higher {
            let what = format!("collector {collector} is given the lease while another has it");
            self.breaks(Invariant::LedByOne, what);
        }
        self.follow(collector);
        let running = self.collectors[collector].running.as_mut()?;
        running.begin_term(held.fence);
        let folded = running.fold.position();
        (folded >= held.size.0).then_some(Term { collector, fence: Some(held.fence) })
    }

    /// Writes what a job has decided, unless its collector stands still before; whether it is written.
    pub fn write_as_leader(&mut self, term: Term, reason: &str, facts: Vec<Fact>) -> bool {
        let life = self.witness.lives[term.collector];
        let pending = Pending { term, life, reason: reason.to_owned(), facts };
        if term.fence.is_some() && !self.healing && self.draw(6) == 0 {
            self.stand_still(pending);
            return false;
        }
        self.write_pending(pending)
    }

    fn stand_still(&mut self, pending: Pending) {
        let collector = pending.term.collector;
        self.tell(format!("collector {collector} stands still in the middle of a job"));
        self.count("leader stands still");
        let at = self.now + self.draw(STILL_MAX);
        self.plan(at, Event::Continue(Box::new(pending)));
        for other in (0..self.collectors.len()).filter(|other| *other != collector) {
            let at = self.now + i64::from(LEASE_SECONDS) * SECOND + self.draw(MINUTE);
            self.plan(at, Event::Lead { collector: other });
        }
    }

    /// A collector that stood still goes on, if it is the same process.
    pub fn go_on(&mut self, pending: Pending) {
        let collector = pending.term.collector;
        let is_same = self.witness.lives[collector] == pending.life;
        if is_same && self.collectors[collector].running.is_some() {
            self.tell(format!("collector {collector} goes on with its job"));
            self.write_pending(pending);
        }
    }

    fn write_pending(&mut self, Pending { term, reason, facts, .. }: Pending) -> bool {
        let (Term { collector, fence }, now) = (term, self.now);
        let written = self.collectors[collector].write_under(fence, (COLLECTOR, &reason), facts, now);
        self.read_news(collector);
        let newest = self.witness.leases.fence;
        if let (Ok(()), Some(fence)) = (written, fence)
            && fence < newest
        {
            let what = format!("collector {collector} wrote under lease {fence}, and {newest} was given");
            self.breaks(Invariant::LedByOne, what);
        }
        if let Err(failed) = written {
            self.after_failed_write(collector, failed);
        }
        written.is_ok()
    }

    /// A collector that could not write for a reason that does not pass is over.
    pub fn after_failed_write(&mut self, collector: usize, failed: NotWritten) {
        if failed == NotWritten::Over {
            self.crash(collector);
        }
    }
}
