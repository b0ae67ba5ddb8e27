//! The way out of this machine's network: straight, or through a proxy (HTTP CONNECT, RFC 9110 section 9.3.6). Invariant: a
//! proxy hears the collector's address and its own login, and carries the rest unread: TLS is between the ends.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::{Bytes, Opening, Road, Tcp};
use crate::plain::{chain, plain};
use crate::proxy::{self, Found, Proxy, ProxyError, Wanted, Way};

/// Longest wait for a proxy, where a straight way is tried after it: less than a connection may take.
const PROXY_MAX: Duration = Duration::from_secs(6);

/// Bytes of a proxy's answer before what it carries: some lines.
const HEAD_LENGTH_MAX: usize = 8 * 1024;

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub struct Out {
    wanted: Wanted,
}

/// A proxy that does not connect further.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    /// It is not there.
    #[error("the proxy `{proxy}` is not reached")]
    Unreached {
        /// Where it should be.
        proxy: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("the proxy `{proxy}` does not connect to the collector: {said}")]
    Refused {
        /// Where it is.
        proxy: String,
        /// Its number for it (407: a login).
        status: u16,
        /// In its words.
        said: String,
    },
    /// It speaks something else.
    #[error("what answers at `{0}` is no proxy")]
    Foreign(String),
    /// What the system says is none.
    #[error("the system's proxy is not understood")]
    System(#[source] ProxyError),
    /// Neither way.
    #[error("{proxied}; nor straight: {straight}")]
    Neither {
        /// Why not through the proxy.
        proxied: String,
        /// Why not without.
        straight: String,
    },
}

impl OutError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused { status: 407, .. } => {
                "the proxy wants a login: `proxy = \"http://name:password@host:port\"` in agent.toml (Basic), or let the collector's address through without one"
            }
            Self::Refused { .. } => {
                "let the proxy connect (CONNECT) to the collector's address and port, or set `proxy = \"none\"` in agent.toml"
            }
            Self::Unreached { .. } | Self::Foreign(_) | Self::System(_) | Self::Neither { .. } => {
                "check the proxy (`proxy` in agent.toml, HTTPS_PROXY, on Windows `netsh winhttp show proxy`), and that the firewall lets the collector's port out"
            }
        }
    }
}

impl Out {
    /// As an administrator wants it.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted }
    }

    async fn connect(&self, address: &str) -> io::Result<Box<dyn Bytes>> {
        let found = if self.wanted == Wanted::AsFound { found() } else { None };
        let system = |error| io::Error::other(OutError::System(error));
        let ways = proxy::ways(&self.wanted, found.as_ref(), address).map_err(system)?;
        let (mut failed, alone) = (None::<OutError>, ways.len() == 1);
        for way in ways {
            match way {
                Way::Through(proxy) if alone => {
                    return through(&proxy, address).await.map_err(io::Error::other);
                }
                Way::Through(proxy) => {
                    let late = || OutError::Unreached {
                        proxy: proxy.address(),
                        source: io::ErrorKind::TimedOut.into(),
                    };
                    let tried = tokio::time::timeout(PROXY_MAX, through(&proxy, address)).await;
                    match tried.unwrap_or_else(|_| Err(late())) {
                        Ok(bytes) => return Ok(bytes),
                        Err(error) => failed = Some(error),
                    }
                }
                Way::Straight => {
                    return Tcp.open(address).await.map_err(|straight| match failed.take() {
                        None => straight,
                        // The proxy's own word says more than that a closed network is closed.
                        Some(no @ OutError::Refused { .. }) => io::Error::other(no),
                        Some(proxied) => io::Error::other(OutError::Neither {
                            proxied: chain(&proxied),
                            straight: chain(&straight),
                        }),
                    });
                }
            }
        }
        Err(io::ErrorKind::NotConnected.into())
    }
}

impl Road for Out {
    fn open<'a>(&'a self, address: &'a str) -> Opening<'a> {
        Box::pin(self.connect(address))
    }
}

/// What the system says now: the process's own environment, else Windows' settings.
fn found() -> Option<Found> {
    let own = proxy::of_environment(|name| std::env::var(name).ok());
    #[cfg(windows)]
    let own = own.or_else(crate::windows::proxy::found);
    own
}

async fn through(proxy: &Proxy, address: &str) -> Result<Box<dyn Bytes>, OutError> {
    let unreached = |source| OutError::Unreached { proxy: proxy.address(), source };
    let mut stream = TcpStream::connect(proxy.address()).await.map_err(unreached)?;
    stream.set_nodelay(true).map_err(unreached)?;
    stream.write_all(request(proxy, address).as_bytes()).await.map_err(unreached)?;
    let head = head(&mut stream).await.map_err(unreached)?;
    match head.as_deref().and_then(status) {
        None => Err(OutError::Foreign(proxy.address())),
        Some((200..=299, _)) => Ok(Box::new(stream)),
        Some((status, said)) => Err(OutError::Refused { proxy: proxy.address(), status, said }),
    }
}

fn request(proxy: &Proxy, address: &str) -> Zeroizing<String> {
    let login = proxy.login().map(|login| Zeroizing::new(STANDARD.encode(login)));
    let login = login.map_or_else(Zeroizing::default, |login| {
        Zeroizing::new(format!("Proxy-Authorization: Basic {}\r\n", login.as_str()))
    });
    Zeroizing::new(format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{}\r\n", login.as_str()))
}

/// All up to the empty line, and not a byte of what is carried after it; `None`: it is too long, or cut.
async fn head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if bytes.len() >= HEAD_LENGTH_MAX || stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        bytes.extend(byte);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Number and words of `HTTP/1.1 403 Forbidden`.
fn status(head: &str) -> Option<(u16, String)> {
    let line = head.lines().next()?.strip_prefix("HTTP/1.")?;
    let (_, said) = line.split_once(' ')?;
    let number = said.get(..3)?.parse().ok()?;
    Some((number, plain(said)))
}

#[cfg(test)]
mod tests;
