//! By which terms a month is counted and billed: the policies as they were set, and the price book over them.
//! Invariant: the policy of a month is a function of the records up to a position, and of nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::policy::{Policy, PolicyError};
use crate::prices::PriceBook;

/// Policies and price lists, each from a month on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Texts as they were set; without a month: from the beginning.
    policies: BTreeMap<Option<Period>, String>,
    book: PriceBook,
}

impl Terms {
    /// The text of the policy that holds in a month; before the first, the first.
    pub fn policy_text(&self, period: Period) -> Option<&str> {
        let held =
            self.policies.range(..=Some(period)).next_back().or_else(|| self.policies.first_key_value());
        held.map(|(_, text)| text.as_str())
    }

    /// The text of the policy of the latest month.
    pub fn newest_policy_text(&self) -> Option<&str> {
        self.policies.last_key_value().map(|(_, text)| text.as_str())
    }

    /// The text that was set for exactly this month.
    pub fn policy_set_for(&self, from: Option<Period>) -> Option<&str> {
        self.policies.get(&from).map(String::as_str)
    }

    /// Months from which another policy holds.
    pub fn policy_months(&self) -> impl Iterator<Item = Option<Period>> {
        self.policies.keys().copied()
    }

    /// What price lists said.
    pub fn prices(&self) -> &PriceBook {
        &self.book
    }

    /// By what a month is counted and billed: the policy of the month, the price book laid over it.
    ///
    /// # Errors
    /// When the policy's text is none that this version reads.
    pub fn policy(&self, period: Period) -> Result<Policy, PolicyError> {
        let policy = Policy::parse(self.policy_text(period).unwrap_or_default())?;
        Ok(self.book.laid_over(policy, period))
    }

    /// The same as TOML: as it was set where no price list says more.
    ///
    /// # Errors
    /// As [`Terms::policy`].
    pub fn policy_toml(&self, period: Period) -> Result<String, PolicyError> {
        let set = self.policy_text(period).unwrap_or_default();
        let plain = Policy::parse(set)?;
        let laid = self.book.laid_over(plain.clone(), period);
        Ok(if laid == plain { set.to_owned() } else { laid.to_toml() })
    }

    /// Sets the policy from a month on; without a month for all time, in place of all others.
    pub(crate) fn set_policy(&mut self, from: Option<Period>, text: &str) {
        if from.is_none() {
            self.policies.clear();
        }
        self.policies.insert(from, text.to_owned());
    }

    pub(crate) fn prices_mut(&mut self) -> &mut PriceBook {
        &mut self.book
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(terms: &Terms, months: &[&str]) -> Vec<u32> {
        let days = |month: &&str| terms.policy(month.parse().unwrap()).unwrap().presume_days;
        months.iter().map(days).collect()
    }

    fn set(terms: &mut Terms, from: &str, days: u32) {
        terms.set_policy(from.parse().ok(), &format!("presume_days = {days}"));
    }

    #[test]
    fn a_policy_holds_from_its_month_on() {
        let mut terms = Terms::default();
        assert_eq!(held(&terms, &["2026-10"]), [7]);
        set(&mut terms, "2026-10", 1);
        assert_eq!(held(&terms, &["2026-09", "2026-10"]), [1, 1]);
        set(&mut terms, "2026-12", 3);
        set(&mut terms, "2026-11", 2);
        let months = ["2026-09", "2026-10", "2026-11", "2026-12", "2027-01"];
        assert_eq!(held(&terms, &months), [1, 1, 2, 3, 3]);
        set(&mut terms, "2026-11", 5);
        assert_eq!(held(&terms, &months), [1, 1, 5, 3, 3]);
        set(&mut terms, "always", 9);
        assert_eq!(held(&terms, &months), [9; 5]);
    }
}
