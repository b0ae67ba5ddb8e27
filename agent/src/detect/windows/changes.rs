//! Whether anything moved on the running machine: the registry tells of its keys, and what services and files look like
//! is compared. Invariant: what is told is only a reason to look sooner; each look compares the stamps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use seatbeat_proto::catalogue::{Catalogue, Observations, Os, Service};
use tokio::sync::Notify;
use winreg::RegKey;
use winreg::enums::{HKEY_LOCAL_MACHINE, KEY_NOTIFY, KEY_READ, KEY_WOW64_32KEY, KEY_WOW64_64KEY};

use super::super::Sensor;
use super::super::watch::{DEBOUNCE, LOOKS_APART};
use super::names::Folders;
use super::{programs, registry, services};
use crate::windows::service::STIRRED;
use crate::windows::{places, raw};

/// Keys of which something moves when a program comes, goes or changes its mind, and whether anything beneath counts:
/// below services something is written all the time.
const WATCHED: [(&str, u32, bool); 5] = [
    (r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall", KEY_WOW64_64KEY, false),
    (r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall", KEY_WOW64_32KEY, false),
    (r"SOFTWARE\TrendMicro", KEY_WOW64_64KEY, true),
    (r"SOFTWARE\TrendMicro", KEY_WOW64_32KEY, true),
    (r"SYSTEM\CurrentControlSet\Services", KEY_WOW64_64KEY, false),
];

/// Room for a thread that only waits.
const STACK_LENGTH: usize = 64 * 1024;

/// What everything that is cheap to ask looked like: what the registry, the service manager and the process list say, and
/// when files were written. The vendor's programs, versions in files and WMI are asked when one of these has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps {
    seen: Observations,
    services: Vec<Service>,
    written: BTreeMap<String, Option<SystemTime>>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Changes;

impl Changes {
    /// Where the registry does not tell, the stamps alone do, at the next look.
    pub fn open() -> (Option<Self>, Option<Nudges>) {
        let moved = Arc::new(Notify::new());
        for (path, view, below) in WATCHED {
            let moved = Arc::clone(&moved);
            let watch = move || watch(path, view, below, &moved);
            let started =
                std::thread::Builder::new().name("registry".into()).stack_size(STACK_LENGTH).spawn(watch);
            if let Err(error) = started {
                tracing::info!(error = error.to_string(), "changes are not told, only looked for");
            }
        }
        (Some(Self), Some(Nudges(moved)))
    }

    /// How the machine stands now.
    pub fn take(&mut self, catalogue: &Catalogue) -> Stamps {
        let wanted = catalogue.wanted(Os::Windows);
        let mut seen = Observations { os: Os::Windows, ..Observations::default() };
        registry::Registry.look(&wanted, &mut seen);
        services::Services.look(&wanted, &mut seen);
        programs::Programs.look(&wanted, &mut seen);
        let folders = Folders {
            programs: places::programs(),
            programs_x86: places::programs_x86(),
            values: &seen.registry_values,
        };
        let names = wanted.paths.iter().chain(&wanted.file_versions).copied();
        let names =
            names.chain(wanted.ini_values.iter().filter_map(|name| Some(super::names::split_ini(name)?.0)));
        let written = names
            .filter_map(|name| folders.place(name))
            .map(|path| {
                let at = std::fs::metadata(&path).and_then(|about| about.modified()).ok();
                (path, at)
            })
            .collect();
        Stamps { services: std::mem::take(&mut seen.services), seen, written }
    }
}

/// Waits at a key; one that is not there yet is looked for now and then. The thread ends with the process, or when a key
/// cannot be waited at.
fn watch(path: &str, view: u32, below: bool, moved: &Notify) {
    let machine = RegKey::predef(HKEY_LOCAL_MACHINE);
    let mut was_there = true;
    loop {
        match machine.open_subkey_with_flags(path, KEY_READ | KEY_NOTIFY | view) {
            Ok(key) => {
                // One that came while it was looked for is news by itself.
                if was_there && raw::wait_for_change(&key, below).is_err() {
                    return;
                }
                was_there = true;
                moved.notify_one();
                // Who writes all the time wakes this thread once in a while.
                std::thread::sleep(DEBOUNCE);
            }
            Err(_) => {
                was_there = false;
                std::thread::sleep(LOOKS_APART);
            }
        }
    }
}

/// Where nudges come from.
#[derive(Debug)]
pub struct Nudges(Arc<Notify>);

impl Nudges {
    /// Waits for the next one, or for the machine to wake up.
    pub async fn next(&mut self) {
        tokio::select! {
            () = self.0.notified() => {}
            () = STIRRED.notified() => {}
        }
    }
}
