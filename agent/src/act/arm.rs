//! What the agent and whoever switches products for it say to each other. Invariant: nothing that is asked is believed
//! beyond what is signed in it; whatever is told is durable where it was decided, and may be told again.

use std::time::Duration;

use jiff::Timestamp;
use seatbeat_proto::ids::{OrderId, ProductId};
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Most that waits in either direction: a collector sends an order for each product at once, and a few more.
pub const WAITING_MAX: usize = 64;

/// What the agent asks of whoever switches products.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// How everything stands: answered with [`Told::Standing`] and each result that is not kept yet.
    Recap,
    /// An order came, as it came.
    Order(wire::OrderDelivery),
    /// Newer order keys came, as they came.
    Keys(wire::Signed),
    /// The machine's clock is off by this much.
    Clock {
        /// Added to the wall clock.
        offset_ms: i64,
    },
    /// The time of [`Standing::wake_in`] is over.
    Wake,
    /// A result is in the spool: it need not be told again unless its order comes again.
    Kept {
        /// Whose it is.
        order: OrderId,
        /// Which.
        outcome: wire::Outcome,
    },
    /// The collector has the answer to the order that unenrols this machine: everything is forgotten. Without effect
    /// when no such order was taken.
    Forget,
}

/// What the agent is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// How everything stands now; comes before the results that follow from it.
    Standing(Standing),
    /// What an order led to. A result that is in the spool already says nothing new.
    Result(wire::OrderResult),
    /// Something that a person may want to know, once.
    Noticed(Notice),
}

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Standing {
    /// What secrets are sealed to, and whose orders are taken.
    pub seal_key: wire::SealKey,
    /// Products whose last ended order switched them off.
    pub switched_off: Vec<ProductId>,
    /// The newest orders, newest first.
    pub orders: Vec<OrderLine>,
    /// [`Ask::Wake`] is wanted after so long.
    pub wake_in: Option<Duration>,
    /// The order by which this machine is to forget who it is, once the collector knows.
    pub unenrolled: Option<OrderId>,
}

/// An order as a technician sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// Its id.
    pub order: String,
    /// `switch off`, `uninstall`, `switch on`, `unenrol`, `cancel`.
    pub action: String,
    /// Empty: of no product.
    pub product: String,
    /// `taken`, `doing`, `done`, `failed`, `refused`, `expired`, `cancelled`.
    pub outcome: String,
    /// In a sentence.
    pub detail: String,
    /// When that came to be.
    pub at: Timestamp,
}

/// Something without effect on any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// In words.
    pub what: String,
    /// Somebody may be forging.
    pub grave: bool,
}

/// The agent's end.
#[derive(Debug)]
pub struct Arm {
    asks: mpsc::Sender<Ask>,
    told: mpsc::Receiver<Told>,
}

/// The end of whoever switches products.
#[derive(Debug)]
pub struct ArmEnd {
    /// What is asked; ends when the agent does.
    pub asks: mpsc::Receiver<Ask>,
    /// Takes what is told; fails when the agent has ended.
    pub told: mpsc::Sender<Told>,
}

impl Arm {
    /// Both ends.
    pub fn pair() -> (Self, ArmEnd) {
        let (ask, asks) = mpsc::channel(WAITING_MAX);
        let (tell, told) = mpsc::channel(WAITING_MAX);
        (Self { asks: ask, told }, ArmEnd { asks, told: tell })
    }

    /// Asks without waiting; false: nobody is there, or too much waits already.
    pub fn ask(&self, ask: Ask) -> bool {
        self.asks.try_send(ask).is_ok()
    }

    /// What is told next; `None`: nobody is there any more.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_said_so_and_waits_nowhere() {
        let (arm, end) = Arm::pair();
        assert!((0..WAITING_MAX).all(|_| arm.ask(Ask::Wake)));
        assert!(!arm.ask(Ask::Wake), "too much waits");
        drop(end);
        assert!(!arm.ask(Ask::Recap), "nobody is there");
    }
}
