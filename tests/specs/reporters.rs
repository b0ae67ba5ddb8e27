//! Simulated machines that only report, without end and whatever becomes of their collectors, and what a collector exports
//! of them. Invariant: who was acknowledged is not told less by any collector behind it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use seatbeat_fleet::client::{Connection, Door};
use seatbeat_fleet::machine::{Condition, Link, Machine, Timeline};
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::wire;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::desk::{Desk, text};

/// The machine's time of day.
pub fn now() -> Timestamp {
    seatbeat_collector::clock::Clock::real().now()
}

/// A machine on which one product is always active.
pub fn reporter(name: &str, seed: &Seed) -> Machine {
    let found = wire::FoundProduct {
        product: "dsa-cloud".to_owned(),
        state: wire::ProductState::Active.into(),
        version: "20.0.2".to_owned(),
        ..Default::default()
    };
    Machine::new(name, seed, Timeline::from(Timestamp::UNIX_EPOCH, Condition::Shows(Arc::from([found]))))
}

/// Reports a machine makes at most: a collector that runs on takes 62 days' worth at once, 12,648, and no more.
const LINKS_MAX: i64 = 12_000;

/// From one report to the next, where nothing else is asked for.
const PAUSE: Duration = Duration::from_millis(1);

/// How often a machine asks to be let in while its collector is killed.
const ENROL_TRIES: u32 = 300;

/// How often a machine brings what is left.
const DRAIN_TRIES: u32 = 10;

/// Connections in a row whose collectors know less than another acknowledged.
const BEHIND_MAX: u32 = 3;

/// What one machine did: its whole chain, and how much of it was acknowledged.
struct Told {
    machine: Machine,
    links: Vec<Link>,
    acked: u64,
}

/// What many machines report to, and until when.
pub struct Reporting {
    doors: Vec<Door>,
    /// Reports of a connection, then it goes to the next door.
    each: usize,
    /// From one report to the next.
    pause: Duration,
    began: Timestamp,
    stop: AtomicBool,
    /// A collector may not know now what another has acknowledged.
    pub is_away: AtomicBool,
    acked: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl Reporting {
    /// To these doors in turn, so many reports at each.
    pub fn to(doors: Vec<Door>, each: usize) -> Arc<Self> {
        Self::at_pace(doors, each, PAUSE)
    }

    /// Likewise, with so long from one report to the next.
    pub fn at_pace(doors: Vec<Door>, each: usize, pause: Duration) -> Arc<Self> {
        let began = now().saturating_sub(SignedDuration::from_mins(1)).expect("the clock is past its start");
        let (stop, is_away, acked) = (AtomicBool::default(), AtomicBool::default(), Mutex::default());
        Arc::new(Self { doors, each, pause, began, stop, is_away, acked })
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Up to where each machine was acknowledged, now.
    pub fn acked(&self) -> BTreeMap<String, u64> {
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        acked.iter().map(|(machine, acked)| (machine.clone(), acked.load(Ordering::SeqCst))).collect()
    }

    /// Asks until a collector runs and answers; whoever asks again gets the same answer.
    async fn enrol(&self, machine: &Machine, first: usize) {
        let door = &self.doors[first % self.doors.len()];
        for _ in 0..ENROL_TRIES {
            match door.enrol(machine, now()).await {
                Ok(_) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("{} was not let in", machine.name());
    }

    fn know(&self, machine: &Machine) -> Arc<AtomicU64> {
        let mut acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(acked.entry(machine.id().to_string()).or_default())
    }

    /// Lets a machine in at one of the doors, and has it send a growing chain from the next one on; it connects again
    /// whenever a collector is gone, until all are told to stop.
    async fn run(self: Arc<Self>, mut machine: Machine, first: usize) -> Told {
        let doors = &self.doors;
        self.enrol(&machine, first).await;
        let acked = self.know(&machine);
        let (mut links, mut made) = (Vec::<Link>::new(), 0);
        let (mut turn, mut behind) = (first, 0);
        while !self.is_over() {
            turn += 1;
            let Ok(mut connection) = Connection::open(&doors[turn % doors.len()], &machine, now()).await
            else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let (held, told) = (held(&connection), acked.load(Ordering::SeqCst));
            // One that could not ask in time goes on with what it knows; not again and again.
            behind = if held >= told || self.is_away.load(Ordering::SeqCst) { 0 } else { behind + 1 };
            assert!(behind < BEHIND_MAX, "acknowledged up to {told}, but the collector holds {held}");
            let mut alive = connection.send_all(&links).await.is_ok();
            for _ in 0..self.each {
                if !alive || self.is_over() || made >= LINKS_MAX {
                    break;
                }
                made += 1;
                let at = self.began.saturating_add(SignedDuration::from_millis(made));
                links.extend(machine.link_at(at.expect("a day has room")));
                alive = match links.last() {
                    Some(link) => connection.send(link).await.is_ok(),
                    None => true,
                };
                acked.fetch_max(connection.acked(), Ordering::SeqCst);
                tokio::time::sleep(self.pause).await;
            }
            acked.fetch_max(connection.acked(), Ordering::SeqCst);
        }
        let acked = acked.load(Ordering::SeqCst);
        assert!(acked > 0, "a machine was never acknowledged");
        Told { machine, links, acked }
    }
}

/// Machines that report at once, in a runtime of their own.
pub struct Fleet {
    runtime: Runtime,
    /// What they report to.
    pub reporting: Arc<Reporting>,
    tasks: Vec<JoinHandle<Told>>,
}

impl Fleet {
    /// As many machines, each let in at one of the doors and going on from there.
    pub fn report(reporting: Arc<Reporting>, machines: usize, seed: &Seed) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let run = |number| {
            let machine = reporter(&format!("pc-{number}"), seed);
            runtime.spawn(Arc::clone(&reporting).run(machine, number))
        };
        let tasks = (0..machines).map(run).collect();
        Self { runtime, reporting, tasks }
    }

    /// Tells them to stop, and has each bring what is left; where all they reported stands then, once each.
    pub fn stop(self) -> BTreeMap<(String, u64), u32> {
        self.reporting.stop.store(true, Ordering::SeqCst);
        let doors = &self.reporting.doors;
        let mut places = BTreeMap::new();
        for (number, task) in self.tasks.into_iter().enumerate() {
            let told = self.runtime.block_on(task).expect("a machine's task ends well");
            self.runtime.block_on(told.drain(&doors[number % doors.len()]));
            places.extend(told.places());
        }
        places
    }
}

impl Told {
    /// Sends what is left, to a collector that runs; one that is too busy is asked again.
    async fn drain(&self, door: &Door) {
        for tries_left in (0..DRAIN_TRIES).rev() {
            let mut connection =
                Connection::open(door, &self.machine, now()).await.expect("the collector runs");
            let held = held(&connection);
            assert!(held >= self.acked, "acknowledged up to {}, but the collector holds {held}", self.acked);
            match connection.send_all(&self.links).await {
                Ok(()) => return connection.close().await,
                Err(error) => assert!(tries_left > 0, "what is left is not taken: {error}"),
            }
        }
    }

    /// Where its reports stand, once each.
    fn places(&self) -> impl Iterator<Item = ((String, u64), u32)> {
        self.links.iter().map(|link| ((self.machine.id().to_string(), link.tip.sequence), 1))
    }
}

fn held(connection: &Connection) -> u64 {
    connection.welcomed_at().map_or(0, |tip| tip.sequence)
}

/// How often each place of each chain stands in what the collector exports.
pub fn exported(desk: &Desk, period: &str) -> BTreeMap<(String, u64), u32> {
    let folder = desk.path("export");
    let _ = std::fs::remove_dir_all(&folder);
    desk.operator_ok(&["export", "--period", period, "--to", text(&folder)]);
    let mut places = BTreeMap::new();
    for line in std::fs::read_to_string(folder.join("records.jsonl")).expect("records are there").lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record is JSON");
        if record["type"] == "report" {
            let machine = record["machine"].as_str().expect("a machine has an id").to_owned();
            *places.entry((machine, record["sequence"].as_u64().expect("a number"))).or_default() += 1;
        }
    }
    places
}
