//! A machine that is there, in a stream or on standby: its place and presence, its clock and how often it speaks, which
//! settings, catalogue and orders it was given. Invariant: what the journal holds of it is asked behind its place, so
//! that what becomes due from there on wakes it, and a ban ends it.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use prost::Message as _;
use seatbeat_ledger::registry::Tip;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::{Beat, Hello, Settings, Signed};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

use super::catalogue::Offer;
use super::clocks::{NOTE_EVERY, is_ahead};
use super::connection::Peer;
use super::door::Door;
use super::greeting;
use super::limits::BEAT_RATE;
use super::orders::Deliveries;
use super::presence::{Open, Stay};
use super::streams::{Ending, Place};

/// The machine on the other side of a connection.
///
/// # Errors
/// When it presented no key, or one that is not let in.
pub async fn machine_of(door: &Door, peer: Option<&Peer>) -> Result<(MachineId, VerifyingKey), Status> {
    let key = peer
        .and_then(|peer| peer.key)
        .and_then(|key| VerifyingKey::from_bytes(&key).ok())
        .ok_or_else(|| Status::unauthenticated("no machine's certificate was presented: enrol first"))?;
    let machine = MachineId::derived_from(key.as_bytes());
    let ask = || {
        door.books.read(|fold| {
            fold.registry().machine(&machine).map(|machine| (machine.banned, machine.key == *key.as_bytes()))
        })
    };
    let mut known = ask();
    if known.is_none() {
        // Another collector may have let it in just now.
        door.books.caught_up().await;
        known = ask();
    }
    match known {
        Some((false, true)) => Ok((machine, key)),
        Some((true, _)) => Err(Ending::Banned.status()),
        _ => Err(Status::unauthenticated("unknown machine: it was never enrolled here, enrol it again")),
    }
}

/// A machine that was let in.
pub struct Guest {
    pub door: Arc<Door>,
    pub machine: MachineId,
    pub presence: Open,
    pub place: Place,
    pub settings: watch::Receiver<Signed>,
    pub catalogue: Offer,
    settings_revision: u64,
    deliveries: Deliveries,
    began: Instant,
    /// When everything it said besides evidence would have been said at [`BEAT_RATE`].
    beats_even_at: Duration,
    clock: ClockNotes,
}

impl Guest {
    /// A machine that says Hello, and where the collector's copy of the chain ends that it names.
    ///
    /// # Errors
    /// When it is not let in, or its Hello cannot be answered.
    pub async fn arrive(
        door: Arc<Door>,
        machine: MachineId,
        hello: &Hello,
        stay: Stay,
    ) -> Result<(Self, Option<Tip>), Status> {
        let spool = greeting::checked(hello)?;
        let place = door.streams.open(&machine);
        let tip = tip(&door, &machine, spool.as_ref(), hello.sequence).await?;
        let clock = door.books.clock();
        let offset_ms = hello.sent_at_ms.saturating_sub(clock.now_ms());
        let guest = Self {
            presence: door.presence.open(&machine, offset_ms, clock.now(), stay),
            place,
            settings: door.settings.clone(),
            settings_revision: hello.settings_revision,
            catalogue: door.catalogues.offer(hello.catalogue_version),
            deliveries: Deliveries::new(machine.clone(), hello.order_keys_revision),
            began: Instant::now(),
            beats_even_at: Duration::ZERO,
            clock: ClockNotes::begin(&door, &machine, offset_ms),
            door,
            machine,
        };
        Ok((guest, tip))
    }

    /// Notes a beat; how long it is not to be listened to then.
    pub fn beat(&mut self, beat: &Beat) -> Duration {
        let clock = self.door.books.clock();
        let offset_ms = beat.sent_at_ms.saturating_sub(clock.now_ms());
        self.clock.note(&self.door, &self.machine, offset_ms);
        self.presence.beat(offset_ms, beat.waiting, clock.now());
        self.rest()
    }

    /// Notes a message that says nothing this collector knows, likewise.
    pub fn message(&mut self) -> Duration {
        self.presence.message(self.door.books.clock().now());
        self.rest()
    }

    fn rest(&mut self) -> Duration {
        BEAT_RATE.ahead(&mut self.beats_even_at, self.began.elapsed())
    }

    /// The collector's settings when they are newer than what it has or was sent; they count as sent then.
    pub fn newer_settings(&mut self) -> Option<Signed> {
        let settings = self.settings.borrow_and_update();
        let revision = Settings::decode(settings.payload.as_slice()).map_or(0, |settings| settings.revision);
        let is_newer = revision > self.settings_revision;
        is_newer.then(|| {
            self.settings_revision = revision;
            settings.clone()
        })
    }

    /// Orders that it was not given yet, and what has to come with them.
    pub async fn orders_due(&mut self) -> Vec<Down> {
        self.deliveries.due(&self.door).await
    }
}

/// Waits for other settings; for ever, when there will be none.
pub async fn changed(settings: &mut watch::Receiver<Signed>) {
    if settings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What was noted of a machine's clock in one conversation.
struct ClockNotes {
    ahead: bool,
    noted_at: Instant,
}

impl ClockNotes {
    /// Notes by how much it is ahead as the conversation begins.
    fn begin(door: &Door, machine: &MachineId, offset_ms: i64) -> Self {
        door.note_clock(machine, offset_ms);
        Self { ahead: is_ahead(offset_ms), noted_at: Instant::now() }
    }

    /// Notes it again when that says something new.
    fn note(&mut self, door: &Door, machine: &MachineId, offset_ms: i64) {
        if self.ahead != is_ahead(offset_ms) || self.noted_at.elapsed() >= NOTE_EVERY {
            *self = Self::begin(door, machine, offset_ms);
        }
    }
}

/// The end of the chain that an agent names, with what another collector has acknowledged of it: that is not asked for
/// again.
async fn tip(
    door: &Door,
    machine: &MachineId,
    spool: Option<&SpoolId>,
    sequence: u64,
) -> Result<Option<Tip>, Status> {
    let known = || door.books.read(|fold| greeting::tip(fold, machine, spool));
    let tip = known()?;
    if tip.map_or(0, |tip| tip.sequence) >= sequence {
        return Ok(tip);
    }
    door.books.caught_up().await;
    known()
}
