//! Signing in with an identity provider: a small one of our own, over HTTP, that can lie.

use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use openidconnect::url::Url;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::super::super::sign_in::oidc::Provider;
use super::super::super::sign_in::oidc_config::{Claim, OidcConfig};
use super::*;

/// What the provider does to the ID token.
type Lie = fn(&mut Value, &mut Value);

/// A provider: whoever comes is `subject-1`.
#[derive(Clone)]
struct Issuer {
    url: String,
    key: Arc<SigningKey>,
    /// Signs in its place, and is published nowhere.
    forger: Arc<Mutex<Option<SigningKey>>>,
    lie: Arc<Mutex<Option<Lie>>>,
    /// Codes that are good, with the nonce and the challenge they were asked with.
    codes: Arc<Mutex<BTreeMap<String, (String, String)>>>,
    now: i64,
}

impl Issuer {
    async fn start(now: jiff::Timestamp) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (key, now) = (Arc::new(new_key()), now.as_second());
        let issuer =
            Self { url, key, forger: Arc::default(), lie: Arc::default(), codes: Arc::default(), now };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum_serve(listener, router).await });
        issuer
    }

    fn config(&self, claim: Claim) -> OidcConfig {
        OidcConfig {
            issuer: self.url.clone(),
            client_id: "seatbeat".to_owned(),
            secret_file: None,
            public_url: "http://localhost:8080".to_owned(),
            claim,
            ca_file: None,
        }
    }

    /// What a person does on the provider's page: the address that their browser is sent back to.
    fn agreed(&self, url: &str) -> String {
        let asked: BTreeMap<String, String> = Url::parse(url).unwrap().query_pairs().into_owned().collect();
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", "seatbeat"));
        assert_eq!(asked["redirect_uri"], "http://localhost:8080/sign-in/oidc/callback");
        assert_eq!(asked["code_challenge_method"], "S256");
        let code = format!("code-{}", asked["state"]);
        let held = (asked["nonce"].clone(), asked["code_challenge"].clone());
        self.codes.lock().unwrap().insert(code.clone(), held);
        format!("/sign-in/oidc/callback?code={code}&state={}&session_state=x", asked["state"])
    }

    fn signed(&self, nonce: &str) -> String {
        let mut head = json!({ "alg": "EdDSA", "kid": "1", "typ": "JWT" });
        let mut claims = json!({
            "iss": self.url, "sub": "subject-1", "aud": "seatbeat", "nonce": nonce,
            "iat": self.now, "exp": self.now + 300, "email": "Tess@Example.org", "email_verified": true,
        });
        if let Some(lie) = *self.lie.lock().unwrap() {
            lie(&mut head, &mut claims);
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&head), part(&claims));
        let forger = self.forger.lock().unwrap().clone();
        let key = forger.as_ref().unwrap_or(&self.key);
        let signature = match head["alg"].as_str() {
            Some("none") => String::new(),
            _ => URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).to_bytes()),
        };
        format!("{text}.{signature}")
    }
}

async fn axum_serve(listener: tokio::net::TcpListener, router: Router) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::service::TowerToHyperService;
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A browser that goes away is no matter of the provider's.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn metadata(State(issuer): State<Issuer>) -> Json<Value> {
    let url = &issuer.url;
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
    }))
}

async fn keys(State(issuer): State<Issuer>) -> Json<Value> {
    let public = issuer.key.verifying_key().to_bytes();
    let x = URL_SAFE_NO_PAD.encode(public);
    Json(json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "1", "x": x }] }))
}

async fn token(
    State(issuer): State<Issuer>,
    Form(asked): Form<BTreeMap<String, String>>,
) -> axum::response::Response {
    let held = issuer.codes.lock().unwrap().remove(&asked["code"]);
    let proved = |challenge: &str| {
        challenge == URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(asked["code_verifier"].as_bytes()))
    };
    match held {
        Some((nonce, challenge)) if proved(&challenge) => Json(json!({
            "access_token": "x", "token_type": "Bearer", "id_token": issuer.signed(&nonce),
        }))
        .into_response(),
        _ => (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))).into_response(),
    }
}

/// A house with a provider, where `subject-1` is Tess.
async fn with_provider(claim: Claim, linked: &str) -> (House, Issuer) {
    let mut house = house().await;
    let issuer = Issuer::start(house.console.books.clock().now()).await;
    let provider = Provider::new(&issuer.config(claim)).unwrap();
    house.console = house.console.clone().with_provider(Some(provider));
    let link = wire::LinkOidcRequest {
        operator: "opr_t".to_owned(),
        subject: linked.to_owned(),
        reason: String::new(),
    };
    house.client().link_oidc(link).await.unwrap();
    (house, issuer)
}

/// Goes to the provider and agrees there: the address that the browser is sent back to.
async fn away(browser: &mut Browser, issuer: &Issuer, to: &str) -> String {
    let sent = browser.get(&format!("/sign-in/oidc?to={to}")).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.body);
    issuer.agreed(sent.header("location"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_linked_comes_in_by_the_provider() {
    let (house, issuer) = with_provider(Claim::Sub, "subject-1").await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    assert!(browser.get("/sign-in").await.body.contains("href=\"/sign-in/oidc?to="));
    let back = away(&mut browser, &issuer, "/v1/usage").await;
    let answer = browser.get(&back).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/v1/usage"));
    let told = browser.get("/session").await.json();
    assert_eq!((&told["operator"], &told["session"]["means"]), (&"opr_t".into(), &"oidc".into()));
    assert!(!browser.jar.contains_key("seatbeat-away"), "what knew the browser again is gone");
    assert_eq!(records(&house).await.pop().unwrap().3, "oidc");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_good_once_and_in_the_browser_that_began_it() {
    let (house, issuer) = with_provider(Claim::Sub, "subject-1").await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    let back = away(&mut browser, &issuer, "/").await;
    let before = browser.clone();
    assert_eq!(browser.get(&back).await.status, StatusCode::SEE_OTHER);
    assert_eq!(before.clone().get(&back).await.status, StatusCode::FORBIDDEN, "state and code are used up");

    let mut attacker = Browser::at(&house, "192.0.2.66");
    let theirs = away(&mut attacker, &issuer, "/").await;
    let mut victim = Browser::at(&house, "192.0.2.2");
    assert_eq!(victim.get(&theirs).await.status, StatusCode::FORBIDDEN, "another browser");
    assert_eq!(attacker.get(&theirs).await.status, StatusCode::FORBIDDEN, "and it is used up");
    assert_eq!(victim.get("/sign-in/oidc/callback?state=made-up&code=x").await.status, StatusCode::FORBIDDEN);

    let mut browser = Browser::at(&house, "192.0.2.3");
    let first = away(&mut browser, &issuer, "/").await;
    let used = first.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert_eq!(browser.get(&first).await.status, StatusCode::SEE_OTHER);
    let second = away(&mut browser, &issuer, "/").await;
    let fresh = second.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let reused = second.replace(&fresh, &used);
    assert_eq!(browser.get(&reused).await.status, StatusCode::FORBIDDEN, "a code that is none any more");
    let gone = away(&mut browser, &issuer, "/").await;
    let denied = gone.replace("code=", "error=access_denied&was=");
    assert_eq!(browser.get(&denied).await.status, StatusCode::FORBIDDEN, "who does not agree");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_that_is_not_right_in_all_of_it_lets_nobody_in() {
    let (house, issuer) = with_provider(Claim::Sub, "subject-1").await;
    let lies: [(&str, Lie); 8] = [
        ("another nonce", |_, claims| claims["nonce"] = "other".into()),
        ("no nonce", |_, claims| drop(claims.as_object_mut().unwrap().remove("nonce"))),
        ("another audience", |_, claims| claims["aud"] = "other".into()),
        ("one more audience", |_, claims| claims["aud"] = json!(["seatbeat", "other"])),
        ("another issuer", |_, claims| claims["iss"] = "https://other.example".into()),
        ("over", |_, claims| claims["exp"] = (claims["iat"].as_i64().unwrap() - 1).into()),
        ("unsigned", |head, _| head["alg"] = "none".into()),
        ("signed by a secret", |head, _| head["alg"] = "HS256".into()),
    ];
    for (number, (what, lie)) in lies.into_iter().enumerate() {
        let mut browser = Browser::at(&house, &format!("192.0.2.{number}"));
        *issuer.lie.lock().unwrap() = Some(lie);
        let back = away(&mut browser, &issuer, "/").await;
        let answer = browser.get(&back).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}: {}", answer.body);
        assert!(browser.cookie().is_none(), "{what}");
    }
    *issuer.lie.lock().unwrap() = None;
    let mut browser = Browser::at(&house, "192.0.2.99");
    *issuer.forger.lock().unwrap() = Some(new_key());
    let back = away(&mut browser, &issuer, "/").await;
    let answer = browser.get(&back).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "signed by a key that nobody published");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_linked_is_not_let_in_and_a_subject_is_one_operators() {
    let (house, issuer) = with_provider(Claim::Sub, "subject-2").await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    let back = away(&mut browser, &issuer, "/").await;
    let answer = browser.get(&back).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("no operator here is linked"), "{}", answer.body);
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    let link = wire::LinkOidcRequest {
        operator: "opr_v".to_owned(),
        subject: "subject-2".to_owned(),
        reason: String::new(),
    };
    refused(house.client().link_oidc(link.clone()), Reason::Invalid, "another operator").await;
    let mut vera = ConsoleClient::new(Bearer { server: house.server(), token: "sbo1.v".to_owned() });
    refused(vera.link_oidc(link), Reason::Forbidden, "role admin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_names_somebody_only_where_the_provider_has_verified_it() {
    let (house, issuer) = with_provider(Claim::Email, "tess@example.ORG").await;
    let mut browser = Browser::at(&house, "192.0.2.1");
    *issuer.lie.lock().unwrap() = Some(|_, claims| claims["email_verified"] = false.into());
    let back = away(&mut browser, &issuer, "/").await;
    assert_eq!(browser.get(&back).await.status, StatusCode::FORBIDDEN);
    *issuer.lie.lock().unwrap() = None;
    let back = away(&mut browser, &issuer, "/").await;
    assert_eq!(browser.get(&back).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_said_to_be_and_passwords_still_work() {
    let (mut house, issuer) = with_provider(Claim::Sub, "subject-1").await;
    let down = OidcConfig { issuer: "http://127.0.0.1:1".to_owned(), ..issuer.config(Claim::Sub) };
    house.console = house.console.clone().with_provider(Some(Provider::new(&down).unwrap()));
    let mut browser = Browser::at(&house, "192.0.2.1");
    let answer = browser.get("/sign-in/oidc").await;
    assert_eq!((answer.status, &answer.json()["reason"]), (StatusCode::BAD_GATEWAY, &"provider".into()));
    assert_eq!(browser.sign_in("tess", PASSWORD, "").await.status, StatusCode::SEE_OTHER);

    house.console = house.console.clone().with_provider(None);
    let mut browser = Browser::at(&house, "192.0.2.1");
    assert_eq!(browser.get("/sign-in/oidc").await.status, StatusCode::NOT_FOUND);
    assert!(!browser.get("/sign-in").await.body.contains("/sign-in/oidc"));
}
