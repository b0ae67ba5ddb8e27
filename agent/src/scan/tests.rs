//! What `scan` prints, word for word, of machines that were seen. A small catalogue of its own: the vendor's changes.

use super::*;

const CATALOGUE: &str = r#"
schema = "seatbeat-catalogue/1"
version = 7

[[family]]
id = "guard"
name = "the Guard agents"
signals = [{ os = "linux", kind = "group", match = "guard", source = "S1" }]
[family.active.linux]
unit_active = "guard.service"
else = "guard.service does not run"

[[product]]
id = "guard-home"
name = "Guard Home"
family = "guard"
count = "device"
sku = "GH"
signals = [
  { os = "linux", kind = "deb", match = "guard-home", role = "identify", source = "S1" },
  { os = "linux", kind = "path", match = "/opt/guard", role = "support", source = "S1" },
  { os = "linux", kind = "path", match = "/opt/guard-pro", role = "exclude", source = "S1" },
  { os = "linux", kind = "unit", match = "guard.service", role = "support", source = "recalled" },
]
version = [{ package = "guard-home" }]
[product.active.linux]
unit_active = "guard.service"
else = "guard.service does not run"
"#;

fn check(snapshot: &str, expected: &str) {
    let catalogue = Catalogue::parse(CATALOGUE).unwrap();
    let seen: Observations =
        serde_json::from_str(&format!(r#"{{"format": "seatbeat-snapshot/1", "os": "linux", {snapshot}}}"#))
            .unwrap();
    let now = "2026-10-15T12:00:00Z".parse().unwrap();
    let text = told(&catalogue, &seen, now, false);
    assert_eq!(text, expected, "\n{text}");
    let json: Value = serde_json::from_str(&told(&catalogue, &seen, now, true)).unwrap();
    assert_eq!(json["catalogue_version"], 7);
    let listed = text.lines().skip(1).take_while(|line| !line.is_empty()).count();
    assert_eq!(json["products"].as_array().unwrap().len(), listed, "{json:#}");
}

#[test]
fn an_active_product_and_what_speaks_for_it() {
    check(
        r#""packages": [{"manager": "dpkg", "name": "guard-home", "version": "2.1"}], "paths": ["/opt/guard"],
           "units": {"guard.service": {"load": "loaded", "active": "active", "enabled": "enabled"}}"#,
        "\
PRODUCT     STATE   VERSION  WHY
guard-home  active  2.1

guard-home: found (Guard Home)
\x20 + deb:guard-home (identify)
\x20 + path:/opt/guard (support)
\x20 + unit:guard.service (support, unverified)
",
    );
}

#[test]
fn an_inactive_product_and_why() {
    check(
        r#""packages": [{"manager": "dpkg", "name": "guard-home", "version": "2.1"}],
           "units": {"guard.service": {"load": "loaded", "active": "inactive", "enabled": "disabled"}}"#,
        "\
PRODUCT     STATE     VERSION  WHY
guard-home  inactive  2.1      guard.service does not run

guard-home: found (Guard Home)
\x20 + deb:guard-home (identify)
\x20 + unit:guard.service (support, unverified)
",
    );
}

#[test]
fn a_family_without_a_product_is_ambiguous_and_says_so() {
    check(
        r#""groups": ["guard"]"#,
        "\
PRODUCT       STATE     VERSION  WHY
family/guard  inactive  -        which product of the Guard agents it is could not be told; \
guard.service does not run

guard-home: nothing that was seen identifies it (Guard Home)

family/guard: which product of the Guard agents it is could not be told; \
guard.service does not run (the Guard agents)
\x20 + group:guard (family)
",
    );
}

#[test]
fn what_speaks_against_a_product_is_shown() {
    check(
        r#""packages": [{"manager": "dpkg", "name": "guard-home", "version": "2.1"}], "paths": ["/opt/guard-pro"]"#,
        "\
no product found

guard-home: path:/opt/guard-pro says that it is another product (Guard Home)
\x20 + deb:guard-home (identify)
\x20 - path:/opt/guard-pro (exclude)
",
    );
}

#[test]
fn what_was_left_behind_and_what_could_not_be_read_is_shown() {
    check(
        r#""packages": [{"manager": "dpkg", "name": "guard-home", "version": "2.1", "state": "deinstall ok config-files"}],
           "paths": ["/opt/guard"], "unreadable": {"unit-files": "permission denied"}"#,
        "\
no product found

guard-home: nothing that was seen identifies it (Guard Home)
\x20 - package guard-home is `deinstall ok config-files`, not installed (identify)
\x20 + path:/opt/guard (support)
\x20 ? unit:guard.service: permission denied (support, unverified)

not read:
\x20 unit-files: permission denied
",
    );
}

#[test]
fn a_machine_without_any_product() {
    check(
        r#""groups": []"#,
        "\
no product found
",
    );
}
