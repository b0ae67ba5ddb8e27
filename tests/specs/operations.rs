//! A collector in the hands of who runs it: watched, looked at when something is wrong, reached from elsewhere, backed
//! up, and brought back when its disk is lost. Invariant: real processes, a real service manager's socket.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use seatbeat_fleet::client::{Connection, Door};
use seatbeat_fleet::machine::{Link, Machine};
use seatbeat_fleet::seed::Seed;
use serde_json::Value;

use crate::desk::{Desk, eventually, skip, text};
use crate::reporters::{exported, now, reporter};

const POLICY: &str = "zone = \"UTC\"\n[default_sku]\ndsa-cloud = \"DS\"\n[price.DS]\nreseller = \"4.00\"\n";

const MACHINES: u64 = 3;

/// Longest that a collector hands out the same checkpoint, and a moment.
const CHECKPOINT_AGE: Duration = Duration::from_secs(11);

/// A machine of the fleet, with all it ever signed.
struct Told {
    door: Door,
    machine: Machine,
    links: Vec<Link>,
}

impl Told {
    fn makes(&mut self, count: i64) {
        let began = now().saturating_sub(SignedDuration::from_mins(1)).expect("the clock is past its start");
        let after = i64::try_from(self.links.len()).expect("chains are short");
        for step in 1..=count {
            let at = began.saturating_add(SignedDuration::from_millis(after + step)).expect("a day has room");
            self.links.extend(self.machine.link_at(at));
        }
    }

    async fn sends(&self) {
        let mut connection = Connection::open(&self.door, &self.machine, now()).await.expect("it is let in");
        connection.send_all(&self.links).await.expect("what is left is taken");
        connection.close().await;
    }
}

fn findings(desk: &Desk, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = desk.operator(&[&["doctor", "--json"], arguments].concat());
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let findings: Value = serde_json::from_str(&out)
        .unwrap_or_else(|error| panic!("{error}: {out}\n{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), findings.as_array().expect("findings").clone())
}

/// The errors among them, in words.
fn errors(findings: &[Value]) -> String {
    let bad = findings.iter().filter(|finding| finding["level"] == "error");
    bad.map(|finding| format!("{}: {} → {}\n", finding["check"], finding["what"], finding["todo"])).collect()
}

#[test]
fn a_lost_disk_is_brought_back_and_agents_bring_what_the_backup_lacks() {
    let mut desk = Desk::open();
    let policy = desk.path("policy.toml");
    fs::write(&policy, POLICY).expect("a policy can be written");
    desk.operator_ok(&["policy", "set", text(&policy)]);
    let token = desk.customer_with_token("cus_a", "9");
    let door = Door::of(&token).expect("a token opens a door");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut fleet: Vec<Told> = (0..MACHINES)
        .map(|number| {
            let machine = reporter(&format!("pc-{number}"), &Seed::new(number + 1));
            runtime.block_on(door.enrol(&machine, now())).expect("the token lets it in");
            Told { door: door.clone(), machine, links: Vec::new() }
        })
        .collect();
    let report = |fleet: &mut Vec<Told>, count| {
        for told in fleet {
            told.makes(count);
            runtime.block_on(told.sends());
        }
    };
    let state = desk.path("agent");
    desk.operator_ok(&["__agent", "--state", text(&state), "enrol", "--token", &token]);
    let period = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    let of_the_agent = |desk: &Desk| {
        let known: Vec<String> = fleet_ids(&exported(desk, &period));
        known.len() > MACHINES as usize
    };
    let runs = |desk: &Desk, more: usize| {
        let before = exported(desk, &period).len();
        let agent = desk.run_agent(&state, &[]);
        eventually("the agent's report arrives", || {
            (exported(desk, &period).len() >= before + more).then_some(())
        });
        agent.kill();
    };
    report(&mut fleet, 30);
    runs(&desk, 1);
    assert!(of_the_agent(&desk));

    let backup = desk.path("backup");
    let made = desk.operator_json(&["backup", text(&backup)]);
    let again = desk.operator_fails(&["backup", text(&backup)]);
    assert!(again.contains("is there already") && again.contains("hint:"), "{again}");
    report(&mut fleet, 40);
    runs(&desk, 1);
    // Checkpoints that are handed out are some seconds old.
    std::thread::sleep(CHECKPOINT_AGE);
    runs(&desk, 1);
    let (known, usage) = (exported(&desk, &period), desk.operator_json(&["usage"])["rows"].clone());
    assert_eq!(usage[0]["quantity"], "3", "{usage:#}");
    desk.kill();
    fs::remove_dir_all(desk.store()).expect("a disk can be lost");

    let store = desk.store();
    let without = desk.operator(&["restore", text(&backup), "--store", text(&store), "--reason", "x"]);
    assert_eq!(without.status.code(), Some(2), "a restored collector begins a new epoch");
    let witnessed = state.join("checkpoint");
    let restore =
        ["restore", text(&backup), "--store", text(&store), "--new-epoch", "--reason", "the disk failed"];
    let restored = desk.operator_json(&[&restore[..], &["--witnessed", text(&witnessed)]].concat());
    assert_eq!(restored["records"], made["records"]);
    assert_eq!(restored["epoch"], 1);
    let last = restored["unreached"]["size"].as_u64().expect("the agent has seen more than the backup holds");
    assert!(last > made["records"].as_u64().expect("a number"), "{restored:#}");

    desk.start();
    assert!(exported(&desk, &period).len() < known.len(), "the backup is of before");
    for told in &fleet {
        runtime.block_on(told.sends());
    }
    runs(&desk, 3);
    let now_known = exported(&desk, &period);
    for (place, times) in &known {
        assert_eq!(now_known.get(place), Some(times), "{place:?} is there again, once");
    }
    assert_eq!(desk.operator_json(&["usage"])["rows"], usage, "the month counts as if nothing had been lost");
    let status = desk.operator_json(&["status"]);
    let told = status["alarms"].to_string();
    assert!(
        told.contains("cannot reach its own checkpoint") && told.contains(&format!("record {last}")),
        "{told}"
    );
    for machine in desk.operator_json(&["machines", "list"])["machines"].as_array().expect("machines") {
        let id = machine["machine"].as_str().expect("an id");
        assert_eq!(desk.operator_json(&["machines", "show", id])["flags"], serde_json::json!([]), "no fork");
    }
}

fn fleet_ids(places: &std::collections::BTreeMap<(String, u64), u32>) -> Vec<String> {
    let mut ids: Vec<String> = places.keys().map(|(machine, _)| machine.clone()).collect();
    ids.dedup();
    ids
}

#[test]
fn a_doctor_finds_what_is_wrong_running_or_not_and_an_offline_backup_is_one() {
    let mut desk = Desk::open();
    let store = desk.store();
    let (code, found) = findings(&desk, &["--store", text(&store)]);
    assert_eq!((code, errors(&found)), (Some(0), String::new()));
    for check in ["readiness", "lookup", "vault", "clock", "journal", "disk", "keys", "collector"] {
        assert!(found.iter().any(|one| one["check"] == check), "{check} in {found:#?}");
    }
    assert!(desk.stop());
    let (code, found) = findings(&desk, &["--store", text(&store)]);
    assert_eq!((code, errors(&found)), (Some(0), String::new()));
    let backup = desk.path("backup");
    let made = desk.operator_json(&["backup", text(&backup), "--store", text(&store)]);
    assert!(made["records"].as_u64() >= Some(3), "{made:#}");

    let key = store.join("vault/vault.key");
    fs::rename(&key, desk.path("aside")).expect("a key can be lost");
    let (code, found) = findings(&desk, &["--store", text(&store)]);
    let told = errors(&found);
    assert_eq!(code, Some(1));
    assert!(told.contains("vault.key") && told.contains("missing") && told.contains("restore it"), "{told}");
    let refused = desk.operator_fails(&["serve", "--store", text(&store)]);
    assert!(refused.contains("vault.key") && refused.contains("hint: restore"), "{refused}");
    fs::copy(backup.join("vault/vault.key"), &key).expect("a backup has it");
    desk.start();
    let (code, _) = findings(&desk, &["--store", text(&store)]);
    assert_eq!(code, Some(0));
}

#[test]
fn a_used_up_disk_is_told_by_doctor_and_readiness() {
    let mut desk = Desk::founded();
    let Some(disk) = desk.start_on_small_disk(8 * 1024 * 1024) else {
        skip("user namespaces", "unshare, from util-linux");
        return;
    };
    let (code, found) = findings(&desk, &["--store", text(&disk)]);
    let told = errors(&found);
    assert_eq!(code, Some(1));
    assert!(told.contains("used up") && told.contains("free some space"), "{told}");
    assert!(told.contains("readiness"), "the collector says so itself: {told}");
}

/// A certificate for this machine, and its key, as files.
fn certificate(folder: &Path) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key can be made");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let parameters = rcgen::CertificateParams::new(names).expect("names");
    let certificate = parameters.self_signed(&pair).expect("a certificate can be made");
    fs::write(folder.join("door.pem"), certificate.pem()).expect("a file can be written");
    fs::write(folder.join("door.key"), pair.serialize_pem()).expect("a file can be written");
}

#[test]
fn operators_come_from_elsewhere_over_tls_and_systemd_hears_how_it_goes() {
    let mut desk = Desk::founded();
    let (store, profile) = (desk.store(), desk.path("operator.toml"));
    certificate(&store);
    let config = store.join("seatbeat.toml");
    let plain = fs::read_to_string(&config).expect("a configuration");
    let open = plain.replacen("operator_listen = \"127.0.0.1:", "operator_listen = \"0.0.0.0:", 1);
    fs::write(&config, &open).expect("a file can be written");
    let refused = desk.operator_fails(&["serve", "--store", text(&store)]);
    assert!(refused.contains("operator_listen") && refused.contains("operator_certificate"), "{refused}");
    fs::write(&config, format!("operator_certificate = \"door.pem\"\noperator_key = \"door.key\"\n{open}"))
        .expect("a file can be written");
    let known = fs::read_to_string(&profile).expect("a profile");
    let secure = known.replacen("address = \"127.0.0.1:", "address = \"https://localhost:", 1);
    fs::write(&profile, format!("ca = \"store/door.pem\"\n{secure}")).expect("a file can be written");

    let socket = desk.path("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket can be made");
    manager.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket has a patience");
    let serve = ["serve", "--store", text(&store), "--log-format", "json"];
    let environment = [
        ("NOTIFY_SOCKET", text(&socket)),
        ("WATCHDOG_USEC", "1000000"),
        ("SEATBEAT_LOG", "info,seatbeat_collector=debug"),
    ];
    desk.start_with(&serve, &environment);
    let mut heard = String::new();
    let mut listen = |until: &dyn Fn(&str) -> bool| {
        while !until(&heard) {
            let mut buffer = [0; 4096];
            let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{error} after {heard}"));
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
            heard.push('\n');
        }
    };
    listen(&|heard| heard.contains("READY=1"));
    listen(&|heard| heard.matches("WATCHDOG=1").count() >= 2 && heard.contains("machines connected"));

    desk.operator_ok(&["customers", "add", "Over TLS", "--id", "cus_tls"]);
    fs::write(&profile, &secure).expect("a file can be written");
    let stranger = desk.operator_fails(&["status"]);
    assert!(stranger.contains("certificate") && stranger.contains("--ca"), "{stranger}");
    desk.operator_ok(&["status", "--ca", text(&store.join("door.pem"))]);
    let clear = secure.replacen("https://localhost:", "collector.example:", 1);
    fs::write(&profile, clear).expect("a file can be written");
    let clear = desk.operator_fails(&["status"]);
    assert!(clear.contains("for everybody to read") && clear.contains("https://"), "{clear}");

    assert!(desk.stop());
    listen(&|heard| heard.contains("STOPPING=1"));
    let lines = desk.log();
    let first: Value = serde_json::from_str(lines.lines().next().expect("something is logged"))
        .unwrap_or_else(|error| panic!("{error}: {lines}"));
    assert!(first["level"].is_string() && first["timestamp"].is_string(), "{first}");
    assert!(!lines.contains("sbo1."), "no token is logged");
}

#[test]
fn whatever_ends_a_process_its_keys_go_into_no_core_file() {
    let desk = Desk::open();
    let state = desk.path("agent");
    let token = desk.customer_with_token("cus_a", "1");
    let enrol = ["__agent", "--state", text(&state), "enrol", "--token", &token];
    assert!(desk.command(&enrol).status().expect("the program starts").success());
    let agent = desk.run_agent(&state, &[]);
    for pid in [desk.pid(), agent.pid()] {
        eventually("both limits are nothing", || {
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
            let core = limits.lines().find(|line| line.starts_with("Max core file size"))?;
            core.split_whitespace().skip(4).take(2).eq(["0", "0"]).then_some(())
        });
    }
}
