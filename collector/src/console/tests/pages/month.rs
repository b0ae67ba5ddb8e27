//! The pages of a month: its list, lines, approval, explanations, adjustments, delivery, reconciliation, files.
//! Invariant: what an action did is looked up in the books, not on the page that says so.

use super::super::documents::PRICED;
use super::*;
use crate::config::Config;
use crate::console::reconcile::note_provisioned;
use crate::distributor::connector::FarSeats;
use crate::jobs::upload::Uploads;

const TRAP: &str = "<script>alert(1)</script>";
const ESCAPED: &str = "&#60;script&#62;alert(1)&#60;/script&#62;";

/// A seat in October of a customer whose name is a trap; it is a few days later.
async fn october(at: &str) -> (House, Machine) {
    let house = House::founded("2026-10-20T12:00:00Z");
    let policy = wire::SetPolicyRequest { toml: PRICED.to_owned(), ..Default::default() };
    house.client().set_policy(policy).await.unwrap();
    let request = wire::AddCustomerRequest { customer: "cus_acme".to_owned(), name: TRAP.to_owned() };
    house.client().add_customer(request).await.unwrap();
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    (house.again(at).await, machine)
}

async fn shown(house: &House, path: &str) -> String {
    let answer = page(house, &house.token, path).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.body);
    assert!(!answer.body.contains(TRAP), "{path}: {}", answer.body);
    answer.body
}

/// Each of these words, in their order.
fn has(page: &str, words: &[&str]) {
    let mut rest = page;
    for word in words {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word:?} in its place in {page}"));
        rest = &rest[at + word.len()..];
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{before:?} in {text}")).1;
    rest.split_once(after).unwrap().0
}

async fn seal(house: &House) {
    let approve = shown(house, "/statements/2026-10/approve").await;
    let digest = between(&approve, "name=\"digest\" value=\"", "\"");
    let fields = [("digest", digest), ("reason", "checked"), ("sure", "true")];
    let answer = sent(house, &house.token, "/statements/2026-10/seal", &fields).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/statements/2026-10?done=sealed"));
}

fn is_sealed(house: &House) -> bool {
    house.console.is_sealed("2026-10".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_where_each_month_stands_and_what_it_comes_to() {
    let (house, _) = october("2026-11-05T12:00:00Z").await;
    let list = shown(&house, "/statements").await;
    has(
        &list,
        &["href=\"/statements/2026-11\"", "open", "href=\"/statements/2026-10\"", "ingram", ">draft<"],
    );
    has(
        &list,
        &[">draft<", "<td class=\"number\">1</td><td class=\"number\">2.10 EUR</td>", "about to be sealed"],
    );
    seal(&house).await;
    let list = shown(&house, "/statements").await;
    has(&list, &["ingram", "badge good\">sealed<", "<td class=\"number\">1</td>", "2.10 EUR"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_shows_its_lines_with_cost_revenue_and_margin_and_finds_them() {
    let (house, _) = october("2026-11-05T12:00:00Z").await;
    let month = shown(&house, "/statements/2026-10").await;
    has(
        &month,
        &["Nothing is in its way", "Digest of this draft: <code>sha256:", "Seats", "2.10 EUR", "4.00 EUR"],
    );
    has(&month, &["1.90 EUR", "47.50 %", ESCAPED, "href=\"/statements/2026-10/cus_acme/DS\""]);
    has(
        &month,
        &["<td class=\"number\">4.00</td><td class=\"number\">1.90</td><td class=\"number\">47.50 %</td>"],
    );
    has(&month, &["/v1/statements/2026-10.csv?draft=true", "/statements/2026-10/files/statement.xlsx"]);
    for (search, found) in [("script", true), ("cus_ac", true), ("ds", true), ("zeta", false)] {
        let month = shown(&house, &format!("/statements/2026-10?search={search}")).await;
        assert_eq!(month.contains("/statements/2026-10/cus_acme/DS"), found, "{search}");
    }
    for (path, status) in [("/statements/2026-13", 400), ("/statements/2027-01", 400)] {
        assert_eq!(page(&house, &house.token, path).await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_comes_first_and_leads_to_where_it_is_settled() {
    let (house, mut machine) = october("2026-10-21T12:00:00Z").await;
    machine.reports(&house, "spnt").await;
    let house = house.again("2026-11-05T12:00:00Z").await;
    let month = shown(&house, "/statements/2026-10").await;
    has(
        &month,
        &["In the way", "uses product spnt, which has no SKU", "href=\"/customers/cus_acme\"", "Lines"],
    );
    assert!(!month.contains("/approve\">Approve…"), "{month}");
    let approve = shown(&house, "/statements/2026-10/approve").await;
    assert!(!approve.contains("name=\"digest\""), "{approve}");
    has(&month, &["Not billed", &machine.id.to_string(), "has no SKU", "21"]);
    let unbilled = shown(&house, "/statements/2026-10/unbilled").await;
    has(&unbilled, &["1 machine has", &machine.id.to_string(), ESCAPED, "spnt", "has no SKU"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_draft_that_was_looked_at_is_sealed_and_only_with_a_tick() {
    let (house, _) = october("2026-11-05T12:00:00Z").await;
    let approve = shown(&house, "/statements/2026-10/approve").await;
    let digest = between(&approve, "name=\"digest\" value=\"", "\"").to_owned();
    let to = "/statements/2026-10/seal";
    let without = sent(&house, &house.token, to, &[("digest", &digest)]).await;
    assert_eq!(without.status.as_u16(), 400);
    has(&without.body, &["the tick is missing"]);
    let other = sent(&house, &house.token, to, &[("digest", "sha256:00"), ("sure", "true")]).await;
    has(&other.body, &["no draft of period 2026-10 has the digest"]);
    assert!(!is_sealed(&house));
    seal(&house).await;
    assert!(is_sealed(&house));
    let month = shown(&house, "/statements/2026-10?done=sealed").await;
    has(
        &month,
        &["Sealed. Its files", "What it would be now", "badge good\">sealed<", "for ingram, revision 1"],
    );
    has(&month, &[ESCAPED, "4.00", "/statements/2026-10/bundle/ingram"]);
    assert!(!month.contains("Digest of this draft"), "it is shown as it was sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_month_is_sealed_anew_only_for_a_reason_and_shows_what_it_would_be() {
    let (house, _) = october("2026-11-05T12:00:00Z").await;
    seal(&house).await;
    let fields =
        [("kind", "adjust"), ("customer", "cus_acme"), ("sku", "DS"), ("units", "2"), ("reason", "a rack")];
    sent(&house, &house.token, "/statements/2026-10/adjust/enter", &fields).await;
    let now = shown(&house, "/statements/2026-10?now=true").await;
    has(&now, &["Seal it in its place", "It is sealed. This is what it would be now", ">3</a>"]);
    let approve = shown(&house, "/statements/2026-10/approve").await;
    let digest = between(&approve, "name=\"digest\" value=\"", "\"");
    let fields = [("digest", digest), ("sure", "true"), ("supersede", "true"), ("reason", "")];
    let answer = sent(&house, &house.token, "/statements/2026-10/seal", &fields).await;
    has(&answer.body, &["the reason is missing"]);
    let fields = [("digest", digest), ("sure", "true"), ("supersede", "true"), ("reason", "a rack")];
    sent(&house, &house.token, "/statements/2026-10/seal", &fields).await;
    has(&shown(&house, "/statements/2026-10").await, &["superseded by revision 2", "revision 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_leads_down_to_the_days_and_records_of_each_machine() {
    let (house, mut machine) = october("2026-10-21T12:00:00Z").await;
    let other = house.machine(&house.token("cus_acme").await).await.id;
    machine.reports(&house, "dsa").await;
    let line = shown(&house, "/statements/2026-10/cus_acme/DS").await;
    let id = machine.id.to_string();
    has(&line, &["<strong>1</strong>", "1 seen", "Machines in it", &id, "<td>20-21</td>", "record "]);
    assert!(!line.contains(&other.to_string()), "it was never seen");
    let days = shown(&house, &format!("/statements/2026-10/cus_acme/DS/{id}")).await;
    has(
        &days,
        &[&format!("href=\"/machines/{id}\""), "counted", ">19<", "not there", ">20<", "seen", "record "],
    );
    has(&days, &["2026-10-20 12:00:0", "dsa", "2026-10-21 12:00:0", ">31<"]);
    for (path, status, words) in [
        ("/statements/2026-10/cus_x/DS", 404, "cus_x"),
        ("/statements/2026-10/acme/DS", 400, "acme"),
        ("/statements/2026-10/cus_acme/DX", 400, "DX"),
        ("/statements/2026-10/cus_acme/DS/mch_x", 404, "mch_x"),
    ] {
        let answer = page(&house, &house.token, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        has(&answer.body, &[words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_shows_what_it_does_and_is_entered_with_its_reason() {
    let (house, _) = october("2026-11-02T12:00:00Z").await;
    let typed = shown(&house, "/statements/2026-10/adjust?customer=cus_acme&sku=D%22S").await;
    has(&typed, &["value=\"cus_acme\"", "value=\"D&#34;S\"", ESCAPED]);
    let size = || house.console.books.read(seatbeat_ledger::fold::Fold::position);
    let before = size();
    let fields = [
        ("kind", "adjust"),
        ("customer", "cus_acme"),
        ("sku", "DS"),
        ("units", "2"),
        ("reason", "a \"rack\""),
    ];
    let preview = sent(&house, &house.token, "/statements/2026-10/adjust/preview", &fields).await;
    has(
        &preview.body,
        &["value=\"a &#34;rack&#34;\"", "id=\"preview\"", "2026-10", "<td class=\"number\">1</td>"],
    );
    has(&preview.body, &["<td class=\"number\">3</td>"]);
    assert_eq!(size(), before, "a preview writes nothing");
    let entered = sent(&house, &house.token, "/statements/2026-10/adjust/enter", &fields).await;
    assert_eq!(entered.header("location"), "/statements/2026-10?done=amended");
    assert_eq!(size(), before + 1);
    has(&shown(&house, "/statements/2026-10").await, &["+2 adjusted"]);
    let without = [("kind", "adjust"), ("customer", "cus_acme"), ("sku", "DS"), ("units", "2")];
    let refused = sent(&house, &house.token, "/statements/2026-10/adjust/enter", &without).await;
    assert_eq!(refused.status.as_u16(), 400);
    has(&refused.body, &["the reason is missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_shown_with_its_likely_reason_and_explained() {
    let (house, _) = october("2026-11-05T12:00:00Z").await;
    has(&shown(&house, "/statements/2026-10/reconcile").await, &["The month is not sealed"]);
    seal(&house).await;
    has(&shown(&house, "/statements/2026-10/reconcile").await, &["seatbeat reconcile 2026-10 --invoice"]);
    let line = Some(("cus_acme".parse().unwrap(), "DS".parse().unwrap()));
    let seats = FarSeats { line, called: "Acme".to_owned(), provisioned: Some(9), used: None };
    let of = ("ingram", "2026-10".parse().unwrap());
    note_provisioned(&house.console.books, "lmpi", of, vec![seats]).await.unwrap();
    let page = shown(&house, "/statements/2026-10/reconcile").await;
    has(
        &page,
        &["lmpi of ingram", "badge bad\">1<", ESCAPED, "<td class=\"number\">9</td>", "Explain</button>"],
    );
    let fields = [
        ("distributor", "ingram"),
        ("source", "lmpi"),
        ("customer", "cus_acme"),
        ("sku", "DS"),
        ("reason", "a <rack> of theirs"),
    ];
    sent(&house, &house.token, "/statements/2026-10/reconcile/explain", &fields).await;
    let page = shown(&house, "/statements/2026-10/reconcile").await;
    has(&page, &["badge good\">none<", "a &#60;rack&#62; of theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_goes_out_as_files_and_as_a_bundle() {
    let (house, _) = october("2026-11-05T12:00:00Z").await;
    let draft = page(&house, &house.token, "/statements/2026-10/files/statement.csv").await;
    has(&draft.body, &["cus_acme", "DS", "2.10"]);
    assert_eq!(draft.header("content-disposition"), "attachment; filename=\"2026-10-statement.csv\"");
    for (file, status) in [("statement.pdf", 400), ("secrets.csv", 400), ("x", 404)] {
        let answer = page(&house, &house.token, &format!("/statements/2026-10/files/{file}")).await;
        assert_eq!(answer.status.as_u16(), status, "{file}");
    }
    let early = page(&house, &house.token, "/statements/2026-10/bundle/ingram").await;
    assert_ne!(early.status.as_u16(), 200);
    seal(&house).await;
    let signed = page(&house, &house.token, "/statements/2026-10/signed/ingram").await;
    let key = house.console.books.keys().statement().verifying_key();
    seatbeat_ledger::sealed::verify(signed.body.as_bytes(), Some(&key)).unwrap();
    let bundle = page(&house, &house.token, "/statements/2026-10/bundle/ingram").await;
    assert_eq!(
        bundle.header("content-disposition"),
        "attachment; filename=\"2026-10-ingram-r1.bundle.jsonl\""
    );
    assert!(bundle.body.lines().count() > 3 && bundle.body.ends_with('\n'));
    let dropped = house.console.proofs.clone();
    tokio::task::spawn_blocking(move || dropped.run()).await.unwrap();
    let kept = std::fs::read_to_string(house.folder.path().join("statements/2026-10-ingram-r1.bundle.jsonl"));
    assert_eq!(kept.unwrap().lines().count(), bundle.body.lines().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_nowhere_says_how_it_would() {
    let (house, _) = october("2026-11-05T12:00:00Z").await;
    has(&shown(&house, "/statements/2026-10/delivery").await, &["The month is not sealed"]);
    seal(&house).await;
    has(&shown(&house, "/statements/2026-10/delivery").await, &["[destination.NAME]"]);
    for act in ["retry", "settle"] {
        let path = format!("/statements/2026-10/delivery/nowhere/{act}");
        let answer = sent(&house, &house.token, &path, &[("reason", "x")]).await;
        has(&answer.body, &["`nowhere` is not in seatbeat.toml"]);
    }
}

/// A destination that is a folder, which is not there yet.
fn with_folder(house: &House, at: &std::path::Path) -> Config {
    let text = format!(
        "connector = \"folder\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\noptions.path = \"{}\"",
        at.display()
    );
    let destination = [("drop".to_owned(), toml::from_str(&text).unwrap())].into();
    Config { destination, ..Config::clone(&house.console.config) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_on_its_way_shows_what_keeps_it_and_its_receipts_and_is_tried_again() {
    let (house, _) = october("2026-11-05T12:00:00Z").await;
    let folder = house.folder.path().join("drop");
    let config = with_folder(&house, &folder);
    let mut house = house.again_with("2026-11-05T12:00:00Z", config.clone()).await;
    let (books, closing) = (house.console.books.clone(), house.console.closing.clone());
    let uploads = Uploads::new(&books, &config, &closing).unwrap();
    house.console = house.console.with_uploads(uploads.clone());
    let plan = page(&house, &house.token, "/statements/2026-10/delivery/drop/plan").await;
    assert!(plan.body.contains("\"is_draft\": true"), "{}", plan.body);
    seal(&house).await;
    let desk = uploads.desk("drop").unwrap();
    desk.run(books.clock().now()).await;
    let list = shown(&house, "/statements/2026-10/delivery").await;
    has(
        &list,
        &[
            "href=\"/statements/2026-10/delivery/drop\"",
            "ingram, revision 1",
            "badge bad\">sent<",
            "To do: make the folder",
        ],
    );

    std::fs::create_dir(&folder).unwrap();
    let retried =
        sent(&house, &house.token, "/statements/2026-10/delivery/drop/retry", &[("reason", "")]).await;
    assert_eq!(retried.header("location"), "/statements/2026-10/delivery?done=retried");
    desk.run(books.clock().now()).await;
    let one = shown(&house, "/statements/2026-10/delivery/drop").await;
    has(
        &one,
        &["The exact requests", "badge good\">settled<", "by <code>folder</code>", "statement", "2026-10-"],
    );
    assert!(folder.read_dir().unwrap().count() > 3, "it went there");
    let again =
        sent(&house, &house.token, "/statements/2026-10/delivery/drop/retry", &[("reason", "x")]).await;
    has(&again.body, &["is settled there: nothing of it is sent again"]);
    let settled =
        sent(&house, &house.token, "/statements/2026-10/delivery/drop/settle", &[("reason", "x")]).await;
    has(&settled.body, &["nothing there that a person could settle"]);
    let prices = page(&house, &house.token, "/prices").await;
    assert!(prices.body.contains("href=\"/prices/mapping/drop\""));
}
