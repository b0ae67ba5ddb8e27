//! Chance that a seed decides. Invariant: pure; the same seed gives the same numbers on every machine and in every
//! version, since the simulated machines' keys and reports hang on them.

use seatbeat_proto::signed::hash;

/// SplitMix64: small, and good enough for who is late by how much.
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// The chance that belongs to a number.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent branch, the same for the same name.
    pub fn branch(&self, name: &str) -> Self {
        let digest = hash(&[self.0.to_be_bytes().as_slice(), name.as_bytes()].concat());
        Self(u64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default()))
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to but without `limit`; 0 where there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next_number().checked_rem(limit).unwrap_or_default()
    }

    /// Bytes, for keys and hashed facts of machines that only tests and demonstrations know.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let number = self.next_number().to_be_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_branches_differ() {
        let mut one = Seed::new(7);
        assert_eq!(one.next_number(), Seed::new(7).next_number());
        assert_ne!(one.next_number(), Seed::new(8).next_number());
        assert_ne!(Seed::new(7).branch("a").bytes::<32>(), Seed::new(7).branch("b").bytes::<32>());
        assert_eq!(Seed::new(7).branch("a").bytes::<20>(), Seed::new(7).branch("a").bytes::<20>());
        assert!((0..100).all(|_| one.below(10) < 10));
        assert_eq!(one.below(0), 0);
    }
}
