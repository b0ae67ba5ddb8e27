//! A price list on its way through the journal: in parts, held until all of them are there. Invariant: a part has no
//! effect by itself; a list is taken whole or not at all, and what is never finished is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use seatbeat_proto::ids::{CustomerId, PriceListId};
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

use super::{Buyer, GroupTerms, PriceList, SkuTerms};
use crate::money::UnitPrice;
use crate::policy::check_group;
use crate::record::{Sku, check_name};

/// Bytes of one part: half of what a message may have, a fraction of a journal record.
pub const PART_BYTES_MAX: usize = 128 * 1024;

/// Parts of one list: at most as many bytes as an import can have.
pub const PARTS_MAX: usize = 1024;

/// Lists on their way at once: operators are few, and an import takes seconds. The oldest gives way.
const LISTS_MAX: usize = 4;

/// Lists on their way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Staging {
    lists: BTreeMap<PriceListId, Staged>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Staged {
    begun: u64,
    parts: Vec<Arc<Vec<u8>>>,
}

impl Staging {
    /// Holds a part that came at this position; `false` when it is not the next of its list, or one too many.
    pub fn stage(&mut self, position: u64, list: PriceListId, part: &wire::PricesStaged) -> bool {
        if part.part > 0 && !self.lists.contains_key(&list) {
            return false;
        }
        let bytes = part.encode_to_vec();
        let staged = self.lists.entry(list).or_insert(Staged { begun: position, parts: Vec::new() });
        let next = staged.parts.len();
        if part.part as usize != next || next == PARTS_MAX || bytes.len() > 2 * PART_BYTES_MAX {
            return false;
        }
        staged.parts.push(Arc::new(bytes));
        if self.lists.len() > LISTS_MAX {
            let oldest =
                self.lists.iter().min_by_key(|(_, staged)| staged.begun).map(|(list, _)| list.clone());
            oldest.map(|list| self.lists.remove(&list));
        }
        true
    }

    /// Takes a list of so many parts out, and reads it; `None` when it is not there or not one.
    pub fn take(&mut self, list: &PriceListId, parts: u32) -> Option<PriceList> {
        let staged = self.lists.remove(list)?;
        if staged.parts.len() != parts as usize {
            return None;
        }
        read(&staged.parts)
    }
}

/// A list as the parts that carry it; at least one.
pub fn parts(id: &PriceListId, list: &PriceList) -> Vec<wire::PricesStaged> {
    let mut packer =
        Packer { id: id.to_string(), full: Vec::new(), part: wire::PricesStaged::default(), bytes: 0 };
    for (sku, terms) in &list.skus {
        let row = sku_row(sku, terms.as_ref());
        packer.make_room(row.encoded_len());
        packer.part.skus.push(row);
    }
    for (name, group) in &list.groups {
        let row = group_row(name, group);
        packer.make_room(row.encoded_len());
        packer.part.groups.push(row);
    }
    for (sku, prices) in &list.sell {
        for (buyer, price) in prices {
            let row = wire::BuyerPrice {
                customer: match buyer {
                    Buyer::Everybody => String::new(),
                    Buyer::Customer(customer) => customer.to_string(),
                },
                price: price.as_ref().map(ToString::to_string).unwrap_or_default(),
            };
            packer.make_room(row.encoded_len() + sku.as_str().len());
            match packer.part.sell.last_mut() {
                Some(of) if of.sku == sku.as_str() => of.prices.push(row),
                _ => packer.part.sell.push(wire::SellPrices { sku: sku.to_string(), prices: vec![row] }),
            }
        }
    }
    packer.finish()
}

/// Bytes that frame a row beside its own.
const ROW_FRAME: usize = 16;

struct Packer {
    id: String,
    full: Vec<wire::PricesStaged>,
    part: wire::PricesStaged,
    bytes: usize,
}

impl Packer {
    fn make_room(&mut self, bytes: usize) {
        let bytes = bytes + ROW_FRAME;
        if self.bytes > 0 && self.bytes + bytes > PART_BYTES_MAX {
            self.flush();
        }
        self.bytes += bytes;
    }

    fn flush(&mut self) {
        let part = u32::try_from(self.full.len()).unwrap_or(u32::MAX);
        let rows = std::mem::take(&mut self.part);
        self.full.push(wire::PricesStaged { list: self.id.clone(), part, ..rows });
        self.bytes = 0;
    }

    fn finish(mut self) -> Vec<wire::PricesStaged> {
        if self.bytes > 0 || self.full.is_empty() {
            self.flush();
        }
        self.full
    }
}

fn sku_row(sku: &Sku, terms: Option<&SkuTerms>) -> wire::PricedSku {
    let sku = sku.to_string();
    let Some(terms) = terms else { return wire::PricedSku { sku, dropped: true, ..Default::default() } };
    wire::PricedSku {
        sku,
        dropped: false,
        name: terms.name.clone(),
        unit: terms.unit.clone(),
        count: word_of(&terms.count),
        min_days: terms.min_days,
        free_first_month: terms.free_first_month,
        price_group: terms.price_group.clone(),
    }
}

fn group_row(name: &str, group: &GroupTerms) -> wire::PriceGroupTiers {
    let tier = |(from, cost): &(u64, UnitPrice)| wire::PriceTier { from: *from, cost: cost.to_string() };
    wire::PriceGroupTiers {
        price_group: name.to_owned(),
        distributor: group.distributor.clone(),
        currency: group.currency.clone(),
        mode: word_of(&group.mode),
        tiers: group.tiers.iter().map(tier).collect(),
    }
}

/// A word as a policy has it.
pub(super) fn word_of(word: &impl Serialize) -> String {
    let value = serde_json::to_value(word).ok();
    value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn of_word<T: serde::de::DeserializeOwned>(word: String) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word)).ok()
}

/// What parts carry; `None` when a field is not what it has to be, or something is there twice.
fn read(parts: &[Arc<Vec<u8>>]) -> Option<PriceList> {
    let mut list = PriceList::default();
    for part in parts {
        let part = wire::PricesStaged::decode(part.as_slice()).ok()?;
        for row in part.skus {
            let (sku, terms) = read_sku(row)?;
            if list.skus.insert(sku, terms).is_some() {
                return None;
            }
        }
        for row in part.groups {
            let (name, group) = read_group(row)?;
            if list.groups.insert(name, group).is_some() {
                return None;
            }
        }
        for row in part.sell {
            let known = list.sell.entry(row.sku.parse().ok()?).or_default();
            for price in row.prices {
                let (buyer, price) = read_price(&price)?;
                if known.insert(buyer, price).is_some() {
                    return None;
                }
            }
        }
    }
    Some(list)
}

fn read_sku(row: wire::PricedSku) -> Option<(Sku, Option<SkuTerms>)> {
    let sku = row.sku.parse().ok()?;
    if row.dropped {
        return Some((sku, None));
    }
    check_name(&row.price_group, "a price group").ok()?;
    let terms = SkuTerms {
        name: row.name,
        unit: row.unit,
        count: of_word(row.count)?,
        min_days: row.min_days,
        free_first_month: row.free_first_month,
        price_group: row.price_group,
    };
    Some((sku, Some(terms)))
}

fn read_group(row: wire::PriceGroupTiers) -> Option<(String, GroupTerms)> {
    let tier = |tier: wire::PriceTier| Some((tier.from, tier.cost.parse().ok()?));
    let group = GroupTerms {
        distributor: row.distributor,
        currency: row.currency,
        mode: of_word(row.mode)?,
        tiers: row.tiers.into_iter().map(tier).collect::<Option<_>>()?,
    };
    check_group(&row.price_group, &group.as_group()).ok()?;
    Some((row.price_group, group))
}

fn read_price(row: &wire::BuyerPrice) -> Option<(Buyer, Option<UnitPrice>)> {
    let buyer = match row.customer.as_str() {
        "" => Buyer::Everybody,
        customer => Buyer::Customer(customer.parse::<CustomerId>().ok()?),
    };
    let price = match row.price.as_str() {
        "" => None,
        price => Some(price.parse().ok()?),
    };
    Some((buyer, price))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prices::tests::list;

    fn id(number: u8) -> PriceListId {
        PriceListId::derived_from(&[number])
    }

    /// 400 SKUs, each at a price of its own for 100 customers.
    fn large() -> PriceList {
        let skus: Vec<String> = (0..400).map(|number| format!("SKU-{number:04}")).collect();
        let customers: Vec<String> = (0..100).map(|number| format!("cus_customer_{number:05}")).collect();
        let named: Vec<(&str, &str)> = skus.iter().map(|sku| (sku.as_str(), "g")).collect();
        let sell: Vec<(&str, &str, &str)> = skus
            .iter()
            .flat_map(|sku| customers.iter().map(move |customer| (sku.as_str(), customer.as_str(), "12.34")))
            .collect();
        list(&named, &[("g", "1.00")], &sell)
    }

    fn staged(staging: &mut Staging, number: u8, list: &PriceList) -> u32 {
        let parts = parts(&id(number), list);
        for part in &parts {
            assert!(staging.stage(u64::from(number), id(number), part));
        }
        u32::try_from(parts.len()).unwrap()
    }

    #[test]
    fn a_list_comes_out_of_its_parts_as_it_went_in_and_no_part_is_too_long() {
        for list in
            [large(), PriceList::default(), list(&[("A", ""), ("B", "g")], &[("g", "1")], &[("A", "", "")])]
        {
            let parts = parts(&id(1), &list);
            assert!(parts.iter().all(|part| part.encoded_len() <= PART_BYTES_MAX + 64));
            let mut staging = Staging::default();
            let count = staged(&mut staging, 1, &list);
            assert_eq!(staging.take(&id(1), count), Some(list));
            assert_eq!(staging, Staging::default());
        }
        assert!(parts(&id(1), &large()).len() > 5);
    }

    #[test]
    fn a_list_that_lacks_a_part_or_has_it_twice_is_not_taken_and_forgotten() {
        let mut staging = Staging::default();
        let count = staged(&mut staging, 1, &large());
        assert_eq!(staging.clone().take(&id(1), count + 1), None);
        assert_eq!(staging.clone().take(&id(2), count), None);
        assert_eq!(staging.take(&id(1), count - 1), None);
        assert_eq!(staging, Staging::default());
        let parts = parts(&id(1), &large());
        assert!(!staging.stage(0, id(1), &parts[1]));
        assert!(staging.stage(0, id(1), &parts[0]));
        assert!(!staging.stage(0, id(1), &parts[0]));
    }

    #[test]
    fn what_is_never_finished_gives_way() {
        let mut staging = Staging::default();
        let small = list(&[], &[("g", "1")], &[]);
        for number in 1..=5 {
            staged(&mut staging, number, &small);
        }
        assert_eq!(staging.take(&id(1), 1), None);
        assert_eq!(staging.take(&id(5), 1), Some(small));
    }

    #[test]
    fn fields_that_are_none_refuse_the_whole_list() {
        let good = &parts(&id(1), &list(&[("A", "g")], &[("g", "1")], &[("A", "cus_a", "2")]))[0];
        let check = |harm: &dyn Fn(&mut wire::PricesStaged)| {
            let (mut staging, mut part) = (Staging::default(), good.clone());
            harm(&mut part);
            assert!(staging.stage(0, id(1), &part));
            staging.take(&id(1), 1)
        };
        assert!(check(&|_| ()).is_some());
        assert_eq!(check(&|part| part.skus[0].count = "most".to_owned()), None);
        assert_eq!(check(&|part| part.skus.push(part.skus[0].clone())), None);
        assert_eq!(check(&|part| part.groups[0].currency = "XXX".to_owned()), None);
        assert_eq!(check(&|part| part.groups[0].tiers.clear()), None);
        assert_eq!(check(&|part| part.groups[0].tiers[0].cost = "-1".to_owned()), None);
        assert_eq!(check(&|part| part.sell[0].prices[0].customer = "Acme".to_owned()), None);
        assert_eq!(check(&|part| part.sell[0].prices[0].price = "2,5".to_owned()), None);
    }
}
