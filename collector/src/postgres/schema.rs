//! The tables, and how they came to be. Invariant: what was once a step of [`STEPS`] never changes; all steps that are
//! missing are made in one transaction, or none.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Address, Engine, PostgresError, answered, connect, failed};

/// One a version. `month` is a number, 202611: the month in which a record was appended, by the database's calendar; it
/// never goes back from one record to the next.
const STEPS: [&str; 4] = [
    "CREATE TABLE seatbeat.head (
         id smallint PRIMARY KEY, size bigint NOT NULL, month integer NOT NULL
     );
     CREATE TABLE seatbeat.months (month integer PRIMARY KEY, first bigint NOT NULL);
     CREATE TABLE seatbeat.writers (
         writer varchar(32) PRIMARY KEY, number bigint NOT NULL, first bigint NOT NULL
     );
     CREATE TABLE seatbeat.records (
         month integer NOT NULL, position bigint NOT NULL, checksum integer NOT NULL, body bytea NOT NULL,
         PRIMARY KEY (month, position)
     ) PARTITION BY RANGE (month);
     INSERT INTO seatbeat.head (id, size, month) VALUES (1, 0, 0);",
    "CREATE TABLE seatbeat.lease (
         name varchar(32) PRIMARY KEY, holder varchar(32) NOT NULL, fence bigint NOT NULL,
         until timestamp with time zone NOT NULL
     );
     INSERT INTO seatbeat.lease (name, holder, fence, until) VALUES ('jobs', '', 0, CURRENT_TIMESTAMP);",
    // An erased row keeps its key, with an empty value: whoever has read it before has to hear of it.
    "CREATE TABLE seatbeat.vault_head (id smallint PRIMARY KEY, number bigint NOT NULL, marker bytea NOT NULL);
     CREATE TABLE seatbeat.vault (
         name varchar(500) PRIMARY KEY, sealed bytea NOT NULL, number bigint NOT NULL, UNIQUE (number, name)
     );
     CREATE TABLE seatbeat.vault_writes (number bigint PRIMARY KEY, mark bytea NOT NULL);
     INSERT INTO seatbeat.vault_head (id, number, marker) VALUES (1, 0, '');",
    // Adjacent from the first record on, and as far as the first one of `months` at least.
    "CREATE TABLE seatbeat.archived (
         first bigint PRIMARY KEY, records bigint NOT NULL, bytes bigint NOT NULL, packed bigint NOT NULL,
         sha256 varchar(64) NOT NULL, link varchar(64) NOT NULL, place text NOT NULL, object text NOT NULL
     );",
];

/// The version of the tables that this program needs.
const VERSION: i32 = STEPS.len() as i32;

/// Makes the tables of an address, or what they lack; whether there were none.
///
/// # Errors
/// When the database cannot be reached, refuses, or has tables of a later version.
pub fn migrate(address: &Address) -> Result<bool, PostgresError> {
    Ok(Engine::start()?.wait(bring_forward(address))?.is_none())
}

/// The version that was there before.
async fn bring_forward(address: &Address) -> Result<Option<i32>, PostgresError> {
    let place = address.to_string();
    let client = connect(address).await?;
    let made = answered("make the tables in", &place, make(&client, &place)).await;
    match made {
        // Somebody made them at the same moment.
        Err(PostgresError::Sql { source, .. }) if is_there(source.code()) => {
            answered("make the tables in", &place, make(&client, &place)).await
        }
        made => made,
    }
}

async fn make(client: &Client, place: &str) -> Result<Option<i32>, PostgresError> {
    let failed = failed("make the tables in", place);
    // What another attempt left open is of no use.
    client.batch_execute("ROLLBACK; START TRANSACTION").await.map_err(&failed)?;
    let found = version(client, place, " FOR UPDATE").await?;
    let done = usize::try_from(found.unwrap_or(0)).unwrap_or_default();
    if done > STEPS.len() {
        return Err(PostgresError::Version { place: place.to_owned(), found, known: VERSION });
    }
    if found.is_none() {
        let first = "CREATE SCHEMA IF NOT EXISTS seatbeat;
                     CREATE TABLE seatbeat.version (id smallint PRIMARY KEY, version integer NOT NULL);
                     INSERT INTO seatbeat.version (id, version) VALUES (1, 0)";
        client.batch_execute(first).await.map_err(&failed)?;
    }
    for step in &STEPS[done..] {
        client.batch_execute(step).await.map_err(&failed)?;
    }
    client
        .execute("UPDATE seatbeat.version SET version = $1 WHERE id = 1", &[&VERSION])
        .await
        .map_err(&failed)?;
    client.batch_execute("COMMIT").await.map_err(&failed)?;
    Ok(found)
}

fn is_there(code: Option<&SqlState>) -> bool {
    let codes = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_SCHEMA,
        SqlState::DUPLICATE_OBJECT,
    ];
    code.is_some_and(|code| codes.contains(code))
}

/// Refuses tables of another version.
pub async fn expect_own(client: &Client, place: &str) -> Result<(), PostgresError> {
    match version(client, place, "").await? {
        Some(VERSION) => Ok(()),
        found => Err(PostgresError::Version { place: place.to_owned(), found, known: VERSION }),
    }
}

/// The version of the tables, read under this lock; none where there are none.
async fn version(client: &Client, place: &str, lock: &str) -> Result<Option<i32>, PostgresError> {
    let failed = failed("look for the tables in", place);
    let there = "SELECT COUNT(*) FROM information_schema.tables \
                 WHERE table_schema = 'seatbeat' AND table_name = 'version'";
    let count: i64 = client.query_one(there, &[]).await.map_err(&failed)?.get(0);
    if count == 0 {
        return Ok(None);
    }
    let version = format!("SELECT version FROM seatbeat.version WHERE id = 1{lock}");
    let row = client.query_opt(&version, &[]).await.map_err(&failed)?;
    Ok(row.map(|row| row.get(0)))
}
