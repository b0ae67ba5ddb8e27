//! `seatbeat pass`: carries agents of a site without a way out to a collector. Invariant: bytes are passed on as they
//! come; TLS is end to end, so that nothing here can read or forge them, and nobody leads it elsewhere than it was told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

use crate::cli::Context;
use crate::hints::Hinted;
use crate::{init, out, serve};

/// How long somebody may take to begin a TLS handshake, and the collector to take a connection: both are there, or not.
const BEGIN_WAIT: Duration = Duration::from_secs(10);

/// Bytes that are taken at once in each direction: a report and its frame.
const BUFFER_LENGTH: usize = 16 * 1024;

/// Pause after the system gave no connection, as where files are used up.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How often it is told what was turned away.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// First bytes of a TLS handshake: its kind, and the major version.
const HANDSHAKE: [u8; 2] = [0x16, 0x03];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The collector that it carries to
    #[arg(long, value_name = "HOST:PORT", value_parser = init::address)]
    to: String,
    /// Where agents of the site come to
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Most connections at once; each takes two files of this process
    #[arg(long, value_name = "NUMBER", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Most connections at once of one address
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    of_address: u32,
    /// Seconds without a byte in either direction after which a connection ends; agents are heard of each minute
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..))]
    idle: u64,
}

/// What is allowed here.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: u32,
    of_address: u32,
    begin: Duration,
    idle: Duration,
}

/// Runs the verb until the process is told to end.
///
/// # Errors
/// When it cannot listen there.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    serve::log(serve::LogFormat::Text);
    let idle = Duration::from_secs(args.idle);
    let limits =
        Limits { connections: args.connections, of_address: args.of_address, begin: BEGIN_WAIT, idle };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let end = serve::told_to_end()?;
        let listener = TcpListener::bind(args.listen).await.map_err(|error| Hinted {
            message: format!("failed to listen at {}: {error}", args.listen),
            hint: "name another place with --listen ADDRESS:PORT".to_owned(),
        })?;
        let listens = listener.local_addr().context("failed to read the address that it listens at")?;
        let ready = serde_json::json!({ "agents": listens.to_string(), "to": args.to });
        match context.out {
            out::Out::Json => out::data(&ready.to_string())?,
            out::Out::Text => {
                out::data(&out::fields(&[("agents", listens.to_string()), ("to", args.to.clone())]))?
            }
        }
        tokio::select! {
            () = pass(listener, args.to.clone().into(), limits) => {}
            () = end => {}
        }
        anyhow::Ok(())
    })
}

/// Takes whoever comes, within the limits.
async fn pass(listener: TcpListener, to: Arc<str>, limits: Limits) {
    let room = Arc::new(Semaphore::new(limits.connections as usize));
    let (addresses, turned_away) = (Arc::new(Addresses::default()), Arc::new(AtomicU64::new(0)));
    let mut tell = tokio::time::interval(TELL_EVERY);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = tell.tick() => {
                match turned_away.swap(0, Ordering::Relaxed) {
                    0 => {}
                    connections => tracing::warn!(connections, "connections were turned away"),
                }
                continue;
            }
        };
        let (agent, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = room.clone().try_acquire_owned().ok();
        let taken = place.zip(Addresses::take(&addresses, from.ip(), limits.of_address));
        let Some(held) = taken else {
            turned_away.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (to, turned_away) = (to.clone(), turned_away.clone());
        tokio::spawn(async move {
            if let Err(error) = carry(agent, &to, limits).await {
                turned_away
                    .fetch_add(u64::from(error.kind() == io::ErrorKind::InvalidData), Ordering::Relaxed);
                tracing::debug!(%error, "a connection ended");
            }
            drop(held);
        });
    }
}

/// One agent's connection, to its end.
async fn carry(mut agent: TcpStream, to: &str, limits: Limits) -> io::Result<()> {
    let mut first = HANDSHAKE;
    in_time(limits.begin, agent.read_exact(&mut first)).await?;
    if first != HANDSHAKE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not begin with a TLS handshake"));
    }
    let mut collector = in_time(limits.begin, TcpStream::connect(to)).await?;
    agent.set_nodelay(true)?;
    collector.set_nodelay(true)?;
    collector.write_all(&first).await?;
    let moved = Notify::new();
    let (from_agent, to_agent) = agent.split();
    let (from_collector, to_collector) = collector.split();
    let both = async {
        tokio::try_join!(one_way(from_agent, to_collector, &moved), one_way(from_collector, to_agent, &moved))
    };
    tokio::select! {
        done = both => done.map(|_| ()),
        () = silence(&moved, limits.idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Until the one end says that nothing more comes, which the other is told.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_LENGTH];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        moved.notify_one();
    }
}

/// Ends when nothing has moved for so long.
async fn silence(moved: &Notify, idle: Duration) {
    while tokio::time::timeout(idle, moved.notified()).await.is_ok() {}
}

async fn in_time<T>(wait: Duration, act: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(wait, act).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// How many connections each address has. Only addresses that have one are in it, so it is no larger than they are many.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<IpAddr, u32>>);

/// One of an address's connections, until it is dropped.
#[derive(Debug)]
struct Held {
    of: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// One more; `None`: it has as many as it may.
    fn take(of: &Arc<Self>, address: IpAddr, most: u32) -> Option<Held> {
        let address = address.to_canonical();
        let mut counts = of.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Held { of: of.clone(), address })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = counts.entry(self.address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 8,
        of_address: 8,
        begin: Duration::from_millis(300),
        idle: Duration::from_millis(300),
    };

    /// A passage to a collector that answers `<` to whatever comes, byte by byte, until it is told that no more comes.
    async fn passage(limits: Limits) -> SocketAddr {
        let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = collector.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = collector.accept().await {
                tokio::spawn(async move {
                    while let Ok(_byte) = stream.read_u8().await {
                        stream.write_all(b"<").await.unwrap();
                    }
                });
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(pass(listener, to.into(), limits));
        address
    }

    async fn answer(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
        stream.write_all(bytes).await.unwrap();
        let mut answer = vec![0; bytes.len()];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await;
        match read.expect("it answers or ends") {
            Ok(_) => answer,
            Err(_) => Vec::new(),
        }
    }

    #[tokio::test]
    async fn bytes_of_a_handshake_are_carried_both_ways_and_an_end_is_passed_on() {
        let mut agent = TcpStream::connect(passage(LIMITS).await).await.unwrap();
        assert_eq!(answer(&mut agent, &[0x16, 3, 1, 0, 5]).await, b"<<<<<");
        agent.shutdown().await.unwrap();
        assert_eq!(agent.read(&mut [0]).await.unwrap(), 0, "the collector heard of it, and ended");
    }

    #[tokio::test]
    async fn what_is_no_tls_goes_nowhere() {
        let mut other = TcpStream::connect(passage(LIMITS).await).await.unwrap();
        assert_eq!(answer(&mut other, b"GET / HTTP/1.1\r\n").await, b"");
    }

    #[tokio::test]
    async fn who_says_nothing_is_let_go_at_the_door_and_later() {
        let address = passage(LIMITS).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        let mut fell_silent = TcpStream::connect(address).await.unwrap();
        assert_eq!(answer(&mut fell_silent, &[0x16, 3]).await, b"<<");
        assert_eq!(fell_silent.read(&mut [0]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn no_more_are_let_in_than_there_is_room_for_and_who_leaves_makes_room() {
        for limits in [Limits { connections: 1, ..LIMITS }, Limits { of_address: 1, ..LIMITS }] {
            let idle = Duration::from_secs(60);
            let address = passage(Limits { idle, ..limits }).await;
            let mut first = TcpStream::connect(address).await.unwrap();
            assert_eq!(answer(&mut first, &[0x16, 3]).await, b"<<");
            let mut second = TcpStream::connect(address).await.unwrap();
            assert_eq!(answer(&mut second, &[0x16, 3]).await, b"", "{limits:?}");
            drop(first);
            let mut tries = 0;
            loop {
                let mut third = TcpStream::connect(address).await.unwrap();
                if answer(&mut third, &[0x16, 3]).await == b"<<" {
                    break;
                }
                tries += 1;
                assert!(tries < 100, "there is room again");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let addresses = Arc::new(Addresses::default());
        let one = Addresses::take(&addresses, "192.0.2.1".parse().unwrap(), 2).unwrap();
        let two = Addresses::take(&addresses, "::ffff:192.0.2.1".parse().unwrap(), 2).unwrap();
        assert!(Addresses::take(&addresses, "192.0.2.1".parse().unwrap(), 2).is_none());
        drop((one, two));
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
