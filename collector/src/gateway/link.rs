//! The conversation with one agent. Invariant: the machine is whoever holds the key of the connection, and it is
//! asked for at the start and with each message whether it is still let in; one that waits for the agent is small: what
//! takes room is boxed while it goes on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use futures_util::FutureExt as _;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::{AgentMessage, CollectorMessage, Hello, MESSAGE_LENGTH_MAX, Signed};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::Stream;
use tonic::{Code, Status, Streaming};

use super::door::Door;
use super::greeting;
use super::guest::{Guest, changed};
use super::intake::{Intake, Outcome};
use super::limits::{GROUP_BYTES_MAX, GROUP_RECORDS_MAX, SEND_TIMEOUT};
use super::presence::Stay;
use super::streams::Ending;

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
    guest: Guest,
    intake: Intake,
    checkpoint_at: Instant,
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
        let (guest, tip) = Guest::arrive(Arc::clone(&door), machine.clone(), &hello, Stay::InStream).await?;
        door.host_names.note(&machine, &hello.host_name);
        let now_ms = door.books.clock().now_ms();
        let welcome = greeting::welcome(hello, tip, now_ms, door.checkpoint(), door.patience.quiet);
        let intake = Intake::new(door, machine, key);
        let conversation = Self { guest, intake, checkpoint_at: Instant::now(), up, down };
        conversation.send(Down::Welcome(welcome)).await?;
        Ok(conversation)
    }

    async fn go_on(&mut self) -> Result<(), Status> {
        self.send_newer_settings().await?;
        self.send_orders().await?;
        let woken = self.guest.place.woken();
        let mut held = None;
        loop {
            let message = match held.take() {
                Some(message) => message,
                None => tokio::select! {
                    biased;
                    ending = self.guest.place.ended() => return Err(ending.status()),
                    () = changed(&mut self.guest.settings) => {
                        self.send_newer_settings().await?;
                        continue;
                    }
                    () = woken.notified() => {
                        self.send_orders().await?;
                        continue;
                    }
                    catalogue = self.guest.catalogue.next(&self.guest.door.catalogues) => {
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
                    self.guest.presence.message(self.guest.door.books.clock().now());
                    let came = Instant::now();
                    let (group, next) = self.gather(first);
                    held = next;
                    Box::pin(self.take(group, came)).await?;
                    Duration::ZERO
                }
                Some(Up::Beat(beat)) => self.guest.beat(&beat),
                Some(Up::Hello(_)) => {
                    return Err(Status::invalid_argument("Hello comes once, as the first message"));
                }
                // What a newer agent may say beside: a beat all the same.
                None => self.guest.message(),
            };
            if !rest.is_zero() {
                tokio::select! {
                    ending = self.guest.place.ended() => return Err(ending.status()),
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
        self.guest.presence.evidence(outcome.written);
        for body in outcome.down {
            if let Down::Refusal(refusal) = &body {
                self.guest.presence.meters().refuse(refusal.reason());
            }
            self.send(body).await?;
        }
        if outcome.written > 0 {
            self.guest.presence.meters().acknowledged(came.elapsed());
        }
        if let Some(status) = outcome.end {
            return Err(status);
        }
        if self.checkpoint_at.elapsed() >= CHECKPOINT_EVERY {
            self.checkpoint_at = Instant::now();
            self.send(Down::Checkpoint(self.guest.door.checkpoint())).await?;
        }
        Ok(())
    }

    async fn send_newer_settings(&mut self) -> Result<(), Status> {
        match self.guest.newer_settings() {
            Some(settings) => self.send(Down::Settings(settings)).await,
            None => Ok(()),
        }
    }

    async fn send_orders(&mut self) -> Result<(), Status> {
        for body in Box::pin(self.guest.orders_due()).await {
            self.send(body).await?;
        }
        Ok(())
    }

    fn still_let_in(&self) -> Result<(), Status> {
        let Guest { door, machine, .. } = &self.guest;
        let banned =
            door.books.read(|fold| fold.registry().machine(machine).is_none_or(|machine| machine.banned));
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
