//! What operators do. Invariant: an act that a collector took is noted, and has to stand.

use prost::Message as _;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Signed};

use crate::collector::Down;
use crate::host::Power;
use crate::office::{CUSTOMERS, OPERATOR};
use crate::witness::fact_hash;
use crate::world::{DAY, Event, HOUR, World};
use crate::wrong::Wrong;

impl World {
    /// An operator does something.
    pub fn act(&mut self) {
        if self.healing {
            return;
        }
        let at = self.now + 4 * HOUR + self.draw(20 * HOUR);
        self.plan(at, Event::Act);
        let host = self.draw(self.hosts.len() as i64) as usize;
        let machine = self.hosts[host].machine.to_string();
        if !self.hosts[host].enrolled {
            return;
        }
        let at_ms = self.some_days_ago();
        match self.draw(25) {
            0 | 1 => {
                let customer = CUSTOMERS[self.draw(3) as usize].to_owned();
                self.write_act(Fact::MachineAssigned(wire::MachineAssigned { machine, customer, at_ms }));
            }
            2 | 3 => {
                if self.write_act(Fact::MachineRetired(wire::MachineRetired { machine, at_ms: self.now })) {
                    self.retire(host);
                }
            }
            4 => {
                self.write_act(Fact::MachineBanned(wire::MachineBanned { machine, banned: true }));
            }
            5 => self.unban_all(),
            6 => {
                let customer = CUSTOMERS[self.draw(3) as usize].to_owned();
                let delta = self.draw(5) - 2;
                let period = "2026-09".to_owned();
                let sku = "A1".to_owned();
                self.write_act(Fact::Adjusted(wire::Adjusted { customer, sku, period, delta, at_ms }));
            }
            7 => self.join_by_hand(host),
            8 => self.part_by_hand(),
            9 | 10 => self.map_by_hand(),
            11 => self.declare_by_hand(),
            12 => self.revoke_by_hand(),
            13..=15 => self.order_report(host),
            16 => self.rotate_by_hand(),
            17 => self.retry_uploads(),
            _ => self.switch_by_hand(host),
        }
    }

    /// A retired machine is most often turned off.
    fn retire(&mut self, host: usize) {
        if self.draw(4) != 0 {
            self.drop_connection(host);
            self.hosts[host].reporter = None;
            self.hosts[host].process += 1;
            self.hosts[host].power = Power::Gone;
            self.tell(format!("computer {host} is retired and gone"));
        }
    }

    /// Lets everybody in again who was shut out.
    pub fn unban_all(&mut self) {
        let Some(fold) = self.known() else { return };
        let banned: Vec<String> = fold
            .registry()
            .machines_after(None)
            .filter(|(_, machine)| machine.banned)
            .map(|(id, _)| id.to_string())
            .collect();
        for machine in banned {
            self.write_act(Fact::MachineBanned(wire::MachineBanned { machine, banned: false }));
        }
    }

    /// Writes an act; whether it was taken.
    pub fn write_act(&mut self, fact: Fact) -> bool {
        let collector = self.draw(self.collectors.len() as i64) as usize;
        self.write_act_at(collector, fact)
    }

    /// Writes an act with this collector; whether it was taken.
    pub fn write_act_at(&mut self, collector: usize, fact: Fact) -> bool {
        let now = self.now;
        if self.collectors[collector].running.is_none() {
            return false;
        }
        self.tell(format!("an operator: {fact:?}"));
        let noted = fact_hash(OPERATOR, &fact);
        let left_out = self.is_wrong(Wrong::ActNotWritten) && now % 3 == 0;
        let written =
            if left_out { Ok(()) } else { self.collectors[collector].write(OPERATOR, "", vec![fact], now) };
        self.read_news(collector);
        match written {
            Ok(()) => {
                self.witness.acts.insert(noted);
                let down = self.collectors[collector].end_banned();
                self.send_down(down);
                self.plan_following(collector);
                true
            }
            Err(failed) => {
                self.after_failed_write(collector, failed);
                false
            }
        }
    }

    /// Copies of keys are taken away when somebody has noticed.
    pub fn remove_copies(&mut self) {
        let due: Vec<usize> = self
            .office
            .removals
            .iter()
            .filter(|(until, _)| *until <= self.now)
            .map(|(_, host)| *host)
            .collect();
        self.office.removals.retain(|(until, _)| *until > self.now);
        for host in due {
            self.drop_connection(host);
            self.hosts[host].reporter = None;
            self.hosts[host].process += 1;
            self.hosts[host].power = Power::Gone;
            self.tell(format!("computer {host}, a copy, is taken away"));
        }
    }

    /// Orders a report of a machine; the order goes out with each connection until it is answered.
    fn order_report(&mut self, host: usize) {
        self.office.placed += 1;
        let id = format!("ord_{}", self.office.placed);
        let order = wire::Order {
            order: id.clone(),
            machine: self.hosts[host].machine.to_string(),
            action: wire::Action::ReportNow.into(),
            product: String::new(),
            sequence: self.office.placed,
            epoch: 0,
            issued_at_ms: self.now,
            expires_at_ms: self.now + 14 * DAY,
            ..wire::Order::default()
        };
        let signed = sign(&self.office.service, Domain::Order, order.encode_to_vec());
        self.office.orders.push((id, host, signed));
        if let Some(connection) = self.hosts[host].connection {
            self.send_orders(connection, host);
        }
    }

    /// Sends a machine the orders that it has not answered.
    pub fn send_orders(&mut self, connection: u64, host: usize) {
        let machine = self.hosts[host].machine.to_string();
        let answers = self.witness.answered_orders(&machine);
        let open: Vec<Signed> = self
            .office
            .orders
            .iter()
            .filter(|(id, to, _)| *to == host && !answers.contains(id))
            .map(|(_, _, signed)| signed.clone())
            .collect();
        self.send_down(open.into_iter().map(|signed| Down::Say(connection, unsealed(signed))).collect());
        self.send_switches(connection, host);
    }
}

/// An order that no secrets come with.
pub fn unsealed(order: Signed) -> Body {
    Body::Order(wire::OrderDelivery { order: Some(order), sealed: Vec::new() })
}
