//! A pushed catalogue on its way to the agents. Invariant: an agent is sent one only when it is newer than what it
//! uses, once a connection, and never all agents in the same moment.

use std::sync::Arc;
use std::time::Duration;

use seatbeat_ledger::fold::Fold;
use seatbeat_proto::wire::Signed;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::door::Door;
use super::turns::Turns;
use crate::books::Books;

/// Between two sendings. A catalogue is some 50 KiB: ten thousand agents that were sent it at once would have half a
/// gigabyte in their queues, this way they all have it after twenty seconds.
const PACE: Duration = Duration::from_millis(2);

/// Rest between two looks at the fold, so that busy hours do not pay for what comes a few times a year.
const PAUSE: Duration = Duration::from_millis(250);

/// The newest catalogue, for all streams.
pub struct Catalogues {
    newest: watch::Sender<Option<Held>>,
    turns: Turns,
}

#[derive(Clone)]
struct Held {
    version: u32,
    signed: Arc<Signed>,
}

/// What one stream still has to send.
pub struct Offer {
    newest: watch::Receiver<Option<Held>>,
    /// Version that its agent has, or was sent.
    known: u32,
    at: Option<Instant>,
}

impl Catalogues {
    /// As the books hold it now.
    pub fn new(books: &Books) -> Self {
        Self { newest: watch::Sender::new(books.read(held)), turns: Turns::each(PACE) }
    }

    /// For a stream whose agent uses this version; 0: it takes none.
    pub fn offer(&self, version: u32) -> Offer {
        let known = if version == 0 { u32::MAX } else { version };
        Offer { newest: self.newest.subscribe(), known, at: None }
    }
}

impl Offer {
    /// The catalogue that the agent is to be sent, once it is its turn; pending while there is none. Dropped before
    /// it is ready, it keeps its turn.
    pub async fn next(&mut self, catalogues: &Catalogues) -> Arc<Signed> {
        loop {
            let newest = self.newest.borrow_and_update().clone();
            let Some(newest) = newest.filter(|newest| newest.version > self.known) else {
                if self.newest.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            sleep_until(*self.at.get_or_insert_with(|| catalogues.turns.next())).await;
            self.at = None;
            self.known = newest.version;
            return newest.signed;
        }
    }
}

/// Takes over what is pushed. Never returns.
pub async fn follow(door: Arc<Door>) {
    let mut positions = door.books.positions();
    loop {
        let version = door.books.read(|fold| fold.catalogue().map(|pushed| pushed.version));
        let known = door.catalogues.newest.borrow().as_ref().map(|held| held.version);
        if version != known {
            tracing::info!(version, "agents are sent a newer catalogue");
            door.catalogues.newest.send_replace(door.books.read(held));
        }
        if positions.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(PAUSE).await;
    }
}

fn held(fold: &Fold) -> Option<Held> {
    let pushed = fold.catalogue()?;
    let signed = Signed { payload: pushed.file.clone(), signature: pushed.signature.clone() };
    Some(Held { version: pushed.version, signed: Arc::new(signed) })
}
