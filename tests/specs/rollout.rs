//! A rollout overnight: five hundred machines at once with a token that waits, one of them with a token that was taken back,
//! and a collector that is restarted in the middle. Invariant: real enrolments over TLS against a real process; who is let
//! in is let in once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seatbeat_agent::clock::Clock;
use seatbeat_agent::jitter::Jitter;
use seatbeat_agent::road::Tcp;
use seatbeat_agent::state::StateFolder;
use seatbeat_agent::waiting::{self, Newcomer, Otherwise, Pace};
use seatbeat_proto::wire;
use tokio::task::JoinSet;

use crate::desk::{Desk, eventually};

const MACHINES: usize = 500;

/// As agents keep to, a hundred times as fast.
const PACE: Pace = Pace {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(2),
    refused: Duration::from_secs(2),
    nothing: Duration::from_secs(1),
};

/// Longest until all are in: some tens of seconds on two cores that others use, too.
const TIME_MAX: Duration = Duration::from_secs(180);

async fn come_in(folder: PathBuf, number: usize) -> String {
    let state = StateFolder::at(folder);
    let facts = |_: &[u8; 32]| wire::Facts {
        os_id: number.to_be_bytes().to_vec(),
        os: "windows".to_owned(),
        ..wire::Facts::default()
    };
    let host_name = format!("desk-{number}");
    let newcomer = Newcomer {
        state: &state,
        host_name: &host_name,
        facts,
        clock: Clock::start(None),
        pace: PACE,
        road: Arc::new(Tcp),
    };
    let mut jitter = Jitter::from_seed(number as u64);
    let identity = waiting::identity(newcomer, &mut jitter, Otherwise::Refuse).await;
    identity.expect("a token waits").machine.to_string()
}

#[test]
fn five_hundred_machines_come_in_at_once_and_none_twice_although_the_collector_is_restarted() {
    let mut desk = Desk::open();
    let token = desk.customer_with_token("cus_acme", "500");
    let taken_back = desk.operator_json(&["tokens", "create", "--customer", "cus_acme"]);
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    desk.operator_ok(&["tokens", "revoke", &text(&taken_back["token"]), "--reason", "it was in a mail"]);

    let folder = |number: usize| desk.path(&format!("machines/{number}"));
    let bad = StateFolder::at(folder(MACHINES));
    waiting::keep(&bad, &text(&taken_back["text"])).expect("it is a token");
    let folders: Vec<PathBuf> = (0..MACHINES).map(folder).collect();
    for folder in &folders {
        waiting::keep(&StateFolder::at(folder.clone()), &token).expect("it is a token");
    }
    let bad_folder = bad.path().to_owned();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system gives threads");
    let mut rest = JoinSet::new();
    let refused = runtime.spawn(come_in(bad_folder, MACHINES));
    for (number, folder) in folders.into_iter().enumerate() {
        rest.spawn_on(come_in(folder, number), runtime.handle());
    }
    let mut let_in = BTreeSet::new();
    let take = |rest: &mut JoinSet<String>, count: usize| {
        runtime.block_on(async {
            let mut taken = Vec::new();
            while taken.len() < count {
                let next = tokio::time::timeout(TIME_MAX, rest.join_next()).await;
                taken.push(next.expect("in time").expect("one is left").expect("none fails"));
            }
            taken
        })
    };
    let_in.extend(take(&mut rest, MACHINES / 5));
    desk.kill();
    desk.start();
    let others = MACHINES - let_in.len();
    let_in.extend(take(&mut rest, others));

    assert_eq!(let_in.len(), MACHINES, "each is a machine of its own");
    let tokens = desk.operator_json(&["tokens", "list"]);
    let used: Vec<u64> = tokens["tokens"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|token| token["used"].as_u64())
        .collect();
    assert_eq!(used.iter().sum::<u64>(), MACHINES as u64, "each use once: {used:?}");
    let why = eventually("the one that was taken back says so", || waiting::progress(&bad));
    assert!(why.trouble.what.contains("revoked"), "{why:?}");
    assert!(waiting::is_there(&bad) && !refused.is_finished(), "it waits for a person");
}
