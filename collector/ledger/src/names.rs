//! Names that many machines have in common, kept once: ids of customers, products and tokens, and whole lists of
//! products. Invariant: what is given back equals what was asked for; only where it lies in memory differs.

use std::collections::BTreeSet;
use std::sync::Arc;

use seatbeat_proto::ids::{CustomerId, ProductId, TokenId};

use crate::registry::Product;

/// Lists of products that are known at once; a reseller's machines show some hundred different ones. Beyond, all are
/// forgotten and those still in use come again.
const LISTS_MAX: usize = 4096;

/// Customers, products and tokens known at once; as [`LISTS_MAX`].
const IDS_MAX: usize = 65_536;

/// Names that are kept once.
#[derive(Debug, Default)]
pub struct SharedNames {
    customers: BTreeSet<CustomerId>,
    products: BTreeSet<ProductId>,
    tokens: BTreeSet<TokenId>,
    texts: BTreeSet<Arc<str>>,
    lists: BTreeSet<Arc<[Product]>>,
}

/// A copy of a state begins to collect anew: copies are made to be read.
impl Clone for SharedNames {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What is derived has no part in whether two states are equal.
impl PartialEq for SharedNames {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SharedNames {}

fn shared<T: Ord + Clone>(known: &mut BTreeSet<T>, one: &T, max: usize) -> T {
    if let Some(same) = known.get(one) {
        return same.clone();
    }
    if known.len() >= max {
        known.clear();
    }
    known.insert(one.clone());
    one.clone()
}

impl SharedNames {
    /// The customer, kept once.
    pub fn customer(&mut self, id: &mut CustomerId) {
        *id = shared(&mut self.customers, id, IDS_MAX);
    }

    /// The product, kept once.
    pub fn product(&mut self, id: &mut ProductId) {
        *id = shared(&mut self.products, id, IDS_MAX);
    }

    /// The token, kept once.
    pub fn token(&mut self, id: &mut TokenId) {
        *id = shared(&mut self.tokens, id, IDS_MAX);
    }

    /// A short text, kept once.
    pub fn text(&mut self, text: &mut Arc<str>) {
        *text = shared(&mut self.texts, text, IDS_MAX);
    }

    /// A list of products, kept once.
    pub fn list(&mut self, list: &mut Arc<[Product]>) {
        *list = shared(&mut self.lists, list, LISTS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_lie_in_one_place() {
        let mut names = SharedNames::default();
        let mut customers = ["cus_a", "cus_a"].map(|text| text.parse::<CustomerId>().unwrap());
        customers.iter_mut().for_each(|id| names.customer(id));
        let mut products = ["dsa", "dsa"].map(|text| text.parse::<ProductId>().unwrap());
        products.iter_mut().for_each(|id| names.product(id));
        let mut tokens = ["tok_a", "tok_a"].map(|text| text.parse::<TokenId>().unwrap());
        tokens.iter_mut().for_each(|id| names.token(id));
        let mut texts = ["1.0", "1.0"].map(Arc::<str>::from);
        texts.iter_mut().for_each(|text| names.text(text));
        let mut lists = [(); 2].map(|()| Arc::<[Product]>::from([]));
        lists.iter_mut().for_each(|list| names.list(list));
        assert_eq!(customers[0].as_str().as_ptr(), customers[1].as_str().as_ptr());
        assert_eq!(products[0].as_str().as_ptr(), products[1].as_str().as_ptr());
        assert_eq!(tokens[0].as_str().as_ptr(), tokens[1].as_str().as_ptr());
        assert!(Arc::ptr_eq(&texts[0], &texts[1]) && Arc::ptr_eq(&lists[0], &lists[1]));
    }

    #[test]
    fn names_that_are_too_many_are_forgotten_and_come_again() {
        let mut known = BTreeSet::new();
        let kept: Vec<usize> = [1, 2, 2, 3, 1]
            .map(|name| {
                assert_eq!(shared(&mut known, &name, 2), name);
                known.len()
            })
            .into();
        assert_eq!(kept, [1, 2, 2, 1, 2]);
    }
}
