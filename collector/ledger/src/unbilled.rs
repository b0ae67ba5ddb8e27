//! Why what was seen is not billed: for each machine the days that count for no line, with a reason.
//! Invariant: a machine that sent an accepted report in the period is counted in a line, on the day by which that line
//! is measured, or has a reason. It rests on the same days and shares as the count itself.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};
use serde::{Deserialize, Serialize};

use crate::calendar::{MonthDays, Period, UsageDay};
use crate::machine_day::would_count;
use crate::machines::{Machine, Names};
use crate::owner::owner_of_day;
use crate::policy::{Count, Policy};
use crate::presence::{End, MonthPresence, ended_by};
use crate::record::Sku;
use crate::seats::{Counting, Filter, Owned, Seat, add_owned, share_out, winner};
use crate::statement::Line;
use crate::usage::{MachineFacts, RejectReason, Usage};

/// Why days of a machine count for no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyNot {
    /// The machine belongs to no customer.
    Unassigned,
    /// Nobody said what the product is billed as.
    Unmapped,
    /// The policy does not count the product.
    Uncounted,
    /// The customer's product is deliberately not billed.
    NullSku,
    /// The licence was suspended.
    Suspended,
    /// They go to the customer that bears the machine's days of the month.
    Moved,
    /// Too few days on which it was seen.
    MinDays,
    /// The machine's first month is free.
    FreeFirstMonth,
    /// They are not the day by which the line is measured.
    OffDay,
    /// The machine was retired.
    Retired,
    /// An order to switch the product off was carried out.
    SwitchedOff,
    /// One of a pool of short-lived machines is not presumed to run on.
    Pool,
    /// The machine has been silent for longer than it is presumed to run on.
    WentSilent,
    /// The machine reported, and nothing of it was active; with a product: that one was not.
    NotActive,
    /// The agent is part of another machine, and counted with it.
    Merged,
    /// The report's clock was ahead.
    ClockAhead,
    /// The report came too late.
    TooOld,
}

impl WhyNot {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unassigned => "belongs to no customer",
            Self::Unmapped => "has no SKU",
            Self::Uncounted => "is not counted by the policy",
            Self::NullSku => "is deliberately not billed",
            Self::Suspended => "its licence was suspended",
            Self::Moved => "counted for another owner of the month",
            Self::MinDays => "seen on fewer days than the SKU asks for",
            Self::FreeFirstMonth => "its first month is free",
            Self::OffDay => "not there on the day that the line is measured by",
            Self::Retired => "was retired",
            Self::SwitchedOff => "was switched off by an order",
            Self::Pool => "one of a pool, not presumed to run on",
            Self::WentSilent => "silent for longer than it is presumed to run on",
            Self::NotActive => "reported, and was not active",
            Self::Merged => "part of another machine, counted with it",
            Self::ClockAhead => "its report was rejected: its clock was ahead",
            Self::TooOld => "its report was rejected: it came too late",
        }
    }
}

/// Days of a machine that count for no line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unbilled {
    /// Which machine; an agent, where it is part of another or was rejected.
    pub machine: MachineId,
    /// Why.
    pub reason: WhyNot,
    /// Whose it was on these days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Of what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
    /// Which product or suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductId>,
    /// Who bears them instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub borne_by: Option<CustomerId>,
    /// The machine that the agent is counted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_with: Option<MachineId>,
    /// Days of the month, the first is 1.
    pub days: Vec<u8>,
}

/// What one machine adds to a period, and why not more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its seats, and whether each is in its line's quantity: it is there on the day that the line is measured by.
    pub seats: Vec<(Seat, bool)>,
    /// Why other days, or all, count for nothing; sorted.
    pub reasons: Vec<Unbilled>,
}

impl Told {
    /// The reasons for seats that are in no quantity at all: those of a machine that is counted nowhere, and of SKUs
    /// or products for which it is not.
    pub fn seats_lost(self) -> impl Iterator<Item = Unbilled> {
        let counted: BTreeSet<Sku> =
            self.seats.into_iter().filter(|(_, counts)| *counts).map(|(seat, _)| seat.sku).collect();
        self.reasons.into_iter().filter(move |row| {
            counted.is_empty()
                || matches!(
                    row.reason,
                    WhyNot::Unassigned
                        | WhyNot::Unmapped
                        | WhyNot::Uncounted
                        | WhyNot::NullSku
                        | WhyNot::Merged
                )
                || row.sku.as_ref().is_some_and(|sku| !counted.contains(sku))
        })
    }
}

/// Tells of machines, one after the other.
pub struct Telling<'a> {
    usage: &'a Usage,
    policy: &'a Policy,
    month: MonthDays<'a>,
    /// Bits from the period's first day to the month's first begun day: none, but where a zone skipped the first.
    before: i64,
    counting: Counting<'a>,
    /// The days of high waters.
    waters: BTreeMap<(CustomerId, Sku), u32>,
    names: &'a Names,
}

impl<'a> Telling<'a> {
    /// Over the begun days of a period whose lines are these; `None` when no day has begun.
    pub fn new(
        usage: &'a Usage,
        policy: &'a Policy,
        period: Period,
        days: &'a [UsageDay],
        lines: &[Line],
        names: &'a Names,
    ) -> Option<Self> {
        let month = MonthDays::of(days)?;
        let water = |line: &Line| {
            let day = crate::calendar::Day::of(line.day?);
            let bit = 1 << day.days_since(month.first());
            Some(((line.customer.clone(), line.sku.clone()), bit))
        };
        Some(Self {
            usage,
            policy,
            month,
            before: month.first().days_since(period.first_day()),
            counting: Counting::new(usage, policy, period, month),
            waters: lines.iter().filter_map(water).collect(),
            names,
        })
    }

    /// What a machine amounts to, and why not to more.
    pub fn machine(&mut self, machine: &Machine<'_>) -> Told {
        let facts = machine.facts.as_ref();
        let mut rows = Rows { machine: machine.id.clone(), days: BTreeMap::new() };
        let mut owned: Vec<Owned> = Vec::new();
        let mut in_use = 0;
        let (usage, policy, month) = (self.usage, self.policy, self.month);
        let presences = self.counting.look(facts, |days, used, billed| {
            in_use |= days;
            let Some((owner, billed)) = billed else {
                let counts = would_count(policy, used.iter().map(|(product, _)| product));
                rows.note(days, if counts { WhyNot::Unassigned } else { WhyNot::Uncounted }.into());
                return;
            };
            for (sku, confirmed) in &billed.seats {
                add_owned(&mut owned, owner, sku, days, *confirmed);
            }
            for sku in &billed.suspended {
                rows.note(days, Row::from(WhyNot::Suspended).of(owner).sku(sku));
            }
            for product in &billed.unmapped {
                rows.note(days, Row::from(WhyNot::Unmapped).of(owner).product(product));
            }
            let end = month.lowest(days).map_or(jiff::Timestamp::MAX, |day| day.end);
            for product in &billed.free {
                let is_null = usage.sku_assigned_before(owner, product, end).is_some();
                let why = if is_null { WhyNot::NullSku } else { WhyNot::Uncounted };
                rows.note(days, Row::from(why).of(owner).product(product));
            }
        });
        self.note_idle(facts, &presences, in_use, &mut rows);
        drop(presences);
        let seats = self.note_left_out(facts, &owned, &mut rows);
        self.note_merged(machine, &mut rows);
        Told { seats, reasons: rows.sorted(self.before) }
    }

    /// Days on which nothing, or not all that the machine has, was in use.
    fn note_idle(
        &self,
        facts: &MachineFacts,
        presences: &[(&ProductId, MonthPresence)],
        in_use: u32,
        rows: &mut Rows,
    ) {
        let (month, attendance) = (self.month, &facts.attendance);
        let reported = attendance.reported_days().from(month.first()) & month.begun();
        let owner = |days: u32| month.lowest(days).and_then(|day| owner_of_day(facts, day));
        let idle = reported & !in_use;
        if idle != 0 {
            rows.note(idle, Row::from(WhyNot::NotActive).maybe_of(owner(idle)));
        }
        let before = attendance.reported_days().last_before(month.first());
        for (product, presence) in presences {
            let used = presence.confirmed | presence.presumed;
            if presence.went_silent != 0 {
                let owner = owner(presence.went_silent);
                rows.note(
                    presence.went_silent,
                    Row::from(WhyNot::WentSilent).maybe_of(owner).product(product),
                );
            }
            let was_used = used | presence.went_silent != 0
                || before.is_some_and(|day| attendance.ended_active(product, day));
            let stopped = reported & in_use & !used;
            if was_used && stopped != 0 {
                rows.note(stopped, Row::from(WhyNot::NotActive).maybe_of(owner(stopped)).product(product));
            }
            let may_be_ended = !facts.retired.is_empty()
                || !facts.flagged.is_empty()
                || facts.switches.contains_key(product);
            if !may_be_ended {
                continue;
            }
            for (bit, day) in month.days_of(month.begun() & !used & !presence.went_silent) {
                let why = match ended_by(facts, product, day, self.policy.presume_days) {
                    Some(End::Retired) => WhyNot::Retired,
                    Some(End::SwitchedOff) => WhyNot::SwitchedOff,
                    Some(End::Pool) => WhyNot::Pool,
                    None => continue,
                };
                rows.note(bit, Row::from(why).maybe_of(owner(bit)).product(product));
            }
        }
    }

    /// Rules 8 and 9, and the day that a line is measured by.
    fn note_left_out(&self, facts: &MachineFacts, owned: &[Owned], rows: &mut Rows) -> Vec<(Seat, bool)> {
        for one in owned {
            let bearer = &winner(self.policy.moved, owned, one).owner;
            if *bearer != one.owner {
                let row = Row::from(WhyNot::Moved).of(&one.owner).sku(&one.sku);
                rows.note(one.counted, Row { borne_by: Some(bearer.clone()), ..row });
            }
        }
        let mut seats = Vec::new();
        for (customer, sku, counted, confirmed) in share_out(self.policy.moved, owned) {
            let why = match self.counting.filtered(facts, &sku, confirmed) {
                Some(Filter::MinDays) => Some(WhyNot::MinDays),
                Some(Filter::FreeFirstMonth) => Some(WhyNot::FreeFirstMonth),
                None => None,
            };
            if let Some(why) = why {
                rows.note(counted, Row::from(why).of(&customer).sku(&sku));
                continue;
            }
            let counts = counted & self.measured_by(&customer, &sku) != 0;
            if !counts {
                rows.note(counted, Row::from(WhyNot::OffDay).of(&customer).sku(&sku));
            }
            seats.push((Seat { customer, sku, counted, confirmed }, counts));
        }
        seats
    }

    /// The days on one of which a machine has to be there, to be in a line's quantity.
    fn measured_by(&self, customer: &CustomerId, sku: &Sku) -> u32 {
        match self.policy.rule(sku).count {
            Count::HighWater => self.waters.get(&(customer.clone(), sku.clone())).copied().unwrap_or(0),
            Count::MonthEnd => 1 << (31 - self.month.begun().leading_zeros()),
            Count::Distinct | Count::Average => u32::MAX,
        }
    }

    fn note_merged(&self, machine: &Machine<'_>, rows: &mut Rows) {
        if !self.names.is_joined(&machine.id) {
            return;
        }
        for agent in self.names.members(&machine.id).filter(|agent| **agent != machine.id) {
            let Some(facts) = self.usage.machines().get(agent) else { continue };
            let reported = facts.attendance.reported_days().from(self.month.first()) & self.month.begun();
            if reported != 0 {
                let owner = self.month.lowest(reported).and_then(|day| owner_of_day(&machine.facts, day));
                let row = Row::from(WhyNot::Merged).maybe_of(owner);
                rows.note(reported, Row { agent: Some(agent.clone()), ..row });
            }
        }
    }

    /// Reports of these days that were not accepted, by whoever sent them.
    pub fn rejected(&self) -> Vec<Unbilled> {
        let mut rows: BTreeMap<(MachineId, WhyNot), u32> = BTreeMap::new();
        for (bit, day) in self.month.days_of(self.month.begun()) {
            for rejected in self.usage.rejected(day.day, day.day.plus(1)) {
                let why = match rejected.reason {
                    RejectReason::ClockAhead => WhyNot::ClockAhead,
                    RejectReason::TooOld => WhyNot::TooOld,
                };
                *rows.entry((rejected.machine.clone(), why)).or_default() |= bit;
            }
        }
        let row = |((machine, reason), days)| {
            Rows { machine, days: [(Row::from(reason), days)].into() }.sorted(self.before)
        };
        rows.into_iter().flat_map(row).collect()
    }
}

/// What tells one reason from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    why: WhyNot,
    customer: Option<CustomerId>,
    sku: Option<Sku>,
    product: Option<ProductId>,
    borne_by: Option<CustomerId>,
    agent: Option<MachineId>,
}

impl From<WhyNot> for Row {
    fn from(why: WhyNot) -> Self {
        Self { why, customer: None, sku: None, product: None, borne_by: None, agent: None }
    }
}

impl Row {
    fn of(self, customer: &CustomerId) -> Self {
        self.maybe_of(Some(customer))
    }

    fn maybe_of(self, customer: Option<&CustomerId>) -> Self {
        Self { customer: customer.cloned(), ..self }
    }

    fn sku(self, sku: &Sku) -> Self {
        Self { sku: Some(sku.clone()), ..self }
    }

    fn product(self, product: &ProductId) -> Self {
        Self { product: Some(product.clone()), ..self }
    }
}

struct Rows {
    machine: MachineId,
    days: BTreeMap<Row, u32>,
}

impl Rows {
    fn note(&mut self, days: u32, row: Row) {
        *self.days.entry(row).or_default() |= days;
    }

    fn sorted(self, before: i64) -> Vec<Unbilled> {
        let machine = self.machine;
        let row = |(row, days): (Row, u32)| {
            let (named, counted_with) = match row.agent {
                Some(agent) => (agent, Some(machine.clone())),
                None => (machine.clone(), None),
            };
            Unbilled {
                machine: named,
                reason: row.why,
                customer: row.customer,
                sku: row.sku,
                product: row.product,
                borne_by: row.borne_by,
                counted_with,
                days: days_of_month(days, before),
            }
        };
        self.days.into_iter().map(row).collect()
    }
}

/// Days as numbers of the month; `before` days of it lie before the lowest bit.
pub fn days_of_month(bits: u32, before: i64) -> Vec<u8> {
    let number = |bit: i64| u8::try_from(bit + before + 1).ok();
    (0..32).filter(|bit| bits >> bit & 1 == 1).filter_map(number).collect()
}

#[cfg(test)]
mod tests;
