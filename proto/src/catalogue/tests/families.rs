//! What cannot be told apart is reported under its family, and is never counted twice or lost.

use super::*;

const CORE: [&str; 2] = ["service ntrtscan=running", "service tmlisten=running"];
const MISC: &str = r"value HKLM\SOFTWARE\TrendMicro\PC-cillinNTCorp\CurrentVersion\Misc.";

fn core_and(lines: &[&str], expected: &[&str]) {
    check(Os::Windows, &[&CORE[..], lines].concat(), expected);
}

#[test]
fn the_shared_core_alone_names_no_product() {
    core_and(&[], &["family/desktop-agent active"]);
    core_and(&["uninstall {x}=Trend Micro Security Agent"], &["family/desktop-agent active"]);
    check(Os::Windows, &["service ntrtscan=stopped"], &["family/desktop-agent inactive"]);
    check(
        Os::Windows,
        &[r"path {x86}\Trend Micro\Security Agent\PccNTMon.exe"],
        &["family/desktop-agent inactive"],
    );
}

#[test]
fn the_narrowest_family_is_reported_and_no_wider_one() {
    core_and(&["center Trend Micro Security Agent"], &["family/worry-free active"]);
    core_and(&["upgrade {48EA88A8-766D-403B-BC63-C89997A1476A}"], &["family/worry-free active"]);
    core_and(&[&format!("{MISC}!TmListen_Ver=20.0.2128")], &["family/worry-free active"]);
}

#[test]
fn a_family_and_a_version_find_a_product() {
    for (version, expected) in [
        ("14.0.12637", "apexone active"),
        ("13.95.1", "apexone active"),
        ("12.0.1222", "officescan active"),
        ("11.0", "officescan active"),
        ("13.5", "family/desktop-agent active"),
        ("9.0", "family/desktop-agent active"),
        ("what", "family/desktop-agent active"),
    ] {
        core_and(&[&format!("{MISC}!ProgramVer={version}")], &[expected]);
    }
    check(Os::Windows, &[&format!("{MISC}!ProgramVer=14.0.1")], &[]);
}

#[test]
fn a_product_that_is_told_covers_its_family() {
    core_and(&["uninstall HostedAgent=", "center Trend Micro Security Agent"], &["wfbs-svc active"]);
    core_and(&["uninstall OfficeScanNT=", "display Apex One NT Listener"], &["apexone active"]);
}

#[test]
fn the_hosted_agent_is_not_the_one_on_premises() {
    let name = "uninstall {x}=Trend Micro Worry-Free Business Security Agent";
    core_and(&[name], &["wfbs-onprem active"]);
    core_and(&[name, "uninstall HostedAgent="], &["wfbs-svc active"]);
    let key = r"key HKLM\SOFTWARE\TrendMicro\PC-cillinNTCorp\CurrentVersion\HostedAgent";
    core_and(&[name, key], &["family/desktop-agent active"]);
}

#[test]
fn two_products_that_cannot_both_be_there_are_ambiguous() {
    core_and(
        &["uninstall HostedAgent=", "uninstall {x}=Trend Micro Apex One Security Agent"],
        &["family/desktop-agent active"],
    );
}

#[test]
fn what_cannot_be_read_of_the_others_does_not_matter_once_one_is_told() {
    core_and(&["display Apex One NT Listener", "unreadable Msi"], &["apexone active"]);
    core_and(
        &["unreadable Registry", "unreadable Msi"],
        &[
            "apexone unknown",
            "apexone-saas unknown",
            "officescan unknown",
            "wfbs-onprem unknown",
            "wfbs-svc unknown",
        ],
    );
}

#[test]
fn a_management_server_is_no_seat_and_hides_no_family() {
    core_and(
        &["display Trend Micro Deep Security Manager=running"],
        &["dsm inactive", "family/desktop-agent active"],
    );
}

#[test]
fn sensor_and_server_protection_are_two_findings() {
    let answer = format!("answer dsa_query-GetAgentStatus={CLOUD}");
    check(
        Os::Linux,
        &["deb ds-agent", "unit ds_agent.service=active", "unit tmxbc.service=active", &answer],
        &["dsa-cloud active", "v1es active"],
    );
}
