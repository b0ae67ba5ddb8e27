//! A reseller's October for tests: one product with a price, machines that report at named instants, and a collector
//! that is started again at another time or with another configuration.

use std::fs;

use jiff::Timestamp;
use seatbeat_fleet::client::{Connection, Door};
use seatbeat_fleet::machine::Machine;

use crate::desk::{Desk, text};

pub const OCTOBER: &str = "2026-10-20T09:00:00Z";

pub fn policy(presume_days: u32) -> String {
    format!(
        r#"
zone = "UTC"
presume_days = {presume_days}
[default_sku]
dsa-cloud = "DS-CLOUD"
[sku.DS-CLOUD]
price_group = "server"
[price_group.server]
distributor = "ingram"
currency = "USD"
tiers = [{{ from = 1, cost = "3.20" }}]
"#
    )
}

pub fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// A running collector with a policy, a customer `cus_a` and a token for so many machines.
pub fn desk_in_october(presume_days: u32, machines: &str) -> (Desk, Door) {
    let mut desk = Desk::founded_at(Some(OCTOBER));
    desk.start();
    let file = desk.path("policy.toml");
    fs::write(&file, policy(presume_days)).expect("a policy can be written");
    desk.operator_ok(&["policy", "set", text(&file)]);
    let door = Door::of(&desk.customer_with_token("cus_a", machines)).expect("a token opens a door");
    (desk, door)
}

/// Lets a machine report at each of these instants, as of `now`.
pub async fn report(door: &Door, machine: &mut Machine, now: &str, at: &[&str]) {
    let links: Vec<_> = at.iter().filter_map(|at| machine.link_at(instant(at))).collect();
    let mut connection = Connection::open(door, machine, instant(now)).await.expect("the collector runs");
    for link in &links {
        connection.send(link).await.expect("it is taken");
    }
    connection.wait_acked(links.last().expect("a link").tip.sequence).await.expect("it is acknowledged");
    connection.close().await;
}

/// Starts the collector again as of another time.
pub fn restart_at(desk: &mut Desk, clock: &str) {
    assert!(desk.stop(), "{}", desk.log());
    desk.set_clock(clock);
    desk.start();
}

/// Sets a value of the configuration: for the next start.
pub fn configure(desk: &Desk, key: &str, value: &str) {
    let path = desk.store().join("seatbeat.toml");
    let before = fs::read_to_string(&path).expect("a configuration");
    let set = |line: &str| {
        let is_it = line.split('=').next().is_some_and(|name| name.trim() == key);
        if is_it { format!("{key} = {value}") } else { line.to_owned() }
    };
    let after: Vec<String> = before.lines().map(set).collect();
    assert_ne!(before.lines().collect::<Vec<_>>(), after, "`{key}` is not in the configuration");
    fs::write(&path, after.join("\n")).expect("it can be written");
}

/// Where each statement stands: month, distributor and state.
pub fn states(desk: &Desk) -> Vec<[String; 3]> {
    let list = desk.operator_json(&["statement", "list"]);
    let text = |one: &serde_json::Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let standing = |one| ["period", "distributor", "state"].map(|field| text(one, field));
    list["statements"].as_array().expect("a list").iter().map(standing).collect()
}
