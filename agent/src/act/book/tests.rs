//! What a book promises, for orders in any order, at any times, with crashes in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn ordered(sequence: u64, kind: Kind, product: &str) -> Ordered {
    let action = match kind {
        Kind::SwitchOff | Kind::Uninstall => wire::Action::SwitchOff,
        Kind::SwitchOn => wire::Action::SwitchOn,
        Kind::Unenrol => wire::Action::Unenrol,
        Kind::Cancel => wire::Action::Cancel,
        Kind::Other => wire::Action::Unspecified,
    };
    let order = wire::Order {
        order: format!("ord_{sequence}"),
        machine: "mch_a".into(),
        action: action.into(),
        uninstall: kind == Kind::Uninstall,
        product: product.into(),
        sequence,
        expires_at_ms: 10_000_000,
        ..wire::Order::default()
    };
    let id = order.order.parse().unwrap();
    Ordered::read(&order, id, order.order.as_bytes(), &[], Signer::Operator, b"key")
}

fn at(ms: i64) -> Now {
    Now { ms, uptime: Duration::from_millis(ms.unsigned_abs()) }
}

fn id(sequence: u64) -> OrderId {
    format!("ord_{sequence}").parse().unwrap()
}

fn outcome(book: &Book, sequence: u64) -> Outcome {
    book.get(&id(sequence)).unwrap().stage.outcome()
}

/// As after a start of the agent.
fn reread(book: &Book) -> Book {
    serde_json::from_slice(&serde_json::to_vec(book).unwrap()).unwrap()
}

#[test]
fn the_same_order_again_is_known_and_another_of_its_name_changes_nothing() {
    let mut book = Book::default();
    let order = ordered(5, Kind::SwitchOff, "dsa");
    assert_eq!(book.take(order.clone(), at(0)), Taken::Entered(vec![id(5)]));
    let before = book.clone();
    assert_eq!(book.take(order.clone(), at(1)), Taken::Known);
    assert_eq!(book.take(Ordered { digest: "other".into(), ..order }, at(2)), Taken::Changed);
    assert_eq!(book, before);
}

#[test]
fn an_older_order_is_refused_for_its_product_alone_and_a_newer_epoch_is_newer() {
    let mut book = Book::default();
    book.take(ordered(5, Kind::SwitchOn, "dsa"), at(0));
    book.take(ordered(4, Kind::SwitchOff, "dsa"), at(0));
    book.take(ordered(3, Kind::SwitchOff, "splx"), at(0));
    let restored = Ordered { place: Place { epoch: 1, sequence: 2 }, ..ordered(2, Kind::SwitchOff, "dsa") };
    book.take(restored, at(0));
    assert_eq!(outcome(&book, 4), Outcome::Refused);
    assert_eq!(outcome(&book, 3), Outcome::Taken);
    assert_eq!((outcome(&book, 5), outcome(&book, 2)), (Outcome::Cancelled, Outcome::Taken));
    assert_eq!(book.get(&id(5)).unwrap().stage.detail(), "a newer order came before it was begun");
}

#[test]
fn a_cancel_ends_what_waits_and_leaves_what_was_begun_and_nothing_older_comes_after_it() {
    let mut book = Book::default();
    book.take(ordered(1, Kind::SwitchOff, "dsa"), at(0));
    book.take(ordered(2, Kind::SwitchOff, "splx"), at(0));
    assert!(book.begin(&id(2), at(0)));
    book.take(Ordered { signer: Signer::Service, ..ordered(4, Kind::Cancel, "dsa") }, at(1));
    book.take(ordered(5, Kind::Cancel, "splx"), at(1));
    book.take(ordered(3, Kind::SwitchOff, "dsa"), at(1));
    assert_eq!((outcome(&book, 1), outcome(&book, 4)), (Outcome::Cancelled, Outcome::Done));
    assert_eq!(book.get(&id(1)).unwrap().stage.detail(), "it was called back before it was begun");
    assert_eq!(outcome(&book, 2), Outcome::Doing);
    assert!(book.get(&id(5)).unwrap().stage.detail().contains("ord_2 was begun before"));
    assert_eq!(outcome(&book, 3), Outcome::Refused);
    assert_eq!(book.due(at(2)), None);
}

#[test]
fn the_collectors_own_key_calls_back_and_switches_nothing() {
    let mut book = Book::default();
    for (sequence, kind) in
        [(1, Kind::SwitchOff), (2, Kind::SwitchOn), (3, Kind::Uninstall), (4, Kind::Unenrol)]
    {
        let product = if kind == Kind::Unenrol { "" } else { "dsa" };
        book.take(Ordered { signer: Signer::Service, ..ordered(sequence, kind, product) }, at(0));
        assert_eq!(outcome(&book, sequence), Outcome::Refused, "{kind:?}");
    }
    assert_eq!(book.unenrolled(), None);
}

#[test]
fn two_destructive_starts_of_a_product_are_an_hour_apart_unless_it_is_to_be_at_once() {
    let mut book = Book::default();
    let hour = i64::try_from(BETWEEN_STARTS.as_millis()).unwrap();
    let run = |book: &mut Book, sequence, kind, now| {
        book.take(ordered(sequence, kind, "dsa"), now);
        let begun =
            book.due(now).is_some_and(|due| due.ordered.id == id(sequence)) && book.begin(&id(sequence), now);
        if begun {
            book.finish(&id(sequence), Outcome::Done, "done", now);
        }
        begun
    };
    assert!(run(&mut book, 1, Kind::SwitchOff, at(0)));
    assert!(run(&mut book, 2, Kind::SwitchOn, at(1)));
    assert!(!run(&mut book, 3, Kind::Uninstall, at(2)));
    assert_eq!(book.wake_in(at(2)), Some(Duration::from_millis(3_599_998)));
    assert_eq!(book.due(at(hour)).map(|due| due.ordered.id.clone()), Some(id(3)));
    let at_once = Ordered { at_once: true, ..ordered(4, Kind::SwitchOff, "dsa") };
    book.take(at_once, at(3));
    assert_eq!(book.due(at(3)).map(|due| due.ordered.id.clone()), Some(id(4)));
}

#[test]
fn the_hour_is_over_after_an_hour_of_the_process_whatever_the_wall_clock_says() {
    let hour = i64::try_from(BETWEEN_STARTS.as_millis()).unwrap();
    let now = |ms, uptime_ms| Now { ms, uptime: Duration::from_millis(uptime_ms) };
    let mut book = Book::default();
    let forever = |sequence| Ordered { expires_at_ms: i64::MAX, ..ordered(sequence, Kind::SwitchOff, "dsa") };
    book.take(forever(1), now(0, 500));
    assert!(book.begin(&id(1), now(0, 500)));
    book.finish(&id(1), Outcome::Done, "", now(0, 600));
    book.take(forever(2), now(10 * hour, 700));
    assert_eq!(book.due(now(10 * hour, 700)), None, "the clock was set ahead");
    assert!(book.due(now(0, 3_600_500)).is_some());
    let restarted = reread(&book);
    assert!(restarted.due(now(hour, 0)).is_some(), "an hour passed while it was off");
    assert_eq!(restarted.due(now(hour - 1, 0)), None);
    assert_eq!(restarted.due(now(-365 * 24 * hour, 0)), None);
    assert!(restarted.due(now(-365 * 24 * hour, 3_600_000)).is_some(), "the clock was set back a year");
}

#[test]
fn time_does_not_go_back_behind_what_was_accepted() {
    let mut book = Book::default();
    book.take(Ordered { issued_at_ms: 9_000, ..ordered(1, Kind::SwitchOn, "dsa") }, at(0));
    book.take(Ordered { expires_at_ms: 8_000, ..ordered(2, Kind::SwitchOff, "splx") }, at(0));
    assert_eq!(outcome(&book, 2), Outcome::Expired);
    let waits = Ordered { expires_at_ms: 9_500, ..ordered(3, Kind::SwitchOff, "splx") };
    book.take(waits, at(0));
    assert_eq!(book.expire(at(9_499)), []);
    assert_eq!(book.expire(at(9_500)), [id(3)]);
}

#[test]
fn after_a_crash_a_destructive_order_is_not_begun_again_and_one_that_switches_on_once() {
    let mut book = Book::default();
    book.take(ordered(1, Kind::SwitchOff, "dsa"), at(0));
    book.take(ordered(2, Kind::SwitchOn, "splx"), at(0));
    assert!(book.begin(&id(1), at(0)) && book.begin(&id(2), at(0)));
    let mut book = reread(&book);
    assert_eq!(book.unfinished().map(|entry| entry.ordered.id.clone()), Some(id(1)));
    assert!(!book.repeat(&id(1)));
    assert!(book.repeat(&id(2)) && book.begin(&id(2), at(1)));
    assert!(!reread(&book).repeat(&id(2)), "not a third time");
}

#[test]
fn an_order_is_begun_once_and_a_destructive_one_not_even_where_it_waits_again() {
    let mut book = Book::default();
    book.take(ordered(1, Kind::SwitchOff, "dsa"), at(0));
    book.take(ordered(2, Kind::SwitchOn, "splx"), at(0));
    for order in [id(1), id(2)] {
        assert!(book.begin(&order, at(0)));
        assert!(!book.begin(&order, at(1)), "{order} is under way");
    }
    book.orders[0].stage = Stage::Waiting;
    assert!(!book.begin(&id(1), at(2)), "it was begun before");
}

#[test]
fn something_is_open_until_the_last_order_has_its_end() {
    let mut book = Book::default();
    assert!(!book.is_open());
    for sequence in [1, 2] {
        book.take(ordered(sequence, Kind::SwitchOff, "dsa"), at(0));
        assert!(book.is_open());
    }
    assert!(book.begin(&id(2), at(0)) && book.is_open());
    book.finish(&id(2), Outcome::Done, "", at(0));
    assert!(!book.is_open());
}

#[test]
fn a_product_is_switched_off_until_an_order_switched_it_on_or_tried_to() {
    let mut book = Book::default();
    let mut sequence = 0;
    let mut run = |kind, product, outcome| {
        sequence += 1;
        book.take(Ordered { at_once: true, ..ordered(sequence, kind, product) }, at(0));
        assert!(book.begin(&id(sequence), at(0)));
        book.finish(&id(sequence), outcome, "", at(0));
        book.switched_off().map(|product| product.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(run(Kind::SwitchOff, "dsa", Outcome::Failed), "", "it was tried");
    assert_eq!(run(Kind::SwitchOff, "dsa", Outcome::Done), "dsa");
    assert_eq!(run(Kind::Uninstall, "splx", Outcome::Done), "dsa splx");
    assert_eq!(run(Kind::SwitchOff, "dsa", Outcome::Done), "splx dsa", "each once");
    assert_eq!(run(Kind::SwitchOn, "splx", Outcome::Refused), "splx dsa", "nothing was done");
    assert_eq!(run(Kind::SwitchOn, "splx", Outcome::Failed), "dsa");
    assert_eq!(run(Kind::SwitchOn, "dsa", Outcome::Done), "");
}

#[test]
fn switching_on_that_was_interrupted_is_not_repeated_behind_a_newer_order() {
    for newer in [Kind::SwitchOff, Kind::Cancel] {
        let mut book = Book::default();
        book.take(ordered(1, Kind::SwitchOn, "dsa"), at(0));
        assert!(book.begin(&id(1), at(0)));
        book.take(ordered(2, newer, "dsa"), at(1));
        assert!(!reread(&book).repeat(&id(1)), "{newer:?}");
    }
}

#[test]
fn an_unenrolment_ends_everything_and_nothing_is_taken_after_it() {
    let mut book = Book::default();
    book.take(ordered(1, Kind::SwitchOff, "dsa"), at(0));
    book.take(ordered(2, Kind::Unenrol, ""), at(0));
    book.take(ordered(3, Kind::SwitchOff, "dsa"), at(0));
    assert_eq!(book.unenrolled(), Some(&id(2)));
    assert_eq!((outcome(&book, 1), outcome(&book, 2)), (Outcome::Cancelled, Outcome::Done));
    assert_eq!(outcome(&book, 3), Outcome::Refused);
}

#[test]
fn an_order_is_forgotten_when_its_end_was_told_and_two_months_passed_and_its_floor_is_not() {
    let mut book = Book::default();
    let old = |sequence| ordered(sequence, Kind::SwitchOn, "dsa");
    let forever = |order| Ordered { expires_at_ms: i64::MAX, ..order };
    book.take(forever(old(1)), at(0));
    assert!(book.begin(&id(1), at(0)));
    book.finish(&id(1), Outcome::Done, "", at(0));
    book.take(forever(ordered(2, Kind::SwitchOn, "splx")), at(KEPT_MS));
    assert!(book.get(&id(1)).is_some(), "its end is not told");
    book.keep(&id(1), Outcome::Done);
    book.take(forever(ordered(3, Kind::SwitchOn, "tm")), at(KEPT_MS));
    assert_eq!(book.get(&id(1)), None);
    book.take(forever(old(1)), at(KEPT_MS));
    assert_eq!(outcome(&book, 1), Outcome::Refused);
}

#[test]
fn of_so_many_orders_the_oldest_that_ended_give_way_and_what_is_open_stays() {
    let mut book = Book::default();
    let most = u64::try_from(ORDERS_MAX).unwrap();
    book.take(ordered(1, Kind::SwitchOff, "dsa"), at(0));
    let refused = |sequence| Ordered { signer: Signer::Service, ..ordered(sequence, Kind::SwitchOn, "dsa") };
    for sequence in 2..=most {
        book.take(refused(sequence), at(0));
    }
    assert_eq!(book.orders().len(), ORDERS_MAX);
    book.take(refused(most + 1), at(0));
    assert_eq!(book.orders().len(), ORDERS_MAX);
    assert_eq!((outcome(&book, 1), book.get(&id(2))), (Outcome::Taken, None));
    assert_eq!(outcome(&book, most + 1), Outcome::Refused);
}

#[test]
fn an_order_is_told_in_the_words_of_what_it_asks_for() {
    let told = [
        (Kind::SwitchOff, "switch off"),
        (Kind::Uninstall, "uninstall"),
        (Kind::SwitchOn, "switch on"),
        (Kind::Unenrol, "unenrol"),
        (Kind::Cancel, "cancel"),
        (Kind::Other, "unknown"),
    ];
    for (kind, words) in told {
        let read = ordered(1, kind, "dsa").kind;
        assert_eq!((read, read.words()), (kind, words));
    }
}

#[test]
fn an_order_to_unenrol_names_no_product_and_one_that_switches_names_one() {
    assert_eq!(ordered(1, Kind::Unenrol, "").unfit(), None);
    assert_eq!(ordered(1, Kind::Unenrol, "dsa").unfit(), Some("an order to unenrol names no product"));
    for kind in [Kind::SwitchOff, Kind::Uninstall, Kind::SwitchOn] {
        assert_eq!(ordered(1, kind, "dsa").unfit(), None);
        assert_eq!(ordered(1, kind, "").unfit(), Some("the order names no product"));
    }
}

#[test]
fn so_many_forged_orders_are_remembered_and_the_oldest_gives_way() {
    let mut forged = Forged::default();
    let most = u64::try_from(Forged::MAX).unwrap();
    let mut enter = |sequence: u64| forged.enter(&id(sequence), i64::try_from(sequence).unwrap());
    assert!((1..=most).all(&mut enter));
    assert!(!enter(1), "all are remembered");
    assert!(enter(most + 1));
    assert!(!enter(2) && enter(1), "the oldest gave way");
}

#[derive(Debug, Clone)]
enum Step {
    Take { sequence: u64, kind: Kind, product: usize, lifetime_ms: i64 },
    Work { ends: bool },
    Crash,
    Pass { ms: i64 },
    JumpTo { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(vec![Kind::SwitchOff, Kind::SwitchOn, Kind::Uninstall, Kind::Cancel]);
    prop_oneof![
        4 => (1..30_u64, kind, 0..2_usize, 1..20_000_000_i64).prop_map(|(sequence, kind, product, lifetime_ms)| {
            Step::Take { sequence, kind, product, lifetime_ms }
        }),
        4 => any::<bool>().prop_map(|ends| Step::Work { ends }),
        1 => Just(Step::Crash),
        2 => (0..4_000_000_i64).prop_map(|ms| Step::Pass { ms }),
        1 => (-20_000_000..20_000_000_i64).prop_map(|ms| Step::JumpTo { ms }),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_a_destructive_order_is_begun_once_and_nothing_after_a_newer_one(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let (mut book, mut now) = (Book::default(), at(0));
        let mut begun: BTreeMap<OrderId, u32> = BTreeMap::new();
        let mut newest: BTreeMap<String, Place> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Take { sequence, kind, product, lifetime_ms } => {
                    let order = ordered(sequence, kind, ["dsa", "splx"][product]);
                    let order = Ordered { expires_at_ms: now.ms + lifetime_ms, issued_at_ms: now.ms, ..order };
                    // The same name is always the same order.
                    let digest = format!("{kind:?} {product}");
                    let order = Ordered { digest, ..order };
                    let before = newest.get(&order.product).copied().unwrap_or_default();
                    let (place, product, order_id) = (order.place, order.product.clone(), order.id.clone());
                    if let Taken::Entered(_) = book.take(order, now)
                        && !matches!(outcome(&book, sequence), Outcome::Refused | Outcome::Expired)
                    {
                        prop_assert!(place > before, "{order_id:?} is older than what was accepted");
                        newest.insert(product, place);
                    }
                }
                Step::Work { ends } => {
                    book.expire(now);
                    let Some(due) = book.due(now).cloned() else { continue };
                    prop_assert_eq!(Some(&due.ordered.place), newest.get(&due.ordered.product));
                    prop_assert!(book.time(now).ms < due.ordered.expires_at_ms);
                    prop_assert!(book.begin(&due.ordered.id, now));
                    let count = begun.entry(due.ordered.id.clone()).or_default();
                    *count += 1;
                    let most = if due.ordered.kind.is_destructive() { 1 } else { 2 };
                    prop_assert!(*count <= most, "{:?} was begun {count} times", due.ordered.id);
                    if ends {
                        book.finish(&due.ordered.id, Outcome::Done, "", now);
                    } else {
                        (book, now) = settled(reread(&book), now);
                    }
                }
                Step::Crash => (book, now) = settled(reread(&book), now),
                Step::Pass { ms } => {
                    now = Now { ms: now.ms + ms, uptime: now.uptime + Duration::from_millis(ms.unsigned_abs()) };
                }
                Step::JumpTo { ms } => now.ms = ms,
            }
            prop_assert!(book.orders().iter().filter(|entry| entry.stage == Stage::Waiting).count() <= 2);
        }
    }
}

/// What a start makes of what was interrupted.
fn settled(mut book: Book, now: Now) -> (Book, Now) {
    let now = Now { uptime: Duration::ZERO, ..now };
    while let Some(entry) = book.unfinished().cloned() {
        if !book.repeat(&entry.ordered.id) {
            book.finish(&entry.ordered.id, Outcome::Failed, "interrupted", now);
        }
    }
    (book, now)
}
