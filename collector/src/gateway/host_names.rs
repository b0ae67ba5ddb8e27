//! Machines' names on their way to the vault, many in one write. Invariant: the newest name that a machine told is the one
//! that is kept; no conversation waits for the vault, and names of erased customers are not taken in again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seatbeat_proto::ids::MachineId;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::door::Door;
use crate::rows::BATCH_ROWS_MAX;
use crate::vault::{VaultError, VaultRow};

/// Alarm of host names that cannot be kept.
pub(super) const HOST_NAMES: &str = "host-names";

/// Longest host name that is kept, in bytes: what a DNS name can have.
pub const HOST_NAME_LENGTH_MAX: usize = 255;

/// How long a vault that did not take names is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// Names that were told and are not yet looked at: one a machine, so no more than were ever let in.
#[derive(Default)]
pub struct HostNames {
    told: Mutex<BTreeMap<MachineId, String>>,
    came: Notify,
}

impl HostNames {
    /// Notes what a machine says of its name. A name that is none is passed over.
    pub fn note(&self, machine: &MachineId, host_name: &str) {
        if host_name.is_empty() || !is_host_name(host_name) {
            return;
        }
        self.told().insert(machine.clone(), host_name.to_owned());
        self.came.notify_one();
    }

    /// As many as the vault writes at once.
    fn take(&self) -> BTreeMap<MachineId, String> {
        let mut told = self.told();
        let rest = told.keys().nth(BATCH_ROWS_MAX).cloned();
        let rest = rest.map(|first| told.split_off(&first)).unwrap_or_default();
        std::mem::replace(&mut *told, rest)
    }

    /// Takes back what was not kept, where nothing newer was told.
    fn put_back(&self, names: BTreeMap<MachineId, String>) {
        let mut told = self.told();
        for (machine, name) in names {
            told.entry(machine).or_insert(name);
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<MachineId, String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what comes; a vault that does not take it stops nobody and is tried again. Never returns.
pub async fn follow(door: Arc<Door>) {
    loop {
        let names = door.host_names.take();
        if names.is_empty() {
            door.host_names.came.notified().await;
            continue;
        }
        let keeping = Arc::clone(&door);
        let kept = tokio::task::spawn_blocking(move || (keep(&keeping, &names), names)).await;
        match kept {
            Ok((Ok(wrote), _)) => {
                if wrote {
                    door.books.alarms().clear(HOST_NAMES);
                }
            }
            Ok((Err(error), names)) => {
                door.books.alarms().raise(HOST_NAMES, format!("host names are not kept: {error}"));
                door.host_names.put_back(names);
                sleep(PAUSE).await;
            }
            Err(error) => tracing::error!(%error, "keeping host names ended with a panic"),
        }
    }
}

/// Writes the names that are new; whether there were any.
fn keep(door: &Door, names: &BTreeMap<MachineId, String>) -> Result<bool, VaultError> {
    let vault = door.books.vault();
    let mut new = Vec::new();
    for (machine, name) in names {
        let row = VaultRow::HostName(machine);
        let is_known = vault.get(row)?.is_some_and(|known| known.as_slice() == name.as_bytes());
        // A new name costs a write, so it counts as a piece of evidence.
        if !is_known && !is_erased(door, machine) && door.may_send(machine) {
            new.push((row, name.as_bytes()));
        }
    }
    if !new.is_empty() {
        vault.put_all(&new)?;
    }
    Ok(!new.is_empty())
}

/// Whether a machine's customer is one whose names are not to be known any more.
fn is_erased(door: &Door, machine: &MachineId) -> bool {
    door.books.read(|fold| {
        let registry = fold.registry();
        registry.machine(machine).is_some_and(|machine| registry.is_erased(&machine.customer))
    })
}

/// Whether a text can be a machine's name: short, and without what would garble a page.
pub fn is_host_name(text: &str) -> bool {
    text.len() <= HOST_NAME_LENGTH_MAX && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(number: usize) -> MachineId {
        format!("mch_{number:04}").parse().unwrap()
    }

    #[test]
    fn a_host_name_is_short_and_printable() {
        assert!(is_host_name("ws-17.example.internal") && is_host_name("Büro 3"));
        assert!(!is_host_name("two\nlines") && !is_host_name("bell\u{7}") && !is_host_name(&"x".repeat(256)));
    }

    #[test]
    fn of_each_machine_the_newest_name_is_written_and_as_many_at_once_as_a_write_takes() {
        let names = HostNames::default();
        for number in 0..BATCH_ROWS_MAX + 3 {
            names.note(&machine(number), "before");
            names.note(&machine(number), "after");
        }
        names.note(&machine(BATCH_ROWS_MAX + 3), "");
        let first = names.take();
        assert_eq!((first.len(), names.take().len(), names.take().len()), (BATCH_ROWS_MAX, 3, 0));
        assert!(first.values().all(|name| name == "after"));
    }

    #[test]
    fn what_was_not_kept_comes_again_unless_a_newer_name_was_told() {
        let names = HostNames::default();
        names.note(&machine(1), "one");
        names.note(&machine(2), "two");
        let failed = names.take();
        names.note(&machine(2), "newer");
        names.put_back(failed);
        assert_eq!(names.take().into_values().collect::<Vec<_>>(), ["one", "newer"]);
    }
}
