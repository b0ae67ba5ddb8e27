//! What the terms name: SKUs and products that an operator may write down. Invariant: what none of the months around
//! the running one names is a typing error, and would be a line without a price.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::policy::PolicyError;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::terms::Terms;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::ids::ProductId;

use super::fault::Fault;

/// Which terms, and around which month: taken from the fold, so that reading policies holds it up for nobody.
pub(super) struct Around {
    terms: Arc<Terms>,
    running: Period,
}

/// See the module's text.
pub(super) struct Named {
    skus: BTreeSet<Sku>,
    products: BTreeSet<ProductId>,
}

impl Around {
    /// The terms in force at an instant.
    pub fn of(fold: &Fold, now: Timestamp) -> Self {
        Self { terms: Arc::clone(fold.terms()), running: Period::of_day(fold.usage().zone().usage_day(now)) }
    }

    /// All that they name. Reads each month's policy once.
    ///
    /// # Errors
    /// When a policy is none that this version reads.
    pub fn named(&self) -> Result<Named, PolicyError> {
        let known = Catalogue::embedded().products.iter().map(|product| product.id.clone());
        let mut named = Named { skus: BTreeSet::new(), products: known.collect() };
        for period in [self.running.previous(), self.running, self.running.next()] {
            let policy = self.terms.policy(period)?;
            named.products.extend(policy.default_sku.keys().cloned());
            named.skus.extend(policy.default_sku.into_values());
            named.skus.extend(policy.sku.into_keys().chain(policy.price.into_keys()));
        }
        Ok(named)
    }
}

impl Named {
    /// Whether the catalogue knows a product, or a policy has a SKU for it.
    pub fn has_product(&self, product: &ProductId) -> bool {
        self.products.contains(product)
    }

    /// The SKU of this text.
    ///
    /// # Errors
    /// When it is none, or no policy names it.
    pub fn sku(&self, text: &str) -> Result<Sku, Fault> {
        let sku: Sku =
            text.parse().map_err(|error| Fault::value("`sku`", format!("is not valid: {error}")))?;
        if self.skus.contains(&sku) {
            Ok(sku)
        } else {
            Err(Fault::value("`sku`", format!("`{sku}` is not named in the policy")))
        }
    }
}
