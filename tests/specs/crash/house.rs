//! A whole house behind a crash: programs as they go out are recorded from `init` to a sealed month, and the store and the
//! agent's folder that a power cut may have left are opened. Invariant: what the programs themselves said was done is the
//! measure, told at the moment when they said it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use seatbeat_agent::identity::Identity;
use seatbeat_agent::spool::Spool;
use seatbeat_agent::spool::disk::RealDisk;
use seatbeat_agent::state::StateFolder;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::found::{FoundError, found, opened_by};
use seatbeat_fleet::client::{Connection, Door};
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::wire::JournalRecord;
use seatbeat_proto::wire::journal_record::Fact;
use tokio::runtime::Runtime;

use crate::desk::{Desk, eventually, text};
use crate::months::{OCTOBER, instant, policy, restart_at};
use crate::reporters::reporter;

use super::books::{Facts, Opened, open, places};
use super::check;
use super::trace::Stage;

const REPORTS: [&str; 8] = [
    "2026-10-19T08:00:00Z",
    "2026-10-19T09:00:00Z",
    "2026-10-19T10:00:00Z",
    "2026-10-19T11:00:00Z",
    "2026-10-20T08:00:00Z",
    "2026-10-20T08:10:00Z",
    "2026-10-20T08:20:00Z",
    "2026-10-20T08:30:00Z",
];

/// From `init` to a sealed month; each word that is marked was said by a program that had done it.
fn work(stage: &Stage) {
    let mut desk = Desk::unfounded();
    // The folder that all of it is in is the test's own.
    fs::File::open(stage.folder()).and_then(|folder| folder.sync_all()).expect("a folder can be synced");
    desk.set_clock(OCTOBER);
    desk.found(&[]);
    stage.mark("founded");
    desk.start();
    let file = desk.path("policy.toml");
    fs::write(&file, policy(0)).expect("a policy can be written");
    desk.operator_ok(&["policy", "set", text(&file)]);
    stage.mark("policy");
    let token = desk.customer_with_token("cus_a", "8");
    stage.mark("customer cus_a");

    let state = desk.path("agent");
    desk.operator_ok(&["__agent", "--state", text(&state), "enrol", "--token", &token]);
    stage.mark("enrolled");
    let agent = desk.run_agent(&state, &[]);
    let known =
        || desk.operator_json(&["machines", "list"])["machines"][0]["machine"].as_str().map(str::to_owned);
    let machine = known().expect("the agent is enrolled");
    eventually("the agent's report arrives", || {
        let spools = desk.operator_json(&["machines", "show", &machine])["spools"].clone();
        spools[0]["sequence"].as_u64().filter(|sequence| *sequence > 0)
    });
    agent.kill();

    let runtime = Runtime::new().expect("a runtime starts");
    let door = Door::of(&token).expect("a token opens a door");
    let mut simulated = ["one", "two"].map(|name| reporter(name, &Seed::new(5)));
    for machine in &simulated {
        runtime.block_on(door.enrol(machine, instant(OCTOBER))).expect("the token lets it in");
    }
    for (number, at) in REPORTS.iter().enumerate() {
        let customer = format!("cus_{number}");
        for machine in &mut simulated {
            runtime.block_on(async {
                let mut connection =
                    Connection::open(&door, machine, instant(OCTOBER)).await.expect("it runs");
                let link = machine.link_at(instant(at)).expect("there is something to report");
                connection.send(&link).await.expect("it is taken");
                connection.wait_acked(link.tip.sequence).await.expect("it is acknowledged");
                stage.mark(&format!("report {} {} {}", machine.id(), machine.spool(), link.tip.sequence));
                connection.close().await;
            });
        }
        desk.operator_ok(&["customers", "add", &format!("Customer {number}"), "--id", &customer]);
        stage.mark(&format!("customer {customer}"));
        if number == 3 {
            restart_at(&mut desk, "2026-10-20T10:00:00Z");
        }
    }
    restart_at(&mut desk, "2026-11-04T12:00:00Z");
    desk.operator_ok(&["statement", "close", "2026-10"]);
    stage.mark("sealed");
    assert!(desk.stop(), "{}", desk.log());
    stage.mark("closed");
}

/// The folder that the desk had.
pub fn desk_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("store").exists() || path.join("agent").exists())
}

/// `init` had not said that it is done: whoever says it again has books founded (true), or finds some.
fn begun_anew(store: &Path) -> Result<bool, String> {
    match self::found(store, &Config::default(), "zone = \"UTC\"", Clock::real()) {
        Ok(_) => Ok(true),
        Err(FoundError::Founded(_)) => Ok(false),
        Err(error) => Err(format!("init does not begin anew: {error}")),
    }
}

/// Whether one of these files has the token that opens the store.
fn let_in(desk: &Path, profiles: &[&str]) -> Result<(), String> {
    let opens = |profile: &&str| {
        let text = fs::read_to_string(desk.join(profile)).ok()?;
        let known = text.parse::<toml::Table>().ok()?;
        opened_by(&desk.join("store"), known.get("token")?.as_str()?).ok()?
    };
    if profiles.iter().any(|profile| opens(profile).is_some()) {
        Ok(())
    } else {
        Err(format!("no operator gets in: none of {profiles:?} opens the store"))
    }
}

fn facts_of(facts: &Facts) -> Vec<Fact> {
    let read = |record: &Vec<u8>| JournalRecord::decode(record.as_slice()).expect("a record is one").fact;
    facts.records.iter().filter_map(read).collect()
}

/// What of the marks does not hold.
fn missing(facts: &Facts, marks: &[&str]) -> Result<(), String> {
    let (records, places) = (facts_of(facts), places(&facts.records));
    if let Some((place, times)) = places.iter().find(|(_, times)| **times != 1) {
        return Err(format!("{place:?} is there {times} times"));
    }
    let customers: BTreeSet<&str> = records
        .iter()
        .filter_map(
            |fact| if let Fact::CustomerAdded(added) = fact { Some(added.customer.as_str()) } else { None },
        )
        .collect();
    let is_named = |customer: &str| {
        let row = format!("customer-name/{customer}");
        facts.vault.iter().any(|(name, _)| name == row.as_bytes())
    };
    for mark in marks {
        let words: Vec<&str> = mark.split(' ').collect();
        let holds = match words.as_slice() {
            ["policy"] => records.iter().filter(|fact| matches!(fact, Fact::PolicySet(_))).count() == 2,
            ["customer", customer] => customers.contains(customer) && is_named(customer),
            ["report", machine, spool, sequence] => {
                let sequence = sequence.parse().expect("a number");
                places.contains_key(&((*machine).to_owned(), (*spool).to_owned(), sequence))
            }
            ["sealed"] => records.iter().any(|fact| matches!(fact, Fact::StatementSealed(_))),
            _ => true,
        };
        if !holds {
            return Err(format!("`{mark}` was said, and is not so"));
        }
    }
    Ok(())
}

/// The agent is who it was, and has all that the collector has of it.
fn agent_holds(state: PathBuf, facts: &Facts) -> Result<(), String> {
    let state = StateFolder::at(state);
    let identity = Identity::load(&state).map_err(|error| error.to_string())?;
    let key = state.key().map_err(|error| error.to_string())?;
    let opened = Spool::open(&state.spool(), Box::new(RealDisk), &identity.machine, &key);
    let chain = opened.map_err(|error| error.to_string())?.spool.chain().clone();
    let held = places(&facts.records)
        .into_keys()
        .filter(|(machine, spool, _)| machine == identity.machine.as_str() && spool == chain.spool().as_str())
        .map(|(_, _, sequence)| sequence);
    let held = held.max().unwrap_or(0);
    if held > chain.tip() {
        Err(format!("the collector holds {held}, the spool ends at {}", chain.tip()))
    } else {
        Ok(())
    }
}

#[test]
fn a_house_has_all_that_was_said_to_be_done_behind_any_crash() {
    let runtime = Runtime::new().expect("a runtime starts");
    check("crash::house::a_house_has_all_that_was_said_to_be_done_behind_any_crash", 120, work, |found| {
        let Some(desk) = desk_in(found.folder) else {
            return if found.marks.is_empty() {
                Ok("not begun")
            } else {
                Err("the store is gone".to_owned())
            };
        };
        let store = desk.join("store");
        if found.marks.is_empty() {
            begun_anew(&store)?;
        }
        let facts = match open(&store, &runtime) {
            Opened::Says(facts) => facts,
            Opened::Refused(words) if found.crash.is_out_of_order() && words.contains(text(&store)) => {
                return Ok("refused");
            }
            other => return Err(format!("{other:?}")),
        };
        missing(&facts, &found.marks)?;
        if found.marks.contains(&"enrolled") {
            agent_holds(desk.join("agent"), &facts)?;
        }
        Ok(if found.marks.is_empty() { "begun anew" } else { "whole" })
    });
}

#[test]
fn a_house_that_was_founded_lets_its_first_operator_in_behind_any_crash() {
    let work = |stage: &Stage| {
        let desk = Desk::unfounded();
        fs::File::open(stage.folder()).and_then(|folder| folder.sync_all()).expect("a folder can be synced");
        desk.found(&[]);
        stage.mark("founded");
    };
    let test = "crash::house::a_house_that_was_founded_lets_its_first_operator_in_behind_any_crash";
    check(test, 400, work, |found| {
        let is_founded = !found.marks.is_empty();
        let desk = match desk_in(found.folder) {
            Some(desk) => desk,
            None if is_founded => return Err("the store is gone".to_owned()),
            None => return Ok("not begun"),
        };
        if !is_founded && begun_anew(&desk.join("store"))? {
            return Ok("begun anew");
        }
        // Who was not told yet says it again, which goes on with what waits beside the profile's place.
        let profiles = ["operator.toml", "operator.toml.new"];
        let_in(&desk, if is_founded { &profiles[..1] } else { &profiles })?;
        Ok("founded")
    });
}
