//! Rules 1 to 7 on one machine-day: whose it is, what is used, as what it is billed.
//! Invariant: a product that is used is billed, free, suspended or named as what blocks; never dropped.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{CustomerId, ProductId};

use crate::calendar::UsageDay;
use crate::licence::is_suspended;
use crate::owner::owner_of_day;
use crate::policy::Policy;
use crate::presence::{Presence, presence};
use crate::record::Sku;
use crate::sku::{Billing, billing};
use crate::suites::take_suites;
use crate::usage::{MachineFacts, Usage};

/// What a machine-day amounts to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineDay {
    /// Whose it is.
    pub owner: Option<CustomerId>,
    /// The SKUs for which it is a counted day, and whether that is confirmed.
    pub seats: BTreeMap<Sku, bool>,
    /// SKUs in use, seen or presumed, whose licence is suspended.
    pub suspended: BTreeSet<Sku>,
    /// SKUs seen in use although their licence is suspended.
    pub running_suspended: BTreeSet<Sku>,
    /// Products in use of which nobody said what they are billed as.
    pub unmapped: BTreeSet<ProductId>,
    /// Products in use that are deliberately not billed.
    pub free: BTreeSet<ProductId>,
    /// Whether something is in use that would be billed, had the machine an owner.
    pub is_unassigned: bool,
    /// Whether only the length of its silence keeps a product from being presumed.
    pub went_silent: bool,
}

/// What this machine-day amounts to.
pub fn machine_day(usage: &Usage, policy: &Policy, facts: &MachineFacts, day: &UsageDay) -> MachineDay {
    let mut found = MachineDay::default();
    let mut products = BTreeMap::new();
    for product in facts.attendance.products() {
        match presence(facts, product, day, policy.presume_days) {
            Presence::Confirmed => _ = products.insert(product.clone(), true),
            Presence::Presumed => _ = products.insert(product.clone(), false),
            Presence::WentSilent => found.went_silent = true,
            Presence::Absent => {}
        }
    }
    if products.is_empty() {
        return found;
    }
    let Some(owner) = owner_of_day(facts, day) else {
        found.is_unassigned = would_count(policy, products.keys());
        return found;
    };
    MachineDay {
        owner: Some(owner.clone()),
        went_silent: found.went_silent,
        ..billed_day(usage, policy, owner, products, day)
    }
}

/// Whether any of these products would be billed, had their machine an owner. Rule 1: read as "not listed as
/// uncounted", since without an owner there is no assigned SKU to ask for.
pub fn would_count<'a>(policy: &Policy, mut products: impl Iterator<Item = &'a ProductId>) -> bool {
    products.any(|product| !policy.uncounted.contains(product))
}

/// As what an owner's products, confirmed or not, are billed on a day: seats, suspended and unmapped ones.
pub fn billed_day(
    usage: &Usage,
    policy: &Policy,
    owner: &CustomerId,
    products: BTreeMap<ProductId, bool>,
    day: &UsageDay,
) -> MachineDay {
    let mut found = MachineDay::default();
    let billed = |product: &ProductId| billing(usage, policy, owner, product, day.end);
    let mut used: BTreeMap<&Sku, bool> = BTreeMap::new();
    for (product, confirmed) in take_suites(policy, products, |suite| billed(suite) != Billing::Unmapped) {
        match billed(&product) {
            Billing::Sku(sku) => *used.entry(sku).or_insert(false) |= confirmed,
            Billing::Free => _ = found.free.insert(product),
            Billing::Unmapped => _ = found.unmapped.insert(product),
        }
    }
    for (sku, confirmed) in used {
        if !is_suspended(usage, owner, sku, day) {
            found.seats.insert(sku.clone(), confirmed);
            continue;
        }
        found.suspended.insert(sku.clone());
        if confirmed {
            found.running_suspended.insert(sku.clone());
        }
    }
    found
}
