//! A package laid out as the vendor's, from the machine to the bill. Nothing is executed under the foreign root.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::desk::{Desk, eventually, skip, text};

const CONTROL: &str = "\
Package: ds-agent
Version: 20.0.0.7303
Architecture: all
Maintainer: A fixture <fixture@example.com>
Description: laid out as the vendor's agent
";

const UNIT: &str = "\
[Unit]
Description=Deep Security Agent
[Service]
ExecStart=/opt/ds_agent/ds_agent -w /var/opt/ds_agent -b -i -e /opt/ds_agent/ext
[Install]
WantedBy=multi-user.target
";

pub const STATUS: &str = "\
AgentStatus.5: dsmUrl
AgentStatus.agentState: green
AgentStatus.currentTime: 1786542236
AgentStatus.lastAgentToManagerSession: 1786541835
AgentStatus.dsmUrl: https://agents-004.workload.us-1.cloudone.trendmicro.com:443/
";

/// Whether a program is there; where tests have to be complete, its lack is a failure.
pub fn has(program: &str, package: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        skip(program, &format!("apt-get install {package}"));
    }
    there
}

pub fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
    fs::write(path, content).expect("a file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode can be set");
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Builds the package and installs it into an empty root; its programs leave a trace when somebody runs them.
pub fn installed(desk: &Desk) -> (PathBuf, PathBuf) {
    let (tree, root, trace) = (desk.path("tree"), desk.path("root"), desk.path("trace"));
    let program = format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\n", trace.display());
    write(&tree.join("DEBIAN/control"), CONTROL, 0o644);
    write(&tree.join("lib/systemd/system/ds_agent.service"), UNIT, 0o644);
    for name in ["ds_agent", "dsa_query", "dsa_control"] {
        write(&tree.join("opt/ds_agent").join(name), &program, 0o755);
    }
    fs::create_dir_all(tree.join("var/opt/ds_agent")).expect("a folder can be made");
    let package = desk.path("ds-agent.deb");
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build", text(&tree), text(&package)]));
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"] {
        fs::create_dir_all(root.join(folder)).expect("a folder can be made");
    }
    for file in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
        write(&root.join(file), "", 0o644);
    }
    let mut install = Command::new("dpkg");
    install.args(["--root", text(&root), "--force-not-root", "--install", text(&package)]);
    // dpkg looks for the programs of maintainer scripts; the package has none.
    install.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    run(&mut install);
    (root, trace)
}

#[test]
fn a_package_laid_out_as_the_vendors_is_found_enrolled_reported_counted_and_billed() {
    if !has("dpkg-deb", "dpkg") || !has("dpkg", "dpkg") {
        return;
    }
    let october = "2026-10-20T09:00:00Z";
    let mut desk = Desk::founded_at(Some(october));
    let (root, trace) = installed(&desk);
    let vendor_output = desk.path("vendor-output");
    write(&vendor_output.join("dsa_query-GetAgentStatus.txt"), STATUS, 0o644);
    write(&vendor_output.join("dsa_query-GetComponentInfo.txt"), "Component.AM.mode: on\n", 0o644);
    let scope = ["--root", text(&root), "--vendor-output", text(&vendor_output)];

    let scanned = desk.operator_json(&[&["__agent", "scan"], scope.as_slice()].concat());
    let found = scanned["products"].as_array().expect("products are listed");
    assert_eq!(found.len(), 1, "{scanned:#}");
    assert_eq!(
        (found[0]["product"].as_str(), found[0]["state"].as_str()),
        (Some("dsa-cloud"), Some("active"))
    );
    assert_eq!(found[0]["version"], "20.0.0.7303");

    desk.start();
    let policy = desk.path("policy.toml");
    write(&policy, POLICY, 0o644);
    desk.operator_ok(&["policy", "set", text(&policy)]);
    let token = desk.customer_with_token("cus_acme", "1");
    let state = desk.path("agent");
    desk.operator_ok(&["__agent", "--state", text(&state), "enrol", "--token", &token]);
    let agent = desk.run_agent(&state, &scope);
    let usage = eventually("the seat is counted", || {
        let usage = desk.operator_json(&["usage", "--period", "2026-10"]);
        (usage["rows"].as_array().is_some_and(|rows| !rows.is_empty())).then_some(usage)
    });
    agent.kill();
    assert_eq!(usage["rows"][0]["sku"], "DS-CLOUD", "{usage:#}");
    assert_eq!(usage["rows"][0]["quantity"], "1");

    assert!(desk.stop(), "{}", desk.log());
    desk.set_clock("2026-11-04T09:00:00Z");
    desk.start();
    desk.operator_ok(&["statement", "close", "2026-10"]);
    let out = desk.path("out");
    desk.operator_ok(&["statement", "export", "2026-10", "--to", text(&out)]);
    let key = desk.operator_json(&["status"])["statement_key"].as_str().expect("a key").to_owned();
    let file = fs::read_dir(&out).expect("files were written").flatten().next().expect("one is there").path();
    let body = desk.operator_json(&["verify", text(&file), "--key", &key])["body"].clone();
    let line = &body["lines"][0];
    assert_eq!((line["customer"].as_str(), line["sku"].as_str()), (Some("cus_acme"), Some("DS-CLOUD")));
    assert_eq!((line["quantity"].as_str(), line["cost"].as_str()), (Some("1"), Some("3.20")));
    assert!(!trace.exists(), "executed: {}", fs::read_to_string(&trace).unwrap_or_default());
}

/// A policy for the vendor's agent as its stand-in shows it.
pub const POLICY: &str = r#"
zone = "UTC"
[default_sku]
dsa-cloud = "DS-CLOUD"
[sku.DS-CLOUD]
price_group = "server"
[price_group.server]
distributor = "ingram"
currency = "USD"
tiers = [{ from = 1, cost = "3.20" }]
[price.DS-CLOUD]
reseller = "5.00"
"#;
