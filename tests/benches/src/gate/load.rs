//! The load generator: a process of its own with thousands of enrolled machines on the real protocol. Invariant: keys
//! and signatures are made before anything is measured, and it does what it is asked on stdin, one line at a time.

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use seatbeat_collector::clock::Clock;
use seatbeat_fleet::client::{ClientError, Connection, Door, Line};
use seatbeat_fleet::machine::{Link, Machine, Timeline};
use seatbeat_fleet::seed::Seed;
use seatbeat_fleet::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Decides every key and every report, so that store and generator agree without talking.
const SEED: u64 = 4;

/// Between two reports of one machine.
const REPORT_STEP: SignedDuration = SignedDuration::from_mins(5);

/// A machine that lost its connection tries again within so many milliseconds.
const RETRY_MS: u64 = 2_000;

/// What the generator is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// Make machines and their signed chains.
    Prepare { from: usize, to: usize, reports: usize },
    /// Ask to be let in, each over a connection of its own.
    Enrol { at_once: usize },
    /// Prove the key, and hang up.
    Handshakes { at_once: usize },
    /// Open the links of so many more machines.
    Connect { count: usize, at_once: usize },
    /// So many more machines stand by, without having had a link.
    StandBy { count: usize, at_once: usize },
    /// Each open link, and each machine on standby, says so often, evenly spread, that its machine is alive.
    Beats { rounds: u32, per_second: u32 },
    /// Each open link sends so many reports, this many on the way at most; 0 a second: as fast as they are
    /// acknowledged.
    Reports { each: usize, window: u64, per_second: u32 },
    /// Each open link sends a report; who loses its connection comes back at once, until all is acknowledged.
    Storm { per_second: u32 },
    /// Every so many of the machines, by their numbers, waits for one order.
    Orders { every: usize },
}

/// What became of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Told {
    /// Connections, messages or handshakes.
    pub count: u64,
    /// From the first to the last.
    pub elapsed_us: u64,
    /// From sent to acknowledged: the middle one, and one in a hundred.
    pub ack_us: [u64; 2],
    /// Attempts that failed.
    pub failed: u64,
    /// Machines whose acknowledged reports the collector no longer held.
    pub lost: u64,
    /// When which order was received.
    pub ordered: BTreeMap<String, Timestamp>,
}

struct Member {
    number: usize,
    machine: Machine,
    links: Vec<Link>,
    sent: usize,
    connection: Option<Connection>,
    line: Option<Line>,
}

/// What one machine's part of an act gives.
#[derive(Default)]
struct Part {
    count: u64,
    failed: u64,
    lost: u64,
    ordered: Option<(String, Timestamp)>,
    acks: Vec<Duration>,
    ended_at: Option<Instant>,
    back_at: Option<Instant>,
}

/// The machine with this number; the same in every process.
pub fn machine(number: usize, now: Timestamp) -> anyhow::Result<Machine> {
    let timeline = Timeline::from(Timestamp::UNIX_EPOCH, Snapshot::V1Server.condition(now)?);
    Ok(Machine::new(&format!("bench-{number}"), &Seed::new(SEED), timeline))
}

/// Runs the generator against the door that a token opens, until stdin ends.
pub fn run(token: &str, address: &str) -> anyhow::Result<ExitCode> {
    let door = Arc::new(Door::of(token)?.at(address).taking_orders(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut members = Vec::new();
        while let Some(line) = lines.next_line().await? {
            let told = answer(&door, &mut members, serde_json::from_str(&line)?).await?;
            let mut out = tokio::io::stdout();
            out.write_all(format!("{}\n", serde_json::to_string(&told)?).as_bytes()).await?;
            out.flush().await?;
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(door: &Arc<Door>, members: &mut Vec<Member>, ask: Ask) -> anyhow::Result<Told> {
    let now = || Clock::real().now();
    if let Ask::Prepare { from, to, reports } = ask {
        members
            .extend((from..to).map(|number| prepared(number, reports)).collect::<anyhow::Result<Vec<_>>>()?);
        return Ok(Told { count: (to - from) as u64, ..Told::default() });
    }
    let started = Instant::now();
    let open = members.iter().filter(|member| member.is_there()).count();
    let turns = Arc::new(Semaphore::new(at_once(&ask)));
    let (mut parts, mut number) = (JoinSet::new(), 0);
    // They come back in another order each time; who is open counts first among those that are to be.
    members.sort_by_key(|member| !member.is_there());
    for mut member in members.drain(..) {
        let (door, ask, turns, place) = (Arc::clone(door), ask.clone(), Arc::clone(&turns), number);
        let comes = matches!(ask, Ask::Connect { .. } | Ask::StandBy { .. });
        number += usize::from(member.is_there() || comes);
        parts.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let part = match ask {
                Ask::Prepare { .. } => Ok(Part::default()),
                Ask::Enrol { .. } => door.enrol(&member.machine, now()).await.map(|_| Part::one()),
                Ask::Handshakes { .. } => door.shake_hands(&member.machine).await.map(|()| Part::one()),
                Ask::Connect { count, .. } => member.connect(&door, place < open + count).await,
                Ask::StandBy { count, .. } => member.stand_by(&door, place < open + count).await,
                Ask::Beats { rounds, per_second } => {
                    member.beats(rounds, Pace { started, per_second, place, of: open }).await
                }
                Ask::Reports { each, window, per_second } => {
                    member.reports(each, window, Pace { started, per_second, place, of: open }).await
                }
                Ask::Orders { every } => member.ordered(&door, every).await,
                Ask::Storm { per_second } => {
                    member.storm(&door, Pace { started, per_second, place, of: open }).await
                }
            };
            (member, part)
        });
    }
    let (mut all, mut ordered) = (Part::default(), BTreeMap::new());
    let (mut first_ended, mut last_back) = (None::<Instant>, None::<Instant>);
    while let Some(done) = parts.join_next().await {
        let (member, part) = done?;
        let part = part.with_context(|| format!("{} failed", member.machine.name()))?;
        members.push(member);
        all.count += part.count;
        all.failed += part.failed;
        all.lost += part.lost;
        all.acks.extend(part.acks);
        ordered.extend(part.ordered);
        first_ended = part.ended_at.into_iter().chain(first_ended).min();
        last_back = part.back_at.into_iter().chain(last_back).max();
    }
    let elapsed = match first_ended.zip(last_back) {
        Some((ended, back)) => back.saturating_duration_since(ended),
        None => started.elapsed(),
    };
    Ok(Told {
        count: all.count,
        elapsed_us: micros(elapsed),
        ack_us: percentiles(all.acks),
        failed: all.failed,
        lost: all.lost,
        ordered,
    })
}

fn at_once(ask: &Ask) -> usize {
    match ask {
        Ask::Enrol { at_once } | Ask::Handshakes { at_once } | Ask::Connect { at_once, .. } => *at_once,
        Ask::StandBy { at_once, .. } => *at_once,
        _ => Semaphore::MAX_PERMITS,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn percentiles(mut times: Vec<Duration>) -> [u64; 2] {
    times.sort_unstable();
    [50, 99].map(|percent| times.get(times.len() * percent / 100).copied().map_or(0, micros))
}

fn prepared(number: usize, reports: usize) -> anyhow::Result<Member> {
    let now = Clock::real().now();
    let mut machine = machine(number, now)?;
    let first = now.checked_sub(REPORT_STEP * i32::try_from(reports)?)?;
    let links = (0..i32::try_from(reports)?)
        .map(|step| Ok(machine.link_at(first.checked_add(REPORT_STEP * step)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Member {
        number,
        machine,
        links: links.into_iter().flatten().collect(),
        sent: 0,
        connection: None,
        line: None,
    })
}

/// When each of many machines has its turn.
#[derive(Clone, Copy)]
struct Pace {
    started: Instant,
    per_second: u32,
    place: usize,
    of: usize,
}

impl Pace {
    /// Waits for the turn of this machine in a round; no pace, no waiting.
    async fn turn(&self, round: usize) {
        if self.per_second > 0 {
            let before = (round * self.of + self.place) as u64;
            sleep_until(
                self.started + Duration::from_micros(before * 1_000_000 / u64::from(self.per_second)),
            )
            .await;
        }
    }
}

impl Part {
    fn one() -> Self {
        Self { count: 1, ..Self::default() }
    }
}

impl Member {
    async fn connect(&mut self, door: &Door, wanted: bool) -> Result<Part, ClientError> {
        if self.is_there() || !wanted {
            return Ok(Part::default());
        }
        self.connection = Some(Connection::open(door, &self.machine, Clock::real().now()).await?);
        Ok(Part::one())
    }

    fn is_there(&self) -> bool {
        self.connection.is_some() || self.line.is_some()
    }

    async fn stand_by(&mut self, door: &Door, wanted: bool) -> Result<Part, ClientError> {
        if self.is_there() || !wanted {
            return Ok(Part::default());
        }
        self.line = Some(Line::open(door, &self.machine, Clock::real().now()).await?);
        Ok(Part::one())
    }

    /// Waits for an order, when this machine is one of those that get one; on standby, until it is called for it.
    async fn ordered(&mut self, door: &Door, every: usize) -> Result<Part, ClientError> {
        if !self.number.is_multiple_of(every) {
            return Ok(Part::default());
        }
        if let Some(line) = &mut self.line {
            line.called().await?;
            self.connection = Some(Connection::open(door, &self.machine, Clock::real().now()).await?);
            self.line = None;
        }
        let Some(connection) = &mut self.connection else { return Ok(Part::default()) };
        let order = connection.next_order().await?;
        Ok(Part { ordered: Some((order, Clock::real().now())), ..Part::one() })
    }

    async fn beats(&mut self, rounds: u32, pace: Pace) -> Result<Part, ClientError> {
        if !self.is_there() {
            return Ok(Part::default());
        }
        for round in 0..rounds as usize {
            pace.turn(round).await;
            match (&mut self.line, &mut self.connection) {
                (Some(line), _) => line.beat(Clock::real().now()).await?,
                (None, Some(connection)) => connection.beat(Clock::real().now()).await?,
                (None, None) => {}
            }
        }
        Ok(Part { count: rounds.into(), ..Part::default() })
    }

    async fn reports(&mut self, each: usize, window: u64, pace: Pace) -> Result<Part, ClientError> {
        let Some(connection) = &mut self.connection else { return Ok(Part::default()) };
        let mut part = Part::default();
        let mut waiting = VecDeque::new();
        for (round, link) in self.links.iter().skip(self.sent).take(each).enumerate() {
            while waiting.len() as u64 >= window {
                acked(connection, &mut waiting, &mut part).await?;
            }
            pace.turn(round).await;
            connection.send(link).await?;
            waiting.push_back((link.tip.sequence, Instant::now()));
            part.count += 1;
        }
        while !waiting.is_empty() {
            acked(connection, &mut waiting, &mut part).await?;
        }
        self.sent += part.count as usize;
        Ok(part)
    }

    /// Sends one report, and comes back as often as it takes until the collector has it.
    async fn storm(&mut self, door: &Door, pace: Pace) -> Result<Part, ClientError> {
        let Some(connection) = &mut self.connection else { return Ok(Part::default()) };
        let mut part = Part::one();
        pace.turn(0).await;
        if let Some(link) = self.links.get(self.sent) {
            // Whether it arrives shows after the return.
            let _ = connection.send(link).await;
            self.sent += 1;
        }
        while !matches!(connection.wait_acked(u64::MAX).await, Err(ClientError::Ended { .. })) {}
        part.ended_at = Some(Instant::now());
        let acked_before = connection.acked();
        let mut chance = Seed::new(SEED).branch(self.machine.name());
        loop {
            sleep(Duration::from_millis(chance.below(RETRY_MS))).await;
            let Ok(connection) = Connection::open(door, &self.machine, Clock::real().now()).await else {
                part.failed += 1;
                continue;
            };
            part.lost = u64::from(connection.acked() < acked_before);
            // Among so many it may be cut off once more.
            match self.connection.insert(connection).send_all(&self.links[..self.sent]).await {
                Ok(()) => break,
                Err(_) => part.failed += 1,
            }
        }
        part.back_at = Some(Instant::now());
        Ok(part)
    }
}

/// Waits for the next acknowledgement and notes how long each report it covers has waited.
async fn acked(
    connection: &mut Connection,
    waiting: &mut VecDeque<(u64, Instant)>,
    part: &mut Part,
) -> Result<(), ClientError> {
    let Some((oldest, _)) = waiting.front() else { return Ok(()) };
    connection.wait_acked(*oldest).await?;
    let (acked, now) = (connection.acked(), Instant::now());
    while let Some((_, sent_at)) = waiting.pop_front_if(|(sequence, _)| *sequence <= acked) {
        part.acks.push(now.saturating_duration_since(sent_at));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_and_one_in_a_hundred() {
        let times = (1..=200).rev().map(Duration::from_micros).collect();
        assert_eq!((percentiles(times), percentiles(Vec::new())), ([101, 199], [0, 0]));
    }

    #[test]
    fn store_and_generator_know_the_same_machines_and_their_chains_begin_alike() {
        let now = Clock::real().now();
        let (one, other) = (machine(3, now).unwrap(), prepared(3, 2).unwrap());
        assert_eq!((one.id(), one.spool()), (other.machine.id(), other.machine.spool()));
        let sequences: Vec<u64> = other.links.iter().map(|link| link.tip.sequence).collect();
        assert_eq!(sequences, [1, 2]);
    }
}
