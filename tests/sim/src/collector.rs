//! A collector under simulated time: the product's decisions, journal, fold and jobs, fed one event at a time.
//! Invariant: what decides is the product's; here is only the order in which it is asked, as its shell asks it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_collector::books;
use seatbeat_collector::gateway::admission::Asker;
use seatbeat_collector::gateway::clocks::Clocks;
use seatbeat_collector::gateway::greeting;
use seatbeat_collector::gateway::limits::{Buckets, EVIDENCE_RATE, MACHINES_MAX};
use seatbeat_collector::journal::{
    Condition, Disk, FileJournal, Journal, JournalError, Position, SharedJournal,
};
use seatbeat_collector::postgres::PostgresError;
use seatbeat_ledger::fold::{Fold, Verdict};
use seatbeat_ledger::record::Record;
use seatbeat_ledger::registry::Registry;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{EnrolRequest, EnrolResponse, Hello, JournalRecord, Settings, Signed};
use tonic::Status;

use crate::database::{Database, Line};
use crate::keys::Key;
use crate::store::StoreDisk;
use crate::world::DAY;
use crate::wrong::Wrong;

mod intake;

use intake::Talk;

/// Small, so that a month has many.
const SEGMENT_BYTES_MAX: u64 = 128 * 1024;

/// See the module's text.
pub struct Collector {
    /// Which one it is.
    pub number: usize,
    /// Its store; removed with it.
    pub folder: tempfile::TempDir,
    /// On which disk.
    pub disk: StoreDisk,
    /// What it shares with others; its own files are a copy of that then.
    pub database: Option<Database>,
    /// While it runs.
    pub running: Option<Running>,
    /// How far its clock is ahead.
    pub skew_ms: i64,
    /// What is wrong with it.
    pub wrong: Option<Wrong>,
}

/// Where a running collector's records are.
enum Kept {
    Own(FileJournal),
    Shared(Box<SharedJournal<Line>>, u64),
}

impl Kept {
    fn files(&self) -> &FileJournal {
        match self {
            Self::Own(journal) => journal,
            Self::Shared(journal, _) => journal.copy(),
        }
    }

    fn journal(&mut self) -> &mut dyn Journal {
        match self {
            Self::Own(journal) => journal,
            Self::Shared(journal, _) => journal.as_mut(),
        }
    }
}

/// What a running collector holds in memory.
pub struct Running {
    kept: Kept,
    /// All that is known.
    pub fold: Fold,
    /// As the lookup rows have it, up to a position: of each place of a chain what came first. Filled when it is asked.
    rows: BTreeMap<(MachineId, SpoolId, u64), (Position, [u8; 32])>,
    rows_until: u64,
    clocks: Clocks,
    buckets: Buckets<MachineId>,
    opened_ms: i64,
    streams: BTreeMap<MachineId, u64>,
    talks: BTreeMap<u64, Talk>,
    turn: VecDeque<u64>,
    forks: BTreeSet<[u8; 32]>,
    /// What was folded since streams were looked through may have banned somebody.
    bans_moved: bool,
    /// What the identity job has looked at, in this term.
    pub identified: Registry,
    /// Of the lease under which it ran last.
    fence: Option<i64>,
    /// What was folded since somebody looked.
    pub news: Vec<News>,
}

/// A record that was folded.
#[derive(Debug)]
pub struct News {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What became of it.
    pub verdict: Verdict,
    /// What it added to the count.
    pub counted: Option<Record>,
}

impl News {
    /// Folds a record.
    pub fn of(fold: &mut Fold, bytes: &[u8]) -> Self {
        let (verdict, counted) = fold.replay(bytes).expect("what a collector wrote folds");
        Self { bytes: bytes.to_vec(), verdict, counted }
    }
}

/// What a collector does to a connection.
pub enum Down {
    /// Says this.
    Say(u64, Body),
    /// Ends it.
    End(u64, Status),
}

impl Collector {
    /// Its store.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its clock.
    pub fn clock(&self, now_ms: i64) -> i64 {
        now_ms + self.skew_ms
    }

    /// Starts: snapshot, journal, tail.
    ///
    /// # Errors
    /// Why it does not, in words.
    pub fn start(&mut self, now_ms: i64) -> Result<(), String> {
        let (store, disk) = (self.folder.path(), Arc::new(self.disk.clone()));
        let kept = self.open(&store.join("journal"), disk).map_err(|error| error.to_string())?;
        let mut fold = books::start(store, &kept.files().reader()).map_err(|error| error.to_string())?;
        if self.wrong == Some(Wrong::TailInAnotherOrder) {
            fold = out_of_order(kept.files())?;
        }
        let running = Running {
            kept,
            fold,
            rows: BTreeMap::new(),
            rows_until: 0,
            bans_moved: true,
            clocks: Clocks::default(),
            buckets: Buckets::new(EVIDENCE_RATE, MACHINES_MAX),
            opened_ms: now_ms,
            streams: BTreeMap::new(),
            talks: BTreeMap::new(),
            turn: VecDeque::new(),
            forks: BTreeSet::new(),
            identified: Registry::default(),
            fence: None,
            news: Vec::new(),
        };
        self.running = Some(running);
        Ok(())
    }

    fn open(&self, folder: &Path, disk: Arc<dyn Disk>) -> Result<Kept, JournalError> {
        let Some(database) = &self.database else {
            return FileJournal::open_on(folder, disk, SEGMENT_BYTES_MAX).map(Kept::Own);
        };
        let line = Line::open(database, self.number)?;
        let writer = line.writer();
        let shared = SharedJournal::over(line, folder, disk, SEGMENT_BYTES_MAX, Position(0))?;
        Ok(Kept::Shared(Box::new(shared), writer))
    }

    /// Folds what others wrote into a shared journal, unless that cannot be reached.
    ///
    /// # Errors
    /// When the process is over.
    pub fn catch_up(&mut self) -> Result<(), NotWritten> {
        let Some(running) = self.running.as_mut().filter(|_| self.database.is_some()) else { return Ok(()) };
        match running.kept.journal().look() {
            Ok(()) => running.take_in_until(running.kept.files().size()),
            Err(error) if NotWritten::of(&error) == NotWritten::Over => return Err(NotWritten::Over),
            Err(_) => {}
        }
        Ok(())
    }

    /// As who it asks for the jobs' lease.
    pub fn holder(&self) -> Option<u64> {
        match self.running.as_ref()?.kept {
            Kept::Own(_) => None,
            Kept::Shared(_, writer) => Some(writer),
        }
    }

    /// All records from a position on, as its files have them.
    pub fn records_from(&self, position: u64) -> Vec<Vec<u8>> {
        self.running.as_ref().map_or_else(Vec::new, |running| all_from(running.kept.files(), position))
    }

    /// Writes facts and folds them; nothing of them is there when it fails.
    ///
    /// # Errors
    /// Whether the journal is full; otherwise the process is over.
    pub fn write(
        &mut self,
        actor: &str,
        reason: &str,
        facts: Vec<Fact>,
        now_ms: i64,
    ) -> Result<(), NotWritten> {
        self.write_under(None, (actor, reason), facts, now_ms)
    }

    /// As [`Collector::write`], under a lease with this fence.
    ///
    /// # Errors
    /// As there, and when another collector leads by now.
    pub fn write_under(
        &mut self,
        fence: Option<i64>,
        (actor, reason): (&str, &str),
        facts: Vec<Fact>,
        now_ms: i64,
    ) -> Result<(), NotWritten> {
        let clock_ms = self.clock(now_ms);
        let record = |fact| JournalRecord {
            recorded_at_ms: self.recorded_at(clock_ms, &fact),
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            fact: Some(fact),
            ..Default::default()
        };
        let records: Vec<Vec<u8>> = facts.into_iter().map(|fact| record(fact).encode_to_vec()).collect();
        let Some(running) = &mut self.running else { return Err(NotWritten::Over) };
        let appended = match fence {
            Some(fence) => running.kept.journal().append_if(&records, Condition::Leads(fence)),
            None => running.kept.journal().append(&records),
        };
        let first = appended.map_err(|error| NotWritten::of(&error))?;
        if self.wrong != Some(Wrong::OthersLeftOut) {
            running.take_in_until(first);
        }
        records.iter().for_each(|bytes| running.take_in(bytes));
        Ok(())
    }

    /// The clock, unless what comes again behind a restore is made too late to count.
    fn recorded_at(&self, clock_ms: i64, fact: &Fact) -> i64 {
        let epoch = self.running.as_ref().map_or(0, |running| running.fold.orders().epoch());
        let is_late = epoch > 0 && matches!(fact, Fact::EvidenceReceived(_));
        if is_late && self.wrong == Some(Wrong::RestoredUncounted) { clock_ms + 70 * DAY } else { clock_ms }
    }

    /// Answers who asks to be let in.
    ///
    /// # Errors
    /// What it is told instead; none: the process is over.
    pub fn enrol(&mut self, request: EnrolRequest, now_ms: i64) -> Result<EnrolResponse, Option<Status>> {
        let asker =
            Asker::read(request).map_err(|fault| Some(Status::invalid_argument(fault.to_string())))?;
        let now = instant(self.clock(now_ms));
        let Some(running) = &self.running else { return Err(None) };
        let is_revoked = running.fold.registry().token(&asker.token).is_some_and(|token| token.revoked);
        if is_revoked && self.wrong == Some(Wrong::RevokedLetIn) {
            let machine = asker.machine.to_string();
            return Ok(EnrolResponse { machine, customer: String::new() });
        }
        if let Some(known) = asker.known(&running.fold, now)? {
            return Ok(known);
        }
        let by_itself = self.wrong == Some(Wrong::TokenCountedLocally);
        let customer = running.fold.registry().admits(&asker.token, now).map(ToString::to_string);
        self.write(asker.machine.as_str(), "", vec![asker.fact()], now_ms).map_err(NotWritten::status)?;
        if by_itself && let Ok(customer) = customer {
            return Ok(EnrolResponse { machine: asker.machine.to_string(), customer });
        }
        let Some(running) = &self.running else { return Err(None) };
        asker.told(&running.fold, now).map_err(Some)
    }

    /// Somebody connected with a key and said Hello.
    pub fn hello(
        &mut self,
        connection: u64,
        key: &Key,
        hello: Hello,
        settings: &Signed,
        now_ms: i64,
    ) -> Vec<Down> {
        let clock_ms = self.clock(now_ms);
        let machine = MachineId::derived_from(key.real.verifying_key().as_bytes());
        let Some(running) = &mut self.running else { return Vec::new() };
        let known = running.fold.registry().machine(&machine);
        if known.is_none() {
            return vec![Down::End(connection, Status::unauthenticated("unknown machine"))];
        }
        let spool = match greeting::checked(&hello) {
            Ok(spool) => spool,
            Err(status) => return vec![Down::End(connection, status)],
        };
        let mut down = Vec::new();
        let older = running.streams.insert(machine.clone(), connection);
        if let Some(older) = older.filter(|_| self.wrong != Some(Wrong::TwoConversations)) {
            running.talks.remove(&older);
            down.push(Down::End(older, Status::aborted("another connection of this machine took over")));
        }
        let tip = match greeting::tip(&running.fold, &machine, spool.as_ref()) {
            Ok(tip) => tip,
            Err(status) => {
                running.streams.remove(&machine);
                down.push(Down::End(connection, status));
                return down;
            }
        };
        let offset_ms = hello.sent_at_ms.saturating_sub(clock_ms);
        running.clocks.note(&machine, offset_ms, since(running.opened_ms, now_ms));
        running.clocks.forget(since(running.opened_ms, now_ms));
        let revision = hello.settings_revision;
        let told_ms = if self.wrong == Some(Wrong::ClockOffsetIgnored) { hello.sent_at_ms } else { clock_ms };
        let welcome = greeting::welcome(hello, tip, told_ms, String::new(), Duration::ZERO);
        down.push(Down::Say(connection, Body::Welcome(welcome)));
        let offered = Settings::decode(settings.payload.as_slice()).map_or(0, |settings| settings.revision);
        if offered > revision {
            down.push(Down::Say(connection, Body::Settings(settings.clone())));
        }
        let talk = Talk { machine, key: key.public().clone(), pending: VecDeque::new() };
        running.talks.insert(connection, talk);
        down
    }

    /// Streams of machines that are banned by now end.
    pub fn end_banned(&mut self) -> Vec<Down> {
        let Some(running) = &mut self.running else { return Vec::new() };
        if !std::mem::take(&mut running.bans_moved) {
            return Vec::new();
        }
        let banned = |machine: &MachineId| running.fold.registry().machine(machine).is_some_and(|m| m.banned);
        let ended: Vec<u64> =
            running.streams.iter().filter(|(machine, _)| banned(machine)).map(|(_, talk)| *talk).collect();
        if self.wrong == Some(Wrong::BanIgnored) {
            return Vec::new();
        }
        ended.iter().for_each(|connection| self.gone(*connection));
        let status = || Status::permission_denied("this machine is banned");
        ended.into_iter().map(|connection| Down::End(connection, status())).collect()
    }
}

/// Why a record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotWritten {
    /// No room, or the database is away.
    Full,
    /// The database went away in the middle: whether it was shows later.
    Unknown,
    /// Another collector runs the jobs.
    NotLeading,
    /// The process has to end.
    Over,
}

impl NotWritten {
    fn of(error: &JournalError) -> Self {
        match error {
            JournalError::Postgres(PostgresError::Superseded { .. }) => Self::NotLeading,
            JournalError::Postgres(PostgresError::InDoubt { .. }) => Self::Unknown,
            error if error.is_full() => Self::Full,
            _ => Self::Over,
        }
    }

    /// What an agent is told; none: the process is over.
    pub fn status(self) -> Option<Status> {
        match self {
            Self::Full => Some(Status::resource_exhausted("the collector's disk is full")),
            Self::Unknown => Some(Status::unavailable("the collector's journal went away in the middle")),
            Self::NotLeading => Some(Status::unavailable("the collector is shutting down")),
            Self::Over => None,
        }
    }
}

impl Running {
    /// Jobs begin anew with each term.
    pub fn begin_term(&mut self, fence: i64) {
        if self.fence.replace(fence) != Some(fence) {
            self.identified = Registry::default();
        }
    }

    /// Reads the journal on a handle of its own.
    pub fn reader(&self) -> seatbeat_collector::journal::FileReader {
        self.kept.files().reader()
    }

    /// Folds what others appended before a position.
    fn take_in_until(&mut self, position: Position) {
        while self.fold.position() < position.0 {
            let from = Position(self.fold.position());
            let left = usize::try_from(position.0 - from.0).unwrap_or(usize::MAX);
            let read = self.kept.files().read_from(from, left).unwrap_or_default();
            if read.is_empty() {
                return;
            }
            read.iter().for_each(|(_, bytes)| self.take_in(bytes));
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        let news = News::of(&mut self.fold, bytes);
        self.bans_moved |= news.counted.is_none();
        self.news.push(news);
    }
}

fn all_from(journal: &FileJournal, position: u64) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Ok(batch) = journal.read_from(Position(position + all.len() as u64), usize::MAX)
        && !batch.is_empty()
    {
        all.extend(batch.into_iter().map(|(_, bytes)| bytes));
    }
    all
}

/// A replay in which two records have changed places.
fn out_of_order(journal: &FileJournal) -> Result<Fold, String> {
    let mut records = all_from(journal, 0);
    let last = records.len();
    if last > 40 {
        records.swap(last - 2, last - 1);
    }
    let mut fold = Fold::default();
    for bytes in records {
        fold.apply(&bytes).map_err(|error| error.to_string())?;
    }
    Ok(fold)
}

/// An instant of so many milliseconds.
pub fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn since(from_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(from_ms).max(0).unsigned_abs())
}
