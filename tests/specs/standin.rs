//! A machine of the test's own, with stand-ins of the vendor's programs, in a private mount namespace. Invariant: nothing
//! of the machine outside is changed.

use std::process::Command;

use crate::desk::{skip, text};

const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/standin/enter");

/// Says in the child that it is on the machine of its own.
const INSIDE: &str = "SEATBEAT_SPEC_INSIDE";

/// Whether the test goes on here, in a mount namespace of its own; else it ran in a process of its own, or cannot run.
pub fn inside(name: &str, installed: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        skip("root, to make a mount namespace", "run the tests as root");
        return false;
    }
    let scratch = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", ENTER, text(scratch.path())]);
    command.arg(std::env::current_exe().expect("a test is a program"));
    command.args(["--exact", "--nocapture", name]).env(INSIDE, "yes").env("STANDIN", installed);
    let Ok(output) = command.output() else {
        skip("unshare", "apt-get install util-linux");
        return false;
    };
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}
