//! One connection to the database. Invariant: it is used only where the database keeps what it says it keeps, and has
//! the tables of this version; no answer is waited for longer than [`ANSWER_TIMEOUT`].

use std::time::Duration;

use tokio_postgres::{Client, Statement};

use super::address::Address;
use super::error::PostgresError;
use super::schema;

/// Longest wait for an answer: a batch behind many others on a slow disk, or a lock that a paused collector holds until
/// the database ends its session.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Said to the database of every session: who is paused with the lock does not hold everybody up for longer.
const SESSION: &str = "SET TIME ZONE 'UTC'; SET idle_in_transaction_session_timeout = '5s'; SET lock_timeout = '10s'; \
                       SET statement_timeout = '15s'; SET client_min_messages = error";

/// Settings without which a crash of the database loses what was acknowledged.
const DURABLE: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];

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
    /// Connects, and looks whether records may be trusted to what is there.
    pub async fn open(address: &Address) -> Result<Self, PostgresError> {
        let client = connect(address).await?;
        let place = address.to_string();
        let prepared = async {
            let version = schema::version(&client, &place).await?;
            if version != Some(schema::VERSION) {
                return Err(PostgresError::Version {
                    place: place.clone(),
                    found: version,
                    known: schema::VERSION,
                });
            }
            let failed = failed("prepare statements at", &place);
            let prepare = async |text: &str| client.prepare(text).await.map_err(&failed);
            let (lock, fence) = (prepare(LOCK).await?, prepare(FENCE).await?);
            let (known, insert) = (prepare(KNOWN).await?, prepare(INSERT).await?);
            let (advance, note) = (prepare(ADVANCE).await?, prepare(NOTE).await?);
            let (size, read) = (prepare(SIZE).await?, prepare(READ).await?);
            Ok((lock, fence, known, insert, advance, note, size, read))
        };
        let (lock, fence, known, insert, advance, note, size, read) =
            answered("prepare statements at", &place, prepared).await?;
        Ok(Self { client, lock, fence, known, insert, advance, note, size, read, place })
    }

    /// Waits for an answer, but not for ever.
    pub async fn ask<T>(
        &self,
        act: &'static str,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        answered(act, &self.place, async { answer.await.map_err(failed(act, &self.place)) }).await
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

const NOTE: &str = "UPDATE seatbeat.writers SET number = CAST($2 AS bigint), first = $3 WHERE writer = $1 AND number = CAST($2 AS bigint) - 1";

const SIZE: &str = "SELECT size FROM seatbeat.head WHERE id = 1";

/// A month's records are all behind those of the months before: its partition alone is looked into.
const READ: &str = "SELECT position, checksum, body FROM seatbeat.records \
                    WHERE month >= (SELECT COALESCE(MAX(month), 0) FROM seatbeat.months WHERE first <= $1) \
                    AND position >= $1 ORDER BY month, position LIMIT $2";

/// Connects and sets the session up, whatever tables are there.
pub async fn connect(address: &Address) -> Result<Client, PostgresError> {
    let place = address.to_string();
    let connecting = async {
        let connected = address.config.connect(address.tls.clone()).await;
        let (client, connection) = connected.map_err(failed("connect to", &place))?;
        // It ends with the client; what is wrong with it the client's answers say.
        tokio::spawn(connection);
        client.batch_execute(SESSION).await.map_err(failed("set a session up at", &place))?;
        look_at_settings(&client, &place).await?;
        Ok(client)
    };
    answered("connect to", &place, connecting).await
}

/// Refuses a database that is set to forget. One that does not know such a setting has it not to turn off.
async fn look_at_settings(client: &Client, place: &str) -> Result<(), PostgresError> {
    let asked = "SELECT name, setting FROM pg_settings WHERE name = ANY ($1)";
    let rows =
        client.query(asked, &[&DURABLE.as_slice()]).await.map_err(failed("read the settings of", place))?;
    let off = rows.iter().find(|row| row.get::<_, &str>(1) == "off");
    off.map_or(Ok(()), |row| {
        let (setting, value) = (row.get(0), row.get(1));
        Err(PostgresError::Unsafe { place: place.to_owned(), setting, value })
    })
}

/// Waits for an answer, but not for ever.
pub async fn answered<T>(
    act: &'static str,
    place: &str,
    answer: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
        Err(PostgresError::Silent { act, place: place.to_owned(), seconds: ANSWER_TIMEOUT.as_secs() })
    })
}

/// The error of a failed act.
pub fn failed(act: &'static str, place: &str) -> impl Fn(tokio_postgres::Error) -> PostgresError {
    move |source| PostgresError::Sql { act, place: place.to_owned(), source }
}
