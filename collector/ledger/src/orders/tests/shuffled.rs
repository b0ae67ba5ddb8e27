//! Operations in any order: what holds of orders after each of them.

use super::*;

const SEEDS: u64 = 60;
const STEPS: usize = 250;
const BATCHES: u64 = 40;

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn product(dice: &mut Dice) -> &'static str {
    ["dsa", "v1es"][dice.below(2) as usize]
}

/// One operation, as often senseless as not.
fn step(house: &mut House, dice: &mut Dice) {
    let batch = format!("bat_{}", dice.below(BATCHES));
    let order = format!("ord_{}", dice.below(4 * BATCHES));
    let number = 1 + dice.below(u64::from(MACHINES)) as u8;
    let action = [Action::SwitchOff, Action::SwitchOn, Action::Unenrol][dice.below(3) as usize];
    house.actor = ["opr_a", "opr_b"][dice.below(2) as usize];
    // One of those that are there, mostly of the newest.
    let there: Vec<&Order> =
        house.fold.orders().batches().flat_map(|one| house.fold.orders().of_batch(one)).collect();
    let width = there.len().min(1 + dice.below(40) as usize) as u64;
    let known = if width > 0 { there[dice.below(width) as usize].id.to_string() } else { String::new() };
    let is_known = width > 0;
    match dice.below(16) {
        0 | 1 => {
            let machines = 1 + dice.below(3) as u32;
            _ = house.write(house.request(&batch, action, machines, machines + dice.below(2) as u32));
        }
        2..=6 => {
            let known = house.fold.orders().batch(&batch.parse().unwrap());
            let Some(known) = known.filter(|known| !known.is_whole()) else { return };
            let by = if known.requested.by == "opr_a" { "opr_a" } else { "opr_b" };
            let action = if dice.below(4) == 0 { Action::SwitchOff } else { known.action() };
            let product = if action == Action::Unenrol { "" } else { product(dice) };
            house.actor = by;
            _ = house.write(house.place(&batch, &order, number, action, product));
        }
        7..=10 if is_known => _ = house.write(house.signed(&known, 101 + dice.below(8) as u8 / 7)),
        11 => _ = house.write(confirm(&batch)),
        12 if dice.below(3) == 0 => {
            _ = house.write(cancel(if dice.below(2) == 0 { &batch } else { "" }, &known))
        }
        12 if dice.below(4) == 0 => _ = house.write(cancel(&batch, "")),
        13 if is_known => {
            let said = [Said::Taken, Said::Doing, Said::Done, Said::Failed, Said::Refused];
            let number = (1..=MACHINES).find(|n| machine(*n) == house.order(&known).machine).unwrap();
            house.answers(number, &known, said[dice.below(5) as usize]);
        }
        14 => {
            let state = if dice.below(2) == 0 { ProductState::Active } else { ProductState::Inactive };
            house.reports(number, &[(product(dice), state)]);
        }
        _ => house.hours(dice.below(4) as i64),
    }
}

fn check(house: &House) {
    let (orders, now) = (house.fold.orders(), house.now());
    for number in 1..=MACHINES {
        let all = orders.of_machine(&machine(number));
        for order in all.iter().filter(|order| order.is_live()) {
            let living = all.iter().filter(|one| one.is_live() && one.product == order.product);
            assert_eq!(living.count(), 1, "{order:?}");
        }
        for order in orders.deliverable(&machine(number), now) {
            assert!(order.is_live() && now < order.expires_at, "{order:?}");
            assert!(orders.is_signed(order), "{order:?}");
        }
        for owed in orders.cancels_owed(&machine(number), now) {
            assert!(orders.order(&owed.order).unwrap().cancelled.is_some());
        }
    }
    for batch in orders.batches() {
        assert!(batch.placed() <= batch.orders as usize && batch.touched <= batch.machines);
        let is_open = batch.is_whole() && !batch.is_held();
        assert!(is_open || orders.of_batch(batch).all(|order| order.signature.is_none()), "{batch:?}");
    }
}

#[test]
fn whatever_comes_in_whatever_order_one_order_lives_and_nothing_goes_out_that_may_not() {
    let mut reached = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let (mut house, mut dice) = (House::new(), Dice(seed));
        house.taken(Fact::OrderLimitSet(wire::OrderLimitSet { machines_a_day: 4 }));
        for step_number in 0..STEPS {
            step(&mut house, &mut dice);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&house)));
            assert!(checked.is_ok(), "seed {seed}, step {step_number}");
            let orders = house.fold.orders();
            reached.extend(orders.iter().map(|order| orders.status(order, house.now()).name()));
        }
        let orders = house.fold.orders();
        let kept = serde_json::to_string(orders.batches().next().unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Batch>(&kept).unwrap(), *orders.batches().next().unwrap());
    }
    for name in
        ["ordered", "delivered", "doing", "done", "confirmed", "failed", "refused", "cancelled", "superseded"]
    {
        assert!(reached.contains(name), "{name} is never reached: {reached:?}");
    }
}
