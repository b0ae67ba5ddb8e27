//! Databases for tests. Invariant: where there is no PostgreSQL, a test says so and ends.

use std::sync::Arc;

use seatbeat_postgres::{Server, url};

use super::{Address, schema};
use crate::distributor::independent::skip;

/// The server that tests share.
pub(crate) fn shared() -> Option<Arc<Server>> {
    or_skip(Server::shared())
}

/// One of the caller's own.
pub(crate) fn own() -> Option<Server> {
    or_skip(Server::start(&[]))
}

fn or_skip<S>(server: Option<S>) -> Option<S> {
    if server.is_none() {
        skip("PostgreSQL", "apt-get install postgresql");
    }
    server
}

/// How a database is reached.
pub(crate) fn address(server: &Server, database: &str) -> Address {
    address_at(server.port, database)
}

/// How it is reached through another port.
pub(crate) fn address_at(port: u16, database: &str) -> Address {
    Address::parse(&url(port, database), None, None).unwrap()
}

/// A database with our tables: its name, and how it is reached.
pub(crate) fn migrated(server: &Server) -> (String, Address) {
    let database = server.database();
    let address = address(server, &database);
    assert!(schema::migrate(&address).unwrap());
    (database, address)
}

/// What was appended since the last time was appended in this month, which is over.
pub(crate) fn age(server: &Server, database: &str, month: i32) {
    let next = month + 1;
    server.sql(
        database,
        &format!(
            "CREATE TABLE seatbeat.records_{month} PARTITION OF seatbeat.records FOR VALUES FROM ({month}) TO ({next}); \
             DO $$ DECLARE newest integer; BEGIN SELECT MAX(month) INTO newest FROM seatbeat.months; \
             UPDATE seatbeat.records SET month = {month} WHERE month = newest; \
             UPDATE seatbeat.months SET month = {month} WHERE month = newest; \
             UPDATE seatbeat.head SET month = {month}; \
             EXECUTE 'DROP TABLE seatbeat.records_' || newest; END $$"
        ),
    );
}
