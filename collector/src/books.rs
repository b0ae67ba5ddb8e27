//! The books: journal, fold, vault and lookup rows as one. Invariant: what is written is durable and folded before
//! the writer hears of it; who asks reads the answer from the fold.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::checkpoint::{Checkpoint, origin};
use seatbeat_ledger::fold::{COLLECTOR, Fold, FoldError, ForMachines, Reading};
use seatbeat_ledger::merkle::leaf;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::wire::JournalRecord;
use seatbeat_proto::wire::journal_record::Fact;
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::config::Config;
use crate::follower;
use crate::jobs::leading::Term;
use crate::journal::{
    self, AppendError, Appender, Archiver, FileJournal, FileReader, Journal, JournalError, LateCheck,
    Position, SEGMENT_BYTES_MAX, Segment, WriterHandle,
};
use crate::journal_place::{self, Opened, PlaceError};
use crate::keys::{Keys, KeysError};
use crate::lookup::{Lookup, LookupError};
use crate::postgres::Address;
use crate::search::{self, Found, SearchError};
use crate::snapshot;
use crate::store::{self, Store, StoreError};
use crate::store_format::{self, FormatError};
use crate::vault::{Vault, VaultError};

/// How long a read waits for a position of the reader's own write.
const REACH_WAIT: Duration = Duration::from_secs(2);

/// Records read at once when the tail of the journal is folded at the start.
const TAIL_BATCH: usize = 4096;

/// Records after which a long start says how far it is: some seconds of folding.
const PROGRESS_EVERY: u64 = 1_000_000;

/// Records behind the newest snapshot after which a new one is due: about a second of folding at the start.
const SNAPSHOT_EVERY: u64 = 200_000;

/// Commits with orders that a follower may be behind before it has to look at all machines.
const ORDERED_KEPT: usize = 256;

/// Name of the alarm about a part of the journal that was checked after the start.
const DAMAGED: &str = "journal-damaged";

/// All that a collector keeps.
#[derive(Clone)]
pub struct Books {
    appender: Appender,
    /// Whether this collector runs the jobs; none where it is the only one.
    term: Option<watch::Receiver<Term>>,
    fold: Arc<RwLock<Fold>>,
    folded: watch::Receiver<Position>,
    bans: watch::Receiver<Position>,
    decided: Arc<AtomicU64>,
    ordered: broadcast::Sender<Ordered>,
    reader: FileReader,
    archiver: Archiver,
    vault: Arc<Vault>,
    lookup: Arc<Lookup>,
    keys: Arc<Keys>,
    clock: Clock,
    alarms: Alarms,
    folder: Arc<Path>,
}

/// Who wrote a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor<'a> {
    /// An operator's or a machine's id, or the collector.
    pub name: &'a str,
    /// The address that an operator asked from.
    pub from: Option<IpAddr>,
}

impl<'a> From<&'a str> for Actor<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, from: None }
    }
}

/// For whom a commit had orders or keys that may go out.
#[derive(Debug, Clone)]
pub enum Ordered {
    /// For these machines.
    Machines(Arc<[MachineId]>),
    /// For every machine.
    All,
}

/// What has to be stopped in order when a collector ends.
pub struct BooksEnd {
    folder: PathBuf,
    books: Books,
    writer: WriterHandle,
    follower: follower::Follower,
    _store: Store,
}

/// Books that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A later version's.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Where it is.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A record in it.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The lookup rows.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The keys in the vault.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Nobody has set the store up.
    #[error("`{0}` holds no collector's books")]
    NotFounded(PathBuf),
    /// Records that were folded before are gone.
    #[error("the journal in `{folder}` ends at record {journal}, but a snapshot was taken of {snapshot}")]
    Shortened {
        /// The store.
        folder: PathBuf,
        /// How many records the journal holds.
        journal: Position,
        /// How many it held.
        snapshot: Position,
    },
    /// The vault belongs to other books.
    #[error("the keys in the vault of `{0}` are not those that its journal names")]
    ForeignVault(PathBuf),
}

/// A record that was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The journal could not take it.
    #[error("failed to write to the journal")]
    Append(#[from] AppendError),
}

/// A position that the fold has not reached in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("position {0} is not known here yet: ask again")]
pub struct NotReached(pub u64);

/// Conditions that need a person, each named once.
#[derive(Clone, Default)]
pub struct Alarms(Arc<Mutex<BTreeMap<Cow<'static, str>, String>>>);

impl Alarms {
    /// Raises an alarm, or renews its words.
    pub fn raise(&self, name: impl Into<Cow<'static, str>>, words: String) {
        let name = name.into();
        let mut alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.get(&name) != Some(&words) {
            tracing::warn!(alarm = %name, detail = %words, "alarm raised");
            alarms.insert(name, words);
        }
    }

    /// Ends an alarm.
    pub fn clear(&self, name: &str) {
        let mut alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.remove(name).is_some() {
            tracing::info!(alarm = name, "alarm cleared");
        }
    }

    /// Whether an alarm of this name stands.
    pub fn stands(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// All that stand, by name.
    pub fn named(&self) -> Vec<(String, String)> {
        let alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.iter().map(|(name, words)| (name.to_string(), words.clone())).collect()
    }

    /// All that stand, in words.
    pub fn standing(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Books {
    /// Opens the books of a store: snapshot, then the journal's tail, then whatever lookup rows lack.
    ///
    /// # Errors
    /// When the store is in use, was never set up, or a part that counts depend on is damaged.
    pub fn open(folder: &Path, clock: Clock) -> Result<(Self, BooksEnd), BooksError> {
        Self::open_with(folder, clock, |journal| Box::new(journal))
    }

    /// As [`Books::open`], with another journal in front of the one in the files; records are read from the files.
    ///
    /// # Errors
    /// As [`Books::open`].
    pub fn open_with(
        folder: &Path,
        clock: Clock,
        journal_before: impl FnOnce(FileJournal) -> Box<dyn Journal>,
    ) -> Result<(Self, BooksEnd), BooksError> {
        Self::open_as(folder, clock, SEGMENT_BYTES_MAX, journal_before)
    }

    /// As [`Books::open`], with segments of another size.
    ///
    /// # Errors
    /// As [`Books::open`].
    #[cfg(test)]
    pub(crate) fn open_in_segments(
        folder: &Path,
        clock: Clock,
        segment_bytes_max: u64,
    ) -> Result<(Self, BooksEnd), BooksError> {
        Self::open_as(folder, clock, segment_bytes_max, |journal| Box::new(journal))
    }

    fn open_as(
        folder: &Path,
        clock: Clock,
        segment_bytes_max: u64,
        journal_before: impl FnOnce(FileJournal) -> Box<dyn Journal>,
    ) -> Result<(Self, BooksEnd), BooksError> {
        let store = Store::open(folder)?;
        if folder.join(Config::FILE).exists() {
            store_format::bring_forward(&store)?;
        }
        let address = journal_place::of_store(folder)?;
        let (journal, mut fold) = journal_and_fold(folder, &store, address.as_ref(), segment_bytes_max)?;
        let (reader, archiver) = (journal.reader(), journal.archiver());
        fold_tail(&mut fold, &reader)?;
        if fold.founded().is_none() {
            return Err(BooksError::NotFounded(folder.to_owned()));
        }
        // Left where the founding ended between its last record and this file.
        store::remove_file(&store.unfinished())?;
        let vault = Arc::new(match &address {
            Some(address) => Vault::open_shared(&store.vault(), address)?,
            None => Vault::open(&store.vault())?,
        });
        let keys = Arc::new(Keys::read(&vault)?);
        if !fold.founded().is_some_and(|founded| keys.belong_to(founded)) {
            return Err(BooksError::ForeignVault(folder.to_owned()));
        }
        let lookup = Arc::new(Lookup::open_soon(&store.lookup(), Position(fold.position()))?);
        let alarms = Alarms::default();
        let follower = follower::start(reader.clone(), Arc::clone(&lookup), alarms.clone());
        check_late(journal.check(), alarms.clone());

        let (position, folded) = watch::channel(Position(fold.position()));
        let (ordered, _) = broadcast::channel(ORDERED_KEPT);
        let (banned, bans) = watch::channel(Position(fold.position()));
        let decided = Arc::new(AtomicU64::new(fold.position()));
        let fold = Arc::new(RwLock::new(fold));
        let committed = {
            let decided = Arc::clone(&decided);
            let fold = Arc::clone(&fold);
            let feed = follower.feed();
            let ordered = ordered.clone();
            move |first: Position, batch: &[Vec<u8>]| {
                // Read before the lock is taken: whoever asks the fold waits for less.
                let readings: Vec<Reading> = batch.iter().map(|record| Reading::of(record)).collect();
                feed.bring(first, &readings);
                let has_ban = readings.iter().any(Reading::bans);
                let is_decided = readings.iter().any(|reading| !reading.is_of_machine());
                let for_machines: Vec<ForMachines> =
                    readings.iter().filter_map(Reading::for_machines).collect();
                let mut fold = fold.write().unwrap_or_else(PoisonError::into_inner);
                for reading in readings {
                    if let Err(error) = fold.take_in(reading) {
                        // Doors only append what folds; going on would answer from a wrong state.
                        tracing::error!(%error, "a record that was just written does not fold");
                        std::process::abort();
                    }
                }
                let reached = Position(fold.position());
                if is_decided {
                    decided.store(reached.0, Ordering::SeqCst);
                }
                let touched = touched(&fold, for_machines);
                drop(fold);
                position.send_replace(reached);
                if let Some(touched) = touched {
                    // Without an agent door nobody listens.
                    let _ = ordered.send(touched);
                }
                if has_ban {
                    banned.send_replace(reached);
                }
            }
        };
        let journal = match journal {
            Opened::Files(journal) => journal_before(journal),
            shared @ Opened::Shared(_) => shared.into_journal(),
        };
        let (appender, writer) = journal::start(journal, committed);
        let books = Self {
            appender,
            term: None,
            fold,
            folded,
            bans,
            decided,
            ordered,
            reader,
            archiver,
            vault,
            lookup,
            keys,
            clock,
            alarms,
            folder: folder.into(),
        };
        let end =
            BooksEnd { folder: folder.to_owned(), books: books.clone(), writer, follower, _store: store };
        Ok((books, end))
    }

    /// Writes one fact; it is durable and folded when this returns its position (behind it).
    ///
    /// # Errors
    /// When the journal cannot take it: nothing was written then.
    pub async fn write(
        &self,
        actor: impl Into<Actor<'_>>,
        reason: &str,
        fact: Fact,
    ) -> Result<Position, WriteError> {
        let record = self.record(actor.into(), reason, fact);
        let at = self.appender.append(record.encode_to_vec()).await?;
        Ok(Position(at.0 + 1))
    }

    /// Writes several facts side by side, as [`Books::write`] does one.
    ///
    /// # Errors
    /// As [`Books::write`].
    pub async fn write_all(
        &self,
        actor: impl Into<Actor<'_>>,
        reason: &str,
        facts: Vec<Fact>,
    ) -> Result<Position, WriteError> {
        let actor = actor.into();
        let count = facts.len() as u64;
        let records =
            facts.into_iter().map(|fact| self.record(actor, reason, fact).encode_to_vec()).collect();
        let first = self.appender.append_all(records).await?;
        Ok(Position(first.0 + count))
    }

    /// Writes what a job found, side by side; refused once another collector runs the jobs.
    ///
    /// # Errors
    /// As [`Books::write`], and [`AppendError::NotLeading`].
    pub async fn write_as_leader(&self, reason: &str, facts: Vec<Fact>) -> Result<Position, WriteError> {
        if self.term.is_none() {
            return self.write_all(COLLECTOR, reason, facts).await;
        }
        let fence = self.leads().ok_or(AppendError::NotLeading)?;
        let count = facts.len() as u64;
        let record = |fact| self.record(COLLECTOR.into(), reason, fact).encode_to_vec();
        let records = facts.into_iter().map(record).collect();
        let first = self.appender.append_as_leader(records, fence).await?;
        Ok(Position(first.0 + count))
    }

    /// As these books, of a collector that runs the jobs only while it is said to.
    #[must_use]
    pub fn led_by(self, term: watch::Receiver<Term>) -> Self {
        Self { term: Some(term), ..self }
    }

    /// The fence with which this collector runs the jobs; none while another does.
    pub fn leads(&self) -> Term {
        self.term.as_ref().map_or(Some(0), |term| *term.borrow())
    }

    fn record(&self, actor: Actor<'_>, reason: &str, fact: Fact) -> JournalRecord {
        // The record of a seal leaves the house whole, in bundles; that of the approval beside it says from where.
        let from = actor.from.filter(|_| !matches!(fact, Fact::StatementSealed(_)));
        JournalRecord {
            recorded_at_ms: self.clock.now_ms(),
            actor: actor.name.to_owned(),
            reason: reason.to_owned(),
            from: from.map(|address| address.to_string()).unwrap_or_default(),
            fact: Some(fact),
        }
    }

    /// Asks the fold. Keep it short: writers wait meanwhile.
    pub fn read<T>(&self, ask: impl FnOnce(&Fold) -> T) -> T {
        ask(&self.fold.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the fold has reached a position.
    ///
    /// # Errors
    /// When it has not after two seconds.
    pub async fn reached(&self, position: u64) -> Result<(), NotReached> {
        let mut folded = self.folded.clone();
        let waited = tokio::time::timeout(REACH_WAIT, folded.wait_for(|at| at.0 >= position)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NotReached(position)),
        }
    }

    /// Returns once the fold has all that other collectors on the same journal had written when it was asked: whoever was
    /// told something by one of them may come here next. At once where there is no other; soon where that cannot be told.
    pub async fn caught_up(&self) {
        self.appender.caught_up().await;
    }

    /// Returns when the writer has come by: nothing is written, but whatever was waiting before is.
    ///
    /// # Errors
    /// When the journal has failed or is closed.
    pub async fn pass_writer(&self) -> Result<(), AppendError> {
        self.appender.append_all(Vec::new()).await.map(drop)
    }

    /// Records that are durable; those that the fold has not reached are among them.
    pub fn durable(&self) -> Position {
        self.reader.size()
    }

    /// The journal's segments, as far as they are durable now.
    pub fn journal_files(&self) -> Vec<Segment> {
        self.reader.segments()
    }

    /// Bytes of the journal's segments.
    pub fn journal_bytes(&self) -> u64 {
        self.reader.bytes()
    }

    /// What moves old segments to an archive.
    pub fn archiver(&self) -> &Archiver {
        &self.archiver
    }

    /// Up to where the search rows know the journal.
    pub fn searchable(&self) -> Position {
        self.lookup.reflected()
    }

    /// The store's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that wait to be written to the journal.
    pub fn waiting_bytes(&self) -> usize {
        self.appender.waiting_bytes()
    }

    /// Follows the fold's position.
    pub fn positions(&self) -> watch::Receiver<Position> {
        self.folded.clone()
    }

    /// Follows the position behind the newest ban of a machine.
    pub fn bans(&self) -> watch::Receiver<Position> {
        self.bans.clone()
    }

    /// Where the fold stands behind the newest record that somebody decided: machines' own go on all the time.
    pub fn decided(&self) -> Position {
        Position(self.decided.load(Ordering::SeqCst))
    }

    /// Follows for whom orders or keys came that may go out.
    pub fn ordered(&self) -> broadcast::Receiver<Ordered> {
        self.ordered.subscribe()
    }

    /// Reads records of the journal.
    ///
    /// # Errors
    /// When the journal cannot be read there.
    pub fn records(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        self.reader.read_from(from, limit)
    }

    /// A machine's evidence by when it was observed, as [`search::around`].
    ///
    /// # Errors
    /// As there.
    pub fn evidence_around(
        &self,
        machine: &MachineId,
        first: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<Found>, SearchError> {
        search::around(&self.lookup, &self.reader, machine, first, end)
    }

    /// The log's newest checkpoint, signed.
    pub fn checkpoint(&self) -> String {
        let (reseller, size, root) = self.read(|fold| {
            (fold.founded().map(|f| origin(&f.reseller)).unwrap_or_default(), fold.position(), fold.root())
        });
        Checkpoint { origin: reseller, size, root }.sign(self.keys.service())
    }

    /// Names and secrets.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether the search rows know all that is folded by now.
    pub fn search_is_current(&self) -> bool {
        self.lookup.reflected().0 >= self.read(Fold::position)
    }

    /// The evidence at a place of a chain, as [`search::evidence`].
    ///
    /// # Errors
    /// As there.
    pub fn evidence(
        &self,
        machine: &MachineId,
        spool: &SpoolId,
        sequence: u64,
    ) -> Result<Option<Found>, SearchError> {
        search::evidence(&self.lookup, &self.reader, machine, spool, sequence)
    }

    /// A machine's newest evidence, as [`search::recent`].
    ///
    /// # Errors
    /// As there.
    pub fn recent(&self, machine: &MachineId, limit: usize) -> Result<Vec<Found>, SearchError> {
        search::recent(&self.lookup, &self.reader, machine, limit)
    }

    /// The collector's keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The collector's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What needs a person.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }
}

impl BooksEnd {
    /// Saves a snapshot when enough was written since the last; called now and then by whoever runs the collector.
    pub fn snapshot_if_due(&self, last: &mut u64) {
        let position = self.books.read(Fold::position);
        if position >= *last + SNAPSHOT_EVERY {
            *last = position;
            save_snapshot(&self.folder, &self.books);
        }
    }

    /// Waits until the journal has failed for good, and says why.
    pub async fn failed(&mut self) -> AppendError {
        self.writer.ended().await
    }

    /// Ends writing: what was accepted is written, then a snapshot is saved.
    ///
    /// # Errors
    /// When the journal had failed.
    pub async fn close(self) -> Result<(), AppendError> {
        let Self { folder, books, writer, follower, _store } = self;
        let closed = writer.close().await;
        let rest = move || {
            follower.stop();
            save_snapshot(&folder, &books);
        };
        if tokio::task::spawn_blocking(rest).await.is_err() {
            tracing::error!("saving the snapshot ended with a panic");
        }
        closed
    }
}

/// Whom the records of a commit bring something, once they are folded.
fn touched(fold: &Fold, all: Vec<ForMachines>) -> Option<Ordered> {
    let mut machines = Vec::new();
    for one in all {
        match one {
            ForMachines::All => return Some(Ordered::All),
            ForMachines::Machine(machine) => machines.push(machine),
            ForMachines::Order(order) => {
                machines.extend(fold.orders().order(&order).map(|order| order.machine.clone()));
            }
            ForMachines::Batch(batch) => {
                let members = fold.orders().batch(&batch).into_iter().flat_map(|batch| batch.members());
                machines.extend(members.map(|(machine, _)| machine.clone()));
            }
        }
    }
    if machines.is_empty() { None } else { Some(Ordered::Machines(machines.into())) }
}

/// What a start knows of a journal: the snapshot in a folder, when it is one of this journal, then the tail.
///
/// # Errors
/// When the journal cannot be read, does not fold, or is shorter than it was.
pub fn start(folder: &Path, reader: &FileReader) -> Result<Fold, BooksError> {
    let snapshot = snapshot::load(folder).unwrap_or_default();
    let found = snapshot.map(|snapshot| from_snapshot(folder, reader, snapshot)).transpose()?;
    let mut fold = found.flatten().unwrap_or_default();
    fold_tail(&mut fold, reader)?;
    Ok(fold)
}

/// The journal, and the fold of the snapshot as far as that fits it. Segments that the snapshot stands for are not read
/// now; without one that fits, all are.
fn journal_and_fold(
    folder: &Path,
    store: &Store,
    address: Option<&Address>,
    segment_bytes_max: u64,
) -> Result<(Opened, Fold), BooksError> {
    let open = |known| Opened::open(&store.journal(), address, known, segment_bytes_max);
    if let Some(snapshot) = snapshot::load(folder).unwrap_or_default() {
        let journal = open(snapshot.0)?;
        if let Some(fold) = from_snapshot(folder, &journal.reader(), snapshot)? {
            return Ok((journal, fold));
        }
    }
    Ok((open(Position(0))?, Fold::default()))
}

/// The fold of a snapshot; none when the snapshot is not one of this journal.
fn from_snapshot(
    folder: &Path,
    reader: &FileReader,
    (position, newest_leaf, body): snapshot::Loaded,
) -> Result<Option<Fold>, BooksError> {
    // A snapshot is taken of what is durable: nothing but a loss makes the journal shorter.
    if position > reader.size() {
        return Err(BooksError::Shortened {
            folder: folder.to_owned(),
            journal: reader.size(),
            snapshot: position,
        });
    }
    let fits = position.0 > 0
        && reader
            .read_from(Position(position.0 - 1), 1)?
            .first()
            .is_some_and(|(_, record)| leaf(record) == newest_leaf);
    let fold = postcard::from_bytes::<Fold>(&body).ok().filter(|fold| fits && fold.position() == position.0);
    if fold.is_none() {
        tracing::warn!(
            position = position.0,
            "the snapshot does not fit the journal: folding from the start"
        );
    }
    Ok(fold)
}

/// Reads the segments that the start passed over. What a snapshot stands for is counted as it was: damage there is for
/// a person to mend, and stops nothing.
fn check_late(check: LateCheck, alarms: Alarms) {
    let run = move || {
        if let Err(error) = check.check() {
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            alarms.raise(DAMAGED, format!("{error}{hint}"));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("journal check".to_owned()).spawn(run) {
        tracing::warn!(%error, "the older part of the journal is not checked");
    }
}

fn fold_tail(fold: &mut Fold, reader: &FileReader) -> Result<(), BooksError> {
    let mut said = fold.position();
    loop {
        if fold.position() >= said + PROGRESS_EVERY {
            said = fold.position();
            tracing::info!(folded = said, of = reader.size().0, "reading the journal");
        }
        let batch = reader.read_from(Position(fold.position()), TAIL_BATCH)?;
        if batch.is_empty() {
            return Ok(());
        }
        for (_, record) in batch {
            fold.apply(&record)?;
        }
    }
}

fn save_snapshot(folder: &Path, books: &Books) {
    // Written down from a copy that shares what does not change: agents do not wait for it.
    let (position, body) = encoded(&books.read(Fold::clone));
    keep_snapshot(folder, &books.reader, position, body);
}

/// A fold as the body of a snapshot, and its position.
pub fn encoded(fold: &Fold) -> (u64, Result<Vec<u8>, postcard::Error>) {
    (fold.position(), postcard::to_allocvec(fold))
}

/// Keeps a snapshot taken at a position; without one the next start takes longer.
pub fn keep_snapshot(
    folder: &Path,
    reader: &FileReader,
    position: u64,
    body: Result<Vec<u8>, postcard::Error>,
) {
    let newest = position.checked_sub(1).map(|last| reader.read_from(Position(last), 1));
    let (Ok(body), Some(Ok(newest))) = (body, newest) else { return };
    let Some((_, record)) = newest.first() else { return };
    if let Err(error) = snapshot::save(folder, Position(position), leaf(record), &body) {
        tracing::warn!(%error, "no snapshot was saved: the next start takes longer");
    }
}
