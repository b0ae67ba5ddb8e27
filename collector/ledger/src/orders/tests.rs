//! What the fold grants, refuses and tells of orders.

use prost::Message as _;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire::Outcome as Said;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, ProductState, evidence};

use super::*;
use crate::registry::Refusal;
use crate::standing::CustomerStanding;

mod house;
mod shuffled;

use house::{DAY_MS, House, MACHINES, cancel, confirm, id, key, keys_set, machine, placed, signed};

#[test]
fn an_order_goes_out_once_its_batch_is_whole_and_it_is_signed_as_it_was_placed() {
    let mut house = House::new();
    house.taken(house.request("bat_1", Action::SwitchOff, 2, 2));
    house.taken(house.place("bat_1", "ord_1", 1, Action::SwitchOff, "dsa"));
    assert_eq!(house.status("ord_1"), Status::Ordered(Waits::Orders));
    house.refused(house.signed("ord_1", 101), Refusal::BatchNotWhole);
    house.taken(house.place("bat_1", "ord_2", 2, Action::SwitchOff, "dsa"));
    assert_eq!(house.status("ord_1"), Status::Ordered(Waits::Signature));
    let awaiting = house.fold.orders().awaiting_signature(house.now()).count();
    assert_eq!((awaiting, house.deliverable(1)), (2, vec![]));

    house.refused(house.signed("ord_1", 102), Refusal::BadSignature);
    house.refused(house.signed("ord_1", 200), Refusal::BadSignature);
    let other = wire::Order { at_once: true, ..house.order("ord_1").to_wire() };
    let other = signed(sign(&key(101), Domain::Order, other.encode_to_vec()));
    house.refused(other, Refusal::OtherOrder);
    let sequence = house.order("ord_1").sequence;
    house.taken(house.signed("ord_1", 101));
    assert_eq!(house.order("ord_1").to_wire().sequence, sequence);
    assert_eq!(house.status("ord_1"), Status::Ordered(Waits::Machine));
    assert_eq!((house.deliverable(1), house.deliverable(2)), (vec!["ord_1"], vec![]));
    house.refused(house.signed("ord_1", 101), Refusal::Repeated);
    let sent = house.order("ord_1").signed().unwrap();
    assert!(seatbeat_proto::signed::verify(&key(101).verifying_key(), Domain::Order, &sent).is_ok());
}

#[test]
fn a_batch_holds_no_more_and_no_other_orders_than_were_asked_for() {
    let mut house = House::new();
    house.taken(house.request("bat_1", Action::SwitchOff, 1, 2));
    let off =
        |house: &House, number, product| house.place("bat_1", "ord_x", number, Action::SwitchOff, product);
    house.refused(house.place("bat_0", "ord_1", 1, Action::SwitchOff, "dsa"), Refusal::UnknownBatch);
    house.refused(house.place("bat_1", "ord_1", 1, Action::SwitchOn, "dsa"), Refusal::OutsideBatch);
    house.refused(house.place("bat_1", "ord_1", 1, Action::SwitchOff, ""), Refusal::OutsideBatch);
    house.refused(off(&house, 9, "dsa"), Refusal::UnknownMachine);
    house.taken(house.place("bat_1", "ord_1", 1, Action::SwitchOff, "dsa"));
    house.refused(off(&house, 1, "dsa"), Refusal::Repeated);
    house.refused(off(&house, 2, "dsa"), Refusal::OutsideBatch);
    house.refused(house.place("bat_1", "ord_1", 1, Action::SwitchOff, "v1es"), Refusal::Repeated);
    house.actor = "opr_b";
    house.refused(off(&house, 1, "v1es"), Refusal::ForeignBatch);
    house.actor = "opr_a";
    let Fact::OrderPlaced(fact) = off(&house, 1, "v1es") else { unreachable!() };
    let late = wire::Order { expires_at_ms: house.now_ms + 8 * DAY_MS, ..fact.request.clone().unwrap() };
    house.refused(placed("bat_1", late), Refusal::OutsideBatch);
    let numbered = wire::Order { sequence: 3, ..fact.request.unwrap() };
    house.refused(placed("bat_1", numbered), Refusal::Malformed);
    house.taken(off(&house, 1, "v1es"));
    house.refused(house.place("bat_1", "ord_3", 1, Action::SwitchOff, "splx"), Refusal::OutsideBatch);
    house.refused(house.request("bat_1", Action::SwitchOff, 1, 1), Refusal::Repeated);
    house.refused(house.request("bat_2", Action::ReportNow, 1, 1), Refusal::Malformed);
    house.refused(house.request("bat_2", Action::SwitchOff, 2, 1), Refusal::Malformed);

    let at_ms = house.now_ms;
    let customer = "cus_b".to_owned();
    house.taken(Fact::MachineAssigned(wire::MachineAssigned {
        machine: machine(2).to_string(),
        customer,
        at_ms,
    }));
    house.taken(house.request("bat_2", Action::SwitchOff, 1, 1));
    house.refused(house.place("bat_2", "ord_4", 2, Action::SwitchOff, "dsa"), Refusal::ForeignMachine);
}

#[test]
fn more_machines_a_day_than_the_limit_wait_for_another_operator() {
    let mut house = House::new();
    house.taken(Fact::OrderLimitSet(wire::OrderLimitSet { machines_a_day: 2 }));
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.ordered("ord_2", 2, Action::SwitchOff, "dsa");
    house.ordered("ord_on", 2, Action::SwitchOn, "dsa");
    house.taken(house.request("bat_3", Action::SwitchOff, 1, 1));
    house.taken(house.place("bat_3", "ord_3", 3, Action::SwitchOff, "dsa"));
    assert_eq!(house.status("ord_3"), Status::Ordered(Waits::SecondOperator));
    house.refused(house.signed("ord_3", 101), Refusal::Held);
    house.refused(confirm("bat_3"), Refusal::SameOperator);
    for nobody in ["opr_c", "collector"] {
        house.actor = nobody;
        house.refused(confirm("bat_3"), Refusal::UnknownOperator);
    }
    house.actor = "opr_b";
    house.refused(confirm("bat_0"), Refusal::UnknownBatch);
    house.taken(confirm("bat_3"));
    house.refused(confirm("bat_3"), Refusal::NotHeld);
    house.taken(house.signed("ord_3", 101));
    assert_eq!(house.deliverable(3), ["ord_3"]);
    // What two operators agreed on does not count as what one did alone; a day later nothing does.
    assert_eq!(house.fold.orders().machines_switched_alone(house.now()), 2);
    house.hours(24);
    assert_eq!(house.fold.orders().machines_switched_alone(house.now()), 0);
    house.ordered("ord_4", 4, Action::SwitchOff, "dsa");
}

#[test]
fn a_batch_that_is_cancelled_or_over_is_confirmed_by_nobody() {
    for is_cancelled in [true, false] {
        let mut house = House::new();
        house.taken(Fact::OrderLimitSet(wire::OrderLimitSet { machines_a_day: 0 }));
        house.taken(house.request("bat_1", Action::SwitchOff, 1, 1));
        if is_cancelled {
            house.taken(cancel("bat_1", ""));
        } else {
            house.hours(7 * 24);
        }
        house.actor = "opr_b";
        house.refused(confirm("bat_1"), Refusal::OrderOver);
    }
}

#[test]
fn only_the_newest_order_for_a_product_lives() {
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.ordered("ord_other", 1, Action::SwitchOff, "v1es");
    house.answers(1, "ord_1", Said::Taken);
    assert!(matches!(house.status("ord_1"), Status::Delivered { .. }));
    house.ordered("ord_2", 1, Action::SwitchOn, "dsa");
    assert_eq!(house.status("ord_1"), Status::Superseded { by: &id("ord_2") });
    assert_eq!(house.deliverable(1), ["ord_other", "ord_2"]);
    house.answers(1, "ord_1", Said::Cancelled);
    assert_eq!(house.status("ord_1").name(), "superseded");
    house.answers(1, "ord_2", Said::Doing);
    assert_eq!(house.deliverable(1), ["ord_other"]);
    house.ordered("ord_3", 1, Action::SwitchOff, "dsa");
    assert_eq!((house.status("ord_2").name(), house.status("ord_3").name()), ("doing", "ordered"));
}

#[test]
fn a_cancelled_order_is_called_back_until_the_machine_has_answered() {
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.ordered("ord_2", 2, Action::SwitchOff, "dsa");
    house.taken(house.request("bat_3", Action::SwitchOff, 1, 1));
    house.taken(house.place("bat_3", "ord_3", 3, Action::SwitchOff, "dsa"));
    house.answers(2, "ord_2", Said::Doing);
    house.refused(cancel("", "ord_2"), Refusal::OrderBegun);
    house.refused(cancel("bat_3", "ord_1"), Refusal::OutsideBatch);
    let position = house.fold.position();
    house.taken(cancel("", "ord_1"));
    house.taken(cancel("bat_3", ""));
    house.refused(cancel("bat_3", ""), Refusal::OrderOver);
    house.refused(cancel("", "ord_1"), Refusal::OrderOver);
    assert_eq!((house.status("ord_1").name(), house.deliverable(1)), ("cancelled", vec![]));
    house.refused(house.signed("ord_3", 101), Refusal::OrderOver);

    let owed = house.fold.orders().cancels_owed(&machine(1), house.now());
    assert_eq!((owed.len(), owed[0].sequence, owed[0].order.as_str()), (1, position, "ord_1"));
    // Never signed: nobody has it.
    assert!(house.fold.orders().cancels_owed(&machine(3), house.now()).is_empty());
    let before = house.fold.clone();
    let cancel_id = owed[0].cancel.to_string();
    house.answers(1, &cancel_id, Said::Done);
    assert!(house.fold.orders().cancels_owed(&machine(1), house.now()).is_empty());
    assert_eq!(house.switched(), 0);
    house.fold = before;
    house.hours(25);
    assert!(house.fold.orders().cancels_owed(&machine(1), house.now()).is_empty());
}

#[test]
fn what_a_superseded_order_left_on_the_machine_is_called_back_with_its_successor() {
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.answers(1, "ord_1", Said::Taken);
    house.taken(house.request("bat_2", Action::SwitchOn, 1, 1));
    house.taken(house.place("bat_2", "ord_2", 1, Action::SwitchOn, "dsa"));
    house.taken(cancel("bat_2", ""));
    assert_eq!(house.fold.orders().cancels_owed(&machine(1), house.now())[0].order.as_str(), "ord_2");
    house.answers(1, "ord_1", Said::Cancelled);
    assert!(house.fold.orders().cancels_owed(&machine(1), house.now()).is_empty());
}

#[test]
fn a_final_word_is_final_and_is_the_right_machines() {
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.answers(2, "ord_1", Said::Done);
    assert_eq!((house.status("ord_1").name(), house.switched()), ("ordered", 0));
    house.answers(1, "ord_1", Said::Unspecified);
    house.answers(1, "ord_1", Said::Taken);
    house.answers(1, "ord_1", Said::Doing);
    assert_eq!(house.status("ord_1").name(), "doing");
    house.answers(1, "ord_1", Said::Done);
    house.answers(1, "ord_1", Said::Failed);
    house.answers(1, "ord_1", Said::Done);
    assert_eq!((house.status("ord_1").name(), house.switched()), ("done", 1));
    assert_eq!(house.status("ord_1").detail(), "seen: Done");
    assert!(house.deliverable(1).is_empty());

    for (number, said, name) in
        [(2, Said::Failed, "failed"), (3, Said::Refused, "refused"), (4, Said::Expired, "expired")]
    {
        let order = format!("ord_{number}");
        house.ordered(&order, number, Action::SwitchOff, "dsa");
        house.answers(number, &order, said);
        assert_eq!((house.status(&order).name(), house.deliverable(number)), (name, vec![]));
    }
    // A word on an order that nobody signed, and that the machine therefore cannot have.
    house.taken(house.request("bat_5", Action::SwitchOff, 1, 1));
    house.taken(house.place("bat_5", "ord_5", 1, Action::SwitchOff, "v1es"));
    house.answers(1, "ord_5", Said::Done);
    assert_eq!((house.status("ord_5").name(), house.switched()), ("ordered", 1));
}

#[test]
fn what_a_machine_did_despite_a_cancel_is_told_as_it_was() {
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.taken(cancel("", "ord_1"));
    house.answers(1, "ord_1", Said::Doing);
    assert_eq!(house.status("ord_1").name(), "doing");
    house.answers(1, "ord_1", Said::Done);
    assert_eq!((house.status("ord_1").name(), house.switched()), ("done", 1));
    assert!(house.fold.orders().cancels_owed(&machine(1), house.now()).is_empty());
}

#[test]
fn time_ends_what_was_not_begun_and_what_was_never_told_of() {
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.ordered("ord_2", 2, Action::SwitchOff, "dsa");
    house.answers(2, "ord_2", Said::Doing);
    house.hours(24);
    assert_eq!((house.status("ord_1").name(), house.deliverable(1)), ("expired", vec![]));
    assert_eq!(house.status("ord_2").name(), "doing");
    house.hours(24);
    assert_eq!(house.status("ord_2"), Status::Failed { end: None });
    assert!(house.order("ord_2").is_over(house.now()));
    house.taken(house.request("bat_3", Action::SwitchOff, 1, 1));
    house.taken(house.place("bat_3", "ord_3", 3, Action::SwitchOff, "dsa"));
    house.hours(24);
    house.refused(house.signed("ord_3", 101), Refusal::OrderOver);
}

#[test]
fn two_reports_in_a_row_confirm_and_one_a_day_later_contradicts() {
    use ProductState::{Active, Inactive, SwitchedOff, Unknown};
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.answers(1, "ord_1", Said::Done);
    // Of the same instant: it may be a look from before.
    house.reports(1, &[("dsa", SwitchedOff)]);
    for (products, name) in [
        (vec![("dsa", SwitchedOff)], "done"),
        (vec![("dsa", Unknown)], "done"),
        (vec![("dsa", Active)], "done"),
        (vec![("dsa", Inactive)], "done"),
        (vec![("v1es", Active)], "confirmed"),
        (vec![("dsa", Unknown)], "confirmed"),
        (vec![("dsa", Active)], "done"),
    ] {
        house.hours(1);
        house.reports(1, &products);
        assert_eq!(house.status("ord_1").name(), name, "{products:?}");
    }
    assert_eq!(house.fold.orders().contradicted().count(), 0);
    house.hours(24);
    house.reports(1, &[("dsa", Active)]);
    assert_eq!(house.status("ord_1").name(), "contradicted");
    assert_eq!(house.fold.orders().contradicted().count(), 1);
    for name in ["contradicted", "confirmed"] {
        house.hours(1);
        house.reports(1, &[]);
        assert_eq!(house.status("ord_1").name(), name);
    }
    // From its successor on the older one is no longer compared.
    house.ordered("ord_2", 1, Action::SwitchOn, "dsa");
    house.answers(1, "ord_2", Said::Done);
    for _ in 0..2 {
        house.hours(20);
        house.reports(1, &[("dsa", Active)]);
    }
    assert_eq!((house.status("ord_1").name(), house.status("ord_2").name()), ("confirmed", "confirmed"));
    house.reports(1, &[]);
    assert_eq!((house.status("ord_1").name(), house.status("ord_2").name()), ("confirmed", "contradicted"));
}

#[test]
fn a_machine_is_unenrolled_behind_what_is_switched_off_on_it() {
    let mut house = House::new();
    house.taken(house.request("bat_1", Action::Unenrol, 2, 3));
    house.taken(house.place("bat_1", "ord_off", 1, Action::SwitchOff, "dsa"));
    house.taken(house.place("bat_1", "ord_1", 1, Action::Unenrol, ""));
    house.taken(house.place("bat_1", "ord_2", 2, Action::Unenrol, ""));
    for order in ["ord_off", "ord_1", "ord_2"] {
        house.taken(house.signed(order, 101));
    }
    assert_eq!((house.deliverable(1), house.deliverable(2)), (vec!["ord_off"], vec!["ord_2"]));
    assert_eq!(house.status("ord_1"), Status::Ordered(Waits::Switches));
    house.answers(1, "ord_off", Said::Done);
    for deliverable in [vec![], vec!["ord_1"]] {
        house.hours(1);
        house.reports(1, &[]);
        assert_eq!(house.deliverable(1), deliverable);
    }
    let retired = |house: &House, order: &str| {
        let machine = &house.order(order).machine;
        house.fold.registry().machine(machine).is_some_and(|machine| machine.retired_at.is_some())
    };
    assert!(!retired(&house, "ord_1"));
    house.answers(1, "ord_1", Said::Done);
    assert_eq!(house.status("ord_1").name(), "done");
    assert_eq!((retired(&house, "ord_1"), retired(&house, "ord_2")), (true, false));
}

#[test]
fn order_keys_follow_each_other_and_the_old_ones_order_nothing_more() {
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.refused(keys_set(1, &[103], None, 103), Refusal::NotNewer);
    house.refused(keys_set(3, &[103], None, 101), Refusal::NotNewer);
    house.refused(keys_set(2, &[103], None, 103), Refusal::BadSignature);
    house.refused(keys_set(2, &[103], None, 200), Refusal::BadSignature);
    house.refused(keys_set(2, &[], None, 101), Refusal::Malformed);
    house.refused(keys_set(2, &[103, 200], None, 101), Refusal::Malformed);
    house.taken(keys_set(2, &[103], Some(104), 102));
    let revisions = |house: &House, known| {
        house.fold.orders().keys().behind(known).map(|one| one.revision).collect::<Vec<_>>()
    };
    assert_eq!((revisions(&house, 0), revisions(&house, 1)), (vec![1, 2], vec![2]));
    assert_eq!(house.fold.orders().keys().newest().unwrap().signed().payload.len(), 2 + 2 * 34);
    // Signed by a key that machines do not take orders of any more.
    assert_eq!((house.status("ord_1"), house.deliverable(1)), (Status::Ordered(Waits::Signature), vec![]));
    house.refused(house.signed("ord_1", 101), Refusal::BadSignature);
    house.taken(house.signed("ord_1", 103));
    assert_eq!(house.deliverable(1), ["ord_1"]);
    house.taken(keys_set(3, &[103], None, 103));
    house.refused(keys_set(4, &[105], None, 104), Refusal::BadSignature);
}

#[test]
fn an_epoch_only_grows_and_stands_in_the_orders_behind_it() {
    let mut house = House::new();
    house.ordered("ord_1", 1, Action::SwitchOff, "dsa");
    house.taken(Fact::EpochBegan(wire::EpochBegan { epoch: 2 }));
    house.refused(Fact::EpochBegan(wire::EpochBegan { epoch: 2 }), Refusal::NotNewer);
    house.ordered("ord_2", 2, Action::SwitchOff, "dsa");
    assert_eq!((house.order("ord_1").epoch, house.order("ord_2").epoch), (0, 2));
}

#[test]
fn a_customer_is_suspended_leaves_and_comes_back() {
    let mut house = House::new();
    let left = |for_good| Fact::CustomerLeft(wire::CustomerLeft { customer: "cus_a".into(), for_good });
    let returned = || Fact::CustomerReturned(wire::CustomerReturned { customer: "cus_a".into() });
    let customer = "cus_a".parse().unwrap();
    house.refused(returned(), Refusal::Repeated);
    house.taken(left(false));
    house.refused(left(false), Refusal::Repeated);
    assert!(matches!(house.fold.registry().standing(&customer), CustomerStanding::Suspended(_)));
    house.taken(left(true));
    let CustomerStanding::Left(departure) = house.fold.registry().standing(&customer) else { panic!() };
    assert_eq!((departure.by.as_str(), departure.reason.as_str()), ("opr_a", "not paid"));
    house.taken(returned());
    assert_eq!(house.fold.registry().standing(&customer), CustomerStanding::Active);
    let nobody = wire::CustomerLeft { customer: "cus_x".into(), for_good: true };
    house.refused(Fact::CustomerLeft(nobody), Refusal::UnknownCustomer);
}

#[test]
fn a_machine_says_what_is_sealed_to_it_and_whose_orders_it_takes() {
    let mut house = House::new();
    let report = |seal_key| evidence::Body::Report(wire::Report { seal_key, ..Default::default() });
    let seal_key = wire::SealKey { public_key: vec![7; 32], order_keys_revision: 1 };
    house.says(1, report(Some(seal_key)));
    house.says(1, report(None));
    let known = house.fold.registry().machine(&machine(1)).unwrap().seal_key.unwrap();
    assert_eq!((known.public_key, known.order_keys_revision), (Some([7; 32]), 1));
    assert_eq!(house.fold.registry().machine(&machine(2)).unwrap().seal_key, None);
}

#[test]
fn what_cannot_be_read_is_refused_and_stops_nothing() {
    let mut house = House::new();
    let order = wire::Signed { payload: vec![0xff], signature: vec![0; 64] };
    house.refused(signed(order.clone()), Refusal::Malformed);
    house.refused(signed(wire::Signed::default()), Refusal::Malformed);
    house.refused(Fact::OrderKeysSet(wire::OrderKeysSet { keys: Some(order) }), Refusal::Malformed);
    house.refused(cancel("", ""), Refusal::Malformed);
    house.refused(cancel("", "ord_1"), Refusal::UnknownOrder);
    house.refused(cancel("bat_1", ""), Refusal::UnknownBatch);
    house.refused(placed("bat 1", wire::Order::default()), Refusal::Malformed);
    house.refused(confirm("?"), Refusal::Malformed);
}
