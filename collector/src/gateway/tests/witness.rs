//! Agents that have seen more of the log than there is. Invariant: only what this collector signed is believed.

use ed25519_dalek::SigningKey;
use seatbeat_ledger::checkpoint::{Checkpoint, origin};
use seatbeat_ledger::merkle::Frontier;
use seatbeat_proto::signed::new_key;
use seatbeat_proto::wire::CustomerAdded;
use seatbeat_proto::wire::journal_record::Fact;

use super::Collector;
use crate::books::Books;
use crate::gateway::witness::{SET_BACK, WAITING_MAX, Witness};
use crate::journal::Position;
use crate::set_back::{SetBack, Unreached};

fn note(books: &Books, key: &SigningKey, size: u64, root: [u8; 32]) -> String {
    let reseller = books.read(|fold| fold.founded().unwrap().reseller.clone());
    Checkpoint { origin: origin(&reseller), size, root }.sign(key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_ahead_of_the_log_is_an_alarm_that_names_it_until_a_person_settles_it() {
    let collector = Collector::start().await;
    let books = &collector.books;
    let witness = Witness::of(books);
    let own = books.keys().service().clone();
    for nothing in ["", "x", "a\n99\n", &books.checkpoint(), &note(books, &new_key(), 99, [9; 32])] {
        witness.saw(books, nothing);
        assert!(!books.alarms().stands(SET_BACK), "{nothing}");
    }
    witness.saw(books, &note(books, &own, 99, [9; 32]));
    witness.saw(books, &note(books, &own, 70, [8; 32]));
    let told = books.alarms().standing().join("\n");
    assert!(told.contains("record 99 (root CQkJ"), "the last one is named: {told}");
    witness.saw(books, &note(books, &own, 120, [7; 32]));
    let told = books.alarms().standing().join("\n");
    assert!(told.contains("record 120 "), "a later one says more: {told}");
    witness.look(books);
    assert_eq!(Unreached::of(books.folder()).unwrap().size, 120);
    books.alarms().clear(SET_BACK);
    drop(Witness::of(books));
    assert!(books.alarms().stands(SET_BACK), "it is told again after a start");
    std::fs::remove_file(books.folder().join(Unreached::FILE)).unwrap();
    witness.look(books);
    assert!(!books.alarms().stands(SET_BACK));
    let later = Witness::of(books);
    later.saw(books, &note(books, &own, 120, [7; 32]));
    assert!(!books.alarms().stands(SET_BACK), "what was settled is not told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_log_that_has_grown_again_is_told_from_the_one_that_was_lost() {
    let collector = Collector::start().await;
    let books = &collector.books;
    let mut frontier = Frontier::default();
    books.records(Position(0), 10).unwrap().iter().for_each(|(_, record)| frontier.append(record));
    let restored_at_ms = books.clock().now_ms();
    SetBack { epoch: 1, restored_at_ms, frontier: frontier.clone() }.keep(books.folder()).unwrap();
    let witness = Witness::of(books);
    for _ in 0..5 {
        collector.token(1).await;
    }
    let own = books.keys().service().clone();
    let size = books.read(|fold| fold.position());
    let honest = books.checkpoint();
    for _ in 0..2 {
        witness.saw(books, &honest);
        witness.saw(books, &note(books, &own, frontier.size(), frontier.root()));
        witness.look(books);
        assert!(!books.alarms().stands(SET_BACK), "{:?}", books.alarms().standing());
    }
    witness.saw(books, &note(books, &new_key(), size - 1, [9; 32]));
    witness.look(books);
    assert!(!books.alarms().stands(SET_BACK), "somebody else signed it");
    witness.saw(books, &note(books, &own, size - 1, [9; 32]));
    witness.look(books);
    let told = books.alarms().standing().join("\n");
    assert!(told.contains(&format!("record {} ", size - 1)), "{told}");
    witness.saw(books, &note(books, &own, size, [9; 32]));
    witness.look(books);
    let told = books.alarms().standing().join("\n");
    assert!(told.contains(&format!("record {size} ")), "another root than the one that was found: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_checkpoints_at_once_the_last_are_compared_when_they_come_again() {
    let collector = Collector::start().await;
    let books = &collector.books;
    let mut frontier = Frontier::default();
    books.records(Position(0), 10).unwrap().iter().for_each(|(_, record)| frontier.append(record));
    let begin = frontier.size();
    let restored_at_ms = books.clock().now_ms();
    SetBack { epoch: 1, restored_at_ms, frontier: frontier.clone() }.keep(books.folder()).unwrap();
    let customer = |number: usize| CustomerAdded { customer: format!("cus_{number}") };
    let facts = (0..=WAITING_MAX).map(|number| Fact::CustomerAdded(customer(number))).collect();
    books.write_all("opr_test", "a test", facts).await.unwrap();
    let own = books.keys().service().clone();
    let witness = Witness::of(books);
    for (_, record) in &books.records(Position(begin), WAITING_MAX).unwrap() {
        frontier.append(record);
        witness.saw(books, &note(books, &own, frontier.size(), frontier.root()));
    }
    for is_told in [false, true] {
        witness.saw(books, &note(books, &own, frontier.size() + 1, [9; 32]));
        witness.look(books);
        assert_eq!(books.alarms().stands(SET_BACK), is_told, "{:?}", books.alarms().standing());
    }
}
