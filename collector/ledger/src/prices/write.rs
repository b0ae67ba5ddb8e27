//! What holds in a month as price list files. Invariant: imported again for that month, they change nothing.

use super::staging::word_of;
use super::{Buyer, PriceList};
use crate::cells::guarded;

/// The three files of a list, by name: SKUs, tiers, sell prices.
pub fn files(list: &PriceList) -> [(&'static str, String); 3] {
    [("skus.csv", skus(list)), ("tiers.csv", tiers(list)), ("sell.csv", sell(list))]
}

fn skus(list: &PriceList) -> String {
    let head = [
        "sku",
        "name",
        "price_group",
        "distributor",
        "unit",
        "count",
        "currency",
        "min_days",
        "free_first_month",
    ];
    let rows = list.skus.iter().filter_map(|(sku, terms)| {
        let terms = terms.as_ref()?;
        let group = list.groups.get(&terms.price_group)?;
        Some(vec![
            guarded(sku.as_str()).into_owned(),
            guarded(&terms.name).into_owned(),
            guarded(&terms.price_group).into_owned(),
            guarded(&group.distributor).into_owned(),
            guarded(&terms.unit).into_owned(),
            word_of(&terms.count),
            group.currency.clone(),
            terms.min_days.to_string(),
            if terms.free_first_month { "yes" } else { "no" }.to_owned(),
        ])
    });
    csv(&head, rows)
}

fn tiers(list: &PriceList) -> String {
    let rows = list.groups.iter().flat_map(|(name, group)| {
        group.tiers.iter().map(move |(from, cost)| {
            vec![guarded(name).into_owned(), from.to_string(), cost.to_string(), word_of(&group.mode)]
        })
    });
    csv(&["price_group", "from", "cost", "mode"], rows)
}

fn sell(list: &PriceList) -> String {
    let rows = list.sell.iter().flat_map(|(sku, prices)| {
        prices.iter().filter_map(move |(buyer, price)| {
            let customer = match buyer {
                Buyer::Everybody => String::new(),
                Buyer::Customer(customer) => customer.to_string(),
            };
            Some(vec![guarded(sku.as_str()).into_owned(), customer, price.as_ref()?.to_string()])
        })
    });
    csv(&["sku", "customer", "price"], rows)
}

fn csv(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head).expect("memory can be written");
    for row in rows {
        writer.write_record(row).expect("rows have as many cells as the head");
    }
    let bytes = writer.into_inner().expect("memory can be written");
    String::from_utf8(bytes).expect("cells are text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, PriceMode};
    use crate::prices::changes::changes;
    use crate::prices::check::{Known, Terms, check};
    use crate::prices::read::File;
    use crate::prices::tests::{apply, list, month};
    use crate::prices::{GroupTerms, PriceBook};

    #[test]
    fn files_imported_again_change_nothing_whatever_is_in_the_names() {
        let mut rows = list(
            &[("A", "g"), ("-B, \"x\"", "h;i")],
            &[("g", "2.00")],
            &[("A", "", "4.00"), ("A", "cus_a", "3"), ("-B, \"x\"", "", "5")],
        );
        for (name, text) in [("A", "=HYPERLINK(1)"), ("-B, \"x\"", "Müller; \"große\" 'Suite'")] {
            let terms = rows.skus.get_mut(&name.parse().unwrap()).unwrap().as_mut().unwrap();
            (terms.name, terms.min_days, terms.free_first_month) = (text.to_owned(), 3, true);
        }
        let graduated = GroupTerms {
            distributor: "@td".to_owned(),
            currency: "EUR".to_owned(),
            mode: PriceMode::Graduated,
            tiers: vec![(0, "1.5".parse().unwrap()), (10, "0".parse().unwrap())],
        };
        rows.groups.insert("h;i".to_owned(), graduated);
        let mut book = PriceBook::default();
        apply(&mut book, "2026-10", rows);
        let held = book.in_force(month("2026-11"));
        let written = files(&held);
        assert!(written[0].1.contains("'=HYPERLINK(1)"));
        let named =
            |(name, text): &(&str, String)| File { name: (*name).to_owned(), bytes: text.clone().into() };
        let files: Vec<File> = written.iter().map(named).collect();
        let policy = book.laid_over(Policy::default(), month("2026-11"));
        let known = Known { book: &book, policy: &policy, from: month("2026-11"), is_customer: &|_| true };
        let checked = check(&files, &Terms::default(), &known).unwrap();
        assert_eq!(checked.list, held);
        assert!(changes(&book, month("2026-11"), &checked.list, &checked.gone).counts.is_nothing());
    }
}
