//! Sessions: how they begin, go on and end.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_a_password_begin_a_session_that_is_on_record() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    let page = browser.get("/sign-in?to=/v1/usage").await;
    assert!(page.status == StatusCode::OK && page.body.contains("value=\"/v1/usage\""), "{page:?}");
    assert!(!page.body.contains("<script"));
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED);

    let fields = [("name", " TESS "), ("password", PASSWORD), ("to", "/v1/usage")];
    let answer = browser.post("/sign-in", &fields).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/v1/usage"));
    let set = answer.header("set-cookie");
    assert!(set.starts_with("seatbeat=") && set.ends_with("; HttpOnly; SameSite=Lax; Path=/"), "{set}");
    assert_eq!(answer.header("cache-control"), "no-store");

    let told = browser.get("/session").await.json();
    assert_eq!(told["operator"], "opr_t");
    assert_eq!(told["roles"], serde_json::json!(["technician"]));
    assert_eq!(told["all_customers"], true);
    assert_eq!(told["session"]["means"], "password");
    let expires_at: jiff::Timestamp = told["session"]["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(expires_at >= "2026-10-15T12:30:00Z".parse().unwrap());
    let signed_in = records(&house).await.pop().unwrap();
    let expected = ("opr_t", "opr_t", "192.0.2.1", "password");
    assert_eq!(
        (signed_in.0.as_str(), signed_in.1.as_str(), signed_in.2.as_str(), signed_in.3.as_str()),
        expected
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_a_restart_is_rotated_and_ends_when_it_is_idle() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let first = browser.cookie().unwrap().clone();
    let csrf = browser.csrf().await;

    let mut late = browser.clone();
    let house = later(house, "2026-10-15T12:16:00Z", &mut [&mut browser, &mut late]).await;
    let forged = browser.post("/sign-out", &[]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN, "who is refused gets the other cookie, too");
    let second = browser.cookie().unwrap().clone();
    assert_ne!(first, second, "another cookie after a quarter of an hour");
    assert_eq!(late.get("/session").await.status, StatusCode::OK, "what was under way goes on");
    assert_eq!(late.cookie(), Some(&first), "and gets no third one");
    assert_eq!(browser.csrf().await, csrf, "a form that is open can still be sent");

    let house = later(house, "2026-10-15T12:18:00Z", &mut [&mut browser, &mut late]).await;
    assert_eq!(late.get("/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/session").await.status, StatusCode::OK);

    let _house = later(house, "2026-10-15T12:49:00Z", &mut [&mut browser, &mut late]).await;
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED, "it was idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_half_a_day_however_busy_it_is() {
    let mut house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let begin: jiff::Timestamp = "2026-10-15T12:00:00Z".parse().unwrap();
    for turn in 1..=28 {
        let at = begin + jiff::SignedDuration::from_mins(25 * turn);
        house = later(house, &at.to_string(), &mut [&mut browser]).await;
        assert_eq!(browser.get("/session").await.status, StatusCode::OK, "{at}");
    }
    let _house = later(house, "2026-10-16T00:01:00Z", &mut [&mut browser]).await;
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_for_whoever_has_its_cookie() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let mut thief = browser.clone();
    let answer = browser.act("/sign-out", &[]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/sign-in"));
    assert_eq!(browser.cookie(), None);
    assert_eq!(thief.get("/session").await.status, StatusCode::UNAUTHORIZED);
    let _house = later(house, "2026-10-15T12:01:00Z", &mut [&mut browser, &mut thief]).await;
    assert_eq!(thief.get("/session").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_role_holds_at_once_and_who_is_let_go_is_out() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let allow = wire::AllowOperatorRequest {
        operator: "opr_t".to_owned(),
        role: "viewer".to_owned(),
        reason: "moved".to_owned(),
        ..Default::default()
    };
    house.client().allow_operator(allow).await.unwrap();
    assert_eq!(browser.get("/session").await.json()["roles"], serde_json::json!(["viewer"]));
    let revoke = wire::RevokeOperatorRequest { operator: "opr_t".to_owned(), reason: "left".to_owned() };
    house.client().revoke_operator(revoke).await.unwrap();
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.sign_in("tess", PASSWORD, "").await.status, StatusCode::FORBIDDEN);
    let rows = [crate::vault::VaultKind::Account, crate::vault::VaultKind::Session];
    let left: usize = rows.map(|kind| house.console.books.vault().scan(kind).unwrap().len()).iter().sum();
    assert_eq!(left, 0, "nothing of theirs is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_at_pages_is_led_to_where_they_can_sign_in() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    let request =
        http::Request::get("/session").header("accept", "text/html").body(HttpBody::empty()).unwrap();
    let answer = browser.send(request).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/sign-in?to=%2Fsession"));
    assert!(browser.get("/session").await.header("www-authenticate").starts_with("Basic "));
    let script = http::Request::get("/session").header("sec-fetch-site", "same-origin");
    let answer = browser.send(script.body(HttpBody::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_a_cookie_is_this_hosts_alone_and_never_travels_in_clear() {
    let house = house().await;
    let mut browser = Browser { encrypted: true, ..Browser::at(&house, "192.0.2.1") };
    let answer = browser.sign_in("tess", PASSWORD, "").await;
    let set = answer.header("set-cookie");
    assert!(
        set.starts_with("__Host-seatbeat=") && set.contains("; Secure") && !set.contains("Domain"),
        "{set}"
    );
    assert_eq!(browser.get("/session").await.status, StatusCode::OK);
    let value = browser.jar.remove("__Host-seatbeat").unwrap();
    browser.jar.insert("seatbeat".to_owned(), value);
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED, "a name that others may set");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_on_a_page_may_try_again_there() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    let fields = [("name", "<b>tess"), ("password", "wrong wrong wrong"), ("to", "/v1/\"><script>")];
    let answer = browser.send(form("/sign-in", &fields, &[("accept", "text/html")])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("role=\"alert\"") && answer.body.contains("action=\"/sign-in\""));
    assert!(
        !answer.body.contains("<b>")
            && !answer.body.contains("<script")
            && !answer.body.contains("wrong wrong")
    );
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
}

/// The oldest gives way, and only of the same operator.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_a_bounded_number_of_sessions() {
    let house = house().await;
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    set_password(&house, "opr_v", "vera", PASSWORD).await;
    let mut vera = Browser::at(&house, "198.51.100.1");
    vera.sign_in("vera", PASSWORD, "").await;
    let mut browsers = Vec::new();
    for number in 1..=21 {
        let mut browser = Browser::at(&house, &format!("192.0.2.{number}"));
        assert_eq!(browser.sign_in("tess", PASSWORD, "").await.status, StatusCode::SEE_OTHER);
        browsers.push(browser);
    }
    assert_eq!(browsers[0].get("/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browsers[1].get("/session").await.status, StatusCode::OK);
    assert_eq!(vera.get("/session").await.status, StatusCode::OK);
}
