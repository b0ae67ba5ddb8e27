//! What goes out as a file, and what would be if. Invariant: a month that is sealed is shown as it was sealed; sell
//! prices and margins are in no statement.

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::forecast::forecast;
use seatbeat_ledger::invoice::{Billing, Invoices, invoices};
use seatbeat_ledger::life::Life;
use seatbeat_ledger::profit::{earned, margin};
use seatbeat_ledger::review::Review;
use seatbeat_ledger::statement::{Statement, totals};
use seatbeat_ledger::whatif::{Answer, Question, what_if};
use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::prices::NamedFile;
use crate::jobs::close::{self, CloseError};
use crate::outputs::document::{Document, Table};
use crate::outputs::mapping::Mapping;
use crate::outputs::tables::{self, Names};
use crate::outputs::{self, Format, rendered};
use crate::vault::VaultRow;

/// Longest customer reference and tax code in bytes: names of another program, on one line.
const BILLING_LENGTH_MAX: usize = 100;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What goes to distributors.
    Statement,
    /// What stays.
    Earnings,
    /// What was used, month to date.
    Usage,
    /// What customers are billed.
    Invoices,
    /// What the running month will come to.
    Forecast,
}

impl Kind {
    /// The kind of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(text: &str) -> Result<Self, Fault> {
        match text {
            "statement" => Ok(Self::Statement),
            "earnings" => Ok(Self::Earnings),
            "usage" => Ok(Self::Usage),
            "invoices" => Ok(Self::Invoices),
            "forecast" => Ok(Self::Forecast),
            _ => Err(Fault::value("`kind`", "is none of statement, earnings, usage, invoices, forecast")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Earnings => "earnings",
            Self::Usage => "usage",
            Self::Invoices => "invoices",
            Self::Forecast => "forecast",
        }
    }
}

/// A request for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentQuery {
    /// What.
    pub kind: Kind,
    /// Of which month; without one, of the running one.
    pub period: Option<Period>,
    /// In which format.
    pub format: Format,
    /// A statement's distributor; without one, all of them.
    pub distributor: Option<String>,
    /// Of one customer only.
    pub customer: Option<CustomerId>,
    /// Whether a statement names customers.
    pub names: bool,
    /// The columns of invoices: a name or a text.
    pub mapping: String,
    /// What earnings are compared with; empty: as configured.
    pub licence_margin: String,
}

impl TryFrom<seatbeat_proto::wire::DocumentRequest> for DocumentQuery {
    type Error = Fault;

    fn try_from(wire: seatbeat_proto::wire::DocumentRequest) -> Result<Self, Fault> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            kind: Kind::named(&wire.kind)?,
            period: some(wire.period).map(|text| super::fault::period(&text)).transpose()?,
            format: wire.format.parse().map_err(|error| Fault::value("`format`", error))?,
            distributor: some(wire.distributor),
            customer: some(wire.customer).map(|text| text.parse()).transpose()?,
            names: wire.names,
            mapping: wire.mapping,
            licence_margin: wire.licence_margin,
        })
    }
}

/// What the reseller's books say of a customer, in the vault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomerBilling {
    /// What they call it.
    pub customer_ref: String,
    /// How it is taxed.
    pub tax_code: String,
}

/// A month's statement of one distributor or of all, and where it stands.
pub(super) struct Standing {
    pub statement: Statement,
    /// What there is to look at beside a draft.
    review: Option<Review>,
    distributor: String,
    words: String,
    is_sealed: bool,
}

impl Console {
    /// Makes a file.
    ///
    /// # Errors
    /// When the position is not known here in time, the month cannot be computed, or the format cannot hold it.
    pub async fn document(
        &self,
        caller: &Caller,
        query: DocumentQuery,
        after: u64,
    ) -> Result<NamedFile, Fault> {
        self.books.reached(after).await?;
        let period = query.period.unwrap_or_else(|| close::running_period(&self.books));
        let ending = query.format.ending();
        let of = query.distributor.as_ref().map(|name| format!("-{name}")).unwrap_or_default();
        let name = format!("{period}{of}-{}.{ending}", query.kind.name());
        let bytes = match query.kind {
            Kind::Usage => {
                let usage = self.usage(caller, Some(period), query.customer, after).await?;
                render(query.format, &usage, &tables::usage(usage.clone()))?
            }
            _ => {
                let console = self.clone();
                tokio::task::spawn_blocking(move || console.computed(&query, period)).await??
            }
        };
        Ok(NamedFile { name, bytes })
    }

    fn computed(&self, query: &DocumentQuery, period: Period) -> Result<Vec<u8>, Fault> {
        if query.kind == Kind::Forecast {
            return self.forecast(query, period);
        }
        let mut standing = self.standing(period, query.distributor.as_deref())?;
        if let Some(customer) = &query.customer {
            let statement = &mut standing.statement;
            statement.lines.retain(|line| line.customer == *customer);
            statement.corrections.retain(|one| one.customer == *customer);
            statement.flags.retain(|flag| flag.customer.as_ref() == Some(customer));
            statement.blockers.retain(|one| one.customer.as_ref() == Some(customer));
            statement.totals = totals(&statement.lines)?;
            standing.review.iter_mut().for_each(|review| review.keep_only(customer));
        }
        let Standing { statement, review, distributor, words, is_sealed } = standing;
        let lines = &statement.lines;
        let corrected = statement.corrections.iter().map(|one| &one.customer);
        let customers = lines.iter().map(|line| &line.customer).chain(corrected);
        match query.kind {
            Kind::Earnings => {
                let compared = match query.licence_margin.as_str() {
                    "" => &self.config.licence_margin,
                    asked => asked,
                };
                let compared = margin(compared).map_err(|error| Fault::value("`licence_margin`", error))?;
                let policy = self.books.read(|fold| fold.terms().clone()).policy(period)?;
                let earnings = earned(period, lines, &policy, compared)?;
                render(query.format, &earnings, &tables::earnings(&earnings, words, &self.names(customers)?))
            }
            Kind::Invoices => {
                let mapping =
                    Mapping::named_or(&query.mapping).map_err(|error| Fault::value("`mapping`", error))?;
                let names = self.names(customers)?;
                let made = self.invoiced(period, &statement, is_sealed)?;
                render(query.format, &made, &tables::invoices(&made, &mapping, &names))
            }
            _ => {
                let names = if query.names { self.names(customers)? } else { Names::new() };
                let mut document = tables::statement(&statement, &distributor, words, &names);
                let on = self.licences_of(lines, period)?;
                document.tables.extend(review.iter().flat_map(outputs::review::tables));
                document.tables.push(outputs::review::licences(&on));
                render(query.format, &statement, &document)
            }
        }
    }

    /// What customers are billed by a statement.
    fn invoiced(&self, period: Period, statement: &Statement, is_sealed: bool) -> Result<Invoices, Fault> {
        let (lines, corrections) = (&statement.lines, &statement.corrections);
        let terms = self.books.read(|fold| fold.terms().clone());
        let mut billing = std::collections::BTreeMap::new();
        let corrected = corrections.iter().map(|one| &one.customer);
        for customer in lines.iter().map(|line| &line.customer).chain(corrected) {
            if !billing.contains_key(customer) {
                billing.insert(customer.clone(), self.billing(customer)?);
            }
        }
        let of = |customer: &CustomerId| billing.get(customer).cloned().unwrap_or_default();
        invoices(period, is_sealed, lines, corrections, &terms, &of)
            .map_err(|error| Fault::value("the invoices", format!("cannot be made: {error}")))
    }

    /// What a customer is billed for a sealed month.
    ///
    /// # Errors
    /// When the month is not sealed, or its invoices cannot be made.
    pub async fn customer_invoice(&self, period: Period, customer: CustomerId) -> Result<Invoices, Fault> {
        let console = self.clone();
        let asking = move || {
            let sealed = console.sealed_month(period)?;
            let statement = of_customer(&sealed.statement, &customer);
            console.invoiced(period, &statement, true)
        };
        tokio::task::spawn_blocking(asking).await?
    }

    /// The months that are sealed, the newest first.
    pub fn sealed_months(&self) -> Vec<Period> {
        let mut months: Vec<Period> = self.books.read(|fold| fold.sealed_periods().collect());
        months.sort();
        months.dedup();
        months.reverse();
        months
    }

    fn forecast(&self, query: &DocumentQuery, period: Period) -> Result<Vec<u8>, Fault> {
        let now: Timestamp = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        let policy = fold.terms().policy(period)?;
        let mut forecast = forecast(fold.usage(), &policy, period, now)?;
        if let Some(customer) = &query.customer {
            forecast.lines.retain(|line| line.customer == *customer);
            forecast.totals.clear();
        }
        let names = self.names(forecast.lines.iter().map(|line| &line.customer))?;
        render(query.format, &forecast, &tables::forecast(&forecast, &names))
    }

    /// The lines of a month's statements as one table: as they were sealed, or with `is_draft` what they would be.
    ///
    /// # Errors
    /// When it is neither, the customer is not known, or the month cannot be computed.
    pub(super) fn statement_lines(
        &self,
        period: Period,
        customer: Option<&CustomerId>,
        is_draft: bool,
    ) -> Result<Table, Fault> {
        let (is_sealed, is_known) = self.books.read(|fold| {
            let is_known = customer.is_none_or(|customer| fold.registry().has_customer(customer));
            (fold.sealed(period).next().is_some(), is_known)
        });
        if let Some(customer) = customer.filter(|_| !is_known) {
            return Err(Fault::UnknownCustomer(customer.clone()));
        }
        if !is_sealed && !is_draft {
            return Err(CloseError::NotSealed(period).into());
        }
        let table = |whole: &Statement| -> Result<Table, Fault> {
            let part = customer.map(|customer| of_customer(whole, customer));
            let statement = part.as_ref().unwrap_or(whole);
            let corrected = statement.corrections.iter().map(|one| &one.customer);
            let names = self.names(statement.lines.iter().map(|line| &line.customer).chain(corrected))?;
            Ok(tables::statement_lines(statement, &names))
        };
        match is_sealed {
            true => table(&self.sealed_month(period)?.statement),
            false => table(&self.closing.draft(period, 0)?.output.statement),
        }
    }

    pub(super) fn standing(&self, period: Period, distributor: Option<&str>) -> Result<Standing, Fault> {
        let unreadable = |error: serde_json::Error| CloseError::Sealed { period, why: error.to_string() };
        let sealed: Vec<(String, u32, Vec<u8>)> = self.books.read(|fold| {
            let sealed = fold.sealed(period);
            sealed.map(|(name, sealed)| (name.to_owned(), sealed.revision, sealed.body.clone())).collect()
        });
        let is_sealed = !sealed.is_empty();
        let known: Vec<String> = sealed.iter().map(|(name, ..)| name.clone()).collect();
        let mut parts = Vec::new();
        for (name, revision, body) in sealed {
            if distributor.is_none_or(|asked| asked == name) {
                let statement: Statement = serde_json::from_slice(&body).map_err(unreadable)?;
                parts.push((name, format!("sealed, revision {revision}"), statement));
            }
        }
        let mut review = None;
        if !is_sealed {
            let draft = self.closing.draft(period, 0)?;
            let words = match draft.life() {
                Life::Open { .. } => "draft: the month is not over",
                Life::Grace { .. } => "draft: evidence may still arrive",
                Life::Approved { .. } => "draft: approved, about to be sealed",
                Life::Draft { .. } | Life::Sealed { .. } | Life::Superseded { .. } => "draft: not sealed",
            };
            let parted = seatbeat_ledger::body::bodies_by_distributor(&draft.output.statement);
            let wanted = |(name, _): &(String, Statement)| distributor.is_none_or(|asked| asked == name);
            review = Some(draft.review.clone());
            parts
                .extend(parted.into_iter().filter(wanted).map(|(name, part)| (name, words.to_owned(), part)));
        }
        let joined = joined(parts)?.map(|standing| Standing { review, ..standing });
        joined.ok_or_else(|| {
            Fault::value(
                "`distributor`",
                format!("is in no statement of {period}; those are of {}", known.join(", ")),
            )
        })
    }

    /// What would a month cost and earn if something were otherwise?
    ///
    /// # Errors
    /// When the position is not known here in time, or the question has no answer.
    pub async fn what_if(
        &self,
        period: Option<Period>,
        question: Question,
        after: u64,
    ) -> Result<Answer, Fault> {
        self.books.reached(after).await?;
        let period = period.unwrap_or_else(|| close::running_period(&self.books));
        let console = self.clone();
        let asking = move || -> Result<Answer, Fault> {
            let month = console.closing.lately(period, after)?;
            let policy = console.books.read(|fold| fold.terms().clone()).policy(period)?;
            what_if(&month.output.statement.lines, &policy, &question)
                .map_err(|error| Fault::value("what if", format!("has no answer: {error}")))
        };
        tokio::task::spawn_blocking(asking).await?
    }

    fn names<'a>(&self, customers: impl Iterator<Item = &'a CustomerId>) -> Result<Names, Fault> {
        let mut names = Names::new();
        for customer in customers {
            if !names.contains_key(customer) {
                names.insert(customer.clone(), self.customer_name(customer)?);
            }
        }
        Ok(names)
    }

    /// How a customer is billed; what it has none of is as configured.
    fn billing(&self, customer: &CustomerId) -> Result<Billing, Fault> {
        let CustomerBilling { customer_ref, mut tax_code } = self.customer_billing(customer)?;
        if tax_code.is_empty() {
            tax_code.clone_from(&self.config.tax_code);
        }
        Ok(Billing { customer_ref, tax_code })
    }

    /// What the reseller's books say of a customer.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub fn customer_billing(&self, customer: &CustomerId) -> Result<CustomerBilling, Fault> {
        let row = self.books.vault().get(VaultRow::CustomerBilling(customer))?;
        Ok(row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default())
    }

    /// Sets what the reseller's books say of a customer, and what it is called.
    ///
    /// # Errors
    /// When the customer is not known, a text is none, or the vault cannot be written.
    pub async fn set_customer(
        &self,
        customer: CustomerId,
        name: Option<String>,
        customer_ref: Option<String>,
        tax_code: Option<String>,
    ) -> Result<(String, CustomerBilling), Fault> {
        if !self.books.read(|fold| fold.registry().has_customer(&customer)) {
            return Err(Fault::UnknownCustomer(customer));
        }
        let mut billing = self.customer_billing(&customer)?;
        for (asked, kept, field) in [
            (customer_ref, &mut billing.customer_ref, "the customer's reference"),
            (tax_code, &mut billing.tax_code, "the tax code"),
        ] {
            let Some(text) = asked else { continue };
            if text.len() > BILLING_LENGTH_MAX || text.chars().any(char::is_control) {
                return Err(Fault::value(
                    field,
                    format!("is not a line of at most {BILLING_LENGTH_MAX} bytes"),
                ));
            }
            text.trim().clone_into(kept);
        }
        let name = match name {
            Some(name) => super::command::checked_name(&name)?,
            None => self.customer_name(&customer)?,
        };
        let (books, kept, called) = (self.books.clone(), billing.clone(), name.clone());
        let put = move || -> Result<(), Fault> {
            let row = serde_json::to_vec(&kept).expect("it has text keys and plain values");
            books.vault().put(VaultRow::CustomerBilling(&customer), &row)?;
            books.vault().put(VaultRow::CustomerName(&customer), called.as_bytes())?;
            Ok(())
        };
        tokio::task::spawn_blocking(put).await??;
        Ok((name, billing))
    }
}

/// What a statement bills a customer.
fn of_customer(statement: &Statement, customer: &CustomerId) -> Statement {
    let lines = statement.lines.iter().filter(|line| line.customer == *customer);
    let corrections = statement.corrections.iter().filter(|one| one.customer == *customer);
    Statement {
        period: statement.period,
        zone: statement.zone.clone(),
        lines: lines.cloned().collect(),
        corrections: corrections.cloned().collect(),
        totals: Vec::new(),
        flags: Vec::new(),
        blockers: Vec::new(),
        rejected: Vec::new(),
    }
}

fn render(format: Format, data: &impl Serialize, document: &Document) -> Result<Vec<u8>, Fault> {
    rendered(format, data, document).map_err(|error| Fault::value("`format`", error))
}

/// The parts of several distributors as one statement; `None` without any.
fn joined(parts: Vec<(String, String, Statement)>) -> Result<Option<Standing>, Fault> {
    let is_sealed = parts.iter().any(|(_, words, _)| words.starts_with("sealed"));
    let mut parts = parts.into_iter();
    let Some((mut distributor, words, mut statement)) = parts.next() else { return Ok(None) };
    for (name, _, part) in parts {
        distributor = format!("{distributor}, {name}");
        statement.lines.extend(part.lines);
        statement.corrections.extend(part.corrections);
        statement.flags.extend(part.flags);
        statement.blockers.extend(part.blockers);
        statement.rejected.extend(part.rejected);
    }
    statement.lines.sort_by(|one, other| (&one.customer, &one.sku).cmp(&(&other.customer, &other.sku)));
    statement.corrections.sort_by(|one, other| {
        (one.for_period, &one.customer, &one.sku).cmp(&(other.for_period, &other.customer, &other.sku))
    });
    statement.totals = totals(&statement.lines)?;
    statement.flags.sort();
    statement.flags.dedup();
    statement.blockers.sort();
    statement.blockers.dedup();
    statement.rejected.dedup();
    Ok(Some(Standing { statement, review: None, distributor, words, is_sealed }))
}
