//! The operator door's certificate, from files that the reseller's own authority fills. Invariant: what is presented was
//! whole, fits its key and was in force when it was read; files that are not leave the one before it in place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use seatbeat_proto::tls::{ALPN, expires_at, provider};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::books::Books;
use crate::clock::Clock;
use crate::config::Config;

/// How often the files are looked at: whoever renews a certificate need not start anything again.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// So long before its end a certificate needs a person: authorities that renew by themselves do it earlier.
pub const WARN_BEFORE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Alarm of a certificate that is not taken, or about to end.
const CERTIFICATE: &str = "operator-certificate";

/// Why a certificate is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or holds no PEM.
    #[error("failed to read {what} in `{path}`")]
    Read {
        /// The certificate or the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// There is none in the file.
    #[error("`{0}` holds no certificate")]
    Empty(PathBuf),
    /// What is there is none.
    #[error("`{0}` holds what is no certificate")]
    Unreadable(PathBuf),
    /// Its time is over.
    #[error("the certificate in `{path}` ended at {at}")]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: Timestamp,
    },
    /// The key is another's, or of no use.
    #[error("the key in `{key}` is not the one of the certificate in `{certificate}`")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What TLS says of it.
        #[source]
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("failed to set up TLS for the operator door")]
    Tls(#[from] rustls::Error),
}

impl CertificateError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::Empty(_) | Self::Unreadable(_) => {
                "`operator_certificate` is a PEM file with the certificate and those between it and its authority, \
                 `operator_key` one with its private key; the collector's user has to be able to read both"
                    .to_owned()
            }
            Self::Expired { .. } => "renew it; the collector takes the new files by itself".to_owned(),
            Self::Mismatch { .. } => "name the key that the certificate was asked for with".to_owned(),
            Self::Tls(_) => return None,
        })
    }

    /// It and what caused it, in a line.
    fn chain(&self) -> String {
        let causes =
            std::iter::successors(std::error::Error::source(self), |cause| std::error::Error::source(*cause));
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

/// Where certificate and key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// Those that are configured; paths that begin nowhere begin in the store.
    pub fn configured(config: &Config, store: &Path) -> Option<Self> {
        let certificate = store.join(config.operator_certificate.as_ref()?);
        Some(Self { certificate, key: store.join(config.operator_key.as_ref()?) })
    }

    /// Reads both; also says when the certificate ends.
    ///
    /// # Errors
    /// When they are not there, do not fit each other, or the certificate's time is over.
    pub fn read(&self, now: Timestamp) -> Result<(CertifiedKey, Timestamp), CertificateError> {
        let path = || self.certificate.clone();
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Read { what, path, source }
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(failed("the certificate", &self.certificate))?;
        let first = chain.first().ok_or_else(|| CertificateError::Empty(path()))?;
        let ends_at = expires_at(first).map_err(|_| CertificateError::Unreadable(path()))?;
        if ends_at <= now {
            return Err(CertificateError::Expired { path: path(), at: ends_at });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(failed("the key", &self.key))?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| {
            CertificateError::Mismatch { certificate: path(), key: self.key.clone(), source }
        })?;
        Ok((certified, ends_at))
    }

    /// The bytes of both, to tell whether they changed; a file that cannot be read has none.
    fn bytes(&self) -> [Zeroizing<Vec<u8>>; 2] {
        [&self.certificate, &self.key].map(|path| Zeroizing::new(std::fs::read(path).unwrap_or_default()))
    }
}

/// What the operator door presents.
pub struct Certificate {
    files: Files,
    clock: Clock,
    presented: Arc<Presented>,
    state: State,
}

struct State {
    bytes: [Zeroizing<Vec<u8>>; 2],
    ends_at: Timestamp,
}

struct Presented(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented")
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn open(files: Files, clock: Clock) -> Result<Self, CertificateError> {
        // Before the reading: a change in between is seen by the next look.
        let bytes = files.bytes();
        let (certified, ends_at) = files.read(clock.now())?;
        let presented = Arc::new(Presented(RwLock::new(Arc::new(certified))));
        Ok(Self { files, clock, presented, state: State { bytes, ends_at } })
    }

    /// What takes handshakes; it presents what was read last.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn acceptor(&self) -> Result<TlsAcceptor, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.presented) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN.to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Takes changed files, and tells of those that cannot be taken and of an end that is near. Never returns.
    pub async fn follow(mut self, books: Books) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            tokio::task::block_in_place(|| self.look(&books));
        }
    }

    fn look(&mut self, books: &Books) {
        let bytes = self.files.bytes();
        let now = self.clock.now();
        if bytes != self.state.bytes {
            match self.files.read(now) {
                Ok((certified, ends_at)) => {
                    *self.presented.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                    self.state = State { bytes, ends_at };
                    tracing::info!(%ends_at, "the operator door has a new certificate");
                }
                Err(error) => {
                    let words = format!("the operator door keeps its old certificate: {}", error.chain());
                    return books.alarms().raise(CERTIFICATE, words);
                }
            }
        }
        let ends_at = self.state.ends_at;
        if ends_at <= now.saturating_add(WARN_BEFORE).unwrap_or(Timestamp::MAX) {
            books.alarms().raise(CERTIFICATE, format!("the operator door's certificate ends at {ends_at}"));
        } else {
            books.alarms().clear(CERTIFICATE);
        }
    }
}

#[cfg(test)]
mod tests;
