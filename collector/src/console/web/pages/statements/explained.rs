//! A number down to the machine-day: the machines behind a line, why others are not in it, and one machine's days with
//! the records behind them. Invariant: what is told measures to the quantity that it is told with.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::explain::{Of, SeatTold};
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::{CustomerId, MachineId};
use serde::Deserialize;

use super::super::shell::Shell;
use super::super::{Page, Shown, moment};
use super::lines::{how, signed};
use super::look::{NotBilled, told};
use super::{BILLS, Web};
use crate::console::auth::Caller;
use crate::console::explain::{ExplainQuery, Explained, MachineShown, Report, SealedTold};
use crate::console::fault::{Fault, period};
use crate::console::web::Route;
use crate::console::web::form::Asked;
use crate::console::words;

/// Machines of a page.
const PAGE_SIZE: u32 = 50;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/statements/{period}/unbilled", needs: BILLS, service: get(unbilled) },
        Route { path: "/statements/{period}/{customer}/{sku}", needs: BILLS, service: get(line) },
        Route {
            path: "/statements/{period}/{customer}/{sku}/{machine}",
            needs: BILLS,
            service: get(machine),
        },
    ]
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageAsked {
    after: String,
    customer: String,
}

/// A machine behind a line.
struct Behind {
    machine: MachineId,
    host_name: String,
    confirmed: String,
    presumed: String,
    /// The record behind the day that decides: when, and where it stands.
    record: String,
}

/// A machine that is not in a line.
struct Beside {
    machine: MachineId,
    host_name: String,
    reasons: Vec<NotBilled>,
    /// Its seats of other lines.
    elsewhere: Vec<String>,
}

#[derive(Template)]
#[template(path = "statements/line.html")]
struct LinePage {
    shell: Shell,
    period: Period,
    customer: CustomerId,
    name: String,
    sku: Sku,
    quantity: String,
    how: String,
    sealed: String,
    counted: Vec<Behind>,
    others: Vec<Beside>,
    explained: Explained,
}

async fn line(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path((of, customer, sku)): Path<(String, String, String)>,
    Asked(asked): Asked<PageAsked>,
) -> Shown {
    let (period, customer, sku) = named(&of, &customer, &sku)?;
    let name = web.console.called(&customer)?;
    let of = Of::Line(customer.clone(), sku.clone());
    let query = ExplainQuery { period, of, page_after: after(&asked)?, page_size: PAGE_SIZE, machine: None };
    let explained = web.console.explain(query, 0).await?;
    let is_it = |seat: &&SeatTold| seat.customer == customer && seat.sku == sku;
    let (mut counted, mut others) = (Vec::new(), Vec::new());
    for one in &explained.machines {
        match one.told.seats.iter().filter(is_it).find(|seat| seat.counts) {
            Some(seat) => counted.push(behind(one, seat)),
            None => others.push(beside(one, is_it)),
        }
    }
    let page = LinePage {
        shell,
        period,
        name,
        quantity: explained.line.as_ref().map_or("0".to_owned(), |line| line.quantity.to_string()),
        how: explained.line.as_ref().map_or("there is no such line".to_owned(), how),
        sealed: explained.sealed.as_ref().map(sealed).unwrap_or_default(),
        customer,
        sku,
        counted,
        others,
        explained,
    };
    Ok(Page(page).into_response())
}

fn behind(one: &MachineShown, seat: &SeatTold) -> Behind {
    let record =
        |report: &Report| format!("record {} of {}", report.position, moment::shown(report.observed_at));
    Behind {
        machine: one.told.machine.clone(),
        host_name: one.host_name.clone(),
        confirmed: words::days(&seat.confirmed),
        presumed: words::days(&seat.presumed),
        record: one.reports.last().map(record).unwrap_or_default(),
    }
}

fn beside(one: &MachineShown, is_it: impl Fn(&&SeatTold) -> bool) -> Beside {
    let elsewhere = one.told.seats.iter().filter(|seat| !is_it(seat)).map(|seat| {
        let mut days: Vec<u8> = seat.confirmed.iter().chain(&seat.presumed).copied().collect();
        days.sort_unstable();
        format!("{} of {} on {}", seat.sku, seat.customer, words::days(&days))
    });
    Beside {
        machine: one.told.machine.clone(),
        host_name: one.host_name.clone(),
        elsewhere: elsewhere.collect(),
        reasons: one.told.reasons.iter().map(|row| told(row, String::new())).collect(),
    }
}

/// What was sealed of a line, and what came after.
fn sealed(sealed: &SealedTold) -> String {
    if sealed.since.is_zero() && sealed.carried.is_empty() {
        return sealed.quantity.to_string();
    }
    let carried = sealed.carried.iter().map(|one| format!("{} on {}", signed(one.delta), one.by));
    let rest = (!sealed.to_carry.is_zero()).then(|| format!("{} not carried yet", signed(sealed.to_carry)));
    let corrections: Vec<String> = carried.chain(rest).collect();
    format!(
        "{}; what came after the seal makes it {}, as a correction: {}",
        sealed.quantity,
        signed(sealed.since),
        corrections.join(", ")
    )
}

/// A day of a month, as a machine was on it.
struct Day {
    number: u8,
    state: &'static str,
    tone: &'static str,
    reports: Vec<Told>,
}

/// A report of a day.
struct Told {
    at: String,
    position: u64,
    agent: MachineId,
    sequence: u64,
    active: String,
}

#[derive(Template)]
#[template(path = "statements/machine.html")]
struct MachinePage {
    shell: Shell,
    period: Period,
    customer: CustomerId,
    name: String,
    sku: Sku,
    machine: MachineId,
    host_name: String,
    counts: bool,
    days: Vec<Day>,
    beside: Beside,
}

async fn machine(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path((of, customer, sku, machine)): Path<(String, String, String, String)>,
) -> Shown {
    let (period, customer, sku) = named(&of, &customer, &sku)?;
    let machine: MachineId = machine.parse().map_err(Fault::from)?;
    let name = web.console.called(&customer)?;
    let of = Of::Line(customer.clone(), sku.clone());
    let query =
        ExplainQuery { period, of, page_after: None, page_size: PAGE_SIZE, machine: Some(machine.clone()) };
    let mut explained = web.console.explain(query, 0).await?;
    let one = explained.machines.pop().ok_or(Fault::UnknownMachine(machine))?;
    let is_it = |seat: &&SeatTold| seat.customer == customer && seat.sku == sku;
    let seat = one.told.seats.iter().find(is_it);
    let page = MachinePage {
        shell,
        period,
        name,
        machine: one.told.machine.clone(),
        host_name: one.host_name.clone(),
        counts: seat.is_some_and(|seat| seat.counts),
        days: days(period, seat, &one.reports),
        beside: beside(&one, is_it),
        customer,
        sku,
    };
    Ok(Page(page).into_response())
}

/// All days of a month: seen, presumed or neither, each with its reports.
fn days(period: Period, seat: Option<&SeatTold>, reports: &[Report]) -> Vec<Day> {
    let last = period.next().first_day().days_since(period.first_day());
    let day = |number: u8| {
        let has = |days: fn(&SeatTold) -> &Vec<u8>| seat.is_some_and(|seat| days(seat).contains(&number));
        let of_day = reports.iter().filter(|report| report.day.day().unsigned_abs() == number);
        let reports: Vec<Told> = of_day.map(report).collect();
        let (state, tone) = match (has(|seat| &seat.confirmed), has(|seat| &seat.presumed)) {
            (true, _) => ("seen", "good"),
            (false, true) => ("presumed", "warn"),
            (false, false) if reports.is_empty() => ("not there", ""),
            (false, false) => ("reported, not counted", ""),
        };
        Day { number, state, tone, reports }
    };
    (1..=u8::try_from(last).unwrap_or(31)).map(day).collect()
}

fn report(report: &Report) -> Told {
    let active: Vec<&str> = report.active.iter().map(|product| product.as_str()).collect();
    Told {
        at: moment::shown(report.observed_at),
        position: report.position,
        agent: report.agent.clone(),
        sequence: report.sequence,
        active: active.join(", "),
    }
}

#[derive(Template)]
#[template(path = "statements/unbilled.html")]
struct UnbilledPage {
    shell: Shell,
    period: Period,
    customer: Option<CustomerId>,
    rows: Vec<NotBilled>,
    explained: Explained,
}

async fn unbilled(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path(of): Path<String>,
    Asked(asked): Asked<PageAsked>,
) -> Shown {
    let period = period(&of)?;
    let customer: Option<CustomerId> =
        some(&asked.customer).map(str::parse).transpose().map_err(Fault::from)?;
    let of = Of::Unbilled(customer.clone());
    let query = ExplainQuery { period, of, page_after: after(&asked)?, page_size: PAGE_SIZE, machine: None };
    let explained = web.console.explain(query, 0).await?;
    let mut rows = Vec::new();
    for row in explained.machines.iter().flat_map(|one| &one.told.reasons) {
        let name = row.customer.as_ref().map(|customer| web.console.called(customer)).transpose()?;
        rows.push(told(row, name.unwrap_or_default()));
    }
    Ok(Page(UnbilledPage { shell, period, customer, rows, explained }).into_response())
}

/// A line's address.
fn named(of: &str, customer: &str, sku: &str) -> Result<(Period, CustomerId, Sku), Fault> {
    let sku = sku.parse().map_err(|error| Fault::value("the SKU", format!("is not valid: {error}")))?;
    Ok((period(of)?, customer.parse()?, sku))
}

fn after(asked: &PageAsked) -> Result<Option<MachineId>, Fault> {
    Ok(some(&asked.after).map(str::parse).transpose()?)
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
