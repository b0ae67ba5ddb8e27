//! What an agent does: spool, memory and conversation as one, told what happened and when. Invariant: it touches
//! nothing but the spool's disk and what [`Outside`] does for it, and waits for nobody; evidence is in the spool
//! before anybody hears of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::ids::OrderId;
use seatbeat_proto::signed::Signing;
use seatbeat_proto::wire;

use crate::act::arm::Ask;
use crate::catalogue::{InUse, PASSED_OVER_HINT, Shelf};
use crate::detect::watch::{Look, Watch};
use crate::jitter::Jitter;
use crate::meter::{Memory, Wishes};
use crate::moment::Moment;
use crate::orders::{Book, Floor};
use crate::plain::chain;
use crate::session::{Event, Loss, Past, Profile, Session};
use crate::settings::Settings;
use crate::spool::disk::Disk;
use crate::spool::{Opened, Spool, SpoolError};
use crate::state::StateError;
use crate::status::{CatalogueStatus, LinkStatus, Report, Status, Trouble};

mod effects;
mod orders;
mod report;

use orders::Orders;

/// File of the settings that are followed, as they came.
pub const SETTINGS: &str = "settings.signed";
/// File of the floor below which no order is taken.
pub const FLOOR: &str = "orders.json";
/// File of the newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

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

/// What is done for a reporter.
pub trait Outside {
    /// Opens a connection, instead of the one there may be; the attempt chooses among the addresses.
    fn connect(&mut self, attempt: u32);

    /// Opens a connection on standby instead.
    fn stand_by(&mut self, attempt: u32);

    /// Closes the connection.
    fn disconnect(&mut self);

    /// Says something on the connection; false: it is not there, or takes no more.
    fn send(&mut self, message: wire::AgentMessage) -> bool;

    /// Keeps a file of the state folder: durable when this returns.
    ///
    /// # Errors
    /// When it cannot be kept; the old one is still there then.
    fn keep(&mut self, name: &'static str, bytes: &[u8]) -> Result<(), StateError>;

    /// As [`Outside::keep`], for what may be lost.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep_unsynced(&mut self, name: &'static str, bytes: &[u8]) -> Result<(), StateError>;

    /// Asks whoever switches products; false: nobody does, or too much waits already.
    fn ask(&mut self, ask: Ask) -> bool;
}

/// What an agent starts with.
#[derive(Debug)]
pub struct Start {
    /// Who it is, and whom it believes.
    pub profile: Profile,
    /// Its key.
    pub key: Box<dyn Signing + Send>,
    /// The folder of its spool.
    pub folder: PathBuf,
    /// Where that is.
    pub disk: Box<dyn Disk>,
    /// Seconds between looks, as the machine's own configuration says; 0: the default.
    pub scan_interval_s: u32,
    /// Its file [`SETTINGS`].
    pub settings: Option<Vec<u8>>,
    /// Its file [`FLOOR`].
    pub floor: Option<Vec<u8>>,
    /// Its file [`CHECKPOINT`].
    pub checkpoint: Option<Vec<u8>>,
    /// The dice.
    pub jitter: Jitter,
    /// What it says about itself.
    pub status: Status,
}

/// See the module's text.
#[derive(Debug)]
pub struct Reporter {
    key: Box<dyn Signing + Send>,
    spool: Spool,
    memory: Memory,
    session: Session,
    wishes: Wishes,
    seen: Option<Seen>,
    checkpoint: String,
    jitter: Jitter,
    /// Longest time until the next report: a tenth shorter at most than the settings say.
    report_interval: Duration,
    orders: Orders,
    /// When the scan that runs was begun, or was last said to hang.
    scan_since: Option<Duration>,
    watch: Watch,
    next_scan: Duration,
    next_prune: Duration,
    read_clock: Moment,
    status: Status,
    catalogue: Shelf,
}

impl Reporter {
    /// Gets ready: opens the spool, remembers the run before.
    ///
    /// # Errors
    /// When the spool cannot be opened.
    pub fn start(start: Start, now: Moment) -> Result<Self, SpoolError> {
        let Start { profile, key, folder, disk, mut jitter, .. } = start;
        let Opened { spool, kept, damage } = Spool::open(&folder, disk, &profile.machine, key.as_ref())?;
        if let Some(damage) = damage {
            tracing::error!(
                damage = damage.to_string(),
                hint = "send the file to support; reporting goes on in a new spool",
                "a spool file was damaged"
            );
        }
        let mut memory = Memory::default();
        kept.iter().for_each(|evidence| memory.enter(evidence));
        let initial = Settings::initial(start.scan_interval_s);
        let past = Past {
            settings: settings(start.settings, initial, &profile),
            book: Book { floor: floor(start.floor), answered: answered(&kept) },
            acknowledged: spool.acknowledged(),
        };
        let checkpoint = start.checkpoint.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(Self {
            key,
            report_interval: jitter.a_tenth_off(past.settings.report_interval),
            session: Session::new(profile, past, jitter.split(), now),
            jitter,
            wishes: Wishes { start: true, ..Wishes::default() },
            checkpoint: checkpoint.unwrap_or_default(),
            status: start.status,
            spool,
            memory,
            seen: None,
            orders: Orders::new(&kept),
            scan_since: None,
            watch: Watch::default(),
            next_scan: now.uptime,
            next_prune: now.uptime,
            read_clock: now,
            catalogue: Shelf::built_in(),
        })
    }

    /// With a catalogue, and whoever may send a newer one; without, the built-in one stays.
    #[must_use]
    pub fn with_catalogue(mut self, catalogue: Shelf, now: Moment) -> Self {
        let refused = catalogue.passed_over.clone().map(|what| {
            tracing::warn!(error = what, "the built-in catalogue is used");
            Trouble { at: now.wall, what, hint: Some(PASSED_OVER_HINT.to_owned()) }
        });
        let (version, pushed) = (catalogue.in_use.version, !catalogue.is_built_in());
        self.status.catalogue = CatalogueStatus { version, pushed, refused };
        self.session = self.session.with_catalogue(version, catalogue.release_key);
        Self { catalogue, ..self }
    }

    /// Uptime at which [`Reporter::work_due`] is to be called.
    pub fn next_wake(&self) -> Duration {
        let scan = match self.scan_since {
            Some(since) => since + SCAN_MAX,
            None => self.scan_due(),
        };
        let orders = self.orders_wake().unwrap_or(Duration::MAX);
        self.session.timer().min(scan).min(self.next_prune).min(orders)
    }

    /// Does what is due. Somebody has to look at the machine, at the instant and as closely as is answered, and say
    /// then what was [`Reporter::saw`].
    ///
    /// # Errors
    /// When a file of the spool was changed behind its back.
    pub fn work_due(
        &mut self,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<Option<(Timestamp, Look)>, SpoolError> {
        if self.session.timer() <= now.uptime {
            self.tell(Event::Timer, now, outside)?;
        }
        self.orders_due(now, outside);
        let scan_due = self.scan_due();
        let mut look = None;
        match self.scan_since {
            Some(since) if since + SCAN_MAX <= now.uptime => {
                self.scan_since = Some(now.uptime);
                self.stopped_reporting(now, "looking for products does not come to an end", None);
            }
            None if scan_due <= now.uptime => {
                self.scan_since = Some(now.uptime);
                let at = now.corrected(self.session.clock_offset_ms());
                look = Some((at, self.watch.begin(now.uptime)));
            }
            _ => {}
        }
        if self.next_prune <= now.uptime {
            self.next_prune = now.uptime + PRUNE_INTERVAL;
            if let Err(error) = self.spool.prune(now.corrected(self.session.clock_offset_ms())) {
                tracing::warn!(error = chain(&error), "old evidence was not removed");
            }
        }
        Ok(look)
    }

    /// Takes in what a look at the machine saw; the error says in words why it saw nothing.
    ///
    /// # Errors
    /// As [`Reporter::work_due`].
    pub fn saw(
        &mut self,
        seen: Result<Seen, String>,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<(), SpoolError> {
        self.scan_since = None;
        self.next_scan = now.uptime + self.session.settings().scan_interval;
        if std::mem::take(&mut self.orders.look_again) {
            self.next_scan = now.uptime;
            return Ok(());
        }
        match seen {
            Ok(seen) => {
                self.seen = Some(seen);
                self.report(now, outside)
            }
            Err(error) => {
                self.watch.want_everything();
                self.stopped_reporting(now, &format!("failed to look for products: {error}"), None);
                Ok(())
            }
        }
    }

    /// Compares both clocks; to be called whenever it wakes, before anything else.
    ///
    /// # Errors
    /// As [`Reporter::work_due`].
    pub fn watch_clock(&mut self, now: Moment, outside: &mut dyn Outside) -> Result<(), SpoolError> {
        let jump_ms = now.jump_ms_since(self.read_clock);
        self.read_clock = now;
        if jump_ms.unsigned_abs() > JUMP_MS {
            tracing::info!(jump_ms, "the machine's clock was set, or the machine slept");
            self.next_scan = now.uptime;
            self.watch.want_everything();
            self.tell(Event::ClockJumped(jump_ms), now, outside)?;
        }
        Ok(())
    }

    /// Something may have moved on the machine.
    pub fn nudged(&mut self, now: Moment) {
        self.watch.nudged(now.uptime);
    }

    /// The connection stands.
    ///
    /// # Errors
    /// As [`Reporter::work_due`].
    pub fn connected(&mut self, now: Moment, outside: &mut dyn Outside) -> Result<(), SpoolError> {
        self.tell(Event::Connected, now, outside)
    }

    /// The collector said something.
    ///
    /// # Errors
    /// As [`Reporter::work_due`].
    pub fn received(
        &mut self,
        message: wire::CollectorMessage,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<(), SpoolError> {
        let (was_open, stood_by) = (self.session.is_open(), self.session.stands_by());
        self.tell(Event::Received(message), now, outside)?;
        let (opened, stands_by) =
            (self.session.is_open() && !was_open, self.session.stands_by() && !stood_by);
        if opened || stands_by {
            self.status.last_connected_at = Some(now.wall);
            self.status.last_error = None;
        }
        if opened {
            tracing::info!(waiting = self.waiting(), "connected to the collector");
        } else if stands_by {
            tracing::debug!("nothing to be said: the collector calls when it has something");
        }
        Ok(())
    }

    /// There is no connection any more, or none came to be, for this reason in words.
    ///
    /// # Errors
    /// As [`Reporter::work_due`].
    pub fn lost(
        &mut self,
        loss: Loss,
        what: String,
        hint: Option<String>,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<(), SpoolError> {
        let known = self.status.last_error.as_ref().is_some_and(|trouble| trouble.what == what);
        if !known {
            tracing::info!(error = what, hint, "not connected to the collector");
            self.status.last_error = Some(Trouble { at: now.wall, what, hint });
        }
        self.tell(Event::Disconnected(loss), now, outside)
    }

    /// The agent is to end.
    ///
    /// # Errors
    /// As [`Reporter::work_due`].
    pub fn stop(&mut self, now: Moment, outside: &mut dyn Outside) -> Result<(), SpoolError> {
        self.tell(Event::Disconnected(Loss::Broken), now, outside)
    }

    /// What it says about itself now.
    pub fn status(&mut self) -> &Status {
        let connected = self.session.is_connected();
        self.status.link = if connected { LinkStatus::Connected } else { LinkStatus::Disconnected };
        self.status.spool = self.spool.chain().spool().to_string();
        self.status.waiting = self.waiting();
        self.status.last_report = Report::newest(&self.memory);
        self.status.clock_offset_ms = self.session.clock_offset_ms();
        &self.status
    }

    /// What tells products apart at the next look.
    pub fn catalogue(&self) -> &InUse {
        &self.catalogue.in_use
    }

    /// Its spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Its conversation.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Evidence that the collector has not acknowledged.
    pub fn waiting(&self) -> u64 {
        let chain = self.spool.chain();
        chain.tip() - self.session.acknowledged().max(chain.oldest() - 1).min(chain.tip())
    }

    /// Answers to orders that are not in the spool yet.
    pub fn unanswered(&self) -> usize {
        self.orders.unanswered.len()
    }

    /// Uptime at which somebody has to look at the machine.
    pub fn scan_due(&self) -> Duration {
        self.watch.due().map_or(self.next_scan, |due| due.min(self.next_scan))
    }
}

fn settings(kept: Option<Vec<u8>>, initial: Settings, profile: &Profile) -> Settings {
    let Some(bytes) = kept else { return initial };
    let signed = wire::Signed::decode(bytes.as_slice()).unwrap_or_default();
    initial.followed_by(&signed, &profile.service).unwrap_or_else(|why| {
        tracing::warn!(error = why.to_string(), "kept settings are not followed");
        initial
    })
}

fn floor(kept: Option<Vec<u8>>) -> Floor {
    let Some(bytes) = kept else { return Floor::default() };
    serde_json::from_slice(&bytes).unwrap_or_else(|why| {
        tracing::error!(error = why.to_string(), "the floor of old orders is lost; their expiry still holds");
        Floor::default()
    })
}

fn answered(kept: &[wire::Evidence]) -> BTreeSet<OrderId> {
    let results = kept.iter().filter_map(|evidence| match &evidence.body {
        Some(wire::evidence::Body::OrderResult(result)) => result.order.parse().ok(),
        _ => None,
    });
    results.collect()
}
