//! What detection promises, on folders that look like machines.

use std::path::Path;

use jiff::Timestamp;
use seatbeat_proto::catalogue::{Catalogue, Observations, Source, State};

use super::*;
use crate::scan::{self, ScanArgs};

const NOW: &str = "2026-10-15T12:00:00Z";

const ACTIVATED: &str = "AgentStatus.13: driverHooked\nAgentStatus.agentState: green\n\
    AgentStatus.dsmUrl: https://agents-004.workload.us-1.cloudone.trendmicro.com:443/\n";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Scans a root with these files, and collected output when there is any.
fn look(files: &[(&str, &str)], output: &[(&str, &str)]) -> Observations {
    let (root, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(root.path(), files);
    write(folder.path(), output);
    let vendor_output = (!output.is_empty()).then(|| folder.path().to_owned());
    let scope = Scope { root: Some(root.path().to_owned()), vendor_output, snapshot: None };
    observe(&scope, Catalogue::embedded()).unwrap()
}

#[track_caller]
fn check(files: &[(&str, &str)], output: &[(&str, &str)], expected: &[(&str, State)]) {
    let found = Catalogue::embedded().find(&look(files, output), now());
    let found: Vec<(&str, State)> = found.iter().map(|f| (f.product.as_str(), f.state)).collect();
    assert_eq!(found, expected);
}

const INSTALLED: (&str, &str) = (
    "var/lib/dpkg/status",
    "Package: adduser\nStatus: install ok installed\nVersion: 3.1\n\n\
     Package: ds-agent\nStatus: install ok installed\nVersion: 20.0.0.7303\n",
);

#[test]
fn an_installed_package_and_the_vendors_word_make_an_active_product() {
    check(
        &[INSTALLED, ("opt/ds_agent/ds_agent", "")],
        &[("dsa_query-GetAgentStatus.txt", ACTIVATED)],
        &[("dsa-cloud", State::Active)],
    );
}

#[test]
fn under_a_foreign_root_the_state_is_unknown_without_the_vendors_word() {
    check(&[INSTALLED], &[], &[("dsa-cloud", State::Unknown), ("dsa-onprem", State::Unknown)]);
    check(&[("usr/lib/systemd/system/tmxbc.service", "")], &[], &[("v1es", State::Unknown)]);
}

#[test]
fn an_agent_that_was_never_activated_is_inactive() {
    let index_only = "AgentStatus.5: dsmUrl\nAgentStatus.agentState: red\n";
    check(&[INSTALLED], &[("dsa_query-GetAgentStatus.txt", index_only)], &[("dsa", State::Inactive)]);
}

#[test]
fn what_was_removed_is_not_found() {
    let removed = "Package: ds-agent\nStatus: deinstall ok config-files\nVersion: 20.0.0.7303\n";
    check(&[("var/lib/dpkg/status", removed), ("var/opt/ds_agent/x", "")], &[], &[]);
    check(&[("etc/systemd/system/multi-user.target.wants/ds_agent.service", "")], &[], &[]);
}

#[test]
fn names_that_only_mention_the_vendor_are_nothing() {
    let status = "Package: ds-agent-doc\nStatus: install ok installed\nDescription: Package: ds-agent\n\n\
        Package: libtrendmicro-api\nStatus: install ok installed\n";
    check(
        &[
            ("var/lib/dpkg/status", status),
            ("opt/TrendMicro/readme.txt", ""),
            ("opt/ds_agent.old/ds_agent", ""),
        ],
        &[],
        &[],
    );
}

#[test]
fn a_package_of_an_image_without_dpkg_is_found() {
    let stanza = "Package: ds-agent\nVersion: 20.0.0.7303\n";
    check(
        &[("var/lib/dpkg/status.d/ds-agent", stanza), ("var/lib/dpkg/status.d/ds-agent.md5sums", "x")],
        &[("dsa_query-GetAgentStatus.txt", ACTIVATED)],
        &[("dsa-cloud", State::Active)],
    );
}

#[test]
fn an_rpm_database_that_nobody_reads_makes_a_product_unknown_only_where_more_speaks_for_it() {
    let database = ("var/lib/rpm/rpmdb.sqlite", "SQLite format 3");
    check(&[database], &[], &[]);
    check(
        &[database, ("etc/group", "root:x:0:\ntm_dsa:x:990:\n")],
        &[],
        &[("dsa-cloud", State::Unknown), ("dsa-onprem", State::Unknown)],
    );
    check(&[("etc/group", "tm_dsa:x:990:\n")], &[], &[]);
    let seen = look(&[database], &[]);
    assert!(seen.unreadable.contains_key(&Source::Rpm));
}

#[test]
fn beside_a_foreign_root_a_list_of_its_packages_stands_for_the_database_that_only_rpm_reads() {
    let files = [("var/lib/rpm/rpmdb.sqlite", "x"), ("usr/lib/systemd/system/ds_agent.service", "")];
    let output =
        [("dsa_query-GetAgentStatus.txt", ACTIVATED), ("rpm-qa.txt", "ds_agent-20.0.2-1390.ol7.x86_64\n")];
    let seen = look(&files, &output);
    assert!(!seen.unreadable.contains_key(&Source::Rpm), "{:?}", seen.unreadable);
    let found = Catalogue::embedded().find(&seen, now());
    assert_eq!(
        (found[0].product.as_str(), found[0].version.as_deref()),
        ("dsa-cloud", Some("20.0.2-1390.ol7"))
    );
}

#[test]
fn links_do_not_lead_out_of_a_foreign_root() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(outside.path(), &[("ds_agent/ds_agent", ""), ("status", INSTALLED.1)]);
    std::fs::create_dir_all(root.path().join("var/lib/dpkg")).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("opt")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("status"), root.path().join("var/lib/dpkg/status"))
        .unwrap();
    let scope = Scope { root: Some(root.path().to_owned()), ..Scope::default() };
    let seen = observe(&scope, Catalogue::embedded()).unwrap();
    assert!(seen.packages.is_empty() && seen.paths.is_empty(), "{seen:?}");

    // A link inside of the root that starts at `/` is followed inside of it.
    write(root.path(), &[("data/ds_agent/ds_agent", "")]);
    std::fs::remove_file(root.path().join("opt")).unwrap();
    std::os::unix::fs::symlink("/data", root.path().join("opt")).unwrap();
    let seen = observe(&scope, Catalogue::embedded()).unwrap();
    assert!(seen.paths.contains("/opt/ds_agent/ds_agent"));
}

#[test]
fn a_unit_is_enabled_where_a_target_wants_it_and_a_mask_alone_is_no_unit() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("lib/systemd/system/ds_agent.service", "[Unit]\n")]);
    let wants = root.path().join("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    std::os::unix::fs::symlink("/lib/systemd/system/ds_agent.service", wants.join("ds_agent.service"))
        .unwrap();
    std::os::unix::fs::symlink("/dev/null", root.path().join("etc/systemd/system/tmxbc.service")).unwrap();
    let scope = Scope { root: Some(root.path().to_owned()), ..Scope::default() };
    let seen = observe(&scope, Catalogue::embedded()).unwrap();
    assert_eq!(seen.units["ds_agent.service"].enabled, "enabled");
    assert!(!seen.units.contains_key("tmxbc.service"));
}

#[test]
fn a_scan_saved_is_the_same_scan_again() {
    let folder = tempfile::tempdir().unwrap();
    let (root, output, file) =
        (folder.path().join("root"), folder.path().join("out"), folder.path().join("s.json"));
    write(&root, &[INSTALLED]);
    write(&output, &[("dsa_query-GetAgentStatus.txt", ACTIVATED)]);
    let print = |scope: Scope, save: Option<PathBuf>, json: bool| {
        let mut out = Vec::new();
        scan::run(&ScanArgs { scope, json, save }, now(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let scope = Scope { root: Some(root), vendor_output: Some(output), snapshot: None };
    let first = print(scope, Some(file.clone()), true);
    let again = print(Scope { snapshot: Some(file.clone()), ..Scope::default() }, None, true);
    assert_eq!(first, again);
    let value: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(value["products"][0]["product"], "dsa-cloud");
    assert_eq!(value["products"][0]["state"], "active");
    assert_eq!(value["products"][0]["version"], "20.0.0.7303");
    let text = print(Scope { snapshot: Some(file), ..Scope::default() }, None, false);
    assert!(
        text.starts_with("PRODUCT    STATE   VERSION      WHY\ndsa-cloud  active  20.0.0.7303\n"),
        "{text}"
    );
    assert!(text.contains("+ deb:ds-agent (identify)"), "{text}");
}

#[test]
fn listings_of_a_machine_are_added_to_its_snapshot_and_saved_with_it() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            (
                "base.json",
                r#"{"format": "seatbeat-snapshot/1", "os": "windows", "unreadable": {"services": "x"}}"#,
            ),
            (
                "out/sc-query.txt",
                "SERVICE_NAME: ntrtscan\nDISPLAY_NAME: Apex One NT RealTime Scan\n STATE : 4 RUNNING\n",
            ),
            ("out/registry.reg", "[HKEY_LOCAL_MACHINE\\SOFTWARE\\WOW6432Node\\TrendMicro\\Osprey]\n"),
        ],
    );
    let scope = |snapshot: &str, output: Option<&str>| Scope {
        snapshot: Some(folder.path().join(snapshot)),
        vendor_output: output.map(|name| folder.path().join(name)),
        root: None,
    };
    let save = Some(folder.path().join("whole.json"));
    let args = ScanArgs { scope: scope("base.json", Some("out")), json: false, save };
    let mut out = Vec::new();
    scan::run(&args, now(), &mut out).unwrap();
    let seen = observe(&scope("whole.json", None), Catalogue::embedded()).unwrap();
    assert!(seen.unreadable.is_empty() && seen.services[0].running, "{seen:?}");
    assert_eq!(seen.registry_keys.len(), 1);
    assert!(String::from_utf8(out).unwrap().contains("apexone"));
}

#[test]
fn what_is_no_snapshot_and_no_root_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("bad.json", r#"{"format":"seatbeat-snapshot/1","os":"linux","unknown":1}"#)]);
    let error = |scope: Scope| observe(&scope, Catalogue::embedded()).unwrap_err().to_string();
    let bad = folder.path().join("bad.json");
    let said = error(Scope { snapshot: Some(bad.clone()), ..Scope::default() });
    assert_eq!(said, format!("`{}` is no snapshot", bad.display()));
    let said = error(Scope { root: Some(folder.path().join("none")), ..Scope::default() });
    assert!(said.starts_with("failed to open root"), "{said}");
}

#[test]
fn this_machine_can_be_looked_at() {
    let seen = observe(&Scope::default(), Catalogue::embedded()).unwrap();
    assert!(!seen.unreadable.contains_key(&Source::Processes));
    Catalogue::embedded().find(&seen, now());
}

#[test]
fn damaged_files_never_panic() {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % below
    };
    let snapshot =
        serde_json::to_string(&look(&[INSTALLED], &[("dsa_query-GetAgentStatus.txt", ACTIVATED)])).unwrap();
    let root = tempfile::tempdir().unwrap();
    for _ in 0..200 {
        let mut mutate = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..1 + next(6) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.insert(at, b'\n'),
                    _ => bytes.extend_from_within(at..),
                }
            }
            bytes
        };
        let files = [
            ("var/lib/dpkg/status", mutate(INSTALLED.1)),
            ("etc/group", mutate("root:x:0:\ntm_dsa:x:990:\n")),
            ("out/dsa_query-GetAgentStatus.txt", mutate(ACTIVATED)),
            ("s.json", mutate(&snapshot)),
        ];
        for (path, bytes) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let output = Some(root.path().join("out"));
        let scope = Scope { root: Some(root.path().to_owned()), vendor_output: output, snapshot: None };
        Catalogue::embedded().find(&observe(&scope, Catalogue::embedded()).unwrap(), now());
        let scope = Scope { snapshot: Some(root.path().join("s.json")), ..Scope::default() };
        if let Ok(seen) = observe(&scope, Catalogue::embedded()) {
            Catalogue::embedded().explain(&seen, now());
        }
    }
}
