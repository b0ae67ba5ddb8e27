//! Connections that are made by hand: what TLS carries, and how many of one address are greeted at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls::pki_types::ServerName;
use seatbeat_proto::tls::{PinVerifier, client_config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::client::PATIENCE;
use super::{Collector, settings};
use crate::books::Books;
use crate::gateway::connection::{Connection, Peer};
use crate::gateway::limits::{ADDRESS_RATE, HANDSHAKES_OF_ADDRESS_MAX, Patience};
use crate::gateway::listener::{Listener, connections};
use crate::gateway::presence::Presence;
use crate::gateway::{serve_with, tls};

/// Long enough for the door to close a connection that it does not want.
const MOMENT: Duration = Duration::from_millis(300);

/// Whoever is put into a queue connects.
struct Arrivals(Mutex<mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>>);

impl Listener for Arrivals {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.lock().await.recv().await {
            Some(arrived) => Ok(arrived),
            None => std::future::pending().await,
        }
    }
}

/// A system that fails so many times; each try is noted.
struct Fails {
    error: Errno,
    tries: usize,
    tried_at: Arc<std::sync::Mutex<Vec<Instant>>>,
}

impl Listener for Fails {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        if self.tried_at.lock().unwrap().len() == self.tries {
            std::future::pending::<()>().await;
        }
        self.tried_at.lock().unwrap().push(Instant::now());
        Err(self.error.into())
    }
}

/// A door where a test says where a connection is from.
struct Street {
    arrivals: mpsc::UnboundedSender<(DuplexStream, SocketAddr)>,
    _open: oneshot::Sender<()>,
}

impl Street {
    fn with_a_door_of(books: &Books) -> Self {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        let (open, closed) = oneshot::channel::<()>();
        let settings = watch::Sender::new(settings(books, 5)).subscribe();
        let until = async move { drop(closed.await) };
        let listener = Arrivals(Mutex::new(arrived));
        let patience = Patience { handshake: PATIENCE * 2, ..Patience::default() };
        tokio::spawn(serve_with(listener, books.clone(), Presence::default(), settings, patience, until));
        Self { arrivals, _open: open }
    }

    fn arrive(&self, from: &str) -> DuplexStream {
        let (mine, theirs) = duplex(64 * 1024);
        self.arrivals.send((theirs, SocketAddr::new(from.parse().unwrap(), 40_000))).unwrap();
        mine
    }
}

/// Whether the door has closed a connection on which nothing was said.
async fn is_closed(stream: &mut DuplexStream) -> bool {
    timeout(MOMENT, stream.read(&mut [0])).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_says_nothing_is_greeted_so_many_times_at_once_and_keeps_out_nobody_else() {
    let collector = Collector::start().await;
    let street = Street::with_a_door_of(&collector.books);
    let mut silent: Vec<_> = (0..HANDSHAKES_OF_ADDRESS_MAX).map(|_| street.arrive("192.0.2.7")).collect();
    assert!(is_closed(&mut street.arrive("192.0.2.7")).await);
    assert!(!is_closed(&mut street.arrive("192.0.2.8")).await, "another address");
    assert!(!is_closed(silent.last_mut().unwrap()).await, "who was there before");
    let mut own: Vec<_> = (0..=HANDSHAKES_OF_ADDRESS_MAX).map(|_| street.arrive("127.0.0.1")).collect();
    assert!(!is_closed(own.last_mut().unwrap()).await, "this machine itself has no such limit");
    drop(silent.pop());
    sleep(MOMENT).await;
    assert!(!is_closed(&mut street.arrive("192.0.2.7")).await, "one has gone");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_comes_too_often_is_turned_away_before_a_handshake() {
    let collector = Collector::start().await;
    let street = Street::with_a_door_of(&collector.books);
    let mut answered = 0;
    loop {
        let mut stream = street.arrive("192.0.2.7");
        let _ = stream.write_all(b"not TLS").await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the door closes");
        if answer.is_empty() {
            break;
        }
        answered += 1;
        assert!(answered < 4 * ADDRESS_RATE.burst, "it is not turned away");
    }
    assert!(answered >= ADDRESS_RATE.burst, "{answered}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connection_writes_arrives_and_its_end_is_told_from_one_that_was_cut() {
    let collector = Collector::start().await;
    let (mine, theirs) = duplex(64 * 1024);
    let config = client_config(PinVerifier::new(vec![collector.pin]), None).unwrap();
    let name = ServerName::try_from("collector").unwrap();
    let acceptor = TlsAcceptor::from(tls::server_config(collector.books.keys()).unwrap());
    let connector = TlsConnector::from(Arc::new(config));
    let (client, stream) = tokio::join!(connector.connect(name, mine), acceptor.accept(theirs));
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let peer = Peer { address: [192, 0, 2, 7].into(), key: None };
    let books = collector.books.clone();
    let mut connection = Connection::new(stream.unwrap(), peer, books, PATIENCE, (place, None));
    connection.write_all(b"hello").await.unwrap();
    connection.shutdown().await.unwrap();
    drop(connection);
    let mut heard = Vec::new();
    client.unwrap().read_to_end(&mut heard).await.expect("an end that is said");
    assert_eq!(heard, b"hello");
    collector.stop().await;
}

/// How long a door rested between tries to accept, in milliseconds, and whether it told that nobody can connect half way
/// through and at the end of 40 seconds.
async fn rests(error: Errno) -> (Vec<u128>, [bool; 2]) {
    let (_folder, books, _end) = super::door::books();
    let tried_at = Arc::default();
    let listener = Fails { error, tries: 10, tried_at: Arc::clone(&tried_at) };
    let tls = tls::server_config(books.keys()).unwrap();
    let _connections = connections(listener, tls, books.clone(), Patience::default());
    let mut told = [false; 2];
    for told in &mut told {
        sleep(Duration::from_secs(20)).await;
        *told = books.alarms().stands("agent-door-full");
    }
    let tried_at = tried_at.lock().unwrap();
    (tried_at.windows(2).map(|two| (two[1] - two[0]).as_millis()).collect(), told)
}

#[tokio::test(start_paused = true)]
async fn a_door_without_descriptors_rests_longer_each_time_and_says_so_until_it_goes_on() {
    let expected = vec![50, 100, 200, 400, 800, 1600, 3200, 5000, 5000];
    assert_eq!(rests(Errno::MFILE).await, (expected, [true, false]));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_gone_before_it_is_accepted_keeps_nobody_waiting() {
    assert_eq!(rests(Errno::CONNABORTED).await, (vec![0; 9], [false, false]));
}
