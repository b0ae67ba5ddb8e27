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
