//! The contract's examples and its sharper sentences, worked out by hand.
//! Every case is put to both readings of the rules: agreeing with each other is not enough.

use serde_json::{Value, json};

use super::{Case, answers};

const POLICY: &str = r#"
zone = "Europe/Berlin"
presume_days = 7
moved = "main_owner"
uncounted = ["dsm"]
[sku.WF-SVC]
count = "high_water"
min_days = 0
free_first_month = false
price_group = "worry-free"
[default_sku]
wfbs-svc = "WF-SVC"
[suite.v1-server]
products = ["v1es", "dsa-cloud"]
[price_group.worry-free]
distributor = "ingram"
currency = "USD"
mode = "volume"
tiers = [{ from = 1, cost = "2.10" }, { from = 25, cost = "1.80" }]
[price.WF-SVC]
reseller = "4.00"
cus_acme = "3.75"
"#;

const RECORDS: &str = r#"
{"type":"machine_assigned","at":"2026-09-30T12:00:00Z","machine":"mch_a","customer":"cus_acme"}
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

/// An object holds at least the expected fields; lists and everything else are equal.
fn holds(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| actual.get(name).is_some_and(|actual| holds(actual, value)))
        }
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len()
                && actual.iter().zip(expected).all(|(actual, wanted)| holds(actual, wanted))
        }
        _ => actual == expected,
    }
}

fn check(case: &Case, expected: &Value) {
    for (reading, actual) in answers(case) {
        assert!(holds(&actual, expected), "{reading} says\n{actual:#}\nnot\n{expected:#}");
    }
}

fn october(records: &str, policy: &str) -> Case {
    Case { records: records.into(), policy: policy.into(), period: "2026-10".into(), ..Case::default() }
}

/// A report of one product, received a second later.
fn report(machine: &str, sequence: u32, observed_at: &str, product: &str) -> String {
    let received_at: jiff::Timestamp = observed_at.parse().expect("an instant");
    let received_at = received_at + jiff::SignedDuration::from_secs(1);
    format!(
        r#"{{"type":"report","machine":"{machine}","spool":"spl_1","sequence":{sequence},"observed_at":"{observed_at}","received_at":"{received_at}","products":[{{"product":"{product}","state":"active","version":"1"}}]}}"#
    )
}

fn owned(machine: &str, customer: &str, at: &str) -> String {
    format!(r#"{{"type":"machine_assigned","at":"{at}","machine":"{machine}","customer":"{customer}"}}"#)
}

#[test]
fn the_example_records_make_two_lines_and_a_silent_machine() {
    let expected = json!({
        "statement": {
            "period": "2026-10",
            "zone": "Europe/Berlin",
            "lines": [
                {"customer": "cus_acme", "sku": "HES-MAILBOX", "count": "high_water", "confirmed": "0",
                 "presumed": "0", "measured": "0", "declared": "40", "adjusted": "0", "quantity": "40"},
                {"customer": "cus_acme", "sku": "WF-SVC", "count": "high_water", "day": "2026-10-01",
                 "confirmed": "1", "presumed": "0", "measured": "1", "declared": "0", "adjusted": "-1",
                 "quantity": "0", "distributor": "ingram", "unit_cost": "2.10", "cost": "0.00", "currency": "USD"},
            ],
            "corrections": [],
            "totals": [{"sku": "HES-MAILBOX", "quantity": "40"}, {"sku": "WF-SVC", "quantity": "0"}],
            "flags": [{"flag": "possible_clone", "machine": "mch_c"}, {"flag": "went_silent", "machine": "mch_a"}],
            "blockers": [],
            "rejected": [],
        },
        "earnings": [
            {"customer": "cus_acme", "sku": "WF-SVC", "quantity": "0", "unit_price": "3.75", "revenue": "0.00",
             "cost": "0.00", "profit": "0.00", "currency": "USD"},
        ],
    });
    check(&october(RECORDS, POLICY), &expected);
}

#[test]
fn an_average_counts_the_reported_day_and_seven_presumed_ones() {
    let policy = POLICY.replace("high_water", "average").replace("volume", "graduated");
    let records = [
        owned("mch_a", "cus_acme", "2026-09-01T00:00:00Z"),
        report("mch_a", 1, "2026-10-10T10:00:00Z", "wfbs-svc"),
    ];
    // 8 of 31 days are 0.258…, 1 of 31 is 0.032…
    let expected = json!({"statement": {"lines": [
        {"confirmed": "0.03", "presumed": "0.23", "measured": "0.26", "quantity": "0.26", "cost": "0.55"},
    ]}, "earnings": [{"revenue": "0.98", "profit": "0.43", "markup": "0.7818", "margin": "0.4388"}]});
    check(&october(&records.join("\n"), &policy), &expected);
}

#[test]
fn a_day_begins_where_the_billing_zone_says() {
    let policy = POLICY.replace("presume_days = 7", "presume_days = 0");
    let records = [
        owned("mch_a", "cus_acme", "2026-09-01T00:00:00Z"),
        report("mch_a", 1, "2026-09-30T22:00:00Z", "wfbs-svc"),
    ];
    let line = json!({"statement": {"lines": [{"day": "2026-10-01", "quantity": "1", "cost": "2.10"}]}});
    check(&october(&records.join("\n"), &policy), &line);
    let records = records.map(|record| record.replace("22:00:00Z", "21:59:59.999999999Z"));
    let nothing = json!({"statement": {"lines": [], "totals": []}, "earnings": []});
    check(&october(&records.join("\n"), &policy), &nothing);
}

#[test]
fn the_day_of_a_suspension_counts_and_so_does_the_day_it_ends() {
    let policy = POLICY.replace("high_water", "average");
    let mut records = vec![owned("mch_a", "cus_acme", "2026-09-01T00:00:00Z")];
    records
        .extend((1..=31).map(|day| report("mch_a", day, &format!("2026-10-{day:02}T10:00:00Z"), "wfbs-svc")));
    records.push(
        r#"{"type":"licence_suspended","at":"2026-10-10T08:00:00Z","customer":"cus_acme","sku":"WF-SVC"}"#
            .into(),
    );
    records.push(
        r#"{"type":"licence_resumed","at":"2026-10-20T08:00:00Z","customer":"cus_acme","sku":"WF-SVC"}"#
            .into(),
    );
    // 22 of 31 days are 0.709…
    let expected = json!({"statement": {
        "lines": [{"measured": "0.71", "confirmed": "0.71", "presumed": "0"}],
        "flags": [{"flag": "running_on_suspended_licence", "customer": "cus_acme", "sku": "WF-SVC", "machine": "mch_a"}],
    }});
    check(&october(&records.join("\n"), &policy), &expected);
}

#[test]
fn a_moved_machine_goes_to_whom_owned_it_most_and_a_tie_to_the_later() {
    let mut records = vec![
        owned("mch_a", "cus_zeta", "2026-09-01T00:00:00Z"),
        owned("mch_a", "cus_acme", "2026-10-03T00:00:00Z"),
    ];
    records
        .extend((1..=4).map(|day| report("mch_a", day, &format!("2026-10-{day:02}T10:00:00Z"), "wfbs-svc")));
    let policy = POLICY.replace("presume_days = 7", "presume_days = 0");
    let line = |customer: &str| json!({"customer": customer, "quantity": "1"});
    check(&october(&records.join("\n"), &policy), &json!({"statement": {"lines": [line("cus_acme")]}}));
    let each = policy.replace("main_owner", "each_owner");
    let both = json!({"statement": {"lines": [line("cus_acme"), line("cus_zeta")]}});
    check(&october(&records.join("\n"), &each), &both);
    records.pop();
    check(&october(&records.join("\n"), &policy), &json!({"statement": {"lines": [line("cus_zeta")]}}));
    let last = policy.replace("main_owner", "last_owner");
    check(&october(&records.join("\n"), &last), &json!({"statement": {"lines": [line("cus_acme")]}}));
}

#[test]
fn a_graduated_group_is_shared_by_quantity() {
    let policy = POLICY
        .replace("volume", "graduated")
        .replace("from = 25", "from = 2")
        .replace("\"2.10\"", "\"0.10\"");
    let declared = |customer: &str, quantity: u32| {
        format!(
            r#"{{"type":"declared","at":"2026-10-31T18:00:00Z","customer":"{customer}","sku":"WF-SVC","period":"2026-10","quantity":{quantity}}}"#
        )
    };
    // 1 × 0.10 + 2 × 1.80 = 3.70; a third is 1.2333…, two thirds 2.4666…
    let expected = json!({"statement": {"lines": [
        {"customer": "cus_acme", "cost": "1.23"}, {"customer": "cus_bell", "cost": "2.47"},
    ]}});
    check(&october(&[declared("cus_acme", 1), declared("cus_bell", 2)].join("\n"), &policy), &expected);
}

#[test]
fn a_report_found_late_is_carried_once() {
    let mut records = vec![
        owned("mch_a", "cus_acme", "2026-09-01T00:00:00Z"),
        owned("mch_b", "cus_acme", "2026-09-01T00:00:00Z"),
    ];
    records.push(report("mch_a", 1, "2026-10-10T10:00:00Z", "wfbs-svc"));
    let [(_, first), ..] = answers(&october(&records.join("\n"), POLICY));
    records.push(report("mch_b", 1, "2026-10-10T10:00:00Z", "wfbs-svc"));
    let after = |period: &str, sealed: &[&Value]| Case {
        period: period.into(),
        sealed: Some(json!(sealed).to_string()),
        ..october(&records.join("\n"), POLICY)
    };
    let november = after("2026-11", &[&first["statement"]]);
    let correction = json!([{"for_period": "2026-10", "customer": "cus_acme", "sku": "WF-SVC", "delta": "1", "cost": "2.10"}]);
    check(&november, &json!({"statement": {"corrections": correction}}));
    let [(_, second), ..] = answers(&november);
    let december = after("2026-12", &[&first["statement"], &second["statement"]]);
    check(&december, &json!({"statement": {"corrections": []}}));
}

#[test]
fn a_midnight_that_comes_twice_begins_its_day_the_first_time() {
    // At 00:01 on 7 November 2010 (02:31Z) Newfoundland's clocks went back to 23:01 of the 6th.
    let policy =
        POLICY.replace("Europe/Berlin", "America/St_Johns").replace("presume_days = 7", "presume_days = 0");
    for (observed_at, day) in [
        ("2010-11-07T02:29:59Z", "2010-11-06"),
        ("2010-11-07T02:30:00Z", "2010-11-07"),
        ("2010-11-07T03:00:00Z", "2010-11-07"),
        ("2010-11-08T03:29:59Z", "2010-11-07"),
        ("2010-11-08T03:30:00Z", "2010-11-08"),
    ] {
        let records =
            [owned("mch_a", "cus_acme", "2010-01-01T00:00:00Z"), report("mch_a", 1, observed_at, "wfbs-svc")];
        let case = Case { period: "2010-11".into(), ..october(&records.join("\n"), &policy) };
        check(&case, &json!({"statement": {"lines": [{"day": day}]}}));
    }
}

#[test]
fn a_report_that_could_not_tell_says_nothing_and_one_that_leaves_out_says_gone() {
    let policy = POLICY.replace("high_water", "average");
    let mut records = vec![
        owned("mch_a", "cus_acme", "2026-09-01T00:00:00Z"),
        report("mch_a", 1, "2026-10-10T10:00:00Z", "wfbs-svc"),
    ];
    records.push(report("mch_a", 2, "2026-10-12T10:00:00Z", "wfbs-svc").replace("active", "unknown"));
    let measured = |quantity: &str| json!({"statement": {"lines": [{"measured": quantity}]}});
    check(&october(&records.join("\n"), &policy), &measured("0.26"));
    records.push(report("mch_a", 3, "2026-10-12T10:00:00Z", "dsm"));
    check(&october(&records.join("\n"), &policy), &measured("0.06"));
}

#[test]
fn a_suite_takes_its_products_when_it_can_be_billed() {
    let policy = POLICY.replace("presume_days = 7", "presume_days = 0");
    let both = r#""products":[{"product":"v1es","state":"active","version":"1"},{"product":"dsa-cloud","state":"active","version":"1"}]"#;
    let report = report("mch_a", 1, "2026-10-10T10:00:00Z", "v1es");
    let start = report.find("\"products\"").expect("a report has products");
    let mut records =
        vec![owned("mch_a", "cus_acme", "2026-09-01T00:00:00Z"), format!("{}{both}}}", &report[..start])];
    let unmapped =
        |product: &str| json!({"blocker": "unmapped_product", "customer": "cus_acme", "product": product});
    let blocked = json!({"statement": {"lines": [], "blockers": [unmapped("dsa-cloud"), unmapped("v1es")]}});
    check(&october(&records.join("\n"), &policy), &blocked);
    records.push(
        r#"{"type":"sku_assigned","at":"2026-10-10T21:59:59Z","customer":"cus_acme","product":"v1-server","sku":"V1"}"#.into(),
    );
    let sold = json!({"statement": {"lines": [{"sku": "V1", "quantity": "1"}], "blockers": []}});
    check(&october(&records.join("\n"), &policy), &sold);
    let too_late = records.join("\n").replace("21:59:59Z", "22:00:00Z");
    check(&october(&too_late, &policy), &blocked);
}

#[test]
fn the_limits_of_acceptance_are_themselves_accepted() {
    let policy = POLICY.replace("presume_days = 7", "presume_days = 0");
    let sent = |observed_at: &str, received_at: &str| {
        let owner = owned("mch_a", "cus_acme", "2026-01-01T00:00:00Z");
        let report = report("mch_a", 1, observed_at, "wfbs-svc");
        let start = report.find("\"received_at\"").expect("a report was received");
        let end = report.find("\"products\"").expect("a report has products");
        let report = format!("{}\"received_at\":\"{received_at}\",{}", &report[..start], &report[end..]);
        october(&format!("{owner}\n{report}"), &policy)
    };
    let accepted = json!({"statement": {"lines": [{"quantity": "1"}], "rejected": [], "blockers": []}});
    let rejected = |reason: &str| {
        json!({"statement": {
            "lines": [],
            "blockers": [{"blocker": "clock_trouble", "machine": "mch_a"}],
            "rejected": [{"machine": "mch_a", "spool": "spl_1", "sequence": 1, "reason": reason}],
        }})
    };
    check(&sent("2026-10-10T10:10:00Z", "2026-10-10T10:00:00Z"), &accepted);
    check(&sent("2026-10-10T10:10:00.000000001Z", "2026-10-10T10:00:00Z"), &rejected("clock_ahead"));
    check(&sent("2026-10-10T10:00:00Z", "2026-12-11T10:00:00Z"), &accepted);
    check(&sent("2026-08-10T10:00:00Z", "2026-10-11T10:00:00.000000001Z"), &rejected("too_old"));
}

#[test]
fn a_machine_s_first_month_is_free_for_its_whole_price_group() {
    let policy = POLICY.replace("free_first_month = false", "free_first_month = true")
        + "[sku.APEX]\nprice_group = \"worry-free\"\n";
    let mapped = r#"{"type":"sku_assigned","at":"2026-08-01T00:00:00Z","customer":"cus_acme","product":"apexone","sku":"APEX"}"#;
    let october_only = [
        owned("mch_a", "cus_acme", "2026-08-01T00:00:00Z"),
        report("mch_a", 1, "2026-10-10T10:00:00Z", "wfbs-svc"),
    ];
    check(&october(&october_only.join("\n"), &policy), &json!({"statement": {"lines": []}}));
    let earlier =
        [october_only.join("\n"), mapped.into(), report("mch_a", 0, "2026-09-10T10:00:00Z", "apexone")];
    check(
        &october(&earlier.join("\n"), &policy),
        &json!({"statement": {"lines": [{"sku": "WF-SVC", "quantity": "1"}]}}),
    );
}
