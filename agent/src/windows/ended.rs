//! Whether an agent that was told to stop has ended: its program cannot be replaced or removed before. Invariant: only
//! looks, for a limited time; nobody is ended by it.

use std::path::Path;
use std::time::Duration;

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// How often it is looked, and how many times: a stop takes five seconds at most, and a look at the machine two more.
const POLL: (Duration, u32) = (Duration::from_millis(100), 100);

/// Waits until no other process runs this program; false: one still does.
pub fn others() -> bool {
    let Ok(own) = std::env::current_exe() else { return false };
    let (pause, times) = POLL;
    for _ in 0..times {
        if !runs(&own) {
            return true;
        }
        std::thread::sleep(pause);
    }
    !runs(&own)
}

/// Whether somebody else runs it. Who cannot list processes has nothing to wait for.
fn runs(program: &Path) -> bool {
    let Ok(mut system) = System::new() else { return false };
    let programs = ProcessRefreshKind::nothing().without_tasks().with_exe(UpdateKind::OnlyIfNotSet);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, programs);
    system.processes().values().any(|process| {
        let is_it =
            process.exe().is_some_and(|exe| exe.as_os_str().eq_ignore_ascii_case(program.as_os_str()));
        is_it && process.pid().as_u32() != std::process::id()
    })
}
