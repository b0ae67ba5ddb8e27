//! What a close puts out: the statement that goes to distributors, and the earnings that stay.
//! Invariant: field order is the output's order; every list is sorted by its fields and has no repeats.

use std::collections::BTreeMap;

use jiff::civil::Date;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};
use serde::{Deserialize, Serialize};

use crate::calendar::{Period, Zone};
use crate::money::{Decimal, Quantity, UnitPrice};
use crate::policy::Count;
use crate::record::Sku;
use crate::usage::Rejected;

/// Who gets the lines without a price group.
pub const DEFAULT_DISTRIBUTOR: &str = "default";

/// What a close puts out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterOutput {
    /// What goes out.
    pub statement: Statement,
    /// What never leaves the reseller.
    pub earnings: Vec<EarningsRow>,
}

impl MeterOutput {
    /// The output as JSON, for people and machines to read; always the same bytes for the same output.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("an output has text keys and plain values")
    }
}

/// The statement of a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The month.
    pub period: Period,
    /// The zone whose days are counted.
    pub zone: Zone,
    /// What is billed, by customer and SKU.
    pub lines: Vec<Line>,
    /// What earlier statements would have said, had all been known (rule 13).
    pub corrections: Vec<Correction>,
    /// The quantity of each SKU over all customers.
    pub totals: Vec<Total>,
    /// What needs a look.
    pub flags: Vec<Flag>,
    /// What stands in the way of sealing.
    pub blockers: Vec<Blocker>,
    /// Reports that were not accepted.
    pub rejected: Vec<Rejected>,
}

/// What is billed for a (customer, SKU).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// How they were counted.
    pub count: Count,
    /// The day of the high water, where something was measured by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Date>,
    /// Seats that were seen.
    pub confirmed: Quantity,
    /// Seats of silent machines.
    pub presumed: Quantity,
    /// Both.
    pub measured: Quantity,
    /// Units that no agent can see.
    pub declared: Quantity,
    /// Corrections by hand.
    pub adjusted: Quantity,
    /// What is billed: all of it, never below 0.
    pub quantity: Quantity,
    /// What it costs, where the SKU has a price group.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub price: Option<LinePrice>,
}

/// What a line costs the reseller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinePrice {
    /// Who bills it.
    pub distributor: String,
    /// The price of every unit; absent where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_cost: Option<UnitPrice>,
    /// The line's cost, rounded.
    pub cost: Decimal,
    /// ISO 4217 code.
    pub currency: String,
}

/// A difference to a sealed statement, carried by a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The period that is corrected.
    pub for_period: Period,
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// How many more, or fewer.
    pub delta: Quantity,
    /// What that costs, where the SKU has a price group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// Whose statement carries it; not part of the output, which names no distributor here.
    #[serde(skip)]
    pub distributor: Option<String>,
}

/// The quantity of a SKU over all customers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Of what.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// Something that needs a look. Which fields it has depends on its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flag {
    /// Its name: a computed one, or one raised by a record.
    pub flag: String,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Of what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineId>,
    /// Which product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductId>,
}

impl Flag {
    /// A flag of a machine.
    pub fn of_machine(flag: &str, machine: &MachineId) -> Self {
        Self {
            flag: flag.to_owned(),
            customer: None,
            sku: None,
            machine: Some(machine.clone()),
            product: None,
        }
    }

    /// A product was active after an order to switch it off was carried out.
    pub fn active_after_switch_off(machine: &MachineId, product: &ProductId) -> Self {
        Self { product: Some(product.clone()), ..Self::of_machine("active_after_switch_off", machine) }
    }

    /// A SKU was in use although its licence was suspended.
    pub fn running_on_suspended_licence(customer: &CustomerId, sku: &Sku, machine: &MachineId) -> Self {
        let flag = Self::of_machine("running_on_suspended_licence", machine);
        Self { customer: Some(customer.clone()), sku: Some(sku.clone()), ..flag }
    }

    /// Units were declared for the period before, and nothing for this one.
    pub fn declared_missing(customer: &CustomerId, sku: &Sku) -> Self {
        Self {
            flag: "declared_missing".to_owned(),
            customer: Some(customer.clone()),
            sku: Some(sku.clone()),
            machine: None,
            product: None,
        }
    }
}

/// Something that stands in the way of sealing. Which fields it has depends on its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blocker {
    /// Its name.
    pub blocker: String,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Of what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineId>,
    /// Which product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductId>,
}

impl Blocker {
    fn named(blocker: &str) -> Self {
        Self { blocker: blocker.to_owned(), customer: None, sku: None, machine: None, product: None }
    }

    /// A blocker of a machine.
    pub fn of_machine(blocker: &str, machine: &MachineId) -> Self {
        Self { machine: Some(machine.clone()), ..Self::named(blocker) }
    }

    /// A customer's product in use of which nobody said what it is billed as.
    pub fn unmapped_product(customer: &CustomerId, product: &ProductId) -> Self {
        Self {
            customer: Some(customer.clone()),
            product: Some(product.clone()),
            ..Self::named("unmapped_product")
        }
    }

    /// Adjustments take more than there is.
    pub fn negative_quantity(customer: &CustomerId, sku: &Sku) -> Self {
        Self { customer: Some(customer.clone()), sku: Some(sku.clone()), ..Self::named("negative_quantity") }
    }
}

/// What the reseller earns on a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarningsRow {
    /// Who pays.
    pub customer: CustomerId,
    /// For what.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// The price of each.
    pub unit_price: UnitPrice,
    /// What the customer pays.
    pub revenue: Decimal,
    /// What the reseller pays, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// What is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profit: Option<Decimal>,
    /// Profit by cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub markup: Option<Decimal>,
    /// Profit by revenue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Decimal>,
    /// ISO 4217 code, where the cost is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// The totals of these lines, by SKU.
pub fn totals(lines: &[Line]) -> Result<Vec<Total>, crate::money::TooLarge> {
    let mut sums: BTreeMap<&Sku, Quantity> = BTreeMap::new();
    for line in lines {
        let sum = sums.entry(&line.sku).or_default();
        *sum = sum.plus(line.quantity)?;
    }
    Ok(sums.into_iter().map(|(sku, quantity)| Total { sku: sku.clone(), quantity }).collect())
}
