//! Moves old evidence from the store, or from the database, to the archive. Invariant: nothing is moved before a sealed
//! statement covers it and it is as old as the configuration asks for; what fails is tried again, and an alarm stands
//! meanwhile.

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
use crate::journal::{JournalError, Position, Pruned, Pruner};
use crate::postgres::PostgresError;

/// How often it looks whether something has become old.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Name of the alarm while nothing can be moved.
const ALARM: &str = "archive";

/// The job.
#[derive(Clone)]
pub struct ArchiveJob {
    books: Books,
    config: Arc<ArchiveConfig>,
    table: Option<Arc<Pruner>>,
}

impl ArchiveJob {
    /// Over these books, by this configuration.
    pub fn new(books: Books, config: ArchiveConfig) -> Self {
        Self { books, config: Arc::new(config), table: None }
    }

    /// As this job, for books whose journal is in a database.
    #[must_use]
    pub fn of_table(self, table: Pruner) -> Self {
        Self { table: Some(Arc::new(table)), ..self }
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

    /// Moves one segment if one is due, and says whether there may be more. Blocks.
    pub fn run(&self) -> bool {
        let moved = match &self.table {
            Some(table) => self.prune(table),
            None => self.move_one(),
        };
        match moved {
            Ok(moved) => {
                self.books.alarms().clear(ALARM);
                match &moved {
                    Some(Pruned::Archived(moved)) => {
                        tracing::info!(first = %moved.first, records = moved.records, to = %moved.to, "evidence archived");
                    }
                    Some(Pruned::Dropped(month)) => {
                        tracing::info!(month = month.month, end = %month.end, "a month is in the archive alone");
                    }
                    None => {}
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

    fn move_one(&self) -> Result<Option<Pruned>, JournalError> {
        let archiver = self.books.archiver();
        archiver.tidy()?;
        let Some(oldest) = archiver.oldest() else { return Ok(None) };
        if !self.is_due(oldest.end())? {
            return Ok(None);
        }
        let moved = archiver.move_oldest(&archiver.archive(&self.config.to)?)?;
        Ok(moved.map(Pruned::Archived))
    }

    /// Makes room in the copy; moves a part of the table's oldest month, where this collector runs the jobs.
    fn prune(&self, table: &Pruner) -> Result<Option<Pruned>, JournalError> {
        let parts = table.look()?;
        let archiver = self.books.archiver();
        archiver.tidy()?;
        archiver.follow(&parts.archived)?;
        let Some((fence, month)) = self.books.leads().zip(parts.oldest()) else { return Ok(None) };
        if !self.is_due(month.end)? {
            return Ok(None);
        }
        match table.step(month, &table.archive(&self.config.to)?, fence) {
            // Whoever runs the jobs now goes on.
            Err(JournalError::Postgres(PostgresError::Superseded { .. })) => Ok(None),
            moved => moved,
        }
    }

    /// Whether the records before a position may go.
    fn is_due(&self, end: Position) -> Result<bool, JournalError> {
        Ok(end <= self.books.read(covered) && self.is_old(end)?)
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
