//! Months as they were sealed, read once: to read the statement of a large house takes a tenth of a second. Invariant:
//! what is kept is what is sealed by now, but for flags beyond [`FLAGS_MAX`], which are counted; it stays bounded.

use std::sync::{Arc, Mutex, PoisonError};

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::statement::Statement;

use super::Console;
use super::fault::Fault;
use crate::jobs::close::CloseError;

/// Flags that are kept: more than a page shows.
pub const FLAGS_MAX: usize = 100;

/// Lines that are kept, of all months: some sixty megabytes.
const LINES_MAX: usize = 200_000;

/// What all distributors' statements of a month say.
#[derive(Debug)]
pub struct SealedMonth {
    /// As one statement, with the first [`FLAGS_MAX`] of its flags.
    pub statement: Statement,
    /// How many flags it has beside those.
    pub flags_left_out: usize,
    revisions: Vec<u32>,
}

/// The months that were asked for lately, the latest at the end.
#[derive(Clone, Default)]
pub struct SealedMonths(Arc<Mutex<Vec<Arc<SealedMonth>>>>);

impl SealedMonths {
    fn get(&self, period: Period, revisions: &[u32]) -> Option<Arc<SealedMonth>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|month| month.statement.period == period)?;
        let month = kept.remove(place);
        if month.revisions != revisions {
            return None;
        }
        kept.push(Arc::clone(&month));
        Some(month)
    }

    fn keep(&self, month: &Arc<SealedMonth>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|known| known.statement.period != month.statement.period);
        kept.push(Arc::clone(month));
        let mut lines: usize = kept.iter().map(|month| month.statement.lines.len()).sum();
        while lines > LINES_MAX && kept.len() > 1 {
            lines -= kept.remove(0).statement.lines.len();
        }
    }
}

impl Console {
    /// A month as it was sealed. Blocks while it is read.
    ///
    /// # Errors
    /// When it is not sealed, or cannot be read.
    pub(super) fn sealed_month(&self, period: Period) -> Result<Arc<SealedMonth>, Fault> {
        let revisions: Vec<u32> =
            self.books.read(|fold| fold.sealed(period).map(|(_, sealed)| sealed.revision).collect());
        if revisions.is_empty() {
            return Err(CloseError::NotSealed(period).into());
        }
        if let Some(month) = self.sealed_months_kept.get(period, &revisions) {
            return Ok(month);
        }
        let mut statement = self.standing(period, None)?.statement;
        let flags_left_out = statement.flags.len().saturating_sub(FLAGS_MAX);
        statement.flags.truncate(FLAGS_MAX);
        statement.flags.shrink_to_fit();
        let month = Arc::new(SealedMonth { statement, flags_left_out, revisions });
        self.sealed_months_kept.keep(&month);
        Ok(month)
    }
}

#[cfg(test)]
mod tests {
    use seatbeat_ledger::calendar::Zone;
    use seatbeat_ledger::statement::Line;

    use super::*;

    fn month(period: &str, revision: u32) -> Arc<SealedMonth> {
        let line: Line = serde_json::from_str(
            r#"{"customer":"cus_a","sku":"A","count":"high_water","confirmed":"1","presumed":"0","measured":"1","declared":"0","adjusted":"0","quantity":"1"}"#,
        )
        .unwrap();
        let statement = Statement {
            period: period.parse().unwrap(),
            zone: Zone::named("UTC").unwrap(),
            lines: vec![line; LINES_MAX / 2],
            corrections: Vec::new(),
            totals: Vec::new(),
            flags: Vec::new(),
            blockers: Vec::new(),
            rejected: Vec::new(),
        };
        Arc::new(SealedMonth { statement, flags_left_out: 0, revisions: vec![revision] })
    }

    #[test]
    fn the_latest_are_kept_and_another_revision_is_read_anew() {
        let kept = SealedMonths::default();
        let has = |period: &str, revision| kept.get(period.parse().unwrap(), &[revision]).is_some();
        kept.keep(&month("2026-08", 1));
        kept.keep(&month("2026-09", 1));
        assert!(has("2026-08", 1) && has("2026-09", 1) && has("2026-08", 1));
        kept.keep(&month("2026-10", 1));
        assert!(!has("2026-09", 1), "it was asked for before the others");
        assert!(has("2026-08", 1) && !has("2026-08", 2) && !has("2026-08", 1));
    }
}
