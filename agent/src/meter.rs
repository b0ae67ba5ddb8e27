//! What was found, and what was reported last -> is a report due, and what does it say. Invariant: pure; the same
//! findings, memory and instant give the same evidence.

use std::time::Duration;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::{instant, wire};

use crate::chain::Chain;

/// Most reports a day (UTC) that a start, a change or a clock may cause. A product that flaps must not fill the
/// journal; beyond it the report at the end of the interval says what is so by then.
pub const UNSCHEDULED_PER_DAY_MAX: u32 = 200;

/// A correction of the clock beyond this makes a fresh report: the same margin within which a collector takes
/// a report from the future.
pub const CLOCK_STEP_MS_MAX: u64 = 10 * 60 * 1000;

/// Most products in a report; more than the catalogue has. The last in the order of their ids give way.
const PRODUCTS_MAX: usize = 200;

/// Longest version, signal or explanation in bytes.
const TEXT_LENGTH_MAX: usize = 200;

/// Longest body of a report in bytes, half of a message; signals give way, they are only explanation.
const BODY_LENGTH_MAX: usize = wire::MESSAGE_LENGTH_MAX / 2;

/// What is remembered of the reports in the current spool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// The newest report.
    pub last: Option<LastReport>,
    /// The facts that the spool's reports carry already.
    pub facts: Option<wire::Facts>,
    /// The seal key that the spool's reports carry already.
    pub seal_key: Option<wire::SealKey>,
    /// Reports of a UTC day (days since 1970) that were not periodic, and how many.
    pub unscheduled: (i64, u32),
}

/// The newest report of a spool.
#[derive(Debug, Clone, PartialEq)]
pub struct LastReport {
    /// When it was observed, corrected.
    pub observed_at: Timestamp,
    /// Why it was made.
    pub reason: wire::ReportReason,
    /// What it said.
    pub products: Vec<wire::FoundProduct>,
}

/// What asks for a report besides time and change. A wish stays until a report was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    /// The agent, or a new spool, has just started.
    pub start: bool,
    /// The collector asked.
    pub requested: bool,
    /// The clock was corrected by more than [`CLOCK_STEP_MS_MAX`].
    pub clock: bool,
    /// Another catalogue tells products apart.
    pub catalogue: bool,
    /// Secrets are to be sealed to another key, or somebody else's orders are taken.
    pub seal_key: bool,
}

impl Wishes {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.start || self.requested || self.clock || self.catalogue || self.seal_key
    }
}

/// What a piece of evidence is made of besides its place in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Corrected instant.
    pub observed_at: Timestamp,
    /// The correction it carries.
    pub clock_offset_ms: i64,
    /// Newest checkpoint seen; empty: none.
    pub checkpoint: String,
    /// Report or order result.
    pub body: wire::evidence::Body,
}

impl Memory {
    /// Whether, and why, a report of `products` is due at `now`, a corrected instant.
    pub fn due(
        &self,
        products: &[wire::FoundProduct],
        wishes: Wishes,
        interval: Duration,
        now: Timestamp,
    ) -> Option<wire::ReportReason> {
        let Some(last) = &self.last else { return Some(wire::ReportReason::Start) };
        if wishes.requested {
            return Some(wire::ReportReason::Requested);
        }
        let since = millis_between(last.observed_at, now);
        if since >= i64::try_from(interval.as_millis()).unwrap_or(i64::MAX) {
            return Some(wire::ReportReason::Periodic);
        }
        let set_back = since.is_negative() && since.unsigned_abs() > CLOCK_STEP_MS_MAX;
        let reason = if wishes.start {
            wire::ReportReason::Start
        } else if wishes.clock || set_back {
            wire::ReportReason::Clock
        } else if wishes.catalogue || wishes.seal_key || usage(&last.products).ne(usage(products)) {
            wire::ReportReason::Change
        } else {
            return None;
        };
        let (day, made) = self.unscheduled;
        (day != utc_day(now) || made < UNSCHEDULED_PER_DAY_MAX).then_some(reason)
    }

    /// How long from `now` until time alone asks for a report.
    pub fn wait(&self, interval: Duration, now: Timestamp) -> Duration {
        let Some(last) = &self.last else { return Duration::ZERO };
        let since = millis_between(last.observed_at, now).clamp(0, i64::MAX).unsigned_abs();
        interval.saturating_sub(Duration::from_millis(since))
    }

    /// Takes in evidence that is in the spool now, oldest first.
    pub fn enter(&mut self, evidence: &wire::Evidence) {
        let (Some(wire::evidence::Body::Report(report)), Ok(observed_at)) =
            (&evidence.body, instant::from_ms(evidence.observed_at_ms))
        else {
            return;
        };
        if !matches!(report.reason(), wire::ReportReason::Periodic | wire::ReportReason::Requested) {
            let today = utc_day(observed_at);
            let (day, made) = self.unscheduled;
            self.unscheduled = (today, if day == today { made + 1 } else { 1 });
        }
        if report.facts.is_some() {
            self.facts.clone_from(&report.facts);
        }
        if report.seal_key.is_some() {
            self.seal_key.clone_from(&report.seal_key);
        }
        self.last =
            Some(LastReport { observed_at, reason: report.reason(), products: report.products.clone() });
    }

    /// What is remembered at the start of a new spool: the day's count.
    pub fn in_new_spool(&self) -> Self {
        Self { unscheduled: self.unscheduled, ..Self::default() }
    }

    /// A seal key that the spool's reports do not carry yet.
    pub fn new_seal_key(&self, key: &wire::SealKey) -> Option<wire::SealKey> {
        (self.seal_key.as_ref() != Some(key)).then(|| key.clone())
    }

    /// The report of `products`; facts are left out when the spool has them already.
    pub fn report(
        &self,
        reason: wire::ReportReason,
        products: Vec<wire::FoundProduct>,
        facts: &wire::Facts,
        catalogue_version: u32,
    ) -> wire::Report {
        let mut report = wire::Report {
            reason: reason.into(),
            products,
            facts: (self.facts.as_ref() != Some(facts)).then(|| facts.clone()),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            catalogue_version,
            seal_key: None,
        };
        limit(&mut report);
        report
    }
}

/// The next evidence of a chain.
pub fn evidence(chain: &Chain, machine: &MachineId, observation: Observation) -> wire::Evidence {
    wire::Evidence {
        machine: machine.as_str().to_owned(),
        spool: chain.spool().as_str().to_owned(),
        sequence: chain.tip() + 1,
        previous: chain.tip_hash().map(|hash| hash.to_vec()).unwrap_or_default(),
        observed_at_ms: instant::to_ms(observation.observed_at),
        clock_offset_ms: observation.clock_offset_ms,
        checkpoint: observation.checkpoint,
        body: Some(observation.body),
    }
}

/// The same observation as a piece of `evidence` that its own chain cannot carry any more.
pub fn observation_of(evidence: wire::Evidence) -> Option<Observation> {
    Some(Observation {
        observed_at: instant::from_ms(evidence.observed_at_ms).ok()?,
        clock_offset_ms: evidence.clock_offset_ms,
        checkpoint: evidence.checkpoint,
        body: evidence.body?,
    })
}

/// What billing looks at: product, state, version.
fn usage(products: &[wire::FoundProduct]) -> impl Iterator<Item = (&str, i32, &str)> {
    products.iter().map(|found| (found.product.as_str(), found.state, found.version.as_str()))
}

fn limit(report: &mut wire::Report) {
    report.products.sort_by(|a, b| a.product.cmp(&b.product));
    report.products.truncate(PRODUCTS_MAX);
    for found in &mut report.products {
        found.signals.iter_mut().chain([&mut found.version, &mut found.why]).for_each(cut);
    }
    if report.encoded_len() > BODY_LENGTH_MAX {
        report.products.iter_mut().for_each(|found| found.signals.clear());
    }
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_LENGTH_MAX));
}

fn millis_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_millisecond() - earlier.as_millisecond()
}

fn utc_day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ReportReason as Reason;

    const INTERVAL: Duration = Duration::from_secs(6 * 3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn found(product: &str, version: &str) -> wire::FoundProduct {
        wire::FoundProduct {
            product: product.into(),
            state: wire::ProductState::Active.into(),
            version: version.into(),
            signals: vec!["package:x".into()],
            why: String::new(),
        }
    }

    fn entered(memory: &mut Memory, reason: Reason, products: Vec<wire::FoundProduct>, at: Timestamp) {
        let report =
            memory.report(reason, products, &wire::Facts { os: "linux".into(), ..Default::default() }, 1);
        let observation = Observation {
            observed_at: at,
            clock_offset_ms: 0,
            checkpoint: String::new(),
            body: wire::evidence::Body::Report(report),
        };
        let chain = Chain::new("spl_a".parse().unwrap());
        memory.enter(&evidence(&chain, &"mch_a".parse().unwrap(), observation));
    }

    #[test]
    fn what_makes_a_report_due() {
        let mut memory = Memory::default();
        let (none, start) = (Wishes::default(), Wishes { start: true, ..Wishes::default() });
        let (requested, clock) =
            (Wishes { requested: true, ..none }, Wishes { clock: true, ..Wishes::default() });
        let check = |memory: &Memory, version, wishes, seconds| {
            memory.due(&[found("dsa", version)], wishes, INTERVAL, at(seconds))
        };
        assert_eq!(check(&memory, "1", none, 0), Some(Reason::Start), "an empty spool");
        entered(&mut memory, Reason::Start, vec![found("dsa", "1")], at(0));
        for (version, wishes, seconds, expected) in [
            ("1", none, 1, None),
            ("1", none, 6 * 3600 - 1, None),
            ("1", none, 6 * 3600, Some(Reason::Periodic)),
            ("2", none, 1, Some(Reason::Change)),
            ("1", start, 1, Some(Reason::Start)),
            ("1", requested, 1, Some(Reason::Requested)),
            ("1", clock, 1, Some(Reason::Clock)),
            ("1", none, -600, None),
            ("1", none, -601, Some(Reason::Clock)),
        ] {
            assert_eq!(check(&memory, version, wishes, seconds), expected, "{version} {wishes:?} {seconds}");
        }
    }

    #[test]
    fn a_product_that_comes_or_goes_is_a_change_and_its_signals_are_not() {
        let mut memory = Memory::default();
        entered(&mut memory, Reason::Start, vec![found("dsa", "1")], at(0));
        let due = |products: &[wire::FoundProduct]| memory.due(products, Wishes::default(), INTERVAL, at(60));
        assert_eq!(due(&[]), Some(Reason::Change));
        assert_eq!(due(&[found("dsa", "1"), found("xbc", "1")]), Some(Reason::Change));
        let stopped = wire::FoundProduct { state: wire::ProductState::Inactive.into(), ..found("dsa", "1") };
        assert_eq!(due(&[stopped]), Some(Reason::Change));
        let seen_otherwise = wire::FoundProduct { signals: vec!["unit:y".into()], ..found("dsa", "1") };
        assert_eq!(due(&[seen_otherwise]), None);
    }

    #[test]
    fn a_flapping_product_makes_two_hundred_reports_a_day_and_the_day_still_gets_its_last_word() {
        let mut memory = Memory::default();
        let midnight = 1_790_035_200 - 1_790_000_000;
        let mut made = 0;
        for step in 0..1_000 {
            let products = vec![found("dsa", if step % 2 == 0 { "1" } else { "2" })];
            let now = at(midnight + step * 10);
            if let Some(reason) = memory.due(&products, Wishes::default(), INTERVAL, now) {
                entered(&mut memory, reason, products, now);
                made += 1;
            }
        }
        assert_eq!(made, UNSCHEDULED_PER_DAY_MAX);
        let later = midnight + 10 * 3600;
        let due = |wishes, seconds| memory.due(&[found("dsa", "3")], wishes, INTERVAL, at(seconds));
        assert_eq!(due(Wishes::default(), later), Some(Reason::Periodic));
        assert_eq!(due(Wishes { start: true, ..Wishes::default() }, midnight + 7_200), None);
        assert_eq!(
            due(Wishes { requested: true, ..Wishes::default() }, midnight + 7_200),
            Some(Reason::Requested)
        );
        assert_eq!(due(Wishes::default(), midnight + 86_400), Some(Reason::Periodic));
    }

    #[test]
    fn facts_are_said_once_a_spool_and_again_when_they_change() {
        let mut memory = Memory::default();
        entered(&mut memory, Reason::Start, vec![], at(0));
        let facts = memory.facts.clone().unwrap();
        assert_eq!(memory.report(Reason::Change, vec![], &facts, 1).facts, None);
        let changed = wire::Facts { pool: true, ..facts.clone() };
        assert_eq!(memory.report(Reason::Change, vec![], &changed, 1).facts, Some(changed));
        assert_eq!(memory.in_new_spool().report(Reason::Start, vec![], &facts, 1).facts, Some(facts));
    }

    #[test]
    fn a_report_of_everything_fits_into_a_message() {
        let memory = Memory::default();
        let long = "ü".repeat(10_000);
        let many = (0..500)
            .map(|number| wire::FoundProduct {
                product: format!("product-{number:03}"),
                signals: vec![long.clone(); 50],
                why: long.clone(),
                ..found("", &long)
            })
            .collect();
        let report = memory.report(Reason::Start, many, &wire::Facts::default(), 1);
        assert_eq!(report.products.len(), PRODUCTS_MAX);
        assert!(report.encoded_len() < wire::MESSAGE_LENGTH_MAX / 2, "{}", report.encoded_len());
    }

    #[test]
    fn evidence_continues_its_chain_and_an_observation_can_move_to_another() {
        let mut chain = Chain::new("spl_a".parse().unwrap());
        let machine = "mch_a".parse().unwrap();
        let observation = Observation {
            observed_at: at(5),
            clock_offset_ms: -3,
            checkpoint: "note".into(),
            body: wire::evidence::Body::OrderResult(wire::OrderResult::default()),
        };
        let first = evidence(&chain, &machine, observation.clone());
        assert_eq!((first.sequence, first.previous.as_slice()), (1, [].as_slice()));
        chain.push([7; 32]);
        let second = evidence(&chain, &machine, observation.clone());
        assert_eq!((second.sequence, second.previous.as_slice()), (2, [7; 32].as_slice()));
        assert_eq!(observation_of(second), Some(observation));
    }

    #[test]
    fn the_wait_is_what_is_left_of_the_interval() {
        let mut memory = Memory::default();
        assert_eq!(memory.wait(INTERVAL, at(0)), Duration::ZERO);
        entered(&mut memory, Reason::Start, vec![], at(0));
        assert_eq!(memory.wait(INTERVAL, at(3600)), Duration::from_secs(5 * 3600));
        assert_eq!(memory.wait(INTERVAL, at(-3600)), INTERVAL);
        assert_eq!(memory.wait(INTERVAL, at(99_999)), Duration::ZERO);
    }
}
