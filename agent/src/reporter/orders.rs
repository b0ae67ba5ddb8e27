//! What whoever switches products says, on its way into reports, results and the status.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::ids::{OrderId, ProductId};
use seatbeat_proto::wire;

use super::{Event, Moment, Outside, Reporter, Trouble, Wishes};
use crate::act::arm::{Ask, Notice, Standing, Told};
use crate::orders::Floor;
use crate::plain::plain;
use crate::spool::SpoolError;

/// When reports follow the end of an order, whatever they show: two in a row confirm it.
const FOLLOWED_BY: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(15 * 60)];

/// Most that is shown of what came to nothing.
const NOTICED_MAX: usize = 10;

/// Where orders stand, as far as reports go.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// As was told last.
    standing: Standing,
    /// Results that are not in the spool yet, and the floor that goes before those of the collector's own orders.
    pub(super) unanswered: VecDeque<(wire::OrderResult, Option<Floor>)>,
    /// Results in the current spool, and where.
    said: BTreeMap<(OrderId, wire::Outcome), u64>,
    /// When a wake is wanted.
    wake_at: Option<Duration>,
    /// When reports are wanted.
    follow_at: Vec<Duration>,
    /// An order ended while somebody looked: that look says nothing of what came of it.
    pub(super) look_again: bool,
}

impl Orders {
    pub(super) fn new(kept: &[wire::Evidence]) -> Self {
        let mut orders = Self::default();
        orders.in_spool(kept);
        orders
    }

    /// What a spool holds.
    pub(super) fn in_spool(&mut self, kept: &[wire::Evidence]) {
        self.said.clear();
        kept.iter().for_each(|evidence| {
            if let Some(wire::evidence::Body::OrderResult(result)) = &evidence.body {
                self.enter(result, evidence.sequence);
            }
        });
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.wake_at.iter().chain(&self.follow_at).min().copied()
    }

    pub(super) fn seal_key(&self) -> Option<&wire::SealKey> {
        Some(&self.standing.seal_key).filter(|key| !key.public_key.is_empty())
    }

    /// Products that are there and not active say so when an order switched them off.
    pub(super) fn mark(&self, products: &mut [wire::FoundProduct], catalogue: &Catalogue) {
        if self.standing.switched_off.is_empty() {
            return;
        }
        let off: Vec<&str> =
            self.standing.switched_off.iter().map(|off| base(catalogue, off.as_str())).collect();
        for found in products {
            if found.state() == wire::ProductState::Inactive && off.contains(&base(catalogue, &found.product))
            {
                found.set_state(wire::ProductState::SwitchedOff);
            }
        }
    }

    fn enter(&mut self, result: &wire::OrderResult, sequence: u64) -> Option<OrderId> {
        let order = result.order.parse::<OrderId>().ok()?;
        self.said.insert((order.clone(), result.outcome()), sequence);
        Some(order)
    }

    fn waits(&self, result: &wire::OrderResult) -> bool {
        let same = |other: &wire::OrderResult| other.order == result.order && other.outcome == result.outcome;
        self.unanswered.iter().any(|(other, _)| same(other))
    }
}

impl Reporter {
    /// Takes in what whoever switches products says.
    ///
    /// # Errors
    /// As [`Reporter::work_due`].
    pub fn told(&mut self, told: Told, now: Moment, outside: &mut dyn Outside) -> Result<(), SpoolError> {
        match told {
            Told::Standing(standing) => self.stands(standing, now, outside),
            Told::Result(result) => self.result_came(result, now, outside),
            Told::Noticed(notice) => {
                self.noticed(notice, now);
                Ok(())
            }
        }
    }

    /// There is nobody who switches products, for this reason.
    pub fn without_orders(&mut self, what: String, hint: Option<String>, now: Moment) {
        tracing::error!(error = what, hint, "orders are not taken");
        self.status.orders.stopped = Some(Trouble { at: now.wall, what, hint });
    }

    /// The collector knows that this machine is unenrolled: it is to forget who it is, and end.
    pub fn has_left(&self) -> bool {
        let order = self.orders.standing.unenrolled.clone();
        let said = order.and_then(|order| self.orders.said.get(&(order, wire::Outcome::Done)));
        said.is_some_and(|sequence| *sequence <= self.session.acknowledged())
    }

    /// Uptime at which something is due of orders.
    pub fn orders_wake(&self) -> Option<Duration> {
        self.orders.next_wake()
    }

    /// Asks for what is due of orders.
    pub(super) fn orders_due(&mut self, now: Moment, outside: &mut dyn Outside) {
        if self.orders.wake_at.is_some_and(|at| at <= now.uptime) {
            self.orders.wake_at = None;
            outside.ask(Ask::Wake);
        }
        let before = self.orders.follow_at.len();
        self.orders.follow_at.retain(|at| *at > now.uptime);
        if self.orders.follow_at.len() < before {
            self.wish(Wishes { requested: true, ..self.wishes }, now);
        }
    }

    /// Somebody who switches products is to know.
    pub(super) fn ask_for(&mut self, ask: Ask, now: Moment, outside: &mut dyn Outside) {
        if !outside.ask(ask) && self.status.orders.stopped.is_none() {
            let notice = Notice { what: "orders came that nobody here takes".to_owned(), grave: true };
            self.noticed(notice, now);
        }
    }

    /// A result is in the spool.
    pub(super) fn said(&mut self, result: &wire::OrderResult, now: Moment, outside: &mut dyn Outside) {
        let sequence = self.spool.chain().tip();
        let Some(order) = self.orders.enter(result, sequence) else { return };
        let outcome = result.outcome();
        outside.ask(Ask::Kept { order, outcome });
        if is_end_of_doing(outcome) {
            self.orders.follow_at.extend(FOLLOWED_BY.map(|wait| now.uptime + wait));
        }
    }

    fn stands(
        &mut self,
        standing: Standing,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<(), SpoolError> {
        let revision = standing.seal_key.order_keys_revision;
        self.orders.wake_at = standing.wake_in.map(|wait| now.uptime.saturating_add(wait));
        self.status.orders.keys_revision = revision;
        self.status.orders.orders.clone_from(&standing.orders);
        self.status.orders.stopped = None;
        let known = self.orders.standing.seal_key.order_keys_revision == revision;
        self.orders.standing = standing;
        if !known {
            self.tell(Event::OrderKeys(revision), now, outside)?;
        }
        if self.orders.seal_key().is_some_and(|key| self.memory.new_seal_key(key).is_some()) {
            self.wish(Wishes { seal_key: true, ..self.wishes }, now);
        }
        Ok(())
    }

    fn result_came(
        &mut self,
        result: wire::OrderResult,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<(), SpoolError> {
        let outcome = result.outcome();
        let Ok(order) = result.order.parse::<OrderId>() else { return Ok(()) };
        if self.orders.said.contains_key(&(order.clone(), outcome)) {
            outside.ask(Ask::Kept { order, outcome });
            return Ok(());
        }
        if self.orders.waits(&result) {
            return Ok(());
        }
        tracing::info!(
            order = result.order,
            outcome = outcome.as_str_name(),
            detail = result.detail,
            "an order"
        );
        let alone = self.orders.unanswered.is_empty();
        self.orders.unanswered.push_back((result, None));
        if is_end_of_doing(outcome) {
            // Said behind a look that shows what came of it.
            self.orders.look_again |= self.scan_since.is_some();
            self.wish(self.wishes, now);
            Ok(())
        } else if alone {
            self.answer(now, outside)
        } else {
            Ok(())
        }
    }

    fn noticed(&mut self, notice: Notice, now: Moment) {
        let what = plain(&notice.what);
        if notice.grave {
            tracing::warn!(note = what, "an order");
        } else {
            tracing::info!(note = what, "an order");
        }
        let noticed = &mut self.status.orders.noticed;
        if !noticed.iter().any(|known| known.what == what) {
            noticed.truncate(NOTICED_MAX - 1);
            noticed.insert(0, Trouble { at: now.wall, what, hint: None });
        }
    }
}

/// Whether something was done, well or not.
fn is_end_of_doing(outcome: wire::Outcome) -> bool {
    matches!(outcome, wire::Outcome::Done | wire::Outcome::Failed)
}

/// The product that one is, or is an edition of: once it is switched off, editions cannot be told apart any more.
fn base<'a>(catalogue: &'a Catalogue, product: &'a str) -> &'a str {
    let is_edition = |variant: &ProductId| variant.as_str() == product;
    let known = catalogue.products.iter().find(|known| known.variants.iter().any(|one| is_edition(&one.id)));
    known.map_or(product, |known| known.id.as_str())
}
