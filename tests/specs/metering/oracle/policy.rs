//! The policy: how a reseller counts, buys and sells.
//! A key that is absent stands for its default.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use toml::{Table, Value};

#[derive(Clone, Debug)]
pub(super) struct Sku {
    pub(super) count: String,
    pub(super) min_days: i64,
    pub(super) free_first_month: bool,
    pub(super) price_group: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct PriceGroup {
    pub(super) distributor: String,
    pub(super) currency: String,
    pub(super) mode: String,
    /// (from, unit cost as written).
    pub(super) tiers: Vec<(Decimal, String)>,
}

pub(super) struct Policy {
    pub(super) zone: String,
    pub(super) presume_days: i64,
    pub(super) moved: String,
    pub(super) uncounted: BTreeSet<String>,
    pub(super) skus: BTreeMap<String, Sku>,
    pub(super) default_sku: BTreeMap<String, String>,
    pub(super) suites: BTreeMap<String, Vec<String>>,
    pub(super) price_groups: BTreeMap<String, PriceGroup>,
    /// SKU, then customer or `reseller`, to the price as written.
    pub(super) prices: BTreeMap<String, BTreeMap<String, String>>,
}

impl Policy {
    pub(super) fn read(text: &str) -> Policy {
        Policy::from_table(text.parse().expect("a policy is TOML"))
    }

    /// The policy that a sealed body carries, the same tables as JSON.
    pub(super) fn sealed(body: &serde_json::Value) -> Option<Policy> {
        let policy = body.get("policy")?;
        Some(Policy::from_table(serde_json::from_value(policy.clone()).expect("a policy of tables")))
    }

    fn from_table(policy: Table) -> Policy {
        Policy {
            zone: text_or(&policy, "zone", "UTC"),
            presume_days: number_or(&policy, "presume_days", 7),
            moved: text_or(&policy, "moved", "main_owner"),
            uncounted: list(&policy, "uncounted").into_iter().collect(),
            skus: tables(&policy, "sku").map(|(name, sku)| (name, read_sku(sku))).collect(),
            default_sku: texts(policy.get("default_sku").and_then(Value::as_table)),
            suites: tables(&policy, "suite").map(|(name, suite)| (name, list(suite, "products"))).collect(),
            price_groups: tables(&policy, "price_group")
                .map(|(name, group)| (name, read_group(group)))
                .collect(),
            prices: tables(&policy, "price").map(|(name, prices)| (name, texts(Some(prices)))).collect(),
        }
    }

    pub(super) fn sku(&self, sku: &str) -> Sku {
        self.skus.get(sku).cloned().unwrap_or_else(|| read_sku(&Table::new()))
    }

    pub(super) fn group_of(&self, sku: &str) -> Option<String> {
        self.sku(sku).price_group
    }

    /// The customer's price for the SKU, else the reseller's.
    pub(super) fn price(&self, customer: &str, sku: &str) -> Option<&String> {
        let prices = self.prices.get(sku)?;
        prices.get(customer).or_else(|| prices.get("reseller"))
    }
}

fn read_sku(sku: &Table) -> Sku {
    Sku {
        count: text_or(sku, "count", "high_water"),
        min_days: number_or(sku, "min_days", 0),
        free_first_month: sku.get("free_first_month").and_then(Value::as_bool).unwrap_or(false),
        price_group: sku.get("price_group").and_then(Value::as_str).map(str::to_owned),
    }
}

fn read_group(group: &Table) -> PriceGroup {
    let tiers = group.get("tiers").and_then(Value::as_array).expect("a price group has tiers");
    let tier = |tier: &Value| {
        let from = tier.get("from").and_then(Value::as_integer).expect("a tier has a from");
        let cost = tier.get("cost").and_then(Value::as_str).expect("a tier has a cost");
        (Decimal::from(from), cost.to_owned())
    };
    PriceGroup {
        distributor: text_or(group, "distributor", ""),
        currency: text_or(group, "currency", ""),
        mode: text_or(group, "mode", "volume"),
        tiers: tiers.iter().map(tier).collect(),
    }
}

fn text_or(table: &Table, key: &str, default: &str) -> String {
    table.get(key).and_then(Value::as_str).unwrap_or(default).to_owned()
}

fn number_or(table: &Table, key: &str, default: i64) -> i64 {
    table.get(key).and_then(Value::as_integer).unwrap_or(default)
}

fn list(table: &Table, key: &str) -> Vec<String> {
    let items = table.get(key).and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item.as_str().expect("a list of names").to_owned()).collect()
}

fn tables<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = (String, &'a Table)> {
    let entries = table.get(key).and_then(Value::as_table).into_iter().flatten();
    entries.map(|(name, entry)| (name.clone(), entry.as_table().expect("a table")))
}

fn texts(table: Option<&Table>) -> BTreeMap<String, String> {
    let entries = table.into_iter().flatten();
    entries.map(|(name, text)| (name.clone(), text.as_str().expect("text").to_owned())).collect()
}
