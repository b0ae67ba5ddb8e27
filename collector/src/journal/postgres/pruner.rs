//! Moves the table's old months to an archive, for whoever runs the jobs. Invariant: a month's partition goes only once each
//! of its segments was read back and the table names it; who does not run the jobs any more changes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seatbeat_proto::frame;
use tokio_postgres::error::SqlState;

use super::Inside;
use super::parts::{self, Month, Parts};
use super::reading::READ_ROWS_MAX;
use crate::journal::archive::{Archive, ArchiveError, Archived};
use crate::journal::segment::{Header, Link};
use crate::journal::{JournalError, Position};
use crate::postgres::{Address, Engine, PostgresError};

/// Moves months of a database's table.
pub struct Pruner {
    engine: Engine,
    inside: Mutex<Inside>,
    segment_bytes_max: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pruned {
    /// A part of a month is in the archive now.
    Archived(Archived),
    /// A month is in the archive alone.
    Dropped(Month),
}

/// A part of a month as it goes to an archive.
struct Packed {
    records: u64,
    bytes: Vec<u8>,
    link: [u8; 32],
}

impl Pruner {
    /// For a database, in segments of at most this size. It is connected to when it is first asked.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn new(address: Address, segment_bytes_max: u64) -> Result<Self, JournalError> {
        let engine = Engine::start().map_err(PostgresError::from)?;
        Ok(Self { engine, inside: Mutex::new(Inside::of(address)), segment_bytes_max })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the table, and what in an archive. Blocks.
    ///
    /// # Errors
    /// When the database cannot be asked, or lacks records.
    pub fn look(&self) -> Result<Parts, JournalError> {
        self.engine.wait(self.inside().whole_parts())
    }

    /// The archive of this name: the one that segments lie in already, where some do.
    ///
    /// # Errors
    /// When it names no place.
    pub fn archive(&self, to: &str) -> Result<Arc<Archive>, ArchiveError> {
        self.inside().archives.at(to)
    }

    /// Moves the next part of a month, or drops the month once all of it is moved; nothing where another was first, or
    /// somebody reads the table for long. Blocks.
    ///
    /// # Errors
    /// When the archive or the database fails: what is not in the archive stays in the table.
    /// [`PostgresError::Superseded`] for a fence that is not the lease's.
    pub fn step(
        &self,
        month: Month,
        archive: &Arc<Archive>,
        fence: i64,
    ) -> Result<Option<Pruned>, JournalError> {
        let mut inside = self.inside();
        let archived = self.engine.wait(inside.whole_parts())?.archived;
        let next = archived.header_behind()?;
        if next.first >= month.end {
            for segment in archived.segments.iter().filter(|segment| segment.end() > month.first) {
                inside.archives.at(&segment.to)?.read(segment)?;
            }
            let gone = self.engine.wait(inside.drop_month(month, fence))?;
            return Ok(gone.then_some(Pruned::Dropped(month)));
        }
        // A folder whose disk is not mounted takes segments, too, but shows none of those before.
        if let Some(before) = archived.segments.iter().rev().find(|before| before.to == archive.to()) {
            archive.look(before)?;
        }
        let packed = self.pack(&mut inside, next, month.end)?;
        let put = archive.put(next.first, packed.records, &packed.bytes, packed.link)?;
        let named = self.engine.wait(inside.name(&put, fence))?;
        Ok(named.then_some(Pruned::Archived(put)))
    }

    /// A segment of the records behind a place and before another.
    fn pack(&self, inside: &mut Inside, header: Header, end: Position) -> Result<Packed, JournalError> {
        let bytes = header.encode();
        let link = Link::new(&bytes);
        let (mut packed, mut link) = (Packed { records: 0, bytes, link: header.link }, link);
        let mut next = header.first;
        'full: while next < end {
            let left = usize::try_from(end.0 - next.0).unwrap_or(usize::MAX);
            let read = self.engine.wait(inside.read_from(next, left.min(READ_ROWS_MAX)))?;
            if read.is_empty() {
                let place = inside.line.place();
                return Err(PostgresError::Gap { place, from: next.0, until: end.0 }.into());
            }
            for (_, record) in read {
                let before = packed.bytes.len();
                frame::append(&mut packed.bytes, &record).map_err(|frame::TooLong(bytes)| {
                    JournalError::TooLarge { bytes, limit: frame::BODY_LENGTH_MAX }
                })?;
                if packed.records > 0 && packed.bytes.len() as u64 > self.segment_bytes_max {
                    packed.bytes.truncate(before);
                    break 'full;
                }
                link.add(&packed.bytes[before..]);
                packed.records += 1;
                next = next.plus(1);
            }
        }
        packed.link = link.finish();
        Ok(packed)
    }
}

impl Inside {
    /// What there is, with nothing missing.
    pub async fn whole_parts(&mut self) -> Result<Parts, JournalError> {
        let mut tries = self.line.tries();
        let place = self.line.place();
        loop {
            let asked = async { self.line.session().await?.whole_parts(&place).await };
            match asked.await {
                Ok(parts) => {
                    self.line.is_well();
                    return Ok(parts);
                }
                Err(error) => self.line.after(error, &mut tries).await?,
            }
        }
    }

    /// Names a segment in the table; false where another was first, or this one without hearing of it.
    async fn name(&mut self, archived: &Archived, fence: i64) -> Result<bool, JournalError> {
        let mut tries = self.line.tries();
        loop {
            match self.try_name(archived, fence).await {
                Ok(named) => return Ok(named),
                Err(error) => self.line.after(error, &mut tries).await?,
            }
        }
    }

    async fn try_name(&mut self, archived: &Archived, fence: i64) -> Result<bool, PostgresError> {
        let act = "name an archived segment in";
        let session = self.begin_as_leader(fence).await?;
        let named = session.ask(act, parts::name(&session.client, archived)).await?;
        session.ask(act, session.client.batch_execute("COMMIT")).await?;
        Ok(named)
    }

    /// Drops a month that may go; false where it may not, or somebody reads the table for longer than is waited.
    async fn drop_month(&mut self, month: Month, fence: i64) -> Result<bool, JournalError> {
        let mut tries = self.line.tries();
        loop {
            match self.try_drop(month, fence).await {
                Ok(gone) => return Ok(gone),
                Err(error) if is_read(&error) => {
                    // The transaction is over with its session.
                    self.line.ends(error);
                    tracing::debug!(month = month.month, "a month is read for long: it goes later");
                    return Ok(false);
                }
                Err(error) => self.line.after(error, &mut tries).await?,
            }
        }
    }

    async fn try_drop(&mut self, month: Month, fence: i64) -> Result<bool, PostgresError> {
        let act = "drop an archived month of";
        let session = self.begin_as_leader(fence).await?;
        let may_go = session.ask(act, parts::may_go(&session.client, month)).await?;
        let end = if may_go { gone(month.month) } else { "ROLLBACK".to_owned() };
        session.ask(act, session.client.batch_execute(&end)).await?;
        Ok(may_go)
    }
}

/// Nobody appends meanwhile: whoever reads the table is waited for only a moment.
fn gone(month: i32) -> String {
    format!(
        "SET LOCAL lock_timeout = '1s'; DROP TABLE seatbeat.records_{month}; \
         DELETE FROM seatbeat.months WHERE month = {month}; COMMIT"
    )
}

fn is_read(error: &PostgresError) -> bool {
    matches!(error, PostgresError::Sql { source, .. } if source.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
}

#[cfg(test)]
mod tests;
