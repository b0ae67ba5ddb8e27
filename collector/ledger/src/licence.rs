//! Rule 4: days on which a customer's licence was suspended.
//! Invariant: the day of a suspension and the day of a resumption count.

use seatbeat_proto::ids::CustomerId;

use crate::calendar::UsageDay;
use crate::record::Sku;
use crate::usage::{LicenceStep, Usage};

/// Whether the licence was suspended for that whole day.
pub fn is_suspended(usage: &Usage, customer: &CustomerId, sku: &Sku, day: &UsageDay) -> bool {
    let Some(steps) = usage.licence(customer, sku) else { return false };
    // Whatever undoes the latest suspension before the day undoes the earlier ones.
    let before = steps.range(..(day.first, LicenceStep::Suspended));
    let Some((suspended_at, _)) = before.rev().find(|(_, step)| *step == LicenceStep::Suspended) else {
        return false;
    };
    let mut since = steps.range((*suspended_at, LicenceStep::Suspended)..(day.end, LicenceStep::Suspended));
    !since.any(|(_, step)| *step == LicenceStep::Resumed)
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn check(steps: &[(&str, &str)], days: &str, is_flagged: bool) {
        let mut scenario = Scenario::new().reports("m", 1..=6, "a").policy("presume_days = 0");
        for (kind, at) in steps {
            scenario = scenario.licence(kind, at, "acme", "A");
        }
        assert_eq!(scenario.days("m", "acme", "A"), days, "{steps:?}");
        let flag = scenario.flags().contains(&"running_on_suspended_licence cus_acme A mch_m".to_owned());
        assert_eq!(flag, is_flagged, "{steps:?}");
    }

    #[test]
    fn the_days_after_a_suspension_are_not_counted_the_day_itself_is() {
        check(&[("suspended", "10-03 12:00")], "1 2 3", true);
        check(&[("suspended", "10-03 23:59:59.999999999")], "1 2 3", true);
    }

    #[test]
    fn a_day_must_begin_after_the_suspension() {
        check(&[("suspended", "10-04 00:00")], "1 2 3 4", true);
        check(&[("suspended", "10-06 00:00")], "1 2 3 4 5 6", false);
    }

    #[test]
    fn the_day_of_the_resumption_counts_again() {
        check(&[("suspended", "10-02 12:00"), ("resumed", "10-04 12:00")], "1 2 4 5 6", true);
        check(&[("suspended", "10-02 12:00"), ("resumed", "10-04 00:00")], "1 2 4 5 6", true);
        check(&[("suspended", "10-02 12:00"), ("resumed", "10-03 23:59:59.999999999")], "1 2 3 4 5 6", false);
    }

    #[test]
    fn at_one_instant_resumed_wins() {
        check(&[("suspended", "10-02 12:00"), ("resumed", "10-02 12:00")], "1 2 3 4 5 6", false);
        check(&[("suspended", "10-02 12:00"), ("resumed", "10-02 11:59")], "1 2", true);
    }

    #[test]
    fn a_day_resumed_and_suspended_again_counts_and_the_next_does_not() {
        check(
            &[("suspended", "10-01 12:00"), ("resumed", "10-04 08:00"), ("suspended", "10-04 09:00")],
            "1 4",
            true,
        );
        check(
            &[("suspended", "10-01 12:00"), ("suspended", "10-02 12:00"), ("resumed", "10-04 08:00")],
            "1 4 5 6",
            true,
        );
    }

    #[test]
    fn a_suspension_is_of_one_customer_and_sku_and_a_presumed_day_raises_no_flag() {
        let scenario = || Scenario::new().report("m", "10-01 08:00", "a b");
        let other = scenario().licence("suspended", "10-01 12:00", "zeta", "A");
        assert_eq!(other.days("m", "acme", "A"), "1 2p 3p 4p 5p 6p 7p 8p");
        let own = scenario().licence("suspended", "10-01 12:00", "acme", "A");
        assert_eq!((own.days("m", "acme", "A"), own.days("m", "acme", "B").len()), ("1".to_owned(), 22));
        assert_eq!(own.flags(), ["went_silent mch_m"]);
    }
}
