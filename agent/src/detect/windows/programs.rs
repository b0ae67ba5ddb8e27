//! Running programs, and what runs within a Domino server. Invariant: only wanted programs are kept, by their path, or
//! by their bare name where the path may not be read; arguments are never read.

use seatbeat_proto::catalogue::{Observations, Process, Source, Wanted, glob, is_program};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::super::Sensor;

/// The running machine's.
pub struct Programs;

impl Sensor for Programs {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        let mut system = match System::new() {
            Ok(system) => system,
            Err(error) => {
                for source in [Source::Processes, Source::DominoTasks] {
                    seen.unreadable.insert(source, format!("failed to list processes: {error}"));
                }
                return;
            }
        };
        let programs = ProcessRefreshKind::nothing().without_tasks().with_exe(UpdateKind::OnlyIfNotSet);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, programs);
        for process in system.processes().values() {
            let name = process.name().to_string_lossy();
            let exe =
                process.exe().map(|exe| exe.to_string_lossy().into_owned()).filter(|exe| !exe.is_empty());
            let exe = exe.unwrap_or_else(|| name.clone().into_owned());
            // A server task is a program of its own there, its name led by an `n`.
            if let Some(task) = name.strip_suffix(".exe").and_then(|name| name.strip_prefix('n'))
                && wanted.domino_tasks.iter().any(|one| glob(one, task))
            {
                seen.domino_tasks.insert(task.to_owned());
            }
            if wanted.programs.iter().any(|program| is_program(program, &exe)) {
                seen.processes.push(Process { exe });
            }
        }
        seen.processes.sort_by(|a, b| a.exe.cmp(&b.exe));
        seen.processes.dedup();
    }
}
