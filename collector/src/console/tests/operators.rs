//! Operators with roles and customers, and their programs. Invariant: nobody is given more than who gives it has.

use seatbeat_ledger::operators::Role;

use super::*;

fn client(house: &House, token: &str) -> Client {
    ConsoleClient::new(Bearer { server: house.server(), token: token.to_owned() })
}

fn allow(operator: &str, role: &str, customers: &[&str]) -> wire::AllowOperatorRequest {
    wire::AllowOperatorRequest {
        operator: operator.to_owned(),
        role: role.to_owned(),
        customers: customers.iter().map(|&customer| customer.to_owned()).collect(),
        reason: "moved".to_owned(),
    }
}

fn asked(role: &str, customers: &[&str]) -> wire::CreateApiTokenRequest {
    wire::CreateApiTokenRequest {
        role: role.to_owned(),
        customers: customers.iter().map(|&customer| customer.to_owned()).collect(),
        life_ms: 3_600_000,
        ..Default::default()
    }
}

async fn you(client: &mut Client) -> String {
    let list = client.list_operators(wire::ListRequest::default()).await.unwrap().into_inner();
    list.operators.into_iter().find(|one| one.you).unwrap().operator
}

async fn customers_seen(client: &mut Client) -> Vec<String> {
    let list = client.list_customers(wire::ListRequest::default()).await.unwrap().into_inner();
    list.customers.into_iter().map(|customer| customer.customer).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_let_in_with_a_role_and_customers_that_can_change() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    house.customer("cus_b").await;
    let mut admin = house.client();
    let request = wire::AddOperatorRequest {
        name: "Tess".to_owned(),
        role: "technician".to_owned(),
        customers: vec!["cus_a".to_owned()],
        ..Default::default()
    };
    let added = admin.add_operator(request.clone()).await.unwrap().into_inner();
    let mut tess = client(&house, &added.token);
    assert_eq!(customers_seen(&mut tess).await, ["cus_a"]);
    let list = admin.list_operators(wire::ListRequest::default()).await.unwrap().into_inner();
    let row = list.operators.iter().find(|one| one.operator == added.operator).unwrap();
    assert_eq!((row.role.as_str(), row.customers.as_slice()), ("technician", &["cus_a".to_owned()][..]));

    admin.allow_operator(allow(&added.operator, "viewer", &[])).await.unwrap();
    assert_eq!(customers_seen(&mut tess).await, ["cus_a", "cus_b"], "it holds at once");
    let token = wire::ListRequest::default();
    refused(tess.list_tokens(token), Reason::Forbidden, "technician or admin").await;

    let odd = wire::AddOperatorRequest { role: "owner".to_owned(), ..request.clone() };
    refused(admin.add_operator(odd), Reason::Invalid, "`owner` is no role").await;
    let odd = wire::AddOperatorRequest { customers: vec!["cus_z".to_owned()], ..request };
    refused(admin.add_operator(odd), Reason::UnknownCustomer, "`cus_z`").await;
    refused(admin.allow_operator(allow("opr_z", "viewer", &[])), Reason::UnknownOperator, "`opr_z`").await;
    refused(admin.allow_operator(allow(&added.operator, "", &[])), Reason::Invalid, "is no role").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_who_may_let_others_in_stays_so() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    let mut admin = house.client();
    let own = you(&mut admin).await;
    refused(admin.allow_operator(allow(&own, "viewer", &[])), Reason::LastAdmin, "is the last one").await;
    refused(admin.allow_operator(allow(&own, "admin", &["cus_a"])), Reason::LastAdmin, "is the last one")
        .await;
    house.operator("opr_b", "sbo1.b", Role::Admin, &[]).await;
    admin.allow_operator(allow(&own, "viewer", &[])).await.unwrap();
    let revoke = wire::RevokeOperatorRequest { operator: "opr_b".to_owned(), reason: "left".to_owned() };
    refused(client(&house, "sbo1.b").revoke_operator(revoke), Reason::LastAdmin, "is the last one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_token_may_at_most_what_its_operator_may_and_is_theirs_alone() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    house.customer("cus_b").await;
    house.operator("opr_t", "sbo1.t", Role::Technician, &["cus_a"]).await;
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    let (mut tess, mut vera) = (client(&house, "sbo1.t"), client(&house, "sbo1.v"));

    refused(tess.create_api_token(asked("billing", &[])), Reason::Invalid, "technician").await;
    refused(tess.create_api_token(asked("", &["cus_b"])), Reason::UnknownCustomer, "`cus_b`").await;
    let for_other = wire::CreateApiTokenRequest { operator: "opr_v".to_owned(), ..asked("viewer", &[]) };
    refused(tess.create_api_token(for_other.clone()), Reason::Forbidden, "another operator's").await;

    let made = tess.create_api_token(asked("", &[])).await.unwrap().into_inner();
    assert!(made.token.starts_with("sba1."));
    let mut program = client(&house, &made.token);
    assert_eq!(customers_seen(&mut program).await, ["cus_a"]);
    refused(program.create_api_token(asked("viewer", &[])), Reason::Forbidden, "a program's token").await;

    let none = wire::ListRequest::default();
    assert!(vera.list_api_tokens(none).await.unwrap().into_inner().api_tokens.is_empty());
    assert_eq!(tess.list_api_tokens(none).await.unwrap().into_inner().api_tokens.len(), 1);
    let all = house.client().list_api_tokens(none).await.unwrap().into_inner().api_tokens;
    assert_eq!((all.len(), all[0].operator.as_str(), all[0].role.as_str()), (1, "opr_t", "technician"));

    let revoke = wire::RevokeApiTokenRequest { api_token: made.api_token.clone(), reason: String::new() };
    refused(vera.revoke_api_token(revoke.clone()), Reason::UnknownToken, "not known").await;
    let vera_s = house.client().create_api_token(for_other).await.unwrap().into_inner();
    let other = wire::RevokeApiTokenRequest { api_token: vera_s.api_token, reason: String::new() };
    refused(program.revoke_api_token(other), Reason::UnknownToken, "not known").await;
    program.revoke_api_token(revoke).await.unwrap();
    refused(program.list_api_tokens(none), Reason::NotLetIn, "no operator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_token_of_an_admin_lets_nobody_in() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let made = house.client().create_api_token(asked("", &[])).await.unwrap().into_inner();
    let mut program = client(&house, &made.token);
    let own = you(&mut program).await;
    let add = wire::AddOperatorRequest { name: "Eve".to_owned(), ..Default::default() };
    refused(program.add_operator(add), Reason::Forbidden, "a program's token").await;
    refused(program.allow_operator(allow(&own, "admin", &[])), Reason::Forbidden, "a program's token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_token_ends_by_itself() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut admin = house.client();
    let never = wire::CreateApiTokenRequest { life_ms: 0, ..asked("", &[]) };
    refused(admin.create_api_token(never), Reason::Invalid, "is over").await;
    let long = wire::CreateApiTokenRequest { life_ms: 367 * 86_400_000, ..asked("", &[]) };
    refused(admin.create_api_token(long), Reason::Invalid, "more than a year").await;
    let made = admin.create_api_token(asked("viewer", &[])).await.unwrap().into_inner();
    client(&house, &made.token).status(wire::StatusRequest::default()).await.unwrap();
    drop(admin);
    let house = house.again("2026-10-15T13:01:00Z").await;
    let late = client(&house, &made.token).status(wire::StatusRequest::default()).await;
    refused(async { late }, Reason::NotLetIn, "no operator").await;
}
