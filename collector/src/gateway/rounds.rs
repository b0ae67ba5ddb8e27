//! What the door does by itself: it reads the journal for bans and tidies up. Invariant: a ban, whoever wrote it,
//! ends the machine's open stream within a moment, message or not.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire::JournalRecord;
use seatbeat_proto::wire::journal_record::Fact;
use tokio::time::{interval, sleep};

use super::door::Door;
use super::streams::Ending;
use crate::books::Books;
use crate::journal::{JournalError, Position};

/// Records read at once.
const BATCH: usize = 512;

/// Rest between two readings, so that many small commits are read together.
const PAUSE: Duration = Duration::from_millis(50);

/// Rest before a reading that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How often clocks that were not seen lately are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Alarm of a door that does not see bans.
const UNREADABLE: &str = "bans";

/// Ends the streams of machines that are banned. Never returns.
pub async fn bans(door: Arc<Door>) {
    let mut positions = door.books.positions();
    let mut from = Position(door.books.read(Fold::position));
    loop {
        if positions.wait_for(|reached| reached.0 > from.0).await.is_err() {
            return std::future::pending().await;
        }
        match next(door.books.clone(), from).await {
            Ok((banned, read_to)) => {
                from = read_to;
                door.books.alarms().clear(UNREADABLE);
                for machine in &banned {
                    tracing::info!(%machine, "the stream of a banned machine is closed");
                    door.streams.end(machine, Ending::Banned);
                }
                sleep(PAUSE).await;
            }
            Err(error) => {
                let words = format!("open streams of banned machines are closed late: {error}");
                door.books.alarms().raise(UNREADABLE, words);
                sleep(RETRY).await;
            }
        }
    }
}

/// Forgets what is no longer of use. Never returns.
pub async fn tidy(door: Arc<Door>) {
    let mut tick = interval(TIDY_EVERY);
    loop {
        tick.tick().await;
        door.forget_clocks();
    }
}

/// Machines banned in the records from a position on, and where the next reading goes on.
async fn next(books: Books, from: Position) -> Result<(Vec<MachineId>, Position), JournalError> {
    let read = tokio::task::spawn_blocking(move || {
        let records = books.records(from, BATCH)?;
        let read_to = records.last().map_or(from, |(last, _)| Position(last.0 + 1));
        Ok((records.iter().filter_map(|(_, record)| banned(record)).collect(), read_to))
    });
    read.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn banned(record: &[u8]) -> Option<MachineId> {
    match JournalRecord::decode(record).ok()?.fact? {
        Fact::MachineBanned(fact) if fact.banned => fact.machine.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use seatbeat_proto::wire::{CustomerAdded, MachineBanned};

    use super::*;

    #[test]
    fn only_a_ban_ends_a_stream() {
        let check = |fact: Fact, expected: Option<&str>| {
            let record = JournalRecord { fact: Some(fact), ..JournalRecord::default() };
            assert_eq!(banned(&record.encode_to_vec()).as_ref().map(MachineId::as_str), expected);
        };
        let ban = |banned| Fact::MachineBanned(MachineBanned { machine: "mch_a".into(), banned });
        check(ban(true), Some("mch_a"));
        check(ban(false), None);
        check(Fact::CustomerAdded(CustomerAdded { customer: "cus_a".into() }), None);
        assert_eq!(banned(b"\xff"), None);
    }
}
