//! What all streams share, each limit at its edge. Invariant: no connection is made, and time is virtual.

use seatbeat_proto::ids::MachineId;
use tempfile::TempDir;
use tokio::time::{Duration, advance};
use tonic::Code;

use super::*;
use crate::gateway::clocks::{SAMPLE_LIFE, SAMPLES_MIN};
use crate::gateway::door::{CLOCK, Door};
use crate::gateway::limits::{ENROL_RATE, EVIDENCE_BYTES_MAX, EVIDENCE_RATE};

/// How old a checkpoint may be that is handed out.
const CHECKPOINT_AGE: Duration = Duration::from_secs(10);

pub fn books() -> (TempDir, Books, BooksEnd) {
    let folder = tempfile::tempdir().unwrap();
    found(folder.path(), &Config::default(), POLICY, Clock::real()).unwrap();
    let (books, end) = Books::open(folder.path(), Clock::real()).unwrap();
    (folder, books, end)
}

fn door(books: &Books) -> Door {
    let settings = watch::Sender::new(settings(books, 5)).subscribe();
    Door::new(books.clone(), Presence::default(), settings, Patience::default())
}

#[tokio::test(start_paused = true)]
async fn clocks_that_were_not_seen_for_long_speak_against_nobody() {
    let (_folder, books, _end) = books();
    let door = door(&books);
    for _ in 0..SAMPLES_MIN {
        door.note_clock(&MachineId::random(), 3_600_000);
    }
    let second = Duration::from_secs(1);
    for (passes, is_suspect) in [(Duration::ZERO, true), (SAMPLE_LIFE - second, true), (second, false)] {
        advance(passes).await;
        door.forget_clocks();
        assert_eq!((door.clock_fault().is_some(), books.alarms().stands(CLOCK)), (is_suspect, is_suspect));
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_sends_and_an_address_enrols_so_much_at_once_and_more_in_time() {
    let (_folder, books, _end) = books();
    let door = door(&books);
    let (machine, other) = (MachineId::random(), MachineId::random());
    assert!((0..EVIDENCE_RATE.burst).all(|_| door.may_send(&machine)));
    assert!(!door.may_send(&machine) && door.may_send(&other));
    let [address, another, own] = ["192.0.2.7", "192.0.2.8", "127.0.0.1"].map(|text| text.parse().unwrap());
    assert!((0..ENROL_RATE.burst).all(|_| door.may_enrol(address)));
    assert!(!door.may_enrol(address) && door.may_enrol(another));
    assert!((0..=ENROL_RATE.burst).all(|_| door.may_enrol(own)), "this machine itself has no such limit");
    advance(ENROL_RATE.interval).await;
    assert!(door.may_enrol(address) && !door.may_enrol(address) && !door.may_send(&machine));
    advance(EVIDENCE_RATE.interval).await;
    assert!(door.may_send(&machine) && !door.may_send(&machine));
}

#[tokio::test(start_paused = true)]
async fn evidence_that_finds_no_room_in_time_is_told_to_come_again() {
    let (_folder, books, _end) = books();
    let door = door(&books);
    let all = door.room(2 * EVIDENCE_BYTES_MAX).await.unwrap();
    let status = door.room(1).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    drop(all);
    let most = door.room(EVIDENCE_BYTES_MAX - 1).await.unwrap();
    let rest = door.room(1).await.unwrap();
    assert!(door.room(1).await.is_err());
    drop((most, rest));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_made_anew_once_it_is_too_old() {
    let (_folder, books, _end) = books();
    let door = door(&books);
    let first = door.checkpoint();
    let customer = CustomerAdded { customer: CUSTOMER.into() };
    books.write("opr_test", "a test", Fact::CustomerAdded(customer)).await.unwrap();
    advance(CHECKPOINT_AGE - Duration::from_millis(1)).await;
    assert_eq!(door.checkpoint(), first);
    advance(Duration::from_millis(1)).await;
    assert_ne!(door.checkpoint(), first);
}

#[tokio::test]
async fn forks_that_were_written_are_known_and_no_more_of_them_than_there_is_room_for() {
    let (_folder, books, _end) = books();
    let door = door(&books);
    let hash = |number: u32| {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        hash
    };
    assert!(!door.knows_fork(&hash(0)));
    (0..10_000).for_each(|number| door.remember_fork(hash(number)));
    assert!((0..10_000).all(|number| door.knows_fork(&hash(number))));
    door.remember_fork(hash(10_000));
    assert!(door.knows_fork(&hash(10_000)) && !door.knows_fork(&hash(0)));
}
