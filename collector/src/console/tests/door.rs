//! Who is let in, and what is answered when.

use super::*;

/// Every method there is, from the definition itself: a new one is tested without being named here.
fn methods() -> Vec<&'static str> {
    let definition = include_str!("../../../../proto/seatbeat/v1/console.proto");
    let methods: Vec<_> =
        definition.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()).collect();
    assert!(methods.len() >= 17, "{methods:?}");
    methods
}

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
    for method in methods() {
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
