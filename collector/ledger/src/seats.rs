//! Rules 7 to 9: the seats of a period, machine by machine.
//! Invariant: a counted day of a (machine, SKU) goes to at most one customer; what a machine amounts to depends on
//! its own facts, the policy and what was told about its owners, and on no other machine.

use std::collections::BTreeMap;

use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};

use crate::calendar::{Day, MonthDays, Period};
use crate::findings::{DayRange, machine_flags};
use crate::machine_day::{MachineDay, billed_day, machine_day, would_count};
use crate::machines::Machine;
use crate::owner::owner_of_day;
use crate::policy::{Moved, Policy};
use crate::presence::{MonthPresence, month_presence};
use crate::record::Sku;
use crate::statement::{Blocker, Flag};
use crate::usage::{MachineFacts, Usage};

/// A counted day of a (machine, SKU).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedDay {
    /// The usage day.
    pub day: Day,
    /// Whether the use was seen that day.
    pub confirmed: bool,
}

/// Who uses what, with the counted days of each machine.
pub type Seats = BTreeMap<(CustomerId, Sku), BTreeMap<MachineId, Vec<CountedDay>>>;

/// A machine that uses a SKU: its counted days as bits from the period's first day on, never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Who bears it.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// Its days.
    pub counted: u32,
    /// Those on which the use was seen.
    pub confirmed: u32,
}

/// What a machine adds to a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineCount {
    /// Its seats; one for each customer and SKU.
    pub seats: Vec<Seat>,
    /// What needs a look.
    pub flags: Vec<Flag>,
    /// What blocks, for reasons of this machine alone.
    pub blockers: Vec<Blocker>,
    /// Customers' products in use of which nobody said what they are billed as.
    pub unmapped: Vec<(CustomerId, ProductId)>,
}

/// Counts machines over a month, one after the other.
pub struct Counting<'a> {
    usage: &'a Usage,
    policy: &'a Policy,
    period: Period,
    month: MonthDays<'a>,
    customers: BTreeMap<CustomerId, Customer>,
}

/// What the machines before have shown of a customer: most have the same products, and are billed the same.
#[derive(Default)]
struct Customer {
    /// Whether something was told about its SKUs or licences in the month: then each day is its own.
    changes: bool,
    billed: Vec<(Used, Option<Day>, MachineDay)>,
}

/// Products in use, and whether each was seen.
pub(crate) type Used = Vec<(ProductId, bool)>;

/// Answers that are kept of one customer: its machines come in some dozen kinds.
const BILLED_MAX: usize = 64;

/// A SKU on a machine over some days of one owner.
pub(crate) struct Owned {
    pub(crate) owner: CustomerId,
    pub(crate) sku: Sku,
    pub(crate) counted: u32,
    pub(crate) confirmed: u32,
}

/// What drops a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Seen on too few days.
    MinDays,
    /// The machine's first month.
    FreeFirstMonth,
}

impl<'a> Counting<'a> {
    /// Counts over these days of a period.
    pub fn new(usage: &'a Usage, policy: &'a Policy, period: Period, month: MonthDays<'a>) -> Self {
        Self { usage, policy, period, month, customers: BTreeMap::new() }
    }

    /// What this machine adds.
    pub fn machine(&mut self, machine: &Machine<'_>) -> MachineCount {
        let range = DayRange { first: self.month.first(), end: self.month.end() };
        let flags = machine_flags(self.usage, machine, range);
        let mut count = MachineCount { flags, ..MachineCount::default() };
        let (facts, policy) = (machine.facts.as_ref(), self.policy);
        let mut owned = Vec::new();
        let presences = self.look(facts, |days, used, billed| match billed {
            None => note_unassigned(policy, machine, used, &mut count),
            Some((owner, billed)) => {
                for (sku, confirmed) in &billed.seats {
                    add_owned(&mut owned, owner, sku, days, *confirmed);
                }
                note_billed(machine, owner, billed, &mut count);
            }
        });
        if presences.iter().any(|(_, month)| month.went_silent != 0) {
            count.flags.push(Flag::of_machine("went_silent", &machine.id));
        }
        for (customer, sku, counted, confirmed) in share_out(policy.moved, &owned) {
            if self.filtered(facts, &sku, confirmed).is_none() {
                count.seats.push(Seat { customer, sku, counted, confirmed });
            }
        }
        count
    }

    /// Rules 1 and 4 to 7, days with the same products in use and the same owner together: `take` gets their bits,
    /// what is in use and, where they have an owner, as what it is billed. Answers when each product is in use.
    pub(crate) fn look<'m>(
        &mut self,
        facts: &'m MachineFacts,
        mut take: impl FnMut(u32, &Used, Option<(&CustomerId, &MachineDay)>),
    ) -> Vec<(&'m ProductId, MonthPresence)> {
        let presences: Vec<(&ProductId, MonthPresence)> = facts
            .attendance
            .products()
            .map(|product| (product, month_presence(facts, product, &self.month, self.policy.presume_days)))
            .collect();
        let mut left = presences.iter().fold(0, |days, (_, month)| days | month.confirmed | month.presumed);
        while left != 0 {
            let (alike, used) = alike_days(&presences, left);
            left &= !alike;
            if facts.assigned.is_empty() {
                take(alike, &used, None);
                continue;
            }
            let mut days = alike;
            while let Some(day) = self.month.lowest(days).filter(|_| days != 0) {
                let Some(owner) = owner_of_day(facts, day) else { break };
                let changes = self.customer(owner).changes;
                let same = self.same_owner(facts, owner, days, changes);
                days &= !same;
                take(same, &used, Some((owner, self.billed(owner, &used, day, changes))));
            }
        }
        presences
    }

    /// Of these days those that are decided with the first: of this owner, and where something was told of it in the
    /// month each alone.
    fn same_owner(&self, facts: &MachineFacts, owner: &CustomerId, days: u32, changes: bool) -> u32 {
        if changes {
            days & days.wrapping_neg()
        } else if facts.assigned.len() == 1 {
            days
        } else {
            let owned = self.month.days_of(days).filter(|(_, day)| owner_of_day(facts, day) == Some(owner));
            owned.fold(0, |days, (bit, _)| days | bit)
        }
    }

    fn customer(&mut self, owner: &CustomerId) -> &mut Customer {
        let (usage, (first, end)) = (self.usage, self.month.bounds());
        self.customers.entry(owner.clone()).or_insert_with(|| {
            let changes = usage.told_at(owner).any(|at| first <= at && at < end);
            Customer { changes, billed: Vec::new() }
        })
    }

    /// As what products are billed, looked up once for all days and machines that are alike.
    fn billed(
        &mut self,
        owner: &CustomerId,
        used: &Used,
        day: &crate::calendar::UsageDay,
        changes: bool,
    ) -> &MachineDay {
        let (usage, policy) = (self.usage, self.policy);
        let on = changes.then_some(day.day);
        let billed = &mut self.customer(owner).billed;
        let known = billed.iter().position(|(products, at, _)| *at == on && products == used);
        let place = known.unwrap_or_else(|| {
            if billed.len() >= BILLED_MAX {
                billed.clear();
            }
            let products = used.iter().cloned().collect();
            billed.push((used.clone(), on, billed_day(usage, policy, owner, products, day)));
            billed.len() - 1
        });
        &billed[place].2
    }

    /// Rule 9: what drops the seats of a machine, if anything does.
    pub(crate) fn filtered(&self, facts: &MachineFacts, sku: &Sku, confirmed: u32) -> Option<Filter> {
        let rule = self.policy.rule(sku);
        if confirmed.count_ones() < rule.min_days {
            return Some(Filter::MinDays);
        }
        let is_alike = |other: &Sku| match &rule.price_group {
            Some(group) => self.policy.rule(other).price_group.as_ref() == Some(group),
            None => other == sku,
        };
        let is_first = rule.free_first_month
            && !was_counted_before(self.usage, self.policy, facts, self.period, is_alike);
        is_first.then_some(Filter::FreeFirstMonth)
    }
}

fn note_unassigned(policy: &Policy, machine: &Machine<'_>, used: &Used, count: &mut MachineCount) {
    let blocker = Blocker::of_machine("unassigned", &machine.id);
    if would_count(policy, used.iter().map(|(product, _)| product)) && !count.blockers.contains(&blocker) {
        count.blockers.push(blocker);
    }
}

fn note_billed(machine: &Machine<'_>, owner: &CustomerId, billed: &MachineDay, count: &mut MachineCount) {
    for sku in &billed.running_suspended {
        let flag = Flag::running_on_suspended_licence(owner, sku, &machine.id);
        if !count.flags.contains(&flag) {
            count.flags.push(flag);
        }
    }
    for product in &billed.unmapped {
        let unmapped = (owner.clone(), product.clone());
        if !count.unmapped.contains(&unmapped) {
            count.unmapped.push(unmapped);
        }
    }
}

/// The days on which the same products are in use as on the first that is left, and those products.
fn alike_days(products: &[(&ProductId, MonthPresence)], left: u32) -> (u32, Used) {
    let first = left & left.wrapping_neg();
    let (mut alike, mut used) = (left, Used::new());
    for (product, month) in products {
        alike &= if month.confirmed & first != 0 {
            used.push(((*product).clone(), true));
            month.confirmed
        } else if month.presumed & first != 0 {
            used.push(((*product).clone(), false));
            month.presumed
        } else {
            !(month.confirmed | month.presumed)
        };
    }
    (alike, used)
}

pub(crate) fn add_owned(owned: &mut Vec<Owned>, owner: &CustomerId, sku: &Sku, days: u32, confirmed: bool) {
    let confirmed = if confirmed { days } else { 0 };
    match owned.iter_mut().find(|one| one.sku == *sku && one.owner == *owner) {
        Some(one) => {
            one.counted |= days;
            one.confirmed |= confirmed;
        }
        None => owned.push(Owned { owner: owner.clone(), sku: sku.clone(), counted: days, confirmed }),
    }
}

/// Rule 8: the owner that bears the days which one owner had: of all that had days of the SKU.
pub(crate) fn winner<'o>(moved: Moved, owned: &'o [Owned], one: &'o Owned) -> &'o Owned {
    let rank = |one: &Owned| (one.counted.count_ones(), 32 - one.counted.leading_zeros());
    let rivals = || owned.iter().filter(|other| other.sku == one.sku);
    let winner = match moved {
        Moved::EachOwner => Some(one),
        Moved::LastOwner => rivals().max_by_key(|other| rank(other).1),
        Moved::MainOwner => rivals().max_by_key(|other| rank(other)),
    };
    winner.unwrap_or(one)
}

/// Rule 8: to whom the days of a machine that changed hands go: customer, SKU, counted and confirmed days.
pub(crate) fn share_out(moved: Moved, owned: &[Owned]) -> Vec<(CustomerId, Sku, u32, u32)> {
    let mut shares: Vec<(CustomerId, Sku, u32, u32)> = Vec::with_capacity(owned.len());
    for one in owned {
        let owner = &winner(moved, owned, one).owner;
        match shares.iter_mut().find(|(customer, sku, ..)| customer == owner && *sku == one.sku) {
            Some((_, _, counted, confirmed)) => {
                *counted |= one.counted;
                *confirmed |= one.confirmed;
            }
            None => shares.push((owner.clone(), one.sku.clone(), one.counted, one.confirmed)),
        }
    }
    shares
}

/// Whether the machine had a counted day for such a SKU before the period, whoever owned it.
/// Looks from its first active day on, so a machine that was ever billed is told at once.
fn was_counted_before(
    usage: &Usage,
    policy: &Policy,
    facts: &MachineFacts,
    period: Period,
    is_alike: impl Fn(&Sku) -> bool,
) -> bool {
    let Some(mut day) = facts.attendance.first_active_day() else { return false };
    while day < period.first_day() {
        if let Some(bounds) = usage.zone().usage_day_of(day)
            && machine_day(usage, policy, facts, &bounds).seats.keys().any(&is_alike)
        {
            return true;
        }
        day = day.plus(1);
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn exact() -> Scenario {
        Scenario::new().policy("presume_days = 0")
    }

    fn check(scenario: Scenario, lines: &[&str]) {
        assert_eq!(scenario.lines(), lines);
    }

    #[test]
    fn two_products_of_one_sku_on_one_machine_are_one_seat_confirmed_by_either() {
        let both = || Scenario::new().policy("presume_days = 1").sku("09-01 00:00", "acme", "b", "A");
        assert_eq!(both().report("m", "10-05 08:00", "a b").days("m", "acme", "A"), "5 6p");
        let either = both().report("m", "10-05 08:00", "a b").report("m", "10-06 08:00", "a b?");
        assert_eq!(either.days("m", "acme", "A"), "5 6 7p");
        check(both().report("m", "10-31 08:00", "a b"), &["acme A 1=1+0 on 31"]);
    }

    fn moved(policy: &str) -> Scenario {
        exact()
            .policy(policy)
            .assigned("10-04 00:00", "m", "zeta")
            .reports("m", [1, 2, 4, 5], "a")
            .policy("[sku.A]\ncount = \"distinct\"")
    }

    #[test]
    fn a_moved_machine_goes_to_who_owned_most_of_its_counted_days() {
        check(moved("").reports("m", [3], "a"), &["acme A 1=1+0"]);
        check(moved("").reports("m", [6], "a"), &["zeta A 1=1+0"]);
        check(moved("moved = \"main_owner\""), &["zeta A 1=1+0"]);
    }

    #[test]
    fn of_owners_of_as_many_days_the_one_whose_last_is_later_bears_them() {
        check(moved(""), &["zeta A 1=1+0"]);
        let back = exact().assigned("10-02 00:00", "m", "zeta").assigned("10-04 00:00", "m", "acme").reports(
            "m",
            [1, 2, 3, 4],
            "a",
        );
        assert_eq!(back.days("m", "acme", "A"), "1 2 3 4");
    }

    #[test]
    fn a_moved_machine_may_go_to_its_last_owner_or_to_each() {
        check(moved("moved = \"last_owner\"").reports("m", [3], "a"), &["zeta A 1=1+0"]);
        check(moved("moved = \"each_owner\""), &["acme A 1=1+0", "zeta A 1=1+0"]);
    }

    #[test]
    fn only_counted_days_of_the_period_decide_where_a_moved_machine_goes() {
        let before = moved("").report("m", "09-20 08:00", "a").report("m", "09-21 08:00", "a");
        check(before, &["zeta A 1=1+0"]);
        let suspended = moved("").licence("suspended", "10-04 12:00", "zeta", "A");
        check(suspended, &["acme A 1=1+0"]);
    }

    #[test]
    fn each_sku_of_a_moved_machine_goes_its_own_way() {
        check(
            exact().assigned("10-04 00:00", "m", "zeta").reports("m", [1, 2], "a b").reports(
                "m",
                [5, 6, 7],
                "b",
            ),
            &["acme A 1=1+0 on 1", "zeta B 1=1+0 on 1"],
        );
    }

    #[test]
    fn below_min_days_confirmed_a_machine_is_dropped() {
        let few = |days: i32| exact().policy("[sku.A]\nmin_days = 3").reports("m", 1..=days, "a");
        check(few(2), &[]);
        check(few(3), &["acme A 1=1+0 on 1"]);
        let presumed = Scenario::new().policy("[sku.A]\nmin_days = 3").reports("m", 1..=2, "a");
        check(presumed, &[]);
        let moved = few(2).reports("m", [5], "a").assigned("10-04 00:00", "m", "zeta");
        check(moved, &["acme A 1=1+0 on 1"]);
        let each = few(2).reports("m", [5], "a").assigned("10-04 00:00", "m", "zeta");
        check(each.policy("moved = \"each_owner\""), &[]);
    }

    fn free() -> Scenario {
        exact().policy(
            "[sku.A]\nfree_first_month = true\nprice_group = \"g\"\n[sku.B]\nprice_group = \"g\"\n\
             [sku.C]\nfree_first_month = true\n[sku.D]\nfree_first_month = true\n\
             [price_group.g]\ndistributor = \"d\"\ncurrency = \"USD\"\ntiers = [{ from = 1, cost = \"1\" }]",
        )
    }

    #[test]
    fn the_month_of_a_machine_s_first_counted_day_is_free() {
        check(free().report("m", "10-05 08:00", "a"), &[]);
        check(free().report("m", "09-30 23:59", "a").report("m", "10-05 08:00", "a"), &["acme A 1=1+0 on 5"]);
        check(free().report("m", "09-30 23:59", "a-").report("m", "10-05 08:00", "a"), &[]);
        check(free().report("m", "01-05 08:00", "a").report("m", "10-05 08:00", "a"), &["acme A 1=1+0 on 5"]);
    }

    #[test]
    fn a_counted_day_of_the_same_price_group_uses_the_free_month_up() {
        check(free().report("m", "09-05 08:00", "b").report("m", "10-05 08:00", "a"), &["acme A 1=1+0 on 5"]);
        check(free().report("m", "09-05 08:00", "c").report("m", "10-05 08:00", "a"), &[]);
        check(free().report("m", "10-05 08:00", "a b"), &["acme B 1=1+0 on 5"]);
    }

    #[test]
    fn a_sku_without_a_price_group_has_a_free_month_of_its_own() {
        check(free().report("m", "09-05 08:00", "c").report("m", "10-05 08:00", "c"), &["acme C 1=1+0 on 5"]);
        let other = free().sku("09-01 00:00", "acme", "d", "D").report("m", "09-05 08:00", "d");
        check(other.report("m", "10-05 08:00", "c"), &[]);
    }

    #[test]
    fn the_free_month_is_the_machine_s_whoever_owned_it_and_counted_days_only_use_it_up() {
        let moved = free().assigned("10-01 00:00", "m", "zeta").report("m", "09-05 08:00", "a");
        check(moved.report("m", "10-05 08:00", "a"), &["zeta A 1=1+0 on 5"]);
        let suspended =
            free().licence("suspended", "09-01 12:00", "acme", "A").report("m", "09-05 08:00", "a");
        let resumed = suspended.licence("resumed", "10-01 12:00", "acme", "A");
        check(resumed.report("m", "10-05 08:00", "a"), &[]);
        let joined = free().report("n", "09-05 08:00", "a").machines("merged", "10-09 00:00", "m", "n");
        check(joined.report("m", "10-05 08:00", "a"), &["acme A 1=1+0 on 5"]);
    }
}
