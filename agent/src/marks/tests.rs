//! Copies and machines that changed. Invariant: real files; what firmware would say is made up.

use seatbeat_proto::token;

use super::*;
use crate::clock::Clock;
use crate::fake::FakeCollector;
use crate::jitter::Jitter;
use crate::waiting::{self, Newcomer, Otherwise, Pace};

/// One letter a fact: UUID, system, board, disk, card, system's own id; `-`: it could not be read.
fn facts(letters: &str) -> wire::Facts {
    let fact = |at: usize| {
        letters.as_bytes().get(at).copied().filter(|byte| *byte != b'-').map_or(vec![], |byte| vec![byte; 16])
    };
    wire::Facts {
        smbios_uuid: fact(0),
        system_serial: fact(1),
        board_serial: fact(2),
        disk_serial: fact(3),
        macs: Some(fact(4)).filter(|mac| !mac.is_empty()).into_iter().collect(),
        os_id: fact(5),
        ..wire::Facts::default()
    }
}

#[test]
fn only_another_system_on_other_hardware_is_a_copy() {
    for (kept, now, expected, why) in [
        ("aaaaaa", "aaaaaa", Verdict::Same, "nothing changed"),
        ("aaaaaa", "bbbbbb", Verdict::Copy, "an image, made general by its system's own means"),
        ("a---aa", "b---bb", Verdict::Copy, "a virtual machine has little more than its UUID"),
        ("aaaaaa", "bbbaba", Verdict::Same, "a mainboard that was repaired"),
        ("aaaaaa", "bbbbba", Verdict::Moved, "a backup on another machine, or a copy of a disk"),
        ("aaaaaa", "aaaaab", Verdict::Same, "the system was made anew"),
        ("aaaaaa", "bbbabb", Verdict::Same, "the disk is the same"),
        ("aaaaaa", "bbbbab", Verdict::Same, "the network card is the same"),
        ("aaaaaa", "------", Verdict::Same, "nothing could be read"),
        ("aaaaaa", "----bb", Verdict::Same, "nothing strong could be read"),
        ("------", "bbbbbb", Verdict::Same, "nothing was known"),
        ("aaaaaa", "bbbbb-", Verdict::Moved, "the system's own id could not be read"),
    ] {
        assert_eq!(Marks::of(&facts(kept)).compare(&Marks::of(&facts(now))), expected, "{why}");
    }
}

async fn enrolled(fake: &FakeCollector, letters: &str) -> (tempfile::TempDir, StateFolder) {
    let (dir, state) = fake.enrolled(facts(letters)).await;
    std::fs::create_dir_all(state.spool()).unwrap();
    std::fs::write(state.spool().join("1.spool"), "the other's").unwrap();
    std::fs::write(state.path().join(crate::config::FILE), "pool = true\n").unwrap();
    (dir, state)
}

fn settled(state: &StateFolder, letters: &str) -> Verdict {
    let identity = Identity::load(state).unwrap();
    settle(state, &identity, |_| facts(letters), "2026-11-22T20:00:00Z".parse().unwrap()).unwrap()
}

fn newcomer<'a>(
    state: &'a StateFolder,
    now: &'static str,
) -> Newcomer<'a, impl Fn(&[u8; 32]) -> wire::Facts> {
    let road = std::sync::Arc::new(crate::road::Tcp);
    let facts = move |_: &[u8; 32]| facts(now);
    Newcomer { state, host_name: "copy", facts, clock: Clock::start(None), pace: Pace::USUAL, road }
}

#[tokio::test]
async fn a_copy_forgets_whose_it_was_and_comes_in_as_itself() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = enrolled(&fake, "aaaaaa").await;
    let first = Identity::load(&state).unwrap();
    // Nobody left a token in the image: it says so, and keeps nothing of the other.
    let mut jitter = Jitter::from_seed(1);
    let refused = waiting::identity(newcomer(&state, "bbbbbb"), &mut jitter, Otherwise::Refuse).await;
    assert!(matches!(refused, Err(IdentityError::NotEnrolled)), "{refused:?}");
    assert_eq!(copied(&state).unwrap().of, first.machine.as_str());
    assert!(!state.spool().exists() && !state.path().join("orders").exists() && state.key().is_err());
    assert_eq!(std::fs::read_to_string(state.path().join(crate::config::FILE)).unwrap(), "pool = true\n");
    assert_eq!(fake.memory().left, 0, "the other goes on");
    // Somebody brings one.
    waiting::keep(&state, &token::format(&fake.token("2"))).unwrap();
    let second = waiting::identity(newcomer(&state, "bbbbbb"), &mut jitter, Otherwise::Refuse).await.unwrap();
    assert_ne!(second.machine, first.machine);
    assert_eq!(copied(&state), None);
    assert_eq!(settled(&state, "bbbbbb"), Verdict::Same);
}

#[tokio::test]
async fn a_machine_that_changes_bit_by_bit_stays_who_it_is() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = enrolled(&fake, "aaaaaa").await;
    let first = Identity::load(&state).unwrap();
    for letters in ["bbbaaa", "bbb--a", "bbbbab", "cbbbbb"] {
        assert_eq!(settled(&state, letters), Verdict::Same, "{letters}");
    }
    assert_eq!(settled(&state, "dddddb"), Verdict::Moved);
    assert_eq!(settled(&state, "dddddb"), Verdict::Moved, "what was kept is still the first machine's");
    assert_eq!(Identity::load(&state).unwrap(), first);
    assert!(state.spool().join("1.spool").exists() && state.key().is_ok());
    assert_eq!(settled(&state, "ddddde"), Verdict::Copy, "its system was made anew afterwards");
}

#[tokio::test]
async fn an_agent_of_an_earlier_version_keeps_its_marks_from_its_first_start_on() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = enrolled(&fake, "aaaaaa").await;
    for damaged in [false, true] {
        state.remove(FILE).unwrap();
        if damaged {
            state.write(FILE, b"{").unwrap();
        }
        assert_eq!(settled(&state, "bbbbbb"), Verdict::Same);
        assert_eq!(settled(&state, "cccccb"), Verdict::Moved);
    }
}
