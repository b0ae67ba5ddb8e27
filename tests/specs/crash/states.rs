//! Which states of a disk a crash of the machine may leave, by the acts that came before it.
//!
//! What a file system may do: a crash comes behind some act, and of nothing later is there anything. Of what came before,
//! - a file's bytes and length are there as of its last sync, and a folder's names as of the folder's. What came since is
//!   loose: each act of it may be there or not. That a file was synced says nothing of its name.
//! - names change in order: what builds upon a change that is not there is not there. A rename is there or it is not.
//! - a change of length comes before what follows it in the same file.
//! - of a loose write there may be any beginning or any end, in sectors of 512 bytes; or, where it lengthened the file, the
//!   length with zeros for bytes. Bytes that were there before it are there instead of those that are not.
//!
//! Invariant: each state that is made is one of these; the same acts give the same states in the same order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use seatbeat_fleet::seed::Seed;

use super::trace::{Act, Name, Node, TOP};

const SECTOR_BYTES: u64 = 512;

/// Chances that are taken behind each act.
const CHANCES: u64 = 2;

/// What becomes of what is loose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// All of it is there: so it is, too, where a process was killed.
    AllThere,
    /// None of it is there.
    AllGone,
    /// Names are there, bytes are not.
    NamesAlone,
    /// Names and lengths are there, and zeros for bytes.
    NamesAndZeros,
    /// Bytes are there, names are not.
    BytesAlone,
    /// Only this act is not there, and what builds upon it.
    Without(usize),
    /// Of the writes only this one is there.
    AloneWritten(usize),
    /// Of the last write only so many bytes at its beginning are there, and nothing behind them.
    Begun(u64),
    /// As before, but the file is as long as if all were there.
    BegunAndZeros(u64),
    /// Of the last write so many bytes at its beginning are not there.
    Ended(u64),
    /// Chance decides for each act and sector.
    Chance(u64),
}

/// A crash behind so many acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crash {
    pub acts: usize,
    pub fate: Fate,
}

impl Crash {
    /// Whether the disk kept something that was written after what it lost.
    pub fn is_out_of_order(self) -> bool {
        !matches!(self.fate, Fate::AllThere | Fate::AllGone | Fate::Begun(_))
    }

    /// Whether a write may have its end and not its beginning.
    pub fn tears_inside(self) -> bool {
        matches!(self.fate, Fate::Ended(_) | Fate::Chance(_))
    }

    /// What becomes of what is loose, in a word.
    pub fn word(self) -> String {
        let word = format!("{:?}", self.fate);
        word.split('(').next().unwrap_or_default().to_owned()
    }

    /// What was marked before it.
    pub fn marks(self, acts: &[Act]) -> Vec<&str> {
        let marked = acts[..self.acts].iter().filter_map(|act| match act {
            Act::Mark(words) => Some(words.as_str()),
            _ => None,
        });
        marked.collect()
    }
}

/// Folders, which have no bytes, and files, as they are found after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Image(pub BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Image {
    /// Lays it out in a folder, instead of whatever is in it.
    pub fn lay_out(&self, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).expect("a folder can be made");
        private(folder, 0o700);
        for (path, bytes) in &self.0 {
            let path = folder.join(path);
            match bytes {
                None => fs::create_dir(&path).expect("a folder can be made"),
                Some(bytes) => fs::write(&path, bytes).expect("a file can be written"),
            }
            private(&path, if bytes.is_none() { 0o700 } else { 0o600 });
        }
    }

    /// A number that tells it from others.
    pub fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

fn private(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// All crashes that these acts can meet.
pub fn crashes(acts: &[Act]) -> Vec<Crash> {
    let mut all = Vec::new();
    for end in 0..=acts.len() {
        let last = end.checked_sub(1).map(|last| &acts[last]);
        if matches!(last, Some(Act::Sync(_))) {
            // Behind a sync there are fewer states than before it, and none that is new but for what was marked.
            continue;
        }
        let loose = loose(acts, end);
        let mut fates = vec![Fate::AllThere];
        if !loose.is_empty() {
            let writes: Vec<usize> =
                loose.iter().copied().filter(|at| matches!(acts[*at], Act::Write(..))).collect();
            fates.extend([Fate::AllGone, Fate::NamesAlone, Fate::NamesAndZeros, Fate::BytesAlone]);
            fates.extend(loose.iter().map(|at| Fate::Without(*at)));
            fates.extend(writes.iter().map(|at| Fate::AloneWritten(*at)));
            fates.extend((0..CHANCES).map(|chance| Fate::Chance(end as u64 * CHANCES + chance)));
        }
        if let Some(Act::Write(_, at, bytes)) = last {
            let sectors = sectors(*at, bytes.len() as u64);
            fates.extend(
                sectors.flat_map(|cut| [Fate::Begun(cut), Fate::BegunAndZeros(cut), Fate::Ended(cut)]),
            );
        }
        all.extend(fates.into_iter().map(|fate| Crash { acts: end, fate }));
    }
    all
}

/// Where a write of so many bytes at a place crosses from one sector to the next, counted from its beginning.
fn sectors(at: u64, length: u64) -> impl Iterator<Item = u64> {
    let first = at.next_multiple_of(SECTOR_BYTES) - at;
    (first..length).step_by(SECTOR_BYTES as usize).filter(|cut| *cut > 0)
}

/// Whose sync makes an act durable; none for what is not on a disk.
fn settled_by(act: &Act) -> Option<Node> {
    match act {
        Act::File((folder, _), _) | Act::Folder((folder, _), _) | Act::Remove((folder, _)) => Some(*folder),
        Act::Move(_, (folder, _)) => Some(*folder),
        Act::Write(file, ..) | Act::Length(file, _) => Some(*file),
        Act::Sync(_) | Act::Mark(_) => None,
    }
}

fn names(act: &Act) -> Vec<&Name> {
    match act {
        Act::File(name, _) | Act::Folder(name, _) | Act::Remove(name) => vec![name],
        Act::Move(was, is) => vec![was, is],
        _ => Vec::new(),
    }
}

/// Which of the first `end` acts no sync covers.
fn loose(acts: &[Act], end: usize) -> Vec<usize> {
    let mut synced = BTreeSet::new();
    let mut loose = Vec::new();
    for at in (0..end).rev() {
        match &acts[at] {
            Act::Sync(node) => {
                synced.insert(*node);
            }
            act => loose.extend(settled_by(act).filter(|node| !synced.contains(node)).map(|_| at)),
        }
    }
    loose.reverse();
    loose
}

/// How much of a loose write is there.
enum Share {
    All,
    None,
    /// Only its length.
    Zeros,
    /// Sectors that are there, and whether the file is as long as if all were.
    Sectors(Box<dyn Fn(u64) -> bool>, bool),
}

/// What is found after a crash.
pub fn image(acts: &[Act], crash: Crash) -> Image {
    let loose: BTreeSet<usize> = loose(acts, crash.acts).into_iter().collect();
    let mut seed = Seed::new(if let Fate::Chance(number) = crash.fate { number } else { 0 });
    let (mut lost_names, mut lost_files) = (BTreeSet::<&Name>::new(), BTreeSet::<Node>::new());
    let mut disk = Disk::default();
    for (at, act) in acts[..crash.acts].iter().enumerate() {
        let share = if loose.contains(&at) { share(acts, crash, at, &mut seed) } else { Share::All };
        let file = if let Act::Write(file, ..) | Act::Length(file, _) = act { Some(*file) } else { None };
        let builds_on_lost = file.is_some_and(|file| lost_files.contains(&file))
            || names(act).iter().any(|name| lost_names.contains(name));
        if loose.contains(&at) && (builds_on_lost || matches!(share, Share::None)) {
            lost_names.extend(names(act));
            if matches!(act, Act::Length(..)) {
                lost_files.extend(file);
            }
            continue;
        }
        disk.take(act, &share);
    }
    disk.found()
}

fn share(acts: &[Act], crash: Crash, at: usize, seed: &mut Seed) -> Share {
    let is_write = matches!(acts[at], Act::Write(..));
    let is_bytes = is_write || matches!(acts[at], Act::Length(..));
    let is_last = at + 1 == crash.acts;
    let there = |is_there: bool| if is_there { Share::All } else { Share::None };
    match crash.fate {
        Fate::AllThere => Share::All,
        Fate::AllGone => Share::None,
        Fate::NamesAlone => there(!is_bytes),
        Fate::NamesAndZeros => {
            if is_write {
                Share::Zeros
            } else {
                Share::All
            }
        }
        Fate::BytesAlone => there(is_bytes),
        Fate::Without(gone) => there(at != gone),
        Fate::AloneWritten(alone) => there(!is_write || at == alone),
        Fate::Begun(cut) if is_last => Share::Sectors(Box::new(move |place| place < cut), false),
        Fate::BegunAndZeros(cut) if is_last => Share::Sectors(Box::new(move |place| place < cut), true),
        Fate::Ended(cut) if is_last => Share::Sectors(Box::new(move |place| place >= cut), true),
        Fate::Begun(_) | Fate::BegunAndZeros(_) | Fate::Ended(_) => Share::All,
        Fate::Chance(_) => match seed.below(4) {
            0 => Share::None,
            1 if is_write => {
                let coin = seed.next_number();
                Share::Sectors(Box::new(move |place| Seed::new(coin ^ place).below(2) == 0), true)
            }
            _ => Share::All,
        },
    }
}

/// What the acts that are there amount to.
#[derive(Default)]
struct Disk {
    names: BTreeMap<Name, Node>,
    folders: BTreeSet<Node>,
    bytes: HashMap<Node, Vec<u8>>,
}

impl Disk {
    fn take(&mut self, act: &Act, share: &Share) {
        match act {
            Act::File(name, node) => {
                self.names.insert(name.clone(), *node);
            }
            Act::Folder(name, node) => {
                self.names.insert(name.clone(), *node);
                self.folders.insert(*node);
            }
            Act::Move(was, is) => {
                if let Some(node) = self.names.remove(was) {
                    self.names.insert(is.clone(), node);
                }
            }
            Act::Remove(name) => {
                self.names.remove(name);
            }
            Act::Length(file, length) => {
                self.bytes.entry(*file).or_default().resize(*length as usize, 0);
            }
            Act::Write(file, at, bytes) => self.write(*file, *at, bytes, share),
            Act::Sync(_) | Act::Mark(_) => {}
        }
    }

    fn write(&mut self, file: Node, at: u64, bytes: &[u8], share: &Share) {
        let held = self.bytes.entry(file).or_default();
        let (begin, end) = (at as usize, at as usize + bytes.len());
        let mut lengthen = |to: usize| held.resize(held.len().max(to), 0);
        match share {
            Share::None => {}
            Share::Zeros => lengthen(end),
            Share::All => {
                lengthen(end);
                held[begin..end].copy_from_slice(bytes);
            }
            Share::Sectors(is_there, keeps_length) => {
                if *keeps_length {
                    lengthen(end);
                }
                let cuts: Vec<u64> = [0].into_iter().chain(sectors(at, bytes.len() as u64)).collect();
                for (number, cut) in cuts.iter().enumerate() {
                    let from = *cut as usize;
                    let to = cuts.get(number + 1).map_or(bytes.len(), |next| *next as usize);
                    if is_there(*cut) {
                        held.resize(held.len().max(begin + to), 0);
                        held[begin + from..begin + to].copy_from_slice(&bytes[from..to]);
                    }
                }
            }
        }
    }

    fn found(mut self) -> Image {
        let mut image = Image::default();
        let mut folders = vec![(TOP, PathBuf::new())];
        while let Some((folder, path)) = folders.pop() {
            let inside = self.names.range((folder, String::new())..(folder + 1, String::new()));
            for ((_, name), node) in inside {
                let path = path.join(name);
                if self.folders.contains(node) {
                    folders.push((*node, path.clone()));
                    image.0.insert(path, None);
                } else {
                    image.0.insert(path, Some(self.bytes.remove(node).unwrap_or_default()));
                }
            }
        }
        image
    }
}
