//! What is done on Windows, as far as it can be tried anywhere: command lines and what is made of their end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use seatbeat_proto::catalogue::{Service, Uninstall};

use super::super::tool::{Call, NotRun, Said};
use super::*;

/// A machine whose services stop when a tool that it knows is run.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    seen: Observations,
    calls: Vec<String>,
    /// What tools say, one after the other; then they end well.
    says: VecDeque<Said>,
    /// What the next tool changes.
    changes: VecDeque<fn(&mut Observations)>,
}

impl Tools for Machine {
    fn check(&self, program: &str) -> Result<(), NotRun> {
        let known = ["PccNTMon.exe", "dsa_control.cmd", "msiexec.exe"];
        let there =
            known.iter().any(|name| program.ends_with(name)) && !program.contains("OfficeScan Client");
        there.then_some(()).ok_or_else(|| format!("there is no `{program}`"))
    }

    fn run(&self, call: &Call) -> Result<Said, NotRun> {
        self.check(&call.program)?;
        let mut inside = self.0.lock().unwrap();
        let program = call.program.rsplit('\\').next().unwrap_or_default();
        let line = format!("{program} {}", call.arguments.join(" "));
        inside.calls.push(line.trim_end().to_owned());
        if let Some(change) = inside.changes.pop_front() {
            change(&mut inside.seen);
        }
        Ok(inside.says.pop_front().unwrap_or(Said { code: Some(0), ..Said::default() }))
    }
}

impl Machine {
    fn with(seen: Observations) -> Self {
        let machine = Self::default();
        machine.0.lock().unwrap().seen = seen;
        machine
    }

    fn hands(&self) -> VendorHands {
        let eye = self.clone();
        VendorHands::of(
            Box::new(self.clone()),
            Box::new(move |_| Ok(eye.0.lock().unwrap().seen.clone())),
            Os::Windows,
            Clock::start(None),
        )
    }

    fn then(&self, said: Said, change: fn(&mut Observations)) {
        let mut inside = self.0.lock().unwrap();
        inside.says.push_back(said);
        inside.changes.push_back(change);
    }

    fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }
}

fn service(name: &str, running: bool) -> Service {
    serde_json::from_value(serde_json::json!({"name": name, "running": running})).unwrap()
}

fn worry_free() -> Machine {
    Machine::with(Observations {
        os: Os::Windows,
        msi_product_codes: ["{BED0B8A2-2986-49F8-90D6-FA008D37A3D2}".to_owned()].into(),
        services: vec![service("ntrtscan", true), service("tmlisten", true)],
        ..Observations::default()
    })
}

fn stopped(seen: &mut Observations) {
    seen.services.iter_mut().for_each(|service| service.running = false);
}

fn started(seen: &mut Observations) {
    seen.services.iter_mut().for_each(|service| service.running = true);
}

fn unchanged(_: &mut Observations) {}

fn well() -> Said {
    Said { code: Some(0), ..Said::default() }
}

fn task(product: &str, switch: Switch) -> Task {
    Task { product: product.parse().unwrap(), switch }
}

fn password(text: &str) -> OrderSecrets {
    OrderSecrets { password: text.into(), ..OrderSecrets::default() }
}

#[test]
fn the_security_agent_is_unloaded_with_its_password_and_started_without() {
    let machine = worry_free();
    let (off, on) = (task("wfbs-svc", Switch::Off), task("wfbs-svc", Switch::On));
    let refused = machine.hands().ready(&off, None).unwrap_err();
    assert!(refused.contains("no password"), "{refused}");
    machine.then(well(), stopped);
    let came = machine.hands().carry_out(&off, Some(&password("hunter2")));
    assert_eq!(came.as_deref(), Ok("`PccNTMon.exe -n` was carried out; the machine shows it not active"));
    machine.then(well(), started);
    let came = machine.hands().carry_out(&on, None);
    assert_eq!(came.as_deref(), Ok("`PccNTMon.exe` was started; the machine shows it active"));
    assert_eq!(machine.calls(), ["PccNTMon.exe -n hunter2", "PccNTMon.exe"]);
}

#[test]
fn a_machine_that_is_left_with_nothing_says_so() {
    let machine = worry_free();
    machine.then(well(), stopped);
    let mut hands = machine.hands().with_defender(|| Some("DisableAntiSpyware".to_owned()));
    let came = hands.carry_out(&task("wfbs-svc", Switch::Off), Some(&password("hunter2"))).unwrap();
    assert!(came.ends_with(
        "a policy (DisableAntiSpyware) keeps Windows Defender off, so nothing may protect the machine"
    ));
    machine.then(well(), started);
    let came = hands.carry_out(&task("wfbs-svc", Switch::On), None).unwrap();
    assert!(came.ends_with("shows it active"), "{came}");
}

#[test]
fn a_wrong_password_to_unload_shows_in_the_machine_alone() {
    let machine = worry_free();
    let came = machine.hands().carry_out(&task("wfbs-svc", Switch::Off), Some(&password("hunter2")));
    let why = came.unwrap_err();
    assert!(why.starts_with("done in part: `PccNTMon.exe -n` was carried out, but"), "{why}");
    assert!(why.ends_with("the machine shows it active"), "{why}");
}

#[test]
fn windows_installer_removes_by_the_code_that_the_machine_knows() {
    let machine = worry_free();
    machine.then(Said { code: Some(3010), ..Said::default() }, |seen| {
        *seen = Observations { os: Os::Windows, ..Observations::default() };
    });
    let came = machine.hands().carry_out(&task("wfbs-svc", Switch::Uninstall), None).unwrap();
    assert!(came.contains("has to start anew") && came.ends_with("no longer"), "{came}");
    let removed = "msiexec.exe /x {BED0B8A2-2986-49F8-90D6-FA008D37A3D2} /quiet /norestart";
    assert_eq!(machine.calls(), [removed]);
}

#[test]
fn deep_security_is_removed_after_its_self_protection_and_only_by_a_code() {
    let entry = |key: &str| -> Uninstall {
        let entry = serde_json::json!({"key": key, "name": "Trend Micro Deep Security Agent"});
        serde_json::from_value(entry).unwrap()
    };
    let machine = Machine::with(Observations {
        os: Os::Windows,
        uninstall: vec![entry("DSA & calc"), entry("{3E4F2C9A-0B1D-4C2E-9F3A-1A2B3C4D5E6F}")],
        services: vec![service("ds_agent", false)],
        ..Observations::default()
    });
    machine
        .then(Said { text: "Agent self-protection successfully disabled.\r\n".into(), ..well() }, unchanged);
    machine.then(Said { code: Some(1603), ..Said::default() }, unchanged);
    let came = machine.hands().carry_out(&task("dsa", Switch::Uninstall), Some(&password("hunter2")));
    let why = came.unwrap_err();
    assert!(why.contains("ended with status 1603; self-protection was switched off for it"), "{why}");
    assert_eq!(
        machine.calls(),
        [
            "dsa_control.cmd --selfprotect=0 -p hunter2",
            "msiexec.exe /x {3E4F2C9A-0B1D-4C2E-9F3A-1A2B3C4D5E6F} /quiet /norestart",
            "dsa_control.cmd --selfprotect=1 -p hunter2",
        ]
    );
}

#[test]
fn what_cannot_be_seen_is_not_switched() {
    let machine = Machine::with(Observations {
        os: Os::Windows,
        unreadable: [(Source::Registry, "not read on this system".to_owned())].into(),
        ..Observations::default()
    });
    let refused = machine.hands().ready(&task("wfbs-svc", Switch::Off), Some(&password("x"))).unwrap_err();
    assert_eq!(refused, "not read on this system");
    assert!(machine.calls().is_empty());
}
