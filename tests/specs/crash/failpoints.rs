//! Processes that are killed at one of their acts, or for which that act fails: strace does it from outside, so that it is
//! the program that goes out. Invariant: an act is chosen by a seed; what was acknowledged by then is there after the next
//! start, and once.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use seatbeat_fleet::client::Door;
use seatbeat_fleet::seed::Seed;

use crate::desk::{Desk, PROGRAM, eventually, say, text};
use crate::kill::setting;
use crate::reporters::{Fleet, Reporting, exported};

use super::trace::can_trace;

const FAILPOINTS_DEFAULT: u64 = 20;

/// Of so many failpoints one is an agent's.
const AGENT_SHARE: u64 = 4;

/// Failpoints of one store, then there is another: a machine's chain has an end.
const FAILPOINTS_OF_STORE: u64 = 40;

/// Failpoints of one machine: an agent makes no more than 200 reports a day that are not due.
const FAILPOINTS_OF_MACHINE: u64 = 25;

const MACHINES: usize = 3;

/// The signal's number.
const KILLED: i32 = 9;

/// How long a collector runs before it is asked to end in order, which has failpoints of its own.
const UPTIME: Duration = Duration::from_millis(400);
const ENDING: Duration = Duration::from_secs(5);

/// Calls, and how often a thread of a collector or of an agent makes them in such a time, at most.
const OF_COLLECTOR: [(&str, u64); 9] = [
    ("pwrite64", 60),
    ("fdatasync", 50),
    ("fsync", 30),
    ("rename", 6),
    ("write", 150),
    ("openat", 120),
    ("unlink", 2),
    ("ftruncate", 2),
    ("mkdir", 2),
];
const OF_AGENT: [(&str, u64); 7] = [
    ("write", 40),
    ("fdatasync", 3),
    ("fsync", 4),
    ("rename", 6),
    ("openat", 250),
    ("ftruncate", 2),
    ("unlink", 2),
];

/// What can fail for want of room, or of a disk.
const FAILS: [&str; 5] = ["pwrite64", "fdatasync", "fsync", "rename", "ftruncate"];

/// A program that runs another one up to a failpoint.
struct Failpoint {
    trace: String,
    inject: String,
}

impl Failpoint {
    fn of(calls: &[(&str, u64)], seed: &mut Seed) -> Self {
        let (call, most) = calls[seed.below(calls.len() as u64) as usize];
        let number = 1 + seed.below(most);
        let what = match seed.below(5) {
            0 if FAILS.contains(&call) => ["error=EIO", "error=ENOSPC"][seed.below(2) as usize],
            _ => "signal=SIGKILL",
        };
        Self { trace: format!("trace={call}"), inject: format!("inject={call}:{what}:when={number}") }
    }

    /// The tracer is no parent: what is started is the program itself. With `--seccomp-bpf` nothing would be injected.
    fn program(&self) -> [&str; 8] {
        ["strace", "-D", "-f", "-o", "/dev/null", "-e", &self.trace, "-e"]
    }

    fn under(&self) -> Vec<&str> {
        [&self.program()[..], &[&self.inject]].concat()
    }
}

fn failpoints() -> u64 {
    setting("SEATBEAT_FAILPOINTS", FAILPOINTS_DEFAULT)
}

#[test]
fn a_collector_that_is_killed_at_any_act_loses_nothing_acknowledged() {
    if !can_trace() {
        return;
    }
    let number = setting("SEATBEAT_SEED", 1);
    say(&format!("SEATBEAT_SEED={number}"));
    let mut seed = Seed::new(number).branch("collector");
    let mut left = failpoints() - failpoints() / AGENT_SHARE;
    while left > 0 {
        let here = left.min(FAILPOINTS_OF_STORE);
        one_store(&mut seed, here);
        left -= here;
    }
}

/// A store whose collector meets so many failpoints while machines report and an operator works.
fn one_store(seed: &mut Seed, failpoints: u64) {
    let mut desk = Desk::open();
    let door = Door::of(&desk.customer_with_token("cus_a", "8")).expect("a token opens a door");
    let fleet = Fleet::report(Reporting::to(vec![door], usize::MAX), MACHINES, &seed.branch("fleet"));
    let all_in = || {
        let acked = fleet.reporting.acked();
        (acked.len() == MACHINES && acked.values().all(|acked| *acked > 0)).then_some(())
    };
    eventually("all machines report", all_in);
    assert!(desk.stop(), "{}", desk.log());
    let (mut met, mut tried, mut customers) = (0, 0, BTreeSet::new());
    while met < failpoints {
        tried += 1;
        assert!(tried <= 10 * failpoints, "{met} of {failpoints} failpoints were met");
        let failpoint = Failpoint::of(&OF_COLLECTOR, seed);
        let mut has_met = !desk.start_under(&failpoint.under());
        if !has_met {
            let customer = format!("cus_{tried}");
            if desk
                .operator(&["customers", "add", &format!("Named {tried}"), "--id", &customer])
                .status
                .success()
            {
                customers.insert(customer);
            }
            has_met = desk.ended_within(UPTIME).is_some();
        }
        if !has_met {
            desk.end();
            has_met = desk.ended_within(ENDING).is_some_and(|status| status.signal() == Some(KILLED));
        }
        desk.kill();
        met += u64::from(has_met);
    }
    desk.start();
    let expected = fleet.stop();
    let period = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    assert_eq!(exported(&desk, &period), expected);
    let listed = desk.operator_json(&["customers", "list"]).to_string();
    for customer in &customers {
        let name = format!("Named {}", customer.trim_start_matches("cus_"));
        assert!(
            listed.contains(&format!("\"{customer}\"")) && listed.contains(&name),
            "{customer}: {listed}"
        );
    }
    say(&format!(
        "{met} failpoints met, {tried} tried: {} reports, {} customers",
        expected.len(),
        customers.len()
    ));
}

#[test]
fn an_agent_that_is_killed_at_any_act_is_one_machine_with_one_chain() {
    if !can_trace() {
        return;
    }
    let number = setting("SEATBEAT_SEED", 1);
    say(&format!("SEATBEAT_SEED={number}"));
    let mut seed = Seed::new(number).branch("agent");
    let desk = Desk::open();
    let token = desk.customer_with_token("cus_a", "1000");
    let (all, mut met, mut machines) = (failpoints() / AGENT_SHARE, 0, 0);
    while met < all {
        machines += 1;
        met += one_machine(&desk, &token, machines, (all - met).min(FAILPOINTS_OF_MACHINE), &mut seed);
        let known =
            desk.operator_json(&["machines", "list"])["machines"].as_array().expect("a list").len() as u64;
        assert_eq!(known, machines, "each agent is one machine");
    }
    say(&format!("{met} failpoints met, {machines} machines"));
}

/// Starts an agent up to a failpoint; whether it was killed there.
fn is_killed(desk: &Desk, failpoint: &Failpoint, arguments: &[&str]) -> bool {
    let mut under = std::process::Command::new("strace");
    under.args(&failpoint.under()[1..]).arg(PROGRAM).args(arguments).env("HOME", desk.path(""));
    let mut child = under
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace starts");
    let is_killed = was_killed_within(&mut child, Duration::from_millis(1500));
    // It fails only where the process has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    is_killed
}

fn was_killed_within(child: &mut Child, wait: Duration) -> bool {
    let pause = Duration::from_millis(10);
    for _ in 0..wait.as_millis() / pause.as_millis() {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            return status.signal().is_some();
        }
        std::thread::sleep(pause);
    }
    false
}

/// A new machine whose agent meets failpoints while it enrols and while it runs; how many.
fn one_machine(desk: &Desk, token: &str, number: u64, failpoints: u64, seed: &mut Seed) -> u64 {
    let state = desk.path(&format!("agent-{number}"));
    let mut met = 0;
    let enrol = ["__agent", "--state", text(&state), "enrol", "--token", token];
    for _ in 0..4 {
        met += u64::from(is_killed(desk, &Failpoint::of(&OF_AGENT, seed), &enrol));
    }
    // One that was let in before is told so.
    if !desk.operator(&enrol).status.success() {
        assert!(state.join("identity.toml").exists(), "it is not let in after it was killed");
    }
    let identity = std::fs::read_to_string(state.join("identity.toml")).expect("it is enrolled");
    let identity: toml::Table = identity.parse().expect("an identity is TOML");
    let machine = identity["machine"].as_str().expect("an id").to_owned();
    let mut known = 0;
    for _ in 0..10 * failpoints {
        if met >= failpoints {
            break;
        }
        let run = ["__agent", "--state", text(&state), "run"];
        met += u64::from(is_killed(desk, &Failpoint::of(&OF_AGENT, seed), &run));
        known = sequence(desk, &machine, known);
    }
    let agent = desk.run_agent(&state, &[]);
    eventually("the agent goes on", || (sequence(desk, &machine, known) > known).then_some(()));
    agent.kill();
    check_spool(&state, sequence(desk, &machine, known));
    met.max(1)
}

/// What the collector holds of a machine: one chain, that only grows.
fn sequence(desk: &Desk, machine: &str, known: u64) -> u64 {
    let detail = desk.operator_json(&["machines", "show", machine]);
    let flags = detail["flags"].as_array().expect("flags");
    // All the test's machines are on this one.
    let others: Vec<_> = flags.iter().filter(|flag| **flag != "possible_same_machine").collect();
    assert_eq!(others, Vec::<&serde_json::Value>::new(), "{detail:#}");
    let spools = detail["spools"].as_array().expect("chains");
    assert!(spools.len() <= 1, "the chain was broken: {spools:?}");
    let sequence = spools.first().and_then(|spool| spool["sequence"].as_u64()).unwrap_or(0);
    assert!(sequence >= known, "{sequence} are held of {known}");
    sequence
}

/// The machine's own spool holds what the collector has.
fn check_spool(state: &Path, held: u64) {
    let state = seatbeat_agent::state::StateFolder::at(state.to_owned());
    let identity = seatbeat_agent::identity::Identity::load(&state).expect("it is enrolled");
    let key = &identity.public_key;
    let inspected = seatbeat_agent::spool::Spool::inspect(&state.spool(), &identity.machine, key)
        .expect("it can be read");
    assert_eq!(inspected.damage, None);
    let tip = inspected.chain.expect("there is a spool").tip();
    assert!(tip >= held, "the spool ends at {tip}, the collector holds {held}");
}
