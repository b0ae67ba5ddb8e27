//! Price lists as an operator brings them in: whole or not at all, from a month on.

use seatbeat_ledger::prices::staging;
use seatbeat_ledger::prices::{GroupTerms, PriceList};
use seatbeat_proto::ids::PriceListId;

use super::*;
use crate::console::prices::PriceImported;

const SKUS: &str = "sku,name,distributor,currency,price_group\nDS,Deep Security,ingram,EUR,deep\n";
const TIERS: &str = "price_group,from,cost\ndeep,1,2.10\ndeep,3,1.50\n";

fn terms(from: &str) -> wire::PriceImportTerms {
    wire::PriceImportTerms {
        valid_from: from.to_owned(),
        new_distributors: vec!["ingram".to_owned()],
        ..Default::default()
    }
}

async fn import(house: &House, terms: wire::PriceImportTerms, files: &[(&str, &str)]) -> PriceImported {
    let mut messages = vec![wire::PriceImport { terms: Some(terms), ..Default::default() }];
    for (name, text) in files {
        messages.push(wire::PriceImport { file: (*name).to_owned(), ..Default::default() });
        let pieces = text.as_bytes().chunks(100 * 1024);
        messages
            .extend(pieces.map(|piece| wire::PriceImport { piece: piece.to_vec(), ..Default::default() }));
    }
    let reply = house.client().import_prices(tokio_stream::iter(messages)).await.unwrap().into_inner();
    serde_json::from_str(&reply.json).unwrap()
}

/// Unit cost, cost and revenue of the only line in a month.
async fn line(house: &House, period: &str) -> [String; 3] {
    let request = wire::UsageRequest { period: period.to_owned(), ..Default::default() };
    let rows = house.client().usage(request).await.unwrap().into_inner().rows;
    rows.into_iter().next().map(|row| [row.unit_cost, row.cost, row.revenue]).unwrap_or_default()
}

async fn exported(house: &House, period: &str) -> Vec<(String, String)> {
    let request = wire::PeriodRequest { period: period.to_owned(), after_position: 0 };
    let mut chunks = house.client().export_prices(request).await.unwrap().into_inner();
    let mut files: Vec<(String, String)> = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        if !chunk.name.is_empty() {
            files.push((chunk.name, String::new()));
        }
        files.last_mut().unwrap().1.push_str(std::str::from_utf8(&chunk.piece).unwrap());
    }
    files
}

async fn with_a_machine(at: &str) -> House {
    let house = House::founded(at);
    house.customer("cus_acme").await;
    let token = house.token("cus_acme").await;
    house.machine(&token).await.reports(&house, "dsa").await;
    house
}

#[tokio::test]
async fn a_list_holds_from_its_month_on_survives_a_restart_and_comes_out_as_it_went_in() {
    let house = with_a_machine("2026-10-31T12:00:00Z").await;
    let sell = "sku,customer,price\nDS,,3.00\nDS,cus_acme,2.75\n";
    let files = [("skus.csv", SKUS), ("tiers.csv", TIERS), ("sell.csv", sell)];
    let asked = import(&house, wire::PriceImportTerms { dry_run: true, ..terms("2026-11") }, &files).await;
    assert_eq!((asked.list, asked.changes.unwrap().counts.new), (None, 1));
    let imported = import(&house, terms("2026-11"), &files).await;
    assert!(imported.list.is_some() && imported.problems.is_none());
    assert_eq!(line(&house, "2026-10").await, ["", "", "4.00"]);
    let house = house.again("2026-11-02T12:00:00Z").await;
    assert_eq!(line(&house, "2026-11").await, ["2.10", "2.10", "2.75"]);
    let written = exported(&house, "2026-11").await;
    let again: Vec<(&str, &str)> =
        written.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let imported = import(&house, terms("2026-11"), &again).await;
    assert_eq!((imported.list, imported.problems), (None, None));
    assert!(imported.changes.unwrap().counts.is_nothing());
}

#[tokio::test]
async fn a_list_with_a_bad_row_changes_nothing_and_tells_the_row() {
    let house = with_a_machine("2026-10-31T12:00:00Z").await;
    let before = house.console.books.read(seatbeat_ledger::fold::Fold::position);
    let sell = "sku,customer,price\nDS,cus_nobody,2.75\n";
    let files = [("skus.csv", SKUS), ("tiers.csv", TIERS), ("sell.csv", sell)];
    let problems = import(&house, terms("2026-10"), &files).await.problems.unwrap();
    assert_eq!((problems.count, problems.first[0].line), (1, 2));
    assert_eq!(problems.first[0].what, "customer `cus_nobody` is not known here");
    assert_eq!(house.console.books.read(seatbeat_ledger::fold::Fold::position), before);
}

#[tokio::test]
async fn a_collector_that_ends_between_the_parts_of_a_list_has_none_of_it() {
    let house = with_a_machine("2026-10-31T12:00:00Z").await;
    let mut list = PriceList::default();
    let group = GroupTerms {
        distributor: "ingram".to_owned(),
        currency: "EUR".to_owned(),
        mode: Default::default(),
        tiers: vec![(1, "9".parse().unwrap())],
    };
    list.groups.extend((0..5000).map(|number| (format!("group-{number}"), group.clone())));
    let parts = staging::parts(&PriceListId::random(), &list);
    assert!(parts.len() > 1);
    for part in &parts[..parts.len() - 1] {
        house.write(Fact::PricesStaged(part.clone())).await;
    }
    let house = house.again("2026-10-31T13:00:00Z").await;
    assert_eq!(house.console.books.read(|fold| fold.terms().prices().revision()), 0);
    let rest = parts.last().unwrap().clone();
    let (id, count) = (rest.list.clone(), rest.part + 1);
    let applied = |parts| wire::PricesApplied {
        list: id.clone(),
        parts,
        valid_from: "2026-10".to_owned(),
        revision: 1,
    };
    house.write(Fact::PricesApplied(applied(count))).await;
    assert_eq!(house.console.books.read(|fold| fold.terms().prices().revision()), 0);
    let imported = import(&house, terms("2026-10"), &[("skus.csv", SKUS), ("tiers.csv", TIERS)]).await;
    assert!(imported.list.is_some());
    assert_eq!(line(&house, "2026-10").await[0], "2.10");
}

#[tokio::test]
async fn a_large_list_passes_the_door_and_the_journal_in_parts() {
    let house = House::founded("2026-10-31T12:00:00Z");
    let mut customers = Vec::new();
    for number in 0..50 {
        let customer = format!("cus_customer_{number:04}");
        house.customer(&customer).await;
        customers.push(customer);
    }
    let (mut skus, mut sell) =
        ("sku,distributor,currency,cost\n".to_owned(), "sku,customer,price\n".to_owned());
    for number in 0..400 {
        skus.push_str(&format!("SKU-{number:03},ingram,EUR,1.{number:03}\n"));
        for customer in &customers {
            sell.push_str(&format!("SKU-{number:03},{customer},2.{number:03}\n"));
        }
    }
    assert!(sell.len() > 2 * seatbeat_proto::wire::MESSAGE_LENGTH_MAX);
    let imported = import(&house, terms("2026-10"), &[("skus.csv", &skus), ("sell.csv", &sell)]).await;
    assert_eq!(imported.changes.unwrap().counts.prices_other, 20_000);
    let policy = house.console.books.read(|fold| fold.terms().policy("2026-10".parse().unwrap()).unwrap());
    assert_eq!(policy.price.values().map(std::collections::BTreeMap::len).sum::<usize>(), 20_001);
    let written = exported(&house, "2026-10").await;
    assert_eq!(written[2].1.lines().count(), 20_001);
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_by_name() {
    let house = House::founded("2026-10-31T12:00:00Z");
    let mut client = house.client();
    let nothing = tokio_stream::iter(Vec::<wire::PriceImport>::new());
    refused(client.import_prices(nothing), Reason::Invalid, "came without its terms").await;
    let stray = wire::PriceImport { terms: Some(terms("2026-10")), piece: vec![1], ..Default::default() };
    refused(client.import_prices(tokio_stream::iter([stray])), Reason::Invalid, "a piece of no file").await;
    let month = wire::PriceImport { terms: Some(terms("soon")), ..Default::default() };
    refused(client.import_prices(tokio_stream::iter([month])), Reason::Invalid, "`soon` is not a period")
        .await;
    let gone = wire::PriceImportTerms { gone: "sell".to_owned(), ..terms("2026-10") };
    let gone = wire::PriceImport { terms: Some(gone), ..Default::default() };
    refused(client.import_prices(tokio_stream::iter([gone])), Reason::Invalid, "`gone` is neither").await;
}
