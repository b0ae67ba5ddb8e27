//! One connection and what it counts against. Invariant: whoever is on the other side is known by the key that it
//! has proven to hold, and one key never holds more than a few connections.

use std::collections::HashMap;
use std::future::Future as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use seatbeat_proto::ids::MachineId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::limits::CONNECTIONS_OF_MACHINE_MAX;
use crate::books::Books;

/// Who is on the other side of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Where it comes from.
    pub address: IpAddr,
    /// The key it has proven to hold.
    pub key: Option<[u8; 32]>,
}

/// A TLS connection. That of a stranger ends after a while.
pub struct Connection<S> {
    /// Boxed: whoever serves a connection moves it, and keeps room for it wherever it has been.
    stream: Box<TlsStream<S>>,
    peer: Peer,
    /// When it is looked at whether this is a machine that was let in.
    until: Option<Pin<Box<Sleep>>>,
    books: Books,
    /// Given back with the connection.
    _places: (OwnedSemaphorePermit, Option<MachinePlace>),
}

impl<S> Connection<S> {
    /// A connection whose handshake is done, with the places it takes.
    pub fn new(
        stream: TlsStream<S>,
        peer: Peer,
        books: Books,
        stranger_time: Duration,
        places: (OwnedSemaphorePermit, Option<MachinePlace>),
    ) -> Self {
        Self {
            stream: Box::new(stream),
            peer,
            until: Some(Box::pin(sleep(stranger_time))),
            books,
            _places: places,
        }
    }

    /// Who is on the other side.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn is_stranger(&self) -> bool {
        let Some(key) = self.peer.key else { return true };
        let machine = MachineId::derived_from(&key);
        self.books.read(|fold| fold.registry().machine(&machine).is_none_or(|machine| machine.banned))
    }

    /// Pending while the connection may stay.
    fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = &mut self.until {
            ready!(until.as_mut().poll(context));
            self.until = None;
            if self.is_stranger() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_time(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "a stranger stayed too long")));
        }
        Pin::new(&mut *self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}

/// How many connections each key has; a key without any takes no room.
#[derive(Default)]
pub struct MachinePlaces(Mutex<HashMap<[u8; 32], usize>>);

/// The place of one connection among those of its key.
pub struct MachinePlace {
    places: Arc<MachinePlaces>,
    key: [u8; 32],
}

impl MachinePlaces {
    /// One more connection of the key, unless it has all it may have.
    pub fn enter(self: &Arc<Self>, key: [u8; 32]) -> Option<MachinePlace> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = places.entry(key).or_default();
        if *count >= CONNECTIONS_OF_MACHINE_MAX {
            return None;
        }
        *count += 1;
        drop(places);
        Some(MachinePlace { places: Arc::clone(self), key })
    }
}

impl Drop for MachinePlace {
    fn drop(&mut self) {
        let mut places = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = places.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_has_a_few_connections_and_leaves_nothing_behind() {
        let places = Arc::new(MachinePlaces::default());
        let mut mine: Vec<_> =
            (0..CONNECTIONS_OF_MACHINE_MAX).map(|_| places.enter([1; 32]).unwrap()).collect();
        assert!(places.enter([1; 32]).is_none());
        assert!(places.enter([2; 32]).is_some(), "another key is not in its way");
        mine.pop();
        mine.push(places.enter([1; 32]).unwrap());
        drop(mine);
        assert!(places.0.lock().unwrap().is_empty());
    }
}
