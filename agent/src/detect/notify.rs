//! inotify: is told by the kernel that something may have moved. Invariant: each watch speaks once between two looks,
//! so that a busy folder costs one wake-up a look; what is missed, or cannot be watched, the stamps find.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::net::unix::pipe;

use super::places::Places;

/// Bytes that are taken from the kernel at once: some tens of events with names, and at least one with the longest.
const BUFFER_LENGTH: usize = 2048;

/// An event: watch, mask, cookie and length of the name, 32 bits each, and then the name.
const HEAD_LENGTH: usize = 16;

/// A file that is written, replaced or removed.
const FILE: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONESHOT);

/// A name that comes or goes.
const FOLDER: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::ONESHOT);

/// Sets the watches.
#[derive(Debug)]
pub struct Watches(OwnedFd);

/// Where nudges come from. The event loop reads the kernel's queue as it does a pipe.
#[derive(Debug)]
pub struct Nudges(pipe::Receiver);

/// A queue of the kernel's, and both its ends.
///
/// # Errors
/// When the kernel gives no queue (its limit a user is reached), or outside of an event loop.
pub fn open() -> io::Result<(Watches, Nudges)> {
    let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let nudges = pipe::Receiver::from_file_unchecked(File::from(queue.try_clone()?))?;
    Ok((Watches(queue), Nudges(nudges)))
}

impl Watches {
    /// Lets every place that is there speak once more.
    pub fn arm(&self, places: &Places) {
        let files = places.watched_files.iter().map(|path| (Path::new(path), FILE));
        let folders = places.watched_folders.iter().map(|path| (Path::new(path), FOLDER));
        let above = places.watched_paths.iter().filter_map(|path| {
            let folder = Path::new(path).ancestors().skip(1).find(|folder| folder.is_dir())?;
            Some((folder, FOLDER))
        });
        for (path, flags) in files.chain(folders).chain(above) {
            // What is not there shows when it comes; what cannot be watched is found at the next look.
            let _ = inotify::add_watch(&self.0, path, flags);
        }
    }
}

impl Nudges {
    /// Waits for the next one. Never ends when the queue is broken: looks go by the timer then.
    pub async fn next(&mut self) {
        let mut buffer = [0; BUFFER_LENGTH];
        loop {
            let read = match self.0.readable().await {
                Ok(()) => self.0.try_read(&mut buffer),
                Err(error) => Err(error),
            };
            match read {
                Ok(length) if is_nudge(&buffer[..length]) => return,
                Ok(length) if length > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                broken => {
                    tracing::warn!(?broken, "changes are no longer told, only looked for");
                    return std::future::pending().await;
                }
            }
        }
    }
}

/// Whether one of the events says more than that its watch has ended. An overflow does.
pub(super) fn is_nudge(mut events: &[u8]) -> bool {
    while let Some((head, rest)) = events.split_first_chunk::<HEAD_LENGTH>() {
        let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if ReadFlags::from_bits_retain(word(4)) != ReadFlags::IGNORED {
            return true;
        }
        events = usize::try_from(word(12)).ok().and_then(|length| rest.get(length..)).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn is_nudged(nudges: &mut Nudges, within: Duration) -> bool {
        tokio::time::timeout(within, nudges.next()).await.is_ok()
    }

    #[tokio::test]
    async fn a_package_database_that_is_replaced_nudges_once_until_the_next_look() {
        let folder = tempfile::tempdir().unwrap();
        let status = folder.path().join("status");
        std::fs::write(&status, "a").unwrap();
        let places =
            Places { watched_files: [status.to_str().unwrap().to_owned()].into(), ..Places::default() };
        let (watches, mut nudges) = open().unwrap();
        let replace = || {
            std::fs::write(folder.path().join("status-new"), "b").unwrap();
            std::fs::rename(folder.path().join("status-new"), &status).unwrap();
        };
        watches.arm(&places);
        std::fs::read(&status).unwrap();
        assert!(!is_nudged(&mut nudges, Duration::from_millis(50)).await, "reading is no change");
        replace();
        assert!(is_nudged(&mut nudges, SOON).await);
        replace();
        assert!(!is_nudged(&mut nudges, Duration::from_millis(50)).await, "once a look");
        watches.arm(&places);
        replace();
        assert!(is_nudged(&mut nudges, SOON).await);
    }

    #[test]
    fn the_end_of_a_watch_is_no_nudge_and_an_overflow_is_one() {
        let event = |mask: ReadFlags, name: &[u8]| {
            let words = [1, mask.bits(), 0, u32::try_from(name.len()).unwrap()];
            [words.into_iter().flat_map(u32::to_ne_bytes).collect(), name.to_vec()].concat()
        };
        let ended = event(ReadFlags::IGNORED, b"name\0\0\0\0");
        assert!(!is_nudge(&ended) && !is_nudge(&[]) && !is_nudge(&ended[..9]));
        assert!(is_nudge(&event(ReadFlags::QUEUE_OVERFLOW, b"")));
        assert!(is_nudge(&[ended, event(ReadFlags::CREATE, b"")].concat()));
    }

    #[tokio::test]
    async fn a_vendors_folder_that_comes_nudges_from_the_deepest_folder_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("TrendMicro/EndpointBasecamp/bin/tmxbc");
        let places =
            Places { watched_paths: [program.to_str().unwrap().to_owned()].into(), ..Places::default() };
        let (watches, mut nudges) = open().unwrap();
        for part in ["TrendMicro", "TrendMicro/EndpointBasecamp", "TrendMicro/EndpointBasecamp/bin"] {
            watches.arm(&places);
            std::fs::create_dir(folder.path().join(part)).unwrap();
            assert!(is_nudged(&mut nudges, SOON).await, "{part}");
        }
    }
}
