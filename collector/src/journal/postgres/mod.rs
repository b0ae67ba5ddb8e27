//! The journal in PostgreSQL: a table of records that several collectors append to. Invariant: positions have no gap and
//! their order is that of the lock on one row; a batch stands once or not at all, and is answered only when it is known
//! which. A record is in the table or in an archive at every instant.

mod lease;
mod parts;
mod pruner;
mod reading;
mod session;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join4;
use seatbeat_proto::frame;
use tokio_postgres::types::ToSql;

pub use lease::{Held, LEASE_SECONDS, Lease};
pub use parts::{Month, Parts};
pub use pruner::{Pruned, Pruner};

use super::archive::{Archives, Index};
use super::file::BATCH_BYTES_MAX;
use super::reader::{FileReader, InArchive};
use super::{Condition, Journal, JournalError, Position};
use crate::postgres::{Address, Engine, Line, PostgresError, Tries, random_name};
use session::Session;

/// How long a database that went away is tried before a batch is given back.
const PATIENCE: Duration = Duration::from_secs(30);

/// A journal in a database.
pub struct PostgresJournal {
    engine: Engine,
    inside: Mutex<Inside>,
}

/// What goes on, in the journal's own runtime.
struct Inside {
    line: Line<Session>,
    /// Names this opening among all that ever append.
    writer: String,
    /// Of the newest batch of this writer that is known to stand.
    number: i64,
    /// Whether the next batch was committed without an answer: it may stand.
    in_doubt: bool,
    size: Position,
    failed: bool,
    archives: Archives,
    /// What was in archives when that was asked for last; what is there stays.
    archived: FileReader,
    /// Where the table began then: what stands before is in archives alone.
    begins: Position,
}

/// What a look at a database shows.
#[derive(Debug)]
pub struct Looked {
    /// How many records it holds.
    pub size: Position,
    /// What of them is in archives.
    pub archived: Vec<InArchive>,
}

impl PostgresJournal {
    /// How many records an address holds; nothing there is changed.
    ///
    /// # Errors
    /// As [`PostgresJournal::open`].
    pub fn size_at(address: &Address) -> Result<Position, JournalError> {
        let engine = Engine::start().map_err(PostgresError::from)?;
        engine.wait(Inside::of(address.clone()).look())
    }

    /// How many records an address holds, and what of them is in archives; nothing there is changed.
    ///
    /// # Errors
    /// As [`PostgresJournal::open`].
    pub fn look_at(address: &Address) -> Result<Looked, JournalError> {
        let engine = Engine::start().map_err(PostgresError::from)?;
        let mut inside = Inside::of(address.clone());
        let size = engine.wait(inside.look())?;
        engine.wait(inside.ask_parts())?;
        let segments = inside.archived.segments().into_iter();
        Ok(Looked { size, archived: segments.filter_map(|segment| segment.archived).collect() })
    }

    /// Opens the journal at an address.
    ///
    /// # Errors
    /// When the database cannot be reached, is set to lose what it acknowledged, has not this version's tables, or
    /// lacks records that no archive has.
    pub fn open(address: Address) -> Result<Self, JournalError> {
        let engine = Engine::start().map_err(PostgresError::from)?;
        let mut inside = Inside::of(address);
        engine.wait(inside.begin())?;
        engine.wait(inside.ask_parts())?;
        Ok(Self { engine, inside: Mutex::new(inside) })
    }

    /// Where it is, without user and password.
    pub fn place(&self) -> String {
        self.inside().line.place()
    }

    /// Where the table began when that was asked for last: what stands before is read from archives.
    pub fn begins(&self) -> Position {
        self.inside().begins
    }

    /// What was in archives then.
    pub fn archived(&self) -> Index {
        let segments = self.inside().archived.segments().into_iter();
        Index::of(segments.filter_map(|segment| Some(segment.archived?.archived)).collect())
    }

    /// How often it was connected to: behind each time there may be a database that lost something.
    pub fn sessions(&self) -> u64 {
        self.inside().line.sessions()
    }

    /// Asks for the size anew: others may have appended.
    ///
    /// # Errors
    /// When the database cannot be asked; [`PostgresError::is_away`] where it may be again later.
    pub fn look(&mut self) -> Result<Position, JournalError> {
        self.engine.wait(self.inside().look())
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_under(
        &mut self,
        batch: &[Vec<u8>],
        condition: Option<Condition>,
    ) -> Result<Position, JournalError> {
        let bytes = batch.iter().map(|record| frame::HEADER_LENGTH + record.len()).sum();
        let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
        for (bytes, limit) in [(bytes, BATCH_BYTES_MAX), (longest, frame::BODY_LENGTH_MAX)] {
            if bytes > limit {
                return Err(JournalError::TooLarge { bytes, limit });
            }
        }
        let mut inside = self.inside();
        if inside.failed {
            return Err(PostgresError::Failed { place: inside.line.place() }.into());
        }
        if batch.is_empty() {
            return Ok(inside.size);
        }
        let appended = self.engine.wait(inside.append(batch, condition));
        inside.failed = appended.as_ref().is_err_and(JournalError::is_final);
        appended
    }
}

impl Journal for PostgresJournal {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        self.append_under(batch, None)
    }

    fn append_if(&mut self, batch: &[Vec<u8>], condition: Condition) -> Result<Position, JournalError> {
        self.append_under(batch, Some(condition))
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        self.read_anywhere(from, limit)
    }

    fn size(&self) -> Position {
        self.inside().size
    }
}

impl Inside {
    fn of(address: Address) -> Self {
        Self {
            line: Line::new(address, PATIENCE),
            writer: random_name(),
            number: 0,
            in_doubt: false,
            size: Position(0),
            failed: false,
            archives: Archives::default(),
            archived: FileReader::of(Vec::new()),
            begins: Position(0),
        }
    }

    /// Begins a transaction in which nobody appends and nobody takes the jobs over.
    async fn begin_as_leader(&mut self, fence: i64) -> Result<&mut Session, PostgresError> {
        let place = self.line.place();
        let session = self.line.session().await?;
        session.begin().await?;
        if !session.leads(fence).await? {
            session.ask("leave", session.client.batch_execute("ROLLBACK")).await?;
            return Err(PostgresError::Superseded { place });
        }
        Ok(session)
    }

    /// Connects, and notes the writer before it appends anything.
    async fn begin(&mut self) -> Result<(), JournalError> {
        let mut tries = Tries::few();
        let noted = "INSERT INTO seatbeat.writers (writer, number, first) SELECT CAST($1 AS varchar), 0, 0 \
                     WHERE NOT EXISTS (SELECT 1 FROM seatbeat.writers WHERE writer = CAST($1 AS varchar))";
        loop {
            let writer = self.writer.clone();
            let begun = async {
                let session = self.line.session().await?;
                session.ask("note a writer in", session.client.execute(noted, &[&writer])).await?;
                self.ask_size().await
            };
            match begun.await {
                Ok(()) => return Ok(()),
                Err(error) => self.line.after(error, &mut tries).await?,
            }
        }
    }

    async fn look(&mut self) -> Result<Position, JournalError> {
        match self.ask_size().await {
            Ok(()) => Ok(self.size),
            Err(error) => Err(self.line.ends(error).into()),
        }
    }

    async fn ask_size(&mut self) -> Result<(), PostgresError> {
        let session = self.line.session().await?;
        let row = session.ask("read from", session.client.query_one(&session.size, &[])).await?;
        self.size = Position(row.get::<_, i64>(0).unsigned_abs());
        self.line.is_well();
        Ok(())
    }

    async fn append(
        &mut self,
        batch: &[Vec<u8>],
        condition: Option<Condition>,
    ) -> Result<Position, JournalError> {
        let mut tries = self.line.tries();
        let mut is_ours = false;
        loop {
            let error = match self.try_append(batch, condition, &mut is_ours).await {
                Ok(first) => {
                    self.number += 1;
                    self.size = first.plus(batch.len() as u64);
                    self.line.is_well();
                    return Ok(first);
                }
                Err(error) => error,
            };
            if error.is_full() && !self.in_doubt {
                let path = PathBuf::from(self.line.place());
                let source = io::Error::new(io::ErrorKind::StorageFull, self.line.ends(error));
                return Err(JournalError::Full { path, source });
            }
            match self.line.after(error, &mut tries).await {
                Err(PostgresError::Away { place, source }) if is_ours && self.in_doubt => {
                    return Err(PostgresError::InDoubt { place, source }.into());
                }
                again => again?,
            }
        }
    }

    /// Appends in one transaction. A batch that was committed before without an answer is looked for first, behind the
    /// lock that whoever commits it still holds; `is_ours`: it is this one.
    async fn try_append(
        &mut self,
        batch: &[Vec<u8>],
        condition: Option<Condition>,
        is_ours: &mut bool,
    ) -> Result<Position, PostgresError> {
        let (writer, place) = (self.writer.clone(), self.line.place());
        let session = self.line.session().await?;
        let client = &session.client;
        let (size, newest, now) = session.begin().await?;
        if self.in_doubt {
            let known = session.ask("read from", client.query_opt(&session.known, &[&writer])).await?;
            let known = known.map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
            let (stands, first) = known.ok_or_else(|| PostgresError::Other {
                place: place.clone(),
                what: "this collector's own mark is gone".to_owned(),
            })?;
            let is_kept = stands == self.number + 1;
            if is_kept && *is_ours {
                // Until this is through it may have to be looked for once more.
                session.ask("leave", client.batch_execute("ROLLBACK")).await?;
                self.in_doubt = false;
                return Ok(Position(first.unsigned_abs()));
            }
            self.in_doubt = false;
            // Who brought it was told that nobody knows; it is read like others' records.
            self.number += i64::from(is_kept);
        }
        let number = self.number + 1;
        if let Some(condition) = condition {
            let held = match condition {
                Condition::Leads(fence) => {
                    let leads = session.leads(fence).await?;
                    (!leads).then(|| PostgresError::Superseded { place: place.clone() })
                }
                Condition::EndsAt(position) => {
                    let size = Position(size.unsigned_abs());
                    (size != position).then(|| PostgresError::Longer { place: place.clone(), size: size.0 })
                }
            };
            if let Some(refused) = held {
                session.ask("leave", client.batch_execute("ROLLBACK")).await?;
                return Err(refused);
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
        (self.in_doubt, *is_ours) = (true, true);
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
                self.in_doubt = false;
                return Err(failed(error));
            }
            (_, Err(error)) => {
                let error = failed(error);
                self.in_doubt = !error.undid();
                return Err(error);
            }
            (Ok(changed), Ok(())) => changed,
        };
        if changed != [batch.len() as u64, 1, 1] {
            let what = format!("a batch of {} records changed {changed:?} rows", batch.len());
            return Err(PostgresError::Other { place, what });
        }
        self.in_doubt = false;
        Ok(Position(size.unsigned_abs()))
    }
}

fn checksum(record: &[u8]) -> i32 {
    crc32c::crc32c(record).cast_signed()
}

/// A partition for the records of a month, which begins behind those that are there. Made beside and attached, it waits for
/// nobody who reads the table.
fn new_month(month: i32, first: i64) -> String {
    let next = month + 1;
    format!(
        "CREATE TABLE seatbeat.records_{month} (month integer NOT NULL, position bigint NOT NULL, \
         checksum integer NOT NULL, body bytea NOT NULL, PRIMARY KEY (month, position), \
         CHECK (month >= {month} AND month < {next})); \
         ALTER TABLE seatbeat.records ATTACH PARTITION seatbeat.records_{month} FOR VALUES FROM ({month}) TO ({next}); \
         INSERT INTO seatbeat.months (month, first) VALUES ({month}, {first})"
    )
}

#[cfg(test)]
mod tests;
