//! Every parser of detection under seeded damage: flipped and lost bytes, endless lines, zero bytes, broken UTF-8.
//! Invariant: none panics, and none reads or keeps more than its limit, however much is offered.

use std::io::Read;

use seatbeat_proto::catalogue::{Catalogue, OUTPUT_LENGTH_MAX, Observations, Os, VendorCommand, Wanted};

use super::*;

/// Damaged inputs of each parser; some seconds of a slow build.
const ROUNDS: usize = 400;

/// Longest input in bytes that damage makes: four times the longest line that is kept.
const LENGTH_MAX: usize = 4 * lines::LENGTH_MAX;

/// Dice that say their seed when a test fails.
struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { seed, state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    fn below(&mut self, count: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap() % count.max(1)
    }

    fn damage(&mut self, sample: &[u8]) -> Vec<u8> {
        let mut bytes = sample.to_vec();
        for _ in 0..1 + self.below(8) {
            let at = self.below(bytes.len().max(1)).min(bytes.len());
            let some: &[u8] =
                [&b"\0"[..], b"\xFF\xFE", b"\n", b"=", b": ", b"\xC3", b"\t", b"\""][self.below(8)];
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..at, some.iter().copied())),
                2 => bytes.extend_from_within(at..),
                3 => drop(bytes.drain(at..(at + self.below(40)).min(bytes.len()))),
                4 => drop(bytes.splice(at..at, std::iter::repeat_n(b'x', 2 * lines::LENGTH_MAX))),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = u8::try_from(self.below(256)).unwrap();
                    }
                }
            }
            bytes.truncate(LENGTH_MAX);
        }
        bytes
    }
}

impl Drop for Dice {
    #[expect(clippy::print_stderr, reason = "the test harness captures it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.seed);
        }
    }
}

#[track_caller]
fn check(sample: &[u8], parse: impl Fn(&[u8])) {
    parse(sample);
    for seed in 0..ROUNDS {
        let mut dice = Dice::new(seed as u64);
        parse(&dice.damage(sample));
    }
}

fn wanted() -> Wanted<'static> {
    Catalogue::embedded().wanted(Os::Linux)
}

const STATUS: &[u8] =
    b"Package: adduser\nStatus: install ok installed\nVersion: 3.1\nDescription: x\n more\n\n\
    Package: ds-agent\nStatus: install ok installed\nVersion: 20.0.0.7303\n";

#[test]
fn package_databases() {
    let wanted = wanted();
    check(STATUS, |bytes| {
        let mut found = Vec::new();
        dpkg::read(bytes, &wanted, "", &mut found).unwrap();
        assert!(found.iter().all(|package| package.version.len() <= 3 * lines::LENGTH_MAX));
    });
    check(b"package x is not installed\n=\tds_agent\t20.0.2-1390.ol7\n=\tSProtectLinux\t3.0-1\n", |bytes| {
        rpm::packages(&String::from_utf8_lossy(bytes));
    });
}

#[test]
fn what_systemd_and_the_kernel_say() {
    let wanted = wanted();
    let units =
        b"Id=ds_agent.service\nLoadState=loaded\nActiveState=active\nFragmentPath=/x\n\nId=b\nLoadState=\n";
    check(units, |bytes| {
        assert!(units::shown(&String::from_utf8_lossy(bytes)).iter().all(|u| !u.id.is_empty()))
    });
    let sockets =
        b"  sl  local_address rem_address   st\n   0: 00000000:3A5E 00000000:0000 0A 00000000:00000000\n";
    check(sockets, |bytes| {
        let mut seen = Observations::default();
        ports::read(bytes, &wanted, &mut seen, "/proc/net/tcp");
        assert!(seen.listening_ports.is_subset(&wanted.ports));
    });
    check(b"root:x:0:\ntm_dsa:x:990:\ntm_xes:x:991:a,b\n", |bytes| {
        files::read(bytes, b':', &wanted.groups).unwrap();
    });
    check(b"tmhook 1 2 - Live 0x0\nbmhook 9 1 tmhook, Live 0x0\n", |bytes| {
        files::read(bytes, b' ', &wanted.kernel_modules).unwrap();
    });
    check(b"/opt/ds_agent/ds_agent\0-w\0/var\0", |bytes| drop(processes::first_path(bytes)));
    let event: Vec<u8> = [1_u32, 0x8000, 0, 4, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    check(&event, |bytes| {
        notify::is_nudge(bytes);
    });
}

#[test]
fn what_the_vendors_programs_answer() {
    let status =
        b"AgentStatus.13: driverHooked\nAgentStatus.agentState: green\nAgentStatus.currentTime: 1786542236\n\
        AgentStatus.lastAgentToManagerSession: 1786541835\n\
        AgentStatus.dsmUrl: https://agents-004.workload.us-1.cloudone.trendmicro.com:443/\n";
    let utf16: Vec<u8> = [0xFF, 0xFE]
        .into_iter()
        .chain(String::from_utf8_lossy(status).encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    for sample in
        [&status[..], b"Component.AM.mode: driver-offline\nComponent.AM.licenseExpiry: 99\n", &utf16]
    {
        check(sample, |bytes| {
            let answer = vendor::text(bytes);
            assert!(answer.len() <= 3 * bytes.len(), "a broken byte becomes three");
            let mut seen = Observations { os: Os::Linux, ..Observations::default() };
            seen.paths.insert("/opt/ds_agent/ds_agent".into());
            VendorCommand::ALL
                .iter()
                .for_each(|command| drop(seen.vendor_output.insert(*command, answer.clone())));
            Catalogue::embedded().explain(&seen, jiff::Timestamp::UNIX_EPOCH);
        });
    }
}

#[test]
fn listings_of_other_systems() {
    let (windows, mac) = (Catalogue::embedded().wanted(Os::Windows), Catalogue::embedded().wanted(Os::Macos));
    let export = br#"[HKEY_LOCAL_MACHINE\SOFTWARE\TrendMicro\Osprey]
"A"="C:\\x \"y\""
"N"=dword:0000002a
[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\Wofie]
"DisplayName"="Trend Micro Security Agent"
"#;
    let utf16: Vec<u8> = [0xFF, 0xFE]
        .into_iter()
        .chain(String::from_utf8_lossy(export).encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    for sample in [&export[..], &utf16] {
        check(sample, |bytes| {
            collected::registry(&vendor::text(bytes), &windows, &mut Observations::default());
        });
    }
    let services = b"SERVICE_NAME: ntrtscan\nDISPLAY_NAME: Scan\n        STATE : 4  RUNNING\n";
    check(services, |bytes| {
        collected::services(&vendor::text(bytes), &windows, &mut Observations::default())
    });
    let mac_listing =
        b"77\t0\tcom.trendmicro.dsa\n*\t*\tE8\tcom.trendmicro.icore.es (3.5/1)\t[activated enabled]\n";
    check(mac_listing, |bytes| {
        let (text, mut seen) = (vendor::text(bytes), Observations::default());
        collected::receipts(&text, &mac, &mut seen);
        collected::launchd(&text, &mac, &mut seen);
        collected::extensions(&text, &mac, &mut seen);
        assert!(seen.launchd.len() <= bytes.len());
    });
}

#[test]
fn property_lists() {
    use plist::tests::{INFO, binary_list};
    for sample in [INFO.as_bytes().to_vec(), binary_list()] {
        check(&sample, |bytes| {
            if let Ok(values) = plist::read(bytes) {
                let kept: usize = values.iter().map(|(path, value)| path.len() + value.len()).sum();
                assert!(kept <= 64 * 1024 + 40 * bytes.len(), "{kept} of {}", bytes.len());
            }
        });
    }
}

#[test]
fn lists_of_rpm_packages() {
    let wanted = wanted();
    check(b"bash-5.1.8-6.el9.x86_64\nds_agent-20.0.2-1390.ol7.x86_64\n", |bytes| {
        let mut seen = Observations::default();
        collected::packages(&vendor::text(bytes), &wanted, &mut seen);
        assert!(seen.packages.len() <= 1000);
    });
}

#[test]
fn snapshots() {
    let mut seen = Observations { os: Os::Windows, ..Observations::default() };
    seen.paths.insert(r"{x86}\Trend Micro\Security Agent\PccNTMon.exe".into());
    seen.vendor_output.insert(VendorCommand::DsaAgentStatus, "AgentStatus.agentState: green".into());
    seen.registry_values.insert(r"HKLM\SOFTWARE\TrendMicro\x!y".into(), "1".into());
    let text = serde_json::to_vec_pretty(&seen).unwrap();
    let parsed = std::cell::Cell::new(0);
    check(&text, |bytes| {
        if let Ok(snapshot) = snapshot::Snapshot::read(bytes, std::path::Path::new("x")) {
            let mut seen = Observations::default();
            snapshot.look(&Wanted::default(), &mut seen);
            Catalogue::embedded().explain(&seen, jiff::Timestamp::UNIX_EPOCH);
            parsed.set(parsed.get() + 1);
        }
    });
    assert!(parsed.get() > 1, "some damage leaves a snapshot");
    let deep = [br#"{"format":"seatbeat-snapshot/1","os":"#.to_vec(), vec![b'['; 100_000]].concat();
    assert!(snapshot::Snapshot::read(deep.as_slice(), std::path::Path::new("x")).is_err());
}

/// Says the same for ever, and counts what was taken.
struct Endless {
    said: &'static [u8],
    taken: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for byte in buffer.iter_mut() {
            *byte = self.said[usize::try_from(self.taken).unwrap() % self.said.len()];
            self.taken += 1;
        }
        Ok(buffer.len())
    }
}

#[test]
fn what_never_ends_is_read_to_the_limit_and_kept_to_the_limit() {
    for said in [&b"x"[..], b"\0", b"\n", b"Package: ds-agent\nStatus: install ok installed\n\n", b"tm_dsa:"]
    {
        let mut endless = Endless { said, taken: 0 };
        let mut longest = 0;
        lines::for_each(&mut endless, 1 << 20, |line| longest = longest.max(line.len())).unwrap();
        assert!(endless.taken <= 1 << 20 && longest <= lines::LENGTH_MAX, "{} {longest}", endless.taken);
    }
    let said = b"Package: ds-agent\nStatus: install ok installed\nVersion: 1\n\n";
    let mut found = Vec::new();
    dpkg::read(Endless { said, taken: 0 }.take(1 << 20), &wanted(), "", &mut found).unwrap();
    assert_eq!(found.len(), lines::FOUND_MAX);
    let mut endless = Endless { said: b" ", taken: 0 };
    let refused = snapshot::Snapshot::read(&mut endless, std::path::Path::new("x"));
    assert!(refused.is_err() && endless.taken <= snapshot::LENGTH_MAX + 1);
    let many: String = (0..100_000).map(|number| format!("g{number}:x:1:\n")).collect();
    let kept = files::read(many.as_bytes(), b':', &["g*"].into()).unwrap();
    assert_eq!(kept.len(), lines::FOUND_MAX);
    assert!(vendor::text(&vec![0xFF; OUTPUT_LENGTH_MAX]).len() <= 3 * OUTPUT_LENGTH_MAX);
}
