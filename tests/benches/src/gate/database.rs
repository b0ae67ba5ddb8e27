//! The journal in PostgreSQL beside the one in files, with one collector and with three, and a fleet that is connected to
//! four of them. Invariant: all start from copies of one store, and send the same.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use seatbeat_collector::config::Config;
use seatbeat_collector::joining::join;
use seatbeat_collector::journal::{FileJournal, PostgresJournal, copy};
use seatbeat_collector::journal_place;
use seatbeat_collector::vault::Vault;
use seatbeat_postgres::Server as Postgres;

use super::load::{Ask, Told};
use super::processes::{Load, Server, cpu_us_of};
use super::store::{Prepared, configure};
use super::{AT_ONCE, SETTLE, WINDOW, milliseconds, quiet};
use crate::results::Section;
use crate::stopwatch::timed;
use crate::{desk, table};

/// Machines that report at once, over all collectors.
const STREAMS: usize = 256;

/// Reports of each.
const REPORTS: usize = 100;

/// How often each way is measured; the middle one is shown.
const TIMES: usize = 3;

/// Machines that are connected at once, over all collectors: each process may have 20,000 descriptors.
const MANY: usize = 64_000;

/// Collectors that they are connected to.
const COLLECTORS: usize = 4;

/// CPU time of a database at rest while it is looked at: four collectors ask it ten times a second whether there is news.
const REST_US: u64 = 60_000;

/// A database with what a prepared store holds, and stores of collectors on it.
pub struct House {
    _postgres: Postgres,
    /// One of each collector.
    pub stores: Vec<PathBuf>,
}

impl House {
    /// So many stores on a database of their own.
    pub fn of(prepared: &Prepared, collectors: usize, name: &str) -> anyhow::Result<Self> {
        let postgres = Postgres::start(&[]).context("there is no PostgreSQL: apt-get install postgresql")?;
        let url = postgres.url(&postgres.database());
        let first = prepared.copy(&format!("{name}-0"))?;
        configure(&first, Some(&url))?;
        let address = journal_place::of_store(&first)?.context("the store names a database")?;
        journal_place::migrate(&address)?;
        let files = FileJournal::open(&first.join("journal"))?;
        copy(&files, &mut PostgresJournal::open(address.clone())?, |_, _| ())?;
        drop(files);
        drop(Vault::open(&first.join("vault"))?.share(&address)?);
        let key = std::fs::read(first.join("vault/vault.key"))?;
        let mut stores = vec![first];
        for number in 1..collectors {
            let store = prepared.beside(&format!("{name}-{number}"));
            join(&store, &Config { journal: Some(url.clone()), ..Config::default() }, &key)?;
            configure(&store, Some(&url))?;
            stores.push(store);
        }
        Ok(Self { _postgres: postgres, stores })
    }
}

/// What a way of keeping cost.
struct Cost {
    collectors_us: u64,
    database_us: u64,
    per_second: u64,
    ack_us: [u64; 2],
}

/// Reports that are kept in files, and by one and three collectors in a database.
pub fn bench() -> anyhow::Result<ExitCode> {
    let seatbeat = desk::collector()?;
    table::progress(&format!("enrolling {} machines", STREAMS * TIMES));
    let prepared = Prepared::new(STREAMS * TIMES)?;
    let mut rows = Vec::new();
    for (name, collectors) in [("files", None), ("PostgreSQL", Some(1)), ("PostgreSQL", Some(3))] {
        let mut costs = Vec::new();
        for time in 0..TIMES {
            table::progress(&format!(
                "{name}, {} collectors, {} of {TIMES}",
                collectors.unwrap_or(1),
                time + 1
            ));
            let label = format!("{name}-{}-{time}", collectors.unwrap_or(0));
            let machines = (time * STREAMS, (time + 1) * STREAMS);
            costs.push(match collectors {
                None => reports(&seatbeat, &[prepared.copy(&label)?], &prepared.token, machines)?,
                Some(collectors) => {
                    let house = House::of(&prepared, collectors, &label)?;
                    reports(&seatbeat, &house.stores, &prepared.token, machines)?
                }
            });
        }
        costs.sort_unstable_by_key(|cost| cost.collectors_us);
        let cost = &costs[TIMES / 2];
        rows.push(vec![
            name.to_owned(),
            collectors.unwrap_or(1).to_string(),
            table::tenths(cost.collectors_us),
            table::tenths(cost.database_us),
            cost.per_second.to_string(),
            milliseconds(cost.ack_us[0]),
            milliseconds(cost.ack_us[1]),
        ]);
    }
    let about = "Durable reports of 256 streams, sixteen on the way on each, over all collectors. CPU of the collectors' \
                 and the database's processes by their own accounting; all of them and the generators on the same cores.";
    let mut section = Section::new("database", about);
    let head = [
        "JOURNAL IN",
        "COLLECTORS",
        "CPU us / report",
        "DATABASE'S us / report",
        "reports / s",
        "ACK p50 ms",
        "p99 ms",
    ];
    section.table(&head, rows);
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

/// The same number of machines at each collector, one generator each; they report at once.
fn reports(
    seatbeat: &Path,
    stores: &[PathBuf],
    token: &str,
    (from, to): (usize, usize),
) -> anyhow::Result<Cost> {
    let mut pairs = pairs(seatbeat, stores, token, (from, to), REPORTS)?;
    for (server, load) in &mut pairs {
        load.ask(&Ask::Connect { count: to - from, at_once: AT_ONCE })?;
        quiet(server)?;
    }
    let used = |pairs: &[(Server, Load)]| {
        pairs.iter().map(|(server, _)| server.cpu_us()).sum::<anyhow::Result<u64>>()
    };
    let (before, database_before) = (used(&pairs)?, cpu_us_of("postgres")?);
    let ask = Ask::Reports { each: REPORTS, window: WINDOW, per_second: 0 };
    let told = at_once(&mut pairs, &ask)?;
    std::thread::sleep(SETTLE);
    let (after, database_after) = (used(&pairs)?, cpu_us_of("postgres")?);
    let count: u64 = told.iter().map(|told| told.count).sum();
    let longest = told.iter().map(|told| told.elapsed_us).max().unwrap_or(1).max(1);
    let ack = |at: usize| told.iter().map(|told| told.ack_us[at]).max().unwrap_or(0);
    Ok(Cost {
        collectors_us: (after - before) * 10 / count.max(1),
        database_us: (database_after - database_before) * 10 / count.max(1),
        per_second: count * 1_000_000 / longest,
        ack_us: [ack(0), ack(1)],
    })
}

/// A collector on each store, and a generator with its share of the machines.
fn pairs(
    seatbeat: &Path,
    stores: &[PathBuf],
    token: &str,
    (from, to): (usize, usize),
    reports: usize,
) -> anyhow::Result<Vec<(Server, Load)>> {
    let share = (to - from).div_ceil(stores.len());
    let pair = |(number, store): (usize, &PathBuf)| {
        let server = Server::collector(seatbeat, store)?;
        let mut load = Load::start(token, server.agents)?;
        let first = from + number * share;
        load.ask(&Ask::Prepare { from: first, to: to.min(first + share), reports })?;
        Ok((server, load))
    };
    stores.iter().enumerate().map(pair).collect()
}

/// Asks all generators at once.
fn at_once(pairs: &mut [(Server, Load)], ask: &Ask) -> anyhow::Result<Vec<Told>> {
    pairs.iter_mut().try_for_each(|(_, load)| load.begin(ask))?;
    pairs.iter_mut().map(|(_, load)| load.told()).collect()
}

/// Waits until what the connections left to be written is in the database.
fn written(pairs: &[(Server, Load)]) -> anyhow::Result<()> {
    loop {
        let before = cpu_us_of("postgres")?;
        pairs.iter().try_for_each(|(server, _)| quiet(server))?;
        if cpu_us_of("postgres")? - before <= REST_US {
            return Ok(());
        }
    }
}

/// Tens of thousands of machines, connected to four collectors that share a database.
pub fn many() -> anyhow::Result<ExitCode> {
    let seatbeat = desk::collector()?;
    table::progress(&format!("enrolling {MANY} machines"));
    let prepared = Prepared::new(MANY)?;
    let house = House::of(&prepared, COLLECTORS, "many")?;
    table::progress("starting collectors and generators");
    let mut pairs = pairs(&seatbeat, &house.stores, &prepared.token, (0, MANY), 1)?;
    let empty =
        pairs.iter().map(|(server, _)| server.resident_kib()).collect::<anyhow::Result<Vec<u64>>>()?;
    table::progress(&format!("connecting {MANY} machines"));
    let connect = Ask::Connect { count: MANY / COLLECTORS, at_once: AT_ONCE };
    let connected = at_once(&mut pairs, &connect)?;
    table::progress("host names");
    let (names, naming) = timed(|| written(&pairs));
    names?;
    table::progress("beats");
    let before = pairs.iter().map(|(server, _)| server.cpu_us()).collect::<anyhow::Result<Vec<u64>>>()?;
    // Each machine once a minute, as usual.
    let beats = Ask::Beats { rounds: 1, per_second: (MANY / COLLECTORS / 60).max(1) as u32 };
    let beaten = at_once(&mut pairs, &beats)?;
    let mut rows = Vec::new();
    for (number, (server, _)) in pairs.iter().enumerate() {
        let count = connected[number].count.max(1);
        let resident = server.resident_kib()?;
        let used = server.cpu_us()? - before[number];
        rows.push(vec![
            (number + 1).to_string(),
            count.to_string(),
            table::tenths(connected[number].elapsed_us / 100_000),
            (resident / 1024).to_string(),
            table::tenths((resident - empty[number]) * 10 / count),
            table::tenths(used * 1_000 / beaten[number].elapsed_us.max(1)),
        ]);
    }
    table::progress("one report of each");
    let asked = Ask::Reports { each: 1, window: 1, per_second: 250 };
    let told = at_once(&mut pairs, &asked)?;
    let (reports, took) = told
        .iter()
        .fold((0, 0), |(reports, took), told| (reports + told.count, u64::max(took, told.elapsed_us)));
    let about = "Collectors that share one PostgreSQL, each with a quarter of the machines, connected at once; CPU while \
                 each machine says once a minute that it is there. Generators, collectors and database share two cores.";
    let mut section = Section::new("many", about);
    let head = ["COLLECTOR", "CONNECTED", "IN s", "RESIDENT MiB", "KiB EACH", "CPU % AT REST"];
    section.table(&head, rows);
    let ack = told.iter().map(|told| told.ack_us[1]).max().unwrap_or(0);
    section.note(format!(
        "Each machine's name, told with its first connection, was in the vault {} s behind the last connection.",
        naming.as_secs()
    ));
    section.note(format!(
        "Then each sent a report: {reports} acknowledged in {} s, p99 {} ms.",
        Duration::from_micros(took).as_secs(),
        milliseconds(ack)
    ));
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}
