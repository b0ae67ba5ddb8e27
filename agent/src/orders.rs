//! What the collector itself may order: reports. Invariant: nothing is done for an order that is not signed by its key,
//! not meant for this machine, expired, or seen before; each order that counts is answered once. What switches anything
//! is the affair of `act`.

use std::collections::BTreeSet;

use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::ids::{MachineId, OrderId};
use seatbeat_proto::signed::{Domain, verify};
use seatbeat_proto::{instant, wire};
use serde::{Deserialize, Serialize};

/// Below this no order is taken any more. It moves only with orders that were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Epoch of the newest accepted order.
    pub epoch: u64,
    /// Its sequence.
    pub sequence: u64,
    /// When it was issued: time does not go back behind it, whatever the machine's clock says.
    pub issued_at_ms: i64,
}

/// What was ordered before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// The newest accepted one.
    pub floor: Floor,
    /// The answered ones that are still kept.
    pub answered: BTreeSet<OrderId>,
}

/// What is done about an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing, for this reason.
    Ignore(Ignored),
    /// A report is made, and the order is answered.
    Report(wire::OrderResult),
    /// The order is answered and nothing is done.
    Answer(wire::OrderResult),
    /// It is not the collector's own, or switches something: whoever does that judges it.
    PassOn,
}

/// Why an order is passed over in silence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// Signed bytes that are no order.
    #[error("an order cannot be read")]
    Unreadable,
    /// It is for another machine.
    #[error("order {0} is meant for another machine")]
    OtherMachine(OrderId),
    /// It was answered already.
    #[error("order {0} was answered already")]
    Answered(OrderId),
}

impl Book {
    /// Judges an order at a corrected instant, and enters it when it is answered.
    pub fn judge(
        &mut self,
        signed: &wire::Signed,
        service: &VerifyingKey,
        machine: &MachineId,
        now: Timestamp,
    ) -> Verdict {
        if verify(service, Domain::Order, signed).is_err() {
            return Verdict::PassOn;
        }
        let Ok(order) = wire::Order::decode(signed.payload.as_slice()) else {
            return Verdict::Ignore(Ignored::Unreadable);
        };
        match order.action() {
            wire::Action::ReportNow | wire::Action::RenewKeys | wire::Action::Unspecified => {}
            wire::Action::SwitchOff
            | wire::Action::SwitchOn
            | wire::Action::Unenrol
            | wire::Action::Cancel => return Verdict::PassOn,
        }
        let Ok(id) = order.order.parse::<OrderId>() else { return Verdict::Ignore(Ignored::Unreadable) };
        if order.machine != machine.as_str() {
            return Verdict::Ignore(Ignored::OtherMachine(id));
        }
        if self.answered.contains(&id) {
            return Verdict::Ignore(Ignored::Answered(id));
        }
        let verdict = self.weigh(&order, now);
        self.answered.insert(id);
        verdict
    }

    fn weigh(&mut self, order: &wire::Order, now: Timestamp) -> Verdict {
        let now_ms = instant::to_ms(now).max(self.floor.issued_at_ms);
        if now_ms >= order.expires_at_ms {
            return answer(order, wire::Outcome::Expired, "the order came after its time was over");
        }
        if (order.epoch, order.sequence) <= (self.floor.epoch, self.floor.sequence) {
            return answer(order, wire::Outcome::Refused, "this order or a newer one was taken before");
        }
        match order.action() {
            wire::Action::ReportNow => {
                self.floor = Floor {
                    epoch: order.epoch,
                    sequence: order.sequence,
                    issued_at_ms: order.issued_at_ms.max(self.floor.issued_at_ms),
                };
                Verdict::Report(result(order, wire::Outcome::Done, "a report was made"))
            }
            wire::Action::RenewKeys => {
                answer(order, wire::Outcome::Refused, "this agent version does not renew keys")
            }
            _ => answer(order, wire::Outcome::Refused, "this agent does not know the action"),
        }
    }
}

fn answer(order: &wire::Order, outcome: wire::Outcome, detail: &str) -> Verdict {
    Verdict::Answer(result(order, outcome, detail))
}

fn result(order: &wire::Order, outcome: wire::Outcome, detail: &str) -> wire::OrderResult {
    wire::OrderResult {
        order: order.order.clone(),
        order_sequence: order.sequence,
        outcome: outcome.into(),
        product: order.product.clone(),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use seatbeat_proto::signed::{new_key, sign};

    struct Fixture {
        service: SigningKey,
        book: Book,
    }

    impl Fixture {
        fn new() -> Self {
            Self { service: new_key(), book: Book::default() }
        }

        fn judge(&mut self, key: &SigningKey, order: &wire::Order) -> Verdict {
            let signed = sign(key, Domain::Order, order.encode_to_vec());
            let (service, machine) = (self.service.verifying_key(), "mch_a".parse().unwrap());
            self.book.judge(&signed, &service, &machine, Timestamp::from_second(1_000).unwrap())
        }

        fn outcome(&mut self, key: &SigningKey, order: &wire::Order) -> (wire::Outcome, String) {
            match self.judge(key, order) {
                Verdict::Report(result) | Verdict::Answer(result) => (result.outcome(), result.detail),
                Verdict::Ignore(why) => panic!("ignored: {why}"),
                Verdict::PassOn => panic!("passed on"),
            }
        }
    }

    fn order(number: u64, action: wire::Action) -> wire::Order {
        wire::Order {
            order: format!("ord_{number}"),
            machine: "mch_a".into(),
            action: action.into(),
            product: String::new(),
            sequence: number,
            epoch: 0,
            issued_at_ms: 900_000,
            expires_at_ms: 2_000_000,
            ..wire::Order::default()
        }
    }

    #[test]
    fn a_report_order_of_the_service_key_is_carried_out_once() {
        let mut fixture = Fixture::new();
        let key = fixture.service.clone();
        let asked = order(5, wire::Action::ReportNow);
        assert!(matches!(fixture.judge(&key, &asked), Verdict::Report(result) if result.order == "ord_5"));
        let again = Verdict::Ignore(Ignored::Answered("ord_5".parse().unwrap()));
        assert_eq!(fixture.judge(&key, &asked), again);
        assert_eq!(fixture.book.floor, Floor { epoch: 0, sequence: 5, issued_at_ms: 900_000 });
    }

    #[test]
    fn an_order_at_the_floor_does_not_run_again_when_its_answer_is_forgotten() {
        let mut fixture = Fixture::new();
        let key = fixture.service.clone();
        let asked = order(5, wire::Action::ReportNow);
        assert_eq!(fixture.outcome(&key, &asked).0, wire::Outcome::Done);
        fixture.book.answered.clear();
        assert_eq!(fixture.outcome(&key, &asked).0, wire::Outcome::Refused);
    }

    #[test]
    fn misdirected_and_unreadable_orders_get_no_answer() {
        let mut fixture = Fixture::new();
        let service = fixture.service.clone();
        let asked = order(1, wire::Action::ReportNow);
        let misdirected = wire::Order { machine: "mch_b".into(), ..asked.clone() };
        let expected = Verdict::Ignore(Ignored::OtherMachine("ord_1".parse().unwrap()));
        assert_eq!(fixture.judge(&service, &misdirected), expected);
        let nameless = wire::Order { order: "x".into(), ..asked };
        assert_eq!(fixture.judge(&service, &nameless), Verdict::Ignore(Ignored::Unreadable));
        assert_eq!(fixture.book, Book::default());
    }

    #[test]
    fn expired_and_overtaken_orders_are_answered_and_not_carried_out() {
        let mut fixture = Fixture::new();
        let key = fixture.service.clone();
        let late = wire::Order { expires_at_ms: 1_000_000, ..order(7, wire::Action::ReportNow) };
        assert_eq!(fixture.outcome(&key, &late).0, wire::Outcome::Expired);
        assert_eq!(fixture.book.floor, Floor::default(), "the floor moves with accepted orders only");
        assert_eq!(fixture.outcome(&key, &order(9, wire::Action::ReportNow)).0, wire::Outcome::Done);
        assert_eq!(fixture.outcome(&key, &order(8, wire::Action::ReportNow)).0, wire::Outcome::Refused);
        let restored = wire::Order { epoch: 1, ..order(2, wire::Action::ReportNow) };
        assert_eq!(fixture.outcome(&key, &restored).0, wire::Outcome::Done);
    }

    #[test]
    fn a_clock_set_back_does_not_bring_an_old_order_to_life() {
        let mut fixture = Fixture::new();
        let key = fixture.service.clone();
        let newer = wire::Order { issued_at_ms: 1_500_000, ..order(1, wire::Action::ReportNow) };
        fixture.judge(&key, &newer);
        let old = wire::Order { expires_at_ms: 1_400_000, ..order(2, wire::Action::ReportNow) };
        assert_eq!(fixture.outcome(&key, &old).0, wire::Outcome::Expired);
    }

    #[test]
    fn what_switches_anything_or_has_another_signature_is_passed_on() {
        let mut fixture = Fixture::new();
        let (service, other) = (fixture.service.clone(), new_key());
        for action in
            [wire::Action::SwitchOff, wire::Action::SwitchOn, wire::Action::Unenrol, wire::Action::Cancel]
        {
            assert_eq!(fixture.judge(&service, &order(1, action)), Verdict::PassOn, "{action:?}");
        }
        assert_eq!(fixture.judge(&other, &order(1, wire::Action::ReportNow)), Verdict::PassOn);
        assert_eq!(fixture.book, Book::default());
        let (outcome, detail) = fixture.outcome(&service, &order(2, wire::Action::RenewKeys));
        assert_eq!(
            (outcome, detail.as_str()),
            (wire::Outcome::Refused, "this agent version does not renew keys")
        );
        assert_eq!(fixture.book.floor, Floor::default());
    }
}
