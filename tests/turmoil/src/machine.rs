//! A machine and its agent. Invariant: what is on its disk outlives the agent's process, and nothing else does.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use seatbeat_agent::catalogue::Shelf;
use seatbeat_agent::clock::Clock;
use seatbeat_agent::config::Config;
use seatbeat_agent::daemon::{Daemon, Seen, Setting, Sight};
use seatbeat_agent::enrol::{Request, enrol_over};
use seatbeat_agent::identity::Identity;
use seatbeat_agent::jitter::Jitter;
use seatbeat_agent::road::{Bytes, Opening, Road};
use seatbeat_agent::spool::Spool;
use seatbeat_agent::spool::disk::RealDisk;
use seatbeat_agent::state::StateFolder;
use seatbeat_agent::status::{LinkStatus, Status};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire::{Facts, FoundProduct, ProductState, Signed};
use tempfile::TempDir;
use turmoil::net::TcpStream;

use crate::story::EPOCH;

/// Before an installer asks again to be let in.
const ENROL_AGAIN: Duration = Duration::from_secs(20);

/// The simulated network.
#[derive(Debug)]
struct Simulated;

impl Road for Simulated {
    fn open<'a>(&'a self, address: &'a str) -> Opening<'a> {
        Box::pin(async move {
            let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
            let place: (&str, u16) = parts.ok_or(io::ErrorKind::InvalidInput)?;
            Ok(Box::new(TcpStream::connect(place).await?) as Box<dyn Bytes>)
        })
    }
}

/// See the module's text.
#[derive(Clone)]
pub struct Machine(Arc<Inside>);

struct Inside {
    name: String,
    disk: TempDir,
    token: String,
    installed: Mutex<u64>,
    seed: u64,
}

/// What an agent's disk says at an instant.
pub struct Standing {
    /// Who it is.
    pub machine: MachineId,
    /// Its chain.
    pub spool: String,
    /// Sequence up to which the collector said that it has everything.
    pub acknowledged: u64,
    /// All of the chain as it was signed.
    pub signed: Vec<Signed>,
}

impl Machine {
    /// A machine that nobody knows yet, and the token that lets it in.
    pub fn new(name: String, token: &str, seed: u64) -> Self {
        let disk = tempfile::tempdir().unwrap();
        Self(Arc::new(Inside { name, disk, token: token.to_owned(), installed: Mutex::new(0), seed }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Another version of the product is on it from now on.
    pub fn install(&self) {
        *self.0.installed.lock().unwrap() += 1;
    }

    fn state(&self) -> StateFolder {
        StateFolder::at(self.0.disk.path().join("state"))
    }

    /// A process of it: enrols when nobody did, then runs until it is killed.
    pub async fn live(self) -> turmoil::Result {
        let clock = Clock::start(Some(now()));
        self.enrolled(&clock).await;
        let machine = self.clone();
        let sight: Sight = Arc::new(move |_, _, catalogue| {
            let installed = *machine.0.installed.lock().unwrap();
            Ok(Seen {
                products: vec![product(installed)],
                facts: facts(&machine.0.name),
                catalogue_version: catalogue.version,
            })
        });
        let setting = Setting {
            state: self.state(),
            config: Config { scan_interval_s: 60, ..Config::default() },
            clock,
            disk: Box::new(RealDisk),
            jitter: Jitter::from_seed(self.0.seed),
            host_name: self.0.name.clone(),
            catalogue: Shelf::built_in(),
        };
        let daemon = Daemon::new(setting, sight)?.over(Arc::new(Simulated));
        Ok(daemon.run(std::future::pending()).await?)
    }

    async fn enrolled(&self, clock: &Clock) {
        loop {
            let host_name = self.0.name.clone();
            let request = Request { token: self.0.token.clone(), again: false, host_name };
            let facts = |_: &[u8; 32]| facts(&self.0.name);
            let road = Arc::new(Simulated);
            if enrol_over(road, &self.state(), &request, facts, clock.now()).await.is_ok() {
                return;
            }
            tokio::time::sleep(ENROL_AGAIN).await;
        }
    }

    /// Whether the agent says that the collector has everything.
    pub fn rests(&self) -> bool {
        Status::load(&self.state())
            .is_some_and(|status| status.link == LinkStatus::Connected && status.waiting == 0)
    }

    /// What is on its disk; none: it was not let in yet.
    pub fn standing(&self) -> Option<Standing> {
        let identity = Identity::load(&self.state()).ok()?;
        let key = self.state().key().unwrap();
        // The agent may have it open: a copy is looked at.
        let copy = tempfile::tempdir().unwrap();
        copy_files(&self.state().spool(), copy.path());
        let spool = Spool::open(copy.path(), Box::new(RealDisk), &identity.machine, &key).unwrap().spool;
        let (oldest, tip) = (spool.chain().oldest(), spool.chain().tip());
        assert_eq!(oldest, 1, "{}: nothing is old enough to be forgotten", self.0.name);
        let signed = (oldest..=tip).map(|sequence| spool.read(sequence).unwrap().unwrap()).collect();
        let (machine, name) = (identity.machine, spool.chain().spool().to_string());
        Some(Standing { machine, spool: name, acknowledged: spool.acknowledged(), signed })
    }
}

/// What every clock shows: that of the story.
pub fn now() -> Timestamp {
    let epoch: Timestamp = EPOCH.parse().unwrap();
    epoch + turmoil::sim_elapsed().unwrap_or_default()
}

fn product(installed: u64) -> FoundProduct {
    FoundProduct {
        product: "dsa".into(),
        state: ProductState::Active.into(),
        version: format!("20.0.{installed}"),
        ..FoundProduct::default()
    }
}

fn facts(name: &str) -> Facts {
    Facts { os: "linux".into(), host_name: name.as_bytes().to_vec(), ..Facts::default() }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in from.read_dir().into_iter().flatten().flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
