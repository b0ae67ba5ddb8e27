//! One order to one machine. Invariant: a final word stays final; what was signed is what the order says, byte for byte.

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::ids::{BatchId, MachineId, OrderId, ProductId};
use seatbeat_proto::instant;
use seatbeat_proto::wire::{self, Action};
use serde::{Deserialize, Serialize};

use super::SILENCE_MAX;
use super::watch::{Shown, Watch};

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Who is to do it.
    pub machine: MachineId,
    /// What it is part of; none: an order of before there were batches, which is delivered to nobody.
    pub batch: Option<BatchId>,
    pub(super) action: i32,
    /// What is switched; none: the machine is unenrolled.
    pub product: Option<ProductId>,
    /// Position of the record that placed it.
    pub sequence: u64,
    /// The fold's epoch there.
    pub epoch: u64,
    /// When the operator's side made it.
    pub issued_at: Timestamp,
    /// It is not begun from here on.
    pub expires_at: Timestamp,
    /// The program is removed as well.
    pub uninstall: bool,
    /// Not held back by the hour between two switches.
    pub at_once: bool,
    /// SHA-256 of the sealed secrets that go with it.
    pub secrets_hash: Option<[u8; 32]>,
    /// Who signed it.
    pub signature: Option<Signature>,
    /// A later order for the same product took its place.
    pub superseded_by: Option<OrderId>,
    /// An operator cancelled it.
    pub cancelled: Option<Cancelled>,
    /// When the machine said that it has it.
    pub taken_at: Option<Timestamp>,
    /// When the machine said that it begins.
    pub doing_at: Option<Timestamp>,
    /// How it ended on the machine.
    pub end: Option<Box<End>>,
    pub(super) watch: Option<Watch>,
    /// A later order for the product was begun: reports are compared with that one.
    pub(super) is_replaced: bool,
}

/// A signature by an order key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The public key.
    pub key: [u8; 32],
    /// When it was written down.
    pub at: Timestamp,
    pub(super) bytes: Vec<u8>,
}

/// How an order was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Position of the record that did it.
    pub position: u64,
    /// The fold's epoch there.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// The machine has answered that it will not begin it, or how it ended.
    pub answered: bool,
}

/// How an order ended on its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// By the machine's clock.
    pub at: Timestamp,
    /// By the collector's.
    pub received_at: Timestamp,
    /// What was seen, in a sentence.
    pub detail: String,
}

/// Final words of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// It could not be.
    Failed,
    /// It was not taken.
    Refused,
    /// Its time was over before it was begun.
    Expired,
    /// Another one came before it was begun.
    Cancelled,
}

/// What a machine tells of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It waits for its time.
    Taken,
    /// It is begun.
    Doing,
    /// It has ended.
    Ended(Outcome),
}

impl Told {
    /// What an outcome on the wire says; none: nothing that this version knows.
    pub fn of(outcome: wire::Outcome) -> Option<Self> {
        Some(match outcome {
            wire::Outcome::Taken => Self::Taken,
            wire::Outcome::Doing => Self::Doing,
            wire::Outcome::Done => Self::Ended(Outcome::Done),
            wire::Outcome::Failed => Self::Ended(Outcome::Failed),
            wire::Outcome::Refused => Self::Ended(Outcome::Refused),
            wire::Outcome::Expired => Self::Ended(Outcome::Expired),
            wire::Outcome::Cancelled => Self::Ended(Outcome::Cancelled),
            wire::Outcome::Unspecified => return None,
        })
    }
}

/// What has become of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status<'a> {
    /// It is on record, and waits.
    Ordered(Waits),
    /// The machine has it; it waits for its hour there.
    Delivered {
        /// Since when, by the machine's clock.
        at: Timestamp,
    },
    /// The machine is at it.
    Doing {
        /// Since when, by the machine's clock.
        since: Timestamp,
    },
    /// The machine says that it did it.
    Done(&'a End),
    /// Two later reports in a row show it.
    Confirmed {
        /// By the second of them.
        at: Timestamp,
        /// What the machine said.
        end: &'a End,
    },
    /// A report of a day or more later shows the opposite.
    Contradicted {
        /// By the first that did.
        at: Timestamp,
        /// What the machine said.
        end: &'a End,
    },
    /// It was begun and came to nothing.
    Failed {
        /// How it ended; none: no end was told.
        end: Option<&'a End>,
    },
    /// The machine did not take it.
    Refused(&'a End),
    /// Its time was over before it was begun.
    Expired {
        /// When.
        at: Timestamp,
    },
    /// An operator cancelled it, or the machine was told of another order before it was begun.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// A later order for the product took its place.
    Superseded {
        /// Which.
        by: &'a OrderId,
    },
}

/// What an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The other orders of its batch are not all placed.
    Orders,
    /// A second operator has to confirm its batch.
    SecondOperator,
    /// Nobody whose orders are taken has signed it.
    Signature,
    /// What is switched off before the machine is unenrolled is not confirmed.
    Switches,
    /// The machine has not said that it has it.
    Machine,
}

impl Status<'_> {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ordered(_) => "ordered",
            Self::Delivered { .. } => "delivered",
            Self::Doing { .. } => "doing",
            Self::Done(_) => "done",
            Self::Confirmed { .. } => "confirmed",
            Self::Contradicted { .. } => "contradicted",
            Self::Failed { .. } => "failed",
            Self::Refused(_) => "refused",
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
            Self::Superseded { .. } => "superseded",
        }
    }

    /// What the machine said when it ended, or what stands for that; empty: nothing.
    pub fn detail(&self) -> &str {
        match self {
            Self::Done(end)
            | Self::Refused(end)
            | Self::Confirmed { end, .. }
            | Self::Contradicted { end, .. }
            | Self::Failed { end: Some(end) } => &end.detail,
            Self::Failed { end: None } => "begun, and no end was told",
            _ => "",
        }
    }

    /// Whether nothing more is done for it.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Ordered(_) | Self::Delivered { .. } | Self::Doing { .. })
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Orders => "waits for the other orders of its batch",
            Self::SecondOperator => "waits for a second operator",
            Self::Signature => "waits for a signature",
            Self::Switches => "waits until what is switched off before it is confirmed",
            Self::Machine => "waits for the machine",
        })
    }
}

impl Order {
    /// As it is placed; `said` has all that is not read yet.
    pub(crate) fn new(
        id: OrderId,
        machine: MachineId,
        product: Option<ProductId>,
        batch: Option<BatchId>,
        (issued_at, expires_at): (Timestamp, Timestamp),
        said: &wire::Order,
    ) -> Self {
        Self {
            id,
            machine,
            batch,
            action: said.action,
            product,
            sequence: said.sequence,
            epoch: said.epoch,
            issued_at,
            expires_at,
            uninstall: said.uninstall,
            at_once: said.at_once,
            secrets_hash: said.secrets_hash.as_slice().try_into().ok(),
            signature: None,
            superseded_by: None,
            cancelled: None,
            taken_at: None,
            doing_at: None,
            end: None,
            watch: None,
            is_replaced: false,
        }
    }

    /// What is done.
    pub fn action(&self) -> Action {
        Action::try_from(self.action).unwrap_or_default()
    }

    /// The order as a machine reads it: what is signed.
    pub fn to_wire(&self) -> wire::Order {
        wire::Order {
            order: self.id.to_string(),
            machine: self.machine.to_string(),
            action: self.action,
            product: self.product.as_ref().map(ToString::to_string).unwrap_or_default(),
            sequence: self.sequence,
            epoch: self.epoch,
            issued_at_ms: instant::to_ms(self.issued_at),
            expires_at_ms: instant::to_ms(self.expires_at),
            uninstall: self.uninstall,
            at_once: self.at_once,
            secrets_hash: self.secrets_hash.map(|hash| hash.to_vec()).unwrap_or_default(),
        }
    }

    /// The order as it was signed; none before that.
    pub fn signed(&self) -> Option<wire::Signed> {
        let signature = self.signature.as_ref()?.bytes.clone();
        Some(wire::Signed { payload: self.to_wire().encode_to_vec(), signature })
    }

    /// Id of the order that calls this one back from its machine.
    pub fn cancel_id(&self) -> OrderId {
        OrderId::derived_from(format!("cancel {}", self.id).as_bytes())
    }

    /// What reports showed since it was done; none: it was not, or a later order was.
    pub fn shown(&self) -> Option<Shown> {
        self.watch.filter(|_| !self.is_replaced).map(|watch| watch.shown)
    }

    /// Whether the machine began it, or said its last word on it.
    pub fn is_begun(&self) -> bool {
        self.doing_at.is_some() || self.end.is_some()
    }

    /// Whether it is neither begun nor given up; its time may be over.
    pub fn is_live(&self) -> bool {
        !self.is_begun() && self.cancelled.is_none() && self.superseded_by.is_none()
    }

    /// Whether nothing more can come of it, so that what was sealed for it is of no use.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.status(now, || Waits::Machine).is_over()
    }

    pub(super) fn status(&self, now: Timestamp, waits: impl FnOnce() -> Waits) -> Status<'_> {
        if let Some(end) = &self.end {
            return self.ended(end);
        }
        if let Some(since) = self.doing_at {
            let is_silent = now.duration_since(self.expires_at) >= SILENCE_MAX;
            return if is_silent { Status::Failed { end: None } } else { Status::Doing { since } };
        }
        match (&self.cancelled, &self.superseded_by, self.taken_at) {
            (Some(cancelled), _, _) => Status::Cancelled { at: cancelled.at },
            (None, Some(by), _) => Status::Superseded { by },
            _ if now >= self.expires_at => Status::Expired { at: self.expires_at },
            (None, None, Some(at)) => Status::Delivered { at },
            (None, None, None) => Status::Ordered(waits()),
        }
    }

    fn ended<'a>(&'a self, end: &'a End) -> Status<'a> {
        match end.outcome {
            Outcome::Done => match self.watch.map(|watch| watch.shown) {
                Some(Shown::Confirmed { at }) => Status::Confirmed { at, end },
                Some(Shown::Contradicted { at }) => Status::Contradicted { at, end },
                Some(Shown::Nothing) | None => Status::Done(end),
            },
            Outcome::Failed => Status::Failed { end: Some(end) },
            Outcome::Refused => Status::Refused(end),
            Outcome::Expired => Status::Expired { at: end.at },
            Outcome::Cancelled => match &self.superseded_by {
                Some(by) if self.cancelled.is_none() => Status::Superseded { by },
                _ => Status::Cancelled { at: end.at },
            },
        }
    }
}
