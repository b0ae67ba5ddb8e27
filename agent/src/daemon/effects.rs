//! What the conversation decided, carried out in its order.

use std::collections::VecDeque;

use prost::Message as _;
use seatbeat_proto::wire;

use super::{CHECKPOINT, Connection, Daemon, DaemonError, Effect, Event, Loss, SETTINGS, Trouble, Wishes};
use crate::plain::chain;
use crate::session::{NewSpool, Note};
use crate::spool::SpoolError;

impl Daemon {
    /// Tells the conversation what happened, and does what follows from it.
    pub(super) fn tell(&mut self, event: Event) -> Result<(), DaemonError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.session.handle(event, self.spool.chain(), self.clock.now()) {
                events.extend(self.carry_out(effect)?);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, DaemonError> {
        match effect {
            Effect::Connect { attempt } => {
                self.connection = Some(Connection::open(self.dialler.clone(), attempt));
            }
            Effect::Disconnect => self.connection = None,
            Effect::Send(message) => return Ok(self.send(message)),
            Effect::SendEvidence { sequence } => return self.send_evidence(sequence),
            Effect::SaveAck { sequence } => self.spool.acknowledge(sequence),
            Effect::OpenNewSpool { why, carry_after } => return self.open_new_spool(why, carry_after),
            Effect::CorrectClock { offset_ms, fresh_report } => self.correct_clock(offset_ms, fresh_report),
            Effect::ApplySettings { settings, signed } => {
                tracing::info!(revision = settings.revision, "settings of the collector are followed");
                self.next_scan = self.next_scan.min(self.clock.now().uptime + settings.scan_interval);
                if let Err(error) = self.state.write(SETTINGS, &signed.encode_to_vec()) {
                    tracing::warn!(error = chain(&error), "settings were not kept");
                }
            }
            Effect::RequestReport => self.wish(Wishes { requested: true, ..self.wishes }),
            Effect::AnswerOrder { result, floor } => {
                tracing::info!(order = result.order, detail = result.detail, "an order came");
                self.unanswered.push_back((result, floor));
                // Answered behind the next scan, and behind the report that may have been ordered.
                self.wish(self.wishes);
            }
            Effect::KeepCheckpoint(text) => {
                if let Err(error) = self.state.write_unsynced(CHECKPOINT, text.as_bytes()) {
                    tracing::debug!(error = chain(&error), "the checkpoint was not kept");
                }
                self.checkpoint = text;
            }
            Effect::Note(note) => self.note(&note),
        }
        Ok(None)
    }

    fn send(&mut self, message: wire::AgentMessage) -> Option<Event> {
        if self.connection.as_ref().is_some_and(|connection| connection.send(message)) {
            return None;
        }
        self.connection = None;
        Some(Event::Disconnected(Loss::Broken))
    }

    fn send_evidence(&mut self, sequence: u64) -> Result<Option<Event>, DaemonError> {
        let Some(signed) = self.spool.read(sequence)? else { return Ok(None) };
        let body = wire::agent_message::Body::Evidence(signed);
        Ok(self.send(wire::AgentMessage { body: Some(body) }))
    }

    /// What the collector does not have of the old spool is said again in the new one, and so is the present.
    fn open_new_spool(&mut self, why: NewSpool, carry_after: u64) -> Result<Option<Event>, DaemonError> {
        let carried = self.spool.after(carry_after)?;
        let count = carried.len();
        let carried = match self.spool.begin_new(carried, &self.key) {
            Ok(carried) => carried,
            Err(error @ SpoolError::Changed(_)) => return Err(error.into()),
            Err(error) => {
                self.stopped_reporting(self.clock.now(), &chain(&error), error.hint().map(str::to_owned));
                return Ok(None);
            }
        };
        tracing::warn!(?why, carried = count, spool = %self.spool.chain().spool(), "a new spool was begun");
        self.memory = self.memory.in_new_spool();
        carried.iter().for_each(|evidence| self.memory.enter(evidence));
        self.wish(Wishes { start: true, ..self.wishes });
        Ok(Some(Event::SpoolOpened))
    }

    fn correct_clock(&mut self, offset_ms: i64, fresh_report: bool) {
        if fresh_report {
            tracing::warn!(offset_ms, "the machine's clock is wrong; reports carry the corrected time");
            self.wish(Wishes { clock: true, ..self.wishes });
        } else {
            tracing::debug!(offset_ms, "clock offset");
        }
    }

    fn wish(&mut self, wishes: Wishes) {
        self.wishes = wishes;
        self.watch.want_everything();
        self.next_scan = self.clock.now().uptime;
    }

    fn note(&mut self, note: &Note) {
        let what = note.to_string();
        match note {
            Note::Refused { .. } | Note::SpoolsInVain | Note::Silent => {
                self.status.last_error =
                    Some(Trouble { at: self.clock.now().wall, what: what.clone(), hint: None });
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
