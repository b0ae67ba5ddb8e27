//! What systemd is told: that both doors are open, how it goes, that the collector still moves, that it ends.
//! Invariant: nothing is said where nobody listens (`NOTIFY_SOCKET`), and no sign of life without proof of one.

use std::time::Duration;

use sd_notify::NotifyState;
use seatbeat_ledger::fold::Fold;

use crate::books::Books;
use crate::gateway::presence::Presence;
use crate::health;

/// How often the line that `systemctl status` shows is renewed.
const STATUS_EVERY: Duration = Duration::from_secs(60);

/// Says that both doors are open.
pub fn ready(agents: std::net::SocketAddr, operators: std::net::SocketAddr) {
    let words = format!("agents at {agents}, operators at {operators}");
    say(&[NotifyState::Ready, NotifyState::Status(&words)]);
}

/// Says that the collector ends.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Says now and then how it goes. Where there is a watchdog it hears of each proof that writer and fold move, twice in
/// its time; a full disk is no reason to start again, a fold that stands still is. Never returns.
pub async fn follow(books: Books, presence: Presence) {
    let patience = sd_notify::watchdog_enabled();
    let mut tick = tokio::time::interval(patience.map_or(STATUS_EVERY, |patience| patience / 2));
    loop {
        tick.tick().await;
        match health::moves(&books).await {
            Ok(()) => {
                let (known, records) =
                    books.read(|fold| (fold.registry().machine_count(), Fold::position(fold)));
                let here = presence.connected_count();
                let words = format!("{here} of {known} machines connected, {records} records");
                let alive = patience.map(|_| NotifyState::Watchdog);
                let states: Vec<_> = alive.into_iter().chain([NotifyState::Status(&words)]).collect();
                say(&states);
            }
            Err(stuck) => {
                tracing::error!(part = stuck.part, why = stuck.why, "the collector stands still");
                say(&[NotifyState::Status(&format!("stands still: {}: {}", stuck.part, stuck.why))]);
            }
        }
    }
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
