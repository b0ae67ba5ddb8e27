//! Price lists at the command line: what is refused, with which words, and that nothing is half-done.

use std::fs;

use crate::desk::{Desk, text};

const SKUS: &str = "sku,name,price_group,distributor,unit,count,currency,min_days,free_first_month\n\
    WF-SVC,Worry-Free Services,wf,ingram,seat,high_water,EUR,0,no\n";
const TIERS: &str = "price_group,from,cost\nwf,1,2.10\nwf,25,1.80\n";

struct Lists {
    desk: Desk,
}

impl Lists {
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.desk.path(name);
        fs::write(&path, bytes).expect("a file can be written");
        text(&path).to_owned()
    }

    fn import<'a>(files: &'a [&'a str], options: &'a [&'a str]) -> Vec<&'a str> {
        let verb = ["prices", "import", "--from", "2026-10", "--new-distributor", "ingram"];
        verb.iter().chain(options).chain(files).copied().collect()
    }

    fn refused(&self, files: &[&str], words: &[&str]) {
        let size = self.size();
        let said = self.desk.operator_fails(&Self::import(files, &[]));
        for word in words.iter().chain(&["nothing was put in force", "hint: "]) {
            assert!(said.contains(word), "{word:?} in\n{said}");
        }
        assert_eq!(self.size(), size, "a record was written");
    }

    fn size(&self) -> u64 {
        self.desk.operator_json(&["status"])["journal_size"].as_u64().expect("a size")
    }
}

#[test]
fn price_lists_are_refused_by_the_row_and_taken_whole() {
    let lists = Lists { desk: Desk::open() };
    let (skus, tiers) = (lists.file("skus.csv", SKUS), lists.file("tiers.csv", TIERS));
    lists.refused(&[&lists.file("empty.csv", "")], &["empty.csv: it is empty"]);
    lists.refused(
        &[&lists.file("cut.csv", "sku,distributor\nA,ingram\n")],
        &["line 1: it has no column `currency`"],
    );
    let bad = "sku,distributor,currency,cost\nA,ingram,EUR,cheap\nB,ingram,EUR,-1\nC,ingram,EUR,1\nC,ingram,EUR,1\n";
    lists.refused(
        &[&lists.file("bad.csv", bad)],
        &[
            "3 things are wrong",
            "line 2: cost `cheap`",
            "line 3: cost `-1` is negative",
            "line 5: SKU `C` is in line 4",
        ],
    );
    let utf16: Vec<u8> = SKUS.encode_utf16().flat_map(u16::to_le_bytes).collect();
    lists.refused(&[&lists.file("utf16.csv", utf16)], &["it is UTF-16", "CSV UTF-8"]);
    let latin = b"sku,distributor,currency,cost,name\nA,ingram,EUR,1,M\xfcller\n";
    lists.refused(&[&lists.file("latin.csv", latin)], &["not UTF-8", "line 2", "Latin-1"]);
    lists.refused(&[&skus], &["line 2: price group `wf` has no tiers"]);
    let falling = lists.file("falling.csv", "price_group,from,cost\nwf,25,1\nwf,10,2\n");
    lists.refused(&[&skus, &falling], &["falling.csv, line 3: the tier from 10"]);
    let sell = lists.file("sell.csv", "sku,customer,price\nWF-SVC,cus_none,1\nNONE,,1\n");
    lists.refused(
        &[&skus, &tiers, &sell],
        &["line 2: customer `cus_none` is not known", "line 3: SKU `NONE`"],
    );
    let missing = lists.desk.operator_fails(&Lists::import(&["/nowhere/x.csv"], &[]));
    assert!(missing.contains("failed to read `/nowhere/x.csv`"), "{missing}");
    let typing = lists.desk.operator_fails(&["prices", "import", "--from", "2026-10", &skus, &tiers]);
    assert!(typing.contains("nothing is bought from distributor `ingram` yet"), "{typing}");

    let asked = lists.desk.operator_json(&Lists::import(&[&skus, &tiers], &["--dry-run"]));
    assert_eq!((asked["changes"]["counts"]["new"].as_u64(), asked.get("list")), (Some(1), None));
    let taken = lists.desk.operator_json(&Lists::import(&[&skus, &tiers], &[]));
    assert!(taken["list"].as_str().is_some_and(|list| list.starts_with("prl_")), "{taken}");
    let folder = lists.desk.path("out");
    lists.desk.operator_ok(&["prices", "export", "--period", "2026-12", "--to", text(&folder)]);
    assert_eq!(fs::read_to_string(folder.join("skus.csv")).expect("it is there"), SKUS);
    let out = ["skus.csv", "tiers.csv"].map(|name| text(&folder.join(name)).to_owned());
    let size = lists.size();
    let again = lists.desk.operator(&Lists::import(&[&out[0], &out[1]], &[]));
    assert!(again.status.success() && String::from_utf8_lossy(&again.stderr).contains("nothing to change"));
    assert_eq!(lists.size(), size);
}

#[test]
fn policies_hold_from_their_month_on() {
    let desk = Desk::open();
    let later = desk.path("later.toml");
    let now = desk.operator_ok(&["policy", "show"]);
    fs::write(&later, now.replace("presume_days = 7", "presume_days = 3")).expect("it is written");
    let set = desk.operator(&["policy", "set", text(&later), "--from", "2090-01"]);
    if !set.status.success() {
        panic!("{}", String::from_utf8_lossy(&set.stderr));
    }
    assert_eq!(desk.operator_ok(&["policy", "show"]), now);
    assert!(desk.operator_ok(&["policy", "show", "--period", "2090-02"]).contains("presume_days = 3"));
}

#[test]
fn money_is_written_in_every_format_and_customers_have_the_words_of_the_resellers_books() {
    let desk = Desk::open();
    desk.customer_with_token("cus_a", "1");
    let set = desk.operator_json(&["customers", "set", "cus_a", "--ref", "K-17", "--tax-code", "VAT 20"]);
    assert_eq!((set["customer_ref"].as_str(), set["name"].as_str()), (Some("K-17"), Some("A customer")));
    let running = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    let file = text(&desk.path("out.xlsx")).to_owned();
    for verb in [vec!["earnings", &running], vec!["usage"], vec!["invoices", &running], vec!["forecast"]] {
        let write = |format: &'static str| {
            desk.operator_ok(&[&verb[..], &["--format", format, "--to", &file]].concat())
        };
        write("xlsx");
        assert!(fs::read(&file).expect("it is written").starts_with(b"PK"), "{verb:?}");
        write("html");
        assert!(fs::read_to_string(&file).expect("it is written").starts_with("<!doctype html>"), "{verb:?}");
        let csv = desk.operator_ok(&[&verb[..], &["--format", "csv"]].concat());
        assert!(csv.lines().next().is_some_and(|head| head.starts_with("customer,")), "{verb:?}: {csv}");
        desk.operator_json(&verb);
        desk.operator_ok(&verb);
    }
    let xero = desk.operator_ok(&["invoices", &running, "--mapping", "xero", "--format", "csv"]);
    assert!(xero.starts_with("*ContactName,"), "{xero}");
    let own = desk.path("own.toml");
    fs::write(&own, "[[column]]\nname = \"Net\"\nfield = \"colour\"\n").expect("it is written");
    let refused = desk.operator_fails(&["invoices", &running, "--mapping", text(&own)]);
    assert!(refused.contains("the mapping does not parse") && refused.contains("colour"), "{refused}");
    let refused = desk.operator_fails(&["price", "whatif", "--sku", "NONE", "--seats", "-3"]);
    assert!(refused.contains("SKU `NONE` has no price group"), "{refused}");
}
