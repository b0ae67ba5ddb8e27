//! Records by hand: checked, shown with what they do, written.

use super::*;

fn effects(amended: &wire::Amended) -> Vec<String> {
    let word = |effect: &wire::Effect| {
        let wire::Effect { period, for_period, customer, sku, before, after } = effect;
        format!("{period} {for_period} {customer} {sku} {before}>{after}").replace("  ", " ")
    };
    amended.effects.iter().map(word).collect()
}

async fn two_machines(house: &House) -> [String; 2] {
    house.customer("cus_acme").await;
    house.customer("cus_zeta").await;
    let token = house.token("cus_acme").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut machine = house.machine(&token).await;
        machine.reports(house, "dsa").await;
        ids.push(machine.id.to_string());
    }
    ids.try_into().unwrap()
}

fn adjusted(period: &str, sku: &str, delta: i64) -> Change {
    let (customer, sku, period) = ("cus_acme".to_owned(), sku.to_owned(), period.to_owned());
    Change::Adjusted(wire::Adjusted { customer, sku, period, delta, at_ms: 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_the_effect_that_the_write_has_and_writes_nothing() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let [one, other] = two_machines(&house).await;
    let mut client = house.client();
    let merged = wire::MachinesMerged { kept: one.clone(), absorbed: other.clone(), at_ms: 0 };
    let request = by_hand(Change::MachinesMerged(merged));
    let size = house.console.books.read(|fold| fold.position());
    let preview = wire::AmendRequest { preview: true, ..request.clone() };
    let shown = client.amend(preview).await.unwrap().into_inner();
    assert_eq!((shown.position, effects(&shown)), (0, vec!["2026-10 cus_acme DS 2>1".to_owned()]));
    assert_eq!(house.console.books.read(|fold| fold.position()), size);
    let written = client.amend(request).await.unwrap().into_inner();
    assert_eq!((written.position, &written.effects), (size + 1, &shown.effects));

    let split = wire::MachinesSplit { kept: one.clone(), absorbed: other, at_ms: 0 };
    let parted = client.amend(by_hand(Change::MachinesSplit(split))).await.unwrap().into_inner();
    assert_eq!(effects(&parted), ["2026-10 cus_acme DS 1>2"]);
    let at_ms = instant::to_ms("2026-10-01T00:00:00Z".parse().unwrap());
    let assigned = wire::MachineAssigned { machine: one, customer: "cus_zeta".to_owned(), at_ms };
    let moved = client.amend(by_hand(Change::MachineAssigned(assigned))).await.unwrap().into_inner();
    assert_eq!(effects(&moved), [""; 0], "its first owner was known before");
}

#[tokio::test(flavor = "multi_thread")]
async fn units_by_hand_change_their_month_and_a_sealed_one_through_the_next() {
    let house = House::founded("2026-10-15T12:00:00Z");
    two_machines(&house).await;
    let mut client = house.client();
    let request = by_hand(adjusted("2026-10", "DS", 3));
    assert_eq!(effects(&client.amend(request).await.unwrap().into_inner()), ["2026-10 cus_acme DS 2>5"]);
    let unbilled =
        wire::SkuAssigned { customer: "cus_acme".to_owned(), product: "dsa".to_owned(), sku: None, at_ms: 0 };
    let preview = wire::AmendRequest { preview: true, ..by_hand(Change::SkuAssigned(unbilled)) };
    assert_eq!(effects(&client.amend(preview).await.unwrap().into_inner()), ["2026-10 cus_acme DS 5>3"]);

    drop(client);
    let house = house.again("2026-11-05T12:00:00Z").await;
    let mut client = house.client();
    let period = wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let digest = client.draft_statement(period).await.unwrap().into_inner().digest;
    let seal = wire::SealRequest { period: "2026-10".to_owned(), digest, ..Default::default() };
    client.seal_statement(seal).await.unwrap();
    let corrected = client.amend(by_hand(adjusted("2026-10", "DS", -1))).await.unwrap().into_inner();
    assert_eq!(effects(&corrected), ["2026-11 2026-10 cus_acme DS 0>-1"]);
    let running = wire::PeriodRequest { period: "2026-11".to_owned(), after_position: 0 };
    let variance = client.draft_statement(running).await.unwrap().into_inner().variance_json;
    let parts = r#""before":"5","after":"0","parts":{"gone":"-2","correction":"-3"}"#;
    assert!(variance.contains(parts), "{variance}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_by_name() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let [one, other] = two_machines(&house).await;
    let mut client = house.client();
    let pair = |absorbed: &str| (one.clone(), absorbed.to_owned());
    let merge = |(kept, absorbed)| Change::MachinesMerged(wire::MachinesMerged { kept, absorbed, at_ms: 0 });
    let split = |(kept, absorbed)| Change::MachinesSplit(wire::MachinesSplit { kept, absorbed, at_ms: 0 });
    let map = |product: &str, sku: &str| {
        let (customer, product) = ("cus_acme".to_owned(), product.to_owned());
        Change::SkuAssigned(wire::SkuAssigned { customer, product, sku: Some(sku.to_owned()), at_ms: 0 })
    };
    let flag = |flag: &str| {
        let (machine, flag) = (one.clone(), flag.to_owned());
        Change::MachineFlagged(wire::MachineFlagged { machine, flag, at_ms: 0 })
    };
    for (change, words) in [
        (merge(pair(&one)), "is one machine"),
        (split(pair(&other)), "was never merged"),
        (adjusted("2026-10", "DSX", 1), "`DSX` is not named in the policy"),
        (adjusted("2026-10", "DS", 0), "would adjust nothing"),
        (adjusted("2026-10", "DS", i64::MIN), "is more than"),
        (adjusted("2027-10", "DS", 1), "too far ahead"),
        (adjusted("October", "DS", 1), "`October` is not a period"),
        (map("family/worry-free", "DS"), "is never billed"),
        (map("dsa", "X"), "`X` is not named in the policy"),
        (flag("went_silent"), "is computed"),
        (flag("Pool of machines"), "is not a name"),
    ] {
        refused(client.amend(by_hand(change)), Reason::Invalid, words).await;
    }
    let nobody = wire::MachineAssigned { machine: one.clone(), customer: "cus_x".to_owned(), at_ms: 0 };
    let nobody = by_hand(Change::MachineAssigned(nobody));
    refused(client.amend(nobody), Reason::UnknownCustomer, "`cus_x`").await;
    let silent = wire::AmendRequest { reason: " ".to_owned(), ..by_hand(adjusted("2026-10", "DS", 1)) };
    refused(client.amend(silent), Reason::Invalid, "says why").await;
    let away = wire::MachineAssigned { machine: other.clone(), customer: "cus_zeta".to_owned(), at_ms: 0 };
    client.amend(by_hand(Change::MachineAssigned(away))).await.unwrap();
    refused(client.amend(by_hand(merge(pair(&other)))), Reason::Invalid, "two customers").await;
}
