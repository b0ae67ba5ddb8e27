//! How often somebody may try to sign in. Invariant: no limit counts tries at a name from everywhere, so nobody can
//! keep an owner out from elsewhere; who is on this machine is slowed down and never refused.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::signed::hash;

use crate::console::fault::Fault;
use crate::gateway::limits::{Buckets, Rate, address_key, is_own};

/// Tries at one name from one network: some typing errors, then two a minute.
const NAME_RATE: Rate = Rate { burst: 5, interval: Duration::from_secs(30) };

/// Tries of one network: an office that begins its day, then one in five seconds.
const ADDRESS_RATE: Rate = Rate { burst: 60, interval: Duration::from_secs(5) };

/// Refused tries at one operator that are put on record: enough to see it, too few to fill a disk.
const RECORD_RATE: Rate = Rate { burst: 3, interval: Duration::from_secs(20) };

/// Names and networks remembered at once: some megabytes.
const KEYS_MAX: usize = 65_536;

/// How long who is on this machine waits for each try beyond the limit.
const SLOWED: Duration = Duration::from_secs(1);

/// See the module's text.
pub struct Throttle {
    names: Buckets<([u8; 32], IpAddr)>,
    addresses: Buckets<IpAddr>,
    records: Buckets<OperatorId>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            names: Buckets::new(NAME_RATE, KEYS_MAX),
            addresses: Buckets::new(ADDRESS_RATE, KEYS_MAX),
            records: Buckets::new(RECORD_RATE, KEYS_MAX),
        }
    }
}

impl Throttle {
    /// Whether there may be a try at a name, and how long it has to wait; `now` counts from the start.
    ///
    /// # Errors
    /// When there were too many.
    pub fn at_name(&mut self, name: &str, from: Option<IpAddr>, now: Duration) -> Result<Duration, Fault> {
        // Of a name that is long or strange, no more is kept than of any other.
        let key = (hash(name.as_bytes()), network(from));
        // First: a network that is refused takes up no room for names.
        let passed = self.at_address(from, now)?;
        decided(self.names.take(key, now), from, NAME_RATE).map(|slowed| slowed.max(passed))
    }

    /// Whether there may be a try from an address, and how long it has to wait.
    ///
    /// # Errors
    /// When there were too many.
    pub fn at_address(&mut self, from: Option<IpAddr>, now: Duration) -> Result<Duration, Fault> {
        decided(self.addresses.take(network(from), now), from, ADDRESS_RATE)
    }

    /// Whether a refused try is put on record.
    pub fn is_recorded(&mut self, operator: &OperatorId, now: Duration) -> bool {
        self.records.take(operator.clone(), now)
    }
}

fn network(from: Option<IpAddr>) -> IpAddr {
    address_key(from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

fn decided(taken: bool, from: Option<IpAddr>, rate: Rate) -> Result<Duration, Fault> {
    match taken {
        true => Ok(Duration::ZERO),
        false if from.is_some_and(is_own) => Ok(SLOWED),
        false => Err(Fault::TooOften { wait_s: rate.interval.as_secs() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn who_guesses_is_refused_and_the_owner_comes_in_from_elsewhere() {
        let mut throttle = Throttle::default();
        let tries = |throttle: &mut Throttle, address: &str, second| {
            throttle.at_name("tess", from(address), Duration::from_secs(second)).is_ok()
        };
        assert!((0..5).all(|_| tries(&mut throttle, "192.0.2.1", 0)));
        assert!(!tries(&mut throttle, "192.0.2.1", 29));
        assert!(tries(&mut throttle, "192.0.2.2", 29), "the owner");
        assert!(tries(&mut throttle, "192.0.2.1", 30), "later again");
        assert!((0..5).all(|_| tries(&mut throttle, "2001:db8::1", 0)));
        assert!(!tries(&mut throttle, "2001:db8::2", 0), "a network is one address");
    }

    #[test]
    fn names_that_are_tried_in_turn_count_for_their_address() {
        let mut throttle = Throttle::default();
        let tries = |number: u32| format!("name{number}");
        let mut at = |number| throttle.at_name(&tries(number), from("192.0.2.1"), Duration::ZERO);
        assert!((0..60).all(|number| at(number).is_ok()));
        assert!(matches!(at(60), Err(Fault::TooOften { wait_s: 5 })));
    }

    #[test]
    fn one_network_that_tries_ever_other_names_keeps_nobody_out() {
        let mut throttle = Throttle::default();
        let mut at = |name: &str, address| throttle.at_name(name, from(address), Duration::ZERO).is_ok();
        let tried = (0..2 * KEYS_MAX).filter(|number| at(&format!("name{number}"), "192.0.2.1")).count();
        assert_eq!(tried, 60);
        assert!(at("tess", "198.51.100.1"), "the owner");
    }

    #[test]
    fn who_is_here_is_slowed_down_and_never_refused() {
        let mut throttle = Throttle::default();
        let waits: Vec<Duration> =
            (0..100).map(|_| throttle.at_name("tess", from("::1"), Duration::ZERO).unwrap()).collect();
        assert_eq!((waits[4], waits[5], waits[99]), (Duration::ZERO, SLOWED, SLOWED));
    }

    #[test]
    fn few_of_the_refused_tries_are_put_on_record() {
        let mut throttle = Throttle::default();
        let operator: OperatorId = "opr_a".parse().unwrap();
        let recorded = (0..100).filter(|_| throttle.is_recorded(&operator, Duration::ZERO)).count();
        assert_eq!(recorded, 3);
    }
}
