//! What questions to the console take, with reports coming in between. Invariant: a question is asked as a skin asks
//! it, of books on a disk; each is measured from the question to the whole answer.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use seatbeat_collector::books::Books;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::console::Console;
use seatbeat_collector::console::audit::AuditQuery;
use seatbeat_collector::console::auth::Caller;
use seatbeat_collector::console::door;
use seatbeat_collector::console::downloads::{Asked, Download, LIMIT_MAX, TABLES};
use seatbeat_collector::console::fault::Fault;
use seatbeat_collector::console::machines::{MachineQuery, MachineSort, MachineState};
use seatbeat_collector::found::found;
use seatbeat_collector::gateway::presence::Presence;
use seatbeat_collector::jobs::close::Closing;
use seatbeat_collector::jobs::proofs::Proofs;
use seatbeat_collector::journal::{FileJournal, Journal as _};
use seatbeat_collector::serve::COUNT_EVERY;
use seatbeat_collector::vault::VaultRow;
use seatbeat_ledger::operators::{Grant, LetIn};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire::JournalRecord;

use tower::ServiceExt as _;

use crate::results::Section;
use crate::stopwatch::timed;
use crate::table;
use seatbeat_fleet::journal as fleet;

const ABOUT: &str = "Questions to the console, first pages of downloads and pages for browsers, with ten reports before each: what a fleet \
of a hundred thousand sends in two seconds. History: a report a machine and month, three products each. FIRST is the \
first question of its kind after a start. Wall time.";

/// Records written at once while a store is made.
const BATCH: usize = 4096;

/// Reports before each question.
const NEWS: usize = 10;

/// Bytes of a page, with what it loads beside it: 90 000.
const PAGE_LENGTH_MAX: usize = 210_000;

/// Pages that a browser asks for, each whole.
const PAGES: [&str; 10] = [
    "/",
    "/customers",
    "/customers/cus_00003",
    "/machines",
    "/machines?search=ws-047",
    "/statements",
    "/statements/2026-12",
    "/licences",
    "/orders",
    "/audit",
];

/// What a question takes.
struct Times {
    name: String,
    first: Duration,
    rest: Vec<Duration>,
}

/// Measures a fleet of so many machines over so many months, each question so many times, and publishes; one question
/// alone is only shown.
pub fn bench(machines: usize, months: usize, times: usize, only: Option<&str>) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    table::progress(&format!("{machines} machines, {months} months"));
    let mut house = House::open(&store, machines, months)?;
    house.only = only.map(str::to_owned);
    let mut found = Vec::new();
    found.extend(house.measure("overview", times, async |house: &House| {
        house.console.overview(&house.caller, 0).await.map(drop)
    })?);
    for (name, query) in machine_queries() {
        found.extend(house.measure(name, times, async |house: &House| {
            house.console.machines(&house.caller, query.clone(), 0).await.map(drop)
        })?);
    }
    for (name, query) in audit_queries()? {
        found.extend(house.measure(name, times, async |house: &House| {
            house.console.audit(query.clone(), 0).await.map(drop)
        })?);
    }
    for download in TABLES {
        let asked = asked(download)?;
        found.extend(house.measure(&format!("{}.csv", download.name), times, async |house: &House| {
            house.console.page(&house.caller, download, &asked, None, LIMIT_MAX).await.map(drop)
        })?);
    }
    for path in PAGES {
        found.extend(
            house.measure(&format!("page {path}"), times, async |house: &House| house.page(path).await)?,
        );
    }
    let mut section = Section::new("queries", ABOUT);
    section.table(&["QUESTION", "FIRST ms", "P50 ms", "P99 ms"], found.into_iter().map(row).collect());
    section.note(format!("{machines} machines, {months} months; each question {times} times."));
    match only {
        Some(_) => section.show(),
        None => section.publish()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A table of the running month, as far as it is one of a month; of statements, the draft.
fn asked(download: &Download) -> anyhow::Result<Asked> {
    let has_draft = download.parameters.iter().any(|one| one.name == "draft");
    let pairs = has_draft.then(|| ("draft".to_owned(), "true".to_owned()));
    Asked::read(download, Some("2026-12".parse()?), pairs).map_err(|fault| anyhow!(fault.words()))
}

fn row(times: Times) -> Vec<String> {
    let Times { name, first, mut rest } = times;
    rest.sort_unstable();
    let ms = |time: Duration| table::tenths(u64::try_from(time.as_micros() / 100).unwrap_or(u64::MAX));
    let part = |percent: usize| rest[(rest.len() * percent / 100).min(rest.len() - 1)];
    vec![name, ms(first), ms(part(50)), ms(part(99))]
}

fn machine_queries() -> Vec<(&'static str, MachineQuery)> {
    let of = |sort| MachineQuery { sort, ..MachineQuery::default() };
    vec![
        ("machines by id", of(MachineSort::Id)),
        ("machines by last report", of(MachineSort::LastReport)),
        (
            "machines of a customer by name",
            MachineQuery { customer: fleet::customer(3).parse().ok(), ..of(MachineSort::HostName) },
        ),
        (
            "machines with a rare name",
            MachineQuery { search: Some("ws-04711".to_owned()), ..of(MachineSort::HostName) },
        ),
        (
            "machines in a state that none is in",
            MachineQuery { state: Some(MachineState::Banned), ..of(MachineSort::HostName) },
        ),
        (
            "silent machines by last report",
            MachineQuery { state: Some(MachineState::Silent), ..of(MachineSort::LastReport) },
        ),
        (
            "machines with a product that none has",
            MachineQuery { product: "apex-one".parse().ok(), ..of(MachineSort::Id) },
        ),
    ]
}

fn audit_queries() -> anyhow::Result<[(&'static str, AuditQuery); 2]> {
    let day = Some("2026-06-15".parse()?);
    Ok([
        ("audit, the newest", AuditQuery::default()),
        ("audit of a day", AuditQuery { from: day, to: day, ..AuditQuery::default() }),
    ])
}

/// A collector without its doors, and machines that report to it.
struct House {
    runtime: tokio::runtime::Runtime,
    books: Books,
    console: Console,
    router: Router,
    token: String,
    caller: Caller,
    fleet: Vec<fleet::Machine>,
    reported: usize,
    now: Timestamp,
    only: Option<String>,
}

impl House {
    fn open(store: &Path, machines: usize, months: usize) -> anyhow::Result<Self> {
        let config = Config::default();
        let founded = found(store, &config, fleet::POLICY, Clock::as_of(fleet::start()))?;
        let mut fleet: Vec<fleet::Machine> = (0..machines).map(fleet::Machine::new).collect();
        history(store, &mut fleet, months)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let now: Timestamp = "2026-12-15T12:00:00Z".parse()?;
        table::progress("opening the books");
        let (books, end) = runtime.block_on(async { Books::open(store, Clock::as_of(now)) })?;
        // It lives as long as this process.
        std::mem::forget(end);
        let names: Vec<(MachineId, String)> = fleet
            .iter()
            .enumerate()
            .map(|(number, machine)| (machine.id.clone(), format!("WS-{number:05}.example")))
            .collect();
        let rows: Vec<(VaultRow<'_>, &[u8])> =
            names.iter().map(|(id, name)| (VaultRow::HostName(id), name.as_bytes())).collect();
        books.vault().put_all(&rows)?;
        let statements = store.join("statements");
        let closing = Closing::new(books.clone(), config.clone(), statements.clone());
        let proofs = Proofs::new(books.clone(), &config, statements);
        let console = Console::new(books.clone(), Presence::default(), config, closing.clone(), proofs);
        // As `serve` does.
        let ahead = console.clone();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(COUNT_EVERY).await;
                tokio::task::block_in_place(|| {
                    closing.keep_counted();
                    ahead.keep_added();
                });
            }
        });
        let router = runtime.block_on(door::router(console.clone()));
        let token = founded.operator_token.to_string();
        let let_in = LetIn { operator: "opr_bench".parse()?, api_token: None, grants: vec![Grant::FULL] };
        let caller = Caller { let_in, from: None };
        Ok(Self { runtime, books, console, router, token, caller, fleet, reported: 0, now, only: None })
    }

    fn measure(
        &mut self,
        name: &str,
        times: usize,
        ask: impl AsyncFn(&Self) -> Result<(), Fault>,
    ) -> anyhow::Result<Option<Times>> {
        if self.only.as_ref().is_some_and(|only| only != name) {
            return Ok(None);
        }
        table::progress(name);
        let mut all = Vec::with_capacity(times);
        for _ in 0..times.max(2) {
            self.news()?;
            let (answer, took) = timed(|| self.runtime.block_on(ask(self)));
            answer.map_err(|fault| anyhow!("{name}: {}", fault.words()))?;
            all.push(took);
        }
        Ok(Some(Times { name: name.to_owned(), first: all[0], rest: all.split_off(1) }))
    }

    /// A page, to its last byte.
    async fn page(&self, path: &str) -> Result<(), Fault> {
        let request = http::Request::get(path)
            .header("host", "seats.example")
            .header("accept", "text/html")
            .header("authorization", format!("Bearer {}", self.token));
        let request = request.body(String::new()).expect("a path is one");
        let answer = self.router.clone().oneshot(request).await.expect("a router answers");
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| Fault::Page(error.to_string()))?;
        let length = body.to_bytes().len();
        if status.is_success() && length <= PAGE_LENGTH_MAX {
            return Ok(());
        }
        Err(Fault::Page(format!("{path} answers {status} with {length} bytes, of at most {PAGE_LENGTH_MAX}")))
    }

    /// Some machines report.
    fn news(&mut self) -> anyhow::Result<()> {
        let mut facts = Vec::with_capacity(NEWS);
        for _ in 0..NEWS {
            let number = self.reported * 7919 % self.fleet.len();
            self.reported += 1;
            let at = self.now + SignedDuration::from_millis(i64::try_from(self.reported)?);
            let record = self.fleet[number].report(at);
            facts.push(JournalRecord::decode(record.as_slice())?.fact.context("a report is a fact")?);
        }
        self.runtime.block_on(self.books.write_all("collector", "", facts))?;
        Ok(())
    }
}

/// Lets the fleet in, and has each machine report once a month.
fn history(store: &Path, fleet: &mut [fleet::Machine], months: usize) -> anyhow::Result<()> {
    let mut journal = FileJournal::open(&store.join("journal"))?;
    let mut batch = Vec::with_capacity(BATCH);
    let mut write = |record: Vec<u8>| {
        batch.push(record);
        if batch.len() == BATCH {
            journal.append(&batch)?;
            batch.clear();
        }
        anyhow::Ok(())
    };
    // The first of these found a journal: this one is founded already.
    fleet::foundation(fleet.len()).into_iter().skip(1).try_for_each(&mut write)?;
    for (number, machine) in fleet.iter().enumerate() {
        write(machine.enrolment(number))?;
    }
    for month in 0..months {
        let at = fleet::start() + SignedDuration::from_hours(24 * (5 + 30 * i64::try_from(month)?));
        for (number, machine) in fleet.iter_mut().enumerate() {
            write(machine.report(at + SignedDuration::from_millis(i64::try_from(number)?)))?;
        }
    }
    journal.append(&batch)?;
    Ok(())
}
