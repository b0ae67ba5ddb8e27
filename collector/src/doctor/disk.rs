//! Room on the store's disk. Invariant: integers only; a store that is younger than a day foretells nothing.

use std::path::Path;

use super::Finding;
use crate::health::{FREE_BYTES_MIN, free_bytes};

const CHECK: &str = "disk";

/// Days that a disk should last: time to get a larger one.
const DAYS_MIN: u64 = 30;

/// What a new disk should have free, whatever the growth: a week of a large fleet.
const FREE_BYTES_WANTED: u64 = 1024 * 1024 * 1024;

const DAY_MS: u64 = 86_400_000;

/// How fast a journal has grown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Growth {
    /// Bytes so far.
    pub bytes: u64,
    /// In so many milliseconds.
    pub in_ms: u64,
}

/// Looks at the free space beside the growth.
pub(super) fn look(folder: &Path, growth: Growth) -> Finding {
    match free_bytes(folder) {
        Some(free) => judge(free, growth),
        None => Finding::warning(
            CHECK,
            format!("the system does not say how much is free on the disk of `{}`", folder.display()),
            "look with `df`",
        ),
    }
}

fn judge(free: u64, growth: Growth) -> Finding {
    let (mib, more) = (free >> 20, "free some space, or move the store to a larger disk");
    if free < FREE_BYTES_MIN {
        let what = format!("{mib} MiB are free: the disk is used up, or about to be");
        let todo =
            format!("{more}; reports are refused meanwhile, and taken by themselves when there is room");
        return Finding::error(CHECK, what, todo);
    }
    let days = days_left(free, growth);
    match days {
        Some(days) if days < DAYS_MIN => {
            let what = format!("{mib} MiB are free, which is {days} days of what the journal grows by");
            Finding::warning(CHECK, what, more)
        }
        None if free < FREE_BYTES_WANTED => Finding::warning(CHECK, format!("only {mib} MiB are free"), more),
        Some(days) => {
            Finding::ok(CHECK, format!("{mib} MiB are free, {days} days of what the journal grows by"))
        }
        None => Finding::ok(CHECK, format!("{mib} MiB are free")),
    }
}

fn days_left(free: u64, growth: Growth) -> Option<u64> {
    let days = growth.in_ms / DAY_MS;
    let a_day = growth.bytes.checked_div(days)?;
    free.checked_div(a_day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_disk_is_judged_by_what_the_journal_grows_by() {
        const GIB: u64 = 1 << 30;
        let check = |free: u64, bytes: u64, days: u64, level: Level, words: &str| {
            let found = judge(free, Growth { bytes, in_ms: days * DAY_MS });
            assert_eq!((found.level, found.what.contains(words)), (level, true), "{found:?}");
            assert_eq!(found.todo.is_empty(), level == Level::Ok, "{found:?}");
        };
        check(0, 0, 0, Level::Error, "used up");
        check(FREE_BYTES_MIN - 1, GIB, 10, Level::Error, "used up");
        check(GIB, 10 * GIB, 100, Level::Warning, "10 days");
        check(100 * GIB, 10 * GIB, 100, Level::Ok, "1000 days");
        check(GIB / 2, GIB, 0, Level::Warning, "only 512 MiB");
        check(2 * GIB, 0, 5, Level::Ok, "2048 MiB");
    }
}
