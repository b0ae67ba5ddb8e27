//! Orders, as they are asked for, signed and followed; customers that leave.

use seatbeat_ledger::orders::Scope;
use seatbeat_proto::sealing::{SealKey, seal};
use seatbeat_proto::signed::hash;
use seatbeat_proto::trust;

use super::*;
use crate::console::orders::{Asked, Cannot, OrderList, OrderPlan, OrderQuery, PlanRow, Wish};
use crate::journal::Position;
use crate::order_key::LockedKey;
use crate::vault::VaultRow;

pub(super) const WORDS: &str = "four words are better";

/// A house with order keys, and a key of an operator's.
pub(super) async fn keyed(at: &str) -> (House, SigningKey) {
    let house = House::founded(at);
    house.customer("cus_acme").await;
    let (locked, key) = LockedKey::make(WORDS).unwrap();
    let keys = wire::OrderKeys {
        revision: 1,
        keys: vec![key.verifying_key().to_bytes().to_vec()],
        recovery_key: new_key().verifying_key().to_bytes().to_vec(),
    };
    let request = wire::SetOrderKeysRequest {
        keys: Some(sign(&key, Domain::OrderKeys, keys.encode_to_vec())),
        locked_key: locked.to_text(),
        reason: "first".to_owned(),
    };
    house.client().set_order_keys(request).await.unwrap();
    (house, key)
}

/// A machine that runs a product on Linux and takes orders.
pub(super) async fn ready(house: &House, product: &str) -> (Machine, SealKey) {
    let token = house.token("cus_acme").await;
    let mut machine = house.machine(&token).await;
    let seal_key = SealKey::random();
    machine.says(house, wire::evidence::Body::Report(takes_orders(product, &seal_key))).await;
    (machine, seal_key)
}

pub(super) fn takes_orders(product: &str, key: &SealKey) -> wire::Report {
    wire::Report {
        facts: Some(wire::Facts { os: "linux".to_owned(), ..Default::default() }),
        seal_key: Some(wire::SealKey { public_key: key.public().to_vec(), order_keys_revision: 1 }),
        ..active(product)
    }
}

fn of_acme() -> Scope {
    Scope { customer: Some("cus_acme".parse().unwrap()), ..Scope::default() }
}

pub(super) async fn planned(house: &House, wish: Wish) -> OrderPlan {
    house.console.plan_orders(wish, &of_acme(), 0).await.unwrap()
}

pub(super) fn order(house: &House, row: &PlanRow, number: u32) -> wire::Order {
    let now_ms = house.console.books.clock().now_ms();
    wire::Order {
        order: format!("ord_{number}"),
        machine: row.machine.to_string(),
        action: wire::Action::SwitchOff.into(),
        product: row.product.as_ref().unwrap().to_string(),
        issued_at_ms: now_ms,
        expires_at_ms: now_ms + 86_400_000,
        ..Default::default()
    }
}

pub(super) fn pieces(
    batch: &str,
    machines: u32,
    orders: Vec<wire::SealedOrder>,
) -> Vec<wire::PlaceOrdersPiece> {
    let expires_at_ms = orders[0].order.as_ref().unwrap().expires_at_ms;
    let request = wire::OrdersRequested {
        batch: batch.to_owned(),
        action: wire::Action::SwitchOff.into(),
        scope: Some(wire::OrderScope { customer: "cus_acme".to_owned(), ..Default::default() }),
        machines,
        orders: orders.len() as u32,
        expires_at_ms,
    };
    let first =
        wire::PlaceOrdersPiece { request: Some(request), reason: "left".to_owned(), orders: Vec::new() };
    let others =
        orders.into_iter().map(|one| wire::PlaceOrdersPiece { orders: vec![one], ..Default::default() });
    [first].into_iter().chain(others).collect()
}

pub(super) fn plain(order: wire::Order) -> wire::SealedOrder {
    wire::SealedOrder { order: Some(order), sealed: Vec::new() }
}

pub(super) async fn place(
    house: &House,
    pieces: Vec<wire::PlaceOrdersPiece>,
) -> Result<wire::PlacedOrders, Status> {
    Ok(house.client().place_orders(tokio_stream::iter(pieces)).await?.into_inner())
}

pub(super) async fn unsigned(house: &House) -> Vec<wire::Order> {
    let request = wire::OrdersRequest::default();
    house.client().unsigned_orders(request).await.unwrap().into_inner().orders
}

pub(super) async fn signed(house: &House, key: &SigningKey, orders: &[wire::Order]) -> Result<u64, Status> {
    let orders = orders.iter().map(|order| sign(key, Domain::Order, order.encode_to_vec())).collect();
    let stream = tokio_stream::iter([wire::SignedOrders { orders }]);
    Ok(house.client().sign_orders(stream).await?.into_inner().position)
}

async fn orders(house: &House, query: OrderQuery) -> OrderList {
    house.console.orders(query, 0).await.unwrap()
}

async fn of_batch(house: &House, batch: &str) -> Vec<String> {
    let query = OrderQuery { batch: Some(batch.parse().unwrap()), ..OrderQuery::default() };
    let list = orders(house, query).await;
    list.orders.iter().map(|row| format!("{} {}", row.status, row.detail)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shown_placed_signed_and_called_back_and_its_secret_is_in_no_record() {
    let (house, key) = keyed("2026-10-15T12:00:00Z").await;
    let (machine, seal_key) = ready(&house, "dsa-cloud").await;
    let plan = planned(&house, Wish::SwitchOff).await;
    let [row] = plan.rows.as_slice() else { panic!("{plan:?}") };
    assert_eq!(
        (row.cannot, row.password, row.seal_key.as_slice()),
        (None, Asked::May, &seal_key.public()[..])
    );
    assert!(row.how[0].contains("dsa_control -r") && !row.connected, "{row:?}");
    assert_eq!((plan.machines, plan.needs_second, plan.keys_revision), (1, false, 1));

    let mut asked = order(&house, row, 1);
    let secrets = wire::OrderSecrets { password: "open sesame".to_owned(), ..Default::default() };
    let sealed = seal(&row.seal_key, &asked, &secrets).unwrap();
    let other = wire::SealedOrder { order: Some(asked.clone()), sealed: sealed.clone() };
    refused(place(&house, pieces("bat_1", 1, vec![other])), Reason::Invalid, "does not name what is sealed")
        .await;
    asked.secrets_hash = hash(&sealed).to_vec();
    let with_secret = wire::SealedOrder { order: Some(asked.clone()), sealed: sealed.clone() };
    let placed = place(&house, pieces("bat_1", 1, vec![with_secret])).await.unwrap();
    assert!(!placed.held);
    assert_eq!(of_batch(&house, "bat_1").await, ["ordered waits for a signature"]);
    let kept = house.console.books.vault().get(VaultRow::OrderSealed(&"ord_1".parse().unwrap())).unwrap();
    assert_eq!(kept.unwrap().as_slice(), sealed);
    assert_eq!(seal_key.open(&asked, &sealed).unwrap(), secrets);

    let waiting = unsigned(&house).await;
    assert_eq!(
        waiting,
        [wire::Order { sequence: waiting[0].sequence, ..asked }],
        "as it was placed, with its place"
    );
    refused(
        signed(&house, &new_key(), &waiting),
        Reason::OrderRefused,
        "the signature is none by a key that may give it",
    )
    .await;
    let changed = [wire::Order { uninstall: true, ..waiting[0].clone() }];
    refused(signed(&house, &key, &changed), Reason::OrderRefused, "is not the order as it was placed").await;
    signed(&house, &key, &waiting).await.unwrap();
    assert_eq!(of_batch(&house, "bat_1").await, ["ordered waits for the machine"]);
    refused(signed(&house, &key, &waiting), Reason::OrderRefused, "nothing was written").await;

    let plan = planned(&house, Wish::SwitchOff).await;
    assert_eq!(plan.rows[0].supersedes.as_ref().map(ToString::to_string), Some("ord_1".to_owned()));
    let cancel = wire::OrdersActRequest { batch: "bat_1".to_owned(), ..Default::default() };
    house.client().cancel_orders(cancel.clone()).await.unwrap();
    assert_eq!(of_batch(&house, "bat_1").await, ["cancelled "]);
    refused(house.client().cancel_orders(cancel), Reason::OrderRefused, "the order is over").await;
    refused(signed(&house, &key, &[]), Reason::Invalid, "nothing waits for a signature").await;
    let records = house.console.books.records(Position(0), 100).unwrap();
    let holds =
        |needle: &[u8]| records.iter().any(|(_, one)| one.windows(needle.len()).any(|part| part == needle));
    assert!(!holds(b"open sesame") && !holds(&sealed[..32]), "what is sealed is in the vault alone");
    assert!(!machine.id.as_str().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_shown_with_its_reason() {
    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    let token = house.token("cus_acme").await;
    let mut old = house.machine(&token).await;
    old.reports(&house, "v1es").await;
    let silent = house.machine(&token).await;
    ready(&house, "smex").await;
    let (mut trusts_nobody, key) = ready(&house, "v1es").await;
    let mut report = takes_orders("v1es", &key);
    report.seal_key = Some(wire::SealKey { order_keys_revision: 0, ..report.seal_key.unwrap() });
    trusts_nobody.says(&house, wire::evidence::Body::Report(report)).await;
    let (inactive, key) = ready(&house, "splx").await;
    let mut off = takes_orders("splx", &key);
    off.products[0].state = wire::ProductState::Inactive.into();
    let mut machine = inactive;
    machine.says(&house, wire::evidence::Body::Report(off)).await;
    let of = |plan: &OrderPlan, id: &MachineId| -> Vec<Option<Cannot>> {
        plan.rows.iter().filter(|row| row.machine == *id).map(|row| row.cannot).collect()
    };
    let plan = planned(&house, Wish::SwitchOff).await;
    assert_eq!(plan.machines, 0);
    assert_eq!(of(&plan, &old.id), [Some(Cannot::OldAgent)]);
    assert_eq!(of(&plan, &trusts_nobody.id), [Some(Cannot::TrustsNobody)]);
    assert_eq!(of(&plan, &machine.id), [Some(Cannot::AlreadySo)]);
    assert!(of(&plan, &silent.id).is_empty(), "it shows no product");
    assert!(plan.rows.iter().all(|row| row.product.as_ref().is_none_or(|one| one.as_str() != "smex")));
    let on = planned(&house, Wish::SwitchOn).await;
    assert_eq!(of(&on, &machine.id), [None]);
    let nobody = wire::PlanOrdersRequest { wish: wire::OrderWish::SwitchOff.into(), ..Default::default() };
    refused(house.client().plan_orders(nobody), Reason::Invalid, "names nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_machines_wait_for_another_operator() {
    let (house, key) = keyed("2026-10-15T12:00:00Z").await;
    let limit = wire::LimitOrdersRequest { machines_a_day: 1, reason: "small".to_owned() };
    house.client().limit_orders(limit).await.unwrap();
    for _ in 0..2 {
        ready(&house, "v1es").await;
    }
    let plan = planned(&house, Wish::SwitchOff).await;
    assert!(plan.needs_second);
    let sealed = plan.rows.iter().zip(1..).map(|(row, number)| plain(order(&house, row, number))).collect();
    assert!(place(&house, pieces("bat_2", 2, sealed)).await.unwrap().held);
    assert_eq!(of_batch(&house, "bat_2").await, ["ordered waits for a second operator"; 2]);
    assert!(unsigned(&house).await.is_empty());
    let confirm = wire::OrdersActRequest { batch: "bat_2".to_owned(), ..Default::default() };
    refused(house.client().confirm_orders(confirm.clone()), Reason::OrderRefused, "another operator has to")
        .await;

    let request = wire::AddOperatorRequest { name: "Second".to_owned(), ..Default::default() };
    let second = house.client().add_operator(request).await.unwrap().into_inner();
    let mut other = ConsoleClient::new(Bearer { server: house.server(), token: second.token });
    other.confirm_orders(confirm).await.unwrap();
    signed(&house, &key, &unsigned(&house).await).await.unwrap();
    assert_eq!(of_batch(&house, "bat_2").await, ["ordered waits for the machine"; 2]);
    let list = orders(&house, OrderQuery::default()).await;
    assert_eq!(
        (list.batches.len(), list.batches[0].confirmed_by.clone()),
        (1, Some(second.operator.clone()))
    );

    let revoke =
        |operator: &str| wire::RevokeOperatorRequest { operator: operator.to_owned(), reason: "left".into() };
    house.client().revoke_operator(revoke(&second.operator)).await.unwrap();
    let known =
        house.client().list_operators(wire::ListRequest::default()).await.unwrap().into_inner().operators;
    let last = known.iter().find(|row| row.you).unwrap();
    refused(house.client().revoke_operator(revoke(&last.operator)), Reason::LastAdmin, "is the last one")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_keys_go_into_tokens_and_only_who_may_replaces_them() {
    let (house, key) = keyed("2026-10-15T12:00:00Z").await;
    let reply = house.client().get_order_keys(wire::ListRequest::default()).await.unwrap().into_inner();
    let trusted = trust::parse(&reply.trust).unwrap();
    let text = token::parse(&house.token("cus_acme").await.text).unwrap();
    assert_eq!((text.order_keys, text.order_keys_revision), (trusted.keys.clone(), 1));
    assert_eq!(text.recovery_key, trusted.recovery_key);
    assert_eq!(
        LockedKey::from_text(&reply.locked_key).unwrap().open(WORDS).unwrap().to_bytes(),
        key.to_bytes()
    );

    let (locked, next) = LockedKey::make(WORDS).unwrap();
    let public = next.verifying_key().to_bytes().to_vec();
    let keys = wire::OrderKeys { revision: 2, keys: vec![public], recovery_key: trusted.recovery_key };
    let by = |key: &SigningKey, locked: &LockedKey| wire::SetOrderKeysRequest {
        keys: Some(sign(key, Domain::OrderKeys, keys.encode_to_vec())),
        locked_key: locked.to_text(),
        reason: "yearly".to_owned(),
    };
    let stranger = by(&next, &locked);
    refused(house.client().set_order_keys(stranger), Reason::OrderRefused, "the signature is none").await;
    let (foreign, _) = LockedKey::make(WORDS).unwrap();
    refused(house.client().set_order_keys(by(&key, &foreign)), Reason::Invalid, "is none of the new").await;
    let service = house.console.books.keys().service().clone();
    refused(house.client().set_order_keys(by(&service, &locked)), Reason::OrderRefused, "the signature")
        .await;
    house.client().set_order_keys(by(&key, &locked)).await.unwrap();
    let reply = house.client().get_order_keys(wire::ListRequest::default()).await.unwrap().into_inner();
    assert_eq!(trust::parse(&reply.trust).unwrap().revision, 2);
    let config =
        Config { order_key: crate::config::OrderKey::Operator, ..Config::clone(&house.console.config) };
    let house = house.again_with("2026-10-16T12:00:00Z", config).await;
    refused(house.client().set_order_keys(by(&next, &locked)), Reason::Invalid, "kept by the operator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_gets_no_machine_in_any_more_and_both_arms_are_shown() {
    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    ready(&house, "dsa").await;
    let request = |departure: wire::Departure, reason: &str| wire::DepartCustomerRequest {
        customer: "cus_acme".to_owned(),
        departure: departure.into(),
        reason: reason.to_owned(),
    };
    let silent = request(wire::Departure::Suspended, " ");
    refused(house.client().depart_customer(silent), Reason::Invalid, "the reason is missing").await;
    let suspended = request(wire::Departure::Suspended, "unpaid");
    let first = house.client().depart_customer(suspended.clone()).await.unwrap().into_inner();
    let again = house.client().depart_customer(suspended).await.unwrap().into_inner();
    assert_eq!(again.position, first.position, "nothing new is written");
    let nobody = wire::DepartCustomerRequest {
        customer: "cus_none".to_owned(),
        ..request(wire::Departure::Returned, "paid")
    };
    refused(house.client().depart_customer(nobody), Reason::OrderRefused, "the customer is not known").await;
    house.client().depart_customer(request(wire::Departure::Returned, "paid")).await.unwrap();
    let gone = house.client().depart_customer(request(wire::Departure::Offboarded, "left")).await.unwrap();
    assert_eq!(gone.into_inner().tokens_revoked.len(), 1);
    let tokens = house.client().list_tokens(wire::ListRequest::default()).await.unwrap().into_inner().tokens;
    assert!(tokens.iter().all(|token| token.revoked));

    let receipt = |receipt: &str, at: &str| wire::SwitchSkuRequest {
        customer: "cus_acme".to_owned(),
        sku: "DS".to_owned(),
        suspend: true,
        receipt: receipt.to_owned(),
        at_ms: instant::to_ms(at.parse().unwrap()),
        ..Default::default()
    };
    let day = "2026-10-15T11:00:00Z";
    refused(
        house.client().switch_sku(receipt("", day)),
        Reason::Invalid,
        "the receipt is not one: it has no id",
    )
    .await;
    let ahead = receipt("RMA-1", "2026-10-16T11:00:00Z");
    refused(house.client().switch_sku(ahead), Reason::Invalid, "still to come").await;
    house.client().switch_sku(receipt("RMA-1", day)).await.unwrap();
    let query = OrderQuery { customer: Some("cus_acme".parse().unwrap()), ..OrderQuery::default() };
    let arms = orders(&house, query).await.arms;
    assert_eq!(arms.len(), 1);
    assert_eq!((arms[0].active, arms[0].switched_off), (1, 0));
    assert_eq!(arms[0].suspended_since.map(instant::to_ms), Some(instant::to_ms(day.parse().unwrap())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_has_a_token_of_its_own_and_codes_only_where_they_were_asked_for() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let code = "WF-YEZ5-N2A97-CF68K-NE9QT-28NQ3-UEU5M";
    let csv = format!("product,sku,seats,code\ndsa,DS,3,{code}\n").into_bytes();
    let import = wire::LicenceImport { csv, dry_run: false, reason: String::new() };
    house.client().import_licences(import).await.unwrap();
    let licence = house.console.books.read(|fold| fold.licences().in_force().next().unwrap().0.to_string());
    let to = Some(wire::LicenceHolder { customer: "cus_acme".to_owned(), machine: String::new() });
    let change = wire::LicenceAllotted { licence, from: None, to, seats: 2 };
    let allot = wire::AllotRequest { change: Some(change), reason: String::new() };
    house.client().allot_licence(allot).await.unwrap();
    let asked = |codes: bool, format: &str, reason: &str| wire::InstallKitRequest {
        customer: "cus_acme".to_owned(),
        codes,
        format: format.to_owned(),
        reason: reason.to_owned(),
        uses_max: 5,
        expires_at_ms: house.console.books.clock().now_ms() + 86_400_000,
    };
    let kit = house.client().install_kit(asked(false, "json", "")).await.unwrap().into_inner().text;
    let kit: serde_json::Value = serde_json::from_str(&kit).unwrap();
    let text = kit["token_text"].as_str().unwrap();
    assert!(token::parse(text).is_ok());
    let lines = kit["install"].as_array().unwrap().iter();
    let lines: Vec<_> = lines.map(|row| row["line"].as_str().unwrap().replace(text, "TOKEN")).collect();
    assert_eq!(
        lines,
        [
            "msiexec /i seatbeat-agent-x64.msi /qn /norestart TOKEN=TOKEN",
            "SEATBEAT_TOKEN=TOKEN apt-get install -y ./seatbeat-agent_*_$(dpkg --print-architecture).deb",
            "SEATBEAT_TOKEN=TOKEN dnf install -y ./seatbeat-agent-*.$(uname -m).rpm",
            "sudo seatbeat-agent enrol --token TOKEN",
        ]
    );
    assert_eq!((&kit["licences"][0]["seats"], &kit["licences"][0]["code"]), (&2.into(), &"".into()));
    let tokens = house.client().list_tokens(wire::ListRequest::default()).await.unwrap().into_inner().tokens;
    assert_eq!((tokens.len(), tokens[0].uses_max), (1, 5));
    refused(house.client().install_kit(asked(true, "html", "")), Reason::Invalid, "the reason is missing")
        .await;
    let size = |house: &House| house.console.books.read(seatbeat_ledger::fold::Fold::position);
    let before = size(&house);
    let page = house.client().install_kit(asked(true, "html", "rollout")).await.unwrap().into_inner().text;
    assert!(page.contains(code) && page.starts_with("<!doctype html>"), "{page}");
    assert_eq!(size(&house), before + 2, "that the code was shown, and the token");
    refused(house.client().install_kit(asked(true, "csv", "x")), Reason::Invalid, "json or html").await;
}
