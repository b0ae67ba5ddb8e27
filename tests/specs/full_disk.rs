//! A disk that is full: nothing is acknowledged that is not on it, reading goes on, and it goes on when there is room.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use seatbeat_fleet::client::{Connection, Door};
use seatbeat_fleet::machine::{Link, Machine};
use seatbeat_fleet::seed::Seed;

use crate::desk::{Desk, eventually, skip};
use crate::reporters::{exported, now, reporter};

const DISK_BYTES: u64 = 8 * 1024 * 1024;

/// Leaves no byte free.
fn fill(ballast: &Path) {
    let mut file = fs::File::create(ballast).expect("the disk can be seen");
    for size in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

fn links(machine: &mut Machine, count: i64) -> Vec<Link> {
    let began = now().saturating_sub(SignedDuration::from_mins(1)).expect("the clock is past its start");
    let after = i64::try_from(machine.tip().map_or(0, |tip| tip.sequence)).expect("chains are short");
    (1..=count)
        .filter_map(|step| {
            let at = began.saturating_add(SignedDuration::from_millis(after + step)).expect("a day has room");
            machine.link_at(at)
        })
        .collect()
}

#[test]
fn a_full_disk_acknowledges_nothing_answers_still_and_goes_on_with_room() {
    let mut desk = Desk::founded();
    let Some(disk) = desk.start_on_small_disk(DISK_BYTES) else {
        skip("user namespaces", "unshare, from util-linux");
        return;
    };
    let door = Door::of(&desk.customer_with_token("cus_a", "1")).expect("a token opens a door");
    let mut machine = reporter("pc", &Seed::new(1));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(door.enrol(&machine, now())).expect("the token lets it in");
    let mut chain = links(&mut machine, 50);
    let sent = |chain: &[Link], machine: &Machine| {
        runtime.block_on(async {
            let mut connection = Connection::open(&door, machine, now()).await?;
            connection.send_all(chain).await
        })
    };
    sent(&chain, &machine).expect("there is room");

    fill(&disk.join("ballast"));
    chain.extend(links(&mut machine, 2000));
    sent(&chain, &machine).expect_err("a full disk acknowledges nothing that it cannot keep");
    let status = desk.operator_json(&["status"]);
    assert!(status["alarms"].to_string().contains("full"), "{status:#}");
    let held = exported(&desk, desk.operator_json(&["usage"])["period"].as_str().expect("a period")).len();
    assert!((50..chain.len()).contains(&held), "{held} of {} are held", chain.len());

    fs::remove_file(disk.join("ballast")).expect("the disk can be seen");
    eventually("it goes on", || sent(&chain, &machine).ok());
    eventually("the alarm ends", || {
        let status = desk.operator_json(&["status"]);
        (!status["alarms"].to_string().contains("full")).then_some(())
    });
    std::thread::sleep(Duration::from_millis(10));
    let period = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    let expected = chain.iter().map(|link| ((machine.id().to_string(), link.tip.sequence), 1)).collect();
    assert_eq!(exported(&desk, &period), expected);
}
