//! Running processes. Invariant: only program paths are kept, and only wanted ones; never an argument, which may
//! hold a secret.

use seatbeat_proto::catalogue::{Observations, Process, Source, Wanted, is_program};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::Sensor;
use super::root::Root;

/// Letters of a process's name that the kernel keeps.
const NAME_LENGTH: usize = 15;

/// The running machine's processes.
pub struct Processes(pub Root);

impl Sensor for Processes {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if !self.0.is_live() {
            seen.unreadable.insert(Source::Processes, "a foreign root has no running processes".into());
            return;
        }
        let mut system = match System::new() {
            Ok(system) => system,
            Err(error) => {
                seen.unreadable.insert(Source::Processes, format!("failed to list processes: {error}"));
                return;
            }
        };
        let programs = ProcessRefreshKind::nothing().without_tasks().with_exe(UpdateKind::OnlyIfNotSet);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, programs);
        let mut unnamed: Vec<Pid> = Vec::new();
        for process in system.processes().values() {
            match process.exe().and_then(|exe| exe.to_str()).filter(|exe| !exe.is_empty()) {
                Some(exe) => keep(exe, wanted, seen),
                None if may_be_wanted(&process.name().to_string_lossy(), wanted) => {
                    unnamed.push(process.pid())
                }
                None => {}
            }
        }
        // The path of another user's program may not be read without rights; its first argument is the next best.
        if !unnamed.is_empty() {
            let arguments = ProcessRefreshKind::nothing().without_tasks().with_cmd(UpdateKind::Always);
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&unnamed), false, arguments);
            for process in unnamed.iter().filter_map(|pid| system.process(*pid)) {
                let first =
                    process.cmd().first().and_then(|word| word.to_str()).filter(|word| word.contains('/'));
                keep(first.unwrap_or(&process.name().to_string_lossy()), wanted, seen);
            }
        }
        seen.processes.sort_by(|a, b| a.exe.cmp(&b.exe));
        seen.processes.dedup();
    }
}

fn keep(exe: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    if wanted.programs.iter().any(|program| is_program(program, exe)) {
        seen.processes.push(Process { exe: exe.to_owned() });
    }
}

/// Whether a name, which the kernel cuts, may be that of a wanted program.
fn may_be_wanted(name: &str, wanted: &Wanted<'_>) -> bool {
    wanted.programs.iter().any(|program| {
        let program = program.rsplit('/').next().unwrap_or(program);
        program.get(..NAME_LENGTH).unwrap_or(program) == name
    })
}
