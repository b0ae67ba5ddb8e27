//! What was ordered here, and what came of it. Invariant: pure; floors only rise; an order that has an end is never begun,
//! a destructive one is begun at most once, and nothing is begun that a newer order of its product came after.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::time::Duration;

use seatbeat_proto::ids::{OrderId, ProductId};
use seatbeat_proto::procedures::Switch;
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

use crate::plain::plain;

mod ordered;
mod stage;
#[cfg(test)]
mod tests;

pub use ordered::{Kind, Ordered, Signer};
pub use stage::{Outcome, Stage};

/// How long an order that has an end is kept, in milliseconds: as long as its evidence. The floor holds without it.
pub const KEPT_MS: i64 = 62 * 86_400_000;

/// Most orders that are kept: months of a product that is switched each day. The oldest that have an end give way.
pub const ORDERS_MAX: usize = 512;

/// Most products of which anything was ever ordered: more than the catalogue has.
pub const PRODUCTS_MAX: usize = 256;

/// Least time between two destructive starts on one product, unless the order says at once: a mistake that is repeated
/// leaves time to be stopped.
pub const BETWEEN_STARTS: Duration = Duration::from_secs(3600);

/// Both clocks: `ms` is the corrected wall clock, `uptime` the process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Unix milliseconds.
    pub ms: i64,
    /// Since this process started.
    pub uptime: Duration,
}

/// Where an order stands among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Place {
    /// Of the collector's journal.
    pub epoch: u64,
    /// In it.
    pub sequence: u64,
}

/// An order that is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As it was signed.
    #[serde(flatten)]
    pub ordered: Ordered,
    /// How far it came.
    pub stage: Stage,
    /// When it came that far, corrected Unix milliseconds.
    pub at_ms: i64,
    /// How often it was begun.
    pub begun: u32,
    /// The newest of its outcomes that is in the spool.
    pub kept: Option<Outcome>,
}

/// What became of an order that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It was here before: its result is told again.
    Known,
    /// Another one of this name was here before: nothing follows from it.
    Changed,
    /// It is in the book now; the results of these are new.
    Entered(Vec<OrderId>),
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Book {
    /// By product: nothing at or below it is taken any more.
    floors: BTreeMap<String, Place>,
    /// When the newest accepted order was issued: time does not go back behind it.
    issued_at_ms: i64,
    /// In the order in which they came.
    orders: Vec<Entry>,
    /// Last destructive start, by product.
    starts: BTreeMap<String, Start>,
    /// Products whose last ended order switched them off.
    off: Vec<String>,
    /// The order by which this machine is to forget who it is.
    unenrolled: Option<OrderId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Start {
    at_ms: i64,
    /// Of this process; a process that did not start it does not know.
    #[serde(skip)]
    uptime: Option<Duration>,
}

impl Book {
    /// The time to judge by, whatever the machine's clock says.
    pub fn time(&self, now: Now) -> Now {
        Now { ms: now.ms.max(self.issued_at_ms), ..now }
    }

    /// An order that is known.
    pub fn get(&self, id: &OrderId) -> Option<&Entry> {
        self.orders.iter().find(|entry| entry.ordered.id == *id)
    }

    /// All that are kept, newest last.
    pub fn orders(&self) -> &[Entry] {
        &self.orders
    }

    /// Products whose last ended order switched them off.
    pub fn switched_off(&self) -> impl Iterator<Item = ProductId> {
        self.off.iter().filter_map(|product| product.parse().ok())
    }

    /// The order by which this machine is to forget who it is.
    pub fn unenrolled(&self) -> Option<&OrderId> {
        self.unenrolled.as_ref()
    }

    /// Why an order is not accepted, with the outcome it has then.
    pub fn judge(&self, ordered: &Ordered, now: Now) -> Result<(), (Outcome, &'static str)> {
        let refused = |why| Err((Outcome::Refused, why));
        let floor = self.floors.get(&ordered.product);
        if self.time(now).ms >= ordered.expires_at_ms {
            return Err((Outcome::Expired, "the order came after its time was over"));
        }
        if let Some(why) = ordered.unfit() {
            return refused(why);
        }
        if floor.is_some_and(|floor| ordered.place <= *floor) {
            return refused("a newer order was taken before this one");
        }
        if floor.is_none() && self.floors.len() >= PRODUCTS_MAX {
            return refused("orders for too many products came to this machine");
        }
        if self.unenrolled.is_some() {
            return refused("this machine is unenrolled");
        }
        Ok(())
    }

    /// Judges an order and enters it with what follows from it.
    pub fn take(&mut self, ordered: Ordered, now: Now) -> Taken {
        if let Some(known) = self.get(&ordered.id) {
            return if known.ordered.digest == ordered.digest { Taken::Known } else { Taken::Changed };
        }
        let judged = self.judge(&ordered, now);
        let (id, kind, product) = (ordered.id.clone(), ordered.kind, ordered.product.clone());
        if judged.is_ok() {
            self.floors.insert(product.clone(), ordered.place);
            self.issued_at_ms = self.issued_at_ms.max(ordered.issued_at_ms);
        }
        let now = self.time(now);
        let mut changed = Vec::new();
        let stage = match judged {
            Err((outcome, why)) => Stage::Ended { outcome, detail: why.to_owned() },
            Ok(()) => {
                changed = self.supersede(kind, &product, now);
                match kind {
                    Kind::Cancel => done(called_back(&changed, self.begun_of(&product))),
                    Kind::Unenrol => {
                        self.unenrolled = Some(id.clone());
                        done("this machine forgets who it is once the collector knows".to_owned())
                    }
                    _ => Stage::Waiting,
                }
            }
        };
        self.orders.push(Entry { ordered, stage, at_ms: now.ms, begun: 0, kept: None });
        changed.push(id);
        self.forget(now.ms);
        Taken::Entered(changed)
    }

    /// Ends what waits and was signed by a key that is not in force any more.
    pub fn keys_changed(&mut self, in_force: &[String], now: Now) -> Vec<OrderId> {
        let stale = |entry: &Entry| !in_force.contains(&entry.ordered.by);
        self.end_waiting(stale, Outcome::Refused, "the key that signed it is not in force any more", now)
    }

    /// Ends what waits and whose time is over.
    pub fn expire(&mut self, now: Now) -> Vec<OrderId> {
        let now = self.time(now);
        let over = |entry: &Entry| now.ms >= entry.ordered.expires_at_ms;
        self.end_waiting(over, Outcome::Expired, "its time was over before it could be begun", now)
    }

    /// The order to be begun now.
    pub fn due(&self, now: Now) -> Option<&Entry> {
        let ready = self.waiting().filter(|entry| self.wait(entry, now).is_zero());
        ready.min_by_key(|entry| entry.ordered.place)
    }

    /// How long until something is due, or over; `None`: nothing waits.
    pub fn wake_in(&self, now: Now) -> Option<Duration> {
        let over = |entry: &Entry| entry.ordered.expires_at_ms.saturating_sub(self.time(now).ms).max(0);
        let waits = self
            .waiting()
            .map(|entry| self.wait(entry, now).min(Duration::from_millis(over(entry).unsigned_abs())));
        waits.min()
    }

    /// How long an order still has to wait for its hour.
    pub fn wait(&self, entry: &Entry, now: Now) -> Duration {
        if !entry.ordered.kind.is_destructive() || entry.ordered.at_once {
            return Duration::ZERO;
        }
        let Some(start) = self.starts.get(&entry.ordered.product) else { return Duration::ZERO };
        // Of a start before this process the wall clock tells, as far as it can: this process ran since.
        let since = start.uptime.map_or(now.uptime, |started| now.uptime.saturating_sub(started));
        let by_wall = now.ms.checked_sub(start.at_ms).and_then(|ms| u64::try_from(ms).ok());
        let since = match (start.uptime, by_wall) {
            (None, Some(ms)) => since.max(Duration::from_millis(ms)),
            _ => since,
        };
        BETWEEN_STARTS.saturating_sub(since)
    }

    /// Enters that an order is begun; false: it must not be.
    #[must_use]
    pub fn begin(&mut self, id: &OrderId, now: Now) -> bool {
        let time = self.time(now);
        let Some(entry) = self.entry(id) else { return false };
        let destructive = entry.ordered.kind.is_destructive();
        if entry.stage != Stage::Waiting || destructive && entry.begun > 0 {
            return false;
        }
        (entry.stage, entry.at_ms, entry.begun) = (Stage::Begun, time.ms, entry.begun + 1);
        if destructive {
            let product = entry.ordered.product.clone();
            self.starts.insert(product, Start { at_ms: now.ms, uptime: Some(now.uptime) });
        }
        true
    }

    /// Enters what came of an order; one that has an end keeps it.
    pub fn finish(&mut self, id: &OrderId, outcome: Outcome, detail: &str, now: Now) {
        let now = self.time(now);
        let Some(entry) = self.entry(id) else { return };
        if matches!(entry.stage, Stage::Ended { .. }) {
            return;
        }
        entry.end(outcome, detail, now);
        let (kind, product) = (entry.ordered.kind, entry.ordered.product.clone());
        match (kind, outcome) {
            (Kind::SwitchOff | Kind::Uninstall, Outcome::Done) => {
                self.off.retain(|off| *off != product);
                self.off.push(product);
            }
            (Kind::SwitchOn, Outcome::Done | Outcome::Failed) => self.off.retain(|off| *off != product),
            _ => {}
        }
    }

    /// Whether anything has no end yet.
    pub fn is_open(&self) -> bool {
        self.orders.iter().any(|entry| !entry.stage.is_end())
    }

    /// What was begun and has no end.
    pub fn unfinished(&self) -> Option<&Entry> {
        self.orders.iter().find(|entry| entry.stage == Stage::Begun)
    }

    /// Lets an order that was interrupted be begun again; false: that must not be, or a newer one came meanwhile.
    #[must_use]
    pub fn repeat(&mut self, id: &OrderId) -> bool {
        let floors = self.floors.clone();
        let Some(entry) = self.entry(id) else { return false };
        let newest = floors.get(&entry.ordered.product).is_none_or(|floor| *floor <= entry.ordered.place);
        let on = entry.ordered.kind == Kind::SwitchOn;
        let may = entry.stage == Stage::Begun && on && entry.begun < 2 && newest;
        if may {
            entry.stage = Stage::Waiting;
        }
        may
    }

    /// A result is in the spool.
    pub fn keep(&mut self, id: &OrderId, outcome: Outcome) {
        if let Some(entry) = self.entry(id) {
            entry.kept = Some(outcome);
        }
    }

    /// Orders whose newest outcome is not in the spool, as far as is known.
    pub fn untold(&self) -> impl Iterator<Item = &Entry> {
        self.orders.iter().filter(|entry| entry.kept != Some(entry.stage.outcome()))
    }

    fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.orders.iter().filter(|entry| entry.stage == Stage::Waiting)
    }

    fn entry(&mut self, id: &OrderId) -> Option<&mut Entry> {
        self.orders.iter_mut().find(|entry| entry.ordered.id == *id)
    }

    fn begun_of(&self, product: &str) -> Option<OrderId> {
        self.unfinished()
            .filter(|entry| entry.ordered.product == product)
            .map(|entry| entry.ordered.id.clone())
    }

    fn supersede(&mut self, kind: Kind, product: &str, now: Now) -> Vec<OrderId> {
        let older = |entry: &Entry| kind == Kind::Unenrol || entry.ordered.product == product;
        let why = if kind == Kind::Cancel {
            "it was called back before it was begun"
        } else {
            "a newer order came before it was begun"
        };
        self.end_waiting(older, Outcome::Cancelled, why, now)
    }

    fn end_waiting(
        &mut self,
        which: impl Fn(&Entry) -> bool,
        outcome: Outcome,
        detail: &str,
        now: Now,
    ) -> Vec<OrderId> {
        let mut ended = Vec::new();
        for entry in &mut self.orders {
            if entry.stage == Stage::Waiting && which(entry) {
                entry.end(outcome, detail, now);
                ended.push(entry.ordered.id.clone());
            }
        }
        ended
    }

    fn forget(&mut self, now_ms: i64) {
        let gone = |entry: &Entry| {
            let told = entry.kept == Some(entry.stage.outcome());
            entry.stage.is_end() && told && now_ms.saturating_sub(entry.at_ms) >= KEPT_MS
        };
        self.orders.retain(|entry| !gone(entry));
        while self.orders.len() > ORDERS_MAX
            && let Some(oldest) = self.orders.iter().position(|entry| entry.stage.is_end())
        {
            self.orders.remove(oldest);
        }
    }
}

impl Entry {
    /// What the collector is told of it.
    pub fn result(&self) -> wire::OrderResult {
        wire::OrderResult {
            order: self.ordered.id.to_string(),
            order_sequence: self.ordered.place.sequence,
            outcome: self.stage.outcome().wire().into(),
            product: self.ordered.product.clone(),
            detail: self.stage.detail().to_owned(),
        }
    }

    /// What is to be done; `None`: nothing with a product.
    pub fn switch(&self) -> Option<(ProductId, Switch)> {
        Some((self.ordered.product.parse().ok()?, self.ordered.kind.switch()?))
    }

    fn end(&mut self, outcome: Outcome, detail: &str, now: Now) {
        self.stage = Stage::Ended { outcome, detail: plain(detail) };
        self.at_ms = now.ms;
        self.ordered.sealed.clear();
    }
}

fn done(detail: String) -> Stage {
    Stage::Ended { outcome: Outcome::Done, detail }
}

fn called_back(ended: &[OrderId], begun: Option<OrderId>) -> String {
    match (ended, begun) {
        ([], None) => "nothing was waiting".to_owned(),
        ([], Some(begun)) => format!("{begun} was begun before this came"),
        (ended, _) => {
            let names: Vec<&str> = ended.iter().map(OrderId::as_str).collect();
            format!("{} was waiting and is not begun any more", names.join(", "))
        }
    }
}

/// Ids of orders for this machine that the right key did not sign: each is answered once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forged(BTreeMap<String, i64>);

impl Forged {
    /// Most that are remembered; the oldest give way.
    pub const MAX: usize = 64;

    /// Enters one; false: it was entered before.
    pub fn enter(&mut self, id: &OrderId, now_ms: i64) -> bool {
        let Slot::Vacant(slot) = self.0.entry(id.to_string()) else { return false };
        slot.insert(now_ms);
        while self.0.len() > Self::MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, at_ms)| **at_ms).map(|(id, _)| id.clone())
        {
            self.0.remove(&oldest);
        }
        true
    }
}
