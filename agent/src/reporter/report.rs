//! Reports and answers, on their way into the spool.

use std::time::Duration;

use jiff::Timestamp;
use seatbeat_proto::wire;

use super::{Event, FLOOR, Moment, Outside, Reporter, Seen, Trouble, Wishes, chain};
use crate::meter::Observation;
use crate::spool::SpoolError;

/// Time until reporting is tried again after evidence could not be written.
const WRITE_AGAIN: Duration = Duration::from_secs(60);

impl Reporter {
    /// Makes the report that is due, and then the answers that wait for it.
    pub(super) fn report(&mut self, now: Moment, outside: &mut dyn Outside) -> Result<(), SpoolError> {
        let observed_at = now.corrected(self.session.clock_offset_ms());
        let interval = self.report_interval.min(self.session.settings().report_interval);
        // A look that was begun before the newer catalogue came says nothing by it.
        let is_overtaken =
            |seen: &Seen| self.wishes.catalogue && seen.catalogue_version != self.catalogue.in_use.version;
        let overtaken = self.seen.as_ref().is_some_and(is_overtaken);
        let wishes = Wishes { catalogue: self.wishes.catalogue && !overtaken, ..self.wishes };
        if let Some(seen) = &self.seen {
            let mut products = seen.products.clone();
            self.orders.mark(&mut products, &self.catalogue.in_use);
            let Some(reason) = self.memory.due(&products, wishes, interval, observed_at) else {
                return self.reported(overtaken, observed_at, now, outside);
            };
            let mut report = self.memory.report(reason, products, &seen.facts, seen.catalogue_version);
            report.seal_key = self.orders.seal_key().and_then(|key| self.memory.new_seal_key(key));
            if !self.append(wire::evidence::Body::Report(report), now, outside)? {
                return Ok(());
            }
            self.wishes = Wishes { catalogue: overtaken, ..Wishes::default() };
            self.report_interval = self.jitter.a_tenth_off(self.session.settings().report_interval);
            tracing::info!(reason = reason.as_str_name(), sequence = self.spool.chain().tip(), "report made");
        }
        self.reported(overtaken, observed_at, now, outside)
    }

    /// What follows a report, or that none was due.
    fn reported(
        &mut self,
        overtaken: bool,
        observed_at: Timestamp,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<(), SpoolError> {
        self.status.reporting_stopped = None;
        self.answer(now, outside)?;
        // The last scan before the interval is over comes in time for it.
        let wait = self.memory.wait(self.report_interval, observed_at);
        let wait = if overtaken { Duration::ZERO } else { wait };
        self.next_scan = self.next_scan.min(now.uptime + wait.max(Duration::from_secs(1)));
        Ok(())
    }

    pub(super) fn answer(&mut self, now: Moment, outside: &mut dyn Outside) -> Result<(), SpoolError> {
        while !self.wishes.requested
            && let Some((result, floor)) = self.orders.unanswered.front().cloned()
        {
            // The floor first: an order is not taken twice, whatever happens to its answer.
            let text = floor.map(|floor| serde_json::to_vec(&floor).unwrap_or_default());
            if let Some(text) = text
                && let Err(error) = outside.keep(FLOOR, &text)
            {
                self.stopped_reporting(now, &chain(&error), error.hint());
                return Ok(());
            }
            if !self.append(wire::evidence::Body::OrderResult(result.clone()), now, outside)? {
                return Ok(());
            }
            self.orders.unanswered.pop_front();
            self.said(&result, now, outside);
        }
        Ok(())
    }

    /// Puts evidence into the spool; false: it could not be written, and is tried again.
    fn append(
        &mut self,
        body: wire::evidence::Body,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<bool, SpoolError> {
        let clock_offset_ms = self.session.clock_offset_ms();
        let observation = Observation {
            observed_at: now.corrected(clock_offset_ms),
            clock_offset_ms,
            checkpoint: self.checkpoint.clone(),
            body,
        };
        match self.spool.append(observation, self.key.as_ref()) {
            Ok(evidence) => {
                self.memory.enter(&evidence);
                self.tell(Event::EvidenceAppended, now, outside)?;
                Ok(true)
            }
            Err(error) => {
                self.stopped_reporting(now, &chain(&error), error.hint().map(str::to_owned));
                Ok(false)
            }
        }
    }

    pub(super) fn stopped_reporting(&mut self, now: Moment, what: &str, hint: Option<String>) {
        self.next_scan = self.next_scan.min(now.uptime + WRITE_AGAIN);
        if self.status.reporting_stopped.as_ref().is_some_and(|trouble| trouble.what == what) {
            return;
        }
        tracing::error!(error = what, hint, "reporting stops");
        self.status.reporting_stopped = Some(Trouble { at: now.wall, what: what.to_owned(), hint });
    }
}
