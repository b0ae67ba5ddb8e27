//! Puts on record which machines are one: what the facts call for and the journal does not say yet.
//! Invariant: each decision names the facts it rests on and can be undone by an operator's record.

use seatbeat_ledger::identity::{Decision, KEY_IN_TWO_PLACES, decisions};
use seatbeat_ledger::registry::Registry;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{MachineFlagged, MachinesMerged, MachinesSplit};

use crate::books::Books;

/// Looks at the machines that are new or have changed since it ran last.
pub struct Identity {
    books: Books,
    /// As it stood then: a copy that shares whatever has not changed.
    before: Registry,
}

impl Identity {
    /// A job over these books; its first run looks at all machines.
    pub fn new(books: Books) -> Self {
        Self { books, before: Registry::default() }
    }

    /// Runs once.
    pub async fn run(&mut self) {
        // Copies, so that no agent waits while all machines are compared.
        let (registry, usage) = self.books.read(|fold| (fold.registry().clone(), fold.usage().clone()));
        let before = self.before.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let found = decisions(&registry, &usage, &before);
            (found, registry)
        });
        let (found, registry) =
            compared.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        for decision in found {
            let (reason, fact) = record(&decision, self.books.clock().now_ms());
            if let Err(error) = self.books.write_as_leader(&reason, vec![fact]).await {
                tracing::warn!(%error, "a decision about machines was not recorded: tried again later");
                return;
            }
            tracing::info!(%reason, "decided which machines are one");
        }
        self.before = registry;
    }
}

/// A decision as it goes on record: the reason, and the fact.
pub fn record(decision: &Decision, at_ms: i64) -> (String, Fact) {
    match decision {
        Decision::Merge { kept, absorbed, facts } => (
            format!(
                "{facts} strong hardware facts are equal and {absorbed} was silent before {kept} enrolled"
            ),
            Fact::MachinesMerged(MachinesMerged {
                kept: kept.to_string(),
                absorbed: absorbed.to_string(),
                at_ms,
            }),
        ),
        Decision::Split { kept, absorbed } => (
            format!("{absorbed} reports again beside {kept}"),
            Fact::MachinesSplit(MachinesSplit {
                kept: kept.to_string(),
                absorbed: absorbed.to_string(),
                at_ms,
            }),
        ),
        Decision::TwoPlaces { machine } => (
            "two versions of its chain came: its key is in two places".to_owned(),
            Fact::MachineFlagged(MachineFlagged {
                machine: machine.to_string(),
                flag: KEY_IN_TWO_PLACES.to_owned(),
                at_ms,
            }),
        ),
        Decision::Flag { machine, flag, like } => (
            format!("its facts are like those of {like}"),
            Fact::MachineFlagged(MachineFlagged {
                machine: machine.to_string(),
                flag: (*flag).to_owned(),
                at_ms,
            }),
        ),
    }
}
