//! Orders as they come to an agent.

use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_proto::ids::OrderId;
use seatbeat_proto::signed::{Domain, hash, sign, verify};
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{
    Action, EpochBegan, Evidence, Hello, Order, OrderCancelled, OrderDelivery, OrderKeys, OrderKeysSet,
    OrderPlaced, OrderResult, OrderSigned, OrdersRequested, Outcome, Report, evidence,
};

use super::Collector;
use super::client::{Agent, Link};
use crate::vault::VaultRow;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(super) async fn set_keys(collector: &Collector, revision: u64, number: u8, signer: u8) {
    let keys = vec![key(number).verifying_key().to_bytes().to_vec()];
    let keys = OrderKeys { revision, keys, recovery_key: Vec::new() };
    let keys = Some(sign(&key(signer), Domain::OrderKeys, keys.encode_to_vec()));
    collector.write(Fact::OrderKeysSet(OrderKeysSet { keys })).await;
}

/// A batch for one machine; `orders` by name, action and product.
pub(super) async fn place(
    collector: &Collector,
    agent: &Agent,
    orders: &[(&str, Action, &str)],
    secrets: &[u8],
) {
    let (batch, now_ms) = (format!("bat_{}", orders[0].0), collector.books.clock().now_ms());
    let expires_at_ms = now_ms + 3_600_000;
    let action = orders.last().unwrap().1.into();
    let (machines, count) = (1, orders.len() as u32);
    let requested =
        OrdersRequested { batch: batch.clone(), action, scope: None, machines, orders: count, expires_at_ms };
    collector.write(Fact::OrdersRequested(requested)).await;
    for (order, action, product) in orders {
        let request = Order {
            order: (*order).into(),
            machine: agent.id.to_string(),
            action: (*action).into(),
            product: (*product).into(),
            issued_at_ms: now_ms,
            expires_at_ms,
            secrets_hash: if secrets.is_empty() { Vec::new() } else { hash(secrets).to_vec() },
            ..Order::default()
        };
        let batch = batch.clone();
        collector.write(Fact::OrderPlaced(OrderPlaced { order: None, request: Some(request), batch })).await;
    }
}

pub(super) async fn sign_order(collector: &Collector, order: &str, signer: u8) {
    let id: OrderId = order.parse().unwrap();
    let payload = collector.books.read(|fold| fold.orders().order(&id).unwrap().to_wire().encode_to_vec());
    let order = Some(sign(&key(signer), Domain::Order, payload));
    collector.write(Fact::OrderSigned(OrderSigned { order })).await;
}

async fn link(collector: &Collector, agent: &Agent, order_keys_revision: u64) -> Link {
    let mut link = agent.open(collector).await.unwrap();
    link.say(Up::Hello(Hello { order_keys_revision, ..agent.hello() })).await;
    assert!(matches!(link.hears().await, Ok(Down::Welcome(_))));
    link
}

async fn order(link: &mut Link) -> (Order, OrderDelivery) {
    match link.hears().await {
        Ok(Down::Order(delivery)) => {
            (Order::decode(delivery.order.as_ref().unwrap().payload.as_slice()).unwrap(), delivery)
        }
        other => panic!("no order: {other:?}"),
    }
}

/// What comes next is the acknowledgement of a report: nothing was sent before it.
async fn hears_nothing_else(link: &mut Link, agent: &mut Agent) {
    let report = agent.reports(1_790_000_000_000);
    let evidence = Evidence::decode(report.payload.as_slice()).unwrap();
    link.send(report).await;
    match link.hears().await {
        Ok(Down::Ack(ack)) => assert_eq!(ack.sequence, evidence.sequence),
        other => panic!("{other:?}"),
    }
}

fn says(agent: &mut Agent, at_ms: i64, body: evidence::Body) -> seatbeat_proto::wire::Signed {
    let evidence = Evidence { body: Some(body), ..agent.evidence(at_ms) };
    agent.signs(&evidence)
}

fn result(order: &str, outcome: Outcome) -> evidence::Body {
    evidence::Body::OrderResult(OrderResult {
        order: order.into(),
        outcome: outcome.into(),
        ..OrderResult::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_out_at_once_when_it_is_signed_once_a_stream_and_again_on_the_next() {
    let collector = Collector::start().await;
    let (mut agent, other) = (collector.agent().await, collector.agent().await);
    set_keys(&collector, 1, 101, 101).await;
    let (mut there, mut elsewhere) = (link(&collector, &agent, 1).await, link(&collector, &other, 1).await);
    place(&collector, &agent, &[("ord_1", Action::SwitchOff, "dsa")], b"").await;
    hears_nothing_else(&mut there, &mut agent).await;
    sign_order(&collector, "ord_1", 101).await;
    let (heard, delivery) = order(&mut there).await;
    assert_eq!((heard.order.as_str(), delivery.sealed.len()), ("ord_1", 0));
    assert!(verify(&key(101).verifying_key(), Domain::Order, delivery.order.as_ref().unwrap()).is_ok());
    hears_nothing_else(&mut there, &mut agent).await;
    drop(there);
    let mut again = link(&collector, &agent, 1).await;
    assert_eq!(order(&mut again).await.0, heard);
    let taken = says(&mut agent, 1, result("ord_1", Outcome::Done));
    again.send(taken).await;
    again.acked(3).await;
    drop(again);
    let mut over = link(&collector, &agent, 1).await;
    hears_nothing_else(&mut over, &mut agent).await;
    let mut other = other;
    hears_nothing_else(&mut elsewhere, &mut other).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_ride_beside_their_order_and_an_order_without_them_stays() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    set_keys(&collector, 1, 101, 101).await;
    let id: OrderId = "ord_1".parse().unwrap();
    place(&collector, &agent, &[("ord_1", Action::SwitchOff, "dsa")], b"sealed").await;
    sign_order(&collector, "ord_1", 101).await;
    let mut without = link(&collector, &agent, 1).await;
    hears_nothing_else(&mut without, &mut agent).await;
    assert!(
        collector.books.alarms().standing().iter().any(|alarm| alarm.contains("order ord_1 cannot be sent"))
    );
    collector.books.vault().put(VaultRow::OrderSealed(&id), b"other").unwrap();
    hears_nothing_else(&mut without, &mut agent).await;
    collector.books.vault().put(VaultRow::OrderSealed(&id), b"sealed").unwrap();
    let mut with = link(&collector, &agent, 1).await;
    assert_eq!(order(&mut with).await.1.sealed, b"sealed");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_one_after_the_other_and_never_to_who_takes_nobodys_orders() {
    let collector = Collector::start().await;
    let (mut agent, mut old) = (collector.agent().await, collector.agent().await);
    for (revision, number, signer) in [(1, 101, 101), (2, 102, 101), (3, 103, 102)] {
        set_keys(&collector, revision, number, signer).await;
    }
    place(&collector, &agent, &[("ord_1", Action::SwitchOff, "dsa")], b"").await;
    sign_order(&collector, "ord_1", 103).await;
    place(&collector, &old, &[("ord_2", Action::SwitchOff, "dsa")], b"").await;
    sign_order(&collector, "ord_2", 103).await;
    let revision = |heard| match heard {
        Ok(Down::OrderKeys(keys)) => OrderKeys::decode(keys.payload.as_slice()).unwrap().revision,
        other => panic!("no keys: {other:?}"),
    };
    let mut there = link(&collector, &agent, 1).await;
    assert_eq!((revision(there.hears().await), revision(there.hears().await)), (2, 3));
    assert_eq!(order(&mut there).await.0.order, "ord_1");
    let mut silent = link(&collector, &old, 0).await;
    hears_nothing_else(&mut silent, &mut old).await;
    set_keys(&collector, 4, 104, 103).await;
    assert_eq!(revision(there.hears().await), 4);
    // What was signed by the key of before goes out again once the one in force has signed it.
    hears_nothing_else(&mut there, &mut agent).await;
    sign_order(&collector, "ord_1", 104).await;
    assert_eq!(order(&mut there).await.0.order, "ord_1");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_follows_its_order_signed_by_the_service_key_until_it_is_answered() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    set_keys(&collector, 1, 101, 101).await;
    collector.write(Fact::EpochBegan(EpochBegan { epoch: 2 })).await;
    place(&collector, &agent, &[("ord_1", Action::SwitchOff, "dsa")], b"").await;
    sign_order(&collector, "ord_1", 101).await;
    let mut there = link(&collector, &agent, 1).await;
    let (ordered, _) = order(&mut there).await;
    let cancel = OrderCancelled { batch: "bat_ord_1".into(), order: String::new() };
    collector.write(Fact::OrderCancelled(cancel)).await;
    let (cancel, delivery) = order(&mut there).await;
    assert_eq!((cancel.action(), cancel.product.as_str()), (Action::Cancel, "dsa"));
    assert!(cancel.sequence > ordered.sequence && cancel.issued_at_ms >= ordered.issued_at_ms);
    assert_eq!((cancel.machine.as_str(), cancel.epoch), (agent.id.as_str(), 2));
    assert_eq!(cancel.expires_at_ms, ordered.expires_at_ms, "it is in force as long as what it cancels");
    let service = collector.books.keys().service().verifying_key();
    assert!(verify(&service, Domain::Order, delivery.order.as_ref().unwrap()).is_ok());
    drop(there);
    let mut again = link(&collector, &agent, 1).await;
    assert_eq!(order(&mut again).await.0, cancel);
    let answered = says(&mut agent, 1, result(&cancel.order, Outcome::Done));
    again.send(answered).await;
    again.acked(1).await;
    drop(again);
    let mut over = link(&collector, &agent, 1).await;
    hears_nothing_else(&mut over, &mut agent).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unenrolment_goes_out_on_the_open_stream_once_reports_confirm_what_was_switched_off() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    set_keys(&collector, 1, 101, 101).await;
    let orders = [("ord_off", Action::SwitchOff, "dsa"), ("ord_leave", Action::Unenrol, "")];
    place(&collector, &agent, &orders, b"").await;
    for (order, ..) in orders {
        sign_order(&collector, order, 101).await;
    }
    let mut there = link(&collector, &agent, 1).await;
    assert_eq!(order(&mut there).await.0.order, "ord_off");
    let done = says(&mut agent, 1_000, result("ord_off", Outcome::Done));
    there.send(done).await;
    there.acked(1).await;
    for sequence in [2, 3] {
        let nothing = says(&mut agent, 1_000 * sequence, evidence::Body::Report(Report::default()));
        there.send(nothing).await;
        there.acked(sequence as u64).await;
    }
    assert_eq!(order(&mut there).await.0.order, "ord_leave");
    collector.stop().await;
}
