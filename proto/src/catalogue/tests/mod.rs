//! What the catalogue promises. Machines are written as lines (`deb ds-agent`, `service ntrtscan=running`), by hand
//! and not from the catalogue, so that a rule that goes missing is missed.

mod damage;
mod families;
mod grammar;
mod lint;
mod states;
mod table;

use super::*;

pub(super) const NOW: &str = "2026-10-15T12:00:00Z";

pub(super) const CLOUD: &str = "AgentStatus.agentState: green\n\
    AgentStatus.dsmUrl: https://agents-004.workload.us-1.cloudone.trendmicro.com:443/\n";

pub(super) fn now() -> jiff::Timestamp {
    NOW.parse().unwrap()
}

/// A machine on which these things are seen.
pub(super) fn machine(os: Os, lines: &[&str]) -> Observations {
    let mut seen = Observations { os, ..Observations::default() };
    lines.iter().for_each(|line| see(&mut seen, line));
    seen
}

/// An Uninstall entry from `DisplayName`, or from `DisplayName by Publisher`.
fn uninstall(key: &str, value: &str) -> Uninstall {
    let (name, publisher) = value.split_once(" by ").unwrap_or((value, ""));
    let (hive, key) = match key.split_once(':') {
        Some(("user", key)) => (Hive::User, key),
        Some(("32", key)) => (Hive::Machine32, key),
        _ => (Hive::Machine, key),
    };
    let [key, name, publisher] = [key, name, publisher].map(str::to_owned);
    Uninstall { key, name, version: String::new(), publisher, hive }
}

fn see(seen: &mut Observations, line: &str) {
    let (kind, rest) = line.split_once(' ').expect("a line is a kind and a name");
    let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
    let (text, owned) = (rest.to_owned(), name.to_owned());
    let service = |name: &str, display: &str| Service {
        name: name.to_owned(),
        display: display.to_owned(),
        running: value == "running",
        start: "auto".to_owned(),
    };
    match kind {
        "deb" | "rpm" => seen.packages.push(Package {
            manager: if kind == "deb" { PackageManager::Dpkg } else { PackageManager::Rpm },
            name: owned,
            version: "20.0.0.7303".to_owned(),
            state: if value.is_empty() { Package::INSTALLED } else { value }.to_owned(),
        }),
        "unit" => {
            let unit = Unit { load: "loaded".into(), active: value.to_owned(), enabled: "enabled".into() };
            seen.units.insert(owned, unit);
        }
        "init_script" => _ = seen.init_scripts.insert(text),
        "process" => seen.processes.push(Process { exe: text }),
        "path" => _ = seen.paths.insert(text),
        "group" => _ = seen.groups.insert(text),
        "kernel_module" => _ = seen.kernel_modules.insert(text),
        "port" => _ = seen.listening_ports.insert(text.parse().unwrap()),
        "answer" => _ = seen.vendor_output.insert(VendorCommand::from_id(name).unwrap(), value.to_owned()),
        "key" => _ = seen.registry_keys.insert(text),
        "value" => _ = seen.registry_values.insert(owned, value.to_owned()),
        "uninstall" => seen.uninstall.push(uninstall(name, value)),
        "msi" => _ = seen.msi_product_codes.insert(text),
        "upgrade" => _ = seen.msi_upgrade_codes.insert(text),
        "service" => seen.services.push(service(name, "")),
        "display" => seen.services.push(service("", name)),
        "center" => seen.security_center.push(SecurityCenterRow {
            name: owned,
            state: value.strip_prefix("0x").map_or(0x41000, |hex| u32::from_str_radix(hex, 16).unwrap()),
            program_exists: value != "stale",
        }),
        "pipe" => _ = seen.pipes.insert(text),
        "receipt" => _ = seen.receipts.insert(owned, value.to_owned()),
        "launchd" => _ = seen.launchd.insert(owned, value == "loaded"),
        "bundle" => _ = seen.bundles.insert(owned, value.to_owned()),
        "ini" => _ = seen.ini_values.insert(owned, value.to_owned()),
        "plist" => _ = seen.plist_values.insert(owned, value.to_owned()),
        "version" => _ = seen.file_versions.insert(owned, value.to_owned()),
        "run" => _ = seen.run_values.insert(text),
        "domino_task" => _ = seen.domino_tasks.insert(text),
        "extension" => _ = seen.system_extensions.insert(owned, value == "enabled"),
        "unreadable" => {
            let source = [Source::Dpkg, Source::Rpm, Source::UnitFiles, Source::UnitState, Source::Processes]
                .into_iter()
                .chain([
                    Source::Registry,
                    Source::Msi,
                    Source::Services,
                    Source::VendorOutput,
                    Source::Launchd,
                ])
                .find(|source| format!("{source:?}") == name);
            seen.unreadable.insert(source.expect("a source"), "no rights".to_owned());
        }
        other => panic!("no such thing as `{other}`"),
    }
}

/// Ids and states that are found, `id state`.
pub(super) fn found(catalogue: &Catalogue, seen: &Observations) -> Vec<String> {
    let findings = catalogue.find(seen, now());
    findings.iter().map(|finding| format!("{} {}", finding.product, finding.state)).collect()
}

#[track_caller]
pub(super) fn check(os: Os, lines: &[&str], expected: &[&str]) {
    assert_eq!(found(Catalogue::embedded(), &machine(os, lines)), expected, "{lines:?}");
}
