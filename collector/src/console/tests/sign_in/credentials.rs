//! What operators sign in with: passwords, second factors, codes that are good once.

use super::*;

fn now(house: &House) -> jiff::Timestamp {
    house.console.books.clock().now()
}

/// The code that an authenticator shows that was told this secret, by another implementation's arithmetic.
fn code(url: &str, at: jiff::Timestamp) -> String {
    let totp = totp_rs::Totp::from_url(url).unwrap();
    totp.generate(u64::try_from(at.as_second()).unwrap()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_holds_once_a_code_was_given_and_each_code_is_good_once() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let wrong = browser.act("/session/totp", &[("act", "begin"), ("password", "wrong wrong wrong")]).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let begun = browser.act("/session/totp", &[("act", "begin"), ("password", PASSWORD)]).await.json();
    let url = begun["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("otpauth://totp/Seatbeat:tess?"), "{url}");
    let mut other = Browser::at(&house, "192.0.2.2");
    assert_eq!(other.sign_in("tess", PASSWORD, "").await.status, StatusCode::SEE_OTHER, "not in force yet");
    let wrong = browser.act("/session/totp", &[("act", "confirm"), ("code", "000000x")]).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let first = code(&url, now(&house));
    let confirmed = browser.act("/session/totp", &[("act", "confirm"), ("code", &first)]).await;
    assert_eq!(confirmed.status, StatusCode::NO_CONTENT, "{}", confirmed.body);

    assert_eq!(other.sign_in("tess", PASSWORD, "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(other.sign_in("tess", PASSWORD, &first).await.status, StatusCode::FORBIDDEN, "it was taken");
    let house = later(house, "2026-10-15T12:05:00Z", &mut [&mut browser, &mut other]).await;
    other.from.set_ip("192.0.2.3".parse().unwrap());
    let next = code(&url, now(&house));
    assert_eq!(other.sign_in("tess", "wrong wrong wrong", &next).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        other.sign_in("tess", PASSWORD, &next).await.status,
        StatusCode::SEE_OTHER,
        "and not used up by that"
    );
    assert_eq!(other.sign_in("tess", PASSWORD, &next).await.status, StatusCode::FORBIDDEN, "once");

    let house = later(house, "2026-10-15T12:10:00Z", &mut [&mut browser, &mut other]).await;
    other.from.set_ip("192.0.2.4".parse().unwrap());
    let house_code = code(&url, now(&house));
    let fields = [("name", "tess"), ("password", PASSWORD), ("code", house_code.as_str())];
    assert_eq!(other.post("/sign-in", &fields).await.status, StatusCode::SEE_OTHER);
    let after = code(&url, now(&house) + jiff::SignedDuration::from_secs(30));
    let fields = [("act", "remove"), ("password", PASSWORD), ("code", after.as_str())];
    let removed = other.act("/session/totp", &fields).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{}", removed.body);
    let mut plain = Browser::at(&house, "192.0.2.5");
    assert_eq!(plain.sign_in("tess", PASSWORD, "").await.status, StatusCode::SEE_OTHER);
    let said: Vec<String> = records(&house).await.into_iter().map(|record| record.3).collect();
    assert!(said.contains(&"totp set".to_owned()) && said.contains(&"totp removed".to_owned()), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_takes_a_lost_second_factor_away() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let begun = browser.act("/session/totp", &[("act", "begin"), ("password", PASSWORD)]).await.json();
    let shown = code(begun["url"].as_str().unwrap(), now(&house));
    browser.act("/session/totp", &[("act", "confirm"), ("code", &shown)]).await;
    let list = house.client().list_operators(wire::ListRequest::default()).await.unwrap().into_inner();
    let row = list.operators.into_iter().find(|row| row.operator == "opr_t").unwrap();
    assert_eq!((row.login.as_str(), row.means), ("tess", vec!["password".to_owned(), "totp".to_owned()]));
    let remove = wire::RemoveCredentialRequest {
        operator: "opr_t".to_owned(),
        means: "totp".to_owned(),
        reason: "lost the phone".to_owned(),
    };
    house.client().remove_credential(remove.clone()).await.unwrap();
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.sign_in("tess", PASSWORD, "").await.status, StatusCode::SEE_OTHER);
    let odd = wire::RemoveCredentialRequest { means: "token".to_owned(), ..remove };
    refused(house.client().remove_credential(odd), Reason::Invalid, "`token` is none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_all_other_sessions() {
    let house = house().await;
    let (mut browser, mut other) = (Browser::at(&house, "192.0.2.1"), Browser::at(&house, "192.0.2.2"));
    browser.sign_in("tess", PASSWORD, "").await;
    other.sign_in("tess", PASSWORD, "").await;
    let new = "another horse battery";
    let wrong =
        browser.act("/session/password", &[("current", "wrong wrong wrong"), ("password", new)]).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let short = browser.act("/session/password", &[("current", PASSWORD), ("password", "short")]).await;
    assert!(
        short.status == StatusCode::BAD_REQUEST && short.body.contains("shorter than 12"),
        "{}",
        short.body
    );
    let before = browser.cookie().unwrap().clone();
    let changed = browser.act("/session/password", &[("current", PASSWORD), ("password", new)]).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
    assert_ne!(browser.cookie().unwrap(), &before);
    assert_eq!(browser.get("/session").await.status, StatusCode::OK);
    assert_eq!(other.get("/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(other.sign_in("tess", PASSWORD, "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(other.sign_in("tess", new, "").await.status, StatusCode::SEE_OTHER);
    set_password(&house, "opr_t", "", PASSWORD).await;
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED, "set by an admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_name_is_one_operators_and_a_password_is_ones_own_or_an_admins_to_set() {
    let house = house().await;
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    let mut vera = ConsoleClient::new(Bearer { server: house.server(), token: "sbo1.v".to_owned() });
    let asked = |operator: &str, login: &str| wire::SetPasswordRequest {
        operator: operator.to_owned(),
        login: login.to_owned(),
        password: PASSWORD.to_owned(),
        reason: String::new(),
    };
    refused(vera.set_password(asked("opr_t", "tess")), Reason::Forbidden, "another operator's").await;
    refused(vera.set_password(asked("opr_v", "")), Reason::Invalid, "the login name is missing").await;
    refused(vera.set_password(asked("opr_v", "TESS")), Reason::Invalid, "is another operator's").await;
    refused(vera.set_password(asked("opr_v", "a b")), Reason::Invalid, "the login name has to be").await;
    vera.set_password(asked("opr_v", "vera")).await.unwrap();
    let link = wire::CreateSignInLinkRequest { operator: "opr_t".to_owned(), reason: String::new() };
    refused(vera.create_sign_in_link(link), Reason::Forbidden, "another operator's").await;
    let life_ms = 3_600_000;
    let token = wire::CreateApiTokenRequest { life_ms, ..Default::default() };
    let token = vera.create_api_token(token).await.unwrap().into_inner().token;
    let mut program = ConsoleClient::new(Bearer { server: house.server(), token });
    refused(program.set_password(asked("opr_v", "vera")), Reason::Forbidden, "a program's token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_code_is_good_once_and_for_a_quarter_of_an_hour() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.operator("opr_n", "sbo1.n", Role::Viewer, &[]).await;
    let link = wire::CreateSignInLinkRequest { operator: "opr_n".to_owned(), reason: "new".to_owned() };
    let replaced = house.client().create_sign_in_link(link.clone()).await.unwrap().into_inner().code;
    let code = house.client().create_sign_in_link(link.clone()).await.unwrap().into_inner().code;
    let mut browser = Browser::at(&house, "192.0.2.1");
    assert_eq!(browser.post("/sign-in/link", &[("code", &replaced)]).await.status, StatusCode::FORBIDDEN);
    assert!(browser.get("/sign-in/link").await.body.contains("action=\"/sign-in/link\""));
    for _ in 0..2 {
        let opened = browser.get(&format!("/sign-in/link?code={code}")).await;
        assert!(opened.status == StatusCode::OK && opened.body.contains(&format!("value=\"{code}\"")));
        assert!(
            opened.headers.get("set-cookie").is_none(),
            "opening it signs nobody in, and uses it up for nobody"
        );
        assert_eq!(
            (opened.header("referrer-policy"), opened.header("cache-control")),
            ("strict-origin", "no-store")
        );
    }
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED);
    let markup = browser.get("/sign-in/link?code=%22%3E%3Cscript%3E").await;
    assert!(!markup.body.contains("<script>"), "{}", markup.body);
    assert_eq!(browser.get("/sign-in").await.header("referrer-policy"), "same-origin");
    assert_eq!(browser.post("/sign-in/link", &[("code", &code)]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.get("/session").await.json()["session"]["means"], "link");
    let mut other = Browser::at(&house, "192.0.2.2");
    assert_eq!(other.post("/sign-in/link", &[("code", &code)]).await.status, StatusCode::FORBIDDEN, "once");

    let fields = [("name", "nina"), ("password", PASSWORD)];
    let set = browser.act("/session/password", &fields).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{}", set.body);
    assert_eq!(other.sign_in("nina", PASSWORD, "").await.status, StatusCode::SEE_OTHER);
    let said: Vec<String> = records(&house).await.into_iter().map(|record| record.3).collect();
    assert_eq!(said, ["link set", "link set", "link", "password set", "password"]);
}
