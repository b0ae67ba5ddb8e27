//! The conversation with one agent. Invariant: the machine is whoever holds the key of the connection, and it is
//! asked for at the start and with each message whether it is still let in; one that waits for the agent is small: what
//! takes room is boxed while it goes on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use futures_util::FutureExt as _;
use prost::Message as _;
use seatbeat_ledger::registry::Tip;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::{AgentMessage, CollectorMessage, Hello, MESSAGE_LENGTH_MAX, Settings, Signed};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::Stream;
use tonic::{Code, Status, Streaming};

use super::catalogue::Offer;
use super::clocks::{NOTE_EVERY, is_ahead};
use super::connection::Peer;
use super::door::Door;
use super::greeting;
use super::intake::{Intake, Outcome};
use super::limits::{BEAT_RATE, GROUP_BYTES_MAX, GROUP_RECORDS_MAX, SEND_TIMEOUT};
use super::orders::Deliveries;
use super::presence::Open;
use super::streams::{Ending, Place};

/// How often an open stream is given a new checkpoint: so that each report, made every 6 h, carries a recent one.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(3600);

/// What a stream sends down: boxed, since a queue has room for 32 of them at once, used or not.
pub type Sender = mpsc::Sender<Box<Result<CollectorMessage, Status>>>;

/// The other end of it.
pub struct Sent(mpsc::Receiver<Box<Result<CollectorMessage, Status>>>);

impl Sent {
    /// What comes out of a stream's queue.
    pub fn new(queue: mpsc::Receiver<Box<Result<CollectorMessage, Status>>>) -> Self {
        Self(queue)
    }
}

impl Stream for Sent {
    type Item = Result<CollectorMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|message| message.map(|message| *message))
    }
}

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

/// Talks with a machine until one side ends it.
pub fn talk(
    door: Arc<Door>,
    machine: MachineId,
    key: VerifyingKey,
    up: Streaming<AgentMessage>,
    down: Sender,
) -> impl Future<Output = ()> + Send {
    let begun = Box::pin(Conversation::begin(door, machine, key, up, down.clone()));
    async move {
        let ended = match begun.await {
            Ok(mut conversation) => conversation.go_on().await,
            Err(status) => Err(status),
        };
        if let Err(status) = ended {
            tracing::debug!(code = ?status.code(), why = status.message(), "stream ended");
            // An agent that does not read is gone.
            let _ = Box::pin(timeout(SEND_TIMEOUT, down.send(Box::new(Err(status))))).await;
        }
    }
}

struct Conversation {
    door: Arc<Door>,
    machine: MachineId,
    intake: Intake,
    presence: Open,
    place: Place,
    settings: watch::Receiver<Signed>,
    settings_revision: u64,
    catalogue: Offer,
    deliveries: Deliveries,
    checkpoint_at: Instant,
    began: Instant,
    /// When everything it said besides evidence would have been said at [`BEAT_RATE`].
    beats_even_at: Duration,
    clock: ClockNotes,
    up: Streaming<AgentMessage>,
    down: Sender,
}

impl Conversation {
    async fn begin(
        door: Arc<Door>,
        machine: MachineId,
        key: VerifyingKey,
        mut up: Streaming<AgentMessage>,
        down: Sender,
    ) -> Result<Self, Status> {
        let hello = hello(&mut up, door.patience.hello).await?;
        let spool = greeting::checked(&hello)?;
        let place = door.streams.open(&machine);
        // Asked behind the place: a ban from here on ends the stream through it.
        let tip = tip(&door, &machine, spool.as_ref(), hello.sequence).await?;
        let now = door.books.clock().now();
        let now_ms = door.books.clock().now_ms();
        let offset_ms = hello.sent_at_ms.saturating_sub(now_ms);
        let clock = ClockNotes::begin(&door, &machine, offset_ms);
        let presence = door.presence.open(&machine, offset_ms, now);
        door.host_names.note(&machine, &hello.host_name);
        let deliveries = Deliveries::new(machine.clone(), hello.order_keys_revision);
        let (settings_revision, catalogue_version) = (hello.settings_revision, hello.catalogue_version);
        let welcome = greeting::welcome(hello, tip, now_ms, door.checkpoint(), door.patience.quiet);
        let conversation = Self {
            intake: Intake::new(Arc::clone(&door), machine.clone(), key),
            machine,
            presence,
            place,
            settings: door.settings.clone(),
            settings_revision,
            catalogue: door.catalogues.offer(catalogue_version),
            door,
            deliveries,
            checkpoint_at: Instant::now(),
            began: Instant::now(),
            beats_even_at: Duration::ZERO,
            clock,
            up,
            down,
        };
        conversation.send(Down::Welcome(welcome)).await?;
        Ok(conversation)
    }

    async fn go_on(&mut self) -> Result<(), Status> {
        self.send_newer_settings().await?;
        self.send_orders().await?;
        let woken = self.place.woken();
        let mut held = None;
        loop {
            let message = match held.take() {
                Some(message) => message,
                None => tokio::select! {
                    biased;
                    ending = self.place.ended() => return Err(ending.status()),
                    () = changed(&mut self.settings) => {
                        self.send_newer_settings().await?;
                        continue;
                    }
                    () = woken.notified() => {
                        self.send_orders().await?;
                        continue;
                    }
                    catalogue = self.catalogue.next(&self.door.catalogues) => {
                        self.send(Down::Catalogue(catalogue.as_ref().clone())).await?;
                        continue;
                    }
                    message = self.up.message() => message,
                },
            };
            let Some(message) = message.map_err(unreadable)? else { return Ok(()) };
            self.still_let_in()?;
            let rest = match message.body {
                Some(Up::Evidence(first)) => {
                    self.presence.message(self.door.books.clock().now());
                    let came = Instant::now();
                    let (group, next) = self.gather(first);
                    held = next;
                    Box::pin(self.take(group, came)).await?;
                    Duration::ZERO
                }
                Some(Up::Beat(beat)) => {
                    let clock = self.door.books.clock();
                    let offset_ms = beat.sent_at_ms.saturating_sub(clock.now_ms());
                    self.clock.note(&self.door, &self.machine, offset_ms);
                    self.presence.beat(offset_ms, beat.waiting, clock.now());
                    BEAT_RATE.ahead(&mut self.beats_even_at, self.began.elapsed())
                }
                Some(Up::Hello(_)) => {
                    return Err(Status::invalid_argument("Hello comes once, as the first message"));
                }
                // What a newer agent may say beside: a beat all the same.
                None => {
                    self.presence.message(self.door.books.clock().now());
                    BEAT_RATE.ahead(&mut self.beats_even_at, self.began.elapsed())
                }
            };
            if !rest.is_zero() {
                tokio::select! {
                    ending = self.place.ended() => return Err(ending.status()),
                    () = Box::pin(sleep(rest)) => {}
                }
            }
        }
    }

    /// Evidence that has arrived already, up to a group; and the message behind it, if another kind was there.
    fn gather(&mut self, first: Signed) -> (Vec<Signed>, Option<Result<Option<AgentMessage>, Status>>) {
        let mut bytes = first.payload.len();
        let mut group = vec![first];
        while group.len() < GROUP_RECORDS_MAX && bytes < GROUP_BYTES_MAX {
            match self.up.message().now_or_never() {
                Some(Ok(Some(AgentMessage { body: Some(Up::Evidence(next)) }))) => {
                    bytes += next.payload.len();
                    group.push(next);
                }
                other => return (group, other),
            }
        }
        (group, None)
    }

    async fn take(&mut self, group: Vec<Signed>, came: Instant) -> Result<(), Status> {
        let outcome = self.intake.take(group).await;
        self.tell(outcome, came).await?;
        // What was said may let the next order go.
        self.send_orders().await
    }

    async fn tell(&mut self, outcome: Outcome, came: Instant) -> Result<(), Status> {
        self.presence.evidence(outcome.written);
        for body in outcome.down {
            if let Down::Refusal(refusal) = &body {
                self.presence.meters().refuse(refusal.reason());
            }
            self.send(body).await?;
        }
        if outcome.written > 0 {
            self.presence.meters().acknowledged(came.elapsed());
        }
        if let Some(status) = outcome.end {
            return Err(status);
        }
        if self.checkpoint_at.elapsed() >= CHECKPOINT_EVERY {
            self.checkpoint_at = Instant::now();
            self.send(Down::Checkpoint(self.door.checkpoint())).await?;
        }
        Ok(())
    }

    async fn send_newer_settings(&mut self) -> Result<(), Status> {
        match newer_settings(&mut self.settings, &mut self.settings_revision) {
            Some(settings) => self.send(Down::Settings(settings)).await,
            None => Ok(()),
        }
    }

    async fn send_orders(&mut self) -> Result<(), Status> {
        for body in Box::pin(self.deliveries.due(&self.door)).await {
            self.send(body).await?;
        }
        Ok(())
    }

    fn still_let_in(&self) -> Result<(), Status> {
        let banned = self
            .door
            .books
            .read(|fold| fold.registry().machine(&self.machine).is_none_or(|machine| machine.banned));
        if banned { Err(Ending::Banned.status()) } else { Ok(()) }
    }

    async fn send(&self, body: Down) -> Result<(), Status> {
        let message = Box::new(Ok(CollectorMessage { body: Some(body) }));
        let sent = Box::pin(timeout(SEND_TIMEOUT, self.down.send(message))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("the agent is gone")),
            Err(_) => Err(Status::deadline_exceeded("the agent does not read what it is sent")),
        }
    }
}

/// What was noted of a machine's clock in one conversation.
pub(super) struct ClockNotes {
    ahead: bool,
    noted_at: Instant,
}

impl ClockNotes {
    /// Notes by how much it is ahead as the conversation begins.
    pub(super) fn begin(door: &Door, machine: &MachineId, offset_ms: i64) -> Self {
        door.note_clock(machine, offset_ms);
        Self { ahead: is_ahead(offset_ms), noted_at: Instant::now() }
    }

    /// Notes it again when that says something new.
    pub(super) fn note(&mut self, door: &Door, machine: &MachineId, offset_ms: i64) {
        if self.ahead != is_ahead(offset_ms) || self.noted_at.elapsed() >= NOTE_EVERY {
            *self = Self::begin(door, machine, offset_ms);
        }
    }
}

/// The end of the chain that an agent names, with what another collector has acknowledged of it: that is not asked for
/// again.
pub(super) async fn tip(
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

/// The settings of the collector when they are newer than what an agent has or was sent; they count as sent then.
pub(super) fn newer_settings(settings: &mut watch::Receiver<Signed>, sent: &mut u64) -> Option<Signed> {
    let settings = settings.borrow_and_update().clone();
    let revision = Settings::decode(settings.payload.as_slice()).map_or(0, |settings| settings.revision);
    let is_newer = revision > *sent;
    *sent = revision.max(*sent);
    is_newer.then_some(settings)
}

async fn hello(up: &mut Streaming<AgentMessage>, patience: Duration) -> Result<Hello, Status> {
    let first = timeout(patience, up.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello came in time"))?
        .map_err(unreadable)?;
    match first.and_then(|message| message.body) {
        Some(Up::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("the first message has to be Hello")),
    }
}

/// Why a message could not be read, in words; a connection that broke is told to nobody.
fn unreadable(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => {
            Status::invalid_argument(format!("a message is larger than {MESSAGE_LENGTH_MAX} bytes"))
        }
        Code::Internal => Status::invalid_argument("a message cannot be decoded"),
        _ => status,
    }
}

/// Waits for other settings; for ever, when there will be none.
pub(super) async fn changed(settings: &mut watch::Receiver<Signed>) {
    if settings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the future that a function of so many arguments makes.
    fn size<A, B, C, D, E, F: Future>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_conversation_that_waits_takes_little_room() {
        assert!(size(talk) <= 2_560, "{} bytes", size(talk));
    }
}
