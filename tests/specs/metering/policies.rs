//! Random policies over a handful of names, as TOML text.
//! Each is one the contract allows: groups are defined, tiers ascend, no suite holds a suite.

use std::fmt::Write as _;

use super::random::Random;

pub(super) const PRODUCTS: [&str; 6] = ["apexone", "dsa-cloud", "dsm", "family/deep", "v1es", "wfbs-svc"];
pub(super) const SKUS: [&str; 4] = ["AX", "DS", "V1", "WF"];
/// Name and products.
pub(super) const SUITES: [(&str, [&str; 3]); 4] = [
    ("a-pair", ["v1es", "dsa-cloud", ""]),
    ("b-pair", ["apexone", "v1es", ""]),
    ("c-three", ["wfbs-svc", "v1es", "dsm"]),
    ("d-family", ["family/deep", "apexone", ""]),
];

const GROUPS: [&str; 2] = ["blue", "red"];
const AMOUNTS: [&str; 10] = ["2.10", "1.80", "0.125", "1.005", "3", "0.333", "12.345", "1.5", "0.0005", "0"];

pub(super) fn policy(random: &mut Random, zone: &str) -> String {
    let mut text = String::new();
    if zone != "UTC" || random.chance(50) {
        put(&mut text, format_args!("zone = \"{zone}\""));
    }
    if random.chance(60) {
        put(&mut text, format_args!("presume_days = {}", random.pick(&[0, 1, 2, 5, 10])));
    }
    if random.chance(75) {
        put(
            &mut text,
            format_args!("moved = \"{}\"", random.pick(&["main_owner", "last_owner", "each_owner"])),
        );
    }
    let mut uncounted: Vec<String> = Vec::new();
    for name in PRODUCTS.iter().copied().chain(SUITES.map(|(name, _)| name)) {
        if random.chance(15) {
            uncounted.push(format!("{name:?}"));
        }
    }
    put(&mut text, format_args!("uncounted = [{}]", uncounted.join(", ")));
    for sku in SKUS.iter().filter(|_| random.chance(80)).collect::<Vec<_>>() {
        put_sku(random, &mut text, sku);
    }
    text.push_str("[default_sku]\n");
    for name in PRODUCTS.iter().copied().chain(SUITES.map(|(name, _)| name)) {
        if random.chance(40) {
            put(&mut text, format_args!("{name:?} = {:?}", random.pick(&SKUS)));
        }
    }
    for (name, products) in &SUITES {
        if random.chance(50) {
            let products: Vec<&str> =
                products.iter().copied().filter(|product| !product.is_empty()).collect();
            put(&mut text, format_args!("[suite.{name}]\nproducts = {products:?}"));
        }
    }
    for group in GROUPS {
        put_group(random, &mut text, group);
    }
    for sku in SKUS {
        if random.chance(70) {
            put(&mut text, format_args!("[price.{sku}]"));
            if random.chance(80) {
                put(&mut text, format_args!("reseller = \"{}\"", random.pick(&AMOUNTS)));
            }
            if random.chance(40) {
                put(&mut text, format_args!("cus_acme = \"{}\"", random.pick(&AMOUNTS)));
            }
        }
    }
    text
}

fn put_sku(random: &mut Random, text: &mut String, sku: &str) {
    put(text, format_args!("[sku.{sku}]"));
    if random.chance(85) {
        let count = random.pick(&["high_water", "distinct", "month_end", "average"]);
        put(text, format_args!("count = \"{count}\""));
    }
    if random.chance(25) {
        put(text, format_args!("min_days = {}", random.between(0, 6)));
    }
    if random.chance(20) {
        put(text, format_args!("free_first_month = true"));
    }
    if random.chance(75) {
        put(text, format_args!("price_group = \"{}\"", random.pick(&GROUPS)));
    }
}

fn put_group(random: &mut Random, text: &mut String, group: &str) {
    let currency = random.pick(&["USD", "EUR", "JPY", "KWD", "TND", "KRW"]);
    put(
        text,
        format_args!("[price_group.{group}]\ndistributor = \"house-{group}\"\ncurrency = \"{currency}\""),
    );
    if random.chance(70) {
        put(text, format_args!("mode = \"{}\"", random.pick(&["volume", "graduated", "graduated"])));
    }
    let mut from = random.between(1, 3);
    let mut tiers = Vec::new();
    for _ in 0..random.between(1, 4) {
        tiers.push(format!("{{ from = {from}, cost = \"{}\" }}", random.pick(&AMOUNTS)));
        from += random.between(1, 4);
    }
    put(text, format_args!("tiers = [{}]", tiers.join(", ")));
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string");
}
