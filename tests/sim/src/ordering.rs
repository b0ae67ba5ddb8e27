//! Operators that switch products, how their orders reach machines, and what must come of them. Invariant: what may be
//! delivered is the ledger's word; beside it, what was signed once comes again at any time.

use prost::Message as _;
use seatbeat_ledger::orders::CancelOwed;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Outcome, Signed};

use crate::collector::{Down, instant};
use crate::host::Power;
use crate::invariant::Invariant;
use crate::office::PRODUCTS;
use crate::operators::unsealed;
use crate::switching::Happened;
use crate::world::{DAY, Event, HOUR, MINUTE, SECOND, World};

/// What the ids of orders that switch something begin with.
const SWITCH: &str = "ord_s";

/// Longest time between two steps of an operator who cannot make up their mind: within the hour between two starts.
const STEP_MAX: i64 = 40 * MINUTE;

/// Whether an order switches something, or calls such a one back.
pub fn is_switch(order: &str) -> bool {
    order.strip_prefix("ord_").is_none_or(|number| number.parse::<u64>().is_err())
}

/// Whether nothing follows an outcome.
pub fn is_end(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Taken | Outcome::Doing)
}

impl World {
    /// An operator begins to switch a product of a computer.
    pub fn switch_by_hand(&mut self, host: usize) {
        let product = self.draw(PRODUCTS.len() as i64) as usize;
        let left = 1 + self.draw(4) as u32;
        self.switch(host, product, left);
    }

    /// One step: off, on, or never mind.
    pub fn switch(&mut self, host: usize, product: usize, left: u32) {
        if self.healing || !self.hosts[host].enrolled {
            return;
        }
        if left > 1 {
            let at = self.now + MINUTE + self.draw(STEP_MAX);
            self.plan(at, Event::Switch { host, product, left: left - 1 });
        }
        let collector = self.draw(self.collectors.len() as i64) as usize;
        if self.collectors[collector].running.is_none() {
            return;
        }
        match self.draw(6) {
            0 | 1 => self.cancel_newest(collector, host),
            2 => self.place_switch(collector, host, product, wire::Action::SwitchOn),
            _ => self.place_switch(collector, host, product, wire::Action::SwitchOff),
        }
        for wait in [SECOND, MINUTE, 10 * MINUTE] {
            self.plan(self.now + wait, Event::Deliver { host });
        }
    }

    fn place_switch(&mut self, collector: usize, host: usize, product: usize, action: wire::Action) {
        self.office.placed += 1;
        let number = self.office.placed;
        let (batch, machine) = (format!("bat_s{number}"), self.hosts[host].machine.to_string());
        let expires_at_ms = self.now + HOUR + self.draw(3 * DAY);
        let request = wire::Order {
            order: format!("{SWITCH}{number}"),
            machine: machine.clone(),
            action: action.into(),
            product: PRODUCTS[product].to_owned(),
            issued_at_ms: self.now,
            expires_at_ms,
            uninstall: action == wire::Action::SwitchOff && number.is_multiple_of(5),
            at_once: number.is_multiple_of(7),
            ..wire::Order::default()
        };
        let requested = wire::OrdersRequested {
            batch: batch.clone(),
            action: action.into(),
            scope: Some(wire::OrderScope { machine, ..wire::OrderScope::default() }),
            machines: 1,
            orders: 1,
            expires_at_ms,
        };
        let id = request.order.parse().expect("it is an id");
        let placed = wire::OrderPlaced { order: None, request: Some(request), batch };
        let written = self.write_act_at(collector, Fact::OrdersRequested(requested))
            && self.write_act_at(collector, Fact::OrderPlaced(placed));
        let running = self.collectors[collector].running.as_ref().filter(|_| written);
        let Some(fold) = running.map(|running| &running.fold) else { return };
        let Some(order) = fold.orders().order(&id) else { return };
        let (machine, payload) = (order.machine.to_string(), order.to_wire().encode_to_vec());
        let signed = sign(self.office.signers.in_force(fold), Domain::Order, payload);
        let fact = Fact::OrderSigned(wire::OrderSigned { order: Some(signed.clone()) });
        if self.write_act_at(collector, fact) {
            self.office.signed.push((machine, signed));
        }
    }

    fn cancel_newest(&mut self, collector: usize, host: usize) {
        let machine = &self.hosts[host].machine;
        let Some(running) = &self.collectors[collector].running else { return };
        let newest = running.fold.orders().of_machine(machine).last().map(|order| order.id.to_string());
        if let Some(order) = newest {
            self.write_act_at(
                collector,
                Fact::OrderCancelled(wire::OrderCancelled { batch: String::new(), order }),
            );
        }
    }

    /// After the journal was set back: its positions are given out again.
    pub fn begin_epoch(&mut self, collector: usize) {
        self.office.epoch += 1;
        let epoch = self.office.epoch;
        self.write_act_at(collector, Fact::EpochBegan(wire::EpochBegan { epoch }));
        self.set_keys_again(collector);
    }

    /// A computer's orders go to it, if it is connected.
    pub fn deliver(&mut self, host: usize) {
        if let Some(connection) = self.hosts[host].connection {
            self.send_switches(connection, host);
        }
    }

    /// Sends a machine what it may have, what is called back, and now and then something that was signed for it before.
    pub fn send_switches(&mut self, connection: u64, host: usize) {
        let shared = self.collectors.len() > 1;
        let Some(collector) = self.collector_of(connection) else { return };
        let newer = self.newer_keys(connection, collector);
        self.send_down(newer);
        let Some(running) = &self.collectors[collector].running else { return };
        let (orders, machine) = (running.fold.orders(), &self.hosts[host].machine);
        let now = instant(self.now);
        let mut down = Vec::new();
        let mut again = None;
        for order in orders.deliverable(machine, now) {
            let is_over = self.witness.book.ended.contains(order.id.as_str());
            again = again.or((is_over && !shared).then(|| order.id.to_string()));
            down.extend(order.signed());
        }
        for owed in orders.cancels_owed(machine, now) {
            down.push(sign(&self.office.service, Domain::Order, cancel(&owed, machine.as_str())));
        }
        if let Some(again) = again {
            self.breaks(Invariant::EndedStays, again);
        }
        if !self.healing && self.draw(8) == 0 {
            let machine = self.hosts[host].machine.to_string();
            let of_it: Vec<Signed> = self
                .office
                .signed
                .iter()
                .filter(|(of, _)| *of == machine)
                .map(|(_, one)| one.clone())
                .collect();
            let which = self.draw(of_it.len() as i64) as usize;
            down.extend(of_it.get(which).cloned());
        }
        self.send_down(down.into_iter().map(|signed| Down::Say(connection, unsealed(signed))).collect());
    }

    /// What was done to a computer's product is over, unless the computer or its agent failed meanwhile.
    pub fn switched(&mut self, host: usize, process: u64) {
        let computer = &self.hosts[host];
        if computer.process != process || computer.reporter.is_none() || computer.job.is_none() {
            return;
        }
        match computer.power {
            Power::On => {}
            Power::Asleep => return self.plan(self.now + 10 * MINUTE, Event::Switched { host, process }),
            Power::Off | Power::Gone => return,
        }
        let fails = if self.healing { 9 } else { self.draw(10) };
        let veiled = self.draw(4) == 0;
        if matches!(fails, 0 | 2) {
            // It was under way: nobody knows how far it came.
            if self.draw(2) == 0 {
                let _ = self.hosts[host].take_effect(veiled);
            }
            return if fails == 0 { self.kill(host) } else { self.cut_power(host) };
        }
        let done = self.hosts[host].take_effect(veiled);
        let Some(job) = self.hosts[host].job.take() else { return };
        let now = self.now;
        let told = self.hosts[host].end_job(job, done, now);
        self.note_orders(host);
        if fails == 1 {
            // Before its agent heard of it.
            return self.kill(host);
        }
        match self.hosts[host].told(told, now) {
            Ok(acts) => self.lived(host, acts),
            Err(error) => self.ended(host, &error),
        }
        self.plan_wake(host);
    }

    /// What happened of orders on a computer.
    pub fn note_orders(&mut self, host: usize) {
        let lineage = self.hosts[host].lineage;
        for happened in std::mem::take(&mut self.hosts[host].happened) {
            match happened {
                Happened::Accepted { product, place } => {
                    let newest = self.witness.newest.entry((host, lineage, product)).or_default();
                    *newest = (*newest).max(place);
                }
                Happened::Forged(order) => {
                    let what = format!("agent {host} takes {order}, which nobody signed whom it trusts");
                    self.breaks(Invariant::OldKeyRefused, what);
                }
                Happened::Begun { order, product, place, destructive } => {
                    self.tell(format!("agent {host} begins {order} of {product}"));
                    self.tally.switches += 1;
                    let newest = self.witness.newest.get(&(host, lineage, product.clone())).copied();
                    if newest.is_some_and(|newest| place < newest) {
                        let what =
                            format!("agent {host} begins {order} of {product}, {place:?} of {newest:?}");
                        self.breaks(Invariant::NewestAlone, what);
                    }
                    let count = self.witness.begun.entry((host, lineage, order.to_string())).or_default();
                    *count += 1;
                    if destructive && *count > 1 {
                        let what = format!("agent {host} begins {order} for the {count}th time");
                        self.breaks(Invariant::BegunOnce, what);
                    }
                }
            }
        }
    }

    /// When everything has healed: what was begun has ended, and what may be delivered was.
    pub fn check_orders(&mut self) {
        // A journal that was set back has forgotten what its machines know, and so have their disks.
        let Some(fold) = self.known().filter(|_| !self.witness.set_back) else {
            return;
        };
        let (orders, now) = (fold.orders(), instant(self.now));
        let mut found = Vec::new();
        for (number, host) in self.hosts.iter().enumerate() {
            let alone = self.hosts.iter().filter(|other| other.machine == host.machine).count() == 1;
            let well = host.power == Power::On && host.enrolled && host.lineage == 0 && alone;
            if !well {
                continue;
            }
            for order in orders.of_machine(&host.machine) {
                if order.doing_at.is_some() && order.end.is_none() {
                    found.push(format!("{} was begun on computer {number} and has no end", order.id));
                }
            }
            let left = orders.deliverable(&host.machine, now).first().map(|order| order.id.to_string());
            found.extend(left.map(|order| format!("{order} did not reach computer {number}")));
            let unfinished = host.actor.as_ref().and_then(|actor| actor.book().unfinished());
            found.extend(unfinished.map(|entry| format!("{} is begun still on {number}", entry.ordered.id)));
        }
        for what in found {
            self.breaks(Invariant::OrdersEnd, what);
        }
    }
}

fn cancel(owed: &CancelOwed, machine: &str) -> Vec<u8> {
    let order = wire::Order {
        order: owed.cancel.to_string(),
        machine: machine.to_owned(),
        action: wire::Action::Cancel.into(),
        product: owed.product.as_ref().map(ToString::to_string).unwrap_or_default(),
        sequence: owed.sequence,
        epoch: owed.epoch,
        issued_at_ms: owed.issued_at.as_millisecond(),
        expires_at_ms: owed.expires_at.as_millisecond(),
        ..wire::Order::default()
    };
    order.encode_to_vec()
}
