//! Names that are taken out of the vault, and what stays.

use seatbeat_ledger::operators::Role;
use seatbeat_proto::wire::erase_request::Who;

use super::*;
use crate::console::erasure::sweep;
use crate::vault::VaultRow;

fn erase(who: Who, reason: &str) -> wire::EraseRequest {
    wire::EraseRequest { who: Some(who), reason: reason.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_that_left_has_no_names_any_more_and_every_count_stays() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    let token = house.token("cus_a").await;
    let mut machine = house.machine(&token).await;
    machine.reports(&house, "dsa").await;
    let books = &house.console.books;
    let customer = "cus_a".parse().unwrap();
    books.vault().put(VaultRow::CustomerName(&customer), b"Acme").unwrap();
    books.vault().put(VaultRow::HostName(&machine.id), b"reception-pc").unwrap();
    let mut client = house.client();
    let counted = || {
        let month =
            house.console.closing.draft("2026-10".parse().unwrap(), 0).unwrap().output.statement.clone();
        (month.lines, month.flags, month.blockers)
    };
    let before = counted();

    let who = || Who::Customer("cus_a".into());
    refused(client.erase(erase(who(), "asked for")), Reason::OrderRefused, "has not left for good").await;
    let left = wire::CustomerLeft { customer: "cus_a".into(), for_good: true };
    house.write(Fact::CustomerLeft(left)).await;
    refused(client.erase(erase(who(), " ")), Reason::Invalid, "reason").await;
    client.erase(erase(who(), "asked for")).await.unwrap();
    client.erase(erase(who(), "asked for")).await.unwrap();

    assert!(books.vault().get(VaultRow::CustomerName(&customer)).unwrap().is_none());
    assert!(books.vault().get(VaultRow::HostName(&machine.id)).unwrap().is_none());
    assert_eq!(counted(), before);
    let page = client.list_customers(wire::ListRequest::default()).await.unwrap().into_inner();
    assert_eq!((page.customers[0].customer.as_str(), page.customers[0].name.as_str()), ("cus_a", ""));
    let unknown = erase(Who::Customer("cus_x".into()), "asked for");
    refused(client.erase(unknown), Reason::UnknownCustomer, "`cus_x`").await;
}

/// Its record was written, and the collector ended before the rows were gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_cut_short_is_ended_later() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    house.write(Fact::CustomerLeft(wire::CustomerLeft { customer: "cus_a".into(), for_good: true })).await;
    house.write(Fact::CustomerErased(wire::CustomerErased { customer: "cus_a".into() })).await;
    let books = &house.console.books;
    let customer = "cus_a".parse().unwrap();
    assert!(books.vault().get(VaultRow::CustomerName(&customer)).unwrap().is_some());
    sweep(books).unwrap();
    assert!(books.vault().get(VaultRow::CustomerName(&customer)).unwrap().is_none());
    sweep(books).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_erased_once_let_go() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.operator("opr_b", "sbo1.b", Role::Viewer, &[]).await;
    let books = &house.console.books;
    let operator = "opr_b".parse().unwrap();
    books.vault().put(VaultRow::OperatorName(&operator), b"Berta").unwrap();
    let mut client = house.client();
    let who = || Who::Operator("opr_b".into());
    refused(client.erase(erase(who(), "left us")), Reason::Invalid, "revoke it before").await;
    house.write(Fact::OperatorRevoked(wire::OperatorRevoked { operator: "opr_b".into() })).await;
    client.erase(erase(who(), "left us")).await.unwrap();
    assert!(books.vault().get(VaultRow::OperatorName(&operator)).unwrap().is_none());
    let operators = client.list_operators(wire::ListRequest::default()).await.unwrap().into_inner();
    assert!(operators.operators.iter().any(|row| row.operator == "opr_b" && row.name.is_empty()));
}
