//! A set of days as bits. Invariant: no word at either end is empty, so equal sets are equal values.

use serde::{Deserialize, Serialize};

use crate::calendar::Day;

const BITS: i32 = u32::BITS as i32;

/// Room is made for half a year at a time: a machine reports on most days.
const GROWTH: usize = 6;

/// A set of days.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayBits {
    /// Of the first word; its days begin at 32 times this.
    start: i32,
    words: Vec<u32>,
}

/// The word of a day and its bit there.
fn place(day: Day) -> (i32, u32) {
    let number = day.number();
    (number.div_euclid(BITS), 1 << number.rem_euclid(BITS))
}

impl DayBits {
    fn word(&self, number: i32) -> u32 {
        usize::try_from(i64::from(number) - i64::from(self.start))
            .ok()
            .and_then(|at| self.words.get(at))
            .copied()
            .unwrap_or(0)
    }

    /// Whether the day is in it.
    pub fn contains(&self, day: Day) -> bool {
        let (word, bit) = place(day);
        self.word(word) & bit != 0
    }

    /// Puts a day in; whether it was not there before.
    pub fn insert(&mut self, day: Day) -> bool {
        let (word, bit) = place(day);
        if self.words.is_empty() {
            self.start = word;
        }
        if word < self.start {
            let missing = (self.start - word) as usize;
            self.words.splice(0..0, std::iter::repeat_n(0, missing));
            self.start = word;
        }
        let at = (word - self.start) as usize;
        if at >= self.words.len() {
            if at >= self.words.capacity() {
                self.words.reserve_exact(at + 1 - self.words.len() + if at == 0 { 0 } else { GROWTH });
            }
            self.words.resize(at + 1, 0);
        }
        let is_new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        is_new
    }

    /// Takes a day out.
    pub fn remove(&mut self, day: Day) {
        if !self.contains(day) {
            return;
        }
        let (word, bit) = place(day);
        self.words[(word - self.start) as usize] &= !bit;
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
        let empty = self.words.iter().take_while(|word| **word == 0).count();
        self.words.drain(..empty);
        self.start = if self.words.is_empty() { 0 } else { self.start + empty as i32 };
    }

    /// How many days of it lie before this one.
    pub fn before(&self, day: Day) -> usize {
        let (word, bit) = place(day);
        let whole = (i64::from(word) - i64::from(self.start)).clamp(0, self.words.len() as i64) as usize;
        let ones: u32 = self.words[..whole].iter().map(|word| word.count_ones()).sum();
        (ones + (self.word(word) & (bit - 1)).count_ones()) as usize
    }

    /// How many days there are.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The first day.
    pub fn first(&self) -> Option<Day> {
        let word = self.words.first()?;
        Some(Day::numbered(self.start * BITS + word.trailing_zeros() as i32))
    }

    /// The latest day before this one.
    pub fn last_before(&self, day: Day) -> Option<Day> {
        let (word, bit) = place(day);
        let last = |number: i32, word: u32| {
            (word != 0).then(|| Day::numbered(number * BITS + 31 - word.leading_zeros() as i32))
        };
        if let Some(found) = last(word, self.word(word) & (bit - 1)) {
            return Some(found);
        }
        let whole = (i64::from(word) - i64::from(self.start)).clamp(0, self.words.len() as i64) as usize;
        self.words[..whole]
            .iter()
            .enumerate()
            .rev()
            .find_map(|(at, word)| last(self.start + at as i32, *word))
    }

    /// The days from `first` on, up to 32 of them, as bits from the lowest.
    pub fn from(&self, first: Day) -> u32 {
        let (word, bit) = place(first);
        let shift = bit.trailing_zeros();
        let both = u64::from(self.word(word)) | u64::from(self.word(word.saturating_add(1))) << 32;
        (both >> shift) as u32
    }

    /// All days, in order.
    pub fn iter(&self) -> impl Iterator<Item = Day> + '_ {
        self.words.iter().enumerate().flat_map(move |(at, word)| {
            let start = (self.start + at as i32) * BITS;
            let is_set = move |bit: &i32| word >> bit & 1 == 1;
            (0..BITS).filter(is_set).map(move |bit| Day::numbered(start + bit))
        })
    }

    /// The days from `first` to before `end`, in order.
    pub fn range(&self, first: Day, end: Day) -> impl DoubleEndedIterator<Item = Day> + '_ {
        let (from, to) = match (self.first(), self.words.len()) {
            (Some(own), length) => {
                let own_end = (self.start + length as i32) * BITS;
                (first.number().max(own.number()), end.number().min(own_end))
            }
            (None, _) => (0, 0),
        };
        (from..to.max(from)).map(Day::numbered).filter(|day| self.contains(*day))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn they_are_what_an_ordinary_set_of_days_is() {
        let mut state = 1u64;
        let mut next = |below: i32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) as i32) % below
        };
        for _ in 0..300 {
            let (mut bits, mut set) = (DayBits::default(), BTreeSet::new());
            for _ in 0..40 {
                let day = Day::numbered(next(300) - 150);
                if next(3) == 0 {
                    bits.remove(day);
                    set.remove(&day);
                } else {
                    assert_eq!(bits.insert(day), set.insert(day));
                }
            }
            let mut anew = DayBits::default();
            set.iter().rev().for_each(|day| _ = anew.insert(*day));
            assert_eq!(bits, anew);
            assert!(bits.iter().eq(set.iter().copied()) && bits.count() == set.len());
            assert_eq!(bits.first(), set.first().copied());
            for number in -170..170 {
                let day = Day::numbered(number);
                assert_eq!(bits.contains(day), set.contains(&day));
                assert_eq!(bits.before(day), set.range(..day).count());
                assert_eq!(bits.last_before(day), set.range(..day).next_back().copied());
                let expected = (0..32).filter(|away| set.contains(&day.plus(*away))).map(|away| 1u32 << away);
                assert_eq!(bits.from(day), expected.sum::<u32>());
                let end = day.plus(31);
                assert!(bits.range(day, end).eq(set.range(day..end).copied()));
                assert!(bits.range(day, end).rev().eq(set.range(day..end).rev().copied()));
            }
        }
    }
}
