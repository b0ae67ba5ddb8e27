//! Agents that stand by: what they say is that they are there, and what they hear is that all is well, newer settings,
//! or that they are to come. Invariant: no evidence is taken here and no order given; whatever else there is to say, the
//! agent is called for and told in a stream. One that waits here is small.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use prost::Message as _;
use seatbeat_proto::standby::{READ_LENGTH, frame, unframe};
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::{AgentMessage, CollectorMessage, Hello, Standby};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::connection::Connection;
use super::door::Door;
use super::greeting;
use super::guest::{Guest, changed, machine_of};
use super::limits::SEND_TIMEOUT;
use super::presence::Stay;
use super::streams::Ending;

/// How long a machine may say nothing: it beats each 110 s at least, and one beat may be lost with a connection.
const SILENCE_MAX: Duration = Duration::from_secs(240);

/// Serves them until `connections` ends and each has gone.
pub async fn serve<S>(door: Arc<Door>, mut connections: mpsc::Receiver<Connection<S>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut standing = JoinSet::new();
    loop {
        tokio::select! {
            connection = connections.recv() => match connection {
                Some(connection) => drop(standing.spawn(stand(Arc::clone(&door), connection))),
                None => break,
            },
            Some(_) = standing.join_next() => {}
        }
    }
    while standing.join_next().await.is_some() {}
}

/// A connection, and what has come of the next frame.
struct Line<S> {
    connection: Connection<S>,
    came: BytesMut,
}

/// The other side is gone, or says what cannot be read.
struct Gone;

/// How a connection ends from this side.
const COME: Standby = Standby { come: true, after_ms: 0 };

/// What Hello is answered with, and a beat that wants an answer.
const WELL: Standby = Standby { come: false, after_ms: 0 };

/// The collector ends.
fn come_back(after: Duration) -> Standby {
    Standby { come: false, after_ms: u32::try_from(after.as_millis()).unwrap_or(u32::MAX).max(1) }
}

/// Waits for the turn to be called; for ever, when there is nothing to be called for.
async fn come_at(turn: Option<Instant>) {
    match turn {
        Some(turn) => sleep_until(turn).await,
        None => std::future::pending().await,
    }
}

/// One agent, until it goes or is called.
fn stand<S>(door: Arc<Door>, connection: Connection<S>) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut line = Line { connection, came: BytesMut::with_capacity(READ_LENGTH) };
    async move {
        let end = match Box::pin(begin(door, &mut line)).await {
            Ok(Some(mut guest)) => wait(&mut guest, &mut line).await,
            // A stream tells it why.
            Ok(None) => Ok(COME),
            Err(Gone) => Err(Gone),
        };
        if let Ok(end) = end {
            let _ = Box::pin(line.say(Down::Standby(end))).await;
        }
        let _ = Box::pin(timeout(SEND_TIMEOUT, line.connection.shutdown())).await;
    }
}

/// None: there is something to be said in a stream.
async fn begin<S>(door: Arc<Door>, line: &mut Line<S>) -> Result<Option<Guest>, Gone>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok((machine, _)) = machine_of(&door, Some(line.connection.peer())).await else {
        return Ok(None);
    };
    let hello = line.hello(door.patience.hello).await?;
    let mut guest = match Guest::arrive(door, machine, &hello, Stay::StandingBy).await {
        Ok((guest, tip)) if greeting::agrees(&hello, tip) => guest,
        _ => return Ok(None),
    };
    if !guest.orders_due().await.is_empty() {
        return Ok(None);
    }
    line.say(Down::Standby(WELL)).await?;
    line.tell_settings(&mut guest).await?;
    Ok(Some(guest))
}

/// Until the connection is to end: what it is told then.
async fn wait<S>(guest: &mut Guest, line: &mut Line<S>) -> Result<Standby, Gone>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let woken = guest.place.woken();
    let mut gone_at = Instant::now() + SILENCE_MAX;
    let mut turn = None;
    loop {
        let beat = tokio::select! {
            biased;
            ending = guest.place.ended() => return Ok(match ending {
                Ending::Closing(after) => come_back(after),
                Ending::Superseded | Ending::Banned => COME,
            }),
            () = come_at(turn) => return Ok(COME),
            () = changed(&mut guest.settings) => {
                Box::pin(line.tell_settings(guest)).await?;
                continue;
            }
            () = woken.notified(), if turn.is_none() => {
                if !Box::pin(guest.orders_due()).await.is_empty() {
                    turn = Some(guest.door.calls.next());
                }
                continue;
            }
            _ = guest.catalogue.next(&guest.door.catalogues) => return Ok(COME),
            frame = timeout_at(gone_at, line.next()) => match frame.map_err(|_| Gone)??.body {
                Some(Up::Beat(beat)) => beat,
                _ => return Err(Gone),
            },
        };
        gone_at = Instant::now() + SILENCE_MAX;
        let rest = guest.beat(&beat);
        if !rest.is_zero() {
            Box::pin(sleep(rest)).await;
        }
        if beat.answer {
            Box::pin(line.say(Down::Standby(WELL))).await?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Dropped before it is ready, it loses nothing.
    async fn next(&mut self) -> Result<AgentMessage, Gone> {
        loop {
            if let Some(frame) = unframe(&mut self.came).map_err(|_| Gone)? {
                return AgentMessage::decode(frame).map_err(|_| Gone);
            }
            if self.connection.read_buf(&mut self.came).await.map_err(|_| Gone)? == 0 {
                return Err(Gone);
            }
        }
    }

    async fn hello(&mut self, patience: Duration) -> Result<Hello, Gone> {
        match timeout(patience, self.next()).await {
            Ok(Ok(AgentMessage { body: Some(Up::Hello(hello)) })) => Ok(hello),
            _ => Err(Gone),
        }
    }

    async fn tell_settings(&mut self, guest: &mut Guest) -> Result<(), Gone> {
        match guest.newer_settings() {
            Some(settings) => self.say(Down::Settings(settings)).await,
            None => Ok(()),
        }
    }

    async fn say(&mut self, body: Down) -> Result<(), Gone> {
        let frame = frame(&CollectorMessage { body: Some(body) }).map_err(|_| Gone)?;
        let said = async {
            self.connection.write_all(&frame).await?;
            self.connection.flush().await
        };
        timeout(SEND_TIMEOUT, said).await.map_err(|_| Gone)?.map_err(|_| Gone)
    }
}
