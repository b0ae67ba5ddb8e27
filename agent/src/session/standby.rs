//! Standing by: when a quiet session leaves its stream, and how it comes back to one. Invariant: a way on which nobody
//! answers is tried less and less; whoever stands by hears within a bound that the collector is there, or leaves.

use std::time::Duration;

use seatbeat_proto::wire;

use super::words::{Effect, Loss};
use super::{GREETING_MAX, Phase, Session};
use crate::moment::Moment;

/// Longest time between two beats on standby, where no pings go, whatever the settings say; and the silence after which a
/// beat asks for an answer: with a beat a minute every second one does.
pub(super) const ASK_AFTER: Duration = Duration::from_secs(100);

/// Longest wait for that answer: what a connection with a stream waits for the answer to a ping.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Each time that standing by was in vain, twice as long goes by before the next, so many times: a box on the way that lets
/// no such connection through is asked twice a day.
const STANDBYS_IN_VAIN_MAX: u32 = 8;

/// Whether and when to stand by.
#[derive(Debug, Clone, Default)]
pub(super) struct Standbys {
    /// As the collector said last; none: it lets nobody stand by.
    after: Option<Duration>,
    /// In a row: none of their beats was answered.
    in_vain: u32,
    not_before: Duration,
}

impl Standbys {
    /// The collector lets who was quiet for so long stand by; zero: nobody.
    pub(super) fn allowed(&mut self, after_ms: u32) {
        self.after = (after_ms > 0).then(|| Duration::from_millis(after_ms.into()));
    }

    pub(super) fn is_time(&self, quiet_since: Duration, uptime: Duration) -> bool {
        let is_quiet = |after| uptime.saturating_sub(quiet_since) >= after;
        uptime >= self.not_before && self.after.is_some_and(is_quiet)
    }

    /// A beat was answered on the one that stood last.
    pub(super) fn are_good(&self) -> bool {
        self.in_vain == 0
    }

    /// The one tried last found no way: that is not the fault of standing by.
    pub(super) fn not_reached(&mut self) {
        self.in_vain = self.in_vain.saturating_sub(1);
    }

    /// In vain until a beat is answered.
    fn tried(&mut self, uptime: Duration) {
        self.in_vain = (self.in_vain + 1).min(STANDBYS_IN_VAIN_MAX);
        self.not_before = uptime + self.after.unwrap_or_default().saturating_mul(1 << self.in_vain);
    }

    fn answered(&mut self) {
        self.in_vain = 0;
        self.not_before = Duration::ZERO;
    }
}

impl Session {
    pub(super) fn retire(&mut self, attempt: u32, now: Moment, effects: &mut Vec<Effect>) {
        let from_stream = self.is_open();
        self.standbys.tried(now.uptime);
        effects.push(Effect::StandBy { attempt });
        self.phase = Phase::Retiring { until: now.uptime + GREETING_MAX, from_stream };
    }

    /// From standby back to a stream, at the address that is known to answer.
    pub(super) fn come(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Retiring { .. } | Phase::Standby { .. }) {
            effects.push(Effect::Disconnect);
            self.attempts = self.attempts.wrapping_sub(1);
            self.phase = Phase::Waiting { until: now.uptime, quietly: false };
        }
    }

    /// Whether it was not heard for a while that the collector is there; then there is an end to waiting for it.
    pub(super) fn asks_for_an_answer(&mut self, now: Moment) -> bool {
        let Phase::Standby { heard_at, answer_by, .. } = &mut self.phase else { return false };
        let asks = now.uptime.saturating_sub(*heard_at) >= ASK_AFTER;
        if asks {
            answer_by.get_or_insert(now.uptime + ANSWER_MAX);
        }
        asks
    }

    pub(super) fn called(&mut self, standby: &wire::Standby, now: Moment, effects: &mut Vec<Effect>) {
        let was_owed = matches!(self.phase, Phase::Standby { answer_by: Some(_), .. });
        if standby.come {
            self.come(now, effects);
        } else if standby.after_ms > 0 {
            self.leave(Loss::Asked { after: Duration::from_millis(standby.after_ms.into()) }, now, effects);
        } else {
            if was_owed {
                // It has stood for a while: a good connection.
                self.failures = 0;
                self.standbys.answered();
            }
            self.phase = Phase::Standby { beat_at: now.uptime, heard_at: now.uptime, answer_by: None };
            self.put_off_beat(now);
        }
    }
}
