//! Computers that ask to be let in. Invariant: who was told that it is in, is noted.

use prost::Message as _;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire::{EnrolRequest, EnrolmentClaim};

use crate::host::Power;
use crate::invariant::Invariant;
use crate::office::token;
use crate::world::{Event, MINUTE, SECOND, World};
use crate::wrong::Wrong;

impl World {
    /// A technician asks for a computer to be let in.
    pub fn ask(&mut self, host: usize, token_number: usize) {
        let computer = &self.hosts[host];
        if computer.enrolled || computer.power != Power::On {
            return;
        }
        let collector = self.draw(self.collectors.len() as i64) as usize;
        let at = self.now + 5 + self.draw(500);
        if self.hosts[host].cut_off_until > self.now || (!self.healing && self.draw(30) == 0) {
            let at = at.max(self.hosts[host].cut_off_until) + MINUTE;
            return self.plan(at, Event::Answered { host, answer: None, token: token_number });
        }
        let computer = &self.hosts[host];
        let name = self.token_of(computer.customer, token_number);
        let request = Box::new(computer.claim(&name, self.office.secret, self.now));
        self.plan(at, Event::Asked { host, collector, token: token_number, request });
    }

    /// The question arrives.
    pub fn asked(&mut self, host: usize, collector: usize, token: usize, request: EnrolRequest) {
        if !self.is_wrong(Wrong::TokenCountedLocally) {
            self.follow_most_often(collector);
        }
        let was_running = self.collectors[collector].running.is_some();
        let claim = request.claim.as_ref().map(|claim| claim.payload.as_slice()).unwrap_or_default();
        let claim = EnrolmentClaim::decode(claim).unwrap_or_default();
        let machine = MachineId::derived_from(&claim.public_key).to_string();
        let is_stranger = !self.witness.book.machines.contains(&machine);
        let told = self.collectors[collector].enrol(request, self.now);
        self.read_news(collector);
        let answer = match told {
            Ok(_) => {
                if is_stranger && self.witness.book.revoked.contains(&claim.token) {
                    self.breaks(Invariant::RevokedShutOut, format!("{} let {machine} in", claim.token));
                }
                Some(Ok(()))
            }
            Err(Some(_)) => Some(Err(true)),
            Err(None) => {
                if was_running {
                    self.crash(collector);
                }
                None
            }
        };
        let lost = !self.healing && self.draw(12) == 0;
        let answer = answer.filter(|_| !lost);
        let at = self.now + 5 + self.draw(500);
        self.plan(at, Event::Answered { host, answer, token });
        self.plan_following(collector);
    }

    /// A customer's token of a kind: 0 is the scarce one.
    fn token_of(&self, customer: usize, kind: usize) -> String {
        token(customer, if kind == 0 { 0 } else { self.office.generous[customer] })
    }

    /// The answer arrives.
    pub fn answered(&mut self, host: usize, answer: Option<Result<(), bool>>, token: usize) {
        match answer {
            Some(Ok(())) => {
                let machine = self.hosts[host].machine.to_string();
                self.tell(format!("computer {host} is {machine}"));
                self.witness.told_in.insert(machine);
                self.hosts[host].enrolled = true;
                self.plan(self.now + SECOND, Event::Boot { host });
            }
            // The scarce token is used up, or the collector is busy: the generous one, later.
            Some(Err(_)) => self.plan(self.now + 10 * MINUTE, Event::Ask { host, token: 1 }),
            None => self.plan(self.now + MINUTE, Event::Ask { host, token }),
        }
    }

    /// After the journal was set back: who is not known any more is let in again.
    pub fn enrol_strangers(&mut self, collector: usize) {
        let Some(running) = &self.collectors[collector].running else { return };
        let registry = running.fold.registry();
        let strangers: Vec<usize> = (0..self.hosts.len())
            .filter(|host| {
                self.hosts[*host].enrolled && registry.machine(&self.hosts[*host].machine).is_none()
            })
            .collect();
        for host in strangers {
            // The agent goes on; only the collector has to hear of its key again.
            let name = self.token_of(self.hosts[host].customer, 1);
            let request = self.hosts[host].claim(&name, self.office.secret, self.now);
            let _ = self.collectors[collector].enrol(request, self.now);
        }
        self.read_news(collector);
    }
}
