//! Certificates from files, and what is presented when they change. Invariant: a test shakes hands over a real socket.

use std::path::Path;

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::console::dial::Dial;
use crate::found::found;

fn at(days: i64) -> Timestamp {
    "2026-10-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * days)
}

/// A certificate and its key as PEM, in force until so many days after [`at`] zero.
fn made(days: i64) -> (String, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let ends = at(days).to_zoned(jiff::tz::TimeZone::UTC);
    parameters.not_after = rcgen::date_time_ymd(ends.year().into(), ends.month() as u8, ends.day() as u8);
    (parameters.self_signed(&pair).unwrap().pem(), pair.serialize_pem())
}

fn put(folder: &Path, certificate: &str, key: &str) -> Files {
    std::fs::write(folder.join("door.pem"), certificate).unwrap();
    std::fs::write(folder.join("door.key"), key).unwrap();
    let config = Config {
        operator_certificate: Some("door.pem".into()),
        operator_key: Some("door.key".into()),
        ..Config::default()
    };
    Files::configured(&config, folder).unwrap()
}

#[test]
fn what_cannot_be_presented_is_named_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let ((certificate, key), (other, other_key)) = (made(90), made(90));
    let check = |certificate: &str, key: &str, words: &str| {
        let error = put(folder.path(), certificate, key).read(at(0)).err().unwrap();
        let text = error.chain();
        assert!(text.contains(words), "{words:?} in {text:?}");
        assert!(text.contains("door.") && error.hint().is_some(), "{text}");
        assert!(!text.contains("PRIVATE"), "{text}");
    };
    check("", &key, "holds no certificate");
    check("nonsense", &key, "holds no certificate");
    check("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "what is no certificate");
    check(&certificate, "", "failed to read the key");
    check(&certificate, &other_key, "is not the one of the certificate");
    check(&made(-1).0, &key, "ended at 2026-09-30");
    let files = put(folder.path(), &other, &other_key);
    assert_eq!(files.read(at(0)).unwrap().1, at(90));
    std::fs::remove_file(folder.path().join("door.pem")).unwrap();
    assert!(files.read(at(0)).err().unwrap().to_string().contains("door.pem"));
}

/// Who shakes hands, trusting one certificate, is let through or not.
async fn trusted(address: &str, folder: &TempDir, certificate: &str) -> bool {
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate).unwrap();
    let dial = Dial::to(&format!("https://{address}"), Some(&ca)).unwrap();
    dial.connect().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_presented_without_a_start_and_bad_ones_are_not() {
    let store = tempfile::tempdir().unwrap();
    found(store.path(), &Config::default(), "zone = \"UTC\"", Clock::real()).unwrap();
    let clock = Clock::as_of(at(0));
    let (books, _end) = Books::open(store.path(), clock).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (first, second, short) = (made(3000), made(3001), made(3002));
    let files = put(folder.path(), &first.0, &first.1);
    let mut certificate = Certificate::open(files, clock).unwrap();
    let acceptor = certificate.acceptor().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(stream).await) });
        }
    });
    assert!(trusted(&address, &folder, &first.0).await);
    assert!(!trusted(&address, &folder, &second.0).await, "it is not presented yet");

    put(folder.path(), &second.0, &first.1);
    certificate.look(&books);
    assert!(trusted(&address, &folder, &first.0).await, "the old one stays");
    let told = books.alarms().standing().join("\n");
    assert!(told.contains("keeps its old certificate") && told.contains("door.key"), "{told}");

    put(folder.path(), &second.0, &second.1);
    certificate.look(&books);
    assert!(trusted(&address, &folder, &second.0).await);
    assert!(!trusted(&address, &folder, &first.0).await);
    assert!(!books.alarms().stands(CERTIFICATE));

    put(folder.path(), &short.0, &short.1);
    certificate.clock = Clock::as_of(at(3002 - 13));
    certificate.look(&books);
    assert!(books.alarms().standing().join("\n").contains("certificate ends at"));
}
