//! One connection to the database. Invariant: it is used only where the database keeps what it says it keeps; no answer
//! is waited for longer than [`ANSWER_TIMEOUT`].

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Statement};

use super::{Address, PostgresError, schema};

/// Longest wait for an answer: a batch behind many others on a slow disk, or a lock that a paused collector holds until
/// the database ends its session.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Said to the database of every session: who is paused with the lock does not hold everybody up for longer.
const SESSION: &str = "SET TIME ZONE 'UTC'; SET idle_in_transaction_session_timeout = '5s'; SET lock_timeout = '10s'; \
                       SET statement_timeout = '15s'; SET client_min_messages = error";

/// Settings without which a crash of the database loses what was acknowledged.
const DURABLE: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];

/// Connects and sets the session up, whatever tables are there.
pub(crate) async fn connect(address: &Address) -> Result<Client, PostgresError> {
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
pub(crate) async fn answered<T>(
    act: &'static str,
    place: &str,
    answer: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
        Err(PostgresError::Silent { act, place: place.to_owned(), seconds: ANSWER_TIMEOUT.as_secs() })
    })
}

/// As [`answered`], of what the database's own errors say.
pub(crate) async fn asked<T>(
    act: &'static str,
    place: &str,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, PostgresError> {
    answered(act, place, async { answer.await.map_err(failed(act, place)) }).await
}

/// Connects, and prepares what is asked again and again of tables that have to be this version's.
pub(crate) async fn prepared<const N: usize>(
    address: &Address,
    texts: [&str; N],
) -> Result<(Client, [Statement; N]), PostgresError> {
    let (act, client, place) = ("prepare statements at", connect(address).await?, address.to_string());
    let preparing = async {
        schema::expect_own(&client, &place).await?;
        let statements = try_join_all(texts.map(|text| client.prepare(text)));
        statements.await.map_err(failed(act, &place))
    };
    let statements = answered(act, &place, preparing).await?;
    Ok((client, statements.try_into().expect("each text makes one")))
}

/// The error of a failed act.
pub(crate) fn failed(act: &'static str, place: &str) -> impl Fn(tokio_postgres::Error) -> PostgresError {
    move |source| PostgresError::Sql { act, place: place.to_owned(), source }
}
