//! Whether the machine that an agent starts on is the one that was let in, or a copy of it: a golden image that nobody
//! prepared. Invariant: whoever has the machine key is that machine (a mainboard that was repaired, a backup that was
//! restored), unless system *and* hardware both say otherwise; what cannot be read says nothing.

use jiff::Timestamp;
use seatbeat_proto::hex;
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

use crate::identity::{Identity, IdentityError};
use crate::state::{StateError, StateFolder};

/// What the machine looked like when it was let in.
const FILE: &str = "marks.json";

/// That this was a copy, and of which machine.
const COPIED: &str = "copied.json";

/// The agent's own files that a copy has no use for; those of the machine's administrator and a token that waits stay.
const STAYS: [&str; 3] = [crate::config::FILE, crate::waiting::FILE, "lock"];

/// Facts that tell machines apart, each an HMAC under the reseller's salt; empty where it could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    os_id: String,
    hardware: [String; 4],
    macs: Vec<String>,
}

/// What two looks at a machine say of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same machine, as far as can be told.
    Same,
    /// The same system on other hardware: a backup that was restored, a disk that was moved, or a copy. The collector
    /// decides: a copy shows there as a key in two places.
    Moved,
    /// A system that was made anew on other hardware, with this folder in it: a copy of an image.
    Copy,
}

/// That this machine is a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Of which machine.
    pub of: String,
    /// When that was noticed.
    pub at: Timestamp,
}

impl Marks {
    /// Those of a machine's facts.
    pub fn of(facts: &wire::Facts) -> Self {
        let hardware = [&facts.smbios_uuid, &facts.system_serial, &facts.board_serial, &facts.disk_serial];
        Self {
            os_id: hex::format(&facts.os_id),
            hardware: hardware.map(|fact| hex::format(fact)),
            macs: facts.macs.iter().map(|mac| hex::format(mac)).collect(),
        }
    }

    /// What these, which were kept, and those of now say of each other.
    pub fn compare(&self, now: &Self) -> Verdict {
        let both = |a: &String, b: &String| !a.is_empty() && !b.is_empty();
        let pairs = || self.hardware.iter().zip(&now.hardware).filter(|(a, b)| both(a, b));
        let keeps_card = self.macs.iter().any(|mac| now.macs.contains(mac));
        let is_other = pairs().next().is_some() && pairs().all(|(a, b)| a != b) && !keeps_card;
        match (is_other, both(&self.os_id, &now.os_id) && self.os_id != now.os_id) {
            (true, true) => Verdict::Copy,
            (true, false) => Verdict::Moved,
            (false, _) => Verdict::Same,
        }
    }

    /// What is known after a look at the same machine: what could not be read now stays.
    fn followed_by(self, now: Self) -> Self {
        let newer = |old: String, new: String| if new.is_empty() { old } else { new };
        let [uuid, system, board, disk] = self.hardware;
        let [new_uuid, new_system, new_board, new_disk] = now.hardware;
        Self {
            os_id: newer(self.os_id, now.os_id),
            hardware: [
                newer(uuid, new_uuid),
                newer(system, new_system),
                newer(board, new_board),
                newer(disk, new_disk),
            ],
            macs: if now.macs.is_empty() { self.macs } else { now.macs },
        }
    }

    /// Keeps them: of a machine that was just let in.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&self, state: &StateFolder) -> Result<(), StateError> {
        state.remove(COPIED)?;
        // Texts in a structure are always JSON.
        state.write(FILE, &serde_json::to_vec(self).unwrap_or_default())
    }

    fn kept(state: &StateFolder) -> Result<Option<Self>, StateError> {
        // Damaged ones say nothing, and are made anew.
        Ok(state.read(FILE)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// The copy that this machine is and was not let in as anybody since; `None`: it is none.
pub fn copied(state: &StateFolder) -> Option<Copied> {
    serde_json::from_slice(&state.read(COPIED).ok()??).ok()
}

/// Looks whether this machine is still the one that was let in. A copy is nobody from then on: who it was, the key, what
/// the other has not sent and what it was ordered are gone when this returns.
///
/// # Errors
/// When what is there cannot be read, or cannot be removed from a copy.
pub fn settle(
    state: &StateFolder,
    identity: &Identity,
    facts: impl FnOnce(&[u8; 32]) -> wire::Facts,
    now: Timestamp,
) -> Result<Verdict, IdentityError> {
    let marks = Marks::of(&facts(&identity.salt));
    let Some(kept) = Marks::kept(state)? else {
        marks.keep(state)?;
        return Ok(Verdict::Same);
    };
    let verdict = kept.compare(&marks);
    let of = identity.machine.as_str();
    match verdict {
        Verdict::Same => {
            let known = kept.clone().followed_by(marks);
            if known != kept {
                known.keep(state)?;
            }
        }
        Verdict::Moved => tracing::warn!(
            machine = of,
            "the hardware is another one than when this machine was let in; when this is a copy and the first one goes on, run `seatbeat-agent generalise`"
        ),
        Verdict::Copy => {
            forget(state, &Copied { of: of.to_owned(), at: now })?;
            tracing::warn!(
                of,
                "this machine is a copy of another one, and forgot who that was: it needs a token of its own (`seatbeat-agent enrol`), unless one waits"
            );
        }
    }
    Ok(verdict)
}

fn forget(state: &StateFolder, copied: &Copied) -> Result<(), IdentityError> {
    let _lock = state.lock()?;
    state.write(COPIED, &serde_json::to_vec(copied).unwrap_or_default())?;
    // Who it was goes last: until then this is done again at the next start.
    let fault = |source| StateError::File { act: "remove", path: state.path().to_owned(), source };
    for entry in std::fs::read_dir(state.path()).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name();
        let stays = name.to_str().is_some_and(|name| STAYS.contains(&name) || [COPIED, FILE].contains(&name));
        if stays || Identity::is_file(&name) {
            continue;
        }
        let is_folder = entry.file_type().map_err(fault)?.is_dir();
        let removed = if is_folder {
            std::fs::remove_dir_all(entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        removed.map_err(fault)?;
    }
    Identity::forget(state)?;
    Ok(state.remove(FILE)?)
}

#[cfg(test)]
mod tests;
