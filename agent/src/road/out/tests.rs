//! An agent behind a proxy. Invariant: real TLS to a collector of the test's own, which only the proxy finds; what goes
//! through the proxy is looked at.

use std::sync::{Arc, Mutex};

use seatbeat_proto::{token, wire};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::enrol::{EnrolError, Request, enrol_over};
use crate::fake::FakeCollector;
use crate::leave::{self, Told};
use crate::state::StateFolder;

/// A name that nothing but the proxy knows.
const NAME: &str = "collector.invalid:8443";

/// A proxy that connects to one place, whatever it is asked for.
struct Carrier {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
    carried: Arc<Mutex<Vec<u8>>>,
}

/// What it answers in place of connecting.
type Answer = Option<&'static str>;

async fn carrier(to: String, login: Option<&'static str>, answer: Answer) -> Carrier {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let carrier = Carrier { address, heads: Arc::default(), carried: Arc::default() };
    let (heads, carried) = (Arc::clone(&carrier.heads), Arc::clone(&carrier.carried));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = head(&mut stream).await.unwrap().unwrap_or_default();
            let knows = login.is_none_or(|login| head.contains(login));
            heads.lock().unwrap().push(head);
            let said = answer.unwrap_or(if knows { "HTTP/1.1 200 OK" } else { "HTTP/1.1 407 Login\x1b" });
            stream.write_all(format!("{said}\r\nVia: it\r\n\r\n").as_bytes()).await.unwrap();
            if answer.is_none() && knows {
                tokio::spawn(carry(stream, to.clone(), Arc::clone(&carried)));
            }
        }
    });
    carrier
}

async fn carry(near: TcpStream, to: String, carried: Arc<Mutex<Vec<u8>>>) {
    let far = TcpStream::connect(to).await.unwrap();
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_near).await });
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from_near.read(&mut bytes).await {
        carried.lock().unwrap().extend(&bytes[..length]);
        to_far.write_all(&bytes[..length]).await.unwrap();
    }
    drop(to_far);
    let _ = back.await;
}

fn out(proxy: &str) -> Arc<dyn Road> {
    Arc::new(Out::new(Wanted::parse(proxy).unwrap()))
}

async fn enrol(road: Arc<dyn Road>, state: &StateFolder, fake: &FakeCollector) -> Result<(), EnrolError> {
    let token = wire::TokenText { addresses: vec![NAME.to_owned()], ..fake.token("1") };
    let request = Request { token: token::format(&token), again: false, host_name: "host".into() };
    let now = Clock::start(None).now();
    enrol_over(road, state, &request, |_| wire::Facts::default(), now).await.map(drop)
}

fn folder() -> (tempfile::TempDir, StateFolder) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateFolder::at(dir.path().join("state"));
    (dir, state)
}

#[tokio::test]
async fn a_machine_comes_in_and_goes_through_a_proxy_that_sees_nothing_of_it() {
    let fake = FakeCollector::start().await;
    let login = "Proxy-Authorization: Basic bWU6cGFzc0B3b3Jk\r\n";
    let proxy = carrier(fake.address.clone(), Some(login), None).await;
    let (_dir, state) = folder();
    let road = out(&format!("http://me:pass%40word@{}", proxy.address));
    enrol(Arc::clone(&road), &state, &fake).await.unwrap();
    assert_eq!(fake.memory().claims.len(), 1);
    assert_eq!(leave::leave(&state, road, Clock::start(None).now().wall).await.unwrap(), Told::Collector);
    let heads = proxy.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 2);
    assert!(
        heads[0].starts_with("CONNECT collector.invalid:8443 HTTP/1.1\r\nHost: collector.invalid:8443\r\n")
    );
    let carried = proxy.carried.lock().unwrap().clone();
    assert_eq!(carried[0], 0x16, "TLS, from the first byte on");
    assert!(!carried.windows(5).any(|five| five == b"tok_1"), "nothing in clear");
}

#[tokio::test]
async fn what_a_proxy_says_is_told_with_what_can_be_done() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = folder();
    for (login, answer, expected, hint) in [
        (Some("Basic"), None, "does not connect to the collector: 407 Login", "name:password"),
        (None, Some("HTTP/1.0 403 Forbidden"), "does not connect to the collector: 403 Forbidden", "CONNECT"),
        (None, Some("SSH-2.0-x"), "is no proxy", "check the proxy"),
    ] {
        let proxy = carrier(fake.address.clone(), login, answer).await;
        let error = enrol(out(&proxy.address), &state, &fake).await.unwrap_err();
        let said = chain(&error);
        assert!(said.ends_with(expected) && said.contains(&proxy.address), "{said}");
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
    }
    assert!(fake.memory().claims.is_empty());
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error = enrol(out(&gone), &state, &fake).await.unwrap_err();
    assert!(chain(&error).contains(&format!("the proxy `{gone}` is not reached")), "{}", chain(&error));
}

#[tokio::test]
async fn an_answer_without_an_end_is_no_proxys() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(&vec![b'x'; 3 * HEAD_LENGTH_MAX]).await;
        std::future::pending::<()>().await;
    });
    let proxy = Proxy::parse(&address).unwrap();
    assert!(matches!(through(&proxy, NAME).await, Err(OutError::Foreign(_))));
}
