//! How answers look to whoever reads them, and what a page does by itself.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::*;
use crate::console::web::assets;

async fn asked(browser: &mut Browser, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = http::Request::get(path).header("host", "seats.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.send(request.body(HttpBody::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_a_page_to_its_reader_a_part_of_one_to_a_script_and_a_problem_to_a_program() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let unknown = "/machines/mch_nobody";
    let program = asked(&mut browser, unknown, &[]).await;
    assert_eq!(program.header("content-type"), "application/problem+json");
    let page = asked(&mut browser, unknown, &[("accept", "text/html")]).await;
    assert!(page.body.starts_with("<!doctype html>") && page.body.contains("role=\"alert\""), "{page:?}");
    let script = asked(&mut browser, unknown, &[("hx-request", "true")]).await;
    assert!(script.body.starts_with("<div class=\"problem\">"), "{script:?}");
    for answer in [&program, &page, &script] {
        assert!(answer.status.is_client_error() && answer.status == program.status, "{answer:?}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_a_page_is_led_where_a_browser_would_be() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    let from = [("hx-request", "true"), ("hx-current-url", "http://seats.example/machines?search=x")];
    let stranger = asked(&mut browser, "/machines", &from).await;
    assert_eq!(
        (stranger.status, stranger.header("hx-redirect")),
        (StatusCode::OK, "/sign-in?to=%2Fmachines")
    );
    browser.sign_in("tess", PASSWORD, "").await;
    let csrf = browser.csrf().await;
    let left = browser.send(form("/sign-out", &[("csrf", &csrf)], &[("hx-request", "true")])).await;
    assert_eq!((left.status, left.header("hx-redirect")), (StatusCode::OK, "/sign-in"));
    assert_eq!(browser.cookie(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_asks_by_itself_keeps_no_session() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let by_itself = [("x-seatbeat-by-itself", "1")];
    let house = later(house, "2026-10-15T12:20:00Z", &mut [&mut browser]).await;
    assert_eq!(asked(&mut browser, "/machines", &by_itself).await.status, StatusCode::OK);
    let house = later(house, "2026-10-15T12:31:00Z", &mut [&mut browser]).await;
    assert_eq!(asked(&mut browser, "/machines", &by_itself).await.status, StatusCode::UNAUTHORIZED);
    drop(house);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pages_load_is_kept_for_good_and_named_by_its_bytes() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    for name in ["seatbeat.css", "seatbeat.js", "htmx.js", "seatbeat.svg"] {
        let answer = browser.get(assets::address(name)).await;
        assert!(answer.header("cache-control").contains("immutable"), "{name}: {answer:?}");
        assert!(answer.status == StatusCode::OK && answer.body.len() > 100, "{name}");
    }
    let other = browser.get("/assets/0000000000000000/seatbeat.css").await;
    assert_eq!((other.status, other.header("cache-control")), (StatusCode::NOT_FOUND, "no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_pages_are_told_that_something_happened_until_their_session_is_over() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let request =
        http::Request::get("/live").header("cookie", format!("seatbeat={}", browser.cookie().unwrap()));
    let request = request.body(HttpBody::empty()).unwrap();
    let answer = Service::<http::Request<HttpBody>>::call(&mut browser.server, request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut news = answer.into_body().into_data_stream();
    let next = async |news: &mut axum::body::BodyDataStream| {
        let piece = tokio::time::timeout(Duration::from_secs(30), news.next()).await.expect("news comes");
        piece.map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap())
    };
    house.customer("cus_new").await;
    let told = next(&mut news).await.unwrap();
    assert_eq!(told, "event: changed\ndata: books\n\n");
    browser.act("/sign-out", &[]).await;
    house.customer("cus_later").await;
    let told = next(&mut news).await.unwrap();
    assert_eq!(told, "event: ended\ndata: session\n\n");
    assert_eq!(next(&mut news).await, None);
}
