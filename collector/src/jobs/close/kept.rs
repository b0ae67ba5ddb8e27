//! Months that were drafted, counted or forecast lately: to make a draft of a large house anew takes seconds. Invariant: what
//! anybody decided is in each draft and forecast that is given out behind it; what machines sent meanwhile is missing for
//! [`AGE_MAX`] at most, and never in a house of fewer than [`MACHINES_MIN`] machines.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::forecast::Forecast;
use seatbeat_ledger::month_to_date::MonthToDate;

use super::Draft;

/// Houses with fewer get each draft and forecast made anew: it takes some milliseconds there.
const MACHINES_MIN: usize = 5_000;

/// How old a draft or a forecast can be that is given out.
const AGE_MAX: SignedDuration = SignedDuration::from_secs(120);

/// A draft that nobody asked for in so long is let go.
const ASKED_AGO_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Months that are kept: the running one and two that wait to be sealed.
const MONTHS_MAX: usize = 3;

/// See the module's text.
#[derive(Default)]
pub struct Kept {
    drafts: Mutex<BTreeMap<Period, KeptDraft>>,
    forecast: Mutex<Option<KeptForecast>>,
    counted: Mutex<BTreeMap<Period, MonthToDate>>,
    /// One at a time: each goes through the whole fleet.
    making: Mutex<()>,
}

struct KeptDraft {
    draft: Arc<Draft>,
    made_at: Timestamp,
    asked_at: Timestamp,
}

struct KeptForecast {
    forecast: Forecast,
    /// Records that are in it, at least.
    size: u64,
}

/// What a draft or a forecast has to be to be given out.
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
    /// Whether what was made at some time, of so many records, can be given out.
    fn takes(&self, made_at: Timestamp, size: u64) -> bool {
        let age = self.now.duration_since(made_at);
        let is_young = !age.is_negative() && age < AGE_MAX;
        is_young && size >= self.size_min && self.machines >= MACHINES_MIN
    }
}

impl Kept {
    /// The forecast of a month: the one that is kept, or else one that is made, of so many records, and kept. Blocks
    /// while it is made, whoever else asks, too: none is made twice.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn forecast<E>(
        &self,
        period: Period,
        wanted: Wanted,
        make: impl FnOnce() -> Result<(Forecast, u64), E>,
    ) -> Result<Forecast, E> {
        let mut kept = lock(&self.forecast);
        let is_good = |kept: &&KeptForecast| {
            kept.forecast.period == period && wanted.takes(kept.forecast.as_of, kept.size)
        };
        if let Some(kept) = kept.as_ref().filter(is_good) {
            return Ok(kept.forecast.clone());
        }
        let (forecast, size) = make()?;
        Ok(kept.insert(KeptForecast { forecast, size }).forecast.clone())
    }

    /// The draft of a month: one that is kept, or else one that is made and kept. Blocks while it is made.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn draft<E>(
        &self,
        period: Period,
        wanted: Wanted,
        make: impl FnOnce() -> Result<Arc<Draft>, E>,
    ) -> Result<Arc<Draft>, E> {
        if let Some(draft) = self.good(period, wanted) {
            return Ok(draft);
        }
        let _one_at_a_time = self.making();
        // Somebody else may have made it meanwhile.
        if let Some(draft) = self.good(period, wanted) {
            return Ok(draft);
        }
        let draft = make()?;
        self.keep(period, &draft, wanted);
        Ok(draft)
    }

    fn good(&self, period: Period, wanted: Wanted) -> Option<Arc<Draft>> {
        let mut drafts = lock(&self.drafts);
        let kept = drafts.get_mut(&period)?;
        if !wanted.takes(kept.made_at, kept.draft.journal_size()) {
            return None;
        }
        kept.asked_at = wanted.now;
        Some(Arc::clone(&kept.draft))
    }

    fn keep(&self, period: Period, draft: &Arc<Draft>, wanted: Wanted) {
        if wanted.machines < MACHINES_MIN {
            return;
        }
        let mut drafts = lock(&self.drafts);
        let asked_at = drafts.get(&period).map_or(wanted.now, |kept| kept.asked_at);
        drafts.insert(period, KeptDraft { draft: draft.clone(), made_at: wanted.now, asked_at });
        while drafts.len() > MONTHS_MAX {
            drafts.pop_first();
        }
    }

    /// Makes anew the drafts that somebody has asked for lately, and lets go of the others: the next question is
    /// answered at once. Blocks while they are made.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn refresh<E>(
        &self,
        wanted: Wanted,
        make: impl Fn(Period) -> Result<Arc<Draft>, E>,
    ) -> Result<(), E> {
        let now = wanted.now;
        let periods: Vec<Period> = {
            let mut drafts = lock(&self.drafts);
            drafts.retain(|_, kept| now.duration_since(kept.asked_at) < ASKED_AGO_MAX);
            let is_behind = |kept: &KeptDraft| kept.draft.journal_size() < wanted.size_min;
            drafts.iter().filter(|(_, kept)| is_behind(kept)).map(|(period, _)| *period).collect()
        };
        for period in periods {
            let _one_at_a_time = self.making();
            let draft = make(period)?;
            self.keep(period, &draft, wanted);
        }
        Ok(())
    }

    /// Waits until nobody goes through the whole fleet.
    pub fn making(&self) -> MutexGuard<'_, ()> {
        lock(&self.making)
    }

    /// The months that are counted. One computation at a time: it lasts as long as the guard.
    pub fn counted(&self) -> MutexGuard<'_, BTreeMap<Period, MonthToDate>> {
        let mut counted = lock(&self.counted);
        while counted.len() > MONTHS_MAX {
            counted.pop_first();
        }
        counted
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use crate::clock::Clock;
    use crate::found::found;

    const NOW: &str = "2026-10-15T12:00:00Z";

    fn at(seconds: i64) -> Timestamp {
        NOW.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
    }

    /// What is kept, and how often a draft was made for it.
    struct House {
        kept: Kept,
        draft: Arc<Draft>,
        made: usize,
    }

    impl House {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let clock = Clock::as_of(at(0));
            found(folder.path(), &Config::default(), "zone = \"UTC\"", clock).unwrap();
            let (books, _end) = Books::open(folder.path(), clock).unwrap();
            let closing = Closing::new(books, Config::default(), folder.path().join("statements"));
            let draft = closing.draft("2026-10".parse().unwrap(), 0).unwrap();
            Self { kept: Kept::default(), draft, made: 0 }
        }

        /// Asks, with a draft of so many records to be made; tells how many were made by then.
        fn asked(&mut self, now: i64, size_min: u64, machines: usize) -> usize {
            let wanted = Wanted { now: at(now), size_min, machines };
            let draft = self.kept.draft(self.draft.period, wanted, || {
                self.made += 1;
                Ok::<_, ()>(self.draft.clone())
            });
            assert_eq!(draft.unwrap().digest, self.draft.digest);
            self.made
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_large_houses_draft_is_kept_for_a_while_and_until_something_is_decided() {
        let mut house = House::new();
        let size = house.draft.journal_size();
        assert_eq!(house.asked(0, size, MACHINES_MIN), 1);
        assert_eq!(house.asked(119, size, MACHINES_MIN), 1);
        assert_eq!(house.asked(119, size + 1, MACHINES_MIN), 2, "something was decided behind it");
        assert_eq!(house.asked(238, size, MACHINES_MIN), 2);
        assert_eq!(house.asked(239, size, MACHINES_MIN), 3, "it is old");
        assert_eq!(house.asked(100, size, MACHINES_MIN), 4, "the clock was set back");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_large_houses_forecast_is_kept_as_its_drafts_are() {
        let house = House::new();
        let (period, size) = (house.draft.period, house.draft.journal_size());
        let asked = |now: i64, size_min: u64, machines: usize| {
            let wanted = Wanted { now: at(now), size_min, machines };
            let made = Forecast {
                period,
                as_of: at(now),
                days_begun: 15,
                days: 31,
                rests_on: String::new(),
                lines: Vec::new(),
                totals: Vec::new(),
            };
            house.kept.forecast(period, wanted, || Ok::<_, ()>((made, size_min))).unwrap().as_of
        };
        assert_eq!(asked(0, size, MACHINES_MIN), at(0));
        assert_eq!(asked(119, size, MACHINES_MIN), at(0));
        assert_eq!(asked(119, size + 1, MACHINES_MIN), at(119), "something was decided behind it");
        assert_eq!(asked(239, size, MACHINES_MIN), at(239), "it is old");
        assert_eq!(asked(240, size, MACHINES_MIN - 1), at(240), "a small house's is made anew");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_small_houses_draft_is_made_for_each_question() {
        let mut house = House::new();
        let size = house.draft.journal_size();
        assert_eq!((house.asked(0, size, 3), house.asked(0, size, MACHINES_MIN - 1)), (1, 2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_asked_for_is_made_anew_behind_the_scenes_and_let_go_when_nobody_asks() {
        let mut house = House::new();
        let size = house.draft.journal_size();
        house.asked(0, size, MACHINES_MIN);
        let refresh = |house: &House, now, size_min| {
            let made = std::cell::Cell::new(0);
            let wanted = Wanted { now: at(now), size_min, machines: MACHINES_MIN };
            let told = house.kept.refresh(wanted, |_| {
                made.set(made.get() + 1);
                Ok::<_, ()>(house.draft.clone())
            });
            told.unwrap();
            made.get()
        };
        assert_eq!(refresh(&house, 60, size), 0, "nothing came");
        assert_eq!(refresh(&house, 100, size + 1), 1);
        assert_eq!(house.asked(210, size, MACHINES_MIN), 1, "it is as young as its refreshing");
        assert_eq!(refresh(&house, 210 + 3600, size + 1), 0, "nobody has asked for an hour");
        assert!(lock(&house.kept.drafts).is_empty());
    }
}
