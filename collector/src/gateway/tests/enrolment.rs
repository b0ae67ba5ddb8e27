//! Who is let in, and what each who is not is told.

use std::sync::Arc;

use prost::Message as _;
use seatbeat_proto::signed::{Domain, new_key, sign};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{EnrolRequest, MESSAGE_LENGTH_MAX, TokenCreated};
use tonic::Code;

use super::client::{Agent, client};
use super::{CUSTOMER, Collector, Token};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_token_is_let_in_and_named_by_its_key() {
    let collector = Collector::start().await;
    let (agent, token) = (Agent::new(), collector.token(1).await);
    let answer = agent.enrol(&collector, &token).await.unwrap();
    assert_eq!((answer.machine.as_str(), answer.customer.as_str()), (agent.id.as_str(), CUSTOMER));
    let known = collector.books.read(|fold| fold.registry().machine(&agent.id).cloned()).unwrap();
    assert_eq!(known.key, agent.key.verifying_key().to_bytes());
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_answered_the_same_and_costs_no_second_use() {
    let collector = Collector::start().await;
    let (agent, token) = (Agent::new(), collector.token(1).await);
    let first = agent.enrol(&collector, &token).await.unwrap();
    let position = collector.position();
    assert_eq!(
        agent.enrol(&collector, &token).await.unwrap(),
        first,
        "the token is used up, but not by another"
    );
    collector.revoke(&token).await;
    let collector = collector.restart().await;
    assert_eq!(agent.enrol(&collector, &token).await.unwrap(), first);
    assert_eq!(collector.position(), position + 1, "only the revocation was written");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lets_nobody_in_says_why_and_writes_nothing() {
    let collector = Collector::start().await;
    let good = collector.token(5).await;
    let revoked = collector.token(5).await;
    collector.revoke(&revoked).await;
    let expired =
        collector.token_with(TokenCreated { uses_max: 5, expires_at_ms: 1, ..Default::default() }).await;
    let used_up = collector.token(1).await;
    Agent::new().enrol(&collector, &used_up).await.unwrap();
    let hourly = TokenCreated { uses_max: 5, uses_per_hour: 1, ..Default::default() };
    let hourly = collector.token_with(hourly).await;
    Agent::new().enrol(&collector, &hourly).await.unwrap();
    let foreign = Token { id: "tok_of-another-collector".parse().unwrap(), ..good.clone() };
    let wrong_secret = Token { secret: vec![8; 16], ..good.clone() };
    let cut = Token { secret: vec![7; 15], ..good.clone() };

    let position = collector.position();
    let cases = [
        (foreign, Code::Unauthenticated, "not one of this collector's"),
        (wrong_secret, Code::Unauthenticated, "not one of this collector's"),
        (revoked, Code::PermissionDenied, "revoked"),
        (expired, Code::PermissionDenied, "expired"),
        (used_up, Code::ResourceExhausted, "used up"),
        (hourly, Code::ResourceExhausted, "in an hour"),
        (cut, Code::InvalidArgument, "15 bytes, not 16"),
    ];
    for (token, code, words) in cases {
        let status = Agent::new().enrol(&collector, &token).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    assert_eq!(collector.position(), position);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_goes_to_one_of_those_who_ask_at_once() {
    let collector = Arc::new(Collector::start().await);
    let token = collector.token(3).await;
    let asking = (0..12).map(|_| {
        let (collector, token) = (Arc::clone(&collector), token.clone());
        tokio::spawn(async move { Agent::new().enrol(&collector, &token).await })
    });
    let mut refused = 0;
    for asked in asking.collect::<Vec<_>>() {
        if let Err(status) = asked.await.unwrap() {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            refused += 1;
        }
    }
    assert_eq!(refused, 9);
    assert_eq!(collector.books.read(|fold| fold.registry().machine_count()), 3);
    Arc::into_inner(collector).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_its_key_did_not_sign_is_refused() {
    let collector = Collector::start().await;
    let (agent, token) = (Agent::new(), collector.token(1).await);
    let claim = sign(&new_key(), Domain::EnrolmentClaim, agent.claim(&token).encode_to_vec());
    let request = EnrolRequest { claim: Some(claim), ..agent.request(&token) };
    let position = collector.position();
    let status = client(&collector, None).await.enrol(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(status.message(), "the claim is not signed with the key that it names");
    assert_eq!(collector.position(), position);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_larger_than_the_limit_is_refused_and_the_next_is_served() {
    let collector = Collector::start().await;
    let (agent, token) = (Agent::new(), collector.token(1).await);
    let mut client = client(&collector, None).await;
    let large = EnrolRequest { host_name: "x".repeat(MESSAGE_LENGTH_MAX), ..agent.request(&token) };
    let status = client.enrol(large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    client.enrol(agent.request(&token)).await.unwrap();
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_machine_does_not_come_back_with_another_token() {
    let collector = Collector::start().await;
    let agent = collector.agent().await;
    collector.ban(&agent.id).await;
    let position = collector.position();
    let token = collector.token(1).await;
    let status = agent.enrol(&collector, &token).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "this machine is banned"));
    assert!(!collector.facts(position).iter().any(|fact| matches!(fact, Fact::EnrolmentRequested(_))));
    collector.stop().await;
}
