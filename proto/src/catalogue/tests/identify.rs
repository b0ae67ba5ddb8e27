//! Each product is found from each of its own names, and from no other's.

use super::*;

const DSA: &str = "dsa-cloud active";
const UNINSTALL_DSA: &str = "uninstall {x}=Trend Micro Deep Security Agent";
const APEX_ROW: &str = "center Trend Micro Apex One Antivirus";
const CURRENT: &str = r"HKLM\SOFTWARE\TrendMicro\PC-cillinNTCorp\CurrentVersion";

/// System, the one thing seen, what is found by it.
fn rows() -> Vec<(Os, String, &'static str)> {
    use Os::{Linux, Macos, Windows};
    let plain = [
        (Linux, "deb ds-agent", DSA),
        (Linux, "rpm ds_agent", DSA),
        (Linux, "unit ds_agent.service=active", DSA),
        (Linux, "path /opt/ds_agent/ds_agent", DSA),
        (Windows, UNINSTALL_DSA, DSA),
        (Windows, r"value HKLM\SOFTWARE\TrendMicro\Deep Security Agent!InstallationFolder=C:\x", DSA),
        (Windows, "service ds_agent=running", DSA),
        (Windows, "service ds_monitor=running", DSA),
        (Windows, "service ds_notifier=running", DSA),
        (Macos, "launchd com.trendmicro.dsa=loaded", DSA),
        (Macos, "path /Library/Application Support/com.trendmicro.DSAgent/dsa_control", DSA),
        (Windows, "display Trend Micro Deep Security Manager=running", "dsm inactive"),
        (Linux, "unit tmxbc.service=inactive", "v1es inactive"),
        (Linux, "path /opt/TrendMicro/EndpointBasecamp/bin/tmxbc", "v1es inactive"),
        (Windows, "service Trend Micro Endpoint Basecamp=running", "v1es inactive"),
        (Windows, "service Trend Micro Web Service Communicator=running", "v1es inactive"),
        (Windows, "service CETASvc=running", "v1es inactive"),
        (Macos, "launchd com.trendmicro.endpointbasecamp=loaded", "v1es active"),
        (Macos, "path /Library/Application Support/com.trendmicro.endpointbasecamp", "v1es inactive"),
        (Linux, "path /opt/TrendMicro/SProtectLinux/SPLX.vsapiapp/splxmain", "splx inactive"),
        (Linux, "path /opt/TrendMicro/SProtectLinux/tmsplx.xml", "splx inactive"),
        (Linux, "init_script splx", "splx inactive"),
        (Linux, "unit splx.service=active", "splx active"),
        (
            Windows,
            r"value HKLM\SOFTWARE\TrendMicro\ServerProtect\CurrentVersion!HomeDirectory=C:\x",
            "spnt inactive",
        ),
        (Windows, "service SpntSvc=running", "spnt active"),
        (Windows, "msi {BED0B8A2-2986-49F8-90D6-FA008D37A3D2}", "wfbs-svc inactive"),
        (Windows, "uninstall HostedAgent=", "wfbs-svc inactive"),
        (Windows, "service svcGenericHost=running", "wfbs-svc inactive"),
        (Windows, "uninstall {x}=Trend Micro Worry-Free Business Security Agent", "wfbs-onprem inactive"),
        (Windows, "uninstall {x}=Trend Micro Client/Server Security Agent", "wfbs-onprem inactive"),
        (Windows, "uninstall Wofie=", "wfbs-onprem inactive"),
        (
            Windows,
            r"value HKLM\SOFTWARE\TrendMicro\Wofie\CurrentVersion!Application Path=C:\x",
            "wfbs-onprem inactive",
        ),
        (Windows, "uninstall {x}=Trend Micro OfficeScan Client", "officescan inactive"),
        (Windows, "uninstall {x}=Trend Micro OfficeScan Agent", "officescan inactive"),
        (Windows, "display OfficeScan NT Listener=running", "officescan inactive"),
        (Windows, "display OfficeScanNT RealTime Scan=running", "officescan inactive"),
        (Windows, "display OfficeScan NT Proxy Service=running", "officescan inactive"),
        (Windows, "center Trend Micro OfficeScan Antivirus", "officescan inactive"),
        (Windows, r"path {x86}\Trend Micro\OfficeScan Client\PccNTMon.exe", "officescan inactive"),
        (Windows, "uninstall {x}=Trend Micro Apex One Security Agent", "apexone inactive"),
        (Windows, "display Apex One NT Listener=running", "apexone inactive"),
        (Windows, "display Apex One NT RealTime Scan=running", "apexone inactive"),
        (Windows, "display Apex One NT WSC Service=running", "apexone inactive"),
        (Windows, APEX_ROW, "apexone inactive"),
        (Macos, "bundle /Applications/TrendMicroSecurity.app=3.5.7", "tmsm inactive"),
        (Macos, "extension com.trendmicro.icore.es=enabled", "tmsm inactive"),
        (Macos, "process /Library/x/iCoreService", "tmsm inactive"),
        (Macos, "launchd com.trendmicro.icore.av=loaded", "tmsm inactive"),
        (Macos, "launchd com.trendmicro.icore.wp=loaded", "tmsm inactive"),
        (Macos, "launchd com.trendmicro.icore.main=loaded", "tmsm inactive"),
        (Macos, "launchd com.trendmicro.icore.misc=loaded", "tmsm inactive"),
    ];
    let mut rows: Vec<_> = plain.into_iter().map(|(os, line, found)| (os, line.to_owned(), found)).collect();
    rows.push((Windows, format!(r"value {CURRENT}\HostedAgent!AgentGuid=x"), "wfbs-svc inactive"));
    for (name, found) in [("WFBSH_Agent", "wfbs-svc inactive"), ("OfficeScan", "officescan inactive")] {
        rows.push((Windows, format!(r"value {CURRENT}\Misc.!ProductName=Trend Micro {name} 1"), found));
    }
    let codes = "{33BEF4B8-AFD3-4AF0-BD20-42F70A417266} {1FF9FE5E-27A3-45F1-979B-85903EB3CFF1} \
        {C1F6E833-B25E-4C39-A026-D3253958B0D0} {A38F51ED-D01A-4CE4-91EB-B824A00A8BDF} \
        {19D84BB4-35C9-4125-90AB-C2ADD0F9A8EC} {8456195C-3BA3-45A4-A6A7-30AE7A62EADB} \
        {0A07E717-BB5D-4B99-840B-6C5DED52B277}";
    rows.extend(codes.split(' ').map(|code| (Windows, format!("msi {code}"), "wfbs-onprem inactive")));
    let receipts = "icore.service.pkg icore.autostart.pkg icore.kextention.pkg tmsm.tmappextra \
        tmsm.application.trendMicroSecurity.tmsecurity.pkg tmsm.application.trendMicroSecurity.tmcoreinst.pkg \
        tmsm.application.trendMicroSecurity.tmsecurityextra.pkg";
    let receipt = |name: &str| (Macos, format!("receipt com.trendmicro.{name}"), "tmsm inactive");
    rows.extend(receipts.split_whitespace().map(receipt));
    rows
}

/// The first row that does not hold.
fn broken(catalogue: &Catalogue) -> Option<String> {
    let answer = format!("answer dsa_query-GetAgentStatus={CLOUD}");
    rows().into_iter().find_map(|(os, line, expected)| {
        let mut lines = vec![line.as_str()];
        if expected == DSA {
            // Something that runs, of the kind that names no product, and the vendor's word.
            lines.push("process /opt/ds_agent/ds_agent");
            lines.push("answer dsa_query-GetComponentInfo=Component.AM.mode: on");
            lines.push(&answer);
        }
        let mut seen = machine(os, &lines);
        if expected == DSA && os != Os::Linux {
            seen.unreadable
                .insert(if os == Os::Windows { Source::Services } else { Source::Launchd }, "no".into());
        }
        let found = found(catalogue, &seen);
        (found != [expected]).then(|| format!("{line}: {found:?}, not {expected}"))
    })
}

#[test]
fn each_product_is_found_from_each_of_its_names_and_from_no_others() {
    assert_eq!(broken(Catalogue::embedded()), None);
}

#[test]
fn each_name_that_identifies_is_needed() {
    let embedded = Catalogue::embedded();
    let mut dropped = 0;
    for (product, signal) in places(embedded) {
        let names = embedded.products[product].signals[signal].matches.len();
        for name in 0..names {
            let mut catalogue = embedded.clone();
            let signals = &mut catalogue.products[product].signals;
            let said = signals[signal].matches.remove(name);
            if signals[signal].matches.is_empty() {
                signals.remove(signal);
            }
            assert!(
                broken(&catalogue).is_some(),
                "nothing misses `{said}` of {}",
                embedded.products[product].id
            );
            dropped += 1;
        }
    }
    assert!(dropped > 60, "{dropped} names were dropped");
}

/// Signals that identify and are more than memory.
fn places(catalogue: &Catalogue) -> Vec<(usize, usize)> {
    let told = |signal: &Signal| signal.role == Role::Identify && !signal.recalled;
    let of = |(n, product): (usize, &Product)| -> Vec<(usize, usize)> {
        let signals = product.signals.iter().enumerate();
        signals.filter(|(_, signal)| told(signal)).map(|(m, _)| (n, m)).collect()
    };
    catalogue.products.iter().enumerate().flat_map(of).collect()
}

#[test]
fn a_recalled_name_alone_finds_nothing() {
    check(Os::Linux, &["path /opt/dsm"], &[]);
    check(Os::Linux, &["rpm SProtectLinux"], &[]);
    check(Os::Linux, &["rpm SProtectLinux", "port 14942"], &["splx inactive"]);
    check(Os::Windows, &[r"key HKLM\SOFTWARE\TrendMicro\ServerProtect\CurrentVersion"], &[]);
}

#[test]
fn what_only_supports_finds_nothing() {
    check(Os::Linux, &["group tm_dsa", "path /var/opt/ds_agent", "kernel_module dsa_filter"], &[]);
    check(Os::Linux, &["group tm_xes"], &[]);
    check(Os::Windows, &["pipe IPC_XBC_XBC_AGENT_PIPE_7", "service EarthAgent=running"], &[]);
    check(Os::Macos, &["path /Library/Application Support/TrendMicro"], &[]);
}

#[test]
fn leftovers_and_look_alikes_are_nothing() {
    check(Os::Linux, &["deb ds-agent=deinstall ok config-files"], &[]);
    check(Os::Linux, &["deb ds-agent=install ok half-installed"], &[]);
    check(
        Os::Linux,
        &["deb ds-agent-doc", "deb trendmicro-ds-agent", "rpm ds_agent-tools", "deb ds_agent"],
        &[],
    );
    check(
        Os::Linux,
        &["process /home/x/ds_agent", "path /opt/ds_agent", "unit ds_agent2.service=active"],
        &[],
    );
    check(
        Os::Windows,
        &["uninstall x=Trend Micro Deep Security Agent Documentation", "service ds_agents=running"],
        &[],
    );
    check(Os::Windows, &["center Trend Micro Apex One Antivirus=stale"], &[]);
    check(Os::Windows, &["center Trend Micro Security Agent=stale"], &[]);
}

#[test]
fn a_name_on_another_system_is_nothing() {
    check(Os::Windows, &["deb ds-agent", "unit ds_agent.service=active"], &[]);
    check(Os::Linux, &["service ds_agent=running", "launchd com.trendmicro.dsa=loaded"], &[]);
}

#[test]
fn what_speaks_against_is_told() {
    let seen = machine(Os::Linux, &["deb ds-agent=deinstall ok config-files", "path /opt/ds_agent/ds_agent"]);
    let findings = Catalogue::embedded().find(&seen, now());
    assert_eq!(findings[0].against, ["package ds-agent is `deinstall ok config-files`, not installed"]);
    assert_eq!(findings[0].signals, ["path:/opt/ds_agent/ds_agent"]);
}
