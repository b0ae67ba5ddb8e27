//! What goes wrong by chance around a connector in a test. Invariant: a function of its seed.

use seatbeat_standin::wrong::Wrong;

use super::call::SendError;
use super::connector::Answer;
use super::standin::{Loop, Mortal};

/// Tries until something that fails by chance has to have been done: what is told to go wrong has an end.
const TRIES_MAX: u32 = 200;

/// Chance, from a seed on (xorshift).
pub struct Chance(u64);

impl Chance {
    /// By this seed.
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    /// Once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// What goes wrong with the next request, if anything does.
    pub fn wrong(&mut self) -> Option<Wrong> {
        match self.below(10) {
            0 => Some(Wrong::LostBefore),
            1 => Some(Wrong::LostAfter),
            2 => Some(Wrong::Status { status: 500, retry_after_s: None }),
            3 => Some(Wrong::Status { status: 429, retry_after_s: Some(1) }),
            4 => Some(Wrong::Twice),
            5 => Some(Wrong::Torn),
            _ => None,
        }
    }

    /// Does something again and again, while things go wrong and whoever does it dies in one of its requests, until it
    /// is done; then once more.
    pub fn until_done(
        &mut self,
        far: &Loop,
        mortal: &Mortal,
        act: &mut dyn FnMut() -> Option<Result<Answer, SendError>>,
    ) -> Answer {
        let wrong: Vec<Option<Wrong>> = (0..self.below(30)).map(|_| self.wrong()).collect();
        far.with(|standin| standin.tell(wrong));
        for _ in 0..TRIES_MAX {
            mortal.dies_after(self.one_in(2).then(|| self.below(8)));
            match act() {
                Some(Ok(_)) => break,
                None | Some(Err(SendError::Again { .. })) => {}
                Some(Err(stop)) => panic!("{stop:?}"),
            }
        }
        mortal.dies_after(None);
        far.with(seatbeat_standin::Standin::heal);
        match act() {
            Some(Ok(answer)) => answer,
            other => panic!("nothing is wrong any more, and yet {other:?}"),
        }
    }
}
