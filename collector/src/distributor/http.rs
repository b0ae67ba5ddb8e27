//! HTTPS to a far side. Invariant: who answers has a certificate of an authority that is trusted; no answer is longer
//! than what fits in memory, no request lasts longer than its limit, and none is sent elsewhere than where it was
//! addressed to: redirects are answers, and no proxy is asked.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use seatbeat_proto::tls::provider;
use tracing::warn;

use super::call::{CallError, Transport};

/// Longest until a connection is there: far sides are at most an ocean away.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Longest a request and its answer may take, usage files and slow queries among them.
const CALL_MAX: Duration = Duration::from_secs(60);

/// How long an unused connection is kept: the requests of one part follow each other.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Longest answer: a page of a far side's list is some hundred kilobytes.
pub const ANSWER_LENGTH_MAX: usize = 4 << 20;

const USER_AGENT: &str = concat!("seatbeat/", env!("CARGO_PKG_VERSION"));

/// Why there is no way to speak HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The destination's own authorities cannot be read.
    #[error("failed to read the certificates in `{path}`")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// There is none in the file, or one that is none.
    #[error("no certificate that can be trusted is in `{0}`")]
    NoAuthority(PathBuf),
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Tls(#[from] rustls::Error),
    /// Neither can HTTP.
    #[error("failed to set up HTTP")]
    Http(#[from] reqwest::Error),
}

/// Carries requests over HTTPS, and over HTTP on this machine.
pub struct Http {
    client: reqwest::Client,
}

impl Http {
    /// Trusts the system's authorities and those in `ca_file`.
    ///
    /// # Errors
    /// When the file has none, or cannot be read.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, HttpError> {
        let tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities(ca_file)?)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_MAX)
            .timeout(CALL_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { client })
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let request = request.try_into().map_err(|error| CallError::NotReached(told(error)))?;
        let mut answer = self.client.execute(request).await.map_err(|error| {
            let is_out = !(error.is_connect() || error.is_builder());
            if is_out { CallError::NoAnswer(told(error)) } else { CallError::NotReached(told(error)) }
        })?;
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| CallError::NoAnswer(told(error)))? {
            if body.len() + chunk.len() > ANSWER_LENGTH_MAX {
                return Err(CallError::NoAnswer(format!("it is longer than {ANSWER_LENGTH_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = Response::new(body.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

impl Transport for Http {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, CallError>> {
        self.exchange(request).boxed()
    }
}

/// The system's authorities and those of a file.
///
/// # Errors
/// When the file has none, or cannot be read.
pub(crate) fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, HttpError> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    if store.is_empty() && ca_file.is_none() {
        let why = system.errors.first().map(ToString::to_string).unwrap_or_default();
        warn!(why, "this system trusts no certificate authority: install its `ca-certificates`");
    }
    let Some(path) = ca_file else { return Ok(store) };
    let unread = |source| HttpError::Authorities { path: path.to_owned(), source };
    let own = CertificateDer::pem_file_iter(path).map_err(unread)?;
    let own = own.collect::<Result<Vec<_>, _>>().map_err(unread)?;
    let count = own.len();
    let (added, _) = store.add_parsable_certificates(own);
    if added == 0 || added < count {
        return Err(HttpError::NoAuthority(path.to_owned()));
    }
    Ok(store)
}

/// An error with its causes, without the address: that stands in what was asked for.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}

#[cfg(test)]
mod tests;
