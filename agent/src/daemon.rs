//! `run`: one thread that feeds the pure rooms and carries out what they decide. Invariant: it sleeps unless a timer
//! is due or somebody spoke; nothing that comes from outside ends it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::wire;
use tokio::task::{JoinError, JoinHandle};

use crate::act::arm::{Arm, Ask, Told};
use crate::catalogue::Shelf;
use crate::clock::Clock;
use crate::config::Config;
use crate::detect::Nudges;
use crate::detect::watch::Look;
use crate::identity::{Identity, IdentityError};
use crate::jitter::Jitter;
use crate::link::{Connection, Dialler, LinkError, LinkEvent};
use crate::plain::chain;
use crate::reporter::{CHECKPOINT, FLOOR, Outside, Reporter, SETTINGS, Start};
use crate::road::Road;
use crate::session::Profile;
use crate::spool::SpoolError;
use crate::spool::disk::Disk;
use crate::state::{Lock, StateError, StateFolder};
use crate::status::Status;

pub use crate::reporter::Seen;

#[cfg(test)]
mod tests;

/// Longest wait for whoever switches products to say how orders stand: longer than reading a file takes.
const STANDING_MAX: Duration = Duration::from_secs(2);

/// Looks at the machine for what a catalogue names, at an instant, as closely as is asked or closer; the error says in
/// words why it could not.
pub type Sight = Arc<dyn Fn(Timestamp, Look, &Catalogue) -> Result<Seen, String> + Send + Sync>;

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
    /// What tells products apart.
    pub catalogue: Shelf,
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
    reporter: Reporter,
    shell: Shell,
    clock: Clock,
    sight: Sight,
    scan: Option<Scan>,
    nudges: Option<Nudges>,
    stored_status: Option<Status>,
    _lock: Lock,
}

/// What the reporter has no hands for.
struct Shell {
    state: StateFolder,
    arm: Option<Arm>,
    dialler: Dialler,
    connection: Option<Connection>,
}

impl Outside for Shell {
    fn connect(&mut self, attempt: u32) {
        self.connection = Some(Connection::open(self.dialler.clone(), attempt));
    }

    fn stand_by(&mut self, attempt: u32) {
        self.connection = Some(Connection::stand_by(self.dialler.clone(), attempt));
    }

    fn disconnect(&mut self) {
        self.connection = None;
    }

    fn send(&mut self, message: wire::AgentMessage) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.send(message))
    }

    fn keep(&mut self, name: &'static str, bytes: &[u8]) -> Result<(), StateError> {
        self.state.write(name, bytes)
    }

    fn keep_unsynced(&mut self, name: &'static str, bytes: &[u8]) -> Result<(), StateError> {
        self.state.write_unsynced(name, bytes)
    }

    fn ask(&mut self, ask: Ask) -> bool {
        self.arm.as_ref().is_some_and(|arm| arm.ask(ask))
    }
}

enum Woken {
    Stop,
    Timer,
    Nudge,
    Link(LinkEvent),
    Scan(Result<Result<Seen, String>, JoinError>),
    Arm(Option<Told>),
}

impl Daemon {
    /// Gets ready: takes the state folder, opens the spool, remembers the run before.
    ///
    /// # Errors
    /// When the machine is not enrolled, another agent runs, or the state cannot be used.
    pub fn new(setting: Setting, sight: Sight) -> Result<Self, DaemonError> {
        let Setting { state, config, clock, disk, jitter, host_name, catalogue } = setting;
        let identity = Identity::load(&state)?;
        let lock = state.lock()?;
        let key = state.key()?;
        identity.check_key(&key.verifying_key())?;
        let start = Start {
            profile: Profile {
                machine: identity.machine.clone(),
                host_name,
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                service: identity.service,
            },
            key: Box::new(key.clone()),
            folder: state.spool(),
            disk,
            scan_interval_s: config.scan_interval_s,
            settings: state.read(SETTINGS)?,
            floor: state.read(FLOOR)?,
            checkpoint: state.read(CHECKPOINT)?,
            jitter,
            status: Status::starting(&identity),
        };
        let now = clock.now();
        Ok(Self {
            reporter: Reporter::start(start, now)?.with_catalogue(catalogue, now),
            shell: Shell { dialler: Dialler::new(&identity, &key)?, state, arm: None, connection: None },
            clock,
            sight,
            scan: None,
            nudges: None,
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

    /// With somebody who switches products, or why there is nobody, in words, and what can be done; without, orders are
    /// not taken.
    #[must_use]
    pub fn with_arm(mut self, arm: Result<Arm, (String, Option<String>)>) -> Self {
        match arm {
            Ok(arm) => self.shell.arm = Some(arm),
            Err((what, hint)) => self.reporter.without_orders(what, hint, self.clock.now()),
        }
        self
    }

    /// On another road than straight over TCP.
    #[must_use]
    pub fn over(mut self, road: Arc<dyn Road>) -> Self {
        self.shell.dialler = self.shell.dialler.over(road);
        self
    }

    /// Runs until `stop` is ready.
    ///
    /// # Errors
    /// When a file of the spool was changed behind its back.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let mut stop = std::pin::pin!(stop);
        self.ask_how_orders_stand().await?;
        loop {
            if self.reporter.has_left() {
                self.forget_everything().await?;
                break;
            }
            if let Some((at, look)) = self.reporter.work_due(self.clock.now(), &mut self.shell)? {
                let (sight, catalogue) = (Arc::clone(&self.sight), self.reporter.catalogue().clone());
                self.scan = Some(tokio::task::spawn_blocking(move || sight(at, look, &catalogue)));
            }
            self.tell_status();
            let wake = self.clock.until(self.reporter.next_wake());
            let woken = tokio::select! {
                biased;
                () = &mut stop => Woken::Stop,
                seen = scanned(&mut self.scan) => Woken::Scan(seen),
                event = spoken(&mut self.shell.connection) => Woken::Link(event),
                told = told(&mut self.shell.arm) => Woken::Arm(told),
                () = nudged(&mut self.nudges) => Woken::Nudge,
                () = tokio::time::sleep(wake) => Woken::Timer,
            };
            let now = self.clock.now();
            self.reporter.watch_clock(now, &mut self.shell)?;
            match woken {
                Woken::Stop => break,
                Woken::Timer => {}
                Woken::Nudge => self.reporter.nudged(now),
                Woken::Link(event) => self.link_event(event)?,
                Woken::Arm(told) => self.arm_told(told)?,
                Woken::Scan(seen) => {
                    self.scan = None;
                    let seen = seen.unwrap_or_else(|error| Err(error.to_string()));
                    self.reporter.saw(seen, now, &mut self.shell)?;
                }
            }
        }
        self.shell.connection = None;
        self.reporter.stop(self.clock.now(), &mut self.shell)?;
        self.tell_status();
        tracing::info!("the agent stops");
        Ok(())
    }

    /// The first report and the first hello rest on it.
    async fn ask_how_orders_stand(&mut self) -> Result<(), DaemonError> {
        let Some(arm) = &mut self.shell.arm else { return Ok(()) };
        arm.ask(Ask::Recap);
        match tokio::time::timeout(STANDING_MAX, arm.next()).await {
            Ok(told) => self.arm_told(told),
            Err(_) => Ok(()),
        }
    }

    fn arm_told(&mut self, told: Option<Told>) -> Result<(), DaemonError> {
        let now = self.clock.now();
        match told {
            Some(told) => self.reporter.told(told, now, &mut self.shell)?,
            None => {
                self.shell.arm = None;
                let hint = Some("start the agent again".to_owned());
                self.reporter.without_orders("whoever carries orders out has ended".to_owned(), hint, now);
            }
        }
        Ok(())
    }

    /// The collector knows that this machine is unenrolled. Who it was goes first: an agent that starts after a crash in
    /// between is nobody's.
    async fn forget_everything(&mut self) -> Result<(), DaemonError> {
        Identity::forget(&self.shell.state)?;
        self.shell.state.forget_key()?;
        for name in [SETTINGS, FLOOR, CHECKPOINT] {
            self.shell.state.remove(name)?;
        }
        if let Some(arm) = &mut self.shell.arm {
            arm.ask(Ask::Forget);
            let forgotten = async {
                while let Some(told) = arm.next().await {
                    if matches!(told, Told::Standing(standing) if standing.unenrolled.is_none()) {
                        break;
                    }
                }
            };
            // What stays then is of a machine that is nobody's.
            let _ = tokio::time::timeout(STANDING_MAX, forgotten).await;
        }
        tracing::info!("this machine is unenrolled: it forgot who it was, and reports no more");
        Ok(())
    }

    fn link_event(&mut self, event: LinkEvent) -> Result<(), DaemonError> {
        let now = self.clock.now();
        match event {
            LinkEvent::Connected => self.reporter.connected(now, &mut self.shell)?,
            LinkEvent::Received(message) => self.reporter.received(message, now, &mut self.shell)?,
            LinkEvent::Lost(error) => {
                self.shell.connection = None;
                let (what, hint) = (chain(&error), error.hint().map(str::to_owned));
                self.reporter.lost(error.loss(), what, hint, now, &mut self.shell)?;
            }
        }
        Ok(())
    }

    fn tell_status(&mut self) {
        let status = self.reporter.status();
        if self.stored_status.as_ref() != Some(status) {
            status.store(&self.shell.state);
            self.stored_status = Some(status.clone());
        }
    }
}

async fn scanned(scan: &mut Option<Scan>) -> Result<Result<Seen, String>, JoinError> {
    match scan {
        Some(scan) => scan.await,
        None => std::future::pending().await,
    }
}

async fn told(arm: &mut Option<Arm>) -> Option<Told> {
    match arm {
        Some(arm) => arm.next().await,
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
