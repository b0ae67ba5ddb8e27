//! What others say of a sealed month beside what was sealed: compared, imported, explained. Invariant: nothing that was
//! sealed changes by it; what a far side calls its customers is in answers alone, never on record.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatbeat_ledger::body::SealedBody;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::{COLLECTOR, Fold};
use seatbeat_ledger::money::{Decimal, Quantity};
use seatbeat_ledger::reconciliation::compare::{CompareError, Difference, compare, is_open, sealed_body};
use seatbeat_ledger::reconciliation::why::{Known, Why, why};
use seatbeat_ledger::reconciliation::{Against, Explained, Key, Set, Sides, Source, Theirs, Unmapped, parts};
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;
use seatbeat_proto::wire::DifferenceExplained;
use seatbeat_proto::wire::journal_record::Fact;
use serde::{Deserialize, Serialize};

use super::Console;
use super::auth::Caller;
use super::command::checked_reason;
use super::fault::{Fault, period};
use crate::books::{Actor, Books};
use crate::distributor::connector::FarSeats;
use crate::jobs::close::{CloseError, corrections_of};

mod invoice;

pub use invoice::InvoiceTaken;

/// Lines of an answer: those that need a reason come first, and whoever has more begins with the prices.
pub const ROWS_MAX: usize = 5_000;

/// Parts of a set that are written at once: a fraction of what may wait to be written.
const PARTS_AT_ONCE: usize = 16;

/// What is to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcileQuery {
    /// Which month.
    pub period: Period,
    /// Whose statement; none: all of them.
    pub distributor: Option<String>,
    /// With what; none: all that is said of it.
    pub source: Option<Source>,
}

/// A line that somebody explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferenceAsked {
    /// Which month, and of whom.
    pub of: ReconcileQuery,
    /// Which line.
    pub key: Key,
    /// Why it differs.
    pub reason: String,
}

/// A month beside what is said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Which month.
    pub period: Period,
    /// Whose statements were sealed of it.
    pub distributors: Vec<String>,
    /// By distributor and source.
    pub compared: Vec<Compared>,
    /// What far sides that were just asked list and no mapping names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unnamed: Vec<Unnamed>,
}

/// A statement beside what one side says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Whose statement.
    pub distributor: String,
    /// Which of the sealed ones.
    pub revision: u32,
    /// Who says something of it.
    pub source: Source,
    /// Since when that is known.
    pub at: Timestamp,
    /// All our seats.
    pub ours: Quantity,
    /// All of theirs.
    pub theirs: Quantity,
    /// Theirs less ours.
    pub difference: Quantity,
    /// What ours cost, of an invoice.
    pub cost: Option<Decimal>,
    /// What is billed.
    pub amount: Option<Decimal>,
    /// Of all money; none where there is none, or several are.
    pub currency: Option<String>,
    /// What they list and no mapping names.
    pub unmapped: Unmapped,
    /// Lines that they list without a number.
    pub untold: u64,
    /// Lines that need a reason and have none.
    pub open: u64,
    /// Lines that differ, also those that are not among the rows.
    pub total: u64,
    /// The first of them, those that need a reason before all others.
    pub rows: Vec<ComparedRow>,
}

/// A line that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedRow {
    /// By how much.
    #[serde(flatten)]
    pub difference: Difference,
    /// What the customer is called.
    pub customer_name: String,
    /// Why, probably.
    #[serde(flatten)]
    pub why: Why,
    /// The same in words.
    pub why_words: String,
    /// Whether it is in the way of the next months.
    pub is_open: bool,
    /// Why, in somebody's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<Explained>,
}

/// Something that a far side lists and no mapping names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnamed {
    /// Which destination.
    pub destination: String,
    /// What it is called there.
    pub called: String,
    /// How many may be used there.
    pub provisioned: Option<u64>,
    /// How many are.
    pub used: Option<u64>,
}

/// What became of what a destination has on its books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Lines that a mapping names.
    pub lines: usize,
    /// What none names: for the answer to whoever asked, it is on record nowhere.
    pub unnamed: Vec<Unnamed>,
    /// Whether it was new, and is on record now.
    pub is_new: bool,
}

/// A difference that somebody explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceTold {
    /// Which month.
    pub period: Period,
    /// Whose statement.
    pub distributor: String,
    /// Who says something else.
    pub source: Source,
    /// Whose.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// The two sides.
    pub sides: Sides,
    /// Lines that still need a reason, of that statement and source.
    pub open: u64,
    /// The journal behind it.
    pub position: u64,
}

impl TryFrom<wire::ReconcileRequest> for ReconcileQuery {
    type Error = Fault;

    fn try_from(asked: wire::ReconcileRequest) -> Result<Self, Fault> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let source = some(asked.source).map(|text| text.parse());
        Ok(Self {
            period: period(&asked.period)?,
            distributor: some(asked.distributor),
            source: source
                .transpose()
                .map_err(|error| Fault::value("`source`", format!("is none: {error}")))?,
        })
    }
}

impl TryFrom<wire::ExplainDifferenceRequest> for DifferenceAsked {
    type Error = Fault;

    fn try_from(asked: wire::ExplainDifferenceRequest) -> Result<Self, Fault> {
        let wire::ExplainDifferenceRequest { period, distributor, source, customer, sku, reason } = asked;
        let of = wire::ReconcileRequest { period, distributor, source, fetch: false, after_position: 0 };
        let sku = sku.parse().map_err(|error| Fault::value("`sku`", format!("is not valid: {error}")))?;
        Ok(Self { of: of.try_into()?, key: (customer.parse()?, sku), reason })
    }
}

impl Console {
    /// A sealed month beside all that is said of it.
    ///
    /// # Errors
    /// When the position is not known here in time, the month is not sealed, or it cannot be compared.
    pub async fn reconcile(&self, query: ReconcileQuery, after: u64) -> Result<Reconciled, Fault> {
        self.books.reached(after).await?;
        let console = self.clone();
        tokio::task::spawn_blocking(move || {
            let fold = console.books.read(Fold::clone);
            let distributors = sealed_for(&fold, &query)?;
            let mut compared = Vec::new();
            for (against, set) in said(&fold, &query) {
                compared.extend(console.compared(&fold, against, set)?);
            }
            Ok(Reconciled { period: query.period, distributors, compared, unnamed: Vec::new() })
        })
        .await?
    }

    /// Says why a line differs.
    ///
    /// # Errors
    /// When there is no reason, the line does not differ, several sources say something else of it, or it cannot be
    /// written.
    pub async fn explain_difference(
        &self,
        caller: &Caller,
        asked: DifferenceAsked,
    ) -> Result<DifferenceTold, Fault> {
        let DifferenceAsked { of, key, reason } = asked;
        checked_reason(&reason)?;
        if reason.trim().is_empty() {
            return Err(Fault::value("the reason", "is missing"));
        }
        let fold = self.books.read(Fold::clone);
        let (looked, line) = (of.clone(), key.clone());
        let found = tokio::task::spawn_blocking(move || {
            sealed_for(&fold, &looked)?;
            differing(&fold, &looked, &line)
        });
        let (against, sides) = found.await??;
        let text = |amount: Option<Decimal>| amount.map(|amount| amount.to_string()).unwrap_or_default();
        let fact = DifferenceExplained {
            distributor: against.distributor.clone(),
            period: against.period.to_string(),
            source: against.source.to_string(),
            customer: key.0.to_string(),
            sku: key.1.to_string(),
            ours: sides.ours.to_string(),
            theirs: sides.theirs.to_string(),
            cost: text(sides.cost),
            amount: text(sides.amount),
        };
        let position = self.books.write(caller, &reason, Fact::DifferenceExplained(fact)).await?.0;
        let fold = self.books.read(Fold::clone);
        let Against { period, distributor, source } = against.clone();
        let open = tokio::task::spawn_blocking(move || open_lines(&fold, &against)).await??;
        let (customer, sku) = key;
        Ok(DifferenceTold { period, distributor, source, customer, sku, sides, open, position })
    }

    /// A statement beside a set, with the likely reasons; none where nothing is sealed. Blocks while it computes.
    fn compared(&self, fold: &Fold, against: &Against, set: &Set) -> Result<Option<Compared>, Fault> {
        let Against { period, distributor, source } = against;
        let Some((revision, body)) = sealed_body(fold, *period, distributor).map_err(CloseError::from)?
        else {
            return Ok(None);
        };
        let found = compare(&body, source, set)?;
        let policy = match &body.policy {
            Some(policy) => policy.clone(),
            None => fold.terms().policy(*period)?,
        };
        let corrections = corrections_of(fold, *period, self.books.clock().now())?;
        let known = Known::gather(fold, against, (revision, &policy), &corrections, &found);
        let mut rows = Vec::new();
        for difference in &found.differences {
            let key = (difference.customer.clone(), difference.sku.clone());
            let explained = fold.reconciliation().explained(against, &key, &difference.sides).cloned();
            let why = why(difference, &known);
            rows.push(ComparedRow {
                difference: difference.clone(),
                customer_name: self.customer_name(&difference.customer)?,
                why_words: why.to_string(),
                why,
                is_open: is_open(difference, explained.as_ref()),
                explained,
            });
        }
        rows.sort_by_key(|row| !row.is_open);
        let (open, total) = (rows.iter().filter(|row| row.is_open).count() as u64, rows.len() as u64);
        rows.truncate(ROWS_MAX);
        Ok(Some(Compared {
            distributor: distributor.clone(),
            revision,
            source: source.clone(),
            at: set.at,
            ours: found.ours,
            theirs: found.theirs,
            difference: found.theirs.minus(found.ours)?,
            cost: found.cost,
            amount: found.amount,
            currency: found.currency,
            unmapped: set.unmapped,
            untold: found.untold,
            open,
            total,
            rows,
        }))
    }
}

/// Whose statements of the month are sealed; the one that is asked for has to be among them.
fn sealed_for(fold: &Fold, query: &ReconcileQuery) -> Result<Vec<String>, Fault> {
    let all: Vec<String> = fold.sealed(query.period).map(|(name, _)| name.to_owned()).collect();
    if all.is_empty() {
        return Err(CloseError::NotSealed(query.period).into());
    }
    match &query.distributor {
        Some(asked) if !all.contains(asked) => {
            let why = format!(
                "`{asked}` has no sealed statement of {}; sealed are those of {}",
                query.period,
                all.join(", ")
            );
            Err(Fault::value("`distributor`", why))
        }
        Some(asked) => Ok(vec![asked.clone()]),
        None => Ok(all),
    }
}

/// What is said of the month, of what is asked for.
fn said<'a>(fold: &'a Fold, query: &ReconcileQuery) -> Vec<(&'a Against, &'a Set)> {
    let is_asked = |against: &Against| {
        against.period == query.period
            && query.distributor.as_ref().is_none_or(|asked| *asked == against.distributor)
            && query.source.as_ref().is_none_or(|asked| *asked == against.source)
    };
    fold.reconciliation().iter().filter(|(against, _)| is_asked(against)).collect()
}

fn differences(fold: &Fold, against: &Against, set: &Set) -> Result<Vec<Difference>, Fault> {
    let body: Option<(u32, SealedBody)> =
        sealed_body(fold, against.period, &against.distributor).map_err(CloseError::from)?;
    let Some((_, body)) = body else { return Ok(Vec::new()) };
    Ok(compare(&body, &against.source, set)
        .map_err(|error| CloseError::from(CompareError::from(error)))?
        .differences)
}

/// Who says something else of a line, and what. Of several the one whose difference needs a reason.
fn differing(fold: &Fold, query: &ReconcileQuery, key: &Key) -> Result<(Against, Sides), Fault> {
    let mut found = Vec::new();
    for (against, set) in said(fold, query) {
        let all = differences(fold, against, set)?;
        let Some(one) = all.into_iter().find(|one| (&one.customer, &one.sku) == (&key.0, &key.1)) else {
            continue;
        };
        let explained = fold.reconciliation().explained(against, key, &one.sides);
        found.push((is_open(&one, explained), against.clone(), one.sides));
    }
    if found.iter().any(|(is_open, ..)| *is_open) {
        found.retain(|(is_open, ..)| *is_open);
    }
    match found.as_slice() {
        [(_, against, sides)] => Ok((against.clone(), *sides)),
        [] => {
            let why = format!("`{}` of {} does not differ in {}", key.1, key.0, query.period);
            Err(Fault::value("`sku`", why))
        }
        several => {
            let named = several.iter().map(|(_, one, _)| format!("{} of {}", one.source, one.distributor));
            let named: Vec<String> = named.collect();
            Err(Fault::value(
                "the line",
                format!("differs in several: {}; name one of them", named.join(", ")),
            ))
        }
    }
}

fn open_lines(fold: &Fold, against: &Against) -> Result<u64, Fault> {
    let Some(set) = fold.reconciliation().get(against) else { return Ok(0) };
    let is_open = |one: &&Difference| {
        let key = (one.customer.clone(), one.sku.clone());
        is_open(one, fold.reconciliation().explained(against, &key, &one.sides))
    };
    Ok(differences(fold, against, set)?.iter().filter(is_open).count() as u64)
}

/// Puts on record what a destination has on its books of a sealed month; what it said already is not written again.
///
/// # Errors
/// When the month is not sealed, there are too many rows, or it cannot be written.
pub async fn note_provisioned(
    books: &Books,
    destination: &str,
    (distributor, period): (&str, Period),
    seats: Vec<FarSeats>,
) -> Result<Noted, Fault> {
    let source: Source =
        destination.parse().map_err(|error| Fault::value("the destination", format!("is none: {error}")))?;
    if source == Source::Invoice {
        return Err(Fault::value("the destination", "cannot be called `invoice`: that is the distributor's"));
    }
    let against = Against { period, distributor: distributor.to_owned(), source };
    let mut rows: BTreeMap<Key, Theirs> = BTreeMap::new();
    let (mut unnamed, mut unmapped) = (Vec::new(), Unmapped::default());
    let is_known = |key: &Key| books.read(|fold| fold.registry().has_customer(&key.0));
    for FarSeats { line, called, provisioned, used } in seats {
        let Some(key) = line.filter(|key| is_known(key)) else {
            unmapped.subscriptions += 1;
            unmapped.seats = unmapped.seats.saturating_add(provisioned.or(used).unwrap_or(0));
            unnamed.push(Unnamed { destination: destination.to_owned(), called, provisioned, used });
            continue;
        };
        let row = rows.entry(key).or_default();
        // Several subscriptions may be one line.
        if let Some(more) = provisioned.or(used) {
            row.quantity = Some(row.quantity.unwrap_or_default().plus(Quantity::units(more))?);
        }
        if let Some(more) = used {
            row.used = Some(row.used.unwrap_or(0).saturating_add(more));
        }
    }
    let facts = parts::provisioned(&against, rows.iter(), unmapped)
        .map_err(|error| Fault::value("what it has on its books", format!("is too much: {error}")))?;
    let is_new = write_set(books, COLLECTOR.into(), "", &against, facts).await?.is_some();
    Ok(Noted { lines: rows.len(), unnamed, is_new })
}

/// Writes a set, unless it is what was said last. Answers the position behind it.
async fn write_set(
    books: &Books,
    actor: Actor<'_>,
    reason: &str,
    against: &Against,
    facts: Vec<Fact>,
) -> Result<Option<u64>, Fault> {
    let digest = facts.first().and_then(parts::digest_in).unwrap_or_default().to_owned();
    let is_said =
        || books.read(|fold| fold.reconciliation().get(against).is_some_and(|set| set.digest == digest));
    if !books.read(|fold| fold.sealed(against.period).any(|(name, _)| name == against.distributor)) {
        return Err(CloseError::NotSealed(against.period).into());
    }
    if is_said() {
        return Ok(None);
    }
    let mut position = 0;
    for some in facts.chunks(PARTS_AT_ONCE) {
        position = books.write_all(actor, reason, some.to_vec()).await?.0;
    }
    if is_said() { Ok(Some(position)) } else { Err(Fault::SaidOtherwise(against.clone())) }
}
