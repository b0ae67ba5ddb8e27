//! Records read back, from the table or, where their month went, from an archive. Invariant: what
//! the table lacks is found in an archive, or is an error.

use std::path::PathBuf;

use super::{Inside, PostgresJournal, checksum};
use crate::journal::reader::{FileReader, READ_BYTES_MAX};
use crate::journal::{JournalError, Position};
use crate::postgres::PostgresError;

/// Records asked for at once, at first; then as many as usual ones fill an answer.
const READ_ROWS_FIRST: usize = 64;
/// As many at most.
pub const READ_ROWS_MAX: usize = 4096;

/// Bytes asked for at once, about: four such answers are one of a reader's.
const READ_ROWS_BYTES: usize = READ_BYTES_MAX / 4;

/// Records, each with its place.
type Records = Vec<(Position, Vec<u8>)>;

impl PostgresJournal {
    /// As [`crate::journal::Journal::read_from`].
    pub fn read_anywhere(&self, from: Position, limit: usize) -> Result<Records, JournalError> {
        let (mut is_archived, mut records) = self.read_part(from, limit)?;
        let mut bytes: usize = records.iter().map(|(_, record)| record.len()).sum();
        // The table goes on where the archives end.
        while is_archived && records.len() < limit && bytes < READ_BYTES_MAX {
            let next = from.plus(records.len() as u64);
            let read;
            (is_archived, read) = self.read_part(next, limit - records.len())?;
            for (position, record) in read {
                if bytes < READ_BYTES_MAX {
                    bytes += record.len();
                    records.push((position, record));
                }
            }
        }
        Ok(records)
    }

    /// Reads on from one place: from archives, or from the table; whether it was from archives.
    fn read_part(&self, from: Position, limit: usize) -> Result<(bool, Records), JournalError> {
        let mut inside = self.inside();
        if from >= inside.begins {
            let read = self.engine.wait(inside.read_from(from, limit));
            let Err(JournalError::Postgres(PostgresError::Damaged { .. })) = &read else {
                return Ok((false, read?));
            };
            // Its month may have gone to an archive since.
            self.engine.wait(inside.ask_parts())?;
            if from >= inside.begins {
                return Ok((false, read?));
            }
        }
        let archived = inside.archived.clone();
        drop(inside);
        Ok((true, archived.read_from(from, limit)?))
    }
}

impl Inside {
    /// Asks anew what is in the table and what in archives.
    pub async fn ask_parts(&mut self) -> Result<(), JournalError> {
        let parts = self.whole_parts().await?;
        let place = PathBuf::from(self.line.place());
        self.begins = parts.begins();
        self.archived = FileReader::of(self.archives.segments(&place, parts.archived.segments)?);
        Ok(())
    }

    /// Reads from the table alone.
    pub async fn read_from(
        &mut self,
        from: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        let mut tries = self.line.tries();
        let (mut records, mut bytes, mut rows_max) = (Vec::new(), 0, READ_ROWS_FIRST);
        while records.len() < limit && bytes < READ_BYTES_MAX {
            let next = from.plus(records.len() as u64);
            let rows = match self.try_read(next, rows_max.min(limit - records.len())).await {
                Ok(rows) => rows,
                Err(error) => {
                    self.line.after(error, &mut tries).await?;
                    continue;
                }
            };
            let (count, of_all) = (rows.len(), rows.iter().map(Vec::len).sum());
            for record in rows {
                if bytes < READ_BYTES_MAX {
                    bytes += record.len();
                    records.push((from.plus(records.len() as u64), record));
                }
            }
            if count < rows_max {
                break;
            }
            rows_max = rows_of_an_answer(count, of_all);
        }
        Ok(records)
    }

    /// Reads records; fewer than `limit` where the journal ends.
    async fn try_read(&mut self, from: Position, limit: usize) -> Result<Vec<Vec<u8>>, PostgresError> {
        let place = self.line.place();
        let session = self.line.session().await?;
        let (first, limit) = (from.0.cast_signed(), limit as i64);
        let rows = session.ask("read from", session.client.query(&session.read, &[&first, &limit])).await?;
        let records = rows.iter().enumerate().map(|(offset, row)| {
            let (expected, found) = (first + offset as i64, row.get::<_, i64>(0));
            let (sum, record): (i32, &[u8]) = (row.get(1), row.get(2));
            let damaged = |what| {
                let position = expected.unsigned_abs();
                Err(PostgresError::Damaged { place: place.clone(), position, what })
            };
            match (found == expected, checksum(record) == sum) {
                (true, true) => Ok(record.to_vec()),
                (true, false) => damaged("is not as it was written"),
                (false, _) => damaged("is missing"),
            }
        });
        records.collect()
    }
}

/// How many records fill an answer that are as long as these, `count` in `bytes`.
fn rows_of_an_answer(count: usize, bytes: usize) -> usize {
    let usual = (bytes / count).max(1);
    (READ_ROWS_BYTES / usual).clamp(1, READ_ROWS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_records_are_the_fewer_are_asked_for() {
        assert_eq!(rows_of_an_answer(64, 0), READ_ROWS_MAX);
        assert_eq!(rows_of_an_answer(64, 64 * 100), READ_ROWS_MAX);
        assert_eq!(rows_of_an_answer(64, 64 * 64 * 1024), 32);
        assert_eq!(rows_of_an_answer(1, READ_BYTES_MAX), 1);
    }
}
