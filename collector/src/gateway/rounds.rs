//! What the door does by itself: it ends the streams of banned machines and tidies up. Invariant: a ban ends the
//! machine's open stream within a moment, message or not.

use std::sync::Arc;
use std::time::Duration;

use seatbeat_proto::ids::MachineId;
use tokio::time::{interval, sleep};

use super::door::Door;
use super::streams::Ending;

/// Rest between two looks, so that many bans are seen together.
const PAUSE: Duration = Duration::from_millis(50);

/// How often clocks that were not seen lately are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Ends the streams of machines that are banned. Never returns.
pub async fn bans(door: Arc<Door>) {
    let mut bans = door.books.bans();
    loop {
        if bans.changed().await.is_err() {
            return std::future::pending().await;
        }
        let open = door.streams.machines();
        let is_banned = |machine: &MachineId| {
            door.books.read(|fold| fold.registry().machine(machine).is_some_and(|machine| machine.banned))
        };
        for machine in open.iter().filter(|machine| is_banned(machine)) {
            tracing::info!(%machine, "the stream of a banned machine is closed");
            door.streams.end(machine, Ending::Banned);
        }
        sleep(PAUSE).await;
    }
}

/// Forgets what is no longer of use. Never returns.
pub async fn tidy(door: Arc<Door>) {
    let mut tick = interval(TIDY_EVERY);
    loop {
        tick.tick().await;
        door.forget_clocks();
        let looking = Arc::clone(&door);
        let looked = tokio::task::spawn_blocking(move || looking.witness.look(&looking.books));
        if let Err(error) = looked.await {
            tracing::error!(%error, "comparing checkpoints ended with a panic");
        }
    }
}
