//! What the conversation decided, carried out in its order.

use std::collections::VecDeque;
use std::sync::Arc;

use prost::Message as _;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::wire;

use super::{CHECKPOINT, CatalogueStatus, Event, Loss, Moment, Outside, Reporter, SETTINGS, Trouble, Wishes};
use crate::act::arm::Ask;
use crate::catalogue;
use crate::plain::chain;
use crate::session::{Effect, NewSpool, Note};
use crate::spool::SpoolError;

impl Reporter {
    /// Tells the conversation what happened, and does what follows from it.
    pub(super) fn tell(
        &mut self,
        event: Event,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<(), SpoolError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.session.handle(event, self.spool.chain(), now) {
                events.extend(self.carry_out(effect, now, outside)?);
            }
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        effect: Effect,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Result<Option<Event>, SpoolError> {
        match effect {
            Effect::Connect { attempt } => outside.connect(attempt),
            Effect::StandBy { attempt } => outside.stand_by(attempt),
            Effect::Disconnect => outside.disconnect(),
            Effect::Send(message) => return Ok(send(message, outside)),
            Effect::SendEvidence { sequence } => return self.send_evidence(sequence, outside),
            Effect::SaveAck { sequence } => self.spool.acknowledge(sequence),
            Effect::OpenNewSpool { why, carry_after } => return self.open_new_spool(why, carry_after, now),
            Effect::CorrectClock { offset_ms, fresh_report } => {
                outside.ask(Ask::Clock { offset_ms });
                self.correct_clock(offset_ms, fresh_report, now)
            }
            Effect::ApplySettings { settings, signed } => {
                tracing::info!(revision = settings.revision, "settings of the collector are followed");
                self.next_scan = self.next_scan.min(now.uptime + settings.scan_interval);
                if let Err(error) = outside.keep(SETTINGS, &signed.encode_to_vec()) {
                    tracing::warn!(error = chain(&error), "settings were not kept");
                }
            }
            Effect::TakeCatalogue { catalogue, signed } => {
                return Ok(self.take_catalogue(catalogue, &signed, now, outside));
            }
            Effect::RequestReport => self.wish(Wishes { requested: true, ..self.wishes }, now),
            Effect::AnswerOrder { result, floor } => {
                tracing::info!(order = result.order, detail = result.detail, "an order came");
                self.orders.unanswered.push_back((result, Some(floor)));
                // Answered behind the next scan, and behind the report that may have been ordered.
                self.wish(self.wishes, now);
            }
            Effect::Ask(ask) => self.ask_for(ask, now, outside),
            // A collector that was set back: whoever reads the next report learns what it had signed before.
            Effect::KeepCheckpoint(text) if is_behind(&text, &self.checkpoint) => {
                tracing::info!("the collector's log is shorter than it was: the longer checkpoint is kept");
            }
            Effect::KeepCheckpoint(text) => {
                if let Err(error) = outside.keep_unsynced(CHECKPOINT, text.as_bytes()) {
                    tracing::debug!(error = chain(&error), "the checkpoint was not kept");
                }
                self.checkpoint = text;
            }
            Effect::Note(note) => self.note(&note, now),
        }
        Ok(None)
    }

    /// Everything is looked at by it at once.
    fn take_catalogue(
        &mut self,
        catalogue: Arc<Catalogue>,
        signed: &wire::Signed,
        now: Moment,
        outside: &mut dyn Outside,
    ) -> Option<Event> {
        let version = catalogue.version;
        if let Err(error) = outside.keep(catalogue::FILE, &signed.encode_to_vec()) {
            tracing::warn!(
                error = chain(&error),
                version,
                "the newer catalogue was not kept, and is not used"
            );
            let refused = Trouble { at: now.wall, what: chain(&error), hint: error.hint() };
            self.status.catalogue.refused = Some(refused);
            return None;
        }
        tracing::info!(version, "a newer catalogue is used");
        self.catalogue.take(catalogue);
        self.status.catalogue = CatalogueStatus { version, pushed: true, refused: None };
        self.wish(Wishes { catalogue: true, ..self.wishes }, now);
        Some(Event::CatalogueTaken(version))
    }

    fn send_evidence(
        &mut self,
        sequence: u64,
        outside: &mut dyn Outside,
    ) -> Result<Option<Event>, SpoolError> {
        let Some(signed) = self.spool.read(sequence)? else { return Ok(None) };
        let body = wire::agent_message::Body::Evidence(signed);
        Ok(send(wire::AgentMessage { body: Some(body) }, outside))
    }

    /// What the collector does not have of the old spool is said again in the new one, and so is the present.
    fn open_new_spool(
        &mut self,
        why: NewSpool,
        carry_after: u64,
        now: Moment,
    ) -> Result<Option<Event>, SpoolError> {
        let carried = self.spool.after(carry_after)?;
        let count = carried.len();
        let carried = match self.spool.begin_new(carried, self.key.as_ref()) {
            Ok(carried) => carried,
            Err(error @ SpoolError::Changed(_)) => return Err(error),
            Err(error) => {
                self.stopped_reporting(now, &chain(&error), error.hint().map(str::to_owned));
                return Ok(None);
            }
        };
        tracing::warn!(?why, carried = count, spool = %self.spool.chain().spool(), "a new spool was begun");
        self.memory = self.memory.in_new_spool();
        self.orders.in_spool(&carried);
        carried.iter().for_each(|evidence| self.memory.enter(evidence));
        self.wish(Wishes { start: true, ..self.wishes }, now);
        Ok(Some(Event::SpoolOpened))
    }

    fn correct_clock(&mut self, offset_ms: i64, fresh_report: bool, now: Moment) {
        if fresh_report {
            tracing::warn!(offset_ms, "the machine's clock is wrong; reports carry the corrected time");
            self.wish(Wishes { clock: true, ..self.wishes }, now);
        } else {
            tracing::debug!(offset_ms, "clock offset");
        }
    }

    pub(super) fn wish(&mut self, wishes: Wishes, now: Moment) {
        self.wishes = wishes;
        self.watch.want_everything();
        self.next_scan = now.uptime;
    }

    fn note(&mut self, note: &Note, now: Moment) {
        let what = note.to_string();
        match note {
            Note::Refused { .. } | Note::SpoolsInVain | Note::Silent => {
                self.status.last_error = Some(Trouble { at: now.wall, what: what.clone(), hint: None });
            }
            Note::Catalogue(why) => {
                let hint = Some(why.hint().to_owned());
                self.status.catalogue.refused = Some(Trouble { at: now.wall, what: what.clone(), hint });
            }
            _ => {}
        }
        if note.is_grave() {
            tracing::warn!(note = what, "the conversation with the collector");
        } else {
            tracing::debug!(note = what, "the conversation with the collector");
        }
    }
}

fn send(message: wire::AgentMessage, outside: &mut dyn Outside) -> Option<Event> {
    if outside.send(message) {
        return None;
    }
    outside.disconnect();
    Some(Event::Disconnected(Loss::Broken))
}

/// Whether a checkpoint is of fewer records of the same log than another one.
fn is_behind(checkpoint: &str, other: &str) -> bool {
    let read = |text: &str| {
        let mut lines = text.lines().map(str::to_owned);
        Some((lines.next()?, lines.next()?.parse::<u64>().ok()?))
    };
    read(checkpoint)
        .zip(read(other))
        .is_some_and(|((log, size), (other, before))| log == other && size < before)
}

#[cfg(test)]
mod tests {
    use super::is_behind;

    #[test]
    fn only_a_shorter_checkpoint_of_the_same_log_is_behind() {
        let held = "seatbeat/rsl_a\n100\nAAAA\n\n— x y\n";
        assert!(is_behind("seatbeat/rsl_a\n99\nBBBB\n\n— x y\n", held));
        for taken in
            ["seatbeat/rsl_a\n100\nAAAA\n", "seatbeat/rsl_a\n101\nBBBB\n", "seatbeat/rsl_b\n1\nBBBB\n"]
        {
            assert!(!is_behind(taken, held), "{taken}");
        }
        assert!(!is_behind("seatbeat/rsl_a\n1\nBBBB\n", ""));
        assert!(!is_behind("a note", held));
    }
}
