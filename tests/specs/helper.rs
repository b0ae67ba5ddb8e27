//! An agent without rights and its helper, as two processes of two users, on a machine with a stand-in of the vendor's
//! agent: what only root may see is on the bill.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::desk::{Desk, PROGRAM, eventually, text};
use crate::package::POLICY;
use crate::standin::inside;

/// A user that nobody is.
const AGENT: u32 = 4242;

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn give_away(path: &Path) {
    chown(path, Some(AGENT), Some(AGENT)).expect("root gives away");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder can be listed").flatten() {
            give_away(&entry.path());
        }
    }
}

#[test]
fn an_agent_without_rights_reports_what_its_helper_sees() {
    if !inside("helper::an_agent_without_rights_reports_what_its_helper_sees", "dsa") {
        return;
    }
    let open =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    // The vendor's program answers root alone.
    open(Path::new("/opt/ds_agent"), 0o700);
    let mut desk = Desk::founded_at(Some("2026-10-20T09:00:00Z"));
    desk.start();
    let policy = desk.path("policy.toml");
    fs::write(&policy, POLICY).expect("a policy can be written");
    desk.operator_ok(&["policy", "set", text(&policy)]);
    let token = desk.customer_with_token("cus_acme", "1");
    let (state, helper, socket) = (desk.path("agent"), desk.path("helper"), desk.path("socket"));
    let place = ["__agent", "--state", text(&state), "--helper-folder", text(&helper)];
    desk.operator_ok(&[&place[..], &["enrol", "--token", &token]].concat());
    assert_eq!(fs::metadata(&helper).expect("it was told who it is").mode() & 0o777, 0o700);

    let listener = UnixListener::bind(&socket).expect("a socket can be made");
    let mut serve = desk.command(&[&place[..1], &place[3..], &["helper", "--peer", "4242"]].concat());
    let log = fs::File::create(desk.path("helper.log")).expect("a log can be made");
    serve.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(log);
    let _helper = Stopped(serve.spawn().expect("the helper starts"));

    give_away(&state);
    give_away(&socket);
    open(&desk.path(""), 0o711);
    let program = desk.path("program");
    fs::copy(PROGRAM, &program).expect("a program can be copied");
    let mut run = Command::new("setpriv");
    run.args(["--reuid=4242", "--regid=4242", "--clear-groups", text(&program), "__agent"]);
    run.args(["--clock", "2026-10-20T09:00:00Z", "--state", text(&state), "run", "--helper", text(&socket)]);
    let log = fs::File::create(desk.path("agent.log")).expect("a log can be made");
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let _agent = Stopped(run.spawn().expect("the agent starts"));

    let usage = eventually("the seat is counted", || {
        let usage = desk.operator_json(&["usage", "--period", "2026-10"]);
        (usage["rows"].as_array().is_some_and(|rows| !rows.is_empty())).then_some(usage)
    });
    assert_eq!(usage["rows"][0]["sku"], "DS-CLOUD", "{usage:#}");
    let status = fs::metadata(state.join("status.json")).expect("the agent says how it stands");
    assert_eq!(status.uid(), AGENT, "it runs as somebody else than root");
}
