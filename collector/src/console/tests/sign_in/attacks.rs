//! What others try: to guess, to fix a session, to have a browser do what its owner does not want.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_is_told_nothing_and_refused_after_a_while_and_the_owner_comes_in() {
    let house = house().await;
    let mut guesser = Browser::at(&house, "192.0.2.66");
    let unknown = guesser.sign_in("nobody", "wrong wrong wrong", "").await;
    let wrong = guesser.sign_in("tess", "wrong wrong wrong", "").await;
    assert_eq!((wrong.status, &wrong.body), (StatusCode::FORBIDDEN, &unknown.body));
    assert_eq!(wrong.json()["reason"], "sign_in_refused");
    assert!(wrong.headers.get("set-cookie").is_none() && wrong.headers.get("www-authenticate").is_none());
    for _ in 0..4 {
        assert_eq!(guesser.sign_in("tess", "wrong wrong wrong", "").await.status, StatusCode::FORBIDDEN);
    }
    let refused = guesser.sign_in("tess", PASSWORD, "").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "even with the right one");
    assert_eq!((refused.header("retry-after"), &refused.json()["reason"]), ("30", &"too_often".into()));

    // Not who is addressed counts, and not what a header says of the address.
    let spoofed = [("name", "tess"), ("password", PASSWORD)];
    let headers = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1")];
    let answer = guesser.send(form("/sign-in", &spoofed, &headers)).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);

    let mut owner = Browser::at(&house, "198.51.100.1");
    assert_eq!(owner.sign_in("tess", PASSWORD, "").await.status, StatusCode::SEE_OTHER);
    let mut tool = ConsoleClient::new(Bearer { server: house.server(), token: "sbo1.t".to_owned() });
    tool.list_tokens(wire::ListRequest::default()).await.unwrap();

    let is_refused = |record: &(String, String, String, String)| record.3 == "password refused";
    let mut refused = Vec::new();
    for _ in 0..100 {
        refused = records(&house).await.into_iter().filter(is_refused).collect();
        if refused.len() == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(refused.len(), 3, "some of the five, and none of a name that nobody has");
    let expected = ("opr_t".to_owned(), "collector".to_owned(), "192.0.2.66".to_owned());
    assert!(refused.into_iter().all(|record| (record.0, record.1, record.2) == expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_this_machine_is_never_locked_out() {
    let house = house().await;
    let mut here = Browser::at(&house, "127.0.0.1");
    for _ in 0..6 {
        assert_eq!(here.sign_in("tess", "wrong wrong wrong", "").await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(here.sign_in("tess", PASSWORD, "").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_somebody_else_knows_is_over_once_its_owner_signs_in() {
    let house = house().await;
    let mut attacker = Browser::at(&house, "192.0.2.66");
    attacker.sign_in("tess", PASSWORD, "").await;
    let mut victim = Browser::at(&house, "192.0.2.1");
    victim.jar = attacker.jar.clone();
    victim.sign_in("tess", PASSWORD, "").await;
    assert_ne!(victim.cookie(), attacker.cookie());
    assert_eq!(victim.get("/session").await.status, StatusCode::OK);
    assert_eq!(attacker.get("/session").await.status, StatusCode::UNAUTHORIZED);

    let mut made_up = Browser::at(&house, "192.0.2.2");
    made_up.jar.insert("seatbeat".to_owned(), "chosen-by-somebody".to_owned());
    made_up.sign_in("tess", PASSWORD, "").await;
    assert_ne!(made_up.cookie().unwrap(), "chosen-by-somebody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_from_elsewhere_changes_nothing() {
    let house = house().await;
    let (mut tess, mut other) = (Browser::at(&house, "192.0.2.1"), Browser::at(&house, "192.0.2.2"));
    tess.sign_in("tess", PASSWORD, "").await;
    set_password(&house, "opr_t", "tess", PASSWORD).await;
    tess.sign_in("tess", PASSWORD, "").await;
    other.sign_in("tess", PASSWORD, "").await;
    let (own, foreign) = (tess.csrf().await, other.csrf().await);
    let elsewhere = [("origin", "https://evil.example")];
    let cross = [("sec-fetch-site", "cross-site")];
    let wrong = [("x-csrf-token", "wrong")];
    for (fields, headers) in [
        (&[][..], &[][..]),
        (&[("csrf", "")], &[]),
        (&[("csrf", "wrong")], &[]),
        (&[("csrf", foreign.as_str())], &[]),
        (&[("csrf", own.as_str())], &elsewhere),
        (&[("csrf", own.as_str())], &cross),
        (&[("csrf", own.as_str())], &wrong),
    ] {
        let answer = tess.send(form("/sign-out", fields, headers)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{fields:?} {headers:?}");
        assert_eq!(answer.json()["reason"], "forbidden");
    }
    let json = http::Request::post("/sign-out").header("content-type", "application/json");
    let answer = tess.send(json.body(HttpBody::from("{}")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(tess.get("/session").await.status, StatusCode::OK, "still there");

    let headers = [("x-csrf-token", own.as_str()), ("origin", "http://seats.example")];
    assert_eq!(tess.send(form("/sign-out", &[], &headers)).await.status, StatusCode::SEE_OTHER);
    let fields = [("name", "tess"), ("password", PASSWORD)];
    let answer = other.send(form("/sign-in", &fields, &elsewhere)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "nor is somebody signed in from elsewhere");
}

/// A browser keeps what it was asked for once, and sends it by itself as it does cookies.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_knows_as_basic_does_not_act_from_elsewhere_either() {
    use base64::Engine as _;
    let house = house().await;
    let basic = base64::engine::general_purpose::STANDARD.encode("x:sbo1.t");
    let basic = format!("Basic {basic}");
    let headers = [("authorization", basic.as_str()), ("origin", "https://evil.example")];
    let answer = Browser::at(&house, "192.0.2.1").send(form("/sign-out", &[], &headers)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_say_two_things_let_nobody_in() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let with = |values: &[&str]| {
        let mut request = http::Request::get("/session");
        for value in values {
            request = request.header("authorization", *value);
        }
        request.body(HttpBody::empty()).unwrap()
    };
    assert_eq!(browser.send(with(&["Bearer sbo1.t"])).await.status, StatusCode::OK);
    let two = browser.send(with(&["Bearer sbo1.t", "Bearer sbo1.t"])).await;
    assert_eq!(two.status, StatusCode::UNAUTHORIZED, "and the cookie does not help");
    assert_eq!(browser.send(with(&["Bearer sbo1.wrong"])).await.status, StatusCode::UNAUTHORIZED);
    browser.jar.insert("seatbeat-x".to_owned(), format!("y; seatbeat={}", "chosen"));
    assert_eq!(browser.get("/session").await.status, StatusCode::UNAUTHORIZED, "two cookies of a name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_opens_no_rpc() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    browser.sign_in("tess", PASSWORD, "").await;
    let request = http::Request::post("/seatbeat.v1.Console/ListCustomers")
        .header("content-type", "application/grpc")
        .body(HttpBody::empty())
        .unwrap();
    let answer = browser.send(request).await;
    assert_eq!(answer.header("grpc-status"), (Code::Unauthenticated as i32).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_too_long_or_odd_is_refused_by_name() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    let long = "x".repeat(70_000);
    let answer = browser.sign_in("tess", &long, "").await;
    assert_eq!(
        (answer.status, &answer.json()["reason"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &"body_too_long".into())
    );
    let answer = browser.post("/sign-in", &[("name", "tess"), ("password", PASSWORD), ("admin", "1")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.contains("admin") && !answer.body.contains("horse"), "{}", answer.body);
    let answer = browser.post("/sign-in", &[("name", "tess")]).await;
    assert!(answer.status == StatusCode::BAD_REQUEST && answer.body.contains("password"), "{}", answer.body);
    let json = http::Request::post("/sign-in").header("content-type", "application/json");
    let answer = browser.send(json.body(HttpBody::from("{\"name\":\"tess\"}")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    browser.sign_in("tess", PASSWORD, "").await;
    let answer = browser.act("/session/password", &[("password", &long)]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "also where the door looks for the proof");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_to_another_place() {
    let house = house().await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    for to in ["//evil.example", "https://evil.example", "/\\evil.example"] {
        let fields = [("name", "tess"), ("password", PASSWORD), ("to", to)];
        assert_eq!(browser.post("/sign-in", &fields).await.header("location"), "/", "{to}");
    }
}
