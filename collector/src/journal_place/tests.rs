//! Collectors whose journal is in a database: what they agree on, and what they refuse. Invariant: the database is a real
//! one, and each collector has a store of its own.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use seatbeat_ledger::fold::Fold;
use seatbeat_postgres::Server;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{CustomerAdded, OrderKeysSet};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::books::{Books, BooksEnd, BooksError, Ordered, WriteError};
use crate::clock::Clock;
use crate::found::{FoundError, Founding, found};
use crate::jobs::leading;
use crate::joining::join;
use crate::journal::{AppendError, CopyError, Lease, PostgresJournal, copy};
use crate::postgres::testing::{self, shared};
use crate::vault::{Vault, VaultError};

const POLICY: &str = "zone = \"UTC\"";

/// Longest until what one collector was told all others know.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// A database, and the stores of collectors on it.
struct House {
    server: Arc<Server>,
    database: String,
    stores: Vec<TempDir>,
}

impl House {
    /// The first is founded; the others have its keys.
    fn of(collectors: usize) -> Option<Self> {
        let server = shared()?;
        let database = server.database();
        let stores: Vec<TempDir> = (0..collectors).map(|_| tempfile::tempdir().unwrap()).collect();
        let house = Self { server, database, stores };
        found(&house.store(0), &house.config(), POLICY, Clock::real()).unwrap();
        let key = fs::read(house.store(0).join("vault/vault.key")).unwrap();
        for number in 1..collectors {
            join(&house.store(number), &house.config(), &key).unwrap();
        }
        Some(house)
    }

    fn store(&self, number: usize) -> PathBuf {
        self.stores[number].path().join("store")
    }

    fn address(&self) -> Address {
        testing::address(&self.server, &self.database)
    }

    fn config(&self) -> Config {
        let journal = format!("postgres://seatbeat@127.0.0.1:{}/{}", self.server.port, self.database);
        Config { journal: Some(journal), ..Config::default() }
    }

    fn open(&self, number: usize) -> Result<(Books, BooksEnd), BooksError> {
        Books::open(&self.store(number), Clock::real())
    }
}

async fn add(books: &Books, customer: String) -> Position {
    books.write("opr_test", "", Fact::CustomerAdded(CustomerAdded { customer })).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_collectors_on_one_journal_agree() {
    const EACH: usize = 40;
    let Some(house) = House::of(3) else { return };
    let opened: Vec<(Books, BooksEnd)> = (0..3).map(|number| house.open(number).unwrap()).collect();
    let writing = opened.iter().map(|(books, _)| {
        let books = books.clone();
        tokio::spawn(async move {
            let mut last = Position(0);
            // Each adds the same customers: who comes second is refused, by everybody.
            for number in 0..EACH {
                last = add(&books, format!("cus_{number}")).await;
                assert!(books.read(Fold::position) >= last.0, "its own fold has passed what it wrote");
            }
            last
        })
    });
    let mut last = Position(0);
    for writing in writing.collect::<Vec<_>>() {
        last = last.max(writing.await.unwrap());
    }
    assert_eq!(last.0, 3 + 3 * EACH as u64, "no gap, nothing twice");
    for (books, _) in &opened {
        books.reached(last.0).await.unwrap();
    }
    let folds: Vec<Fold> = opened.iter().map(|(books, _)| books.read(Fold::clone)).collect();
    assert_eq!(folds[0].registry().customers().count(), EACH);
    assert!(folds[0] == folds[1] && folds[1] == folds[2]);
    for (books, end) in opened {
        drop(books);
        end.close().await.unwrap();
    }
    // And once more from the start, as from a snapshot.
    let (books, _end) = house.open(1).unwrap();
    assert_eq!(books.read(Fold::root), folds[0].root());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_collector_is_told_another_knows_unasked_orders_included() {
    let Some(house) = House::of(2) else { return };
    let ((one, _one_end), (other, _other_end)) = (house.open(0).unwrap(), house.open(1).unwrap());
    for number in 0..5 {
        // As long as nothing happens.
        sleep(Duration::from_millis(150)).await;
        let mut ordered = other.ordered();
        let written = Instant::now();
        let position = add(&one, format!("cus_{number}")).await;
        let keys = one.write("opr_test", "", Fact::OrderKeysSet(OrderKeysSet { keys: None })).await.unwrap();
        let brought = timeout(KNOWN_WITHIN, ordered.recv()).await.expect("in time").unwrap();
        assert!(matches!(brought, Ordered::All));
        other.reached(keys.0).await.unwrap();
        assert!(written.elapsed() < KNOWN_WITHIN);
        assert!(other.read(Fold::position) >= position.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_jobs_run_on_one_collector_and_go_to_the_next_when_it_ends() {
    let Some(house) = House::of(2) else { return };
    let opened: Vec<(Books, BooksEnd)> = (0..2).map(|number| house.open(number).unwrap()).collect();
    let lead = |number: usize| {
        let (term, leads) = watch::channel(None);
        let (stop, stopped) = oneshot::channel::<()>();
        let books = opened[number].0.clone().led_by(leads.clone());
        let ended = async move { drop(stopped.await) };
        tokio::spawn(leading::follow(Lease::new(house.address()), books.clone(), term, ended));
        (books, leads, stop)
    };
    let fact = || vec![Fact::CustomerAdded(CustomerAdded { customer: "cus_acme".to_owned() })];
    let (one, mut one_leads, stop) = lead(0);
    assert_eq!(*one_leads.wait_for(Option::is_some).await.unwrap(), Some(1));
    let (other, mut other_leads, _stop) = lead(1);
    let written = one.write_as_leader("", fact()).await.unwrap();
    let refused = other.write_as_leader("", fact()).await.unwrap_err();
    assert!(matches!(refused, WriteError::Append(AppendError::NotLeading)), "{refused}");

    // Paused past its lease: it thinks that it leads still, and another has led in between.
    let pass = "UPDATE seatbeat.lease SET until = CURRENT_TIMESTAMP + INTERVAL '2' SECOND, holder = 'another', \
                fence = fence + 1";
    house.server.sql(&house.database, pass);
    let refused = one.write_as_leader("", fact()).await.unwrap_err();
    assert!(matches!(refused, WriteError::Append(AppendError::NotLeading)), "{refused}");
    drop(stop);
    let fence = *other_leads.wait_for(Option::is_some).await.unwrap();
    assert!(fence >= Some(3), "{fence:?}");
    assert!(other.read(Fold::position) >= written.0, "it knows what was written before");
    other.write_as_leader("", fact()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_lost_or_damaged_is_fetched_again() {
    let Some(house) = House::of(1) else { return };
    let root = {
        let (books, end) = house.open(0).unwrap();
        add(&books, "cus_acme".to_owned()).await;
        let root = books.read(Fold::root);
        drop(books);
        end.close().await.unwrap();
        root
    };
    let segment = house.store(0).join("journal/00000000000000000000.seg");
    let damages: [&dyn Fn(); 3] = [
        &|| fs::remove_dir_all(house.store(0).join("journal")).unwrap(),
        // As after a power cut: nothing of it was synced.
        &|| fs::File::options().write(true).open(&segment).unwrap().set_len(200).unwrap(),
        &|| {
            let mut bytes = fs::read(&segment).unwrap();
            bytes[100] ^= 1;
            fs::write(&segment, bytes).unwrap();
        },
    ];
    for damage in damages {
        damage();
        let (books, end) = house.open(0).unwrap();
        assert_eq!(books.read(Fold::root), root);
        assert_eq!(books.records(Position(3), 9).unwrap().len(), 1, "and it can be read");
        drop(books);
        end.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lost_records_or_holds_others_is_refused() {
    let Some(house) = House::of(1) else { return };
    let (books, end) = house.open(0).unwrap();
    add(&books, "cus_acme".to_owned()).await;
    drop(books);
    end.close().await.unwrap();
    let refused = |expected: &str| {
        let error = house.open(0).err().expect("it is refused").to_string();
        assert!(
            error.contains("does not hold the records that were read from it") && error.contains(expected),
            "{error}"
        );
    };
    // As a failover to a replica that was behind.
    let lose = "DELETE FROM seatbeat.records WHERE position = 3; UPDATE seatbeat.head SET size = 3";
    house.server.sql(&house.database, lose);
    refused("ends at record 3, this collector has read 4");
    let mut table = PostgresJournal::open(house.address()).unwrap();
    table.append(&[b"another".to_vec()]).unwrap();
    refused("record 3 differs");
}

#[test]
fn a_database_holds_one_collectors_books() {
    let Some(house) = House::of(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let error = found(folder.path(), &house.config(), POLICY, Clock::real()).err().unwrap();
    assert!(matches!(error, FoundError::Taken(_)), "{error}");
    assert!(!folder.path().join(Config::FILE).exists());
    let error = found(&house.store(0), &house.config(), POLICY, Clock::real()).err().unwrap();
    assert!(matches!(error, FoundError::Founded(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_knows_what_another_wrote_before() {
    let Some(house) = House::of(2) else { return };
    let (first, _first_end) = house.open(0).unwrap();
    let (second, _second_end) = house.open(1).unwrap();
    for number in 0..20 {
        let at = add(&first, format!("cus_{number}")).await;
        second.caught_up().await;
        assert!(second.read(Fold::position) >= at.0);
    }
    let folder = tempfile::tempdir().unwrap();
    found(folder.path(), &Config::default(), POLICY, Clock::real()).unwrap();
    let (alone, _end) = Books::open(folder.path(), Clock::real()).unwrap();
    let asked = Instant::now();
    alone.caught_up().await;
    assert!(asked.elapsed() < Duration::from_millis(50), "nobody else writes there");
}

#[test]
fn of_two_foundings_at_once_one_is_refused() {
    let Some(server) = shared() else { return };
    let config = Config { journal: Some(server.url(&server.database())), ..Config::default() };
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let begin = |number: usize| Founding::begin(folders[number].path(), &config, POLICY, Clock::real());
    let first = begin(0).unwrap();
    let error = begin(1).err().unwrap();
    assert!(matches!(error, FoundError::Vault(VaultError::Taken { .. })), "{error}");
    drop(first);
    // Cut short: the same folder begins anew, and its first vault goes.
    begin(0).unwrap().finish().unwrap();
    let (books, _end) = Books::open(folders[0].path(), Clock::real()).unwrap();
    assert_eq!(books.read(Fold::position), 3);
    let error = begin(1).err().unwrap();
    assert!(matches!(error, FoundError::Taken(_)), "{error}");
}

#[test]
fn who_joins_needs_the_database_its_books_and_the_vaults_key() {
    let Some(house) = House::of(1) else { return };
    let key = fs::read(house.store(0).join("vault/vault.key")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let refused = |config: &Config, key: &[u8]| join(&store, config, key).unwrap_err().to_string();
    assert!(refused(&Config::default(), &key).contains("names no database"));
    assert!(refused(&house.config(), &[7; 32]).contains("another key"));
    let empty = house.server.database();
    let none = Config { journal: Some(house.server.url(&empty)), ..Config::default() };
    assert!(refused(&none, &key).contains("no tables"));
    // Each of these tries was cut short: the next begins anew.
    let joined = join(&store, &house.config(), &key).unwrap();
    assert_eq!(joined.records, 3);
    assert!(refused(&house.config(), &key).contains("holds a collector's books already"));
    assert!(join(&house.store(0), &house.config(), &key).is_err());
    Books::open(&store, Clock::real()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reseller_moves_to_a_database_and_back_with_the_same_root() {
    let Some(server) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    found(&store, &Config::default(), POLICY, Clock::real()).unwrap();
    let (books, end) = Books::open(&store, Clock::real()).unwrap();
    for number in 0..300 {
        add(&books, format!("cus_{number}")).await;
    }
    let root = books.read(Fold::root);
    drop(books);
    end.close().await.unwrap();

    let database = server.database();
    let address = testing::address(&server, &database);
    migrate(&address).unwrap();
    let files = FileJournal::open(&store.join("journal")).unwrap();
    let mut table = PostgresJournal::open(address.clone()).unwrap();
    // An earlier try was cut short.
    let begun: Vec<Vec<u8>> =
        files.read_from(Position(0), 100).unwrap().into_iter().map(|(_, record)| record).collect();
    table.append(&begun).unwrap();
    let copied = copy(&files, &mut table, |_, _| ()).unwrap();
    assert_eq!((copied.root, copied.records, copied.copied), (root, 303, 203));
    drop((files, table));
    Vault::open(&store.join("vault")).unwrap().share(&address).unwrap();

    let journal = format!("postgres://seatbeat@127.0.0.1:{}/{database}", server.port);
    let config = Config { journal: Some(journal), ..Config::default() };
    fs::write(store.join(Config::FILE), toml::to_string(&config).unwrap()).unwrap();
    let (books, end) = Books::open(&store, Clock::real()).unwrap();
    assert_eq!(books.read(Fold::root), root);
    add(&books, "cus_new".to_owned()).await;
    let root = books.read(Fold::root);
    drop(books);
    end.close().await.unwrap();

    let table = PostgresJournal::open(address).unwrap();
    let mut back = FileJournal::open(&folder.path().join("back")).unwrap();
    let copied = copy(&table, &mut back, |_, _| ()).unwrap();
    assert_eq!((copied.root, copied.records), (root, 304));
    let mut other = FileJournal::open(&folder.path().join("other")).unwrap();
    other.append(&[b"other".to_vec()]).unwrap();
    assert!(matches!(copy(&table, &mut other, |_, _| ()), Err(CopyError::Other(Position(0)))));
}

#[test]
fn the_doctor_tells_of_the_database() {
    let Some(house) = House::of(1) else { return };
    let look = || {
        let findings = crate::doctor::look(&house.store(0), Clock::real().now());
        findings.into_iter().find(|finding| finding.check == "database").unwrap()
    };
    let well = look();
    assert!(well.level == crate::doctor::Level::Ok && well.what.contains("keeps 3 records"), "{well:?}");
    house.server.sql(&house.database, "UPDATE seatbeat.version SET version = 0");
    let bad = look();
    assert!(bad.level == crate::doctor::Level::Error && bad.todo.contains("seatbeat migrate"), "{bad:?}");
}

#[test]
fn the_password_comes_from_a_file_and_is_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let place = "postgres://sb@127.0.0.1:1/books";
    let error = address(place, Some(&file), None).unwrap_err();
    assert!(error.to_string().contains("password`") && error.hint().is_some(), "{error}");
    fs::write(&file, "s3cret-word\n").unwrap();
    let address = address(place, Some(&file), None).unwrap();
    let error = PostgresJournal::open(address.clone()).err().unwrap();
    assert!(!format!("{address} {address:?} {error} {error:?}").contains("s3cret-word"));
}
