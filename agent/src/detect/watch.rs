//! When to look at the machine, and how closely. Invariant: pure; a nudge only brings the next look nearer, so that
//! one that was lost, or a queue that overflowed, costs time and never a change: each look compares the stamps.

use std::time::Duration;

/// Everything is looked at this often, whatever the stamps say: a stamp can miss a change (a number of a process
/// given again, a file changed within the clock's grain).
pub const EVERYTHING_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The vendor's programs are asked this often although nothing moved: being activated or switched off in the vendor's
/// console moves no file. An hour is finer than a report (6 h) and a billed day; each answer costs the vendor's agent
/// some tens of milliseconds.
pub const VOICES_INTERVAL: Duration = Duration::from_secs(3600);

/// From a nudge to the look: a package manager writes for a while, and one look is to see all of it.
pub const DEBOUNCE: Duration = Duration::from_secs(20);

/// From one look to another one that a nudge caused: who writes all the time does not make us look all the time.
pub const LOOKS_APART: Duration = Duration::from_secs(60);

/// How closely the next look is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At every source.
    Everything,
    /// At the stamps; at every source when one moved.
    Changes,
    /// As [`Look::Changes`], and the vendor's programs are asked although nothing moved.
    ChangesAndVoices,
}

/// What is remembered from look to look. Instants are uptimes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    everything_wanted: bool,
    nudge_due: Option<Duration>,
    began: Option<Duration>,
    everything_at: Option<Duration>,
    voices_at: Option<Duration>,
}

impl Default for Watch {
    /// Nothing was seen yet, so everything is wanted.
    fn default() -> Self {
        Self { everything_wanted: true, nudge_due: None, began: None, everything_at: None, voices_at: None }
    }
}

impl Watch {
    /// The next look is to be at everything: somebody asked, or the last one failed.
    pub fn want_everything(&mut self) {
        self.everything_wanted = true;
    }

    /// Something may have moved.
    pub fn nudged(&mut self, now: Duration) {
        let apart = self.began.map_or(Duration::ZERO, |began| began + LOOKS_APART);
        self.nudge_due.get_or_insert((now + DEBOUNCE).max(apart));
    }

    /// When a nudge asks for a look; `None`: nobody nudged since the last one began.
    pub fn due(&self) -> Option<Duration> {
        self.nudge_due
    }

    /// A look begins: how closely. What comes from now on asks for the one after.
    pub fn begin(&mut self, now: Duration) -> Look {
        let over = |at: Option<Duration>, interval| at.is_none_or(|at| at + interval <= now);
        let look = if self.everything_wanted || over(self.everything_at, EVERYTHING_INTERVAL) {
            self.everything_at = Some(now);
            self.voices_at = Some(now);
            Look::Everything
        } else if over(self.voices_at, VOICES_INTERVAL) {
            self.voices_at = Some(now);
            Look::ChangesAndVoices
        } else {
            Look::Changes
        };
        (self.everything_wanted, self.nudge_due, self.began) = (false, None, Some(now));
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Looks every 15 minutes from 0 on; answers each look.
    fn looks(watch: &mut Watch, count: u64) -> Vec<Look> {
        (0..count).map(|step| watch.begin(s(step * 900))).collect()
    }

    #[test]
    fn everything_is_looked_at_first_and_once_a_day_and_the_vendor_is_asked_once_an_hour() {
        let seen = looks(&mut Watch::default(), 3 * 96);
        let times = |wanted: Look| seen.iter().filter(|look| **look == wanted).count();
        assert_eq!(times(Look::Everything), 3);
        assert_eq!(times(Look::ChangesAndVoices), 3 * 23);
        assert_eq!((seen[0], seen[96], seen[1], seen[4]), {
            (Look::Everything, Look::Everything, Look::Changes, Look::ChangesAndVoices)
        });
    }

    #[test]
    fn who_asks_gets_everything_once_and_an_asking_during_a_look_asks_for_the_next() {
        let mut watch = Watch::default();
        assert_eq!(watch.begin(s(0)), Look::Everything);
        watch.want_everything();
        assert_eq!(watch.begin(s(1)), Look::Everything);
        assert_eq!(watch.begin(s(2)), Look::Changes);
    }

    #[test]
    fn many_nudges_are_one_look_after_the_debounce() {
        let mut watch = Watch::default();
        watch.begin(s(0));
        assert_eq!(watch.due(), None);
        for second in 100..115 {
            watch.nudged(s(second));
        }
        assert_eq!(watch.due(), Some(s(100) + DEBOUNCE));
        assert_eq!(watch.begin(s(120)), Look::Changes);
        assert_eq!(watch.due(), None);
    }

    #[test]
    fn who_writes_all_the_time_causes_a_look_a_minute_at_most() {
        let mut watch = Watch::default();
        let mut looks = 0;
        for second in 0..600 {
            watch.nudged(s(second));
            if watch.due().is_some_and(|due| due <= s(second)) {
                watch.begin(s(second));
                looks += 1;
            }
        }
        assert!((8..=10).contains(&looks), "{looks}");
    }
}
