//! The ledger against its second reading, over many small hostile fleets.
//! A failure prints its seed, the smallest case that still fails, and both answers;
//! `SEATBEAT_SEED` and `SEATBEAT_SEEDS` choose where the seeds begin and how many there are.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::random::Random;
use super::{Case, generate, ledger, oracle};

/// As many as fit a debug build's patience.
const SEEDS: u64 = 150;

/// The oracle is the slow one: a test without it affords twice as many.
pub(super) fn seeds(times: u64) -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a whole number"));
    let first: u64 = number("SEATBEAT_SEED").unwrap_or(1);
    first..first + number("SEATBEAT_SEEDS").unwrap_or(SEEDS) * times
}

fn answer(case: &Case) -> String {
    ledger(case).unwrap_or_else(|error| panic!("the ledger refuses: {error}\n{}", shown(case)))
}

/// A case as it could be put into files again.
fn shown(case: &Case) -> String {
    let Case { records, policy, period, as_of, sealed } = case;
    format!(
        "period {period}, as of {as_of:?}, sealed {}\n-- policy\n{policy}\n-- records\n{records}\n",
        sealed.as_deref().unwrap_or("nothing"),
    )
}

/// The ledger's answer and the oracle's, where they differ.
fn difference(case: &Case) -> Option<(Value, Value)> {
    let ledger: Value = serde_json::from_str(&ledger(case).ok()?).expect("an answer is JSON");
    let oracle = oracle::meter(case);
    (ledger != oracle).then_some((ledger, oracle))
}

/// Drops every part of a case without which it still differs.
fn smallest(mut case: Case) -> Case {
    let simpler = [Case { sealed: None, ..case.clone() }, Case { as_of: None, ..case.clone() }];
    for simpler in simpler {
        if difference(&simpler).is_some() {
            case = simpler;
        }
    }
    loop {
        let before = case.clone();
        let records = |case: &Case, text| Case { records: text, ..case.clone() };
        let policy = |case: &Case, text| Case { policy: text, ..case.clone() };
        case = with_fewer_lines(case, |case| &case.records, records);
        case = with_fewer_lines(case, |case| &case.policy, policy);
        if case.records == before.records && case.policy == before.policy {
            return case;
        }
    }
}

fn with_fewer_lines(
    mut case: Case,
    text: impl Fn(&Case) -> &String,
    with: impl Fn(&Case, String) -> Case,
) -> Case {
    let mut place = 0;
    loop {
        let mut lines: Vec<&str> = text(&case).lines().collect();
        if place >= lines.len() {
            return case;
        }
        lines.remove(place);
        let fewer = with(&case, lines.join("\n"));
        if difference(&fewer).is_some() {
            case = fewer;
        } else {
            place += 1;
        }
    }
}

#[test]
fn two_readings_of_the_contract_agree() {
    for seed in seeds(1) {
        let case = generate::case(seed);
        let ledger: Value = serde_json::from_str(&answer(&case)).expect("an answer is JSON");
        if ledger != oracle::meter(&case) {
            let case = smallest(case);
            let (ledger, oracle) = difference(&case).expect("the smallest case differs");
            panic!("seed {seed}\n{}\n-- ledger\n{ledger:#}\n-- oracle\n{oracle:#}", shown(&case));
        }
    }
}

#[test]
fn order_duplicates_and_batching_never_change_a_statement() {
    for seed in seeds(2) {
        let case = generate::case(seed);
        let once = answer(&case);
        let mut random = Random::new(!seed);
        for _ in 0..3 {
            let mut records: Vec<&str> = case.records.lines().collect();
            let again: Vec<&str> = records.iter().copied().filter(|_| random.chance(30)).collect();
            records.extend(again);
            random.shuffle(&mut records);
            let mut batches = String::new();
            for record in records {
                batches.push_str(record);
                batches.push_str(if random.chance(10) { "\n\n" } else { "\n" });
            }
            let other = Case { records: batches, ..case.clone() };
            assert!(answer(&other) == once, "seed {seed}\n{}\n-- and\n{}", shown(&case), shown(&other));
        }
    }
}

type Quantities = BTreeMap<(String, String), Decimal>;

fn add_up(quantities: &mut Quantities, rows: &Value, field: &str) {
    for row in rows.as_array().expect("a list") {
        let text = |field: &str| row[field].as_str().expect("a field").to_owned();
        let number: Decimal = text(field).parse().expect("a quantity");
        *quantities.entry((text("customer"), text("sku"))).or_default() += number;
    }
    quantities.retain(|_, quantity| !quantity.is_zero());
}

fn statement(case: &Case) -> Value {
    let mut answer: Value = serde_json::from_str(&answer(case)).expect("an answer is JSON");
    answer["statement"].take()
}

#[test]
fn what_was_sealed_and_what_was_carried_make_up_a_recount() {
    for seed in seeds(1) {
        let last = Case { as_of: None, sealed: None, ..generate::case(seed) };
        let second = Case { period: oracle::period_before(&last.period), ..last.clone() };
        let first = Case { period: oracle::period_before(&second.period), ..last.clone() };
        let mut random = Random::new(!seed);
        let lines: Vec<(&str, usize)> = last.records.lines().map(|line| (line, random.below(3))).collect();
        let known = |until: usize| {
            lines
                .iter()
                .filter(|(_, since)| *since <= until)
                .map(|(line, _)| *line)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let mut closed: Vec<Value> = Vec::new();
        for (number, case) in [&first, &second, &last].into_iter().enumerate() {
            let sealed = Some(Value::from(closed.clone()).to_string());
            closed.push(statement(&Case { records: known(number), sealed, ..case.clone() }));
        }
        for (number, case) in [&first, &second].into_iter().enumerate() {
            let mut billed = Quantities::new();
            add_up(&mut billed, &closed[number]["lines"], "quantity");
            for later in &closed {
                let carried = later["corrections"].as_array().expect("a list").iter();
                let carried: Vec<&Value> = carried.filter(|row| row["for_period"] == *case.period).collect();
                add_up(&mut billed, &json!(carried), "delta");
            }
            let mut recount = Quantities::new();
            add_up(&mut recount, &statement(case)["lines"], "quantity");
            assert!(billed == recount, "seed {seed}, {}: {billed:?} is not {recount:?}", case.period);
        }
    }
}
