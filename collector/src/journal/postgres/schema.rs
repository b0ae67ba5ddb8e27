//! The tables, and how they came to be. Invariant: what was once a step of [`STEPS`] never changes; all steps that are
//! missing are made in one transaction, or none.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::address::Address;
use super::error::PostgresError;
use super::session::{answered, connect, failed};

/// One a version. `month` is a number, 202611: the month in which a record was appended, by the database's calendar; it
/// never goes back from one record to the next.
const STEPS: [&str; 2] = [
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
];

/// The version of the tables that this program needs.
pub const VERSION: i32 = STEPS.len() as i32;

/// Makes the tables, or what they lack; the version that was there before.
pub async fn migrate(address: &Address) -> Result<Option<i32>, PostgresError> {
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
    let found = version(client, place).await?;
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

/// The version of the tables; none where there are none.
pub async fn version(client: &Client, place: &str) -> Result<Option<i32>, PostgresError> {
    let failed = failed("look for the tables in", place);
    let there = "SELECT COUNT(*) FROM information_schema.tables \
                 WHERE table_schema = 'seatbeat' AND table_name = 'version'";
    let count: i64 = client.query_one(there, &[]).await.map_err(&failed)?.get(0);
    if count == 0 {
        return Ok(None);
    }
    let version = "SELECT version FROM seatbeat.version WHERE id = 1 FOR UPDATE";
    let row = client.query_opt(version, &[]).await.map_err(&failed)?;
    Ok(row.map(|row| row.get(0)))
}
