//! A collector's disk: the real journal on real files, of which a power failure takes back what was not synced.
//! Invariant: what was synced is never touched.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seatbeat_collector::journal::Disk;
use seatbeat_fleet::seed::Seed;

#[derive(Debug)]
struct Inner {
    /// Files in the order in which they were first written to: number, handle, and from where on they are not synced.
    files: Vec<(u64, File, Option<u64>)>,
    full: bool,
    /// Acts until the power fails.
    fails_in: Option<u64>,
    lies: bool,
    chance: Seed,
}

/// See the module's text; clones are the same disk.
#[derive(Debug, Clone)]
pub struct StoreDisk(Arc<Mutex<Inner>>);

impl StoreDisk {
    /// A disk; one that `lies` says that it synced what it did not.
    pub fn new(chance: Seed, lies: bool) -> Self {
        let inner = Inner { files: Vec::new(), full: false, fails_in: None, lies, chance };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// There is no room, or there is again.
    pub fn fill(&self, full: bool) {
        self.inner().full = full;
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.inner().full
    }

    /// The power is to fail so many acts from now.
    pub fn fail_in(&self, acts: u64) {
        self.inner().fails_in = Some(acts);
    }

    /// The power fails: what was not synced is gone, cut or torn.
    pub fn lose_power(&self) {
        let inner = &mut *self.inner();
        inner.fails_in = None;
        for (_, file, from) in std::mem::take(&mut inner.files) {
            let Some(from) = from else { continue };
            let Ok(length) = file.metadata().map(|metadata| metadata.len()) else { continue };
            let kept = from + inner.chance.below(length.saturating_sub(from) + 1);
            let _ = file.set_len(kept);
            if kept > from && inner.chance.below(4) == 0 {
                let torn = from.max(kept.saturating_sub(512));
                let _ = file.write_all_at(&vec![0; (kept - torn) as usize], torn);
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// From where on a file is not synced.
    fn file(&mut self, number: u64) -> Option<&mut Option<u64>> {
        let known = self.files.iter_mut().rev().find(|(known, ..)| *known == number);
        known.map(|(.., from)| from)
    }

    fn act(&mut self) -> io::Result<()> {
        match &mut self.fails_in {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(acts) => {
                *acts -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Disk for StoreDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.inner();
        inner.act()?;
        let number = file.metadata()?.ino();
        match inner.file(number) {
            Some(from) => *from = Some(from.map_or(offset, |from| from.min(offset))),
            None => inner.files.push((number, file.try_clone()?, Some(offset))),
        }
        if inner.full {
            let fits = inner.chance.below(bytes.len() as u64) as usize;
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            return file.write_at(&bytes[..fits], offset);
        }
        file.write_at(bytes, offset)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        let mut inner = self.inner();
        inner.act()?;
        if !inner.lies {
            let number = file.metadata()?.ino();
            if let Some(from) = inner.file(number) {
                *from = None;
            }
        }
        Ok(())
    }

    fn set_length(&self, file: &File, length: u64) -> io::Result<()> {
        self.inner().act()?;
        file.set_len(length)
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.inner().act()
    }
}
