//! Orders at a marketplace, whichever: the state that two of them share. Invariant: an order changes a quantity once,
//! when it is completed; while one is under way its subscription takes no other; it is looked at once before it is
//! decided.

use std::collections::{BTreeMap, VecDeque};

use crate::Verdict;

/// A subscription to a product.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Whose.
    pub customer: String,
    /// Of what: the marketplace's article numbers, by their names there.
    pub article: BTreeMap<&'static str, String>,
    /// How many.
    pub quantity: u64,
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nobody has looked at it.
    New,
    /// It was looked at.
    Working,
    /// The quantity is set.
    Completed,
    /// It was refused.
    Failed,
    /// It was refused and will be accepted when it is looked at again.
    FailedForNow,
}

/// An order.
#[derive(Debug, Clone)]
pub struct Order {
    /// Number at the marketplace.
    pub id: String,
    /// Whose.
    pub customer: String,
    /// Number that who ordered gave it.
    pub number: String,
    /// Of which subscription.
    pub subscription: String,
    /// How many there are to be.
    pub quantity: u64,
    /// How far it has come.
    pub progress: Progress,
}

/// All of a marketplace's.
#[derive(Debug, Default)]
pub struct Orders {
    /// By number.
    pub subscriptions: BTreeMap<String, Subscription>,
    /// The first first.
    pub orders: Vec<Order>,
    verdicts: VecDeque<Verdict>,
    effects: Vec<String>,
}

/// The number of a marketplace's first order.
const FIRST: usize = 1_000_001;

impl Orders {
    /// Takes an order, or says why not.
    pub fn place(
        &mut self,
        customer: &str,
        number: &str,
        subscription: &str,
        quantity: u64,
    ) -> Result<&Order, String> {
        let known = self.subscriptions.get(subscription).filter(|known| known.customer == customer);
        if known.is_none() {
            return Err(format!("subscription {subscription} of customer {customer} does not exist"));
        }
        let is_under_way = |order: &&Order| matches!(order.progress, Progress::New | Progress::Working);
        if self.orders.iter().filter(is_under_way).any(|order| order.subscription == subscription) {
            return Err(format!("subscription {subscription} has an order under way"));
        }
        let order = Order {
            id: (FIRST + self.orders.len()).to_string(),
            customer: customer.to_owned(),
            number: number.to_owned(),
            subscription: subscription.to_owned(),
            quantity,
            progress: Progress::New,
        };
        self.effects.push(format!("order {number} placed: subscription {subscription} to have {quantity}"));
        self.orders.push(order);
        Ok(self.orders.last().expect("one was put there"))
    }

    /// An order as it is now: it goes on by being looked at.
    pub fn look_at(&mut self, id: &str) -> Option<&Order> {
        let order = self.orders.iter_mut().find(|order| order.id == id)?;
        let before = order.progress;
        order.progress = match before {
            Progress::New => Progress::Working,
            Progress::Working => match self.verdicts.pop_front().unwrap_or(Verdict::Accept) {
                // Once completed it is done: a marketplace takes no quantity back.
                Verdict::Accept | Verdict::AcceptThenReject => Progress::Completed,
                Verdict::Reject => Progress::Failed,
                Verdict::RejectThenAccept => Progress::FailedForNow,
            },
            Progress::FailedForNow => Progress::Completed,
            decided @ (Progress::Completed | Progress::Failed) => decided,
        };
        if order.progress == Progress::Completed
            && before != Progress::Completed
            && let Some(subscription) = self.subscriptions.get_mut(&order.subscription)
            && subscription.quantity != order.quantity
        {
            let Order { number, subscription: of, quantity, .. } = &*order;
            self.effects.push(format!(
                "subscription {of}: {} to {quantity} by order {number}",
                subscription.quantity
            ));
            subscription.quantity = order.quantity;
        }
        Some(order)
    }

    /// What was done for good.
    pub fn effects(&self) -> Vec<String> {
        self.effects.clone()
    }

    /// What is decided next.
    pub fn decide(&mut self, verdict: Verdict) {
        self.verdicts.push_back(verdict);
    }
}
