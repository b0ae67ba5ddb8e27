//! The effect of a record by hand to wire messages and back. Invariant: that of `wire_rows`.

use seatbeat_proto::wire;

use super::rows::{Amended, Effect};
use super::wire_rows::{RowError, all, id, into_all};

impl From<Amended> for wire::Amended {
    fn from(row: Amended) -> Self {
        Self { position: row.position.unwrap_or(0), effects: into_all(row.effects) }
    }
}

impl TryFrom<wire::Amended> for Amended {
    type Error = RowError;

    fn try_from(wire: wire::Amended) -> Result<Self, RowError> {
        Ok(Self { position: (wire.position > 0).then_some(wire.position), effects: all(wire.effects)? })
    }
}

impl From<Effect> for wire::Effect {
    fn from(row: Effect) -> Self {
        Self {
            period: row.period.to_string(),
            for_period: row.for_period.map(|period| period.to_string()).unwrap_or_default(),
            customer: row.customer.to_string(),
            sku: row.sku.to_string(),
            before: row.before.to_string(),
            after: row.after.to_string(),
        }
    }
}

impl TryFrom<wire::Effect> for Effect {
    type Error = RowError;

    fn try_from(wire: wire::Effect) -> Result<Self, RowError> {
        let for_period = match wire.for_period.as_str() {
            "" => None,
            text => Some(id("for_period", text)?),
        };
        Ok(Self {
            period: id("period", &wire.period)?,
            for_period,
            customer: id("customer", &wire.customer)?,
            sku: id("sku", &wire.sku)?,
            before: id("before", &wire.before)?,
            after: id("after", &wire.after)?,
        })
    }
}
