//! The programs that are measured, and a collector for the agent to report to. Invariant: the agent is the one of
//! this very profile and tree; the collector is not measured, so it is built as tests are.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::table::progress;

/// How often, and how many times, something that should come soon is looked for: two minutes.
const TRY: (Duration, u32) = (Duration::from_millis(100), 1200);

/// A store, and a collector on it.
pub struct Desk {
    folder: TempDir,
    seatbeat: PathBuf,
    collector: Option<Child>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(mut collector) = self.collector.take() {
            // Fails only where it has ended by itself.
            let _ = collector.kill();
            let _ = collector.wait();
        }
    }
}

/// The agent, built with the profile that this bench was built with.
pub fn agent() -> anyhow::Result<PathBuf> {
    as_this("seatbeat-agent")
}

/// The collector's program, built with the profile that this bench was built with.
pub fn collector() -> anyhow::Result<PathBuf> {
    as_this("seatbeat")
}

fn as_this(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let folder = own.parent().context("a program has a folder")?;
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    built(program, folder, if profile == "debug" { "dev" } else { profile })
}

fn built(program: &str, folder: &Path, profile: &str) -> anyhow::Result<PathBuf> {
    if let Some(cargo) = std::env::var_os("CARGO") {
        progress(&format!("building {program} ({profile})"));
        let target = folder.parent().context("a profile's folder has one above it")?;
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--profile", profile, "-p", program, "--target-dir"])
            .arg(target)
            .status();
        ensure!(status.context("failed to run cargo")?.success(), "failed to build {program}");
    }
    let path = folder.join(program);
    ensure!(path.is_file(), "there is no `{}`; start this bench with cargo run", path.display());
    Ok(path)
}

impl Desk {
    /// A founded store with a collector that answers.
    pub fn open() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("failed to find this program")?;
        let target = own.parent().and_then(Path::parent).context("a program has a folder")?;
        let seatbeat = built("seatbeat", &target.join("debug"), "dev")?;
        let mut desk = Self { folder: tempfile::tempdir()?, seatbeat, collector: None };
        let (agents, operators) = (free_address()?, free_address()?);
        let store = desk.path("store");
        let mut init = desk.command(&["init", "--store"]);
        init.arg(&store).args(["--agent-listen", &agents.to_string()]);
        output(init.args(["--operator-listen", &operators.to_string()]))?;
        let mut serve = desk.command(&["serve", "--store"]);
        desk.collector = Some(serve.arg(&store).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        until("the collector", || {
            TcpStream::connect(operators).is_ok() && output(&mut desk.command(&["status"])).is_ok()
        })?;
        output(&mut desk.command(&["customers", "add", "Bench", "--id", "cus_bench"]))?;
        Ok(desk)
    }

    /// Something in the desk's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Enrols an agent with a state folder of its own; the command that runs it.
    pub fn enrolled(&self, agent: &Path, name: &str, config: &str) -> anyhow::Result<Command> {
        let create = ["tokens", "create", "--customer", "cus_bench", "--uses", "1", "--json"];
        let made: serde_json::Value = serde_json::from_str(&output(&mut self.command(&create))?)?;
        let token = made["text"].as_str().context("a token has a text")?;
        let state = self.path(name);
        output(Command::new(agent).arg("--state").arg(&state).args(["enrol", "--token", token]))?;
        std::fs::write(state.join("agent.toml"), config)?;
        let mut run = Command::new(agent);
        run.arg("--state").arg(&state).arg("run").env("RUST_LOG", "off");
        Ok(run)
    }

    /// Waits until the agent of this state folder has reported and the collector has it.
    pub fn reported(&self, agent: &Path, name: &str) -> anyhow::Result<()> {
        until("the agent's report", || {
            let mut status = Command::new(agent);
            let answer = output(status.arg("--state").arg(self.path(name)).args(["status", "--json"]));
            let status: serde_json::Value =
                answer.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            !status["last_report"].is_null() && status["waiting"] == 0 && status["link"] == "connected"
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.seatbeat);
        command.args(arguments).env("SEATBEAT_OPERATOR", self.path("operator.toml"));
        command.env("HOME", self.folder.path()).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        command
    }
}

/// Runs a command that has to succeed; what it wrote.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("failed to run {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn until(what: &str, mut so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let (pause, tries) = TRY;
    for _ in 0..tries {
        if so() {
            return Ok(());
        }
        std::thread::sleep(pause);
    }
    bail!("{what} did not come")
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
