//! Rule 5: products that are sold as one when they are on one machine.
//! Invariant: a product is part of at most one suite a machine-day.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::ProductId;

use crate::policy::{Policy, Suite};

/// Replaces products by the suites they make up. The value of each tells whether it is confirmed;
/// `can_bill` tells whether a suite has a SKU, or deliberately none.
pub fn take_suites(
    policy: &Policy,
    mut products: BTreeMap<ProductId, bool>,
    can_bill: impl Fn(&ProductId) -> bool,
) -> BTreeMap<ProductId, bool> {
    if policy.suite.is_empty() || products.len() < 2 {
        return products;
    }
    let mut suites: Vec<(&ProductId, &Suite)> = policy.suite.iter().collect();
    suites.sort_by_key(|(name, suite)| (Reverse(suite.products.len()), *name));
    let mut taken = Vec::new();
    for (name, suite) in suites {
        if let Some(confirmed) = all_confirmed(&products, &suite.products)
            && can_bill(name)
        {
            suite.products.iter().for_each(|product| {
                products.remove(product);
            });
            taken.push((name, confirmed));
        }
    }
    // Added only now: a suite is never part of another.
    for (name, confirmed) in taken {
        *products.entry(name.clone()).or_insert(false) |= confirmed;
    }
    products
}

/// Whether all of them are confirmed; `None` when one is not there.
fn all_confirmed(products: &BTreeMap<ProductId, bool>, wanted: &BTreeSet<ProductId>) -> Option<bool> {
    wanted.iter().map(|product| products.get(product).copied()).try_fold(true, |all, one| Some(all & one?))
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn suites() -> Scenario {
        Scenario::new().policy("presume_days = 1").policy(
            "[suite.ab]\nproducts = [\"a\", \"b\"]\n[suite.bc]\nproducts = [\"b\", \"c\"]\n\
             [suite.xabc]\nproducts = [\"a\", \"b\", \"c\"]",
        )
    }

    fn check(scenario: Scenario, lines: &[&str]) {
        assert_eq!(scenario.lines(), lines);
        assert_eq!(scenario.blockers(), [""; 0], "a suite that is not taken blocks nothing");
    }

    #[test]
    fn all_products_of_a_suite_on_one_machine_are_billed_as_the_suite() {
        let ab = || suites().sku("09-01 00:00", "acme", "ab", "AB");
        check(ab().report("m", "10-05 08:00", "a b"), &["acme AB 1=1+0 on 5"]);
        check(ab().report("m", "10-05 08:00", "a b-"), &["acme A 1=1+0 on 5"]);
        check(ab().report("m", "10-05 08:00", "a b c"), &["acme AB 1=1+0 on 5", "acme C 1=1+0 on 5"]);
    }

    #[test]
    fn a_suite_without_a_sku_is_not_taken_one_that_is_free_is() {
        check(suites().report("m", "10-05 08:00", "a b"), &["acme A 1=1+0 on 5", "acme B 1=1+0 on 5"]);
        check(suites().sku("09-01 00:00", "acme", "ab", "null").report("m", "10-05 08:00", "a b"), &[]);
        check(suites().policy("uncounted = [\"ab\"]").report("m", "10-05 08:00", "a b"), &[]);
        let other = suites().sku("09-01 00:00", "zeta", "ab", "AB").report("m", "10-05 08:00", "a b");
        check(other, &["acme A 1=1+0 on 5", "acme B 1=1+0 on 5"]);
        let late = suites().sku("10-07 00:00", "acme", "ab", "AB").report("m", "10-05 08:00", "a b");
        check(late, &["acme A 1=1+0 on 5", "acme B 1=1+0 on 5"]);
    }

    #[test]
    fn the_suite_with_most_products_is_taken_first_then_the_smaller_name() {
        let both = || suites().sku("09-01 00:00", "acme", "ab", "AB").sku("09-01 00:00", "acme", "bc", "BC");
        check(both().report("m", "10-05 08:00", "a b c"), &["acme AB 1=1+0 on 5", "acme C 1=1+0 on 5"]);
        let all = both().sku("09-01 00:00", "acme", "xabc", "ABC");
        check(all.report("m", "10-05 08:00", "a b c"), &["acme ABC 1=1+0 on 5"]);
    }

    #[test]
    fn a_suite_is_confirmed_when_all_its_products_are() {
        let ab = suites().sku("09-01 00:00", "acme", "ab", "AB");
        let scenario = ab.report("m", "10-04 08:00", "a b").report("m", "10-05 08:00", "a b?");
        assert_eq!(scenario.days("m", "acme", "AB"), "4 5p");
        assert_eq!(scenario.days("m", "acme", "A"), "6p");
    }

    #[test]
    fn a_mapped_family_is_in_no_suite_of_its_own_but_may_be_part_of_one() {
        let family = || Scenario::new().policy("[suite.fam]\nproducts = [\"family/x\", \"a\"]");
        let seen = || family().report("m", "10-31 08:00", "family/x a");
        assert_eq!(seen().blockers(), ["unmapped_product cus_acme family/x"]);
        assert_eq!(seen().sku("09-01 00:00", "acme", "fam", "F").lines(), ["acme F 1=1+0 on 31"]);
    }
}
