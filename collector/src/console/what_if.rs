//! What a month is priced by, and what it would cost and earn if something were otherwise. Invariant: asking changes
//! nothing; a course is priced by the very rules that the answer is.

use std::collections::BTreeSet;

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::policy::{Count, EVERYBODY, PriceGroup};
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::whatif::{Answer, Question, Side, course, what_if};

use super::Console;
use super::fault::Fault;
use crate::jobs::close;

/// An answer, and what lies around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// The answer.
    pub answer: Answer,
    /// What the price group costs and earns with fewer and more units, by their number.
    pub sides: Vec<Side>,
    /// The price group as it is.
    pub group: PriceGroup,
}

/// What a month is priced by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    /// The month.
    pub period: Period,
    /// All SKUs that its policy names.
    pub skus: Vec<PricedSku>,
    /// Its price groups, by name.
    pub groups: Vec<(String, PriceGroup)>,
}

/// A SKU and what is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedSku {
    /// Which.
    pub sku: Sku,
    /// What the distributor calls it; empty: not known.
    pub name: String,
    /// How it is counted.
    pub count: Count,
    /// By what it is bought; empty: what it costs is not known.
    pub group: String,
    /// What everybody without a price of their own is asked; empty: nothing.
    pub price: String,
    /// Customers with a price of their own, and that price.
    pub own: Vec<(String, String)>,
}

impl Console {
    /// What a month is priced by; without one, the running one.
    ///
    /// # Errors
    /// When the position is not known here in time, or the policy is none.
    pub async fn prices(&self, period: Option<Period>, after: u64) -> Result<Prices, Fault> {
        self.books.reached(after).await?;
        let period = period.unwrap_or_else(|| close::running_period(&self.books));
        let terms = self.books.read(|fold| fold.terms().clone());
        let read = move || -> Result<Prices, Fault> {
            let policy = terms.policy(period)?;
            let named: BTreeSet<&Sku> =
                policy.sku.keys().chain(policy.price.keys()).chain(policy.default_sku.values()).collect();
            let sku = |sku: &Sku| {
                let rule = policy.rule(sku);
                let asked = policy.price.get(sku);
                let own = asked.into_iter().flatten().filter(|(buyer, _)| *buyer != EVERYBODY);
                let known = terms.prices().sku(sku, period);
                PricedSku {
                    sku: sku.clone(),
                    name: known.map(|known| known.name.clone()).unwrap_or_default(),
                    count: rule.count,
                    group: rule.price_group.clone().unwrap_or_default(),
                    price: asked
                        .and_then(|asked| asked.get(EVERYBODY))
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    own: own.map(|(buyer, price)| (buyer.clone(), price.to_string())).collect(),
                }
            };
            let skus = named.into_iter().map(sku).collect();
            Ok(Prices { period, skus, groups: policy.price_group.clone().into_iter().collect() })
        };
        tokio::task::spawn_blocking(read).await?
    }

    /// As [`Console::what_if`], with what fewer and more units would cost and earn.
    ///
    /// # Errors
    /// When the position is not known here in time, or the question has no answer.
    pub async fn what_if_course(
        &self,
        period: Option<Period>,
        question: Question,
        after: u64,
    ) -> Result<Course, Fault> {
        self.books.reached(after).await?;
        let period = period.unwrap_or_else(|| close::running_period(&self.books));
        let console = self.clone();
        let asking = move || -> Result<Course, Fault> {
            let month = console.closing.lately(period, after)?;
            let lines = &month.output.statement.lines;
            let policy = console.books.read(|fold| fold.terms().clone()).policy(period)?;
            let no_answer = |error| Fault::value("what if", format!("has no answer: {error}"));
            let answer = what_if(lines, &policy, &question).map_err(no_answer)?;
            let sides = course(lines, &policy, &question).map_err(no_answer)?;
            let group = policy.price_group[&answer.price_group].clone();
            Ok(Course { answer, sides, group })
        };
        tokio::task::spawn_blocking(asking).await?
    }
}
