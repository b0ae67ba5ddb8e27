//! A database that collectors share: one order of records, a mark for each writer, a lease. Invariant: what was committed
//! stays; what one line is told is what PostgreSQL would tell it, lost commits and lost answers among it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seatbeat_collector::journal::{Condition, Held, Journal, JournalError, LEASE_SECONDS, Position, Table};
use seatbeat_collector::postgres::PostgresError;
use seatbeat_fleet::seed::Seed;

use crate::world::SECOND;
use crate::wrong::Wrong;

/// How the way to it is, for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Road {
    /// As it should be.
    #[default]
    Clear,
    /// Every third commit is lost on its way, and every third answer.
    Lossy,
    /// The next commit is the last thing that is heard of it.
    Breaking,
    /// Nobody reaches it.
    Gone,
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Told,
    Lost,
    KeptUntold,
}

/// A batch that was committed: whose, which of its appends, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit {
    /// The line, by its number.
    pub writer: u64,
    /// Counts the line's appends, whatever came of them.
    pub append: u64,
}

#[derive(Debug, Default)]
struct Lease {
    holder: Option<u64>,
    fence: i64,
    until_ms: i64,
}

#[derive(Debug)]
struct Inner {
    records: Vec<Vec<u8>>,
    commits: Vec<Commit>,
    /// Of each line: the number of its newest batch, and where that begins.
    marks: BTreeMap<u64, (u64, u64)>,
    lease: Lease,
    road: Road,
    /// Collectors that do not reach it.
    cut_off: BTreeSet<usize>,
    lines: u64,
    /// What happened, by its name.
    happened: BTreeMap<&'static str, u64>,
    wrong: Option<Wrong>,
    chance: Seed,
}

/// See the module's text; clones are the same one.
#[derive(Debug, Clone)]
pub struct Database(Arc<Mutex<Inner>>);

impl Database {
    /// An empty one.
    pub fn new(chance: Seed, wrong: Option<Wrong>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            records: Vec::new(),
            commits: Vec::new(),
            marks: BTreeMap::new(),
            lease: Lease::default(),
            road: Road::Clear,
            cut_off: BTreeSet::new(),
            lines: 0,
            happened: BTreeMap::new(),
            wrong,
            chance,
        })))
    }

    /// Sets how the way to it is.
    pub fn set_road(&self, road: Road) {
        self.inner().road = road;
    }

    /// A collector does not reach it, or does again.
    pub fn cut_off(&self, collector: usize, is_cut_off: bool) {
        if is_cut_off {
            self.inner().cut_off.insert(collector);
        } else {
            self.inner().cut_off.remove(&collector);
        }
    }

    /// Whether a collector reaches it.
    pub fn is_reached_by(&self, collector: usize) -> bool {
        self.inner().is_reached_by(collector)
    }

    /// All records from a position on, as they stand there.
    pub fn records_from(&self, position: u64) -> Vec<Vec<u8>> {
        self.inner().records.get(position as usize..).unwrap_or_default().to_vec()
    }

    /// Every batch that was committed.
    pub fn commits(&self) -> Vec<Commit> {
        self.inner().commits.clone()
    }

    /// What happened, by its name, since somebody asked.
    pub fn take_happened(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.inner().happened)
    }

    /// Takes the jobs' lease, or keeps it for longer; none while another has it.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn ask(&self, collector: usize, holder: u64, now_ms: i64) -> Result<Option<Held>, PostgresError> {
        let inner = &mut *self.inner();
        if !inner.is_reached_by(collector) {
            return Err(silent("take the jobs' lease at"));
        }
        let is_ours = inner.lease.holder == Some(holder);
        let is_over = inner.lease.until_ms <= now_ms || inner.wrong == Some(Wrong::LeaseGivenTwice);
        if !is_ours && !is_over {
            return Ok(None);
        }
        let fence = if is_ours { inner.lease.fence } else { inner.lease.fence + 1 };
        let until_ms = now_ms + i64::from(LEASE_SECONDS) * SECOND;
        inner.lease = Lease { holder: Some(holder), fence, until_ms };
        Ok(Some(Held { fence, size: Position(inner.size()) }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_reached_by(&self, collector: usize) -> bool {
        self.road != Road::Gone && !self.cut_off.contains(&collector)
    }

    fn size(&self) -> u64 {
        self.records.len() as u64
    }

    fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn fate(&mut self) -> Fate {
        let fate = match self.road {
            Road::Clear | Road::Gone => return Fate::Told,
            Road::Lossy | Road::Breaking => {
                [Fate::Told, Fate::Lost, Fate::KeptUntold][self.chance.below(3) as usize]
            }
        };
        if self.road == Road::Breaking {
            self.road = Road::Gone;
        }
        match fate {
            Fate::Told => {}
            Fate::Lost => self.note("commit lost"),
            Fate::KeptUntold => self.note("answer of a commit lost"),
        }
        fate
    }

    /// Whether a condition holds.
    fn held(&self, condition: Condition) -> Result<(), PostgresError> {
        match condition {
            Condition::Leads(fence)
                if fence != self.lease.fence && self.wrong != Some(Wrong::FenceIgnored) =>
            {
                Err(PostgresError::Superseded { place: place() })
            }
            Condition::EndsAt(position) if position.0 != self.size() => {
                Err(PostgresError::Longer { place: place(), size: self.size() })
            }
            Condition::Leads(_) | Condition::EndsAt(_) => Ok(()),
        }
    }

    fn commit(&mut self, commit: Commit, number: u64, batch: &[Vec<u8>]) -> u64 {
        let first = self.size();
        self.records.extend_from_slice(batch);
        self.commits.push(commit);
        self.marks.insert(commit.writer, (number, first));
        first
    }
}

/// A collector's way to the database, of one of its processes. Asks as the product's does: what was committed without an
/// answer is looked for before anything else is appended.
#[derive(Debug)]
pub struct Line {
    database: Database,
    collector: usize,
    writer: u64,
    append: u64,
    /// Of the newest batch that is known to stand.
    number: u64,
    in_doubt: bool,
    size: Position,
    sessions: u64,
    /// The session has failed: the next act makes another.
    is_broken: bool,
}

impl Line {
    /// A collector's process connects.
    ///
    /// # Errors
    /// When it cannot.
    pub fn open(database: &Database, collector: usize) -> Result<Self, JournalError> {
        let writer = {
            let mut inner = database.inner();
            inner.lines += 1;
            let writer = inner.lines;
            inner.marks.insert(writer, (0, 0));
            writer
        };
        let mut line = Self {
            database: database.clone(),
            collector,
            writer,
            append: 0,
            number: 0,
            in_doubt: false,
            size: Position(0),
            sessions: 0,
            is_broken: true,
        };
        line.ask_size()?;
        Ok(line)
    }

    /// Who asks for the lease.
    pub fn writer(&self) -> u64 {
        self.writer
    }

    fn reach(&mut self) -> Result<(), JournalError> {
        if !self.database.is_reached_by(self.collector) {
            self.is_broken = true;
            return Err(away().into());
        }
        if std::mem::take(&mut self.is_broken) {
            self.sessions += 1;
        }
        Ok(())
    }

    fn append_under(
        &mut self,
        batch: &[Vec<u8>],
        condition: Option<Condition>,
    ) -> Result<Position, JournalError> {
        if batch.is_empty() {
            return Ok(self.size);
        }
        self.append += 1;
        let mut is_ours = false;
        loop {
            if let Err(error) = self.reach() {
                if !(is_ours && self.in_doubt) {
                    return Err(error);
                }
                self.database.inner().note("append in doubt");
                return Err(
                    PostgresError::InDoubt { place: place(), source: Box::new(silent("append to")) }.into()
                );
            }
            let database = self.database.clone();
            let inner = &mut *database.inner();
            if std::mem::take(&mut self.in_doubt) && inner.wrong != Some(Wrong::RepeatedInDoubt) {
                let (number, first) = inner.marks[&self.writer];
                let is_kept = number == self.number + 1;
                self.number += u64::from(is_kept);
                if is_kept && is_ours {
                    self.size = Position(first + batch.len() as u64);
                    return Ok(Position(first));
                }
            }
            if let Some(Err(refused)) = condition.map(|condition| inner.held(condition)) {
                inner.note("write of an earlier leader refused");
                return Err(refused.into());
            }
            let (fate, commit) = (inner.fate(), Commit { writer: self.writer, append: self.append });
            let first =
                (fate != Fate::Lost).then(|| inner.commit(commit, self.number + 1, batch)).map(Position);
            match first.filter(|_| fate == Fate::Told) {
                Some(first) => {
                    self.number += 1;
                    self.size = first.plus(batch.len() as u64);
                    return Ok(first);
                }
                None => (self.in_doubt, is_ours, self.is_broken) = (true, true, true),
            }
        }
    }
}

impl Journal for Line {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        self.append_under(batch, None)
    }

    fn append_if(&mut self, batch: &[Vec<u8>], condition: Condition) -> Result<Position, JournalError> {
        self.append_under(batch, Some(condition))
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        let inner = self.database.inner();
        if !inner.is_reached_by(self.collector) {
            return Err(away().into());
        }
        let records = inner.records.iter().enumerate().skip(from.0 as usize).take(limit);
        Ok(records.map(|(at, record)| (Position(at as u64), record.clone())).collect())
    }

    fn size(&self) -> Position {
        self.size
    }
}

impl Table for Line {
    fn ask_size(&mut self) -> Result<Position, JournalError> {
        self.reach()?;
        self.size = Position(self.database.inner().size());
        Ok(self.size)
    }

    fn sessions(&self) -> u64 {
        self.sessions
    }

    fn place(&self) -> String {
        place()
    }
}

fn place() -> String {
    "the database".to_owned()
}

fn silent(act: &'static str) -> PostgresError {
    PostgresError::Silent { act, place: place(), seconds: 20 }
}

fn away() -> PostgresError {
    PostgresError::Away { place: place(), source: Box::new(silent("read from")) }
}
