//! The running month, kept counted: what has changed since it was asked for last is counted again, and nothing else.
//! Invariant: the answer is that of a close of the same records on the same day, to the byte.
//!
//! What a machine amounted to is not kept: it is counted from the state of then, which shares all that has not changed
//! with the state of now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId};

use crate::calendar::{Day, MonthDays, Period, UsageDay};
use crate::close::{CloseError, begun_days, counted_lines, output};
use crate::counts::{Counter, Counts};
use crate::forecast::{Forecast, of_counts};
use crate::machines::Names;
use crate::money::TooLarge;
use crate::policy::Policy;
use crate::record::Sku;
use crate::seats::{Counting, MachineCount};
use crate::statement::{Flag, MeterOutput};
use crate::usage::Usage;

/// Seats day by day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaySeats {
    /// The month's days that have begun.
    pub days: Vec<Day>,
    /// Of each SKU one number a day.
    pub skus: BTreeMap<Sku, Vec<u64>>,
}

/// A month, counted up to some state.
#[derive(Debug, Clone)]
pub struct MonthToDate {
    usage: Usage,
    names: Names,
    policy: Policy,
    period: Period,
    days: Vec<UsageDay>,
    counts: Counts,
    /// What was put together of it; empty: nobody has asked in this state.
    so_far: OnceLock<Arc<MeterOutput>>,
}

impl MonthToDate {
    /// Counts a period over its days that have begun at `now`, in a state and by a policy of the same zone.
    pub fn new(usage: Usage, policy: Policy, period: Period, now: Timestamp) -> Self {
        let (days, names) = (begun_days(&usage, period, Some(now)), Names::new(&usage));
        let counts = Counts::of(&usage, &policy, period, &days, &names);
        Self { usage, names, policy, period, days, counts, so_far: OnceLock::new() }
    }

    /// Which month it is.
    pub fn period(&self) -> Period {
        self.period
    }

    /// By which it is counted.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Brings it up to a later state of the same journal. A new day or another policy counts all machines anew, a
    /// customer's new SKU or licence step those it ever owned, anything else those that it is about.
    pub fn refresh(&mut self, usage: Usage, policy: Policy, now: Timestamp) {
        let days = begun_days(&usage, self.period, Some(now));
        if days != self.days || policy != self.policy || usage.zone() != self.usage.zone() {
            *self = Self::new(usage, policy, self.period, now);
            return;
        }
        let names = if usage.joined_otherwise(&self.usage).is_empty() {
            self.names.clone()
        } else {
            Names::new(&usage)
        };
        let changed = self.changed(&usage, &names);
        let mut differs = !usage.is_told_as(&self.usage);
        if let Some(month) = MonthDays::of(&self.days) {
            let mut counting = Counting::new(&self.usage, &self.policy, self.period, month);
            let before = counted(&mut counting, &self.usage, &self.names, &changed);
            let mut counting = Counting::new(&usage, &self.policy, self.period, month);
            let mut after = counted(&mut counting, &usage, &names, &changed);
            for (machine, count) in before {
                if after.get(machine) == Some(&count) {
                    after.remove(machine);
                } else {
                    self.counts.remove(&count);
                    differs = true;
                }
            }
            differs |= !after.is_empty();
            after.into_values().for_each(|count| self.counts.add(count));
            // A rejected report is in the way until its machine was heard from.
            differs |= !changed.is_empty() && usage.rejected(month.first(), month.end()).next().is_some();
        }
        if differs {
            self.so_far = OnceLock::new();
        }
        (self.usage, self.names) = (usage, names);
    }

    /// The agents whose machines may amount to something else by now: whole machines, before and after.
    fn changed(&self, usage: &Usage, names: &Names) -> BTreeSet<MachineId> {
        let differing = usage.machines().differing(self.usage.machines());
        let mut changed: BTreeSet<MachineId> = differing.into_iter().cloned().collect();
        changed.extend(usage.joined_otherwise(&self.usage));
        let told = usage.customers_told_otherwise(&self.usage);
        if !told.is_empty() {
            let owned = usage
                .machines()
                .iter()
                .filter(|(_, facts)| facts.assigned.iter().any(|(_, customer)| told.contains(customer)));
            changed.extend(owned.map(|(agent, _)| agent.clone()));
        }
        let mut left: Vec<MachineId> = changed.iter().cloned().collect();
        while let Some(agent) = left.pop() {
            for names in [&self.names, names] {
                for member in names.members(names.of(&agent)) {
                    if changed.insert(member.clone()) {
                        left.push(member.clone());
                    }
                }
            }
        }
        changed
    }

    /// The seats of one customer's SKU by now.
    pub fn seats(&self, customer: &CustomerId, sku: &Sku) -> Option<&Counter> {
        self.counts.line(customer, sku)
    }

    /// The seats of each day so far, by SKU, of the customers that are taken: it adds up what is counted already.
    pub fn by_day(&self, is_of: impl Fn(&CustomerId) -> bool) -> DaySeats {
        let days: Vec<Day> = self.days.iter().map(|day| day.day).collect();
        let places: Vec<usize> =
            days.iter().filter_map(|day| usize::try_from(day.days_since(*days.first()?)).ok()).collect();
        let mut skus: BTreeMap<Sku, Vec<u64>> = BTreeMap::new();
        for (_, sku, counter) in self.counts.lines().filter(|(customer, ..)| is_of(customer)) {
            let sums = match skus.get_mut(sku) {
                Some(sums) => sums,
                None => skus.entry(sku.clone()).or_insert_with(|| vec![0; days.len()]),
            };
            for (sum, place) in sums.iter_mut().zip(&places) {
                *sum += counter.seats.get(*place).copied().map_or(0, u64::from);
            }
        }
        DaySeats { days, skus }
    }

    /// What the month will come to; none: a rule of the policy asks for days of each machine, which are not kept.
    ///
    /// # Errors
    /// When amounts are too large to add.
    pub fn forecast(&self, now: Timestamp) -> Result<Option<Forecast>, TooLarge> {
        if self.policy.sku.values().any(|rule| rule.min_days > 0) {
            return Ok(None);
        }
        of_counts(&self.usage, &self.policy, self.period, now, &self.counts).map(Some)
    }

    /// Statement and earnings of the month so far, without what it corrects of earlier ones and without the flags of
    /// machines, of which there may be one for each: [`MonthToDate::flags`]. Put together once for a state.
    ///
    /// # Errors
    /// When quantities or prices are absurd.
    pub fn so_far(&self) -> Result<Arc<MeterOutput>, CloseError> {
        if let Some(known) = self.so_far.get() {
            return Ok(Arc::clone(known));
        }
        let (usage, policy) = (&self.usage, &self.policy);
        let counted = counted_lines(usage, policy, self.period, &self.days, &self.names, &self.counts)?;
        let made = Arc::new(output(counted, policy, self.period, Vec::new())?);
        Ok(Arc::clone(self.so_far.get_or_init(|| made)))
    }

    /// What is to be looked at of machines.
    pub fn flags(&self) -> impl Iterator<Item = &Flag> {
        self.counts.flags()
    }

    /// How many those are.
    pub fn flag_count(&self) -> usize {
        self.counts.flag_count()
    }

    /// What is to be looked at of a customer's machines: what names it, and what names none and is of one of these.
    pub fn flags_of<'a>(
        &'a self,
        customer: &CustomerId,
        machines: &[MachineId],
    ) -> impl Iterator<Item = &'a Flag> {
        let of_machines = machines.iter().flat_map(|machine| self.counts.flags_of(machine));
        self.counts.flags_naming(customer).chain(of_machines)
    }

    /// As [`MonthToDate::so_far`], with the flags of machines.
    ///
    /// # Errors
    /// When quantities or prices are absurd.
    pub fn output(&self) -> Result<MeterOutput, CloseError> {
        let mut output = MeterOutput::clone(&*self.so_far()?);
        let of_nobody = std::mem::take(&mut output.statement.flags);
        let flags: BTreeSet<Flag> = self.flags().cloned().chain(of_nobody).collect();
        output.statement.flags = flags.into_iter().collect();
        Ok(output)
    }
}

/// What the machines that these agents are part of amount to.
fn counted<'a>(
    counting: &mut Counting<'_>,
    usage: &Usage,
    names: &'a Names,
    agents: &'a BTreeSet<MachineId>,
) -> BTreeMap<&'a MachineId, MachineCount> {
    let machines: BTreeSet<&MachineId> = agents.iter().map(|agent| names.of(agent)).collect();
    let known = machines.into_iter().filter_map(|id| Some((id, names.machine(usage, id)?)));
    known.map(|(id, machine)| (id, counting.machine(&machine))).collect()
}

#[cfg(test)]
mod tests;
