//! What the catalogue's own reader finds odd, in the embedded one and in bad ones.

use super::*;

fn said(catalogue: &Catalogue) -> Vec<String> {
    catalogue.lint().into_iter().map(|lint| format!("{}: {}", lint.place, lint.what)).collect()
}

/// A catalogue of this family and these products.
fn odd(products: &[&str]) -> Vec<String> {
    let mut file = "schema = \"seatbeat-catalogue/1\"\nversion = 1\n".to_owned();
    for (n, lines) in products.iter().enumerate() {
        file.push_str(&format!("[[product]]\nid = \"p{n}\"\nname = \"P\"\ncount = \"none\"\n{lines}\n"));
    }
    said(&Catalogue::parse(&file).unwrap())
}

#[test]
fn of_the_embedded_catalogue_only_unverified_products_are_odd() {
    let recalled = "only recalled signals identify it: it is never billed";
    let nothing = "nothing identifies it: it is never billed";
    let expected: Vec<String> = [
        ("imss", recalled),
        ("iwss", recalled),
        ("portalprotect", recalled),
        ("smd", recalled),
        ("sp-netware", nothing),
        ("sp-storage", nothing),
        ("tmee-fe", recalled),
        ("tmms", nothing),
        ("tmvp", recalled),
        ("wfrm-agent", nothing),
    ]
    .map(|(id, what)| format!("product `{id}`: {what}"))
    .into();
    assert_eq!(said(Catalogue::embedded()), expected);
    assert_eq!(Catalogue::embedded().version, 1);
}

#[test]
fn a_name_that_identifies_twice_is_odd() {
    let deb = |name: &str| {
        format!("signals = [{{ os = \"linux\", kind = \"deb\", match = \"{name}\", role = \"identify\" }}]")
    };
    assert_eq!(odd(&[&deb("a"), &deb("b")]), [""; 0]);
    assert_eq!(odd(&[&deb("a"), &deb("A")]), ["deb:a: identifies p0 and p1"]);
    assert_eq!(odd(&[&deb("a*"), &deb("ab")]), ["product `p0`: deb:a* takes `ab` of `p1` too"]);
}

#[test]
fn a_name_that_its_own_product_excludes_never_identifies_it() {
    let signals = "signals = [\n{ os = \"linux\", kind = \"deb\", match = \"ab\", role = \"identify\" },\n\
        { os = \"linux\", kind = \"deb\", match = \"a*\", role = \"exclude\" },\n]";
    assert_eq!(odd(&[signals]), ["product `p0`: deb:ab never identifies it: it excludes it"]);
    let elsewhere = signals
        .replace("\"linux\", kind = \"deb\", match = \"a*\"", "\"macos\", kind = \"path\", match = \"a\"");
    assert_eq!(odd(&[&elsewhere]), ["product `p0`: path:a excludes nothing: nothing identifies it there"]);
}

#[test]
fn what_is_never_asked_or_read_is_odd() {
    let deb = "signals = [{ os = \"linux\", kind = \"deb\", match = \"a\", role = \"identify\" }]\n";
    for (lines, what) in [
        (
            "active.macos = { launchd_loaded = \"x\" }",
            "`active.macos` is never asked: nothing identifies it there",
        ),
        (
            "active.linux = { any = [{ unit_active = \"x\" }, { service_running = \"x\" }] }",
            "`active.linux` asks for something that linux does not have",
        ),
        (
            "active.linux = { value = { registry = 'k!n' }, exists = true }",
            "`active.linux` asks for something that linux does not have",
        ),
        (
            "version = [{ registry = 'k!n' }]",
            "version k!n is never read: nothing identifies it where that is",
        ),
        ("version = [{ package = \"a\" }, { package = \"a\" }]", "version a is never read: it stands twice"),
        (
            "pattern = [{ registry = 'k!n' }]",
            "pattern k!n is never read: nothing identifies it where that is",
        ),
    ] {
        assert_eq!(odd(&[&format!("{deb}{lines}")]), [format!("product `p0`: {what}")]);
    }
}

#[test]
fn several_things_can_be_odd_at_once() {
    let signal =
        "{ os = \"linux\", kind = \"deb\", match = \"x\", role = \"identify\", source = \"recalled\" }";
    let file = format!(
        "schema = \"seatbeat-catalogue/1\"\nversion = 1\n[[family]]\nid = \"f\"\nname = \"F\"\nsignals = []\n\
         [[product]]\nid = \"p\"\nname = \"P\"\ncount = \"device\"\nsignals = [{signal}, {signal}]\n\
         active.linux = {{ unit_active = \"x\" }}\n"
    );
    let catalogue = Catalogue::parse(&file).unwrap();
    assert_eq!(
        said(&catalogue),
        [
            "deb:x: identifies p and p",
            "family `f`: has no product",
            "product `p`: deb:x stands twice",
            "product `p`: only recalled signals identify it: it is never billed",
        ]
    );
    assert!(!catalogue.products[0].is_billable());
}
