//! What a price list would change of what holds in its month. Invariant: rows that say what holds already are in no
//! change; amounts are compared as numbers, not as they are spelt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::staging::word_of;
use super::{Buyer, GroupTerms, PriceBook, PriceList, SkuTerms};
use crate::calendar::Period;
use crate::money::UnitPrice;
use crate::record::Sku;

/// Rows of each kind that are shown; the others are counted.
pub const SHOWN_MAX: usize = 1000;

/// What a list changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// From which month on.
    pub valid_from: Period,
    /// SKUs that were in no list.
    pub new: Vec<Sku>,
    /// SKUs with other terms.
    pub changed: Vec<ChangedSku>,
    /// SKUs that are taken out.
    pub dropped: Vec<Sku>,
    /// SKUs of the same distributors that the list does not name, and that stay.
    pub kept: Vec<Sku>,
    /// Tiers that are new, gone or at another cost.
    pub costs: Vec<ChangedPrice>,
    /// Sell prices that are new, gone or others.
    pub prices: Vec<ChangedPrice>,
    /// How many of each there are.
    pub counts: Counts,
}

/// How much a list changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// SKUs that were in no list.
    pub new: u64,
    /// SKUs with other terms.
    pub changed: u64,
    /// SKUs that are taken out.
    pub dropped: u64,
    /// SKUs as they were.
    pub same: u64,
    /// Costs that rise.
    pub costs_up: u64,
    /// Costs that fall.
    pub costs_down: u64,
    /// Costs that are new or gone.
    pub costs_other: u64,
    /// Sell prices that rise.
    pub prices_up: u64,
    /// Sell prices that fall.
    pub prices_down: u64,
    /// Sell prices that are new or gone.
    pub prices_other: u64,
}

impl Counts {
    /// Whether nothing changes.
    pub fn is_nothing(&self) -> bool {
        Self { same: 0, ..*self } == Self::default()
    }
}

/// A SKU with other terms than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedSku {
    /// Which.
    pub sku: Sku,
    /// The terms that change, each with what it was and what it is.
    pub terms: BTreeMap<String, [String; 2]>,
}

/// A cost or a price that is another than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedPrice {
    /// The price group and the first unit, or the SKU and the buyer.
    pub of: String,
    /// What it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<UnitPrice>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<UnitPrice>,
}

/// Compares a list with what the book says of a month.
pub fn changes(book: &PriceBook, from: Period, list: &PriceList, gone: &[Sku]) -> Changes {
    let mut changes = Changes {
        valid_from: from,
        new: Vec::new(),
        changed: Vec::new(),
        dropped: Vec::new(),
        kept: gone.iter().filter(|sku| !list.skus.contains_key(*sku)).cloned().collect(),
        costs: Vec::new(),
        prices: Vec::new(),
        counts: Counts::default(),
    };
    for (sku, terms) in &list.skus {
        changes.note_sku(sku, book.sku(sku, from), terms.as_ref());
    }
    for (name, group) in &list.groups {
        changes.note_group(name, book.group(name, from), group);
    }
    for (sku, prices) in &list.sell {
        for (buyer, price) in prices {
            changes.note_price(sku, buyer, book.sell_price(sku, buyer, from), price.as_ref());
        }
    }
    changes
}

impl Changes {
    fn note_sku(&mut self, sku: &Sku, was: Option<&SkuTerms>, now: Option<&SkuTerms>) {
        match (was, now) {
            (Some(was), Some(now)) if was == now => self.counts.same += 1,
            (Some(was), Some(now)) => {
                self.counts.changed += 1;
                show(&mut self.changed, ChangedSku { sku: sku.clone(), terms: differences(was, now) });
            }
            (None, Some(_)) => {
                self.counts.new += 1;
                show(&mut self.new, sku.clone());
            }
            (Some(_), None) => {
                self.counts.dropped += 1;
                show(&mut self.dropped, sku.clone());
            }
            (None, None) => {}
        }
    }

    fn note_group(&mut self, name: &str, was: Option<&GroupTerms>, now: &GroupTerms) {
        let costs =
            |group: &GroupTerms| -> BTreeMap<u64, UnitPrice> { group.tiers.iter().cloned().collect() };
        let (was, now) = (was.map(costs).unwrap_or_default(), costs(now));
        let mut froms: Vec<&u64> = was.keys().chain(now.keys()).collect();
        froms.sort_unstable();
        froms.dedup();
        for from in froms {
            let (was, now) = (was.get(from), now.get(from));
            match direction(was, now) {
                Direction::Same => continue,
                Direction::Up => self.counts.costs_up += 1,
                Direction::Down => self.counts.costs_down += 1,
                Direction::Other => self.counts.costs_other += 1,
            }
            let of = format!("{name} from {from}");
            show(&mut self.costs, ChangedPrice { of, was: was.cloned(), now: now.cloned() });
        }
    }

    fn note_price(&mut self, sku: &Sku, buyer: &Buyer, was: Option<&UnitPrice>, now: Option<&UnitPrice>) {
        match direction(was, now) {
            Direction::Same => return,
            Direction::Up => self.counts.prices_up += 1,
            Direction::Down => self.counts.prices_down += 1,
            Direction::Other => self.counts.prices_other += 1,
        }
        let of = format!("{sku} to {buyer}");
        show(&mut self.prices, ChangedPrice { of, was: was.cloned(), now: now.cloned() });
    }
}

fn show<T>(shown: &mut Vec<T>, one: T) {
    if shown.len() < SHOWN_MAX {
        shown.push(one);
    }
}

enum Direction {
    Same,
    Up,
    Down,
    Other,
}

fn direction(was: Option<&UnitPrice>, now: Option<&UnitPrice>) -> Direction {
    let (Some(was), Some(now)) = (was, now) else {
        return if was.is_none() && now.is_none() { Direction::Same } else { Direction::Other };
    };
    // Prices have few digits by their type: the difference always fits.
    match now.value().minus(was.value()).map(|difference| difference.mantissa().signum()) {
        Ok(0) => Direction::Same,
        Ok(1) => Direction::Up,
        _ => Direction::Down,
    }
}

fn differences(was: &SkuTerms, now: &SkuTerms) -> BTreeMap<String, [String; 2]> {
    let told = |terms: &SkuTerms| {
        [
            ("name", terms.name.clone()),
            ("unit", terms.unit.clone()),
            ("count", word_of(&terms.count)),
            ("min_days", terms.min_days.to_string()),
            ("free_first_month", terms.free_first_month.to_string()),
            ("price_group", terms.price_group.clone()),
        ]
    };
    let pairs = told(was).into_iter().zip(told(now));
    pairs
        .filter(|(was, now)| was != now)
        .map(|((name, was), (_, now))| (name.to_owned(), [was, now]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prices::tests::{apply, list, month};

    #[test]
    fn what_is_new_changed_gone_dearer_and_cheaper_is_told() {
        let mut book = PriceBook::default();
        let before = list(
            &[("A", "g"), ("B", "g"), ("C", "g"), ("D", "g")],
            &[("g", "2.00"), ("h", "1")],
            &[("A", "", "4.00"), ("A", "cus_a", "3"), ("B", "", "5"), ("C", "", "6")],
        );
        apply(&mut book, "2026-10", before);
        let after = list(
            &[("A", "g"), ("B", "h"), ("C", ""), ("E", "h")],
            &[("g", "1.50"), ("h", "1.10")],
            &[("A", "", "4"), ("A", "cus_a", "2.5"), ("B", "", "5.50"), ("C", "", ""), ("E", "", "9")],
        );
        let gone: Vec<Sku> = ["C", "D"].map(|sku| sku.parse().unwrap()).into();
        let told = changes(&book, month("2026-11"), &after, &gone);
        let counts = Counts {
            new: 1,
            changed: 1,
            dropped: 1,
            same: 1,
            costs_up: 1,
            costs_down: 1,
            costs_other: 0,
            prices_up: 1,
            prices_down: 1,
            prices_other: 2,
        };
        assert_eq!(told.counts, counts);
        assert_eq!((told.dropped[0].as_str(), told.kept[0].as_str()), ("C", "D"));
        assert_eq!(told.changed[0].terms["price_group"], ["g", "h"]);
        let shown: Vec<&str> = told.prices.iter().map(|change| change.of.as_str()).collect();
        assert_eq!(shown, ["A to cus_a", "B to everybody", "C to everybody", "E to everybody"]);
        let again = changes(&book, month("2026-11"), &book.in_force(month("2026-11")), &[]);
        assert!(again.counts.is_nothing() && again.counts.same == 4);
    }
}
