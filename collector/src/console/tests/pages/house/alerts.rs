//! The page of alerts.

use super::*;
use crate::jobs::alerts::AlertsJob;

/// A house whose alerts are looked for, with one that is open: a product without a SKU.
async fn alerted() -> House {
    let mut house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    let mut machine = house.machine(&house.token("cus_a").await).await;
    machine.reports(&house, "spnt").await;
    let Console { books, closing, config, .. } = house.console.clone();
    let mut config = Config::clone(&config);
    // However full the disk of whoever runs this is.
    config.alerts.disk_free_percent = 0;
    let config = Arc::new(config);
    let job = AlertsJob::new(books, closing, config, house.folder.path().to_owned()).unwrap();
    house.console = house.console.clone().with_alerts(job.clone());
    tokio::spawn(job.clone().follow(std::future::pending()));
    for _ in 0..200 {
        if !job.open().is_empty() {
            return house;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no alert is found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_muted_with_a_reason_until_then_and_told_of_again() {
    let house = alerted().await;
    let name = "product-unlicensed/cus_a/spnt";
    let shown = page(&house, "/alerts").await;
    assert!(shown.has("product spnt is in use") && shown.has("href=\"/customers/cus_a\""), "{}", shown.body);
    assert!(shown.has("Nobody: name a webhook or mail"), "{}", shown.body);
    let overview = page(&house, "/").await;
    assert!(
        overview.has("customer cus_a uses product spnt"),
        "said once, where it blocks: {}",
        overview.body
    );

    let silent = post(&house, "/alerts/mute", &[("alert", name), ("hours", "24"), ("reason", " ")]).await;
    assert!(silent.status == StatusCode::BAD_REQUEST && silent.has("the reason is missing"), "{silent:?}");
    let odd = post(&house, "/alerts/mute", &[("alert", name), ("hours", "25"), ("reason", "x")]).await;
    assert!(odd.has("is none of those that are offered"), "{odd:?}");
    let none = post(&house, "/alerts/mute", &[("alert", "disk"), ("hours", "24"), ("reason", "x")]).await;
    assert!(none.has("is not open"), "{none:?}");
    let fields = [("alert", name), ("hours", "24"), ("reason", MARKUP)];
    led(&post(&house, "/alerts/mute", &fields).await, "/alerts?done=muted");
    let shown = page(&house, "/alerts?done=muted").await;
    assert!(shown.has("No alert is open") && shown.has("until 2026-10-16 12:00:00Z"), "{}", shown.body);
    assert!(shown.has("&#60;script&#62;") && shown.has("nobody is told of it until then"), "{}", shown.body);

    let fields = [("alert", name), ("reason", "settle it now")];
    led(&post(&house, "/alerts/unmute", &fields).await, "/alerts?done=unmuted");
    assert!(page(&house, "/alerts").await.has("Nothing is muted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_mutes_nothing_and_sees_their_own_customers_alerts() {
    let house = alerted().await;
    house.customer("cus_b").await;
    house.operator("opr_a", "sbo1.a", Role::Viewer, &["cus_a"]).await;
    house.operator("opr_b", "sbo1.b", Role::Technician, &["cus_b"]).await;
    let shown = get(&house, "/alerts", "sbo1.a").await.checked();
    assert!(shown.has("product spnt is in use") && !shown.has("/alerts/mute"), "{}", shown.body);
    let shown = get(&house, "/alerts", "sbo1.b").await.checked();
    assert!(!shown.has("spnt") && shown.has("No alert is open"), "{}", shown.body);
    let fields = [("alert", "product-unlicensed/cus_a/spnt"), ("hours", "24"), ("reason", "x")];
    let refused = post_as(&house, "/alerts/mute", "sbo1.b", &fields).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_needs_a_way_to_go() {
    let house = alerted().await;
    let refused = post(&house, "/alerts/test", &[]).await;
    assert!(refused.has("names neither a webhook nor mail"), "{refused:?}");
}
