//! Who is let in, and what is answered when.

use seatbeat_ledger::operators::{Right, Role};

use super::super::rights::{Needs, RPCS, Whose};
use super::*;
use crate::books::Actor;

async fn grpc_status(server: &Server, method: &str, authorization: Option<&str>) -> String {
    let mut request = http::Request::post(format!("/seatbeat.v1.Console/{method}"))
        .header("content-type", "application/grpc");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = server.clone().call(request).await.unwrap();
    response.headers().get("grpc-status").map_or_else(String::new, |code| code.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_whoever_has_no_operator_token() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let server = house.server();
    let unauthenticated = (Code::Unauthenticated as i32).to_string();
    let basic = format!("Basic {}", house.token);
    let cut = format!("Bearer {}", &house.token[..house.token.len() - 1]);
    for (method, _) in RPCS {
        for wrong in
            [None, Some("Bearer sbo1.wrong"), Some("Bearer "), Some(basic.as_str()), Some(cut.as_str())]
        {
            assert_eq!(grpc_status(&server, method, wrong).await, unauthenticated, "{method} with {wrong:?}");
        }
        let right = format!("Bearer {}", house.token);
        assert_ne!(grpc_status(&server, method, Some(&right)).await, unauthenticated, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_operator_is_shut_out_at_once() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut client = house.client();
    client.status(wire::StatusRequest::default()).await.unwrap();
    let records = house.console.books.records(crate::journal::Position(0), 10).unwrap();
    let operator =
        records.iter().find_map(|(_, record)| match JournalRecord::decode(record.as_slice()).unwrap().fact {
            Some(Fact::OperatorAdded(added)) => Some(added.operator),
            _ => None,
        });
    house.operator("opr_b", "sbo1.b", Role::Admin, &[]).await;
    house.write(Fact::OperatorRevoked(wire::OperatorRevoked { operator: operator.unwrap() })).await;
    refused(client.status(wire::StatusRequest::default()), Reason::NotLetIn, "no operator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_a_write_that_is_not_known_yet_is_not_answered_from_before_it() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let ahead = house.console.books.read(|fold| fold.position()) + 1;
    let mut client = house.client();
    let request = wire::StatusRequest { after_position: ahead };
    refused(client.status(request), Reason::NotReached, "ask again").await;
}

/// Of every RPC there is: a new one is in the table, or nobody gets an answer.
#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_too_small_a_role_and_too_short_a_reach() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    let server = house.server();
    let denied = (Code::PermissionDenied as i32).to_string();
    for role in Role::ALL {
        let (whole, part) = (format!("sbo1.{role}"), format!("sbo1.{role}-of-one"));
        house.operator(&format!("opr_{role}"), &whole, role, &[]).await;
        house.operator(&format!("opr_{role}one"), &part, role, &["cus_a"]).await;
        for (method, needs) in RPCS {
            let (right, whose) = match *needs {
                Needs::Right(right, whose) => (right, whose),
                // About one's own: whoever is let in may.
                Needs::SignedIn => (Right::See, Whose::Customers),
                Needs::Nobody => panic!("{method} is for anybody"),
            };
            let said = grpc_status(&server, method, Some(&format!("Bearer {whole}"))).await;
            assert_eq!(said == denied, !role.has(right), "{method} asked by {role}: {said}");
            let said = grpc_status(&server, method, Some(&format!("Bearer {part}"))).await;
            let is_denied = !role.has(right) || whose == Whose::House;
            assert_eq!(said == denied, is_denied, "{method} asked by {role} of one customer: {said}");
        }
    }
    let unauthenticated = (Code::Unauthenticated as i32).to_string();
    let admin = Some("Bearer sbo1.admin");
    assert_eq!(grpc_status(&server, "Another", admin).await, unauthenticated, "what no table names");
}

/// Who may see some customers only, asked about another one, is told what anybody is told who asks for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn another_customers_things_are_not_there_for_who_may_not_see_them() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    house.customer("cus_b").await;
    let (a, b) = (house.token("cus_a").await, house.token("cus_b").await);
    let (mine, theirs) = (house.machine(&a).await.id, house.machine(&b).await.id);
    house.operator("opr_t", "sbo1.t", Role::Technician, &["cus_a"]).await;
    let mut client = ConsoleClient::new(Bearer { server: house.server(), token: "sbo1.t".to_owned() });

    let customers = client.list_customers(wire::ListRequest::default()).await.unwrap().into_inner();
    assert_eq!(customers.customers.iter().map(|one| one.customer.as_str()).collect::<Vec<_>>(), ["cus_a"]);
    let tokens = client.list_tokens(wire::ListRequest::default()).await.unwrap().into_inner();
    assert_eq!(tokens.tokens.len(), 1);
    let machines = client.list_machines(wire::ListMachinesRequest::default()).await.unwrap().into_inner();
    assert_eq!(
        machines.machines.iter().map(|one| one.machine.clone()).collect::<Vec<_>>(),
        [mine.to_string()]
    );
    let usage = wire::UsageRequest { period: "2026-10".into(), ..Default::default() };
    let usage = client.usage(usage).await.unwrap().into_inner();
    assert!(usage.rows.iter().all(|row| row.customer == "cus_a" && row.revenue.is_empty()), "{usage:?}");

    let of =
        |machine: &MachineId| wire::ShowMachineRequest { machine: machine.to_string(), ..Default::default() };
    client.show_machine(of(&mine)).await.unwrap();
    refused(client.show_machine(of(&theirs)), Reason::UnknownMachine, "not known").await;
    let list = wire::ListMachinesRequest { customer: "cus_b".into(), ..Default::default() };
    refused(client.list_machines(list), Reason::UnknownCustomer, "`cus_b`").await;
    let ban = wire::BanMachineRequest { machine: theirs.to_string(), banned: true, reason: "x".into() };
    refused(client.ban_machine(ban), Reason::UnknownMachine, "not known").await;
    let create = wire::CreateTokenRequest {
        customer: "cus_b".into(),
        uses_max: 1,
        expires_at_ms: house.console.books.clock().now_ms() + 1_000,
        ..Default::default()
    };
    refused(client.create_token(create), Reason::UnknownCustomer, "`cus_b`").await;
    let other = house.console.books.read(|fold| {
        let mut tokens = fold.registry().tokens();
        tokens.find(|(_, token)| token.customer.as_str() == "cus_b").map(|(id, _)| id.to_string())
    });
    let revoke = wire::RevokeTokenRequest { token: other.unwrap(), reason: "x".into() };
    refused(client.revoke_token(revoke), Reason::UnknownToken, "not known").await;
    let kit =
        wire::InstallKitRequest { customer: "cus_b".into(), format: "json".into(), ..Default::default() };
    refused(client.install_kit(kit), Reason::UnknownCustomer, "`cus_b`").await;
}

/// What tools that know nothing of the door ask first.
#[tokio::test(flavor = "multi_thread")]
async fn reflection_names_console_to_whoever_is_let_in_and_health_to_anybody() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let house = House::founded("2026-10-15T12:00:00Z");
    let ask = async |token: &str, request: MessageRequest| {
        let bearer = Bearer { server: house.server(), token: token.to_owned() };
        let request = ServerReflectionRequest { message_request: Some(request), ..Default::default() };
        let mut client = ServerReflectionClient::new(bearer);
        let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
        answers
            .message()
            .await
            .map(|answer: Option<ServerReflectionResponse>| answer.unwrap().message_response)
    };
    let services = ask(&house.token, MessageRequest::ListServices(String::new())).await.unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = services else { panic!("{services:?}") };
    let names: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"seatbeat.v1.Console") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let symbol = MessageRequest::FileContainingSymbol("seatbeat.v1.Console.ListMachines".to_owned());
    let file = ask(&house.token, symbol).await.unwrap();
    assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
    let nobody = ask("sbo1.wrong", MessageRequest::ListServices(String::new())).await;
    assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);

    let mut health = tonic_health::pb::health_client::HealthClient::new(house.server());
    let asked = tonic_health::pb::HealthCheckRequest { service: "seatbeat.v1.Console".to_owned() };
    let status = health.check(asked).await.unwrap().into_inner().status;
    assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_on_record_and_in_nothing_that_leaves_the_house() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let books = &house.console.books;
    let actor = Actor { name: "opr_a", from: Some([192, 0, 2, 7].into()) };
    let added = Fact::CustomerAdded(wire::CustomerAdded { customer: "cus_a".into() });
    let statement = sign(books.keys().statement(), Domain::Statement, b"{\"period\":\"2026-09\"}".to_vec());
    let sealed = Fact::StatementSealed(wire::StatementSealed {
        distributor: "ingram".into(),
        period: "2026-09".into(),
        revision: 1,
        statement: Some(statement),
    });
    let end = books.write_all(actor, "checked", vec![added, sealed]).await.unwrap();
    let records = books.records(crate::journal::Position(end.0 - 2), 2).unwrap();
    let from = |record: &[u8]| JournalRecord::decode(record).unwrap().from;
    let from: Vec<String> = records.iter().map(|(_, record)| from(record)).collect();
    assert_eq!(from, ["192.0.2.7", ""]);
}
