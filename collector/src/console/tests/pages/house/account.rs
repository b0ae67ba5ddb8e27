//! The page of one's own account.

use super::*;
use crate::console::tests::sign_in::{Browser, PASSWORD, house, set_password};

async fn signed_in(house: &House) -> Browser {
    let mut browser = Browser::at(house, "192.0.2.1");
    assert_eq!(browser.sign_in("tess", PASSWORD, "").await.status, StatusCode::SEE_OTHER);
    browser
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("{start} in {text}")).1;
    rest.split_once(end).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_who_knows_it_and_the_session_goes_on() {
    let house = house().await;
    let (mut browser, mut other) = (signed_in(&house).await, signed_in(&house).await);
    let shown = browser.get("/account").await.body;
    assert!(
        shown.contains("by password, since 2026-10-15 12:00:00Z")
            && shown.matches(">this one<").count() == 1
            && shown.contains(">tess<"),
        "{shown}"
    );
    let new = "another horse battery";
    let fields = [("current", PASSWORD), ("password", new), ("again", "another horse")];
    let odd = browser.act("/account/password", &fields).await;
    assert!(odd.status == StatusCode::BAD_REQUEST && odd.body.contains("not the same twice"), "{odd:?}");
    let fields = [("current", "wrong wrong wrong"), ("password", new), ("again", new)];
    assert_eq!(browser.act("/account/password", &fields).await.status, StatusCode::FORBIDDEN);
    let fields = [("current", PASSWORD), ("password", new), ("again", new)];
    let changed = browser.act("/account/password", &fields).await;
    assert_eq!(
        (changed.status, changed.header("location")),
        (StatusCode::SEE_OTHER, "/account?done=password")
    );
    assert!(browser.get("/account?done=password").await.body.contains("your other sessions are over"));
    assert_eq!(other.get("/account").await.status, StatusCode::UNAUTHORIZED);
}

/// A script follows where a form leads by another header; the cookie that was set on the way is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_led_on_keeps_its_session() {
    let house = house().await;
    let mut browser = signed_in(&house).await;
    let (before, csrf) = (browser.cookie().cloned(), browser.csrf().await);
    let new = "another horse battery";
    let fields = [("current", PASSWORD), ("password", new), ("again", new)];
    let headers = [("hx-request", "true"), ("x-csrf-token", csrf.as_str())];
    let led =
        browser.send(crate::console::tests::sign_in::form("/account/password", &fields, &headers)).await;
    assert_eq!((led.status, led.header("hx-redirect")), (StatusCode::OK, "/account?done=password"));
    assert!(browser.cookie().is_some() && browser.cookie().cloned() != before, "{led:?}");
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_set_up_shown_once_and_taken_away() {
    let house = house().await;
    let mut browser = signed_in(&house).await;
    let begun = browser.act("/account/totp/begin", &[("password", PASSWORD)]).await;
    assert_eq!(begun.status, StatusCode::OK, "{}", begun.body);
    let address = between(&begun.body, "id=\"address\">", "<").replace("&#38;", "&");
    let secret = between(&begun.body, "id=\"secret\">", "<").to_owned();
    assert!(address.starts_with("otpauth://totp/Seatbeat:tess?") && address.contains(&secret), "{address}");
    assert!(!browser.get("/account").await.body.contains(&secret), "shown once");
    let code = |at: jiff::Timestamp| {
        totp_rs::Totp::from_url(&address)
            .unwrap()
            .generate(u64::try_from(at.as_second()).unwrap())
            .to_string()
    };
    let now = house.console.books.clock().now();
    let wrong = browser.act("/account/totp/confirm", &[("code", "000000x")]).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let confirmed = browser.act("/account/totp/confirm", &[("code", &code(now))]).await;
    assert_eq!(confirmed.header("location"), "/account?done=totp", "{}", confirmed.body);
    assert!(browser.get("/account").await.body.contains("in force"));
    let next = code(now + jiff::SignedDuration::from_secs(30));
    let removed = browser.act("/account/totp/remove", &[("password", PASSWORD), ("code", &next)]).await;
    assert_eq!(removed.header("location"), "/account?done=no-totp", "{}", removed.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_token_is_shown_once_may_no_more_than_its_owner_and_is_taken_back() {
    let house = house().await;
    house.customer("cus_a").await;
    let mut browser = signed_in(&house).await;
    let fields = [("role", "viewer"), ("customers", "cus_a"), ("days", "30"), ("reason", MARKUP)];
    let made = browser.act("/account/tokens", &fields).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    let token = between(&made.body, "id=\"token\">", "<").to_owned();
    assert!(token.starts_with("sba1.") && made.body.contains("2026-11-14 12:00:00Z"), "{}", made.body);
    let shown = browser.get("/account").await.body;
    assert!(!shown.contains(&token) && shown.contains("cus_a ") && !shown.contains(MARKUP), "{shown}");
    let theirs = get(&house, "/account", &token).await.checked();
    assert!(theirs.has("You came with a token") && !theirs.has("name=\"current\""), "{}", theirs.body);
    let refused = post_as(&house, "/account/tokens", &token, &[("days", "1"), ("reason", "x")]).await;
    assert!(refused.status == StatusCode::FORBIDDEN && refused.has("program"), "{refused:?}");

    let fields = [("role", "admin"), ("days", "30"), ("reason", "x")];
    let more = browser.act("/account/tokens", &fields).await;
    assert!(more.status == StatusCode::BAD_REQUEST && more.body.contains("technician"), "{}", more.body);
    let fields = [("role", ""), ("days", "400"), ("reason", "x")];
    let long = browser.act("/account/tokens", &fields).await;
    assert!(long.body.contains("more than a year"), "{}", long.body);
    let id = between(&shown, "/account/tokens/", "/revoke").to_owned();
    let taken = browser.act(&format!("/account/tokens/{id}/revoke"), &[]).await;
    assert_eq!(taken.header("location"), "/account?done=saved", "{}", taken.body);
    assert_eq!(get(&house, "/account", &token).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_operators_tokens_are_not_shown() {
    let house = house().await;
    house.operator("opr_a", "sbo1.a", Role::Admin, &[]).await;
    set_password(&house, "opr_a", "ann", PASSWORD).await;
    let mut tess = signed_in(&house).await;
    tess.act("/account/tokens", &[("days", "30"), ("reason", "x")]).await;
    let shown = get(&house, "/account", "sbo1.a").await.checked();
    assert!(shown.has("There is none. A spreadsheet"), "{}", shown.body);
}
