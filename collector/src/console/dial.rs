//! The way to an operator door, for who asks there. Invariant: a token goes out in clear to this same machine alone;
//! elsewhere who answers has a certificate of an authority that is trusted, under the name that was asked for.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use seatbeat_proto::tls::{ALPN, provider};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::distributor::http::{HttpError, authorities};

/// How long a connection and its handshake may take: a collector is near, or it is not there.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

const HTTPS: &str = "https://";
const HTTP: &str = "http://";

/// An address that is none, or none to send a token to.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not a host and a port.
    #[error("`{0}` is not an address: expected HOST:PORT or https://HOST:PORT")]
    Address(String),
    /// Elsewhere, without TLS.
    #[error("`{0}` is another machine: the token would cross the network for everybody to read")]
    Clear(String),
    /// The authorities.
    #[error(transparent)]
    Authorities(#[from] HttpError),
}

/// A connection, whatever carries it.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

/// How one operator door is reached.
#[derive(Clone)]
pub struct Dial {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dial {
    /// To `HOST:PORT` of this machine, or to `https://HOST:PORT` anywhere, where the system's authorities are trusted
    /// and those in `ca` (PEM).
    ///
    /// # Errors
    /// When the address is none, is elsewhere without TLS, or the authorities cannot be read.
    pub fn to(address: &str, ca: Option<&Path>) -> Result<Self, DialError> {
        let malformed = || DialError::Address(address.to_owned());
        let (bare, is_tls) = match address.strip_prefix(HTTPS) {
            Some(rest) => (rest.strip_suffix('/').unwrap_or(rest), true),
            None => (address.strip_prefix(HTTP).unwrap_or(address), false),
        };
        let (host, port) = bare.rsplit_once(':').ok_or_else(malformed)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        port.parse::<u16>().map_err(|_| malformed())?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| malformed())?;
        if !is_tls {
            let is_here =
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            if !is_here {
                return Err(DialError::Clear(address.to_owned()));
            }
            return Ok(Self { address: bare.to_owned(), tls: None });
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(HttpError::Tls)?
            .with_root_certificates(authorities(ca)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { address: bare.to_owned(), tls: Some((TlsConnector::from(Arc::new(config)), name)) })
    }

    /// The host and the port, as a request names them.
    pub fn authority(&self) -> &str {
        &self.address
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody answers in time, or not who is trusted.
    pub async fn connect(&self) -> io::Result<TokioIo<Box<dyn Carrier>>> {
        let connect = async {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            Ok::<Box<dyn Carrier>, io::Error>(match &self.tls {
                None => Box::new(stream),
                Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
            })
        };
        let connected = timeout(CONNECT_WAIT, connect).await;
        connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(TokioIo::new)
    }
}

impl Service<http::Uri> for Dial {
    type Response = TokioIo<Box<dyn Carrier>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Where to is known already; the address of the request is passed over.
    fn call(&mut self, _: http::Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.connect().await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_in_clear_to_this_machine_alone() {
        for here in ["127.0.0.1:8080", "[::1]:8080", "localhost:1", "http://127.0.0.1:8080"] {
            assert!(Dial::to(here, None).is_ok_and(|dial| dial.tls.is_none()), "{here}");
        }
        for there in ["10.0.0.7:8080", "collector.example:8080", "http://collector.example:8080"] {
            assert!(matches!(Dial::to(there, None), Err(DialError::Clear(_))), "{there}");
        }
        let there = Dial::to("https://collector.example:8080/", None).unwrap();
        assert!(there.tls.is_some() && there.address == "collector.example:8080");
        for wrong in ["", "host", "host:x", ":1", "https://host", "https://a b:1", "ftp://host:1"] {
            assert!(matches!(Dial::to(wrong, None), Err(DialError::Address(_))), "{wrong}");
        }
    }
}
