//! The disk of an agent that is killed at one of its acts: that act and all behind it fail, and the files are as a process
//! leaves them that ends there. Invariant: up to that act it is the machine's own disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seatbeat_agent::spool::disk::{Disk, RealDisk, Tape};

/// A disk, and how many acts it still does; clones are the same one.
#[derive(Debug, Clone)]
pub struct DyingDisk(Arc<AtomicU64>);

#[derive(Debug)]
struct DyingTape(Box<dyn Tape>, DyingDisk);

impl DyingDisk {
    pub fn after(acts: u64) -> Self {
        Self(Arc::new(AtomicU64::new(acts)))
    }

    pub fn is_dead(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }

    fn act(&self) -> io::Result<()> {
        let lived = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        lived.map(drop).map_err(|_| io::Error::other("it was killed"))
    }

    fn tape(&self, tape: Box<dyn Tape>) -> Box<dyn Tape> {
        Box::new(DyingTape(tape, self.clone()))
    }
}

impl Disk for DyingDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.act().and_then(|()| RealDisk.create_folder(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        self.act().and_then(|()| RealDisk.create(path)).map(|tape| self.tape(tape))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        self.act().and_then(|()| RealDisk.open(path)).map(|tape| self.tape(tape))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.act().and_then(|()| RealDisk.sync_folder(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act().and_then(|()| RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act().and_then(|()| RealDisk.remove(path))
    }
}

impl Tape for DyingTape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.1.act().and_then(|()| self.0.write(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.act().and_then(|()| self.0.sync())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.1.act().and_then(|()| self.0.cut(length))
    }
}
