//! Orders days later: real books, opened again at another instant.

use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire::{
    CustomerAdded, CustomerLeft, EnrolmentClaim, EnrolmentRequested, Evidence, EvidenceReceived,
    FoundProduct, OrderCancelled, OrderKeys, OrderKeysSet, OrderSigned, ProductState, Report, TokenCreated,
    evidence,
};
use tempfile::TempDir;

use super::*;
use crate::books::BooksEnd;
use crate::clock::Clock;
use crate::config::Config;
use crate::found::found;

const START: &str = "2026-10-05T12:00:00Z";
const DAY_MS: i64 = 86_400_000;

struct House {
    folder: TempDir,
    books: Books,
    end: BooksEnd,
    /// Of the machine's chain.
    tip: (u64, Vec<u8>),
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn machine() -> MachineId {
    MachineId::derived_from(key(1).verifying_key().as_bytes())
}

fn id(order: &str) -> OrderId {
    order.parse().unwrap()
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::as_of(START.parse().unwrap());
        found(folder.path(), &Config::default(), "zone = \"UTC\"\n", clock).unwrap();
        let (books, end) = Books::open(folder.path(), clock).unwrap();
        let mut house = Self { folder, books, end, tip: (0, Vec::new()) };
        house.write(Fact::CustomerAdded(CustomerAdded { customer: "cus_a".into() })).await;
        let token = TokenCreated {
            token: "tok_a".into(),
            customer: "cus_a".into(),
            secret_hash: vec![1; 32],
            uses_max: 1,
            expires_at_ms: house.books.clock().now_ms() + DAY_MS,
            uses_per_hour: 0,
        };
        house.write(Fact::TokenCreated(token)).await;
        let public_key = key(1).verifying_key().to_bytes().to_vec();
        let claim = EnrolmentClaim { public_key, token: "tok_a".into(), ..Default::default() };
        let claim = Some(sign(&key(1), Domain::EnrolmentClaim, claim.encode_to_vec()));
        house.write(Fact::EnrolmentRequested(EnrolmentRequested { claim })).await;
        let keys = OrderKeys {
            revision: 1,
            keys: vec![key(101).verifying_key().to_bytes().to_vec()],
            recovery_key: Vec::new(),
        };
        let keys = Some(sign(&key(101), Domain::OrderKeys, keys.encode_to_vec()));
        house.write(Fact::OrderKeysSet(OrderKeysSet { keys })).await;
        house.reports().await;
        house
    }

    /// The same books some days later.
    async fn later(self, days: i64) -> Self {
        let Self { folder, books, end, tip } = self;
        let at = books.clock().now() + SignedDuration::from_hours(24 * days);
        drop(books);
        end.close().await.unwrap();
        let (books, end) = Books::open(folder.path(), Clock::as_of(at)).unwrap();
        Self { folder, books, end, tip }
    }

    async fn stop(self) {
        drop(self.books);
        self.end.close().await.unwrap();
        drop(self.folder);
    }

    async fn write(&self, fact: Fact) {
        self.books.write("opr_a", "not paid", fact).await.unwrap();
    }

    async fn reports(&mut self) {
        let product =
            FoundProduct { product: "dsa".into(), state: ProductState::Active.into(), ..Default::default() };
        let evidence = Evidence {
            machine: machine().to_string(),
            spool: "spl_a".into(),
            sequence: self.tip.0 + 1,
            previous: self.tip.1.clone(),
            observed_at_ms: self.books.clock().now_ms(),
            body: Some(evidence::Body::Report(Report { products: vec![product], ..Default::default() })),
            ..Default::default()
        };
        let signed = sign(&key(1), Domain::Evidence, evidence.encode_to_vec());
        self.tip = (evidence.sequence, hash(&signed.payload).to_vec());
        let evidence = Some(signed);
        self.write(Fact::EvidenceReceived(EvidenceReceived { evidence, ..Default::default() })).await;
    }

    /// A batch of one order for the machine, good for a day.
    async fn order(&self, order: &str, secrets_hash: Vec<u8>) {
        let (batch, now_ms) = (format!("bat_{order}"), self.books.clock().now_ms());
        let requested = OrdersRequested {
            batch: batch.clone(),
            action: Action::SwitchOff.into(),
            scope: None,
            machines: 1,
            orders: 1,
            expires_at_ms: now_ms + DAY_MS,
        };
        self.write(Fact::OrdersRequested(requested)).await;
        let request = wire::Order {
            order: order.into(),
            machine: machine().to_string(),
            action: Action::SwitchOff.into(),
            product: "dsa".into(),
            issued_at_ms: now_ms,
            expires_at_ms: now_ms + DAY_MS,
            secrets_hash,
            ..Default::default()
        };
        self.write(Fact::OrderPlaced(OrderPlaced { order: None, request: Some(request), batch })).await;
    }

    async fn sign(&self, order: &str) {
        let payload =
            self.books.read(|fold| fold.orders().order(&id(order)).unwrap().to_wire().encode_to_vec());
        let order = Some(sign(&key(101), Domain::Order, payload));
        self.write(Fact::OrderSigned(OrderSigned { order })).await;
    }

    fn sealed(&self) -> Vec<String> {
        let rows = self.books.vault().scan(VaultKind::OrderSealed).unwrap();
        rows.into_iter().map(|(order, _)| order).collect()
    }

    fn alarms(&self) -> String {
        self.books.alarms().standing().join("\n")
    }

    fn awaiting(&self) -> Vec<(String, bool)> {
        let now = self.books.clock().now();
        self.books.read(|fold| {
            let orders = fold.orders();
            let by_collector = |order: &Order| {
                orders.batch(order.batch.as_ref().unwrap()).unwrap().requested.by == COLLECTOR
            };
            let waiting = orders.awaiting_signature(now);
            waiting.map(|order| (order.to_wire().product, by_collector(order))).collect()
        })
    }
}

#[tokio::test]
async fn secrets_of_an_order_that_is_over_are_erased_and_others_stay() {
    let house = House::new().await;
    for order in ["ord_1", "ord_nobody"] {
        house.books.vault().put(VaultRow::OrderSealed(&id(order)), b"sealed").unwrap();
    }
    house.order("ord_1", hash(b"sealed").to_vec()).await;
    house.sign("ord_1").await;
    OrdersJob::new(house.books.clone()).run().await;
    assert_eq!(house.sealed(), ["ord_1", "ord_nobody"]);
    let house = house.later(1).await;
    let mut job = OrdersJob::new(house.books.clone());
    job.run().await;
    assert_eq!(house.sealed(), ["ord_nobody"], "its order may be on its way to the journal");
    let (orders, now) = (house.books.read(|fold| fold.orders().clone()), house.books.clock().now());
    assert!(job.over(&orders, vec![id("ord_nobody")], now + SignedDuration::from_mins(14)).is_empty());
    assert_eq!(job.over(&orders, vec![id("ord_nobody")], now + SignedDuration::from_mins(16)).len(), 1);
    drop(job);
    house.stop().await;
}

#[tokio::test]
async fn an_order_that_nobody_signs_is_told_of_until_it_is_cancelled() {
    let house = House::new().await;
    let now_ms = house.books.clock().now_ms();
    house.order("ord_1", Vec::new()).await;
    let mut job = OrdersJob::new(house.books.clone());
    job.run().await;
    assert_eq!(house.alarms(), "");
    let (orders, registry) = house.books.read(|fold| (fold.orders().clone(), fold.registry().clone()));
    job.tell(&orders, &registry, instant::from_ms(now_ms + 16 * 60_000).unwrap());
    assert!(
        house.alarms().contains("1 orders wait for a signature; the first is ord_1"),
        "{}",
        house.alarms()
    );
    house
        .write(Fact::OrderCancelled(OrderCancelled { batch: "bat_ord_1".into(), order: String::new() }))
        .await;
    job.run().await;
    assert_eq!(house.alarms(), "");
    drop(job);
    house.stop().await;
}

#[tokio::test]
async fn what_expired_is_placed_again_once_while_machines_of_a_customer_that_left_report() {
    let left = |for_good| Fact::CustomerLeft(CustomerLeft { customer: "cus_a".into(), for_good });
    let house = House::new().await;
    house.order("ord_1", Vec::new()).await;
    house.sign("ord_1").await;
    house.write(left(false)).await;
    let mut house = house.later(2).await;
    OrdersJob::new(house.books.clone()).run().await;
    assert_eq!(house.awaiting(), [], "who is suspended is an operator's to think of");
    house.write(left(true)).await;
    OrdersJob::new(house.books.clone()).run().await;
    assert_eq!(house.awaiting(), [], "the machine has not reported for two days");
    house.reports().await;
    for _ in 0..2 {
        OrdersJob::new(house.books.clone()).run().await;
        assert_eq!(house.awaiting(), [("dsa".to_owned(), true)]);
    }
    house.stop().await;
}

#[tokio::test]
async fn what_had_secrets_or_was_never_signed_is_not_placed_again() {
    let house = House::new().await;
    house.write(Fact::CustomerLeft(CustomerLeft { customer: "cus_a".into(), for_good: true })).await;
    house.order("ord_1", vec![7; 32]).await;
    house.sign("ord_1").await;
    let mut house = house.later(2).await;
    house.reports().await;
    OrdersJob::new(house.books.clone()).run().await;
    assert_eq!(house.awaiting(), []);
    house.order("ord_2", Vec::new()).await;
    let mut house = house.later(2).await;
    house.reports().await;
    OrdersJob::new(house.books.clone()).run().await;
    assert_eq!(house.awaiting(), []);
    house.stop().await;
}
