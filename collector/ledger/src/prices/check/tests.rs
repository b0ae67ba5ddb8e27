//! What is refused of a price list, row by row, and what comes of one that is not.

use jiff::Timestamp;
use seatbeat_proto::ids::PriceListId;

use super::*;
use crate::prices::tests::month;

const SKUS: &str = "sku,name,price_group,distributor,unit,count,currency,min_days,free_first_month\n\
    WF-SVC,Worry-Free Services,wf,ingram,seat,high_water,EUR,0,no\n\
    WF-ADV,\"Worry-Free, Advanced\",wf,ingram,seat,distinct,EUR,3,yes\n";
const TIERS: &str = "price_group,from,cost\nwf,1,2.10\nwf,25,1.80\n";
const SELL: &str = "sku,customer,price\nWF-SVC,,4.00\nWF-SVC,cus_acme,3.75\n";

fn files(texts: &[&str]) -> Vec<File> {
    let named = |(index, text): (usize, &&str)| File {
        name: format!("{}.csv", ["a", "b", "c"][index]),
        bytes: text.as_bytes().to_vec(),
    };
    texts.iter().enumerate().map(named).collect()
}

fn ingram() -> Terms {
    Terms { new_distributors: ["ingram".to_owned()].into(), ..Terms::default() }
}

fn checked(book: &PriceBook, terms: &Terms, texts: &[&str]) -> Result<Checked, Problems> {
    let policy = book.laid_over(Policy::parse("[default_sku]\ndsm = \"DSM\"").unwrap(), month("2026-11"));
    let is_customer = |customer: &CustomerId| customer.as_str() == "cus_acme";
    let known = Known { book, policy: &policy, from: month("2026-11"), is_customer: &is_customer };
    check(&files(texts), terms, &known)
}

/// The lines of the faults with their words.
fn faults(terms: &Terms, texts: &[&str]) -> Vec<String> {
    let told =
        |problem: super::super::read::Problem| format!("{}:{} {}", problem.file, problem.line, problem.what);
    let problems = checked(&PriceBook::default(), terms, texts).unwrap_err();
    problems.first.into_iter().map(told).collect()
}

fn in_force(texts: &[&str]) -> PriceBook {
    let mut book = PriceBook::default();
    let list = checked(&book, &ingram(), texts).unwrap().list;
    book.apply(&PriceListId::derived_from(b"1"), month("2026-11"), list, Timestamp::UNIX_EPOCH).unwrap();
    book
}

#[test]
fn skus_tiers_and_sell_prices_become_one_list_whatever_the_order_of_the_files() {
    let list = checked(&PriceBook::default(), &ingram(), &[SELL, TIERS, SKUS]).unwrap().list;
    assert_eq!(list, checked(&PriceBook::default(), &ingram(), &[SKUS, TIERS, SELL]).unwrap().list);
    assert_eq!(list.rows(), 5);
    let advanced = list.skus[&"WF-ADV".parse().unwrap()].clone().unwrap();
    assert_eq!((advanced.name.as_str(), advanced.count), ("Worry-Free, Advanced", Count::Distinct));
    assert_eq!((advanced.min_days, advanced.free_first_month), (3, true));
    let tiers: Vec<String> =
        list.groups["wf"].tiers.iter().map(|(from, cost)| format!("{from}:{cost}")).collect();
    assert_eq!(tiers, ["1:2.10", "25:1.80"]);
    let policy = in_force(&[SKUS, TIERS, SELL]).laid_over(Policy::default(), month("2026-12"));
    assert_eq!(Policy::parse(&policy.to_toml()), Ok(policy));
}

#[test]
fn a_cost_beside_the_sku_is_a_group_of_one_tier_and_a_price_everybodys() {
    let text = "sku;distributor;currency;cost;price\nA;ingram;EUR;2,10;4\n";
    let reading = Reading { decimal_comma: true, ..Reading::default() };
    let list = checked(&PriceBook::default(), &Terms { reading, ..ingram() }, &[text]).unwrap().list;
    assert_eq!(list.groups["A"].tiers, [(1, "2.10".parse().unwrap())]);
    assert_eq!(list.sell[&"A".parse().unwrap()][&Buyer::Everybody], Some("4".parse().unwrap()));
}

#[test]
fn every_bad_row_is_told_with_its_line() {
    let skus = "sku,distributor,currency,cost,count,min_days,free_first_month,mode\n\
        ,ingram,EUR,1,,,,\n\
        A,ingram,EUR,-1,,,,\n\
        B,ingram,EUR,cheap,,,,\n\
        C,ingram,EUR,\"1,50\",,,,\n\
        D,ingrm,EUR,1,,,,\n\
        E,ingram,EURO,1,,,,\n\
        F,ingram,EUR,,,,,\n\
        G,ingram,EUR,1,most,,,\n\
        H,ingram,EUR,1,,32,,\n\
        I,ingram,EUR,1,,,maybe,\n\
        J,ingram,EUR,1,,,,cheapest\n\
        K,ingram,EUR,1,,,,\n\
        K,ingram,EUR,1,,,,\n";
    assert_eq!(
        faults(&ingram(), &[skus]),
        [
            "a.csv:2 `` is not a SKU: expected 1 to 200 bytes of printable text",
            "a.csv:3 cost `-1` is negative",
            "a.csv:4 cost `cheap` is not a plain number such as 2.10, up to 10^9",
            "a.csv:5 cost `1,50` has a comma: for decimals or for thousands?",
            "a.csv:6 nothing is bought from distributor `ingrm` yet",
            "a.csv:7 currency `EURO` is not one of ISO 4217",
            "a.csv:8 SKU `F` has neither a price group nor a cost",
            "a.csv:9 count rule `most` is none of high_water, distinct, month_end, average",
            "a.csv:10 `min_days` is `32`, not a number of days up to 31",
            "a.csv:11 `free_first_month` is `maybe`, neither yes nor no",
            "a.csv:12 mode `cheapest` is none of volume, graduated",
            "a.csv:14 SKU `K` is in line 13 already",
        ]
    );
}

#[test]
fn skus_of_a_group_have_to_agree_and_their_group_needs_tiers() {
    let head = "sku,distributor,currency,price_group,cost\n";
    let text = format!(
        "{head}A,ingram,EUR,g,1\nB,td,EUR,g,1\nC,ingram,USD,g,1\nD,ingram,EUR,g,2\nE,ingram,EUR,h,\n"
    );
    let two = Terms { new_distributors: ["ingram".to_owned(), "td".to_owned()].into(), ..Terms::default() };
    assert_eq!(
        faults(&two, &[&text]),
        [
            "a.csv:3 price group `g` has distributor `td` here, but `ingram` in line 2",
            "a.csv:4 price group `g` has currency `USD` here, but `EUR` in line 2",
            "a.csv:5 price group `g` has cost `2` here, but `1` in line 2",
            "a.csv:6 price group `h` has no tiers",
        ]
    );
}

#[test]
fn tiers_have_to_rise_and_belong_to_a_group() {
    let tiers =
        "price_group,from,cost,mode\nwf,1,2.10,\nwf,25,1.80,graduated\nwf,10,1.90,\nwf,1.5,1,\nnone,1,1,\n";
    assert_eq!(
        faults(&ingram(), &[SKUS, tiers]),
        [
            "b.csv:3 price group `wf` has another mode than in its first tier",
            "b.csv:5 `from` is `1.5`, not a whole number of units",
            "b.csv:6 price group `none` is not known: no SKU is in it",
        ]
    );
    let falling = "price_group,from,cost\nwf,25,1.80\nwf,10,1.90\nwf,25,1.70\n";
    assert_eq!(
        faults(&ingram(), &[SKUS, falling]),
        [
            "b.csv:3 the tier from 10 of `wf` comes after the one from 25: tiers have to rise",
            "b.csv:4 the tier from 25 of `wf` comes after the one from 25: tiers have to rise",
        ]
    );
    let both = "sku,distributor,currency,price_group,cost\nA,ingram,EUR,wf,1\n";
    assert_eq!(
        faults(&ingram(), &[both, TIERS])[0],
        "b.csv:2 price group `wf` has tiers here and a cost beside its SKUs"
    );
}

#[test]
fn sell_prices_are_of_known_skus_to_known_customers_in_the_currency_they_are_bought_in() {
    let sell = "sku,customer,price,currency\nWF-SVC,cus_none,1,\nWF-SVC,Acme,1,\nNONE,,1,\nWF-SVC,,1,USD\nWF-ADV,,1,EUR\n\
        WF-ADV,,2,EUR\nDSM,,1,USD\n";
    let told = faults(&ingram(), &[SKUS, TIERS, sell]);
    assert!(told[1].starts_with("c.csv:3 `Acme` is not a customer id"), "{told:?}");
    assert_eq!(
        [&told[0], &told[2], &told[3], &told[4]],
        [
            "c.csv:2 customer `cus_none` is not known here",
            "c.csv:4 SKU `NONE` is in no price list and in no policy",
            "c.csv:5 SKU `WF-SVC` is sold in USD here, but bought in EUR",
            "c.csv:7 the price of SKU `WF-ADV` to everybody is in line 6 already",
        ]
    );
    assert_eq!(told.len(), 5);
}

#[test]
fn a_list_without_some_of_its_distributors_skus_is_refused_until_somebody_says_what_becomes_of_them() {
    let book = in_force(&[SKUS, TIERS, SELL]);
    let less = "sku,distributor,currency,price_group\nWF-SVC,ingram,EUR,wf\n";
    let problems = checked(&book, &Terms::default(), &[less]).unwrap_err();
    assert_eq!(
        problems.first[0].what,
        "1 SKU(s) of the same distributor are not in the list any more: `WF-ADV`"
    );
    let with = |gone| checked(&book, &Terms { gone, ..Terms::default() }, &[less]).unwrap().list;
    let advanced: Sku = "WF-ADV".parse().unwrap();
    assert_eq!(with(Gone::Keep).skus.get(&advanced), None);
    assert_eq!(with(Gone::Drop).skus.get(&advanced), Some(&None));
    let other = "sku,distributor,currency,cost\nX,td,USD,1\n";
    let td = Terms { new_distributors: ["td".to_owned()].into(), ..Terms::default() };
    assert_eq!(checked(&book, &td, &[other]).unwrap().gone, []);
}

#[test]
fn new_tiers_of_a_known_group_need_no_skus_beside_them() {
    let book = in_force(&[SKUS, TIERS]);
    let list = checked(&book, &Terms::default(), &["price_group,from,cost\nwf,1,2.00\n"]).unwrap().list;
    assert_eq!((list.groups["wf"].distributor.as_str(), list.groups["wf"].tiers.len()), ("ingram", 1));
}

#[test]
fn skus_of_a_known_group_need_no_tiers_until_it_changes_its_distributor_or_currency() {
    let book = in_force(&[SKUS, TIERS]);
    let head = "sku,distributor,currency,price_group\n";
    let two = Terms {
        new_distributors: ["ingram".to_owned(), "td".to_owned()].into(),
        gone: Gone::Keep,
        ..Terms::default()
    };
    let import = |row: &str| checked(&book, &two, &[&format!("{head}{row}\n")]);
    let same = import("NEW,ingram,EUR,wf").unwrap().list;
    assert!(same.groups.is_empty() && same.skus.len() == 1, "it has the tiers it had");
    for row in ["NEW,td,EUR,wf", "NEW,ingram,USD,wf"] {
        let told = import(row).unwrap_err().first;
        let words: Vec<&str> = told.iter().map(|problem| problem.what.as_str()).collect();
        assert_eq!(words, ["price group `wf` changes its distributor or currency, which needs new tiers"]);
    }
}

#[test]
fn an_import_of_nothing_or_of_too_much_is_refused() {
    assert_eq!(faults(&ingram(), &[]), [":0 no file was named"]);
    assert_eq!(faults(&ingram(), &[""]), ["a.csv:0 it is empty"]);
    let huge = "x".repeat(BYTES_MAX + 1);
    assert_eq!(
        faults(&ingram(), &[&huge]),
        ["a.csv:0 the files have 67108865 bytes, more than an import can have (67108864)"]
    );
}
