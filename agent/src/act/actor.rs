//! Whoever carries orders out: the book of them, whose they may be, and the key that their secrets are sealed to.
//! Invariant: what is about to be done is on the disk before it is begun, and what came of it before it is told; the clock
//! and the hands are the caller's.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::ids::{MachineId, OrderId};
use seatbeat_proto::wire;
use seatbeat_proto::wire::OrderSecrets;
use zeroize::Zeroize as _;

use super::arm::{Ask, Notice, OrderLine, Standing, Told, WAITING_MAX};
use super::book::{Book, Entry, Now, Ordered, Outcome, Stage, Taken};
use super::trust::NotTaken;
use super::{Hands, Stand, Task};
use crate::moment::Moment;
use crate::plain::{chain, plain};
use crate::spool::disk::Disk;

mod shelf;
#[cfg(test)]
mod tests;

pub use shelf::{ActorError, Pinned, pin};
use shelf::{Kept, Shelf};

/// Time until what could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(60);

/// Orders and keys that wait for the disk: what a collector sends at once. The newest gives way, and comes with the next
/// connection.
const UNHEARD_MAX: usize = WAITING_MAX;

/// Orders that are shown.
const LINES_MAX: usize = 10;

/// Different things that are said once each while this runs.
const NOTICES_MAX: usize = 64;

/// Something to be done now: it is on the disk that it is begun.
#[derive(Debug)]
pub struct Job {
    /// Whose it is.
    pub order: OrderId,
    /// What.
    pub task: Task,
    /// What came with it.
    pub secrets: Option<OrderSecrets>,
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(secrets) = &mut self.secrets {
            wipe(secrets);
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Actor {
    machine: MachineId,
    service: VerifyingKey,
    shelf: Shelf,
    kept: Kept,
    /// What is remembered is on the disk.
    durable: bool,
    /// Orders and keys of which the disk did not take what follows from them, in the order in which they came.
    unheard: VecDeque<Ask>,
    /// Orders whose newest result is to be told as soon as it is on the disk.
    untold: Vec<OrderId>,
    /// What this process began and did not end.
    doing: Option<OrderId>,
    offset_ms: i64,
    /// No writing before.
    rest_until: Duration,
    noticed: BTreeSet<String>,
    /// What was told last, and the uptime of the wake in it.
    stood: Option<(Standing, Option<Duration>)>,
}

impl Actor {
    /// Reads its folder. Without a file in it nobody's orders are taken.
    ///
    /// # Errors
    /// When what is there cannot be read, or nothing can be written.
    pub fn open(
        folder: &Path,
        disk: Box<dyn Disk>,
        machine: &MachineId,
        service: &VerifyingKey,
    ) -> Result<Self, ActorError> {
        let shelf = Shelf::new(folder, disk)?;
        let kept = match shelf.read(machine, service)? {
            Some(kept) => kept,
            None => {
                let kept = shelf.blank(machine, service);
                shelf.write(&kept)?;
                kept
            }
        };
        Ok(Self {
            machine: machine.clone(),
            service: *service,
            shelf,
            kept,
            durable: true,
            unheard: VecDeque::new(),
            untold: Vec::new(),
            doing: None,
            offset_ms: 0,
            rest_until: Duration::ZERO,
            noticed: BTreeSet::new(),
            stood: None,
        })
    }

    /// What was ordered here.
    pub fn book(&self) -> &Book {
        &self.kept.book
    }

    /// Answers what is asked.
    pub fn ask(&mut self, ask: Ask, now: Moment) -> Vec<Told> {
        let mut told = Vec::new();
        match ask {
            Ask::Recap => {
                self.stood = None;
                self.untold = self.kept.book.untold().map(|entry| entry.ordered.id.clone()).collect();
            }
            Ask::Order(_) | Ask::Keys(_) => {
                if self.unheard.len() < UNHEARD_MAX && !self.unheard.contains(&ask) {
                    self.unheard.push_back(ask);
                }
                self.hear(now, &mut told);
            }
            Ask::Clock { offset_ms } => self.offset_ms = offset_ms,
            Ask::Wake => {}
            Ask::Kept { order, outcome } => {
                if let Some(outcome) = Outcome::from_wire(outcome) {
                    // Lost with a crash it is only told again.
                    self.kept.book.keep(&order, outcome);
                }
            }
            Ask::Forget => self.forget(now, &mut told),
        }
        self.tell(now, told)
    }

    /// Enters what is due as begun. What it answers is to be carried out at once, and [`Actor::end`] told of it.
    pub fn begin(&mut self, now: Moment, hands: &mut dyn Hands) -> (Vec<Told>, Option<Job>) {
        let mut told = Vec::new();
        if self.durable && self.unheard.is_empty() && !self.kept.book.is_open() {
            return (told, None);
        }
        let job = self.begin_next(now, hands, &mut told);
        told = self.tell(now, told);
        (told, job)
    }

    /// Enters what came of a job.
    pub fn end(&mut self, job: Job, done: Result<String, String>, now: Moment) -> Vec<Told> {
        let (outcome, detail) = match &done {
            Ok(detail) => (Outcome::Done, detail),
            Err(detail) => (Outcome::Failed, detail),
        };
        self.doing = None;
        self.kept.book.finish(&job.order, outcome, detail, self.now(now));
        if job.secrets.is_some() {
            self.kept.renew_seal(&self.shelf.new_seal(), self.now(now).ms);
        }
        self.untold.push(job.order.clone());
        // What was done cannot be undone: it is remembered until the disk takes it, and told then.
        self.durable = false;
        let mut told = Vec::new();
        self.save_again(now, &mut told);
        self.tell(now, told)
    }

    /// Takes what came, as far as the disk does.
    fn hear(&mut self, now: Moment, told: &mut Vec<Told>) {
        while let Some(ask) = self.unheard.pop_front() {
            let is_kept = match &ask {
                Ask::Order(delivery) => self.ordered(delivery, now, told),
                Ask::Keys(signed) => self.keys_came(signed, now, told),
                _ => true,
            };
            if !is_kept {
                return self.unheard.push_front(ask);
            }
        }
    }

    /// False: it is to be asked again, as the disk did not take what follows.
    fn ordered(&mut self, delivery: &wire::OrderDelivery, now: Moment, told: &mut Vec<Told>) -> bool {
        let signed = delivery.order.clone().unwrap_or_default();
        let Ok(order) = wire::Order::decode(signed.payload.as_slice()) else {
            self.notice("an order cannot be read".to_owned(), true, told);
            return true;
        };
        let Ok(id) = order.order.parse::<OrderId>() else {
            self.notice("an order without a name came".to_owned(), true, told);
            return true;
        };
        let signer = self.kept.trust.signer(&self.service, &signed);
        if order.machine != self.machine.as_str() {
            self.notice(format!("order {id} is meant for another machine"), signer.is_none(), told);
            return true;
        }
        let Some((signer, by)) = signer else { return self.forged(&order, &id, now, told) };
        let ordered =
            Ordered::read(&order, id.clone(), &signed.payload, &delivery.sealed, signer, by.as_bytes());
        let sealed = !ordered.sealed.is_empty();
        let opens = !sealed || self.kept.open_secrets(&ordered, &self.machine).is_some();
        let mut next = self.kept.clone();
        match next.book.take(ordered, self.now(now)) {
            Taken::Known => {
                self.untold.push(id);
                true
            }
            Taken::Changed => {
                self.notice(format!("order {id} came again with other content"), true, told);
                true
            }
            Taken::Entered(mut changed) => {
                if !opens && next.book.get(&id).is_some_and(|entry| !entry.stage.is_end()) {
                    let why = "its secrets are not sealed to this machine's present key: order it again";
                    next.book.finish(&id, Outcome::Refused, why, self.now(now));
                }
                // What can be begun at once is told when it is.
                let begins = next.book.get(&id).is_some_and(|entry| {
                    entry.stage == Stage::Waiting && next.book.wait(entry, self.now(now)).is_zero()
                });
                changed.retain(|changed| *changed != id || !begins);
                self.keep(next, changed, now, told)
            }
        }
    }

    /// An order for this machine by nobody who may order anything of it. As [`Self::ordered`].
    fn forged(&mut self, order: &wire::Order, id: &OrderId, now: Moment, told: &mut Vec<Told>) -> bool {
        self.notice(
            format!("order {id} is not signed by a key that this machine takes orders from"),
            true,
            told,
        );
        let mut next = self.kept.clone();
        if self.kept.book.get(id).is_some() || !next.forged.enter(id, self.now(now).ms) {
            return true;
        }
        let is_kept = self.keep(next, Vec::new(), now, told);
        if is_kept {
            let detail = if self.kept.trust.revision == 0 {
                "this machine takes nobody's orders: `seatbeat-agent trust-orders` on it changes that"
            } else {
                "it is not signed by a key that this machine takes orders from"
            };
            told.push(Told::Result(wire::OrderResult {
                order: id.to_string(),
                order_sequence: order.sequence,
                outcome: wire::Outcome::Refused.into(),
                product: plain(&order.product),
                detail: detail.to_owned(),
            }));
        }
        is_kept
    }

    /// As [`Self::ordered`].
    fn keys_came(&mut self, signed: &wire::Signed, now: Moment, told: &mut Vec<Told>) -> bool {
        match self.kept.trust.followed_by(signed) {
            Ok(trust) => {
                let mut next = self.kept.clone();
                let changed = next.book.keys_changed(&trust.keys, self.now(now));
                let revision = trust.revision;
                next.trust = trust;
                let is_kept = self.keep(next, changed, now, told);
                if is_kept {
                    tracing::info!(revision, "newer order keys are in force");
                }
                is_kept
            }
            // Sent again with each connection.
            Err(NotTaken::Old { offered, held }) if offered == held => true,
            Err(why) => {
                self.notice(why.to_string(), why == NotTaken::Forged, told);
                true
            }
        }
    }

    fn begin_next(&mut self, now: Moment, hands: &mut dyn Hands, told: &mut Vec<Told>) -> Option<Job> {
        self.save_again(now, told);
        if !self.durable || now.uptime < self.rest_until || self.doing.is_some() {
            return None;
        }
        self.hear(now, told);
        // What came may call back what is due.
        if !self.unheard.is_empty() {
            return None;
        }
        self.settle_interrupted(now, hands, told);
        self.kept.book.wake_in(self.now(now))?;
        let mut next = self.kept.clone();
        let over = next.book.expire(self.now(now));
        if !over.is_empty() && !self.keep(next, over, now, told) {
            return None;
        }
        while self.durable {
            let due = self.kept.book.due(self.now(now))?.clone();
            let id = due.ordered.id.clone();
            match self.prepare(&due, hands) {
                Ok((task, secrets)) => {
                    let job = Job { order: id.clone(), task, secrets };
                    let mut next = self.kept.clone();
                    if !next.book.begin(&id, self.now(now)) || !self.keep(next, vec![id.clone()], now, told) {
                        return None;
                    }
                    self.doing = Some(id);
                    return Some(job);
                }
                Err(why) => {
                    let mut next = self.kept.clone();
                    next.book.finish(&id, Outcome::Refused, &why, self.now(now));
                    if !self.keep(next, vec![id], now, told) {
                        return None;
                    }
                }
            }
        }
        None
    }

    fn prepare(&self, due: &Entry, hands: &mut dyn Hands) -> Result<(Task, Option<OrderSecrets>), String> {
        let (product, switch) = due.switch().ok_or("the order names no product")?;
        let task = Task { product, switch };
        let mut secrets = None;
        if !due.ordered.sealed.is_empty() {
            let opened = self.kept.open_secrets(&due.ordered, &self.machine);
            secrets = Some(
                opened.ok_or("its secrets are not sealed to this machine's present key: order it again")?,
            );
        }
        match hands.ready(&task, secrets.as_ref()) {
            Ok(()) => Ok((task, secrets)),
            Err(why) => {
                secrets.iter_mut().for_each(wipe);
                Err(why)
            }
        }
    }

    /// What an earlier process began and did not end: the machine says how far it came.
    fn settle_interrupted(&mut self, now: Moment, hands: &mut dyn Hands, told: &mut Vec<Told>) {
        while let Some(entry) = self.kept.book.unfinished().cloned() {
            let id = entry.ordered.id.clone();
            let mut next = self.kept.clone();
            match how_it_stands(&entry, hands) {
                Ok(()) => {
                    let detail = "it was interrupted, and the product stands as ordered";
                    next.book.finish(&id, Outcome::Done, detail, self.now(now));
                }
                Err(_) if next.book.repeat(&id) => {
                    tracing::info!(order = id.as_str(), "an order is repeated")
                }
                Err(why) => {
                    let detail = format!("it was interrupted and is not repeated: {why}");
                    next.book.finish(&id, Outcome::Failed, &detail, self.now(now));
                }
            }
            if !entry.ordered.sealed.is_empty() && next.book.unfinished().is_none() {
                next.renew_seal(&self.shelf.new_seal(), self.now(now).ms);
            }
            if !self.keep(next, vec![id], now, told) {
                return;
            }
        }
    }

    /// The collector knows that this machine is unenrolled.
    fn forget(&mut self, now: Moment, told: &mut Vec<Told>) {
        if self.kept.book.unenrolled().is_none() {
            return self.notice(
                "this machine is to be forgotten, and nobody ordered it".to_owned(),
                true,
                told,
            );
        }
        match self.shelf.remove() {
            Ok(()) => {
                self.kept = self.shelf.blank(&self.machine, &self.service);
                self.unheard.clear();
                self.untold.clear();
            }
            Err(error) => self.cannot_write(&error, now, told),
        }
    }

    /// Puts what follows on the disk, and remembers it then; false: it could not be, and nothing follows.
    fn keep(&mut self, next: Kept, changed: Vec<OrderId>, now: Moment, told: &mut Vec<Told>) -> bool {
        if let Err(error) = self.shelf.write(&next) {
            self.cannot_write(&error, now, told);
            return false;
        }
        (self.kept, self.durable) = (next, true);
        self.untold.extend(changed);
        true
    }

    fn save_again(&mut self, now: Moment, told: &mut Vec<Told>) {
        if self.durable {
            return;
        }
        match self.shelf.write(&self.kept) {
            Ok(()) => self.durable = true,
            Err(error) => self.cannot_write(&error, now, told),
        }
    }

    fn cannot_write(&mut self, error: &ActorError, now: Moment, told: &mut Vec<Told>) {
        self.rest_until = now.uptime + WRITE_AGAIN;
        self.notice(chain(error), true, told);
    }

    fn notice(&mut self, what: String, grave: bool, told: &mut Vec<Told>) {
        if self.noticed.len() < NOTICES_MAX && self.noticed.insert(what.clone()) {
            told.push(Told::Noticed(Notice { what, grave }));
        }
    }

    fn tell(&mut self, now: Moment, mut told: Vec<Told>) -> Vec<Told> {
        let mut all = Vec::new();
        let standing = self.standing(now);
        let wake_at = standing.wake_in.map(|wait| now.uptime + wait);
        let as_before = self.stood.as_ref().is_some_and(|(stood, stood_wake_at)| {
            let same = Standing { wake_in: stood.wake_in, ..standing.clone() } == *stood;
            same && match (wake_at, *stood_wake_at) {
                (Some(is), Some(was)) => is.abs_diff(was) < Duration::from_secs(1),
                (is, was) => is == was,
            }
        });
        if !as_before {
            all.push(Told::Standing(standing.clone()));
            self.stood = Some((standing, wake_at));
        }
        all.append(&mut told);
        if self.durable {
            for id in std::mem::take(&mut self.untold) {
                all.extend(self.kept.book.get(&id).map(|entry| Told::Result(entry.result())));
            }
        }
        all
    }

    fn standing(&self, now: Moment) -> Standing {
        if !self.durable {
            let stood = self.stood.as_ref().map(|(stood, _)| stood.clone());
            return Standing { wake_in: Some(WRITE_AGAIN), ..stood.unwrap_or_default() };
        }
        let due = self.kept.book.wake_in(self.now(now));
        let rests = self.rest_until.saturating_sub(now.uptime);
        let due = if self.unheard.is_empty() { due } else { Some(Duration::ZERO) };
        // What is due now is begun without being asked for.
        let wake_in = due.map(|due| due.max(rests)).filter(|wait| !wait.is_zero());
        let lines = self.kept.book.orders().iter().rev().take(LINES_MAX);
        Standing {
            seal_key: wire::SealKey {
                public_key: self.kept.seal_public(),
                order_keys_revision: self.kept.trust.revision,
            },
            switched_off: self.kept.book.switched_off().collect(),
            orders: lines.map(line).collect(),
            wake_in,
            unenrolled: self.kept.book.unenrolled().cloned(),
        }
    }

    fn now(&self, now: Moment) -> Now {
        Now { ms: now.corrected(self.offset_ms).as_millisecond(), uptime: now.uptime }
    }
}

fn how_it_stands(entry: &Entry, hands: &mut dyn Hands) -> Result<(), String> {
    use seatbeat_proto::procedures::Switch;
    let (product, switch) = entry.switch().ok_or("the order names no product")?;
    let stand = hands.look(&product).map_err(|why| format!("how the product stands is not known: {why}"))?;
    match (switch, stand) {
        (Switch::Off, Stand::Inactive | Stand::Absent)
        | (Switch::On, Stand::Active)
        | (Switch::Uninstall, Stand::Absent) => Ok(()),
        (_, Stand::Active) => Err("the product is active".to_owned()),
        (_, Stand::Inactive) => Err("the product is there and not active".to_owned()),
        (_, Stand::Absent) => Err("the product is not there".to_owned()),
    }
}

fn line(entry: &Entry) -> OrderLine {
    OrderLine {
        order: entry.ordered.id.to_string(),
        action: entry.ordered.kind.words().to_owned(),
        product: entry.ordered.product.clone(),
        outcome: entry.stage.outcome().word().to_owned(),
        detail: entry.stage.detail().to_owned(),
        at: Timestamp::from_millisecond(entry.at_ms).unwrap_or_default(),
    }
}

fn wipe(secrets: &mut OrderSecrets) {
    let OrderSecrets { password, manager, tenant, token, policy } = secrets;
    [password, manager, tenant, token, policy].into_iter().for_each(|text| text.zeroize());
}

/// Where an actor's folder is in the state folder of an agent that carries orders out itself.
pub fn folder_in(state: &Path) -> PathBuf {
    state.join("orders")
}
