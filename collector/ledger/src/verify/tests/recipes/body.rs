//! The signed body is changed, by somebody without the key or by the reseller itself.

use super::*;

pub(super) const RECIPES: &[Recipe] = &[
    (
        "changed count",
        |p| p.body(|body| body["lines"][0]["quantity"] = "1".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: quantity is 1, it should be 2",
    ),
    (
        "a smaller count throughout",
        |p| {
            p.body(|body| {
                for field in ["confirmed", "measured", "quantity"] {
                    body["lines"][0][field] = "1".into();
                }
            });
        },
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: confirmed is 1, it should be 2; line cus_acme, A: measured is 1, it should be 2; line cus_acme, A: quantity is 1, it should be 2",
    ),
    (
        "changed unit cost",
        |p| p.body(|body| body["lines"][0]["unit_cost"] = "1.10".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: unit_cost is 1.10, it should be 1.80",
    ),
    (
        "changed cost",
        |p| p.body(|body| body["lines"][0]["cost"] = "1.00".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: cost is 1.00, it should be 3.60",
    ),
    (
        "changed currency",
        |p| p.body(|body| body["lines"][0]["currency"] = "EUR".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: currency is EUR, it should be USD",
    ),
    (
        "changed day",
        |p| p.body(|body| body["lines"][0]["day"] = "2026-10-02".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: day is 2026-10-02, it should be 2026-10-01",
    ),
    (
        "changed way of counting",
        |p| p.body(|body| body["lines"][0]["count"] = "distinct".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the bundle's record does not fit a body of 3508 bytes: it sealed another; line cus_acme, A: count is distinct, it should be high_water",
    ),
    (
        "changed total",
        |p| p.body(|body| body["totals"][0]["quantity"] = "5".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; total of A: quantity is 5, it should be 6",
    ),
    (
        "changed adjustment",
        |p| p.body(|body| body["lines"][3]["adjusted"] = "1".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_zeta, A: quantity is 4, it should be 3; line cus_zeta, A: cost is 7.20, it should be 5.40; total of A: quantity is 6, it should be 5",
    ),
    (
        "changed declaration",
        |p| p.body(|body| body["lines"][3]["declared"] = "7".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_zeta, A: quantity is 4, it should be 11; line cus_zeta, A: cost is 7.20, it should be 19.80; total of A: quantity is 6, it should be 13",
    ),
    (
        "line removed",
        |p| p.body(|body| _ = body["lines"].as_array_mut().unwrap().remove(0)),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the bundle's record does not fit a body of 3272 bytes: it sealed another; total of A: quantity is 6, it should be 4; line cus_acme, A: machines stand behind it, but the statement has no such line",
    ),
    (
        "line repeated",
        |p| {
            p.body(|body| {
                let line = body["lines"][0].clone();
                body["lines"].as_array_mut().unwrap().insert(0, line);
            });
        },
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the bundle's record does not fit a body of 3748 bytes: it sealed another; total of A: quantity is 6, it should be 8; line cus_acme, A: it is not in its place, or there twice",
    ),
    (
        "correction removed",
        |p| p.body(|body| body["corrections"] = json!([])),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the bundle's record does not fit a body of 3428 bytes: it sealed another",
    ),
    (
        "correction of another month",
        |p| p.body(|body| body["corrections"][0]["for_period"] = "2026-07".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; correction of 2026-07 for cus_zeta, A: only the two months before are corrected",
    ),
    (
        "correction turned round",
        |p| p.body(|body| body["corrections"][0]["delta"] = "-1".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the bundle's record does not fit a body of 3511 bytes: it sealed another; correction of 2026-09 for cus_zeta, A: its cost and its difference have not the same sign",
    ),
    (
        "flag removed",
        |p| p.body(|body| _ = body["flags"].as_array_mut().unwrap().remove(0)),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the bundle's record does not fit a body of 3450 bytes: it sealed another",
    ),
    (
        "changed price in the policy",
        |p| p.body(|body| body["policy"]["price_group"]["g"]["tiers"][1]["cost"] = "1.50".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: unit_cost is 1.80, it should be 1.50; line cus_acme, A: cost is 3.60, it should be 3.00; line cus_acme, B: unit_cost is 1.80, it should be 1.50; line cus_acme, B: cost is 1.80, it should be 1.50; line cus_zeta, A: unit_cost is 1.80, it should be 1.50; line cus_zeta, A: cost is 7.20, it should be 6.00",
    ),
    (
        "changed rule in the policy",
        |p| p.body(|body| body["policy"]["presume_days"] = 4.into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107",
    ),
    (
        "another billing zone",
        |p| p.body(|body| body["policy"]["zone"] = "EST".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; statement: zone is UTC, it should be EST",
    ),
    (
        "revision changed",
        |p| p.body(|body| body["revision"] = 2.into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record says revision 1, the statement 2; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107",
    ),
    (
        "for another distributor",
        |p| p.body(|body| body["distributor"] = "ingrad".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record says distributor ingram, the statement ingrad; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: distributor of the SKU is ingrad, it should be ingram; line cus_acme, B: distributor of the SKU is ingrad, it should be ingram; line cus_acme, C: distributor of the SKU is ingrad, it should be ingram; line cus_zeta, A: distributor of the SKU is ingrad, it should be ingram; line cus_zeta, C: distributor of the SKU is ingrad, it should be ingram",
    ),
    (
        "for another month",
        |p| p.body(|body| body["period"] = "2026-12".into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record says period 2026-10, the statement 2026-12; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; line cus_acme, A: day is 2026-10-01, it should be 2026-12-01; line cus_acme, C: day is 2026-10-05, it should be 2026-12-05; line cus_zeta, A: day is 2026-10-03, it should be 2026-12-03; line cus_zeta, C: day is 2026-10-01, it should be 2026-12-01; correction of 2026-09 for cus_zeta, A: only the two months before are corrected",
    ),
    (
        "another cut",
        |p| p.body(|body| body["journal"]["size"] = 40.into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the bundle's record does not fit a body of 3509 bytes: it sealed another; the statement's cut of 40 records is not the beginning of the log that the checkpoint over 107 is of",
    ),
    (
        "another root of the cut",
        |p| p.body(|body| body["journal"]["root"] = STANDARD.encode([7; 32]).into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; the statement's cut of 104 records is not the beginning of the log that the checkpoint over 107 is of",
    ),
    (
        "rules of another version",
        |p| p.body(|body| body["rules_version"] = 9.into()),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the record that sealed the statement is not in the log: nothing leads from record 104 to the checkpoint over 107; the statement was computed by rules 9, this version has rules 1",
    ),
    (
        "evidence taken out",
        |p| p.body(|body| _ = body.as_object_mut().unwrap().remove("evidence")),
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the statement commits to no evidence: it was sealed by a version that had no bundles",
    ),
    (
        "changed and signed again by the reseller",
        |p| {
            p.body(|body| body["policy"]["presume_days"] = 5.into());
            p.resign();
        },
        "the bundle's record holds another signature than the statement's",
    ),
    (
        "swapped signature",
        |p| {
            let other = p.house.bundle("2026-10", "other", &[], false);
            let other: Value = serde_json::from_str(other.lines().next().unwrap()).unwrap();
            p.edit(0, |value| value["statement"]["signature"] = other["statement"]["signature"].clone());
        },
        "the statement: the signature does not belong to the body: it was changed, or another key signed it; the bundle's record holds another signature than the statement's",
    ),
    (
        "other key",
        |p| {
            let key = STANDARD.encode(p.house.service_key.verifying_key().as_bytes());
            p.edit(0, |value| value["statement"]["key"] = key.into());
        },
        "the statement: the signature does not belong to the body: it was changed, or another key signed it",
    ),
    (
        "another reseller's bundle",
        |p| {
            let mut other = House::new("rsl_another", POLICY, &["cus_acme"]);
            other.enrol(1, "cus_acme");
            other.reports(1, 1..=9, "a");
            other.at("11-05 00:00").seal("2026-10");
            p.lines = other.bundle("2026-10", "ingram", &[], false).lines().map(str::to_owned).collect();
        },
        "the statement: the statement was signed by the key yG0BrYsvtpSyL/YOPJ2eftkNtWBHcrdEUNQJE7mpy68=, not by bUT5Ofgp1DWYvN7dqQ3gHbafqlDKoz6MbDKKS5ANTaw=",
    ),
    (
        "spelled otherwise",
        |p| p.lines[0] = p.lines[0].replacen("{\"seatbeat\"", "{ \"seatbeat\"", 1),
        "the statement: the file is not in canonical form (RFC 8785): it was changed after it was sealed",
    ),
];
