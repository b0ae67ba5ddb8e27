//! A test on a machine with stand-ins of the vendor's programs: in a mount namespace of its own (`tests/standin`).

use std::process::Command;

const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/standin/enter");

/// Says in the child that it is inside.
const INSIDE: &str = "SEATBEAT_STANDIN_INSIDE";

#[expect(clippy::print_stdout, reason = "the test harness captures it")]
pub(crate) fn skip(needs: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "needs {needs}");
    println!("skipped: needs {needs}");
}

/// Whether the test of this name goes on here; else it ran in a process of its own, or cannot run.
pub(crate) fn inside(name: &str, installed: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !crate::state::is_root() {
        skip("root, to make a mount namespace (run the tests as root)");
        return false;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", ENTER]).arg(scratch.path());
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "--test-threads=1", name]);
    let Ok(output) = command.env(INSIDE, "yes").env("STANDIN", installed).output() else {
        skip("unshare (apt-get install util-linux)");
        return false;
    };
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}
