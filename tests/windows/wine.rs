//! A Windows machine for a test: a prefix of Wine's in a temporary folder. Invariant: nothing outside of it is touched but
//! loopback, and all that runs in it ends with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Where Debian has it.
const WINE: &str = "/usr/lib/wine/wine64";

const SERVER: &str = "/usr/lib/wine/wineserver64";

/// The C compiler that builds for Windows.
const COMPILER: &str = "x86_64-w64-mingw32-gcc";

/// Wine 8 lacks what Rust's standard library takes random numbers from: it is laid over what Wine has.
const RANDOM: &str = "__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *, unsigned long);
__declspec(dllexport) int __stdcall ProcessPrng(void *p, unsigned long long n) {
  return SystemFunction036(p, (unsigned long)n);
}
";

/// What sets the proxy of a machine's services.
const WINHTTP: &str = include_str!("winhttp.c");

/// The vendor's programs, as far as they are stood in for.
const STANDIN: &str = include_str!("standin.c");

/// Whether this desk has all that is needed; else what it lacks, and how it is got.
pub fn missing() -> Option<(&'static str, &'static str)> {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    for (tool, how) in [
        (WINE, "apt-get install wine wine64"),
        (COMPILER, "apt-get install gcc-mingw-w64-x86-64-win32"),
        ("wixl", "apt-get install wixl"),
        ("msibuild", "apt-get install msitools"),
        ("faketime", "apt-get install faketime"),
    ] {
        if !has(tool) {
            return Some((tool, how));
        }
    }
    None
}

/// See the module's text.
pub struct Windows {
    folder: TempDir,
    awake: Option<Child>,
}

impl Windows {
    /// A machine on which nothing of anybody's is installed.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut machine = Self { folder, awake: None };
        machine.ok(&["wineboot", "-i"]);
        machine.ok(&["winecfg", "/v", "win10"]);
        // What setting it up started ends by itself, and is not to end in the middle of what follows.
        machine.server("-w");
        let library = machine.drive("windows/system32/bcryptprimitives.dll");
        machine.compile(RANDOM, &library, &["-shared", "-ladvapi32"]);
        // Wine ends its services with the last program of a user, and a start after that is one of the machine.
        let mut awake = machine.command(&["cmd"]);
        awake.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        machine.awake = Some(awake.spawn().expect("wine runs"));
        machine
    }

    /// A place on its disk, named from here.
    pub fn drive(&self, path: &str) -> PathBuf {
        self.folder.path().join("prefix/drive_c").join(path)
    }

    /// A file of this desk's, named from there.
    pub fn outside(path: &Path) -> String {
        format!("Z:{}", path.display()).replace('/', "\\")
    }

    /// A place for a file that is no part of the machine.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Tells whoever runs all programs of this prefix to wait for their end (`-w`), or to end them (`-k`).
    fn server(&self, what: &str) {
        let prefix = self.folder.path().join("prefix");
        let _ = Command::new(SERVER).arg(what).env("WINEPREFIX", prefix).stdin(Stdio::null()).status();
    }

    /// A program on the machine.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(WINE);
        command.args(words).env("WINEPREFIX", self.folder.path().join("prefix")).env("WINEARCH", "win64");
        command.env("WINEDEBUG", "-all").env_remove("DISPLAY").stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.finish(self.command(words))
    }

    /// Waits for the program alone. What it starts beside itself, such as Wine's desktop, stays, and would hold a pipe open;
    /// a file it may hold.
    fn finish(&self, mut command: Command) -> Output {
        let (out, err) = (self.beside("stdout"), self.beside("stderr"));
        let made = |path: &Path| fs::File::create(path).expect("a file can be written");
        command.stdin(Stdio::null()).stdout(made(&out)).stderr(made(&err));
        let status = command.status().expect("it runs");
        let read = |path: &Path| fs::read(path).expect("it was written");
        Output { status, stdout: read(&out), stderr: read(&err) }
    }

    /// Runs it to its end, or ends it after so many seconds.
    pub fn run_at_most(&self, seconds: &str, words: &[&str]) -> Output {
        let inner = self.command(words);
        let mut command = Command::new("timeout");
        command.arg("--kill-after=10").arg(seconds).arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.finish(command)
    }

    /// Runs one that has to succeed; answers what it wrote.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?} ({}):\n{said}\n{err}", output.status);
        said
    }

    /// Whether a service runs.
    pub fn runs(&self, service: &str) -> bool {
        String::from_utf8_lossy(&self.run(&["sc", "query", service]).stdout).contains("4  RUNNING")
    }

    /// Takes in what an export of the registry holds.
    pub fn registry(&self, text: &str) {
        let file = self.beside("plant.reg");
        fs::write(&file, format!("REGEDIT4\n\n{text}")).expect("a file can be written");
        self.ok(&["regedit", "/S", &Self::outside(&file)]);
    }

    /// A service of the vendor's that runs.
    pub fn service(&self, name: &str, display: &str) {
        let program = self.drive("standin/service.exe");
        if !program.exists() {
            self.standin("standin/service.exe", &[]);
        }
        let path = r"binPath= C:\standin\service.exe";
        let (key, value) = path.split_once(' ').expect("two words");
        let create = ["sc", "create", name, key, value, "DisplayName=", display];
        // Wine's service manager takes orders some moments after the machine is up.
        for _ in 0..20 {
            if self.run(&create).status.success() {
                return drop(self.ok(&["sc", "start", name]));
            }
            thread::sleep(Duration::from_millis(500));
        }
        self.ok(&create);
        self.ok(&["sc", "start", name]);
    }

    /// A program of the vendor's at its place.
    pub fn standin(&self, path: &str, further: &[&str]) {
        self.compile(STANDIN, &self.drive(path), further);
    }

    /// Names the proxy of the machine's services, and whom it is not for, as `netsh winhttp set proxy` does.
    pub fn proxy(&self, proxy: &str, by: &str) {
        let program = self.beside("winhttp.exe");
        self.compile(WINHTTP, &program, &["-lwinhttp"]);
        self.ok(&[&Self::outside(&program), proxy, by]);
    }

    fn compile(&self, source: &str, program: &Path, further: &[&str]) {
        fs::create_dir_all(program.parent().expect("a place in a folder")).expect("folders can be made");
        let file = self.beside("source.c");
        fs::write(&file, source).expect("a file can be written");
        let mut command = Command::new(COMPILER);
        command.arg("-o").arg(program).arg(&file).arg("-ladvapi32").args(further);
        let output = command.output().expect("the compiler runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Every place of the disk and line of the registry that names something, in lower case.
    pub fn traces(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.drive(""), name, &mut found);
        for hive in [r"HKEY_LOCAL_MACHINE", r"HKEY_USERS"] {
            let file = self.beside("export.reg");
            self.ok(&["regedit", "/E", &Self::outside(&file), hive]);
            let bytes = fs::read(&file).expect("regedit wrote it");
            let units: Vec<u16> =
                bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            let text = String::from_utf16_lossy(&units).to_lowercase();
            found.extend(text.lines().filter(|line| line.contains(name)).map(str::to_owned));
        }
        found
    }
}

fn walk(folder: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().to_lowercase().contains(name) {
            found.push(path.display().to_string());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, name, found);
        }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        if let Some(mut awake) = self.awake.take() {
            let _ = awake.kill();
            let _ = awake.wait();
        }
        // Ends what runs in this prefix, and nothing else.
        self.server("-k");
    }
}
