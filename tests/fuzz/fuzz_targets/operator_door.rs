//! The operator door: forms, addresses, headers and messages, through the whole router of a collector with books of its
//! own. Invariant: no request makes it panic or fail inside, each answer has the headers that keep a browser safe, and what
//! was typed in stands on no page as a tag.
//!
//! An input is a request as HTTP writes it: `POST /customers?after=1`, headers, an empty line, the body. A path of gRPC gets
//! its body framed. Whoever asks is an administrator; `x-nobody:` says that it is nobody.

#![no_main]

use std::cell::RefCell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use http::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seatbeat_collector::books::{Books, BooksEnd};
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::console::{Console, door};
use seatbeat_collector::found::found;
use seatbeat_collector::gateway::presence::Presence;
use seatbeat_collector::jobs::close::Closing;
use seatbeat_collector::jobs::proofs::Proofs;
use seatbeat_fuzz::{folder, key, now};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

const POLICY: &str =
    "zone = \"Europe/Berlin\"\n[default_sku]\ndsa = \"DS\"\n[price.DS]\nreseller = \"4.00\"\n";

/// Whose machine it is that reported.
const MACHINE: u8 = 7;

/// Requests to the same books: what they leave behind is there for the next ones.
const REQUESTS_MAX: u32 = 300;

/// How long an answer's body is read: some go on for ever.
const BODY_TIME: Duration = Duration::from_millis(300);

/// What a page would have if it did not escape what was typed in; seeds have it in all fields.
const TAG: &str = "<zq";

struct House {
    router: Router,
    token: String,
    end: BooksEnd,
    asked: u32,
}

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    RUNTIME.with(|runtime| {
        HOUSE.with_borrow_mut(|house| {
            if house.as_ref().is_some_and(|house| house.asked >= REQUESTS_MAX)
                && let Some(House { router, end, .. }) = house.take()
            {
                drop(router);
                runtime.block_on(end.close()).expect("the books can be closed");
            }
            let house = house.get_or_insert_with(|| runtime.block_on(founded()));
            house.asked += 1;
            let Some(request) = request(bytes, &house.token) else { return };
            runtime.block_on(check(house.router.clone(), request));
        });
    });
});

async fn founded() -> House {
    let place = folder().join("house");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).expect("a folder can be made");
    std::fs::set_permissions(&place, Permissions::from_mode(0o700)).expect("it is ours");
    let config = Config {
        agent_addresses: vec!["collector.example:8443".to_owned()],
        coverage_percent: 0,
        ..Config::default()
    };
    let founded = found(&place, &config, POLICY, Clock::as_of(now())).expect("a store can be founded");
    let token = founded.operator_token.to_string();
    let (books, end) = Books::open(&place, Clock::as_of(now())).expect("the books can be opened");
    let closing = Closing::new(books.clone(), config.clone(), place.join("statements"));
    let proofs = Proofs::new(books.clone(), &config, place.join("statements"));
    for fact in inhabited() {
        books.write("opr_fuzz", "", fact).await.expect("the journal takes it");
    }
    let console = Console::new(books, Presence::default(), config, closing, proofs);
    let router = door::router(console).await;
    let named =
        request(b"POST /customers/cus_acme/set\n\nname=%3Czq%3EAcme&customer_ref=K-17&tax_code=A", &token);
    check(router.clone(), named.expect("it is a request")).await;
    House { router, token, end, asked: 0 }
}

/// A customer with a machine that reported.
fn inhabited() -> [Fact; 4] {
    let key = key(MACHINE);
    let machine = MachineId::derived_from(key.verifying_key().as_bytes()).to_string();
    let public_key = key.verifying_key().to_bytes().to_vec();
    let claim = wire::EnrolmentClaim { public_key, token: "tok_1".to_owned(), ..Default::default() };
    let claim = sign(&key, Domain::EnrolmentClaim, claim.encode_to_vec());
    let product = wire::FoundProduct {
        product: "dsa".to_owned(),
        state: wire::ProductState::Active.into(),
        version: "<zq>20.0".to_owned(),
        signals: vec!["<zq>signal".to_owned()],
        ..Default::default()
    };
    let report =
        wire::Report { products: vec![product], agent_version: "<zq>0.1".to_owned(), ..Default::default() };
    let evidence = wire::Evidence {
        machine,
        spool: "spl_1".to_owned(),
        sequence: 1,
        observed_at_ms: now().as_millisecond() - 86_400_000,
        body: Some(wire::evidence::Body::Report(report)),
        ..Default::default()
    };
    let evidence = sign(&key, Domain::Evidence, evidence.encode_to_vec());
    let token = wire::TokenCreated {
        token: "tok_1".to_owned(),
        customer: "cus_acme".to_owned(),
        secret_hash: vec![1; 32],
        uses_max: 100,
        expires_at_ms: now().as_millisecond() + 86_400_000,
        uses_per_hour: 0,
    };
    [
        Fact::CustomerAdded(wire::CustomerAdded { customer: "cus_acme".to_owned() }),
        Fact::TokenCreated(token),
        Fact::EnrolmentRequested(wire::EnrolmentRequested { claim: Some(claim) }),
        Fact::EvidenceReceived(wire::EvidenceReceived { evidence: Some(evidence), ..Default::default() }),
    ]
}

/// The request that an input says; none where it is none.
fn request(bytes: &[u8], token: &str) -> Option<Request<Body>> {
    let (head, body) = match bytes.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let is_rpc = target.starts_with("/seatbeat.") || target.starts_with("/grpc.");
    let body = if is_rpc {
        let length = u32::try_from(body.len()).ok()?.to_be_bytes();
        Bytes::from([&[0], length.as_slice(), body].concat())
    } else {
        Bytes::copy_from_slice(body)
    };
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let mut request = Request::builder().method(method).uri(target).body(Body::from(body)).ok()?;
    let kind = if is_rpc { "application/grpc" } else { "application/x-www-form-urlencoded" };
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let mut is_nobody = false;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()))
        else {
            continue;
        };
        is_nobody |= name == "x-nobody";
        request.headers_mut().append(name, value);
    }
    if !is_nobody {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is plain text");
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }
    Some(request)
}

async fn check(router: Router, request: Request<Body>) {
    let is_rpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let asked = format!("{} {}", request.method(), request.uri());
    let Ok(answer) = router.oneshot(request).await;
    assert!(answer.status() != StatusCode::INTERNAL_SERVER_ERROR, "{asked}");
    if !is_rpc {
        let policy = answer.headers().get(CONTENT_SECURITY_POLICY);
        assert!(policy.is_some_and(|policy| policy.as_bytes().starts_with(b"default-src 'none'")), "{asked}");
    }
    let is_page =
        answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let (mut body, mut page) = (answer.into_body(), Vec::new());
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(BODY_TIME, body.frame()).await {
        page.extend(frame.into_data().unwrap_or_default());
    }
    if is_page {
        assert!(!String::from_utf8_lossy(&page).contains(TAG), "{asked}");
    }
}
