//! When a product counts as active, which edition it is, and what is unknown.

use super::*;

/// A Linux machine with the agent installed and running, that answers this.
fn dsa(answer: &str, expected: &[&str]) {
    let answer = format!("answer dsa_query-GetAgentStatus={answer}");
    check(Os::Linux, &["deb ds-agent", "unit ds_agent.service=active", &answer], expected);
}

#[test]
fn the_manager_decides_the_edition() {
    dsa(CLOUD, &["dsa-cloud active"]);
    for (url, expected) in [
        ("https://agents.deepsecurity.trendmicro.com:443/", "dsa-cloud active"),
        ("https://agents.workload.sg-1.cloudone.trendmicro.com:443/", "dsa-cloud active"),
        ("https://dsm.corp.example.com:4119/", "dsa-onprem active"),
        ("https://192.0.2.7:4120/", "dsa-onprem active"),
        ("https://agents.workload.us-1.cloudone.trendmicro.com.example.org/", "dsa-onprem active"),
        (
            "https://workload.trendmicro.com.example.org/agents.deepsecurity.trendmicro.com",
            "dsa-onprem active",
        ),
        ("yes", "family/deep-security active"),
        ("https://", "family/deep-security active"),
    ] {
        dsa(&format!("AgentStatus.agentState: green\nAgentStatus.dsmUrl: {url}\n"), &[expected]);
    }
}

#[test]
fn installed_is_not_activated_and_activated_is_not_green() {
    dsa("AgentStatus.5: dsmUrl\nAgentStatus.agentState: red\n", &["dsa inactive"]);
    dsa("AgentStatus.5: dsmUrl\nAgentStatus.agentState: green\n", &["dsa inactive"]);
    dsa("AgentStatus.dsmUrl:\nAgentStatus.agentState: green\n", &["dsa inactive"]);
    dsa(
        "AgentStatus.dsmUrl: https://dsm.example:4119/\nAgentStatus.agentState: red\n",
        &["dsa-onprem inactive"],
    );
    dsa("AgentStatus.dsmUrl: https://dsm.example:4119/\n", &["dsa-onprem inactive"]);
}

#[test]
fn an_answer_as_windows_gives_it_is_read() {
    let answer = "AgentStatus.13: driverHooked\r\nAgentStatus.15: driverState\r\nAgentStatus.agentState: green\r\n\
        AgentStatus.auStatus: 2\r\nAgentStatus.currentTime: 1786542236\r\nAgentStatus.driverHooked: 7\r\n\
        AgentStatus.lastAgentToManagerSession: 1786541835\r\n\
        AgentStatus.dsmUrl: https://agents-004.workload.us-1.cloudone.trendmicro.com:443/\r\n";
    let answer = format!("answer dsa_query-GetAgentStatus={answer}");
    check(Os::Windows, &["service ds_agent=running", &answer], &["dsa-cloud active"]);
    check(Os::Windows, &["service ds_agent=stopped", &answer], &["dsa-cloud inactive"]);
}

#[test]
fn no_answer_is_unknown_for_each_edition_unless_the_agent_is_known_to_be_stopped() {
    let unknown = ["dsa-cloud unknown", "dsa-onprem unknown"];
    dsa("", &unknown);
    dsa("dsa_query: cannot connect to agent: timed out", &unknown);
    check(Os::Linux, &["deb ds-agent", "unit ds_agent.service=active"], &unknown);
    check(Os::Linux, &["deb ds-agent", "process /opt/ds_agent/ds_agent"], &unknown);
    check(Os::Linux, &["deb ds-agent", "unit ds_agent.service=failed"], &["dsa inactive"]);
    check(Os::Linux, &["deb ds-agent", "unreadable Processes"], &unknown);
    check(Os::Linux, &["deb ds-agent", "unit ds_agent.service", "unreadable UnitState"], &unknown);
}

#[test]
fn what_cannot_be_read_is_unknown_where_something_else_speaks_for_the_product() {
    check(Os::Linux, &["unreadable Dpkg", "unreadable Rpm", "unreadable UnitFiles"], &[]);
    check(Os::Linux, &["unreadable Dpkg", "group tm_dsa"], &["dsa-cloud unknown", "dsa-onprem unknown"]);
    check(Os::Linux, &["unreadable Dpkg", "group tm_xes"], &[]);
    check(Os::Linux, &["unreadable UnitFiles", "group tm_xes"], &["v1es unknown"]);
    check(
        Os::Linux,
        &["unreadable Processes", "path /opt/TrendMicro/SProtectLinux/tmsplx.xml"],
        &["splx unknown"],
    );
    let name = "uninstall {x}=Trend Micro Worry-Free Business Security Agent";
    check(Os::Windows, &[name, "unreadable Services"], &["wfbs-onprem unknown"]);
}

#[test]
fn the_sensor_is_active_while_it_runs() {
    let tmxbc = "/opt/TrendMicro/EndpointBasecamp/bin/tmxbc";
    check(Os::Linux, &["unit tmxbc.service=active"], &["v1es active"]);
    check(Os::Linux, &[&format!("path {tmxbc}"), &format!("process {tmxbc}")], &["v1es active"]);
    check(Os::Linux, &[&format!("path {tmxbc}"), &format!("process {tmxbc} (deleted)")], &["v1es active"]);
    let services = ["Trend Micro Endpoint Basecamp", "Trend Micro Web Service Communicator", "CETASvc"];
    let running = services.map(|name| format!("service {name}=running"));
    let lines: Vec<&str> = running.iter().map(String::as_str).collect();
    check(Os::Windows, &lines, &["v1es active"]);
    check(Os::Windows, &lines[..2], &["v1es inactive"]);
}

#[test]
fn the_desktop_agents_are_active_while_they_run_and_scan() {
    let on = r"value HKLM\SOFTWARE\TrendMicro\PC-cillinNTCorp\CurrentVersion\Real Time Scan Configuration!Enable=1";
    let off = on.replace("=1", "=0");
    for (name, core, id) in [
        ("uninstall HostedAgent=", &["service tmlisten=running"][..], "wfbs-svc"),
        ("uninstall Wofie=", &["service Amsp=running"], "wfbs-onprem"),
        ("uninstall x=Trend Micro OfficeScan Agent", &["service ntrtscan=running"], "officescan"),
        (
            "uninstall x=Trend Micro Apex One Security Agent",
            &["service ntrtscan=running", "service tmlisten=running"],
            "apexone",
        ),
    ] {
        let running = [&[name], core].concat();
        check(Os::Windows, &running, &[&format!("{id} active")]);
        check(Os::Windows, &[&running[..], &[on]].concat(), &[&format!("{id} active")]);
        check(Os::Windows, &[&running[..], &[&off]].concat(), &[&format!("{id} inactive")]);
        check(Os::Windows, &[name, "service ntrtscan=stopped"], &[&format!("{id} inactive")]);
    }
}

#[test]
fn apex_one_as_a_service_is_told_by_its_server() {
    let apex = [
        "uninstall x=Trend Micro Apex One Security Agent",
        "service ntrtscan=running",
        "service tmlisten=running",
    ];
    let server =
        |host: &str| format!(r"value HKLM\SOFTWARE\TrendMicro\PC-cillinNTCorp\CurrentVersion!Server={host}");
    check(
        Os::Windows,
        &[&apex[..], &[&server("abc123.manage.trendmicro.com")]].concat(),
        &["apexone-saas active"],
    );
    check(Os::Windows, &[&apex[..], &[&server("apex.corp.example")]].concat(), &["apexone active"]);
    check(Os::Windows, &apex, &["apexone active"]);
}

#[test]
fn a_mac_agent_runs_as_process_and_job() {
    let (process, job) = ("process /Library/x/iCoreService", "launchd com.trendmicro.icore.main=loaded");
    check(Os::Macos, &[process, job], &["tmsm active"]);
    check(Os::Macos, &[process, "launchd com.trendmicro.icore.main"], &["tmsm inactive"]);
}

#[test]
fn versions_come_from_the_first_source_that_answers() {
    let version =
        |os: Os, lines: &[&str]| Catalogue::embedded().find(&machine(os, lines), now())[0].version.clone();
    assert_eq!(version(Os::Linux, &["rpm ds_agent"]).as_deref(), Some("20.0.0.7303"));
    assert_eq!(version(Os::Linux, &["path /opt/ds_agent/ds_agent"]), None);
    let sensor = ["unit tmxbc.service=active", "answer tmxbc-v=Endpoint Basecamp version 1.2.0.3456"];
    assert_eq!(version(Os::Linux, &sensor).as_deref(), Some("1.2.0.3456"));
    let current = r"value HKLM\SOFTWARE\TrendMicro\PC-cillinNTCorp\CurrentVersion";
    let agent = format!("{current}!WFBSAgentVersion=6.7.3954");
    assert_eq!(version(Os::Windows, &["uninstall HostedAgent=", &agent]).as_deref(), Some("6.7.3954"));
}

#[test]
fn why_it_is_not_active_is_a_sentence() {
    let why = |lines: &[&str]| {
        Catalogue::embedded().find(&machine(Os::Linux, lines), now())[0].why.clone().unwrap()
    };
    assert_eq!(why(&["deb ds-agent"]), "ds_agent does not run");
    let red = "answer dsa_query-GetAgentStatus=AgentStatus.dsmUrl: https://dsm.example/\nAgentStatus.agentState: red";
    assert_eq!(
        why(&["deb ds-agent", "unit ds_agent.service=active", red]),
        "AgentStatus.agentState (dsa_query-GetAgentStatus) is `red`"
    );
    assert_eq!(
        why(&["unit tmxbc.service=failed"]),
        "tmxbc.service is failed; /opt/TrendMicro/EndpointBasecamp/bin/tmxbc does not run"
    );
}

#[test]
fn what_is_wrong_with_a_product_that_is_active_is_noted() {
    let notes = |lines: &[&str], answer: &str| {
        let answer = format!("answer dsa_query-GetAgentStatus={CLOUD}{answer}");
        let lines = [&["deb ds-agent", "unit ds_agent.service=active", &answer], lines].concat();
        let explained = Catalogue::embedded().explain(&machine(Os::Linux, &lines), now());
        assert_eq!(explained[0].findings[0].state, State::Active);
        explained[0].notes.join("; ")
    };
    let component = |line: &str| format!("answer dsa_query-GetComponentInfo=Component.AM.{line}");
    assert_eq!(notes(&[], ""), "");
    assert_eq!(notes(&[&component("mode: on")], ""), "");
    assert_eq!(
        notes(&[&component("mode: driver-offline")], ""),
        "anti-malware runs without its driver (driver-offline)"
    );
    assert_eq!(notes(&[&component("licenseExpiry: 2147483647")], ""), "");
    assert_eq!(notes(&[&component("licenseExpiry: 1577836800")], ""), "its anti-malware licence has expired");
    let session = |last: &str| {
        format!("AgentStatus.currentTime: 1786542236\nAgentStatus.lastAgentToManagerSession: {last}\n")
    };
    assert_eq!(notes(&[], &session("1786541835")), "");
    assert_eq!(
        notes(&[], &session("1786536153")),
        "it has not spoken with its manager for more than an hour"
    );
}

#[test]
fn a_pattern_is_old_after_seven_days_in_any_zone() {
    let notes = |date: &str| {
        let date = format!(
            r"value HKLM\SOFTWARE\TrendMicro\PC-cillinNTCorp\CurrentVersion\Misc.!PatternDate={date}"
        );
        Catalogue::embedded().explain(&machine(Os::Windows, &["uninstall HostedAgent=", &date]), now())[0]
            .notes
            .len()
    };
    for (date, old) in
        [("20261015", 0), ("20261008", 0), ("20261006", 1), ("20261016", 0), ("20261018", 1), ("junk", 1)]
    {
        assert_eq!(notes(date), old, "{date}");
    }
}

const CURRENT: &str = r"HKLM\SOFTWARE\TrendMicro\PC-cillinNTCorp\CurrentVersion";

/// What is noted of the one product that these things show.
fn notes(os: Os, lines: &[&str]) -> Vec<String> {
    Catalogue::embedded().explain(&machine(os, lines), now()).swap_remove(0).notes
}

#[test]
fn with_smart_scan_its_own_pattern_counts() {
    let value = |name: &str, value: &str| format!(r"value {CURRENT}\{name}={value}");
    let conventional = value("Misc.!PatternDate", "20260101");
    let smart = value("Misc.!NonCrcPatternDate", "20261014");
    for (scan_type, old) in [("1", 0), ("0", 1)] {
        let scan_type = value("iCRC Scan!ScanType", scan_type);
        for name in ["uninstall HostedAgent=", "uninstall Wofie=", "uninstall x=Trend Micro OfficeScan Agent"]
        {
            let said = notes(Os::Windows, &[name, &conventional, &smart, &scan_type]);
            assert_eq!(said.len(), old, "{name} {scan_type} {said:?}");
        }
    }
}

#[test]
fn what_an_agent_says_of_its_updates_is_noted() {
    let hosted = "uninstall HostedAgent=";
    let update = |seconds: i64| {
        let last = now().as_second() - seconds;
        notes(Os::Windows, &[hosted, &format!(r"value {CURRENT}\UpdateInfo!LastUpdate={last}")])
    };
    assert_eq!(update(86_400), [""; 0]);
    assert_eq!(update(8 * 86_400), ["its last update was more than seven days ago"]);
    let ini = format!(
        r"ini {{{CURRENT}!Application Path}}\ofcscan.ini!INI_SCHEDULED_UPDATE_SECTION!Scheduled_Update_Enable"
    );
    assert_eq!(notes(Os::Windows, &[hosted, &format!("{ini}=1")]), [""; 0]);
    assert_eq!(notes(Os::Windows, &[hosted, &format!("{ini}=0")]), ["its scheduled updates are off"]);
    let row = "center Trend Micro Security Agent=0x";
    assert_eq!(notes(Os::Windows, &[hosted, &format!("{row}41000")]), [""; 0]);
    let outdated = "Windows Security Center has its patterns out of date";
    assert_eq!(notes(Os::Windows, &[hosted, &format!("{row}41010")]), [outdated]);
    assert_eq!(
        notes(Os::Windows, &[hosted, &format!("{row}43000")]),
        ["Windows Security Center has it off or expired"]
    );
    let plist =
        "plist /Library/Application Support/TrendMicro/common/conf/EPStatus.plist!GlobalStatus:bHasRegToSrv";
    let app = "bundle /Applications/TrendMicroSecurity.app=3.5.7";
    assert_eq!(notes(Os::Macos, &[app]), [""; 0]);
    assert_eq!(notes(Os::Macos, &[app, &format!("{plist}=true")]), [""; 0]);
    assert_eq!(notes(Os::Macos, &[app, &format!("{plist}=false")]), ["it is registered with no server"]);
}

#[test]
fn versions_and_patterns_lie_where_the_registry_says() {
    let explain = |lines: &[&str]| {
        let explained = Catalogue::embedded().explain(&machine(Os::Windows, lines), now()).swap_remove(0);
        (explained.findings[0].version.clone(), explained.pattern)
    };
    let home = r"HKLM\SOFTWARE\TrendMicro\ServerProtect\CurrentVersion!HomeDirectory";
    let told = (Some("5.80.0.1".to_owned()), Some("19.123.05".to_owned()));
    let named = format!("value {home}=D:\\SProtect\\x64\\");
    let spelt = [
        format!(r"version {{{home}}}\SpntSvc.exe=5.80.0.1"),
        format!(r"ini {{{home}}}\SpntShare\server.ini!Common!P.4=pattern/vsapi.zip,1912305"),
    ];
    assert_eq!(explain(&[&named, &spelt[0], &spelt[1]]), told);
    let on_disk = [
        r"version d:\SProtect\x64\SpntSvc.exe=5.80.0.1",
        r"ini D:\SProtect\x64\..\SpntShare\server.ini!Common!P.4=pattern/vsapi.zip,1912305",
    ];
    assert_eq!(explain(&[&named, on_disk[0], on_disk[1]]), told);
    let elsewhere = r"version D:\Other\SpntSvc.exe=5.80.0.1";
    assert_eq!(explain(&[&named, elsewhere]), (None, None));
    for (name, number) in [("InternalPatternVer", "1912305"), ("InternalNonCrcPatternVer", "0x1d2df1")] {
        let pattern = format!(r"value {CURRENT}\Misc.!{name}={number}");
        assert_eq!(explain(&["uninstall HostedAgent=", &pattern]).1.as_deref(), Some("19.123.05"), "{name}");
    }
}
