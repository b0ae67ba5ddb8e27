//! Hashes and sets of days as a bundle writes them. Invariant: one spelling a value.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::calendar::{Day, Period};
use crate::merkle::Hash;

/// Bytes of a pseudonym: 192 bits, so that nobody finds two machines with the same one.
pub const PSEUDONYM_LENGTH: usize = 24;

/// A text that is not what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not {1}")]
pub struct MarkError(String, &'static str);

macro_rules! mark {
    ($(#[$doc:meta])* $name:ident, $bytes:ty, $coding:expr, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub $bytes);

        impl FromStr for $name {
            type Err = MarkError;

            fn from_str(text: &str) -> Result<Self, MarkError> {
                let bytes = $coding.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.map(Self).ok_or_else(|| MarkError(text.chars().take(80).collect(), $kind))
            }
        }

        impl TryFrom<String> for $name {
            type Error = MarkError;

            fn try_from(text: String) -> Result<Self, MarkError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(mark: $name) -> String {
                $coding.encode(mark.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$coding.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

mark!(
    /// 32 bytes in base64: a hash or a public key.
    HashText, Hash, STANDARD, "32 bytes in base64"
);
mark!(
    /// What a machine is called in one section of one bundle.
    Pseudonym, [u8; PSEUDONYM_LENGTH], URL_SAFE_NO_PAD, "a pseudonym"
);

/// Days of a month as bits, the first day lowest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DaySet(u32);

impl DaySet {
    /// These days; those of other months are left out.
    pub fn of(period: Period, days: impl IntoIterator<Item = Day>) -> Self {
        let mut set = Self::default();
        days.into_iter().for_each(|day| set.insert(period, day));
        set
    }

    /// Adds a day of the month.
    pub fn insert(&mut self, period: Period, day: Day) {
        if period.contains(day) {
            self.0 |= 1 << (day.days_since(period.first_day()));
        }
    }

    /// Whether the day is among them.
    pub fn contains(self, period: Period, day: Day) -> bool {
        period.contains(day) && self.0 >> day.days_since(period.first_day()) & 1 == 1
    }

    /// The days, in order.
    pub fn days(self, period: Period) -> impl Iterator<Item = Day> {
        let first = period.first_day();
        (0..32).filter(move |bit| self.0 >> bit & 1 == 1).map(move |bit| first.plus(bit))
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in either.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in the other.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_days_holds_the_days_of_its_month_only() {
        let period: Period = "2026-10".parse().unwrap();
        let first = period.first_day();
        let set = DaySet::of(period, [first, first.plus(30), first.plus(31), first.plus(-1)]);
        assert_eq!(set.count(), 2);
        assert_eq!(set.days(period).collect::<Vec<_>>(), [first, first.plus(30)]);
        assert!(set.contains(period, first) && !set.contains(period, first.plus(1)));
        assert!(!set.contains(period, first.plus(31)) && !set.contains(period, first.plus(-1)));
        assert_eq!(serde_json::to_string(&set).unwrap(), "1073741825");
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = HashText([250; 32]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let text = hash.to_string();
        assert!(text.trim_end_matches('=').parse::<HashText>().is_err());
        assert!(text.replace('+', "-").parse::<HashText>().is_err() || !text.contains('+'));
        assert!("".parse::<Pseudonym>().is_err());
    }
}
