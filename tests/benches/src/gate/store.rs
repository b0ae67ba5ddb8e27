//! A store in which thousands of machines are enrolled, made once and copied for each server. Invariant: what is in it
//! came through the collector's own books; only the enrolments' way over the network is left out.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::SignedDuration;
use seatbeat_collector::books::Books;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::found::found;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{CustomerAdded, EnrolmentRequested, TokenCreated, TokenText};
use seatbeat_proto::{instant, tls, token};

use super::load;

const CUSTOMER: &str = "cus_bench";
const TOKEN: &str = "tok_bench";
const SECRET: [u8; 16] = [7; 16];
const TOKEN_DAYS: i64 = 30;

/// Enrolments written at once: a group commit.
const BATCH: usize = 512;

/// A store that servers get copies of.
pub struct Prepared {
    folder: tempfile::TempDir,
    /// The enrolment token of its one customer.
    pub token: String,
}

impl Prepared {
    /// Founds a store and enrols the machines `0..machines` in it.
    pub fn new(machines: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let token = runtime.block_on(filled(&folder.path().join("store"), machines))?;
        Ok(Self { folder, token })
    }

    /// A copy of it, with a door of its own.
    pub fn copy(&self, name: &str) -> anyhow::Result<PathBuf> {
        let to = self.folder.path().join(name.replace([' ', ','], "-"));
        copy(&self.folder.path().join("store"), &to)?;
        configure(&to, None)?;
        Ok(to)
    }

    /// A place beside it where nothing is yet.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Gives a store doors of its own, and its journal to a database where one is named.
pub fn configure(store: &Path, journal: Option<&str>) -> anyhow::Result<()> {
    let (agents, operators) = (free_address()?, free_address()?);
    let mut config = format!("agent_listen = \"{agents}\"\noperator_listen = \"{operators}\"\n");
    config.extend(journal.map(|journal| format!("journal = \"{journal}\"\n")));
    Ok(std::fs::write(store.join(Config::FILE), config)?)
}

async fn filled(store: &Path, machines: usize) -> anyhow::Result<String> {
    let clock = Clock::real();
    found(store, &Config::default(), "zone = \"UTC\"\npresume_days = 7\n", clock)?;
    let (books, end) = Books::open(store, clock)?;
    let now = clock.now();
    let expires_at_ms = instant::to_ms(now.checked_add(SignedDuration::from_hours(TOKEN_DAYS * 24))?);
    let first = vec![
        Fact::CustomerAdded(CustomerAdded { customer: CUSTOMER.into() }),
        Fact::TokenCreated(TokenCreated {
            token: TOKEN.into(),
            customer: CUSTOMER.into(),
            secret_hash: hash(&SECRET).to_vec(),
            uses_max: u32::MAX,
            expires_at_ms,
            uses_per_hour: 0,
        }),
    ];
    books.write_all("collector", "bench", first).await?;
    for from in (0..machines).step_by(BATCH) {
        let claim = |number| {
            let machine = load::machine(number, now)?;
            let claim = Some(machine.claim(TOKEN, now));
            anyhow::Ok(Fact::EnrolmentRequested(EnrolmentRequested { claim }))
        };
        let facts = (from..machines.min(from + BATCH)).map(claim).collect::<anyhow::Result<Vec<_>>>()?;
        books.write_all("collector", "bench", facts).await?;
    }
    if let Some(last) = machines.checked_sub(1) {
        let id = load::machine(last, now)?.id();
        let known = books.read(|fold| fold.registry().machine(&id).is_some());
        anyhow::ensure!(known, "machine {last} is not enrolled");
    }
    let keys = books.keys();
    let text = token::format(&TokenText {
        token: TOKEN.into(),
        secret: SECRET.to_vec(),
        addresses: vec!["127.0.0.1:1".into()],
        pin: tls::pin(keys.tls_certificate())?.to_vec(),
        salt: keys.salt().to_vec(),
        service_key: keys.service().verifying_key().to_bytes().to_vec(),
        order_keys: Vec::new(),
        expires_at_ms,
        ..TokenText::default()
    });
    drop(books);
    end.close().await?;
    Ok(text)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("failed to read `{}`", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// An address where nobody listens.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
