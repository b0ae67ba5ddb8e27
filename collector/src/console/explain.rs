//! The machines behind a number, with the reports behind their days. Invariant: what is told measures to the quantity
//! that it is told with; where a sealed quantity is another one, it says by how much and what carries the difference.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use seatbeat_ledger::body::SealedBody;
use seatbeat_ledger::calendar::{Day, Period, UsageDay};
use seatbeat_ledger::close::{CloseInput, close};
use seatbeat_ledger::explain::{Asked, Explanation, MachineTold, Of, explain};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::operators::Reach;
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::record::{Sku, State};
use seatbeat_ledger::statement::Line;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId, SpoolId};
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

use super::Console;
use super::fault::{Fault, period};
use super::query::{evidence_row, known_customer};
use crate::jobs::close::CloseError;
use crate::vault::VaultRow;

/// Machines in a page that asks for no size: each costs some reads of the journal.
const PAGE_SIZE: usize = 100;

/// Most machines in a page: with their days and reports about a megabyte.
const PAGE_SIZE_MAX: usize = 500;

/// Reports that a machine is shown with; of one machine that was asked for by its name all are.
const REPORTS_MAX: usize = 3;

/// The lines that were counted last, by how far the books were, the month and the day: who clicks from a line to its
/// machines asks for them again and again.
pub(super) type CountedLines = Arc<Mutex<Option<((u64, Period, Day), Vec<Line>)>>>;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainQuery {
    /// Which month.
    pub period: Period,
    /// A line, or what is in none.
    pub of: Of,
    /// Machines behind this one.
    pub page_after: Option<MachineId>,
    /// How many at once; 0: 100.
    pub page_size: u32,
    /// Only this one, with all its reports of the month.
    pub machine: Option<MachineId>,
}

impl TryFrom<wire::ExplainRequest> for ExplainQuery {
    type Error = Fault;

    fn try_from(wire: wire::ExplainRequest) -> Result<Self, Fault> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let customer: Option<CustomerId> = some(wire.customer).map(|text| text.parse()).transpose()?;
        let sku: Option<Sku> = some(wire.sku)
            .map(|text| text.parse().map_err(|error| Fault::value("`sku`", format!("is not valid: {error}"))))
            .transpose()?;
        let of = match (customer, sku) {
            (Some(customer), Some(sku)) => Of::Line(customer, sku),
            (None, Some(_)) => {
                return Err(Fault::value("`customer`", "is missing: a line is one customer's"));
            }
            (customer, None) => Of::Unbilled(customer),
        };
        Ok(Self {
            period: period(&wire.period)?,
            of,
            page_after: some(wire.page_after).map(|text| text.parse()).transpose()?,
            page_size: wire.page_size,
            machine: some(wire.machine).map(|text| text.parse()).transpose()?,
        })
    }
}

/// A line or what is in none, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The month.
    pub period: Period,
    /// The line as the records of now measure it; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Line>,
    /// What was sealed of it; absent: the month is not sealed, or no line was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedTold>,
    /// Machines in the quantity, on all pages.
    pub counted: u64,
    /// Machines that are not, on all pages.
    pub not_counted: u64,
    /// The machines of this page, by id.
    pub machines: Vec<MachineShown>,
    /// The machine that the next page starts behind; absent: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<MachineId>,
}

/// What was sealed of a line, and what came after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedTold {
    /// As it was sealed; 0 without a line.
    pub quantity: Quantity,
    /// By how much the records of now measure more or less: they came after the seal.
    pub since: Quantity,
    /// Corrections that later statements carry.
    pub carried: Vec<Carried>,
    /// What the next statement will carry.
    pub to_carry: Quantity,
}

/// A correction on a later statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Whose statement.
    pub by: Period,
    /// How many more, or fewer.
    pub delta: Quantity,
}

/// A machine, with its name and reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineShown {
    /// Its seats, and why its other days count for nothing.
    #[serde(flatten)]
    pub told: MachineTold,
    /// Its name, from the vault; empty: none, or erased.
    pub host_name: String,
    /// The reports behind the day that decides, or of the whole month.
    pub reports: Vec<Report>,
}

/// A report behind a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The usage day.
    pub day: Date,
    /// Its place in the journal.
    pub position: u64,
    /// Which agent's.
    pub agent: MachineId,
    /// Its chain.
    pub spool: SpoolId,
    /// Its place there.
    pub sequence: u64,
    /// The machine's clock.
    pub observed_at: Timestamp,
    /// What it found active.
    pub active: Vec<ProductId>,
}

/// A month as it is counted: by its own policy, where it is sealed.
pub(super) struct Counted {
    pub(super) fold: Fold,
    pub(super) policy: Policy,
    pub(super) as_of: Option<Timestamp>,
    pub(super) lines: Vec<Line>,
    sealed: Vec<SealedBody>,
}

impl Console {
    /// Explains a line, or what is in none.
    ///
    /// # Errors
    /// When the position is not known here in time, customer or SKU are not known, or the month cannot be counted.
    pub async fn explain(&self, query: ExplainQuery, after: u64) -> Result<Explained, Fault> {
        self.books.reached(after).await?;
        let console = self.clone();
        tokio::task::spawn_blocking(move || console.explained(&query)).await?
    }

    fn explained(&self, query: &ExplainQuery) -> Result<Explained, Fault> {
        let counted = self.counted(query.period)?;
        let (customer, sku) = match &query.of {
            Of::Line(customer, sku) => (Some(customer), Some(sku)),
            Of::Unbilled(customer) => (customer.as_ref(), None),
        };
        known_customer(&counted.fold, &Reach::House, customer)?;
        let is_it = |line: &&Line| Some(&line.customer) == customer && Some(&line.sku) == sku;
        let line = counted.lines.iter().find(is_it).cloned();
        let sealed = match (customer, sku) {
            (Some(customer), Some(sku)) => {
                if line.is_none() {
                    counted.known_sku(sku)?;
                }
                counted.sealed_told(query.period, customer, sku, line.as_ref())?
            }
            _ => None,
        };
        let Explanation { counted: in_it, not_counted, machines, next } = self.told(query, &counted)?;
        let days = counted.fold.usage().zone().days(query.period);
        let shown = |told: MachineTold| self.shown(told, query, &counted, line.as_ref(), &days);
        Ok(Explained {
            period: query.period,
            line: line.clone(),
            sealed,
            counted: in_it,
            not_counted,
            machines: machines.into_iter().map(shown).collect::<Result<_, Fault>>()?,
            next,
        })
    }

    pub(super) fn counted(&self, period: Period) -> Result<Counted, Fault> {
        let (now, fold) = (self.books.clock().now(), self.books.read(Fold::clone));
        let zone = fold.usage().zone().clone();
        let running = Period::of_day(zone.usage_day(now));
        if period > running {
            return Err(Fault::value("`period`", format!("{period} has not begun: it is {running}")));
        }
        let end = zone.first_instant(period.next().first_day());
        let bodies = fold.sealed(period).map(|(_, sealed)| serde_json::from_slice(&sealed.body));
        let sealed: Vec<SealedBody> = bodies
            .collect::<Result<_, _>>()
            .map_err(|error| CloseError::Sealed { period, why: error.to_string() })?;
        let policy = match sealed.iter().find_map(|body| body.policy.clone()) {
            Some(policy) => policy,
            None => fold.terms().policy(period)?,
        };
        let as_of = (now < end).then_some(now);
        let (usage, usage_elsewhere) = (fold.usage(), [].as_slice());
        let input = CloseInput { usage, usage_elsewhere, policy: &policy, period, as_of, sealed: &[] };
        let key = (fold.position(), period, zone.usage_day(now));
        let known = self.counted_lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lines = match known.filter(|(of, _)| *of == key) {
            Some((_, lines)) => lines,
            None => {
                let lines = close(input).map_err(CloseError::from)?.statement.lines;
                let mut known = self.counted_lines.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Some((key, lines.clone()));
                lines
            }
        };
        if lines.is_empty() && sealed.is_empty() && !fold.registry().enrolled_before(end) {
            return Err(CloseError::Nobody(period).into());
        }
        Ok(Counted { fold, policy, as_of, lines, sealed })
    }

    /// The machines of a page; of one that was asked for by its name only that.
    fn told(&self, query: &ExplainQuery, counted: &Counted) -> Result<Explanation, Fault> {
        let size = match query.page_size as usize {
            0 => PAGE_SIZE,
            size => size.min(PAGE_SIZE_MAX),
        };
        let asked = Asked {
            usage: counted.fold.usage(),
            policy: &counted.policy,
            period: query.period,
            as_of: counted.as_of,
            lines: &counted.lines,
            of: &query.of,
            after: query.page_after.as_ref(),
            size: if query.machine.is_some() { usize::MAX - 1 } else { size },
        };
        let mut told = explain(asked);
        if let Some(machine) = &query.machine {
            if counted.fold.registry().machine(machine).is_none() {
                return Err(Fault::UnknownMachine(machine.clone()));
            }
            told.machines.retain(|one| one.machine == *machine || one.agents.contains(machine));
            if told.machines.is_empty() {
                let why =
                    format!("{machine} has nothing to do with it: it was not seen there in {}", query.period);
                return Err(Fault::value("`machine`", why));
            }
        }
        Ok(told)
    }

    fn shown(
        &self,
        told: MachineTold,
        query: &ExplainQuery,
        counted: &Counted,
        line: Option<&Line>,
        days: &[UsageDay],
    ) -> Result<MachineShown, Fault> {
        let reports = match (&query.machine, deciding_day(&told, query, line)) {
            (Some(_), _) => self.reports(&told, days, usize::MAX)?,
            (None, Some(number)) => {
                let day = days.iter().find(|day| day.day.date().day().unsigned_abs() == number);
                let day = day.map_or(&[][..], std::slice::from_ref);
                self.reports(&told, day, REPORTS_MAX)?
            }
            // Presumed from a report of the month before.
            (None, None) => match counted.reported_before(&told, query.period) {
                Some(day) => self.reports(&told, &[day], REPORTS_MAX)?,
                None => Vec::new(),
            },
        };
        let host_name = self.name(VaultRow::HostName(&told.machine))?;
        Ok(MachineShown { told, host_name, reports })
    }

    /// The last reports of these days, of all agents of a machine, in the order of their instants.
    fn reports(&self, told: &MachineTold, days: &[UsageDay], limit: usize) -> Result<Vec<Report>, Fault> {
        let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(Vec::new()) };
        let agents = if told.agents.is_empty() { std::slice::from_ref(&told.machine) } else { &told.agents };
        let mut found: BTreeMap<(Timestamp, u64), Report> = BTreeMap::new();
        for agent in agents {
            for (position, evidence) in self.books.evidence_around(agent, first.first, last.end)? {
                let row = evidence_row(position, evidence);
                let on = days.iter().find(|day| (day.first..day.end).contains(&row.observed_at));
                let Some(day) = on else { continue };
                let active = row.products.into_iter().filter(|one| one.state == State::Active);
                let report = Report {
                    day: day.day.date(),
                    position: row.position,
                    agent: agent.clone(),
                    spool: row.spool,
                    sequence: row.sequence,
                    observed_at: row.observed_at,
                    active: active.map(|one| one.product).collect(),
                };
                found.insert((report.observed_at, report.position), report);
            }
        }
        let skipped = found.len().saturating_sub(limit);
        Ok(found.into_values().skip(skipped).collect())
    }
}

/// The day of the month whose reports say most: the one that the line is measured by, or the last before it on which
/// the machine was seen; of a machine that is in no line the last day that it is told of.
fn deciding_day(told: &MachineTold, query: &ExplainQuery, line: Option<&Line>) -> Option<u8> {
    let seat = match &query.of {
        Of::Line(customer, sku) => {
            told.seats.iter().find(|seat| seat.customer == *customer && seat.sku == *sku)
        }
        Of::Unbilled(_) => None,
    };
    let Some(seat) = seat else {
        return told.reasons.iter().flat_map(|row| &row.days).max().copied();
    };
    let measured = line.and_then(|line| line.day).map_or(u8::MAX, |day| day.day().unsigned_abs());
    seat.confirmed.iter().rev().find(|day| **day <= measured).or(seat.confirmed.last()).copied()
}

impl Counted {
    /// The last day before a month on which one of a machine's agents reported.
    fn reported_before(&self, told: &MachineTold, period: Period) -> Option<UsageDay> {
        let usage = self.fold.usage();
        let agents = told.agents.iter().chain([&told.machine]);
        let known = agents.filter_map(|agent| usage.machines().get(agent));
        let day = known
            .filter_map(|facts| facts.attendance.reported_days().last_before(period.first_day()))
            .max()?;
        usage.zone().usage_day_of(day)
    }

    /// A SKU without a line that nothing names is a typing error.
    fn known_sku(&self, sku: &Sku) -> Result<(), Fault> {
        let is_known = self.policy.sku.contains_key(sku)
            || self.policy.price.contains_key(sku)
            || self.policy.default_sku.values().any(|known| known == sku)
            || self.sealed.iter().flat_map(|body| &body.lines).any(|line| line.sku == *sku)
            || self.lines.iter().any(|line| line.sku == *sku);
        if is_known {
            return Ok(());
        }
        Err(Fault::value("`sku`", format!("`{sku}` is not named in the policy, nor on a line of the month")))
    }

    fn sealed_told(
        &self,
        period: Period,
        customer: &CustomerId,
        sku: &Sku,
        line: Option<&Line>,
    ) -> Result<Option<SealedTold>, Fault> {
        if self.sealed.is_empty() {
            return Ok(None);
        }
        let lines = self.sealed.iter().flat_map(|body| &body.lines);
        let sealed =
            lines.filter(|line| line.customer == *customer && line.sku == *sku).map(|line| line.quantity);
        let sealed = sealed.into_iter().try_fold(Quantity::ZERO, Quantity::plus)?;
        let since = line.map_or(Quantity::ZERO, |line| line.quantity).minus(sealed)?;
        let (mut carried, mut to_carry) = (Vec::new(), since);
        for by in self.fold.sealed_periods().filter(|by| *by > period) {
            for (_, statement) in self.fold.sealed(by) {
                let body: SealedBody = serde_json::from_slice(&statement.body)
                    .map_err(|error| CloseError::Sealed { period: by, why: error.to_string() })?;
                let of_line = body
                    .corrections
                    .into_iter()
                    .filter(|one| one.for_period == period && one.customer == *customer && one.sku == *sku);
                for correction in of_line {
                    to_carry = to_carry.minus(correction.delta)?;
                    carried.push(Carried { by, delta: correction.delta });
                }
            }
        }
        Ok(Some(SealedTold { quantity: sealed, since, carried, to_carry }))
    }
}
