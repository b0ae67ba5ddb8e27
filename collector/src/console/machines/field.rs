//! How many machines ought to be heard from, by customer and version of their agent, kept beside the listing.
//! Invariant: equal to a count of the listing's rows; a question adds up customers and looks at no machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use seatbeat_proto::ids::CustomerId;

/// Machines that are in use, by version.
type Versions = BTreeMap<Arc<str>, u64>;

/// See the module's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Field(BTreeMap<CustomerId, Versions>);

impl Field {
    /// One more.
    pub fn add(&mut self, customer: &CustomerId, version: &Arc<str>) {
        let versions = match self.0.get_mut(customer) {
            Some(versions) => versions,
            None => self.0.entry(customer.clone()).or_default(),
        };
        *versions.entry(Arc::clone(version)).or_default() += 1;
    }

    /// One less of those that were added.
    pub fn remove(&mut self, customer: &CustomerId, version: &Arc<str>) {
        let Some(versions) = self.0.get_mut(customer) else { return };
        if let Some(count) = versions.get_mut(version) {
            *count -= 1;
            if *count == 0 {
                versions.remove(version);
            }
        }
        if versions.is_empty() {
            self.0.remove(customer);
        }
    }

    /// How many there are of each version, of the customers that are taken.
    pub fn versions(&self, is_of: impl Fn(&CustomerId) -> bool) -> BTreeMap<String, u64> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (_, versions) in self.0.iter().filter(|(customer, _)| is_of(customer)) {
            for (version, count) in versions {
                match sums.get_mut(&**version) {
                    Some(sum) => *sum += count,
                    None => drop(sums.insert(version.to_string(), *count)),
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_leaves_no_trace() {
        let (a, b): (CustomerId, CustomerId) = ("cus_a".parse().unwrap(), "cus_b".parse().unwrap());
        let (old, new): (Arc<str>, Arc<str>) = ("0.1.0".into(), "0.2.0".into());
        let mut field = Field::default();
        for (customer, version) in [(&a, &old), (&a, &old), (&a, &new), (&b, &old)] {
            field.add(customer, version);
        }
        let all = field.versions(|_| true);
        assert_eq!(all, BTreeMap::from([("0.1.0".to_owned(), 3), ("0.2.0".to_owned(), 1)]));
        assert_eq!(field.versions(|customer| *customer == b), BTreeMap::from([("0.1.0".to_owned(), 1)]));
        for (customer, version) in [(&a, &old), (&a, &old), (&a, &new), (&b, &old), (&b, &new)] {
            field.remove(customer, version);
        }
        assert_eq!(field, Field::default());
    }
}
