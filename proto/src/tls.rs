//! Machine certificates and the pinned collector key. Invariant: a connection is made only to the holder of the
//! pinned key, whatever a certificate authority says; what was presented instead is kept for the error.

use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::signed::hash;

/// The protocol name both doors speak under TLS.
pub const ALPN: &[u8] = b"h2";

/// A certificate or key that TLS cannot use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key cannot be put into a certificate.
    #[error("failed to make the machine's certificate")]
    Certificate(#[source] rcgen::Error),
    /// rustls refuses the configuration.
    #[error("failed to set up TLS")]
    Configuration(#[source] rustls::Error),
    /// Bytes that are no certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
}

/// The crypto that every connection here uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A self-signed certificate of the machine key: what TLS wants to see; only the key in it means something.
///
/// # Errors
/// When the key cannot be encoded.
pub fn machine_certificate(
    key: &SigningKey,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
    let encoded = key.to_pkcs8_der().map_err(|_| TlsError::Unreadable)?;
    let private = PrivatePkcs8KeyDer::from(encoded.as_bytes().to_vec());
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&private, &rcgen::PKCS_ED25519)
        .map_err(TlsError::Certificate)?;
    let mut parameters =
        rcgen::CertificateParams::new(Vec::<String>::new()).map_err(TlsError::Certificate)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "seatbeat machine");
    let certificate = parameters.self_signed(&pair).map_err(TlsError::Certificate)?;
    Ok((certificate.der().clone(), PrivateKeyDer::Pkcs8(private)))
}

/// SHA-256 of a certificate's public key (SubjectPublicKeyInfo, DER): what is pinned.
///
/// # Errors
/// When the bytes are no certificate.
pub fn pin(certificate: &[u8]) -> Result<[u8; 32], TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TlsError::Unreadable)?;
    Ok(hash(parsed.tbs_certificate.subject_pki.raw))
}

/// When a certificate's time is over.
///
/// # Errors
/// When the bytes are no certificate.
pub fn expires_at(certificate: &[u8]) -> Result<jiff::Timestamp, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TlsError::Unreadable)?;
    jiff::Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(|_| TlsError::Unreadable)
}

/// The 32 bytes of the Ed25519 key in a certificate, when it holds one.
pub fn ed25519_key(certificate: &[u8]) -> Option<[u8; 32]> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let key = &parsed.tbs_certificate.subject_pki;
    (key.algorithm.algorithm.to_id_string() == "1.3.101.112")
        .then(|| key.subject_public_key.data.as_ref().try_into().ok())
        .flatten()
}

/// Who issued a certificate that was presented in place of the pinned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignCertificate {
    /// The issuer's distinguished name.
    pub issuer: String,
}

/// Accepts the pinned key and nothing else. Keeps what it refused, for the error text.
#[derive(Debug)]
pub struct PinVerifier {
    pins: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
    foreign: Mutex<Option<ForeignCertificate>>,
}

impl PinVerifier {
    /// A verifier of these pins; any one of them is accepted.
    pub fn new(pins: Vec<[u8; 32]>) -> Arc<Self> {
        Arc::new(Self { pins, provider: provider(), foreign: Mutex::new(None) })
    }

    /// The certificate that was refused last, when the last handshake was refused.
    pub fn refused(&self) -> Option<ForeignCertificate> {
        self.foreign.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut foreign = self.foreign.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match pin(end_entity) {
            Ok(seen) if self.pins.contains(&seen) => {
                *foreign = None;
                Ok(ServerCertVerified::assertion())
            }
            _ => {
                let issuer = X509Certificate::from_der(end_entity)
                    .map_or_else(|_| "unreadable".to_owned(), |(_, parsed)| parsed.issuer().to_string());
                *foreign = Some(ForeignCertificate { issuer });
                Err(rustls::CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The TLS side of an agent: pinned collector, and the machine's certificate where it has a key already.
///
/// # Errors
/// When the certificate cannot be made or rustls refuses it.
pub fn client_config(
    verifier: Arc<PinVerifier>,
    machine_key: Option<&SigningKey>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Configuration)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match machine_key {
        None => builder.with_no_client_auth(),
        Some(key) => {
            let (certificate, private) = machine_certificate(key)?;
            builder.with_client_auth_cert(vec![certificate], private).map_err(TlsError::Configuration)?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
