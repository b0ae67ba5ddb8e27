//! The journal in PostgreSQL: a table of records that several collectors append to. Invariant: positions have no gap and
//! their order is that of the lock on one row; a batch stands once or not at all, and is answered only when it is known
//! which.

mod address;
mod error;
mod lease;
mod schema;
mod session;
mod tls;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use futures_util::future::{join4, try_join};
use seatbeat_proto::{frame, hex};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;
use tokio_postgres::types::ToSql;

pub use address::Address;
pub use error::PostgresError;
pub use lease::{Held, LEASE_SECONDS, Lease};

use super::file::BATCH_BYTES_MAX;
use super::reader::READ_BYTES_MAX;
use super::{Journal, JournalError, Position};
use session::Session;

/// How long a database that went away is tried before a batch is given back.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one is tried that was away before.
const PATIENCE_WHILE_AWAY: Duration = Duration::from_secs(2);

/// Pause between tries, at most; it begins with a tenth.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Records asked for at once, at first; then as many as usual ones fill an answer.
const READ_ROWS_FIRST: usize = 64;
const READ_ROWS_MAX: usize = 4096;

/// Bytes asked for at once, about: four such answers are one of a reader's.
const READ_ROWS_BYTES: usize = READ_BYTES_MAX / 4;

/// A journal in a database.
pub struct PostgresJournal {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    inside: Mutex<Inside>,
}

/// What goes on, in the journal's own runtime.
struct Inside {
    address: Address,
    session: Option<Session>,
    /// How many there were.
    sessions: u64,
    /// Names this opening among all that ever append.
    writer: String,
    /// Of the newest batch of this writer that is known to stand.
    number: i64,
    size: Position,
    is_away: bool,
    failed: bool,
}

impl PostgresJournal {
    /// Makes the tables of an address, or what they lack; whether there were none.
    ///
    /// # Errors
    /// When the database cannot be reached, refuses, or has tables of a later version.
    pub fn migrate(address: &Address) -> Result<bool, JournalError> {
        let runtime = runtime()?;
        let found = wait(&runtime, schema::migrate(address));
        runtime.shutdown_background();
        Ok(found?.is_none())
    }

    /// How many records an address holds; nothing there is changed.
    ///
    /// # Errors
    /// As [`PostgresJournal::open`].
    pub fn size_at(address: &Address) -> Result<Position, JournalError> {
        let runtime = runtime()?;
        let mut inside = Inside::of(address.clone());
        let size = wait(&runtime, inside.look());
        runtime.shutdown_background();
        size
    }

    /// Opens the journal at an address.
    ///
    /// # Errors
    /// When the database cannot be reached, is set to lose what it acknowledged, or has not this version's tables.
    pub fn open(address: Address) -> Result<Self, JournalError> {
        let runtime = runtime()?;
        let journal = Self { runtime: Some(runtime), inside: Mutex::new(Inside::of(address)) };
        journal.with(|inside, runtime| wait(runtime, inside.begin()))?;
        Ok(journal)
    }

    /// Where it is, without user and password.
    pub fn place(&self) -> String {
        self.inside().address.to_string()
    }

    /// How often it was connected to: behind each time there may be a database that lost something.
    pub fn sessions(&self) -> u64 {
        self.inside().sessions
    }

    /// Asks for the size anew: others may have appended.
    ///
    /// # Errors
    /// When the database cannot be asked; [`PostgresError::is_away`] where it may be again later.
    pub fn look(&mut self) -> Result<Position, JournalError> {
        self.with(|inside, runtime| wait(runtime, inside.look()))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inside, &Runtime) -> T) -> T {
        let runtime = self.runtime.as_ref().expect("the runtime is there until the journal is dropped");
        act(&mut self.inside(), runtime)
    }
}

impl Drop for PostgresJournal {
    fn drop(&mut self) {
        // Not waited for: whoever drops it may be a task of another runtime.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl PostgresJournal {
    fn append_under(&mut self, batch: &[Vec<u8>], fence: Option<i64>) -> Result<Position, JournalError> {
        let bytes = batch.iter().map(|record| frame::HEADER_LENGTH + record.len()).sum();
        let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
        for (bytes, limit) in [(bytes, BATCH_BYTES_MAX), (longest, frame::BODY_LENGTH_MAX)] {
            if bytes > limit {
                return Err(JournalError::TooLarge { bytes, limit });
            }
        }
        self.with(|inside, runtime| {
            if inside.failed {
                return Err(PostgresError::Failed { place: inside.address.to_string() }.into());
            }
            if batch.is_empty() {
                return Ok(inside.size);
            }
            let appended = wait(runtime, inside.append(batch, fence));
            inside.failed = appended.as_ref().is_err_and(JournalError::is_final);
            appended
        })
    }
}

impl Journal for PostgresJournal {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        self.append_under(batch, None)
    }

    fn append_as_leader(&mut self, batch: &[Vec<u8>], fence: i64) -> Result<Position, JournalError> {
        self.append_under(batch, Some(fence))
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        self.with(|inside, runtime| wait(runtime, inside.read_from(from, limit)))
    }

    fn size(&self) -> Position {
        self.inside().size
    }
}

fn runtime() -> Result<Runtime, JournalError> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|source| JournalError::Io {
        act: "start a runtime for",
        path: PathBuf::from("postgres"),
        source,
    })
}

/// Runs to the end on this thread, or on one of its own where this one serves other tasks.
fn wait<T: Send>(runtime: &Runtime, act: impl Future<Output = T> + Send) -> T {
    if Handle::try_current().is_err() {
        return runtime.block_on(act);
    }
    let run = thread::scope(|scope| scope.spawn(|| runtime.block_on(act)).join());
    run.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// 128 random bits: two openings never have the same.
fn random_name() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::format(&bytes)
}

/// Tries, and how long they may go on.
struct Tries {
    until: Instant,
    pause: Duration,
}

impl Tries {
    fn for_at_most(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, pause: PAUSE_MAX / 10 }
    }

    /// Waits for the next try; false when there is none.
    async fn again(&mut self) -> bool {
        if Instant::now() + self.pause > self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = PAUSE_MAX.min(self.pause * 2);
        true
    }
}

impl Inside {
    fn of(address: Address) -> Self {
        Self {
            address,
            session: None,
            sessions: 0,
            writer: random_name(),
            number: 0,
            size: Position(0),
            is_away: false,
            failed: false,
        }
    }

    /// Connects, and notes the writer before it appends anything.
    async fn begin(&mut self) -> Result<(), JournalError> {
        let mut tries = Tries::for_at_most(PATIENCE_WHILE_AWAY);
        let noted = "INSERT INTO seatbeat.writers (writer, number, first) SELECT CAST($1 AS varchar), 0, 0 \
                     WHERE NOT EXISTS (SELECT 1 FROM seatbeat.writers WHERE writer = CAST($1 AS varchar))";
        loop {
            let writer = self.writer.clone();
            let begun = async {
                let session = self.session().await?;
                session.ask("note a writer in", session.client.execute(noted, &[&writer])).await?;
                self.ask_size().await
            };
            match begun.await {
                Ok(()) => return Ok(()),
                Err(error) => self.after(error, &mut tries).await?,
            }
        }
    }

    async fn look(&mut self) -> Result<Position, JournalError> {
        match self.ask_size().await {
            Ok(()) => Ok(self.size),
            Err(error) => {
                self.session = None;
                Err(if error.passes() { self.away(error) } else { error.into() })
            }
        }
    }

    async fn ask_size(&mut self) -> Result<(), PostgresError> {
        let session = self.session().await?;
        let row = session.ask("read from", session.client.query_one(&session.size, &[])).await?;
        self.size = Position(row.get::<_, i64>(0).unsigned_abs());
        self.is_away = false;
        Ok(())
    }

    async fn session(&mut self) -> Result<&mut Session, PostgresError> {
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => {
                let session = Session::open(&self.address).await?;
                self.sessions += 1;
                session
            }
        };
        Ok(self.session.insert(session))
    }

    /// What an error means: nothing when it is tried again.
    async fn after(&mut self, error: PostgresError, tries: &mut Tries) -> Result<(), JournalError> {
        self.session = None;
        if !error.passes() {
            return Err(error.into());
        }
        tracing::debug!(%error, "the journal's database is tried again");
        if tries.again().await { Ok(()) } else { Err(self.away(error)) }
    }

    fn away(&mut self, error: PostgresError) -> JournalError {
        self.is_away = true;
        PostgresError::Away { place: self.address.to_string(), source: Box::new(error) }.into()
    }

    async fn append(&mut self, batch: &[Vec<u8>], fence: Option<i64>) -> Result<Position, JournalError> {
        let mut tries = Tries::for_at_most(if self.is_away { PATIENCE_WHILE_AWAY } else { PATIENCE });
        let mut in_doubt = false;
        loop {
            let error = match self.try_append(batch, fence, &mut in_doubt).await {
                Ok(first) => {
                    self.number += 1;
                    self.size = first.plus(batch.len() as u64);
                    self.is_away = false;
                    return Ok(first);
                }
                Err(error) => error,
            };
            if error.is_full() && !in_doubt {
                self.session = None;
                let path = PathBuf::from(self.address.to_string());
                return Err(JournalError::Full {
                    path,
                    source: io::Error::new(io::ErrorKind::StorageFull, error),
                });
            }
            match self.after(error, &mut tries).await {
                Err(JournalError::Postgres(PostgresError::Away { place, source })) if in_doubt => {
                    return Err(PostgresError::InDoubt { place, source }.into());
                }
                again => again?,
            }
        }
    }

    /// Appends in one transaction. `in_doubt`: whether this batch was committed before without an answer; then it is
    /// looked for first, behind the lock that whoever commits it still holds.
    async fn try_append(
        &mut self,
        batch: &[Vec<u8>],
        fence: Option<i64>,
        in_doubt: &mut bool,
    ) -> Result<Position, PostgresError> {
        let (writer, number) = (self.writer.clone(), self.number + 1);
        let place = self.address.to_string();
        let session = self.session().await?;
        let client = &session.client;
        let begin = client.batch_execute("START TRANSACTION ISOLATION LEVEL READ COMMITTED");
        let ((), head) =
            session.ask("lock the head of", try_join(begin, client.query_one(&session.lock, &[]))).await?;
        let (size, newest, now): (i64, i32, i32) = (head.get(0), head.get(1), head.get(2));
        if *in_doubt {
            let known = session.ask("read from", client.query_opt(&session.known, &[&writer])).await?;
            let known = known.map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
            let (stands, first) = known.ok_or_else(|| PostgresError::Other {
                place: place.clone(),
                what: "this collector's own mark is gone".to_owned(),
            })?;
            if stands == number {
                session.ask("leave", client.batch_execute("ROLLBACK")).await?;
                *in_doubt = false;
                return Ok(Position(first.unsigned_abs()));
            }
            *in_doubt = false;
        }
        if let Some(fence) = fence {
            let held = session.ask("read the jobs' lease of", client.query_one(&session.fence, &[])).await?;
            if held.get::<_, i64>(0) != fence {
                session.ask("leave", client.batch_execute("ROLLBACK")).await?;
                return Err(PostgresError::Superseded { place });
            }
        }
        let month = newest.max(now);
        if month != newest {
            session.ask("make room for a month in", client.batch_execute(&new_month(month, size))).await?;
        }
        let checksums: Vec<i32> = batch.iter().map(|record| checksum(record)).collect();
        let bodies: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        let end = size + batch.len() as i64;
        // One behind the other in one go: the lock is held for one way there and back, and the database's sync.
        let insert: [&(dyn ToSql + Sync); 4] = [&month, &size, &checksums, &bodies];
        let advance: [&(dyn ToSql + Sync); 2] = [&end, &month];
        let note: [&(dyn ToSql + Sync); 3] = [&writer, &number, &size];
        *in_doubt = true;
        let written = join4(
            client.execute(&session.insert, &insert),
            client.execute(&session.advance, &advance),
            client.execute(&session.note, &note),
            client.batch_execute("COMMIT"),
        );
        let written = session.ask("append to", async { Ok(written.await) }).await?;
        let failed = |source| PostgresError::Sql { act: "append to", place: place.clone(), source };
        let (inserted, advanced, noted, committed) = written;
        let changed = [inserted, advanced, noted].into_iter().collect::<Result<Vec<u64>, _>>();
        let changed = match (changed, committed) {
            // A failed statement makes of the commit a rollback.
            (Err(error), Ok(())) => {
                *in_doubt = false;
                return Err(failed(error));
            }
            (_, Err(error)) => {
                let error = failed(error);
                *in_doubt = !error.undid();
                return Err(error);
            }
            (Ok(changed), Ok(())) => changed,
        };
        if changed != [batch.len() as u64, 1, 1] {
            let what = format!("a batch of {} records changed {changed:?} rows", batch.len());
            return Err(PostgresError::Other { place, what });
        }
        Ok(Position(size.unsigned_abs()))
    }

    async fn read_from(
        &mut self,
        from: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        let mut tries = Tries::for_at_most(if self.is_away { PATIENCE_WHILE_AWAY } else { PATIENCE });
        let (mut records, mut bytes, mut rows_max) = (Vec::new(), 0, READ_ROWS_FIRST);
        while records.len() < limit && bytes < READ_BYTES_MAX {
            let next = from.plus(records.len() as u64);
            let rows = match self.try_read(next, rows_max.min(limit - records.len())).await {
                Ok(rows) => rows,
                Err(error) => {
                    self.after(error, &mut tries).await?;
                    continue;
                }
            };
            let (count, mut of_all) = (rows.len(), 0);
            for record in rows {
                of_all += record.len();
                if bytes < READ_BYTES_MAX {
                    bytes += record.len();
                    records.push((from.plus(records.len() as u64), record));
                }
            }
            if count < rows_max {
                break;
            }
            let usual = (of_all / count).max(1);
            rows_max = (READ_ROWS_BYTES / usual).clamp(1, READ_ROWS_MAX);
        }
        Ok(records)
    }

    /// Reads records; fewer than `limit` where the journal ends.
    async fn try_read(&mut self, from: Position, limit: usize) -> Result<Vec<Vec<u8>>, PostgresError> {
        let place = self.address.to_string();
        let session = self.session().await?;
        let (first, limit) = (from.0.cast_signed(), limit as i64);
        let rows = session.ask("read from", session.client.query(&session.read, &[&first, &limit])).await?;
        let records = rows.iter().enumerate().map(|(offset, row)| {
            let (expected, found) = (first + offset as i64, row.get::<_, i64>(0));
            let (sum, record): (i32, &[u8]) = (row.get(1), row.get(2));
            let damaged = |what| {
                let position = expected.unsigned_abs();
                Err(PostgresError::Damaged { place: place.clone(), position, what })
            };
            match (found == expected, checksum(record) == sum) {
                (true, true) => Ok(record.to_vec()),
                (true, false) => damaged("is not as it was written"),
                (false, _) => damaged("is missing"),
            }
        });
        records.collect()
    }
}

fn checksum(record: &[u8]) -> i32 {
    crc32c::crc32c(record).cast_signed()
}

/// A partition for the records of a month, which begins behind those that are there.
fn new_month(month: i32, first: i64) -> String {
    format!(
        "CREATE TABLE seatbeat.records_{month} PARTITION OF seatbeat.records FOR VALUES FROM ({month}) TO ({next}); \
         INSERT INTO seatbeat.months (month, first) VALUES ({month}, {first})",
        next = month + 1
    )
}

#[cfg(test)]
pub(super) mod tests;
