//! Kill -9 under load: what was acknowledged is there, and nothing is there twice.

use std::process::Stdio;
use std::time::Duration;

use seatbeat_collector::found::opened_by;
use seatbeat_fleet::client::Door;
use seatbeat_fleet::seed::Seed;

use crate::desk::{Desk, eventually, say, text};
use crate::reporters::{Fleet, Reporting, exported};

const MACHINES: usize = 8;
/// Inits that are killed, each so much later than the one before.
const KILLED_INITS: u64 = 16;
const INIT_STEP_MS: u64 = 10;
const KILLS_DEFAULT: u64 = 20;
/// Longest time between two kills.
const UPTIME_MS_MAX: u64 = 400;

/// A number from the environment, so that a run can be repeated or be longer.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_counted_twice_when_the_collector_is_killed() {
    let (seed_number, kills) = (setting("SEATBEAT_SEED", 1), setting("SEATBEAT_KILLS", KILLS_DEFAULT));
    say(&format!("SEATBEAT_SEED={seed_number}"));
    let mut seed = Seed::new(seed_number);
    let mut desk = Desk::open();
    let door = Door::of(&desk.customer_with_token("cus_a", "8")).expect("a token opens a door");
    let fleet = Fleet::report(Reporting::to(vec![door], usize::MAX), MACHINES, &seed);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(20 + seed.below(UPTIME_MS_MAX)));
        desk.kill();
        desk.start();
    }
    std::thread::sleep(Duration::from_millis(300));
    let expected = fleet.stop();
    say(&format!("{} reports, {kills} kills", expected.len()));
    let period = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    assert_eq!(exported(&desk, &period), expected);
    desk.kill();
    desk.start();
    assert_eq!(exported(&desk, &period), expected, "after another start");
}

#[test]
fn an_init_that_is_killed_is_begun_anew_or_finished_by_the_next() {
    let desk = Desk::founded();
    for run in 0..KILLED_INITS {
        let (store, profile) = (desk.path(&format!("store-{run}")), desk.path(&format!("{run}.toml")));
        let doors = ["--agent-listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0"];
        let init = [&["--profile", text(&profile), "init", "--store", text(&store)], &doors[..]].concat();
        let mut first = desk
            .command(&init)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(run * INIT_STEP_MS));
        first.kill().expect("a child can be killed");
        first.wait().expect("a child can be waited for");
        if !profile.exists() {
            desk.operator_ok(&init);
        }
        let known: toml::Table =
            std::fs::read_to_string(&profile).expect("a profile").parse().expect("a profile is TOML");
        let token = known["token"].as_str().expect("a profile has a token");
        let opened = opened_by(&store, token).expect("the store can be read");
        assert!(opened.is_some(), "after {} ms the profile opens nothing", run * INIT_STEP_MS);
    }
}

#[test]
fn an_agent_that_is_killed_goes_on_with_its_chain() {
    let desk = Desk::open();
    let token = desk.customer_with_token("cus_a", "1");
    let state = desk.path("agent");
    desk.operator_ok(&["__agent", "--state", text(&state), "enrol", "--token", &token]);
    let machine = desk.operator_json(&["machines", "list"])["machines"][0]["machine"]
        .as_str()
        .expect("the agent is enrolled")
        .to_owned();
    let sequence = |desk: &Desk| {
        let detail = desk.operator_json(&["machines", "show", &machine]);
        let spools = detail["spools"].as_array().expect("chains").clone();
        assert!(spools.len() <= 1, "the chain was broken: {spools:?}");
        spools.first().and_then(|spool| spool["sequence"].as_u64()).unwrap_or(0)
    };
    for run in 1..=setting("SEATBEAT_KILLS", KILLS_DEFAULT) {
        let agent = desk.run_agent(&state, &[]);
        // Each start makes a report.
        eventually("the agent's report arrives", || (sequence(&desk) >= run).then_some(()));
        agent.kill();
    }
    let flags = desk.operator_json(&["machines", "show", &machine])["flags"].clone();
    assert_eq!(flags, serde_json::json!([]));
}
