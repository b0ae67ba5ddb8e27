//! Which records are in the table, month by month, and which in an archive. Invariant: what both lack together is told,
//! and never passed over.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::session::Session;
use crate::journal::Position;
use crate::journal::archive::{Archived, Index};
use crate::postgres::PostgresError;

/// A month of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// 202611 is November 2026.
    pub month: i32,
    /// Its first record.
    pub first: Position,
    /// The position behind its last one.
    pub end: Position,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// What is in an archive.
    pub archived: Index,
    /// In the table, oldest first; the last one is written to.
    pub months: Vec<Month>,
    /// Behind the newest record.
    pub size: Position,
}

impl Parts {
    /// The table's first record.
    pub fn begins(&self) -> Position {
        self.months.first().map_or(self.size, |month| month.first)
    }

    /// The oldest month, if nobody writes to it any more.
    pub fn oldest(&self) -> Option<Month> {
        (self.months.len() > 1).then(|| self.months[0])
    }

    /// Records that no month and no archive has, by what both lists say.
    fn gap(&self) -> Option<(Position, Position)> {
        let before = self.archived.end();
        self.archived.gap().or_else(|| (self.begins() > before).then(|| (before, self.begins())))
    }
}

impl Session {
    /// What there is, by the lists.
    pub async fn parts(&self) -> Result<Parts, PostgresError> {
        // Months first: one that goes meanwhile is in the archive by the time that is asked for.
        let months = self.ask("read the months of", self.client.query(MONTHS, &[])).await?;
        let size = self.ask("read from", self.client.query_one(&self.size, &[])).await?;
        let archived = self.ask("read the archived part of", self.client.query(ARCHIVED, &[])).await?;
        let size = position(&size, 0);
        let firsts = months.iter().map(|row| position(row, 1)).chain([size]);
        let months = months.iter().zip(firsts.skip(1)).map(|(row, end)| {
            let (month, first) = (row.get(0), position(row, 1));
            Month { month, first, end }
        });
        let archived = archived.iter().map(|row| Archived {
            first: position(row, 0),
            records: position(row, 1).0,
            bytes: position(row, 2).0,
            packed: position(row, 3).0,
            sha256: row.get(4),
            link: row.get(5),
            to: row.get(6),
            object: row.get(7),
        });
        Ok(Parts { months: months.collect(), archived: Index::of(archived.collect()), size })
    }

    /// What there is, each month's first and last record looked for.
    ///
    /// # Errors
    /// [`PostgresError::Gap`] where records were taken away.
    pub async fn whole_parts(&self, place: &str) -> Result<Parts, PostgresError> {
        let mut parts = self.parts().await?;
        loop {
            let gap = match parts.gap() {
                Some(gap) => Some(gap),
                None => missing(self, &parts.months).await?,
            };
            let Some((from, until)) = gap else { return Ok(parts) };
            // A month may have gone to the archive while it was looked for.
            let again = self.parts().await?;
            if again.begins() == parts.begins() {
                return Err(PostgresError::Gap { place: place.to_owned(), from: from.0, until: until.0 });
            }
            parts = again;
        }
    }

    /// Whether whoever runs the jobs has a lease with this fence; nobody takes them over until the transaction ends.
    pub async fn leads(&self, fence: i64) -> Result<bool, PostgresError> {
        let held = self.ask("read the jobs' lease of", self.client.query_one(&self.fence, &[])).await?;
        Ok(held.get::<_, i64>(0) == fence)
    }
}

/// The first month of which the table has not the first or not the last record.
async fn missing(session: &Session, months: &[Month]) -> Result<Option<(Position, Position)>, PostgresError> {
    let is_there = session.ask("prepare statements at", session.client.prepare(IS_THERE)).await?;
    for month in months.iter().filter(|month| month.first < month.end) {
        for at in [month.first.0, month.end.0 - 1].map(u64::cast_signed) {
            let place: [&(dyn ToSql + Sync); 2] = [&month.month, &at];
            let asked = session.client.query_opt(&is_there, &place);
            if session.ask("read from", asked).await?.is_none() {
                return Ok(Some((month.first, month.end)));
            }
        }
    }
    Ok(None)
}

/// Names a segment; false where something stands at its place already.
pub async fn name(client: &Client, archived: &Archived) -> Result<bool, tokio_postgres::Error> {
    let end = client.query_one(ARCHIVED_END, &[]).await?;
    if position(&end, 0) != archived.first {
        return Ok(false);
    }
    let numbers = [archived.first.0, archived.records, archived.bytes, archived.packed];
    let [first, records, bytes, packed] = numbers.map(u64::cast_signed);
    let Archived { sha256, link, to, object, .. } = archived;
    client.execute(NAME, &[&first, &records, &bytes, &packed, sha256, link, to, object]).await?;
    Ok(true)
}

/// Whether this is the oldest month still, nobody writes to it, and an archive has all of it.
pub async fn may_go(client: &Client, month: Month) -> Result<bool, tokio_postgres::Error> {
    let months = client.query(MONTHS, &[]).await?;
    let end = client.query_one(ARCHIVED_END, &[]).await?;
    let is_oldest = matches!(months.as_slice(), [oldest, next, ..]
        if oldest.get::<_, i32>(0) == month.month && position(next, 1) == month.end);
    Ok(is_oldest && position(&end, 0) >= month.end)
}

fn position(row: &Row, column: usize) -> Position {
    Position(row.get::<_, i64>(column).unsigned_abs())
}

const MONTHS: &str = "SELECT month, first FROM seatbeat.months ORDER BY month";

const ARCHIVED: &str = "SELECT first, records, bytes, packed, sha256, link, place, object \
                        FROM seatbeat.archived ORDER BY first";

const ARCHIVED_END: &str = "SELECT COALESCE(MAX(first + records), 0) FROM seatbeat.archived";

const NAME: &str = "INSERT INTO seatbeat.archived (first, records, bytes, packed, sha256, link, place, object) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const IS_THERE: &str = "SELECT position FROM seatbeat.records WHERE month = $1 AND position = $2";

#[cfg(test)]
mod tests {
    use super::*;

    fn archived(first: u64, records: u64) -> Archived {
        let text = String::new;
        let (first, sha256, link, to, object) = (Position(first), text(), text(), text(), text());
        Archived { first, records, bytes: 1, packed: 1, sha256, link, to, object }
    }

    #[test]
    fn what_neither_list_has_is_a_gap() {
        let month = |month, first, end| Month { month, first: Position(first), end: Position(end) };
        let check = |segments: &[(u64, u64)], months: &[Month], expected: Option<(u64, u64)>| {
            let segments = segments.iter().map(|&(first, records)| archived(first, records));
            let archived = Index::of(segments.collect());
            let parts = Parts { archived, months: months.to_vec(), size: Position(50) };
            let expected = expected.map(|(from, until)| (Position(from), Position(until)));
            assert_eq!(parts.gap(), expected, "{parts:?}");
        };
        check(&[], &[month(202601, 0, 50)], None);
        check(&[(0, 10), (10, 10)], &[month(202602, 20, 50)], None);
        check(&[(0, 10), (10, 10)], &[month(202601, 5, 20), month(202602, 20, 50)], None);
        check(&[], &[month(202602, 20, 50)], Some((0, 20)));
        check(&[(0, 10)], &[month(202602, 20, 50)], Some((10, 20)));
        check(&[(0, 10), (15, 5)], &[month(202602, 20, 50)], Some((10, 15)));
        check(&[(0, 10)], &[], Some((10, 50)));
    }

    #[test]
    fn the_month_that_is_written_to_is_never_old() {
        let of = |count: i32| {
            let month = |number| Month { month: 202601 + number, first: Position(0), end: Position(9) };
            Parts { months: (0..count).map(month).collect(), ..Parts::default() }.oldest()
        };
        assert_eq!((of(0), of(1)), (None, None));
        assert_eq!(of(2).map(|month| month.month), Some(202601));
    }
}
