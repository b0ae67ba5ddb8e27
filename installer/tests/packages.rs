//! What others' tools say of the packages and of the units in them: dpkg, lintian, rpm and systemd. Invariant: quick, and
//! nothing is installed or started; `installer/linux/try` does that, on a machine of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A small program as Debian builds them; what is tried is what lies around it.
const PROGRAM: &str = "/usr/bin/true";

/// Whether a program is there; where tests have to be complete, its lack is a failure.
#[expect(clippy::print_stdout, reason = "the test harness captures it")]
fn has(program: &str, package: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    let needs = format!("needs {program} (apt-get install {package})");
    assert!(there || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{needs}");
    if !there {
        println!("skipped: {needs}");
    }
    there
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

/// Runs a program that has to succeed; answers what it said.
fn ok(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{program} {arguments:?}:\n{}", said(&output));
    said(&output)
}

/// A package of each part around [`PROGRAM`].
fn made(format: &str, folder: &Path) -> Vec<PathBuf> {
    let make = |part| {
        let mut installer = Command::new(env!("CARGO_BIN_EXE_seatbeat-installer"));
        installer.args([format, part, "--binary", PROGRAM, "--to"]).arg(folder);
        let output = installer.env("SOURCE_DATE_EPOCH", "1790000000").output().expect("the program runs");
        assert!(output.status.success(), "{}", said(&output));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    };
    ["agent", "collector"].map(make).into()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

#[test]
fn lintian_has_nothing_to_say_of_a_debian_package() {
    if !has("lintian", "lintian") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for package in made("deb", folder.path()) {
        let told = ok("lintian", &["--allow-root", "--fail-on", "error,warning", text(&package)]);
        assert!(!told.contains("W:") && !told.contains("E:"), "{told}");
    }
}

#[test]
fn a_debian_package_is_roots_and_keeps_settings() {
    if !has("dpkg-deb", "dpkg") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for package in made("deb", folder.path()) {
        let listed = ok("dpkg-deb", &["--contents", text(&package)]);
        assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
        let is_agent = text(&package).contains("seatbeat-agent");
        let kept = Command::new("dpkg-deb").args(["--info", text(&package), "conffiles"]).output();
        let kept = kept.expect("the program runs");
        let expected: &[u8] = if is_agent { b"/etc/seatbeat-agent/agent.toml\n" } else { b"" };
        assert_eq!(kept.stdout, expected, "{}", said(&kept));
    }
}

#[test]
fn rpm_reads_its_packages_and_what_they_run() {
    if !has("rpm", "rpm") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for package in made("rpm", folder.path()) {
        let path = text(&package);
        // The digests are right; nobody has signed it.
        let checked = ok("rpm", &["--checksig", "--nosignature", path]);
        assert!(checked.contains("digests OK"), "{checked}");
        let run = ok("rpm", &["-qp", "--scripts", path]);
        for scriptlet in ["postinstall", "preuninstall", "postuninstall"] {
            assert!(run.contains(scriptlet), "{run}");
        }
        let kept = ok("rpm", &["-qp", "--configfiles", path]);
        assert_eq!(
            kept.contains("/etc/seatbeat-agent/agent.toml"),
            path.contains("seatbeat-agent"),
            "{kept}"
        );
        let wanted = ok("rpm", &["-qp", "--requires", path]);
        assert!(wanted.contains("systemd") && wanted.contains("libc.so.6"), "{wanted}");
    }
}

#[test]
fn packed_twice_it_is_the_same_to_the_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for format in ["deb", "rpm", "tar"] {
        let once = made(format, &folder.path().join("once"));
        for first in once {
            let mut installer = Command::new(env!("CARGO_BIN_EXE_seatbeat-installer"));
            let part = if text(&first).contains("seatbeat-agent") { "agent" } else { "collector" };
            installer.args([format, part, "--binary", PROGRAM, "--to"]).arg(folder.path().join("again"));
            // Elsewhere, by somebody else.
            installer.current_dir("/").envs([
                ("TZ", "Asia/Tokyo"),
                ("LC_ALL", "C"),
                ("HOME", "/"),
                ("USER", "x"),
            ]);
            let output = installer.env("SOURCE_DATE_EPOCH", "1790000000").output().expect("the program runs");
            assert!(output.status.success(), "{}", said(&output));
            let again = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
            let read = |path: &Path| std::fs::read(path).expect("a package can be read");
            assert!(read(&first) == read(&again), "{} and {} differ", first.display(), again.display());
        }
    }
}

/// What `bsdtar` says of an archive that it reads from a file, or that is in one.
fn listed(archive: &Path, inner: Option<&str>) -> String {
    let Some(inner) = inner else { return ok("bsdtar", &["-tvf", text(archive)]) };
    let script = r#"bsdtar -xOf "$1" "$2" | bsdtar -tvf -"#;
    ok("bash", &["-o", "pipefail", "-c", script, "bash", text(archive), inner])
}

#[test]
fn a_package_for_macos_is_read_by_others_and_holds_a_macs_program() {
    if !has("bsdtar", "libarchive-tools") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let pack = |program: &[u8]| {
        let path = folder.path().join("program");
        std::fs::write(&path, program).expect("a file can be written");
        let mut installer = Command::new(env!("CARGO_BIN_EXE_seatbeat-installer"));
        installer.args(["pkg", "--binary", text(&path), "--to", text(folder.path())]);
        installer.env("SOURCE_DATE_EPOCH", "1790000000").output().expect("the program runs")
    };
    let refused = pack(b"\x7fELF");
    assert!(
        !refused.status.success() && said(&refused).contains("is no program for macOS"),
        "{}",
        said(&refused)
    );
    // A head for 64-bit ARM, and as much behind it as makes it more than one block.
    let made = pack(&[&[0xCF, 0xFA, 0xED, 0xFE, 0x0C, 0, 0, 1][..], &[7; 100_000]].concat());
    assert!(made.status.success(), "{}", said(&made));
    let package = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
    let names = |list: String| -> Vec<String> {
        list.lines().filter_map(|line| Some(line.split_whitespace().next_back()?.to_owned())).collect()
    };
    assert_eq!(names(listed(&package, None)), ["Bom", "PackageInfo", "Payload", "Scripts"]);
    let payload = listed(&package, Some("Payload"));
    assert!(payload.lines().all(|line| line.contains(" 0      0 ")), "{payload}");
    let expected = [
        ".",
        "./Library",
        "./Library/LaunchDaemons",
        "./Library/LaunchDaemons/com.seatbeat.agent.plist",
        "./usr",
        "./usr/local",
        "./usr/local/bin",
        "./usr/local/bin/seatbeat-agent",
    ];
    assert!(
        payload
            .lines()
            .next_back()
            .is_some_and(|line| line.starts_with("-rwxr-xr-x") && line.contains(" 100008 ")),
        "{payload}"
    );
    assert_eq!(names(payload), expected);
    assert_eq!(names(listed(&package, Some("Scripts"))), [".", "./postinstall"]);
}

/// The units with programs that are there, in a folder of their own.
fn units() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let mut units = Vec::new();
    for entry in std::fs::read_dir(sources).expect("a folder can be listed").flatten() {
        let path = folder.path().join(entry.file_name());
        let unit = std::fs::read_to_string(entry.path()).expect("a unit can be read");
        let unit = unit.replace("=/usr/bin/seatbeat-agent ", "=/usr/bin/true ");
        std::fs::write(&path, unit.replace("=/usr/bin/seatbeat ", "=/usr/bin/true "))
            .expect("a unit can be written");
        if path.extension().is_some_and(|kind| kind == "service" || kind == "socket") {
            units.push(path);
        }
    }
    (folder, units)
}

#[test]
fn systemd_understands_each_unit() {
    if !has("systemd-analyze", "systemd") {
        return;
    }
    let (_folder, units) = units();
    assert!(units.len() >= 6, "{units:?}");
    let paths: Vec<&str> = units.iter().map(|unit| text(unit)).collect();
    let told = ok("systemd-analyze", &[&["verify", "--man=no"], paths.as_slice()].concat());
    assert!(!told.contains("/seatbeat"), "{told}");
}

/// The most that each may leave open, in tenths, as systemd counts: what is needed is said in the unit, with why.
const EXPOSURE_MAX: [(&str, &str); 5] = [
    ("seatbeat-agent", "15"),
    ("seatbeat", "15"),
    ("seatbeat-pass", "15"),
    ("seatbeat-agent-enrol", "20"),
    ("seatbeat-agent-helper", "57"),
];

#[test]
fn each_service_is_shut_in_as_far_as_its_work_lets_it() {
    if !has("systemd-analyze", "systemd") {
        return;
    }
    let (folder, _) = units();
    for (unit, exposure_max) in EXPOSURE_MAX {
        let path = folder.path().join(format!("{unit}.service"));
        let threshold = format!("--threshold={exposure_max}");
        ok("systemd-analyze", &["security", "--no-pager", "--offline=true", &threshold, text(&path)]);
    }
}
