//! Stamps of the places where a change would show, and which wanted programs run. Invariant: nothing is opened but
//! the names of processes that were not there at the last two looks; no program is started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use super::places::{Place, Places};
use super::processes;

/// What a file's metadata says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    /// Size, and when it was written and changed, in nanoseconds; of a folder only where its entries matter.
    content: Option<(u64, [(i64, i64); 2])>,
}

/// How the machine stood at an instant; equal ones say that nothing moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps {
    files: Vec<Option<Stamp>>,
    /// Names of running programs that may be wanted ones. How many run is nothing to us.
    programs: BTreeSet<String>,
}

/// Takes stamps.
#[derive(Debug, Default)]
pub struct Stamper {
    /// Processes whose names were read and are nobody's, and whether they were so at more than one look: between its
    /// start and its program's a process bears the name of whoever started it.
    others: BTreeMap<u32, bool>,
}

impl Stamper {
    /// Takes a stamp of each place, and of the processes among which `is_wanted` tells the wanted ones by name.
    pub fn take(&mut self, places: &Places, is_wanted: impl Fn(&str) -> bool) -> Stamps {
        let files = places.stamped.iter().map(stamp).collect();
        let mut programs = BTreeSet::new();
        let mut others = BTreeMap::new();
        // A process list that cannot be read is empty here and unreadable in the scan.
        for pid in processes::pids().unwrap_or_default() {
            let known = self.others.get(&pid);
            if known == Some(&true) {
                others.insert(pid, true);
                continue;
            }
            match processes::name(pid) {
                Some(name) if is_wanted(&name) => {
                    programs.insert(name);
                }
                Some(_) => {
                    others.insert(pid, known.is_some());
                }
                None => {}
            }
        }
        self.others = others;
        Stamps { files, programs }
    }
}

/// `None` where nothing is, or nothing can be seen.
fn stamp(place: &Place) -> Option<Stamp> {
    let about: Metadata = std::fs::metadata(&place.path).ok()?;
    let told = place.entries || !about.is_dir();
    let times = [(about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec())];
    let content = told.then_some((about.size(), times));
    Some(Stamp { device: about.dev(), inode: about.ino(), content })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(paths: &[(&std::path::Path, bool)]) -> Places {
        let place = |(path, entries): &(&std::path::Path, bool)| Place {
            path: path.to_str().unwrap().to_owned(),
            entries: *entries,
        };
        Places { stamped: paths.iter().map(place).collect(), ..Places::default() }
    }

    #[test]
    fn a_file_that_is_written_replaced_or_removed_moves_and_one_that_is_read_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status");
        std::fs::write(&file, "a").unwrap();
        let places = places(&[(&file, true)]);
        let mut stamper = Stamper::default();
        let mut take = || stamper.take(&places, |_| false);
        let first = take();
        std::fs::read(&file).unwrap();
        assert_eq!(take(), first);
        std::fs::write(&file, "ab").unwrap();
        let second = take();
        assert_ne!(second, first);
        std::fs::write(folder.path().join("new"), "ab").unwrap();
        std::fs::rename(folder.path().join("new"), &file).unwrap();
        let third = take();
        assert_ne!(third, second);
        std::fs::remove_file(&file).unwrap();
        assert_ne!(take(), third);
    }

    #[test]
    fn what_is_written_into_a_vendors_folder_moves_nothing_and_a_unit_that_comes_does() {
        let folder = tempfile::tempdir().unwrap();
        let (vendor, units) = (folder.path().join("vendor"), folder.path().join("units"));
        std::fs::create_dir_all(&vendor).unwrap();
        std::fs::create_dir_all(&units).unwrap();
        let places = places(&[(&vendor, false), (&units, true)]);
        let mut stamper = Stamper::default();
        let first = stamper.take(&places, |_| false);
        std::fs::write(vendor.join("log"), "").unwrap();
        assert_eq!(stamper.take(&places, |_| false), first);
        std::fs::write(units.join("ds_agent.service"), "").unwrap();
        assert_ne!(stamper.take(&places, |_| false), first);
    }

    /// A process that ends with its test, however that ends.
    struct Started(std::process::Child);

    impl Drop for Started {
        fn drop(&mut self) {
            // Both fail only where it has ended by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_wanted_program_that_starts_or_ends_moves() {
        let mut stamper = Stamper::default();
        let folder = tempfile::tempdir().unwrap();
        // A name of this run alone, as short as the kernel keeps it.
        let wanted = format!("dsa{}", std::process::id());
        let program = folder.path().join(&wanted);
        std::fs::copy("/usr/bin/sleep", &program).unwrap();
        let mut take = || stamper.take(&Places::default(), |name| name == wanted);
        let before = take();
        assert!(before.programs.is_empty());
        let started = Started(std::process::Command::new(&program).arg("600").spawn().unwrap());
        // It bears our name for some time after its start.
        for _ in 0..5000 {
            if processes::name(started.0.id()).as_deref() == Some(wanted.as_str()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_ne!(take(), before);
        drop(started);
        assert_eq!(take(), before);
    }
}
