//! What one machine's accepted reports amount to, day by day, in little memory.
//! Invariant: the same set of reports gives an equal value, in whatever order they were added.
//!
//! A day is a bit, and eight bytes for its first and last report. A product that every report of a day found active
//! costs a bit; only other days keep the first and last report that had it active. Which reports settle a product
//! matters only where one could not tell (`unknown`): those days keep the last report of each set of untold products.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatbeat_proto::ids::ProductId;
use serde::{Deserialize, Serialize};

use crate::calendar::Day;
use crate::day_bits::DayBits;
use crate::few::FewMap;
use crate::names::SharedNames;
use crate::record::{Sighting, State};

/// The first and the last of some instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The earliest.
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::required")]
    pub first: Timestamp,
    /// The latest, perhaps the same.
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::required")]
    pub last: Timestamp,
}

impl Span {
    fn at(instant: Timestamp) -> Self {
        Self { first: instant, last: instant }
    }

    /// The span over both.
    pub fn join(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Whether some instant lies in both; the ends belong to a span.
    pub fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Milliseconds of a calendar day in UTC: the day's instants are kept as distances from its beginning there.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Days for which room is made at once: some reports more than there is room for would copy all of them each time.
const GROWTH: usize = 16;

/// The accepted reports of one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendance {
    reported: DayBits,
    /// First and last report of each reported day in order, in milliseconds from the day's beginning in UTC.
    spans: Vec<(i32, i32)>,
    /// Those of days whose instants are no whole milliseconds or lie further away.
    exact: BTreeMap<Day, Span>,
    active: FewMap<ProductId, ActiveDays>,
    untold: BTreeMap<Day, UntoldDay>,
}

/// The days on which a product was active in some report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ActiveDays {
    /// In every report of the day.
    whole: DayBits,
    /// In some but not all reports of the day: the first and last that had it so.
    part: BTreeMap<Day, Span>,
}

/// A day on which some report could not tell a product's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct UntoldDay {
    /// The last report that told everything.
    told: Option<Timestamp>,
    /// Each set of untold products, with the last report that left them so.
    sets: BTreeSet<(BTreeSet<ProductId>, Timestamp)>,
}

impl Attendance {
    /// Takes an accepted report into its usage day.
    pub fn add(
        &mut self,
        day: Day,
        observed_at: Timestamp,
        products: &BTreeMap<ProductId, Sighting>,
        names: &mut SharedNames,
    ) {
        let before = self.reported(day);
        let is_active = |product: &ProductId| {
            products.get(product).is_some_and(|sighting| sighting.state == State::Active)
        };
        for (product, days) in self.active.entries_mut() {
            if let Some(before) = before
                && !is_active(product)
            {
                days.not_in_every_report(day, before);
            }
        }
        for (product, sighting) in products {
            if sighting.state == State::Active {
                if !self.active.contains_key(product) {
                    let mut product = product.clone();
                    names.product(&mut product);
                    self.active.insert(product, ActiveDays::default());
                }
                let days = self.active.get_or_default(product);
                days.add(day, observed_at, before.is_none());
            }
        }
        let untold: BTreeSet<ProductId> = products
            .iter()
            .filter(|(_, sighting)| sighting.state == State::Unknown)
            .map(|(product, _)| product.clone())
            .collect();
        self.add_untold(day, observed_at, before, untold);
        let span = Span::at(observed_at);
        self.set_span(day, before.map_or(span, |before| before.join(span)));
    }

    /// Sets the first and last report of a day.
    fn set_span(&mut self, day: Day, span: Span) {
        let place = self.reported.before(day);
        if self.reported.insert(day) {
            if self.spans.len() == self.spans.capacity() {
                self.spans.reserve_exact(GROWTH);
            }
            self.spans.insert(place, (0, 0));
        }
        match (packed(day, span.first), packed(day, span.last)) {
            (Some(first), Some(last)) => {
                self.spans[place] = (first, last);
                self.exact.remove(&day);
            }
            _ => {
                self.spans[place] = (0, 0);
                self.exact.insert(day, span);
            }
        }
    }

    fn add_untold(&mut self, day: Day, at: Timestamp, before: Option<Span>, untold: BTreeSet<ProductId>) {
        if untold.is_empty() {
            if let Some(kept) = self.untold.get_mut(&day) {
                kept.told = kept.told.max(Some(at));
            }
            return;
        }
        // Until the first such report, every report of the day told everything.
        let told = before.map(|span| span.last);
        self.untold
            .entry(day)
            .or_insert_with(|| UntoldDay { told, sets: BTreeSet::new() })
            .insert(untold, at);
    }

    /// The first and last report of a day, if there was one.
    pub fn reported(&self, day: Day) -> Option<Span> {
        if !self.reported.contains(day) {
            return None;
        }
        if let Some(span) = self.exact.get(&day) {
            return Some(*span);
        }
        let (first, last) = self.spans.get(self.reported.before(day))?;
        Some(Span { first: unpacked(day, *first)?, last: unpacked(day, *last)? })
    }

    /// The days with a report, from `first` to before `end`, in order.
    pub fn days(&self, first: Day, end: Day) -> impl DoubleEndedIterator<Item = (Day, Span)> + '_ {
        self.reported.range(first, end).filter_map(|day| Some((day, self.reported(day)?)))
    }

    /// The days with a report.
    pub fn reported_days(&self) -> &DayBits {
        &self.reported
    }

    /// Whether some report of the days from `first` to before `end`, or of the last reported day before them, could
    /// not tell a product's state.
    pub fn has_untold(&self, first: Day, end: Day) -> bool {
        let from = self.reported.last_before(first).unwrap_or(first);
        self.untold.range(from..end).next().is_some()
    }

    /// The days from `first` on, up to 32 of them, on which some report had the product active, as bits.
    pub fn active_from(&self, product: &ProductId, first: Day) -> u32 {
        self.active.get(product).map_or(0, |days| days.from(first))
    }

    /// Whether the last report of that day had the product active.
    pub fn ended_active(&self, product: &ProductId, day: Day) -> bool {
        if self.active.get(product).is_some_and(|days| days.whole.contains(day)) {
            return true;
        }
        match (self.active(product, day), self.settled(product, day)) {
            (Some(active), Some(settled)) => active.last == settled,
            _ => false,
        }
    }

    /// Every product that was ever active.
    pub fn products(&self) -> impl Iterator<Item = &ProductId> + '_ {
        self.active.keys()
    }

    /// The first day on which anything was active.
    pub fn first_active_day(&self) -> Option<Day> {
        self.active.values().filter_map(ActiveDays::first).min()
    }

    /// The first and last report of the day that had the product active.
    pub fn active(&self, product: &ProductId, day: Day) -> Option<Span> {
        let days = self.active.get(product)?;
        if let Some(span) = days.part.get(&day) {
            return Some(*span);
        }
        if days.whole.contains(day) { self.reported(day) } else { None }
    }

    /// The last report of the day that settles the product: any that does not list it as unknown.
    pub fn settled(&self, product: &ProductId, day: Day) -> Option<Timestamp> {
        let Some(untold) = self.untold.get(&day) else {
            return self.reported(day).map(|span| span.last);
        };
        let others = untold.sets.iter().filter(|(products, _)| !products.contains(product));
        untold.told.into_iter().chain(others.map(|(_, at)| *at)).max()
    }

    /// The latest settling report before a day: its usage day and instant.
    pub fn settled_before(&self, product: &ProductId, day: Day) -> Option<(Day, Timestamp)> {
        let mut end = day;
        loop {
            let day = self.reported.last_before(end)?;
            if let Some(at) = self.settled(product, day) {
                return Some((day, at));
            }
            end = day;
        }
    }

    /// Keeps the names of products once for all machines.
    pub(crate) fn share(&mut self, names: &mut SharedNames) {
        self.active.entries_mut().for_each(|(product, _)| names.product(product));
    }

    /// Takes in the reports of another agent on the same machine.
    pub fn absorb(&mut self, other: &Self) {
        let mut joined = Self::default();
        for side in [&*self, other] {
            for day in side.reported.iter() {
                if let Some(span) = side.reported(day) {
                    let joint = joined.reported(day).map_or(span, |kept| kept.join(span));
                    joined.set_span(day, joint);
                }
            }
        }
        let products: BTreeSet<&ProductId> = self.active.keys().chain(other.active.keys()).collect();
        for product in products {
            joined.active.insert(product.clone(), self.joined_days(other, product));
        }
        for day in self.untold.keys().chain(other.untold.keys()) {
            joined.untold.insert(*day, self.joined_untold(other, *day));
        }
        *self = joined;
    }

    fn joined_days(&self, other: &Self, product: &ProductId) -> ActiveDays {
        let mut joined = ActiveDays::default();
        let days: BTreeSet<Day> = [self, other]
            .into_iter()
            .filter_map(|side| side.active.get(product))
            .flat_map(ActiveDays::all)
            .collect();
        for day in days {
            let whole = [self, other].into_iter().all(|side| {
                side.reported(day).is_none()
                    || side.active.get(product).is_some_and(|days| days.whole.contains(day))
            });
            if whole {
                joined.whole.insert(day);
            } else if let Some(span) =
                self.active(product, day).into_iter().chain(other.active(product, day)).reduce(Span::join)
            {
                joined.part.insert(day, span);
            }
        }
        joined
    }

    fn joined_untold(&self, other: &Self, day: Day) -> UntoldDay {
        let mut joined = UntoldDay::default();
        for side in [self, other] {
            match side.untold.get(&day) {
                Some(untold) => {
                    joined.told = joined.told.max(untold.told);
                    untold.sets.iter().for_each(|(products, at)| joined.insert(products.clone(), *at));
                }
                None => joined.told = joined.told.max(side.reported(day).map(|span| span.last)),
            }
        }
        joined
    }
}

impl UntoldDay {
    fn insert(&mut self, products: BTreeSet<ProductId>, at: Timestamp) {
        let same = self.sets.iter().find(|(kept, _)| *kept == products).cloned();
        match same {
            Some((_, kept)) if kept >= at => {}
            Some(older) => {
                self.sets.remove(&older);
                self.sets.insert((products, at));
            }
            None => {
                self.sets.insert((products, at));
            }
        }
    }
}

impl ActiveDays {
    fn first(&self) -> Option<Day> {
        self.whole.first().into_iter().chain(self.part.keys().next().copied()).min()
    }

    fn all(&self) -> impl Iterator<Item = Day> + '_ {
        self.whole.iter().chain(self.part.keys().copied())
    }

    fn from(&self, first: Day) -> u32 {
        let part = self.part.range(first..first.plus(32)).map(|(day, _)| 1 << day.days_since(first));
        part.fold(self.whole.from(first), |bits: u32, bit: u32| bits | bit)
    }

    /// Takes in a report with the product active; `is_first`: no other report of that day is known yet.
    fn add(&mut self, day: Day, at: Timestamp, is_first: bool) {
        if is_first {
            self.whole.insert(day);
        } else if !self.whole.contains(day) {
            let span = Span::at(at);
            self.part.entry(day).and_modify(|kept| *kept = kept.join(span)).or_insert(span);
        }
    }

    /// A report of the day does not have it active; until now every one in `before` had.
    fn not_in_every_report(&mut self, day: Day, before: Span) {
        if self.whole.contains(day) {
            self.whole.remove(day);
            self.part.insert(day, before);
        }
    }
}

/// An instant as milliseconds from the beginning of its day in UTC, where that says all of it.
fn packed(day: Day, at: Timestamp) -> Option<i32> {
    if at.subsec_nanosecond() % 1_000_000 != 0 {
        return None;
    }
    i32::try_from(at.as_millisecond() - i64::from(day.number()) * DAY_MS).ok()
}

fn unpacked(day: Day, ms: i32) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::from(day.number()) * DAY_MS + i64::from(ms)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Listed<'a> = &'a [(&'a str, State)];

    fn evidence(reports: &[(i32, &str, Listed<'_>)]) -> Attendance {
        let mut evidence = Attendance::default();
        for (day, time, listed) in reports {
            let products = listed
                .iter()
                .map(|(id, state)| (id.parse().unwrap(), Sighting { state: *state, version: None }))
                .collect();
            evidence.add(day_of(*day), instant(*day, time), &products, &mut SharedNames::default());
        }
        evidence
    }

    fn day_of(day: i32) -> Day {
        Day::of("2026-10-01".parse().unwrap()).plus(day - 1)
    }

    fn instant(day: i32, time: &str) -> Timestamp {
        format!("2026-10-{day:02}T{time}:00Z").parse().unwrap()
    }

    fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
        if items.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for index in 0..items.len() {
            let mut rest = items.to_vec();
            let taken = rest.remove(index);
            for mut tail in permutations(&rest) {
                tail.insert(0, taken.clone());
                all.push(tail);
            }
        }
        all
    }

    #[test]
    fn an_instant_is_packed_only_where_that_says_all_of_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let six = at("2026-10-02T06:00:00.125Z");
        assert_eq!(packed(day_of(2), six), Some(6 * 3_600_000 + 125));
        assert_eq!(unpacked(day_of(2), 6 * 3_600_000 + 125), Some(six));
        assert_eq!(packed(day_of(2), at("2026-10-02T06:00:00.1250005Z")), None, "finer than it says");
        assert_eq!(packed(day_of(2), at("2027-10-02T06:00:00Z")), None, "too far away");
    }

    #[test]
    fn reports_in_any_order_and_repeated_are_the_same_evidence() {
        use State::{Active, Inactive, Unknown};
        let reports: Vec<(i32, &str, Listed<'_>)> = vec![
            (1, "06:00", &[("a", Active), ("b", Active)]),
            (1, "12:00", &[("a", Active), ("b", Unknown)]),
            (1, "12:00", &[("a", Inactive)]),
            (1, "18:00", &[("a", Active), ("b", Unknown)]),
            (2, "06:00", &[("a", Active)]),
            (3, "06:00", &[("a", Active), ("b", Unknown)]),
        ];
        let expected = evidence(&reports);
        for mut order in permutations(&reports) {
            assert_eq!(evidence(&order), expected, "{order:?}");
            order.extend(reports.clone());
            assert_eq!(evidence(&order), expected, "{order:?} and again");
        }
    }

    #[test]
    fn a_machine_made_of_two_agents_has_the_evidence_of_both() {
        use State::{Active, Inactive, Unknown};
        let reports: Vec<(i32, &str, Listed<'_>)> = vec![
            (1, "06:00", &[("a", Active), ("b", Active)]),
            (1, "12:00", &[("a", Unknown), ("b", Unknown)]),
            (2, "06:00", &[("a", Inactive)]),
            (2, "07:00", &[("a", Active)]),
            (4, "06:00", &[("a", Active)]),
            (5, "06:00", &[("a", Active), ("b", Unknown)]),
        ];
        let expected = evidence(&reports);
        for mask in 0..(1 << reports.len()) {
            let (one, two): (Vec<_>, Vec<_>) =
                reports.iter().enumerate().partition(|(index, _)| mask >> index & 1 == 1);
            let side = |part: Vec<(usize, &(i32, &'static str, Listed<'static>))>| {
                evidence(&part.into_iter().map(|(_, report)| *report).collect::<Vec<_>>())
            };
            let (mut one, two) = (side(one), side(two));
            one.absorb(&two);
            assert_eq!(one, expected, "{mask:b}");
        }
    }

    #[test]
    fn a_report_settles_what_it_lists_and_what_it_leaves_out_but_not_the_unknown() {
        use State::{Active, SwitchedOff, Unknown};
        let evidence = evidence(&[
            (1, "06:00", &[("a", Active), ("b", SwitchedOff)]),
            (1, "12:00", &[("a", Unknown)]),
            (2, "06:00", &[("a", Unknown)]),
        ]);
        let settled = |product: &str, day| evidence.settled(&product.parse().unwrap(), day_of(day));
        assert_eq!(settled("a", 1), Some(instant(1, "06:00")));
        assert_eq!(settled("b", 1), Some(instant(1, "12:00")));
        assert_eq!(settled("never-seen", 2), Some(instant(2, "06:00")));
        assert_eq!(settled("a", 2), None);
        assert_eq!(settled("a", 3), None);
        let product = "a".parse().unwrap();
        assert_eq!(evidence.settled_before(&product, day_of(9)), Some((day_of(1), instant(1, "06:00"))));
    }

    #[test]
    fn of_each_set_of_untold_products_the_last_report_settles_all_others_in_whatever_order_they_come() {
        use State::Unknown;
        let reports: [(i32, &str, Listed<'_>); 3] = [
            (1, "06:00", &[("a", Unknown)]),
            (1, "09:00", &[("a", Unknown)]),
            (1, "12:00", &[("b", Unknown)]),
        ];
        for reports in permutations(&reports) {
            let evidence = evidence(&reports);
            let settled = |product: &str| evidence.settled(&product.parse().unwrap(), day_of(1));
            let expected = ["12:00", "09:00", "12:00"].map(|time| Some(instant(1, time)));
            assert_eq!(["a", "b", "c"].map(settled), expected, "{reports:?}");
        }
    }

    #[test]
    fn a_day_ends_active_where_the_last_report_that_settles_the_product_had_it_so() {
        use State::{Active, Inactive, Unknown};
        let product = "a".parse().unwrap();
        let check = |listed: &[(&'static str, Listed<'static>)], expected: bool| {
            let reports: Vec<_> = listed.iter().map(|(time, products)| (1, *time, *products)).collect();
            assert_eq!(evidence(&reports).ended_active(&product, day_of(1)), expected, "{reports:?}");
        };
        check(&[], false);
        check(&[("06:00", &[("a", Active)])], true);
        check(&[("06:00", &[("a", Active), ("b", Unknown)])], true);
        check(&[("06:00", &[("a", Active)]), ("12:00", &[("a", Inactive)])], false);
        check(&[("06:00", &[("a", Inactive)]), ("12:00", &[("a", Active)])], true);
        check(&[("06:00", &[("a", Active)]), ("12:00", &[("a", Unknown)])], true);
        check(&[("06:00", &[("a", Active)]), ("12:00", &[]), ("18:00", &[("a", Unknown)])], false);
        check(&[("06:00", &[("a", Unknown)])], false);
    }

    #[test]
    fn a_quiet_month_of_whole_days_is_bits_alone() {
        let reports: Vec<(i32, &str, Listed<'_>)> =
            (1..=31).map(|day| (day, "06:00", [("a", State::Active)].as_slice())).collect();
        let evidence = evidence(&reports);
        let days = evidence.active.get(&"a".parse::<ProductId>().unwrap()).unwrap();
        assert_eq!((days.whole.count(), days.part.len()), (31, 0));
        assert_eq!(evidence.first_active_day(), Some(day_of(1)));
    }
}
