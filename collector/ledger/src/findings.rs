//! Flags, blockers and rejected reports of a period.
//! Invariant: they speak of the period's begun usage days only, and of machines by their joined id; `rejected` alone
//! names a machine as it named itself.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};

use crate::calendar::{Day, UsageDay};
use crate::evidence::Span;
use crate::machines::{Machine, Names};
use crate::record::{POOL_FLAG, Sku};
use crate::statement::{Blocker, Flag};
use crate::usage::{MachineFacts, Rejected, Switch, Usage};

/// What a close has to say beside its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What needs a look.
    pub flags: BTreeSet<Flag>,
    /// What stands in the way of sealing.
    pub blockers: BTreeSet<Blocker>,
    /// Reports that were not accepted.
    pub rejected: BTreeSet<Rejected>,
}

/// The begun usage days of a period.
#[derive(Debug, Clone, Copy)]
pub struct DayRange {
    /// The first.
    pub first: Day,
    /// The day after the last.
    pub end: Day,
}

impl DayRange {
    /// From the first of these days to the last; `None` when there is none.
    pub fn of(days: &[UsageDay]) -> Option<Self> {
        Some(Self { first: days.first()?.day, end: days.last()?.day.plus(1) })
    }

    fn contains(self, day: Day) -> bool {
        (self.first..self.end).contains(&day)
    }
}

impl Findings {
    /// Notes what one machine's facts show without counting them.
    pub fn note_machine(&mut self, usage: &Usage, machine: &Machine<'_>, range: DayRange) {
        let facts = machine.facts.as_ref();
        if facts.forked.range(range.first..range.end).next().is_some() {
            self.flags.insert(Flag::of_machine("forked_spool", &machine.id));
        }
        if were_both_alive(&machine.agents, range) {
            self.flags.insert(Flag::of_machine("merged_while_both_alive", &machine.id));
        }
        for (at, flag) in &facts.flagged {
            if flag != POOL_FLAG && range.contains(usage.zone().usage_day(*at)) {
                self.flags.insert(Flag::of_machine(flag, &machine.id));
            }
        }
        self.note_active_after_end(usage, &machine.id, facts, range);
    }

    /// Rule 7: active after an order to switch off, or after the machine was retired.
    fn note_active_after_end(
        &mut self,
        usage: &Usage,
        machine: &MachineId,
        facts: &MachineFacts,
        range: DayRange,
    ) {
        let retired = facts.retired.first().map(|at| usage.zone().usage_day(*at));
        for (day, _) in facts.evidence.days(range.first, range.end) {
            for product in facts.evidence.products() {
                let Some(active) = facts.evidence.active(product, day) else { continue };
                if retired.is_some_and(|retired| retired < day) {
                    self.flags.insert(Flag::of_machine("active_after_retirement", machine));
                }
                // The day's earliest active report is the one that a switch on that day could not have changed.
                let switches = facts.switches.get(product);
                let latest = switches.and_then(|all| all.range(..=(active.first, Switch::On)).next_back());
                if let Some((at, Switch::Off)) = latest
                    && usage.zone().usage_day(*at) < day
                {
                    self.flags.insert(Flag::active_after_switch_off(machine, product));
                }
            }
        }
    }

    /// Notes the rejected reports, and machines of which nothing else came.
    pub fn note_rejected(&mut self, usage: &Usage, names: &Names, machines: &[Machine<'_>], range: DayRange) {
        let mut silent: BTreeSet<&MachineId> = BTreeSet::new();
        for rejected in usage.rejected(range.first, range.end) {
            silent.insert(names.of(&rejected.machine));
            self.rejected.insert(rejected.clone());
        }
        for machine in machines {
            if machine.facts.evidence.days(range.first, range.end).next().is_some() {
                silent.remove(&machine.id);
            }
        }
        self.blockers.extend(silent.into_iter().map(|machine| Blocker::of_machine("clock_trouble", machine)));
    }

    /// Rule 11: declared above 0 for the period before and not at all for this one.
    pub fn note_declared_missing(
        &mut self,
        before: &BTreeMap<(CustomerId, Sku), u64>,
        now: &BTreeMap<(CustomerId, Sku), u64>,
    ) {
        for ((customer, sku), quantity) in before {
            if *quantity > 0 && !now.contains_key(&(customer.clone(), sku.clone())) {
                self.flags.insert(Flag::declared_missing(customer, sku));
            }
        }
    }

    /// Rule 6: a customer's product in use of which nobody said what it is billed as.
    pub fn note_unmapped(&mut self, customer: &CustomerId, products: BTreeSet<ProductId>) {
        self.blockers.extend(products.iter().map(|product| Blocker::unmapped_product(customer, product)));
    }
}

/// Whether two of these agents have spans of reports in the period that share an instant.
fn were_both_alive(agents: &[&MachineFacts], range: DayRange) -> bool {
    let span = |facts: &&MachineFacts| {
        facts.evidence.days(range.first, range.end).map(|(_, reports)| reports).reduce(Span::join)
    };
    let mut spans: Vec<Span> = agents.iter().filter_map(span).collect();
    spans.sort_by_key(|span| (span.first, span.last));
    spans.windows(2).any(|pair| pair[0].meets(pair[1]))
}
