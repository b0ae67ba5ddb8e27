//! Which machines are behind a number, which are not and why, a page at a time.

use super::*;
use crate::scenario::Scenario;

/// October, with two machines of `acme`, one that was hers, and one of `zeta`.
fn month() -> Scenario {
    Scenario::new()
        .policy("presume_days = 2")
        .assigned("09-01 00:00", "n", "acme")
        .assigned("09-01 00:00", "o", "zeta")
        .assigned("09-01 00:00", "was", "acme")
        .assigned("09-02 00:00", "was", "zeta")
        .reports("m", [1, 28, 30], "a")
        .reports("n", [5], "a")
        .reports("o", [30], "a")
        .reports("was", [30], "a")
}

fn line(customer: &str, sku: &str) -> Of {
    Of::Line(format!("cus_{customer}").parse().unwrap(), sku.parse().unwrap())
}

fn id(machine: &str) -> MachineId {
    format!("mch_{machine}").parse().unwrap()
}

/// A page of October; usage days that begin after `as_of` are left out.
fn page(scenario: &Scenario, of: &Of, as_of: Option<&str>, after: Option<&str>, size: usize) -> Explanation {
    let (usage, policy) = (scenario.usage(), scenario.parsed_policy());
    let after = after.map(id);
    explain(Asked {
        usage: &usage,
        policy: &policy,
        period: "2026-10".parse().unwrap(),
        as_of: as_of.map(|at| crate::scenario::instant(at).parse().unwrap()),
        lines: &scenario.output().statement.lines,
        of,
        after: after.as_ref(),
        size,
    })
}

fn all(scenario: &Scenario, of: &Of) -> Explanation {
    page(scenario, of, None, None, 100)
}

/// `1 28-31`.
fn days(days: &[u8]) -> String {
    let runs = days.chunk_by(|day, next| day + 1 == *next);
    let words = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        alone => alone.iter().map(ToString::to_string).collect(),
    });
    words.collect::<Vec<String>>().join(" ")
}

/// `machine (agents) customer SKU confirmed/presumed, … | reason days, …`; a seat that counts has a star.
fn words(told: &MachineTold) -> String {
    let seat = |seat: &SeatTold| {
        let star = if seat.counts { "*" } else { "" };
        format!("{star}{} {} {}/{}", seat.customer, seat.sku, days(&seat.confirmed), days(&seat.presumed))
    };
    let reason = |row: &Unbilled| format!("{:?} {}", row.reason, days(&row.days));
    let seats: Vec<String> = told.seats.iter().map(seat).collect();
    let reasons: Vec<String> = told.reasons.iter().map(reason).collect();
    let agents: Vec<&str> = told.agents.iter().map(MachineId::as_str).collect();
    let (machine, agents) = (&told.machine, agents.join("+"));
    format!("{machine} ({agents}) {} | {}", seats.join(", "), reasons.join(", "))
}

fn told(explanation: &Explanation) -> Vec<String> {
    explanation.machines.iter().map(words).collect()
}

fn ids(explanation: &Explanation) -> Vec<&str> {
    explanation.machines.iter().map(|one| one.machine.as_str()).collect()
}

#[test]
fn a_seat_is_told_with_the_days_on_which_it_was_seen_and_those_on_which_it_was_presumed() {
    let counted = all(&month(), &line("acme", "A"));
    assert_eq!(
        told(&counted),
        [
            "mch_m () *cus_acme A 1 28 30/2-3 29 31 | WentSilent 4-27",
            "mch_n () cus_acme A 5/6-7 | OffDay 5-7, WentSilent 8-31",
        ]
    );
}

#[test]
fn a_line_is_explained_by_all_machines_that_have_to_do_with_the_customer_and_by_no_other() {
    let acme = all(&month(), &line("acme", "A"));
    assert_eq!((acme.counted, acme.not_counted), (1, 1));
    let zeta = all(&month(), &line("zeta", "A"));
    assert_eq!(ids(&zeta), ["mch_o", "mch_was"]);
    assert_eq!((zeta.counted, zeta.not_counted), (2, 0));
    let none = all(&month(), &line("nobody", "A"));
    assert_eq!(none, Explanation::default());
}

#[test]
fn a_machine_that_moved_on_is_told_to_the_customer_whose_it_was_on_a_day_that_it_was_seen() {
    let moved = month().assigned("10-29 00:00", "n", "zeta");
    assert_eq!(ids(&all(&moved, &line("acme", "A"))), ["mch_m", "mch_n"]);
    let silent = Scenario::new().assigned("10-02 00:00", "m", "zeta").reports("m", [30], "a");
    assert_eq!(ids(&all(&silent, &line("acme", "A"))), [""; 0]);
    assert_eq!(ids(&all(&silent, &line("zeta", "A"))), ["mch_m"]);
}

#[test]
fn what_is_in_no_line_is_told_of_one_customer_or_of_all_with_the_reports_that_were_rejected() {
    let records = month().flagged("10-01 00:00", "n", "pool").report("zz", "10-30 08:00", "a").report_at(
        ("m", "t", 1),
        "07-05 08:00",
        "10-05 08:00",
        "a",
    );
    let everybodys = all(&records, &Of::Unbilled(None));
    let acmes = "mch_n () cus_acme A 5/ | OffDay 5, Pool 6-7";
    assert_eq!(told(&everybodys), ["mch_m ()  | TooOld 5", acmes, "mch_zz ()  | Unassigned 30-31"]);
    assert_eq!((everybodys.counted, everybodys.not_counted), (0, 3));
    let of = |customer: &str| Of::Unbilled(Some(format!("cus_{customer}").parse().unwrap()));
    assert_eq!(told(&all(&records, &of("acme"))), [acmes]);
    assert_eq!(told(&all(&records, &of("zeta"))), [""; 0]);
}

#[test]
fn pages_follow_one_another_by_id_and_the_last_says_so() {
    let records = ["p", "q", "r"].into_iter().fold(month(), |records, machine| {
        records.assigned("09-01 00:00", machine, "acme").reports(machine, [30], "a")
    });
    let of = line("acme", "A");
    let whole = all(&records, &of);
    assert_eq!(ids(&whole), ["mch_m", "mch_n", "mch_p", "mch_q", "mch_r"]);
    assert_eq!(whole.next, None);
    let first = page(&records, &of, None, None, 2);
    assert_eq!((ids(&first), &first.next), (vec!["mch_m", "mch_n"], &Some(id("n"))));
    let second = page(&records, &of, None, Some("n"), 2);
    assert_eq!((ids(&second), &second.next), (vec!["mch_p", "mch_q"], &Some(id("q"))));
    let last = page(&records, &of, None, Some("q"), 2);
    assert_eq!((ids(&last), &last.next), (vec!["mch_r"], &None));
    let exact = page(&records, &of, None, Some("p"), 2);
    assert_eq!((ids(&exact), &exact.next), (vec!["mch_q", "mch_r"], &None));
    for part in [first, second, last, exact] {
        assert_eq!((part.counted, part.not_counted), (whole.counted, whole.not_counted), "of all pages");
    }
}

#[test]
fn agents_of_one_machine_are_told_together() {
    let joined = month().machines("merged", "10-09 00:00", "m", "n");
    assert_eq!(
        told(&all(&joined, &line("acme", "A"))),
        ["mch_m (mch_m+mch_n) *cus_acme A 1 5 28 30/2-3 6-7 29 31 | WentSilent 4 8-27, Merged 5"]
    );
}

#[test]
fn days_that_have_not_begun_are_told_of_nobody() {
    let of = line("acme", "A");
    let early = page(&month(), &of, Some("10-05 08:00"), None, 9);
    assert_eq!(
        told(&early),
        ["mch_m () *cus_acme A 1/2-3 | WentSilent 4-5", "mch_n () cus_acme A 5/ | OffDay 5"]
    );
    assert_eq!(page(&month(), &of, Some("09-30 08:00"), None, 9), Explanation::default());
}

fn of_machine(scenario: &Scenario, as_of: Option<&str>, agent: &str) -> Option<MachineMonth> {
    let (usage, policy) = (scenario.usage(), scenario.parsed_policy());
    let as_of = as_of.map(|at| crate::scenario::instant(at).parse().unwrap());
    let lines = scenario.output().statement.lines;
    explain_machine(&usage, &policy, "2026-10".parse().unwrap(), as_of, &lines, &id(agent))
}

#[test]
fn a_machines_month_has_the_days_that_began_and_those_on_which_it_was_seen() {
    let month = month().machines("merged", "10-09 00:00", "m", "n");
    let whole = of_machine(&month, None, "n").unwrap();
    assert_eq!(whole, of_machine(&month, None, "m").unwrap(), "whichever of its agents is asked for");
    assert_eq!(vec![words(&whole.told)], told(&all(&month, &line("acme", "A"))));
    assert_eq!(whole.seen, [1, 5, 28, 30]);
    assert_eq!(whole.begun, (1..=31).collect::<Vec<u8>>());
    let early = of_machine(&month, Some("10-03 08:00"), "m").unwrap();
    assert_eq!((early.seen, early.begun), (vec![1], vec![1, 2, 3]));
    assert_eq!(of_machine(&month, Some("09-30 08:00"), "m"), None, "no day has begun");
    assert_eq!(of_machine(&month, None, "unheard"), None);
}
