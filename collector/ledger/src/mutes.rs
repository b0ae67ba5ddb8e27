//! Alerts that nobody wants to be told of for a while. Invariant: each has an end and a reason; there are never more
//! than are looked through at every turn.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Alerts that are muted at once.
const MUTES_MAX: usize = 10_000;

/// Bytes of an alert's name.
const NAME_LENGTH_MAX: usize = 200;

/// An alert that is not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// From when on it is told again.
    pub until: Timestamp,
    /// Who wanted that.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
}

/// All of them, by the alert's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutes(BTreeMap<String, Mute>);

impl Mutes {
    /// Whether and why an alert is not told now.
    pub fn of(&self, alert: &str, now: Timestamp) -> Option<&Mute> {
        self.0.get(alert).filter(|mute| mute.until > now)
    }

    /// All that are in force.
    pub fn in_force(&self, now: Timestamp) -> impl Iterator<Item = (&str, &Mute)> {
        self.0.iter().filter(move |(_, mute)| mute.until > now).map(|(alert, mute)| (alert.as_str(), mute))
    }

    /// Sets one, or ends it where its time is over; whether that could be done.
    pub(crate) fn set(&mut self, alert: &str, mute: Mute, now: Timestamp) -> bool {
        self.0.retain(|_, mute| mute.until > now);
        if alert.is_empty() || alert.len() > NAME_LENGTH_MAX {
            return false;
        }
        if mute.until <= now {
            self.0.remove(alert);
            return true;
        }
        let has_room = self.0.len() < MUTES_MAX || self.0.contains_key(alert);
        if has_room {
            self.0.insert(alert.to_owned(), mute);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn until(seconds: i64) -> Mute {
        Mute { until: at(seconds), by: "opr_a".into(), reason: "known".into() }
    }

    #[test]
    fn an_alert_is_quiet_until_its_time_is_over_or_it_is_told_again() {
        let mut mutes = Mutes::default();
        assert!(mutes.set("disk", until(10), at(0)));
        assert!(mutes.of("disk", at(9)).is_some() && mutes.of("disk", at(10)).is_none());
        assert!(mutes.of("clock", at(0)).is_none());
        assert!(mutes.set("disk", until(1), at(1)));
        assert_eq!(mutes.in_force(at(1)).count(), 0);
        assert!(!mutes.set("", until(10), at(1)) && !mutes.set(&"x".repeat(201), until(10), at(1)));
    }

    #[test]
    fn there_are_never_too_many_and_those_that_are_over_make_room() {
        let mut mutes = Mutes::default();
        for number in 0..MUTES_MAX {
            assert!(mutes.set(&number.to_string(), until(10), at(0)));
        }
        assert!(!mutes.set("one more", until(10), at(0)));
        assert!(mutes.set("7", until(20), at(0)), "one of them lasts longer");
        assert!(mutes.set("one more", until(20), at(10)));
        assert_eq!(mutes.in_force(at(10)).count(), 2);
    }
}
