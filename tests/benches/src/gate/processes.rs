//! The server that is measured and the generator beside it, each a process. Invariant: what the server used is read
//! from the kernel's own books of that process; both end with this one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::bare::Kind;
use super::load::{Ask, Told};

/// Microseconds of a tick of `/proc/PID/stat`: the kernel tells all programs 100 ticks a second.
const TICK_US: u64 = 10_000;

/// How often, and how many times, it is looked whether a server listens.
const READY_PAUSE: Duration = Duration::from_millis(50);
const READY_TRIES: u32 = 200;

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

    /// A program that does not say when it is ready, but listens then.
    pub fn listening(mut command: Command, agents: SocketAddr) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
        let server = Self { child, agents };
        for _ in 0..READY_TRIES {
            if TcpStream::connect(agents).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(READY_PAUSE);
        }
        bail!("{command:?} did not get ready")
    }

    /// CPU time since its start, the user's and the system's, in microseconds.
    pub fn cpu_us(&self) -> anyhow::Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        used(&stat, false).context("a process has used time")
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

/// CPU time of all processes of a name and of their children that have ended, in microseconds.
pub fn cpu_us_of(name: &str) -> anyhow::Result<u64> {
    let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
    let stats = std::fs::read_dir("/proc")?.flatten().filter_map(stat);
    let named = stats
        .filter(|stat| stat.split_once('(').is_some_and(|(_, rest)| rest.starts_with(&format!("{name})"))));
    Ok(named.filter_map(|stat| used(&stat, true)).sum())
}

/// What a line of `/proc/PID/stat` says was used, in microseconds.
fn used(stat: &str, with_children: bool) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    // Fields 14 to 17 of proc(5); the first two stand before the name's end.
    let ticks = fields.split_whitespace().skip(11).take(if with_children { 4 } else { 2 });
    ticks.map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>().map(|ticks| ticks * TICK_US)
}

fn own() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("failed to find this program")
}
