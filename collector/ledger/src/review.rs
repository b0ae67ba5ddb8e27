//! What there is to look at beside a draft's statement: what blocks it, what is not billed, who is silent, what was
//! dated back, which licences are on. Invariant: none of it is in a body; lists are bounded and say how long they are.

use jiff::{SignedDuration, Timestamp};
use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calendar::Period;
use crate::close::begun_days;
use crate::coverage::{self, Coverage, Silent, coverage};
use crate::entitlements::{HeldSeats, Licences};
use crate::fold::BackDated;
use crate::machines::Names;
use crate::policy::Policy;
use crate::reconciliation::compare::OpenDifferences;
use crate::record::Sku;
use crate::registry::Registry;
use crate::statement::{Blocker, Line, Statement};
use crate::unbilled::{Telling, Unbilled};
use crate::usage::{LicenceStep, Usage};

/// Rows of a list that a draft is shown with: more than a person reads, and a draft of a large fleet stays small.
pub const ROWS_MAX: usize = 200;

/// Records whose effect lies further back than this are told.
pub const BACK_DATED: SignedDuration = SignedDuration::from_hours(24);

/// What stands in the way of sealing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InTheWay {
    /// Too few machines were heard from.
    LowCoverage(LowCoverage),
    /// What others say of a sealed month differs, and nobody has said why.
    OpenDifferences(OpenDifferences),
    /// It cannot go where it has to.
    Undeliverable(Undeliverable),
    /// Something in the statement.
    Statement(Blocker),
}

/// Too few machines were heard from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowCoverage {
    /// Always `low_coverage`.
    pub blocker: String,
    /// How few.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// Something of the statement cannot go to a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undeliverable {
    /// Always `undeliverable`.
    pub blocker: String,
    /// Where it cannot go.
    pub destination: String,
    /// Whose line.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// Why, in words.
    pub why: String,
}

/// The first rows of a list, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// How many there are.
    pub total: u64,
    /// The first of them.
    pub rows: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { total: 0, rows: Vec::new() }
    }
}

impl<T> Listed<T> {
    /// Adds a row, or only counts it.
    pub fn push(&mut self, row: T) {
        self.total += 1;
        if self.rows.len() < ROWS_MAX {
            self.rows.push(row);
        }
    }
}

impl<T> Listed<T> {
    fn keep(&mut self, is_kept: impl Fn(&T) -> bool) {
        let is_whole = self.total == self.rows.len() as u64;
        self.rows.retain(is_kept);
        // Of what is not listed nobody knows whose it is.
        if is_whole {
            self.total = self.rows.len() as u64;
        }
    }
}

/// A record that took effect more than a day before it was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackDatedRow {
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
    /// What it says, as in an export of records.
    pub record: Value,
}

/// Whether a licence is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// It was resumed.
    On,
    /// It was suspended.
    Suspended,
}

/// The licence of a line, where anything was ever said of it or seats were given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenceState {
    /// Whose.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// Whether it is on.
    pub licence: Switch,
    /// Since when.
    pub since: Timestamp,
    /// Seats that the customer holds now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldSeats>,
}

/// What there is to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// All that stands in the way, the statement's blockers included.
    pub blockers: Vec<InTheWay>,
    /// How many machines were heard from at the end of the period, or lately.
    pub coverage: Coverage,
    /// Seats that are in no quantity, and why; by machine.
    pub unbilled: Listed<Unbilled>,
    /// Machines that ought to be heard from and were not.
    pub silent: Listed<Silent>,
    /// Records that were dated back by more than a day, the newest first.
    pub back_dated: Listed<BackDatedRow>,
    /// Licences of the lines.
    pub licences: Vec<LicenceState>,
}

/// What a review is made from.
#[derive(Debug, Clone, Copy)]
pub struct ReviewInput<'a> {
    /// What the records amount to.
    pub usage: &'a Usage,
    /// Who is known.
    pub registry: Option<&'a Registry>,
    /// What the reseller has, and who holds it.
    pub licences: &'a Licences,
    /// By which the period is closed.
    pub policy: &'a Policy,
    /// What was closed.
    pub statement: &'a Statement,
    /// Usage days that begin after it are left out.
    pub as_of: Option<Timestamp>,
    /// When too little was heard.
    pub coverage: coverage::Rule,
    /// Differences of earlier months that need a reason and have none.
    pub open_differences: &'a [OpenDifferences],
}

impl Review {
    /// Reviews a statement. `back_dated`: the newest first.
    pub fn of<'b>(input: ReviewInput<'_>, back_dated: impl Iterator<Item = &'b BackDated>) -> Self {
        let ReviewInput { usage, policy, statement, as_of, .. } = input;
        let period = statement.period;
        let (days, names) = (begun_days(usage, period, as_of), Names::new(usage));
        let mut silent = Listed::default();
        let coverage = coverage(usage, input.registry, &names, &days, input.coverage, |one| silent.push(one));
        let mut blockers: Vec<InTheWay> = Vec::new();
        if coverage.is_low() {
            let blocker = "low_coverage".to_owned();
            blockers.push(InTheWay::LowCoverage(LowCoverage { blocker, coverage }));
        }
        blockers.extend(input.open_differences.iter().cloned().map(InTheWay::OpenDifferences));
        blockers.extend(statement.blockers.iter().cloned().map(InTheWay::Statement));
        let mut unbilled = Listed::default();
        if let Some(mut telling) = Telling::new(usage, policy, period, &days, &statement.lines, &names) {
            for machine in names.machines(usage) {
                telling.machine(&machine).seats_lost().for_each(|row| unbilled.push(row));
            }
            telling.rejected().into_iter().for_each(|row| unbilled.push(row));
        }
        let mut told = Listed::default();
        back_dated.filter(|one| speaks_of(one, usage, period)).for_each(|one| told.push(one.into()));
        let licences = licences(usage, input.licences, &statement.lines, period);
        Self { blockers, coverage, unbilled, silent, back_dated: told, licences }
    }
}

impl Review {
    /// Leaves out what is of other customers. The total of a list that was cut stays that of all.
    pub fn keep_only(&mut self, customer: &CustomerId) {
        self.unbilled.keep(|row| row.customer.as_ref() == Some(customer));
        self.silent.keep(|row| row.customer == *customer);
        self.back_dated.keep(|row| row.record["customer"] == customer.as_str());
        self.licences.retain(|row| row.customer == *customer);
        self.blockers.retain(|one| match one {
            InTheWay::Statement(blocker) => blocker.customer.as_ref() == Some(customer),
            InTheWay::Undeliverable(one) => one.customer == *customer,
            InTheWay::LowCoverage(_) | InTheWay::OpenDifferences(_) => true,
        });
    }
}

/// Whether a record that was dated back may change this period: it takes effect before the period's end and was not
/// written down before its beginning; units by hand name their period.
fn speaks_of(one: &BackDated, usage: &Usage, period: Period) -> bool {
    if let Some(named) = one.period {
        return named == period;
    }
    let first = usage.zone().first_instant(period.first_day());
    let end = usage.zone().first_instant(period.next().first_day());
    one.at < end && one.recorded_at >= first
}

impl From<&BackDated> for BackDatedRow {
    fn from(one: &BackDated) -> Self {
        Self {
            position: one.position,
            at: one.at,
            recorded_at: one.recorded_at,
            operator: one.operator.clone(),
            reason: one.reason.clone(),
            record: serde_json::from_str(&one.says).unwrap_or_default(),
        }
    }
}

/// Since when the licences of these lines are on or suspended, by what was said before the period's end, and what is
/// held of them now.
pub fn licences(usage: &Usage, licences: &Licences, lines: &[Line], period: Period) -> Vec<LicenceState> {
    let end = usage.zone().first_instant(period.next().first_day());
    let mut given = licences.given();
    let state = |line: &Line| {
        let (held, held_since) = given.remove(&(line.customer.clone(), line.sku.clone())).unzip();
        let steps = usage.licence(&line.customer, &line.sku);
        let said = steps.and_then(|steps| steps.range(..(end, LicenceStep::Suspended)).next_back());
        let (since, licence) = match said {
            Some((since, LicenceStep::Suspended)) => (*since, Switch::Suspended),
            Some((since, LicenceStep::Resumed)) => (*since, Switch::On),
            None => (held_since?, Switch::On),
        };
        let (customer, sku) = (line.customer.clone(), line.sku.clone());
        Some(LicenceState { customer, sku, licence, since, held: held.unwrap_or_default() })
    };
    lines.iter().filter_map(state).collect()
}

#[cfg(test)]
mod tests;
