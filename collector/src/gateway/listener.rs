//! Takes connections in: a handshake, then a place at the door. Invariant: a stranger costs a bounded number of
//! descriptors, handshakes and seconds, and what is not TLS is closed without a word.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{Connection, MachinePlaces, Peer};
use super::limits::{
    ADDRESS_RATE, ADDRESSES_MAX, Buckets, CONNECTIONS_MAX, DESCRIPTORS_KEPT, HANDSHAKES_MAX,
    HANDSHAKES_OF_ADDRESS_MAX, Patience, address_key, is_own,
};
use super::tls::{peer_key, stands_by};
use crate::books::Books;

/// Connections that wait to be served; the handshakes behind them wait, too.
const ACCEPTED_QUEUE: usize = 64;

/// How long accepting rests when the process or the machine has no descriptors left: doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Alarm of a door that takes nobody in.
const FULL: &str = "agent-door-full";

/// Where connections come in.
pub trait Listener: Send + 'static {
    /// Bytes to and from whoever connected.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and where it is from.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = Self::accept(self).await?;
        // Without it a beat waits for the answer to the one before; a socket that refuses is served all the same.
        let _ = stream.set_nodelay(true);
        Ok((stream, from))
    }
}

/// Connections for gRPC.
pub type Streaming<S> = ReceiverStream<Result<Connection<S>, Infallible>>;

/// Accepts until the first of what this returns is dropped; the second is of those who stand by.
pub fn connections<L: Listener + Sync>(
    listener: L,
    tls: Arc<ServerConfig>,
    books: Books,
    patience: Patience,
) -> (Streaming<L::Stream>, mpsc::Receiver<Connection<L::Stream>>) {
    let (accepted, connections) = mpsc::channel(ACCEPTED_QUEUE);
    let (quiet, standing_by) = mpsc::channel(ACCEPTED_QUEUE);
    let porter = Arc::new(Porter {
        tls: TlsAcceptor::from(tls),
        books,
        patience,
        accepted,
        quiet,
        handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        places: Arc::new(Semaphore::new(connections_max())),
        machines: Arc::default(),
        turned_away: AtomicU64::new(0),
        opened: Instant::now(),
    });
    tokio::spawn(porter.stand(listener));
    (ReceiverStream::new(connections), standing_by)
}

/// As many as this process may have descriptors for.
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    descriptors.saturating_sub(DESCRIPTORS_KEPT).clamp(1, CONNECTIONS_MAX)
}

struct Porter<S> {
    tls: TlsAcceptor,
    books: Books,
    patience: Patience,
    accepted: mpsc::Sender<Result<Connection<S>, Infallible>>,
    quiet: mpsc::Sender<Connection<S>>,
    handshakes: Arc<Semaphore>,
    places: Arc<Semaphore>,
    machines: Arc<MachinePlaces>,
    turned_away: AtomicU64,
    opened: Instant,
}

/// Who came lately and who is being greeted.
struct Visitors {
    rates: Buckets<IpAddr>,
    /// Handshakes under way, each of which ends with the key of its address.
    handshakes: JoinSet<IpAddr>,
    by_address: HashMap<IpAddr, usize>,
}

impl Visitors {
    fn welcomes(&mut self, address: IpAddr, now: Duration) -> bool {
        let key = address_key(address);
        let greeted = self.by_address.get(&key).copied().unwrap_or_default();
        is_own(address) || (greeted < HANDSHAKES_OF_ADDRESS_MAX && self.rates.take(key, now))
    }

    fn greet(&mut self, address: IpAddr, handshake: impl Future<Output = ()> + Send + 'static) {
        *self.by_address.entry(address).or_default() += 1;
        self.handshakes.spawn(async move {
            handshake.await;
            address
        });
    }

    fn forget_greeted(&mut self) {
        while let Some(ended) = self.handshakes.try_join_next() {
            let Ok(address) = ended else { continue };
            if let Some(count) = self.by_address.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    self.by_address.remove(&address);
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Porter<S> {
    async fn stand(self: Arc<Self>, listener: impl Listener<Stream = S> + Sync) {
        let mut visitors = Visitors {
            rates: Buckets::new(ADDRESS_RATE, ADDRESSES_MAX),
            handshakes: JoinSet::new(),
            by_address: HashMap::new(),
        };
        let mut pause = PAUSE_MIN;
        loop {
            let accepted = tokio::select! {
                () = self.accepted.closed() => return,
                accepted = self.accept(&listener) => accepted,
                // Accepting waits and does not fail: there is room, and whoever came in vain has gone.
                () = sleep(PAUSE_MAX), if pause > PAUSE_MIN => {
                    pause = PAUSE_MIN;
                    self.books.alarms().clear(FULL);
                    continue;
                }
            };
            visitors.forget_greeted();
            match accepted {
                Ok((stream, from, turn)) => {
                    pause = PAUSE_MIN;
                    if let Some(place) = self.admit(from, &mut visitors) {
                        let greeting = Arc::clone(&self).greet(stream, from, place, turn);
                        visitors.greet(address_key(from.ip()), greeting);
                    }
                }
                Err(error) if exhausted(&error) => {
                    let words = format!("no agent can connect: {error}");
                    self.books.alarms().raise(FULL, words);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => tracing::debug!(%error, "a connection was gone before it was accepted"),
            }
        }
    }

    /// One connection, once there is a turn for its handshake.
    async fn accept(
        &self,
        listener: &impl Listener<Stream = S>,
    ) -> io::Result<(S, SocketAddr, OwnedSemaphorePermit)> {
        let turn = Arc::clone(&self.handshakes).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, address) = listener.accept().await?;
        Ok((stream, address, turn))
    }

    fn admit(&self, from: SocketAddr, visitors: &mut Visitors) -> Option<OwnedSemaphorePermit> {
        if !visitors.welcomes(from.ip(), self.opened.elapsed()) {
            self.turn_away(from, "too many connections from one address");
            return None;
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                self.books.alarms().clear(FULL);
                Some(place)
            }
            Err(_) => {
                self.books
                    .alarms()
                    .raise(FULL, "the agent door has as many connections as it may".to_owned());
                self.turn_away(from, "the door is full");
                None
            }
        }
    }

    async fn greet(
        self: Arc<Self>,
        stream: S,
        from: SocketAddr,
        place: OwnedSemaphorePermit,
        turn: OwnedSemaphorePermit,
    ) {
        let stream = match timeout(self.patience.handshake, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.turn_away(from, error),
            Err(_) => return self.turn_away(from, "no handshake in time"),
        };
        let peer = Peer { address: from.ip(), key: peer_key(stream.get_ref().1) };
        let machine_place = match peer.key.map(|key| self.machines.enter(key)) {
            None => None,
            Some(Some(place)) => Some(place),
            Some(None) => return self.turn_away(from, "too many connections of one machine"),
        };
        let stands_by = stands_by(stream.get_ref().1);
        let connection =
            Connection::new(stream, peer, self.books.clone(), self.patience.stranger, (place, machine_place));
        // An error means that the door has closed.
        let _ = match stands_by {
            false => self.accepted.send(Ok(connection)).await.map_err(drop),
            true => self.quiet.send(connection).await.map_err(drop),
        };
        drop(turn);
    }

    fn turn_away(&self, from: SocketAddr, why: impl std::fmt::Display) {
        let count = self.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(address = %from, %why, count, "a connection was turned away");
    }
}

/// Whether accepting cannot go on for now: descriptors or memory are used up.
fn exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_rests_only_when_something_is_used_up() {
        use rustix::io::Errno;
        let check = |errno: Errno, expected: bool| assert_eq!(exhausted(&errno.into()), expected, "{errno}");
        check(Errno::MFILE, true);
        check(Errno::NFILE, true);
        check(Errno::NOBUFS, true);
        check(Errno::CONNABORTED, false);
        check(Errno::PERM, false);
        assert!(!exhausted(&io::Error::other("no number")));
    }

    #[test]
    fn there_is_always_a_place_and_never_too_many() {
        assert!((1..=CONNECTIONS_MAX).contains(&connections_max()));
    }
}
