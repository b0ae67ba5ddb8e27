//! What a number rests on, asked of a real collector on the command line: a draft and a sealed month explained, and
//! questions that have no answer.

use seatbeat_fleet::client::Door;
use seatbeat_fleet::machine::Machine;
use seatbeat_fleet::seed::Seed;
use serde_json::Value;

use crate::desk::{Desk, eventually, text};
use crate::months::{OCTOBER, desk_in_october, instant, report, restart_at};
use crate::reporters::reporter;

/// Two machines of which one is counted and one is silent from the start, and who they are.
fn two() -> (Desk, Door, [Machine; 2]) {
    let (desk, door) = desk_in_october(0, "2");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut machines = ["counted", "late"].map(|name| reporter(name, &Seed::new(7)));
    for machine in &machines {
        runtime.block_on(door.enrol(machine, instant(OCTOBER))).expect("the token lets it in");
    }
    let at = ["2026-10-19T08:00:00Z", "2026-10-20T08:00:00Z"];
    runtime.block_on(report(&door, &mut machines[0], OCTOBER, &at));
    (desk, door, machines)
}

fn explain<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["statement", "explain", "2026-10"], more].concat()
}

const LINE: [&str; 4] = ["--customer", "cus_a", "--sku", "DS-CLOUD"];

fn report_of(told: &Value) -> (u64, &str) {
    let report = &told["machines"][0]["reports"][0];
    (report["position"].as_u64().expect("a position"), report["observed_at"].as_str().expect("an instant"))
}

#[test]
fn a_line_is_explained_down_to_the_records_and_after_its_seal_says_what_came_later() {
    let (mut desk, door, mut machines) = two();
    let told = eventually("the report's search row is there", || {
        let told = desk.operator_json(&explain(&LINE));
        (told["machines"][0]["reports"].as_array().is_some_and(|rows| !rows.is_empty())).then_some(told)
    });
    assert_eq!((&told["line"]["quantity"], &told["counted"]), (&"1".into(), &1.into()), "{told:#}");
    assert_eq!(told["machines"][0]["seats"][0]["confirmed"], serde_json::json!([19, 20]), "{told:#}");
    // The first of the days with most seats is the line's.
    let (position, observed_at) = report_of(&told);
    assert_eq!(observed_at, "2026-10-19T08:00:00Z");
    let known = desk.operator_json(&["machines", "show", machines[0].id().as_str()]);
    let positions: Vec<u64> =
        known["recent"].as_array().expect("rows").iter().filter_map(|row| row["position"].as_u64()).collect();
    assert!(positions.contains(&position), "{position} is not among {positions:?}");
    let shown = desk.operator_ok(&explain(&LINE));
    assert!(shown.contains("1 = 1 confirmed + 0 presumed, on 2026-10-19"), "{shown}");

    // Scrapped, so that nobody waits for it.
    let late = machines[1].id().to_string();
    desk.operator_ok(&["machines", "retire", &late, "--reason", "scrapped", "--yes"]);
    restart_at(&mut desk, "2026-11-04T12:00:00Z");
    desk.operator_ok(&["statement", "close", "2026-10"]);
    let told = desk.operator_json(&explain(&LINE));
    assert_eq!(
        (&told["sealed"]["quantity"], &told["sealed"]["since"]),
        (&"1".into(), &"0".into()),
        "{told:#}"
    );

    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let evidence = ["2026-10-19T08:30:00Z", "2026-11-04T11:00:00Z"];
    runtime.block_on(report(&door, &mut machines[1], "2026-11-04T12:00:00Z", &evidence));
    let told = desk.operator_json(&explain(&LINE));
    let numbers = ["quantity", "since", "to_carry"].map(|field| told["sealed"][field].clone());
    assert_eq!(numbers, ["1", "1", "1"], "{told:#}");
    assert_eq!((&told["line"]["quantity"], &told["counted"]), (&"2".into(), &2.into()), "{told:#}");
    let shown = desk.operator_ok(&explain(&LINE));
    assert!(
        shown.contains("1; what came after the seal makes it +1, as a correction: +1 not carried yet"),
        "{shown}"
    );
    let next = desk.operator_json(&["statement", "close", "2026-11", "--dry-run"]);
    assert_eq!(next["statement"]["corrections"][0]["delta"], "1", "{next:#}");
}

#[test]
fn who_is_not_billed_and_who_is_silent_is_shown_with_the_draft_and_page_by_page() {
    let (mut desk, _door, machines) = two();
    let counted = machines[0].id().to_string();
    let unmapped = ["customers", "map", "cus_a", "dsa-cloud", "--unbilled", "--reason", "a gift", "--yes"];
    let at = ["--at", "2026-10-01T00:00:00Z"];
    desk.operator_ok(&[&unmapped[..], &at[..]].concat());
    restart_at(&mut desk, "2026-11-04T12:00:00Z");
    let draft = desk.operator_json(&["statement", "show", "2026-10"]);
    let review = &draft["review"];
    assert_eq!(review["unbilled"]["rows"][0]["reason"], "null_sku", "{review:#}");
    assert_eq!(review["unbilled"]["rows"][0]["days"], serde_json::json!([19, 20]), "{review:#}");
    assert_eq!(review["silent"]["rows"][0]["machine"], machines[1].id().as_str(), "{review:#}");
    let dated = &review["back_dated"]["rows"][0];
    assert_eq!((&dated["reason"], &dated["record"]["type"]), (&"a gift".into(), &"sku_assigned".into()));
    let page = desk.operator_ok(&["statement", "close", "2026-10", "--dry-run"]);
    let (blocked, rest) = page.split_once("\n\n").expect("blocks");
    assert!(blocked.starts_with("In the way\n- only 1 of 2 machines"), "{page}");
    for words in ["Not billed", "is deliberately not billed", "Silent machines", "Dated back", "a gift"] {
        assert!(rest.contains(words), "{words:?} in\n{page}");
    }
    let file = desk.path("draft.html");
    desk.operator_ok(&["statement", "show", "2026-10", "--format", "html", "--to", text(&file)]);
    let html = std::fs::read_to_string(&file).expect("the page was written");
    assert!(html.contains("Silent machines") && html.contains(machines[1].id().as_str()), "{html}");
    let told = desk.operator_json(&explain(&["--customer", "cus_a", "--limit", "1"]));
    assert_eq!(
        (&told["not_counted"], &told["machines"][0]["machine"]),
        (&1.into(), &counted.into()),
        "{told:#}"
    );
}

#[test]
fn what_cannot_be_explained_or_closed_says_why_and_changes_nothing() {
    let (desk, _door, _machines) = two();
    let size = || desk.operator_json(&["status"])["journal_size"].clone();
    let before = size();
    let check = |arguments: &[&str], words: &str, hint: &str| {
        let said = desk.operator_fails(arguments);
        assert!(said.contains("error: ") && said.contains(words), "{words:?} in\n{said}");
        assert!(hint.is_empty() || said.contains(&format!("hint: {hint}")), "{hint:?} in\n{said}");
    };
    check(
        &explain(&["--customer", "cus_x", "--sku", "DS-CLOUD"]),
        "`cus_x` is not known",
        "`seatbeat customers list`",
    );
    check(&explain(&["--customer", "cus_a", "--sku", "DX"]), "`DX` is not named in the policy", "");
    check(&explain(&["--machine", "mch_x"]), "`mch_x` is not known", "`seatbeat machines list`");
    check(&["statement", "explain", "2026-12"], "2026-12 has not begun: it is 2026-10", "");
    check(
        &["statement", "explain", "2001-01"],
        "before any machine was enrolled",
        "there is nothing to seal",
    );
    check(&["statement", "close", "2026-10"], "is not over", "`seatbeat usage` shows the month so far");
    check(
        &["statement", "close", "2026-10", "--approve", "sha256:00"],
        "no draft of period 2026-10",
        "look at the draft",
    );
    for wrong in [&explain(&["--sku", "DS-CLOUD"])[..], &["statement", "explain", "October"]] {
        assert_eq!(desk.operator(wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(size(), before, "a question or a refusal wrote something");
}
