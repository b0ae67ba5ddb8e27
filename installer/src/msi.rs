//! The agent's .msi: builds the program for Windows and has `wixl` pack it, then sets what `wixl` has no words for.
//! Invariant: nothing of the machine or the hour that builds is in the package; product and package codes follow from
//! what is in it, so that two builds of the same sources have the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::Common;
use crate::compile::{self, Program};

/// What Windows machines run.
pub const TARGET: &str = "x86_64-pc-windows-gnu";

/// The linker for it, which is to leave the hour out.
const FLAGS: [&str; 2] = ["-Clinker=x86_64-w64-mingw32-gcc", "-Clink-arg=-Wl,--no-insert-timestamp"];

/// The hour that every package shows: the first of 2026 (UTC), seconds.
const HOUR: u64 = 1_767_225_600;

/// As `faketime` spells it.
const HOUR_TEXT: &str = "2026-01-01 00:00:00";

/// The package's file: of one name in every version, since deployment tools have it in their lines.
const NAME: &str = "seatbeat-agent-x64.msi";

/// The package's description, in which it stands what it is made of.
const SOURCE: &str = include_str!("../msi/seatbeat-agent.wxs");

/// Properties that whoever installs may set although it is done as SYSTEM, and those found by the installer itself.
const SECURE: &str = "TOKEN;PROXY;WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED";

/// Neither the token, nor a proxy's password, nor the command line that has it goes into a log.
const HIDDEN: &str = "TOKEN;PROXY;KeepToken";

/// Types of actions that `wixl` has no words for. All run an installed program: the one that has the token deferred, as
/// SYSTEM, its command line hidden; the one that undoes it when the installation fails, as SYSTEM; and the one that tells the
/// version that is there at once, whatever it answers.
const TYPES: [(&str, u32); 3] = [
    ("KeepToken", 18 + 0x400 + 0x800 + 0x2000),
    ("ForgetToken", 18 + 0x40 + 0x100 + 0x400 + 0x800),
    ("Stay", 18 + 0x40),
];

/// What to build it from.
#[derive(Debug, Args)]
pub struct MsiArgs {
    #[command(flatten)]
    common: Common,
    /// Version of the package [default: the agent's]; three numbers, of which only greater ones upgrade
    #[arg(long, value_name = "A.B.C", default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
}

/// Builds the package and answers its path.
///
/// # Errors
/// When the program does not build, or a tool is missing or fails.
pub fn build(args: &MsiArgs) -> Result<Vec<PathBuf>> {
    check_version(&args.version)?;
    let program = match &args.common.binary {
        Some(path) => path.clone(),
        None => compile::program(&program(&args.common.profile))?,
    };
    let made = args.common.folder()?.join(NAME);
    let aside = tempfile::tempdir().context("failed to make a folder aside")?;
    let exe = aside.path().join("seatbeat-agent.exe");
    std::fs::copy(&program, &exe).with_context(|| format!("failed to read `{}`", program.display()))?;
    args.common.sign(&exe)?;
    pack(aside.path(), &exe, &args.version)?;
    std::fs::copy(aside.path().join("agent.msi"), &made)
        .with_context(|| format!("failed to write `{}`", made.display()))?;
    args.common.sign(&made)?;
    Ok(vec![made])
}

/// The agent for Windows, as it is built.
pub fn program(profile: &str) -> Program<'_> {
    Program {
        package: "seatbeat-agent",
        name: "seatbeat-agent",
        target: Some(TARGET),
        profile,
        further: &[],
        flags: &FLAGS,
    }
}

fn pack(folder: &Path, exe: &Path, version: &str) -> Result<()> {
    let bytes = std::fs::read(exe).context("failed to read the program back")?;
    let (product, package) = (code("product", version, &[]), code("package", version, &[&bytes]));
    std::fs::write(folder.join("agent.wxs"), SOURCE).context("failed to write the description")?;
    let hour = SystemTime::UNIX_EPOCH + Duration::from_secs(HOUR);
    let file = std::fs::File::options().write(true).open(exe).context("failed to open the program again")?;
    file.set_modified(hour).context("failed to set the program's time")?;
    let define = |name: &str, value: &str| ["-D".to_owned(), format!("{name}={value}")];
    let mut wixl = at_the_hour("wixl");
    wixl.args(["-a", "x64"]).args(define("Version", version)).args(define("ProductCode", &product));
    wixl.args(define("Program", "seatbeat-agent.exe")).args(["-o", "agent.msi", "agent.wxs"]);
    run(wixl.current_dir(folder), "wixl", "wixl")?;
    let mut queries = vec![
        format!("UPDATE `Property` SET `Value` = '{SECURE}' WHERE `Property` = 'SecureCustomProperties'"),
        format!("INSERT INTO `Property` (`Property`, `Value`) VALUES ('MsiHiddenProperties', '{HIDDEN}')"),
    ];
    let set =
        |(action, kind)| format!("UPDATE `CustomAction` SET `Type` = {kind} WHERE `Action` = '{action}'");
    queries.extend(TYPES.map(set));
    for query in queries {
        let mut set = at_the_hour("msibuild");
        run(set.args(["agent.msi", "-q", &query]).current_dir(folder), "msibuild", "msitools")?;
    }
    let mut summary = at_the_hour("msibuild");
    let template = "x64;1033";
    summary.args(["agent.msi", "-s", "Seatbeat Agent", "Seatbeat", template, &format!("{{{package}}}")]);
    run(summary.current_dir(folder), "msibuild", "msitools")
}

/// A tool that sees the same hour in every build.
fn at_the_hour(tool: &str) -> Command {
    let mut command = Command::new("faketime");
    command.args(["-f", HOUR_TEXT, tool]).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    command
}

fn run(command: &mut Command, tool: &str, package: &str) -> Result<()> {
    let hint =
        || format!("failed to run `{tool}` under `faketime`; on Debian: apt-get install {package} faketime");
    let output = command.output().with_context(hint)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{tool}` failed ({}): {}\nhint: on Debian, apt-get install {package} faketime",
            output.status,
            said.trim()
        );
    }
    Ok(())
}

/// Windows Installer compares three numbers, of which the first two are bytes.
fn check_version(version: &str) -> Result<()> {
    let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some([major, minor, build]) if *major < 256 && *minor < 256 && *build < 65_536 => Ok(()),
        _ => bail!("`{version}` is no version of a package: three numbers, up to 255.255.65535"),
    }
}

/// A code that follows from what it stands for, spelt as a UUID of version 8 (RFC 9562).
fn code(kind: &str, version: &str, parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("seatbeat-agent.msi\0{kind}\0{version}\0{SOURCE}\0{HIDDEN}\0{SECURE}\0{TYPES:?}"));
    parts.iter().for_each(|part| digest.update(part));
    let mut bytes: [u8; 16] = std::array::from_fn({
        let digest = digest.finalize();
        move |at| digest[at]
    });
    bytes[6] = (bytes[6] & 0x0F) | 0x80;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_from_what_they_stand_for() {
        let product = code("product", "1.2.3", &[]);
        assert_eq!(product, code("product", "1.2.3", &[]));
        assert_ne!(product, code("product", "1.2.4", &[]));
        assert_ne!(code("package", "1.2.3", &[b"a"]), code("package", "1.2.3", &[b"b"]));
        let lengths: Vec<usize> = product.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(product.as_bytes()[14], b'8');
    }

    #[test]
    fn a_version_that_windows_installer_cannot_compare_is_refused() {
        for version in ["0.1.0", "255.255.65535"] {
            check_version(version).unwrap();
        }
        for version in ["1", "1.2", "1.2.3.4", "256.0.0", "1.2.65536", "1.2.x", ""] {
            assert!(check_version(version).unwrap_err().to_string().contains("three numbers"), "{version}");
        }
    }

    #[test]
    fn the_token_is_hidden_wherever_the_description_names_it() {
        let named: Vec<&str> = SOURCE.lines().filter(|line| line.contains("[TOKEN]")).collect();
        assert_eq!(named.len(), 1, "one action has it");
        assert!(named[0].contains("Id=\"KeepToken\"") && HIDDEN.split(';').any(|name| name == "KeepToken"));
        assert!(!SOURCE.contains("Property Id=\"TOKEN\""), "no table has it");
    }
}
