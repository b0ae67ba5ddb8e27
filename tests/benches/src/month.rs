//! A month closed, asked for while it runs, and lists of its fleet. Invariant: each fleet is in a process of its own
//! with its whole year and the registry of its machines, so peak memory is that of a collector's state.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::body::SealedBody;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::close::{CloseInput, close};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::month_to_date::MonthToDate;
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::record::{Report, Sighting, State};
use seatbeat_ledger::usage::Usage;
use seatbeat_proto::ids::{MachineId, ProductId, SpoolId};
use serde::{Deserialize, Serialize};

use crate::results::Section;
use crate::stopwatch::{busy, timed};
use crate::{own, table};
use seatbeat_fleet::journal as fleet;

const CLOSE: &str = "A month of a whole fleet closed: three products a machine, reports on seven of eight days. \
RECOUNT: with the two months before it sealed and recomputed for corrections, both in CPU time. WAITED: the clock's time \
of the close, of many machines in four threads. STATE is what the process holds with \
the registry and the history; PEAK is the most it held until the close was done.";

const USAGE: &str = "The running month to date. FIRST counts every machine; AGAIN asks with nothing new, NEWS after \
1,000 reports of as many machines, each with the whole statement made; COUNTER is one customer's SKU alone. COPY is \
what a writer waits for while the state is copied. CPU time, but COUNTER and COPY.";

const LISTS: &str =
    "A page of 500 machines, the machines of one customer, and all customers with their counts. CPU time.";

/// Machines that report between two questions.
const NEWS: usize = 1000;

/// Questions to a counter, so that the clock can tell.
const ASKED: u32 = 10_000;

/// The month that is closed.
const PERIOD: &str = "2026-12";

/// What one fleet showed, times in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    state_kib: u64,
    peak_kib: u64,
    close: u64,
    waited: u64,
    recount: u64,
    lines: u64,
    first: u64,
    again: u64,
    news: u64,
    counter: u64,
    copy: u64,
    page: u64,
    customer: u64,
    customers: u64,
    apply: u64,
}

/// Measures fleets of these sizes over so many months, and publishes the section of this name.
pub fn bench(name: &str, sizes: &[usize], months: usize) -> anyhow::Result<ExitCode> {
    let mut found = Vec::new();
    for size in sizes {
        table::progress(&format!("{size} machines, {months} months"));
        let arguments = ["__month", "--machines", &size.to_string(), "--months", &months.to_string()];
        let figures: Figures = own::run(&arguments.map(str::to_owned))?;
        found.push((*size, figures));
    }
    let section = match name {
        "usage" => usage_section(&found),
        "lists" => lists_section(&found),
        _ => close_section(&found, months),
    };
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

fn close_section(found: &[(usize, Figures)], months: usize) -> Section {
    let mut section = Section::new("close", CLOSE);
    let head = [
        "MACHINES",
        "CLOSE ms",
        "WAITED ms",
        "ns / MACHINE",
        "RECOUNT ms",
        "LINES",
        "STATE MiB",
        "PEAK MiB",
        "BYTES / MACHINE",
    ];
    let row = |(size, figures): &(usize, Figures)| {
        let size = *size as u64;
        vec![
            size.to_string(),
            table::tenths(figures.close / 100_000),
            table::tenths(figures.waited / 100_000),
            (figures.close / size).to_string(),
            table::tenths(figures.recount / 100_000),
            figures.lines.to_string(),
            (figures.state_kib / 1024).to_string(),
            (figures.peak_kib / 1024).to_string(),
            (figures.state_kib * 1024 / size).to_string(),
        ]
    };
    section.table(&head, found.iter().map(row).collect());
    let apply: Vec<String> =
        found.iter().map(|(size, figures)| format!("{} ns at {size}", figures.apply)).collect();
    section.note(format!("{months} months of history; a metering record applied in {}.", apply.join(", ")));
    section
}

fn usage_section(found: &[(usize, Figures)]) -> Section {
    let mut section = Section::new("usage", USAGE);
    let head = ["MACHINES", "FIRST ms", "AGAIN ms", "NEWS ms", "COUNTER us", "FIRST / AGAIN", "COPY us"];
    let row = |(size, figures): &(usize, Figures)| {
        vec![
            size.to_string(),
            table::tenths(figures.first / 100_000),
            table::tenths(figures.again / 100_000),
            table::tenths(figures.news / 100_000),
            table::tenths(figures.counter / 100),
            table::ratio(figures.first, figures.again),
            (figures.copy / 1000).to_string(),
        ]
    };
    section.table(&head, found.iter().map(row).collect());
    section
}

fn lists_section(found: &[(usize, Figures)]) -> Section {
    let mut section = Section::new("lists", LISTS);
    let row = |(size, figures): &(usize, Figures)| {
        let us = |ns: u64| table::tenths(ns / 100);
        vec![size.to_string(), us(figures.page), us(figures.customer), us(figures.customers)]
    };
    section.table(&["MACHINES", "PAGE us", "CUSTOMER us", "CUSTOMERS us"], found.iter().map(row).collect());
    section
}

/// The measured process: makes a fleet, and tells what its month costs.
pub fn child(machines: usize, months: usize) -> anyhow::Result<ExitCode> {
    let fold = enrolled(machines)?;
    let (registry, usage) = (fold.registry().clone(), fold.usage().clone());
    drop(fold);
    let ids: Vec<(usize, MachineId)> =
        (0..machines).map(|number| (number, fleet::Machine::new(number).id)).collect();
    let days = months * 365 / 12;
    let mut records = 0u64;
    let (usage, applied) = timed(|| {
        let mut usage = usage;
        let mut report = empty_report();
        for (number, id) in &ids {
            report.machine = id.clone();
            for at in (365 - days..365).filter_map(|day| fleet::observed_at(*number, day)) {
                records += 1;
                observe(&mut report, at);
                usage.apply_report(&report);
            }
        }
        usage
    });
    let policy = Policy::parse(fleet::POLICY)?;
    let period: Period = PERIOD.parse()?;
    let (state_kib, _) = own::memory_kib()?;
    // First: what the others give back, whoever comes next pays for.
    let ((), page) = busy(|| {
        let page: Vec<_> = registry.machines_after(Some(&ids[machines / 2].1)).take(500).collect();
        std::hint::black_box(page);
    });
    let one = fleet::customer_of(machines / 2).parse()?;
    let (count, customer) = busy(|| registry.machines_of(&one, None).count());
    anyhow::ensure!(count > 0, "the customer has machines");
    let ((), customers) = busy(|| {
        let all: BTreeMap<_, _> = registry.machines_of_customers().collect();
        std::hint::black_box(all);
    });
    let input = |sealed, period| CloseInput {
        usage: &usage,
        usage_elsewhere: &[],
        policy: &policy,
        period,
        as_of: None,
        sealed,
    };
    let ((output, closed), waited) = timed(|| busy(|| close(input(&[], period))));
    let (_, peak_kib) = own::memory_kib()?;
    let lines = output?.statement.lines.len() as u64;
    let mut sealed: Vec<SealedBody> = Vec::new();
    for earlier in [period.previous().previous(), period.previous()] {
        let statement = close(input(&[], earlier))?.statement;
        sealed.push(serde_json::from_slice(&serde_json::to_vec(&statement)?)?);
    }
    let (again, recounted) = busy(|| close(input(&sealed, period)));
    again?;
    let [first, again, news, counter, copy] = ask(&ids, usage, &policy, period)?;
    own::tell(&Figures {
        state_kib,
        peak_kib,
        close: ns(closed),
        waited: ns(waited),
        recount: ns(recounted),
        lines,
        first,
        again,
        news,
        counter,
        copy,
        page: ns(page),
        customer: ns(customer),
        customers: ns(customers),
        apply: ns(applied) / records.max(1),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Machines that were let in and have reported once: all that a registry knows of them.
fn enrolled(machines: usize) -> anyhow::Result<Fold> {
    let mut fold = Fold::default();
    for record in fleet::foundation(machines) {
        fold.apply(&record)?;
    }
    for number in 0..machines {
        let mut machine = fleet::Machine::new(number);
        fold.apply(&machine.enrolment(number))?;
        fold.apply(&machine.report(fleet::start()))?;
    }
    Ok(fold)
}

/// The running month: first question, again, after news, a counter, and a copy of the state.
fn ask(
    ids: &[(usize, MachineId)],
    mut usage: Usage,
    policy: &Policy,
    period: Period,
) -> anyhow::Result<[u64; 5]> {
    let now: Timestamp = "2026-12-31T23:59:59Z".parse()?;
    let (month, first) = busy(|| {
        let month = MonthToDate::new(usage.clone(), policy.clone(), period, now);
        month.output().map(|_| month)
    });
    let mut month = month?;
    let (output, again) = busy(|| {
        month.refresh(usage.clone(), policy.clone(), now);
        month.output()
    });
    output?;
    let mut report = empty_report();
    for (_, id) in ids.iter().step_by((ids.len() / NEWS).max(1)) {
        report.machine = id.clone();
        observe(&mut report, now - SignedDuration::from_secs(1));
        usage.apply_report(&report);
    }
    let (copied, copy) = timed(|| usage.clone());
    let (output, news) = busy(|| {
        month.refresh(copied, policy.clone(), now);
        month.output()
    });
    output?;
    let (customer, sku) = (fleet::customer_of(ids.len() / 2).parse()?, "WF-SVC".parse()?);
    let (seats, counter) = timed(|| {
        (0..ASKED).filter_map(|_| Some(month.seats(std::hint::black_box(&customer), &sku)?.machines)).max()
    });
    seats.context("the customer has seats")?;
    Ok([ns(first), ns(again), ns(news), ns(counter) / u64::from(ASKED), ns(copy)])
}

fn empty_report() -> Report {
    let sighting = |version: &str| Sighting { state: State::Active, version: Some(version.to_owned()) };
    let product = |name: &str| name.parse::<ProductId>().expect("a product id");
    Report {
        machine: MachineId::derived_from(b""),
        spool: SpoolId::derived_from(b""),
        sequence: 1,
        observed_at: fleet::start(),
        received_at: fleet::start(),
        products: fleet::PRODUCTS.iter().map(|(name, version)| (product(name), sighting(version))).collect(),
    }
}

fn observe(report: &mut Report, at: Timestamp) {
    (report.observed_at, report.received_at) = (at, at);
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
