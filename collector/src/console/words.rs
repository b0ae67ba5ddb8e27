//! Blockers and flags in words: what is in the way, and what to do about it. Invariant: every blocker the ledger can
//! raise has an advice that names its subject; one that a newer ledger raises is still named.

use seatbeat_ledger::reconciliation::Source;
use seatbeat_ledger::reconciliation::compare::OpenDifferences;
use seatbeat_ledger::review::{InTheWay, LowCoverage, Undeliverable};
use seatbeat_ledger::statement::{Blocker, Flag};

/// What stands in the way of sealing, and how it is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// What stands in the way of a draft, in words.
pub fn in_the_way(one: &InTheWay) -> Advice {
    match one {
        InTheWay::Statement(blocker) => self::blocker(blocker),
        InTheWay::LowCoverage(low) => low_coverage(low),
        InTheWay::OpenDifferences(open) => open_differences(open),
        InTheWay::Undeliverable(one) => undeliverable(one),
    }
}

fn open_differences(open: &OpenDifferences) -> Advice {
    let OpenDifferences { period, distributor, source, lines, .. } = open;
    let says = match source {
        Source::Invoice => format!("the invoice of {distributor}"),
        Source::Destination(name) => format!("what {name} has on its books"),
    };
    Advice {
        what: format!(
            "in {lines} line(s) {says} differs from the statement of {period}, and nobody has said why"
        ),
        remedy: format!(
            "`seatbeat reconcile {period}` shows them, `seatbeat reconcile explain {period}` says why"
        ),
    }
}

fn low_coverage(low: &LowCoverage) -> Advice {
    let coverage = &low.coverage;
    Advice {
        what: format!(
            "only {} of {} machines were heard from on the last {} days, fewer than {} of 100",
            coverage.heard, coverage.expected, coverage.days, coverage.percent
        ),
        remedy:
            "bring the silent ones back, retire those that are gone (`seatbeat machines retire`), or set \
                 `coverage_percent` in seatbeat.toml"
                .to_owned(),
    }
}

fn undeliverable(one: &Undeliverable) -> Advice {
    let Undeliverable { destination, customer, sku, why, .. } = one;
    Advice {
        what: format!("customer {customer}, SKU {sku} cannot go to destination {destination}: {why}"),
        remedy: format!(
            "`seatbeat mapping import {destination} FILE.csv` says what it is called there; or take the destination \
             out of seatbeat.toml"
        ),
    }
}

/// A blocker of a statement in words.
pub fn blocker(blocker: &Blocker) -> Advice {
    let customer = named(blocker.customer.as_ref());
    let sku = named(blocker.sku.as_ref());
    let machine = named(blocker.machine.as_ref());
    let (what, remedy) = match (blocker.blocker.as_str(), &blocker.product) {
        ("unassigned", _) => (
            format!("machine {machine} belongs to no customer"),
            "give it to one: `seatbeat machines assign`".to_owned(),
        ),
        ("clock_trouble", _) => (
            format!("every report of machine {machine} in this period was rejected: its clock is wrong"),
            "set the machine's clock right, so that a report of it is accepted".to_owned(),
        ),
        ("unmapped_product", Some(product)) if product.is_family() => (
            format!("customer {customer} uses a product of {product} that could not be told apart"),
            "see `seatbeat machines show` for its signals, and set the machine right".to_owned(),
        ),
        ("unmapped_product", product) => {
            let product = named(product.as_ref());
            (
                format!("customer {customer} uses product {product}, which has no SKU"),
                format!(
                    "`seatbeat customers map {customer} {product} --sku SKU`, or name it in the policy for everybody"
                ),
            )
        }
        ("negative_quantity", _) => (
            format!("adjustments of {sku} for customer {customer} take away more than was used"),
            "enter one that gives them back: `seatbeat statement adjust`".to_owned(),
        ),
        (other, _) => (
            format!("{other}{}", subjects(&[customer, sku, machine])),
            "see the statement's draft".to_owned(),
        ),
    };
    Advice { what, remedy }
}

/// A flag in words.
pub fn flag(flag: &Flag) -> String {
    let customer = named(flag.customer.as_ref());
    let sku = named(flag.sku.as_ref());
    let machine = named(flag.machine.as_ref());
    let product = named(flag.product.as_ref());
    match flag.flag.as_str() {
        "forked_spool" => format!("machine {machine} reported two versions of the same: both count"),
        "went_silent" => {
            format!("machine {machine} went silent and is no longer presumed to use its licences")
        }
        "active_after_retirement" => format!("machine {machine} was retired and is still in use"),
        "merged_while_both_alive" => {
            format!("machine {machine} is made of two agents that were both alive in this period")
        }
        "active_after_switch_off" => format!("{product} on machine {machine} was switched off and is active"),
        "running_on_suspended_licence" => {
            format!("machine {machine} of customer {customer} uses {sku}, whose licence is suspended")
        }
        "declared_missing" => {
            format!("{sku} was declared for customer {customer} in the period before, and not in this one")
        }
        "possible_clone" => format!("machine {machine} may be a clone of another"),
        "possible_same_machine" => format!("machine {machine} may be the same as another"),
        "key_in_two_places" => format!("the key of machine {machine} is in two places"),
        other => format!("{other}{}", subjects(&[customer, sku, machine, product])),
    }
}

/// Days of a month, those in a row together: `1-3 7`.
pub fn days(days: &[u8]) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for day in days {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*day) => *last = *day,
            _ => runs.push((*day, *day)),
        }
    }
    let run = |(first, last): &(u8, u8)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.iter().map(run).collect::<Vec<_>>().join(" ")
}

fn named(id: Option<&impl ToString>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}

fn subjects(names: &[String]) -> String {
    names.iter().filter(|name| !name.is_empty()).map(|name| format!(" {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, what: &str, remedy: &str) {
        let advice = blocker(&serde_json::from_str(json).unwrap());
        assert_eq!((advice.what.as_str(), advice.remedy.as_str()), (what, remedy));
    }

    #[test]
    fn each_blocker_names_its_subject_and_a_way_out() {
        check(
            r#"{"blocker":"unmapped_product","customer":"cus_acme","product":"spnt"}"#,
            "customer cus_acme uses product spnt, which has no SKU",
            "`seatbeat customers map cus_acme spnt --sku SKU`, or name it in the policy for everybody",
        );
        check(
            r#"{"blocker":"unmapped_product","customer":"cus_acme","product":"family/worry-free"}"#,
            "customer cus_acme uses a product of family/worry-free that could not be told apart",
            "see `seatbeat machines show` for its signals, and set the machine right",
        );
        check(
            r#"{"blocker":"unassigned","machine":"mch_a"}"#,
            "machine mch_a belongs to no customer",
            "give it to one: `seatbeat machines assign`",
        );
        check(
            r#"{"blocker":"negative_quantity","customer":"cus_acme","sku":"WF-SVC"}"#,
            "adjustments of WF-SVC for customer cus_acme take away more than was used",
            "enter one that gives them back: `seatbeat statement adjust`",
        );
    }

    #[test]
    fn days_in_a_row_are_told_together() {
        assert_eq!(days(&[1, 2, 3, 7, 30, 31]), "1-3 7 30-31");
        assert_eq!((days(&[]), days(&[255])), (String::new(), "255".to_owned()));
    }

    #[test]
    fn low_coverage_says_how_low_and_what_to_do() {
        let low = r#"{"blocker":"low_coverage","heard":3,"expected":9,"percent":80,"days":14}"#;
        let advice = in_the_way(&serde_json::from_str(low).unwrap());
        assert_eq!(
            advice.what,
            "only 3 of 9 machines were heard from on the last 14 days, fewer than 80 of 100"
        );
        assert!(advice.remedy.contains("seatbeat machines retire"), "{}", advice.remedy);
    }

    #[test]
    fn open_differences_say_whose_and_how_they_are_settled() {
        let open = r#"{"blocker":"open_differences","period":"2026-10","distributor":"ingram","source":"invoice","lines":2}"#;
        let advice = in_the_way(&serde_json::from_str(open).unwrap());
        assert_eq!(
            advice.what,
            "in 2 line(s) the invoice of ingram differs from the statement of 2026-10, and nobody has said why"
        );
        assert!(advice.remedy.contains("seatbeat reconcile explain 2026-10"), "{}", advice.remedy);
    }

    #[test]
    fn what_a_newer_ledger_raises_is_still_named() {
        check(r#"{"blocker":"odd","machine":"mch_a"}"#, "odd mch_a", "see the statement's draft");
        let raised: Flag = serde_json::from_str(r#"{"flag":"by_hand","machine":"mch_a"}"#).unwrap();
        assert_eq!(flag(&raised), "by_hand mch_a");
    }
}
