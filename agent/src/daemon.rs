//! `run`: one thread that feeds the pure rooms and carries out what they decide. Invariant: it sleeps unless a timer
//! is due or somebody spoke; nothing that comes from outside ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::wire;
use tokio::task::{JoinError, JoinHandle};

use crate::clock::Clock;
use crate::config::Config;
use crate::detect::Nudges;
use crate::detect::watch::{Look, Watch};
use crate::identity::{Identity, IdentityError};
use crate::jitter::Jitter;
use crate::link::{Connection, Dialler, LinkError, LinkEvent};
use crate::meter::{Memory, Observation, Wishes};
use crate::moment::Moment;
use crate::orders::{Book, Floor};
use crate::plain::chain;
use crate::session::{Effect, Event, Loss, Past, Profile, Session};
use crate::settings::Settings;
use crate::spool::disk::Disk;
use crate::spool::{Opened, Spool, SpoolError};
use crate::state::{Lock, StateError, StateFolder};
use crate::status::{LinkStatus, Report, Status, Trouble};

mod effects;
mod report;
#[cfg(test)]
mod tests;

const SETTINGS: &str = "settings.signed";
const FLOOR: &str = "orders.json";
const CHECKPOINT: &str = "checkpoint";

/// How often old evidence is looked for: a file of it is a day's.
const PRUNE_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Time after which a scan is said to hang.
const SCAN_MAX: Duration = Duration::from_secs(10 * 60);

/// A wall clock that moved this much beyond the uptime was set, or the machine slept.
const JUMP_MS: u64 = 60_000;

/// What a scan saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The vendor's products.
    pub products: Vec<wire::FoundProduct>,
    /// Hardware and system facts.
    pub facts: wire::Facts,
    /// Version of the catalogue that told the products.
    pub catalogue_version: u32,
}

/// Looks at the machine, at an instant, as closely as is asked or closer; the error says in words why it could not.
pub type Sight = Arc<dyn Fn(Timestamp, Look) -> Result<Seen, String> + Send + Sync>;

type Scan = JoinHandle<Result<Seen, String>>;

/// What an agent runs on.
#[derive(Debug)]
pub struct Setting {
    /// Its folder.
    pub state: StateFolder,
    /// What the administrator set.
    pub config: Config,
    /// The clock.
    pub clock: Clock,
    /// The disk of the spool.
    pub disk: Box<dyn Disk>,
    /// The dice.
    pub jitter: Jitter,
    /// Shown to operators.
    pub host_name: String,
}

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// TLS.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The runtime or its signals.
    #[error("failed to set up the agent's event loop")]
    Runtime(#[source] std::io::Error),
}

impl DaemonError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Identity(error) => error.hint(),
            Self::State(error) => error.hint(),
            Self::Spool(error) => error.hint().map(str::to_owned),
            Self::Link(error) => error.hint().map(str::to_owned),
            Self::Runtime(_) => None,
        }
    }
}

/// See the module's text.
pub struct Daemon {
    state: StateFolder,
    clock: Clock,
    key: SigningKey,
    sight: Sight,
    dialler: Dialler,
    spool: Spool,
    memory: Memory,
    session: Session,
    wishes: Wishes,
    seen: Option<Seen>,
    checkpoint: String,
    jitter: Jitter,
    /// Longest time until the next report: a tenth shorter at most than the settings say.
    report_interval: Duration,
    /// Results that are not in the spool yet, and the floor that goes before them.
    unanswered: VecDeque<(wire::OrderResult, Floor)>,
    connection: Option<Connection>,
    scan: Option<(Duration, Scan)>,
    watch: Watch,
    nudges: Option<Nudges>,
    next_scan: Duration,
    next_prune: Duration,
    read_clock: Moment,
    status: Status,
    stored_status: Option<Status>,
    _lock: Lock,
}

enum Woken {
    Stop,
    Timer,
    Nudge,
    Link(LinkEvent),
    Scan(Result<Result<Seen, String>, JoinError>),
}

impl Daemon {
    /// Gets ready: takes the state folder, opens the spool, remembers the run before.
    ///
    /// # Errors
    /// When the machine is not enrolled, another agent runs, or the state cannot be used.
    pub fn new(setting: Setting, sight: Sight) -> Result<Self, DaemonError> {
        let Setting { state, config, clock, disk, mut jitter, host_name } = setting;
        let identity = Identity::load(&state)?;
        let lock = state.lock()?;
        let key = state.key()?;
        identity.check_key(&key.verifying_key())?;
        let now = clock.now();
        let Opened { spool, kept, damage } = Spool::open(&state.spool(), disk, &identity.machine, &key)?;
        if let Some(damage) = damage {
            tracing::error!(
                damage = damage.to_string(),
                hint = "send the file to support; reporting goes on in a new spool",
                "a spool file was damaged"
            );
        }
        let mut memory = Memory::default();
        kept.iter().for_each(|evidence| memory.enter(evidence));
        let past = Past {
            settings: settings(&state, &config, &identity)?,
            book: Book { floor: floor(&state)?, answered: answered(&kept) },
            acknowledged: spool.acknowledged(),
        };
        let profile = Profile {
            machine: identity.machine.clone(),
            host_name,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            keys: identity.keys.clone(),
        };
        let checkpoint = state.read(CHECKPOINT)?.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(Self {
            dialler: Dialler::new(&identity, &key)?,
            report_interval: jitter.a_tenth_off(past.settings.report_interval),
            session: Session::new(profile, past, jitter.split(), now),
            jitter,
            wishes: Wishes { start: true, ..Wishes::default() },
            checkpoint: checkpoint.unwrap_or_default(),
            status: Status::starting(&identity),
            state,
            clock,
            key,
            sight,
            spool,
            memory,
            seen: None,
            unanswered: VecDeque::new(),
            connection: None,
            scan: None,
            watch: Watch::default(),
            nudges: None,
            next_scan: now.uptime,
            next_prune: now.uptime,
            read_clock: now,
            stored_status: None,
            _lock: lock,
        })
    }

    /// With somebody who tells that something may have moved; without, looks go by the timer alone.
    #[must_use]
    pub fn told_by(mut self, nudges: Option<Nudges>) -> Self {
        self.nudges = nudges;
        self
    }

    /// Runs until `stop` is ready.
    ///
    /// # Errors
    /// When a file of the spool was changed behind its back.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let mut stop = std::pin::pin!(stop);
        loop {
            self.work_due()?;
            self.tell_status();
            let wake = self.clock.until(self.next_wake());
            let woken = tokio::select! {
                biased;
                () = &mut stop => Woken::Stop,
                seen = scanned(&mut self.scan) => Woken::Scan(seen),
                event = spoken(&mut self.connection) => Woken::Link(event),
                () = nudged(&mut self.nudges) => Woken::Nudge,
                () = tokio::time::sleep(wake) => Woken::Timer,
            };
            self.watch_clock()?;
            match woken {
                Woken::Stop => break,
                Woken::Timer => {}
                Woken::Nudge => self.watch.nudged(self.clock.now().uptime),
                Woken::Link(event) => self.link_event(event)?,
                Woken::Scan(seen) => self.scan_over(seen)?,
            }
        }
        self.connection = None;
        self.tell(Event::Disconnected(Loss::Broken))?;
        self.tell_status();
        tracing::info!("the agent stops");
        Ok(())
    }

    fn next_wake(&self) -> Duration {
        let scan = match &self.scan {
            Some((since, _)) => *since + SCAN_MAX,
            None => self.scan_due(),
        };
        self.session.timer().min(scan).min(self.next_prune)
    }

    fn scan_due(&self) -> Duration {
        self.watch.due().map_or(self.next_scan, |due| due.min(self.next_scan))
    }

    fn work_due(&mut self) -> Result<(), DaemonError> {
        let now = self.clock.now();
        if self.session.timer() <= now.uptime {
            self.tell(Event::Timer)?;
        }
        let scan_due = self.scan_due();
        match &mut self.scan {
            Some((since, _)) if *since + SCAN_MAX <= now.uptime => {
                *since = now.uptime;
                self.stopped_reporting(now, "looking for products does not come to an end", None);
            }
            None if scan_due <= now.uptime => self.begin_scan(now),
            _ => {}
        }
        if self.next_prune <= now.uptime {
            self.next_prune = now.uptime + PRUNE_INTERVAL;
            if let Err(error) = self.spool.prune(now.corrected(self.session.clock_offset_ms())) {
                tracing::warn!(error = chain(&error), "old evidence was not removed");
            }
        }
        Ok(())
    }

    fn begin_scan(&mut self, now: Moment) {
        let sight = Arc::clone(&self.sight);
        let at = now.corrected(self.session.clock_offset_ms());
        let look = self.watch.begin(now.uptime);
        self.scan = Some((now.uptime, tokio::task::spawn_blocking(move || sight(at, look))));
    }

    fn scan_over(&mut self, seen: Result<Result<Seen, String>, JoinError>) -> Result<(), DaemonError> {
        self.scan = None;
        let now = self.clock.now();
        self.next_scan = now.uptime + self.session.settings().scan_interval;
        match seen.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(seen) => {
                self.seen = Some(seen);
                self.report()
            }
            Err(error) => {
                self.watch.want_everything();
                self.stopped_reporting(now, &format!("failed to look for products: {error}"), None);
                Ok(())
            }
        }
    }

    fn watch_clock(&mut self) -> Result<(), DaemonError> {
        let now = self.clock.now();
        let jump_ms = now.jump_ms_since(self.read_clock);
        self.read_clock = now;
        if jump_ms.unsigned_abs() > JUMP_MS {
            tracing::info!(jump_ms, "the machine's clock was set, or the machine slept");
            self.next_scan = now.uptime;
            self.watch.want_everything();
            self.tell(Event::ClockJumped(jump_ms))?;
        }
        Ok(())
    }

    fn link_event(&mut self, event: LinkEvent) -> Result<(), DaemonError> {
        match event {
            LinkEvent::Connected => self.tell(Event::Connected),
            LinkEvent::Received(message) => {
                let was_open = self.session.is_open();
                self.tell(Event::Received(message))?;
                if self.session.is_open() && !was_open {
                    self.connected();
                }
                Ok(())
            }
            LinkEvent::Lost(error) => self.lost(&error),
        }
    }

    fn connected(&mut self) {
        self.status.last_connected_at = Some(self.clock.now().wall);
        self.status.last_error = None;
        tracing::info!(waiting = self.waiting(), "connected to the collector");
    }

    fn lost(&mut self, error: &LinkError) -> Result<(), DaemonError> {
        self.connection = None;
        let (what, hint) = (chain(error), error.hint().map(str::to_owned));
        let known = self.status.last_error.as_ref().is_some_and(|trouble| trouble.what == what);
        if !known {
            tracing::info!(error = what, hint, "not connected to the collector");
            self.status.last_error = Some(Trouble { at: self.clock.now().wall, what, hint });
        }
        self.tell(Event::Disconnected(error.loss()))
    }

    fn waiting(&self) -> u64 {
        let chain = self.spool.chain();
        chain.tip() - self.session.acknowledged().max(chain.oldest() - 1).min(chain.tip())
    }

    fn tell_status(&mut self) {
        let open = self.session.is_open();
        self.status.link = if open { LinkStatus::Connected } else { LinkStatus::Disconnected };
        self.status.spool = self.spool.chain().spool().to_string();
        self.status.waiting = self.waiting();
        self.status.last_report = Report::newest(&self.memory);
        self.status.clock_offset_ms = self.session.clock_offset_ms();
        if self.stored_status.as_ref() != Some(&self.status) {
            self.status.store(&self.state);
            self.stored_status = Some(self.status.clone());
        }
    }
}

async fn scanned(scan: &mut Option<(Duration, Scan)>) -> Result<Result<Seen, String>, JoinError> {
    match scan {
        Some((_, scan)) => scan.await,
        None => std::future::pending().await,
    }
}

async fn nudged(nudges: &mut Option<Nudges>) {
    match nudges {
        Some(nudges) => nudges.next().await,
        None => std::future::pending().await,
    }
}

async fn spoken(connection: &mut Option<Connection>) -> LinkEvent {
    match connection {
        Some(connection) => connection.next().await,
        None => std::future::pending().await,
    }
}

fn settings(state: &StateFolder, config: &Config, identity: &Identity) -> Result<Settings, StateError> {
    let initial = Settings::initial(config.scan_interval_s);
    let Some(bytes) = state.read(SETTINGS)? else { return Ok(initial) };
    let signed = wire::Signed::decode(bytes.as_slice()).unwrap_or_default();
    Ok(initial.followed_by(&signed, &identity.keys.service).unwrap_or_else(|why| {
        tracing::warn!(error = why.to_string(), "kept settings are not followed");
        initial
    }))
}

fn floor(state: &StateFolder) -> Result<Floor, StateError> {
    let Some(bytes) = state.read(FLOOR)? else { return Ok(Floor::default()) };
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|why| {
        tracing::error!(error = why.to_string(), "the floor of old orders is lost; their expiry still holds");
        Floor::default()
    }))
}

fn answered(kept: &[wire::Evidence]) -> std::collections::BTreeSet<seatbeat_proto::ids::OrderId> {
    let results = kept.iter().filter_map(|evidence| match &evidence.body {
        Some(wire::evidence::Body::OrderResult(result)) => result.order.parse().ok(),
        _ => None,
    });
    results.collect()
}
