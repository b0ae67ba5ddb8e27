//! Machines: the list, one in full, what is done to one by hand, and switching off and on.

use axum::http::StatusCode;

use super::super::orders::{WORDS, keyed, ready};
use super::super::*;
use super::shown::{own, page, posted, size};
use crate::console::auth::Caller;
use crate::console::orders::OrderQuery;
use crate::journal::Position;
use crate::vault::VaultRow;

const INJECTED: &str = "<script>alert(1)</script>";

impl House {
    async fn named(&self, customer: &str, name: &str) -> Machine {
        let machine = self.machine(&self.token(customer).await).await;
        self.console.books.vault().put(VaultRow::HostName(&machine.id), name.as_bytes()).unwrap();
        machine
    }
}

/// Machines of two customers, of which one reports.
async fn house() -> (House, Machine, Machine) {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    house.customer("cus_b").await;
    let mut desk = house.named("cus_a", "desk-1").await;
    let found = wire::FoundProduct {
        product: "dsa".to_owned(),
        state: wire::ProductState::Active.into(),
        version: "20.0".to_owned(),
        signals: vec!["unit:ds_agent".to_owned()],
        ..Default::default()
    };
    let off = wire::FoundProduct {
        product: "spnt".to_owned(),
        state: wire::ProductState::Inactive.into(),
        why: format!("{INJECTED} service stopped"),
        ..Default::default()
    };
    let report = wire::Report { products: vec![found, off], ..active("dsa") };
    desk.says(&house, wire::evidence::Body::Report(report)).await;
    let other = house.named("cus_b", INJECTED).await;
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    house.operator("opr_a", "sbo1.a", Role::Viewer, &["cus_a"]).await;
    (house, desk, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_searched_narrowed_and_turned_and_names_are_text() {
    let (house, desk, other) = house().await;
    let all = own(&house, "/machines").await;
    all.holds("desk-1").holds("&#60;script&#62;alert").lacks(INJECTED).lacks("rel=\"next\"");
    own(&house, "/machines?search=DESK").await.holds("desk-1").lacks("&#60;script");
    own(&house, "/machines?customer=cus_b").await.holds(other.id.as_str()).lacks("desk-1");
    own(&house, "/machines?state=banned").await.holds("No machine is like that");
    own(&house, "/machines?product=dsa&sort=id").await.holds("desk-1").holds("spnt (inactive)");
    own(&house, "/machines?search=desk").await.holds("/v1/machines.csv?search=desk");
    for wrong in ["/machines?state=away", "/machines?after=x", "/machines?colour=red"] {
        assert_eq!(own(&house, wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let theirs = page(&house, "sbo1.a", "/machines").await;
    theirs.holds(desk.id.as_str()).lacks(other.id.as_str()).lacks("cus_b");
    assert_eq!(page(&house, "sbo1.a", "/machines?customer=cus_b").await.status, StatusCode::NOT_FOUND);

    for number in 0..50 {
        house.named("cus_b", &format!("ws-{number:02}")).await;
    }
    let first = own(&house, "/machines?customer=cus_b").await;
    first.holds("ws-48").lacks("ws-49");
    let (_, next) = first.body.split_once("class=\"button\" href=\"").unwrap();
    let next = next.split('"').next().unwrap().replace("&#38;", "&");
    own(&house, &next).await.holds("ws-49").lacks(">ws-48<").holds("First page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_shown_with_what_found_its_products_and_each_day_of_the_month() {
    let (house, desk, other) = house().await;
    let path = format!("/machines/{}", desk.id);
    let shown = own(&house, &path).await;
    shown.holds("unit:ds_agent").holds("&#60;script&#62;alert(1)&#60;/script&#62; service stopped");
    shown.holds("Days of 2026-10").holds("1 confirmed, 0 presumed, 0 seen, not counted, 0 silent");
    shown.holds("<td class=\"confirmed\"><strong>15</strong>").holds("not let in yet").holds("to come");
    shown.holds("machine of <a href=\"/customers/cus_a\">").holds("Merge").holds("Shut it out");
    shown.lacks(INJECTED).lacks("rel=\"prev\"");

    let viewed = page(&house, "sbo1.v", &path).await;
    viewed.holds("desk-1").lacks("Shut it out").lacks("Merge").lacks("Switch off");
    page(&house, "sbo1.a", &path).await.holds("desk-1").lacks("aria-label=\"Orders\"");
    let theirs = format!("/machines/{}", other.id);
    assert_eq!(page(&house, "sbo1.a", &theirs).await.status, StatusCode::NOT_FOUND);
    assert_eq!(own(&house, "/machines/nobody").await.status, StatusCode::BAD_REQUEST);

    // What was reported once is presumed for some days, and then it is silent.
    let house = house.again("2026-11-20T12:00:00Z").await;
    let later = own(&house, &path).await;
    later.holds("Days of 2026-11").holds("rel=\"prev\"").holds("presumed").holds("silent");
    let before = own(&house, &format!("{path}?month=2026-10")).await;
    before
        .holds("<td class=\"confirmed\"><strong>15</strong>")
        .holds("<td class=\"presumed\"><strong>16</strong>");
    // A machine is told as it is told with its line.
    let request = wire::ExplainRequest {
        period: "2026-10".to_owned(),
        customer: "cus_a".to_owned(),
        sku: "DS".to_owned(),
        ..Default::default()
    };
    let line = house.console.explain(request.try_into().unwrap(), 0).await.unwrap();
    let now = house.console.now();
    let let_in =
        house.console.books.read(|fold| fold.operators().by_token(&hash(house.token.as_bytes()), now));
    let caller = Caller { let_in: let_in.unwrap(), from: None };
    let month = Some("2026-10".parse().unwrap());
    let days = house.console.machine_days(&caller, &desk.id, month).await.unwrap();
    assert_eq!(days.seats, line.machines[0].told.seats);
    assert_eq!(days.reasons, line.machines[0].told.reasons);
    assert_eq!(own(&house, &format!("{path}?month=2026-12")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shut_out_has_a_reason_and_is_let_in_again() {
    let (house, desk, _) = house().await;
    house.operator("opr_t", "sbo1.t", Role::Technician, &["cus_b"]).await;
    let path = format!("/machines/{}/ban", desk.id);
    let silent = posted(&house, &house.token, &path, &[("banned", "true"), ("reason", " ")]).await;
    assert_eq!(silent.status, StatusCode::BAD_REQUEST);
    let fields = [("banned", "true"), ("reason", "stolen")];
    assert_eq!(posted(&house, "sbo1.t", &path, &fields).await.status, StatusCode::NOT_FOUND);
    assert_eq!(posted(&house, "sbo1.v", &path, &fields).await.status, StatusCode::FORBIDDEN);
    let banned = posted(&house, &house.token, &path, &fields).await;
    assert_eq!(
        (banned.status, banned.to.as_str()),
        (StatusCode::SEE_OTHER, format!("/machines/{}?done=banned", desk.id).as_str())
    );
    own(&house, &banned.to).await.holds("The machine is shut out").holds("Let it in again");
    posted(&house, &house.token, &path, &[("banned", "false"), ("reason", "found")]).await;
    own(&house, &format!("/machines/{}", desk.id)).await.lacks("Let it in again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_shows_what_it_does_and_exactly_that_is_written() {
    let (house, desk, _) = house().await;
    let mut second = house.named("cus_a", "desk-2").await;
    second.reports(&house, "dsa").await;
    let path = format!("/machines/{}/amend", desk.id);
    own(&house, &format!("{path}?act=merge"))
        .await
        .holds("Merge with another machine")
        .lacks("Put it on record");
    let other = second.id.to_string();
    let fields = |seen: &'static str, other: &str| {
        vec![
            ("act", "merge".to_owned()),
            ("other", other.to_owned()),
            ("reason", "one computer".to_owned()),
            ("seen", seen.to_owned()),
        ]
    };
    let before = size(&house);
    let asked = fields("", &other);
    let asked: Vec<_> = asked.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let shown = posted(&house, &house.token, &format!("{path}/preview"), &asked).await;
    shown.holds("<td class=\"number\">2</td><td class=\"number\">1</td>").holds("Put it on record");
    assert_eq!(size(&house), before, "a preview writes nothing");
    let unseen = posted(&house, &house.token, &path, &asked).await;
    assert_eq!(unseen.status, StatusCode::BAD_REQUEST);
    unseen.holds("look at what it does");
    let seen = shown.field("seen");
    let mut asked = asked;
    asked.retain(|(name, _)| *name != "seen");
    asked.push(("seen", seen.as_str()));
    let written = posted(&house, &house.token, &path, &asked).await;
    assert_eq!(written.status, StatusCode::SEE_OTHER);
    own(&house, &written.to).await.holds("one machine with").holds(&other);
    let wrong = fields("", "mch_x");
    let wrong: Vec<_> = wrong.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let unknown = posted(&house, &house.token, &format!("{path}/preview"), &wrong).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(page(&house, "sbo1.v", &path).await.status, StatusCode::FORBIDDEN);
}

/// What became of the orders of a machine.
async fn statuses(house: &House, machine: &MachineId) -> Vec<String> {
    let query = OrderQuery { machine: Some(machine.clone()), ..OrderQuery::default() };
    let orders = house.console.orders(query, 0).await.unwrap().orders;
    orders.iter().map(|row| format!("{} {}", row.status, row.detail)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_is_the_plan_that_was_shown_signed_by_who_knows_the_passphrase() {
    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    let (machine, seal_key) = ready(&house, "dsa-cloud").await;
    let path = format!("/machines/{}/orders", machine.id);
    let shown = own(&house, &format!("{path}?wish=switch_off")).await;
    shown.holds("dsa_control -r").holds("1 machine would be told").holds("Passphrase of the order key");
    let digest = shown.field("digest");
    let form = |digest: &str, passphrase: &str| {
        [
            ("wish", "switch_off".to_owned()),
            ("product", String::new()),
            ("digest", digest.to_owned()),
            ("reason", "not paid".to_owned()),
            ("days", "14".to_owned()),
            ("password", "open sesame".to_owned()),
            ("passphrase", passphrase.to_owned()),
        ]
    };
    let order = async |digest: &str, passphrase: &str| {
        let fields = form(digest, passphrase);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        posted(&house, &house.token, &path, &fields).await
    };
    let stale = order("00", WORDS).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    stale.holds("has changed since it was shown");
    let wrong = order(&digest, "four other words here").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    wrong.holds("does not open this key").lacks("four other words");
    assert!(statuses(&house, &machine.id).await.is_empty(), "nothing is placed that cannot be signed");
    let ordered = order(&digest, WORDS).await;
    assert_eq!(ordered.status, StatusCode::SEE_OTHER, "{}", ordered.body);
    assert_eq!(statuses(&house, &machine.id).await, ["ordered waits for the machine"]);
    own(&house, &ordered.to).await.holds("Signed and on the way").holds("waits for the machine");

    let placed = house.console.books.read(|fold| fold.orders().of_machine(&machine.id)[0].clone());
    let sealed = house.console.books.vault().get(VaultRow::OrderSealed(&placed.id)).unwrap().unwrap();
    let as_made = wire::Order { sequence: 0, epoch: 0, ..placed.to_wire() };
    assert_eq!(seal_key.open(&as_made, &sealed).unwrap().password, "open sesame");
    let records = house.console.books.records(Position(0), 1000).unwrap();
    for hidden in ["open sesame", WORDS] {
        let holds = |record: &[u8]| record.windows(hidden.len()).any(|part| part == hidden.as_bytes());
        assert!(!records.iter().any(|(_, record)| holds(record)), "{hidden} is in a record");
    }
    let again = order(&digest, WORDS).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "another one would be superseded");
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_at_the_passphrase_are_counted_as_those_at_a_password() {
    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    let (machine, _) = ready(&house, "dsa-cloud").await;
    let path = format!("/machines/{}/orders", machine.id);
    let digest = own(&house, &path).await.field("digest");
    // What is too long is no passphrase, and costs no derivation.
    let long = "x".repeat(300);
    let fields = [("digest", digest.as_str()), ("reason", "x"), ("passphrase", long.as_str())];
    for _ in 0..5 {
        let wrong = posted(&house, &house.token, &path, &fields).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{}", wrong.body);
    }
    let refused = posted(&house, &house.token, &path, &fields).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let silent = [("digest", digest.as_str()), ("reason", " "), ("passphrase", WORDS)];
    posted(&house, &house.token, &path, &silent).await.holds("the reason is missing");
    assert!(statuses(&house, &machine.id).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_sign_here_is_told_where_that_is_done() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let (machine, _) = ready(&house, "dsa-cloud").await;
    let path = format!("/machines/{}/orders", machine.id);
    let shown = own(&house, &path).await;
    shown.holds("seatbeat orders key new").lacks("name=\"digest\"").lacks("name=\"passphrase\"");

    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    let (machine, _) = ready(&house, "dsa-cloud").await;
    let path = format!("/machines/{}/orders", machine.id);
    let config =
        Config { order_key: crate::config::OrderKey::Operator, ..Config::clone(&house.console.config) };
    let house = house.again_with("2026-10-15T12:00:00Z", config).await;
    let shown = own(&house, &path).await;
    shown.holds("seatbeat orders sign --key-file FILE").lacks("name=\"passphrase\"");
    let digest = shown.field("digest");
    let fields = [("digest", digest.as_str()), ("reason", "not paid")];
    let placed = posted(&house, &house.token, &path, &fields).await;
    own(&house, &placed.to).await.holds("It waits for a signature");
    assert_eq!(statuses(&house, &machine.id).await, ["ordered waits for a signature"]);
    assert_eq!(page(&house, "sbo1.none", &path).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_machines_are_typed_in_and_wait_for_a_second_operator_whose_batch_is_signed_later() {
    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    let limit = wire::LimitOrdersRequest { machines_a_day: 1, reason: "small".to_owned() };
    house.client().limit_orders(limit).await.unwrap();
    let (first, _) = ready(&house, "dsa-cloud").await;
    ready(&house, "dsa-cloud").await;
    let shown = own(&house, "/customers/cus_acme/orders?wish=switch_off").await;
    shown.holds("a second operator has to confirm it").lacks("name=\"passphrase\"").holds("Type 2,");
    let digest = shown.field("digest");
    let fields = |machines: &'static str| {
        [("digest", digest.clone()), ("reason", "left".to_owned()), ("machines", machines.to_owned())]
    };
    let order = async |machines: &'static str| {
        let fields = fields(machines);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        posted(&house, &house.token, "/customers/cus_acme/orders", &fields).await
    };
    order("3").await.holds("the number of machines is not 2");
    let placed = order("2").await;
    own(&house, &placed.to).await.holds("a second operator has confirmed it");
    assert_eq!(statuses(&house, &first.id).await, ["ordered waits for a second operator"]);

    let batch = house.console.orders(OrderQuery::default(), 0).await.unwrap().batches[0].batch.clone();
    let path = format!("/orders/{batch}/sign");
    own(&house, &path).await.holds("Nothing of it waits for a signature").lacks("name=\"passphrase\"");
    house.operator("opr_second", "sbo1.second", Role::Technician, &[]).await;
    let mut second = ConsoleClient::new(Bearer { server: house.server(), token: "sbo1.second".to_owned() });
    let confirm = wire::OrdersActRequest { batch: batch.to_string(), ..Default::default() };
    second.confirm_orders(confirm).await.unwrap();
    let waiting = own(&house, &path).await;
    waiting.holds("Confirmed by").holds(first.id.as_str());
    let sign = async |digest: &str, words: &str| {
        posted(&house, &house.token, &path, &[("digest", digest), ("passphrase", words)]).await
    };
    let digest = waiting.field("digest");
    assert_eq!(sign("00", WORDS).await.status, StatusCode::CONFLICT);
    sign(&digest, "four other words here").await.holds("does not open this key");
    assert_eq!(sign(&digest, WORDS).await.status, StatusCode::SEE_OTHER);
    assert_eq!(statuses(&house, &first.id).await, ["ordered waits for the machine"]);
    assert_eq!(own(&house, "/orders/bat_none/sign").await.status, StatusCode::NOT_FOUND);
}
