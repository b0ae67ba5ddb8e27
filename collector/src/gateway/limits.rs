//! What the agent door lets through, each limit with its reason. Invariant: nothing at this door grows with what a
//! stranger sends; who comes too fast is refused and loses nothing that was acknowledged.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How long the door waits for those who say nothing.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long a TLS handshake may take: a slow line needs two seconds, a silent stranger gets no more than this.
    pub handshake: Duration,
    /// How long a connection without a known machine's key may stay: enrolling takes a second, a probe less.
    pub stranger: Duration,
    /// How long a new stream may keep its Hello to itself.
    pub hello: Duration,
    /// How long a stream is quiet before its agent may stand by: longer than all agents take to be sent a catalogue.
    pub quiet: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { handshake: seconds(10), stranger: seconds(60), hello: seconds(10), quiet: seconds(180) }
    }
}

/// Handshakes under way at once. One costs a fraction of a millisecond of computing and some 40 KiB; the kernel's
/// queue holds those who wait.
pub const HANDSHAKES_MAX: usize = 1024;

/// Of them from one address, so that a single stranger who says nothing does not keep all others out.
pub const HANDSHAKES_OF_ADDRESS_MAX: usize = 128;

/// Connections at once; each holds a file descriptor and some tens of KiB. Lowered to what the process may open.
pub const CONNECTIONS_MAX: usize = 50_000;

/// Connections of one machine: its link, one that broke unnoticed, and clones of it that have yet to be told apart.
pub const CONNECTIONS_OF_MACHINE_MAX: usize = 8;

/// File descriptors left for the stores, the operator door and whatever else the process opens.
pub const DESCRIPTORS_KEPT: usize = 192;

/// Streams of one connection: an agent has one link, a probe and an enrolment beside it.
pub const STREAMS_MAX: u32 = 4;

/// How long an agent may leave unread what it is sent; it connects anew when it listens again.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Messages that wait for an agent to read them.
pub const DOWN_QUEUE: usize = 16;

/// Between two machines that are called from standby at once: a thousand a second, as many as a core takes in.
pub const CALL_PAUSE: Duration = Duration::from_millis(1);

/// Bytes of the HTTP/2 header list: the calls here carry a handful of short headers.
pub const HEADERS_LENGTH_MAX: u32 = 8 * 1024;

/// Bytes an agent may send ahead on one stream: two of the largest messages.
pub const STREAM_WINDOW: u32 = 2 * seatbeat_proto::wire::MESSAGE_LENGTH_MAX as u32;

/// How long a connection may be silent before it is asked whether it still stands; a beat comes every minute.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(120);

/// How long the answer to that may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Links of one chain that are written together: a machine that was away a month has some 150.
pub const GROUP_RECORDS_MAX: usize = 64;

/// Bytes of such a group; above one largest message, so that every message fits.
pub const GROUP_BYTES_MAX: usize = 512 * 1024;

/// Bytes of evidence that all streams together may have on their way to the journal; who finds no room in
/// [`ROOM_TIMEOUT`] is told to come again.
pub const EVIDENCE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long evidence waits for room.
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a comparison waits for the lookup rows to reach what is folded.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the door waits at its end for streams to say goodbye.
pub const GOODBYE_TIME: Duration = Duration::from_secs(10);

/// New connections of one address: the customer's whole site may sit behind it and come back at once, then each
/// agent some times an hour.
pub const ADDRESS_RATE: Rate = Rate { burst: 2048, interval: Duration::from_millis(50) };

/// Enrolments of one address: a roll-out over a site of a thousand machines, then two a second.
pub const ENROL_RATE: Rate = Rate { burst: 1024, interval: Duration::from_millis(500) };

/// Addresses remembered at once: some 6 MiB.
pub const ADDRESSES_MAX: usize = 65_536;

/// Evidence of one machine. An agent makes at most 200 reports of changes and 4 others a day; it keeps 62 days, and
/// all of them come again when a collector lost its disk: that is the burst. Twice a day's worth flows back in a day.
pub const EVIDENCE_RATE: Rate = Rate { burst: 62 * 204, interval: Duration::from_secs(24 * 3600 / 408) };

/// Beats of one stream, of which an agent says one a minute. Who says more is heard later, and nobody else for it.
pub const BEAT_RATE: Rate = Rate { burst: 500, interval: Duration::from_millis(4) };

/// Machines remembered at once; one that has not sent faster than it may is forgotten.
pub const MACHINES_MAX: usize = 1_000_000;

/// How fast something may come.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// How many at once after a long rest.
    pub burst: u32,
    /// Time in which one more may come.
    pub interval: Duration,
}

impl Rate {
    /// Takes one more, in time or not, and answers how long it is ahead of its time; `even_at` stands for all before.
    pub fn ahead(self, even_at: &mut Duration, now: Duration) -> Duration {
        *even_at = (*even_at).max(now) + self.interval;
        even_at.saturating_sub(now + self.interval * self.burst)
    }
}

/// A token bucket for each key; keys at rest take no room. Times count from the door's opening.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    keys_max: usize,
    /// When each key's bucket is full again.
    full_at: HashMap<K, Duration>,
    swept_at: Duration,
}

impl<K: Eq + Hash> Buckets<K> {
    /// Full buckets for up to `keys_max` keys.
    pub fn new(rate: Rate, keys_max: usize) -> Self {
        Self { rate, keys_max, full_at: HashMap::new(), swept_at: Duration::ZERO }
    }

    /// Whether one more may come now, which it then has. With all room taken, a key that is not known may not.
    pub fn take(&mut self, key: K, now: Duration) -> bool {
        if self.full_at.len() >= self.keys_max && !self.full_at.contains_key(&key) && !self.sweep(now) {
            return false;
        }
        let full_at = self.full_at.entry(key).or_insert(now);
        let mut then = *full_at;
        let is_in_time = self.rate.ahead(&mut then, now).is_zero();
        if is_in_time {
            *full_at = then;
        }
        is_in_time
    }

    /// Forgets whose bucket is full, once a second at most; whether there is room now.
    fn sweep(&mut self, now: Duration) -> bool {
        if now < self.swept_at + Duration::from_secs(1) {
            return false;
        }
        self.swept_at = now;
        self.full_at.retain(|_, full_at| *full_at > now);
        self.full_at.len() < self.keys_max
    }
}

/// What counts as one address: of IPv6 the network, because a single host has all of it.
pub fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whether an address is this machine's own: no limit for single addresses holds there, because a proxy on this
/// machine stands for everyone, and because who is here already can do worse.
pub fn is_own(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, interval: Duration::from_secs(10) };

    #[test]
    fn a_burst_passes_and_then_one_an_interval() {
        let mut buckets = Buckets::new(RATE, 10);
        let at = Duration::from_secs;
        let taken: Vec<bool> =
            [0, 0, 0, 0, 9, 10, 10, 19, 20].into_iter().map(|s| buckets.take("a", at(s))).collect();
        assert_eq!(taken, [true, true, true, false, false, true, false, false, true]);
        assert!(buckets.take("b", at(20)), "each key has a bucket of its own");
        let rested: Vec<bool> = (0..4).map(|_| buckets.take("a", at(1000))).collect();
        assert_eq!(rested, [true, true, true, false], "a rest gives the burst back and no more");
    }

    #[test]
    fn room_for_keys_is_bounded_and_comes_back_with_rest() {
        let mut buckets = Buckets::new(RATE, 2);
        let at = Duration::from_secs;
        assert!(buckets.take(1, at(5)) && buckets.take(2, at(5)));
        assert!(!buckets.take(3, at(6)), "both are still owing");
        assert!(buckets.take(1, at(6)), "who is known goes on");
        assert!(buckets.take(3, at(15)), "the second has just rested");
        assert!(buckets.full_at.len() <= 2);
    }

    #[test]
    fn who_talks_without_end_is_heard_at_the_rate_and_forgiven_in_time() {
        let (mut even_at, at) = (Duration::ZERO, Duration::from_secs);
        let waits: Vec<Duration> =
            [0, 0, 0, 0, 0, 25, 100].into_iter().map(|s| RATE.ahead(&mut even_at, at(s))).collect();
        assert_eq!(waits, [0, 0, 0, 10, 20, 5, 0].map(at));
    }

    #[test]
    fn a_lost_disk_brings_62_days_at_once() {
        let mut buckets = Buckets::new(EVIDENCE_RATE, 1);
        let day = Duration::from_secs(24 * 3600);
        assert!((0..62 * 204).all(|_| buckets.take("machine", Duration::ZERO)));
        assert!(!buckets.take("machine", Duration::ZERO));
        assert!((0..204).all(|_| buckets.take("machine", day)), "the next day flows as ever");
    }

    #[test]
    fn hosts_of_one_network_share_a_bucket() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.7"));
        assert_ne!(key("192.0.2.7"), key("192.0.2.8"));
    }
}
