//! Power cuts: a store on a file system of its own under load; the collector is stopped in the middle, the disk's image is
//! copied as it is, and a collector starts on the copy. Invariant: the image holds what the file system has handed to the
//! disk, and what is compared with it was acknowledged before the collector was stopped.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use seatbeat_fleet::client::Door;
use seatbeat_fleet::seed::Seed;

use crate::desk::{Desk, say, skip, text};
use crate::kill::setting;
use crate::reporters::{Fleet, Reporting, exported};

const MACHINES: usize = 6;
const CUTS_DEFAULT: u64 = 5;

/// A file system for a small store.
const DISK_BYTES: u64 = 360 * 1024 * 1024;

/// Longest time between two cuts.
const UPTIME_MS_MAX: u64 = 600;

/// From one report of a machine to its next: the collector runs on behind each cut, and takes only so many of one machine at
/// once; at this pace they last for a hundred cuts.
const PAUSE: Duration = Duration::from_millis(20);

/// File systems, what makes them, and how they are mounted: a copy has the identity of what it was copied from.
const SYSTEMS: [(&str, &[&str], &str); 2] =
    [("ext4", &["mkfs.ext4", "-q", "-F"], "loop"), ("xfs", &["mkfs.xfs", "-q", "-f"], "loop,nouuid")];

/// An image that is mounted until it is dropped.
struct Disk {
    place: PathBuf,
}

impl Disk {
    fn mounted(image: &Path, place: PathBuf, options: &str) -> Result<Self, String> {
        fs::create_dir_all(&place).expect("a folder can be made");
        run("mount", &["-o", options, text(image), text(&place)]).map(|()| Self { place })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever was at it was killed just now.
        for _ in 0..50 {
            if run("umount", &[text(&self.place)]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if ran.status.success() { Ok(()) } else { Err(said) }
}

/// A desk whose store lies on another disk.
fn desk_on(disk: &Disk) -> Desk {
    let (desk, store) = (Desk::unfounded(), disk.place.join("store"));
    if !store.exists() {
        fs::create_dir(&store).expect("a folder can be made");
        fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).expect("it is ours");
    }
    std::os::unix::fs::symlink(&store, desk.store()).expect("a link can be made");
    desk
}

#[test]
fn what_was_acknowledged_before_a_power_cut_is_there_after_it() {
    let (number, cuts) = (setting("SEATBEAT_SEED", 1), setting("SEATBEAT_CUTS", CUTS_DEFAULT));
    say(&format!("SEATBEAT_SEED={number}"));
    for (system, make, options) in SYSTEMS {
        let mut seed = Seed::new(number);
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (image, copied) = (folder.path().join("disk.img"), folder.path().join("cut.img"));
        let file = fs::File::create(&image).expect("a file can be made");
        file.set_len(DISK_BYTES).expect("a sparse file can be made");
        if Command::new(make[0]).arg("-V").output().is_err() {
            skip(make[0], "apt-get install e2fsprogs xfsprogs");
            continue;
        }
        run(make[0], &[&make[1..], &[text(&image)]].concat()).expect("a file system can be made");
        let disk = match Disk::mounted(&image, folder.path().join("disk"), options) {
            Ok(disk) => disk,
            // Containers often may not: nothing that could be installed helps.
            Err(why) => return say(&format!("skipped: needs to mount a disk (run it as root): {why}")),
        };
        let mut desk = desk_on(&disk);
        desk.found(&[]);
        desk.start();
        let door = Door::of(&desk.customer_with_token("cus_a", "8")).expect("a token opens a door");
        let period = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
        let fleet = Fleet::report(Reporting::at_pace(vec![door], usize::MAX, PAUSE), MACHINES, &seed);
        let mut acknowledged = 0;
        for cut in 0..cuts {
            std::thread::sleep(Duration::from_millis(50 + seed.below(UPTIME_MS_MAX)));
            desk.pause();
            let acked = fleet.reporting.acked();
            run("cp", &["--sparse=always", text(&image), text(&copied)]).expect("an image can be copied");
            desk.go_on();
            let place = folder.path().join("cut");
            let after = Disk::mounted(&copied, place, options).expect("the file system recovers");
            let mut again = desk_on(&after);
            again.take_over(&desk);
            again.start();
            let places = exported(&again, &period);
            let twice: Vec<_> = places.iter().filter(|(_, times)| **times != 1).collect();
            assert!(twice.is_empty(), "{system}, cut {cut}: {twice:?}");
            for (machine, acked) in &acked {
                let lost = (1..=*acked).find(|sequence| !places.contains_key(&(machine.clone(), *sequence)));
                assert_eq!(lost, None, "{system}, cut {cut}: {machine} was acknowledged up to {acked}");
            }
            acknowledged = acked.values().sum();
            again.kill();
        }
        fleet.stop();
        desk.kill();
        say(&format!("{system}: {cuts} cuts, {acknowledged} reports acknowledged before the last"));
        assert!(acknowledged > 0);
    }
}
