//! One seed from beginning to end. Invariant: what a run says of itself is a function of its question.

use std::collections::BTreeMap;
use std::fmt;

use crate::invariant::Broken;
use crate::world::World;
use crate::wrong::Wrong;

/// Events that are told when something breaks, unless more are asked for.
const TOLD: usize = 16;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Decides everything else.
    pub seed: u64,
    /// Machines at the start; copies come beside them.
    pub machines: usize,
    /// Days with faults; half a day of healing follows.
    pub days: i64,
    /// Events that are told when something breaks.
    pub told: usize,
    /// What is made wrong on purpose.
    pub wrong: Option<Wrong>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Of every event in its order, and of every record.
    pub digest: [u8; 32],
    /// Events.
    pub events: u64,
    /// Faults.
    pub faults: u64,
    /// Days that machines lived through.
    pub machine_days: u64,
    /// Pieces of evidence that agents made.
    pub evidence: u64,
    /// Records in the journal at the end.
    pub records: u64,
    /// Chains forked, machines merged and parted, months sealed, corrections: what the run came by.
    pub forks: u64,
    /// Merges that the collector decided.
    pub merges: u64,
    /// Splits that the collector decided.
    pub splits: u64,
    /// Sealed statements.
    pub sealed: u64,
    /// Lines of corrections.
    pub corrections: u64,
    /// Orders that were begun.
    pub switches: u64,
    /// What failed, by its kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// The first promise that did not hold.
    pub broken: Option<Broken>,
}

impl Question {
    /// Twenty machines for thirty days.
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, machines: 20, days: 30, told: TOLD, wrong: None }
    }

    /// Runs it.
    pub fn run(self) -> Answer {
        let mut world = World::new(self);
        world.run();
        world.answer()
    }
}

impl Answer {
    /// Adds up what another run came by.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.faults += other.faults;
        self.machine_days += other.machine_days;
        self.evidence += other.evidence;
        self.records += other.records;
        self.forks += other.forks;
        self.merges += other.merges;
        self.splits += other.splits;
        self.sealed += other.sealed;
        self.corrections += other.corrections;
        self.switches += other.switches;
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }
}

/// A broken promise as it is printed.
pub struct Failure<'a>(pub Question, pub &'a Broken);

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(question, broken) = self;
        let seed = question.seed;
        writeln!(f, "seed {seed} breaks {:?}: {}", broken.invariant, broken.invariant.sentence())?;
        if let Some(wrong) = question.wrong {
            writeln!(f, "  with {wrong:?}: {}", wrong.what())?;
        }
        writeln!(f, "  at {}: {}", crate::collector::instant(broken.at_ms), broken.what)?;
        for event in &broken.events {
            writeln!(f, "    {event}")?;
        }
        write!(f, "  repeat: SEATBEAT_SEED={seed} cargo test -p seatbeat-sim; SEATBEAT_TOLD=1000 tells more")
    }
}
