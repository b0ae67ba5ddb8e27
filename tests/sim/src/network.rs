//! Connections between agents and collectors. Invariant: a connection carries messages in order and whole, or breaks;
//! what was under way when it broke is lost, and each side learns of it in its own time.

use prost::Message as _;
use seatbeat_agent::link::LinkError;
use seatbeat_agent::session::{Loss, WINDOW};
use seatbeat_agent::spool::SpoolError;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire;
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body;

use crate::collector::Down;
use crate::host::{Act, Happens, Power};
use crate::invariant::Invariant;
use crate::world::{Event, MINUTE, SECOND, World};
use crate::wrong::Wrong;

/// Time until a connection that carries nothing is given up.
const NOTICED_MAX: i64 = 140 * SECOND;

/// Evidence that may wait at a collector for one connection: the agent's window.
const PENDING_MAX: usize = WINDOW as usize;

/// Connections of an agent that is made to give up.
const CONNECTS_OF_THE_WRONG: u32 = 5;

/// One connection.
#[derive(Debug, Clone)]
pub struct Connection {
    host: usize,
    process: u64,
    collector: usize,
    /// Which life of the collector.
    life: u64,
    up_at: i64,
    down_at: i64,
    delay: i64,
    broken: bool,
    /// The order keys that its agent has, as it said or was sent.
    pub keys_revision: u64,
}

impl World {
    /// Lets something happen to a process, and carries out what it wants.
    pub fn live(&mut self, host: usize, happens: Happens) {
        if self.hosts[host].power != Power::On {
            return;
        }
        match &happens {
            Happens::Lost(loss) => {
                self.hosts[host].shut_out = *loss == Loss::Rejected && !self.healing;
                self.drop_connection(host);
            }
            Happens::Said(_) => self.hosts[host].shut_out = false,
            _ => {}
        }
        match self.hosts[host].live(happens, self.now) {
            Ok(acts) => self.lived(host, acts),
            Err(error) => self.ended(host, &error),
        }
        self.plan_wake(host);
    }

    /// Notes what a process did, and carries out what it wants.
    pub fn lived(&mut self, host: usize, acts: Vec<Act>) {
        self.note_evidence(host);
        self.note_orders(host);
        acts.into_iter().for_each(|act| self.carry_out(host, act));
    }

    /// A process ends by itself.
    pub fn ended(&mut self, host: usize, error: &SpoolError) {
        self.tell(format!("agent {host} ends: {error}"));
        self.drop_connection(host);
        self.plan(self.now + 30 * SECOND, Event::Boot { host });
    }

    /// Which collector is at the other end.
    pub fn collector_of(&self, number: u64) -> Option<usize> {
        self.connections.get(&number).map(|connection| connection.collector)
    }

    fn carry_out(&mut self, host: usize, act: Act) {
        match act {
            Act::Connect => self.connect(host),
            Act::Disconnect => self.drop_connection(host),
            Act::Say(message) => self.say(host, *message),
            Act::Switch => {
                let (at, process) = (self.now + SECOND + self.draw(2 * MINUTE), self.hosts[host].process);
                self.plan(at, Event::Switched { host, process });
            }
        }
    }

    fn connect(&mut self, host: usize) {
        self.drop_connection(host);
        let collector = self.draw(self.collectors.len() as i64) as usize;
        let process = self.hosts[host].process;
        let delay = if self.draw(20) == 0 { self.draw(5 * SECOND) } else { 5 + self.draw(300) };
        let number = self.witness.next_connection();
        self.hosts[host].connects += 1;
        let gives_up =
            self.is_wrong(Wrong::ConnectsFiveTimes) && self.hosts[host].connects > CONNECTS_OF_THE_WRONG;
        let reached =
            self.collectors[collector].running.is_some() && self.hosts[host].cut_off_until <= self.now;
        if gives_up {
            return;
        }
        let life = self.witness.lives[collector];
        let (up_at, down_at) = (self.now, self.now);
        self.hosts[host].connection = Some(number);
        let connection = Connection {
            host,
            process,
            collector,
            life,
            up_at,
            down_at,
            delay,
            broken: !reached,
            keys_revision: 0,
        };
        self.connections.insert(number, connection);
        let (at, happens) = if reached {
            (delay * 2, Happens::Connected)
        } else {
            (10 * SECOND, Happens::Lost(Loss::Broken))
        };
        self.plan(self.now + at, Event::Process { host, process, connection: Some(number), happens });
    }

    /// Closes what connection a computer has, from its side.
    pub fn drop_connection(&mut self, host: usize) {
        let Some(number) = self.hosts[host].connection.take() else { return };
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.broken = true;
            let at = connection.up_at.max(self.now) + connection.delay;
            self.plan(at, Event::Gone { connection: number });
        }
    }

    /// A connection breaks under way; each side learns of it later.
    pub fn break_connection(&mut self, number: u64) {
        let (agent_in, collector_in) = (self.draw(NOTICED_MAX), self.draw(NOTICED_MAX));
        let Some(connection) = self.connections.get_mut(&number).filter(|connection| !connection.broken)
        else {
            return;
        };
        connection.broken = true;
        let (host, process) = (connection.host, connection.process);
        let happens = Happens::Lost(Loss::Broken);
        self.plan(self.now + agent_in, Event::Process { host, process, connection: Some(number), happens });
        self.plan(self.now + collector_in, Event::Gone { connection: number });
    }

    /// All connections of a collector break: its process is gone.
    pub fn break_connections_of(&mut self, collector: usize) {
        let numbers: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.collector == collector)
            .map(|(number, _)| *number)
            .collect();
        numbers.into_iter().for_each(|number| self.break_connection(number));
    }

    fn say(&mut self, host: usize, message: wire::AgentMessage) {
        if let Some(Up::Evidence(signed)) = &message.body {
            self.note_said(host, signed);
        }
        let Some(number) = self.hosts[host].connection else { return };
        let breaks = self.draw(500) == 0 || self.hosts[host].cut_off_until > self.now;
        if breaks && !self.healing {
            self.break_connection(number);
        }
        let jitter = self.draw(20);
        let Some(connection) = self.connections.get_mut(&number).filter(|connection| !connection.broken)
        else {
            return;
        };
        connection.up_at = connection.up_at.max(self.now) + connection.delay / 8 + jitter;
        let at = connection.up_at + connection.delay;
        self.plan(at, Event::Up { connection: number, message: Box::new(message) });
    }

    /// A message arrives at a collector.
    pub fn arrives(&mut self, number: u64, message: wire::AgentMessage) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (collector, host) = (connection.collector, connection.host);
        let alive = connection.life == self.witness.lives[collector] && !connection.broken;
        if !alive || self.collectors[collector].running.is_none() {
            return;
        }
        match message.body {
            Some(Up::Hello(hello)) => {
                self.follow_most_often(collector);
                if let Some(connection) = self.connections.get_mut(&number) {
                    connection.keys_revision = hello.order_keys_revision;
                }
                let (key, settings, now) =
                    (self.hosts[host].key.clone(), self.office.settings.clone(), self.now);
                let mut down = self.collectors[collector].hello(number, &key, hello, &settings, now);
                if self.is_wrong(Wrong::WelcomedTooFar) && self.witness.set_back {
                    down.iter_mut().for_each(|down| self.welcome_too_far(host, down));
                }
                let welcomed = down.iter().any(|down| matches!(down, Down::Say(_, Body::Welcome(_))));
                self.send_down(down);
                if welcomed {
                    self.send_orders(number, host);
                }
            }
            Some(Up::Evidence(mut signed)) => {
                if !self.healing && self.draw(2_000) == 0 {
                    // A bit that flipped where no checksum looks.
                    let at = self.draw(signed.payload.len() as i64) as usize;
                    signed.payload[at] ^= 1;
                }
                let waits = self.collectors[collector].evidence(number, signed);
                if waits > PENDING_MAX {
                    let what = format!("{waits} pieces of evidence wait on one connection of agent {host}");
                    self.breaks(Invariant::QueuesBounded, what);
                }
                self.plan_take(collector);
            }
            Some(Up::Beat(_)) | None => {}
        }
    }

    /// Tells a machine that all it has is in the journal.
    fn welcome_too_far(&self, host: usize, down: &mut Down) {
        let Some(reporter) = &self.hosts[host].reporter else { return };
        let chain = reporter.spool().chain();
        if let Down::Say(_, Body::Welcome(welcome)) = down
            && let Ok(Some(newest)) = reporter.spool().read(chain.tip())
        {
            (welcome.sequence, welcome.hash) = (chain.tip(), hash(&newest.payload).to_vec());
        }
    }

    /// Sees to it that waiting evidence is taken.
    pub fn plan_take(&mut self, collector: usize) {
        if self.taking.insert(collector) {
            let wait = 1 + self.draw(12);
            self.plan(self.now + wait, Event::Take { collector });
        }
    }

    /// A collector takes what waits on one connection.
    pub fn take(&mut self, collector: usize) {
        self.taking.remove(&collector);
        let taken = self.collectors[collector].take_next(self.now);
        let was_running = self.collectors[collector].running.is_some();
        self.read_news(collector);
        match taken {
            Some(down) => self.send_down(down),
            None if was_running => self.crash(collector),
            None => {}
        }
        if self.collectors[collector].is_busy() {
            let wait = 1 + self.draw(4);
            if self.taking.insert(collector) {
                self.plan(self.now + wait, Event::Take { collector });
            }
        }
        self.plan_following(collector);
    }

    /// A collector learns that a connection is gone.
    pub fn gone(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else { return };
        if connection.life == self.witness.lives[connection.collector] {
            self.collectors[connection.collector].gone(number);
        }
    }

    /// Sends what a collector says.
    pub fn send_down(&mut self, down: Vec<Down>) {
        for one in down {
            let number = match &one {
                Down::Say(number, _) | Down::End(number, _) => *number,
            };
            let Some(connection) = self.connections.get(&number) else { continue };
            let (host, process, delay) = (connection.host, connection.process, connection.delay);
            match &one {
                Down::Say(_, Body::Ack(ack)) => self.note_ack(host, ack),
                Down::Say(_, Body::Refusal(refusal)) => self.note_refusal(host, refusal),
                _ => {}
            }
            if self.connections.get(&number).is_none_or(|connection| connection.broken) {
                continue;
            }
            if !self.healing && self.draw(800) == 0 {
                self.break_connection(number);
                continue;
            }
            let jitter = self.draw(20);
            let happens = match one {
                Down::Say(_, body) => Happens::Said(Box::new(wire::CollectorMessage { body: Some(body) })),
                Down::End(_, status) => Happens::Lost(LinkError::from(status).loss()),
            };
            if let Some(connection) = self.connections.get_mut(&number) {
                connection.down_at = connection.down_at.max(self.now) + jitter;
                let at = connection.down_at + delay;
                connection.broken |= matches!(happens, Happens::Lost(_));
                self.plan(at, Event::Process { host, process, connection: Some(number), happens });
            }
        }
    }

    /// Something arrives at a process.
    pub fn reach_process(&mut self, host: usize, process: u64, connection: Option<u64>, happens: Happens) {
        let computer = &self.hosts[host];
        if computer.process != process || (connection.is_some() && computer.connection != connection) {
            return;
        }
        match computer.power {
            Power::On => {}
            // It hears of it when it wakes up.
            Power::Asleep => {
                let at = self.now + 10 * MINUTE;
                return self.plan(at, Event::Process { host, process, connection, happens });
            }
            Power::Off | Power::Gone => return,
        }
        if let Happens::Said(message) = &happens {
            let said = message.encode_to_vec();
            self.mix(&said);
        }
        self.live(host, happens);
    }
}
