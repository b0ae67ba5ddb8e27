//! Runs cargo for a target and a profile. Invariant: what is answered is the program that cargo says it built, never a
//! file that happened to lie there; paths of the machine that builds are in no program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian keeps a compiler of its own, with the standard library's source beside it.
const DEBIAN: (&str, &str, &str) = ("/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library");

/// Cargo with zig's compiler and linker, which know every Linux.
const ZIG: &str = "cargo-zigbuild";

/// A program to build.
#[derive(Debug, Clone)]
pub struct Program<'a> {
    /// Its package.
    pub package: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Target triple; `None`: this machine's.
    pub target: Option<&'a str>,
    /// Cargo's profile.
    pub profile: &'a str,
    /// Further words for cargo, such as features.
    pub further: &'a [&'a str],
    /// Further words for the compiler.
    pub flags: &'a [&'a str],
}

/// Where it is built. None of these folders' names is in the program.
#[derive(Debug, Clone)]
pub struct Place {
    /// The workspace.
    pub sources: PathBuf,
    /// What is made of it: cargo's target folder.
    pub made: PathBuf,
    /// Where cargo keeps the sources of crates; `None`: nobody knows.
    pub home: Option<PathBuf>,
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Cargo cannot be run.
    #[error("failed to run `{cargo}`")]
    Start {
        /// Which one.
        cargo: String,
        /// Why.
        source: std::io::Error,
    },
    /// It does not say where programs go.
    #[error("cargo told nothing of `{}`", .0.display())]
    Folder(PathBuf),
    /// It said why on stderr.
    #[error("cargo did not build `{name}` for {target}")]
    Failed {
        /// The program.
        name: String,
        /// For what.
        target: String,
    },
    /// No compiler here knows the target.
    #[error("no compiler on this machine builds for {0}")]
    NoTarget(String),
}

impl CompileError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start { cargo, .. } if cargo == ZIG => {
                Some("`pip install ziglang cargo-zigbuild`, into a folder that is in PATH".into())
            }
            Self::Start { .. } => Some("install Rust (rustup.rs)".into()),
            Self::Folder(_) | Self::Failed { .. } => None,
            Self::NoTarget(target) => Some(format!(
                "`rustup target add {target}`, or on Debian `apt-get install rustc-web cargo-web rust-web-src`"
            )),
        }
    }
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}

impl Place {
    /// The sources that this program was built from, and the folders that cargo uses by itself.
    ///
    /// # Errors
    /// When cargo does not tell.
    pub fn own() -> Result<Self, CompileError> {
        let sources = root();
        let cargo = own_cargo();
        let mut asked = Command::new(&cargo);
        asked
            .current_dir(&sources)
            .args(["metadata", "--no-deps", "--format-version=1"])
            .stderr(Stdio::inherit());
        let told = asked.output().map_err(|source| CompileError::Start { cargo, source })?;
        let told: Option<serde_json::Value> = serde_json::from_slice(&told.stdout).ok();
        let made = told.and_then(|told| told["target_directory"].as_str().map(PathBuf::from));
        let made = made.ok_or_else(|| CompileError::Folder(sources.clone()))?;
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        Ok(Self { sources, made, home })
    }
}

/// Builds a program and answers where it is.
///
/// # Errors
/// When no compiler knows the target, or it fails; it has told why on stderr then.
pub fn program(program: &Program<'_>) -> Result<PathBuf, CompileError> {
    program_at(&Place::own()?, program)
}

/// The same, somewhere else.
///
/// # Errors
/// When no compiler knows the target, or it fails; it has told why on stderr then.
pub fn program_at(place: &Place, program: &Program<'_>) -> Result<PathBuf, CompileError> {
    let mut cargo = cargo_for(program)?;
    cargo.current_dir(&place.sources).args(["--locked", "--message-format=json-render-diagnostics"]);
    cargo.args(["--package", program.package, "--bin", program.name, "--profile", program.profile]);
    cargo.args(program.further).env("RUSTFLAGS", flags(place, &words(program)));
    cargo.env("CARGO_TARGET_DIR", &place.made);
    if let Some(home) = &place.home {
        cargo.env("CARGO_HOME", home);
    }
    if let Some(target) = program.target {
        cargo.args(["--target", target]);
    }
    let shown = cargo.get_program().to_string_lossy().into_owned();
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| CompileError::Start { cargo: shown, source })?;
    let built = output.status.success().then(|| executable(&output.stdout, program.name)).flatten();
    built.ok_or_else(|| CompileError::Failed {
        name: program.name.to_owned(),
        target: program.target.unwrap_or("this machine").to_owned(),
    })
}

/// Whether another Linux than this machine's is built for: the system's linker knows only its own.
fn is_linked_by_zig(target: &str) -> bool {
    let own = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    target.contains("-linux-") && target != own
}

/// The program's words for the compiler, and those that its target needs.
fn words<'a>(program: &Program<'a>) -> Vec<&'a str> {
    let is_from_source = |target: &str| target.ends_with("-musl") && !has_library(target);
    let mut words = program.flags.to_vec();
    // The library that is built from source lacks the objects that the compiler would bring along; zig has them.
    words.extend(program.target.filter(|target| is_from_source(target)).map(|_| "-Clink-self-contained=no"));
    words
}

/// The toolchain in use where it has the target; else Debian's, which builds the standard library from source. Linked by
/// zig where that has to be.
fn cargo_for(program: &Program<'_>) -> Result<Command, CompileError> {
    let own = own_cargo();
    let Some(target) = program.target.filter(|target| !has_library(target)) else {
        return Ok(build_with(&own, program.target));
    };
    let (cargo, rustc, library) = DEBIAN;
    if ![cargo, rustc, library].iter().all(|path| Path::new(path).exists()) {
        return Err(CompileError::NoTarget(target.to_owned()));
    }
    let mut command = build_with(cargo, Some(target));
    // Building the standard library is not stable, and this compiler is.
    command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN");
    command.arg("-Zbuild-std=std,panic_abort");
    Ok(command)
}

/// The one that runs this program, else the one of the path.
fn own_cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// `cargo build`, or the same with zig for a linker.
fn build_with(cargo: &str, target: Option<&str>) -> Command {
    if target.is_some_and(is_linked_by_zig) {
        let mut command = Command::new(ZIG);
        command.arg("zigbuild").env("CARGO", cargo);
        command
    } else {
        let mut command = Command::new(cargo);
        command.arg("build");
        command
    }
}

/// Whether the compiler in use has a standard library for the target.
fn has_library(target: &str) -> bool {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    asked.is_ok_and(|answer| {
        answer.status.success() && Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_dir()
    })
}

/// The compiler's words: the given ones, and those that keep this machine's folders out of the program. What cargo generates
/// lies in the target folder; it may be one of the sources', and the last word that fits counts.
fn flags(place: &Place, further: &[&str]) -> String {
    let shown = |folder: &Path, name: &str| format!("--remap-path-prefix={}={name}", folder.display());
    let mut words = vec![shown(&place.sources, ".")];
    words.extend(place.home.iter().map(|home| shown(home, "cargo")));
    words.push(shown(&place.made, "target"));
    words.extend(further.iter().map(|word| (*word).to_owned()));
    words.join(" ")
}

/// What cargo says it built: a JSON document a line.
fn executable(told: &[u8], name: &str) -> Option<PathBuf> {
    let lines = told.split(|byte| *byte == b'\n');
    let documents = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    documents
        .filter(|document| document["reason"] == "compiler-artifact" && document["target"]["name"] == name)
        .filter_map(|document| document["executable"].as_str().map(PathBuf::from))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        let told = br#"{"reason":"compiler-artifact","target":{"name":"seatbeat_agent"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"seatbeat-agent"},"executable":"/t/dist/seatbeat-agent"}
not json
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(told, "seatbeat-agent"), Some(PathBuf::from("/t/dist/seatbeat-agent")));
        assert_eq!(executable(told, "seatbeat"), None);
    }

    #[test]
    fn a_target_that_nobody_knows_is_told_with_what_would_help() {
        let unknown = Program {
            package: "seatbeat-agent",
            name: "seatbeat-agent",
            target: Some("x86_64-of-nobody"),
            profile: "dist",
            further: &[],
            flags: &[],
        };
        assert!(!has_library("x86_64-of-nobody"));
        let refused = CompileError::NoTarget(unknown.target.unwrap().to_owned());
        assert!(refused.hint().unwrap().contains("rustup target add x86_64-of-nobody"));
    }

    #[test]
    fn other_systems_are_linked_by_zig_and_this_one_by_its_own_linker() {
        let own = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        for (target, expected) in [
            (own.as_str(), false),
            ("x86_64-pc-windows-gnu", false),
            ("x86_64-unknown-linux-musl", true),
            ("riscv64gc-unknown-linux-gnu", true),
        ] {
            assert_eq!(is_linked_by_zig(target), expected, "{target}");
        }
        let lacking =
            CompileError::Start { cargo: ZIG.to_owned(), source: std::io::ErrorKind::NotFound.into() };
        assert!(lacking.hint().unwrap().contains("pip install"));
    }

    #[test]
    fn folders_of_this_machine_are_left_out_of_programs() {
        let place = Place { sources: "/s".into(), made: "/s/t".into(), home: Some("/h".into()) };
        let expected = "--remap-path-prefix=/s=. --remap-path-prefix=/h=cargo --remap-path-prefix=/s/t=target -Clink-arg=-s";
        assert_eq!(flags(&place, &["-Clink-arg=-s"]), expected);
        let own = Place::own().unwrap();
        assert!(own.made.is_absolute() && own.sources.join("Cargo.lock").exists(), "{own:?}");
    }
}
