//! A licence is switched off and on again, from the operator's command line to the vendor's program and back to the bill.

use std::fs;
use std::path::Path;

use crate::desk::{Desk, Running, eventually, text};
use crate::standin::inside;

const POLICY: &str = r#"
zone = "UTC"
presume_days = 0
[default_sku]
dsa-cloud = "DS-CLOUD"
[sku.DS-CLOUD]
count = "month_end"
price_group = "server"
[price_group.server]
distributor = "ingram"
currency = "USD"
tiers = [{ from = 1, cost = "3.20" }]
[price.DS-CLOUD]
reseller = "4.00"
"#;

pub const WORDS: &str = "four words are better\n";

/// The vendor's agent as its stand-in keeps it.
const CALLS: &str = "/run/standin/dsa.calls";
const MANAGER: &str = "/run/standin/dsa.manager";

pub struct House {
    pub desk: Desk,
    agent: Option<Running>,
}

impl House {
    /// A customer's machine on which the vendor's agent runs, seen once.
    pub fn open(clock: &str) -> Self {
        let mut desk = Desk::founded_at(Some(clock));
        desk.start();
        let file = |name: &str, content: &str| {
            let path = desk.path(name);
            fs::write(&path, content).expect("a file can be written");
            text(&path).to_owned()
        };
        desk.operator_ok(&["policy", "set", &file("policy.toml", POLICY)]);
        let words = file("words", WORDS);
        let recovery = desk.path("recovery.key");
        let new = ["orders", "key", "new", "--passphrase-file", &words, "--recovery-file", text(&recovery)];
        desk.operator_ok(&[&new[..], &["--recovery-passphrase-file", &words]].concat());
        let token = desk.customer_with_token("cus_acme", "1");
        desk.operator_ok(&["__agent", "--state", text(&desk.path("agent")), "enrol", "--token", &token]);
        let mut house = Self { desk, agent: None };
        house.agent_anew();
        eventually("the machine tells what it can open", || (house.plan()["machines"] == 1).then_some(()));
        house
    }

    fn agent_anew(&mut self) {
        self.agent = None;
        self.agent = Some(self.desk.run_agent(&self.desk.path("agent"), &[]));
    }

    /// Everybody goes on at another time.
    fn at(&mut self, clock: &str) {
        self.agent = None;
        self.desk.kill();
        self.desk.set_clock(clock);
        self.desk.start();
        self.agent_anew();
    }

    fn plan(&self) -> serde_json::Value {
        self.desk.operator_json(&["orders", "off", "--customer", "cus_acme", "--dry-run"])
    }

    fn order(&self, what: &str, more: &[&str]) -> String {
        let words = self.desk.path("words");
        let base = ["orders", what, "--customer", "cus_acme", "--yes", "--passphrase-file", text(&words)];
        let made = self.desk.operator_json(&[&base[..], &["--reason", "they left"], more].concat());
        made["batch"].as_str().expect("a batch has an id").to_owned()
    }

    fn status(&self, batch: &str) -> String {
        let list = self.desk.operator_json(&["orders", "list", "--batch", batch]);
        list["orders"][0]["status"].as_str().expect("an order stands somehow").to_owned()
    }

    fn becomes(&self, batch: &str, status: &str) {
        eventually(&format!("{batch} is {status}"), || (self.status(batch) == status).then_some(()));
    }

    /// Each start is a report.
    fn reports_at(&mut self, clock: &str) {
        self.at(clock);
        eventually("the machine reports", || {
            let page = self.desk.operator_json(&["machines", "list"]);
            let newest = page["machines"][0]["last_report"].as_str()?.to_owned();
            (newest.as_str() >= clock.trim_end_matches('Z')).then_some(())
        });
    }

    /// Two later reports in a row bear it out.
    fn is_confirmed(&mut self, batch: &str, clocks: [&str; 2]) {
        for clock in clocks {
            self.reports_at(clock);
        }
        self.becomes(batch, "confirmed");
    }

    /// Seats on the running month's bill.
    fn seats(&self) -> String {
        let usage = self.desk.operator_json(&["usage", "--period", "2026-10"]);
        usage["rows"][0]["quantity"].as_str().unwrap_or("0").to_owned()
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.desk.path(name);
        fs::write(&path, content).expect("a file can be written");
        text(&path).to_owned()
    }
}

/// Lines of what the vendor's program was told that begin so.
fn told(begin: &str) -> usize {
    let calls = fs::read_to_string(CALLS).unwrap_or_default();
    calls.lines().filter(|line| line.starts_with(begin)).count()
}

#[test]
fn a_licence_is_switched_off_confirmed_not_billed_and_switched_on_again() {
    if !inside("switching::a_licence_is_switched_off_confirmed_not_billed_and_switched_on_again", "dsa") {
        return;
    }
    let mut house = House::open("2026-10-20T09:00:00Z");
    eventually("the seat is counted", || (house.seats() == "1").then_some(()));
    let plan = house.plan();
    assert_eq!(plan["rows"][0]["product"], "dsa-cloud", "{plan:#}");
    assert_eq!(plan["effect"][0]["without"]["quantity"], "1", "{plan:#}");
    assert_eq!(plan["effect"][0]["with"]["quantity"], "0", "{plan:#}");

    fs::write("/run/standin/dsa.password", "open sesame\n").expect("the stand-in has a password");
    let password = house.file("password", "open sesame\n");
    let wrong = house.desk.operator_fails(&[
        "orders",
        "off",
        "--customer",
        "cus_acme",
        "--yes",
        "--passphrase-file",
        &password,
    ]);
    assert!(wrong.contains("the passphrase does not open this key"), "{wrong}");
    assert_eq!(told("-r"), 0, "nothing was ordered");

    let off = house.order("off", &["--password-file", &password]);
    house.becomes(&off, "done");
    assert!(!Path::new(MANAGER).exists(), "it is not activated any more");
    assert_eq!(told("-r"), 1);
    house.is_confirmed(&off, ["2026-10-20T10:00:00Z", "2026-10-20T11:00:00Z"]);
    assert_eq!(house.seats(), "1", "the day of the switch counts");
    house.at("2026-10-21T09:00:00Z");
    eventually("the next day's count is lower", || (house.seats() == "0").then_some(()));
    let secret =
        std::process::Command::new("grep").args(["-raqF", "open sesame"]).arg(house.desk.store()).status();
    assert!(!secret.expect("grep runs").success(), "the password is nowhere in the store");
    assert!(!house.desk.log().contains("open sesame"));

    let token = house.file("token", "TOKEN-1\n");
    let how =
        ["--manager", "dsm://agents-004.workload.us-1.cloudone.trendmicro.com:443/", "--tenant", "TENANT-1"];
    let on = house.order("on", &[&how[..], &["--activation-token-file", &token]].concat());
    house.becomes(&on, "done");
    assert_eq!((told("-a"), told("-r")), (1, 1));
    house.is_confirmed(&on, ["2026-10-21T10:00:00Z", "2026-10-21T11:00:00Z"]);
    eventually("the seat is counted again", || (house.seats() == "1").then_some(()));
    assert_eq!(house.status(&off), "confirmed", "what was is what was");
}

#[test]
fn what_was_cancelled_while_the_machine_was_away_is_never_done() {
    if !inside("switching::what_was_cancelled_while_the_machine_was_away_is_never_done", "dsa") {
        return;
    }
    let mut house = House::open("2026-10-20T09:00:00Z");
    house.agent = None;
    let off = house.order("off", &[]);
    assert_eq!(house.status(&off), "ordered");
    house.desk.operator_ok(&["orders", "cancel", &off]);
    let machine = house.plan()["rows"][0]["machine"].as_str().expect("a machine").to_owned();
    let orders = ["orders", "off", "--machine", &machine, "--yes", "--passphrase-file"];
    let words = house.desk.path("words");
    house.desk.kill();
    house.desk.start();
    house.agent_anew();
    assert_eq!(house.status(&off), "cancelled");
    // The next one for the same product is taken: what was cancelled did not come before it.
    let made = house.desk.operator_json(&[&orders[..], &[text(&words), "--at-once"]].concat());
    let next = made["batch"].as_str().expect("a batch has an id").to_owned();
    house.becomes(&next, "done");
    assert_eq!((told("-r"), house.status(&off).as_str()), (1, "cancelled"));
}

#[test]
fn a_customer_that_leaves_is_switched_off_let_go_and_its_evidence_stays() {
    if !inside("switching::a_customer_that_leaves_is_switched_off_let_go_and_its_evidence_stays", "dsa") {
        return;
    }
    let mut house = House::open("2026-10-20T09:00:00Z");
    let words = house.desk.path("words");
    let leave = ["customers", "offboard", "cus_acme", "--reason", "left", "--yes", "--passphrase-file"];
    let made = house.desk.operator_json(&[&leave[..], &[text(&words)]].concat());
    let batch = made["batch"].as_str().expect("a batch has an id").to_owned();
    house.becomes(&batch, "done");
    let statuses = |house: &House| -> Vec<String> {
        let list = house.desk.operator_json(&["orders", "list", "--batch", &batch]);
        let rows = list["orders"].as_array().expect("a list").iter();
        rows.map(|row| {
            format!("{} {}", row["action"].as_str().unwrap_or(""), row["status"].as_str().unwrap_or(""))
        })
        .collect()
    };
    assert_eq!(
        statuses(&house),
        ["switch off done", "unenrol ordered"],
        "the agent stays until it is confirmed"
    );
    house.reports_at("2026-10-20T10:00:00Z");
    house.reports_at("2026-10-20T11:00:00Z");
    eventually("the agent is let go", || {
        (statuses(&house) == ["switch off confirmed", "unenrol done"]).then_some(())
    });
    let agent = house.desk.path("agent");
    eventually("the agent forgets who it is", || (!agent.join("identity.toml").exists()).then_some(()));
    house.desk.operator_ok(&["licences", "suspended", "cus_acme", "DS-CLOUD", "--receipt", "RMA-1"]);
    let list = house.desk.operator_json(&["orders", "list", "--customer", "cus_acme"]);
    assert!(list["arms"][0]["suspended_since"].is_string(), "{list:#}");
    let tokens = house.desk.operator_json(&["tokens", "list"]);
    assert!(
        tokens["tokens"].as_array().expect("a list").iter().all(|token| token["revoked"] == true),
        "{tokens:#}"
    );
    assert_eq!(house.seats(), "1", "what was used is billed");
}

#[test]
fn a_lost_order_key_is_replaced_by_the_recovery_key_and_machines_follow() {
    if !inside("switching::a_lost_order_key_is_replaced_by_the_recovery_key_and_machines_follow", "dsa") {
        return;
    }
    let house = House::open("2026-10-20T09:00:00Z");
    let path = |name: &str| text(&house.desk.path(name)).to_owned();
    let (words, recovery, key) = (path("words"), path("recovery.key"), path("order.key"));
    let rotate = |signer: &str| {
        let base = ["orders", "key", "rotate", "--lost", signer, "--old-passphrase-file", &words];
        let new = ["--key-file", &key, "--passphrase-file", &words, "--reason", "it was lost"];
        house.desk.operator(&[&base[..], &new].concat())
    };
    let stranger = house.file("stranger.key", "{}");
    assert!(!rotate(&stranger).status.success(), "a file that holds no key signs nothing");
    assert!(rotate(&recovery).status.success());
    let shown = house.desk.operator_json(&["orders", "key", "show"]);
    assert_eq!((&shown["revision"], &shown["kept_by"]), (&2.into(), &"operator".into()), "{shown:#}");

    // The collector keeps no key any more: what is ordered waits for who has it.
    let off = house.order("off", &[]);
    assert_eq!((house.status(&off).as_str(), told("-r")), ("ordered", 0));
    house.desk.operator_ok(&[
        "orders",
        "sign",
        &off,
        "--key-file",
        &key,
        "--passphrase-file",
        &words,
        "--yes",
    ]);
    house.becomes(&off, "done");
    assert_eq!(told("-r"), 1);
}
