//! What an interchange line may and may not be, a claim at a time.
//! Every refusal names its line and its cause; nothing here reads a file.

use super::*;

const PAGE: &str = r#"{"type":"machine_assigned","at":"2026-09-30T12:00:00Z","machine":"mch_a","customer":"cus_acme"}
{"type":"sku_assigned","at":"2026-09-30T12:00:00Z","customer":"cus_acme","product":"wfbs-svc","sku":"WF-SVC"}
{"type":"report","machine":"mch_a","spool":"spl_1","sequence":7,"observed_at":"2026-10-01T07:02:11Z","received_at":"2026-10-01T07:02:12Z","products":[{"product":"wfbs-svc","state":"active","version":"6.7.3"}]}
{"type":"switched_off","at":"2026-10-20T09:00:00Z","machine":"mch_a","product":"wfbs-svc"}
{"type":"switched_on","at":"2026-10-25T09:00:00Z","machine":"mch_a","product":"wfbs-svc"}
{"type":"licence_suspended","at":"2026-10-20T09:05:00Z","customer":"cus_acme","sku":"WF-SVC"}
{"type":"licence_resumed","at":"2026-10-25T09:05:00Z","customer":"cus_acme","sku":"WF-SVC"}
{"type":"machine_retired","at":"2026-10-28T09:00:00Z","machine":"mch_a","reason":"scrapped"}
{"type":"machines_merged","at":"2026-10-11T10:00:00Z","kept":"mch_a","absorbed":"mch_b"}
{"type":"machines_split","at":"2026-10-12T10:00:00Z","kept":"mch_a","absorbed":"mch_b"}
{"type":"machine_flagged","at":"2026-10-12T10:00:00Z","machine":"mch_c","flag":"possible_clone"}
{"type":"declared","at":"2026-10-31T18:00:00Z","customer":"cus_acme","sku":"HES-MAILBOX","period":"2026-10","quantity":40,"reason":"mailbox count from the mail admin"}
{"type":"adjusted","at":"2026-11-02T09:00:00Z","customer":"cus_acme","sku":"WF-SVC","period":"2026-10","delta":-1,"reason":"lab machine, agreed in ticket 4411"}
"#;

fn same(one: &str, other: &str) -> bool {
    Record::parse_line(one).unwrap() == Record::parse_line(other).unwrap()
}

fn check_refused(line: &str, what: &str) {
    let text = format!("\n{}\n{line}\n", PAGE.lines().next().unwrap());
    let error = Record::parse_jsonl(&text).expect_err(line);
    assert_eq!(error.line, 3, "{line}");
    assert!(error.to_string().starts_with("line 3: "));
    assert!(error.what.contains(what), "{line}: {}", error.what);
}

#[test]
fn every_record_of_the_page_is_read_and_written_back_equal() {
    let records = Record::parse_jsonl(PAGE).unwrap();
    assert_eq!(records.len(), 13);
    for (record, line) in records.iter().zip(PAGE.lines()) {
        assert_eq!(Record::parse_line(&record.to_json_line()).unwrap(), *record);
        let written: Value = serde_json::from_str(&record.to_json_line()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(line).unwrap());
    }
}

#[test]
fn what_a_record_may_carry_survives() {
    let line = r#"{"type":"sku_assigned","at":"2026-10-01T00:00:00Z","recorded_at":"2026-10-02T00:00:00Z","id":"r1","operator":"opr_x","reason":"moved \"it\"","customer":"cus_a","product":"p","sku":null}"#;
    let record = Record::parse_line(line).unwrap();
    assert_eq!(Record::parse_line(&record.to_json_line()).unwrap(), record);
    assert!(record.to_json_line().contains(r#""sku":null"#));
}

#[test]
fn blank_lines_and_carriage_returns_are_allowed() {
    let text = format!("\n  \n{}\r\n\t\n", PAGE.lines().next().unwrap());
    assert_eq!(Record::parse_jsonl(&text).unwrap().len(), 1);
    assert_eq!(Record::parse_jsonl("").unwrap().len(), 0);
}

#[test]
fn the_spelling_of_an_instant_does_not_matter() {
    let at = |instant: &str| format!(r#"{{"type":"machine_retired","at":"{instant}","machine":"mch_a"}}"#);
    for spelling in [
        "2026-10-01T02:00:00+02:00",
        "2026-09-30T18:30:00-05:30",
        "2026-10-01T00:00:00.000Z",
        "2026-10-01t00:00:00z",
        "2026-10-01T00:00:00-00:00",
        "2026-10-01T00:00:00.000000000+00:00",
    ] {
        assert!(same(&at(spelling), &at("2026-10-01T00:00:00Z")), "{spelling}");
    }
    assert!(!same(&at("2026-10-01T00:00:00.000000001Z"), &at("2026-10-01T00:00:00Z")));
}

#[test]
fn recorded_at_left_out_is_at() {
    let bare = r#"{"type":"machine_retired","at":"2026-10-01T00:00:00Z","machine":"mch_a"}"#;
    let full = r#"{"machine":"mch_a","recorded_at":"2026-10-01T01:00:00+01:00","at":"2026-10-01T00:00:00Z","type":"machine_retired"}"#;
    assert!(same(bare, full));
}

#[test]
fn the_order_of_products_does_not_matter_but_all_else_does() {
    let report = |products: &str| {
        format!(
            r#"{{"type":"report","machine":"mch_a","spool":"spl_1","sequence":0,"observed_at":"2026-10-01T00:00:00Z","received_at":"2026-10-01T00:00:00Z","products":[{products}]}}"#
        )
    };
    let (a, b) =
        (r#"{"product":"a","state":"active"}"#, r#"{"state":"unknown","version":"1","product":"b"}"#);
    assert!(same(&report(&format!("{a},{b}")), &report(&format!("{b},{a}"))));
    assert!(!same(&report(a), &report(&format!("{a},{b}"))));
    assert!(!same(&report(a), &report(r#"{"product":"a","state":"active","version":"1"}"#)));
    assert!(same(&report(a), &report(r#"{"product":"a","state":"active","version":null}"#)));
    assert!(Record::parse_line(&report("")).is_ok());
}

#[test]
fn every_field_of_every_record_is_needed_but_those_it_may_carry() {
    for line in PAGE.lines() {
        let whole: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        for name in whole.keys().filter(|name| *name != "reason") {
            let mut cut = whole.clone();
            cut.remove(name);
            check_refused(&serde_json::to_string(&cut).unwrap(), &format!("missing field `{name}`"));
        }
        let mut more = whole.clone();
        more.insert("colour".to_owned(), "blue".into());
        check_refused(&serde_json::to_string(&more).unwrap(), "unknown field `colour`");
    }
}

#[test]
fn a_line_that_is_no_record_is_refused() {
    for (line, what) in [
        ("{", "EOF"),
        ("[]", "expected an object"),
        (r#"["report"]"#, "expected an object"),
        ("7", "expected"),
        ("null", "expected"),
        ("{}", "missing field `type`"),
        (r#"{"type":7}"#, "expected"),
        (r#"{"type":"beat","at":"2026-10-01T00:00:00Z"}"#, "unknown type `beat`"),
        (r#"{"type":"machine_retired","at":"2026-10-01T00:00:00Z","machine":"mch_a"} {}"#, "trailing"),
        (
            r#"{"type":"machine_retired","type":"machine_retired","at":"2026-10-01T00:00:00Z","machine":"mch_a"}"#,
            "duplicate field `type`",
        ),
        (
            r#"{"type":"machine_retired","at":"2026-10-01T00:00:00Z","machine":"mch_a","machine":"mch_a"}"#,
            "duplicate field `machine`",
        ),
        (r#"{"type":"machine_retired","at":"2026-10-01T00:00:00Z","machine":"cus_a"}"#, "not a machine id"),
        (r#"{"type":"machine_retired","at":"2026-10-01T00:00:00Z","machine":null}"#, "field `machine`"),
        (
            r#"{"type":"machine_retired","at":"2026-10-01T00:00:00Z","machine":"mch_a","reason":null}"#,
            "field `reason`",
        ),
        (
            r#"{"type":"machines_merged","at":"2026-10-01T00:00:00Z","kept":"mch_a","absorbed":"mch_a"}"#,
            "machine `mch_a` is paired with itself",
        ),
        (
            r#"{"type":"machine_flagged","at":"2026-10-01T00:00:00Z","machine":"mch_a","flag":"went_silent"}"#,
            "flag `went_silent` is computed",
        ),
        (
            r#"{"type":"machine_flagged","at":"2026-10-01T00:00:00Z","machine":"mch_a","flag":""}"#,
            "not a flag",
        ),
        (
            r#"{"type":"licence_resumed","at":"2026-10-01T00:00:00Z","customer":"cus_a","sku":null}"#,
            "field `sku`",
        ),
        (
            r#"{"type":"licence_resumed","at":"2026-10-01T00:00:00Z","customer":"cus_a","sku":""}"#,
            "not a SKU",
        ),
    ] {
        check_refused(line, what);
    }
}

#[test]
fn an_instant_that_is_not_one_is_refused() {
    for instant in [
        "2026-10-01",
        "2026-10-01T00:00:00",
        "2026-10-01T00:00Z",
        "2026-10-01 00:00:00Z",
        "20261001T000000Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-10-01T24:00:00Z",
        "2026-10-01T00:60:00Z",
        "2026-10-01T00:00:60Z",
        "2026-10-01T00:00:00+2:00",
        "2026-10-01T00:00:00+0200",
        "2026-10-01T00:00:00+24:00",
        "2026-10-01T00:00:00.Z",
        "2026-10-01T00:00:00.0000000001Z",
        "2026-10-01T00:00:00Z[UTC]",
        "+02026-10-01T00:00:00Z",
        " 2026-10-01T00:00:00Z",
        "",
        "now",
    ] {
        let what = format!("field `at`: `{instant}` is not an RFC 3339 instant");
        check_refused(&format!(r#"{{"type":"machine_retired","at":"{instant}","machine":"mch_a"}}"#), &what);
    }
    check_refused(r#"{"type":"machine_retired","at":1790812800,"machine":"mch_a"}"#, "field `at`");
}

#[test]
fn a_number_that_is_not_whole_is_refused() {
    for number in ["7.0", "7.5", "7e0", "\"7\"", "null", "-1", "1000000001", "18446744073709551616"] {
        let line = format!(
            r#"{{"type":"declared","at":"2026-10-01T00:00:00Z","customer":"cus_a","sku":"S","period":"2026-10","quantity":{number}}}"#
        );
        check_refused(&line, "field `quantity`");
        let line = format!(
            r#"{{"type":"report","machine":"mch_a","spool":"spl_1","sequence":{number},"observed_at":"2026-10-01T00:00:00Z","received_at":"2026-10-01T00:00:00Z","products":[]}}"#
        );
        if number != "1000000001" {
            check_refused(&line, "");
        }
    }
    for number in ["1.0", "-1.0", "1000000001", "-1000000001", "-9223372036854775809"] {
        let line = format!(
            r#"{{"type":"adjusted","at":"2026-10-01T00:00:00Z","customer":"cus_a","sku":"S","period":"2026-10","delta":{number}}}"#
        );
        check_refused(&line, "field `delta`");
    }
    let line = r#"{"type":"report","machine":"mch_a","spool":"spl_1","sequence":9007199254740992,"observed_at":"2026-10-01T00:00:00Z","received_at":"2026-10-01T00:00:00Z","products":[]}"#;
    check_refused(line, "field `sequence`: 9007199254740992 is more than");
}

#[test]
fn a_report_with_a_wrong_product_is_refused() {
    for (products, what) in [
        (
            r#"{"product":"a","state":"active"},{"product":"a","state":"inactive"}"#,
            "product `a` is reported twice",
        ),
        (r#"{"product":"a"}"#, "missing field `state`"),
        (r#"{"state":"active"}"#, "missing field `product`"),
        (r#"{"product":"a","state":"on"}"#, "unknown variant `on`"),
        (r#"{"product":"a","state":"active","colour":1}"#, "unknown field `colour`"),
        (r#"{"product":"a","state":"active","version":6}"#, "expected"),
        (r#"{"product":"a","product":"a","state":"active"}"#, "duplicate field `product`"),
        (r#"{"product":"a b","state":"active"}"#, "not a product id"),
        ("7", "expected"),
        (r#"["a","active",null]"#, "expected an object"),
        (r#"{"product":"a","state":{"active":null}}"#, "expected a string"),
    ] {
        check_refused(
            &format!(
                r#"{{"type":"report","machine":"mch_a","spool":"spl_1","sequence":0,"observed_at":"2026-10-01T00:00:00Z","received_at":"2026-10-01T00:00:00Z","products":[{products}]}}"#
            ),
            what,
        );
    }
}

#[test]
fn a_period_that_is_not_one_is_refused() {
    for period in ["\"2026-13\"", "\"2026-1\"", "202610", "\"october\""] {
        check_refused(
            &format!(
                r#"{{"type":"declared","at":"2026-10-01T00:00:00Z","customer":"cus_a","sku":"S","period":{period},"quantity":1}}"#
            ),
            "field `period`",
        );
    }
}
