//! Records that were dated back. Invariant: told as they were written, with who wrote them and why; the oldest give
//! way when there are too many.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Fold;
use crate::calendar::Period;
use crate::record::{Entry, Event};
use crate::review::BACK_DATED;

/// Kept at once: a person enters some dozen a month, so these are years; an import of a thousand fits as well.
const KEPT_MAX: usize = 10_000;

/// A record that took effect more than a day before it was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackDated {
    /// Where it stands in the journal.
    pub position: u64,
    /// When it takes effect.
    pub at: Timestamp,
    /// When it was written down.
    pub recorded_at: Timestamp,
    /// Who entered it.
    pub operator: String,
    /// Why, in their words.
    pub reason: String,
    /// The period that it names, if it does.
    pub period: Option<Period>,
    /// What it says, as JSON.
    pub says: String,
}

impl Fold {
    /// Records that were dated back by more than a day, the newest first.
    pub fn back_dated(&self) -> impl Iterator<Item = &BackDated> {
        self.back_dated.iter().rev()
    }

    pub(super) fn note_back_dated(&mut self, position: u64, entry: &Entry) {
        if entry.recorded_at.duration_since(entry.at) <= BACK_DATED {
            return;
        }
        let period = match &entry.event {
            Event::Declared { period, .. } | Event::Adjusted { period, .. } => Some(*period),
            _ => None,
        };
        let one = BackDated {
            position,
            at: entry.at,
            recorded_at: entry.recorded_at,
            operator: entry.operator.clone().unwrap_or_default(),
            reason: entry.reason.clone().unwrap_or_default(),
            period,
            says: serde_json::to_string(&entry.event).expect("an event has text keys and plain values"),
        };
        let kept: &mut VecDeque<BackDated> = Arc::make_mut(&mut self.back_dated);
        kept.push_back(one);
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
    }
}
