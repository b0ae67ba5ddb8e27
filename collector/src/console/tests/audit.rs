//! Who did what, over the operator door.

use super::*;
use crate::vault::VaultRow;

async fn told(house: &House, request: wire::AuditRequest) -> Vec<wire::AuditRow> {
    house.client().list_audit(request).await.unwrap().into_inner().rows
}

fn actions(rows: &[wire::AuditRow]) -> Vec<String> {
    rows.iter().map(|row| format!("{} {}", row.what, row.about.join(" "))).collect()
}

fn all() -> wire::AuditRequest {
    wire::AuditRequest::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_do_is_told_newest_first_and_what_machines_say_is_not() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    house.customer("cus_b").await;
    let token = house.token("cus_a").await;
    let mut machine = house.machine(&token).await;
    machine.reports(&house, "dsa").await;
    let id = machine.id.to_string();
    let ban = wire::BanMachineRequest { machine: id.clone(), banned: true, reason: "stolen".to_owned() };
    house.client().ban_machine(ban).await.unwrap();

    let rows = told(&house, all()).await;
    let banned = format!("machine_banned {id} banned");
    let token_created = format!("token_created {} cus_a", token.token);
    assert_eq!(
        actions(&rows)[..4],
        [banned.clone(), token_created, "customer_added cus_b".to_owned(), "customer_added cus_a".to_owned()]
    );
    assert!(!rows.iter().any(|row| row.what.contains("evidence") || row.what.contains("enrolment")));
    assert!(rows.windows(2).all(|pair| pair[0].position > pair[1].position), "the newest first");
    let row = &rows[0];
    assert!(row.who.starts_with("opr_") && row.reason == "stolen" && row.at_ms > 0, "{row:?}");
    let operator = row.who.parse().unwrap();
    house.console.books.vault().put(VaultRow::OperatorName(&operator), b"Ann").unwrap();
    assert_eq!(told(&house, all()).await[0].name, "Ann");

    let of = wire::AuditRequest { customer: "cus_a".to_owned(), ..all() };
    assert_eq!(actions(&told(&house, of).await).len(), 3, "its own, its token's and its machine's");
    let what = |what: &str| wire::AuditRequest { what: what.to_owned(), ..all() };
    assert_eq!(actions(&told(&house, what("machine_banned")).await), [banned]);
    let who = |who: &str| wire::AuditRequest { who: who.to_owned(), ..all() };
    assert!(told(&house, who("opr_nobody")).await.is_empty());
    assert_eq!(
        told(&house, who(operator.as_str())).await.len(),
        rows.len() - other(&rows, operator.as_str())
    );
    let mut client = house.client();
    refused(client.list_audit(what("eaten")), Reason::Invalid, "`what` is no action: `eaten`").await;
    let wrong = wire::AuditRequest { customer: "cus_x".to_owned(), ..all() };
    refused(client.list_audit(wrong), Reason::UnknownCustomer, "`cus_x`").await;
    let wrong = wire::AuditRequest { from: "October".to_owned(), ..all() };
    refused(client.list_audit(wrong), Reason::Invalid, "`from` is not a day").await;
}

fn other(rows: &[wire::AuditRow], who: &str) -> usize {
    rows.iter().filter(|row| row.who != who).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_of_days_is_found_in_a_long_journal_page_by_page() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let before = house.console.books.read(seatbeat_ledger::fold::Fold::position);
    let added =
        |number: usize| Fact::CustomerAdded(wire::CustomerAdded { customer: format!("cus_{number:04}") });
    house.console.books.write_all("opr_test", "", (0..700).map(added).collect()).await.unwrap();
    // In the billing zone that is the next day.
    let house = house.again("2026-10-16T22:30:00Z").await;
    house.console.books.write_all("opr_test", "", (700..800).map(added).collect()).await.unwrap();
    let house = house.again("2026-11-01T12:00:00Z").await;
    house.console.books.write_all("opr_test", "", (800..810).map(added).collect()).await.unwrap();

    let day = |from: &str, to: &str| wire::AuditRequest {
        from: from.to_owned(),
        to: to.to_owned(),
        what: "customer_added".to_owned(),
        limit: 1000,
        ..all()
    };
    let of = async |from: &str, to: &str| {
        let rows = told(&house, day(from, to)).await;
        (rows.len(), rows.first().map_or(String::new(), |row| row.about[0].clone()))
    };
    assert_eq!(of("2026-10-17", "2026-10-17").await, (100, "cus_0799".to_owned()));
    assert_eq!(of("2026-10-16", "2026-10-16").await.0, 0);
    assert_eq!(of("", "2026-10-31").await, (800, "cus_0799".to_owned()));
    assert_eq!(of("2026-11-01", "").await, (10, "cus_0809".to_owned()));
    assert_eq!(of("9999-12-31", "9999-12-31").await.0, 0);
    assert_eq!(of("0001-01-01", "").await.0, 810);

    let (mut found, mut next) = (Vec::new(), 0);
    loop {
        let request = wire::AuditRequest { before: next, limit: 300, ..day("", "") };
        let page = house.client().list_audit(request).await.unwrap().into_inner();
        assert!(page.rows.len() <= 300);
        found.extend(page.rows.into_iter().map(|row| row.position));
        if page.next_before == 0 {
            break;
        }
        next = page.next_before;
    }
    assert_eq!(found, (before..before + 810).rev().collect::<Vec<_>>());
}

/// A journal of evidence with some actions far back in it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_finds_nothing_for_long_says_where_to_go_on() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    let flagged = |number: usize| {
        Fact::PricesStaged(wire::PricesStaged { list: format!("prl_{number}"), ..Default::default() })
    };
    for chunk in 0..20 {
        let facts = (0..500).map(|number| flagged(chunk * 500 + number)).collect();
        house.console.books.write_all("opr_test", "", facts).await.unwrap();
    }
    let first = house.client().list_audit(all()).await.unwrap().into_inner();
    assert!(first.rows.is_empty() && first.next_before > 0, "{first:?}");
    let request = wire::AuditRequest { before: first.next_before, ..all() };
    let second = house.client().list_audit(request).await.unwrap().into_inner();
    assert_eq!(second.rows[0].what, "customer_added");
    let whole = house.get("/v1/audit.json?what=customer_added").await.json();
    assert_eq!(whole.as_array().unwrap().len(), 1, "a download goes on by itself: {whole}");
}
