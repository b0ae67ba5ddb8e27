//! Real output of the vendor's programs and of the systems' own, and what detection makes of each.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use seatbeat_proto::catalogue::Catalogue;

use super::*;

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("samples/", $name))
    };
}

/// A server with the package, and its service running.
const SERVER: &str = r#"{"format": "seatbeat-snapshot/1", "os": "linux",
    "packages": [{"manager": "dpkg", "name": "ds-agent", "version": "20.0.0.7303"}],
    "units": {"ds_agent.service": {"load": "loaded", "active": "active", "enabled": "enabled"}}}"#;

const MAC: &str = r#"{"format": "seatbeat-snapshot/1", "os": "macos"}"#;
const LINUX: &str = r#"{"format": "seatbeat-snapshot/1", "os": "linux"}"#;
const WINDOWS: &str = r#"{"format": "seatbeat-snapshot/1", "os": "windows"}"#;

/// `product state` of what is found on a machine with these files beside its snapshot.
fn found(snapshot: &str, files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let snapshot = write("snapshot.json", snapshot);
    for (name, text) in files {
        write(&format!("output/{name}"), text);
    }
    let output = folder.path().join("output");
    let vendor_output = (!files.is_empty()).then_some(output);
    let scope = Scope { root: None, vendor_output, snapshot: Some(snapshot) };
    let seen = observe(&scope, Catalogue::embedded()).unwrap();
    let found = Catalogue::embedded().find(&seen, Timestamp::from_second(1_786_542_300).unwrap());
    found.iter().map(|one| format!("{} {}", one.product, one.state.as_str())).collect()
}

#[track_caller]
fn check(snapshot: &str, files: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(found(snapshot, files), expected);
}

const STATUS: &str = "dsa_query-GetAgentStatus.txt";
const COMPONENTS: &str = "dsa_query-GetComponentInfo.txt";

#[test]
fn the_agents_own_status_tells_whether_it_protects_and_under_whom() {
    let fresh = sample!("agent_status_windows_fresh401s.txt");
    check(SERVER, &[(STATUS, fresh)], &["dsa-cloud active"]);
    check(SERVER, &[(STATUS, sample!("agent_status_onprem_manager.txt"))], &["dsa-onprem active"]);
    check(SERVER, &[(STATUS, sample!("agent_status_NOT_activated_index_only.txt"))], &["dsa inactive"]);
    for components in [sample!("component_info_driver_offline.txt"), sample!("component_info_min_on.txt")] {
        check(SERVER, &[(STATUS, fresh), (COMPONENTS, components)], &["dsa-cloud active"]);
    }
    let windows = r#"{"format": "seatbeat-snapshot/1", "os": "windows",
        "services": [{"name": "ds_agent", "running": true}, {"name": "Amsp", "running": true}]}"#;
    check(windows, &[(STATUS, &fresh.replace('\n', "\r\n"))], &["dsa-cloud active"]);
}

#[test]
fn an_answer_that_is_about_something_else_is_no_answer() {
    let unknown = ["dsa-cloud unknown", "dsa-onprem unknown"];
    for other in [
        sample!("dsa_control_403_local_peer_auth.txt"),
        sample!("dsa_control_activate_success.txt"),
        sample!("dsa_control_selfprotect_disabled.txt"),
        sample!("component_info_min_on.txt"),
        "",
    ] {
        check(SERVER, &[(STATUS, other)], &unknown);
    }
    check(SERVER, &[(COMPONENTS, sample!("component_info_min_on.txt"))], &unknown);
}

#[test]
fn what_package_programs_print_is_a_package_or_nothing() {
    let listed = [("rpm-qa.txt", sample!("rpm_qa_ds_agent.txt")), (STATUS, ACTIVATED)];
    let running = SERVER.replace("20.0.0.7303", "0").replace("ds-agent", "another");
    check(&running, &listed, &["dsa-cloud active"]);
    let stopped = ["dsa-cloud inactive"];
    check(LINUX, &listed, &stopped);
    // A log of an installation is not the database of what is installed.
    check(LINUX, &[("rpm-qa.txt", sample!("dpkg_install_ds-agent.txt"))], &[]);
    let root = tempfile::tempdir().unwrap();
    let status = root.path().join("var/lib/dpkg/status");
    std::fs::create_dir_all(status.parent().unwrap()).unwrap();
    std::fs::write(&status, sample!("dpkg_install_ds-agent.txt")).unwrap();
    let scope = Scope { root: Some(root.path().to_owned()), ..Scope::default() };
    assert!(observe(&scope, Catalogue::embedded()).unwrap().packages.is_empty());
}

const ACTIVATED: &str =
    "AgentStatus.agentState: green\nAgentStatus.dsmUrl: https://agents.deepsecurity.trendmicro.com:443/\n";

#[test]
fn each_receipt_of_a_mac_names_its_product() {
    let all = sample!("pkgutil_receipts.txt");
    check(MAC, &[("pkgutil-pkgs.txt", all), ("launchctl-list.txt", "")], &["tmsm inactive"]);
    for one in all.lines() {
        assert_eq!(found(MAC, &[("pkgutil-pkgs.txt", one)]).len(), 1, "{one}");
    }
    let running =
        format!("{}, \"processes\": [{{\"exe\": \"/Library/x/iCoreService\"}}]}}", MAC.trim_end_matches('}'));
    let jobs = "PID\tStatus\tLabel\n312\t0\tcom.trendmicro.icore.main\n";
    check(&running, &[("pkgutil-pkgs.txt", all), ("launchctl-list.txt", jobs)], &["tmsm active"]);
}

/// An export that has the installer's key of a product code, packed as Windows Installer does it.
fn installed(code: &str) -> String {
    let digits: Vec<char> = code.chars().filter(char::is_ascii_hexdigit).collect();
    let mut packed = String::new();
    let mut from = 0;
    for length in [8, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2] {
        packed.extend(digits[from..from + length].iter().rev());
        from += length;
    }
    let mut export = String::from("Windows Registry Editor Version 5.00\r\n\r\n");
    write!(export, "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Classes\\Installer\\Products\\{packed}]\r\n").unwrap();
    export
}

#[test]
fn the_codes_of_the_vendors_own_removal_tool_name_their_products() {
    let tool: serde_json::Value = serde_json::from_str(sample!("wfbs_identifiers_vendor_tool.json")).unwrap();
    let named = |name: &str| match name {
        "WFBS-SVC" => vec!["wfbs-svc inactive".to_owned()],
        "CSA 6.0 or earlier" => vec!["family/desktop-agent inactive".to_owned()],
        "Trend Protect 1.x" => vec![],
        _ => vec!["wfbs-onprem inactive".to_owned()],
    };
    for (name, codes) in tool["msi_product_codes"].as_object().unwrap() {
        for code in codes.as_array().unwrap() {
            let export = installed(code.as_str().unwrap());
            assert_eq!(found(WINDOWS, &[("registry.reg", &export)]), named(name), "{name} {code}");
        }
    }
    for (code, packed) in tool["packed_products"].as_object().unwrap() {
        assert!(installed(code).contains(packed.as_str().unwrap()), "{code}");
    }
    let uninstall = |key: &str| {
        format!(
            "[HKEY_LOCAL_MACHINE\\SOFTWARE\\WOW6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\{key}]\n\"DisplayName\"=\"x\"\n"
        )
    };
    for (key, expected) in [
        ("Wofie", "wfbs-onprem inactive"),
        ("HostedAgent", "wfbs-svc inactive"),
        ("OfficeScanNT", "family/desktop-agent inactive"),
    ] {
        check(WINDOWS, &[("registry.reg", &uninstall(key))], &[expected]);
    }
    let services = tool["services"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    for service in services.filter(|name| !matches!(*name, "svcGenericHost" | "acagentservice" | "dsasvc")) {
        let listing = format!("SERVICE_NAME: {service}\nDISPLAY_NAME: x\n        STATE : 4  RUNNING\n");
        let found = found(WINDOWS, &[("sc-query.txt", &listing)]);
        assert!(
            found.iter().all(|one| one.starts_with("family/")),
            "{service} alone names no product: {found:?}"
        );
    }
    for driver in tool["drivers"].as_array().unwrap() {
        let listing =
            format!(r#"{{"format": "seatbeat-snapshot/1", "os": "windows", "kernel_modules": [{driver}]}}"#);
        check(&listing, &[], &[]);
    }
}
