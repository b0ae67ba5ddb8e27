//! A collector that may open no more files: who is connected goes on, nobody else is let in, and it takes them in when
//! there is room, without being told.

use std::net::TcpStream;
use std::time::Duration;

use jiff::SignedDuration;
use seatbeat_fleet::client::{ClientError, Connection, Door};
use seatbeat_fleet::machine::Machine;
use seatbeat_fleet::seed::Seed;
use tokio::time::timeout;

use crate::desk::{Desk, eventually};
use crate::reporters::{exported, now, reporter};

/// Descriptors that are left, and connections without a word that take them.
const LEFT: u64 = 8;
const STRANGERS: usize = 64;

/// How long a machine tries while it cannot be let in: far less than strangers are borne with.
const TRIED: Duration = Duration::from_secs(1);

const ALARM: &str = "no agent can connect";

async fn reports(connection: &mut Connection, machine: &mut Machine) -> Result<(), ClientError> {
    let ago = SignedDuration::from_secs(60 - machine.tip().map_or(0, |tip| tip.sequence as i64));
    let link = machine.link_at(now().saturating_sub(ago).expect("the clock is past its start"));
    let link = link.expect("it always shows something");
    connection.send(&link).await?;
    connection.wait_acked(link.tip.sequence).await
}

#[test]
fn without_descriptors_the_door_rests_keeps_who_is_in_and_opens_again_by_itself() {
    let desk = Desk::open();
    let door = Door::of(&desk.customer_with_token("cus_a", "2")).expect("a token opens a door");
    let (mut inside, mut outside) = (reporter("in", &Seed::new(1)), reporter("out", &Seed::new(1)));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let (inside_id, outside_id) = (inside.id().to_string(), outside.id().to_string());
    runtime.block_on(async {
        for machine in [&inside, &outside] {
            door.enrol(machine, now()).await.expect("the token lets it in");
        }
        let mut link = Connection::open(&door, &inside, now()).await.expect("it is let in");
        reports(&mut link, &mut inside).await.expect("there is room");

        desk.leave_descriptors(LEFT);
        let strangers: Vec<_> =
            (0..STRANGERS).map(|_| TcpStream::connect(desk.agents).expect("the kernel accepts")).collect();
        eventually("the alarm is raised", || desk.log().contains(ALARM).then_some(()));
        let opened = timeout(TRIED, Connection::open(&door, &outside, now())).await;
        assert!(!matches!(opened, Ok(Ok(_))), "there is no descriptor for it");
        reports(&mut link, &mut inside).await.expect("who is in goes on");

        drop(strangers);
        let mut late = loop {
            match timeout(Duration::from_secs(60), Connection::open(&door, &outside, now())).await {
                Ok(Ok(link)) => break link,
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(_) => panic!("it is not let in again:\n{}", desk.log()),
            }
        };
        reports(&mut late, &mut outside).await.expect("there is room again");
        reports(&mut link, &mut inside).await.expect("who was in is in still");
    });
    eventually("the alarm ends", || {
        let status = desk.operator(&["status", "--json"]);
        (status.status.success() && !String::from_utf8_lossy(&status.stdout).contains(ALARM)).then_some(())
    });
    let period = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    let counted = exported(&desk, &period).into_iter().collect::<Vec<_>>();
    let mut expected: Vec<_> = (1..=3).map(|sequence| ((inside_id.clone(), sequence), 1)).collect();
    expected.push(((outside_id, 1), 1));
    expected.sort();
    assert_eq!(counted, expected);
}
