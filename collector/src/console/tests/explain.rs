//! A line explained: its machines, their days, the reports behind them, and who is not in it.

use super::*;
use crate::console::explain::Explained;

fn asked(customer: &str, sku: &str) -> wire::ExplainRequest {
    wire::ExplainRequest {
        period: "2026-10".to_owned(),
        customer: customer.to_owned(),
        sku: sku.to_owned(),
        ..Default::default()
    }
}

async fn explained(house: &House, request: wire::ExplainRequest) -> Explained {
    let json = house.client().explain_statement(request).await.unwrap().into_inner().json;
    serde_json::from_str(&json).unwrap()
}

/// A customer with a machine that uses what is billed, and one that uses what nobody mapped.
async fn two() -> (House, [Machine; 2], u64) {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let token = house.token("cus_acme").await;
    let mut machines = [house.machine(&token).await, house.machine(&token).await];
    let position = machines[0].reports(&house, "dsa").await - 1;
    machines[1].reports(&house, "spnt").await;
    assert!(house.console.books.search_is_current(), "what is acknowledged is found");
    (house, machines, position)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_explained_by_its_machines_days_and_reports_and_by_who_is_not_in_it() {
    let (house, machines, position) = two().await;
    let found = explained(&house, asked("cus_acme", "DS")).await;
    assert_eq!(found.line.as_ref().map(|line| line.quantity.to_string()), Some("1".to_owned()));
    assert_eq!((found.counted, found.not_counted, &found.sealed), (1, 1, &None));
    let of = |machine: &Machine| found.machines.iter().find(|one| one.told.machine == machine.id).unwrap();
    let counted = of(&machines[0]);
    assert_eq!((&counted.told.seats[0].confirmed[..], counted.told.seats[0].counts), (&[15][..], true));
    assert_eq!((counted.reports[0].position, counted.reports[0].active[0].as_str()), (position, "dsa"));
    let other = serde_json::to_value(&of(&machines[1]).told.reasons[0]).unwrap();
    assert_eq!((&other["reason"], &other["product"]), (&"unmapped".into(), &"spnt".into()), "{other:#}");

    let first = explained(&house, wire::ExplainRequest { page_size: 1, ..asked("cus_acme", "DS") }).await;
    assert_eq!((first.machines.len(), first.counted, first.not_counted), (1, 1, 1));
    let page_after = first.next.unwrap().to_string();
    let second = wire::ExplainRequest { page_size: 1, page_after, ..asked("cus_acme", "DS") };
    let second = explained(&house, second).await;
    assert_eq!((second.machines.len(), second.next), (1, None));

    let named = wire::ExplainRequest { machine: machines[0].id.to_string(), ..asked("cus_acme", "DS") };
    assert_eq!(explained(&house, named).await.machines.len(), 1);
    let lost = explained(&house, asked("", "")).await;
    assert_eq!((lost.machines.len(), &lost.machines[0].told.machine), (1, &machines[1].id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_line_says_what_came_after_its_seal_and_what_carries_it() {
    let (house, mut machines, _) = two().await;
    house.client().amend(by_hand(not_billed("spnt", "2026-10-01T00:00:00Z"))).await.unwrap();
    let house = house.again("2026-11-05T12:00:00Z").await;
    house.console.closing.run().await;
    let sealed = |found: Explained| {
        let told = found.sealed.unwrap();
        let carried: Vec<String> =
            told.carried.iter().map(|one| format!("{} {}", one.by, one.delta)).collect();
        let numbers = [told.quantity, told.since, told.to_carry].map(|number| number.to_string());
        (numbers.join(" "), carried.join(", "))
    };
    assert_eq!(sealed(explained(&house, asked("cus_acme", "DS")).await), ("1 0 0".to_owned(), String::new()));
    let adjusted = wire::Adjusted {
        customer: "cus_acme".to_owned(),
        sku: "DS".to_owned(),
        period: "2026-10".to_owned(),
        delta: 2,
        at_ms: 0,
    };
    house.client().amend(by_hand(Change::Adjusted(adjusted))).await.unwrap();
    assert_eq!(sealed(explained(&house, asked("cus_acme", "DS")).await), ("1 2 2".to_owned(), String::new()));
    machines[0].reports(&house, "dsa").await;
    let house = house.again("2026-12-05T12:00:00Z").await;
    house.console.closing.run().await;
    let after = sealed(explained(&house, asked("cus_acme", "DS")).await);
    assert_eq!(after, ("1 2 0".to_owned(), "2026-11 2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_explained_is_refused_by_name() {
    let (house, _, _) = two().await;
    let client = || house.client();
    let refused_of = async |request: wire::ExplainRequest, reason, words: &str| {
        refused(client().explain_statement(request), reason, words).await;
    };
    refused_of(asked("cus_x", "DS"), Reason::UnknownCustomer, "`cus_x`").await;
    refused_of(asked("cus_acme", "DX"), Reason::Invalid, "`DX` is not named in the policy").await;
    refused_of(asked("", "DS"), Reason::Invalid, "`customer` is missing").await;
    let of = |period: &str| wire::ExplainRequest { period: period.to_owned(), ..asked("", "") };
    refused_of(of("2026-11"), Reason::Invalid, "2026-11 has not begun: it is 2026-10").await;
    refused_of(of("2001-01"), Reason::NobodyYet, "before any machine was enrolled").await;
    refused_of(of("October"), Reason::Invalid, "`October` is not a period").await;
    let machine =
        |machine: &str| wire::ExplainRequest { machine: machine.to_owned(), ..asked("cus_acme", "DS") };
    refused_of(machine("mch_x"), Reason::UnknownMachine, "`mch_x`").await;
    // A line that is not there is no error: nothing of the SKU was used.
    house.customer("cus_empty").await;
    let nothing = explained(&house, asked("cus_empty", "DS")).await;
    assert_eq!((nothing.line, nothing.counted, nothing.not_counted), (None, 0, 0));
}
