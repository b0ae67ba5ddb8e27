//! What later reports show of an order that was done. Invariant: confirmed by two reports in a row, contradicted only
//! a day or more after it was done; a report that does not know says nothing.

use jiff::{SignedDuration, Timestamp};
use seatbeat_proto::wire::Action;
use serde::{Deserialize, Serialize};

use crate::record::State;

/// How long a product may take to show that it was switched: restarts, consoles that answer late.
const CONTRADICTED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What reports have shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shown {
    /// Nothing yet.
    Nothing,
    /// That it is as ordered.
    Confirmed {
        /// By the second report that did.
        at: Timestamp,
    },
    /// The opposite.
    Contradicted {
        /// By the first report that did.
        at: Timestamp,
    },
}

/// An order that was done, as its machine's reports are compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Watch {
    pub(super) shown: Shown,
    /// The newest report that said something agreed.
    agrees: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { shown: Shown::Nothing, agrees: false }
    }

    /// With one more report; `state` is none where the product is not found.
    pub(super) fn with(
        self,
        action: Action,
        state: Option<State>,
        done_at: Timestamp,
        at: Timestamp,
    ) -> Self {
        if at <= done_at || state == Some(State::Unknown) {
            return self;
        }
        let is_active = state == Some(State::Active);
        let agrees = is_active == (action == Action::SwitchOn);
        let shown = match self.shown {
            _ if !agrees && at.duration_since(done_at) < CONTRADICTED_AFTER => Shown::Nothing,
            Shown::Contradicted { .. } if !agrees => self.shown,
            _ if !agrees => Shown::Contradicted { at },
            Shown::Confirmed { .. } => self.shown,
            _ if self.agrees => Shown::Confirmed { at },
            Shown::Nothing | Shown::Contradicted { .. } => self.shown,
        };
        Self { shown, agrees }
    }
}
