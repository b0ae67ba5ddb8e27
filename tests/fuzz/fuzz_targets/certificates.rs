//! Certificates, as the other side of a connection presents them, and as files. Invariant: a key that is read of one stands
//! in it; nobody but the holder of the pinned key is let through.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use seatbeat_collector::config::Config;
use seatbeat_collector::console::tls::Files;
use seatbeat_fuzz::{bounded, file, folder, now};
use seatbeat_proto::tls::{PinVerifier, ed25519_key, expires_at, pin};

fuzz_target!(|bytes: &[u8]| {
    if let Some(key) = bounded(bytes.len(), 512, || ed25519_key(bytes)) {
        assert!(bytes.windows(32).any(|part| part == key));
    }
    let _ = bounded(bytes.len(), 512, || expires_at(bytes));
    let name = ServerName::try_from("collector.example").expect("it is a name");
    let presented = CertificateDer::from(bytes);
    let lets = |pins: Vec<[u8; 32]>| {
        let verifier = PinVerifier::new(pins);
        let verified = verifier.verify_server_cert(&presented, &[], &name, &[], UnixTime::now());
        verified.is_ok()
    };
    assert!(!lets(vec![[7; 32]]));
    if let Ok(pin) = bounded(bytes.len(), 512, || pin(bytes)) {
        assert!(lets(vec![[7; 32], pin]));
    }
    pem(bytes);
});

/// The files of the operator door: the certificate and its key in one.
fn pem(bytes: &[u8]) {
    if !bytes.starts_with(b"--") {
        return;
    }
    file("certificate.pem", bytes);
    let config = Config {
        operator_certificate: Some("certificate.pem".into()),
        operator_key: Some("certificate.pem".into()),
        ..Config::default()
    };
    let files = Files::configured(&config, folder()).expect("both are named");
    if let Ok((_, ends_at)) = files.read(now()) {
        assert!(ends_at > now());
    }
}
