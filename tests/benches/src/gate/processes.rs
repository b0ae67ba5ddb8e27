//! The server that is measured and the generator beside it, each a process. Invariant: what the server used is read
//! from the kernel's own books of that process; both end with this one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

use super::bare::Kind;
use super::load::{Ask, Told};

/// Microseconds of a tick of `/proc/PID/stat`: the kernel tells all programs 100 ticks a second.
const TICK_US: u64 = 10_000;

/// A server process.
pub struct Server {
    child: Child,
    /// Where agents connect.
    pub agents: SocketAddr,
}

/// A generator process.
pub struct Load {
    child: Child,
    told: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// The collector itself, on this store.
    pub fn collector(program: &Path, store: &Path) -> anyhow::Result<Self> {
        let mut serve = Command::new(program);
        serve.args(["serve", "--json", "--store"]).arg(store).env("SEATBEAT_LOG", "error");
        Self::start(serve)
    }

    /// What it is compared with.
    pub fn bare(kind: Kind, store: &Path) -> anyhow::Result<Self> {
        let kind = clap::ValueEnum::to_possible_value(&kind).context("each kind has a name")?;
        let mut serve = Command::new(own()?);
        serve.args(["__door", "--kind", kind.get_name(), "--store"]).arg(store);
        Self::start(serve)
    }

    fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
        let mut line = String::new();
        let read =
            BufReader::new(child.stdout.take().context("a server has an output")?).read_line(&mut line);
        let ready = read.ok().and_then(|_| serde_json::from_str::<serde_json::Value>(&line).ok());
        let agents = ready.and_then(|ready| ready["agents"].as_str()?.parse().ok());
        match agents {
            Some(agents) => Ok(Self { child, agents }),
            None => {
                let _ = child.kill();
                bail!("{command:?} did not get ready: {line}")
            }
        }
    }

    /// CPU time since its start, the user's and the system's, in microseconds.
    pub fn cpu_us(&self) -> anyhow::Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let field = |number: usize| fields.split_whitespace().nth(number)?.parse::<u64>().ok();
        // Fields 14 and 15 of proc(5); the first two stand before the name's end.
        let (user, system) = field(11).zip(field(12)).context("a process has used time")?;
        Ok((user + system) * TICK_US)
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
    }
}

impl Load {
    /// A generator that goes to this address.
    pub fn start(token: &str, agents: SocketAddr) -> anyhow::Result<Self> {
        let mut child = Command::new(own()?)
            .args(["__load", "--token", token, "--address", &agents.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the load generator")?;
        let told = BufReader::new(child.stdout.take().context("a generator has an output")?);
        Ok(Self { child, told })
    }

    /// Asks, and waits for what became of it.
    pub fn ask(&mut self, ask: &Ask) -> anyhow::Result<Told> {
        self.begin(ask)?;
        self.told()
    }

    /// Asks without waiting.
    pub fn begin(&mut self, ask: &Ask) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("a generator has an input")?;
        Ok(stdin.write_all(format!("{}\n", serde_json::to_string(ask)?).as_bytes())?)
    }

    /// What became of what it was asked.
    pub fn told(&mut self) -> anyhow::Result<Told> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        serde_json::from_str(&line).context("the load generator failed")
    }
}

fn own() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("failed to find this program")
}
