//! What stands in for the sources of Linux and Windows on another system, until it has its own. Invariant: nothing is told as
//! absent that was not looked for; without stamps each look is at everything.

use seatbeat_proto::catalogue::{Catalogue, Observations, Process, Source, Wanted, is_program};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::Sensor;

/// The running processes' programs.
pub struct Processes;

impl Sensor for Processes {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        let mut system = match System::new() {
            Ok(system) => system,
            Err(error) => {
                seen.unreadable.insert(Source::Processes, format!("failed to list processes: {error}"));
                return;
            }
        };
        let programs = ProcessRefreshKind::nothing().without_tasks().with_exe(UpdateKind::OnlyIfNotSet);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, programs);
        for process in system.processes().values() {
            let exe =
                process.exe().map(|exe| exe.to_string_lossy().into_owned()).filter(|exe| !exe.is_empty());
            let exe = exe.unwrap_or_else(|| process.name().to_string_lossy().into_owned());
            if wanted.programs.iter().any(|program| is_program(program, &exe)) {
                seen.processes.push(Process { exe });
            }
        }
        seen.processes.sort_by(|a, b| a.exe.cmp(&b.exe));
        seen.processes.dedup();
    }
}

/// Says of a source that nothing reads it here.
pub struct Unread(pub Source);

impl Sensor for Unread {
    fn look(&self, _wanted: &Wanted<'_>, seen: &mut Observations) {
        seen.unreadable.insert(self.0, "this agent cannot read it on this system yet".into());
    }
}

/// Nobody knows of changes here.
#[derive(Debug)]
pub struct Changes;

/// Of nothing.
pub type Stamps = ();

impl Changes {
    /// None: each look is at everything.
    pub fn open() -> (Option<Self>, Option<Nudges>) {
        (None, None)
    }

    /// Never asked.
    pub fn take(&mut self, _catalogue: &Catalogue) -> Stamps {}
}

/// Nobody tells of changes here.
#[derive(Debug)]
pub struct Nudges;

impl Nudges {
    /// Never ends.
    pub async fn next(&mut self) {
        std::future::pending().await
    }
}
