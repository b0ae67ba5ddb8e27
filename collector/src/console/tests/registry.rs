//! Customers, tokens, machines and the policy.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_added_once_and_its_name_is_in_no_record() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut client = house.client();
    let request = wire::AddCustomerRequest { customer: String::new(), name: " Acme GmbH ".to_owned() };
    let made = client.add_customer(request).await.unwrap().into_inner();
    assert!(made.customer.starts_with("cus_"));
    let again = wire::AddCustomerRequest { customer: made.customer.clone(), name: "Other".to_owned() };
    refused(client.add_customer(again), Reason::Exists, "is there already").await;
    let nameless = wire::AddCustomerRequest::default();
    refused(client.add_customer(nameless), Reason::Invalid, "the customer's name is empty").await;
    let odd = wire::AddCustomerRequest { customer: "acme".to_owned(), name: "Acme".to_owned() };
    refused(client.add_customer(odd), Reason::Invalid, "`acme` is not a customer id").await;

    let list = client.list_customers(wire::ListRequest { after_position: made.position }).await.unwrap();
    let expected = wire::Customer { name: "Acme GmbH".to_owned(), position: 0, ..made };
    assert_eq!(list.into_inner().customers, [expected]);
    let records = house.console.books.records(crate::journal::Position(0), 100).unwrap();
    assert!(!records.iter().any(|(_, record)| record.windows(4).any(|bytes| bytes == b"Acme")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_holds_all_an_installer_needs_and_its_secret_is_kept_nowhere() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let made = house.token("cus_acme").await;
    let text = token::parse(&made.text).unwrap();
    let keys = house.console.books.keys();
    assert_eq!(text.token, made.token);
    assert_eq!(text.addresses, ["collector.example:8443"]);
    assert_eq!(text.pin, seatbeat_proto::tls::pin(keys.tls_certificate()).unwrap());
    assert_eq!(text.salt, keys.salt());
    assert_eq!(text.service_key, keys.service().verifying_key().to_bytes());
    let records = house.console.books.records(crate::journal::Position(0), 100).unwrap();
    assert!(!records.iter().any(|(_, record)| record.windows(16).any(|bytes| bytes == text.secret)));

    let mut client = house.client();
    let revoke = wire::RevokeTokenRequest { token: made.token.clone(), reason: "leaked".to_owned() };
    let position = client.revoke_token(revoke.clone()).await.unwrap().into_inner().position;
    assert_eq!(
        client.revoke_token(revoke).await.unwrap().into_inner().position,
        position,
        "nothing new is written"
    );
    let tokens =
        client.list_tokens(wire::ListRequest { after_position: position }).await.unwrap().into_inner().tokens;
    assert!(tokens.len() == 1 && tokens[0].revoked && tokens[0].uses_max == 100);
    let unknown = wire::RevokeTokenRequest { token: "tok_x".to_owned(), reason: String::new() };
    refused(client.revoke_token(unknown), Reason::UnknownToken, "token `tok_x` is not known here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_would_let_nobody_in_is_not_made() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let now_ms = house.console.books.clock().now_ms();
    let right = wire::CreateTokenRequest {
        customer: "cus_acme".to_owned(),
        uses_max: 1,
        expires_at_ms: now_ms + 60_000,
        uses_per_hour: 0,
    };
    let mut client = house.client();
    for (request, reason, words) in [
        (
            wire::CreateTokenRequest { customer: "cus_x".to_owned(), ..right.clone() },
            Reason::UnknownCustomer,
            "`cus_x`",
        ),
        (wire::CreateTokenRequest { uses_max: 0, ..right.clone() }, Reason::Invalid, "at least 1"),
        (wire::CreateTokenRequest { expires_at_ms: now_ms, ..right.clone() }, Reason::Invalid, "is over"),
        (
            wire::CreateTokenRequest { expires_at_ms: i64::MAX, ..right.clone() },
            Reason::Invalid,
            "is not an instant",
        ),
    ] {
        refused(client.create_token(request), reason, words).await;
    }
    let mut console = house.console.clone();
    console.config = Arc::new(Config::default());
    let mut client = ConsoleClient::new(Bearer { server: server(console), token: house.token.clone() });
    refused(client.create_token(right), Reason::NoAddress, "names no address").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_come_page_by_page_without_gap_or_repeat() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    house.customer("cus_other").await;
    let (acme, other) = (house.token("cus_acme").await, house.token("cus_other").await);
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(house.machine(&acme).await.id.to_string());
        house.machine(&other).await;
    }
    expected.sort();
    let mut client = house.client();
    let (mut found, mut page_after) = (Vec::new(), String::new());
    loop {
        let customer = "cus_acme".to_owned();
        let request = wire::ListMachinesRequest { customer, page_after, page_size: 2, ..Default::default() };
        let page = client.list_machines(request).await.unwrap().into_inner();
        assert!((1..=2).contains(&page.machines.len()));
        found.extend(page.machines.into_iter().map(|machine| machine.machine));
        if page.next_page_after.is_empty() {
            break;
        }
        page_after = page.next_page_after;
    }
    assert_eq!(found, expected);
    let all = client.list_machines(wire::ListMachinesRequest::default()).await.unwrap().into_inner();
    assert_eq!((all.machines.len(), all.next_page_after.as_str()), (10, ""));
    let request = wire::ListMachinesRequest { customer: "cus_x".to_owned(), ..Default::default() };
    refused(client.list_machines(request), Reason::UnknownCustomer, "`cus_x`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_shown_with_what_it_reported_and_what_was_done_to_it() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    let after_position = machine.reports(&house, "dsa").await;
    let mut client = house.client();
    let id = machine.id.to_string();
    let show = wire::ShowMachineRequest { machine: id.clone(), after_position };
    let detail = client.show_machine(show.clone()).await.unwrap().into_inner();
    let shown = detail.machine.unwrap();
    assert_eq!((shown.customer.as_str(), shown.products[0].state.as_str()), ("cus_acme", "active"));
    assert_eq!((detail.spools[0].sequence, &detail.spools[0].hash), (1, &machine.tip));

    let ban = wire::BanMachineRequest { machine: id.clone(), banned: true, reason: "stolen".to_owned() };
    client.ban_machine(ban).await.unwrap();
    let retire = |machine: &str, at_ms| {
        Change::MachineRetired(wire::MachineRetired { machine: machine.to_owned(), at_ms })
    };
    client.amend(by_hand(retire(&id, 0))).await.unwrap();
    let shown = client.show_machine(show).await.unwrap().into_inner().machine.unwrap();
    assert!(shown.banned && shown.retired);

    let later = instant::to_ms("2026-10-16T12:00:00Z".parse().unwrap());
    refused(client.amend(by_hand(retire(&id, later))), Reason::Invalid, "`at` is yet to come").await;
    let long = wire::AmendRequest { reason: "x".repeat(1001), ..by_hand(retire(&id, 0)) };
    refused(client.amend(long), Reason::Invalid, "the reason is longer than").await;
    refused(client.amend(by_hand(retire("mch_x", 0))), Reason::UnknownMachine, "machine `mch_x`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_checked_before_it_is_written_and_the_zone_stays_with_the_evidence() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut client = house.client();
    let before = house.console.books.read(|fold| fold.position());
    let set = |toml: &str| wire::SetPolicyRequest { toml: toml.to_owned(), ..Default::default() };
    refused(client.set_policy(set("colour = 1")), Reason::Policy, "colour").await;
    assert_eq!(house.console.books.read(|fold| fold.position()), before, "nothing was written");
    client.set_policy(set("zone = \"Asia/Tokyo\"")).await.unwrap();
    client.set_policy(set(POLICY)).await.unwrap();
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    refused(client.set_policy(set("zone = \"UTC\"")), Reason::ZoneFixed, "by the days of `Europe/Berlin`")
        .await;
    assert_eq!(client.get_policy(wire::PolicyRequest::default()).await.unwrap().into_inner().toml, POLICY);
}

fn signed_catalogue(version: u32) -> wire::Signed {
    let file = format!("schema = \"seatbeat-catalogue/1\"\nversion = {version}\n");
    sign(&new_key(), Domain::Catalogue, file.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_catalogue_is_on_record_as_it_was_signed_with_who_and_why() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut client = house.client();
    let before = client.get_catalogue(wire::ListRequest::default()).await.unwrap().into_inner();
    assert_eq!((before.pushed, before.built_in_version > 0), (None, true));
    let signed = signed_catalogue(before.built_in_version + 1);
    let push = |signed: &wire::Signed| wire::PushCatalogueRequest {
        catalogue: Some(signed.clone()),
        reason: "a new product".to_owned(),
    };
    let pushed = client.push_catalogue(push(&signed)).await.unwrap().into_inner();
    let again = client.push_catalogue(push(&signed)).await.unwrap().into_inner();
    assert_eq!(wire::PushedCatalogue { position: 0, ..pushed.clone() }, again, "nothing new is written");
    let ask = wire::ListRequest { after_position: pushed.position };
    assert_eq!(client.get_catalogue(ask).await.unwrap().into_inner().pushed, Some(again));
    let records = house.console.books.records(crate::journal::Position(pushed.position - 1), 9).unwrap();
    let record = JournalRecord::decode(records[0].1.as_slice()).unwrap();
    assert!(record.actor.starts_with("opr_") && record.recorded_at_ms > 0, "{record:?}");
    assert_eq!((record.reason.as_str(), records.len()), ("a new product", 1));
    let Some(Fact::CataloguePushed(fact)) = record.fact else { panic!("another fact") };
    assert_eq!((fact.catalogue, fact.version), (Some(signed), pushed.version));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_that_no_agent_could_use_is_not_pushed() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut client = house.client();
    let built_in = seatbeat_proto::catalogue::Catalogue::embedded().version;
    let position = house.console.books.read(seatbeat_ledger::fold::Fold::position);
    let mut refuse = async |signed: Option<wire::Signed>, words: &str| {
        let push = wire::PushCatalogueRequest { catalogue: signed, reason: String::new() };
        refused(client.push_catalogue(push), Reason::Catalogue, words).await;
    };
    refuse(None, "failed to read the catalogue").await;
    refuse(Some(signed_catalogue(built_in)), "is in use").await;
    let odd = "schema = \"seatbeat-catalogue/1\"\nversion = 9\n[[product]]\nid = \"p\"\nname = \"P\"\n\
               count = \"none\"\nactions = \"format-disk\"\n";
    let odd = sign(&new_key(), Domain::Catalogue, odd.into());
    refuse(Some(odd), "format-disk").await;
    let long = sign(&new_key(), Domain::Catalogue, vec![b'#'; 255 * 1024]);
    refuse(Some(long), "and can have").await;
    assert_eq!(house.console.books.read(seatbeat_ledger::fold::Fold::position), position);
}
