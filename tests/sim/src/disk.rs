//! A machine's disk in memory. Invariant: what was synced is there after the power failed, names included; of the rest
//! a seed decides how much, and whether it is torn.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seatbeat_agent::spool::disk::{Disk, Tape};
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::ids::SpoolId;
use seatbeat_proto::sealing::SealKey;

/// How the disk fails now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// It does not.
    #[default]
    None,
    /// There is no room.
    Full,
    /// Syncing fails, and writing now and then.
    Broken,
}

#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Debug, Clone)]
struct Inner {
    files: BTreeMap<u64, File>,
    /// By path, as text.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    state: BTreeMap<&'static str, Vec<u8>>,
    created: u64,
    trouble: Trouble,
    lies: bool,
    chance: Seed,
}

/// A disk; clones are the same one.
#[derive(Debug, Clone)]
pub struct MachineDisk(Arc<Mutex<Inner>>);

impl MachineDisk {
    /// An empty disk; one that `lies` says that it synced what it did not.
    pub fn new(chance: Seed, lies: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            state: BTreeMap::new(),
            created: 0,
            trouble: Trouble::None,
            lies,
            chance,
        })))
    }

    /// Another disk with the same contents, as a copied machine has it; its chance goes another way.
    pub fn copy(&self, chance: Seed) -> Self {
        let inner = Inner { chance, trouble: Trouble::None, ..self.inner().clone() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Sets how it fails.
    pub fn trouble(&self, trouble: Trouble) {
        self.inner().trouble = trouble;
    }

    /// How it fails.
    pub fn troubled(&self) -> Trouble {
        self.inner().trouble
    }

    /// The power fails.
    pub fn lose_power(&self) {
        let inner = &mut *self.inner();
        if inner.chance.below(2) == 0 {
            inner.names = inner.durable_names.clone();
        }
        inner.durable_names = inner.names.clone();
        let kept: std::collections::BTreeSet<u64> = inner.names.values().copied().collect();
        inner.files.retain(|number, _| kept.contains(number));
        for file in inner.files.values_mut() {
            let loose = (file.bytes.len() - file.synced) as u64;
            let kept = file.synced + inner.chance.below(loose + 1) as usize;
            file.bytes.truncate(kept);
            if kept > file.synced && inner.chance.below(4) == 0 {
                // A sector that did not come through.
                let torn = file.synced.max(kept.saturating_sub(512));
                file.bytes[torn..].fill(0);
            }
            file.synced = kept;
        }
    }

    /// Forgets its spool, as nothing that is right does.
    pub fn wipe_spool(&self) {
        let inner = &mut *self.inner();
        inner.names.clear();
        inner.durable_names.clear();
        inner.files.clear();
    }

    /// A file of the state folder.
    pub fn state(&self, name: &str) -> Option<Vec<u8>> {
        self.inner().state.get(name).cloned()
    }

    /// Keeps a file of the state folder.
    ///
    /// # Errors
    /// When the disk is in trouble.
    pub fn keep(&self, name: &'static str, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        inner.fails()?;
        inner.state.insert(name, bytes.to_vec());
        Ok(())
    }

    /// Puts a synced file in a file's place, as nothing that is right does.
    pub fn overwrite(&self, path: &str, bytes: &[u8]) {
        let inner = &mut *self.inner();
        inner.created += 1;
        inner.files.insert(inner.created, File { bytes: bytes.to_vec(), synced: bytes.len() });
        inner.names.insert(path.to_owned(), inner.created);
        inner.durable_names.insert(path.to_owned(), inner.created);
    }

    /// How many files it has.
    pub fn file_count(&self) -> usize {
        self.inner().names.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn fails(&mut self) -> io::Result<()> {
        match self.trouble {
            Trouble::None => Ok(()),
            Trouble::Full => Err(io::ErrorKind::StorageFull.into()),
            Trouble::Broken => Err(io::Error::other("input/output error")),
        }
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut File> {
        let number = self.names.get(text(path)).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MachineDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        let mut inner = self.inner();
        inner.fails()?;
        inner.created += 1;
        let number = inner.created;
        inner.files.insert(number, File::default());
        inner.names.insert(text(path).to_owned(), number);
        Ok(Box::new(MachineTape { disk: self.clone(), number }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        let number = *self.inner().names.get(text(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MachineTape { disk: self.clone(), number }))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let inner = &mut *self.inner();
        if inner.trouble == Trouble::Broken {
            return inner.fails();
        }
        if !inner.lies {
            inner.durable_names = inner.names.clone();
        }
        Ok(())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner();
        let within = |path: &&String| path.starts_with(text(folder));
        let names = inner.names.range(text(folder).to_owned()..).map(|(path, _)| path).take_while(within);
        let names = names.filter_map(|path| path[text(folder).len()..].strip_prefix('/'));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner().file(path).map(|file| file.bytes.clone())
    }

    fn read_part(&self, path: &Path, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut inner = self.inner();
        let bytes = &inner.file(path)?.bytes;
        let part = (at as usize).min(bytes.len())..((at + length) as usize).min(bytes.len());
        Ok(bytes[part].to_vec())
    }

    fn modified_ms(&self, _: &Path) -> Option<i64> {
        None
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let number = inner.names.remove(text(from)).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(text(to).to_owned(), number);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.inner().names.remove(text(path));
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn new_spool(&self) -> SpoolId {
        SpoolId::derived_from(&self.inner().chance.bytes::<20>())
    }

    fn new_seal_key(&self) -> SealKey {
        SealKey::from_bytes(&self.inner().chance.bytes::<32>()).expect("32 bytes are a key")
    }
}

/// A path of the spool's, which are all text.
fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[derive(Debug)]
struct MachineTape {
    disk: MachineDisk,
    number: u64,
}

impl MachineTape {
    fn with<T>(&self, act: impl FnOnce(&mut Inner, u64) -> io::Result<T>) -> io::Result<T> {
        act(&mut self.disk.inner(), self.number)
    }
}

impl Tape for MachineTape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|inner, number| {
            // What fits of it is there when it fails.
            let failed = inner.fails();
            let fits =
                if failed.is_ok() { bytes.len() } else { inner.chance.below(bytes.len() as u64) as usize };
            let file = inner.files.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
            file.bytes.extend_from_slice(&bytes[..fits]);
            failed
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|inner, number| {
            if inner.trouble == Trouble::Broken {
                return inner.fails();
            }
            let lies = inner.lies;
            let file = inner.files.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
            if !lies {
                file.synced = file.bytes.len();
            }
            Ok(())
        })
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.with(|inner, number| {
            let file = inner.files.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
            file.bytes.truncate(length as usize);
            file.synced = file.synced.min(file.bytes.len());
            Ok(())
        })
    }
}
