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
