//! Licences at the command line: a file that is taken whole, seats that are given once, codes that nobody sees who did
//! not ask for them.

use std::fs;
use std::process::Command;

use seatbeat_fleet::seed::Seed;

use crate::desk::{Desk, text};
use crate::months::{OCTOBER, desk_in_october, instant, report};
use crate::reporters::reporter;

const CODES: [&str; 2] = ["WF-YEZ5-N2A97-CF68K-NE9QT-28NQ3-UEU5M", "DS-WBKG-ZDLB8-TSVW5-DV6MQ-ZTGC5-VHLDP"];

const POLICY: &str = "zone = \"Europe/Berlin\"\n[default_sku]\nwfbs-svc = \"WF-SVC\"\ndsa = \"DS\"\n";

struct Licences {
    desk: Desk,
}

impl Licences {
    fn open() -> Self {
        let licences = Self { desk: Desk::open() };
        let policy = licences.file("policy.toml", POLICY);
        licences.desk.operator_ok(&["policy", "set", &policy]);
        for customer in ["cus_acme", "cus_other"] {
            licences.desk.operator_ok(&["customers", "add", customer, "--id", customer]);
        }
        licences
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.desk.path(name);
        fs::write(&path, content).expect("a file can be written");
        text(&path).to_owned()
    }

    fn refused(&self, arguments: &[&str], words: &[&str]) {
        let said = self.desk.operator_fails(arguments);
        for word in words.iter().chain(&["hint: "]) {
            assert!(said.contains(word), "{word:?} in\n{said}");
        }
    }

    /// Seats by licence: all, held, free.
    fn seats(&self, licence: &str) -> [u64; 3] {
        let list = self.desk.operator_json(&["licences", "list"]);
        let rows = list["licences"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["licence"] == licence).expect("it is listed");
        ["seats", "allotted", "free"].map(|name| row[name].as_u64().expect("a number"))
    }

    /// Whether a text stands anywhere in the store, as it is on the disk.
    fn store_holds(&self, words: &str) -> bool {
        let found = Command::new("grep").args(["-raq", words]).arg(self.desk.store()).status();
        found.expect("grep runs").success()
    }
}

#[test]
fn licences_are_imported_whole_given_once_and_their_codes_stay_hidden() {
    let house = Licences::open();
    let bad = format!(
        "product,sku,seats,code\nwfbs-svc,WF-SVC,25,{0}\nnonsense,NONE,1,\nwfbs-svc,WF-SVC,-3,\nwfbs-svc,WF-SVC,1,{0}\n",
        CODES[0]
    );
    house.refused(
        &["licences", "import", &house.file("bad.csv", &bad)],
        &[
            "nothing was added: 4 things are wrong",
            "line 3: `nonsense` is no product",
            "line 3: `sku` `NONE` is not named in the policy",
            "line 4: `-3` is no number of seats",
            "line 5: the code stands in the file twice",
        ],
    );
    let missing = house.desk.operator_fails(&["licences", "import", "/nowhere/x.csv"]);
    assert!(missing.contains("failed to read `/nowhere/x.csv`"), "{missing}");
    let good = format!("product,sku,seats,code\nwfbs-svc,WF-SVC,25,{}\ndsa,DS,3,{}\n", CODES[0], CODES[1]);
    let good = house.file("good.csv", &good);
    let asked = house.desk.operator_json(&["licences", "import", &good, "--dry-run"]);
    assert_eq!((asked["rows"].as_u64(), asked["licences"].as_array().map(Vec::len)), (Some(2), Some(0)));
    let added = house.desk.operator_json(&["licences", "import", &good, "--reason", "order 4711"]);
    let id = |index: usize| added["licences"][index].as_str().expect("an id").to_owned();
    let (wf, ds) = (id(0), id(1));
    house.refused(&["licences", "import", &good], &[&format!("the code is there already, as {wf}")]);

    house.desk.operator_ok(&["licences", "allot", &ds, "--to", "cus_acme", "--seats", "2"]);
    house.refused(
        &["licences", "allot", &ds, "--to", "cus_other", "--seats", "2"],
        &["nobody holds 1 of the 3 seats", "2 were asked for"],
    );
    house.refused(
        &["licences", "allot", &ds, "--to", "cus_other", "--from", "cus_acme", "--seats", "3"],
        &["cus_acme holds 2 of the 3 seats"],
    );
    house.refused(&["licences", "allot", &ds, "--to", "cus_none"], &["customer `cus_none` is not known"]);
    house.refused(
        &["licences", "allot", "lic_none", "--to", "cus_acme"],
        &["licence `lic_none` is not known"],
    );
    house.desk.operator_ok(&["licences", "allot", &ds, "--to", "cus_other", "--from", "cus_acme"]);
    house.desk.operator_ok(&["licences", "free", &ds, "--from", "cus_other"]);
    assert_eq!((house.seats(&ds), house.seats(&wf)), ([3, 1, 2], [25, 0, 25]));

    let shown = house.desk.operator_ok(&["licences", "list"]);
    assert!(shown.contains("DS-…-HLDP") && !shown.contains(CODES[1]), "{shown}");
    let silent = house.desk.operator_fails(&["licences", "reveal", &ds, "--reason", " "]);
    assert!(silent.contains("the reason is missing"), "{silent}");
    let size = |house: &Licences| house.desk.operator_json(&["status"])["journal_size"].as_u64();
    let before = size(&house);
    let code = house.desk.operator_ok(&["licences", "reveal", &ds, "--reason", "activation by phone"]);
    assert_eq!(code.trim(), CODES[1]);
    assert_eq!(size(&house), before.map(|size| size + 1), "that it was shown is on record");
    assert!(!CODES.iter().any(|code| house.store_holds(code)), "a code is on the disk in clear");
    assert!(!house.desk.log().contains(CODES[1]));
}

#[test]
fn licences_survive_a_kill_and_one_that_is_withdrawn_is_gone() {
    let mut house = Licences::open();
    let file = house.file("one.csv", &format!("product;sku;seats;code\ndsa;DS;3;{}\n", CODES[1]));
    let added = house.desk.operator_json(&["licences", "import", &file]);
    let ds = added["licences"][0].as_str().expect("an id").to_owned();
    house.desk.operator_ok(&["licences", "allot", &ds, "--to", "cus_acme", "--seats", "2"]);
    house.desk.kill();
    house.desk.start();
    assert_eq!(house.seats(&ds), [3, 2, 1]);
    let code = house.desk.operator_ok(&["licences", "reveal", &ds, "--reason", "x"]);
    assert_eq!(code.trim(), CODES[1]);
    house.desk.operator_ok(&["licences", "withdraw", &ds, "--reason", "given back"]);
    house.refused(&["licences", "reveal", &ds, "--reason", "x"], &["is not known here"]);
    house.refused(&["licences", "allot", &ds, "--to", "cus_acme"], &["is not known here"]);
    let list = house.desk.operator_json(&["licences", "list"]);
    assert_eq!(list["licences"].as_array().map(Vec::len), Some(0));
    assert!(
        house.desk.operator_json(&["licences", "import", &file])["licences"][0].is_string(),
        "a code may return"
    );
}

#[test]
fn a_statement_s_line_shows_its_licences_with_masked_codes_and_what_runs_beyond_them() {
    let (desk, door) = desk_in_october(0, "2");
    let house = Licences { desk };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    for name in ["one", "two"] {
        let mut machine = reporter(name, &Seed::new(7));
        runtime.block_on(door.enrol(&machine, instant(OCTOBER))).expect("the token lets it in");
        runtime.block_on(report(&door, &mut machine, OCTOBER, &["2026-10-20T08:00:00Z"]));
    }
    let file = house.file("one.csv", &format!("product,sku,seats,code\ndsa-cloud,DS-CLOUD,5,{}\n", CODES[1]));
    let added = house.desk.operator_json(&["licences", "import", &file]);
    let licence = added["licences"][0].as_str().expect("an id");
    house.desk.operator_ok(&["licences", "allot", licence, "--to", "cus_a"]);

    let draft = house.desk.operator_json(&["statement", "close", "2026-10", "--dry-run"]);
    let held = &draft["review"]["licences"][0]["held"][0];
    assert_eq!((held["code"].as_str(), held["seats"].as_u64()), (Some("DS-…-HLDP"), Some(1)), "{draft:#}");
    let page = house.desk.operator_ok(&["statement", "show", "2026-10", "--format", "html"]);
    assert!(page.contains("1 of DS-…-HLDP") && !page.contains(CODES[1]), "{page}");
    let list = house.desk.operator_json(&["licences", "list", "--customer", "cus_a"]);
    let holding = &list["holdings"][0];
    let seats = ["allotted", "used", "beyond"].map(|name| holding[name].as_u64());
    assert_eq!(seats, [Some(1), Some(2), Some(1)], "{list:#}");
}
