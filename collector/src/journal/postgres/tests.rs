//! A journal in a real PostgreSQL: what callers may rely on while others write, connections end and the database dies.
//! Invariant: each check compares what was answered with what stands there afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use seatbeat_postgres::{GUARDED, Proxy, Server};
use tempfile::TempDir;

use super::*;
use crate::journal::contract::CHECKS;
use crate::journal::{FileJournal, SharedJournal};
use crate::postgres::schema;
use crate::postgres::testing::{self, address_at, migrated, own, shared};

/// A wait that nobody minds in a test.
const SHORT: Duration = Duration::from_millis(500);

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn open(address: &Address) -> PostgresJournal {
    PostgresJournal::open(address.clone()).unwrap()
}

fn refused(address: &Address) -> JournalError {
    PostgresJournal::open(address.clone()).err().expect("it is refused")
}

fn all(address: &Address) -> Vec<Vec<u8>> {
    let journal = open(address);
    let mut records = Vec::new();
    loop {
        let read = journal.read_from(Position(records.len() as u64), usize::MAX).unwrap();
        if read.is_empty() {
            assert_eq!(journal.size(), Position(records.len() as u64));
            return records;
        }
        records.extend(read.into_iter().map(|(_, record)| record));
    }
}

/// Appends batches of one to three records that name the writer and their number; what was answered.
fn write(mut journal: PostgresJournal, writer: usize, batches: usize) -> BTreeMap<u64, Vec<u8>> {
    let mut answered = BTreeMap::new();
    let mut count = 0;
    for batch in 0..batches {
        let batch: Vec<Vec<u8>> = (0..=batch % 3)
            .map(|_| {
                count += 1;
                format!("writer {writer} {count}").into_bytes()
            })
            .collect();
        let first = journal.append(&batch).unwrap();
        answered.extend((first.0..).zip(batch));
    }
    answered
}

/// Several writers at once, each at its own address, while something happens.
fn write_at_once(addresses: &[Address], batches: usize, meanwhile: impl FnOnce()) -> BTreeMap<u64, Vec<u8>> {
    let journals: Vec<PostgresJournal> = addresses.iter().map(open).collect();
    let answered = thread::scope(|scope| {
        let begin = |(number, journal)| scope.spawn(move || write(journal, number, batches));
        let writers: Vec<_> = journals.into_iter().enumerate().map(begin).collect();
        meanwhile();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    let count: usize = answered.iter().map(BTreeMap::len).sum();
    let answered: BTreeMap<u64, Vec<u8>> = answered.into_iter().flatten().collect();
    assert_eq!(answered.len(), count, "no position was answered twice");
    answered
}

#[test]
fn a_journal_of_any_kind_keeps_to_the_contract() {
    let server = shared();
    for check in CHECKS {
        let folder = tempfile::tempdir().unwrap();
        check(&|| Box::new(FileJournal::open(folder.path()).unwrap()));
        if let Some(server) = &server {
            let (_, address) = migrated(server);
            check(&|| Box::new(open(&address)));
            let ((_, address), folder) = (migrated(server), tempfile::tempdir().unwrap());
            check(&|| Box::new(SharedJournal::open(&address, folder.path(), Position(0)).unwrap()));
        }
    }
}

#[test]
fn two_writers_at_once_keep_one_order_without_a_gap() {
    let Some(server) = shared() else { return };
    let (_, address) = migrated(&server);
    let answered = write_at_once(&[address.clone(), address.clone()], 150, || ());
    assert_eq!(answered.into_values().collect::<Vec<_>>(), all(&address));
}

#[test]
fn a_batch_whose_commit_or_its_answer_is_lost_stands_exactly_once() {
    let Some(server) = shared() else { return };
    let (database, address) = migrated(&server);
    let proxy = Proxy::before(server.port);
    let through = address_at(proxy.port, &database);
    let answered = write_at_once(&[through.clone(), address.clone(), through], 30, || ());
    assert!(proxy.commits.load(Ordering::SeqCst) > 60, "some were tried again");
    assert_eq!(answered.into_values().collect::<Vec<_>>(), all(&address));
}

#[test]
fn what_was_acknowledged_outlives_a_killed_database_and_the_collector_goes_on() {
    let Some(server) = own() else { return };
    let (_, address) = migrated(&server);
    let killed = || {
        for written in [50, 400] {
            while !PostgresJournal::size_at(&address).is_ok_and(|size| size.0 >= written) {
                thread::sleep(Duration::from_millis(5));
            }
            server.kill();
            server.run(&[]);
        }
    };
    let answered = write_at_once(&[address.clone(), address.clone()], 300, killed);
    assert_eq!(answered.into_values().collect::<Vec<_>>(), all(&address));
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        server.kill();
        server.run(&[&format!("{setting}=off")]);
        let error = refused(&address);
        assert!(error.to_string().contains(&format!("runs with `{setting}` = `off`")), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains(&format!("`{setting} = on`"))));
    }
}

#[test]
fn a_database_that_is_away_keeps_nothing_and_is_tried_again() {
    let Some(server) = own() else { return };
    let (_, address) = migrated(&server);
    let mut journal = open(&address);
    journal.append(&texts(&["before"])).unwrap();
    server.kill();
    // A session's own process may outlive the server for a moment, and keep something still.
    journal.inside().line = Line::new(address.clone(), SHORT);
    let error = journal.append(&texts(&["lost"])).unwrap_err();
    assert!(error.is_full() && error.to_string().ends_with("cannot be reached"), "{error}");
    assert!(error.hint().is_some());
    let error = PostgresJournal::open(address.clone()).err().unwrap();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    server.run(&[]);
    // And it waits as long as the database takes to get ready.
    journal.inside().line = Line::new(address.clone(), PATIENCE);
    assert_eq!(journal.append(&texts(&["after"])).unwrap(), Position(1));
    assert_eq!(all(&address), texts(&["before", "after"]));
}

#[test]
fn a_batch_that_nobody_knows_of_is_looked_up_before_the_next_one() {
    let Some(server) = shared() else { return };
    for is_kept in [true, false] {
        let (_, address) = migrated(&server);
        let mut journal = open(&address);
        journal.append(&texts(&["before"])).unwrap();
        // As a commit whose answer was lost leaves it.
        journal.inside().in_doubt = true;
        let mut expected = texts(&["before"]);
        if is_kept {
            let number = { journal.inside().number };
            journal.append(&texts(&["in doubt"])).unwrap();
            (journal.inside().number, journal.inside().in_doubt) = (number, true);
            expected.extend(texts(&["in doubt"]));
        }
        let first = Position(expected.len() as u64);
        assert_eq!(journal.append(&texts(&["after", "it"])).unwrap(), first, "{is_kept}");
        expected.extend(texts(&["after", "it"]));
        assert_eq!(journal.append(&texts(&["more"])).unwrap(), first.plus(2), "{is_kept}");
        assert_eq!(all(&address), [expected, texts(&["more"])].concat(), "{is_kept}");
    }
    let in_doubt = PostgresError::InDoubt {
        place: "there".to_owned(),
        source: Box::new(PostgresError::Failed { place: "there".to_owned() }),
    };
    let error = JournalError::from(in_doubt);
    assert!(!error.is_final() && !error.is_full(), "nobody may say that nothing was kept");
}

#[test]
fn a_batch_for_a_place_that_is_taken_is_refused_and_the_next_is_not() {
    let Some(server) = shared() else { return };
    let (_, address) = migrated(&server);
    let mut journals = [open(&address), open(&address)];
    let first =
        |journal: &mut PostgresJournal| journal.append_if(&texts(&["first"]), Condition::EndsAt(Position(0)));
    assert_eq!(first(&mut journals[0]).unwrap(), Position(0));
    let error = first(&mut journals[1]).unwrap_err();
    assert!(error.to_string().contains("has records already, 1 of them"), "{error}");
    assert_eq!(journals[1].append(&texts(&["second"])).unwrap(), Position(1));
    assert_eq!(all(&address), texts(&["first", "second"]));
}

/// Makes inserts fail with a state: all of them, or the first few.
fn fail_inserts(server: &Server, database: &str, state: &str, times: u32) {
    let text = format!(
        "CREATE SEQUENCE fails; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('fails') <= {times} THEN RAISE EXCEPTION 'made to fail' USING ERRCODE = '{state}'; END IF; \
         RETURN NULL; END $$; \
         CREATE TRIGGER fail AFTER INSERT ON seatbeat.records FOR EACH STATEMENT EXECUTE FUNCTION fail()"
    );
    server.sql(database, &text);
}

#[test]
fn no_room_keeps_nothing_and_a_clash_is_tried_again() {
    let Some(server) = shared() else { return };
    for (state, times) in [("53100", 1), ("40001", 3), ("40P01", 2), ("57P01", 1)] {
        let (database, address) = migrated(&server);
        let mut journal = open(&address);
        journal.append(&texts(&["before"])).unwrap();
        fail_inserts(&server, &database, state, times);
        let appended = journal.append(&texts(&["one", "two"]));
        if state == "53100" {
            let error = appended.unwrap_err();
            assert!(matches!(error, JournalError::Full { .. }), "{error}");
            assert!(journal.append(&texts(&["one", "two"])).is_ok(), "there is room again");
        } else {
            assert_eq!(appended.unwrap(), Position(1), "{state}");
        }
        assert_eq!(all(&address), texts(&["before", "one", "two"]), "{state}");
    }
    let (database, address) = migrated(&server);
    fail_inserts(&server, &database, "23514", 1);
    let mut journal = open(&address);
    let error = journal.append(&texts(&["one"])).unwrap_err();
    assert!(error.to_string().contains("made to fail (23514)"), "{error}");
    let error = journal.append(&texts(&["one"])).unwrap_err();
    assert!(error.to_string().contains("since an earlier error"), "{error}");
    assert!(all(&address).is_empty());
}

#[test]
fn each_month_has_a_partition_and_is_read_as_one_with_the_others() {
    let Some(server) = shared() else { return };
    let (database, address) = migrated(&server);
    let mut journal = open(&address);
    journal.append(&texts(&["a", "b", "c"])).unwrap();
    server.sql(
        &database,
        "CREATE TABLE seatbeat.records_202001 PARTITION OF seatbeat.records FOR VALUES FROM (202001) TO (202002); \
         UPDATE seatbeat.records SET month = 202001; UPDATE seatbeat.months SET month = 202001; \
         UPDATE seatbeat.head SET month = 202001; \
         DO $$ DECLARE part text; BEGIN FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON \
         c.oid = i.inhrelid WHERE i.inhparent = 'seatbeat.records'::regclass AND c.relname <> 'records_202001' \
         LOOP EXECUTE 'DROP TABLE seatbeat.' || part; END LOOP; END $$",
    );
    assert_eq!(journal.append(&texts(&["d", "e"])).unwrap(), Position(3));
    assert_eq!(all(&address), texts(&["a", "b", "c", "d", "e"]));
    let read = journal.read_from(Position(2), 2).unwrap();
    assert_eq!(read, vec![(Position(2), b"c".to_vec()), (Position(3), b"d".to_vec())]);
    // The database's clock was set back: no record goes into a month before its predecessor's.
    server.sql(
        &database,
        "CREATE TABLE seatbeat.records_209912 PARTITION OF seatbeat.records FOR VALUES FROM (209912) TO (209913); \
         INSERT INTO seatbeat.months VALUES (209912, 5); UPDATE seatbeat.head SET month = 209912",
    );
    assert_eq!(journal.append(&texts(&["f"])).unwrap(), Position(5));
    assert_eq!(all(&address).len(), 6);
}

#[test]
fn the_first_record_of_a_month_waits_for_nobody_who_reads() {
    let Some(server) = shared() else { return };
    let (database, address) = migrated(&server);
    let mut journal = open(&address);
    thread::scope(|scope| {
        // As `pg_dump` does, for as long as it takes.
        let reads = "LOCK TABLE seatbeat.records IN ACCESS SHARE MODE; SELECT pg_sleep(6)";
        let reading = scope.spawn(|| server.sql(&database, reads));
        thread::sleep(Duration::from_millis(500));
        journal.append(&texts(&["of a new month"])).unwrap();
        assert!(!reading.is_finished(), "it was read all the while");
    });
    assert_eq!(all(&address), texts(&["of a new month"]));
}

#[test]
fn a_record_that_was_changed_or_taken_away_is_not_handed_out() {
    let Some(server) = shared() else { return };
    let (database, address) = migrated(&server);
    let mut journal = open(&address);
    journal.append(&texts(&["a", "b", "c"])).unwrap();
    let damaged = |expected: &str| {
        let error = journal.read_from(Position(0), 9).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some());
    };
    server.sql(&database, "UPDATE seatbeat.records SET body = 'x' WHERE position = 1");
    damaged("record 1 in");
    damaged("is not as it was written");
    server.sql(&database, "DELETE FROM seatbeat.records WHERE position = 1");
    damaged("is missing");
}

#[test]
fn a_database_without_our_tables_or_with_later_ones_is_refused() {
    let Some(server) = shared() else { return };
    let database = server.database();
    let address = testing::address(&server, &database);
    let error = refused(&address);
    assert!(error.to_string().contains("has no tables"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("`seatbeat migrate` makes them"));
    let both = thread::scope(|scope| {
        let migrations = [(); 2].map(|()| scope.spawn(|| schema::migrate(&address).unwrap()));
        migrations.map(|migration| migration.join().unwrap())
    });
    assert!(both.contains(&true), "one of two at once made them");
    open(&address).append(&texts(&["kept"])).unwrap();
    assert!(!schema::migrate(&address).unwrap());
    assert_eq!(all(&address), texts(&["kept"]));
    server.sql(&database, "UPDATE seatbeat.version SET version = 1000");
    for error in [refused(&address), schema::migrate(&address).unwrap_err().into()] {
        assert!(error.to_string().contains("have version 1000"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("or a later one")));
    }
}

#[test]
fn tables_of_a_version_before_are_brought_forward_with_all_that_they_hold() {
    let Some(server) = shared() else { return };
    let (database, address) = migrated(&server);
    open(&address).append(&texts(&["kept", "as", "well"])).unwrap();
    server.sql(&database, "DROP TABLE seatbeat.archived; UPDATE seatbeat.version SET version = 3");
    let error = refused(&address);
    assert!(error.to_string().contains("have version 3, this program needs version 4"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("`seatbeat migrate` makes them"));
    assert!(!schema::migrate(&address).unwrap(), "they were there");
    assert_eq!(all(&address), texts(&["kept", "as", "well"]));
    assert!(open(&address).archived().segments.is_empty());
}

#[test]
fn passwords_and_certificates_are_looked_at_and_shown_nowhere() {
    let Some(server) = shared() else { return };
    let (role, password) = GUARDED;
    let database = server.database();
    let owner =
        format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'; ALTER DATABASE {database} OWNER TO {role}");
    server.sql("postgres", &owner);
    let port = server.port;
    let text = format!("postgres://{role}@localhost:{port}/{database}?sslmode=require&hostaddr=127.0.0.1");
    let certificate = server.certificate();
    let address = |password: Option<&str>, authority: Option<&Path>| {
        Address::parse(&text, password, authority).unwrap()
    };
    let good = address(Some(password), Some(&certificate));
    assert!(schema::migrate(&good).unwrap());
    open(&good).append(&texts(&["over TLS"])).unwrap();

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = TempDir::new().unwrap();
    let others = folder.path().join("other.crt");
    std::fs::write(&others, other.cert.pem()).unwrap();
    let cases = [
        address(Some("wr0ng-word"), Some(&certificate)),
        address(None, Some(&certificate)),
        address(Some(password), Some(&others)),
        address(Some(password), None),
    ];
    for address in cases {
        let error = refused(&address);
        assert!(!error.is_full(), "it does not pass: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("journal_password_file")), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret-word") && !shown.contains("wr0ng-word"), "{shown}");
    }
    let error = Address::parse(&text, None, Some(&folder.path().join("none.crt"))).unwrap_err();
    assert!(error.to_string().contains("none.crt"), "{error}");
}

#[test]
fn one_collector_at_a_time_runs_the_jobs_and_an_earlier_ones_records_are_refused() {
    let Some(server) = shared() else { return };
    let (database, address) = migrated(&server);
    let engine = Engine::start().unwrap();
    let (mut first, mut second) = (Lease::new(address.clone()), Lease::new(address.clone()));
    let ask = |lease: &mut Lease| engine.wait(lease.ask()).unwrap().map(|held| held.fence);
    assert_eq!((ask(&mut first), ask(&mut second), ask(&mut first)), (Some(1), None, Some(1)));
    let mut paused = open(&address);
    assert_eq!(paused.append_if(&texts(&["of the first"]), Condition::Leads(1)).unwrap(), Position(0));

    server.sql(&database, "UPDATE seatbeat.lease SET until = CURRENT_TIMESTAMP - INTERVAL '1' SECOND");
    let held = engine.wait(second.ask()).unwrap().unwrap();
    assert_eq!(held, Held { fence: 2, size: Position(1) }, "with all that the first wrote");
    assert_eq!(ask(&mut first), None);
    let error = paused.append_if(&texts(&["too late"]), Condition::Leads(1)).unwrap_err();
    assert!(error.to_string().contains("has taken the jobs over"), "{error}");
    assert_eq!(paused.append(&texts(&["an agent's"])).unwrap(), Position(1), "agents are served by both");
    let mut leads = open(&address);
    assert_eq!(leads.append_if(&texts(&["of the second"]), Condition::Leads(2)).unwrap(), Position(2));

    // A session that ended is no reason to lose the lease.
    server.sql(
        &database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    while !second.is_closed() {
        // What hears of it runs while somebody waits.
        engine.wait(async { tokio::time::sleep(Duration::from_millis(5)).await });
    }
    assert_eq!(ask(&mut second), Some(2));

    engine.wait(second.give_back()).unwrap();
    assert_eq!((ask(&mut first), ask(&mut second)), (Some(3), None), "given back, it is free at once");
    assert_eq!(all(&address), texts(&["of the first", "an agent's", "of the second"]));
}
