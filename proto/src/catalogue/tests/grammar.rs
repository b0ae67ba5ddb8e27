//! The catalogue file: what it may say, and what a mistake in it is called.

use super::*;

#[test]
fn the_embedded_catalogue_parses_and_says_nothing_odd() {
    let catalogue = Catalogue::embedded();
    assert_eq!(catalogue.version, 1);
    let lints: Vec<String> =
        catalogue.lint().into_iter().map(|lint| format!("{}: {}", lint.place, lint.what)).collect();
    assert_eq!(lints, Vec::<String>::new());
}

#[test]
fn what_is_billed_has_a_proposed_sku_and_what_takes_no_seat_has_none() {
    let skus = Catalogue::embedded().default_skus();
    let skus: Vec<String> = skus.into_iter().map(|(id, sku)| format!("{id}={sku}")).collect();
    assert_eq!(
        skus.join(" "),
        "apexone=APEX-ONE apexone-saas=APEX-SAAS dsa-cloud=DS-CLOUD dsa-onprem=DS-ONPREM officescan=OSCE \
         splx=SP-LINUX spnt=SP-WINDOWS tmsm=TMSM v1es=V1-ES wfbs-onprem=WF-STD wfbs-svc=WF-SVC"
    );
    assert_eq!(Catalogue::embedded().uncounted(), ["dsm".parse::<ProductId>().unwrap()]);
}

const HEAD: &str =
    "schema = \"seatbeat-catalogue/1\"\nversion = 1\n[[family]]\nid = \"f\"\nname = \"F\"\nsignals = []\n";

fn product(lines: &str) -> String {
    format!("{HEAD}[[product]]\nid = \"p\"\nname = \"P\"\ncount = \"device\"\n{lines}\n")
}

#[track_caller]
fn refused(file: &str, expected: &str) {
    assert_eq!(Catalogue::parse(file).unwrap_err().to_string(), expected);
}

#[test]
fn a_mistake_is_named_with_its_line_and_place() {
    refused(
        "schema = \"x/9\"\nversion = 1\n",
        "catalogue line 1, file: schema `x/9` is not known, `seatbeat-catalogue/1` is",
    );
    refused("schema =", "catalogue line 1, file: string values must be quoted, expected literal string");
    refused(
        "schema = \"seatbeat-catalogue/1\"\nversion = 0\n",
        "catalogue line 1, file: `version` is not a number from 1",
    );
    refused(&product("colour = \"red\""), "catalogue line 11, product `p`: unknown key `colour`");
    refused(&product("count = \"seat\""), "catalogue line 11, file: duplicate key");
    refused(&product("family = \"g\""), "catalogue line 7, product `p`: there is no family `g`");
    refused(&product("actions = \"rm\""), "catalogue line 7, product `p`: there is no action `rm`");
    let signal = |text: &str| {
        product(&format!("signals = [\n  {{ {text} }},\n]\nactive.linux = {{ unit_active = \"x\" }}"))
    };
    for (text, what) in [
        (
            "os = \"beos\", kind = \"deb\", match = \"x\", role = \"identify\"",
            "os `beos` is none of linux, windows, macos",
        ),
        ("os = \"linux\", kind = \"smell\", match = \"x\", role = \"identify\"", "kind `smell` is not known"),
        ("os = \"linux\", kind = \"deb\", match = \"x\", role = \"proof\"", "role `proof` is not known"),
        (
            "os = \"linux\", kind = \"service\", match = \"x\", role = \"identify\"",
            "there is no service on linux",
        ),
        ("os = \"linux\", kind = \"deb\", role = \"identify\"", "`match` is missing"),
        (
            "os = \"linux\", kind = \"listen_port\", match = \"http\", role = \"support\"",
            "a port is a number up to 65535",
        ),
    ] {
        refused(&signal(text), &format!("catalogue line 12, product `p`, signals 1: {what}"));
    }
}

#[test]
fn a_rule_is_one_test_that_can_be_made() {
    let rule = |text: &str| product(&format!("active.linux = {{ {text} }}"));
    let tests = "all, any, not, unless, seen, unit_active, service_running, service_display_running, process_running, \
        launchd_loaded, extension_enabled, security_center_on, value";
    let checks =
        "exists, is, contains, host_in, at_least, at_most, unix_age_s_max, unix_ahead, date_age_days_max";
    let output = "value = { output = \"tmxbc-v\" }";
    for (text, what) in [
        ("".to_owned(), format!(", linux: a rule has exactly one of {tests}")),
        ("run = \"rm -rf /\"".to_owned(), format!(", linux: a rule has exactly one of {tests}")),
        ("all = []".to_owned(), ", linux: `all` has no rule in it".to_owned()),
        (
            "not = { unit_active = \"x\" }".to_owned(),
            ", linux: `not` needs an `else`: the sentence for when it does not hold".to_owned(),
        ),
        (
            "value = { output = \"sh\" }, exists = true".to_owned(),
            ", linux, value: there is no vendor command `sh`".to_owned(),
        ),
        (output.to_owned(), format!(", linux: a value has exactly one of {checks}")),
        (
            format!("{output}, exists = true, is = \"x\""),
            format!(", linux: a value has exactly one of {checks}"),
        ),
        (format!("{output}, exists = false"), ", linux: `exists` can only be `true`, or left out".to_owned()),
    ] {
        let said = Catalogue::parse(&rule(&text)).unwrap_err();
        assert_eq!((said.line, said.place + ": " + &said.what), (11, format!("product `p`, active{what}")));
    }
    let mut deep = "unit_active = \"x\"".to_owned();
    for _ in 0..9 {
        deep = format!("all = [{{ {deep} }}]");
    }
    assert!(Catalogue::parse(&rule(&deep)).unwrap_err().what.starts_with("rules go 8 deep"));
}

#[test]
fn what_is_found_must_say_when_it_is_active() {
    let signals = "signals = [{ os = \"linux\", kind = \"deb\", match = \"x\", role = \"identify\" }]";
    refused(
        &product(signals),
        "catalogue line 7, product `p`: there are signals for linux, but no rule `active.linux`",
    );
}

#[test]
fn what_parses_but_is_odd_is_said() {
    let signal =
        "{ os = \"linux\", kind = \"deb\", match = \"x\", role = \"identify\", source = \"recalled\" }";
    let active = "active.linux = { unit_active = \"x\" }\nactive.macos = { launchd_loaded = \"x\" }";
    let file = product(&format!("signals = [{signal}, {signal}]\n{active}"));
    let catalogue = Catalogue::parse(&file).unwrap();
    let lints: Vec<String> =
        catalogue.lint().into_iter().map(|lint| format!("{}: {}", lint.place, lint.what)).collect();
    assert_eq!(
        lints,
        [
            "deb:x: identifies p and p",
            "family `f`: has no product",
            "product `p`: `active.macos` is never asked: nothing identifies it there",
            "product `p`: deb:x stands twice",
            "product `p`: only recalled signals identify it: it is never billed",
        ]
    );
    assert!(!catalogue.products[0].is_billable());
}

#[test]
fn everything_that_is_asked_is_looked_for() {
    let wanted = Catalogue::embedded().wanted(Os::Linux);
    assert!(wanted.debs.contains("ds-agent") && wanted.rpms.contains("ds_agent"));
    assert!(wanted.units.contains("tmxbc.service") && wanted.commands.len() == VendorCommand::ALL.len());
    assert!(wanted.registry_keys.is_empty() && wanted.services.is_empty());
    let wanted = Catalogue::embedded().wanted(Os::Windows);
    assert!(wanted.services.contains("ntrtscan") && wanted.msi_product_codes.len() > 7);
}

#[test]
fn a_damaged_catalogue_is_refused_or_works_but_never_panics() {
    let file = include_str!("../../../catalogue/trend-micro.toml");
    let seen = machine(Os::Linux, &["deb ds-agent", "unit ds_agent.service=active"]);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let mut refused = 0;
    for _ in 0..150 {
        let mut bytes = file.as_bytes().to_vec();
        for _ in 0..1 + next(3) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = u8::try_from(32 + next(95)).unwrap(),
                1 => _ = bytes.drain(at..(at + 1 + next(40)).min(bytes.len())),
                _ => bytes.truncate(at.max(1)),
            }
        }
        match Catalogue::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(catalogue) => _ = catalogue.find(&seen, now()),
            Err(error) => {
                assert!(error.line >= 1);
                refused += 1;
            }
        }
    }
    assert!(refused > 50, "{refused} of 150 were refused");
}
