//! What destinations call customers and SKUs. Invariant: a row is bounded and printable; no count depends on it.

use std::collections::BTreeMap;

use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use crate::record::Sku;
use crate::registry::Refusal;

/// Most fields of a row, and the longest name and value of one in bytes: ids of the far side's.
pub const FIELDS_MAX: usize = 12;
/// See [`FIELDS_MAX`].
pub const FIELD_NAME_MAX: usize = 40;
/// See [`FIELDS_MAX`].
pub const FIELD_VALUE_MAX: usize = 200;

/// What the far side calls a customer's SKU, by the connector's columns.
pub type Fields = BTreeMap<String, String>;

/// The rows of one destination.
pub type Mapping = BTreeMap<(CustomerId, Sku), Fields>;

/// Of all destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mappings(BTreeMap<String, Mapping>);

impl Mappings {
    /// The rows of a destination; none where nothing was ever mapped.
    pub fn of(&self, destination: &str) -> Option<&Mapping> {
        self.0.get(destination)
    }

    /// Sets rows; one without fields is gone. All or none.
    pub(crate) fn set(
        &mut self,
        destination: &str,
        rows: Vec<(CustomerId, Sku, Fields)>,
    ) -> Result<(), Refusal> {
        let is_sound = rows.iter().all(|(_, _, fields)| {
            fields.len() <= FIELDS_MAX && fields.iter().all(|(name, value)| is_field(name, value))
        });
        if !is_sound {
            return Err(Refusal::Malformed);
        }
        let mapping = self.0.entry(destination.to_owned()).or_default();
        for (customer, sku, fields) in rows {
            if fields.is_empty() {
                mapping.remove(&(customer, sku));
            } else {
                mapping.insert((customer, sku), fields);
            }
        }
        if mapping.is_empty() {
            self.0.remove(destination);
        }
        Ok(())
    }
}

/// Whether a field may be kept.
pub fn is_field(name: &str, value: &str) -> bool {
    let is_printable = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    name.len() <= FIELD_NAME_MAX
        && value.len() <= FIELD_VALUE_MAX
        && is_printable(name)
        && is_printable(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(customer: &str, sku: &str, subscription: Option<&str>) -> (CustomerId, Sku, Fields) {
        let fields = subscription.map(|id| ("subscription".to_owned(), id.to_owned()));
        (customer.parse().unwrap(), sku.parse().unwrap(), fields.into_iter().collect())
    }

    #[test]
    fn rows_that_are_not_named_stay_and_one_without_fields_is_gone() {
        let mut mappings = Mappings::default();
        mappings.set("lmpi", vec![row("cus_a", "A", Some("1")), row("cus_a", "B", Some("2"))]).unwrap();
        mappings.set("lmpi", vec![row("cus_a", "A", None), row("cus_b", "A", Some("3"))]).unwrap();
        let rows = mappings.of("lmpi").unwrap();
        let ids: Vec<&str> = rows.values().map(|fields| fields["subscription"].as_str()).collect();
        assert_eq!(ids, ["2", "3"]);
        assert!(mappings.of("connect").is_none());
        let all_gone = vec![row("cus_a", "B", None), row("cus_b", "A", None)];
        mappings.set("lmpi", all_gone).unwrap();
        assert_eq!(mappings, Mappings::default());
    }

    #[test]
    fn a_row_that_is_no_row_sets_none() {
        let mut mappings = Mappings::default();
        for value in ["", "a\nb", &"x".repeat(FIELD_VALUE_MAX + 1)] {
            let rows = vec![row("cus_a", "A", Some("1")), row("cus_b", "A", Some(value))];
            assert_eq!(mappings.set("lmpi", rows), Err(Refusal::Malformed));
        }
        assert_eq!(mappings, Mappings::default());
    }
}
