//! Evidence that is not what it has to be: what is refused, and what was good before it.

use prost::Message as _;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire::{MESSAGE_LENGTH_MAX, RefusalReason, Signed};
use tonic::Code;

use super::Collector;
use super::client::Agent;

/// Sends evidence behind a good one; the good one is acknowledged, the other refused, and the stream closed.
async fn check_refused(make: impl FnOnce(&mut Agent, &mut Agent) -> Signed, expected: RefusalReason) {
    let collector = Collector::start().await;
    let (mut agent, mut other) = (collector.agent().await, collector.agent().await);
    let (mut link, _) = agent.link(&collector).await;
    let good = agent.reports(1);
    let bad = make(&mut agent, &mut other);
    link.send(good).await;
    link.acked(1).await;
    let position = collector.position();
    link.send(bad).await;
    assert_eq!(link.refused().await.reason(), expected);
    let (code, message) = link.ended().await;
    assert_eq!(code, Code::PermissionDenied, "{message}");
    assert_eq!(collector.position(), position, "nothing of it was written");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_signature_is_refused_and_the_stream_closed() {
    let forge = |agent: &mut Agent, other: &mut Agent| {
        let evidence = agent.evidence(2).encode_to_vec();
        sign(&other.key, Domain::Evidence, evidence)
    };
    check_refused(forge, RefusalReason::BadSignature).await;
    let change = |agent: &mut Agent, _: &mut Agent| {
        let mut signed = agent.reports(2);
        let last = signed.payload.len() - 1;
        signed.payload[last] ^= 1;
        signed
    };
    check_refused(change, RefusalReason::BadSignature).await;
    let unsigned = |agent: &mut Agent, _: &mut Agent| Signed { signature: Vec::new(), ..agent.reports(2) };
    check_refused(unsigned, RefusalReason::BadSignature).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machines_evidence_is_refused_and_the_stream_closed() {
    check_refused(|_, other| other.reports(2), RefusalReason::WrongMachine).await;
    let in_its_name = |agent: &mut Agent, other: &mut Agent| {
        let evidence = seatbeat_proto::wire::Evidence { machine: other.id.to_string(), ..agent.evidence(2) };
        agent.signs(&evidence)
    };
    check_refused(in_its_name, RefusalReason::WrongMachine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_good_before_the_fault_is_acknowledged_even_in_one_breath() {
    let collector = Collector::start().await;
    let (mut agent, mut other) = (collector.agent().await, collector.agent().await);
    let (mut link, _) = agent.link(&collector).await;
    for number in 0..10 {
        let report = agent.reports(number);
        link.send(report).await;
    }
    let foreign = other.reports(1);
    link.send(foreign).await;
    let more = agent.reports(11);
    link.send(more).await;
    link.acked(10).await;
    assert_eq!(link.refused().await.reason(), RefusalReason::WrongMachine);
    assert_eq!(link.ended().await.0, Code::PermissionDenied);
    let (_link, welcome) = agent.link(&collector).await;
    assert_eq!(welcome.sequence, 10, "what came behind the fault was not taken");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_report_that_is_none_is_refused_and_the_stream_stays() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let (mut link, _) = agent.link(&collector).await;
    let nothing = sign(&agent.key, Domain::Evidence, vec![255; 40]);
    link.send(nothing).await;
    let refusal = link.refused().await;
    assert_eq!(refusal.reason(), RefusalReason::Malformed);
    assert_eq!(refusal.detail, "the evidence cannot be decoded");
    let report = agent.reports(1);
    link.send(report).await;
    link.acked(1).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_limit_closes_the_stream_and_says_so() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let (mut link, _) = agent.link(&collector).await;
    let good = agent.reports(1);
    link.send(good).await;
    link.acked(1).await;
    let position = collector.position();
    link.send(Signed { payload: vec![0; MESSAGE_LENGTH_MAX], signature: vec![0; 64] }).await;
    let (code, message) = link.ended().await;
    assert_eq!((code, message.as_str()), (Code::InvalidArgument, "a message is larger than 262144 bytes"));
    assert_eq!(collector.position(), position);
    let (_link, welcome) = agent.link(&collector).await;
    assert_eq!(welcome.sequence, 1, "what was acknowledged is kept, and the machine is let in again");
    collector.stop().await;
}
