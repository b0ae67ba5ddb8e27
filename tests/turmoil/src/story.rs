//! One seed: machines that come, change and fall, a collector that is killed, links that break and hang. Invariant:
//! nothing here is decided by anything but the seed.

use std::time::Duration;

use seatbeat_fleet::seed::Seed;
use turmoil::{Builder, Sim};

use crate::book::{Book, Broken};
use crate::house::{House, Keeps, NAME};
use crate::machine::Machine;

/// What all clocks show at the start.
pub const EPOCH: &str = "2026-10-14T21:40:00Z";

/// Agents of a story.
const MACHINES: u32 = 5;

/// A step of the virtual world; what is faster than that is at once.
const TICK: Duration = Duration::from_millis(20);

/// How long things go wrong, and how long they may take to be right again: an agent that was told to wait, a
/// connection that only keep-alive finds dead, and a handshake behind it.
const TROUBLED: Duration = Duration::from_secs(20 * 60);
const MENDING_MAX: Duration = Duration::from_secs(40 * 60);

/// Longest time between two events, in seconds.
const EVENTS_APART_S: u64 = 45;

/// What a story came by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub evidence: usize,
    pub collector_kills: u32,
    pub agent_kills: u32,
    pub broken_links: u32,
    pub held_links: u32,
    /// Machines that stood by, each time it was looked.
    pub stood_by: usize,
}

impl Count {
    pub fn add(&mut self, other: Self) {
        self.evidence += other.evidence;
        self.collector_kills += other.collector_kills;
        self.agent_kills += other.agent_kills;
        self.broken_links += other.broken_links;
        self.held_links += other.held_links;
        self.stood_by += other.stood_by;
    }
}

struct Story {
    sim: Sim<'static>,
    house: House,
    machines: Vec<Machine>,
    chance: Seed,
    count: Count,
}

/// Lets a seed's story happen.
///
/// # Errors
/// With the promise that was broken.
pub fn tell(seed: u64, keeps: Keeps) -> Result<Count, Broken> {
    let mut story = Story::new(seed, keeps);
    story.trouble()?;
    story.mend()?;
    story.end()
}

impl Story {
    fn new(seed: u64, keeps: Keeps) -> Self {
        let chance = Seed::new(seed).branch("turmoil");
        let mut sim = Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::MAX)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(60))
            .tcp_capacity(4096)
            .build();
        let (house, token) = House::founded(keeps, MACHINES);
        let serving = house.clone();
        sim.host(NAME, move || serving.clone().live());
        let machines: Vec<_> = (1..=MACHINES)
            .map(|number| {
                let name = format!("agent-{number}");
                let machine = Machine::new(name.clone(), &token, chance.branch(&name).next_number());
                let living = machine.clone();
                sim.host(name, move || living.clone().live());
                machine
            })
            .collect();
        Self { sim, house, machines, chance, count: Count::default() }
    }

    fn trouble(&mut self) -> Result<(), Broken> {
        while self.sim.elapsed() < TROUBLED {
            let wait = Duration::from_secs(self.chance.below(EVENTS_APART_S) + 1);
            self.pass(wait)?;
            self.event()?;
        }
        Ok(())
    }

    /// Time goes on.
    fn pass(&mut self, time: Duration) -> Result<(), Broken> {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().map_err(|error| format!("a process ended: {error}"))?;
            self.house.settle();
        }
        Ok(())
    }

    fn some_machine(&mut self) -> &Machine {
        &self.machines[self.chance.below(MACHINES.into()) as usize]
    }

    fn event(&mut self) -> Result<(), Broken> {
        self.some_machine().install();
        self.some_machine().install();
        self.count.stood_by += self.house.standing_by();
        let name = self.some_machine().name().to_owned();
        match self.chance.below(6) {
            0 => {
                self.count.agent_kills += 1;
                self.sim.crash(name.as_str());
                let down = Duration::from_secs(self.chance.below(90));
                self.pass(down)?;
                self.sim.bounce(name.as_str());
            }
            1 => {
                self.count.collector_kills += 1;
                self.sim.crash(NAME);
                Book::of(&self.house)?.holds_what_was_acknowledged(&self.machines)?;
                let down = Duration::from_secs(self.chance.below(60));
                self.pass(down)?;
                self.sim.bounce(NAME);
            }
            2 | 3 => {
                self.count.broken_links += 1;
                match self.chance.below(3) {
                    0 => self.sim.partition(name.as_str(), NAME),
                    1 => self.sim.partition_oneway(name.as_str(), NAME),
                    _ => self.sim.partition_oneway(NAME, name.as_str()),
                }
            }
            4 => {
                self.count.held_links += 1;
                self.sim.hold(name.as_str(), NAME);
            }
            _ => self.heal(),
        }
        Ok(())
    }

    /// Every link is as it should be; what was held arrives, what was dropped does not.
    fn heal(&mut self) {
        for machine in &self.machines {
            self.sim.release(machine.name(), NAME);
            self.sim.repair(machine.name(), NAME);
        }
    }

    /// Nothing goes wrong any more: everybody gets everything across.
    fn mend(&mut self) -> Result<(), Broken> {
        self.heal();
        let until = self.sim.elapsed() + MENDING_MAX;
        while self.sim.elapsed() < until {
            self.pass(Duration::from_secs(10))?;
            if self.machines.iter().all(Machine::rests) {
                return Ok(());
            }
        }
        let restless = self.machines.iter().filter(|machine| !machine.rests()).map(Machine::name);
        Err(format!("does not come to rest: {}", restless.collect::<Vec<_>>().join(", ")))
    }

    fn end(mut self) -> Result<Count, Broken> {
        self.sim.crash(NAME);
        let book = Book::of(&self.house)?;
        book.holds_what_was_acknowledged(&self.machines)?;
        book.holds_everything(&self.machines)?;
        self.count.evidence = book.len();
        Ok(self.count)
    }
}
