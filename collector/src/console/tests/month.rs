//! A month: used, drafted, sealed, exported.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_the_month_to_date_of_one_customer_or_all() {
    let house = House::founded("2026-10-15T12:00:00Z");
    for customer in ["cus_acme", "cus_other"] {
        house.customer(customer).await;
        let mut machine = house.machine(&house.token(customer).await).await;
        machine.reports(&house, "dsa").await;
        machine.reports(&house, "spnt").await;
    }
    let mut client = house.client();
    let all = client.usage(wire::UsageRequest::default()).await.unwrap().into_inner();
    assert_eq!((all.period.as_str(), all.rows.len(), all.blockers.len()), ("2026-10", 2, 2));
    let request = wire::UsageRequest { customer: "cus_acme".to_owned(), ..Default::default() };
    let one = client.usage(request).await.unwrap().into_inner();
    let row = &one.rows[0];
    assert_eq!((one.rows.len(), one.blockers.len()), (1, 1));
    assert_eq!(
        (row.customer_name.as_str(), row.sku.as_str(), row.quantity.as_str()),
        ("Name of cus_acme", "DS", "1")
    );
    assert_eq!((row.revenue.as_str(), row.cost.as_str()), ("4.00", ""));
    let request = wire::UsageRequest { period: "2026-13".to_owned(), ..Default::default() };
    refused(client.usage(request), Reason::Invalid, "`2026-13` is not a period").await;
    let request = wire::UsageRequest { customer: "cus_x".to_owned(), ..Default::default() };
    refused(client.usage(request), Reason::UnknownCustomer, "`cus_x`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_sealed_once_from_exactly_the_draft_that_was_approved() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    let period = || wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let seal = |digest: &str| wire::SealRequest {
        period: "2026-10".to_owned(),
        digest: digest.to_owned(),
        reason: "checked".to_owned(),
    };
    let mut client = house.client();
    let draft = client.draft_statement(period()).await.unwrap().into_inner();
    assert_eq!(draft.state, "open");
    refused(client.seal_statement(seal(&draft.digest)), Reason::NotOver, "is not over").await;
    refused(client.show_statement(period()), Reason::NotSealed, "is not sealed").await;

    drop(client);
    let house = house.again("2026-11-02T12:00:00Z").await;
    let mut client = house.client();
    refused(client.seal_statement(seal(&draft.digest)), Reason::DraftChanged, "has the digest").await;
    let draft = client.draft_statement(period()).await.unwrap().into_inner();
    assert_eq!(draft.state, "grace");
    refused(client.seal_statement(seal(&draft.digest)), Reason::InGrace, "may still arrive until").await;

    drop(client);
    let house = house.again("2026-11-05T12:00:00Z").await;
    let mut client = house.client();
    let draft = client.draft_statement(period()).await.unwrap().into_inner();
    assert_eq!(draft.state, "draft");
    let sealed = client.seal_statement(seal(&draft.digest)).await.unwrap().into_inner();
    assert_eq!(sealed.statements[0].revision, 1);
    assert!(sealed.earnings_json.contains("\"4.00\""), "{}", sealed.earnings_json);
    let key = house.console.books.keys().statement().verifying_key();
    let verified = seatbeat_ledger::sealed::verify(&sealed.statements[0].file, Some(&key)).unwrap();
    assert_eq!(verified.body["lines"][0]["customer"], "cus_acme");
    let shown = client.show_statement(period()).await.unwrap().into_inner();
    assert_eq!(shown.statements, sealed.statements);
    refused(client.seal_statement(seal(&draft.digest)), Reason::AlreadySealed, "is sealed already").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_blocks_a_month_is_named() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "spnt").await;
    let house = house.again("2026-11-05T12:00:00Z").await;
    let mut client = house.client();
    let period = wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let digest = client.draft_statement(period).await.unwrap().into_inner().digest;
    let seal = wire::SealRequest { period: "2026-10".to_owned(), digest, reason: String::new() };
    refused(client.seal_statement(seal), Reason::Blocked, "unmapped_product").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_meters_the_export_comes_to_the_sealed_statement() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    let house = house.again("2026-11-05T12:00:00Z").await;
    let mut client = house.client();
    let period = || wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let draft = client.draft_statement(period()).await.unwrap().into_inner();
    let seal =
        wire::SealRequest { period: "2026-10".to_owned(), digest: draft.digest, reason: String::new() };
    client.seal_statement(seal).await.unwrap();
    // What comes after the cut is not part of it.
    machine.reports(&house, "dsa").await;

    let mut chunks = client.export_records(period()).await.unwrap().into_inner();
    let (mut records, mut policy) = (String::new(), String::new());
    while let Some(chunk) = chunks.message().await.unwrap() {
        records.push_str(&chunk.records_jsonl);
        policy.push_str(&chunk.policy_toml);
    }
    assert_eq!((records.lines().count(), policy.as_str()), (2, POLICY));
    let period: Period = "2026-10".parse().unwrap();
    let input = MeterInput { records: &records, policy: &policy, period, as_of: None, sealed: None };
    assert_eq!(meter(input).unwrap().to_json(), draft.json);
}
