//! The vault's rows in a database. Invariant: writes have one order, that of the lock on one row; a write is in the database
//! when its number is answered, and may be there when an error is: tried again, it stands behind what came in between,
//! unless it says what it has to find.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{try_join, try_join4};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::Sealed;
use crate::postgres::{self, Address, Engine, Line, PostgresError, asked, prepared};
use crate::rows::{BATCH_ROWS_MAX, Change};

/// How long a database that went away is tried before a write is given back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes whose marks are kept: a collector that was away for longer reads all rows anew.
const MARKS_KEPT: u64 = 10_000;

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
    /// The write up to which they go, and its mark.
    pub until: Write,
    /// The newest write there is; 0 where there is no vault.
    pub newest: u64,
    /// What proves whose vault it is.
    pub marker: Vec<u8>,
    /// The mark that the asked write has now; none where it is too old to have one, or never was.
    pub known: Option<Mark>,
}

/// Random bytes that no other write has: a database that lost writes gives their numbers out again.
pub(super) type Mark = [u8; MARK_LENGTH];

/// Bytes of a mark.
pub(super) const MARK_LENGTH: usize = 16;

/// A write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Write {
    pub number: u64,
    pub mark: Mark,
}

/// What is to be there before a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// Whatever is.
    Anything,
    /// This value in the one row that is written; none: there is no such row.
    Value(Option<Vec<u8>>),
}

impl Table {
    /// Connects.
    pub(super) fn open(address: &Address) -> Result<Self, PostgresError> {
        let line = Mutex::new(Line::new(address.clone(), PATIENCE));
        Ok(Self { engine: Engine::start()?, line })
    }

    /// Where it is, without user and password.
    pub(super) fn place(&self) -> String {
        self.line().place()
    }

    /// Rows that were written behind a write. It is asked once.
    pub(super) fn newer(&self, than: u64) -> Result<Newer, PostgresError> {
        let mut held = self.line();
        let line = &mut *held;
        self.engine.wait(async {
            let newer = async { line.session().await?.newer(than).await };
            match newer.await {
                Ok(newer) => {
                    line.is_well();
                    Ok(newer)
                }
                Err(error) => Err(line.ends(error)),
            }
        })
    }

    /// Writes rows in one go; false where something else than expected is there.
    pub(super) fn write(&self, changes: &[Change], before: Before) -> Result<bool, PostgresError> {
        self.carry_out(&Act::Write { rows: Columns::of(changes), before })
    }

    /// Makes the vault of these rows, all or none, as if they had been written behind a write. False where there is one.
    pub(super) fn fill(&self, rows: &[Sealed], behind: Write, marker: &[u8]) -> Result<bool, PostgresError> {
        let changes: Vec<Change> =
            rows.iter().map(|(name, sealed)| (name.clone(), Some(sealed.clone()))).collect();
        let batches = changes.chunks(BATCH_ROWS_MAX).map(Columns::of).collect();
        self.carry_out(&Act::Fill { batches, behind, marker })
    }

    /// Removes all of it; there is no vault then.
    pub(super) fn clear(&self) -> Result<(), PostgresError> {
        self.carry_out(&Act::Clear).map(|_| ())
    }

    fn line(&self) -> MutexGuard<'_, Line<Session>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As often as there is patience for. What is tried again may have been done already.
    fn carry_out(&self, act: &Act<'_>) -> Result<bool, PostgresError> {
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
    Write { rows: Columns, before: Before },
    Fill { batches: Vec<Columns>, behind: Write, marker: &'a [u8] },
    Clear,
}

/// A mark of a write's own.
pub(super) fn new_mark() -> Mark {
    let mut mark = [0; MARK_LENGTH];
    getrandom::fill(&mut mark).expect("the operating system gives random bytes");
    mark
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
    value: Statement,
    delete: Statement,
    insert: Statement,
    advance: Statement,
    note: Statement,
    forget: Statement,
    mark: Statement,
    newer: Statement,
    place: String,
}

impl postgres::Session for Session {
    async fn open(address: &Address) -> Result<Self, PostgresError> {
        let texts = [HEAD, LOCK, VALUE, DELETE, INSERT, ADVANCE, NOTE, FORGET, MARK, NEWER];
        let (client, statements) = prepared(address, texts).await?;
        let [head, lock, value, delete, insert, advance, note, forget, mark, newer] = statements;
        let place = address.to_string();
        Ok(Self { client, head, lock, value, delete, insert, advance, note, forget, mark, newer, place })
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
        asked(act, &self.place, answer).await
    }

    async fn newer(&self, than: u64) -> Result<Newer, PostgresError> {
        let act = "read the vault in";
        // Before the rows: those of later writes come with the next question, or now.
        let row = self.ask(act, self.client.query_one(&self.head, &[])).await?;
        let (newest, marker) = (row.get::<_, i64>(0).unsigned_abs(), row.get(1));
        let known = self.mark_of(than).await?;
        if newest <= than {
            let until = Write { number: newest, mark: self.mark_of(newest).await?.unwrap_or_default() };
            return Ok(Newer { rows: Vec::new(), until, newest, marker, known });
        }
        let (from, limit) = (than.cast_signed(), READ_ROWS as i64);
        let read = self.ask(act, self.client.query(&self.newer, &[&from, &limit])).await?;
        let number = |row: &tokio_postgres::Row| row.get::<_, i64>(2).unsigned_abs();
        let last = read.last().map_or(newest, number);
        // A write that may go on behind the last row is read whole the next time.
        let until = if read.len() < READ_ROWS { newest.max(last) } else { last - 1 };
        let rows = read.iter().filter(|row| number(row) <= until);
        let rows = rows.map(|row| (row.get::<_, &str>(0).as_bytes().to_vec(), row.get(1))).collect();
        let until = Write { number: until, mark: self.mark_of(until).await?.unwrap_or_default() };
        Ok(Newer { rows, until, newest: newest.max(last), marker, known })
    }

    async fn mark_of(&self, number: u64) -> Result<Option<Mark>, PostgresError> {
        let number = number.cast_signed();
        let row = self.ask("read the vault in", self.client.query_opt(&self.mark, &[&number])).await?;
        Ok(row.and_then(|row| row.get::<_, &[u8]>(0).try_into().ok()))
    }

    async fn carry_out(&self, act: &Act<'_>) -> Result<bool, PostgresError> {
        let newest = self.lock().await?;
        match act {
            Act::Write { rows, before } => self.write(rows, before, newest + 1).await,
            Act::Fill { behind, .. } if newest > 0 => {
                self.leave().await?;
                // An earlier try, whose answer was lost, may have made it.
                Ok(self.mark_of(behind.number).await? == Some(behind.mark))
            }
            Act::Fill { batches, behind, marker } => self.fill(batches, *behind, marker).await,
            Act::Clear => {
                let cleared = "DELETE FROM seatbeat.vault; DELETE FROM seatbeat.vault_writes; \
                               UPDATE seatbeat.vault_head SET number = 0, marker = ''; COMMIT";
                self.ask("clear the vault in", self.client.batch_execute(cleared)).await?;
                Ok(true)
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

    async fn write(&self, rows: &Columns, before: &Before, number: u64) -> Result<bool, PostgresError> {
        if let (Before::Value(expected), Some(name)) = (before, rows.names.first()) {
            let asked: [&(dyn ToSql + Sync); 1] = [name];
            let found = self.client.query_opt(&self.value, &asked);
            let found = self.ask("read the vault in", found).await?.map(|row| row.get::<_, Vec<u8>>(0));
            if found.filter(|sealed| !sealed.is_empty()) != *expected {
                self.leave().await?;
                return Ok(false);
            }
        }
        let (next, mark) = (number.cast_signed(), new_mark());
        let outdated = next - MARKS_KEPT.cast_signed();
        let insert: [&(dyn ToSql + Sync); 3] = [&next, &rows.names, &rows.sealed];
        let delete: [&(dyn ToSql + Sync); 1] = [&rows.names];
        let note: [&(dyn ToSql + Sync); 2] = [&next, &mark.as_slice()];
        let (advance, forget): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&next], [&outdated]);
        let rows =
            try_join(self.client.execute(&self.delete, &delete), self.client.execute(&self.insert, &insert));
        let written = try_join4(
            rows,
            try_join(self.client.execute(&self.note, &note), self.client.execute(&self.forget, &forget)),
            self.client.execute(&self.advance, &advance),
            self.client.batch_execute("COMMIT"),
        );
        self.ask("write to the vault in", written).await?;
        Ok(true)
    }

    /// Each batch is a write: what is read at once holds more than one.
    async fn fill(&self, batches: &[Columns], behind: Write, marker: &[u8]) -> Result<bool, PostgresError> {
        let act = "make the vault in";
        let cleared = "DELETE FROM seatbeat.vault; DELETE FROM seatbeat.vault_writes";
        self.ask(act, self.client.batch_execute(cleared)).await?;
        let (mut newest, mut mark) = (behind.number.cast_signed(), behind.mark);
        self.ask(act, self.client.execute(&self.note, &[&newest, &mark.as_slice()])).await?;
        for rows in batches {
            (newest, mark) = (newest + 1, new_mark());
            let insert: [&(dyn ToSql + Sync); 3] = [&newest, &rows.names, &rows.sealed];
            self.ask(act, self.client.execute(&self.insert, &insert)).await?;
            self.ask(act, self.client.execute(&self.note, &[&newest, &mark.as_slice()])).await?;
        }
        let made = "UPDATE seatbeat.vault_head SET number = $1, marker = $2 WHERE id = 1";
        self.ask(act, self.client.execute(made, &[&newest, &marker])).await?;
        self.ask(act, self.client.batch_execute("COMMIT")).await?;
        Ok(true)
    }
}

const HEAD: &str = "SELECT number, marker FROM seatbeat.vault_head WHERE id = 1";

/// Nobody else writes until the transaction ends.
const LOCK: &str = "SELECT number FROM seatbeat.vault_head WHERE id = 1 FOR UPDATE";

const VALUE: &str = "SELECT sealed FROM seatbeat.vault WHERE name = $1";

const DELETE: &str = "DELETE FROM seatbeat.vault WHERE name = ANY (CAST($1 AS varchar[]))";

const INSERT: &str = "INSERT INTO seatbeat.vault (name, sealed, number) \
                      SELECT batch.name, batch.sealed, CAST($1 AS bigint) \
                      FROM UNNEST(CAST($2 AS varchar[]), CAST($3 AS bytea[])) AS batch (name, sealed)";

const ADVANCE: &str = "UPDATE seatbeat.vault_head SET number = $1 WHERE id = 1";

const NOTE: &str = "INSERT INTO seatbeat.vault_writes (number, mark) VALUES ($1, $2)";

const FORGET: &str = "DELETE FROM seatbeat.vault_writes WHERE number <= $1";

const MARK: &str = "SELECT mark FROM seatbeat.vault_writes WHERE number = $1";

const NEWER: &str =
    "SELECT name, sealed, number FROM seatbeat.vault WHERE number > $1 ORDER BY number, name LIMIT $2";
