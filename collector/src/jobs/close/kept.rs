//! What was drafted, counted and forecast of months. Invariant: what it gives out is no older than [`crate::lately`] allows,
//! and a month that is counted is counted by one at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::forecast::Forecast;
use seatbeat_ledger::month_to_date::MonthToDate;

use super::{Draft, SoFar};
use crate::lately::{Lately, MONTHS_MAX};

/// How old a draft or a forecast can be that is given out.
const DRAFT_AGE_MAX: SignedDuration = SignedDuration::from_secs(120);

/// How old a count can be: it is made anew much faster.
const COUNT_AGE_MAX: SignedDuration = SignedDuration::from_secs(15);

/// See the module's text.
pub struct Kept {
    /// As they would be sealed.
    pub drafts: Lately<Arc<Draft>>,
    /// What months will come to.
    pub forecasts: Lately<Arc<Forecast>>,
    /// What months come to so far.
    pub so_far: Lately<Arc<SoFar>>,
    counted: Mutex<BTreeMap<Period, MonthToDate>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            drafts: Lately::new(DRAFT_AGE_MAX),
            forecasts: Lately::new(DRAFT_AGE_MAX),
            so_far: Lately::new(COUNT_AGE_MAX),
            counted: Mutex::default(),
        }
    }
}

impl Kept {
    /// The months that are counted. One computation at a time: it lasts as long as the guard.
    pub fn counted(&self) -> MutexGuard<'_, BTreeMap<Period, MonthToDate>> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        while counted.len() > MONTHS_MAX {
            counted.pop_first();
        }
        counted
    }
}
