//! The agent for Windows from its package to its removal, under Wine: built from these sources, installed silently, let in,
//! counted, switched, upgraded, repaired, removed. Invariant: the package is the one that goes out, the collector a real
//! process on loopback; nothing is left on either side that the test does not look for.
//!
//! `SEATBEAT_AGENT_EXE` names the agent's program for Windows, and `SEATBEAT_AGENT_TESTS` its unit tests as one; `.ci/full`
//! builds both, and runs this.

#[allow(dead_code, reason = "the specs use all of it")]
#[path = "../specs/desk.rs"]
mod desk;
mod proxy;
mod wine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use desk::{Desk, eventually, skip, text};
use proxy::Proxy;
use wine::Windows;

/// What opens the order key.
const WORDS: &str = "correct horse battery staple";

/// As the vendor's console sets it.
const PASSWORD: &str = "hunter2";

/// What five products leave in the registry.
const PLANTED: &str = r#"[HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\TrendMicro\PC-cillinNTCorp\CurrentVersion\Misc.]
"ProgramVer"="14.0.12033"
[HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\TrendMicro\PC-cillinNTCorp\CurrentVersion\Real Time Scan Configuration]
"Enable"=dword:00000001
[HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall\OfficeScanNT]
"DisplayName"="Trend Micro Apex One Security Agent"
"DisplayVersion"="14.0.12033"
[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\{3E4F2C9A-0B1D-4C2E-9F3A-1A2B3C4D5E6F}]
"DisplayName"="Trend Micro Deep Security Agent"
"DisplayVersion"="20.0.6313"
[HKEY_LOCAL_MACHINE\SOFTWARE\TrendMicro\Deep Security Agent]
"InstallationFolder"="C:\\Program Files\\Trend Micro\\Deep Security Agent"
[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\FDE]
"DisplayName"="Trend Micro Full Disk Encryption"
"DisplayVersion"="6.0.0.3204"
[HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\TrendMicro\ServerProtect\CurrentVersion]
"HomeDirectory"="C:\\Program Files (x86)\\Trend\\SProtect"
"#;

/// Services that they have: name, and what people are shown.
const SERVICES: [(&str, &str); 7] = [
    ("ntrtscan", "Apex One NT RealTime Scan"),
    ("tmlisten", "Apex One NT Listener"),
    ("ds_agent", "Trend Micro Deep Security Agent"),
    ("SpntSvc", "Trend ServerProtect"),
    ("Trend Micro Endpoint Basecamp", "Trend Micro Endpoint Basecamp"),
    ("Trend Micro Web Service Communicator", "Trend Micro Web Service Communicator"),
    ("CETASvc", "Cloud Endpoint Telemetry Service"),
];

fn plant(machine: &Windows) {
    machine.registry(PLANTED);
    for (name, display) in SERVICES {
        machine.service(name, display);
    }
    machine.standin("Program Files (x86)/Trend Micro/Security Agent/PccNTMon.exe", &["-DPCCNTMON"]);
    let query = machine.drive("Program Files/Trend Micro/Deep Security Agent/dsa_query.cmd");
    fs::create_dir_all(query.parent().expect("it is in a folder")).expect("folders can be made");
    let answer = "@echo off\r\necho AgentStatus.agentState: green\r\n\
        echo AgentStatus.dsmUrl: https://dsm.example:4120/\r\n";
    fs::write(query, answer).expect("a file can be written");
}

/// The installer's program, where `SEATBEAT_INSTALLER` names it: cargo waits for whoever else builds.
fn installer() -> Command {
    if let Some(program) = std::env::var_os("SEATBEAT_INSTALLER") {
        return Command::new(program);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--locked", "--package", "seatbeat-installer", "--"]);
    cargo
}

/// The package of the given version, as the installer's own program makes it.
fn package(exe: &Path, folder: &Path, version: &str) -> PathBuf {
    let mut installer = installer();
    installer.args(["msi", "--binary", text(exe), "--version", version, "--to", text(folder)]);
    let output = installer.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// A reseller with a customer, order keys, and a token.
fn house() -> (Desk, String) {
    let desk = Desk::open();
    let words = desk.path("words");
    fs::write(&words, WORDS).expect("a file can be written");
    let (words, recovery) = (text(&words), desk.path("recovery.key"));
    let new = ["orders", "key", "new", "--passphrase-file", words, "--recovery-file", text(&recovery)];
    desk.operator_ok(&[&new[..], &["--recovery-passphrase-file", words]].concat());
    let token = desk.customer_with_token("cus_acme", "5");
    (desk, token)
}

/// A reseller whose collector is known by a name, with a customer and a token.
fn house_as(name: &str) -> (Desk, String) {
    let mut desk = Desk::founded();
    let settings = desk.store().join("seatbeat.toml");
    let written = fs::read_to_string(&settings).expect("a store has settings");
    let named = written.replace("agent_addresses = []", &format!("agent_addresses = [\"{name}\"]"));
    assert_ne!(named, written);
    fs::write(&settings, named).expect("settings can be written");
    desk.start();
    let token = desk.customer_with_token("cus_acme", "5");
    (desk, token)
}

/// The one machine that is not retired, as operators see it.
fn machine_of(desk: &Desk) -> Option<serde_json::Value> {
    let list = desk.operator_json(&["machines", "list"]);
    list["machines"].as_array()?.iter().find(|machine| machine["retired"] == false).cloned()
}

fn states(desk: &Desk) -> Vec<(String, String)> {
    let machine = machine_of(desk);
    let products = machine.as_ref().and_then(|machine| machine["products"].as_array()).into_iter().flatten();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut states: Vec<_> = products.map(|one| (word(&one["product"]), word(&one["state"]))).collect();
    states.sort();
    states
}

fn msiexec(machine: &Windows, words: &[&str]) -> Option<i32> {
    machine.run(&[&["msiexec"], words, &["/qn"]].concat()).status.code()
}

/// The low byte of Windows Installer's 1603: it failed.
const FAILED: i32 = 1603 & 0xFF;

#[test]
fn a_machine_is_installed_silently_counted_switched_upgraded_repaired_and_left_as_it_was() {
    let Some(exe) = std::env::var_os("SEATBEAT_AGENT_EXE").map(PathBuf::from) else {
        return skip("SEATBEAT_AGENT_EXE", "cargo build -p seatbeat-agent --target x86_64-pc-windows-gnu");
    };
    if let Some((tool, how)) = wine::missing() {
        return skip(tool, how);
    }
    let packages = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = |name: &str| packages.path().join(name);
    let old = package(&exe, &folder("old"), "0.1.0");
    let new = package(&exe, &folder("new"), "0.1.1");
    let same = package(&exe, &folder("same"), "0.1.0");
    assert!(
        fs::read(&old).expect("a package") == fs::read(same).expect("a package"),
        "two builds, the same bytes"
    );
    let (old, new) = (Windows::outside(&old), Windows::outside(&new));

    let (desk, token) = house();
    let machine = Windows::new();
    plant(&machine);
    assert_eq!(machine.traces("seatbeat"), Vec::<String>::new(), "before");

    // A token that is none leaves nothing behind.
    assert_ne!(msiexec(&machine, &["/i", &old, "TOKEN=sb1.AAAA"]), Some(0));
    assert!(!machine.runs("SeatbeatAgent"));

    assert_eq!(msiexec(&machine, &["/i", &old, &format!("TOKEN={token}")]), Some(0));
    assert!(machine.runs("SeatbeatAgent"));
    let id = eventually("the machine reports", || {
        let machine = machine_of(&desk)?;
        machine["last_report"].as_str()?;
        Some(machine["machine"].as_str()?.to_owned())
    });
    let kept = machine.drive("ProgramData/Seatbeat/Agent");
    eventually("the token goes", || (!kept.join("waiting.token").exists()).then_some(()));
    assert_eq!(machine.traces(&token.to_lowercase()), Vec::<String>::new(), "no registry has the token");
    let active = |product: &str| (product.to_owned(), "active".to_owned());
    let all = ["apexone", "dsa-onprem", "spnt", "tmee-fde", "v1es"].map(active);
    eventually("five products are counted", || (states(&desk) == all).then_some(()));

    // An order is carried out with the vendor's own program, and shows.
    let secret = desk.path("password");
    fs::write(&secret, PASSWORD).expect("a file can be written");
    let words = desk.path("words");
    let off = [
        "orders",
        "off",
        "--machine",
        &id,
        "--product",
        "apexone",
        "--yes",
        "--passphrase-file",
        text(&words),
    ];
    let more = ["--password-file", text(&secret), "--reason", "they left"];
    let batch = desk.operator_json(&[&off[..], &more].concat());
    let batch = batch["batch"].as_str().expect("a batch has an id").to_owned();
    eventually("the order is carried out", || {
        let list = desk.operator_json(&["orders", "list", "--batch", &batch]);
        let status = list["orders"][0]["status"].as_str()?.to_owned();
        matches!(status.as_str(), "done" | "confirmed").then_some(())
    });
    assert!(!machine.runs("ntrtscan") && !machine.runs("tmlisten"));
    eventually("it shows", || {
        let is_off = |(product, state): &(String, String)| product == "apexone" && state != "active";
        states(&desk).iter().any(is_off).then_some(())
    });

    // A newer version takes its place, and the machine stays who it is; an older one does not.
    let identity = fs::read(kept.join("identity.toml")).expect("an identity");
    assert_eq!(msiexec(&machine, &["/i", &new]), Some(0));
    eventually("the newer one runs", || machine.runs("SeatbeatAgent").then_some(()));
    assert_eq!(fs::read(kept.join("identity.toml")).expect("an identity"), identity);
    assert_eq!(msiexec(&machine, &["/i", &old]), Some(FAILED));
    assert!(machine.runs("SeatbeatAgent"), "nothing happened");

    // Stopped at once, and repaired when its program is gone.
    machine.ok(&["sc", "stop", "SeatbeatAgent"]);
    eventually("it has stopped", || (!machine.runs("SeatbeatAgent")).then_some(()));
    let program = machine.drive("Program Files/Seatbeat/Agent/seatbeat-agent.exe");
    eventually("its program can go", || fs::remove_file(&program).ok());
    assert_eq!(msiexec(&machine, &["/i", &new, "REINSTALL=ALL", "REINSTALLMODE=amus"]), Some(0));
    assert!(program.is_file());
    eventually("it runs again", || machine.runs("SeatbeatAgent").then_some(()));
    assert_eq!(fs::read(kept.join("identity.toml")).expect("an identity"), identity);

    // Removed: the collector knows, and nothing is left.
    assert_eq!(msiexec(&machine, &["/x", &new]), Some(0));
    eventually("the machine is retired", || machine_of(&desk).is_none().then_some(()));
    assert_eq!(machine.traces("seatbeat"), Vec::<String>::new(), "after");
}

/// A collector's address that nobody can look up but a proxy.
const NAME: &str = "collector.invalid:8443";

/// A policy of one proxy for the whole machine, in place of the one of its services.
const POLICY: &str = r#"[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings\Connections]
"WinHttpSettings"=-
[HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows\CurrentVersion\Internet Settings]
"ProxySettingsPerUser"=dword:00000000
[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings]
"ProxyEnable"=dword:00000001
"ProxyServer"="ADDRESS"
"#;

#[test]
fn a_machine_whose_network_has_a_proxy_is_let_in_through_it() {
    let Some(exe) = std::env::var_os("SEATBEAT_AGENT_EXE").map(PathBuf::from) else {
        return skip("SEATBEAT_AGENT_EXE", "cargo build -p seatbeat-agent --target x86_64-pc-windows-gnu");
    };
    if let Some((tool, how)) = wine::missing() {
        return skip(tool, how);
    }
    let packages = tempfile::tempdir().expect("a temporary folder can be made");
    let package = Windows::outside(&package(&exe, packages.path(), "0.1.0"));
    let (desk, token) = house_as(NAME);
    let machine = Windows::new();
    let kept = machine.drive("ProgramData/Seatbeat/Agent");
    let reports = || machine_of(&desk).and_then(|machine| Some(machine["last_report"].as_str()?.to_owned()));
    let connect = format!("CONNECT {NAME} HTTP/1.1\r\n");
    let asked_for_it = |proxy: &Proxy| {
        let asked = proxy.asked();
        assert!(!asked.is_empty() && asked.iter().all(|head| head.starts_with(&connect)), "{asked:?}");
        asked
    };

    // The one that the line names, with a login.
    let named = Proxy::to(desk.agents);
    let property = format!("PROXY=http://me:{PASSWORD}@{}", named.address);
    assert_eq!(msiexec(&machine, &["/i", &package, &format!("TOKEN={token}"), &property]), Some(0));
    eventually("it is let in through the proxy of the line", reports);
    let login = "\r\nProxy-Authorization: Basic bWU6aHVudGVyMg==\r\n";
    assert!(asked_for_it(&named).iter().all(|head| head.contains(login)));
    assert_eq!(machine.traces(PASSWORD), Vec::<String>::new(), "no registry has the proxy's password");
    assert_eq!(msiexec(&machine, &["/x", &package]), Some(0));
    eventually("the machine is retired", || machine_of(&desk).is_none().then_some(()));
    assert!(!kept.exists());

    // Those that the machine has: nobody names them, and they are found.
    let before = named.asked().len();
    let (of_services, of_policy) = (Proxy::to(desk.agents), Proxy::to(desk.agents));
    for (proxy, is_policy) in [(&of_services, false), (&of_policy, true)] {
        let address = proxy.address.to_string();
        if is_policy {
            machine.registry(&POLICY.replace("ADDRESS", &address));
        } else {
            machine.proxy(&address, "*.here.example;<local>");
        }
        assert_eq!(msiexec(&machine, &["/i", &package, &format!("TOKEN={token}")]), Some(0));
        eventually("it is let in through a proxy of the machine's", reports);
        assert!(asked_for_it(proxy).iter().all(|head| !head.contains("Authorization")));
        assert_eq!(msiexec(&machine, &["/x", &package]), Some(0));
        eventually("the machine is retired", || machine_of(&desk).is_none().then_some(()));
    }
    assert_eq!(named.asked().len(), before, "the one of before is forgotten");
}

/// How long the agent's unit tests may take there: half a minute on two cores that nobody else uses.
const UNIT_TESTS_MAX: &str = "600";

#[test]
fn the_agents_own_tests_hold_on_windows() {
    let Some(exe) = std::env::var_os("SEATBEAT_AGENT_TESTS").map(PathBuf::from) else {
        return skip(
            "SEATBEAT_AGENT_TESTS",
            "cargo test -p seatbeat-agent --lib --no-run --target x86_64-pc-windows-gnu",
        );
    };
    if let Some((tool, how)) = wine::missing() {
        return skip(tool, how);
    }
    let machine = Windows::new();
    let output = machine.run_at_most(UNIT_TESTS_MAX, &[text(&exe), "--test-threads=2"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert!(said.contains("test result: ok."), "{said}");
}
