//! Which files tell that something moved, for what a catalogue asks. Invariant: pure, and only exact paths: a name
//! with a star in it is found by the daily look.

use std::collections::BTreeSet;

use seatbeat_proto::catalogue::Wanted;

use super::units::{FOLDERS, SETTINGS};
use super::{dpkg, rpm};

/// Where the running units of systemd have a folder each, in the three layouts of control groups. Asking for it costs
/// one system call, and `systemctl` a process; a unit that was started again has another inode there.
const RUNNING_UNITS: [&str; 3] = [
    "/sys/fs/cgroup/system.slice",
    "/sys/fs/cgroup/systemd/system.slice",
    "/sys/fs/cgroup/unified/system.slice",
];

/// Holds a link to each unit that starts with the machine.
const STARTED: &str = "/etc/systemd/system/multi-user.target.wants";

/// A path whose stamp is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which.
    pub path: String,
    /// Of a folder, whether its entries matter; otherwise only that it is there, and is the same one.
    pub entries: bool,
}

/// What is compared and what is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Stamps are taken of these, in this order.
    pub stamped: Vec<Place>,
    /// A change of one of these files is a nudge.
    pub watched_files: BTreeSet<String>,
    /// A name that comes to or goes from one of these folders is a nudge.
    pub watched_folders: BTreeSet<String>,
    /// So is one that comes to or goes from the deepest folder above one of these that is there.
    pub watched_paths: BTreeSet<String>,
}

impl Places {
    /// Of the running machine.
    pub fn of(wanted: &Wanted<'_>) -> Self {
        let mut places = Self::default();
        if !wanted.debs.is_empty() {
            places.file(dpkg::STATUS);
            places.folder(dpkg::STATUS_FOLDER);
        }
        if !wanted.rpms.is_empty() {
            rpm::DATABASES.iter().for_each(|path| places.file(path));
        }
        if !wanted.units.is_empty() {
            FOLDERS.iter().chain([&SETTINGS, &STARTED]).for_each(|path| places.folder(path));
        }
        for unit in exact(&wanted.units) {
            // A unit file that is written anew under its name; one that comes or goes moves its folder.
            for folder in FOLDERS.iter().chain([&SETTINGS]) {
                places.stamp(format!("{folder}/{unit}"), true);
            }
            RUNNING_UNITS.iter().for_each(|slice| places.stamp(format!("{slice}/{unit}"), false));
        }
        for script in exact(&wanted.init_scripts) {
            places.path(format!("/etc/init.d/{script}"));
        }
        exact(&wanted.paths)
            .filter(|path| path.starts_with('/'))
            .for_each(|path| places.path(path.to_owned()));
        exact(&wanted.kernel_modules).for_each(|name| places.stamp(format!("/sys/module/{name}"), false));
        if !wanted.groups.is_empty() {
            places.stamp("/etc/group".to_owned(), true);
        }
        places.stamped.sort();
        places.stamped.dedup();
        places
    }

    fn stamp(&mut self, path: String, entries: bool) {
        self.stamped.push(Place { path, entries });
    }

    fn file(&mut self, path: &str) {
        self.stamp(path.to_owned(), true);
        self.watched_files.insert(path.to_owned());
    }

    fn folder(&mut self, path: &str) {
        self.stamp(path.to_owned(), true);
        self.watched_folders.insert(path.to_owned());
    }

    /// A path of the vendor's: what it writes into its folders all day says nothing about what is installed.
    fn path(&mut self, path: String) {
        self.watched_paths.insert(path.clone());
        self.stamp(path, false);
    }
}

fn exact<'a>(names: &'a BTreeSet<&'a str>) -> impl Iterator<Item = &'a str> {
    names.iter().copied().filter(|name| !name.contains('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_catalogue_asks_is_stamped_and_watched_where_it_shows() {
        let wanted = Wanted {
            debs: ["ds-agent"].into(),
            units: ["ds_agent.service"].into(),
            paths: ["/opt/ds_agent/ds_agent", "/opt/*/x", r"{x86}\Trend"].into(),
            ..Wanted::default()
        };
        let places = Places::of(&wanted);
        let has =
            |path: &str| places.stamped.iter().find(|place| place.path == path).map(|place| place.entries);
        assert_eq!(has("/var/lib/dpkg/status"), Some(true));
        assert_eq!(has("/opt/ds_agent/ds_agent"), Some(false));
        assert_eq!(has("/sys/fs/cgroup/system.slice/ds_agent.service"), Some(false));
        assert_eq!(has("/var/lib/rpm/rpmdb.sqlite"), None, "no rpm is asked for");
        assert!(places.stamped.iter().all(|place| !place.path.contains('*')));
        assert_eq!(places.watched_files, ["/var/lib/dpkg/status".to_owned()].into());
        assert!(places.watched_folders.contains("/etc/systemd/system"));
        assert_eq!(places.watched_paths, ["/opt/ds_agent/ds_agent".to_owned()].into());
    }
}
