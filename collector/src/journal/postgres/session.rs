//! One connection of the journal's, with what is asked over it again and again. Invariant: the tables are those of this
//! version.

use futures_util::future::try_join;
use tokio_postgres::{Client, Statement};

use crate::postgres::{self, Address, PostgresError, asked, prepared};

/// An open connection with what is asked over it again and again.
pub struct Session {
    pub client: Client,
    pub lock: Statement,
    pub fence: Statement,
    pub known: Statement,
    pub insert: Statement,
    pub advance: Statement,
    pub note: Statement,
    pub size: Statement,
    pub read: Statement,
    place: String,
}

impl Session {
    /// Begins a transaction: the size of the journal, the month of its newest record and that of now. Nobody else
    /// appends until it ends.
    pub async fn begin(&self) -> Result<(i64, i32, i32), PostgresError> {
        let begin = self.client.batch_execute("START TRANSACTION ISOLATION LEVEL READ COMMITTED");
        let locked = try_join(begin, self.client.query_one(&self.lock, &[]));
        let ((), head) = self.ask("lock the head of", locked).await?;
        Ok((head.get(0), head.get(1), head.get(2)))
    }

    /// Waits for an answer, but not for ever.
    pub async fn ask<T>(
        &self,
        act: &'static str,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        asked(act, &self.place, answer).await
    }
}

impl postgres::Session for Session {
    async fn open(address: &Address) -> Result<Self, PostgresError> {
        let texts = [LOCK, FENCE, KNOWN, INSERT, ADVANCE, NOTE, SIZE, READ];
        let (client, statements) = prepared(address, texts).await?;
        let [lock, fence, known, insert, advance, note, size, read] = statements;
        let place = address.to_string();
        Ok(Self { client, lock, fence, known, insert, advance, note, size, read, place })
    }

    fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// The size of the journal, the month of its newest record and that of now; nobody else appends until the transaction
/// ends.
const LOCK: &str = "SELECT size, month, \
                    CAST(EXTRACT(YEAR FROM CURRENT_DATE) * 100 + EXTRACT(MONTH FROM CURRENT_DATE) AS integer) \
                    FROM seatbeat.head WHERE id = 1 FOR UPDATE";

/// The fence of whoever runs the jobs; nobody else takes them over until the transaction ends.
const FENCE: &str = "SELECT fence FROM seatbeat.lease WHERE name = 'jobs' FOR SHARE";

/// The newest batch of a writer.
const KNOWN: &str = "SELECT number, first FROM seatbeat.writers WHERE writer = $1";

const INSERT: &str = "INSERT INTO seatbeat.records (month, position, checksum, body) \
                      SELECT CAST($1 AS integer), CAST($2 AS bigint) + batch.nth - 1, batch.checksum, batch.body \
                      FROM UNNEST(CAST($3 AS integer[]), CAST($4 AS bytea[])) WITH ORDINALITY \
                      AS batch (checksum, body, nth)";

const ADVANCE: &str = "UPDATE seatbeat.head SET size = $1, month = $2 WHERE id = 1";

/// A writer's batches follow each other: one that stands already divides by nothing, and undoes all that came with it.
const NOTE: &str = "UPDATE seatbeat.writers SET first = $3, \
                    number = CAST($2 AS bigint) / CASE WHEN number = CAST($2 AS bigint) - 1 THEN 1 ELSE 0 END \
                    WHERE writer = $1";

const SIZE: &str = "SELECT size FROM seatbeat.head WHERE id = 1";

/// A month's records are all behind those of the months before: its partition alone is looked into.
const READ: &str = "SELECT position, checksum, body FROM seatbeat.records \
                    WHERE month >= (SELECT COALESCE(MAX(month), 0) FROM seatbeat.months WHERE first <= $1) \
                    AND position >= $1 ORDER BY month, position LIMIT $2";
