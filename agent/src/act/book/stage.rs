//! How far an order came. Invariant: each stage has one outcome that the collector is told, and an end is the last one.

use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

/// See the variants' texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Accepted, not begun.
    Waiting,
    /// Begun; nobody knows how far it came.
    Begun,
    /// Over.
    Ended {
        /// How.
        outcome: Outcome,
        /// In a sentence.
        detail: String,
    },
}

/// What the collector is told of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is a `wire::Outcome`, which tells")]
pub enum Outcome {
    Taken,
    Doing,
    Done,
    Failed,
    Refused,
    Expired,
    Cancelled,
}

impl Stage {
    /// What the collector is told of it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Waiting => Outcome::Taken,
            Self::Begun => Outcome::Doing,
            Self::Ended { outcome, .. } => *outcome,
        }
    }

    /// In a sentence.
    pub fn detail(&self) -> &str {
        match self {
            Self::Waiting => "it waits until an hour has passed since the last one",
            Self::Begun => "it is being done",
            Self::Ended { detail, .. } => detail,
        }
    }

    /// Whether nothing follows it.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}

impl Outcome {
    /// As it is on the wire.
    pub fn wire(self) -> wire::Outcome {
        match self {
            Self::Taken => wire::Outcome::Taken,
            Self::Doing => wire::Outcome::Doing,
            Self::Done => wire::Outcome::Done,
            Self::Failed => wire::Outcome::Failed,
            Self::Refused => wire::Outcome::Refused,
            Self::Expired => wire::Outcome::Expired,
            Self::Cancelled => wire::Outcome::Cancelled,
        }
    }

    /// From the wire; `None`: none that this agent knows.
    pub fn from_wire(outcome: wire::Outcome) -> Option<Self> {
        Some(match outcome {
            wire::Outcome::Unspecified => return None,
            wire::Outcome::Taken => Self::Taken,
            wire::Outcome::Doing => Self::Doing,
            wire::Outcome::Done => Self::Done,
            wire::Outcome::Failed => Self::Failed,
            wire::Outcome::Refused => Self::Refused,
            wire::Outcome::Expired => Self::Expired,
            wire::Outcome::Cancelled => Self::Cancelled,
        })
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Doing => "doing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}
