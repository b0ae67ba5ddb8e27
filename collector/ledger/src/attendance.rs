//! What one machine's accepted reports amount to, day by day, in little memory.
//! Invariant: the same set of reports gives an equal value, in whatever order they were added.
//!
//! A day keeps its first and last report. A product that every report of a day found active costs a bit of a run;
//! only other days keep the first and last report that had it active. Which reports settle a product matters only
//! where one could not tell (`unknown`): those days keep the last report of each set of untold products.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatbeat_proto::ids::ProductId;
use serde::{Deserialize, Serialize};

use crate::calendar::Day;
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

/// The accepted reports of one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendance {
    days: BTreeMap<Day, Span>,
    active: BTreeMap<ProductId, ActiveDays>,
    untold: BTreeMap<Day, UntoldDay>,
}

/// The days on which a product was active in some report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ActiveDays {
    /// In every report of the day: first day of a run to its last.
    whole: BTreeMap<Day, Day>,
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
    pub fn add(&mut self, day: Day, observed_at: Timestamp, products: &BTreeMap<ProductId, Sighting>) {
        let before = self.days.get(&day).copied();
        let is_active = |product: &ProductId| {
            products.get(product).is_some_and(|sighting| sighting.state == State::Active)
        };
        for (product, days) in &mut self.active {
            if let Some(before) = before
                && !is_active(product)
            {
                days.not_in_every_report(day, before);
            }
        }
        for (product, sighting) in products {
            if sighting.state == State::Active {
                let days = match self.active.get_mut(product) {
                    Some(days) => days,
                    None => self.active.entry(product.clone()).or_default(),
                };
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
        self.days.insert(day, before.map_or(span, |before| before.join(span)));
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
        self.days.get(&day).copied()
    }

    /// The days with a report, from `first` to before `end`, in order.
    pub fn days(&self, first: Day, end: Day) -> impl DoubleEndedIterator<Item = (Day, Span)> + '_ {
        self.days.range(first..end).map(|(day, span)| (*day, *span))
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
        if days.is_whole(day) { self.reported(day) } else { None }
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
        self.days.range(..day).rev().find_map(|(day, _)| Some((*day, self.settled(product, *day)?)))
    }

    /// Takes in the reports of another agent on the same machine.
    pub fn absorb(&mut self, other: &Self) {
        let mut joined = Self::default();
        for days in [&self.days, &other.days] {
            for (day, span) in days {
                joined.days.entry(*day).and_modify(|kept| *kept = kept.join(*span)).or_insert(*span);
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
                    || side.active.get(product).is_some_and(|days| days.is_whole(day))
            });
            if whole {
                joined.add_whole(day);
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
        self.whole.keys().next().into_iter().chain(self.part.keys().next()).min().copied()
    }

    fn all(&self) -> impl Iterator<Item = Day> + '_ {
        let whole = self.whole.iter().flat_map(|(first, last)| {
            (0..=last.days_since(*first)).map(|away| first.plus(i32::try_from(away).unwrap_or(i32::MAX)))
        });
        whole.chain(self.part.keys().copied())
    }

    fn is_whole(&self, day: Day) -> bool {
        self.whole.range(..=day).next_back().is_some_and(|(_, last)| day <= *last)
    }

    /// Takes in a report with the product active; `is_first`: no other report of that day is known yet.
    fn add(&mut self, day: Day, at: Timestamp, is_first: bool) {
        if is_first {
            self.add_whole(day);
        } else if !self.is_whole(day) {
            let span = Span::at(at);
            self.part.entry(day).and_modify(|kept| *kept = kept.join(span)).or_insert(span);
        }
    }

    /// A report of the day does not have it active; until now every one in `before` had.
    fn not_in_every_report(&mut self, day: Day, before: Span) {
        if !self.is_whole(day) {
            return;
        }
        let Some((first, last)) = self.whole.range(..=day).next_back().map(|(first, last)| (*first, *last))
        else {
            return;
        };
        self.whole.remove(&first);
        if first < day {
            self.whole.insert(first, day.plus(-1));
        }
        if day < last {
            self.whole.insert(day.plus(1), last);
        }
        self.part.insert(day, before);
    }

    fn add_whole(&mut self, day: Day) {
        if self.is_whole(day) {
            return;
        }
        let last = self.whole.remove(&day.plus(1)).unwrap_or(day);
        match self.whole.range_mut(..day).next_back() {
            Some((_, end)) if end.plus(1) == day => *end = last,
            _ => {
                self.whole.insert(day, last);
            }
        }
    }
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
            evidence.add(day_of(*day), instant(*day, time), &products);
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
    fn reports_in_any_order_and_repeated_are_the_same_evidence() {
        use State::{Active, Inactive, Unknown};
        let reports: Vec<(i32, &str, Listed<'_>)> = vec![
            (1, "06:00", &[("a", Active), ("b", Active)]),
            (1, "12:00", &[("a", Active), ("b", Unknown)]),
            (1, "12:00", &[("a", Inactive)]),
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
    fn a_quiet_year_of_whole_days_is_one_run() {
        let reports: Vec<(i32, &str, Listed<'_>)> =
            (1..=31).map(|day| (day, "06:00", [("a", State::Active)].as_slice())).collect();
        let evidence = evidence(&reports);
        let days = &evidence.active[&"a".parse::<ProductId>().unwrap()];
        assert_eq!((days.whole.len(), days.part.len()), (1, 0));
        assert_eq!(evidence.first_active_day(), Some(day_of(1)));
    }
}
