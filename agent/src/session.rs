//! The conversation with the collector: events in, effects out. Invariant: pure (no clock, network or file); what
//! the collector sends can slow it down or make it start over, never make it panic, lose evidence or obey a
//! stranger.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::{instant, wire};

use crate::act::arm::Ask;
use crate::catalogue::Refused;
use crate::chain::Chain;
use crate::jitter::Jitter;
use crate::meter::CLOCK_STEP_MS_MAX;
use crate::moment::Moment;
use crate::orders::{Book, Verdict};
use crate::plain::plain;
use crate::settings::{Settings, SettingsError};

mod note;
mod standby;
#[cfg(test)]
mod tests;
mod words;

pub use note::Note;
use standby::{ASK_AFTER, Standbys};
pub use words::{Effect, Event, Loss, NewSpool, Past, Profile};

/// Most evidence under way and not acknowledged: the collector's group commit is 512 records for all machines.
pub const WINDOW: u64 = 256;

/// Longest first wait before connecting again; doubles with each failure.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);

/// Longest wait before connecting again.
const BACK_OFF_MAX: Duration = Duration::from_secs(15 * 60);

/// Longest wait for a connection and for Welcome: longer than every timeout of the link.
const GREETING_MAX: Duration = Duration::from_secs(45);

/// A link that stood this long was a good one: the next back-off starts small again.
const GOOD_LINK: Duration = Duration::from_secs(60);

/// New spools in a row, with nothing acknowledged in between, after which only a slow retry follows: another
/// one would not help either, and each leaves a file.
const SPOOLS_IN_A_ROW_MAX: u32 = 3;

/// Longest checkpoint taken, in bytes: a signed note is a few hundred, and it goes into each evidence.
const CHECKPOINT_LENGTH_MAX: usize = 4096;

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Session {
    profile: Profile,
    settings: Settings,
    book: Book,
    acknowledged: u64,
    clock_offset_ms: i64,
    jitter: Jitter,
    attempts: u32,
    failures: u32,
    spools_in_a_row: u32,
    release_key: Option<VerifyingKey>,
    catalogue_version: u32,
    order_keys_revision: u64,
    standbys: Standbys,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// `quietly`: to stand by again, when there is nothing to be said.
    Waiting {
        until: Duration,
        quietly: bool,
    },
    Connecting {
        until: Duration,
    },
    Greeting {
        hello_sent_at: Timestamp,
        until: Duration,
    },
    Open {
        since: Duration,
        sent: u64,
        beat_at: Duration,
        quiet_since: Duration,
    },
    /// To stand by: until that is answered. `from_stream`: the collector answered a moment ago.
    Retiring {
        until: Duration,
        from_stream: bool,
    },
    /// `answer_by`: a beat is to be answered.
    Standby {
        beat_at: Duration,
        heard_at: Duration,
        answer_by: Option<Duration>,
    },
}

impl Session {
    /// A conversation that connects within a second.
    pub fn new(profile: Profile, past: Past, mut jitter: Jitter, now: Moment) -> Self {
        let until = now.uptime + jitter.up_to(BACK_OFF_FIRST);
        Self {
            profile,
            settings: past.settings,
            book: past.book,
            acknowledged: past.acknowledged,
            clock_offset_ms: 0,
            jitter,
            attempts: 0,
            failures: 0,
            spools_in_a_row: 0,
            release_key: None,
            catalogue_version: 0,
            order_keys_revision: 0,
            standbys: Standbys::default(),
            phase: Phase::Waiting { until, quietly: false },
        }
    }

    /// With a catalogue of this version in use, and whoever may send a newer one; without, none is asked for.
    #[must_use]
    pub fn with_catalogue(self, version: u32, release_key: Option<VerifyingKey>) -> Self {
        Self { catalogue_version: version, release_key, ..self }
    }

    /// Uptime at which [`Event::Timer`] is due.
    pub fn timer(&self) -> Duration {
        match self.phase {
            Phase::Waiting { until, .. }
            | Phase::Connecting { until }
            | Phase::Greeting { until, .. }
            | Phase::Retiring { until, .. } => until,
            Phase::Open { beat_at, .. } => beat_at,
            Phase::Standby { beat_at, answer_by, .. } => answer_by.map_or(beat_at, |by| by.min(beat_at)),
        }
    }

    /// Whether evidence can be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether it stands by: there is nothing to be said, and the collector calls when it has something.
    pub fn stands_by(&self) -> bool {
        matches!(self.phase, Phase::Standby { .. })
    }

    /// Whether the collector answers: in a stream, on standby, or as of a moment ago on the way there.
    pub fn is_connected(&self) -> bool {
        self.is_open() || self.stands_by() || matches!(self.phase, Phase::Retiring { from_stream: true, .. })
    }

    /// Sequence up to which the collector has everything of the current spool.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// What is added to the wall clock.
    pub fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms
    }

    /// The settings that are followed.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes in an event. `chain` is the current spool's, with the event already in it.
    pub fn handle(&mut self, event: Event, chain: &Chain, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Connected => self.greet(chain, now, &mut effects),
            Event::Disconnected(loss) => self.lost(loss, now),
            Event::Received(message) => self.receive(message, chain, now, &mut effects),
            Event::Timer => self.timer_came(chain, now, &mut effects),
            Event::EvidenceAppended => {
                self.come(now, &mut effects);
                self.fill_window(chain, now, &mut effects);
            }
            Event::SpoolOpened => self.acknowledged = 0,
            Event::CatalogueTaken(version) => self.catalogue_version = version,
            Event::OrderKeys(revision) => self.order_keys_revision = revision,
            Event::ClockJumped(by_ms) => self.clock_jumped(by_ms, now, &mut effects),
        }
        effects
    }

    fn greet(&mut self, chain: &Chain, now: Moment, effects: &mut Vec<Effect>) {
        let until = now.uptime + GREETING_MAX;
        self.phase = match self.phase {
            Phase::Connecting { .. } => Phase::Greeting { hello_sent_at: now.wall, until },
            Phase::Retiring { from_stream, .. } => Phase::Retiring { until, from_stream },
            _ => return,
        };
        let hello = wire::Hello {
            protocol: wire::PROTOCOL_VERSION,
            agent_version: self.profile.agent_version.clone(),
            spool: chain.spool().as_str().to_owned(),
            sequence: chain.tip(),
            hash: chain.tip_hash().map(|hash| hash.to_vec()).unwrap_or_default(),
            sent_at_ms: instant::to_ms(now.wall),
            settings_revision: self.settings.revision,
            host_name: self.profile.host_name.clone(),
            catalogue_version: self.catalogue_version,
            order_keys_revision: self.order_keys_revision,
        };
        effects.push(send(wire::agent_message::Body::Hello(hello)));
    }

    fn timer_came(&mut self, chain: &Chain, now: Moment, effects: &mut Vec<Effect>) {
        if now.uptime < self.timer() {
            return;
        }
        match self.phase {
            Phase::Waiting { quietly, .. } => {
                let attempt = self.attempts;
                self.attempts = attempt.wrapping_add(1);
                if quietly && self.has_said_all(chain) {
                    self.retire(attempt, now, effects);
                } else {
                    effects.push(Effect::Connect { attempt });
                    self.phase = Phase::Connecting { until: now.uptime + GREETING_MAX };
                }
            }
            Phase::Connecting { .. } | Phase::Greeting { .. } | Phase::Retiring { .. } => {
                effects.push(Effect::Note(Note::Silent));
                self.leave(Loss::Broken, now, effects);
            }
            Phase::Standby { answer_by: Some(by), .. } if by <= now.uptime => {
                effects.push(Effect::Note(Note::Silent));
                self.leave(Loss::Broken, now, effects);
            }
            Phase::Open { quiet_since, .. }
                if self.has_said_all(chain) && self.standbys.is_time(quiet_since, now.uptime) =>
            {
                self.failures = 0;
                self.retire(self.attempts.wrapping_sub(1), now, effects);
            }
            Phase::Open { .. } | Phase::Standby { .. } => {
                let waiting = chain.tip().saturating_sub(self.acknowledged);
                let beat = wire::Beat {
                    sent_at_ms: instant::to_ms(now.wall),
                    waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
                    answer: self.asks_for_an_answer(now),
                };
                effects.push(send(wire::agent_message::Body::Beat(beat)));
                self.put_off_beat(now);
            }
        }
    }

    fn has_said_all(&self, chain: &Chain) -> bool {
        self.acknowledged >= chain.tip()
    }

    fn receive(
        &mut self,
        message: wire::CollectorMessage,
        chain: &Chain,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        use wire::collector_message::Body;
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Connecting { .. }) {
            return;
        }
        let open = self.is_open();
        let on_standby = matches!(self.phase, Phase::Retiring { .. } | Phase::Standby { .. });
        if let Phase::Open { quiet_since, .. } = &mut self.phase {
            *quiet_since = now.uptime;
        }
        match message.body {
            Some(Body::Standby(standby)) if on_standby => self.called(&standby, now, effects),
            Some(Body::Settings(signed)) if open || on_standby => self.set(signed, effects),
            Some(_) if on_standby => effects.push(Effect::Note(Note::Unknown)),
            Some(Body::Welcome(welcome)) => self.welcomed(welcome, chain, now, effects),
            Some(Body::Refusal(refusal)) => self.refused(&refusal, chain, now, effects),
            Some(Body::Ack(ack)) if open => self.acked(&ack, chain, now, effects),
            Some(Body::Order(delivery)) if open => self.ordered(delivery, now, effects),
            Some(Body::OrderKeys(signed)) if open => effects.push(Effect::Ask(Ask::Keys(signed))),
            Some(Body::Checkpoint(text)) if open => keep_checkpoint(text, effects),
            Some(Body::Catalogue(signed)) if open => self.offered(signed, effects),
            Some(Body::Standby(_)) | None => effects.push(Effect::Note(Note::Unknown)),
            Some(_) => effects.push(Effect::Note(Note::BeforeWelcome)),
        }
    }

    fn welcomed(&mut self, welcome: wire::Welcome, chain: &Chain, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Greeting { hello_sent_at, .. } = self.phase else {
            effects.push(Effect::Note(Note::WelcomeTwice));
            return;
        };
        if welcome.spool != chain.spool().as_str() {
            effects.push(Effect::Note(Note::OtherSpool));
            self.leave(Loss::Broken, now, effects);
            return;
        }
        self.learn_clock(hello_sent_at, welcome.now_ms, now, effects);
        keep_checkpoint(welcome.checkpoint, effects);
        if let Some((why, carry_after)) = self.parted(welcome.sequence, &welcome.hash, chain) {
            self.start_over(why, carry_after, now, effects);
            return;
        }
        // A collector that lost its disk knows nothing of the spool: it gets all that is kept.
        let sent = welcome.sequence.max(chain.oldest() - 1);
        let acknowledged = if welcome.sequence == 0 { 0 } else { sent };
        if acknowledged != self.acknowledged {
            self.acknowledged = acknowledged;
            effects.push(Effect::SaveAck { sequence: acknowledged });
        }
        self.standbys.allowed(welcome.standby_after_ms);
        let at = now.uptime;
        self.phase = Phase::Open { since: at, sent, beat_at: at, quiet_since: at };
        self.put_off_beat(now);
        self.fill_window(chain, now, effects);
    }

    /// Why our chain cannot be continued from the collector's tip, and after which sequence it knows nothing.
    fn parted(&self, sequence: u64, hash: &[u8], chain: &Chain) -> Option<(NewSpool, u64)> {
        if sequence == 0 {
            None
        } else if sequence > chain.tip() {
            Some((NewSpool::Behind, self.acknowledged))
        } else if sequence < chain.oldest() - 1 {
            Some((NewSpool::Gap, sequence))
        } else if chain.hash_at(sequence).is_some_and(|ours| ours != hash) {
            Some((NewSpool::Differs, self.acknowledged.min(sequence - 1)))
        } else {
            None
        }
    }

    fn acked(&mut self, ack: &wire::Ack, chain: &Chain, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Open { sent, .. } = self.phase else { return };
        if ack.spool != chain.spool().as_str() || ack.sequence > sent {
            effects.push(Effect::Note(Note::AckOfUnsent { sequence: ack.sequence }));
        } else if ack.sequence > self.acknowledged {
            self.acknowledged = ack.sequence;
            self.failures = 0;
            self.spools_in_a_row = 0;
            effects.push(Effect::SaveAck { sequence: ack.sequence });
            self.fill_window(chain, now, effects);
        }
    }

    fn refused(&mut self, refusal: &wire::Refusal, chain: &Chain, now: Moment, effects: &mut Vec<Effect>) {
        use wire::RefusalReason as Reason;
        let reason = refusal.reason();
        if reason != Reason::Banned && refusal.spool != chain.spool().as_str() {
            effects.push(Effect::Note(Note::OtherSpool));
            return;
        }
        let (sequence, detail) = (refusal.sequence, plain(&refusal.detail));
        effects.push(Effect::Note(Note::Refused { reason, sequence, detail }));
        match reason {
            // The collector has counted it: what comes after is missing.
            Reason::Forked => {
                self.start_over(
                    NewSpool::Forked,
                    sequence.max(self.acknowledged).min(chain.tip()),
                    now,
                    effects,
                );
            }
            Reason::BrokenChain => self.start_over(NewSpool::Broken, self.acknowledged, now, effects),
            // It would be refused in every spool, so it stays behind in this one.
            Reason::Malformed => {
                self.start_over(
                    NewSpool::Unread,
                    sequence.max(self.acknowledged).min(chain.tip()),
                    now,
                    effects,
                );
            }
            Reason::Banned | Reason::BadSignature | Reason::WrongMachine => {
                self.leave(Loss::Rejected, now, effects);
            }
            Reason::Unspecified => self.leave(Loss::Broken, now, effects),
        }
    }

    fn start_over(&mut self, why: NewSpool, carry_after: u64, now: Moment, effects: &mut Vec<Effect>) {
        if self.spools_in_a_row >= SPOOLS_IN_A_ROW_MAX {
            effects.push(Effect::Note(Note::SpoolsInVain));
            self.spools_in_a_row = 0;
            self.leave(Loss::Rejected, now, effects);
            return;
        }
        self.spools_in_a_row += 1;
        effects.push(Effect::OpenNewSpool { why, carry_after });
        self.leave(Loss::Broken, now, effects);
    }

    fn ordered(&mut self, delivery: wire::OrderDelivery, now: Moment, effects: &mut Vec<Effect>) {
        let corrected = now.corrected(self.clock_offset_ms);
        let signed = delivery.order.clone().unwrap_or_default();
        let result = match self.book.judge(&signed, &self.profile.service, &self.profile.machine, corrected) {
            Verdict::Ignore(why) => {
                effects.push(Effect::Note(Note::Order(why)));
                return;
            }
            Verdict::PassOn => {
                effects.push(Effect::Ask(Ask::Order(delivery)));
                return;
            }
            Verdict::Report(result) => {
                effects.push(Effect::RequestReport);
                result
            }
            Verdict::Answer(result) => result,
        };
        effects.push(Effect::AnswerOrder { result, floor: self.book.floor });
    }

    fn set(&mut self, signed: wire::Signed, effects: &mut Vec<Effect>) {
        match self.settings.followed_by(&signed, &self.profile.service) {
            Ok(settings) => {
                self.settings = settings.clone();
                effects.push(Effect::ApplySettings { settings, signed });
            }
            // Sent again with each connection.
            Err(SettingsError::Replayed { offered, held }) if offered == held => {}
            Err(why) => effects.push(Effect::Note(Note::Settings(why))),
        }
    }

    /// The version in use moves only when the newer one is durable.
    fn offered(&self, signed: wire::Signed, effects: &mut Vec<Effect>) {
        let read = match &self.release_key {
            None => Err(Refused::NoReleaseKey),
            Some(key) => Catalogue::from_signed(&signed, key, self.catalogue_version).map_err(Refused::Unfit),
        };
        effects.push(match read {
            Ok(catalogue) => Effect::TakeCatalogue { catalogue: Arc::new(catalogue), signed },
            Err(why) => Effect::Note(Note::Catalogue(why)),
        });
    }

    fn learn_clock(&mut self, sent_at: Timestamp, theirs_ms: i64, now: Moment, effects: &mut Vec<Effect>) {
        let Ok(theirs) = instant::from_ms(theirs_ms) else {
            effects.push(Effect::Note(Note::NoInstant));
            return;
        };
        let (sent_ms, received_ms) = (instant::to_ms(sent_at), instant::to_ms(now.wall));
        let midpoint_ms = sent_ms + (received_ms - sent_ms) / 2;
        self.correct_clock(instant::to_ms(theirs) - midpoint_ms, effects);
    }

    fn correct_clock(&mut self, offset_ms: i64, effects: &mut Vec<Effect>) {
        let moved_ms = offset_ms.abs_diff(self.clock_offset_ms);
        if moved_ms != 0 {
            self.clock_offset_ms = offset_ms;
            effects.push(Effect::CorrectClock { offset_ms, fresh_report: moved_ms > CLOCK_STEP_MS_MAX });
        }
    }

    /// Somebody put the clock right (the offset shrinks with it), or the machine slept (the offset stands). Which
    /// one is certain only after the next Welcome, so the conversation starts anew.
    fn clock_jumped(&mut self, by_ms: i64, now: Moment, effects: &mut Vec<Effect>) {
        let without = self.clock_offset_ms.saturating_sub(by_ms);
        if without.unsigned_abs() < self.clock_offset_ms.unsigned_abs() {
            self.correct_clock(without, effects);
        }
        if !matches!(self.phase, Phase::Waiting { .. } | Phase::Connecting { .. }) {
            self.leave(Loss::Broken, now, effects);
        }
        // On standby there is no Welcome.
        if let Phase::Waiting { quietly, .. } = &mut self.phase {
            *quietly = false;
        }
    }

    fn fill_window(&mut self, chain: &Chain, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Open { sent, quiet_since, .. } = &mut self.phase else { return };
        let floor = self.acknowledged.max(chain.oldest() - 1);
        let before = *sent;
        while *sent < chain.tip() && *sent - floor.min(*sent) < WINDOW {
            *sent += 1;
            effects.push(Effect::SendEvidence { sequence: *sent });
        }
        if *sent != before {
            *quiet_since = now.uptime;
            self.put_off_beat(now);
        }
    }

    /// Any message is a beat.
    fn put_off_beat(&mut self, now: Moment) {
        let longest = if self.is_open() { Duration::MAX } else { ASK_AFTER };
        let interval = self.jitter.a_tenth_off(self.settings.beat_interval.min(longest));
        if let Phase::Open { beat_at, .. } | Phase::Standby { beat_at, .. } = &mut self.phase {
            *beat_at = now.uptime + interval;
        }
    }

    fn leave(&mut self, loss: Loss, now: Moment, effects: &mut Vec<Effect>) {
        effects.push(Effect::Disconnect);
        self.lost(loss, now);
    }

    fn lost(&mut self, loss: Loss, now: Moment) {
        if let Phase::Open { since, .. } = self.phase
            && now.uptime.saturating_sub(since) >= GOOD_LINK
        {
            self.failures = 0;
        }
        let ceiling = BACK_OFF_FIRST.saturating_mul(1 << self.failures.min(10)).min(BACK_OFF_MAX);
        let quietly = match self.phase {
            Phase::Standby { .. } => self.standbys.are_good(),
            Phase::Retiring { .. } if loss == Loss::Unreachable => {
                self.standbys.not_reached();
                true
            }
            _ => false,
        };
        let wait = match loss {
            Loss::Unreachable | Loss::Broken => self.jitter.up_to(ceiling),
            Loss::Asked { after } => after.min(BACK_OFF_MAX).max(self.jitter.up_to(ceiling)),
            Loss::Rejected => BACK_OFF_MAX / 2 + self.jitter.up_to(BACK_OFF_MAX / 2),
        };
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: now.uptime + wait, quietly };
    }
}

fn send(body: wire::agent_message::Body) -> Effect {
    Effect::Send(wire::AgentMessage { body: Some(body) })
}

fn keep_checkpoint(text: String, effects: &mut Vec<Effect>) {
    if text.len() > CHECKPOINT_LENGTH_MAX {
        effects.push(Effect::Note(Note::LongCheckpoint));
    } else if !text.is_empty() {
        effects.push(Effect::KeepCheckpoint(text));
    }
}
