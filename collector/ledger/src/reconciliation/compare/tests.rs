//! What differs, by how much, and what may without a reason.

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::reconciliation::Unmapped;
use crate::reconciliation::house::{House, against, body, body_json, key, rows};
use seatbeat_proto::wire::DifferenceExplained;
use seatbeat_proto::wire::journal_record::Fact;

fn set(said: &[&str], currency: Option<&str>) -> Set {
    Set {
        digest: String::new(),
        currency: currency.map(str::to_owned),
        unmapped: Unmapped::default(),
        rows: Arc::new(rows(said)),
        at: Timestamp::UNIX_EPOCH,
        by: String::new(),
    }
}

/// `a A 40->43 9.60 beyond`, by line.
fn told(found: &Comparison) -> Vec<String> {
    let word = |one: &Difference| {
        let customer = one.customer.as_str().trim_start_matches("cus_");
        let money = one.money.map(|money| format!(" {money}")).unwrap_or_default();
        let beyond = if one.is_beyond { " beyond" } else { "" };
        format!("{customer} {} {}->{}{money}{beyond}", one.sku, one.sides.ours, one.sides.theirs)
    };
    found.differences.iter().map(word).collect()
}

fn provisioned(lines: &[&str], said: &[&str]) -> Comparison {
    compare(&body(lines, &["2026-09 a A -9 -28.80"]), &Source::Destination("lmpi".into()), &set(said, None))
        .unwrap()
}

fn invoiced(lines: &[&str], corrections: &[&str], said: &[&str]) -> Comparison {
    compare(&body(lines, corrections), &Source::Invoice, &set(said, Some("USD"))).unwrap()
}

#[test]
fn two_equal_sides_have_no_difference() {
    let lines = ["a A 40 128.00 3.20", "b A 2 6.40 3.20", "b B 7"];
    assert_eq!(told(&provisioned(&lines, &["a A 40", "b A 2", "b B 7"])), [""; 0]);
    let said = ["a A 40 128.00", "b A 2 6.40", "b B 7 10.00"];
    assert_eq!(told(&invoiced(&lines, &[], &said)), [""; 0], "what has no price of ours has none to compare");
}

#[test]
fn two_seats_or_three_percent_may_differ_without_a_reason() {
    for (ours, theirs, is_beyond) in [
        ("10", "12", false),
        ("10", "8", false),
        ("10", "12.01", true),
        ("10", "7", true),
        ("100", "103", false),
        ("100", "103.01", true),
        ("100", "97", false),
        ("100", "96", true),
        ("0", "2", false),
        ("0", "3", true),
    ] {
        let said = compare(
            &body(&[&format!("a A {ours}")], &[]),
            &Source::Destination("lmpi".into()),
            &set(&[&format!("a A {theirs}")], None),
        );
        assert_eq!(said.unwrap().differences[0].is_beyond, is_beyond, "{ours} -> {theirs}");
    }
}

#[test]
fn amounts_may_differ_by_three_percent_of_what_so_many_seats_cost() {
    let lines = ["a A 100 320.00 3.20"];
    for (said, expected) in [
        ("a A 100 329.60", "a A 100->100 9.60"),
        ("a A 100 329.61", "a A 100->100 9.61 beyond"),
        ("a A 100 310.40", "a A 100->100 -9.60"),
        ("a A 100 310.39", "a A 100->100 -9.61 beyond"),
        ("a A 103 329.60", "a A 100->103 9.60"),
        ("a A 103 320.00", "a A 100->103 0.00"),
        ("a A 98 320.00", "a A 100->98 0.00"),
        ("a A 98 340.00", "a A 100->98 20.00 beyond"),
        ("a A -1 -3.20", "a A 100->-1 -323.20 beyond"),
    ] {
        assert_eq!(told(&invoiced(&lines, &[], &[said])), [expected], "{said}");
    }
    // Of a SKU whose price is known a customer may have two seats more; of one that is not, no amount.
    let said = ["a A 100 320.00", "b A 2 6.40", "b N 1 1.00"];
    assert_eq!(told(&invoiced(&lines, &[], &said)), ["b A 0->2 6.40", "b N 0->1 1.00 beyond"]);
}

#[test]
fn seats_are_worth_what_a_unit_costs_or_a_unit_on_average() {
    let one = |line: &str, said: &str| told(&provisioned(&[line], &[said])).remove(0);
    assert_eq!(one("a A 40 128.00 3.20", "a A 43"), "a A 40->43 9.60 beyond");
    assert_eq!(one("a A 40 100.00", "a A 43"), "a A 40->43 7.50 beyond");
    assert_eq!(one("a A 40", "a A 43"), "a A 40->43 beyond");
    let found = provisioned(&["a A 40 128.00 3.20"], &["a A 40", "b A 3"]);
    assert_eq!(told(&found), ["b A 0->3 9.60 beyond"]);
}

#[test]
fn an_invoice_bills_the_corrections_of_a_statement_and_a_platform_knows_none() {
    let lines = ["a A 40 128.00 3.20"];
    let corrected = ["2026-09 a A -2 -6.40", "2026-08 a A 1 3.20", "2026-09 b A 1 3.20"];
    assert_eq!(told(&invoiced(&lines, &corrected, &["a A 39 124.80", "b A 1 3.20"])), [""; 0]);
    let found = invoiced(&lines, &corrected, &["a A 40 128.00"]);
    assert_eq!(told(&found), ["a A 39->40 3.20", "b A 1->0 -3.20"]);
    assert!(found.differences.iter().all(|one| one.is_ours), "a correction alone is a line of ours");
    let undone = [corrected[2], "2026-08 b A -1 -3.20"];
    let found = invoiced(&lines, &undone, &["a A 40 128.00", "b A 1 3.20"]);
    assert_eq!(told(&found), ["b A 0->1 3.20"]);
    assert!(!found.differences[0].is_ours, "corrections that come to nothing are none");
    assert_eq!(told(&provisioned(&lines, &["a A 40"])), [""; 0]);
}

#[test]
fn what_is_listed_without_a_number_is_not_compared() {
    let found = provisioned(&["a A 40", "b A 7"], &["a A -", "b A 7"]);
    assert_eq!((told(&found), found.untold, found.ours.to_string()), (vec![], 1, "7".to_owned()));
}

#[test]
fn a_line_in_another_currency_is_told_and_its_money_is_added_to_nothing() {
    let found =
        invoiced(&["a A 40 128.00 3.20", "b B 5 10.00 2.00 EUR"], &[], &["a A 40 128.00", "b B 5 11.00"]);
    assert_eq!(told(&found), ["b B 5->5 beyond"]);
    assert_eq!(found.differences[0].other_currency.as_deref(), Some("EUR"));
    assert_eq!(found.cost.unwrap().to_string(), "128.00");
    assert_eq!(found.currency.as_deref(), Some("USD"));
    let platform = provisioned(&["a A 40 128.00 3.20", "b B 5 10.00 2.00 EUR"], &[]);
    assert_eq!(platform.currency, None, "there are two");
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn differences_add_up_to_the_difference_of_the_sums() {
    for seed in 1..300 {
        let mut dice = Dice(seed);
        let (mut lines, mut said) = (Vec::new(), Vec::new());
        for customer in 0..dice.below(8) {
            for sku in 0..dice.below(4) {
                let (ours, theirs) = (dice.below(50), dice.below(50));
                let theirs = if dice.below(3) == 0 { ours } else { theirs };
                let cost = ours * 320;
                if dice.below(4) > 0 {
                    let cost = format!("{}.{:02}", cost / 100, cost % 100);
                    lines.push(format!("c{customer} S{sku} {ours} {cost} 3.20"));
                }
                if dice.below(4) > 0 {
                    let amount = if dice.below(3) == 0 { theirs * 320 } else { dice.below(20_000) };
                    said.push(format!("c{customer} S{sku} {theirs} {}.{:02}", amount / 100, amount % 100));
                }
            }
        }
        let (lines, said): (Vec<&str>, Vec<&str>) =
            (lines.iter().map(String::as_str).collect(), said.iter().map(String::as_str).collect());
        let found = invoiced(&lines, &[], &said);
        let mut sum = (Quantity::ZERO, Decimal::zero(2));
        for one in &found.differences {
            assert!(!one.difference.is_zero() || one.money.unwrap().mantissa() != 0, "seed {seed}");
            sum = (sum.0.plus(one.difference).unwrap(), sum.1.plus(one.money.unwrap()).unwrap());
        }
        assert_eq!(sum.0, found.theirs.minus(found.ours).unwrap(), "seed {seed}");
        let money = found.amount.unwrap().minus(found.cost.unwrap()).unwrap();
        assert_eq!(sum.1, money, "seed {seed}");
        let same: Vec<String> =
            lines.iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
        let same: Vec<&str> = same.iter().map(String::as_str).collect();
        assert_eq!(told(&invoiced(&lines, &[], &same)), [""; 0], "seed {seed}");
    }
}

fn open_lines(house: &House, but: &str) -> Vec<(String, u64)> {
    let open = open(&house.fold, but.parse().unwrap()).unwrap();
    open.into_iter().map(|one| (format!("{} {}", one.period, one.source), one.lines)).collect()
}

fn explained(sides: [&str; 4]) -> Fact {
    let [ours, theirs, cost, amount] = sides.map(str::to_owned);
    let key = key("a", "A");
    Fact::DifferenceExplained(DifferenceExplained {
        distributor: "ingram".to_owned(),
        period: "2026-10".to_owned(),
        source: "invoice".to_owned(),
        customer: key.0.to_string(),
        sku: key.1.to_string(),
        ours,
        theirs,
        cost,
        amount,
    })
}

#[test]
fn a_difference_stays_open_until_somebody_says_why_of_these_very_numbers() {
    let mut house = House::sealed(&["a A 40 128.00 3.20", "b A 2 6.40 3.20"]);
    assert_eq!(open_lines(&house, "2026-11"), []);
    house.said("invoice", &["a A 44 140.80", "b A 3 9.60"]);
    house.said("lmpi", &["a A 40", "b A 9"]);
    let both = [("2026-10 invoice".to_owned(), 1), ("2026-10 lmpi".to_owned(), 1)];
    assert_eq!(open_lines(&house, "2026-11"), both);
    assert_eq!(open_lines(&house, "2026-10"), [], "a month is not in its own way");
    assert_eq!(house.write(explained(["40", "43", "128.00", "140.80"]), "rack"), crate::fold::Verdict::Taken);
    assert_eq!(open_lines(&house, "2026-11"), both, "of other numbers");
    house.write(explained(["40", "44", "128.00", "140.80"]), "a rack that is not ours to see");
    assert_eq!(open_lines(&house, "2026-11"), [("2026-10 lmpi".to_owned(), 1)]);
    let (_, found) = sealed_body(&house.fold, "2026-10".parse().unwrap(), "ingram").unwrap().unwrap();
    let set = house.fold.reconciliation().get(&against("invoice")).unwrap();
    let one = compare(&found, &Source::Invoice, set).unwrap().differences.remove(0);
    let why = house.fold.reconciliation().explained(&against("invoice"), &key("a", "A"), &one.sides).unwrap();
    assert_eq!((why.reason.as_str(), why.by.as_str()), ("a rack that is not ours to see", "opr_a"));
    house.said("invoice", &["a A 45 144.00", "b A 3 9.60"]);
    assert_eq!(open_lines(&house, "2026-11"), both, "the invoice says something else now");
}

#[test]
fn what_superseded_a_statement_is_what_is_compared() {
    let mut house = House::sealed(&["a A 40 128.00 3.20"]);
    house.said("invoice", &["a A 44 140.80"]);
    assert_eq!(open_lines(&house, "2026-11").len(), 1);
    let mut second = body_json(&["a A 44 140.80 3.20"], &[]);
    second["revision"] = 2.into();
    house.seal(&second);
    assert_eq!(open_lines(&house, "2026-11"), []);
}
