//! The pages of operators.

use super::*;
use crate::console::tests::sign_in::Browser;

/// What stands between two texts.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("{start} in {text}")).1;
    rest.split_once(end).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_has_a_token_and_a_link_that_are_shown_once() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    let fields = [("name", MARKUP), ("role", "technician"), ("customers", "cus_a"), ("reason", "new here")];
    let made = post(&house, "/operators", &fields).await.checked();
    let token = between(&made.body, "id=\"token\">", "<").to_owned();
    assert!(token.starts_with("sbo1.") && made.has("&#60;script&#62;"), "{}", made.body);
    let link = between(&made.body, "id=\"link\">", "<").to_owned();
    let operator = between(&made.body, "<p><span class=\"mono\">", "<").to_owned();
    let again = page(&house, "/operators").await;
    assert!(!again.has(&token) && !again.has(&link) && again.has(&operator), "{}", again.body);
    assert_eq!(get(&house, "/", &token).await.status, StatusCode::OK);
    assert_eq!(get(&house, "/orders", &token).await.status, StatusCode::FORBIDDEN, "of one customer");

    let mut browser = Browser::at(&house, "192.0.2.1");
    let opened = browser.get(link.strip_prefix("http://seats.example").unwrap()).await;
    let code = between(&opened.body, "value=\"", "\"").to_owned();
    let entered = browser.post("/sign-in/link", &[("code", &code)]).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", entered.body);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);

    let silent = post(&house, "/operators", &[("name", "X"), ("role", "viewer"), ("reason", "")]).await;
    assert!(silent.status == StatusCode::BAD_REQUEST && silent.has("the reason is missing"), "{silent:?}");
    let odd = post(&house, "/operators", &[("name", "X"), ("role", "owner"), ("reason", "x")]).await;
    assert!(odd.has("is no role"), "{odd:?}");
    let fields = [("name", "X"), ("role", "viewer"), ("customers", "cus_z"), ("reason", "x")];
    assert!(post(&house, "/operators", &fields).await.has("cus_z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_may_is_changed_and_the_last_admin_stays() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    let list = house.client().list_operators(wire::ListRequest::default()).await.unwrap().into_inner();
    let own = list.operators.into_iter().find(|row| row.you).unwrap().operator;
    let shown = page(&house, "/operators/opr_v").await;
    assert!(shown.has("<option value=\"viewer\" selected>"), "{}", shown.body);

    let fields = [("role", "billing"), ("customers", ""), ("reason", "helps out")];
    led(&post(&house, "/operators/opr_v/allow", &fields).await, "/operators/opr_v?done=saved");
    assert!(page(&house, "/operators/opr_v?done=saved").await.has("Saved, and on record."));
    assert!(get(&house, "/", "sbo1.v").await.has("Seats today"));
    let last = post(&house, &format!("/operators/{own}/revoke"), &[("reason", "left")]).await;
    assert!(last.status.is_client_error() && last.has("is the last one"), "{last:?}");
    let last = post(&house, &format!("/operators/{own}/allow"), &fields).await;
    assert!(last.status.is_client_error() && last.has("is the last one"), "{last:?}");

    let link = post(&house, "/operators/opr_v/link", &[("reason", "lost it")]).await.checked();
    assert!(link.has("/sign-in/link?code=") && !link.has("Token of the command line"), "{}", link.body);
    led(&post(&house, "/operators/opr_v/revoke", &[("reason", "left")]).await, "/operators/opr_v?done=saved");
    assert_eq!(get(&house, "/", "sbo1.v").await.status, StatusCode::UNAUTHORIZED);
    let shown = page(&house, "/operators/opr_v").await;
    assert!(shown.has("let go") && !shown.has("/operators/opr_v/allow"), "{}", shown.body);
    assert_eq!(get(&house, "/operators/opr_x", &house.token).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_signs_in_with_is_taken_away() {
    let house = crate::console::tests::sign_in::house().await;
    let shown = page(&house, "/operators/opr_t").await;
    assert!(shown.has("<option value=\"password\">") && shown.has(">tess<"), "{}", shown.body);
    let fields = [("means", "password"), ("reason", "lost the phone")];
    led(&post(&house, "/operators/opr_t/forget", &fields).await, "/operators/opr_t?done=saved");
    let shown = page(&house, "/operators/opr_t").await;
    assert!(shown.has("a token or a link alone"), "{}", shown.body);
}
