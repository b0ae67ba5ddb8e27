//! What others say of a sealed month: noted, imported, explained, and in the way of the next one until then.

use seatbeat_ledger::reconciliation::why::Why;

use super::*;
use crate::console::reconcile::{InvoiceTaken, Noted, Reconciled, note_provisioned};
use crate::distributor::connector::FarSeats;
use crate::journal::Position;

const PRICED: &str = "zone = \"Europe/Berlin\"\n[default_sku]\ndsa = \"DS\"\n[sku.DS]\nprice_group = \"ds\"\n\
    [price_group.ds]\ndistributor = \"ingram\"\ncurrency = \"EUR\"\ntiers = [{ from = 1, cost = \"2.10\" }]\n";

const COLUMNS: &str = "customer = \"Company\"\nsku = \"Part\"\nquantity = \"Qty\"\namount = \"Net\"\n\
    currency = \"Cur\"\n[skus]\n\"TM-1\" = \"DS\"\n";

/// A seat in October and in November; October is sealed, and it is the middle of November.
async fn sealed() -> House {
    let house = House::founded("2026-10-15T12:00:00Z");
    let set = wire::SetPolicyRequest { toml: PRICED.to_owned(), ..Default::default() };
    house.client().set_policy(set).await.unwrap();
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    let house = house.again("2026-11-05T12:00:00Z").await;
    house.console.closing.run().await;
    let house = house.again("2026-11-20T12:00:00Z").await;
    machine.reports(&house, "dsa").await;
    house
}

async fn noted(house: &House, provisioned: u64) -> Noted {
    let seats = |line: Option<&str>, called: &str, provisioned| FarSeats {
        line: line.map(|customer| (customer.parse().unwrap(), "DS".parse().unwrap())),
        called: called.to_owned(),
        provisioned: Some(provisioned),
        used: Some(1),
    };
    let seats = vec![
        seats(Some("cus_acme"), "Acme Rockets", provisioned - 1),
        seats(Some("cus_acme"), "Acme Rockets", 1),
        seats(None, "Stranger Ltd", 5),
        seats(Some("cus_gone"), "Gone Ltd", 2),
    ];
    let books = &house.console.books;
    note_provisioned(books, "lmpi", ("ingram", "2026-10".parse().unwrap()), seats).await.unwrap()
}

async fn reconciled(house: &House) -> Reconciled {
    let request = wire::ReconcileRequest { period: "2026-10".to_owned(), ..Default::default() };
    let reply = house.client().reconcile(request).await.unwrap().into_inner();
    serde_json::from_str(&reply.json).unwrap()
}

fn explain(sku: &str, reason: &str) -> wire::ExplainDifferenceRequest {
    wire::ExplainDifferenceRequest {
        period: "2026-10".to_owned(),
        customer: "cus_acme".to_owned(),
        sku: sku.to_owned(),
        reason: reason.to_owned(),
        ..Default::default()
    }
}

fn invoice(text: &str, dry_run: bool) -> Vec<wire::InvoiceImport> {
    let terms = wire::InvoiceTerms {
        period: "2026-10".to_owned(),
        file: "i.csv".to_owned(),
        columns: COLUMNS.to_owned(),
        dry_run,
        ..Default::default()
    };
    let pieces = text.as_bytes().chunks(7);
    let pieces = pieces.map(|piece| wire::InvoiceImport { terms: None, piece: piece.to_vec() });
    std::iter::once(wire::InvoiceImport { terms: Some(terms), piece: Vec::new() }).chain(pieces).collect()
}

async fn taken(house: &House, text: &str, dry_run: bool) -> InvoiceTaken {
    let messages = tokio_stream::iter(invoice(text, dry_run));
    let reply = house.client().import_invoice(messages).await.unwrap().into_inner();
    serde_json::from_str(&reply.json).unwrap()
}

fn size(house: &House) -> u64 {
    house.console.books.read(seatbeat_ledger::fold::Fold::position)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_in_the_way_of_the_next_month_until_it_is_explained() {
    let house = sealed().await;
    let first = noted(&house, 9).await;
    let called: Vec<&str> = first.unnamed.iter().map(|one| one.called.as_str()).collect();
    assert_eq!((first.lines, called, first.is_new), (1, vec!["Stranger Ltd", "Gone Ltd"], true));
    let known = size(&house);
    assert_eq!((noted(&house, 9).await.is_new, size(&house)), (false, known), "it was known");
    for (_, record) in house.console.books.records(Position(0), known as usize).unwrap() {
        let text = String::from_utf8_lossy(&record).into_owned();
        assert!(["Stranger", "Gone Ltd", "Rockets"].iter().all(|name| !text.contains(name)), "{text}");
    }
    let found = reconciled(&house).await;
    let one = &found.compared[0];
    assert_eq!(
        (one.source.as_str(), one.ours.to_string(), one.theirs.to_string()),
        ("lmpi", "1".into(), "9".into())
    );
    assert_eq!((one.unmapped.subscriptions, one.unmapped.seats, one.open), (2, 7, 1));
    assert_eq!((one.rows[0].customer_name.as_str(), &one.rows[0].why), ("Name of cus_acme", &Why::Unknown));
    assert_eq!(one.rows[0].difference.money.unwrap().to_string(), "16.80");

    let house = house.again("2026-12-05T12:00:00Z").await;
    house.console.closing.run().await;
    let alarms = house.client().status(wire::StatusRequest::default()).await.unwrap().into_inner().alarms;
    assert!(alarms.join("\n").contains("open_differences"), "{alarms:?}");
    let period = wire::PeriodRequest { period: "2026-11".to_owned(), after_position: 0 };
    let draft = house.client().draft_statement(period.clone()).await.unwrap().into_inner();
    assert!(!draft.json.contains("open_differences"), "{}", draft.json);
    let seal = wire::SealRequest { period: "2026-11".to_owned(), digest: draft.digest, ..Default::default() };
    refused(house.client().seal_statement(seal), Reason::Blocked, r#""blocker":"open_differences""#).await;

    refused(house.client().explain_difference(explain("DS", " ")), Reason::Invalid, "reason is missing")
        .await;
    refused(house.client().explain_difference(explain("X", "why")), Reason::Invalid, "does not differ").await;
    let reply =
        house.client().explain_difference(explain("DS", "a rack of theirs")).await.unwrap().into_inner();
    assert!(reply.json.contains(r#""open":0"#), "{}", reply.json);
    let explained = reconciled(&house).await.compared[0].rows[0].explained.clone().unwrap();
    assert_eq!(explained.reason, "a rack of theirs");
    house.console.closing.run().await;
    house.client().show_statement(period).await.unwrap();

    noted(&house, 12).await;
    assert_eq!(reconciled(&house).await.compared[0].open, 1, "they say something else now");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_taken_whole_or_not_at_all_and_customers_are_found_by_what_they_are_called() {
    let house = sealed().await;
    let set = wire::SetCustomerRequest {
        customer: "cus_acme".to_owned(),
        customer_ref: Some("K-17".to_owned()),
        ..Default::default()
    };
    house.client().set_customer(set).await.unwrap();
    let before = size(&house);
    let bad =
        taken(&house, "Company,Part,Qty,Net,Cur\nk-17,TM-1,1,2.10,EUR\nNobody,TM-1,1,1,EUR\n", false).await;
    let problems = bad.problems.unwrap();
    assert_eq!((problems.count, problems.first[0].line), (1, 3));
    let dollars = taken(&house, "Company,Part,Qty,Net,Cur\nk-17,TM-1,1,2.10,USD\n", false).await;
    assert!(dollars.problems.unwrap().first[0].what.contains("sealed in EUR"));
    let text = "Company,Part,Qty,Net,Cur\nname OF cus_acme,TM-1,1,2.50,EUR\n";
    let asked = taken(&house, text, true).await;
    let row = &asked.compared.as_ref().unwrap().rows[0];
    assert_eq!((asked.is_new, &row.why, row.is_open), (false, &Why::Price, true));
    assert_eq!((size(&house), reconciled(&house).await.compared.len()), (before, 0), "nothing was written");
    assert!(taken(&house, text, false).await.is_new);
    let known = size(&house);
    assert!(!taken(&house, text, false).await.is_new);
    assert_eq!(size(&house), known, "it says what was known");
    assert_eq!(reconciled(&house).await.compared[0].open, 1);
    taken(&house, "Company,Part,Qty,Net,Cur\ncus_acme,DS,1,2.10,EUR\n", false).await;
    let found = reconciled(&house).await;
    assert_eq!((found.compared[0].open, found.compared[0].total), (0, 0), "the invoice was put right");

    noted(&house, 9).await;
    taken(&house, text, false).await;
    let mut client = house.client();
    let both = client.explain_difference(explain("DS", "why"));
    refused(both, Reason::Invalid, "differs in several: invoice of ingram, lmpi of ingram").await;
    let one = wire::ExplainDifferenceRequest { source: "lmpi".to_owned(), ..explain("DS", "why") };
    house.client().explain_difference(one).await.unwrap();
    let open: Vec<u64> = reconciled(&house).await.compared.iter().map(|one| one.open).collect();
    assert_eq!(open, [1, 0]);
    house.client().explain_difference(explain("DS", "the only one left")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_sealed_is_compared() {
    let house = sealed().await;
    let of = |period: &str, distributor: &str| wire::ReconcileRequest {
        period: period.to_owned(),
        distributor: distributor.to_owned(),
        ..Default::default()
    };
    refused(house.client().reconcile(of("2026-11", "")), Reason::NotSealed, "2026-11 is not sealed").await;
    refused(house.client().reconcile(of("2026-10", "td")), Reason::Invalid, "sealed are those of ingram")
        .await;
    let source = wire::ReconcileRequest { source: "two\nlines".to_owned(), ..of("2026-10", "") };
    refused(house.client().reconcile(source), Reason::Invalid, "`source` is none").await;
    let books = &house.console.books;
    let november = note_provisioned(books, "lmpi", ("ingram", "2026-11".parse().unwrap()), Vec::new()).await;
    assert_eq!(november.unwrap_err().reason(), Reason::NotSealed);
    let named = note_provisioned(books, "invoice", ("ingram", "2026-10".parse().unwrap()), Vec::new()).await;
    assert_eq!(named.unwrap_err().reason(), Reason::Invalid);
    let mut columns = invoice("x", false);
    columns[0].terms.as_mut().unwrap().columns = "customer = 7".to_owned();
    let mut client = house.client();
    let asked = client.import_invoice(tokio_stream::iter(columns));
    refused(asked, Reason::Invalid, "the columns file cannot be used").await;
    let asked = client.import_invoice(tokio_stream::iter(Vec::new()));
    refused(asked, Reason::Invalid, "came without its terms").await;
}
