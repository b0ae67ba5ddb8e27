//! Running another program. Invariant: only one that belongs to root (to SYSTEM, administrators or Windows itself), in
//! folders that belong to them, all writable by them alone and none of them a link; never through a shell (but for the
//! one that runs a vendor's `.cmd`); for a limited time, with a limited answer.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Seconds a program gets: the vendor's answer within one, on a busy machine within five.
pub const TIME_S_MAX: u64 = 10;

/// How often a program that has said everything is asked whether it has ended, and how many times.
const END_POLL: (Duration, u32) = (Duration::from_millis(20), 50);

/// What a program said.
#[derive(Debug)]
pub struct Answer {
    /// Its output, cut at the limit.
    pub text: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// Why a program was not run, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no such program.
    #[error("there is no `{0}`")]
    Absent(String),
    /// Somebody else could have put it there.
    #[error("`{program}` is not run: {reason}")]
    Unsafe {
        /// Which program.
        program: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// It did not start.
    #[error("failed to start `{program}`: {source}")]
    Start {
        /// Which program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("`{0}` did not answer within its time and was stopped")]
    TimeOut(String),
}

/// Runs a program and waits for its answer.
pub fn run(program: &str, arguments: &[&str], time: Duration, bytes_max: usize) -> Result<Answer, ExecError> {
    check(program)?;
    let mut command = Command::new(program);
    confine(&mut command);
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| ExecError::Start { program: program.to_owned(), source })?;
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What is read until an error counts; the receiver may be gone.
            let _ = output.take(bytes_max as u64).read_to_end(&mut bytes);
            let _ = sender.send(bytes);
        });
    }
    let bytes = receiver.recv_timeout(time);
    let status = if bytes.is_ok() { wait(&mut child) } else { None };
    match (bytes, status) {
        (Ok(bytes), Some(status)) => {
            Ok(Answer { text: String::from_utf8_lossy(&bytes).into_owned(), status })
        }
        _ => {
            stop(&mut child);
            Err(ExecError::TimeOut(program.to_owned()))
        }
    }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let (pause, times) = END_POLL;
    for _ in 0..times {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(pause);
    }
    None
}

/// Nothing of the environment that somebody may have set, and a group of its own.
#[cfg(unix)]
pub(crate) fn confine(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.current_dir("/").process_group(0);
}

/// Programs are looked for in the system's folder alone; no window opens.
#[cfg(windows)]
pub(crate) fn confine(command: &mut Command) {
    use std::os::windows::process::CommandExt as _;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    let windows = crate::windows::places::windows();
    let system = format!(r"{windows}\System32");
    command.env("PATH", format!(r"{system};{windows};{system}\Wbem")).env_remove("PATHEXT");
    command.current_dir(system).creation_flags(CREATE_NO_WINDOW);
}

/// Kills the program and what it has started.
#[cfg(windows)]
pub(crate) fn stop(child: &mut Child) {
    let taskkill = format!(r"{}\System32\taskkill.exe", crate::windows::places::windows());
    let number = child.id().to_string();
    let mut command = Command::new(taskkill);
    confine(&mut command);
    command
        .args(["/T", "/F", "/PID", &number])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Gone already is as good.
    let _ = command.status();
    let _ = child.kill();
    let _ = child.wait();
}

/// Kills the program and what it has started.
#[cfg(unix)]
pub(crate) fn stop(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Gone already is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// Whether nobody but the system can have had a hand in the program: it and the folder that it is in are the system's
/// alone; folders above may be added to, as the root of a disk is.
#[cfg(windows)]
pub(crate) fn check(program: &str) -> Result<(), ExecError> {
    use crate::windows::access::{Thing, stranger};
    use crate::windows::raw;
    let refuse = |reason: String| Err(ExecError::Unsafe { program: program.to_owned(), reason });
    let path = Path::new(program);
    if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
        return refuse("its path is not a plain absolute one".into());
    }
    let own = match raw::own_account() {
        Ok(own) => own,
        Err(error) => return refuse(format!("failed to tell whose this process is: {error}")),
    };
    for (height, part) in path.ancestors().enumerate() {
        let shown = part.display();
        match std::fs::symlink_metadata(part) {
            Ok(about) if about.file_type().is_symlink() => return refuse(format!("{shown} is a link")),
            Ok(about) if height == 0 && !about.is_file() => return refuse("it is no file".into()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ExecError::Absent(program.to_owned()));
            }
            Err(error) => return refuse(format!("failed to look at {shown}: {error}")),
        }
        let thing = if height < 2 { Thing::Own } else { Thing::Above };
        match raw::access_of(part) {
            Ok(sddl) => {
                if let Some(why) = stranger(&sddl, &own, thing) {
                    return refuse(format!("of {shown}, {why}"));
                }
            }
            Err(error) => return refuse(format!("failed to read the access list of {shown}: {error}")),
        }
    }
    Ok(())
}

/// Whether nobody but root can have had a hand in the program.
#[cfg(unix)]
pub(crate) fn check(program: &str) -> Result<(), ExecError> {
    use std::os::unix::fs::MetadataExt as _;
    let refuse = |reason: String| Err(ExecError::Unsafe { program: program.to_owned(), reason });
    let path = Path::new(program);
    if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
        return refuse("its path is not a plain absolute one".into());
    }
    for part in path.ancestors() {
        let shown = part.display();
        let about = match std::fs::symlink_metadata(part) {
            Ok(about) => about,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ExecError::Absent(program.to_owned()));
            }
            Err(error) => return refuse(format!("failed to look at {shown}: {error}")),
        };
        if about.file_type().is_symlink() {
            return refuse(format!("{shown} is a link"));
        }
        if about.uid() != 0 {
            return refuse(format!("{shown} does not belong to root"));
        }
        if about.mode() & 0o022 != 0 {
            return refuse(format!("others than root may write {shown}"));
        }
    }
    match std::fs::symlink_metadata(path) {
        Ok(about) if about.is_file() => Ok(()),
        _ => refuse("it is no file".into()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_program_of_roots_answers() {
        let answer = run("/usr/bin/printf", &["%s", "hello"], SECOND * 10, 100).unwrap();
        assert_eq!(answer.text, "hello");
        assert!(answer.status.success());
    }

    #[test]
    fn a_program_that_hangs_is_stopped_and_one_that_talks_too_much_is_cut() {
        let slow = run("/usr/bin/sleep", &["600"], SECOND / 10, 100);
        assert!(matches!(slow, Err(ExecError::TimeOut(_))), "{slow:?}");
        let loud = run("/usr/bin/yes", &[], SECOND * 10, 1000).unwrap();
        assert_eq!(loud.text.len(), 1000);
    }

    #[test]
    fn a_program_where_others_may_write_is_not_run() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("dsa_query");
        std::fs::copy("/usr/bin/true", &program).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let refused = run(program.to_str().unwrap(), &[], SECOND, 100).unwrap_err();
        assert!(matches!(refused, ExecError::Unsafe { .. }), "{refused}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/usr/bin/true", &link).unwrap();
        let refused = run(link.to_str().unwrap(), &[], SECOND, 100).unwrap_err();
        assert!(refused.to_string().ends_with("is a link"), "{refused}");
        for path in ["usr/bin/true", "/usr/bin/../bin/true", "/usr/bin"] {
            assert!(matches!(run(path, &[], SECOND, 100), Err(ExecError::Unsafe { .. })), "{path}");
        }
        assert!(matches!(run("/nonexistent/x", &[], SECOND, 100), Err(ExecError::Absent(_))));
    }
}
