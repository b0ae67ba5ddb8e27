//! What programs are told that watch a collector. Invariant: what is scraped is read line by line, as a scraper does.

use std::collections::BTreeMap;

use seatbeat_ledger::operators::Role;

use super::*;

/// Status, type and text of what a path is answered with.
async fn get(server: &Server, path: &str, token: Option<&str>) -> (u16, String, String) {
    let mut request = http::Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = server.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

/// The values of a page by name and labels; each has a type and a help text above it, and the end is told.
fn scraped(page: &str) -> BTreeMap<String, f64> {
    assert!(page.ends_with("# EOF\n"), "{page}");
    let heads = |what: &str| -> Vec<String> {
        let start = format!("# {what} ");
        let lines = page.lines().filter_map(|line| line.strip_prefix(&start));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let (types, helps) = (heads("TYPE"), heads("HELP"));
    assert_eq!(types, helps);
    let values = page.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        assert!(types.iter().any(|known| bare.starts_with(known.as_str())), "{line} has no type");
        (name.to_owned(), value.parse().unwrap())
    });
    values.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scraped_moves_with_what_happens() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let server = house.server();
    let scrape = async || {
        let (status, kind, page) = get(&server, "/metrics", Some(&house.token)).await;
        assert_eq!(status, 200, "{page}");
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
        scraped(&page)
    };
    let before = scrape().await;
    assert_eq!(before["seatbeat_agents_known"], 0.0);
    assert_eq!(before["seatbeat_ack_seconds_count"], 0.0);
    assert_eq!(before["seatbeat_reports_refused_total{reason=\"forked\"}"], 0.0);
    house.customer("cus_a").await;
    let token = house.token("cus_a").await;
    let mut machine = house.machine(&token).await;
    machine.reports(&house, "dsa").await;
    let after = scrape().await;
    assert_eq!((after["seatbeat_agents_known"], after["seatbeat_customers"]), (1.0, 1.0));
    assert_eq!(after["seatbeat_journal_records_total"], before["seatbeat_journal_records_total"] + 4.0);
    assert!(after["seatbeat_journal_size_bytes"] > before["seatbeat_journal_size_bytes"]);
    assert_eq!(after["seatbeat_fold_lag_records"], 0.0);
    assert!(after["seatbeat_disk_free_bytes"] > 0.0);
    house.console.books.alarms().raise("a-test", "something".to_owned());
    assert_eq!(scrape().await["seatbeat_alarms"], after["seatbeat_alarms"] + 1.0);
    let of_a_machine = after.keys().find(|name| name.contains("mch_") || name.contains("cus_"));
    assert_eq!(of_a_machine, None, "no series is of one machine or customer");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_for_everybody_and_numbers_are_for_who_may_see_the_house() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    house.operator("opr_v", "sbo1.viewer", Role::Viewer, &[]).await;
    house.operator("opr_p", "sbo1.part", Role::Viewer, &["cus_a"]).await;
    let server = house.server();
    assert_eq!(get(&server, "/healthz", None).await.0, 200);
    assert_eq!(get(&server, "/readyz", None).await.0, 200);
    for (token, expected) in
        [(None, 401), (Some("sbo1.wrong"), 401), (Some("sbo1.part"), 403), (Some("sbo1.viewer"), 200)]
    {
        assert_eq!(get(&server, "/metrics", token).await.0, expected, "{token:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_nothing_is_there_and_not_ready() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let server = house.server();
    let alarms = house.console.books.alarms().clone();
    alarms.raise(crate::gateway::door::JOURNAL, "no room to write `/secret/place`".to_owned());
    let (status, kind, text) = get(&server, "/readyz", None).await;
    assert_eq!((status, kind.as_str()), (503, "application/problem+json"), "{text}");
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["reasons"][0]["part"], "journal", "{problem:#}");
    assert!(!text.contains("/secret"), "strangers are told of no file: {text}");
    alarms.clear(crate::gateway::door::JOURNAL);
    assert_eq!(get(&server, "/readyz", None).await.0, 200);

    let House { end, folder: _folder, .. } = house;
    end.close().await.unwrap();
    let (status, _, text) = get(&server, "/readyz", None).await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("takes no records any more"), "{text}");
    assert_eq!(get(&server, "/healthz", None).await.0, 200, "the process answers");
}
