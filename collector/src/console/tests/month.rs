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
        supersede: false,
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
    let seal = wire::SealRequest { period: "2026-10".to_owned(), digest, ..Default::default() };
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
    let seal = wire::SealRequest { period: "2026-10".to_owned(), digest: draft.digest, ..Default::default() };
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

fn october() -> wire::PeriodRequest {
    wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 }
}

async fn states(house: &House) -> Vec<String> {
    let list = house.client().list_statements(wire::ListRequest::default()).await.unwrap().into_inner();
    list.statements.iter().map(|one| format!("{} {}", one.period, one.state)).collect()
}

/// A month with one seat, ready to be sealed.
async fn ready() -> (House, Machine) {
    let house = House::founded("2026-10-25T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    (house.again("2026-11-05T12:00:00Z").await, machine)
}

async fn sealed(house: &House, supersede: bool, reason: &str) -> Result<wire::SealedStatements, Status> {
    let mut client = house.client();
    let draft = client.draft_statement(october()).await.unwrap().into_inner();
    let (period, digest, reason) = (draft.period, draft.digest, reason.to_owned());
    let seal = wire::SealRequest { period, digest, reason, supersede };
    client.seal_statement(seal).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_month_is_superseded_while_it_differs_and_nothing_rests_on_it() {
    let (house, mut machine) = ready().await;
    assert_eq!(states(&house).await, ["2026-10 draft", "2026-11 open"]);
    refused(sealed(&house, true, "again"), Reason::NotSealed, "is not sealed").await;
    sealed(&house, false, "").await.unwrap();
    let words = "what it would say is what was sealed";
    refused(sealed(&house, true, "again"), Reason::NotSuperseded, words).await;

    let adjusted = wire::Adjusted {
        customer: "cus_acme".to_owned(),
        sku: "DS".to_owned(),
        period: "2026-10".to_owned(),
        delta: 1,
        at_ms: 0,
    };
    house.client().amend(by_hand(Change::Adjusted(adjusted))).await.unwrap();
    refused(sealed(&house, true, " "), Reason::Invalid, "the reason is missing").await;
    refused(sealed(&house, false, "again"), Reason::AlreadySealed, "is sealed already").await;
    let second = sealed(&house, true, "a seat was forgotten").await.unwrap();
    assert_eq!(second.statements[0].revision, 2);
    let key = house.console.books.keys().statement().verifying_key();
    let body = seatbeat_ledger::sealed::verify(&second.statements[0].file, Some(&key)).unwrap().body;
    assert_eq!((&body["revision"], &body["lines"][0]["quantity"]), (&2.into(), &"2".into()), "{body:#}");
    assert_eq!(states(&house).await, ["2026-10 superseded", "2026-10 sealed", "2026-11 open"]);
    let files = house.console.closing.folder();
    assert!(files.join("2026-10-default-r1.json").exists() && files.join("2026-10-default-r2.json").exists());

    machine.reports(&house, "dsa").await;
    let house = house.again("2026-12-05T12:00:00Z").await;
    house.console.closing.run().await;
    assert_eq!(states(&house).await[2], "2026-11 sealed");
    let adjusted = wire::Adjusted {
        customer: "cus_acme".to_owned(),
        sku: "DS".to_owned(),
        period: "2026-10".to_owned(),
        delta: 5,
        at_ms: 0,
    };
    house.client().amend(by_hand(Change::Adjusted(adjusted))).await.unwrap();
    refused(sealed(&house, true, "again"), Reason::NotSuperseded, "a later month is sealed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_is_sealed_by_the_next_turn_when_its_seals_were_lost() {
    let (house, mut machine) = ready().await;
    let draft = house.console.closing.draft("2026-10".parse().unwrap(), 0).unwrap();
    let digest = draft.digest.clone();
    let approved = draft.approved(house.console.books.keys().statement());
    let approval = approved.facts().remove(0);
    house.console.books.write("opr_a", "checked", approval).await.unwrap();
    // What comes in behind the approval is not part of it.
    machine.reports(&house, "spnt").await;
    assert_eq!(states(&house).await, ["2026-10 approved", "2026-11 open"]);
    let list = house.client().list_statements(wire::ListRequest::default()).await.unwrap().into_inner();
    assert!(list.statements[0].json.contains(&digest), "{}", list.statements[0].json);

    let house = house.again("2026-11-05T13:00:00Z").await;
    house.console.closing.run().await;
    assert_eq!(states(&house).await, ["2026-10 sealed", "2026-11 open"]);
    assert!(house.console.books.read(|fold| approved.is_sealed_in(fold)), "another draft was sealed");
    let size = house.console.books.read(seatbeat_ledger::fold::Fold::position);
    house.console.closing.run().await;
    assert_eq!(house.console.books.read(seatbeat_ledger::fold::Fold::position), size, "it was sealed twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_blocked_on_its_day_waits_for_a_person_and_says_so() {
    let (house, mut machine) = ready().await;
    let house = house.again("2026-10-26T12:00:00Z").await;
    machine.reports(&house, "spnt").await;
    let house = house.again("2026-11-05T12:00:00Z").await;
    house.console.closing.run().await;
    let status = house.client().status(wire::StatusRequest::default()).await.unwrap().into_inner();
    let alarm = status.alarms.join("\n");
    for words in
        ["the statement of 2026-10 waits for a person since 2026-11-04T23:00:00Z", "unmapped_product"]
    {
        assert!(alarm.contains(words), "{words:?} in {alarm:?}");
    }
    assert_eq!(states(&house).await, ["2026-10 draft", "2026-11 open"]);
    house.client().amend(by_hand(not_billed("spnt", "2026-10-01T00:00:00Z"))).await.unwrap();
    house.console.closing.run().await;
    let status = house.client().status(wire::StatusRequest::default()).await.unwrap().into_inner();
    assert_eq!((states(&house).await[0].as_str(), status.alarms.len()), ("2026-10 sealed", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_which_too_little_was_heard_is_blocked_by_that_and_its_body_says_nothing_of_it() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let token = house.token("cus_acme").await;
    house.machine(&token).await.reports(&house, "dsa").await;
    let config = Config { coverage_percent: 80, ..Config::clone(&house.console.config) };
    let house = house.again_with("2026-11-05T12:00:00Z", config.clone()).await;
    refused(sealed(&house, false, ""), Reason::Blocked, r#""blocker":"low_coverage""#).await;
    let draft = house.client().draft_statement(october()).await.unwrap().into_inner();
    let review: serde_json::Value = serde_json::from_str(&draft.review_json).unwrap();
    assert_eq!((&review["coverage"]["heard"], &review["coverage"]["expected"]), (&0.into(), &1.into()));
    let heard_at = review["silent"]["rows"][0]["heard_at"].as_str().unwrap();
    assert!(heard_at.starts_with("2026-10-15T12:00:0"), "{review:#}");
    assert!(!draft.json.contains("low_coverage"), "{}", draft.json);
    // The 15th is among the last seventeen days of the month.
    let config = Config { coverage_days: 17, ..config };
    let house = house.again_with("2026-11-05T12:00:00Z", config).await;
    sealed(&house, false, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dated_back_and_what_is_not_billed_is_shown_beside_a_draft() {
    let (house, mut machine) = ready().await;
    let house = house.again("2026-10-26T12:00:00Z").await;
    machine.reports(&house, "spnt").await;
    let house = house.again("2026-11-04T12:00:00Z").await;
    let mapped = |day: &str| not_billed("spnt", &format!("2026-{day}T12:00:00Z"));
    // A day is not told, more than a day is.
    house.client().amend(by_hand(mapped("11-03"))).await.unwrap();
    let record = house.client().amend(by_hand(mapped("10-01"))).await.unwrap().into_inner().position - 1;
    let draft = house.client().draft_statement(october()).await.unwrap().into_inner();
    let review: serde_json::Value = serde_json::from_str(&draft.review_json).unwrap();
    let told = &review["back_dated"];
    assert_eq!((&told["total"], &told["rows"][0]["position"]), (&1.into(), &record.into()), "{review:#}");
    assert_eq!(told["rows"][0]["reason"], "as agreed");
    assert_eq!(told["rows"][0]["record"]["type"], "sku_assigned");
    let unbilled = &review["unbilled"]["rows"];
    let null = unbilled.as_array().unwrap().iter().find(|row| row["reason"] == "null_sku").unwrap();
    assert_eq!((&null["product"], &null["days"][0]), (&"spnt".into(), &26.into()), "{review:#}");
    let page = wire::DocumentRequest {
        kind: "statement".to_owned(),
        period: "2026-10".to_owned(),
        format: "html".to_owned(),
        ..Default::default()
    };
    let mut chunks = house.client().document(page).await.unwrap().into_inner();
    let mut html = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        html.extend(chunk.piece);
    }
    let html = String::from_utf8(html).unwrap();
    for words in ["Not billed", "is deliberately not billed", "Dated back", "as agreed"] {
        assert!(html.contains(words), "{words:?} in {html}");
    }
}
