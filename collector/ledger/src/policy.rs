//! The reseller's policy: zone, rules per SKU, suites, what is bought from whom and sold at what.
//! Invariant: a policy that was parsed has no unknown key, no reference that leads nowhere and no absurd number.
//! Sell prices never leave the reseller: `public_toml_or_json` is the policy without them.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{CustomerId, ProductId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calendar::Zone;
use crate::currency::minor_digits;
use crate::money::UnitPrice;
use crate::record::{QUANTITY_MAX, Sku, check_name};
use crate::strict::{Object, named_objects, objects, word};

/// Longest a silent machine may be presumed to use its licence: ten years, beyond which it is a typing error.
const PRESUME_DAYS_MAX: u32 = 3653;

/// A policy that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not the text of a policy: an unknown key, a value of the wrong kind, an unknown zone …
    #[error("policy does not parse: {0}")]
    Parse(String),
    /// A SKU names a price group that is not there.
    #[error("policy names price group `{group}` for SKU `{sku}` but does not define it")]
    UndefinedPriceGroup {
        /// Who names it.
        sku: Sku,
        /// The missing group.
        group: String,
    },
    /// A suite that is none.
    #[error("policy suite `{suite}` {what}")]
    Suite {
        /// Which suite.
        suite: ProductId,
        /// What is wrong with it.
        what: String,
    },
    /// A price group that nothing can be priced by.
    #[error("policy price group `{group}` {what}")]
    PriceGroup {
        /// Which group.
        group: String,
        /// What is wrong with it.
        what: String,
    },
    /// A price to somebody who is no customer.
    #[error("policy price of SKU `{sku}` is for `{buyer}`, which is neither `reseller` nor a customer id")]
    Buyer {
        /// The SKU.
        sku: Sku,
        /// The key.
        buyer: String,
    },
}

/// To whom the seats of a machine that changed hands within the period go (rule 8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moved {
    /// All to who owned most of its days.
    #[default]
    MainOwner,
    /// All to who owned the last of its days.
    LastOwner,
    /// To each its own.
    EachOwner,
}

/// How the quantity of a SKU comes from its days (rule 10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// The most seats on one day.
    #[default]
    HighWater,
    /// The machines with a counted day.
    Distinct,
    /// The seats on the last day.
    MonthEnd,
    /// Seat-days by the days of the month.
    Average,
}

/// How a price group's tiers apply (rule 14).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceMode {
    /// Every unit at the tier of the total.
    #[default]
    Volume,
    /// Each unit at its own tier.
    Graduated,
}

/// What the policy says of one SKU; the default is what holds for a SKU it does not name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SkuRule {
    /// How it is counted.
    #[serde(deserialize_with = "word")]
    pub count: Count,
    /// Confirmed days below which a machine is not counted.
    pub min_days: u32,
    /// Whether a machine's first month is free.
    pub free_first_month: bool,
    /// By what it is bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_group: Option<String>,
}

/// Several products that are sold as one when they are on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Two or more, none of them a suite.
    pub products: BTreeSet<ProductId>,
}

/// What a group of SKUs costs, by their total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceGroup {
    /// Whose it is.
    pub distributor: String,
    /// ISO 4217 code.
    pub currency: String,
    /// How the tiers apply.
    #[serde(default, deserialize_with = "word")]
    pub mode: PriceMode,
    /// In rising order, at least one.
    #[serde(deserialize_with = "objects")]
    pub tiers: Vec<Tier>,
}

impl PriceGroup {
    /// Digits of an amount after the point.
    pub fn digits(&self) -> u32 {
        minor_digits(&self.currency).expect("the currency was looked up when the policy was parsed")
    }
}

/// A price from a quantity on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The first unit at this price.
    pub from: u64,
    /// Per unit.
    pub cost: UnitPrice,
}

/// The reseller's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The billing zone.
    pub zone: Zone,
    /// Days a silent machine is presumed to use its licence.
    pub presume_days: u32,
    /// What becomes of a machine that changed hands.
    #[serde(deserialize_with = "word")]
    pub moved: Moved,
    /// Products that are not billed and need no SKU.
    pub uncounted: BTreeSet<ProductId>,
    /// Rules per SKU.
    #[serde(deserialize_with = "named_objects")]
    pub sku: BTreeMap<Sku, SkuRule>,
    /// The SKU of a product or suite where the customer has none assigned.
    pub default_sku: BTreeMap<ProductId, Sku>,
    /// Suites by name.
    #[serde(deserialize_with = "named_objects")]
    pub suite: BTreeMap<ProductId, Suite>,
    /// Price groups by name.
    #[serde(deserialize_with = "named_objects")]
    pub price_group: BTreeMap<String, PriceGroup>,
    /// What is asked of customers, by SKU and buyer (`reseller`: everybody else).
    pub price: BTreeMap<Sku, BTreeMap<String, UnitPrice>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            zone: Zone::utc(),
            presume_days: 7,
            moved: Moved::default(),
            uncounted: BTreeSet::new(),
            sku: BTreeMap::new(),
            default_sku: BTreeMap::new(),
            suite: BTreeMap::new(),
            price_group: BTreeMap::new(),
            price: BTreeMap::new(),
        }
    }
}

const DEFAULT_RULE: SkuRule =
    SkuRule { count: Count::HighWater, min_days: 0, free_first_month: false, price_group: None };

/// The key of a price that holds for every customer without one of its own.
pub const EVERYBODY: &str = "reseller";

impl Policy {
    /// The policy of a TOML text.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = toml::from_str(text).map_err(|error| PolicyError::Parse(error.to_string()))?;
        policy.checked()
    }

    /// The policy that a sealed body carries.
    pub fn from_public(value: &Value) -> Result<Self, PolicyError> {
        let Object(policy): Object<Self> =
            serde_json::from_value(value.clone()).map_err(|error| PolicyError::Parse(error.to_string()))?;
        policy.checked()
    }

    /// The policy without sell prices, to go into a sealed body. Every default is spelled out, so that a later
    /// version with other defaults recomputes the same.
    pub fn public_toml_or_json(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("a policy has text keys and plain values");
        if let Some(fields) = value.as_object_mut() {
            fields.remove("price");
        }
        value
    }

    /// The whole policy as TOML, every default spelled out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a policy has text keys and plain values")
    }

    /// What holds for a SKU.
    pub fn rule(&self, sku: &Sku) -> &SkuRule {
        self.sku.get(sku).unwrap_or(&DEFAULT_RULE)
    }

    /// The price group of a SKU, with its name.
    pub fn group(&self, sku: &Sku) -> Option<(&str, &PriceGroup)> {
        let (name, group) = self.price_group.get_key_value(self.rule(sku).price_group.as_ref()?)?;
        Some((name, group))
    }

    /// Who bills a SKU, if the policy says so.
    pub fn distributor(&self, sku: &Sku) -> Option<&str> {
        self.group(sku).map(|(_, group)| group.distributor.as_str())
    }

    /// What a customer is asked for a SKU.
    pub fn sell_price(&self, customer: &CustomerId, sku: &Sku) -> Option<&UnitPrice> {
        let prices = self.price.get(sku)?;
        prices.get(customer.as_str()).or_else(|| prices.get(EVERYBODY))
    }

    fn checked(self) -> Result<Self, PolicyError> {
        if self.presume_days > PRESUME_DAYS_MAX {
            return Err(PolicyError::Parse(format!("`presume_days` is beyond {PRESUME_DAYS_MAX}")));
        }
        for (sku, rule) in &self.sku {
            if let Some(group) =
                rule.price_group.as_ref().filter(|group| !self.price_group.contains_key(*group))
            {
                return Err(PolicyError::UndefinedPriceGroup { sku: sku.clone(), group: group.clone() });
            }
        }
        for (name, suite) in &self.suite {
            let refused = |what: String| Err(PolicyError::Suite { suite: name.clone(), what });
            if suite.products.len() < 2 {
                return refused("has fewer than two products".to_owned());
            }
            if let Some(inner) = suite.products.iter().find(|product| self.suite.contains_key(*product)) {
                return refused(format!("contains `{inner}`, which is a suite"));
            }
        }
        for (name, group) in &self.price_group {
            check_group(name, group).map_err(|what| PolicyError::PriceGroup { group: name.clone(), what })?;
        }
        for (sku, prices) in &self.price {
            let wrong =
                prices.keys().find(|buyer| *buyer != EVERYBODY && buyer.parse::<CustomerId>().is_err());
            if let Some(buyer) = wrong {
                return Err(PolicyError::Buyer { sku: sku.clone(), buyer: buyer.clone() });
            }
        }
        Ok(self)
    }
}

pub(crate) fn check_group(name: &str, group: &PriceGroup) -> Result<(), String> {
    check_name(name, "a price group").map_err(|error| format!("is not one: {error}"))?;
    check_name(&group.distributor, "a distributor")
        .map_err(|error| format!("has no distributor: {error}"))?;
    if minor_digits(&group.currency).is_none() {
        return Err(format!("has currency `{}`, which ISO 4217 does not know", group.currency));
    }
    if group.tiers.is_empty() {
        return Err("has no tier".to_owned());
    }
    if let Some(tier) = group.tiers.iter().find(|tier| tier.from > QUANTITY_MAX) {
        return Err(format!("has a tier from {}, beyond {QUANTITY_MAX}", tier.from));
    }
    if group.tiers.windows(2).any(|pair| pair[0].from >= pair[1].from) {
        return Err("has tiers that do not rise".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"
zone = "Europe/Berlin"
presume_days = 7
moved = "main_owner"
uncounted = ["dsm"]
[sku.WF-SVC]
count = "high_water"
min_days = 0
free_first_month = false
price_group = "worry-free"
[default_sku]
wfbs-svc = "WF-SVC"
[suite.v1-server]
products = ["v1es", "dsa-cloud"]
[price_group.worry-free]
distributor = "ingram"
currency = "USD"
mode = "volume"
tiers = [{ from = 1, cost = "2.10" }, { from = 25, cost = "1.80" }]
[price.WF-SVC]
reseller = "4.00"
cus_acme = "3.75"
"#;

    #[test]
    fn the_page_s_policy_reads_as_it_says() {
        let policy = Policy::parse(PAGE).unwrap();
        let sku: Sku = "WF-SVC".parse().unwrap();
        assert_eq!(policy.zone.name(), "Europe/Berlin");
        assert_eq!(policy.distributor(&sku), Some("ingram"));
        let price = |customer: &str| policy.sell_price(&customer.parse().unwrap(), &sku).unwrap().to_string();
        assert_eq!((price("cus_acme"), price("cus_other")), ("3.75".to_owned(), "4.00".to_owned()));
    }

    #[test]
    fn an_empty_policy_is_all_defaults() {
        let policy = Policy::parse("").unwrap();
        assert_eq!(policy, Policy::default());
        assert_eq!((policy.zone.name(), policy.presume_days, policy.moved), ("UTC", 7, Moved::MainOwner));
        let rule = policy.rule(&"ANY".parse().unwrap());
        assert_eq!((rule, rule.count), (&SkuRule::default(), Count::HighWater));
    }

    #[test]
    fn the_public_policy_has_no_sell_price_and_recomputes_the_same() {
        let policy = Policy::parse(PAGE).unwrap();
        let public = policy.public_toml_or_json();
        assert!(!public.to_string().contains("3.75") && !public.to_string().contains("4.00"));
        let read = Policy::from_public(&public).unwrap();
        assert_eq!(read, Policy { price: BTreeMap::new(), ..policy });
    }

    #[test]
    fn a_policy_with_anything_wrong_is_refused() {
        let group = "[price_group.g]\ndistributor = \"d\"\ncurrency = \"USD\"\n";
        for (what, text) in [
            ("unknown key", "colour = 1".to_owned()),
            ("unknown key of a SKU", "[sku.A]\ncolour = 1".to_owned()),
            ("unknown key of a suite", "[suite.s]\nproducts = [\"a\", \"b\"]\nx = 1".to_owned()),
            ("unknown key of a group", format!("{group}tiers = [{{ from = 1, cost = \"1\" }}]\nx = 1")),
            ("unknown key of a tier", format!("{group}tiers = [{{ from = 1, cost = \"1\", x = 1 }}]")),
            ("unknown zone", "zone = \"Mars/Olympus\"".to_owned()),
            ("unknown count", "[sku.A]\ncount = \"most\"".to_owned()),
            ("unknown moved", "moved = \"nobody\"".to_owned()),
            ("undefined group", "[sku.A]\nprice_group = \"g\"".to_owned()),
            ("negative days", "presume_days = -1".to_owned()),
            ("fractional days", "presume_days = 7.0".to_owned()),
            ("endless days", "presume_days = 100000".to_owned()),
            ("suite of one", "[suite.s]\nproducts = [\"a\"]".to_owned()),
            ("suite of one twice", "[suite.s]\nproducts = [\"a\", \"a\"]".to_owned()),
            (
                "suite in a suite",
                "[suite.s]\nproducts = [\"a\", \"b\"]\n[suite.t]\nproducts = [\"s\", \"c\"]".to_owned(),
            ),
            ("suite in itself", "[suite.s]\nproducts = [\"s\", \"c\"]".to_owned()),
            ("no tiers", format!("{group}tiers = []")),
            ("missing tiers", group.to_owned()),
            (
                "falling tiers",
                format!("{group}tiers = [{{ from = 5, cost = \"1\" }}, {{ from = 1, cost = \"2\" }}]"),
            ),
            ("cost as a float", format!("{group}tiers = [{{ from = 1, cost = 1.5 }}]")),
            ("negative cost", format!("{group}tiers = [{{ from = 1, cost = \"-1\" }}]")),
            (
                "unknown currency",
                "[price_group.g]\ndistributor = \"d\"\ncurrency = \"USX\"\ntiers = [{ from = 1, cost = \"1\" }]"
                    .to_owned(),
            ),
            (
                "no distributor",
                "[price_group.g]\ncurrency = \"USD\"\ntiers = [{ from = 1, cost = \"1\" }]".to_owned(),
            ),
            ("price to nobody", "[price.A]\nsomebody = \"1\"".to_owned()),
            ("price that is none", "[price.A]\nreseller = \"cheap\"".to_owned()),
            ("tier as a list", format!("{group}tiers = [[1, \"1\"]]")),
            ("suite as a list", "[suite]\ns = [[\"a\", \"b\"]]".to_owned()),
            ("SKU as a list", "[sku]\nA = [\"distinct\"]".to_owned()),
            ("count as a table", "[sku.A.count]\ndistinct = {}".to_owned()),
            ("empty SKU", "[default_sku]\na = \"\"".to_owned()),
            ("product that is none", "uncounted = [\"a b\"]".to_owned()),
            ("key twice", "presume_days = 1\npresume_days = 2".to_owned()),
            ("no TOML", "{".to_owned()),
        ] {
            assert!(Policy::parse(&text).is_err(), "{what}: {text}");
        }
    }

    #[test]
    fn an_undefined_price_group_is_named() {
        let error = Policy::parse("[sku.A]\nprice_group = \"g\"").unwrap_err();
        assert_eq!(error.to_string(), "policy names price group `g` for SKU `A` but does not define it");
    }
}
