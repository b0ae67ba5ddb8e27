//! Policies and price lists as they come. Invariant: a policy that is taken has the zone that days are counted in;
//! a price list is taken whole, behind exactly the one it was checked against, or not at all.

use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::ids::PriceListId;
use seatbeat_proto::wire;

use super::{Entry, Fold, Stop, refuse_unless};
use crate::calendar::Period;
use crate::policy::Policy;
use crate::prices::{Buyer, PriceList};
use crate::registry::Refusal;
use crate::usage::Usage;

impl Fold {
    /// The days of the billing zone are folded as they come: once there is evidence, the zone stays.
    pub(super) fn set_policy(&mut self, entry: &Entry, fact: &wire::PolicySet) -> Result<(), Stop> {
        let from: Option<Period> = match fact.valid_from.as_str() {
            "" => None,
            month => Some(entry.id("valid_from", month)?),
        };
        let policy = Policy::parse(&fact.toml).map_err(|_| Refusal::Malformed)?;
        if policy.zone != *self.usage.zone() {
            let untouched = self.usage == Usage::new(self.usage.zone().clone());
            // Beside it only itself may stay: all policies have one zone.
            let alone = from.is_none() || self.terms.policy_months().all(|month| month == from);
            refuse_unless(untouched && alone, Refusal::ZoneFixed)?;
            self.usage = Usage::new(policy.zone);
        }
        Arc::make_mut(&mut self.terms).set_policy(from, &fact.toml);
        Ok(())
    }

    pub(super) fn stage_prices(&mut self, entry: &Entry, fact: &wire::PricesStaged) -> Result<(), Stop> {
        let list: PriceListId = entry.id("list", &fact.list)?;
        refuse_unless(self.staging.stage(entry.position, list, fact), Refusal::Malformed)
    }

    pub(super) fn apply_prices(
        &mut self,
        entry: &Entry,
        fact: &wire::PricesApplied,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let id: PriceListId = entry.id("list", &fact.list)?;
        let from: Period = entry.id("valid_from", &fact.valid_from)?;
        let list = self.staging.take(&id, fact.parts).ok_or(Refusal::Malformed)?;
        refuse_unless(fact.revision == self.terms.prices().revision() + 1, Refusal::Overtaken)?;
        refuse_unless(self.knows_buyers(&list), Refusal::UnknownCustomer)?;
        let book = Arc::make_mut(&mut self.terms).prices_mut();
        book.apply(&id, from, list, at).map_err(|_| Refusal::Malformed.into())
    }

    fn knows_buyers(&self, list: &PriceList) -> bool {
        list.sell.values().flat_map(|prices| prices.keys()).all(|buyer| match buyer {
            Buyer::Everybody => true,
            Buyer::Customer(customer) => self.registry.has_customer(customer),
        })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use seatbeat_proto::wire::JournalRecord;
    use seatbeat_proto::wire::journal_record::Fact;

    use super::*;
    use crate::fold::Verdict;
    use crate::prices::staging::parts;
    use crate::prices::tests::{list, month};

    #[derive(Default)]
    struct Journal(Fold);

    impl Journal {
        fn with_customer() -> Self {
            let mut journal = Self::default();
            let customer = "cus_a".to_owned();
            assert_eq!(journal.add(Fact::CustomerAdded(wire::CustomerAdded { customer })), Verdict::Taken);
            journal
        }

        fn add(&mut self, fact: Fact) -> Verdict {
            let record =
                JournalRecord { recorded_at_ms: 1_790_000_000_000, fact: Some(fact), ..Default::default() };
            self.0.apply(&record.encode_to_vec()).unwrap()
        }

        fn policy(&mut self, toml: &str, from: &str) -> Verdict {
            self.add(Fact::PolicySet(wire::PolicySet { toml: toml.to_owned(), valid_from: from.to_owned() }))
        }

        fn stage(&mut self, id: &PriceListId, list: &PriceList) -> u32 {
            let parts = parts(id, list);
            let count = u32::try_from(parts.len()).unwrap();
            for part in parts {
                assert_eq!(self.add(Fact::PricesStaged(part)), Verdict::Taken);
            }
            count
        }

        fn apply(&mut self, id: &PriceListId, parts: u32, revision: u64) -> Verdict {
            let (list, valid_from) = (id.to_string(), "2026-11".to_owned());
            self.add(Fact::PricesApplied(wire::PricesApplied { list, parts, valid_from, revision }))
        }

        fn cost(&self, period: &str) -> Option<String> {
            let policy = self.0.terms().policy(month(period)).unwrap();
            policy.price_group.get("g").map(|group| group.tiers[0].cost.to_string())
        }
    }

    fn id(number: u8) -> PriceListId {
        PriceListId::derived_from(&[number])
    }

    #[test]
    fn a_staged_list_has_no_effect_until_it_is_applied_and_then_from_its_month_on() {
        let mut journal = Journal::with_customer();
        let rows = list(&[("A", "g")], &[("g", "2.10")], &[("A", "cus_a", "4")]);
        let parts = journal.stage(&id(1), &rows);
        assert_eq!(journal.cost("2026-11"), None);
        assert_eq!(journal.apply(&id(1), parts, 1), Verdict::Taken);
        assert_eq!(journal.cost("2026-10"), None);
        assert_eq!(journal.cost("2026-11").as_deref(), Some("2.10"));
        assert_eq!(journal.apply(&id(1), parts, 2), Verdict::Refused(Refusal::Malformed));
    }

    #[test]
    fn a_list_that_was_checked_against_another_book_or_names_strangers_is_refused_whole() {
        let mut journal = Journal::with_customer();
        let rows = list(&[("A", "g")], &[("g", "2.10")], &[]);
        let (first, second) = (journal.stage(&id(1), &rows), journal.stage(&id(2), &rows));
        assert_eq!(journal.apply(&id(1), first, 1), Verdict::Taken);
        assert_eq!(journal.apply(&id(2), second, 1), Verdict::Refused(Refusal::Overtaken));
        let strangers = list(&[], &[("g", "9")], &[("A", "cus_b", "4")]);
        let parts = journal.stage(&id(3), &strangers);
        assert_eq!(journal.apply(&id(3), parts, 2), Verdict::Refused(Refusal::UnknownCustomer));
        let parts = journal.stage(&id(4), &list(&[("B", "none")], &[("g", "9")], &[]));
        assert_eq!(journal.apply(&id(4), parts, 2), Verdict::Refused(Refusal::Malformed));
        assert_eq!(journal.cost("2026-11").as_deref(), Some("2.10"));
        assert_eq!(journal.0.terms().prices().revision(), 1);
    }

    #[test]
    fn policies_hold_from_their_month_on_and_share_one_zone() {
        let mut journal = Journal::default();
        let berlin = "zone = \"Europe/Berlin\"";
        assert_eq!(journal.policy(berlin, ""), Verdict::Taken);
        assert_eq!(journal.policy(&format!("{berlin}\npresume_days = 3"), "2026-11"), Verdict::Taken);
        let days = |journal: &Journal, period| journal.0.terms().policy(month(period)).unwrap().presume_days;
        assert_eq!((days(&journal, "2026-10"), days(&journal, "2026-11")), (7, 3));
        assert_eq!(journal.policy("", "2026-12"), Verdict::Refused(Refusal::ZoneFixed));
        assert_eq!(journal.policy("presume_days = 5", ""), Verdict::Taken);
        assert_eq!((days(&journal, "2026-10"), days(&journal, "2026-11")), (5, 5));
        assert_eq!(journal.0.usage().zone().name(), "UTC");
    }
}
