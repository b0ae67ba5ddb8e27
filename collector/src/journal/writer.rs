//! The group commit: many callers, one thread that writes, one sync for all that waited.
//! Invariant: a caller is answered only after its records are durable and `committed` has seen them, in order.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use seatbeat_proto::frame;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::file::BATCH_BYTES_MAX;
use super::{Condition, Journal, JournalError, Position};
use crate::looks::{Looked, Looks};
use crate::postgres::PostgresError;

/// Most records gathered into one batch: more would make the first of them wait without saving a sync that counts.
pub const BATCH_RECORDS_MAX: usize = 512;

/// Most bytes gathered into one batch; only a single group of records may be larger (up to [`BATCH_BYTES_MAX`]).
pub const GATHER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest that the first record of a batch waits for others, about what one sync of a plain disk takes. A record
/// that comes alone does not wait at all.
pub const GATHER_MILLISECONDS_MAX: u64 = 5;

/// How often a batch that gathers looks for others. Woken by each of them, the writer would cost more than the sync.
const GATHER_STEP: Duration = Duration::from_millis(1);

/// Bytes that may wait to be written; whoever brings more waits before its records are taken.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why records were not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room on the disk. Nothing of it was kept; try again later.
    #[error("the journal is full: {0}")]
    Full(Arc<str>),
    /// The journal's database cannot be reached. Nothing of it was kept; try again later.
    #[error("the journal is away: {0}")]
    Away(Arc<str>),
    /// The journal's database went away in the middle. Whether it was kept shows once it is back.
    #[error("whether the journal has kept it is not known: {0}")]
    Unknown(Arc<str>),
    /// Another collector runs the jobs by now. Nothing of it was kept.
    #[error("another collector runs the jobs")]
    NotLeading,
    /// The writer has stopped for good; the process is expected to exit. Whether the records were kept shows at the
    /// next start.
    #[error("the journal has failed: {0}")]
    Fatal(Arc<str>),
    /// The writer was closed before it took the records.
    #[error("the journal is closed")]
    Closed,
    /// More at once than the journal takes.
    #[error("{bytes} bytes are more than the journal takes at once ({limit})")]
    TooLarge {
        /// How many came.
        bytes: usize,
        /// How many may.
        limit: usize,
    },
}

impl AppendError {
    fn of(error: &JournalError) -> Self {
        match error {
            JournalError::Full { .. } => Self::Full(chain(error)),
            JournalError::Postgres(PostgresError::Superseded { .. }) => Self::NotLeading,
            JournalError::Postgres(PostgresError::InDoubt { .. }) => Self::Unknown(chain(error)),
            error if error.is_full() => Self::Away(chain(error)),
            JournalError::TooLarge { bytes, limit } => Self::TooLarge { bytes: *bytes, limit: *limit },
            _ => Self::Fatal(chain(error)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> Arc<str> {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")).into()
}

/// Records of one caller, and how to answer it.
struct Group {
    records: Vec<Vec<u8>>,
    bytes: usize,
    answer: oneshot::Sender<Result<Position, AppendError>>,
    /// Of the lease under which a job wrote it.
    fence: Option<i64>,
    /// The group's share of the queue.
    room: OwnedSemaphorePermit,
}

impl Group {
    fn answer(self, answer: Result<Position, AppendError>) {
        drop(self.room);
        // A caller that is gone needs no answer.
        let _ = self.answer.send(answer);
    }
}

enum Job {
    Append(Group),
    Close,
}

/// Hands records to the writer.
#[derive(Clone)]
pub struct Appender {
    jobs: mpsc::UnboundedSender<Job>,
    room: Arc<Semaphore>,
    ending: Arc<OnceLock<AppendError>>,
    /// Where others append, too.
    looked: Option<Looked>,
}

impl Appender {
    /// Appends one record; as [`Appender::append_all`].
    ///
    /// # Errors
    /// As [`Appender::append_all`].
    pub async fn append(&self, record: Vec<u8>) -> Result<Position, AppendError> {
        self.append_all(vec![record]).await
    }

    /// Appends records, adjacent and in order, all or none. Answers the position of the first one when all are
    /// durable and `committed` has returned. Dropping the future does not take back records already handed over.
    ///
    /// # Errors
    /// [`AppendError::Full`] and [`AppendError::TooLarge`] leave nothing behind; see each.
    pub async fn append_all(&self, records: Vec<Vec<u8>>) -> Result<Position, AppendError> {
        self.append_under(records, None).await
    }

    /// As [`Appender::append_all`], for a job under a lease with this fence.
    ///
    /// # Errors
    /// As there, and [`AppendError::NotLeading`].
    pub async fn append_as_leader(&self, records: Vec<Vec<u8>>, fence: i64) -> Result<Position, AppendError> {
        self.append_under(records, Some(fence)).await
    }

    async fn append_under(&self, records: Vec<Vec<u8>>, fence: Option<i64>) -> Result<Position, AppendError> {
        let bytes = records.iter().map(|record| frame::HEADER_LENGTH + record.len()).sum();
        let longest = records.iter().map(Vec::len).max().unwrap_or(0);
        for (bytes, limit) in [(bytes, BATCH_BYTES_MAX), (longest, frame::BODY_LENGTH_MAX)] {
            if bytes > limit {
                return Err(AppendError::TooLarge { bytes, limit });
            }
        }
        let room =
            Arc::clone(&self.room).acquire_many_owned(bytes as u32).await.map_err(|_| self.ending())?;
        let (answer, answered) = oneshot::channel();
        let group = Group { records, bytes, answer, fence, room };
        self.jobs.send(Job::Append(group)).map_err(|_| self.ending())?;
        answered.await.unwrap_or_else(|_| Err(self.ending()))
    }

    /// Bytes that wait to be written, of [`QUEUE_BYTES_MAX`] that may: a door that sees little room left should
    /// refuse early.
    pub fn waiting_bytes(&self) -> usize {
        QUEUE_BYTES_MAX.saturating_sub(self.room.available_permits())
    }

    /// Returns once `committed` has seen all that others had appended when it was asked; at once where nobody else does.
    /// Nothing is waited for after a while: the journal may be away.
    pub async fn caught_up(&self) {
        if let Some(looked) = &self.looked {
            looked.caught_up().await;
        }
    }

    fn ending(&self) -> AppendError {
        self.ending.get().cloned().unwrap_or(AppendError::Closed)
    }
}

/// The writer thread, seen from outside. Dropping it lets the thread go on until the last [`Appender`] is gone.
pub struct WriterHandle {
    jobs: mpsc::WeakUnboundedSender<Job>,
    ended: watch::Receiver<()>,
    ending: Arc<OnceLock<AppendError>>,
}

impl WriterHandle {
    /// Returns when the writer has ended and let go of its journal: [`AppendError::Closed`] after a close,
    /// [`AppendError::Fatal`] when the process should exit.
    pub async fn ended(&mut self) -> AppendError {
        while self.ended.changed().await.is_ok() {}
        self.ending.get().cloned().unwrap_or(AppendError::Closed)
    }

    /// Takes no more records, writes those that wait, answers them, and returns when the journal is let go.
    ///
    /// # Errors
    /// [`AppendError::Fatal`] when the writer had failed.
    pub async fn close(mut self) -> Result<(), AppendError> {
        if let Some(jobs) = self.jobs.upgrade() {
            let _ = jobs.send(Job::Close);
        }
        match self.ended().await {
            AppendError::Closed => Ok(()),
            failed => Err(failed),
        }
    }
}

/// Starts the one thread that writes the journal. `committed` is called on it with each durable batch and the
/// position of its first record, in order, before the callers are answered: the fold runs there. What others append
/// to the journal from here on comes to it as well, in its place.
pub fn start(
    journal: Box<dyn Journal>,
    committed: impl FnMut(Position, &[Vec<u8>]) + Send + 'static,
) -> (Appender, WriterHandle) {
    let (jobs, queue) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    let ending = Arc::new(OnceLock::new());
    let (end, ended) = watch::channel(());
    let handle = WriterHandle { jobs: jobs.downgrade(), ended, ending: Arc::clone(&ending) };
    let looks = Looks::default();
    let looked = journal.look_every().map(|_| looks.watched());
    let appender = Appender { jobs, room: Arc::clone(&room), ending: Arc::clone(&ending), looked };
    let last_words = LastWords { room: Arc::clone(&room), ending: Arc::clone(&ending), _end: end };
    let writer = Writer {
        passed: journal.size(),
        journal,
        committed,
        queue,
        room,
        ending: Arc::clone(&ending),
        closing: false,
        answers: Answers::start(),
        looks,
    };
    let spawned = thread::Builder::new().name("journal".into()).spawn(move || {
        // Dropped behind the writer, so that the journal is let go before anyone hears of the end.
        let _last_words = last_words;
        writer.run();
    });
    if let Err(error) = spawned {
        let _ = ending.set(AppendError::Fatal(format!("failed to start the writer thread: {error}").into()));
    }
    (appender, handle)
}

/// Tells everyone that the thread has ended, even when it panicked.
struct LastWords {
    room: Arc<Semaphore>,
    ending: Arc<OnceLock<AppendError>>,
    _end: watch::Sender<()>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let _ = self.ending.set(AppendError::Fatal("the writer thread panicked".into()));
        self.room.close();
    }
}

struct Writer<C> {
    journal: Box<dyn Journal>,
    /// What `committed` has seen.
    passed: Position,
    committed: C,
    queue: mpsc::UnboundedReceiver<Job>,
    room: Arc<Semaphore>,
    ending: Arc<OnceLock<AppendError>>,
    closing: bool,
    answers: Answers,
    looks: Looks,
}

impl<C: FnMut(Position, &[Vec<u8>])> Writer<C> {
    fn run(mut self) {
        let ending = self.write_until_the_end();
        let _ = self.ending.set(ending.clone());
        self.room.close();
        self.queue.close();
        while let Ok(job) = self.queue.try_recv() {
            if let Job::Append(group) = job {
                group.answer(Err(ending.clone()));
            }
        }
    }

    fn write_until_the_end(&mut self) -> AppendError {
        let timer = match self.journal.look_every().map(Timer::every).transpose() {
            Ok(timer) => timer,
            Err(error) => return AppendError::Fatal(format!("failed to start a timer: {error}").into()),
        };
        let mut left_over = None;
        loop {
            let first = match left_over.take() {
                Some(group) => group,
                None => match self.wait(timer.as_ref()) {
                    Ok(Some(Job::Append(group))) => group,
                    Ok(Some(Job::Close)) => {
                        self.close();
                        continue;
                    }
                    Ok(None) => return AppendError::Closed,
                    Err(fatal) => return fatal,
                },
            };
            let mut batch = Batch::new(first);
            self.gather(&mut batch, &mut left_over);
            if let Err(fatal) = self.commit(batch) {
                left_over.into_iter().for_each(|group: Group| group.answer(Err(fatal.clone())));
                return fatal;
            }
        }
    }

    fn close(&mut self) {
        self.closing = true;
        self.room.close();
        self.queue.close();
    }

    /// Waits for something to do, and takes in meanwhile what others append.
    fn wait(&mut self, timer: Option<&Timer>) -> Result<Option<Job>, AppendError> {
        let Some(timer) = timer else { return Ok(self.queue.blocking_recv()) };
        loop {
            let waited = timer.runtime.block_on(async { timeout(timer.every, self.queue.recv()).await });
            if let Ok(job) = waited {
                return Ok(job);
            }
            let look = self.looks.begin();
            match self.journal.look() {
                Ok(()) => {
                    self.pass_until(self.journal.size())?;
                    self.looks.end(&look);
                }
                // It is looked again; what is to be written says so to whom it concerns.
                Err(error) if error.is_full() => tracing::debug!(%error, "others' records are not seen"),
                Err(error) => return Err(AppendError::of(&error)),
            }
        }
    }

    /// Hands on what others appended before a position.
    fn pass_until(&mut self, position: Position) -> Result<(), AppendError> {
        while self.passed < position {
            let limit = usize::try_from(position.0 - self.passed.0).unwrap_or(usize::MAX);
            let read = self.journal.read_from(self.passed, limit.min(BATCH_RECORDS_MAX));
            let read = read.map_err(|error| AppendError::Fatal(chain(&error)))?;
            let records: Vec<Vec<u8>> = read.into_iter().map(|(_, record)| record).collect();
            if records.is_empty() {
                return Err(AppendError::Fatal(format!("record {} cannot be read", self.passed).into()));
            }
            (self.committed)(self.passed, &records);
            self.passed = self.passed.plus(records.len() as u64);
        }
        Ok(())
    }

    /// Takes what waits already; when that is more than one group, others are at it too and get a moment, which ends
    /// when nobody comes any more.
    fn gather(&mut self, batch: &mut Batch, left_over: &mut Option<Group>) {
        self.take_waiting(batch, left_over);
        if batch.groups.len() < 2 {
            return;
        }
        for _ in 0..GATHER_MILLISECONDS_MAX {
            let before = batch.groups.len();
            if left_over.is_some() || self.closing {
                return;
            }
            thread::sleep(GATHER_STEP);
            self.take_waiting(batch, left_over);
            if batch.groups.len() == before {
                return;
            }
        }
    }

    fn take_waiting(&mut self, batch: &mut Batch, left_over: &mut Option<Group>) {
        while left_over.is_none() {
            match self.queue.try_recv() {
                Ok(Job::Append(group)) if batch.fits(&group) => batch.push(group),
                Ok(Job::Append(group)) => *left_over = Some(group),
                Ok(Job::Close) => self.close(),
                Err(_) => return,
            }
        }
    }

    fn commit(&mut self, batch: Batch) -> Result<(), AppendError> {
        let Batch { records, groups, fence, .. } = batch;
        let look = self.looks.begin();
        let appended = match fence {
            Some(fence) => self.journal.append_if(&records, Condition::Leads(fence)),
            None => self.journal.append(&records),
        };
        let first = match appended {
            Ok(first) => first,
            Err(error) => {
                let error = AppendError::of(&error);
                groups.into_iter().for_each(|(_, group)| group.answer(Err(error.clone())));
                return if matches!(error, AppendError::Fatal(_)) { Err(error) } else { Ok(()) };
            }
        };
        if !records.is_empty() {
            if let Err(fatal) = self.pass_until(first) {
                groups.into_iter().for_each(|(_, group)| group.answer(Err(fatal.clone())));
                return Err(fatal);
            }
            (self.committed)(first, &records);
            self.passed = first.plus(records.len() as u64);
            self.looks.end(&look);
        }
        self.answers.give(groups.into_iter().map(|(offset, group)| (group, first.plus(offset))).collect());
        Ok(())
    }
}

/// When to look for others' records.
struct Timer {
    every: Duration,
    runtime: Runtime,
}

impl Timer {
    fn every(every: Duration) -> std::io::Result<Self> {
        Ok(Self { every, runtime: Builder::new_current_thread().enable_time().build()? })
    }
}

/// Groups that are durable, each with the position of its first record.
type Durable = Vec<(Group, Position)>;

/// Tells the callers of a commit. From a foreign thread each of them would cost a wake-up of its own; a task among the
/// callers is woken once and tells them all.
struct Answers(Option<mpsc::UnboundedSender<Durable>>);

impl Answers {
    /// In the runtime of whoever starts the writer, where it has threads that go on by themselves.
    fn start() -> Self {
        let runtime = Handle::try_current().ok();
        let runtime = runtime.filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        Self(runtime.map(|runtime| {
            let (give, mut given) = mpsc::unbounded_channel();
            runtime.spawn(async move {
                while let Some(durable) = given.recv().await {
                    tell(durable);
                }
            });
            give
        }))
    }

    fn give(&self, durable: Durable) {
        match &self.0 {
            Some(give) if durable.len() > 1 => {
                if let Err(mpsc::error::SendError(durable)) = give.send(durable) {
                    tell(durable);
                }
            }
            _ => tell(durable),
        }
    }
}

fn tell(durable: Durable) {
    durable.into_iter().for_each(|(group, first)| group.answer(Ok(first)));
}

/// Groups that are written together.
struct Batch {
    records: Vec<Vec<u8>>,
    bytes: usize,
    /// Of its one group, where that is a job's.
    fence: Option<i64>,
    /// Each with the number of records before it.
    groups: Vec<(u64, Group)>,
}

impl Batch {
    fn new(first: Group) -> Self {
        let fence = first.fence;
        let mut batch = Self { records: Vec::new(), bytes: 0, fence, groups: Vec::new() };
        batch.push(first);
        batch
    }

    fn push(&mut self, mut group: Group) {
        let offset = self.records.len() as u64;
        self.records.append(&mut group.records);
        self.bytes += group.bytes;
        self.groups.push((offset, group));
    }

    fn fits(&self, group: &Group) -> bool {
        // A job's own: that it is refused is not the agents' matter.
        self.fence.is_none()
            && group.fence.is_none()
            && self.records.len() + group.records.len() <= BATCH_RECORDS_MAX
            && self.bytes + group.bytes <= GATHER_BYTES_MAX
    }
}

#[cfg(test)]
mod tests;
