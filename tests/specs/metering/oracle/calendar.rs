//! Usage days: from a local day's first instant to the next day's first instant.
//! A day is found by these two instants only, never by what a wall clock shows in between.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

pub(super) struct Calendar {
    zone: TimeZone,
    first_instants: RefCell<BTreeMap<Date, Timestamp>>,
}

impl Calendar {
    pub(super) fn new(zone: &str) -> Calendar {
        let zone = TimeZone::get(zone).expect("an IANA zone");
        Calendar { zone, first_instants: RefCell::default() }
    }

    /// The earliest instant at which the local date is this day or, for a day the zone skipped, a later one.
    pub(super) fn first_instant(&self, day: Date) -> Timestamp {
        *self.first_instants.borrow_mut().entry(day).or_insert_with(|| self.find_first_instant(day))
    }

    fn find_first_instant(&self, day: Date) -> Timestamp {
        let near = TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).expect("a day in reach");
        let (from, until) = (near - 48.hours(), near + 48.hours());
        let mut changes = vec![(from, self.zone.to_offset(from))];
        changes.extend(
            self.zone
                .following(from)
                .map(|change| (change.timestamp(), change.offset()))
                .take_while(|(at, _)| *at < until),
        );
        let mut found = Vec::new();
        for (place, (start, offset)) in changes.iter().enumerate() {
            let end = changes.get(place + 1).map_or(until, |(next, _)| *next);
            let midnight = offset.to_timestamp(day.at(0, 0, 0, 0)).expect("a day in reach");
            if midnight.max(*start) < end {
                found.push(midnight.max(*start));
            }
        }
        found.into_iter().min().expect("every day begins")
    }

    /// A day that the zone skipped is no local day at all.
    pub(super) fn exists(&self, day: Date) -> bool {
        self.first_instant(day) < self.first_instant_after(day)
    }

    /// The usage days of a period.
    pub(super) fn usage_days(&self, period: &str) -> Vec<Date> {
        days_of(period).into_iter().filter(|day| self.exists(*day)).collect()
    }

    pub(super) fn first_instant_after(&self, day: Date) -> Timestamp {
        self.first_instant(day.tomorrow().expect("a day in reach"))
    }

    pub(super) fn day_of(&self, instant: Timestamp) -> Date {
        let mut day = TimeZone::UTC.to_datetime(instant).date().saturating_add(2.days());
        while self.first_instant(day) > instant {
            day = day.yesterday().expect("a day in reach");
        }
        day
    }
}

fn year_and_month(period: &str) -> (i16, i8) {
    let (year, month) = period.split_once('-').expect("a period is YYYY-MM");
    (year.parse().expect("a year"), month.parse().expect("a month"))
}

/// Every day of the month, as any calendar has them.
pub(in crate::metering) fn days_of(period: &str) -> Vec<Date> {
    let (year, month) = year_and_month(period);
    let first = Date::constant(year, month, 1);
    (1..=first.days_in_month()).map(|day| Date::constant(year, month, day)).collect()
}

pub(in crate::metering) fn period_before(period: &str) -> String {
    match year_and_month(period) {
        (year, 1) => format!("{:04}-12", year - 1),
        (year, month) => format!("{year:04}-{:02}", month - 1),
    }
}
