//! Over real sockets of this machine.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use seatbeat_standin::wrong::Wrong;
use seatbeat_standin::{Platform, Standin, Verdict, json, server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Answers with what it was sent.
struct Mirror;

impl Platform for Mirror {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let body = serde_json::json!({
            "method": request.method().as_str(),
            "target": request.uri().to_string(),
            "agent": header("user-agent"),
            "own": header("x-own"),
            "body": String::from_utf8_lossy(request.body()),
        });
        match request.uri().path() {
            "/moved" => Response::builder()
                .status(StatusCode::TEMPORARY_REDIRECT)
                .header("location", "/elsewhere")
                .body(Bytes::new())
                .unwrap(),
            "/long" => Response::new(Bytes::from(vec![b'x'; ANSWER_LENGTH_MAX + 1])),
            "/full" => Response::new(Bytes::from(vec![b'x'; ANSWER_LENGTH_MAX])),
            _ => json(200, &body),
        }
    }

    fn effects(&self) -> Vec<String> {
        Vec::new()
    }

    fn decide(&mut self, _: Verdict) {}
}

async fn mirror(wrong: impl IntoIterator<Item = Option<Wrong>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut standin = Standin::new(Mirror);
    standin.tell(wrong.into_iter().collect::<VecDeque<_>>());
    tokio::spawn(server::serve(listener, standin));
    address
}

fn get(target: String) -> Request<Bytes> {
    Request::get(target).header("x-own", "1").body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn a_request_arrives_as_it_is_and_its_answer_comes_back() {
    let address = mirror([]).await;
    let request = Request::put(format!("http://{address}/a/b?c=d%2Fe"))
        .header("x-own", "1")
        .body(Bytes::from_static(b"body"))
        .unwrap();
    let answer = Http::new(None).unwrap().call(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let said: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    let agent = format!("seatbeat/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        said,
        serde_json::json!({
            "method": "PUT", "target": "/a/b?c=d%2Fe", "agent": agent, "own": "1", "body": "body",
        })
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_a_long_answer_is_none() {
    let address = mirror([]).await;
    let http = Http::new(None).unwrap();
    let moved = http.call(get(format!("http://{address}/moved"))).await.unwrap();
    assert_eq!(moved.status(), StatusCode::TEMPORARY_REDIRECT);
    let full = http.call(get(format!("http://{address}/full"))).await.unwrap();
    assert_eq!(full.body().len(), ANSWER_LENGTH_MAX);
    let long = http.call(get(format!("http://{address}/long"))).await;
    assert!(matches!(&long, Err(CallError::NoAnswer(why)) if why.contains("longer")), "{long:?}");
}

#[tokio::test]
async fn what_may_have_been_carried_out_is_told_from_what_never_left() {
    let address = mirror([Some(Wrong::LostAfter), Some(Wrong::LostBefore)]).await;
    let http = Http::new(None).unwrap();
    for _ in 0..2 {
        let cut = http.call(get(format!("http://{address}/"))).await;
        assert!(matches!(cut, Err(CallError::NoAnswer(_))), "{cut:?}");
    }
    assert!(http.call(get(format!("http://{address}/"))).await.is_ok());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for nobody in [format!("http://{closed}/"), "https://seatbeat.invalid/".to_owned()] {
        let refused = http.call(get(nobody.clone())).await;
        let Err(CallError::NotReached(why)) = refused else { panic!("{nobody}: {refused:?}") };
        assert!(!why.contains(&nobody), "{why}");
    }
}

/// Answers TLS connections with 204 under a certificate that signed itself; answers that certificate.
async fn protected() -> (SocketAddr, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, certificate.pem())
}

#[tokio::test]
async fn a_certificate_is_trusted_when_the_destination_says_so_and_under_its_own_name_only() {
    let (address, certificate) = protected().await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificate).unwrap();
    let (stranger, friend) = (Http::new(None).unwrap(), Http::new(Some(&ca_file)).unwrap());
    let named = || get(format!("https://localhost:{}/", address.port()));
    let refused = stranger.call(named()).await;
    assert!(
        matches!(&refused, Err(CallError::NotReached(why)) if why.contains("UnknownIssuer")),
        "{refused:?}"
    );
    assert_eq!(friend.call(named()).await.unwrap().status(), StatusCode::NO_CONTENT);
    let other = friend.call(get(format!("https://{address}/"))).await;
    assert!(
        matches!(&other, Err(CallError::NotReached(why)) if why.contains("not valid for name")),
        "{other:?}"
    );
}

#[test]
fn a_ca_file_without_a_certificate_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let error = |path: &Path| Http::new(Some(path)).err().unwrap().to_string();
    assert!(error(&path).contains("ca.pem"));
    for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, text).unwrap();
        assert!(error(&path).contains("ca.pem"), "{text}");
    }
}
