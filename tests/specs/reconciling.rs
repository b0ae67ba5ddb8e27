//! A distributor's invoice beside a sealed month, from the command line: taken in, compared, in the way of the next
//! month, explained.

use std::fs;

use seatbeat_fleet::seed::Seed;

use crate::desk::{Desk, text};
use crate::months::{OCTOBER, configure, desk_in_october, instant, report, restart_at};
use crate::reporters::reporter;

const COLUMNS: &str = "customer = \"Company\"\nsku = \"Part no\"\nquantity = \"Qty\"\namount = \"Net\"\n\
    currency = \"Cur\"\n[skus]\n\"TM-DS\" = \"DS-CLOUD\"\n";

struct Month {
    desk: Desk,
    columns: String,
}

impl Month {
    fn file(&self, name: &str, text_of: &str) -> String {
        let path = self.desk.path(name);
        fs::write(&path, text_of).expect("a file can be written");
        text(&path).to_owned()
    }

    fn import<'a>(&'a self, file: &'a str, options: &[&'a str]) -> Vec<&'a str> {
        let verb = ["reconcile", "2026-10", "--invoice", file, "--columns", &self.columns];
        verb.iter().chain(options).copied().collect()
    }

    fn refused(&self, rows: &str, words: &[&str]) {
        let file = self.file("bad.csv", &format!("Company;Part no;Qty;Net;Cur\n{rows}"));
        let size = self.size();
        let said = self.desk.operator_fails(&self.import(&file, &[]));
        for word in words.iter().chain(&["nothing was taken in", "hint: "]) {
            assert!(said.contains(word), "{word:?} in\n{said}");
        }
        assert_eq!(self.size(), size, "a record was written");
    }

    fn size(&self) -> u64 {
        self.desk.operator_json(&["status"])["journal_size"].as_u64().expect("a size")
    }
}

/// October is sealed with one seat for ingram; another machine, seen in September last, is in no line.
fn sealed_october() -> (Month, impl FnMut(&Desk, &str)) {
    let (mut desk, door) = desk_in_october(0, "2");
    configure(&desk, "coverage_percent", "0");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut machines = ["here", "away"].map(|name| reporter(name, &Seed::new(9)));
    for (machine, seen) in machines.iter_mut().zip(["2026-10-20T08:00:00Z", "2026-09-25T08:00:00Z"]) {
        runtime.block_on(door.enrol(machine, instant(OCTOBER))).expect("the token lets it in");
        runtime.block_on(report(&door, machine, OCTOBER, &[seen]));
    }
    restart_at(&mut desk, "2026-11-04T12:00:00Z");
    let early = desk.operator_fails(&["reconcile", "2026-10"]);
    assert!(early.contains("period 2026-10 is not sealed") && early.contains("hint: "), "{early}");
    desk.operator_ok(&["statement", "close", "2026-10"]);
    let [mut machine, _] = machines;
    let reports = move |_: &Desk, now: &str| runtime.block_on(report(&door, &mut machine, now, &[now]));
    let mut month = Month { desk, columns: String::new() };
    month.columns = month.file("columns.toml", COLUMNS);
    (month, reports)
}

#[test]
fn an_invoice_that_differs_is_in_the_way_of_the_next_month_until_somebody_says_why() {
    let (mut month, mut reports) = sealed_october();
    let nothing = month.desk.operator(&["reconcile", "2026-10"]);
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(nothing.status.success() && said.contains("nothing is known of what ingram says"), "{said}");

    let rows = "Company;Part no;Qty;Net;Cur\nA customer;TM-DS;5;16,00;USD\n";
    let invoice = month.file("invoice.csv", rows);
    let size = month.size();
    let dry = month.desk.operator_json(&month.import(&invoice, &["--decimal-comma", "--dry-run"]));
    let row = &dry["compared"]["rows"][0];
    assert_eq!((&row["ours"], &row["theirs"], &row["difference"]), (&"1".into(), &"5".into(), &"4".into()));
    assert_eq!((&row["money"], &row["why"], &row["silent"]), (&"12.80".into(), &"unheard".into(), &1.into()));
    assert_eq!(month.size(), size, "a dry run was written");
    month.desk.operator_ok(&month.import(&invoice, &["--decimal-comma", "--reason", "invoice 4711"]));
    let page = month.desk.operator_ok(&["reconcile", "2026-10"]);
    for words in [
        "against      invoice",
        "5 seats, 16.00 USD",
        "1 silent; not heard from for 36 days",
        "no: needs a reason",
    ] {
        assert!(page.contains(words), "{words:?} in\n{page}");
    }

    restart_at(&mut month.desk, "2026-11-25T08:00:00Z");
    reports(&month.desk, "2026-11-25T08:00:00Z");
    restart_at(&mut month.desk, "2026-12-04T12:00:00Z");
    let said = month.desk.operator_fails(&["statement", "close", "2026-11"]);
    for words in ["1 thing stands in the way", "the invoice of ingram differs from the statement of 2026-10"]
    {
        assert!(said.contains(words), "{words:?} in\n{said}");
    }
    let line = ["--customer", "cus_a", "--sku", "DS-CLOUD", "--reason", "their clerk's typing error"];
    let told = month.desk.operator_json(&[&["reconcile", "explain", "2026-10"], &line[..]].concat());
    assert_eq!((&told["open"], &told["source"]), (&0.into(), &"invoice".into()), "{told:#}");
    let compared = month.desk.operator_json(&["reconcile", "2026-10", "--source", "invoice"]);
    let row = &compared["compared"][0]["rows"][0];
    assert_eq!(row["explained"]["reason"], "their clerk's typing error", "{row:#}");
    month.desk.operator_ok(&["statement", "close", "2026-11"]);
    let file = fs::read_to_string(month.desk.store().join("statements/2026-11-ingram-r1.json"));
    assert!(!file.expect("it was dropped").contains("open_differences"));
}

#[test]
fn an_invoice_is_refused_by_the_row() {
    let (mut month, _) = sealed_october();
    month.refused("Nobody;TM-DS;1;3.20;USD\n", &["bad.csv, line 2: customer `Nobody` is not known here"]);
    month.refused("cus_a;TM-X;1;3.20;USD\n", &["line 2: SKU `TM-X` is not known here", "[skus]"]);
    month.refused("cus_a;TM-DS;1;3.20;EUR\n", &["line 2: it is in EUR, the statement was sealed in USD"]);
    month.refused("cus_a;TM-DS;1;3,20;USD\n", &["line 2: amount `3,20` has a comma", "--decimal-comma"]);
    let twice = "cus_a;TM-DS;1;3.20;USD\nA customer;DS-CLOUD;1;-3.20;USD\nshort\n";
    month.refused(twice, &["line 3: SKU `DS-CLOUD` of cus_a is in line 2 already", "line 4: it has 1 cells"]);
    month.refused("", &["it has no row below its first line"]);
    let file = month.file("heads.csv", "Firma;Part no\nx;y\n");
    let said = month.desk.operator_fails(&month.import(&file, &[]));
    assert!(said.contains("line 1: it has no column `Company`; there are `Firma`, `Part no`"), "{said}");
    let missing = month.desk.operator_fails(&month.import("/nowhere/i.csv", &[]));
    assert!(missing.contains("failed to read `/nowhere/i.csv`"), "{missing}");
    let other = month.desk.operator_fails(&month.import(&file, &["--distributor", "td"]));
    assert!(other.contains("`td` has no sealed statement of 2026-10; sealed are those of ingram"), "{other}");
    month.columns = month.file("columns.toml", "customer = \"Company\"\n");
    let said = month.desk.operator_fails(&month.import(&file, &[]));
    assert!(said.contains("the columns file cannot be used: missing field `sku`"), "{said}");
    let usage = month.desk.operator(&["reconcile", "2026-10", "--invoice", "i.csv"]);
    assert_eq!(usage.status.code(), Some(2));
    let line = ["--customer", "cus_a", "--sku", "DS-CLOUD", "--reason", "why"];
    let said = month.desk.operator_fails(&[&["reconcile", "explain", "2026-10"], &line[..]].concat());
    assert!(said.contains("`DS-CLOUD` of cus_a does not differ in 2026-10"), "{said}");
}
