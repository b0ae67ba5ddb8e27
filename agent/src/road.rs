//! How bytes get to a collector. Invariant: a road carries and knows nothing; who is at its end, TLS finds out.

pub mod out;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes to and from somebody.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection that is being opened.
pub type Opening<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Bytes>>> + Send + 'a>>;

/// Opens connections.
pub trait Road: fmt::Debug + Send + Sync {
    /// To `host:port`; names are looked up on the way.
    fn open<'a>(&'a self, address: &'a str) -> Opening<'a>;
}

/// Straight over TCP.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

impl Road for Tcp {
    fn open<'a>(&'a self, address: &'a str) -> Opening<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Bytes>)
        })
    }
}
