//! Sets in parts, and what is refused of them.

use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, SetPart};

use crate::reconciliation::house::{House, against, key, rows};
use crate::reconciliation::parts::{PART_BYTES_MAX, TooMany, digest_in, invoiced, provisioned};
use crate::reconciliation::{PARTS_MAX, Unmapped};
use crate::registry::Refusal;

fn noted(set: &str, part: u32, parts: u32, customers: &[&str]) -> Fact {
    let row = |customer: &&str| wire::ProvisionedRow {
        customer: (*customer).to_owned(),
        sku: "A".to_owned(),
        provisioned: Some(4),
        used: None,
    };
    Fact::ProvisionedNoted(wire::ProvisionedNoted {
        destination: "lmpi".to_owned(),
        distributor: "ingram".to_owned(),
        period: "2026-10".to_owned(),
        part: Some(SetPart { set: set.to_owned(), part, parts }),
        rows: customers.iter().map(row).collect(),
        unmapped: 0,
        unmapped_seats: 0,
    })
}

fn lines(house: &House) -> Option<usize> {
    Some(house.fold.reconciliation().get(&against("lmpi"))?.rows.len())
}

#[test]
fn a_set_is_in_force_once_all_its_parts_are_there() {
    let mut house = House::sealed(&["a A 40"]);
    house.taken(noted("s1", 0, 2, &["cus_a"]));
    assert_eq!(lines(&house), None);
    house.taken(noted("s1", 1, 2, &["cus_b"]));
    assert_eq!(lines(&house), Some(2));
    house.refused(noted("s1", 0, 2, &["cus_a"]), "", Refusal::Repeated);
    house.taken(noted("s2", 0, 2, &["cus_a"]));
    assert_eq!(lines(&house), Some(2), "what was said before holds until then");
    house.taken(noted("s2", 1, 2, &[]));
    assert_eq!(lines(&house), Some(1));
}

#[test]
fn parts_of_two_sets_do_not_mix_and_a_new_beginning_forgets_the_old() {
    let mut house = House::sealed(&["a A 40"]);
    house.refused(noted("s1", 1, 2, &["cus_a"]), "", Refusal::Overtaken);
    house.taken(noted("s1", 0, 3, &["cus_a"]));
    house.refused(noted("s2", 1, 3, &["cus_b"]), "", Refusal::Overtaken);
    house.refused(noted("s1", 2, 3, &["cus_b"]), "", Refusal::Overtaken);
    house.refused(noted("s1", 1, 2, &["cus_b"]), "", Refusal::Overtaken);
    house.taken(noted("s2", 0, 1, &["cus_b"]));
    assert_eq!(lines(&house), Some(1));
    house.refused(noted("s1", 1, 3, &["cus_a"]), "", Refusal::Overtaken);
    house.refused(noted("s3", 0, 0, &[]), "", Refusal::Malformed);
    house.refused(noted("s3", 0, PARTS_MAX + 1, &[]), "", Refusal::Malformed);
    house.refused(noted(&"s".repeat(101), 0, 1, &[]), "", Refusal::Malformed);
    house.refused(noted("s3", 0, 1, &["cus_a", "cus_a"]), "", Refusal::Malformed);
}

#[test]
fn nothing_is_said_of_a_month_that_is_not_sealed_or_a_customer_that_is_not_known() {
    let mut bare = House::bare();
    bare.refused(noted("s1", 0, 1, &["cus_a"]), "", Refusal::NotSealed);
    let mut house = House::sealed(&["a A 40"]);
    house.refused(noted("s1", 0, 1, &["cus_z"]), "", Refusal::UnknownCustomer);
    let Fact::ProvisionedNoted(of_nobody) = noted("s1", 0, 1, &[]) else { unreachable!() };
    let other = wire::ProvisionedNoted { distributor: "other".to_owned(), ..of_nobody.clone() };
    house.refused(Fact::ProvisionedNoted(other), "", Refusal::NotSealed);
    let invoice = wire::ProvisionedNoted { destination: "invoice".to_owned(), ..of_nobody };
    house.refused(Fact::ProvisionedNoted(invoice), "", Refusal::Malformed);
    let dollars = invoiced(&against("invoice"), "dollars", rows(&["a A 1 3.20"]).iter()).unwrap();
    house.refused(dollars[0].clone(), "", Refusal::Malformed);
}

#[test]
fn a_difference_is_explained_in_words_and_of_something_that_was_said() {
    let mut house = House::sealed(&["a A 40"]);
    let explained = Fact::DifferenceExplained(wire::DifferenceExplained {
        distributor: "ingram".to_owned(),
        period: "2026-10".to_owned(),
        source: "lmpi".to_owned(),
        customer: "cus_a".to_owned(),
        sku: "A".to_owned(),
        ours: "40".to_owned(),
        theirs: "44".to_owned(),
        ..Default::default()
    });
    house.refused(explained.clone(), "why", Refusal::NotSealed);
    house.said("lmpi", &["a A 44"]);
    house.refused(explained.clone(), " ", Refusal::Malformed);
    house.write(explained, "why");
    let sides = crate::reconciliation::Sides {
        ours: "40".parse().unwrap(),
        theirs: "44".parse().unwrap(),
        cost: None,
        amount: None,
    };
    let found = house.fold.reconciliation().explained(&against("lmpi"), &key("a", "A"), &sides).cloned();
    assert_eq!(found.unwrap().reason, "why");
}

#[test]
fn long_sets_go_in_several_records_none_too_long_and_read_back_as_they_were() {
    let mut house = House::sealed(&["a A 40"]);
    let said: Vec<String> = (0..9_000).map(|sku| format!("a SKU-{sku} {sku} {sku}.10")).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let rows = rows(&said);
    let facts = invoiced(&against("invoice"), "USD", rows.iter()).unwrap();
    assert!(facts.len() > 1, "{}", facts.len());
    for fact in &facts {
        let Fact::InvoiceImported(part) = fact else { unreachable!() };
        assert!(prost::Message::encoded_len(part) <= PART_BYTES_MAX + 1024);
        house.taken(fact.clone());
    }
    let set = house.fold.reconciliation().get(&against("invoice")).unwrap();
    assert_eq!((&*set.rows, set.currency.as_deref()), (&rows, Some("USD")));
    assert_eq!(digest_in(&facts[0]), Some(set.digest.as_str()));
    let again = invoiced(&against("invoice"), "EUR", rows.iter()).unwrap();
    assert_ne!(digest_in(&again[0]), Some(set.digest.as_str()), "another currency is another set");
    let unmapped = Unmapped { subscriptions: 1, seats: 5 };
    let one = provisioned(&against("lmpi"), rows.iter(), Unmapped::default()).unwrap();
    let other = provisioned(&against("lmpi"), rows.iter(), unmapped).unwrap();
    assert_ne!(digest_in(&one[0]), digest_in(&other[0]));
    let sku = "S".repeat(100);
    let many = (0..400_000).map(|number| {
        (format!("cus_{number}").parse().unwrap(), format!("{sku}{}", number % 7).parse().unwrap())
    });
    let many: std::collections::BTreeMap<_, _> = many.map(|key| (key, Default::default())).collect();
    assert_eq!(invoiced(&against("invoice"), "USD", many.iter()), Err(TooMany));
}
