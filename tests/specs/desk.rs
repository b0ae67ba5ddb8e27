//! A reseller's desk for a test: a store in a temporary folder, the collector as a real process, the operator's
//! command line and agents beside it. Invariant: loopback only, and what was started is stopped with the desk.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// Both programs in one.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_seatbeat-spec");

/// How long a process has to get ready: builds of the whole suite share two cores.
const READY_TRIES: u32 = 600;
const READY_PAUSE: Duration = Duration::from_millis(100);

/// A store, and what runs on it.
pub struct Desk {
    folder: TempDir,
    pub agents: SocketAddr,
    pub operators: SocketAddr,
    collector: Option<Child>,
    clock: Option<String>,
}

/// A process that is killed when the test ends.
pub struct Running(Child);

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        kill(&mut self.0);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Desk {
    /// A founded store; nothing runs yet.
    pub fn founded() -> Self {
        Self::founded_at(None)
    }

    /// A folder and two addresses; nothing is in it yet.
    pub fn unfounded() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            agents: free_address(),
            operators: free_address(),
            collector: None,
            clock: None,
        }
    }

    /// A founded store whose processes all run as of a time.
    pub fn founded_at(clock: Option<&str>) -> Self {
        Self::founded_with(clock, &[])
    }

    /// A store that is founded with further arguments.
    pub fn founded_with(clock: Option<&str>, arguments: &[&str]) -> Self {
        let mut desk = Self::unfounded();
        desk.clock = clock.map(str::to_owned);
        desk.found(arguments);
        desk
    }

    /// Founds the store, with further arguments.
    pub fn found(&self, arguments: &[&str]) {
        let (agents, operators) = (self.agents.to_string(), self.operators.to_string());
        let store = self.store();
        let init =
            ["init", "--store", text(&store), "--agent-listen", &agents, "--operator-listen", &operators];
        self.operator_ok(&[&init, arguments].concat());
    }

    /// Takes the store that is here for a copy of another desk's: with doors of its own, behind the same operator's token.
    pub fn take_over(&self, other: &Self) {
        let path = self.store().join("seatbeat.toml");
        let doors = |text: String| {
            let text = text.replace(&other.agents.to_string(), &self.agents.to_string());
            text.replace(&other.operators.to_string(), &self.operators.to_string())
        };
        let read = |path: &Path| std::fs::read_to_string(path).expect("it is there");
        std::fs::write(&path, doors(read(&path))).expect("it can be written");
        let profile = doors(read(&other.path("operator.toml")));
        std::fs::write(self.path("operator.toml"), profile).expect("it can be written");
    }

    /// One more collector on this one's database, behind the same operator's token. `config` is this one's, perhaps with
    /// another way to the database.
    pub fn joined_by(&self, config: &Path) -> Self {
        let mut desk = Self::unfounded();
        desk.clock.clone_from(&self.clock);
        let (agents, operators) = (desk.agents.to_string(), desk.operators.to_string());
        let (store, key) = (desk.store(), self.store().join("vault/vault.key"));
        let files = ["join", "--config", text(config), "--vault-key", text(&key), "--store", text(&store)];
        desk.operator_ok(
            &[&files[..], &["--agent-listen", &agents, "--operator-listen", &operators]].concat(),
        );
        desk.take_over(self);
        desk
    }

    /// Lets processes that are started from now on run as of another time.
    pub fn set_clock(&mut self, clock: &str) {
        self.clock = Some(clock.to_owned());
    }

    /// A founded store with a running collector.
    pub fn open() -> Self {
        let mut desk = Self::founded();
        desk.start();
        desk
    }

    /// The temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The collector's store.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A command of either program; the operator's credentials stay in the desk.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        if let Some(clock) = &self.clock {
            if arguments.first() == Some(&"__agent") {
                command.args(["__agent", "--clock", clock]).args(&arguments[1..]);
            } else {
                command.args(["--clock", clock]).args(arguments);
            }
        } else {
            command.args(arguments);
        }
        command
            .env("SEATBEAT_OPERATOR", self.path("operator.toml"))
            .env("HOME", self.folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn operator(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs a command that has to succeed; answers what it wrote.
    pub fn operator_ok(&self, arguments: &[&str]) -> String {
        let output = self.operator(arguments);
        let (out, err) = (lossy(&output.stdout), lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?} failed ({}):\n{out}\n{err}", output.status);
        out
    }

    /// Runs a command with `--json` that has to succeed; answers the document.
    pub fn operator_json(&self, arguments: &[&str]) -> serde_json::Value {
        let out = self.operator_ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out)
            .unwrap_or_else(|error| panic!("{arguments:?} wrote no JSON ({error}):\n{out}"))
    }

    /// Runs a command that has to fail with exit code 1; answers what it said.
    pub fn operator_fails(&self, arguments: &[&str]) -> String {
        let output = self.operator(arguments);
        let err = lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}:\n{}\n{err}", lossy(&output.stdout));
        err
    }

    /// Starts the collector and waits until it answers.
    pub fn start(&mut self) {
        let store = self.store();
        let serve = self.command(&["serve", "--store", text(&store)]);
        self.start_as(serve);
    }

    /// Starts the collector in another way, in another environment.
    pub fn start_with(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        let mut serve = self.command(arguments);
        serve.envs(environment.iter().copied());
        self.start_as(serve);
    }

    /// Starts the collector on a copy of its store, on a disk of its own that holds so many bytes. Answers where that
    /// disk can be seen, or nothing where the system does not let tests make one.
    pub fn start_on_small_disk(&mut self, bytes: u64) -> Option<PathBuf> {
        let probe = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).output();
        if !probe.is_ok_and(|probe| probe.status.success()) {
            return None;
        }
        let disk = self.path("disk");
        std::fs::create_dir(&disk).expect("a folder can be made");
        let script =
            r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && cp -a "$3/." "$2" && exec "$4" serve --store "$2""#;
        let mut serve = Command::new("unshare");
        serve.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        serve.args([&bytes.to_string(), text(&disk), text(&self.store()), PROGRAM]);
        serve.env("HOME", self.folder.path()).stdin(Stdio::null());
        self.start_as(serve);
        let id = self.collector.as_ref().expect("it runs").id();
        Some(
            PathBuf::from(format!("/proc/{id}/root")).join(disk.strip_prefix("/").expect("an absolute path")),
        )
    }

    /// Starts the collector under a program that ends it at some act of its; whether it answered before that.
    pub fn start_under(&mut self, program: &[&str]) -> bool {
        let mut under = Command::new(program[0]);
        let store = self.store();
        let serve = self.command(&["serve", "--store", text(&store)]);
        under.args(&program[1..]).arg(PROGRAM).args(serve.get_args()).env("HOME", self.folder.path());
        self.launch(under)
    }

    fn start_as(&mut self, serve: Command) {
        assert!(self.launch(serve), "the collector ended:\n{}", self.log());
    }

    /// Whether it answered before it ended.
    fn launch(&mut self, mut serve: Command) -> bool {
        let log = std::fs::File::options().append(true).create(true).open(self.path("collector.log"));
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log can be written"));
        let mut child = serve.spawn().expect("the program starts");
        for _ in 0..READY_TRIES {
            if child.try_wait().expect("a child can be asked").is_some() {
                return false;
            }
            if TcpStream::connect(self.operators).is_ok() && self.operator(&["status"]).status.success() {
                self.collector = Some(child);
                return true;
            }
            std::thread::sleep(READY_PAUSE);
        }
        kill(&mut child);
        panic!("the collector did not get ready:\n{}", self.log());
    }

    /// How the collector ended, if it does so within this time.
    pub fn ended_within(&mut self, wait: Duration) -> Option<ExitStatus> {
        let pause = Duration::from_millis(10);
        for _ in 0..=wait.as_millis() / pause.as_millis() {
            let child = self.collector.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                self.collector = None;
                return Some(status);
            }
            std::thread::sleep(pause);
        }
        None
    }

    /// Asks the collector to end in order, and does not wait for it.
    pub fn end(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Kills the collector as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.collector.take() {
            kill(&mut child);
        }
    }

    /// The collector's process.
    pub fn pid(&self) -> u32 {
        self.collector.as_ref().expect("it runs").id()
    }

    /// Lets the collector do nothing until it goes on, as a machine that swaps or a virtual one that is moved.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.collector.as_ref().expect("it runs");
        rustix::process::kill_process(id(child), signal).expect("a child can be signalled");
    }

    /// Stops the collector in order; answers whether it ended well.
    pub fn stop(&mut self) -> bool {
        let Some(mut child) = self.collector.take() else { return true };
        terminate(&child);
        child.wait().expect("a child can be waited for").success()
    }

    /// Lets the running collector open only so many more files.
    pub fn leave_descriptors(&self, count: u64) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let child = self.collector.as_ref().expect("it runs");
        let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).expect("it runs").count() as u64;
        let limit = Rlimit { current: Some(open + count), maximum: Some(open + count) };
        prlimit(Some(id(child)), Resource::Nofile, limit).expect("a child can be limited");
    }

    /// Memory that the collector holds, and that it ever held, in MiB.
    pub fn memory_mib(&self) -> (u64, u64) {
        let child = self.collector.as_ref().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
        };
        (kib("VmRSS:") / 1024, kib("VmHWM:") / 1024)
    }

    /// What the collector logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("collector.log")).unwrap_or_default()
    }

    /// Adds a customer and makes a token for its machines; answers the token's text.
    pub fn customer_with_token(&self, customer: &str, uses: &str) -> String {
        self.operator_ok(&["customers", "add", "A customer", "--id", customer]);
        self.token(customer, uses)
    }

    /// Makes a token.
    pub fn token(&self, customer: &str, uses: &str) -> String {
        let made = self.operator_json(&["tokens", "create", "--customer", customer, "--uses", uses]);
        made["text"].as_str().expect("a token has a text").to_owned()
    }

    /// Starts an agent that goes on until it is dropped.
    pub fn run_agent(&self, state: &Path, scope: &[&str]) -> Running {
        let mut run = self.command(&[&["__agent", "--state", text(state), "run"], scope].concat());
        let log = std::fs::File::options().append(true).create(true).open(self.path("agent.log"));
        run.stdout(Stdio::null()).stderr(log.expect("a log can be written"));
        Running(run.spawn().expect("the program starts"))
    }
}

/// Asks again until there is an answer, for a minute.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..READY_TRIES {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(READY_PAUSE);
    }
    panic!("it never came to pass: {what}");
}

/// Says something that is shown with a failure, or with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the test harness captures it")]
pub fn say(text: &str) {
    println!("{text}");
}

/// Says that a test was skipped; where all have to run, that is a failure.
pub fn skip(needs: &str, how: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "needs {needs} ({how})");
    say(&format!("skipped: needs {needs} ({how})"));
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// Sends SIGTERM.
pub fn terminate(child: &Child) {
    rustix::process::kill_process(id(child), rustix::process::Signal::TERM)
        .expect("a child can be signalled");
}

fn id(child: &Child) -> rustix::process::Pid {
    i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a child has an id")
}

fn kill(child: &mut Child) {
    // Both fail only where the process has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    if let Some(mut err) = child.stderr.take() {
        let _ = err.read_to_end(&mut Vec::new());
    }
}

/// An address that stays free while nothing listens there: a collector that starts again finds its own. Systems hand
/// out ports from 32768 on (Linux) by themselves; each desk here has others below.
fn free_address() -> SocketAddr {
    const PORTS: std::ops::Range<u32> = 18_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(101);
    PORTS
        .map(|_| {
            let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u32;
            SocketAddr::from(([127, 0, 0, 1], (PORTS.start + number) as u16))
        })
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("loopback has a free port")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
