//! The price book: what price lists said of SKUs, price groups and sell prices, each entry from a month on.
//! Invariant: what holds in a month is the entry of the latest month up to it; a later list for the same month
//! replaces what it names and nothing else. Every price group that a SKU names is there from that month on.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, PriceListId};
use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::money::UnitPrice;
use crate::policy::{Count, EVERYBODY, Policy, PriceGroup, PriceMode, SkuRule, Tier};
use crate::record::Sku;

pub mod changes;
pub mod check;
pub mod read;
pub mod staging;
pub mod write;

/// What a price list says of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkuTerms {
    /// What the distributor calls it; empty: not known.
    pub name: String,
    /// What one of it is (`seat`, `mailbox`); empty: not known.
    pub unit: String,
    /// How it is counted.
    pub count: Count,
    /// Confirmed days below which a machine is not counted.
    pub min_days: u32,
    /// Whether a machine's first month is free.
    pub free_first_month: bool,
    /// By what it is bought.
    pub price_group: String,
}

/// What a price list says of one price group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTerms {
    /// Whose it is.
    pub distributor: String,
    /// ISO 4217 code.
    pub currency: String,
    /// How the tiers apply.
    pub mode: PriceMode,
    /// First unit and cost of each, in rising order, at least one.
    pub tiers: Vec<(u64, UnitPrice)>,
}

impl GroupTerms {
    /// The group as a policy has it.
    pub fn as_group(&self) -> PriceGroup {
        let tier = |(from, cost): &(u64, UnitPrice)| Tier { from: *from, cost: cost.clone() };
        PriceGroup {
            distributor: self.distributor.clone(),
            currency: self.currency.clone(),
            mode: self.mode,
            tiers: self.tiers.iter().map(tier).collect(),
        }
    }
}

/// Whom a sell price is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Buyer {
    /// Every customer without a price of its own.
    Everybody,
    /// This one.
    Customer(CustomerId),
}

impl Buyer {
    /// The key under which a policy has the price.
    pub fn key(&self) -> &str {
        match self {
            Self::Everybody => EVERYBODY,
            Self::Customer(customer) => customer.as_str(),
        }
    }
}

impl fmt::Display for Buyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Customer(customer) => customer.fmt(f),
        }
    }
}

/// Sell prices of a SKU; without a price: none from here on.
pub type BuyerPrices<T> = BTreeMap<Buyer, T>;

/// What one import puts in force, all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceList {
    /// What it says of SKUs; `None`: the book says nothing of it any more.
    pub skus: BTreeMap<Sku, Option<SkuTerms>>,
    /// The groups it names.
    pub groups: BTreeMap<String, GroupTerms>,
    /// Its sell prices.
    pub sell: BTreeMap<Sku, BuyerPrices<Option<UnitPrice>>>,
}

impl PriceList {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.skus.len() + self.groups.len() + self.sell.values().map(BTreeMap::len).sum::<usize>()
    }
}

/// A value from a month on, of which the latest up to a month holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Dated<T>(Vec<(Period, T)>);

impl<T> Default for Dated<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Dated<T> {
    fn at(&self, period: Period) -> Option<&T> {
        let behind = self.0.partition_point(|(from, _)| *from <= period);
        self.0[..behind].last().map(|(_, value)| value)
    }

    /// Noted also where it holds already: a later list for an earlier month must not reach over this one.
    fn set(&mut self, from: Period, value: T) {
        match self.0.binary_search_by_key(&from, |(from, _)| *from) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => self.0.insert(index, (from, value)),
        }
    }
}

/// An import that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedList {
    /// Which.
    pub list: PriceListId,
    /// From which month on.
    pub valid_from: Period,
    /// How many rows it had.
    pub rows: u64,
    /// When it was put in force.
    pub applied_at: Timestamp,
}

/// A list that cannot be put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SKU `{sku}` is in price group `{group}`, which has no tiers in {period}")]
pub struct NoTiers {
    /// The SKU.
    pub sku: Sku,
    /// Its group.
    pub group: String,
    /// From when.
    pub period: Period,
}

/// All that price lists said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PriceBook {
    applied: Vec<AppliedList>,
    skus: BTreeMap<Sku, Dated<Option<SkuTerms>>>,
    groups: BTreeMap<String, Dated<GroupTerms>>,
    sell: BTreeMap<Sku, BuyerPrices<Dated<Option<UnitPrice>>>>,
}

impl PriceBook {
    /// How many lists were put in force.
    pub fn revision(&self) -> u64 {
        self.applied.len() as u64
    }

    /// The lists that were put in force, in their order.
    pub fn applied(&self) -> &[AppliedList] {
        &self.applied
    }

    /// Months from which something changes.
    pub fn months(&self) -> impl Iterator<Item = Period> {
        self.applied.iter().map(|list| list.valid_from)
    }

    /// What it says of a SKU in a month.
    pub fn sku(&self, sku: &Sku, period: Period) -> Option<&SkuTerms> {
        self.skus.get(sku)?.at(period)?.as_ref()
    }

    /// What it says of a price group in a month.
    pub fn group(&self, name: &str, period: Period) -> Option<&GroupTerms> {
        self.groups.get(name)?.at(period)
    }

    /// A sell price of a month.
    pub fn sell_price(&self, sku: &Sku, buyer: &Buyer, period: Period) -> Option<&UnitPrice> {
        self.sell.get(sku)?.get(buyer)?.at(period)?.as_ref()
    }

    /// What holds in a month, as one list.
    pub fn in_force(&self, period: Period) -> PriceList {
        let skus =
            self.skus.keys().filter_map(|sku| Some((sku.clone(), Some(self.sku(sku, period)?.clone()))));
        let groups =
            self.groups.iter().filter_map(|(name, dated)| Some((name.clone(), dated.at(period)?.clone())));
        let sell = self.sell.iter().filter_map(|(sku, buyers)| {
            let prices: BuyerPrices<Option<UnitPrice>> = buyers
                .iter()
                .filter_map(|(buyer, dated)| Some((buyer.clone(), Some(dated.at(period)?.clone()?))))
                .collect();
            (!prices.is_empty()).then(|| (sku.clone(), prices))
        });
        PriceList { skus: skus.collect(), groups: groups.collect(), sell: sell.collect() }
    }

    /// Puts a list in force from a month on.
    ///
    /// # Errors
    /// When a SKU's price group has no tiers then; nothing is changed.
    pub fn apply(
        &mut self,
        list: &PriceListId,
        from: Period,
        rows: PriceList,
        at: Timestamp,
    ) -> Result<(), NoTiers> {
        let named = rows.skus.iter().filter_map(|(sku, terms)| Some((sku, &terms.as_ref()?.price_group)));
        for (sku, group) in named {
            if !rows.groups.contains_key(group) && self.group(group, from).is_none() {
                return Err(NoTiers { sku: sku.clone(), group: group.clone(), period: from });
            }
        }
        self.applied.push(AppliedList {
            list: list.clone(),
            valid_from: from,
            rows: rows.rows() as u64,
            applied_at: at,
        });
        for (sku, terms) in rows.skus {
            self.skus.entry(sku).or_default().set(from, terms);
        }
        for (name, group) in rows.groups {
            self.groups.entry(name).or_default().set(from, group);
        }
        for (sku, prices) in rows.sell {
            let known = self.sell.entry(sku).or_default();
            for (buyer, price) in prices {
                known.entry(buyer).or_default().set(from, price);
            }
        }
        Ok(())
    }

    /// The policy with what the book says of a month laid over it: where both name a SKU, a price group or a price,
    /// the book's holds.
    pub fn laid_over(&self, mut policy: Policy, period: Period) -> Policy {
        for sku in self.skus.keys() {
            let Some(terms) = self.sku(sku, period) else { continue };
            let rule = SkuRule {
                count: terms.count,
                min_days: terms.min_days,
                free_first_month: terms.free_first_month,
                price_group: Some(terms.price_group.clone()),
            };
            policy.sku.insert(sku.clone(), rule);
        }
        for (name, dated) in &self.groups {
            if let Some(group) = dated.at(period) {
                policy.price_group.insert(name.clone(), group.as_group());
            }
        }
        for (sku, buyers) in &self.sell {
            for (buyer, dated) in buyers {
                if let Some(Some(price)) = dated.at(period) {
                    let prices = policy.price.entry(sku.clone()).or_default();
                    prices.insert(buyer.key().to_owned(), price.clone());
                }
            }
        }
        policy
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn month(text: &str) -> Period {
        text.parse().unwrap()
    }

    pub(crate) fn list(
        skus: &[(&str, &str)],
        groups: &[(&str, &str)],
        sell: &[(&str, &str, &str)],
    ) -> PriceList {
        let mut list = PriceList::default();
        for (sku, group) in skus {
            let terms = (!group.is_empty()).then(|| SkuTerms {
                name: format!("The {sku}"),
                unit: "seat".to_owned(),
                count: Count::HighWater,
                min_days: 0,
                free_first_month: false,
                price_group: (*group).to_owned(),
            });
            list.skus.insert(sku.parse().unwrap(), terms);
        }
        for (name, cost) in groups {
            let group = GroupTerms {
                distributor: "ingram".to_owned(),
                currency: "USD".to_owned(),
                mode: PriceMode::Volume,
                tiers: vec![(1, cost.parse().unwrap())],
            };
            list.groups.insert((*name).to_owned(), group);
        }
        for (sku, customer, price) in sell {
            let buyer = match *customer {
                "" => Buyer::Everybody,
                customer => Buyer::Customer(customer.parse().unwrap()),
            };
            let price = (!price.is_empty()).then(|| price.parse().unwrap());
            list.sell.entry(sku.parse().unwrap()).or_default().insert(buyer, price);
        }
        list
    }

    pub(crate) fn apply(book: &mut PriceBook, from: &str, rows: PriceList) {
        let id = PriceListId::derived_from(&[u8::try_from(book.revision()).unwrap()]);
        book.apply(&id, month(from), rows, Timestamp::UNIX_EPOCH).unwrap();
    }

    fn costs(book: &PriceBook, months: &[&str]) -> Vec<String> {
        let cost = |period: &&str| book.group("g", month(period)).map(|group| group.tiers[0].1.to_string());
        months.iter().map(|period| cost(period).unwrap_or_default()).collect()
    }

    #[test]
    fn what_holds_is_the_entry_of_the_latest_month_up_to_it_whatever_the_order_of_the_lists() {
        let (mut one, mut other) = (PriceBook::default(), PriceBook::default());
        let lists = [("2026-10", "1.00"), ("2026-12", "2.00"), ("2026-11", "3.00")];
        for (from, cost) in lists {
            apply(&mut one, from, list(&[], &[("g", cost)], &[]));
        }
        for (from, cost) in
            [("2026-11", "3.00"), ("2026-12", "2.00"), ("2026-10", "2.00"), ("2026-10", "1.00")]
        {
            apply(&mut other, from, list(&[], &[("g", cost)], &[]));
        }
        for book in [&one, &other] {
            let months = ["2026-09", "2026-10", "2026-11", "2026-12", "2027-05"];
            assert_eq!(costs(book, &months), ["", "1.00", "3.00", "2.00", "2.00"]);
        }
    }

    #[test]
    fn a_later_list_for_the_same_month_replaces_what_it_names_and_nothing_else() {
        let mut book = PriceBook::default();
        let first = list(&[("A", "g"), ("B", "g")], &[("g", "1.00")], &[("A", "", "4"), ("A", "cus_a", "3")]);
        apply(&mut book, "2026-10", first);
        apply(&mut book, "2026-10", list(&[("B", "")], &[("g", "1.50")], &[("A", "cus_a", "")]));
        let now = book.in_force(month("2026-11"));
        assert_eq!(now, list(&[("A", "g")], &[("g", "1.50")], &[("A", "", "4")]));
        assert_eq!(book.revision(), 2);
    }

    #[test]
    fn a_sku_without_tiers_is_refused_and_changes_nothing() {
        let mut book = PriceBook::default();
        apply(&mut book, "2026-11", list(&[], &[("g", "1.00")], &[]));
        let before = book.clone();
        let id = PriceListId::derived_from(b"x");
        let early = book.apply(&id, month("2026-10"), list(&[("A", "g")], &[], &[]), Timestamp::UNIX_EPOCH);
        assert_eq!(
            early.unwrap_err().to_string(),
            "SKU `A` is in price group `g`, which has no tiers in 2026-10"
        );
        assert_eq!(book, before);
        apply(&mut book, "2026-11", list(&[("A", "g")], &[], &[]));
    }

    #[test]
    fn the_book_lies_over_the_policy_for_what_it_names_only() {
        let text = "[sku.A]\nprice_group = \"g\"\nmin_days = 3\n[sku.T]\nprice_group = \"g\"\n[price_group.g]\n\
                    distributor = \"td\"\ncurrency = \"EUR\"\ntiers = [{ from = 1, cost = \"9\" }]\n\
                    [price.A]\nreseller = \"5\"\ncus_b = \"6\"";
        let policy = Policy::parse(text).unwrap();
        let mut book = PriceBook::default();
        apply(&mut book, "2026-10", list(&[("A", "h")], &[("h", "1.00")], &[("A", "", "4")]));
        assert_eq!(book.laid_over(policy.clone(), month("2026-09")), policy);
        let laid = book.laid_over(policy.clone(), month("2026-10"));
        let sku = |text: &str| text.parse::<Sku>().unwrap();
        assert_eq!((laid.distributor(&sku("A")), laid.distributor(&sku("T"))), (Some("ingram"), Some("td")));
        assert_eq!(laid.rule(&sku("A")).min_days, 0);
        let price =
            |customer: &str| laid.sell_price(&customer.parse().unwrap(), &sku("A")).unwrap().to_string();
        assert_eq!((price("cus_a"), price("cus_b")), ("4".to_owned(), "6".to_owned()));
        assert_eq!(Policy::parse(&laid.to_toml()).unwrap(), laid);
    }
}
