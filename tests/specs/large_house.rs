//! A house so large that what is shown of it is kept for some moments. Invariant: what somebody decided is in the next answer,
//! and whoever names a position gets nothing older.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use seatbeat_collector::books::{Books, BooksEnd};
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::console::Console;
use seatbeat_collector::console::auth::Caller;
use seatbeat_collector::console::usage::UsageQuery;
use seatbeat_collector::found::found;
use seatbeat_collector::gateway::presence::Presence;
use seatbeat_collector::jobs::close::Closing;
use seatbeat_collector::jobs::proofs::Proofs;
use seatbeat_collector::journal::{FileJournal, Journal as _};
use seatbeat_fleet::journal as fleet;
use seatbeat_ledger::operators::{Grant, LetIn};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{CustomerAdded, JournalRecord};

/// More than a house has of which everything is made anew.
const MACHINES: usize = 5_001;

/// The instant as of which it is looked at.
const NOW: &str = "2026-01-06T12:00:00Z";

struct House {
    books: Books,
    _end: BooksEnd,
    console: Console,
    caller: Caller,
    silent: fleet::Machine,
}

impl House {
    /// All machines were let in, and all but one have reported.
    async fn open(store: &Path) -> Self {
        let config = Config::default();
        found(store, &config, fleet::POLICY, Clock::as_of(fleet::start())).unwrap();
        let mut machines: Vec<fleet::Machine> = (0..MACHINES).map(fleet::Machine::new).collect();
        // The first of these found a journal: this one is founded already.
        let mut records: Vec<Vec<u8>> = fleet::foundation(MACHINES).split_off(1);
        records.extend(machines.iter().enumerate().map(|(number, machine)| machine.enrolment(number)));
        let silent = machines.pop().unwrap();
        let reported_at = fleet::start() + SignedDuration::from_hours(30);
        records.extend(machines.iter_mut().map(|machine| machine.report(reported_at)));
        let mut journal = FileJournal::open(&store.join("journal")).unwrap();
        for batch in records.chunks(1_000) {
            journal.append(batch).unwrap();
        }
        drop(journal);
        let (books, end) = Books::open(store, Clock::as_of(NOW.parse().unwrap())).unwrap();
        let closing = Closing::new(books.clone(), config.clone(), store.join("statements"));
        let proofs = Proofs::new(books.clone(), &config, store.join("statements"));
        let console = Console::new(books.clone(), Presence::default(), config, closing, proofs);
        let let_in = LetIn { operator: "opr_a".parse().unwrap(), api_token: None, grants: vec![Grant::FULL] };
        Self { books, _end: end, console, caller: Caller { let_in, from: None }, silent }
    }

    /// The machine that was silent reports; answers where that stands.
    async fn report(&mut self) -> u64 {
        let at: Timestamp = NOW.parse().unwrap();
        let record = self.silent.report(at);
        let fact = JournalRecord::decode(record.as_slice()).unwrap().fact.unwrap();
        self.books.write_all("collector", "", vec![fact]).await.unwrap().0
    }

    /// Customers, and seats of the running month, as the overview tells.
    async fn overview(&self) -> (u64, String) {
        let overview = self.console.overview(&self.caller, 0).await.unwrap();
        (overview.customers, overview.quantity.to_string())
    }

    /// Seats of one SKU of the last machine's customer, in an answer that is to hold what is up to a position.
    async fn used(&self, after: u64) -> String {
        let query = UsageQuery { period: None, customer: None, flags_max: 0 };
        let (usage, _) = self.console.used(&self.caller, query, after).await.unwrap();
        let customer = fleet::customer_of(MACHINES - 1);
        let row = usage.rows.iter().find(|row| row.customer.as_str() == customer && row.sku == "WF-SVC");
        row.map_or_else(|| "0".to_owned(), |row| row.quantity.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_decided_is_in_the_next_answer_and_no_position_is_answered_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(&folder.path().join("store")).await;
    let (customers, before) = house.overview().await;
    assert_eq!(house.used(0).await, "0");
    let reported = house.report().await;
    assert_eq!(house.used(reported).await, "1");
    // A report alone may be missing for some moments; behind a decision nothing is.
    let added = Fact::CustomerAdded(CustomerAdded { customer: "cus_new".into() });
    house.books.write_all("opr_a", "new", vec![added]).await.unwrap();
    let (customers_now, after) = house.overview().await;
    assert_eq!(customers_now, customers + 1);
    assert_ne!(after, before, "the report stands before the decision");
}
