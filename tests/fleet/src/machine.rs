//! One simulated machine: its key, what it shows over time, and the chain of signed evidence it writes.
//! Invariant: pure; a seed, a timeline and the instants asked for decide every byte of the chain, and the chain has
//! no gaps.

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::signed::{self, Domain};
use seatbeat_proto::{instant, wire};

use crate::seed::Seed;

/// A report is due this long after the one before it: as an agent's default.
pub const REPORT_INTERVAL: SignedDuration = SignedDuration::from_hours(6);

/// What a machine shows to its agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// It is on; these products are found (none: it has none).
    Shows(Arc<[wire::FoundProduct]>),
    /// It is off, or cut off.
    Silent,
}

/// What a machine shows, from which instant on. Before the first instant it is silent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline(BTreeMap<Timestamp, Condition>);

impl Timeline {
    /// One condition from an instant on.
    pub fn from(at: Timestamp, condition: Condition) -> Self {
        Self(BTreeMap::from([(at, condition)]))
    }

    /// The same, and another condition from a later instant on.
    #[must_use]
    pub fn then(mut self, at: Timestamp, condition: Condition) -> Self {
        self.0.insert(at, condition);
        self
    }

    fn at(&self, at: Timestamp) -> &Condition {
        self.0.range(..=at).next_back().map_or(&Condition::Silent, |(_, condition)| condition)
    }

    fn change_after(&self, at: Timestamp) -> Option<Timestamp> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.0.range((Excluded(at), Unbounded)).next().map(|(at, _)| *at)
    }
}

/// The newest link of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its place, from 1.
    pub sequence: u64,
    /// SHA-256 of its payload.
    pub hash: [u8; 32],
}

/// A signed link and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Where it stands.
    pub tip: Tip,
    /// When it was observed.
    pub observed_at: Timestamp,
    /// The bytes that travel.
    pub signed: wire::Signed,
}

/// A simulated machine.
#[derive(Debug, Clone)]
pub struct Machine {
    name: String,
    key: SigningKey,
    facts: wire::Facts,
    timeline: Timeline,
    clock_noise: SignedDuration,
    seed: Seed,
    spool: SpoolId,
    tip: Option<Tip>,
    last: Option<(Timestamp, Arc<[wire::FoundProduct]>)>,
    order_keys_revision: u64,
}

impl Machine {
    /// A machine of this name; the seed decides its key, its facts and when in the hour it reports.
    pub fn new(name: &str, seed: &Seed, timeline: Timeline) -> Self {
        let mut seed = seed.branch(name);
        let key = SigningKey::from_bytes(&seed.bytes());
        let facts = facts(&mut seed);
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let spool = SpoolId::derived_from(&[key.as_bytes().as_slice(), version].concat());
        Self {
            name: name.to_owned(),
            key,
            facts,
            timeline,
            clock_noise: SignedDuration::ZERO,
            seed,
            spool,
            tip: None,
            last: None,
            order_keys_revision: 0,
        }
    }

    /// The same machine, with an agent that takes the orders of these keys.
    #[must_use]
    pub fn trusting_orders(mut self, order_keys_revision: u64) -> Self {
        self.order_keys_revision = order_keys_revision;
        self
    }

    /// The same machine with a clock that is wrong by up to this much, another way each time.
    #[must_use]
    pub fn with_clock_noise(mut self, clock_noise: SignedDuration) -> Self {
        self.clock_noise = clock_noise;
        self
    }

    /// The same machine with another system (`linux`, `windows`, `macos`).
    #[must_use]
    pub fn with_os(mut self, os: &str) -> Self {
        os.clone_into(&mut self.facts.os);
        self
    }

    /// Its name in the plan, and as a host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, which its key decides.
    pub fn id(&self) -> MachineId {
        MachineId::derived_from(self.key.verifying_key().as_bytes())
    }

    /// The key it signs with.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Its hashed facts.
    pub fn facts(&self) -> &wire::Facts {
        &self.facts
    }

    /// The chain it writes.
    pub fn spool(&self) -> &SpoolId {
        &self.spool
    }

    /// The end of that chain.
    pub fn tip(&self) -> Option<Tip> {
        self.tip
    }

    /// Begins another chain, as an agent does that starts on an older image of its disk.
    pub fn open_spool(&mut self, spool: SpoolId) {
        self.spool = spool;
        self.tip = None;
        self.last = None;
    }

    /// What it tells when it asks to be let in, signed.
    pub fn claim(&self, token: &str, now: Timestamp) -> wire::Signed {
        let claim = wire::EnrolmentClaim {
            public_key: self.key.verifying_key().as_bytes().to_vec(),
            token: token.to_owned(),
            claimed_at_ms: instant::to_ms(now),
            facts: Some(self.facts.clone()),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        signed::sign(&self.key, Domain::EnrolmentClaim, claim.encode_to_vec())
    }

    /// Every report that was due up to `until` and has not been written yet.
    pub fn links_until(&mut self, until: Timestamp) -> Vec<Link> {
        let mut links = Vec::new();
        let mut after = self.last.as_ref().map(|(at, _)| *at);
        while let Some(due) = self.due_after(after).filter(|due| *due <= until) {
            after = Some(due);
            if let Some(link) = self.link_at(due) {
                links.push(link);
            }
        }
        links
    }

    /// A report of what it shows at `at`; none while it is silent.
    pub fn link_at(&mut self, at: Timestamp) -> Option<Link> {
        let Condition::Shows(products) = self.timeline.at(at).clone() else {
            return None;
        };
        let reason = match &self.last {
            None => wire::ReportReason::Start,
            Some((_, last)) if *last != products => wire::ReportReason::Change,
            Some(_) => wire::ReportReason::Periodic,
        };
        self.last = Some((at, Arc::clone(&products)));
        let noise = self.noise();
        let report = wire::Report {
            reason: reason.into(),
            products: products.to_vec(),
            facts: self.tip.is_none().then(|| self.facts.clone()),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            catalogue_version: crate::snapshot::catalogue().version,
            seal_key: (self.order_keys_revision > 0).then(|| wire::SealKey {
                public_key: Vec::new(),
                order_keys_revision: self.order_keys_revision,
            }),
        };
        Some(self.link(at.saturating_add(noise).unwrap_or(at), wire::evidence::Body::Report(report)))
    }

    /// The next link of the chain, whatever it says.
    pub fn link(&mut self, observed_at: Timestamp, body: wire::evidence::Body) -> Link {
        let evidence = wire::Evidence {
            machine: self.id().as_str().to_owned(),
            spool: self.spool.as_str().to_owned(),
            sequence: self.tip.map_or(1, |tip| tip.sequence + 1),
            previous: self.tip.map(|tip| tip.hash.to_vec()).unwrap_or_default(),
            observed_at_ms: instant::to_ms(observed_at),
            clock_offset_ms: 0,
            checkpoint: String::new(),
            body: Some(body),
        };
        let signed = signed::sign(&self.key, Domain::Evidence, evidence.encode_to_vec());
        let tip = Tip { sequence: evidence.sequence, hash: signed::hash(&signed.payload) };
        self.tip = Some(tip);
        Link { tip, observed_at, signed }
    }

    fn due_after(&self, after: Option<Timestamp>) -> Option<Timestamp> {
        let Some(after) = after else {
            return self.timeline.0.keys().next().copied();
        };
        let periodic = after.saturating_add(REPORT_INTERVAL).ok()?;
        Some(self.timeline.change_after(after).map_or(periodic, |change| change.min(periodic)))
    }

    fn noise(&mut self) -> SignedDuration {
        let most = u64::try_from(self.clock_noise.as_secs()).unwrap_or_default();
        let drawn = self.seed.below(2 * most + 1);
        SignedDuration::from_secs(i64::try_from(drawn).unwrap_or_default() - self.clock_noise.as_secs())
    }
}

fn facts(seed: &mut Seed) -> wire::Facts {
    let mut fact = || seed.bytes::<16>().to_vec();
    wire::Facts {
        smbios_uuid: fact(),
        system_serial: fact(),
        board_serial: fact(),
        disk_serial: fact(),
        macs: vec![fact()],
        os_id: fact(),
        host_name: fact(),
        os: "windows".to_owned(),
        pool: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + day * 86_400).unwrap()
    }

    fn shows(product: &str) -> Condition {
        let found = wire::FoundProduct {
            product: product.to_owned(),
            state: wire::ProductState::Active.into(),
            ..Default::default()
        };
        Condition::Shows(Arc::from([found]))
    }

    fn evidence(link: &Link) -> wire::Evidence {
        wire::Evidence::decode(link.signed.payload.as_slice()).unwrap()
    }

    #[test]
    fn the_same_seed_writes_the_same_bytes_however_it_is_asked() {
        let timeline = Timeline::from(day(0), shows("a")).then(day(3), shows("b"));
        let make = || {
            Machine::new("desk", &Seed::new(1), timeline.clone())
                .with_clock_noise(SignedDuration::from_mins(5))
        };
        let at_once = make().links_until(day(6));
        let mut machine = make();
        let in_parts: Vec<Link> = (0..=6).flat_map(|until| machine.links_until(day(until))).collect();
        assert_eq!(at_once, in_parts);
        assert!(at_once.len() >= 24);
    }

    #[test]
    fn a_chain_has_no_gaps_and_each_link_names_the_one_before() {
        let mut machine = Machine::new("desk", &Seed::new(1), Timeline::from(day(0), shows("a")));
        let links = machine.links_until(day(2));
        assert_eq!(links.len(), 9);
        let mut previous = Vec::new();
        for (number, link) in (1..).zip(&links) {
            let said = evidence(link);
            assert_eq!((said.sequence, said.previous), (number, previous));
            assert!(signed::verify(&machine.key().verifying_key(), Domain::Evidence, &link.signed).is_ok());
            previous = link.tip.hash.to_vec();
        }
    }

    #[test]
    fn silence_leaves_reports_out_and_a_change_makes_one_at_once() {
        let timeline = Timeline::from(day(0), shows("a"))
            .then(day(1), Condition::Silent)
            .then(day(4), shows("a"))
            .then(day(5) + SignedDuration::from_mins(7), shows("b"));
        let links = Machine::new("laptop", &Seed::new(2), timeline).links_until(day(6));
        let at: Vec<Timestamp> = links.iter().map(|link| link.observed_at).collect();
        assert!(at.iter().all(|at| *at < day(1) || *at >= day(4)), "{at:?}");
        assert!(at.contains(&(day(5) + SignedDuration::from_mins(7))));
    }

    #[test]
    fn facts_are_told_with_the_first_report_of_a_chain() {
        let mut machine = Machine::new("desk", &Seed::new(1), Timeline::from(day(0), shows("a")));
        let told = |link: &Link| match evidence(link).body {
            Some(wire::evidence::Body::Report(report)) => report.facts.is_some(),
            _ => false,
        };
        let first: Vec<bool> = machine.links_until(day(1)).iter().map(told).collect();
        assert_eq!(first, [true, false, false, false, false]);
        machine.open_spool(SpoolId::random());
        assert!(told(&machine.link_at(day(1)).unwrap()));
        assert_eq!(machine.tip().unwrap().sequence, 1);
    }
}
