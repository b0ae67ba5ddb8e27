//! The door as an agent finds it: real books in a temporary folder, real TLS on loopback. Invariant: a test speaks
//! to the door over the wire and looks at the books behind it, at nothing between.

mod client;
mod connections;
mod door;
mod enrolment;
mod evidence;
mod host_names;
mod links;
mod orders;
mod refusals;
mod standby;
mod strangers;
mod witness;

use std::net::SocketAddr;
use std::time::Duration;

use prost::Message as _;
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::ids::{MachineId, TokenId};
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::tls::pin;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{
    CustomerAdded, JournalRecord, MachineBanned, Settings, Signed, TokenCreated, TokenRevoked,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::limits::Patience;
use super::presence::Presence;
use super::{GatewayError, serve_with};
use crate::books::{Books, BooksEnd};
use crate::clock::Clock;
use crate::config::Config;
use crate::found::found;
use crate::journal::Position;

use client::Agent;

const POLICY: &str = "zone = \"Europe/Berlin\"\n";
const CUSTOMER: &str = "cus_acme";

/// What an installer is given.
#[derive(Clone)]
struct Token {
    id: TokenId,
    secret: Vec<u8>,
}

/// A collector with nothing but its agent door.
struct Collector {
    folder: TempDir,
    address: SocketAddr,
    pin: [u8; 32],
    books: Books,
    presence: Presence,
    settings: watch::Sender<Signed>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), GatewayError>>,
    end: BooksEnd,
}

impl Collector {
    async fn start() -> Self {
        Self::start_with(Patience::default()).await
    }

    async fn start_with(patience: Patience) -> Self {
        let folder = tempfile::tempdir().unwrap();
        found(folder.path(), &Config::default(), POLICY, Clock::real()).unwrap();
        let collector = Self::open(folder, patience).await;
        collector.write(Fact::CustomerAdded(CustomerAdded { customer: CUSTOMER.into() })).await;
        collector
    }

    async fn open(folder: TempDir, patience: Patience) -> Self {
        let (books, end) = Books::open(folder.path(), Clock::real()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let presence = Presence::default();
        let settings = watch::Sender::new(settings(&books, 5));
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async move { drop(stopped.await) };
        let settings_seen = settings.subscribe();
        let door = serve_with(listener, books.clone(), presence.clone(), settings_seen, patience, until);
        let serving = tokio::spawn(door);
        let pin = pin(books.keys().tls_certificate()).unwrap();
        Self { folder, address, pin, books, presence, settings, stop, serving, end }
    }

    async fn stop(self) -> TempDir {
        let _ = self.stop.send(());
        self.serving.await.unwrap().unwrap();
        drop(self.books);
        self.end.close().await.unwrap();
        self.folder
    }

    async fn restart(self) -> Self {
        Self::open(self.stop().await, Patience::default()).await
    }

    async fn write(&self, fact: Fact) -> Position {
        self.books.write("opr_test", "a test", fact).await.unwrap()
    }

    async fn token(&self, uses_max: u32) -> Token {
        self.token_with(TokenCreated { uses_max, ..TokenCreated::default() }).await
    }

    /// A token as `fact` says, with what it leaves out filled in.
    async fn token_with(&self, fact: TokenCreated) -> Token {
        let token = Token { id: TokenId::random(), secret: vec![7; 16] };
        let expires_at_ms = match fact.expires_at_ms {
            0 => self.books.clock().now_ms() + 3_600_000,
            set => set,
        };
        self.write(Fact::TokenCreated(TokenCreated {
            token: token.id.to_string(),
            customer: CUSTOMER.into(),
            secret_hash: hash(&token.secret).to_vec(),
            expires_at_ms,
            ..fact
        }))
        .await;
        token
    }

    async fn revoke(&self, token: &Token) {
        self.write(Fact::TokenRevoked(TokenRevoked { token: token.id.to_string() })).await;
    }

    async fn ban(&self, machine: &MachineId) {
        self.write(Fact::MachineBanned(MachineBanned { machine: machine.to_string(), banned: true })).await;
    }

    /// A machine that was let in.
    async fn agent(&self) -> Agent {
        let agent = Agent::new();
        agent.enrol(self, &self.token(1).await).await.unwrap();
        agent
    }

    fn position(&self) -> u64 {
        self.books.read(Fold::position)
    }

    /// The facts from a position on.
    fn facts(&self, from: u64) -> Vec<Fact> {
        let records = self.books.records(Position(from), 10_000).unwrap();
        records
            .iter()
            .map(|(_, record)| JournalRecord::decode(record.as_slice()).unwrap().fact.unwrap())
            .collect()
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(client::PATIENCE, waiting).await.expect("it comes true in time");
}

fn settings(books: &Books, revision: u64) -> Signed {
    let settings = Settings { revision, beat_interval_s: 60, ..Settings::default() };
    sign(books.keys().service(), Domain::Settings, settings.encode_to_vec())
}
