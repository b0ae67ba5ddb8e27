//! Moves old evidence from the store to the archive. Invariant: nothing is moved before a sealed statement covers it and
//! it is as old as the configuration asks for; what fails is tried again, and an alarm stands meanwhile.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use prost::Message as _;
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::wire::JournalRecord;
use tokio::sync::oneshot;

use crate::books::Books;
use crate::config::ArchiveConfig;
use crate::doctor::chain;
use crate::journal::{Archived, JournalError, Position};

/// How often it looks whether something has become old.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Name of the alarm while nothing can be moved.
const ALARM: &str = "archive";

/// The job.
#[derive(Clone)]
pub struct ArchiveJob {
    books: Books,
    config: Arc<ArchiveConfig>,
}

impl ArchiveJob {
    /// Over these books, by this configuration.
    pub fn new(books: Books, config: ArchiveConfig) -> Self {
        Self { books, config: Arc::new(config) }
    }

    /// Runs until it is stopped: what is on its way to the archive then is left behind, and moved the next time.
    pub async fn follow(self, stopped: impl Future<Output = ()>) {
        tokio::pin!(stopped);
        loop {
            let (job, (tell, told)) = (self.clone(), oneshot::channel());
            // Nobody waits for this thread: an archive that does not answer keeps no collector from ending.
            let run = move || tell.send(job.run());
            let started = std::thread::Builder::new().name("archive".to_owned()).spawn(run);
            if let Err(error) = started {
                self.alarm(&error.to_string());
            }
            let wait = tokio::select! {
                biased;
                () = &mut stopped => return,
                moved = told => match moved {
                    Ok(true) => Duration::ZERO,
                    Ok(false) => LOOK_EVERY,
                    Err(_) => {
                        self.alarm("it ended with a panic; the log tells more");
                        LOOK_EVERY
                    }
                },
            };
            tokio::select! {
                biased;
                () = &mut stopped => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Moves one segment if one is due, and says whether it did. Blocks.
    pub fn run(&self) -> bool {
        match self.move_one() {
            Ok(moved) => {
                self.books.alarms().clear(ALARM);
                if let Some(moved) = &moved {
                    tracing::info!(first = %moved.first, records = moved.records, to = %moved.to, "evidence archived");
                }
                moved.is_some()
            }
            Err(error) => {
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                self.alarm(&format!("{}{hint}", chain(&error)));
                false
            }
        }
    }

    fn alarm(&self, why: &str) {
        self.books.alarms().raise(ALARM, format!("old evidence is not archived: {why}"));
    }

    fn move_one(&self) -> Result<Option<Archived>, JournalError> {
        let archiver = self.books.archiver();
        archiver.tidy()?;
        let Some(oldest) = archiver.oldest() else { return Ok(None) };
        let covered = self.books.read(covered);
        if oldest.end() > covered || !self.is_old(oldest.end())? {
            return Ok(None);
        }
        archiver.move_oldest(&archiver.archive(&self.config.to)?)
    }

    /// Whether the record before a position is as old as it has to be.
    fn is_old(&self, end: Position) -> Result<bool, JournalError> {
        let Some(before) = old_before(self.books.clock().now(), self.config.after_months) else {
            return Ok(false);
        };
        let newest = self.books.records(Position(end.0.saturating_sub(1)), 1)?;
        let written = newest.first().and_then(|(_, record)| JournalRecord::decode(record.as_slice()).ok());
        Ok(written.is_some_and(|record| record.recorded_at_ms < before.as_millisecond()))
    }
}

/// Records before this one are in the log that some sealed statement names, and its signed checkpoint with it.
fn covered(fold: &Fold) -> Position {
    let sealed = fold.sealed_periods().flat_map(|period| fold.sealed(period));
    Position(sealed.map(|(_, sealed)| sealed.position).max().unwrap_or(0))
}

fn old_before(now: Timestamp, months: u32) -> Option<Timestamp> {
    let span = Span::new().try_months(months).ok()?;
    Some(now.to_zoned(TimeZone::UTC).checked_sub(span).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(old_before(at("2026-12-31T10:00:00Z"), 3), Some(at("2026-09-30T10:00:00Z")));
        for absurd in [200_000, u32::MAX] {
            assert_eq!(old_before(at("2026-12-31T10:00:00Z"), absurd), None);
        }
    }
}
