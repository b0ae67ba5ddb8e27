//! A collector under simulated time: the product's decisions, journal, fold and jobs, fed one event at a time.
//! Invariant: what decides is the product's; here is only the order in which it is asked, as its shell asks it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_collector::books;
use seatbeat_collector::gateway::admission::Asker;
use seatbeat_collector::gateway::clocks::Clocks;
use seatbeat_collector::gateway::limits::{Buckets, EVIDENCE_RATE, GROUP_RECORDS_MAX, MACHINES_MAX};
use seatbeat_collector::gateway::plan::{Plan, folded_tip, observed_at_ms};
use seatbeat_collector::gateway::{decide, greeting};
use seatbeat_collector::journal::{FileJournal, Journal as _, Position};
use seatbeat_ledger::fold::evidence::Evidence;
use seatbeat_ledger::fold::{Fold, Verdict};
use seatbeat_ledger::record::Record;
use seatbeat_ledger::registry::Registry;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{EnrolRequest, EnrolResponse, Hello, JournalRecord, Settings, Signed};
use tonic::Status;

use crate::keys::{Key, Public};
use crate::store::StoreDisk;
use crate::wrong::Wrong;

/// Small, so that a month has many.
const SEGMENT_BYTES_MAX: u64 = 128 * 1024;

/// A journal that several collectors share, as a database would keep it.
pub type SharedLog = Rc<RefCell<Vec<Vec<u8>>>>;

/// Where a collector's records are.
pub enum Place {
    /// In files of its own.
    Own {
        /// The folder; removed with it.
        folder: tempfile::TempDir,
        /// On which disk.
        disk: StoreDisk,
    },
    /// In a journal that it shares.
    Shared(SharedLog),
}

/// See the module's text.
pub struct Collector {
    /// Where its records are.
    pub place: Place,
    /// While it runs.
    pub running: Option<Running>,
    /// How far its clock is ahead.
    pub skew_ms: i64,
    /// What is wrong with it.
    pub wrong: Option<Wrong>,
}

/// What a running collector holds in memory.
pub struct Running {
    journal: Option<FileJournal>,
    /// All that is known.
    pub fold: Fold,
    rows: BTreeMap<(MachineId, SpoolId, u64), (Position, [u8; 32])>,
    clocks: Clocks,
    buckets: Buckets<MachineId>,
    opened_ms: i64,
    streams: BTreeMap<MachineId, u64>,
    talks: BTreeMap<u64, Talk>,
    turn: VecDeque<u64>,
    forks: BTreeSet<[u8; 32]>,
    /// What the identity job has looked at.
    pub identified: Registry,
    /// What was folded since somebody looked.
    pub news: Vec<News>,
}

struct Talk {
    machine: MachineId,
    key: Public,
    pending: VecDeque<Signed>,
}

/// A record that was folded.
pub struct News {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What became of it.
    pub verdict: Verdict,
    /// What it added to the count.
    pub counted: Option<Record>,
}

/// What a collector does to a connection.
pub enum Down {
    /// Says this.
    Say(u64, Body),
    /// Ends it.
    End(u64, Status),
}

impl Collector {
    /// The folder of a collector with files of its own.
    pub fn folder(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Own { folder, .. } => Some(folder.path().to_owned()),
            Place::Shared(_) => None,
        }
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
        let (journal, fold) = match &self.place {
            Place::Own { folder, disk } => {
                let (store, disk) = (folder.path(), Arc::new(disk.clone()));
                let journal = FileJournal::open_on(&store.join("journal"), disk, SEGMENT_BYTES_MAX)
                    .map_err(|error| error.to_string())?;
                let mut fold = books::start(store, &journal.reader()).map_err(|error| error.to_string())?;
                if self.wrong == Some(Wrong::TailInAnotherOrder) {
                    fold = out_of_order(&journal)?;
                }
                (Some(journal), fold)
            }
            Place::Shared(_) => (None, Fold::default()),
        };
        let mut running = Running {
            journal,
            fold,
            rows: BTreeMap::new(),
            clocks: Clocks::default(),
            buckets: Buckets::new(EVIDENCE_RATE, MACHINES_MAX),
            opened_ms: now_ms,
            streams: BTreeMap::new(),
            talks: BTreeMap::new(),
            turn: VecDeque::new(),
            forks: BTreeSet::new(),
            identified: Registry::default(),
            news: Vec::new(),
        };
        let records = running.journal.as_ref().map(all_of).unwrap_or_default();
        (0..).zip(&records).for_each(|(at, bytes)| running.index(Position(at), bytes));
        self.running = Some(running);
        self.catch_up();
        if let Some(running) = &mut self.running {
            running.news.clear();
        }
        Ok(())
    }

    /// Folds what others wrote into a shared journal.
    pub fn catch_up(&mut self) {
        let (Place::Shared(log), Some(running)) = (&self.place, &mut self.running) else { return };
        let log = log.borrow();
        for bytes in &log[running.fold.position() as usize..] {
            running.take_in(bytes);
        }
    }

    /// All records, from the first.
    pub fn records(&self) -> Vec<Vec<u8>> {
        match (&self.place, &self.running) {
            (Place::Shared(log), _) => log.borrow().clone(),
            (Place::Own { .. }, Some(Running { journal: Some(journal), .. })) => all_of(journal),
            _ => Vec::new(),
        }
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
        let recorded_at_ms = self.clock(now_ms);
        let record = |fact| JournalRecord {
            recorded_at_ms,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            fact: Some(fact),
        };
        let records: Vec<Vec<u8>> = facts.into_iter().map(|fact| record(fact).encode_to_vec()).collect();
        let Some(running) = &mut self.running else { return Err(NotWritten::Over) };
        match (&self.place, &mut running.journal) {
            (Place::Shared(log), _) => {
                log.borrow_mut().extend(records);
                self.catch_up();
            }
            (_, Some(journal)) => {
                journal
                    .append(&records)
                    .map_err(|error| if error.is_full() { NotWritten::Full } else { NotWritten::Over })?;
                records.iter().for_each(|bytes| running.take_in(bytes));
            }
            _ => return Err(NotWritten::Over),
        }
        Ok(())
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
        if let Some(known) = asker.known(&running.fold, now)? {
            return Ok(known);
        }
        let by_itself = self.wrong == Some(Wrong::TokenCountedLocally);
        let customer = running.fold.registry().admits(&asker.token, now).map(ToString::to_string);
        self.write(asker.machine.as_str(), "", vec![asker.fact()], now_ms).map_err(|error| match error {
            NotWritten::Full => Some(Status::resource_exhausted("the collector's disk is full")),
            NotWritten::Over => None,
        })?;
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
        if let Some(older) = running.streams.insert(machine.clone(), connection) {
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
        let welcome = greeting::welcome(hello, tip, told_ms, String::new());
        down.push(Down::Say(connection, Body::Welcome(welcome)));
        let offered = Settings::decode(settings.payload.as_slice()).map_or(0, |settings| settings.revision);
        if offered > revision {
            down.push(Down::Say(connection, Body::Settings(settings.clone())));
        }
        let talk = Talk { machine, key: key.public().clone(), pending: VecDeque::new() };
        running.talks.insert(connection, talk);
        down
    }

    /// Evidence came over a connection and waits for its turn; how much of it waits there now.
    pub fn evidence(&mut self, connection: u64, signed: Signed) -> usize {
        let Some(running) = &mut self.running else { return 0 };
        let Some(talk) = running.talks.get_mut(&connection) else { return 0 };
        if talk.pending.is_empty() {
            running.turn.push_back(connection);
        }
        talk.pending.push_back(signed);
        talk.pending.len()
    }

    /// A connection is gone.
    pub fn gone(&mut self, connection: u64) {
        let Some(running) = &mut self.running else { return };
        if let Some(talk) = running.talks.remove(&connection)
            && running.streams.get(&talk.machine) == Some(&connection)
        {
            running.streams.remove(&talk.machine);
        }
    }

    /// Streams of machines that are banned by now end.
    pub fn end_banned(&mut self) -> Vec<Down> {
        let Some(running) = &self.running else { return Vec::new() };
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

    /// Whether evidence waits.
    pub fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.turn.is_empty())
    }

    /// Takes the next connection's evidence, up to a group; none: the process is over.
    pub fn take_next(&mut self, now_ms: i64) -> Option<Vec<Down>> {
        let running = self.running.as_mut()?;
        let Some(connection) = running.turn.pop_front() else { return Some(Vec::new()) };
        let Some(talk) = running.talks.get_mut(&connection) else { return Some(Vec::new()) };
        let count = talk.pending.len().min(GROUP_RECORDS_MAX);
        let group: Vec<Signed> = talk.pending.drain(..count).collect();
        if !talk.pending.is_empty() {
            running.turn.push_back(connection);
        }
        let (machine, key) = (talk.machine.clone(), talk.key.clone());
        let mut down = Vec::new();
        let mut plan = Plan::default();
        let again = (self.wrong == Some(Wrong::PendingUnbounded)).then(|| group.clone());
        let mut end = None;
        for signed in group {
            if let Err(status) = self.take_one((&machine, &key), signed, &mut plan, &mut down, now_ms)? {
                end = Some(status);
                break;
            }
        }
        if let Err(status) = self.settle(&machine, plan, &mut down, now_ms)? {
            end = Some(status);
        }
        if let (Some(again), Some(_), Some(running)) = (again, &end, &mut self.running)
            && let Some(talk) = running.talks.get_mut(&connection)
        {
            // Kept for later instead of ending the stream, with no bound on how much.
            if talk.pending.is_empty() {
                running.turn.push_back(connection);
            }
            again.into_iter().rev().for_each(|signed| talk.pending.push_front(signed));
            return Some(Vec::new());
        }
        let mut down: Vec<Down> = down.into_iter().map(|body| Down::Say(connection, body)).collect();
        if let Some(status) = end {
            self.gone(connection);
            down.push(Down::End(connection, status));
        }
        Some(down)
    }

    /// As the door's intake does; none: the process is over.
    fn take_one(
        &mut self,
        (machine, key): (&MachineId, &Public),
        signed: Signed,
        plan: &mut Plan,
        down: &mut Vec<Body>,
        now_ms: i64,
    ) -> Option<Result<(), Status>> {
        let (clock, wrong) = (instant(self.clock(now_ms)), self.wrong);
        let running = self.running.as_mut()?;
        if running.clocks.suspect().is_some() {
            return Some(Err(Status::unavailable("the collector's clock is behind the agents'")));
        }
        if !running.buckets.take(machine.clone(), since(running.opened_ms, now_ms)) {
            return Some(Err(Status::resource_exhausted("more evidence than a machine may send")));
        }
        let read = if wrong == Some(Wrong::SignatureNotChecked) {
            Evidence::parse(&signed.payload, clock).map_err(decide::Fault::from)
        } else {
            decide::read(&signed, machine, key, clock)
        };
        let evidence = match read {
            Ok(evidence) => evidence,
            Err(fault) => {
                plan.refuse(&fault, &signed.payload);
                let ends = fault.ends_the_stream();
                return Some(if ends { Err(Status::permission_denied(fault.to_string())) } else { Ok(()) });
            }
        };
        let folded = match folded_tip(&running.fold, machine, &evidence.spool) {
            Ok(tip) => tip,
            Err(_) if wrong == Some(Wrong::BanIgnored) => {
                running.fold.registry().machine(machine).and_then(|m| m.spools.get(&evidence.spool).copied())
            }
            Err(status) => return Some(Err(status)),
        };
        if wrong == Some(Wrong::TipNotChecked)
            && folded.is_some_and(|tip| tip.sequence + 1 != evidence.sequence)
        {
            let ack =
                seatbeat_proto::wire::Ack { spool: evidence.spool.to_string(), sequence: evidence.sequence };
            down.push(Body::Ack(ack));
            return Some(Ok(()));
        }
        let Some(undecided) = plan.take(signed, evidence, folded) else { return Some(Ok(())) };
        if let Err(status) = self.settle(machine, std::mem::take(plan), down, now_ms)? {
            return Some(Err(status));
        }
        let running = self.running.as_ref()?;
        let place = &undecided.evidence;
        let known = running.rows.get(&(machine.clone(), place.spool.clone(), place.sequence)).copied();
        if wrong == Some(Wrong::ForkUnflagged) && known.is_some_and(|(_, hash)| hash != place.hash) {
            down.push(Body::Refusal(decide::Reason::Forked.refusal(place)));
            return Some(Ok(()));
        }
        let on_record = |hash: &[u8; 32]| running.forks.contains(hash);
        let observed = |at: Position| Ok(self.record(at).map_or(0, |bytes| observed_at_ms(&bytes)));
        Some(plan.compare(undecided, known, on_record, observed))
    }

    fn settle(
        &mut self,
        machine: &MachineId,
        mut plan: Plan,
        down: &mut Vec<Body>,
        now_ms: i64,
    ) -> Option<Result<(), Status>> {
        let facts = plan.take_facts();
        if !facts.is_empty() {
            match self.write(machine.as_str(), "", facts, now_ms) {
                Ok(()) => {}
                Err(NotWritten::Full) if self.wrong == Some(Wrong::AckOfFullDisk) => {
                    down.extend(plan.settled().down);
                    return Some(Ok(()));
                }
                Err(NotWritten::Full) => {
                    return Some(Err(Status::resource_exhausted("the collector's disk is full")));
                }
                Err(NotWritten::Over) => return None,
            }
        }
        let running = self.running.as_mut()?;
        if !plan.is_in(&running.fold, machine) {
            return Some(Err(Status::aborted("another connection of this machine wrote meanwhile")));
        }
        let settled = plan.settled();
        running.forks.extend(settled.forks);
        down.extend(settled.down.into_iter().map(|body| match body {
            Body::Ack(ack) if self.wrong == Some(Wrong::AckTooFar) => {
                Body::Ack(seatbeat_proto::wire::Ack { sequence: ack.sequence + 1, ..ack })
            }
            body => body,
        }));
        Some(Ok(()))
    }

    fn record(&self, at: Position) -> Option<Vec<u8>> {
        match (&self.place, &self.running.as_ref()?.journal) {
            (Place::Shared(log), _) => log.borrow().get(at.0 as usize).cloned(),
            (_, Some(journal)) => journal.read_from(at, 1).ok()?.pop().map(|(_, bytes)| bytes),
            _ => None,
        }
    }
}

/// Why a record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotWritten {
    /// No room.
    Full,
    /// The process has to end.
    Over,
}

impl Running {
    /// Reads the journal on a handle of its own.
    pub fn reader(&self) -> Option<seatbeat_collector::journal::FileReader> {
        self.journal.as_ref().map(FileJournal::reader)
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.index(Position(self.fold.position()), bytes);
        let (verdict, counted) = self.fold.replay(bytes).expect("what a collector writes folds");
        self.news.push(News { bytes: bytes.to_vec(), verdict, counted });
    }

    /// As the lookup rows have it: of each place of a chain what came first.
    fn index(&mut self, at: Position, bytes: &[u8]) {
        let Ok(JournalRecord { fact: Some(Fact::EvidenceReceived(received)), .. }) =
            JournalRecord::decode(bytes)
        else {
            return;
        };
        let Some(signed) = received.evidence.filter(|_| !received.forked) else { return };
        let Ok(evidence) = Evidence::parse(&signed.payload, Timestamp::UNIX_EPOCH) else { return };
        let place = (evidence.machine, evidence.spool, evidence.sequence);
        self.rows.entry(place).or_insert((at, evidence.hash));
    }
}

fn all_of(journal: &FileJournal) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Ok(batch) = journal.read_from(Position(all.len() as u64), usize::MAX)
        && !batch.is_empty()
    {
        all.extend(batch.into_iter().map(|(_, bytes)| bytes));
    }
    all
}

/// A replay in which two records have changed places.
fn out_of_order(journal: &FileJournal) -> Result<Fold, String> {
    let mut records = all_of(journal);
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
