//! What a process and all its children used, as the kernel counted it. Invariant: a helper process of our own waits
//! for the measured one, so that no other child is counted; its own memory (2 MiB) is the least that can be shown.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// What was used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Used {
    /// CPU time, in microseconds, user's and system's.
    pub cpu_us: u64,
    /// Most memory that any of the processes held at once, in KiB.
    pub rss_kib: u64,
}

/// A measured process that goes on until it ends or is ended.
pub struct Measured {
    helper: Child,
    output: BufReader<std::process::ChildStdout>,
    /// The measured process.
    pub pid: i32,
}

/// Starts a command under measurement; its output goes nowhere.
pub fn start(command: &Command) -> anyhow::Result<Measured> {
    let mut helper = Command::new(std::env::current_exe().context("failed to find this program")?);
    helper.arg("__measure").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => helper.env(name, value),
            None => helper.env_remove(name),
        };
    }
    helper.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut helper = helper.spawn().context("failed to start the measuring process")?;
    let mut output = BufReader::new(helper.stdout.take().context("the measuring process has no output")?);
    let mut line = String::new();
    output.read_line(&mut line).context("failed to hear of the measured process")?;
    let pid = line.trim().parse().with_context(|| format!("{:?} did not start", command.get_program()))?;
    Ok(Measured { helper, output, pid })
}

/// Runs a command to its end.
pub fn run(command: &Command) -> anyhow::Result<Used> {
    start(command)?.wait()
}

/// Runs a command some times; the middle of each figure.
pub fn middle(command: &Command, times: usize) -> anyhow::Result<Used> {
    let all = (0..times).map(|_| run(command)).collect::<anyhow::Result<Vec<_>>>()?;
    let middle = |of: fn(&Used) -> u64| {
        let mut figures: Vec<u64> = all.iter().map(of).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    };
    Ok(Used { cpu_us: middle(|used| used.cpu_us), rss_kib: middle(|used| used.rss_kib) })
}

impl Measured {
    /// Waits for its end.
    pub fn wait(mut self) -> anyhow::Result<Used> {
        let mut text = String::new();
        self.output.read_to_string(&mut text).context("failed to hear what was used")?;
        let status = self.helper.wait().context("failed to wait for the measuring process")?;
        if !status.success() {
            bail!("the measured process failed");
        }
        serde_json::from_str(&text).context("failed to read what was used")
    }

    /// Asks it to end, and waits for that.
    pub fn stop(self) -> anyhow::Result<Used> {
        let pid = rustix::process::Pid::from_raw(self.pid).context("a process has a number")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("failed to stop it")?;
        self.wait()
    }
}

/// The helper: runs the command, and prints its number and then what it used.
pub fn child(command: &[String]) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context("there is no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("failed to start `{program}`"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", child.id())?;
    out.flush()?;
    let status = child.wait().context("failed to wait")?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("failed to read what was used")?;
    let us = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default()
    };
    let used = Used {
        cpu_us: us(usage.user_time()) + us(usage.system_time()),
        rss_kib: u64::try_from(usage.max_rss()).unwrap_or_default(),
    };
    writeln!(out, "{}", serde_json::to_string(&used)?)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
