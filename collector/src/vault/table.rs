//! The vault's rows in a database. Invariant: writes have one order, that of the lock on one row; a write is in the database
//! when its number is answered, and may be there when an error is. What was put twice reads as if it was put once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{try_join, try_join4};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::Sealed;
use crate::postgres::{self, Address, Engine, Line, PostgresError, answered, connect, failed, schema};
use crate::rows::{BATCH_ROWS_MAX, Change};

/// How long a database that went away is tried before a write is given back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rows read at once: more than a write has.
const READ_ROWS: usize = 8 * BATCH_ROWS_MAX;

/// The database's side of a vault.
pub(super) struct Table {
    engine: Engine,
    line: Mutex<Line<Session>>,
}

/// What is newer than a write.
pub(super) struct Newer {
    /// Rows as the newest write left them, in the order of those; an empty value is an erased row.
    pub rows: Vec<Sealed>,
    /// The write up to which they go.
    pub until: u64,
    /// Whether that is the newest.
    pub is_all: bool,
}

/// The newest write, and what proves whose vault it is; empty where there is none.
pub(super) struct Head {
    pub number: u64,
    pub marker: Vec<u8>,
}

impl Table {
    /// Connects.
    pub(super) fn open(address: &Address) -> Result<Self, PostgresError> {
        let table = Self { engine: Engine::start()?, line: Mutex::new(Line::new(address.clone(), PATIENCE)) };
        table.head()?;
        Ok(table)
    }

    /// Where it is, without user and password.
    pub(super) fn place(&self) -> String {
        self.line().place()
    }

    /// Where its writes are by now. It is asked once.
    pub(super) fn head(&self) -> Result<Head, PostgresError> {
        let mut held = self.line();
        let line = &mut *held;
        self.engine.wait(async {
            let head = async {
                let session = line.session().await?;
                session.head().await
            };
            match head.await {
                Ok(head) => {
                    line.is_well();
                    Ok(head)
                }
                Err(error) => Err(line.ends(error)),
            }
        })
    }

    /// Rows that were written behind a write. It is asked once.
    pub(super) fn newer(&self, than: u64) -> Result<Newer, PostgresError> {
        let mut held = self.line();
        let line = &mut *held;
        self.engine.wait(async {
            let newer = async {
                let session = line.session().await?;
                // Before the rows: those of later writes come with the next question, or now.
                let head = session.head().await?;
                if head.number == than {
                    return Ok(Newer { rows: Vec::new(), until: than, is_all: true });
                }
                session.newer(than, head.number).await
            };
            match newer.await {
                Ok(newer) => {
                    line.is_well();
                    Ok(newer)
                }
                Err(error) => Err(line.ends(error)),
            }
        })
    }

    /// Writes rows in one go, if there is one of each name already where that is asked for. Answers the write's number;
    /// none where one was not there.
    pub(super) fn write(&self, changes: &[Change], only_there: bool) -> Result<Option<u64>, PostgresError> {
        self.carry_out(&Act::Write { rows: Columns::of(changes), only_there })
    }

    /// Makes the vault of these rows, all or none, as if they had been written behind `number`. False where there is one.
    pub(super) fn fill(&self, rows: &[Sealed], number: u64, marker: &[u8]) -> Result<bool, PostgresError> {
        let changes: Vec<Change> =
            rows.iter().map(|(name, sealed)| (name.clone(), Some(sealed.clone()))).collect();
        let batches = changes.chunks(BATCH_ROWS_MAX).map(Columns::of).collect();
        Ok(self.carry_out(&Act::Fill { batches, number, marker })?.is_some())
    }

    /// Removes all of it; there is no vault then.
    pub(super) fn clear(&self) -> Result<(), PostgresError> {
        self.carry_out(&Act::Clear).map(|_| ())
    }

    fn line(&self) -> MutexGuard<'_, Line<Session>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As often as there is patience for. What is tried again may have been done already.
    fn carry_out(&self, act: &Act<'_>) -> Result<Option<u64>, PostgresError> {
        let mut held = self.line();
        let line = &mut *held;
        self.engine.wait(async {
            let mut tries = line.tries();
            loop {
                let done = async { line.session().await?.carry_out(act).await };
                match done.await {
                    Ok(done) => {
                        line.is_well();
                        return Ok(done);
                    }
                    Err(error) => line.after(error, &mut tries).await?,
                }
            }
        })
    }
}

/// What is done to the vault.
enum Act<'a> {
    Write { rows: Columns, only_there: bool },
    Fill { batches: Vec<Columns>, number: u64, marker: &'a [u8] },
    Clear,
}

/// Rows as the database is given them.
struct Columns {
    names: Vec<String>,
    sealed: Vec<Vec<u8>>,
}

impl Columns {
    fn of(changes: &[Change]) -> Self {
        let names = changes.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        let sealed = changes.iter().map(|(_, sealed)| sealed.clone().unwrap_or_default()).collect();
        Self { names, sealed }
    }
}

/// A connection with what is asked over it.
struct Session {
    client: Client,
    head: Statement,
    lock: Statement,
    there: Statement,
    delete: Statement,
    insert: Statement,
    advance: Statement,
    newer: Statement,
    place: String,
}

impl postgres::Session for Session {
    async fn open(address: &Address) -> Result<Self, PostgresError> {
        let client = connect(address).await?;
        let place = address.to_string();
        let prepared = async {
            schema::expect_own(&client, &place).await?;
            let failed = failed("prepare statements at", &place);
            let prepare = async |text: &str| client.prepare(text).await.map_err(&failed);
            let (head, lock, there) = (prepare(HEAD).await?, prepare(LOCK).await?, prepare(THERE).await?);
            let (delete, insert) = (prepare(DELETE).await?, prepare(INSERT).await?);
            Ok((head, lock, there, delete, insert, prepare(ADVANCE).await?, prepare(NEWER).await?))
        };
        let (head, lock, there, delete, insert, advance, newer) =
            answered("prepare statements at", &place, prepared).await?;
        Ok(Self { client, head, lock, there, delete, insert, advance, newer, place })
    }

    fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Session {
    async fn ask<T>(
        &self,
        act: &'static str,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        answered(act, &self.place, async { answer.await.map_err(failed(act, &self.place)) }).await
    }

    async fn head(&self) -> Result<Head, PostgresError> {
        let row = self.ask("read the vault in", self.client.query_one(&self.head, &[])).await?;
        Ok(Head { number: row.get::<_, i64>(0).unsigned_abs(), marker: row.get(1) })
    }

    async fn newer(&self, than: u64, newest: u64) -> Result<Newer, PostgresError> {
        let (from, limit) = (than.cast_signed(), READ_ROWS as i64);
        let read = self.ask("read the vault in", self.client.query(&self.newer, &[&from, &limit])).await?;
        let number = |row: &tokio_postgres::Row| row.get::<_, i64>(2).unsigned_abs();
        let last = read.last().map_or(newest, number);
        let is_all = read.len() < READ_ROWS;
        // A write that may go on behind the last row is read whole the next time.
        let until = if is_all { newest.max(last) } else { last - 1 };
        let rows = read.iter().filter(|row| number(row) <= until);
        let rows = rows.map(|row| (row.get::<_, &str>(0).as_bytes().to_vec(), row.get(1))).collect();
        Ok(Newer { rows, until, is_all })
    }

    async fn carry_out(&self, act: &Act<'_>) -> Result<Option<u64>, PostgresError> {
        let newest = self.lock().await?;
        match act {
            Act::Write { rows, only_there } => self.write(rows, *only_there, newest + 1).await,
            Act::Fill { marker, .. } if newest > 0 => {
                self.leave().await?;
                // An earlier try, whose answer was lost, may have made it.
                let head = self.head().await?;
                Ok((head.marker == *marker).then_some(head.number))
            }
            Act::Fill { batches, number, marker } => self.fill(batches, *number, marker).await,
            Act::Clear => {
                let cleared = "DELETE FROM seatbeat.vault; \
                               UPDATE seatbeat.vault_head SET number = 0, marker = ''; COMMIT";
                self.ask("clear the vault in", self.client.batch_execute(cleared)).await?;
                Ok(Some(0))
            }
        }
    }

    /// Begins a transaction in which nobody else writes; the newest write.
    async fn lock(&self) -> Result<u64, PostgresError> {
        // What a try before left open is of no use.
        let begin = self.client.batch_execute("ROLLBACK; START TRANSACTION ISOLATION LEVEL READ COMMITTED");
        let locked = try_join(begin, self.client.query_one(&self.lock, &[]));
        let ((), head) = self.ask("lock the vault in", locked).await?;
        Ok(head.get::<_, i64>(0).unsigned_abs())
    }

    async fn leave(&self) -> Result<(), PostgresError> {
        self.ask("leave", self.client.batch_execute("ROLLBACK")).await
    }

    async fn write(
        &self,
        rows: &Columns,
        only_there: bool,
        number: u64,
    ) -> Result<Option<u64>, PostgresError> {
        if only_there {
            let there =
                self.ask("read the vault in", self.client.query_one(&self.there, &[&rows.names])).await?;
            if there.get::<_, i64>(0).unsigned_abs() != rows.names.len() as u64 {
                self.leave().await?;
                return Ok(None);
            }
        }
        let next = number.cast_signed();
        let insert: [&(dyn ToSql + Sync); 3] = [&next, &rows.names, &rows.sealed];
        let delete: [&(dyn ToSql + Sync); 1] = [&rows.names];
        let advance: [&(dyn ToSql + Sync); 1] = [&next];
        let written = try_join4(
            self.client.execute(&self.delete, &delete),
            self.client.execute(&self.insert, &insert),
            self.client.execute(&self.advance, &advance),
            self.client.batch_execute("COMMIT"),
        );
        self.ask("write to the vault in", written).await?;
        Ok(Some(number))
    }

    /// Each batch is a write: what is read at once holds more than one.
    async fn fill(
        &self,
        batches: &[Columns],
        number: u64,
        marker: &[u8],
    ) -> Result<Option<u64>, PostgresError> {
        let act = "make the vault in";
        self.ask(act, self.client.execute("DELETE FROM seatbeat.vault", &[])).await?;
        let mut newest = number.cast_signed();
        for rows in batches {
            newest += 1;
            let insert: [&(dyn ToSql + Sync); 3] = [&newest, &rows.names, &rows.sealed];
            self.ask(act, self.client.execute(&self.insert, &insert)).await?;
        }
        let made = "UPDATE seatbeat.vault_head SET number = $1, marker = $2 WHERE id = 1";
        self.ask(act, self.client.execute(made, &[&newest, &marker])).await?;
        self.ask(act, self.client.batch_execute("COMMIT")).await?;
        Ok(Some(newest.unsigned_abs()))
    }
}

const HEAD: &str = "SELECT number, marker FROM seatbeat.vault_head WHERE id = 1";

/// Nobody else writes until the transaction ends.
const LOCK: &str = "SELECT number FROM seatbeat.vault_head WHERE id = 1 FOR UPDATE";

const THERE: &str = "SELECT COUNT(*) FROM seatbeat.vault WHERE name = ANY (CAST($1 AS varchar[])) AND OCTET_LENGTH(sealed) > 0";

const DELETE: &str = "DELETE FROM seatbeat.vault WHERE name = ANY (CAST($1 AS varchar[]))";

const INSERT: &str = "INSERT INTO seatbeat.vault (name, sealed, number) \
                      SELECT batch.name, batch.sealed, CAST($1 AS bigint) \
                      FROM UNNEST(CAST($2 AS varchar[]), CAST($3 AS bytea[])) AS batch (name, sealed)";

const ADVANCE: &str = "UPDATE seatbeat.vault_head SET number = $1 WHERE id = 1";

const NEWER: &str =
    "SELECT name, sealed, number FROM seatbeat.vault WHERE number > $1 ORDER BY number, name LIMIT $2";
