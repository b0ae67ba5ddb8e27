//! A month of one machine, day by day, and who it was. Invariant: a day is told as it is counted; of days and owners
//! that are another customer's, who may not know of that one is told nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::explain::{MachineMonth, SeatTold, explain_machine};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::unbilled::Unbilled;
use seatbeat_ledger::usage::Bond;
use seatbeat_proto::ids::{CustomerId, MachineId};

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use crate::jobs::close::running_period;

/// A month of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineDays {
    /// Which month.
    pub period: Period,
    /// The month before, unless the machine was let in later.
    pub previous: Option<Period>,
    /// The month after, unless it has not begun.
    pub next: Option<Period>,
    /// The billing zone.
    pub zone: String,
    /// The machine that it is counted with, where it is part of another one.
    pub counted_with: Option<MachineId>,
    /// All days of the month.
    pub days: Vec<DayTold>,
    /// Its seats, by customer and SKU.
    pub seats: Vec<SeatTold>,
    /// Why other days count for nothing.
    pub reasons: Vec<Unbilled>,
}

/// A day of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayTold {
    /// Which day.
    pub day: Date,
    /// What is known of it.
    pub stands: Stands,
    /// What it counts for.
    pub skus: Vec<Sku>,
}

/// How a day stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// Use was seen, and counts.
    Confirmed,
    /// The machine was silent, and is presumed to have gone on.
    Presumed,
    /// It reported, and nothing of it counts.
    Seen,
    /// It was silent, and nothing is presumed.
    Silent,
    /// It was not let in yet.
    Before,
    /// The day has not begun.
    Ahead,
}

impl Stands {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Presumed => "presumed",
            Self::Seen => "seen, not counted",
            Self::Silent => "silent",
            Self::Before => "not let in yet",
            Self::Ahead => "to come",
        }
    }
}

/// Who a machine was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Its owners, each from an instant on.
    pub owners: Vec<(Timestamp, CustomerId)>,
    /// When it was given up, and what it was flagged as since when.
    pub events: Vec<(Timestamp, String)>,
    /// Machines that it was taken to be, or not to be.
    pub bonds: Vec<BondTold>,
}

/// What was decided of a machine and another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BondTold {
    /// The other one.
    pub other: MachineId,
    /// Its name; empty: none.
    pub host_name: String,
    /// From when on it was decided.
    pub at: Timestamp,
    /// Whether they are one.
    pub is_merged: bool,
}

impl MachineDays {
    /// The days by weeks that begin on Monday; none where the month has no such day.
    pub fn weeks(&self) -> Vec<Vec<Option<&DayTold>>> {
        let mut weeks: Vec<Vec<Option<&DayTold>>> = Vec::new();
        for day in &self.days {
            let place = day.day.weekday().since(Weekday::Monday).unsigned_abs() as usize;
            if place == 0 || weeks.is_empty() {
                weeks.push(vec![None; 7]);
            }
            if let Some(slot) = weeks.last_mut().and_then(|week| week.get_mut(place)) {
                *slot = Some(day);
            }
        }
        weeks
    }

    /// How many days stand so.
    pub fn count(&self, stands: Stands) -> usize {
        self.days.iter().filter(|day| day.stands == stands).count()
    }
}

impl Console {
    /// A machine's days of a month; without one, of the running one.
    ///
    /// # Errors
    /// When the machine is not known, the month has not begun, or it cannot be counted.
    pub async fn machine_days(
        &self,
        caller: &Caller,
        machine: &MachineId,
        period: Option<Period>,
    ) -> Result<MachineDays, Fault> {
        let (console, caller, id) = (self.clone(), caller.clone(), machine.clone());
        tokio::task::spawn_blocking(move || console.days_of(&caller, &id, period)).await?
    }

    fn days_of(
        &self,
        caller: &Caller,
        machine: &MachineId,
        period: Option<Period>,
    ) -> Result<MachineDays, Fault> {
        let enrolled_at = self.enrolled_at(caller, machine)?;
        let running = running_period(&self.books);
        let period = period.unwrap_or(running);
        let zone = self.books.read(|fold| fold.usage().zone().clone());
        let let_in = zone.usage_day(enrolled_at);
        let known = match period {
            _ if period < Period::of_day(let_in) => None,
            // The month's lines are kept as it goes on.
            _ if period == running => {
                let output = self.closing.so_far(period)?;
                let (now, fold) = (self.books.clock().now(), self.books.read(Fold::clone));
                let policy = fold.terms().policy(period)?;
                explain_machine(fold.usage(), &policy, period, Some(now), &output.statement.lines, machine)
            }
            _ => {
                let counted = self.counted(period)?;
                let (usage, lines) = (counted.fold.usage(), counted.lines.as_slice());
                explain_machine(usage, &counted.policy, period, counted.as_of, lines, machine)
            }
        };
        let begun = self.books.clock().now();
        let reach = caller.reach();
        let (mut seats, mut reasons, mut seen, mut counted_with) = (Vec::new(), Vec::new(), Vec::new(), None);
        if let Some(MachineMonth { told, seen: days, .. }) = known {
            seats = told.seats.into_iter().filter(|seat| reach.has(&seat.customer)).collect();
            let is_theirs = |row: &Unbilled| row.customer.as_ref().is_none_or(|customer| reach.has(customer));
            reasons = told.reasons.into_iter().filter(is_theirs).collect();
            counted_with = Some(told.machine).filter(|of| of != machine);
            seen = days;
        }
        let days = zone.days(period).into_iter().map(|day| {
            let (number, date) = (day.day.date().day().unsigned_abs(), day.day.date());
            let of = |days: &dyn Fn(&SeatTold) -> bool| {
                seats.iter().filter(|seat| days(seat)).map(|seat| seat.sku.clone()).collect::<Vec<_>>()
            };
            let confirmed = of(&|seat| seat.confirmed.contains(&number));
            let presumed = of(&|seat| seat.presumed.contains(&number));
            let (stands, skus) = match () {
                () if day.first > begun => (Stands::Ahead, Vec::new()),
                () if !confirmed.is_empty() => (Stands::Confirmed, confirmed),
                () if !presumed.is_empty() => (Stands::Presumed, presumed),
                () if seen.contains(&number) => (Stands::Seen, Vec::new()),
                () if day.day < let_in => (Stands::Before, Vec::new()),
                () => (Stands::Silent, Vec::new()),
            };
            DayTold { day: date, stands, skus }
        });
        Ok(MachineDays {
            period,
            previous: Some(period.previous()).filter(|before| *before >= Period::of_day(let_in)),
            next: Some(period.next()).filter(|after| *after <= running),
            zone: zone.name().to_owned(),
            days: days.collect(),
            counted_with,
            seats,
            reasons,
        })
    }

    /// Who a machine was.
    ///
    /// # Errors
    /// When it is not known, or the vault cannot be read.
    pub async fn lineage(&self, caller: &Caller, machine: &MachineId) -> Result<Lineage, Fault> {
        self.enrolled_at(caller, machine)?;
        let reach = caller.reach();
        let (mut lineage, bonds) = self.books.read(|fold| {
            let (usage, registry) = (fold.usage(), fold.registry());
            let facts = usage.machines().get(machine);
            let owners = facts.into_iter().flat_map(|facts| facts.assigned.iter());
            let owners = owners.filter(|(_, customer)| reach.has(customer)).cloned();
            let mut events: BTreeSet<(Timestamp, String)> = BTreeSet::new();
            if let Some(facts) = facts {
                events.extend(facts.retired.iter().map(|at| (*at, "given up".to_owned())));
                events.extend(facts.flagged.iter().cloned());
            }
            if let Some(known) = registry.machine(machine) {
                events.extend(known.flags.iter().map(|(flag, at)| (*at, flag.clone())));
            }
            let bonds: Vec<(MachineId, Timestamp, Bond)> = usage
                .bonds_of(machine)
                .filter(|(other, ..)| registry.machine(other).is_none_or(|other| reach.has(&other.customer)))
                .map(|(other, at, bond)| (other.clone(), at, bond))
                .collect();
            let events = events.into_iter().collect();
            (Lineage { owners: owners.collect(), events, bonds: Vec::new() }, bonds)
        });
        for (other, at, bond) in bonds {
            let host_name = self.name(crate::vault::VaultRow::HostName(&other))?;
            lineage.bonds.push(BondTold { other, host_name, at, is_merged: bond == Bond::Merged });
        }
        lineage.bonds.sort_by(|one, other| (one.at, &one.other).cmp(&(other.at, &other.other)));
        Ok(lineage)
    }

    fn enrolled_at(&self, caller: &Caller, machine: &MachineId) -> Result<Timestamp, Fault> {
        let known = self
            .books
            .read(|fold| fold.registry().machine(machine).map(|one| (one.customer.clone(), one.enrolled_at)));
        let within = known.filter(|(customer, _)| caller.reach().has(customer));
        within.map(|(_, at)| at).ok_or_else(|| Fault::UnknownMachine(machine.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_monday_and_hold_each_day_once() {
        let day =
            |day| DayTold { day: jiff::civil::date(2026, 10, day), stands: Stands::Silent, skus: Vec::new() };
        let month = MachineDays {
            period: "2026-10".parse().unwrap(),
            previous: None,
            next: None,
            zone: "UTC".to_owned(),
            counted_with: None,
            days: (1..=31).map(day).collect(),
            seats: Vec::new(),
            reasons: Vec::new(),
        };
        let weeks = month.weeks();
        // The first of October 2026 is a Thursday.
        assert_eq!(weeks[0].iter().filter(|day| day.is_none()).count(), 3);
        assert_eq!((weeks.len(), weeks.iter().flatten().flatten().count()), (5, 31));
        assert_eq!(weeks[1][0].unwrap().day.day(), 5);
    }
}
