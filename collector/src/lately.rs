//! What was made of a large house lately: to go through all of it anew takes seconds. Invariant: what anybody decided is in
//! whatever is given out behind it; what machines sent meanwhile is missing for some time at most, [`Lately::age_max`],
//! and never in a house of fewer than [`MACHINES_MIN`] machines.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::calendar::Period;
use tokio::time::Instant;

/// Houses with fewer get everything made anew: it takes some milliseconds there.
const MACHINES_MIN: usize = 5_000;

/// What took long to make may be so many times as old, and is made anew at half that age: a fifth of a core at most goes
/// into what nobody waits for.
const AGE_TO_TIME: i32 = 10;

/// What nobody asked for in so long is let go.
const ASKED_AGO_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Months that are kept: the running one and two that wait to be sealed.
pub const MONTHS_MAX: usize = 3;

/// What something has to be to be given out.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The instant of the question.
    pub now: Timestamp,
    /// Records that have to be in it.
    pub size_min: u64,
    /// Machines of the house.
    pub machines: usize,
}

impl Wanted {
    /// Whether something of some moments ago may be given out.
    pub fn is_of_large_house(&self) -> bool {
        self.machines >= MACHINES_MIN
    }
}

/// What was made of some months, one thing of each.
pub struct Lately<T> {
    months: Mutex<BTreeMap<Period, Made<T>>>,
    age_max: SignedDuration,
    /// One at a time: each goes through the whole fleet.
    making: Mutex<()>,
}

struct Made<T> {
    made: T,
    /// Records that are in it, at least.
    size: u64,
    made_at: Timestamp,
    took: SignedDuration,
    asked_at: Timestamp,
}

impl<T> Made<T> {
    fn by<E>(
        make: impl FnOnce() -> Result<(T, u64), E>,
        made_at: Timestamp,
        asked_at: Timestamp,
    ) -> Result<Self, E> {
        let began = Instant::now();
        let (made, size) = make()?;
        let took = SignedDuration::try_from(began.elapsed()).unwrap_or(SignedDuration::MAX);
        Ok(Self { made, size, made_at, took, asked_at })
    }
}

impl<T: Clone> Lately<T> {
    /// Nothing yet; what is quickly made is given out up to this age.
    pub fn new(age_max: SignedDuration) -> Self {
        Self { months: Mutex::default(), age_max, making: Mutex::default() }
    }

    /// That of a month: what is kept, or else what is made, of so many records, and kept. Blocks while it is made,
    /// whoever else asks, too: nothing is made twice.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get<E>(
        &self,
        period: Period,
        wanted: Wanted,
        make: impl FnOnce() -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        if let Some(made) = self.good(period, wanted) {
            return Ok(made);
        }
        let _one_at_a_time = self.making();
        // Somebody else may have made it meanwhile.
        if let Some(made) = self.good(period, wanted) {
            return Ok(made);
        }
        let made = Made::by(make, wanted.now, wanted.now)?;
        let given = made.made.clone();
        self.keep(period, wanted, made);
        Ok(given)
    }

    /// Waits until nobody makes one: two that go through the whole fleet take the memory of two.
    pub fn making(&self) -> MutexGuard<'_, ()> {
        lock(&self.making)
    }

    fn good(&self, period: Period, wanted: Wanted) -> Option<T> {
        let mut months = lock(&self.months);
        let kept = months.get_mut(&period)?;
        let age = wanted.now.duration_since(kept.made_at);
        let is_young = !age.is_negative() && age < self.age_max(kept);
        if !is_young || kept.size < wanted.size_min || !wanted.is_of_large_house() {
            return None;
        }
        kept.asked_at = wanted.now;
        Some(kept.made.clone())
    }

    /// How old it may be when it is given out.
    fn age_max(&self, made: &Made<T>) -> SignedDuration {
        self.age_max.max(made.took.checked_mul(AGE_TO_TIME).unwrap_or(SignedDuration::MAX))
    }

    fn keep(&self, period: Period, wanted: Wanted, made: Made<T>) {
        if !wanted.is_of_large_house() {
            return;
        }
        let mut months = lock(&self.months);
        months.insert(period, made);
        while months.len() > MONTHS_MAX {
            months.pop_first();
        }
    }

    /// Makes anew what somebody has asked for lately and is behind, and lets go of the rest: the next question is
    /// answered at once. Blocks while it is made.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn refresh<E>(&self, wanted: Wanted, make: impl Fn(Period) -> Result<(T, u64), E>) -> Result<(), E> {
        let behind: Vec<(Period, Timestamp)> = {
            let mut months = lock(&self.months);
            months.retain(|_, kept| wanted.now.duration_since(kept.asked_at) < ASKED_AGO_MAX);
            let is_behind = |kept: &Made<T>| {
                let is_aging = wanted.now.duration_since(kept.made_at) >= self.age_max(kept) / 2;
                is_aging && kept.size < wanted.size_min
            };
            months
                .iter()
                .filter(|(_, kept)| is_behind(kept))
                .map(|(period, kept)| (*period, kept.asked_at))
                .collect()
        };
        for (period, asked_at) in behind {
            let _one_at_a_time = self.making();
            self.keep(period, wanted, Made::by(|| make(period), wanted.now, asked_at)?);
        }
        Ok(())
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-10-15T12:00:00Z";

    const AGE_MAX: SignedDuration = SignedDuration::from_secs(120);

    fn at(seconds: i64) -> Timestamp {
        NOW.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
    }

    /// What is kept of October, each time under the number of times that something was made by then.
    struct House {
        kept: Lately<u32>,
        made: u32,
    }

    const SIZE: u64 = 1_000;

    impl House {
        fn new() -> Self {
            Self { kept: Lately::new(AGE_MAX), made: 0 }
        }

        fn month() -> Period {
            "2026-10".parse().unwrap()
        }

        /// Asks for what has so many records; tells which one is given out.
        fn asked(&mut self, now: i64, size_min: u64, machines: usize) -> u32 {
            let wanted = Wanted { now: at(now), size_min, machines };
            let given = self.kept.get(Self::month(), wanted, || {
                self.made += 1;
                Ok::<_, ()>((self.made, size_min))
            });
            given.unwrap()
        }

        /// Refreshes; tells how many were made.
        fn refreshed(&self, now: i64, size_min: u64) -> u32 {
            let made = std::cell::Cell::new(0);
            let wanted = Wanted { now: at(now), size_min, machines: MACHINES_MIN };
            let told = self.kept.refresh(wanted, |_| {
                made.set(made.get() + 1);
                Ok::<_, ()>((100 + made.get(), size_min))
            });
            told.unwrap();
            made.get()
        }
    }

    #[test]
    fn what_was_made_of_a_large_house_is_kept_for_a_while_and_until_something_is_decided() {
        let mut house = House::new();
        assert_eq!(house.asked(0, SIZE, MACHINES_MIN), 1);
        assert_eq!(house.asked(119, SIZE, MACHINES_MIN), 1);
        assert_eq!(house.asked(119, SIZE + 1, MACHINES_MIN), 2, "something was decided behind it");
        assert_eq!(house.asked(238, SIZE, MACHINES_MIN), 2);
        assert_eq!(house.asked(239, SIZE, MACHINES_MIN), 3, "it is old");
        assert_eq!(house.asked(100, SIZE, MACHINES_MIN), 4, "the clock was set back");
    }

    #[test]
    fn of_a_small_house_it_is_made_for_each_question() {
        let mut house = House::new();
        assert_eq!((house.asked(0, SIZE, 3), house.asked(0, SIZE, MACHINES_MIN - 1)), (1, 2));
    }

    #[test]
    fn what_is_asked_for_is_made_anew_behind_the_scenes_and_let_go_when_nobody_asks() {
        let mut house = House::new();
        assert_eq!(house.asked(0, SIZE, MACHINES_MIN), 1);
        assert_eq!(house.refreshed(60, SIZE), 0, "nothing came");
        assert_eq!(house.refreshed(59, SIZE + 1), 0, "it is young");
        assert_eq!(house.refreshed(100, SIZE + 1), 1);
        assert_eq!(house.asked(210, SIZE, MACHINES_MIN), 101, "it is as young as its refreshing");
        assert_eq!(house.asked(4_000, SIZE + 1, MACHINES_MIN), 2, "it is old");
        assert_eq!(house.refreshed(4_100, SIZE + 2), 1, "it was asked for a moment ago");
        assert_eq!(house.refreshed(4_100 + 3_600, SIZE + 3), 0, "nobody has asked for an hour");
        assert!(lock(&house.kept.months).is_empty());
    }

    #[test]
    fn what_takes_long_is_kept_for_longer() {
        let mut house = House::new();
        house.asked(0, SIZE, MACHINES_MIN);
        lock(&house.kept.months).get_mut(&House::month()).unwrap().took = SignedDuration::from_secs(43);
        assert_eq!(house.refreshed(214, SIZE + 1), 0);
        assert_eq!(house.asked(429, SIZE, MACHINES_MIN), 1);
        assert_eq!(house.refreshed(429, SIZE + 1), 1);
        assert_eq!(house.asked(430, SIZE, MACHINES_MIN), 101);
    }
}
