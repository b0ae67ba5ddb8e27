//! What can happen to a conversation, and what it can want.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire;

use super::Note;
use crate::act::arm::Ask;
use crate::orders::{Book, Floor};
use crate::settings::Settings;

/// Who speaks, and whom it believes.
#[derive(Debug, Clone)]
pub struct Profile {
    /// This machine.
    pub machine: MachineId,
    /// Shown to operators; never part of evidence.
    pub host_name: String,
    /// Version of this program.
    pub agent_version: String,
    /// The collector's own key, which sets and orders reports.
    pub service: VerifyingKey,
}

/// What the conversation remembers from the run before.
#[derive(Debug, Clone)]
pub struct Past {
    /// Settings followed.
    pub settings: Settings,
    /// Orders taken.
    pub book: Book,
    /// Sequence up to which the collector has everything of the current spool, as far as is known.
    pub acknowledged: u64,
}

/// What happens to a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The collector with the pinned key is at the other end.
    Connected,
    /// There is no connection (any more).
    Disconnected(Loss),
    /// The collector said this.
    Received(wire::CollectorMessage),
    /// The instant of [`Session::timer`] has come.
    Timer,
    /// The chain has grown.
    EvidenceAppended,
    /// The new spool that was asked for is there.
    SpoolOpened,
    /// A newer catalogue, of this version, is kept and in use.
    CatalogueTaken(u32),
    /// Order keys of this revision say whose orders are taken.
    OrderKeys(u64),
    /// The wall clock was set, or the machine slept, for this long (milliseconds).
    ClockJumped(i64),
}

/// How a connection was lost or not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// No bytes come to the collector.
    Unreachable,
    /// Closed, gone silent, or not understood.
    Broken,
    /// Ended by the collector, which said when it is worth another try.
    Asked {
        /// After so long.
        after: Duration,
    },
    /// The collector does not want this machine: unknown or banned.
    Rejected,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Open a connection; the attempt chooses among the addresses.
    Connect {
        /// Counts up from 0.
        attempt: u32,
    },
    /// Open a connection on standby instead of the stream; the attempt chooses among the addresses.
    StandBy {
        /// As of [`Effect::Connect`].
        attempt: u32,
    },
    /// Close the connection; no event is expected for it.
    Disconnect,
    /// Say this.
    Send(wire::AgentMessage),
    /// Say the evidence of this sequence.
    SendEvidence {
        /// In the current spool.
        sequence: u64,
    },
    /// The collector has everything up to and with this; losing the mark only sends again.
    SaveAck {
        /// In the current spool.
        sequence: u64,
    },
    /// Leave the spool for a new one, and say again in it what the collector does not have.
    OpenNewSpool {
        /// Why.
        why: NewSpool,
        /// What comes after this sequence goes into the new spool.
        carry_after: u64,
    },
    /// The machine's clock is off by this much.
    CorrectClock {
        /// Added to the wall clock from now on.
        offset_ms: i64,
        /// It moved so far that a fresh report is wanted.
        fresh_report: bool,
    },
    /// Follow these settings and keep them.
    ApplySettings {
        /// What to follow.
        settings: Settings,
        /// What to keep, as it came.
        signed: wire::Signed,
    },
    /// Keep this catalogue and, once it is durable, tell products apart by it.
    TakeCatalogue {
        /// What to use.
        catalogue: Arc<Catalogue>,
        /// What to keep, as it came.
        signed: wire::Signed,
    },
    /// Make a report now.
    RequestReport,
    /// Put the answer to an order into the spool.
    AnswerOrder {
        /// The answer.
        result: wire::OrderResult,
        /// To be durable before the answer.
        floor: Floor,
    },
    /// Ask whoever switches products.
    Ask(Ask),
    /// The newest checkpoint, for the next evidence.
    KeepCheckpoint(String),
    /// Something a person may want to know.
    Note(Note),
}

/// Why a spool cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewSpool {
    /// The collector has more of it: this machine was restored from a snapshot.
    Behind,
    /// The collector has other evidence at the same place.
    Differs,
    /// The evidence that follows the collector's tip is not kept any more.
    Gap,
    /// The collector refused it as a fork.
    Forked,
    /// The collector refused it as out of order.
    Broken,
    /// The collector could not read it.
    Unread,
}
