//! What goes out as a file, over the operator door.

use super::*;
use crate::outputs::document::Document;

pub(super) const PRICED: &str = "zone = \"Europe/Berlin\"\npresume_days = 31\n[default_sku]\ndsa = \"DS\"\n[sku.DS]\nprice_group = \"g\"\n\
    [price_group.g]\ndistributor = \"ingram\"\ncurrency = \"EUR\"\ntiers = [{ from = 1, cost = \"2.10\" }, \
    { from = 10, cost = \"1.50\" }]\n[price.DS]\nreseller = \"4.00\"\n";

async fn file(house: &House, request: wire::DocumentRequest) -> Result<Vec<u8>, Status> {
    let mut chunks = house.client().document(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        bytes.extend(chunk.piece);
    }
    Ok(bytes)
}

fn asked(kind: &str, format: &str) -> wire::DocumentRequest {
    let (kind, format, period) = (kind.to_owned(), format.to_owned(), "2026-10".to_owned());
    wire::DocumentRequest { kind, format, period, ..Default::default() }
}

async fn text(house: &House, request: wire::DocumentRequest) -> String {
    String::from_utf8(file(house, request).await.unwrap()).unwrap()
}

/// One seat of a customer whose name is a trap for spreadsheets and pages.
async fn october(at: &str) -> House {
    let house = House::founded("2026-10-20T12:00:00Z");
    let mut client = house.client();
    let policy = wire::SetPolicyRequest { toml: PRICED.to_owned(), ..Default::default() };
    client.set_policy(policy).await.unwrap();
    house.customer("cus_acme").await;
    let request = wire::SetCustomerRequest {
        customer: "cus_acme".to_owned(),
        name: Some("=2+5<script>".to_owned()),
        customer_ref: Some("K-17".to_owned()),
        tax_code: None,
    };
    client.set_customer(request).await.unwrap();
    let token = house.token("cus_acme").await;
    house.machine(&token).await.reports(&house, "dsa").await;
    drop(client);
    house.again(at).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_goes_out_without_sell_prices_and_with_names_only_where_asked() {
    let house = october("2026-11-05T12:00:00Z").await;
    let csv = text(&house, asked("statement", "csv")).await;
    assert!(csv.contains("\r\n2026-10,cus_acme,,DS,high_water,") && csv.contains("2.10,2.10,EUR"), "{csv}");
    for format in ["csv", "json", "html", "document"] {
        let file = text(&house, asked("statement", format)).await;
        assert!(!file.contains("4.00") && !file.contains("script"), "{format}: {file}");
    }
    let named = text(&house, wire::DocumentRequest { names: true, ..asked("statement", "csv") }).await;
    assert!(named.contains(",cus_acme,'=2+5<script>,DS,"), "{named}");
    let page = text(&house, wire::DocumentRequest { names: true, ..asked("statement", "html") }).await;
    assert!(page.contains("=2+5&lt;script&gt;") && page.contains("draft: not sealed"));
    let book = file(&house, asked("statement", "xlsx")).await.unwrap();
    assert!(book.starts_with(b"PK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_month_is_shown_as_it_was_sealed_and_billed_with_the_customers_own_words() {
    let house = october("2026-11-05T12:00:00Z").await;
    let request = wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let draft = house.client().draft_statement(request).await.unwrap().into_inner();
    let seal = wire::SealRequest { period: draft.period, digest: draft.digest, ..Default::default() };
    house.client().seal_statement(seal).await.unwrap();
    let dearer = wire::SetPolicyRequest { toml: PRICED.replace("2.10", "9"), ..Default::default() };
    house.client().set_policy(dearer).await.unwrap();
    let sealed: Document = serde_json::from_str(&text(&house, asked("statement", "document")).await).unwrap();
    assert_eq!(sealed.facts.last().unwrap().1, "sealed, revision 1");
    assert_eq!(sealed.tables[0].rows[0][13].shown(), "2.10");
    let csv = text(&house, asked("invoices", "csv")).await;
    assert_eq!(csv.lines().nth(1).unwrap(), "cus_acme,K-17,2026-10,DS,\"DS, 2026-10\",1,4.00,4.00,EUR,");
    let xero =
        text(&house, wire::DocumentRequest { mapping: "xero".to_owned(), ..asked("invoices", "csv") }).await;
    assert!(xero.lines().nth(1).unwrap().starts_with("'=2+5<script>,,"), "{xero}");
}

#[tokio::test(flavor = "multi_thread")]
async fn earnings_stand_beside_yearly_licences_at_the_margin_that_is_asked() {
    let house = october("2026-10-21T12:00:00Z").await;
    let earned = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let classic = earned(text(&house, asked("earnings", "json")).await);
    let total = &classic["totals"][0];
    assert_eq!((total["profit"].as_str(), total["licence_profit"].as_str()), (Some("1.90"), Some("0.80")));
    let request = wire::DocumentRequest { licence_margin: "0.5".to_owned(), ..asked("earnings", "json") };
    assert_eq!(earned(text(&house, request).await)["totals"][0]["difference"], "-0.10");
    let request = wire::DocumentRequest { licence_margin: "20".to_owned(), ..asked("earnings", "json") };
    refused(file(&house, request), Reason::Invalid, "`20` is not a margin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_and_a_question_rest_on_the_seats_of_today() {
    let house = october("2026-10-21T12:00:00Z").await;
    let forecast: serde_json::Value =
        serde_json::from_str(&text(&house, asked("forecast", "json")).await).unwrap();
    let line = &forecast["lines"][0];
    assert_eq!((line["expected"].as_str(), line["cost"].as_str()), (Some("1"), Some("2.10")));
    assert_eq!((forecast["days_begun"].as_u64(), forecast["days"].as_u64()), (Some(21), Some(31)));
    let request = wire::WhatIfRequest { sku: "DS".to_owned(), seats: 9, ..Default::default() };
    let reply = house.client().what_if(request).await.unwrap().into_inner();
    let answer: serde_json::Value = serde_json::from_str(&reply.json).unwrap();
    assert_eq!(
        (answer["then"]["cost"].as_str(), answer["now"]["next_tier"]["missing"].as_str()),
        (Some("15.00"), Some("9"))
    );
    let request = wire::WhatIfRequest { sku: "NONE".to_owned(), ..Default::default() };
    refused(house.client().what_if(request), Reason::Invalid, "SKU `NONE` has no price group").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_is_refused_by_name() {
    let house = october("2026-10-21T12:00:00Z").await;
    for (request, words) in [
        (asked("statement", "pdf"), "`pdf` is none of json, csv, xlsx, html"),
        (asked("secrets", "csv"), "`kind` is none of"),
        (
            wire::DocumentRequest { mapping: "sage".to_owned(), ..asked("invoices", "csv") },
            "the mapping does not parse",
        ),
        (
            wire::DocumentRequest { distributor: "nobody".to_owned(), ..asked("statement", "csv") },
            "`distributor` is in no statement",
        ),
    ] {
        refused(file(&house, request), Reason::Invalid, words).await;
    }
    let customer = wire::SetCustomerRequest { customer: "cus_none".to_owned(), ..Default::default() };
    refused(house.client().set_customer(customer), Reason::UnknownCustomer, "cus_none").await;
    let long = Some("x".repeat(101));
    let customer =
        wire::SetCustomerRequest { customer: "cus_acme".to_owned(), tax_code: long, ..Default::default() };
    refused(house.client().set_customer(customer), Reason::Invalid, "the tax code is not a line").await;
}
