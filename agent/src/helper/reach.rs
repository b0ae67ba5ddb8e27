//! The agent's end of the helper's socket: eyes and an arm that are root's. Invariant: what was asked waits until the
//! helper is there; a helper that ended in the middle is asked how everything stands when it is back.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::wire;
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::words::{
    Answer, Answered, LookAt, MESSAGE_TIME, Nothing, Said, Saying, receive, receive_blocking, send,
    send_blocking,
};
use crate::act::arm::{Arm, ArmEnd, Ask, Notice, Told};
use crate::catalogue::FILE as CATALOGUE;
use crate::daemon::{Seen, Sight};
use crate::detect::watch::Look;
use crate::plain::plain;
use crate::state::StateFolder;

/// How long a look may take: each of the vendor's programs gets ten seconds, and systemd starts the helper first.
const LOOK_TIME: Duration = Duration::from_secs(90);

/// Waits before the socket is tried again; the last one stays.
const AGAIN: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
];

/// Asks that are said again to a helper that was lost: what a collector sends at once, and a few.
const SAID_MAX: usize = crate::act::arm::WAITING_MAX;

/// Eyes at a helper's socket; a pushed catalogue is read from the agent's folder, and the helper verifies it itself.
pub fn sight(socket: PathBuf, state: StateFolder) -> Sight {
    Arc::new(move |now: Timestamp, look: Look, catalogue: &Catalogue| {
        let pushed = if catalogue.version > Catalogue::EMBEDDED_VERSION { pushed(&state) } else { None };
        let wanted = LookAt { look: LookAt::number(look), catalogue: pushed, at_ms: now.as_millisecond() };
        let asked = || -> io::Result<Answered> {
            let mut stream = BlockingStream::connect(&socket)?;
            stream.set_read_timeout(Some(LOOK_TIME))?;
            stream.set_write_timeout(Some(LOOK_TIME))?;
            send_blocking(&mut stream, &Said { saying: Some(Saying::Look(wanted)) })?;
            receive_blocking(&mut stream)
        };
        match asked() {
            Ok(Answered { answer: Some(Answer::Seen(seen)) }) => Ok(Seen {
                products: seen.products,
                facts: seen.facts.unwrap_or_default(),
                catalogue_version: seen.catalogue_version,
            }),
            Ok(Answered { answer: Some(Answer::Blind(why) | Answer::Refused(why)) }) => Err(plain(&why)),
            Ok(_) => Err("the helper's answer is not understood".into()),
            Err(error) => Err(format!("failed to ask the helper at `{}`: {error}", socket.display())),
        }
    })
}

fn pushed(state: &StateFolder) -> Option<wire::Signed> {
    wire::Signed::decode(state.read(CATALOGUE).ok()??.as_slice()).ok()
}

/// An arm at a helper's socket. Within an event loop.
pub fn arm(socket: PathBuf) -> Arm {
    let (arm, end) = Arm::pair();
    tokio::spawn(Reach { socket, end, offset_ms: 0, said: VecDeque::new() }.work());
    arm
}

struct Reach {
    socket: PathBuf,
    end: ArmEnd,
    /// A helper that was started again does not know it.
    offset_ms: i64,
    /// What a helper that is killed may not have heard of; hearing it twice changes nothing.
    said: VecDeque<Ask>,
}

/// Why a conversation ended.
enum Over {
    /// The agent has.
    Agent,
    /// The helper has nothing to do.
    Idle,
    /// The helper is gone, or talks nonsense.
    Lost,
    /// The helper listens to somebody else, or has heard too much.
    Refused,
}

impl Reach {
    async fn work(mut self) {
        let mut losses = 0;
        loop {
            // Nothing is asked of a helper that has nothing to do.
            let mut asks = Vec::new();
            if self.said.is_empty() {
                let Some(ask) = self.end.asks.recv().await else { return };
                asks.push(ask);
            } else {
                asks.push(Ask::Recap);
                asks.extend(std::mem::take(&mut self.said));
            }
            let Some(stream) = self.connect().await else { return };
            match self.speak(stream, asks).await {
                Over::Agent => return,
                Over::Idle => {
                    self.said.clear();
                    losses = 0;
                }
                over @ (Over::Lost | Over::Refused) => {
                    // How everything stands is asked in any case.
                    self.said.push_front(Ask::Recap);
                    losses = if matches!(over, Over::Refused) { AGAIN.len() } else { losses + 1 };
                    tokio::time::sleep(pause(losses)).await;
                }
            }
        }
    }

    /// `None`: the agent has ended.
    async fn connect(&self) -> Option<UnixStream> {
        let mut tries = 0;
        loop {
            let error = match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Some(stream),
                Err(error) => error,
            };
            if tries == 1 {
                let what = format!("the helper at `{}` cannot be reached: {error}", self.socket.display());
                let notice = Told::Noticed(Notice { what, grave: false });
                self.end.told.send(notice).await.ok()?;
            }
            tokio::select! {
                () = tokio::time::sleep(pause(tries)) => {}
                () = self.end.told.closed() => return None,
            }
            tries += 1;
        }
    }

    async fn speak(&mut self, stream: UnixStream, asks: Vec<Ask>) -> Over {
        let (mut reader, mut writer) = stream.into_split();
        let mut say = vec![Saying::Orders(Nothing {})];
        if self.offset_ms != 0 {
            say.push(Ask::Clock { offset_ms: self.offset_ms }.into());
        }
        for ask in asks {
            self.remember(&ask);
            say.push(ask.into());
        }
        let (heard, mut hearing) = mpsc::channel(1);
        let ear = tokio::spawn(async move { hear(&mut reader, heard).await });
        // A helper that does not listen may have said why before it hung up: that is heard to its end.
        let mut listens = true;
        for saying in say {
            listens = listens && send(&mut writer, &Said { saying: Some(saying) }).await.is_ok();
        }
        // Whether the helper may leave before it hears what was said last.
        let mut silent = true;
        let over = loop {
            let answer = tokio::select! {
                answer = hearing.recv() => answer,
                ask = self.end.asks.recv(), if listens => {
                    let Some(ask) = ask else { break Over::Agent };
                    self.remember(&ask);
                    silent = true;
                    listens = send(&mut writer, &Said { saying: Some(ask.into()) }).await.is_ok();
                    continue;
                }
                () = tokio::time::sleep(MESSAGE_TIME), if !listens => break Over::Lost,
            };
            match self.heard(answer, silent).await {
                None => silent = false,
                Some(over) => break over,
            }
        };
        ear.abort();
        over
    }

    /// `Some`: that was all.
    async fn heard(&mut self, answer: Option<Answer>, silent: bool) -> Option<Over> {
        let told = match answer {
            None => return Some(Over::Lost),
            Some(Answer::Leaves(_)) => return Some(if silent { Over::Lost } else { Over::Idle }),
            Some(Answer::Refused(why)) => {
                let what = format!("the helper does not take orders: {}", plain(&why));
                let told = self.end.told.send(Told::Noticed(Notice { what, grave: false })).await;
                return Some(if told.is_ok() { Over::Refused } else { Over::Agent });
            }
            Some(answer) => Told::try_from(answer),
        };
        let Ok(told) = told else { return Some(Over::Lost) };
        self.end.told.send(told).await.is_err().then_some(Over::Agent)
    }

    fn remember(&mut self, ask: &Ask) {
        match ask {
            Ask::Clock { offset_ms } => self.offset_ms = *offset_ms,
            Ask::Order(_) | Ask::Keys(_) | Ask::Kept { .. } | Ask::Forget => {
                self.said.push_back(ask.clone());
                if self.said.len() > SAID_MAX {
                    self.said.pop_front();
                }
            }
            Ask::Recap | Ask::Wake => {}
        }
    }
}

/// The wait after so many times before; systemd gives up on a service that is started too often.
fn pause(times: usize) -> Duration {
    AGAIN[times.min(AGAIN.len() - 1)]
}

async fn hear(reader: &mut (impl AsyncRead + Unpin), heard: mpsc::Sender<Answer>) {
    while let Ok(Some(Answered { answer: Some(answer) })) = receive(reader).await {
        if heard.send(answer).await.is_err() {
            return;
        }
    }
}
