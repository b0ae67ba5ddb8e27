//! The pages of orders.

use super::*;
use crate::console::orders::Wish;
use crate::console::tests::orders::{keyed, order, pieces, place, plain, planned, ready};
use crate::vault::VaultRow;

/// Two machines' orders that another operator has to confirm.
async fn held() -> House {
    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    let limit = wire::LimitOrdersRequest { machines_a_day: 1, reason: "small".to_owned() };
    house.client().limit_orders(limit).await.unwrap();
    for _ in 0..2 {
        let (machine, _) = ready(&house, "v1es").await;
        house.console.books.vault().put(VaultRow::HostName(&machine.id), MARKUP.as_bytes()).unwrap();
    }
    let plan = planned(&house, Wish::SwitchOff).await;
    let sealed = plan.rows.iter().zip(1..).map(|(row, number)| plain(order(&house, row, number))).collect();
    assert!(place(&house, pieces("bat_2", 2, sealed)).await.unwrap().held);
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_ordered_says_where_orders_are_given() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let shown = page(&house, "/orders").await;
    assert!(shown.has("Nothing was ordered yet") && shown.has("href=\"/machines\""), "{}", shown.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_once_another_operator_has_confirmed_it() {
    let house = held().await;
    let overview = page(&house, "/").await;
    assert!(overview.has("bat_2 waits for a second operator") && overview.has("href=\"/orders/bat_2\""));
    let shown = page(&house, "/orders").await;
    assert!(shown.has("waits for a second operator") && shown.has("2 ordered"), "{}", shown.body);
    let shown = page(&house, "/orders/bat_2").await;
    assert!(shown.has("&#60;script&#62;") && shown.has("action=\"/orders/bat_2/confirm\""), "{}", shown.body);
    assert!(!shown.has("seatbeat orders sign"), "nothing is signed before: {}", shown.body);
    let own = post(&house, "/orders/bat_2/confirm", &[("reason", "")]).await;
    assert!(own.status.is_client_error() && own.has("another operator has to"), "{own:?}");

    house.operator("opr_2", "sbo1.2", Role::Technician, &[]).await;
    led(
        &post_as(&house, "/orders/bat_2/confirm", "sbo1.2", &[("reason", "")]).await,
        "/orders/bat_2?done=confirmed",
    );
    let shown = page(&house, "/orders/bat_2?done=confirmed").await;
    assert!(shown.has("Confirmed: it goes on.") && shown.has("by <span class=\"mono\">opr_2</span>"));
    assert!(shown.has("seatbeat orders sign bat_2") && shown.has("waits for a signature"), "{}", shown.body);
    let overview = page(&house, "/").await;
    assert!(overview.has("2 order(s) of bat_2 wait for a signature"), "{}", overview.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_needs_a_reason_and_is_found_by_its_state() {
    let house = held().await;
    let silent = post(&house, "/orders/bat_2/cancel", &[("reason", "")]).await;
    assert!(silent.status == StatusCode::BAD_REQUEST && silent.has("the reason is missing"), "{silent:?}");
    let one = [("order", "ord_1"), ("reason", "by mistake")];
    led(&post(&house, "/orders/bat_2/cancel", &one).await, "/orders/bat_2?done=cancelled");
    let shown = page(&house, "/orders?state=cancelled&customer=&machine=").await;
    assert_eq!(shown.body.matches("<span class=\"badge \">cancelled</span>").count(), 1, "{}", shown.body);
    let shown = page(&house, "/orders?customer=cus_acme").await;
    assert_eq!(shown.body.matches("href=\"/machines/mch_").count(), 2, "{}", shown.body);
    led(&post(&house, "/orders/bat_2/cancel", &[("reason", "all")]).await, "/orders/bat_2?done=cancelled");
    let shown = page(&house, "/orders/bat_2").await;
    assert!(shown.has("2 cancelled") && !shown.has("/orders/bat_2/cancel"), "{}", shown.body);
    assert!(!page(&house, "/").await.has("bat_2"), "it waits for nobody");

    for (path, words) in [
        ("/orders?customer=cus_x", "cus_x"),
        ("/orders/bat_9", "bat_9"),
        ("/orders?state=lost", "is none of ordered"),
        ("/orders/nonsense", "nonsense"),
    ] {
        let odd = get(&house, path, &house.token).await;
        assert!(odd.status.is_client_error() && odd.has(words), "{path}: {odd:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_has_nothing_to_press() {
    let house = held().await;
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    let shown = get(&house, "/orders/bat_2", "sbo1.v").await.checked();
    assert!(!shown.has("method=\"post\" action=\"/orders"), "{}", shown.body);
    let refused = post_as(&house, "/orders/bat_2/cancel", "sbo1.v", &[("reason", "x")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_come_a_page_at_a_time_and_none_is_left_out() {
    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    let limit = wire::LimitOrdersRequest { machines_a_day: 100, reason: "many".to_owned() };
    house.client().limit_orders(limit).await.unwrap();
    for _ in 0..53 {
        ready(&house, "v1es").await;
    }
    let plan = planned(&house, Wish::SwitchOff).await;
    let sealed = plan.rows.iter().zip(1..).map(|(row, number)| plain(order(&house, row, number))).collect();
    place(&house, pieces("bat_1", 53, sealed)).await.unwrap();
    let first = page(&house, "/orders/bat_1").await;
    assert_eq!(first.body.matches("href=\"/machines/mch_").count(), 50);
    assert!(first.has("from=50\""), "{}", first.body);
    let second = page(&house, "/orders/bat_1?customer=&machine=&state=&from=50").await;
    assert_eq!(second.body.matches("href=\"/machines/mch_").count(), 3);
    assert!(!second.has("Next page"), "{}", second.body);
}
