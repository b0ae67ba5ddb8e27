//! Running a vendor's or the system's tool to change something. Invariant: only one that nobody but the system can have
//! put there (`detect/exec.rs`), never through a shell, for a limited time; what it was told is nowhere but in its
//! own command line, where root can read it for as long as it runs.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of a tool's output that are read; the rest is read past, so that it never waits for us.
const OUTPUT_LENGTH_MAX: usize = 64 * 1024;

/// How often a tool is asked whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// How often, after it ended, its output is asked whether it has come whole: something it started may hold it open.
const REST_POLLS: u32 = 10;

/// A command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// Its path.
    pub program: String,
    /// Its arguments; secrets among them.
    pub arguments: Vec<String>,
    /// How long it gets.
    pub time: Duration,
    /// Whether it goes on running when all is well: it is left to itself then.
    pub stays: bool,
}

impl Call {
    /// To a program that ends.
    pub fn new(program: &str, arguments: &[&str], time: Duration) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { program: program.to_owned(), arguments, time, stays: false }
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({}, {} arguments)", self.program, self.arguments.len())
    }
}

/// What a tool said. It may hold a secret: only `secrets::last_word` of it is told.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its output, then its errors.
    pub text: String,
    /// Whether there was more.
    pub cut: bool,
    /// Its exit status; none: a signal ended it, or it runs on.
    pub code: Option<i32>,
    /// Its time was over, and it was killed.
    pub late: bool,
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Said({} bytes, {:?})", self.text.len(), self.code)
    }
}

/// Why a tool was not run, in words without its arguments.
pub type NotRun = String;

/// Who runs tools.
pub trait Tools: Send {
    /// Whether it may be run.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, program: &str) -> Result<(), NotRun>;

    /// Runs it.
    ///
    /// # Errors
    /// Why it did not run at all.
    fn run(&self, call: &Call) -> Result<Said, NotRun>;
}

/// The machine's own.
#[derive(Debug, Clone, Copy)]
pub struct MachineTools;

impl Tools for MachineTools {
    #[cfg(any(target_os = "linux", windows))]
    fn check(&self, program: &str) -> Result<(), NotRun> {
        crate::detect::exec::check(program).map_err(|error| error.to_string())
    }

    #[cfg(not(any(target_os = "linux", windows)))]
    fn check(&self, program: &str) -> Result<(), NotRun> {
        Err(format!("`{program}` is not run: whose it is cannot be told on this system yet"))
    }

    fn run(&self, call: &Call) -> Result<Said, NotRun> {
        self.check(&call.program)?;
        let mut child = command(call).spawn().map_err(|error| {
            // The text of an error of the system holds no argument.
            format!("failed to start `{}`: {error}", call.program)
        })?;
        let output = child.stdout.take().map(listen);
        let errors = child.stderr.take().map(listen);
        let ended = wait(&mut child, call.time);
        if ended.is_none() && !call.stays {
            stop(&mut child);
        }
        let (mut text, mut cut) = (String::new(), false);
        for heard in [output, errors].into_iter().flatten() {
            let (bytes, more) = rest(&heard);
            text.push_str(&String::from_utf8_lossy(&bytes));
            cut |= more;
        }
        Ok(Said { text, cut, code: ended.flatten(), late: ended.is_none() && !call.stays })
    }
}

fn command(call: &Call) -> Command {
    let mut command = Command::new(&call.program);
    let pipe = || if call.stays { Stdio::null() } else { Stdio::piped() };
    command.args(&call.arguments).stdin(Stdio::null()).stdout(pipe()).stderr(pipe());
    #[cfg(any(target_os = "linux", windows))]
    crate::detect::exec::confine(&mut command);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// `Some`: it ended, with a status of its own or without.
fn wait(child: &mut Child, time: Duration) -> Option<Option<i32>> {
    let polls = time.as_millis().div_ceil(POLL.as_millis());
    for _ in 0..=polls {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.code());
        }
        std::thread::sleep(POLL);
    }
    None
}

#[cfg(any(target_os = "linux", windows))]
fn stop(child: &mut Child) {
    crate::detect::exec::stop(child);
}

#[cfg(not(any(target_os = "linux", windows)))]
fn stop(child: &mut Child) {
    // Gone already is as good.
    let _ = child.kill();
    let _ = child.wait();
}

#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    more: bool,
    whole: bool,
}

/// Reads to the end, and keeps the beginning.
fn listen(mut from: impl Read + Send + 'static) -> Arc<Mutex<Heard>> {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let told = Arc::clone(&heard);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(again) if again.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OUTPUT_LENGTH_MAX.saturating_sub(told.bytes.len()).min(read);
            told.bytes.extend_from_slice(&buffer[..room]);
            told.more |= room < read;
        }
        told.lock().unwrap_or_else(PoisonError::into_inner).whole = true;
    });
    heard
}

fn rest(heard: &Mutex<Heard>) -> (Vec<u8>, bool) {
    for _ in 0..REST_POLLS {
        if heard.lock().unwrap_or_else(PoisonError::into_inner).whole {
            break;
        }
        std::thread::sleep(POLL);
    }
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let more = heard.more || !heard.whole;
    (std::mem::take(&mut heard.bytes), more)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_tool_says_what_it_has_to_say_in_both_ways_and_how_it_ended() {
        let said = MachineTools.run(&Call::new("/usr/bin/printf", &["%s", "hello"], SECOND * 10)).unwrap();
        assert_eq!(said.text, "hello");
        assert_eq!((said.code, said.late, said.cut), (Some(0), false, false));
        let said = MachineTools.run(&Call::new("/usr/bin/cat", &["/nonexistent"], SECOND * 10)).unwrap();
        assert!(said.text.contains("No such file") && said.code == Some(1), "{}", said.text);
    }

    #[test]
    fn one_that_hangs_is_stopped_one_that_talks_is_cut_and_one_that_stays_is_left() {
        let slow = MachineTools.run(&Call::new("/usr/bin/sleep", &["600"], SECOND / 10)).unwrap();
        assert!(slow.late && slow.code.is_none());
        let loud =
            MachineTools.run(&Call::new("/usr/bin/head", &["-c", "1000000", "/dev/zero"], SECOND * 10));
        let loud = loud.unwrap();
        assert_eq!((loud.text.len(), loud.cut, loud.code), (OUTPUT_LENGTH_MAX, true, Some(0)));
        let call = Call { stays: true, ..Call::new("/usr/bin/sleep", &["2"], SECOND / 10) };
        let stays = MachineTools.run(&call).unwrap();
        assert!(!stays.late && stays.code.is_none());
    }

    #[test]
    fn a_tool_is_not_run_where_others_may_write_and_its_arguments_are_in_no_words() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("dsa_control");
        std::fs::copy("/usr/bin/true", &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let call = Call::new(program.to_str().unwrap(), &["-p", "hunter2"], SECOND);
        let refused = MachineTools.run(&call).unwrap_err();
        assert!(refused.contains("is not run") && !refused.contains("hunter2"), "{refused}");
        assert!(!format!("{call:?}").contains("hunter2"));
    }
}
