//! The page of the audit.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_found_by_who_what_and_when() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    let ban = house.machine(&house.token("cus_a").await).await;
    let banned =
        wire::BanMachineRequest { machine: ban.id.to_string(), banned: true, reason: MARKUP.to_owned() };
    house.client().ban_machine(banned).await.unwrap();
    let shown = page(&house, "/audit").await;
    assert!(shown.has("machine_banned") && shown.has("&#60;script&#62;") && shown.has("customer_added"));
    assert!(!shown.has("/audit?before="), "all of it is shown: {}", shown.body);
    let shown = page(&house, "/audit?what=customer_added&from=2026-10-15&to=2026-10-15").await;
    assert!(shown.has("<td class=\"tight\">customer_added</td>"), "{}", shown.body);
    assert!(!shown.has("<td class=\"tight\">machine_banned</td>"), "{}", shown.body);
    assert!(
        shown.has("/v1/audit.csv?from=2026-10-15&#38;to=2026-10-15&#38;what=customer_added"),
        "{}",
        shown.body
    );
    let none = page(&house, "/audit?who=opr_nobody").await;
    assert!(none.has("Nothing like that was done"), "{}", none.body);
    let none = page(&house, "/audit?from=2026-10-16").await;
    assert!(none.has("Nothing like that was done"), "{}", none.body);

    let odd = get(&house, "/audit?from=yesterday", &house.token).await;
    assert!(odd.status == StatusCode::BAD_REQUEST && odd.has("is no day such as 2026-10-15"), "{odd:?}");
    let odd = get(&house, "/audit?what=sabotage", &house.token).await;
    assert!(odd.status == StatusCode::BAD_REQUEST && odd.has("is no action"), "{odd:?}");
    house.operator("opr_b", "sbo1.b", Role::Billing, &[]).await;
    assert_eq!(get(&house, "/audit", "sbo1.b").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_pages_go_on_where_the_newer_one_ended() {
    let house = House::founded("2026-10-15T12:00:00Z");
    for number in 0..105 {
        let request = wire::AddCustomerRequest { customer: format!("cus_n{number}"), name: "N".to_owned() };
        house.client().add_customer(request).await.unwrap();
    }
    let first = page(&house, "/audit?what=customer_added").await;
    assert!(first.has("cus_n104 ") && first.has("cus_n5 ") && !first.has("cus_n4 "), "{}", first.body);
    let start = first.body.find("/audit?what=customer_added&#38;before=").unwrap();
    let next: String = first.body[start..].chars().take_while(|c| *c != '"').collect();
    let second = page(&house, &next.replace("&#38;", "&")).await;
    assert!(second.has("cus_n4 ") && second.has("cus_n0 ") && !second.has("cus_n5 "), "{}", second.body);
}
