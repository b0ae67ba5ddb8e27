//! A newer catalogue, from its maker's key to a product that agents did not know before, through real processes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use seatbeat_proto::catalogue::Catalogue;
use serde_json::Value;

use crate::desk::{Desk, eventually, text};

const BUILT_IN: &str = include_str!("../../proto/catalogue/trend-micro.toml");

/// A product that the built-in catalogue does not know, on a system that has its package.
const PRODUCT: &str = r#"
[[product]]
id = "next-agent"
name = "The agent after the next"
count = "device"
sku = "NEXT"
signals = [{ os = "linux", kind = "deb", match = "next-agent", role = "identify", source = "a fixture" }]
version = [{ package = "next-agent" }]
[product.active.linux]
seen = { os = "linux", kind = "deb", match = "next-agent" }
"#;

const STATUS: &str = "\
Package: next-agent
Status: install ok installed
Version: 3.1.4
Architecture: amd64
";

/// The built-in catalogue as a newer version that knows one more product.
fn newer(version: u32) -> String {
    let built_in = format!("version = {}\n", Catalogue::EMBEDDED_VERSION);
    assert!(BUILT_IN.contains(&built_in), "the catalogue names its version");
    BUILT_IN.replacen(&built_in, &format!("version = {version}\n"), 1) + PRODUCT
}

/// A maker's desk beside a reseller's.
struct House {
    desk: Desk,
    release_key: String,
}

impl House {
    fn open() -> Self {
        let desk = Desk::open();
        let made = desk.operator_json(&["catalogue", "keygen", text(&desk.path("release.key"))]);
        let release_key = made["public_key"].as_str().expect("a key").to_owned();
        let dpkg = desk.path("root/var/lib/dpkg");
        fs::create_dir_all(&dpkg).expect("a folder can be made");
        fs::write(dpkg.join("status"), STATUS).expect("a file can be written");
        Self { desk, release_key }
    }

    fn signed(&self, name: &str, catalogue: &str, key: &str) -> PathBuf {
        let (file, signed) = (self.desk.path(&format!("{name}.toml")), self.desk.path(name));
        fs::write(&file, catalogue).expect("a file can be written");
        let key = self.desk.path(key);
        self.desk.operator_ok(&[
            "catalogue",
            "sign",
            text(&file),
            "--key",
            text(&key),
            "--to",
            text(&signed),
        ]);
        signed
    }

    /// An enrolled agent; trusted is whoever signs catalogues for it.
    fn agent(&self, name: &str, token: &str, trusted: Option<&str>) -> PathBuf {
        let state = self.desk.path(name);
        self.desk.operator_ok(&["__agent", "--state", text(&state), "enrol", "--token", token]);
        if let Some(key) = trusted {
            let config = state.join("agent.toml");
            fs::write(&config, format!("release_key = \"{key}\"\n")).expect("a file can be written");
            fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("a mode can be set");
        }
        state
    }

    fn push(&self, file: &Path) -> Value {
        let key = self.release_key.as_str();
        self.desk.operator_json(&["catalogue", "push", text(file), "--key", key, "--reason", "new agent"])
    }

    fn status(&self, state: &Path) -> Value {
        self.desk.operator_json(&["__agent", "--state", text(state), "status"])
    }

    /// Versions of the catalogue and products that the machine's newest report names.
    fn shown(&self, state: &Path) -> (u64, Vec<String>) {
        let machine = self.status(state)["machine"].as_str().expect("an id").to_owned();
        let detail = self.desk.operator_json(&["machines", "show", &machine]);
        let products = detail["products"].as_array().cloned().unwrap_or_default();
        let names = products.iter().filter_map(|found| Some(found["product"].as_str()?.to_owned()));
        (detail["catalogue_version"].as_u64().expect("a number"), names.collect())
    }
}

#[test]
fn a_pushed_catalogue_lets_agents_find_what_they_did_not_know_and_outlives_a_restart() {
    let mut house = House::open();
    let token = house.desk.customer_with_token("cus_acme", "5");
    let root = house.desk.path("root");
    let scope = ["--root", text(&root)];
    let trusting = house.agent("trusting", &token, Some(&house.release_key));
    let alone = house.agent("alone", &token, None);
    let (running, other) = (house.desk.run_agent(&trusting, &scope), house.desk.run_agent(&alone, &scope));
    let built_in = u64::from(Catalogue::EMBEDDED_VERSION);
    for state in [&trusting, &alone] {
        let first = eventually("a first report", || Some(house.shown(state)).filter(|(at, _)| *at > 0));
        assert_eq!(first, (built_in, vec![]));
    }

    let version = Catalogue::EMBEDDED_VERSION + 1;
    let pushed = house.push(&house.signed("newer", &newer(version), "release.key"));
    assert_eq!(pushed["version"], version);
    let found = (u64::from(version), vec!["next-agent".to_owned()]);
    eventually("the new product is reported", || (house.shown(&trusting) == found).then_some(()));
    let status = &house.status(&trusting)["catalogue"];
    assert_eq!((&status["version"], &status["pushed"]), (&Value::from(version), &Value::from(true)));
    let refused = eventually("the other agent says why not", || {
        house.status(&alone)["catalogue"]["refused"]["what"].as_str().map(str::to_owned)
    });
    assert!(refused.contains("trusts no release key"), "{refused}");
    let checked = house.desk.operator(&["__agent", "--state", text(&alone), "check"]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains("catalogue") && checked.contains("trusts no release key"), "{checked}");
    drop(other);

    let shown = house.desk.operator_json(&["catalogue", "show"]);
    assert_eq!(shown["pushed"]["version"], version, "{shown:#}");
    assert_eq!(shown["pushed"]["reason"], "new agent");
    assert!(shown["pushed"]["operator"].as_str().is_some_and(|who| who.starts_with("opr_")), "{shown:#}");
    let uses: Vec<_> =
        shown["in_use"].as_array().expect("a list").iter().map(|one| &one["version"]).collect();
    assert_eq!(uses, [&Value::from(built_in), &Value::from(version)]);

    // Collector and agent start again: it is on record here, and on disk there.
    running.kill();
    assert!(house.desk.stop(), "{}", house.desk.log());
    let offline = house.desk.run_agent(&trusting, &scope);
    eventually("the agent still uses it", || {
        let status = house.status(&trusting);
        let uses = status["catalogue"]["version"] == version;
        let finds = status["last_report"]["products"][0]["product"] == "next-agent";
        (uses && finds && status["running"] == true).then_some(())
    });
    drop(offline);
    house.desk.start();
    assert_eq!(house.desk.operator_json(&["catalogue", "show"])["pushed"]["version"], version);

    // What was kept and is damaged gives way to the built-in one.
    let kept = trusting.join("catalogue.signed");
    let mut bytes = fs::read(&kept).expect("it is kept");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept, bytes).expect("a file can be written");
    let checked = house.desk.operator(&["__agent", "--state", text(&trusting), "check"]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.contains(&format!("version {built_in}, built in; the pushed catalogue is not used")),
        "{checked}"
    );
    let again = house.desk.run_agent(&trusting, &scope);
    eventually("it is sent again", || {
        (house.status(&trusting)["catalogue"]["version"] == version && house.shown(&trusting) == found)
            .then_some(())
    });
    drop(again);
}

#[test]
fn a_catalogue_that_is_forged_older_too_long_or_unknown_is_refused_with_the_reason() {
    let house = House::open();
    let desk = &house.desk;
    let check = |arguments: &[&str], words: &str| {
        let said = desk.operator_fails(arguments);
        assert!(said.contains("error: ") && said.contains(words), "`{words}` is not in:\n{said}");
    };
    let version = Catalogue::EMBEDDED_VERSION;
    let good = house.signed("good", &newer(version + 2), "release.key");
    desk.operator_ok(&["catalogue", "keygen", text(&desk.path("other.key"))]);
    check(&["catalogue", "keygen", text(&desk.path("other.key"))], "other.key` is there already");
    let forged = house.signed("forged", &newer(version + 3), "other.key");
    let key = house.release_key.as_str();
    check(
        &["catalogue", "push", text(&forged), "--key", key],
        "the signature does not belong to these bytes",
    );
    check(
        &["catalogue", "show", text(&forged), "--key", key],
        "the signature does not belong to these bytes",
    );
    house.push(&good);
    let older = house.signed("older", &newer(version + 1), "release.key");
    check(
        &["catalogue", "push", text(&older), "--key", key],
        &format!("the catalogue is version {}, and version {} is in use", version + 1, version + 2),
    );
    let long = desk.path("long.toml");
    fs::write(&long, newer(9) + &"#".repeat(256 * 1024)).expect("a file can be written");
    let (secret, to) = (desk.path("release.key"), desk.path("long"));
    check(
        &["catalogue", "sign", text(&long), "--key", text(&secret), "--to", text(&to)],
        "longer than a catalogue",
    );
    let odd = desk.path("odd.toml");
    fs::write(
        &odd,
        newer(9).replace("\nid = \"next-agent\"", "\nid = \"next-agent\"\nactions = \"format-disk\""),
    )
    .expect("a file can be written");
    check(&["catalogue", "sign", text(&odd), "--key", text(&secret), "--to", text(&to)], "format-disk");
    check(&["catalogue", "push", text(&odd), "--key", key], "is no signed catalogue");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("a mode can be set");
    check(
        &[
            "catalogue",
            "sign",
            text(&odd.with_file_name("good.toml")),
            "--key",
            text(&secret),
            "--to",
            text(&to),
        ],
        "can be read by others",
    );
    assert_eq!(desk.operator_json(&["catalogue", "show"])["pushed"]["version"], version + 2);

    // An agent of another maker is offered it, and says why it goes on with its own.
    let token = desk.customer_with_token("cus_acme", "1");
    let public = desk.operator_json(&["catalogue", "keygen", text(&desk.path("third.key"))]);
    let state = house.agent("agent", &token, public["public_key"].as_str());
    let root = desk.path("root");
    let agent = desk.run_agent(&state, &["--root", text(&root)]);
    let refused = eventually("the agent says why not", || {
        house.status(&state)["catalogue"]["refused"]["what"].as_str().map(str::to_owned)
    });
    assert!(refused.contains("the signature does not belong to these bytes"), "{refused}");
    drop(agent);
}
