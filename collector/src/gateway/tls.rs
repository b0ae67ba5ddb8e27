//! The agent door's TLS. Invariant: of a client certificate only its Ed25519 key means something, and it is trusted
//! only because the handshake was signed with it; who the key belongs to is looked up later, in the fold.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection,
    SignatureScheme,
};
use seatbeat_proto::standby;
use seatbeat_proto::tls::{ALPN, ed25519_key, provider};

use crate::keys::Keys;

/// The door's configuration, with the collector's own certificate.
///
/// # Errors
/// When rustls does not take the key or the certificate.
pub fn server_config(keys: &Keys) -> Result<Arc<ServerConfig>, rustls::Error> {
    let certificate = CertificateDer::from(keys.tls_certificate().to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(keys.tls_key().to_vec()));
    let mut config = ServerConfig::builder_with_provider(provider())
        // Every agent speaks it; nothing between can speak another for them.
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyMachineKey { provider: provider() }))
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![ALPN.to_vec(), standby::ALPN.to_vec()];
    // Nothing is resumed: every connection proves its key, and no ticket outlives a ban.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The key that the other side has proven to hold; none when it presented no certificate.
pub fn peer_key(connection: &ServerConnection) -> Option<[u8; 32]> {
    connection.peer_certificates()?.first().and_then(|certificate| ed25519_key(certificate))
}

/// Whether what was agreed on is a connection on standby instead of gRPC.
pub fn stands_by(connection: &ServerConnection) -> bool {
    connection.alpn_protocol() == Some(standby::ALPN)
}

/// Accepts any certificate of an Ed25519 key, and none at all: enrolment has none yet.
#[derive(Debug)]
struct AnyMachineKey {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyMachineKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match ed25519_key(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
