//! The collector's books and its agent door. Invariant: its store outlives the process, and nothing else does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use prost::Message as _;
use seatbeat_collector::books::{Books, BooksEnd, BooksError};
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::found::found;
use seatbeat_collector::gateway::limits::Patience;
use seatbeat_collector::gateway::presence::Presence;
use seatbeat_collector::gateway::{self, Listener};
use seatbeat_collector::journal::{FileJournal, Journal, JournalError, Position};
use seatbeat_proto::ids::TokenId;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{CustomerAdded, Settings, TokenCreated, TokenText};
use seatbeat_proto::{instant, tls, token};
use tempfile::TempDir;
use tokio::sync::watch;
use turmoil::net::{TcpListener, TcpStream};

use crate::machine::now;

/// Its name on the network, and its port.
pub const NAME: &str = "collector";
const PORT: u16 = 8443;

/// How long an agent is quiet before it stands by: it has something to say each minute or two.
const QUIET: Duration = Duration::from_secs(20);

/// How long a file is waited for, in this world's own time.
const LET_GO: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_micros(50);

/// See the module's text.
#[derive(Clone)]
pub struct House(Arc<Inside>);

struct Inside {
    store: TempDir,
    keeps: Keeps,
    /// While it runs.
    books: Mutex<Option<Books>>,
    /// Of its last process.
    presence: Mutex<Presence>,
}

/// What its journal does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// It writes it down, then says so.
    AtOnce,
    /// It says so and writes it down with what comes next: what no journal may do.
    Later,
}

struct Simulated(TcpListener);

impl Listener for Simulated {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}

impl House {
    /// A collector that lets in `machines` machines, once each, and the token for them.
    pub fn founded(keeps: Keeps, machines: u32) -> (Self, String) {
        let store = tempfile::tempdir().unwrap();
        found(store.path(), &Config::default(), "zone = \"Europe/Berlin\"\n", Clock::as_of(now())).unwrap();
        let (books, presence) = (Mutex::default(), Mutex::default());
        let house = Self(Arc::new(Inside { store, keeps, books, presence }));
        let text =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
                let (books, end) = house.open_with(Keeps::AtOnce).unwrap();
                let text = token_for(&books, machines).await;
                drop(books);
                end.close().await.unwrap();
                text
            });
        (house, text)
    }

    fn store(&self) -> &Path {
        self.0.store.path()
    }

    fn open(&self) -> Result<(Books, BooksEnd), BooksError> {
        self.open_with(self.0.keeps)
    }

    fn open_with(&self, keeps: Keeps) -> Result<(Books, BooksEnd), BooksError> {
        Books::open_with(self.store(), Clock::as_of(now()), |journal| match keeps {
            Keeps::AtOnce => Box::new(journal),
            Keeps::Later => Box::new(Late { journal, owed: Vec::new() }),
        })
    }

    /// A process of it: opens the store and serves agents until it is killed.
    pub async fn live(self) -> turmoil::Result {
        let (books, _end) = when_free(|| self.open());
        *self.0.books.lock().unwrap() = Some(books.clone());
        let settings =
            Settings { revision: 1, beat_interval_s: 20, report_interval_s: 900, scan_interval_s: 60 };
        let settings = sign(books.keys().service(), Domain::Settings, settings.encode_to_vec());
        let settings = watch::Sender::new(settings);
        let listener = Simulated(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?);
        let told = settings.subscribe();
        let presence = Presence::default();
        *self.0.presence.lock().unwrap() = presence.clone();
        let patience = Patience { quiet: QUIET, ..Patience::default() };
        Ok(gateway::serve_with(listener, books, presence, told, patience, std::future::pending()).await?)
    }

    /// How many of its machines stand by.
    pub fn standing_by(&self) -> usize {
        self.0.presence.lock().unwrap().standing_by_count()
    }

    /// Waits until what was handed to the journal's thread is done with: virtual time would run away from it.
    pub fn settle(&self) {
        let books = self.0.books.lock().unwrap();
        while books.as_ref().is_some_and(|books| books.waiting_bytes() > 0) {
            thread::sleep(LOOK);
        }
    }

    /// It was killed: what it kept. Nobody may have it open any more.
    pub fn left_behind(&self) -> FileJournal {
        *self.0.books.lock().unwrap() = None;
        when_free(|| FileJournal::open(&self.store().join("journal")))
    }
}

/// Opens something that the threads of a killed process may still hold: a real one leaves none.
fn when_free<T, E: std::fmt::Debug>(open: impl Fn() -> Result<T, E>) -> T {
    let mut looks = LET_GO.as_micros() / LOOK.as_micros();
    loop {
        match open() {
            Ok(opened) => return opened,
            Err(held) if looks == 0 => panic!("what a killed process held cannot be opened: {held:?}"),
            Err(_) => thread::sleep(LOOK),
        }
        looks -= 1;
    }
}

async fn token_for(books: &Books, machines: u32) -> String {
    let customer = "cus_acme".to_owned();
    let (token, secret) = (TokenId::random(), vec![7; token::SECRET_LENGTH]);
    let added = Fact::CustomerAdded(CustomerAdded { customer: customer.clone() });
    let expires_at_ms = instant::to_ms(now()) + 90 * 24 * 3_600_000;
    let created = Fact::TokenCreated(TokenCreated {
        token: token.to_string(),
        customer,
        secret_hash: hash(&secret).to_vec(),
        uses_max: machines,
        expires_at_ms,
        ..TokenCreated::default()
    });
    books.write_all("opr_test", "", vec![added, created]).await.unwrap();
    let keys = books.keys();
    token::format(&TokenText {
        token: token.to_string(),
        secret,
        addresses: vec![format!("{NAME}:{PORT}")],
        pin: tls::pin(keys.tls_certificate()).unwrap().to_vec(),
        salt: keys.salt().to_vec(),
        service_key: keys.service().verifying_key().to_bytes().to_vec(),
        order_keys: Vec::new(),
        expires_at_ms,
        ..TokenText::default()
    })
}

/// See [`Keeps::Later`].
struct Late {
    journal: FileJournal,
    owed: Vec<Vec<u8>>,
}

impl Journal for Late {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        let owed = std::mem::replace(&mut self.owed, batch.to_vec());
        self.journal.append(&owed)?;
        Ok(self.journal.size())
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        self.journal.read_from(from, limit)
    }

    fn size(&self) -> Position {
        self.journal.size().plus(self.owed.len() as u64)
    }
}
