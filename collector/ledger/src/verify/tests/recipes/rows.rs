//! The rows of machines are changed.

use super::*;

pub(super) const RECIPES: &[Recipe] = &[
    (
        "dropped machine",
        |p| {
            let at = p.section("cus_acme", "A");
            p.lines.remove(at + 1);
            let lines = p.lines.len() - 1;
            p.edit(lines, |end| end["end"] = lines.into());
        },
        "line cus_acme, A: the statement counts 2 machines, the bundle has 1; line cus_acme, A: confirmed is 2, it should be 1; line cus_acme, A: measured is 2, it should be 1; line cus_acme, A: quantity is 2, it should be 1; line cus_acme, A: cost is 3.60, it should be 1.80; total of A: quantity is 6, it should be 5",
    ),
    (
        "repeated machine",
        |p| {
            let at = p.section("cus_acme", "A");
            p.lines.insert(at + 1, p.lines[at + 1].clone());
        },
        "line 5, line cus_acme, A: machine M stands here twice; line cus_acme, A: the statement counts 2 machines, the bundle has 3; line 20: the end line tells of 18 lines before it, there are 19; line cus_acme, A: confirmed is 2, it should be 3; line cus_acme, A: measured is 2, it should be 3; line cus_acme, A: quantity is 2, it should be 3; line cus_acme, A: cost is 3.60, it should be 5.40; total of A: quantity is 6, it should be 7",
    ),
    (
        "reordered machines",
        |p| {
            let at = p.section("cus_acme", "A");
            p.lines.swap(at + 1, at + 2);
        },
        "line 5, line cus_acme, A: machine M is not in its place; line cus_acme, A: the rows are not those that were sealed: their root is another",
    ),
    (
        "one machine in the place of another",
        |p| {
            let at = p.section("cus_acme", "A");
            p.lines[at + 2] = p.lines[at + 1].clone();
        },
        "line 5, line cus_acme, A: machine M stands here twice; line cus_acme, A: the rows are not those that were sealed: their root is another",
    ),
    (
        "changed days of a machine",
        |p| {
            let at = p.section("cus_zeta", "A");
            p.edit(at + 1, |row| row["confirmed"] = (row["confirmed"].as_u64().unwrap() >> 1).into());
        },
        "line 11, line cus_zeta, A: machine M has 2026-10-13, before its first counted day 2026-10-14; line cus_zeta, A: the rows are not those that were sealed: their root is another",
    ),
    (
        "presumed turned confirmed",
        |p| {
            let at = p.section("cus_acme", "A");
            let silent = |line: &String| serde_json::from_str::<Value>(line).unwrap()["presumed"] != 0;
            let row = at + 1 + p.lines[at + 1..].iter().position(silent).unwrap();
            p.edit(row, |row| {
                let all = row["confirmed"].as_u64().unwrap() | row["presumed"].as_u64().unwrap();
                (row["confirmed"], row["presumed"]) = (all.into(), 0.into());
            });
        },
        "line cus_acme, A: the rows are not those that were sealed: their root is another",
    ),
    (
        "a day twice",
        |p| {
            let at = p.section("cus_acme", "B");
            p.edit(at + 1, |row| row["presumed"] = 1.into());
        },
        "line 7, line cus_acme, B: machine M is both confirmed and presumed on 2026-10-01; line cus_acme, B: the rows are not those that were sealed: their root is another",
    ),
    (
        "a day beyond the month",
        |p| {
            let at = p.section("cus_acme", "B");
            p.edit(at + 1, |row| row["presumed"] = (1u64 << 31).into());
        },
        "line 7, line cus_acme, B: machine M has a day that the month has not; line cus_acme, B: the rows are not those that were sealed: their root is another",
    ),
    (
        "a machine without a day",
        |p| {
            let at = p.section("cus_acme", "B");
            p.edit(at + 1, |row| row["confirmed"] = 0.into());
        },
        "line 7, line cus_acme, B: machine M has no day; line cus_acme, B: the rows are not those that were sealed: their root is another; line cus_acme, B: confirmed is 1, it should be 0; line cus_acme, B: measured is 1, it should be 0; line cus_acme, B: quantity is 1, it should be 0; line cus_acme, B: cost is 1.80, it should be 0.00; total of B: quantity is 1, it should be 0",
    ),
    (
        "a first day dated back",
        |p| {
            let at = p.section("cus_acme", "B");
            p.edit(at + 1, |row| row["first"] = "2026-01-01".into());
        },
        "line cus_acme, B: the rows are not those that were sealed: their root is another",
    ),
    (
        "a first day after the days",
        |p| {
            let at = p.section("cus_acme", "B");
            p.edit(at + 1, |row| row["first"] = "2026-10-05".into());
        },
        "line 7, line cus_acme, B: machine M has 2026-10-01, before its first counted day 2026-10-05; line cus_acme, B: the rows are not those that were sealed: their root is another",
    ),
    (
        "too few days for the SKU",
        |p| {
            let at = p.section("cus_zeta", "C");
            p.edit(at + 1, |row| row["confirmed"] = 3.into());
        },
        "line 15, line cus_zeta, C: machine M is confirmed on 2 days, the policy asks for 3; line cus_zeta, C: the rows are not those that were sealed: their root is another",
    ),
    (
        "a free month that is billed",
        |p| {
            let at = p.section("cus_zeta", "C");
            p.edit(at + 1, |row| row["first"] = "2026-10-01".into());
        },
        "line 15, line cus_zeta, C: machine M has its first month, which the policy makes free; line cus_zeta, C: the rows are not those that were sealed: their root is another",
    ),
    (
        "another last report",
        |p| {
            let at = p.section("cus_acme", "C");
            p.edit(at + 1, |row| row["last"] = STANDARD.encode([7; 32]).into());
        },
        "line cus_acme, C: the rows are not those that were sealed: their root is another",
    ),
    (
        "moved to another line",
        |p| {
            let (from, to) = (p.section("cus_zeta", "A"), p.section("cus_acme", "A"));
            let row = p.lines.remove(from + 1);
            p.lines.insert(to + 1, row);
        },
        "line 5, line cus_acme, A: machine M is not in its place; line cus_acme, A: the statement counts 2 machines, the bundle has 3; line cus_zeta, A: the statement counts 3 machines, the bundle has 2",
    ),
    (
        "an invented machine",
        |p| {
            let at = p.section("cus_acme", "B");
            let row = p.lines[at + 1].clone();
            p.lines.insert(at + 2, row);
            p.edit(at + 2, |row| row["machine"] = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz".into());
        },
        "line cus_acme, B: the statement counts 1 machines, the bundle has 2; line 20: the end line tells of 18 lines before it, there are 19; line cus_acme, B: confirmed is 1, it should be 2; line cus_acme, B: measured is 1, it should be 2; line cus_acme, B: quantity is 1, it should be 2; line cus_acme, B: cost is 1.80, it should be 3.60; total of B: quantity is 1, it should be 2",
    ),
    (
        "left-out machine is no longer told of",
        |p| {
            let at = p.excluded();
            p.lines.remove(at + 1);
        },
        "line 18: the end line tells of 18 lines before it, there are 17; the excluded machines: the statement counts 2 machines, the bundle has 1",
    ),
    (
        "another reason",
        |p| {
            let at = p.excluded();
            let changed: Vec<String> =
                p.lines[at..].iter().map(|line| line.replacen("not_billed", "unmapped", 1)).collect();
            p.lines.splice(at.., changed);
        },
        "the excluded machines: the rows are not those that were sealed: their root is another",
    ),
    (
        "a reason that the policy does not know",
        |p| {
            let at = p.excluded();
            let changed: Vec<String> =
                p.lines[at..].iter().map(|line| line.replacen("not_billed", "min_days", 1)).collect();
            p.lines.splice(at.., changed);
        },
        "line 17, the excluded machines: machine M is left out as min_days, which the policy does not know; the excluded machines: the rows are not those that were sealed: their root is another",
    ),
    (
        "a line's machines are missing",
        |p| {
            let (from, to) = (p.section("cus_acme", "B"), p.section("cus_acme", "C"));
            p.lines.drain(from..to);
        },
        "line cus_acme, B: its machines are missing; line 17: the end line tells of 18 lines before it, there are 16; line cus_acme, B: confirmed is 1, it should be 0; line cus_acme, B: measured is 1, it should be 0; line cus_acme, B: quantity is 1, it should be 0; line cus_acme, B: cost is 1.80, it should be 0.00; total of B: quantity is 1, it should be 0",
    ),
    (
        "another line's machines first",
        |p| {
            let (from, to) = (p.section("cus_acme", "A"), p.section("cus_acme", "B"));
            let moved: Vec<String> = p.lines.drain(from..to).collect();
            let at = p.section("cus_zeta", "A");
            p.lines.splice(at..at, moved);
        },
        "line cus_acme, A: its machines are missing; line cus_zeta, A: its machines are missing; line cus_zeta, C: its machines are missing; the excluded machines: its machines are missing; line 7: here is line cus_acme, A, where the end should be",
    ),
    (
        "a row before its section",
        |p| {
            let at = p.section("cus_acme", "A");
            p.lines.swap(at, at + 1);
        },
        "line 3: here is a row, where the beginning of a section should be",
    ),
    (
        "a row with another field",
        |p| {
            let at = p.section("cus_acme", "A");
            p.edit(at + 1, |row| row["note"] = "x".into());
        },
        "line 4 is not the row of a machine: unknown field `note`, expected one of `agents`, `confirmed`, `first`, `last`, `machine`, `presumed` at line 1 column 143",
    ),
    (
        "a pseudonym opened to another machine",
        |p| {
            let named = p.house.bundle("2026-10", "ingram", &[40], true);
            p.lines = named.lines().map(str::to_owned).collect();
            let at = p.section("cus_acme", "B");
            p.edit(at + 2, |line| line["opened"]["machine"] = machine_id(2).as_str().into());
        },
        "line 10, line cus_acme, B: the row before is not that of mch_2",
    ),
];
