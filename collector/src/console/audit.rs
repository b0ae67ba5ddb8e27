//! Who did what, when, from where and why: the journal's records that are no machine's. Invariant: read from the
//! journal itself, the newest first; an answer reads at most [`SCANNED_MAX`] records and says where the next one goes on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use seatbeat_ledger::calendar::{Day, Zone};
use seatbeat_proto::ids::{CustomerId, MachineId, OperatorId};
use seatbeat_proto::instant;
use seatbeat_proto::wire::JournalRecord;
use serde::Serialize;

use super::Console;
use super::fault::Fault;
use crate::books::Books;
use crate::journal::Position;
use crate::vault::VaultRow;

pub mod actions;

pub use actions::ACTIONS;

/// Records that an answer looks at: some megabytes, read in a few milliseconds.
const SCANNED_MAX: u64 = 8192;

/// Records read at once; the journal finds the beginning of such a run at once.
const BATCH: u64 = 256;

/// Rows of an answer that asks for no number.
const LIMIT: usize = 100;

/// Most rows of an answer.
const LIMIT_MAX: usize = 1000;

/// Which of them; what is none narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// From this day on, in the billing zone.
    pub from: Option<Date>,
    /// Up to the end of this day.
    pub to: Option<Date>,
    /// By whom: an operator's id, or `collector`.
    pub who: Option<String>,
    /// An action's name.
    pub what: Option<String>,
    /// About this customer, or a machine that is its own now.
    pub customer: Option<CustomerId>,
    /// Before this position of the journal.
    pub before: Option<u64>,
    /// How many at most; 0: 100.
    pub limit: usize,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Where it stands in the journal.
    pub position: u64,
    /// When, by the collector's clock.
    pub at: Timestamp,
    /// By whom: an operator's id, or `collector`.
    pub who: String,
    /// What that operator is called; empty: nobody, or erased.
    pub name: String,
    /// The address that they asked from; empty: not known, or the collector's own.
    pub from: String,
    /// What: one of [`ACTIONS`].
    pub what: String,
    /// To what: ids, months, SKUs.
    pub about: Vec<String>,
    /// Why, in their words.
    pub reason: String,
}

/// The newest of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditPage {
    /// The newest first. It may be empty where there is more to look at.
    pub rows: Vec<AuditRow>,
    /// What the next answer is to lie before; none: nothing is left.
    pub next: Option<u64>,
}

impl Console {
    /// What was done.
    ///
    /// # Errors
    /// When the position is not known here in time, an action or the customer is not known, or the journal or the
    /// vault cannot be read.
    pub async fn audit(&self, query: AuditQuery, after: u64) -> Result<AuditPage, Fault> {
        self.books.reached(after).await?;
        if let Some(what) = query.what.as_deref().filter(|what| !ACTIONS.contains(what)) {
            return Err(Fault::value("`what`", format!("is no action: `{what}`")));
        }
        let console = self.clone();
        tokio::task::spawn_blocking(move || console.audited(&query)).await?
    }

    fn audited(&self, query: &AuditQuery) -> Result<AuditPage, Fault> {
        let limit = if query.limit == 0 { LIMIT } else { query.limit.min(LIMIT_MAX) };
        let (zone, size) = self.books.read(|fold| (fold.usage().zone().clone(), fold.position()));
        if let Some(customer) = &query.customer
            && !self.books.read(|fold| fold.registry().has_customer(customer))
        {
            return Err(Fault::UnknownCustomer(customer.clone()));
        }
        let span = Span::of(query, &zone);
        let first = span.first.map_or(Ok(0), |first| position_of(&self.books, first, size))?;
        let end = span.end.map_or(Ok(size), |end| position_of(&self.books, end, size))?;
        let mut before = query.before.unwrap_or(u64::MAX).min(end);
        let last = first.max(before.saturating_sub(SCANNED_MAX));
        let (mut rows, mut names) = (Vec::new(), BTreeMap::new());
        while before > last {
            let from = last.max((before - 1) / BATCH * BATCH);
            for (position, bytes) in read(&self.books, from, before)?.into_iter().rev() {
                if rows.len() == limit {
                    return Ok(AuditPage { rows, next: Some(position + 1) });
                }
                if is_audit(&bytes)
                    && let Ok(record) = JournalRecord::decode(bytes.as_slice())
                    && let Some(row) = self.audit_row(query, &span, position, record, &mut names)?
                {
                    rows.push(row);
                }
            }
            before = from;
        }
        Ok(AuditPage { rows, next: Some(before).filter(|before| *before > first) })
    }

    fn audit_row(
        &self,
        query: &AuditQuery,
        span: &Span,
        position: u64,
        record: JournalRecord,
        names: &mut BTreeMap<String, String>,
    ) -> Result<Option<AuditRow>, Fault> {
        let Some(fact) = &record.fact else { return Ok(None) };
        let what = actions::name(fact);
        let by = |who: &String| record.actor == *who;
        let Ok(at) = instant::from_ms(record.recorded_at_ms) else { return Ok(None) };
        if query.who.as_ref().is_some_and(|who| !by(who))
            || query.what.as_ref().is_some_and(|asked| asked != what)
            || !span.takes_in(at)
        {
            return Ok(None);
        }
        let about = actions::about(fact);
        if query.customer.as_ref().is_some_and(|customer| !self.is_about(customer, &about)) {
            return Ok(None);
        }
        let name = match names.get(&record.actor) {
            Some(name) => name.clone(),
            None => {
                let operator = record.actor.parse::<OperatorId>().ok();
                let name = operator.map(|id| self.name(VaultRow::OperatorName(&id))).transpose()?;
                names.entry(record.actor.clone()).or_insert(name.unwrap_or_default()).clone()
            }
        };
        let JournalRecord { actor, reason, from, .. } = record;
        Ok(Some(AuditRow { position, at, who: actor, name, from, what: what.to_owned(), about, reason }))
    }

    /// Whether something is about a customer, or about a machine of theirs.
    fn is_about(&self, customer: &CustomerId, about: &[String]) -> bool {
        let is_theirs = |id: &MachineId| {
            self.books
                .read(|fold| fold.registry().machine(id).is_some_and(|machine| machine.customer == *customer))
        };
        about.iter().any(|id| id == customer.as_str() || id.parse().is_ok_and(|id| is_theirs(&id)))
    }
}

/// Days as instants.
struct Span {
    first: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Span {
    fn of(query: &AuditQuery, zone: &Zone) -> Self {
        let first = |day: Date| zone.first_instant(Day::of(day));
        let end = |day: Date| day.tomorrow().ok().map(first);
        Self { first: query.from.map(first), end: query.to.and_then(end) }
    }

    fn takes_in(&self, at: Timestamp) -> bool {
        self.first.is_none_or(|first| at >= first) && self.end.is_none_or(|end| at < end)
    }
}

/// The records of a range.
fn read(books: &Books, from: u64, before: u64) -> Result<Vec<(u64, Vec<u8>)>, Fault> {
    let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut next = from;
    while next < before {
        // Fewer come where they are large.
        let some = books.records(Position(next), usize::try_from(before - next).unwrap_or(usize::MAX))?;
        if some.is_empty() {
            break;
        }
        next += some.len() as u64;
        records.extend(some.into_iter().map(|(at, record)| (at.0, record)));
    }
    Ok(records)
}

/// The first position whose record is not from before an instant, by halves. Records lie in the order of the collector's
/// clock as long as nobody set it back; around such a step the edge of a time span may be off by as much.
fn position_of(books: &Books, at: Timestamp, size: u64) -> Result<u64, Fault> {
    let at_ms = instant::to_ms(at);
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        let record = books.records(Position(middle), 1)?;
        let recorded_at = record.first().map_or(i64::MAX, |(_, record)| head(record).0);
        if recorded_at < at_ms { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// When a record was made, and the number of its fact; both 0 where they are not there.
fn head(mut record: &[u8]) -> (i64, u32) {
    let mut recorded_at_ms = 0;
    while let Ok((number, kind)) = decode_key(&mut record) {
        match number {
            1 => match prost::encoding::decode_varint(&mut record) {
                Ok(ms) => recorded_at_ms = ms.cast_signed(),
                Err(_) => break,
            },
            10.. => return (recorded_at_ms, number),
            _ if skip_field(kind, number, &mut record, DecodeContext::default()).is_err() => break,
            _ => {}
        }
    }
    (recorded_at_ms, 0)
}

/// Whether a record is somebody's doing: not what machines say, and not the parts of a price list, which its last
/// record stands for. Evidence is told by its number alone: of a hundred records it may be all.
fn is_audit(record: &[u8]) -> bool {
    !actions::NO_ACTIONS.contains(&head(record).1)
}
