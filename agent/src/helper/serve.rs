//! The helper's end of its socket. Invariant: one agent at a time speaks of orders, and only the one user that may; who
//! says something that is not understood is not listened to any more; it ends by itself when there is nothing to do, and
//! never while something is being done.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use seatbeat_proto::wire;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use super::words::{Answer, Answered, LookAt, MESSAGE_TIME, Nothing, Said, Saying, SeenText, receive, send};
use crate::act::arm::{Arm, Ask, Told};

/// How long it stays when nobody wants anything.
pub const IDLE_TIME: Duration = Duration::from_secs(60);

/// Looks at the machine at once, and connections that have not said yet what they are for.
const LOOKS_MAX: usize = 2;
const STRANGERS_MAX: usize = 8;

/// What waits to be handled; who says more waits with saying it.
const EVENTS_MAX: usize = 32;

/// Looks at the machine; the error says in words why it could not.
pub type Looker = Arc<dyn Fn(LookWanted) -> Result<SeenByHelper, String> + Send + Sync>;

/// What is to be looked for.
#[derive(Debug, Clone)]
pub struct LookWanted {
    /// How closely.
    pub look: crate::detect::watch::Look,
    /// A catalogue that the agent has; it counts only where the release key signed it.
    pub catalogue: Option<wire::Signed>,
    /// The time that reports are made by, Unix milliseconds.
    pub at_ms: i64,
}

/// What was seen.
pub type SeenByHelper = SeenText;

enum Event {
    Orders(UnixStream),
    Said(u64, Option<Saying>),
    Looked,
}

/// See the module's text.
pub struct Helper {
    listener: UnixListener,
    peer: u32,
    arm: Arm,
    looker: Looker,
    idle: Duration,
    events: mpsc::Sender<Event>,
    waiting: mpsc::Receiver<Event>,
    looks: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    looking: usize,
    /// The agent that speaks of orders.
    agent: Option<(u64, OwnedWriteHalf)>,
    agents: u64,
    /// Orders that are begun and have no end.
    doing: BTreeSet<String>,
    /// It said that it ends; what the agent said before it heard of that is still answered.
    leaves: bool,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Helper")
    }
}

impl Helper {
    /// On a socket that listens, for one user's processes. Within an event loop.
    pub fn new(listener: UnixListener, peer: u32, arm: Arm, looker: Looker) -> Self {
        let (events, waiting) = mpsc::channel(EVENTS_MAX);
        Self {
            listener,
            peer,
            arm,
            looker,
            idle: IDLE_TIME,
            events,
            waiting,
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            looking: 0,
            agent: None,
            agents: 0,
            doing: BTreeSet::new(),
            leaves: false,
        }
    }

    /// With another time until it ends by itself.
    #[must_use]
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Runs until `stop` is ready, and what is being done is done, or there is nothing to do any more.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut stop = std::pin::pin!(stop);
        let mut stops = false;
        loop {
            tokio::select! {
                () = &mut stop, if !stops => stops = true,
                accepted = self.listener.accept() => self.accepted(accepted?.0),
                event = self.waiting.recv() => match event {
                    Some(event) => self.event(event).await,
                    None => return Ok(()),
                },
                told = self.arm.next() => match told {
                    Some(told) => self.told(told).await,
                    None => return Err(io::Error::other("whoever carries orders out has ended")),
                },
                () = tokio::time::sleep(self.idle), if self.doing.is_empty() && self.looking == 0 => {
                    if self.leaves {
                        // The agent does not hear.
                        return Ok(());
                    }
                    self.leaves = true;
                    self.answer(Answer::Leaves(Nothing {})).await;
                }
            }
            if self.leaves && self.agent.is_none() || stops && self.doing.is_empty() {
                return Ok(());
            }
        }
    }

    fn accepted(&mut self, stream: UnixStream) {
        let peer = stream.peer_cred().map(|peer| peer.uid());
        if peer.as_ref().ok() != Some(&self.peer) {
            tracing::warn!(?peer, "somebody else than the agent spoke to the helper");
            return;
        }
        // Too many that say nothing: the newest gives way, and comes again.
        let Ok(place) = Arc::clone(&self.strangers).try_acquire_owned() else { return };
        let (events, looker, looks) =
            (self.events.clone(), Arc::clone(&self.looker), Arc::clone(&self.looks));
        (self.looking, self.leaves) = (self.looking + 1, false);
        tokio::spawn(async move {
            greet(stream, &events, looker, looks).await;
            drop(place);
            let _ = events.send(Event::Looked).await;
        });
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Looked => self.looking = self.looking.saturating_sub(1),
            Event::Orders(stream) => self.begin(stream).await,
            Event::Said(number, saying) => {
                if self.agent.as_ref().is_none_or(|(speaks, _)| *speaks != number) {
                    return;
                }
                self.leaves &= saying.is_none();
                match saying.map(Ask::try_from) {
                    Some(Ok(ask)) => {
                        if !self.arm.ask(ask) {
                            self.answer(Answer::Refused("too much waits already".into())).await;
                            self.agent = None;
                        }
                    }
                    Some(Err(_)) => {
                        tracing::warn!("the agent said something that is not understood");
                        self.agent = None;
                    }
                    None => self.agent = None,
                }
            }
        }
    }

    async fn begin(&mut self, stream: UnixStream) {
        let (reader, mut writer) = stream.into_split();
        if self.agent.is_some() {
            tracing::warn!("a second agent wanted to speak of orders");
            let refused = Answer::Refused("another agent speaks of orders already".into());
            let _ = send(&mut writer, &Answered { answer: Some(refused) }).await;
            return;
        }
        self.agents += 1;
        self.agent = Some((self.agents, writer));
        tokio::spawn(listen(reader, self.agents, self.events.clone()));
    }

    async fn told(&mut self, told: Told) {
        if let Told::Result(result) = &told {
            match result.outcome() {
                wire::Outcome::Doing => self.doing.insert(result.order.clone()),
                _ => self.doing.remove(&result.order),
            };
        }
        // An agent that has gone asks for it when it comes back.
        self.answer(told.into()).await;
    }

    async fn answer(&mut self, answer: Answer) {
        let Some((_, writer)) = &mut self.agent else { return };
        if let Err(error) = send(writer, &Answered { answer: Some(answer) }).await {
            tracing::info!(%error, "the agent takes no answer");
            self.agent = None;
        }
    }
}

/// Hears what a connection is for.
async fn greet(mut stream: UnixStream, events: &mpsc::Sender<Event>, looker: Looker, looks: Arc<Semaphore>) {
    let first = tokio::time::timeout(MESSAGE_TIME, receive::<Said>(&mut stream)).await;
    match first {
        Ok(Ok(Some(Said { saying: Some(Saying::Orders(_)) }))) => {
            let _ = events.send(Event::Orders(stream)).await;
        }
        Ok(Ok(Some(Said { saying: Some(Saying::Look(wanted)) }))) => {
            let Ok(_place) = looks.acquire().await else { return };
            let answer = match tokio::task::spawn_blocking(move || looker(wanted.into())).await {
                Ok(Ok(seen)) => Answer::Seen(seen),
                Ok(Err(why)) => Answer::Blind(why),
                Err(error) => Answer::Blind(error.to_string()),
            };
            if let Err(error) = send(&mut stream, &Answered { answer: Some(answer) }).await {
                tracing::info!(%error, "nobody takes what was seen");
            }
        }
        Ok(Ok(None)) => {}
        Ok(Ok(Some(_)) | Err(_)) | Err(_) => tracing::warn!("something that is not understood was said"),
    }
}

impl From<LookAt> for LookWanted {
    fn from(wanted: LookAt) -> Self {
        let look = wanted.look();
        let LookAt { catalogue, at_ms, .. } = wanted;
        Self { look, catalogue, at_ms }
    }
}

async fn listen(mut reader: OwnedReadHalf, number: u64, events: mpsc::Sender<Event>) {
    loop {
        let saying = match receive::<Said>(&mut reader).await {
            Ok(Some(Said { saying: Some(saying) })) => Some(saying),
            Ok(None) => None,
            Ok(Some(_)) | Err(_) => {
                tracing::warn!("the agent said something that is not understood");
                None
            }
        };
        let over = saying.is_none();
        if events.send(Event::Said(number, saying)).await.is_err() || over {
            return;
        }
    }
}
