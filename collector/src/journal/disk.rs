//! The four acts of the journal that a disk can fail, behind one trait, so that a test can make them fail.
//! Invariant: no logic lives here; the local disk passes each act to the system as it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a journal writes.
pub trait Disk: Send + Sync + 'static {
    /// Writes at a place of a file; how many bytes it took (it may be fewer than came).
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    /// Returns when what was written to the file is durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Cuts a file.
    ///
    /// # Errors
    /// What the system says.
    fn set_length(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Returns when the names in a folder are durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// The file system, as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {}

#[cfg(test)]
pub(super) mod faults {
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    use super::*;

    /// A disk that fails as it is told, and does not really sync: a test of every byte would take minutes.
    #[derive(Debug)]
    pub struct FaultyDisk {
        /// Bytes that can still be written before the disk is full.
        pub room: AtomicU64,
        /// Most bytes that one write takes.
        pub write_length_max: AtomicUsize,
        /// Whether syncing fails.
        pub sync_fails: AtomicBool,
        /// Whether cutting fails.
        pub cut_fails: AtomicBool,
        /// How often a file was synced.
        pub syncs: AtomicUsize,
    }

    impl Default for FaultyDisk {
        fn default() -> Self {
            Self {
                room: AtomicU64::new(u64::MAX),
                write_length_max: AtomicUsize::new(usize::MAX),
                sync_fails: AtomicBool::new(false),
                cut_fails: AtomicBool::new(false),
                syncs: AtomicUsize::new(0),
            }
        }
    }

    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    impl Disk for FaultyDisk {
        fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
            let room = self.room.load(Ordering::SeqCst);
            if room == 0 {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            let most = self.write_length_max.load(Ordering::SeqCst).min(usize::try_from(room).unwrap());
            let written = file.write_at(&bytes[..bytes.len().min(most)], offset)?;
            self.room.fetch_sub(written as u64, Ordering::SeqCst);
            Ok(written)
        }

        fn sync_data(&self, _: &File) -> io::Result<()> {
            self.syncs.fetch_add(1, Ordering::SeqCst);
            if self.sync_fails.load(Ordering::SeqCst) {
                return Err(io::Error::from_raw_os_error(EIO));
            }
            Ok(())
        }

        fn sync_folder(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }

        fn set_length(&self, file: &File, length: u64) -> io::Result<()> {
            if self.cut_fails.load(Ordering::SeqCst) {
                return Err(io::Error::from_raw_os_error(EIO));
            }
            file.set_len(length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_writes_where_it_is_told_and_cuts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        assert_eq!(LocalDisk.write_at(&file, b"0123456789", 0).unwrap(), 10);
        assert_eq!(LocalDisk.write_at(&file, b"abc", 4).unwrap(), 3);
        LocalDisk.set_length(&file, 9).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"0123abc78");
        assert!(LocalDisk.sync_folder(&path.join("elsewhere")).is_err());
    }
}
