//! Rule 13: what the two sealed periods before would have said, had all been known.
//! Invariant: a sealed statement is never rewritten; the difference is carried once, by one later statement.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::CustomerId;

use crate::body::{SealedBody, SealedLine, newest_revisions};
use crate::calendar::Period;
use crate::close::{CloseError, CloseInput, priced_lines};
use crate::money::{Decimal, Quantity, TooLarge};
use crate::policy::{Policy, PriceMode};
use crate::pricing::{correction_cost, group_totals, unit_cost_at};
use crate::record::Sku;
use crate::statement::{Correction, Line};

type Key = (CustomerId, Sku);

/// The corrections that the statement of `input.period` carries, sorted.
pub fn corrections(input: &CloseInput<'_>) -> Result<Vec<Correction>, CloseError> {
    let bodies = newest_revisions(input.sealed);
    let mut corrections = Vec::new();
    for period in [input.period.previous().previous(), input.period.previous()] {
        if let Some(sealed) = SealedPeriod::of(period, input, &bodies)? {
            corrections.extend(sealed.corrections(input)?);
        }
    }
    Ok(corrections)
}

/// A period as it was sealed, over all distributors, with what was corrected of it since.
struct SealedPeriod<'a> {
    period: Period,
    policy: &'a Policy,
    lines: BTreeMap<Key, &'a SealedLine>,
    carried: BTreeMap<Key, Carried>,
}

/// What statements since have corrected.
#[derive(Clone, Copy)]
struct Carried {
    delta: Quantity,
    cost: Decimal,
}

impl Default for Carried {
    fn default() -> Self {
        Self { delta: Quantity::ZERO, cost: Decimal::zero(0) }
    }
}

impl<'a> SealedPeriod<'a> {
    /// `None` for a period that was never sealed: there is nothing to correct.
    fn of(
        period: Period,
        input: &CloseInput<'a>,
        bodies: &[&'a SealedBody],
    ) -> Result<Option<Self>, CloseError> {
        let sealed: Vec<&SealedBody> = bodies.iter().filter(|body| body.period == period).copied().collect();
        if sealed.is_empty() {
            return Ok(None);
        }
        let mut lines = BTreeMap::new();
        for line in sealed.iter().flat_map(|body| &body.lines) {
            let key = (line.customer.clone(), line.sku.clone());
            if lines.insert(key, line).is_some() {
                let (customer, sku) = (line.customer.clone(), line.sku.clone());
                return Err(CloseError::SealedTwice { period, customer, sku });
            }
        }
        let mut carried: BTreeMap<Key, Carried> = BTreeMap::new();
        // A statement of this or a later period cannot have been sealed before this one.
        for body in bodies.iter().filter(|body| body.period > period && body.period < input.period) {
            for correction in body.corrections.iter().filter(|one| one.for_period == period) {
                let sum = carried.entry((correction.customer.clone(), correction.sku.clone())).or_default();
                sum.delta = sum.delta.plus(correction.delta)?;
                sum.cost = sum.cost.plus(correction.cost.unwrap_or(Decimal::zero(0)))?;
            }
        }
        let policy = sealed.iter().find_map(|body| body.policy.as_ref()).unwrap_or(input.policy);
        Ok(Some(Self { period, policy, lines, carried }))
    }

    fn corrections(&self, input: &CloseInput<'_>) -> Result<Vec<Correction>, CloseError> {
        let usage = input.usage_in(&self.policy.zone)?;
        let (now, _) = priced_lines(usage, self.policy, self.period, input.as_of)?;
        let totals = group_totals(&now, self.policy)?;
        let now: BTreeMap<Key, &Line> =
            now.iter().map(|line| ((line.customer.clone(), line.sku.clone()), line)).collect();
        let keys: BTreeSet<&Key> = self.lines.keys().chain(self.carried.keys()).chain(now.keys()).collect();
        let mut corrections = Vec::new();
        for key in keys {
            let carried = self.carried.get(key).copied().unwrap_or_default();
            let sealed = self.lines.get(key).copied();
            let billed = sealed.map_or(Quantity::ZERO, |line| line.quantity).plus(carried.delta)?;
            let line = now.get(key).copied();
            let delta = line.map_or(Quantity::ZERO, |line| line.quantity).minus(billed)?;
            if delta.is_zero() {
                continue;
            }
            let group = self.policy.group(&key.1);
            let total = group.and_then(|(name, _)| totals.get(name)).copied().unwrap_or_default();
            corrections.push(Correction {
                for_period: self.period,
                customer: key.0.clone(),
                sku: key.1.clone(),
                delta,
                cost: self.cost(&key.1, sealed, line, carried, delta, total)?,
                distributor: sealed
                    .and_then(|line| line.distributor.clone())
                    .or_else(|| group.map(|(_, group)| group.distributor.clone())),
            });
        }
        Ok(corrections)
    }

    /// At the sealed unit cost; a line that was not sealed has none and is priced as it is recomputed.
    /// For graduated prices, what the line costs now less what was billed for it, corrections included.
    fn cost(
        &self,
        sku: &Sku,
        sealed: Option<&SealedLine>,
        now: Option<&Line>,
        carried: Carried,
        delta: Quantity,
        total: Quantity,
    ) -> Result<Option<Decimal>, TooLarge> {
        let group = self.policy.group(sku).map(|(_, group)| group);
        if let Some(line) = sealed
            && let Some(unit) = &line.unit_cost
        {
            let currency = line.currency.as_deref().or(group.map(|group| group.currency.as_str()));
            return correction_cost(unit, delta, currency.unwrap_or_default()).map(Some);
        }
        let Some(group) = group else { return Ok(None) };
        if group.mode == PriceMode::Volume {
            return correction_cost(unit_cost_at(group, total), delta, &group.currency).map(Some);
        }
        let nothing = Decimal::zero(group.digits());
        let billed = sealed.and_then(|line| line.cost).unwrap_or(nothing).plus(carried.cost)?;
        let due = now.and_then(|line| line.price.as_ref()).map_or(nothing, |price| price.cost);
        due.minus(billed).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use crate::body::SealedBody;
    use crate::close::CloseError;
    use crate::meter::MeterError;
    use crate::scenario::Scenario;

    fn month(mode: &str) -> Scenario {
        Scenario::new().policy("presume_days = 0").assigned("08-01 00:00", "n", "acme").policy(&format!(
            "[sku.A]\nprice_group = \"g\"\n[price_group.g]\ndistributor = \"d\"\ncurrency = \"USD\"\n\
             mode = \"{mode}\"\ntiers = [{{ from = 1, cost = \"2.10\" }}, {{ from = 3, cost = \"1.05\" }}]"
        ))
    }

    /// September as it was sealed with one seat of `A` and one of `B`.
    fn september(mode: &str) -> Scenario {
        month(mode).period("2026-09").report("m", "09-05 08:00", "a b")
    }

    fn array(statements: &[String]) -> String {
        format!("[{}]", statements.join(","))
    }

    fn check(scenario: Scenario, corrections: &[&str]) {
        assert_eq!(scenario.corrections(), corrections);
    }

    #[test]
    fn a_sealed_month_that_still_holds_needs_no_correction() {
        let sealed = september("volume").statement_json();
        check(september("volume").period("2026-10").sealed(&array(&[sealed])), &[]);
        check(september("volume").period("2026-10").sealed("[]"), &[]);
        check(september("volume").period("2026-10"), &[]);
    }

    #[test]
    fn late_evidence_is_carried_at_the_sealed_unit_cost() {
        let sealed = array(&[september("volume").statement_json()]);
        let late = || september("volume").period("2026-10").sealed(&sealed);
        check(late().report("n", "09-05 09:00", "a"), &["2026-09 cus_acme A 1 2.10"]);
        check(late().report("n", "09-05 09:00", "b"), &["2026-09 cus_acme B 1"]);
        check(late().adjusted("10-05 09:00", "acme", "A", "2026-09", 9), &["2026-09 cus_acme A 9 18.90"]);
        check(late().adjusted("10-05 09:00", "acme", "A", "2026-09", -1), &["2026-09 cus_acme A -1 -2.10"]);
        check(late().adjusted("10-05 09:00", "acme", "A", "2026-09", -5), &["2026-09 cus_acme A -1 -2.10"]);
        check(late().sku("09-01 00:00", "acme", "b", "null"), &["2026-09 cus_acme B -1"]);
    }

    #[test]
    fn a_line_that_was_not_sealed_is_all_difference_at_its_recomputed_unit_cost() {
        let sealed = array(&[september("volume").statement_json()]);
        let late = september("volume").period("2026-10").sealed(&sealed).assigned("08-01 00:00", "o", "zeta");
        check(late.report("o", "09-05 09:00", "a"), &["2026-09 cus_zeta A 1 2.10"]);
        let more = september("volume").period("2026-10").sealed(&sealed);
        let more = more.declared("09-30 00:00", "zeta", "A", "2026-09", 4);
        check(more, &["2026-09 cus_zeta A 4 4.20"]);
    }

    #[test]
    fn graduated_corrections_are_the_difference_of_the_two_costs() {
        let sealed = array(&[september("graduated").statement_json()]);
        let late = || september("graduated").period("2026-10").sealed(&sealed);
        check(late().report("n", "09-05 09:00", "a"), &["2026-09 cus_acme A 1 2.10"]);
        // 1 was sealed at 2.10; 4 cost 2.10 + 2.10 + 1.05 + 1.05.
        check(late().adjusted("10-05 09:00", "acme", "A", "2026-09", 3), &["2026-09 cus_acme A 3 4.20"]);
        check(late().adjusted("10-05 09:00", "acme", "A", "2026-09", -1), &["2026-09 cus_acme A -1 -2.10"]);
    }

    #[test]
    fn what_was_carried_is_not_carried_again_and_may_be_taken_back() {
        for (mode, cost) in [("volume", "6.30"), ("graduated", "4.20")] {
            let sealed = september(mode).statement_json();
            let known =
                || september(mode).period("2026-10").adjusted("10-05 09:00", "acme", "A", "2026-09", 3);
            let october = known().sealed(&array(std::slice::from_ref(&sealed)));
            check_one(&october, &format!("2026-09 cus_acme A 3 {cost}"));
            let both = array(&[sealed, october.statement_json()]);
            check(known().period("2026-11").sealed(&both), &[]);
            let back =
                known().period("2026-11").sealed(&both).adjusted("11-05 09:00", "acme", "A", "2026-09", -3);
            check(back, &[&format!("2026-09 cus_acme A -3 -{cost}")]);
        }
    }

    fn check_one(scenario: &Scenario, correction: &str) {
        assert_eq!(scenario.corrections(), [correction]);
    }

    #[test]
    fn only_the_two_periods_before_are_corrected() {
        let sealed = array(&[september("volume").statement_json()]);
        let late = |period| {
            september("volume").period(period).sealed(&sealed).adjusted(
                "10-05 09:00",
                "acme",
                "B",
                "2026-09",
                2,
            )
        };
        check(late("2026-09"), &[]);
        check(late("2026-10"), &["2026-09 cus_acme B 2"]);
        check(late("2026-11"), &["2026-09 cus_acme B 2"]);
        check(late("2026-12"), &[]);
    }

    #[test]
    fn the_lines_of_the_period_itself_are_not_touched() {
        let sealed = array(&[september("volume").statement_json()]);
        let late = september("volume").period("2026-10").sealed(&sealed).report("n", "09-05 09:00", "a");
        let late = late.report("m", "10-05 08:00", "a");
        assert_eq!(late.lines(), ["acme A 1=1+0 on 5"]);
        assert_eq!(late.output().statement.totals.len(), 1);
    }

    #[test]
    fn a_sealed_body_is_recomputed_by_its_own_policy_in_its_own_zone() {
        let mut body: serde_json::Value =
            serde_json::from_str(&september("volume").statement_json()).unwrap();
        body["policy"] = serde_json::json!({
            "zone": "Asia/Tokyo",
            "default_sku": { "a": "A", "b": "B" },
            "presume_days": 0,
        });
        let sealed = array(&[body.to_string()]);
        let now = || {
            Scenario::bare()
                .policy("[default_sku]\na = \"X\"")
                .assigned("08-01 00:00", "m", "acme")
                .assigned("08-01 00:00", "n", "acme")
                .report("m", "09-05 08:00", "a b")
                .sealed(&sealed)
        };
        check(now(), &[]);
        // Still the fifth in Tokyo, and the first of October there an hour before midnight.
        check(now().report("n", "09-05 14:59", "a"), &["2026-09 cus_acme A 1 2.10"]);
        check(now().report("n", "09-30 15:00", "b"), &[]);
        check(now().report("n", "08-31 15:00", "b").report("n", "09-05 15:30", "b"), &[]);
    }

    #[test]
    fn bodies_of_one_period_for_several_distributors_are_one_month() {
        let output = september("volume").output();
        let parts = crate::body::bodies_by_distributor(&output.statement);
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["d", "default"]);
        let bodies: Vec<String> = parts.values().map(|part| serde_json::to_string(part).unwrap()).collect();
        let late = september("volume").period("2026-10").sealed(&array(&bodies));
        check(late.adjusted("10-05 09:00", "acme", "B", "2026-09", 2), &["2026-09 cus_acme B 2"]);
    }

    #[test]
    fn of_a_distributor_s_revisions_the_newest_is_what_was_sealed() {
        let mut first: serde_json::Value =
            serde_json::from_str(&september("volume").statement_json()).unwrap();
        first["distributor"] = "d".into();
        first["revision"] = 1.into();
        let mut second = first.clone();
        second["revision"] = 2.into();
        second["lines"][0]["quantity"] = "5".into();
        let sealed = array(&[second.to_string(), first.to_string()]);
        check(september("volume").period("2026-10").sealed(&sealed), &["2026-09 cus_acme A -4 -8.40"]);
    }

    #[test]
    fn a_line_sealed_twice_is_refused() {
        let sealed = september("volume").statement_json();
        let twice = september("volume").period("2026-10").sealed(&array(&[sealed.clone(), sealed]));
        let error = twice.try_output().unwrap_err();
        assert!(matches!(error, MeterError::Close(CloseError::SealedTwice { .. })));
        assert_eq!(
            error.to_string(),
            "failed to correct period 2026-09: SKU `A` of `cus_acme` is sealed twice"
        );
    }

    #[test]
    fn sealed_bodies_that_are_none_are_refused_and_extra_fields_are_not() {
        for text in [
            "",
            "{}",
            "[{}]",
            "[[]]",
            "[{\"period\":\"2026-13\"}]",
            "[{\"period\":\"2026-09\",\"lines\":[{}]}]",
        ] {
            assert!(SealedBody::parse_array(text).is_err(), "{text}");
        }
        let body = "[{\"period\":\"2026-09\",\"colour\":1,\"lines\":[{\"customer\":\"cus_a\",\"sku\":\"S\",\
                    \"quantity\":\"1\",\"colour\":1}]}]";
        assert_eq!(SealedBody::parse_array(body).unwrap()[0].lines.len(), 1);
    }
}
