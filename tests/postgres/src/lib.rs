//! A PostgreSQL of the tests' own, from Debian's package. Invariant: it listens on this machine alone, and it and its
//! folder are gone when the last test that uses it has ended, or when the tests are killed.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use proxy::Proxy;
use tempfile::TempDir;

mod proxy;

/// Where Debian puts what `PATH` does not have.
const DEBIAN: &str = "/usr/lib/postgresql";

/// `nobody` and `nogroup`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

/// The role that is let in by its password alone, and the password.
pub const GUARDED: (&str, &str) = ("guarded", "s3cret-word");

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// A running server.
pub struct Server {
    folder: TempDir,
    programs: PathBuf,
    /// Where it listens.
    pub port: u16,
    running: Mutex<Option<Running>>,
    databases: AtomicUsize,
}

/// Its process belongs to a thread that lives as long: the system ends the process with the thread that started it.
struct Running {
    stop: mpsc::Sender<Stop>,
    thread: JoinHandle<()>,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    InOrder,
    Killed,
}

impl Server {
    /// The one that tests share; none where there is no PostgreSQL.
    pub fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start(&[])?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// One of the caller's own, with these options.
    pub fn start(options: &[&str]) -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        if rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = as_nobody(programs.join("initdb"))
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=seatbeat",
                "--encoding=UTF8",
                "--locale=C",
                "--pgdata",
            ])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let server =
            Self { folder, programs, port, running: Mutex::default(), databases: AtomicUsize::new(0) };
        server.secure(&data);
        server.run(options);
        Some(server)
    }

    /// A certificate for `localhost`, and a role that needs its password.
    fn secure(&self, data: &Path) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = data.join("server.key");
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::write(data.join("server.crt"), made.cert.pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let access = format!(
            "host all {} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n",
            GUARDED.0
        );
        fs::write(data.join("pg_hba.conf"), access).unwrap();
        if rustix::process::geteuid().is_root() {
            for name in ["server.key", "server.crt", "pg_hba.conf"] {
                chown(data.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    /// The certificate it shows (PEM).
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("data/server.crt")
    }

    /// Starts it, with these options for this time.
    pub fn run(&self, options: &[&str]) {
        // What a killed one held is free once its children have noticed.
        for _ in 0..400 {
            let mut running = self.running.lock().unwrap();
            if running.as_ref().is_none_or(|running| running.thread.is_finished()) {
                *running = Some(self.begin(options));
            }
            drop(running);
            if self.try_sql("postgres", "SELECT 1").is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("PostgreSQL does not answer: {log}");
    }

    fn begin(&self, options: &[&str]) -> Running {
        let mut command = as_nobody(self.programs.join("postgres"));
        let folder = self.folder.path();
        let sockets = format!("unix_socket_directories={}", folder.display());
        command.arg("-D").arg(folder.join("data")).args(["-p", &self.port.to_string()]);
        let usual =
            ["listen_addresses=127.0.0.1", "ssl=on", "max_connections=200", "shared_buffers=16MB", &sockets];
        for option in usual.iter().chain(options) {
            command.args(["-c", option]);
        }
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let (stop, stopped) = mpsc::channel();
        Running { stop, thread: thread::spawn(move || serve(command, &stopped)) }
    }

    /// Kills it as a power cut would, as far as processes go.
    pub fn kill(&self) {
        self.stop(Stop::Killed);
    }

    fn stop(&self, how: Stop) {
        if let Some(running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = running.stop.send(how);
            let _ = running.thread.join();
        }
    }

    /// A new database's name.
    pub fn database(&self) -> String {
        let name = format!("books{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Where a database is.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// Runs statements in a database.
    pub fn sql(&self, database: &str, statements: &str) {
        self.try_sql(database, statements).unwrap();
    }

    fn try_sql(&self, database: &str, statements: &str) -> Result<(), String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1"]);
        psql.args(["--dbname", &self.url(database), "--command", statements]).env("PGCONNECT_TIMEOUT", "5");
        let ran = psql.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        if ran.status.success() { Ok(()) } else { Err(said) }
    }
}

/// Where a database is behind a port.
#[must_use]
pub fn url(port: u16, database: &str) -> String {
    format!("postgres://seatbeat@127.0.0.1:{port}/{database}")
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed it would leave shared memory behind.
        self.stop(Stop::InOrder);
    }
}

fn serve(mut command: Command, stopped: &mpsc::Receiver<Stop>) {
    let mut child = command.spawn().unwrap();
    let how = loop {
        match stopped.recv_timeout(Duration::from_millis(100)) {
            Ok(how) => break how,
            Err(mpsc::RecvTimeoutError::Disconnected) => break Stop::InOrder,
            Err(mpsc::RecvTimeoutError::Timeout) if child.try_wait().unwrap().is_some() => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    };
    if how == Stop::InOrder {
        let process = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::INT);
        for _ in 0..100 {
            if child.try_wait().unwrap().is_some() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Its programs, of the newest version.
fn programs() -> Option<PathBuf> {
    let has = |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).exists());
    let debian = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut debian: Vec<PathBuf> = debian.filter(has).collect();
    debian.sort();
    let path = std::env::var_os("PATH")?;
    debian.pop().or_else(|| std::env::split_paths(&path).find(has))
}

/// A program as a user without rights, which ends with the thread that started it.
fn as_nobody(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        let user = NOBODY.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    }
    command.arg(program).current_dir("/").env("HOME", "/").env("LC_ALL", "C");
    command
}
