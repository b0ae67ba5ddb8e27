//! Rules 7 to 9: the seats of a period, machine by machine.
//! Invariant: a counted day of a (machine, SKU) goes to at most one customer.

use std::collections::BTreeMap;

use seatbeat_proto::ids::{CustomerId, MachineId};

use crate::calendar::{Day, Period, UsageDay};
use crate::findings::{DayRange, Findings};
use crate::machine_day::machine_day;
use crate::machines::{Machine, Names, join};
use crate::policy::{Moved, Policy};
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

/// The seats of a period over these of its days, and what there is to say about them.
pub fn count_seats(usage: &Usage, policy: &Policy, period: Period, days: &[UsageDay]) -> (Seats, Findings) {
    let (mut seats, mut findings) = (Seats::new(), Findings::default());
    let Some(range) = DayRange::of(days) else { return (seats, findings) };
    let names = Names::new(usage);
    let machines = join(usage, &names);
    for machine in &machines {
        findings.note_machine(usage, machine, range);
        for (sku, owned) in owned_days(usage, policy, machine, days, &mut findings) {
            for (customer, counted) in share_out(policy.moved, owned) {
                if passes_filters(usage, policy, &machine.facts, period, &sku, &counted) {
                    let key = (customer, sku.clone());
                    seats.entry(key).or_default().insert(machine.id.clone(), counted);
                }
            }
        }
    }
    findings.note_rejected(usage, &names, &machines, range);
    (seats, findings)
}

type OwnedDays = Vec<(CustomerId, CountedDay)>;

/// Rule 7: the counted days of a machine by SKU, with the owner of each.
fn owned_days(
    usage: &Usage,
    policy: &Policy,
    machine: &Machine<'_>,
    days: &[UsageDay],
    findings: &mut Findings,
) -> BTreeMap<Sku, OwnedDays> {
    let mut owned: BTreeMap<Sku, OwnedDays> = BTreeMap::new();
    for day in days {
        let found = machine_day(usage, policy, &machine.facts, day);
        if found.went_silent {
            findings.flags.insert(Flag::of_machine("went_silent", &machine.id));
        }
        if found.is_unassigned {
            findings.blockers.insert(Blocker::of_machine("unassigned", &machine.id));
        }
        let Some(owner) = found.owner else { continue };
        findings.note_unmapped(&owner, found.unmapped);
        for sku in &found.running_suspended {
            findings.flags.insert(Flag::running_on_suspended_licence(&owner, sku, &machine.id));
        }
        for (sku, confirmed) in found.seats {
            owned.entry(sku).or_default().push((owner.clone(), CountedDay { day: day.day, confirmed }));
        }
    }
    owned
}

/// Rule 8: to whom the days of a machine that changed hands go. The days are in order.
fn share_out(moved: Moved, days: OwnedDays) -> BTreeMap<CustomerId, Vec<CountedDay>> {
    let winner = match moved {
        Moved::EachOwner => None,
        Moved::LastOwner => days.last().map(|(owner, _)| owner.clone()),
        Moved::MainOwner => {
            let mut owned: BTreeMap<&CustomerId, (usize, Day)> = BTreeMap::new();
            for (owner, counted) in &days {
                let (count, last) = owned.entry(owner).or_insert((0, counted.day));
                (*count, *last) = (*count + 1, counted.day);
            }
            owned.into_iter().max_by_key(|(_, rank)| *rank).map(|(owner, _)| owner.clone())
        }
    };
    let mut shares: BTreeMap<CustomerId, Vec<CountedDay>> = BTreeMap::new();
    for (owner, counted) in days {
        shares.entry(winner.clone().unwrap_or(owner)).or_default().push(counted);
    }
    shares
}

/// Rule 9: whether the seats of a machine stay in.
fn passes_filters(
    usage: &Usage,
    policy: &Policy,
    facts: &MachineFacts,
    period: Period,
    sku: &Sku,
    counted: &[CountedDay],
) -> bool {
    let rule = policy.rule(sku);
    let confirmed = counted.iter().filter(|day| day.confirmed).count();
    if confirmed < rule.min_days as usize {
        return false;
    }
    let is_alike = |other: &Sku| match &rule.price_group {
        Some(group) => policy.rule(other).price_group.as_ref() == Some(group),
        None => other == sku,
    };
    !rule.free_first_month || was_counted_before(usage, policy, facts, period, is_alike)
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
