//! Months as they are looked at: where each statement stands with what it comes to, and one of them with its lines.
//! Invariant: a month that is sealed is shown as it was sealed; sums are the ledger's, of lines that were rounded.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::life::{Drafted, Life, Standing, standings};
use seatbeat_ledger::money::{Decimal, Quantity};
use seatbeat_ledger::operators::Reach;
use seatbeat_ledger::profit::{CLASSIC_LICENCE_MARGIN, EarnedLine, EarnedTotal, earned, margin};
use seatbeat_ledger::review::LicenceState;
use seatbeat_ledger::statement::{Correction, DEFAULT_DISTRIBUTOR, Flag, Line, Statement, Total};
use seatbeat_ledger::usage::Rejected;
use seatbeat_proto::ids::CustomerId;

use super::Console;
use super::fault::Fault;
use super::query::known_customer;
use crate::jobs::close::{self, CloseError, Draft};
use crate::outputs::tables::Names;

/// Lines on a page: a hundred are read on a few screens.
pub const LINES_MAX: usize = 100;

/// What sealed statements come to: they never change, and reading one again costs some milliseconds.
pub(super) type SealedSums = Arc<Mutex<BTreeMap<(Period, String, u32), Sums>>>;

/// What the lines of a statement come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Seats of all its lines.
    pub seats: Quantity,
    /// What they cost, by currency.
    pub costs: BTreeMap<String, Decimal>,
}

/// A statement, where it stands and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRow {
    /// Where it stands.
    pub standing: Standing,
    /// What it comes to; none where that is not known without counting the month anew.
    pub sums: Option<Sums>,
}

/// Which lines of a month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineQuery {
    /// In whose customer's name or id, or SKU, this stands; empty: all.
    pub search: String,
    /// Which page of them, from 1.
    pub page: usize,
}

/// A line with what it earns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthLine {
    /// As it is counted.
    pub line: Line,
    /// What it earns, where somebody is asked a price.
    pub earned: Option<EarnedLine>,
}

/// A page of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinePage {
    /// By customer and SKU.
    pub lines: Vec<MonthLine>,
    /// How many were asked for, on all pages.
    pub total: usize,
    /// Which page, from 1.
    pub page: usize,
    /// How many pages.
    pub pages: usize,
}

/// A month.
#[derive(Debug, Clone)]
pub struct Month {
    /// Which.
    pub period: Period,
    /// Whether this is what was sealed; else it is the draft of now.
    pub is_sealed: bool,
    /// Where its statements stand.
    pub standings: Vec<Standing>,
    /// The draft, where it is one.
    pub draft: Option<DraftOf>,
    /// Its lines.
    pub lines: LinePage,
    /// The quantity of each SKU.
    pub totals: Vec<Total>,
    /// What all lines earn, by currency.
    pub sums: Vec<EarnedTotal>,
    /// What it corrects of earlier months.
    pub corrections: Vec<Correction>,
    /// What is worth a look.
    pub flags: Vec<Flag>,
    /// Flags beside these.
    pub flags_left_out: usize,
    /// Reports that were not accepted.
    pub rejected: Vec<Rejected>,
    names: Names,
}

/// A draft, and what of it stands in the vault.
#[derive(Debug, Clone)]
pub struct DraftOf {
    draft: Arc<Draft>,
    /// The first of the licences of its lines, with their codes.
    pub licences: Vec<LicenceState>,
}

impl Deref for DraftOf {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.draft
    }
}

impl Month {
    /// What a customer on this page is called: its id where it has no name.
    pub fn name<'a>(&'a self, customer: &'a CustomerId) -> &'a str {
        match self.names.get(customer).map(String::as_str) {
            None | Some("") => customer.as_str(),
            Some(name) => name,
        }
    }

    /// Who gets a statement that was sealed.
    pub fn distributors(&self) -> Vec<&str> {
        let sealed = self.standings.iter().filter(|one| matches!(one.life, Life::Sealed { .. }));
        sealed.filter_map(|one| one.distributor.as_deref()).collect()
    }

    /// Whether anything of it was sealed, whatever this shows.
    pub fn has_sealed(&self) -> bool {
        !self.distributors().is_empty()
    }

    /// Seats of all SKUs.
    pub fn seats(&self) -> Quantity {
        let sum = |sum: Quantity, total: &Total| sum.plus(total.quantity).unwrap_or(sum);
        self.totals.iter().fold(Quantity::ZERO, sum)
    }
}

impl Sums {
    fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Result<Self, Fault> {
        let mut sums = Self::default();
        for line in lines {
            sums.seats = sums.seats.plus(line.quantity)?;
            let Some(price) = &line.price else { continue };
            let known = sums.costs.entry(price.currency.clone());
            let sum = known.or_insert_with(|| Decimal::zero(price.cost.scale()));
            *sum = sum.plus(price.cost)?;
        }
        Ok(sums)
    }
}

impl Console {
    /// Where statements stand and what each comes to, the newest month first.
    ///
    /// # Errors
    /// When the position is not known here in time, or a draft cannot be computed.
    pub async fn months(&self, after: u64) -> Result<Vec<StandingRow>, Fault> {
        let standings = self.statements(after).await?.statements;
        let console = self.clone();
        let summed = move || -> Result<Vec<StandingRow>, Fault> {
            let row = |standing: Standing| Ok(StandingRow { sums: console.sums(&standing)?, standing });
            standings.into_iter().rev().map(row).collect()
        };
        tokio::task::spawn_blocking(summed).await?
    }

    fn sums(&self, standing: &Standing) -> Result<Option<Sums>, Fault> {
        let period = standing.period;
        let distributor = standing.distributor.as_deref().unwrap_or(DEFAULT_DISTRIBUTOR);
        match &standing.life {
            Life::Sealed { revision, .. } => self.sealed_sums(period, distributor, *revision),
            Life::Draft { digest, .. } | Life::Approved { digest, .. } => {
                let sums = self.closing.known_draft(period, digest, |draft| {
                    let is_its = |line: &&Line| distributor_of(line) == distributor;
                    Sums::of(draft.output.statement.lines.iter().filter(is_its))
                });
                sums.transpose()
            }
            Life::Open { .. } | Life::Grace { .. } => {
                Ok(Some(Sums::of(self.closing.lately(period, 0)?.output.statement.lines.iter())?))
            }
            Life::Superseded { .. } => Ok(None),
        }
    }

    fn sealed_sums(&self, period: Period, distributor: &str, revision: u32) -> Result<Option<Sums>, Fault> {
        let key = (period, distributor.to_owned(), revision);
        let known = self.sealed_sums.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let sealed = self.sealed_month(period)?;
        let lines = sealed.statement.lines.iter().filter(|line| distributor_of(line) == distributor);
        let sums = Sums::of(lines)?;
        self.sealed_sums.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sums.clone());
        Ok(Some(sums))
    }

    /// Whether anything of a month is sealed.
    pub fn is_sealed(&self, period: Period) -> bool {
        self.books.read(|fold| fold.sealed(period).next().is_some())
    }

    /// A month as it was sealed; one that is not, or `as_draft`, as its statement would be now.
    ///
    /// # Errors
    /// When the position is not known here in time, or the month cannot be computed.
    pub async fn month(
        &self,
        period: Period,
        as_draft: bool,
        lines: LineQuery,
        after: u64,
    ) -> Result<Month, Fault> {
        self.books.reached(after).await?;
        let running = close::running_period(&self.books);
        if period > running {
            return Err(Fault::value("the month", format!("{period} has not begun: it is {running}")));
        }
        let console = self.clone();
        if self.is_sealed(period) && !as_draft {
            let shown = move || {
                let (now, timetable) = (console.books.clock().now(), console.config.timetable());
                let nobody = || -> Result<Drafted, CloseError> { Err(CloseError::NotSealed(period)) };
                let standings =
                    console.books.read(|fold| standings(fold, &timetable, period, now, nobody))?;
                let sealed = console.sealed_month(period)?;
                let shown = console.shown_month(&sealed.statement, standings, None, &lines)?;
                Ok(Month { flags_left_out: shown.flags_left_out + sealed.flags_left_out, ..shown })
            };
            return tokio::task::spawn_blocking(shown).await?;
        }
        let drafted = move || {
            let draft = console.closing.draft(period, after)?;
            let mut licences: Vec<_> = draft.review.licences.iter().take(LINES_MAX).cloned().collect();
            console.put_codes_in(&mut licences)?;
            let of = DraftOf { draft: Arc::clone(&draft), licences };
            console.shown_month(&draft.output.statement, draft.standings.clone(), Some(of), &lines)
        };
        tokio::task::spawn_blocking(drafted).await?
    }

    fn shown_month(
        &self,
        statement: &Statement,
        standings: Vec<Standing>,
        draft: Option<DraftOf>,
        query: &LineQuery,
    ) -> Result<Month, Fault> {
        let period = statement.period;
        let policy = self.books.read(|fold| Arc::clone(fold.terms())).policy(period)?;
        let compared = margin(CLASSIC_LICENCE_MARGIN).expect("it is a margin");
        let earnings = earned(period, &statement.lines, &policy, compared)?;
        let mut names = Names::new();
        let Statement { lines, corrections, totals, flags, rejected, .. } = statement;
        let flags_left_out = flags.len().saturating_sub(LINES_MAX);
        let found = self.found(lines, &query.search, &mut names)?;
        let (total, pages) = (found.len(), found.len().div_ceil(LINES_MAX).max(1));
        let page = query.page.clamp(1, pages);
        let mut rows: BTreeMap<_, EarnedLine> = BTreeMap::new();
        let shown: Vec<&Line> = found.into_iter().skip((page - 1) * LINES_MAX).take(LINES_MAX).collect();
        let keys: BTreeSet<_> = shown.iter().map(|line| (&line.customer, &line.sku)).collect();
        for line in earnings.lines {
            if keys.contains(&(&line.row.customer, &line.row.sku)) {
                rows.insert((line.row.customer.clone(), line.row.sku.clone()), line);
            }
        }
        let row = |line: &Line| {
            let earned = rows.remove(&(line.customer.clone(), line.sku.clone()));
            MonthLine { line: line.clone(), earned }
        };
        let lines: Vec<MonthLine> = shown.into_iter().map(row).collect();
        for customer in told_of(&lines, corrections, draft.as_ref()) {
            if !names.contains_key(&customer) {
                names.insert(customer.clone(), self.customer_name(&customer)?);
            }
        }
        Ok(Month {
            period,
            is_sealed: draft.is_none(),
            standings,
            draft,
            lines: LinePage { lines, total, page, pages },
            totals: totals.clone(),
            sums: earnings.totals,
            corrections: corrections.clone(),
            flags: flags.iter().take(LINES_MAX).cloned().collect(),
            flags_left_out,
            rejected: rejected.clone(),
            names,
        })
    }

    /// The lines that something stands in. Names are read only where they are looked into.
    fn found<'a>(&self, lines: &'a [Line], search: &str, names: &mut Names) -> Result<Vec<&'a Line>, Fault> {
        let search = search.trim().to_lowercase();
        if search.is_empty() {
            return Ok(lines.iter().collect());
        }
        let mut found = Vec::new();
        for line in lines {
            if !names.contains_key(&line.customer) {
                names.insert(line.customer.clone(), self.customer_name(&line.customer)?);
            }
            let has = |text: &str| text.to_lowercase().contains(&search);
            if has(&names[&line.customer]) || has(line.customer.as_str()) || has(line.sku.as_str()) {
                found.push(line);
            }
        }
        Ok(found)
    }

    /// What a customer is called, if there is such a one.
    ///
    /// # Errors
    /// When there is not, or the vault cannot be read.
    pub fn called(&self, customer: &CustomerId) -> Result<String, Fault> {
        self.books.read(|fold: &Fold| known_customer(fold, &Reach::House, Some(customer)))?;
        match self.customer_name(customer)? {
            none if none.is_empty() => Ok(customer.to_string()),
            name => Ok(name),
        }
    }
}

fn distributor_of(line: &Line) -> &str {
    line.price.as_ref().map_or(DEFAULT_DISTRIBUTOR, |price| price.distributor.as_str())
}

/// The customers that a page names.
fn told_of(lines: &[MonthLine], corrections: &[Correction], draft: Option<&DraftOf>) -> BTreeSet<CustomerId> {
    let variance = draft.and_then(|draft| draft.variance.as_ref()).into_iter().flatten();
    let licences = draft.iter().flat_map(|draft| &draft.licences).map(|one| &one.customer);
    let unbilled = draft.iter().flat_map(|draft| &draft.review.unbilled.rows);
    let all = lines.iter().map(|one| &one.line.customer).chain(corrections.iter().map(|one| &one.customer));
    let all = all.chain(variance.map(|row| &row.customer).take(LINES_MAX)).chain(licences);
    all.chain(unbilled.filter_map(|row| row.customer.as_ref()).take(LINES_MAX)).cloned().collect()
}
