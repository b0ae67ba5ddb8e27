//! Rule 1: whose a machine is, at an instant and on a day.
//! Invariant: a machine that was ever assigned has an owner at every instant.

use jiff::Timestamp;
use seatbeat_proto::ids::CustomerId;

use crate::calendar::UsageDay;
use crate::usage::MachineFacts;

/// The owner of a machine-day; `None` for a machine that was never assigned.
pub fn owner_of_day<'a>(facts: &'a MachineFacts, day: &UsageDay) -> Option<&'a CustomerId> {
    if facts.assigned.len() == 1 {
        return facts.assigned.first().map(|(_, customer)| customer);
    }
    match facts.attendance.reported(day.day) {
        Some(reports) => owner_until(facts, |at| at <= reports.last),
        None => owner_until(facts, |at| at < day.end),
    }
}

/// The latest assigned one among those that are early enough, else the first ever; ties: the greater id.
fn owner_until(facts: &MachineFacts, is_early_enough: impl Fn(Timestamp) -> bool) -> Option<&CustomerId> {
    let latest = facts.assigned.iter().take_while(|(at, _)| is_early_enough(*at)).last();
    let found = latest.or_else(|| {
        let (first, _) = facts.assigned.first()?;
        facts.assigned.iter().take_while(|(at, _)| at == first).last()
    });
    found.map(|(_, customer)| customer)
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn check(scenario: Scenario, acme: &str, zeta: &str) {
        let scenario = scenario.policy("moved = \"each_owner\"\npresume_days = 2");
        assert_eq!(
            (scenario.days("m", "acme", "A"), scenario.days("m", "zeta", "A")),
            (acme.into(), zeta.into())
        );
    }

    fn sold() -> Scenario {
        Scenario::bare().policy("[default_sku]\na = \"A\"")
    }

    #[test]
    fn a_machine_day_is_the_owner_s_at_its_last_accepted_report() {
        let moved = |at| {
            sold().assigned("09-01 00:00", "m", "acme").assigned(at, "m", "zeta").report(
                "m",
                "10-05 08:00",
                "a",
            )
        };
        check(moved("10-05 08:00"), "", "5 6p 7p");
        check(moved("10-05 08:00:00.000000001"), "5", "6p 7p");
        check(moved("10-05 07:59"), "", "5 6p 7p");
        check(moved("10-05 08:00").report("m", "10-05 07:00", "a"), "", "5 6p 7p");
    }

    #[test]
    fn a_report_that_was_rejected_does_not_decide_the_owner() {
        let scenario = sold()
            .assigned("09-01 00:00", "m", "acme")
            .assigned("10-05 09:00", "m", "zeta")
            .report("m", "10-05 08:00", "a")
            .report_at(("m", "s", 9), "10-05 10:00", "10-05 09:00", "a");
        check(scenario, "5", "6p 7p");
    }

    #[test]
    fn a_day_without_a_report_is_the_owner_s_just_before_the_next_day() {
        let moved = |at| {
            sold().assigned("09-01 00:00", "m", "acme").assigned(at, "m", "zeta").report(
                "m",
                "10-05 08:00",
                "a",
            )
        };
        check(moved("10-06 23:59:59.999999999"), "5", "6p 7p");
        check(moved("10-07 00:00"), "5 6p", "7p");
        check(moved("10-06 00:00"), "5", "6p 7p");
    }

    #[test]
    fn before_its_first_assignment_a_machine_is_its_first_customer_s() {
        let scenario = || {
            sold()
                .assigned("10-20 00:00", "m", "zeta")
                .report("m", "10-05 08:00", "a")
                .policy("presume_days = 0")
        };
        assert_eq!(scenario().days("m", "zeta", "A"), "5");
        assert_eq!(scenario().assigned("10-20 00:00", "m", "acme").days("m", "zeta", "A"), "5");
        assert_eq!(scenario().assigned("10-20 00:01", "m", "zulu").days("m", "zeta", "A"), "5");
    }

    #[test]
    fn of_assignments_at_one_instant_the_greater_customer_holds() {
        let scenario = sold()
            .assigned("09-01 00:00", "m", "acme")
            .assigned("09-01 00:00", "m", "zeta")
            .report("m", "10-05 08:00", "a");
        check(scenario, "", "5 6p 7p");
    }

    #[test]
    fn joined_machines_share_their_assignments() {
        let scenario = sold()
            .assigned("09-01 00:00", "m", "acme")
            .assigned("10-01 00:00", "n", "zeta")
            .machines("merged", "10-30 00:00", "n", "m")
            .report("m", "10-05 08:00", "a");
        check(scenario, "", "5 6p 7p");
    }

    #[test]
    fn a_machine_never_assigned_blocks_where_it_would_have_counted() {
        let lone = || Scenario::bare().policy("uncounted = [\"dsm\"]").report("m", "10-05 08:00", "a- dsm");
        assert_eq!(lone().blockers(), [""; 0]);
        assert_eq!(lone().report("m", "10-05 09:00", "a").blockers(), ["unassigned mch_m"]);
        assert_eq!(lone().report("m", "10-05 09:00", "family/x").blockers(), ["unassigned mch_m"]);
        assert_eq!(lone().report("m", "09-29 09:00", "a").blockers(), ["unassigned mch_m"]);
        assert_eq!(lone().report("m", "09-29 09:00", "a").report("m", "09-30 09:00", "").blockers(), [""; 0]);
        assert_eq!(lone().report("m", "09-29 09:00", "a").lines(), [""; 0]);
    }
}
