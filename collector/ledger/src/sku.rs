//! Rule 6: as what a customer's product or suite is billed.
//! Invariant: a family that could not be told apart is never billed, mapped or not.

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, ProductId};

use crate::policy::Policy;
use crate::record::Sku;
use crate::usage::Usage;

/// As what a product or suite is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing<'a> {
    /// As this SKU.
    Sku(&'a Sku),
    /// Deliberately not.
    Free,
    /// Nobody said.
    Unmapped,
}

/// As what the owner's product or suite is billed on the day that ends before `day_end`.
pub fn billing<'a>(
    usage: &'a Usage,
    policy: &'a Policy,
    owner: &CustomerId,
    product: &ProductId,
    day_end: Timestamp,
) -> Billing<'a> {
    if product.is_family() {
        return Billing::Unmapped;
    }
    match usage.sku_assigned_before(owner, product, day_end) {
        Some(Some(sku)) => Billing::Sku(sku),
        Some(None) => Billing::Free,
        None => match policy.default_sku.get(product) {
            Some(sku) => Billing::Sku(sku),
            None if policy.uncounted.contains(product) => Billing::Free,
            None => Billing::Unmapped,
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn seen() -> Scenario {
        Scenario::new().policy("presume_days = 0\nuncounted = [\"a\", \"u\"]").report("m", "10-05 08:00", "a")
    }

    fn check(scenario: Scenario, lines: &[&str]) {
        assert_eq!(scenario.lines(), lines);
        assert_eq!(scenario.blockers(), [""; 0]);
    }

    #[test]
    fn the_customer_s_assignment_comes_before_the_default_and_that_before_uncounted() {
        check(seen().sku("09-01 00:00", "acme", "a", "X"), &["acme X 1=1+0 on 5"]);
        check(seen().sku("09-01 00:00", "zeta", "a", "X"), &["acme A 1=1+0 on 5"]);
        check(seen().sku("09-01 00:00", "acme", "a", "null"), &[]);
        check(seen().report("m", "10-05 09:00", "u"), &["acme A 1=1+0 on 5"]);
    }

    #[test]
    fn the_latest_assignment_by_the_day_s_last_instant_holds() {
        check(seen().sku("10-05 23:59:59.999999999", "acme", "a", "X"), &["acme X 1=1+0 on 5"]);
        check(seen().sku("10-06 00:00", "acme", "a", "X"), &["acme A 1=1+0 on 5"]);
        let twice = seen().sku("10-01 00:00", "acme", "a", "Z").sku("10-02 00:00", "acme", "a", "X");
        check(twice, &["acme X 1=1+0 on 5"]);
    }

    #[test]
    fn of_assignments_at_one_instant_the_greater_sku_holds_and_null_is_the_lowest() {
        let tied = || seen().sku("10-01 00:00", "acme", "a", "X").sku("10-01 00:00", "acme", "a", "null");
        check(tied(), &["acme X 1=1+0 on 5"]);
        check(tied().sku("10-01 00:00", "acme", "a", "Y"), &["acme Y 1=1+0 on 5"]);
    }

    #[test]
    fn a_product_that_nobody_mapped_blocks_and_is_not_counted() {
        let scenario = seen().report("m", "10-06 08:00", "spnt");
        assert_eq!(scenario.blockers(), ["unmapped_product cus_acme spnt"]);
        assert_eq!(scenario.lines(), ["acme A 1=1+0 on 5"]);
        assert_eq!(seen().report("m", "09-06 08:00", "spnt").blockers(), [""; 0]);
        assert_eq!(seen().report("m", "10-06 08:00", "spnt-").blockers(), [""; 0]);
        let presumed = Scenario::new().report("m", "09-28 08:00", "spnt");
        assert_eq!(presumed.blockers(), ["unmapped_product cus_acme spnt"]);
    }

    #[test]
    fn a_family_blocks_even_when_it_is_mapped_or_uncounted() {
        let family = || Scenario::new().report("m", "10-06 08:00", "family/x");
        let blocked = ["unmapped_product cus_acme family/x"];
        assert_eq!(family().blockers(), blocked);
        assert_eq!(family().sku("09-01 00:00", "acme", "family/x", "X").blockers(), blocked);
        assert_eq!(family().sku("09-01 00:00", "acme", "family/x", "null").blockers(), blocked);
        assert_eq!(family().policy("uncounted = [\"family/x\"]").blockers(), blocked);
        assert_eq!(family().sku("09-01 00:00", "acme", "family/x", "X").lines(), [""; 0]);
    }
}
