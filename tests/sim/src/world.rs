//! Virtual time: what happens next, to whom. Invariant: events happen in the order of their instants, and of those at
//! one instant in the order in which they were planned.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ed25519_dalek::VerifyingKey;
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::wire;
use sha2::{Digest as _, Sha256};

use crate::collector::Collector;
use crate::database::Database;
use crate::host::{Happens, Host, Power};
use crate::invariant::{Broken, Invariant};
use crate::leading::Pending;
use crate::network::Connection;
use crate::office::Office;
use crate::run::{Answer, Question};
use crate::uploading::{FarSide, Parcel};
use crate::witness::Witness;
use crate::wrong::Wrong;

/// The first instant: nine days before a month ends, so that it is closed amid the faults. 2026-09-21.
pub const BEGINS_MS: i64 = 1_789_948_800_000;

/// Milliseconds of a second, a minute, an hour and a day.
pub const SECOND: i64 = 1_000;
/// See [`SECOND`].
pub const MINUTE: i64 = 60 * SECOND;
/// See [`SECOND`].
pub const HOUR: i64 = 60 * MINUTE;
/// See [`SECOND`].
pub const DAY: i64 = 24 * HOUR;

/// Time to heal in: the longest back-off twice, and a look at every machine.
const HEALING: i64 = 14 * HOUR;

/// Time in which a report of a healthy fleet reaches the journal.
const UNDER_WAY: i64 = MINUTE;

/// Events of a run after which it is said to go in circles: some fifty times the usual.
const EVENTS_MAX: u64 = 2_000_000;

/// What happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// A process has something to do.
    Wake { host: usize, process: u64, at: i64 },
    /// Something happens to a process, over a connection or not.
    Process { host: usize, process: u64, connection: Option<u64>, happens: Happens },
    /// A message arrives at a collector.
    Up { connection: u64, message: Box<wire::AgentMessage> },
    /// A collector learns that a connection is gone.
    Gone { connection: u64 },
    /// A collector takes evidence that waits.
    Take { collector: usize },
    /// A collector folds what others wrote.
    Follow { collector: usize },
    /// A collector's jobs run.
    Jobs { collector: usize },
    /// A collector runs the jobs, if it may.
    Lead { collector: usize },
    /// A collector that stood still in the middle of a job goes on.
    Continue(Box<Pending>),
    /// The database is well again.
    Database,
    /// A statement arrives at the far side late.
    Parcel(Box<Parcel>),
    /// A collector starts.
    Open { collector: usize },
    /// A computer is turned on, or its agent started again.
    Boot { host: usize },
    /// A computer wakes up.
    Resume { host: usize },
    /// A computer's agent asks to be let in.
    Ask { host: usize, token: usize },
    /// The question arrives.
    Asked { host: usize, collector: usize, token: usize, request: Box<wire::EnrolRequest> },
    /// The answer arrives; none: it was lost.
    Answered { host: usize, answer: Option<Result<(), bool>>, token: usize },
    /// Products come and go.
    Change { host: usize },
    /// A clock is set right.
    SetRight { host: usize, skew_ms: i64 },
    /// A disk is well again.
    Mend { host: usize },
    /// A collector's disk has room again.
    Room { collector: usize },
    /// An operator switches a product, and goes on so for a while.
    Switch { host: usize, product: usize, left: u32 },
    /// A computer's orders go to it, if it is connected.
    Deliver { host: usize },
    /// What was done to a computer's product is over.
    Switched { host: usize, process: u64 },
    /// Something fails.
    Fault,
    /// An operator does something.
    Act,
    /// Faults stop.
    Heal,
    /// Everything has to be well.
    End,
}

/// See the module's text.
pub struct World {
    /// What is run.
    pub question: Question,
    /// The true time.
    pub now: i64,
    queue: BTreeMap<(i64, u64), Event>,
    planned: u64,
    /// Decides about the network.
    pub chance: Seed,
    /// The computers.
    pub hosts: Vec<Host>,
    /// When each is going to be woken.
    wakes: Vec<Option<i64>>,
    /// The collectors.
    pub collectors: Vec<Collector>,
    /// What the collectors share, where there are several.
    pub database: Option<Database>,
    /// The connections.
    pub connections: BTreeMap<u64, Connection>,
    /// Collectors that will take evidence.
    pub taking: BTreeSet<usize>,
    /// The reseller.
    pub office: Office,
    /// What is known from outside.
    pub witness: Witness,
    /// Where statements go.
    pub far: FarSide,
    /// What agents believe.
    pub service: VerifyingKey,
    /// Faults have stopped.
    pub healing: bool,
    ended: bool,
    told: VecDeque<(i64, String)>,
    trace: Sha256,
    /// What came of it.
    pub tally: Answer,
}

impl World {
    /// Everything as it is before the first event.
    pub fn new(question: Question) -> Self {
        let seed = Seed::new(question.seed);
        let office = Office::new(&seed);
        let mut world = Self {
            question,
            now: BEGINS_MS,
            queue: BTreeMap::new(),
            planned: 0,
            chance: seed.branch("world"),
            hosts: Vec::new(),
            wakes: Vec::new(),
            collectors: Vec::new(),
            database: None,
            connections: BTreeMap::new(),
            taking: BTreeSet::new(),
            service: office.service.verifying_key(),
            office,
            witness: Witness::default(),
            far: FarSide::default(),
            healing: false,
            ended: false,
            told: VecDeque::new(),
            trace: Sha256::new(),
            tally: Answer::default(),
        };
        world.found(&seed);
        world
    }

    /// Whether this is what was made wrong.
    pub fn is_wrong(&self, wrong: Wrong) -> bool {
        self.question.wrong == Some(wrong)
    }

    /// Counts what failed, by its kind.
    pub fn count(&mut self, kind: &'static str) {
        *self.tally.kinds.entry(kind).or_default() += 1;
    }

    /// A number below `limit`.
    pub fn draw(&mut self, limit: i64) -> i64 {
        self.chance.below(limit.max(0).unsigned_abs()) as i64
    }

    /// Plans an event.
    pub fn plan(&mut self, at: i64, event: Event) {
        self.planned += 1;
        self.queue.insert((at.max(self.now), self.planned), event);
    }

    /// Sees to it that a computer is woken in time.
    pub fn plan_wake(&mut self, host: usize) {
        let Some(at) = self.hosts[host].wakes_at(self.now).map(|at| at.max(self.now + 1)) else { return };
        if self.hosts[host].power != Power::On || self.wakes[host].is_some_and(|planned| planned <= at) {
            return;
        }
        self.wakes[host] = Some(at);
        let process = self.hosts[host].process;
        self.plan(at, Event::Wake { host, process, at });
    }

    /// Puts another computer there; its number.
    pub fn place(&mut self, host: Host) -> usize {
        self.hosts.push(host);
        self.wakes.push(None);
        self.hosts.len() - 1
    }

    /// Notes a broken promise; the first one counts.
    pub fn breaks(&mut self, invariant: Invariant, what: String) {
        if self.tally.broken.is_none() {
            let events =
                self.told.iter().map(|(at, text)| format!("{} {text}", crate::collector::instant(*at)));
            self.tally.broken = Some(Broken { invariant, at_ms: self.now, what, events: events.collect() });
        }
    }

    /// Notes something that is told when a promise breaks, and is part of the digest.
    pub fn tell(&mut self, text: String) {
        self.trace.update(self.now.to_be_bytes());
        self.mix(text.as_bytes());
        self.told.push_back((self.now, text));
        if self.told.len() > self.question.told {
            self.told.pop_front();
        }
    }

    /// Mixes bytes into the digest.
    pub fn mix(&mut self, bytes: &[u8]) {
        self.trace.update(bytes.len().to_be_bytes());
        self.trace.update(bytes);
    }

    /// Until the end, or until a promise breaks.
    pub fn run(&mut self) {
        let heals = BEGINS_MS + self.question.days * DAY;
        self.plan(heals, Event::Heal);
        self.plan(heals + HEALING, Event::End);
        while self.tally.broken.is_none()
            && !self.ended
            && let Some(((at, _), event)) = self.queue.pop_first()
        {
            self.now = at;
            self.tally.events += 1;
            if self.tally.events > EVENTS_MAX {
                self.breaks(Invariant::Drains, format!("after {EVENTS_MAX} events there are more"));
            }
            self.happen(event);
        }
    }

    /// What came of it.
    pub fn answer(self) -> Answer {
        Answer { digest: self.trace.finalize().into(), ..self.tally }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { host, process, at } => {
                if self.wakes[host] == Some(at) {
                    self.wakes[host] = None;
                }
                if self.hosts[host].process == process {
                    self.live(host, Happens::Wake);
                } else {
                    // Planned for the process before.
                    self.plan_wake(host);
                }
            }
            Event::Process { host, process, connection, happens } => {
                self.reach_process(host, process, connection, happens);
            }
            Event::Up { connection, message } => self.arrives(connection, *message),
            Event::Gone { connection } => self.gone(connection),
            Event::Take { collector } => self.take(collector),
            Event::Follow { collector } => self.follow(collector),
            Event::Jobs { collector } => self.jobs(collector),
            Event::Lead { collector } => self.lead(collector),
            Event::Continue(pending) => self.go_on(*pending),
            Event::Database => self.mend_database(),
            Event::Parcel(parcel) => self.taken(&parcel),
            Event::Open { collector } => self.open(collector),
            Event::Boot { host } => self.boot(host),
            Event::Resume { host } => self.resume(host),
            Event::Ask { host, token } => self.ask(host, token),
            Event::Asked { host, collector, token, request } => self.asked(host, collector, token, *request),
            Event::Answered { host, answer, token } => self.answered(host, answer, token),
            Event::Change { host } => self.change(host),
            Event::SetRight { host, skew_ms } => self.set_right(host, skew_ms),
            Event::Mend { host } => self.mend(host),
            Event::Room { collector } => self.room(collector),
            Event::Switch { host, product, left } => self.switch(host, product, left),
            Event::Deliver { host } => self.deliver(host),
            Event::Switched { host, process } => self.switched(host, process),
            Event::Fault => self.fault(),
            Event::Act => self.act(),
            Event::Heal => self.heal(),
            // What was made a moment ago may still be under way.
            Event::End if self.hosts.iter().any(|host| self.now - host.made_at < UNDER_WAY) => {
                self.plan(self.now + UNDER_WAY, Event::End);
            }
            Event::End => {
                self.ended = true;
                self.judge_the_end();
            }
        }
    }
}
