//! The catalogue file: what it may say, and what a mistake in it is called.

use super::*;

#[test]
fn what_is_billed_has_a_proposed_sku_and_what_takes_no_seat_has_none() {
    let skus = Catalogue::embedded().default_skus();
    let skus: Vec<String> = skus.into_iter().map(|(id, sku)| format!("{id}={sku}")).collect();
    assert_eq!(
        skus.join(" "),
        "apexone=APEX-ONE apexone-iac=APEX-IAC apexone-ivp=APEX-IVP apexone-saas=APEX-SAAS dsa-cloud=DS-CLOUD \
         dsa-onprem=DS-ONPREM eac=EAC idlp=IDLP officescan=OSCE safelock=SAFELOCK splx=SP-LINUX spnt=SP-WINDOWS \
         titanium=CONSUMER tmee-fde=TMEE-FDE tmsm=TMSM v1es=V1-ES wfbs-onprem=WF-STD wfbs-svc=WF-SVC"
    );
    let uncounted: Vec<String> = Catalogue::embedded().uncounted().iter().map(ToString::to_string).collect();
    assert_eq!(
        uncounted.join(" "),
        "dsm sp-netware smex smd imss iwss portalprotect tmms housecall osce-server apex-central wfrm-agent"
    );
    assert_eq!(Catalogue::embedded().products.len(), 31);
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
    refused(
        &product("actions = \"rm\""),
        "catalogue line 7, product `p`: there is no action `rm` for this product",
    );
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
        (
            r#"os = "windows", kind = "path", match = '{x64}\x', role = "support""#,
            r"`{x64}\x` begins with no folder that is known",
        ),
        (
            r#"os = "windows", kind = "msi_product_code", match = "{1}", role = "support""#,
            "`{1}` is no Windows Installer code",
        ),
        (
            r#"os = "macos", kind = "run_value", match = "x", role = "support""#,
            "there is no run_value on macos",
        ),
    ] {
        refused(&signal(text), &format!("catalogue line 12, product `p`, signals 1: {what}"));
    }
}

#[test]
fn a_rule_is_one_test_that_can_be_made() {
    let rule = |text: &str| product(&format!("active.linux = {{ {text} }}"));
    let tests = "all, any, not, unless, seen, unit_active, service_running, service_display_running, process_running, \
        launchd_loaded, extension_enabled, security_center_on, security_center_off, security_center_outdated, \
        cannot_tell, value";
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
        (
            "value = { ini = 'x!y' }, exists = true".to_owned(),
            ", linux, value: a value of an ini file is written `path!section!key`".to_owned(),
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
fn everything_that_is_asked_is_looked_for() {
    let wanted = Catalogue::embedded().wanted(Os::Linux);
    assert!(wanted.debs.contains("ds-agent") && wanted.rpms.contains("ds_agent"));
    assert!(wanted.units.contains("tmxbc.service") && wanted.commands.len() == VendorCommand::ALL.len());
    assert!(wanted.registry_keys.is_empty() && wanted.services.is_empty());
    let wanted = Catalogue::embedded().wanted(Os::Windows);
    assert!(wanted.services.contains("ntrtscan") && wanted.msi_product_codes.len() > 7);
    assert!(wanted.run_values.contains("OfficeScanNT Monitor") && wanted.domino_tasks.contains("SMDreal"));
    // A folder that a registry value names asks for that value.
    assert!(wanted.registry_values.contains(r"HKLM\SOFTWARE\TrendMicro\Vizor!ProductPluginPath"));
    assert!(wanted.ini_values.iter().any(|name| name.ends_with(r"\SpntShare\server.ini!*!P.4")));
    assert!(wanted.debs.is_empty() && wanted.plists.is_empty() && wanted.launchd.is_empty());
}
