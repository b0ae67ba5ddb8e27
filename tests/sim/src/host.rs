//! A computer with an agent on it: hardware, disk, clock, products, and the process while it runs. Invariant: the
//! agent is the product's reporter; the computer only turns the power and the clock.

use std::path::PathBuf;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_agent::act::actor::{Actor, Job};
use seatbeat_agent::act::arm::{Ask, Told};
use seatbeat_agent::detect::watch::Look;
use seatbeat_agent::jitter::Jitter;
use seatbeat_agent::moment::Moment;
use seatbeat_agent::reporter::{CHECKPOINT, FLOOR, Outside, Reporter, SETTINGS, Seen, Start};
use seatbeat_agent::session::Profile;
use seatbeat_agent::spool::SpoolError;
use seatbeat_agent::state::StateError;
use seatbeat_agent::status::{LinkStatus, Status};
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::token::SECRET_LENGTH;
use seatbeat_proto::wire;

use crate::collector::instant;
use crate::disk::MachineDisk;
use crate::keys::Key;
use crate::switching::Happened;
use crate::wrong::Wrong;

/// What is the same as long as the case is: four strong facts and the network address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware(pub [[u8; 16]; 5]);

/// Whether it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It does.
    On,
    /// It sleeps: its process stands still.
    Asleep,
    /// It is off.
    Off,
    /// It will never be on again.
    Gone,
}

/// See the module's text.
#[derive(Debug)]
pub struct Host {
    /// Which customer's it is meant to be.
    pub customer: usize,
    /// Its case.
    pub hardware: Hardware,
    /// Its installation.
    pub os_id: [u8; 16],
    /// Its name.
    pub host_name: [u8; 16],
    /// What is on the disk.
    pub disk: MachineDisk,
    /// The key on its disk.
    pub key: Key,
    /// Who it is.
    pub machine: MachineId,
    /// It was told that it is in.
    pub enrolled: bool,
    /// How far its clock is ahead.
    pub skew_ms: i64,
    /// Whether it runs.
    pub power: Power,
    /// Its process.
    pub reporter: Option<Reporter>,
    /// Counts its processes.
    pub process: u64,
    /// True time at which the process's uptime was 0.
    pub started_ms: i64,
    /// When it fell asleep.
    pub asleep_ms: i64,
    /// Its connection.
    pub connection: Option<u64>,
    /// Until when it reaches nobody.
    pub cut_off_until: i64,
    /// What is installed on it.
    pub products: Vec<wire::FoundProduct>,
    /// Counts what happened to its disk: evidence of an older one may be lost.
    pub lineage: u64,
    /// It was told that nobody wants it, and nothing else since.
    pub shut_out: bool,
    /// How often it connected.
    pub connects: u32,
    /// A copy of its disk, of an earlier day.
    pub image: Option<(MachineDisk, [u8; 16])>,
    /// It has the same key as another one.
    pub is_key_copy: bool,
    /// Chain and sequence up to which its evidence was noted.
    pub noted: (String, u64),
    /// Sequence of the oldest evidence that it kept when somebody looked.
    pub oldest: u64,
    /// When it made evidence last.
    pub made_at: i64,
    /// Whoever switches its products.
    pub actor: Option<Actor>,
    /// What is being done to them.
    pub job: Option<Job>,
    /// What happened of orders since somebody looked.
    pub happened: Vec<Happened>,
    /// What it is to be asked of orders at once.
    pub asks: Vec<Ask>,
    /// What is wrong with how it takes orders.
    pub wrong: Option<Wrong>,
    /// The collector's key, as its actor knows it.
    pub believes: Option<VerifyingKey>,
    /// The order keys that came with its token.
    pub first_keys: wire::OrderKeys,
    /// Its own chance.
    pub chance: Seed,
}

/// What happens to a process.
#[derive(Debug, Clone)]
pub enum Happens {
    /// A timer.
    Wake,
    /// Its connection stands.
    Connected,
    /// The collector said something.
    Said(Box<wire::CollectorMessage>),
    /// Its connection is lost.
    Lost(seatbeat_agent::session::Loss),
    /// Something moved on the machine.
    Nudge,
}

/// What a process wants.
#[derive(Debug, Clone)]
pub enum Act {
    /// A connection.
    Connect,
    /// None any more.
    Disconnect,
    /// To say something.
    Say(Box<wire::AgentMessage>),
    /// To switch a product, which takes its time.
    Switch,
}

struct Hands<'a> {
    disk: &'a MachineDisk,
    connected: bool,
    acts: Vec<Act>,
    asks: Vec<Ask>,
}

impl Outside for Hands<'_> {
    fn connect(&mut self, _: u32) {
        self.connected = true;
        self.acts.push(Act::Connect);
    }

    /// No collector here offers it.
    fn stand_by(&mut self, _: u32) {
        self.connected = false;
        self.acts.push(Act::Disconnect);
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.acts.push(Act::Disconnect);
    }

    fn send(&mut self, message: wire::AgentMessage) -> bool {
        self.acts.push(Act::Say(Box::new(message)));
        self.connected
    }

    fn keep(&mut self, name: &'static str, bytes: &[u8]) -> Result<(), StateError> {
        let failed = |source| StateError::File { act: "write", path: PathBuf::from(name), source };
        self.disk.keep(name, bytes).map_err(failed)
    }

    fn keep_unsynced(&mut self, name: &'static str, bytes: &[u8]) -> Result<(), StateError> {
        self.keep(name, bytes)
    }

    fn ask(&mut self, ask: Ask) -> bool {
        self.asks.push(ask);
        true
    }
}

impl Host {
    /// Its hashed facts.
    pub fn facts(&self) -> wire::Facts {
        let [smbios_uuid, system_serial, board_serial, disk_serial, mac] =
            self.hardware.0.map(|fact| fact.to_vec());
        wire::Facts {
            smbios_uuid,
            system_serial,
            board_serial,
            disk_serial,
            macs: vec![mac],
            os_id: self.os_id.to_vec(),
            host_name: self.host_name.to_vec(),
            os: "linux".to_owned(),
            pool: false,
        }
    }

    /// What its clocks show.
    pub fn moment(&self, now_ms: i64) -> Moment {
        let up_ms = (now_ms - self.started_ms).max(0).unsigned_abs();
        Moment { wall: instant(now_ms + self.skew_ms), uptime: Duration::from_millis(up_ms) }
    }

    /// True time of an uptime.
    pub fn when(&self, uptime: Duration) -> i64 {
        self.started_ms.saturating_add(i64::try_from(uptime.as_millis()).unwrap_or(i64::MAX))
    }

    /// What it says when it asks to be let in.
    pub fn claim(&self, token: &str, secret: [u8; SECRET_LENGTH], now_ms: i64) -> wire::EnrolRequest {
        let claim = wire::EnrolmentClaim {
            public_key: self.key.real.verifying_key().as_bytes().to_vec(),
            token: token.to_owned(),
            claimed_at_ms: now_ms + self.skew_ms,
            facts: Some(self.facts()),
            agent_version: "sim".to_owned(),
        };
        let claim = sign(&self.key.real, Domain::EnrolmentClaim, claim.encode_to_vec());
        wire::EnrolRequest { token_secret: secret.to_vec(), claim: Some(claim), host_name: "host".to_owned() }
    }

    /// Starts its process.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start(
        &mut self,
        service: &VerifyingKey,
        keys: &wire::OrderKeys,
        now_ms: i64,
    ) -> Result<(), String> {
        self.process += 1;
        self.started_ms = now_ms;
        self.reporter = None;
        self.open_actor(service, keys)?;
        let start = Start {
            profile: Profile {
                machine: self.machine.clone(),
                host_name: "host".to_owned(),
                agent_version: "sim".to_owned(),
                service: *service,
            },
            key: Box::new(self.key.clone()),
            folder: PathBuf::from("spool"),
            disk: Box::new(self.disk.clone()),
            scan_interval_s: 21_600,
            settings: self.disk.state(SETTINGS),
            floor: self.disk.state(FLOOR),
            checkpoint: self.disk.state(CHECKPOINT),
            jitter: Jitter::from_seed(self.chance.next_number()),
            status: status(&self.machine),
        };
        let reporter = Reporter::start(start, self.moment(now_ms)).map_err(|error| error.to_string())?;
        self.noted = (reporter.spool().chain().spool().to_string(), reporter.spool().chain().tip());
        self.reporter = Some(reporter);
        Ok(())
    }

    /// Lets something happen to its process; what it wants then.
    ///
    /// # Errors
    /// Why the process ended.
    pub fn live(&mut self, happens: Happens, now_ms: i64) -> Result<Vec<Act>, SpoolError> {
        let now = self.moment(now_ms);
        let Some(mut reporter) = self.reporter.take() else { return Ok(Vec::new()) };
        let disk = self.disk.clone();
        let asks = std::mem::take(&mut self.asks);
        let connected = self.connection.is_some();
        let mut hands = Hands { disk: &disk, connected, acts: Vec::new(), asks };
        reporter.watch_clock(now, &mut hands)?;
        match happens {
            Happens::Wake => {}
            // The clock may have put the connection down meanwhile.
            _ if !hands.connected && !matches!(happens, Happens::Nudge | Happens::Lost(_)) => {}
            Happens::Connected => reporter.connected(now, &mut hands)?,
            Happens::Said(message) => reporter.received(*message, now, &mut hands)?,
            Happens::Lost(loss) => {
                hands.connected = false;
                reporter.lost(loss, "lost".to_owned(), None, now, &mut hands)?;
            }
            Happens::Nudge => reporter.nudged(now),
        }
        if let Some((_, look)) = reporter.work_due(now, &mut hands)? {
            let seen = self.sees(look);
            reporter.saw(Ok(seen), now, &mut hands)?;
        }
        self.consult(&mut reporter, &mut hands, now)?;
        let acts = hands.acts;
        self.reporter = Some(reporter);
        Ok(acts)
    }

    /// What was asked of whoever switches products, and what follows from it; then what is due of it is begun.
    fn consult(
        &mut self,
        reporter: &mut Reporter,
        hands: &mut Hands<'_>,
        now: Moment,
    ) -> Result<(), SpoolError> {
        let mut begun = false;
        loop {
            let mut told = Vec::new();
            for ask in std::mem::take(&mut hands.asks) {
                told.extend(self.ask_actor(ask, now));
            }
            if told.is_empty() && !begun {
                begun = true;
                told = self.begin(now);
                if self.job.is_some() && !told.is_empty() {
                    hands.acts.push(Act::Switch);
                }
            }
            if told.is_empty() && hands.asks.is_empty() {
                return Ok(());
            }
            for told in told {
                reporter.told(told, now, hands)?;
            }
            if let Some((_, look)) = reporter.work_due(now, hands)? {
                let seen = self.sees(look);
                reporter.saw(Ok(seen), now, hands)?;
            }
        }
    }

    /// What came of what was done reaches the agent.
    ///
    /// # Errors
    /// Why the process ended.
    pub fn told(&mut self, told: Vec<Told>, now_ms: i64) -> Result<Vec<Act>, SpoolError> {
        let now = self.moment(now_ms);
        let Some(mut reporter) = self.reporter.take() else { return Ok(Vec::new()) };
        let disk = self.disk.clone();
        let connected = self.connection.is_some();
        let mut hands = Hands { disk: &disk, connected, acts: Vec::new(), asks: Vec::new() };
        for told in told {
            reporter.told(told, now, &mut hands)?;
        }
        if let Some((_, look)) = reporter.work_due(now, &mut hands)? {
            let seen = self.sees(look);
            reporter.saw(Ok(seen), now, &mut hands)?;
        }
        self.consult(&mut reporter, &mut hands, now)?;
        let acts = hands.acts;
        self.reporter = Some(reporter);
        Ok(acts)
    }

    /// When it has to be woken (true time). An open conversation only for a look, since beats say nothing here; one that
    /// is known to be in vain tries with each look only.
    pub fn wakes_at(&self, now_ms: i64) -> Option<i64> {
        let reporter = self.reporter.as_ref()?;
        let in_vain = self.shut_out || self.cut_off_until > now_ms;
        let looks_only = reporter.session().is_open() || in_vain && self.connection.is_none();
        let orders = reporter.orders_wake().unwrap_or(Duration::MAX);
        let due = if looks_only { reporter.scan_due().min(orders) } else { reporter.next_wake() };
        let at = self.when(due);
        let again = if self.cut_off_until > now_ms { self.cut_off_until } else { i64::MAX };
        Some(at.min(again))
    }

    fn sees(&self, _: Look) -> Seen {
        Seen { products: self.products.clone(), facts: self.facts(), catalogue_version: 1 }
    }
}

fn status(machine: &MachineId) -> Status {
    Status {
        agent_version: "sim".to_owned(),
        pid: 0,
        machine: machine.to_string(),
        customer: String::new(),
        link: LinkStatus::Disconnected,
        last_connected_at: None::<Timestamp>,
        last_error: None,
        reporting_stopped: None,
        spool: String::new(),
        waiting: 0,
        last_report: None,
        clock_offset_ms: 0,
        catalogue: Default::default(),
        orders: Default::default(),
    }
}
