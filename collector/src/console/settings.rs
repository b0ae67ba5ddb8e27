//! What the collector runs by, as it is shown, and what another policy would change. Invariant: no secret is in a
//! configuration; asking changes nothing.

use std::collections::BTreeMap;

use prost::Message as _;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::forecast::{Money, so_far};
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::month_to_date::MonthToDate;
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::statement::totals;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{JournalRecord, PolicySet};

use super::Console;
use super::command::fixed_zone;
use super::fault::Fault;
use crate::distributor::destination::Destination;
use crate::jobs::close::CloseError;

/// What a policy would make of the running month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyEffect {
    /// The running month.
    pub period: Period,
    /// SKUs whose quantity would be another one: so far, and then.
    pub skus: Vec<(String, Quantity, Quantity)>,
    /// By currency: so far, and then.
    pub money: Vec<(String, Option<Money>, Option<Money>)>,
}

impl Console {
    /// The configuration that the collector runs with, as TOML, defaults included.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn configuration(&self) -> Result<String, Fault> {
        toml::to_string(&*self.config).map_err(|error| Fault::Page(error.to_string()))
    }

    /// Where statements go by themselves.
    pub fn destinations(&self) -> &BTreeMap<String, Destination> {
        &self.config.destination
    }

    /// What a policy would make of the running month, if it were set. Counts all machines.
    ///
    /// # Errors
    /// When it is none, it has another zone than the evidence is counted in, or the month cannot be counted.
    pub async fn policy_effect(
        &self,
        toml: String,
        valid_from: Option<Period>,
    ) -> Result<PolicyEffect, Fault> {
        let asked = Policy::parse(&toml)?;
        if let Some(fixed) = self.books.read(|fold| fixed_zone(fold, &asked)) {
            return Err(fixed);
        }
        let console = self.clone();
        tokio::task::spawn_blocking(move || console.effect_of_policy(toml, valid_from)).await?
    }

    fn effect_of_policy(&self, toml: String, valid_from: Option<Period>) -> Result<PolicyEffect, Fault> {
        let clock = self.books.clock();
        let mut fold = self.books.read(Fold::clone);
        let period = Period::of_day(fold.usage().zone().usage_day(clock.now()));
        let policies = {
            let before = fold.terms().policy(period)?;
            let fact = PolicySet { toml, valid_from: valid_from.map(String::from).unwrap_or_default() };
            let record = JournalRecord {
                recorded_at_ms: clock.now_ms(),
                fact: Some(Fact::PolicySet(fact)),
                ..Default::default()
            };
            fold.apply(&record.encode_to_vec())?;
            [before, fold.terms().policy(period)?]
        };
        let mut skus: BTreeMap<String, [Quantity; 2]> = BTreeMap::new();
        let mut money: BTreeMap<String, [Option<Money>; 2]> = BTreeMap::new();
        for (side, policy) in policies.into_iter().enumerate() {
            // Where nothing was counted yet, the zone may be another one.
            let same_zone = policy.zone == *fold.usage().zone();
            let usage = if same_zone { fold.usage().clone() } else { continue };
            let month = MonthToDate::new(usage, policy, period, clock.now());
            let lines = month.output().map_err(CloseError::from)?.statement.lines;
            for total in totals(&lines)? {
                skus.entry(total.sku.to_string()).or_insert([Quantity::ZERO; 2])[side] = total.quantity;
            }
            for (currency, sum) in so_far(&lines, month.policy())? {
                money.entry(currency.unwrap_or_default()).or_default()[side] = Some(sum);
            }
        }
        Ok(PolicyEffect {
            period,
            skus: skus
                .into_iter()
                .filter(|(_, [before, then])| before != then)
                .map(|(sku, [before, then])| (sku, before, then))
                .collect(),
            money: money
                .into_iter()
                .filter(|(_, [before, then])| before != then)
                .map(|(currency, [before, then])| (currency, before, then))
                .collect(),
        })
    }
}
