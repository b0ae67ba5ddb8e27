//! Running processes, from `/proc`. Invariant: only program paths are kept, and only wanted ones; of the arguments,
//! which may hold a secret, nothing but the first word is looked at, and only where the path may not be read.

use std::fs::File;
use std::io::{self, Read};

use seatbeat_proto::catalogue::{Observations, Process, Source, Wanted, is_program};

use super::Sensor;
use super::root::Root;

/// Letters of a process's name that the kernel keeps.
const NAME_LENGTH: usize = 15;

/// Processes that are looked at: the most that a machine of 64 bits can have at once by default is 4 million, a busy
/// one has some thousands.
const PROCESSES_MAX: usize = 100_000;

/// Bytes of a first argument that are read: the longest path there is.
const PATH_LENGTH_MAX: u64 = 4096;

/// The running machine's processes.
pub struct Processes(pub Root);

impl Sensor for Processes {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if !self.0.is_live() {
            seen.unreadable.insert(Source::Processes, "a foreign root has no running processes".into());
            return;
        }
        let pids = match pids() {
            Ok(pids) => pids,
            Err(error) => {
                seen.unreadable.insert(Source::Processes, format!("failed to list processes: {error}"));
                return;
            }
        };
        for pid in pids {
            if let Ok(exe) = std::fs::read_link(format!("/proc/{pid}/exe")) {
                keep(&exe.to_string_lossy(), wanted, seen);
            } else if let Some(name) = name(pid).filter(|name| may_be_wanted(name, wanted)) {
                // The path of another user's program may not be read without rights; its first argument is the next
                // best.
                keep(first_argument(pid).as_deref().unwrap_or(&name), wanted, seen);
            }
        }
        seen.processes.sort_by(|a, b| a.exe.cmp(&b.exe));
        seen.processes.dedup();
    }
}

/// Numbers of the running processes.
pub(super) fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
        if pids.len() >= PROCESSES_MAX {
            break;
        }
    }
    Ok(pids)
}

/// A process's name, as the kernel cuts it; `None`: it has ended.
pub(super) fn name(pid: u32) -> Option<String> {
    let name = start_of(&format!("/proc/{pid}/comm"))?;
    Some(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
}

/// Whether a name, which the kernel cuts, may be that of a wanted program.
pub(super) fn may_be_wanted(name: &str, wanted: &Wanted<'_>) -> bool {
    wanted.programs.iter().any(|program| {
        let program = program.rsplit('/').next().unwrap_or(program);
        program.get(..NAME_LENGTH).unwrap_or(program) == name
    })
}

fn first_argument(pid: u32) -> Option<String> {
    first_path(&start_of(&format!("/proc/{pid}/cmdline"))?)
}

/// The first of the words, each ended by a zero byte, when it is a path.
pub(super) fn first_path(arguments: &[u8]) -> Option<String> {
    let first = arguments.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(first).ok().filter(|word| word.contains('/')).map(str::to_owned)
}

fn start_of(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(PATH_LENGTH_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn keep(exe: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    if wanted.programs.iter().any(|program| is_program(program, exe)) {
        seen.processes.push(Process { exe: exe.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_runs_is_found_by_its_path_and_by_its_name() {
        let mut child = std::process::Command::new("/usr/bin/sleep").arg("600").spawn().unwrap();
        for program in ["sleep", "/usr/bin/sleep"] {
            let wanted = Wanted { programs: [program].into(), ..Wanted::default() };
            let mut seen = Observations::default();
            Processes(Root::live()).look(&wanted, &mut seen);
            assert!(seen.processes.iter().any(|process| is_program(program, &process.exe)), "{seen:?}");
        }
        assert_eq!(name(child.id()).as_deref(), Some("sleep"));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn of_the_arguments_only_a_first_word_that_is_a_path_is_looked_at() {
        assert_eq!(
            first_path(b"/opt/ds_agent/ds_agent\0-w\0secret\0").as_deref(),
            Some("/opt/ds_agent/ds_agent")
        );
        for other in [&b"ds_agent\0/secret\0"[..], b"", b"\0\0", b"\xFF/x\0"] {
            assert_eq!(first_path(other), None);
        }
    }

    #[test]
    fn a_name_that_the_kernel_cut_may_be_a_wanted_one() {
        let wanted = Wanted { programs: ["/opt/x/EndpointBasecamp", "ds_agent"].into(), ..Wanted::default() };
        assert!(may_be_wanted("EndpointBasecam", &wanted) && may_be_wanted("ds_agent", &wanted));
        assert!(!may_be_wanted("EndpointBasecamp", &wanted) && !may_be_wanted("ds_agen", &wanted));
    }
}
