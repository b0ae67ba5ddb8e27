//! What is not the protocol on the agent door, and that it disturbs nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use seatbeat_proto::signed::new_key;
use seatbeat_proto::tls::{PinVerifier, client_config, machine_certificate, provider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::super::limits::Patience;
use super::Collector;
use super::client::{Agent, PATIENCE, channel};

/// Sends bytes and reads until the door closes.
async fn answer_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The door may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the door closes");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_plain_text_are_closed_and_others_are_served() {
    let collector = Collector::start().await;
    let position = collector.position();
    let http = b"GET / HTTP/1.1\r\nHost: collector\r\n\r\n".as_slice();
    let plain_grpc = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice();
    let cut_hello = b"\x16\x03\x01\x02\0\x01".as_slice();
    for bytes in [http, plain_grpc, &[0xff; 70_000], b"SSH-2.0-OpenSSH_9.2\r\n"] {
        let answer = answer_to(collector.address, bytes).await;
        // At most the TLS alert: record type 21, two bytes.
        assert!(answer.len() <= 7 && answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
    }
    drop(TcpStream::connect(collector.address).await.unwrap());
    let mut silent = TcpStream::connect(collector.address).await.unwrap();
    silent.write_all(cut_hello).await.unwrap();
    assert_eq!(collector.position(), position);
    collector.agent().await;
    assert!(collector.books.alarms().standing().is_empty());
    collector.stop().await;
}

/// Presents a certificate with a key that need not belong to it.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn presenting(
    collector: &Collector,
    certificate: CertificateDer<'static>,
    key: &PrivateKeyDer<'_>,
) -> ClientConfig {
    let mut config = client_config(PinVerifier::new(vec![collector.pin]), None).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(key).unwrap();
    config.client_auth_cert_resolver =
        Arc::new(Presents(Arc::new(CertifiedKey::new(vec![certificate], key))));
    config
}

/// Whether a call over such a connection reaches the door at all.
async fn reaches(collector: &Collector, config: ClientConfig) -> bool {
    let Ok(channel) = channel(collector.address, config).await else { return false };
    // A client that is refused its certificate in TLS 1.3 notices at its first read.
    let asked = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    asked.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_only_with_its_own_ed25519_key() {
    let collector = Collector::start().await;
    let (mine, others) = (new_key(), new_key());
    let (my_certificate, my_key) = machine_certificate(&mine).unwrap();
    let (others_certificate, _) = machine_certificate(&others).unwrap();
    assert!(reaches(&collector, presenting(&collector, my_certificate, &my_key)).await);
    assert!(
        !reaches(&collector, presenting(&collector, others_certificate, &my_key)).await,
        "a stolen certificate"
    );

    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["machine".to_owned()]).unwrap();
    let other_kind = parameters.self_signed(&pair).unwrap().der().clone();
    assert!(!reaches(&collector, presenting(&collector, other_kind, &my_key)).await, "not Ed25519");
    let garbage = CertificateDer::from(vec![0; 64]);
    assert!(!reaches(&collector, presenting(&collector, garbage, &my_key)).await, "no certificate at all");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_there_is_health_and_no_link() {
    let collector = Collector::start().await;
    let config = || client_config(PinVerifier::new(vec![collector.pin]), None).unwrap();
    assert!(reaches(&collector, config()).await);
    let mut client = seatbeat_proto::wire::agent_link_client::AgentLinkClient::new(
        channel(collector.address, config()).await.unwrap(),
    );
    let status = client.link(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.message(), "no machine's certificate was presented: enrol first");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_machine_is_told_so() {
    let collector = Collector::start().await;
    let Err(status) = Agent::new().open(&collector).await else { panic!("it was let in") };
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().starts_with("unknown machine"), "{status}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_http_2_is_spoken_over_tls_1_3() {
    let collector = Collector::start().await;
    let mut http1 = client_config(PinVerifier::new(vec![collector.pin]), None).unwrap();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(!reaches(&collector, http1).await);

    let tls12 = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(PinVerifier::new(vec![collector.pin]));
    let (certificate, key) = machine_certificate(&new_key()).unwrap();
    let mut tls12 = tls12.with_client_auth_cert(vec![certificate], key).unwrap();
    tls12.alpn_protocols = vec![b"h2".to_vec()];
    assert!(!reaches(&collector, tls12).await, "no agent ever spoke TLS 1.2");
    let tls13 = client_config(PinVerifier::new(vec![collector.pin]), Some(&new_key())).unwrap();
    assert!(reaches(&collector, tls13).await);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_not_waited_for() {
    let short = Duration::from_secs(3);
    let patience = Patience { handshake: short, stranger: short, hello: short, ..Patience::default() };
    let collector = Collector::start_with(patience).await;
    let machine = collector.agent().await;
    let (mut welcomed, _) = machine.link(&collector).await;

    assert_eq!(answer_to(collector.address, b"").await, b"", "no handshake");
    assert_eq!(answer_to(collector.address, b"\x16\x03\x01\x02\0\x01").await, b"", "half of one");

    let config = client_config(PinVerifier::new(vec![collector.pin]), Some(&new_key())).unwrap();
    let tcp = TcpStream::connect(collector.address).await.unwrap();
    let name = ServerName::try_from("collector").unwrap();
    let mut stranger = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let mut heard = Vec::new();
    let closed = timeout(PATIENCE, stranger.read_to_end(&mut heard)).await;
    assert!(closed.is_ok(), "a key that nobody knows may not stay");

    let other = collector.agent().await;
    let mut silent = other.open(&collector).await.unwrap();
    let (code, message) = silent.ended().await;
    assert_eq!((code, message.as_str()), (Code::DeadlineExceeded, "no Hello came in time"));

    let mut machine = machine;
    let report = machine.reports(1);
    welcomed.send(report).await;
    welcomed.acked(1).await;
    collector.stop().await;
}
