//! Damaged files: a catalogue or a snapshot with random changes is refused or works, never panics, and what comes out
//! of it stays small. A seed is printed with what fails.

use super::*;

/// Changes of each seed's file.
const ROUNDS: u64 = 200;

/// Bytes that mean something in the two formats, tried as often as any others.
const TELLING: &[u8] = b"\"'{}[]=,.:\\!*\n-0x";

struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below.max(1)
    }

    fn damage(&mut self, file: &str) -> String {
        let mut bytes = file.as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(60)).min(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] = TELLING[self.below(TELLING.len())],
                1 if !bytes.is_empty() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                2 => _ = bytes.drain(at..end),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                4 => {
                    let many = TELLING[self.below(TELLING.len())];
                    bytes.splice(at..at, std::iter::repeat_n(many, 1 + self.below(3000)));
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A machine of each system on which something is seen of most kinds.
fn machines() -> Vec<Observations> {
    let answer = format!("answer dsa_query-GetAgentStatus={CLOUD}");
    let linux =
        ["deb ds-agent", "unit ds_agent.service=active", "port 14942", "domino_task SMDreal", &answer];
    let windows = [
        "uninstall 32:OfficeScanNT=Trend Micro Apex One Security Agent by Trend Micro Inc.",
        r"value HKLM\SOFTWARE\TrendMicro\ServerProtect\CurrentVersion!HomeDirectory=C:\Trend\SProtect\x64",
        r"value HKLM\SOFTWARE\WOW6432Node\TrendMicro\PC-cillinNTCorp\CurrentVersion\Misc.!InternalPatternVer=0x1d2ded",
        r"path C:\Program Files (x86)\Trend Micro\Security Agent\PccNTMon.exe",
        "msi 2A8B0DEB68928F94096DAF00D8733A2D",
        "center Trend Micro Apex One Antivirus=stale",
        "service ntrtscan=running",
    ];
    let macos = ["launchd com.trendmicro.dsa=loaded", "bundle /Applications/TrendMicroSecurity.app=3.5"];
    vec![machine(Os::Linux, &linux), machine(Os::Windows, &windows), machine(Os::Macos, &macos)]
}

/// What a report could carry of it, in bytes.
fn size(findings: &[Finding]) -> usize {
    let texts = |finding: &Finding| -> usize {
        let lists = finding.signals.iter().chain(&finding.against).map(String::len).sum::<usize>();
        lists + finding.why.as_ref().map_or(0, String::len) + finding.version.as_ref().map_or(0, String::len)
    };
    findings.iter().map(texts).sum()
}

#[test]
fn a_damaged_catalogue_is_refused_or_works() {
    let file = include_str!("../../../catalogue/trend-micro.toml");
    let (machines, mut refused) = (machines(), 0);
    for seed in 0..ROUNDS {
        let damaged = Random(seed).damage(file);
        match Catalogue::parse(&damaged) {
            Ok(catalogue) => {
                assert!(catalogue.products.len() <= 35 && catalogue.lint().len() < 500, "seed {seed}");
                let findings = machines.iter().flat_map(|seen| catalogue.find(seen, now()));
                assert!(findings.count() < 100, "seed {seed}");
            }
            Err(error) => {
                assert!(error.line >= 1 && error.to_string().len() < 8192, "seed {seed}");
                refused += 1;
            }
        }
    }
    assert!((ROUNDS / 4..ROUNDS).contains(&refused), "{refused} of {ROUNDS} were refused");
}

#[test]
fn a_damaged_snapshot_is_refused_or_works() {
    let catalogue = Catalogue::embedded();
    let (mut refused, mut files) = (0, 0);
    for seen in machines() {
        let file = serde_json::to_string_pretty(&seen).unwrap();
        assert_eq!(
            serde_json::from_str::<Observations>(&file).unwrap(),
            seen,
            "what is saved is read back equal"
        );
        for seed in 0..ROUNDS {
            files += 1;
            match serde_json::from_str::<Observations>(&Random(seed).damage(&file)) {
                Ok(seen) => assert!(size(&catalogue.find(&seen, now())) < 64 * 1024, "seed {seed}"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!((files / 4..files).contains(&refused), "{refused} of {files} were refused");
}

#[test]
fn damaged_answers_names_and_addresses_are_read_or_not() {
    let samples = [
        "AgentStatus.5: dsmUrl\r\nAgentStatus.agentState: green\r\nAgentStatus.dsmUrl: https://[2001:db8::1]:4120/\r\n",
        "tmxbc version: v1.2.0.3456 (build 7)",
        "{BED0B8A2-2986-49F8-90D6-FA008D37A3D2}",
        "2A8B0DEB68928F94096DAF00D8733A2D",
        r"{HKLM\SOFTWARE\TrendMicro\ServerProtect\CurrentVersion!HomeDirectory}\SpntShare\server.ini!*!P.4",
        r"HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\TrendMicro\X!Y",
        "pattern/vsapi.zip, 0x1d2df1",
    ];
    for sample in samples {
        for seed in 0..ROUNDS * 5 {
            let text = Random(seed).damage(sample);
            let values = std::collections::BTreeMap::from([(text.clone(), sample.to_owned())]);
            let long = text::version_in(&text)
                .map_or(0, str::len)
                .max(text::host_of(&text).map_or(0, |host| host.len()));
            assert!(long <= text.len(), "seed {seed}");
            assert!(
                text::pattern_number(&text).is_none_or(|number| number.len() <= text.len() + 16),
                "seed {seed}"
            );
            assert!(names::msi_code(&text).is_none_or(|code| code.len() == 38), "seed {seed}");
            _ = text::output_value(&text, "AgentStatus.dsmUrl");
            _ = text::compare_versions(&text, sample);
            _ = names::folder_of(&text);
            _ = names::is_in_home(&text);
            assert!(names::is_path(&text, &text, &values) || text.contains('*'), "seed {seed}");
            _ = names::is_path(sample, &text, &values);
            _ = names::is_registry_name(&text, sample);
            _ = glob(&text, sample);
        }
    }
}

#[test]
fn a_snapshot_of_long_names_is_looked_at_in_bounded_time_and_said_in_few_words() {
    let long = "Trend Micro ".repeat(20_000);
    let entry = |n: usize| format!("uninstall {long}{n}={long}{n} by {long}");
    let mut lines: Vec<String> = (0..20).map(entry).collect();
    lines.push(format!(r"value HKLM\SOFTWARE\TrendMicro\Vizor!ProductName={long}"));
    lines.push(format!("center {long}"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let findings = Catalogue::embedded().find(&machine(Os::Windows, &lines), now());
    assert!(size(&findings) < 8 * 1024, "{} bytes", size(&findings));
}

#[test]
fn a_field_that_is_not_known_is_an_error_and_one_that_is_left_out_is_empty() {
    let read = |text: &str| serde_json::from_str::<Observations>(text);
    let bare = read(r#"{"format": "seatbeat-snapshot/1", "os": "windows"}"#).unwrap();
    assert_eq!(bare, Observations { os: Os::Windows, ..Observations::default() });
    for wrong in [
        r#"{"os": "windows"}"#,
        r#"{"format": "seatbeat-snapshot/2", "os": "windows"}"#,
        r#"{"format": "seatbeat-snapshot/1", "os": "beos"}"#,
        r#"{"format": "seatbeat-snapshot/1", "os": "windows", "user": "ada"}"#,
        r#"{"format": "seatbeat-snapshot/1", "os": "windows", "uninstall": [{"key": "x", "owner": "ada"}]}"#,
        r#"{"format": "seatbeat-snapshot/1", "os": "windows", "unreadable": {"smell": "no"}}"#,
        r#"{"format": "seatbeat-snapshot/1", "os": "windows", "uninstall": [{"key": "x", "hive": "moon"}]}"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
