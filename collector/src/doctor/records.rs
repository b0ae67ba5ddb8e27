//! The journal and its snapshot. Invariant: each record is read, nothing is opened for writing, and a tail that is being
//! written is no damage.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::fold::{Fold, Founded};
use seatbeat_ledger::merkle::leaf;
use seatbeat_proto::instant;
use seatbeat_proto::wire::JournalRecord;

use super::disk::Growth;
use super::{Finding, chain};
use crate::journal::{FileReader, InArchive, Position, inspect};
use crate::snapshot;

/// What the journal shows.
#[derive(Default)]
pub(super) struct Shown {
    /// Of journal, snapshot and clock.
    pub findings: Vec<Finding>,
    /// How fast it grew.
    pub growth: Growth,
    /// What its first record says.
    pub founded: Option<Founded>,
    /// What of it lies in archives.
    pub archived: Vec<InArchive>,
}

/// Looks at both.
pub(super) fn look(folder: &Path, now: Timestamp, runs: bool) -> Shown {
    let path = folder.join("journal");
    let mut shown = Shown::default();
    if !path.is_dir() || fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none()) {
        let what = format!("there is no journal in `{}`", path.display());
        let todo = "restore the store from a backup: `seatbeat restore`. Without one agents send their reports of \
                    62 days to a new store that their machines are enrolled at again";
        shown.findings.push(Finding::error("journal", what, todo));
        return shown;
    }
    // Asked for first: a snapshot taken meanwhile would be of more records than are read here.
    let snapshot = snapshot::load(folder);
    let inspected = match inspect(&path) {
        Ok(inspected) => inspected,
        Err(error) => {
            shown.findings.push(Finding::error("journal", chain(&error), error.hint().unwrap_or_default()));
            return shown;
        }
    };
    let reader = &inspected.reader;
    let records = reader.size().0;
    let torn = match inspected.torn_bytes {
        0 => String::new(),
        _ if runs => "; a record is being written".to_owned(),
        bytes => format!("; {bytes} bytes of a write that was cut off go with the next start"),
    };
    let mib = reader.bytes() >> 20;
    shown.findings.push(Finding::ok("journal", format!("{records} records, {mib} MiB, all whole{torn}")));
    shown.archived = reader.segments().into_iter().filter_map(|segment| segment.archived).collect();
    let first = record(reader, 0);
    shown.founded = first.as_ref().and_then(|bytes| {
        let mut fold = Fold::default();
        fold.apply(bytes).ok()?;
        fold.founded().cloned()
    });
    let last = records.checked_sub(1).and_then(|at| record(reader, at));
    let at = |bytes: &Option<Vec<u8>>| {
        let record = JournalRecord::decode(bytes.as_deref()?).ok()?;
        Some(record.recorded_at_ms)
    };
    if let (Some(first), Some(last)) = (at(&first), at(&last)) {
        let in_ms = u64::try_from(last.saturating_sub(first)).unwrap_or_default();
        // What lies in the archive has grown as well.
        let bytes = reader.segments().iter().map(|segment| segment.bytes).sum();
        shown.growth = Growth { bytes, in_ms };
        shown.findings.push(clock(last, now));
    }
    shown.findings.push(match snapshot {
        Ok(Some(loaded)) => of_snapshot(&loaded, reader, folder),
        Ok(None) => Finding::ok("snapshot", "there is none yet: a start reads the whole journal"),
        Err(error) => Finding::warning(
            "snapshot",
            chain(&error),
            "nothing is lost by it: the next start takes longer, and saves a new one",
        ),
    });
    shown
}

/// Whether all that was moved is where it was moved to; nothing where nothing was.
pub(super) fn archive(moved: &[InArchive]) -> Option<Finding> {
    let end = moved.iter().map(|lies| lies.archived.end()).max()?;
    let places: BTreeSet<&str> = moved.iter().map(|lies| lies.archive.to()).collect();
    let missing = moved.iter().find_map(|lies| lies.archive.look(&lies.archived).err());
    Some(match missing {
        Some(error) => Finding::error("archive", chain(&error), error.hint().unwrap_or_default()),
        None => {
            let places = places.into_iter().map(|to| format!("`{to}`")).collect::<Vec<_>>().join(" and ");
            let what = format!("{} segments, up to record {end}, are in {places}", moved.len());
            Finding::ok("archive", what)
        }
    })
}

fn clock(newest_ms: i64, now: Timestamp) -> Finding {
    let ahead_ms = newest_ms.saturating_sub(instant::to_ms(now));
    // A record that was written while this went on.
    if ahead_ms > 60_000 {
        let newest = instant::from_ms(newest_ms).map(|at| at.to_string()).unwrap_or_default();
        let what = format!("it shows {now}, but the newest record was written at {newest}");
        return Finding::error("clock", what, "put this machine's clock right (NTP), then look again");
    }
    Finding::ok("clock", "no record is of a time to come")
}

fn of_snapshot(loaded: &snapshot::Loaded, reader: &FileReader, folder: &Path) -> Finding {
    let (position, newest_leaf, _) = loaded;
    if *position > reader.size() {
        let what = format!("it was taken of {position} records, the journal has {}", reader.size());
        let todo = format!(
            "records are lost: `seatbeat restore` makes a new store of a backup. Where there is none, set `snapshot` \
             and `snapshot.previous` in `{}` aside: agents send again what they kept",
            folder.display()
        );
        return Finding::error("snapshot", what, todo);
    }
    let newest = position.0.checked_sub(1).and_then(|at| record(reader, at));
    if newest.is_some_and(|record| leaf(&record) == *newest_leaf) {
        let behind = reader.size().0 - position.0;
        Finding::ok("snapshot", format!("of record {position}; a start reads {behind} more"))
    } else {
        let todo = "nothing is lost by it: the next start reads the whole journal, and saves a new one";
        Finding::warning("snapshot", "it is of another journal", todo)
    }
}

fn record(reader: &FileReader, at: u64) -> Option<Vec<u8>> {
    reader.read_from(Position(at), 1).ok()?.pop().map(|(_, record)| record)
}
