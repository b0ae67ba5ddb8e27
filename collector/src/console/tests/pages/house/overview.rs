//! The overview.

use super::*;

fn card(title: &str, figure: &str) -> String {
    format!("<h2>{title}</h2><p class=\"figure\">{figure}</p>")
}

/// Two customers: one with two machines, one with a machine whose product nobody has a SKU for.
async fn fleet() -> (House, Vec<Machine>) {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut machines = Vec::new();
    for (customer, product) in [("cus_a", "dsa"), ("cus_a", "dsa"), ("cus_b", "spnt")] {
        if machines.len() != 1 {
            house.customer(customer).await;
        }
        let mut machine = house.machine(&house.token(customer).await).await;
        machine.reports(&house, product).await;
        machines.push(machine);
    }
    (house, machines)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_house_says_what_comes_first() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let shown = page(&house, "/").await;
    assert!(shown.has("Add a customer") && shown.has("Nothing waits for anybody"), "{}", shown.body);
    assert!(shown.has("No seat is counted in 2026-10 yet") && shown.has("nobody was there in 2026-09"));
    house.customer("cus_a").await;
    let shown = page(&house, "/").await;
    assert!(shown.has("Nothing reports yet") && !shown.has("Add a customer"), "{}", shown.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_month_so_far_stands_in_figures_and_day_by_day() {
    let (house, _) = fleet().await;
    let shown = page(&house, "/").await;
    assert!(shown.has(&card("Seats today", "2")) && shown.has("on 2026-10-15"), "{}", shown.body);
    assert!(shown.has(&card("Seats in 2026-10 so far", "2")));
    // Two machines at 4.00, and what they cost nobody said.
    assert!(shown.has(&card("Revenue so far, cost not known", "8.00")) && shown.has("expected: 8.00"));
    assert!(shown.has(&card("Coverage", "100 %")) && shown.has("3 of 3 heard from in 14 days"));
    assert!(shown.has("Seats per day in 2026-10, by SKU") && shown.has(">DS</li>"), "{}", shown.body);
    assert!(shown.has("<th scope=\"row\">15</th><td class=\"number\">2</td>"), "{}", shown.body);
    assert!(shown.has("<th scope=\"row\">14</th><td class=\"number\">0</td>"), "{}", shown.body);
    assert!(shown.has("<td class=\"mono\">0.1.0</td><td class=\"number\">3</td>"), "{}", shown.body);
    assert!(shown.has("customer cus_b uses product spnt, which has no SKU"), "{}", shown.body);
    assert!(shown.has("href=\"/statements/2026-10\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_for_who_sees_money_and_another_customers_seats_for_nobody_else() {
    let (house, _) = fleet().await;
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    house.operator("opr_b", "sbo1.b", Role::Billing, &["cus_a"]).await;
    house.operator("opr_o", "sbo1.o", Role::Viewer, &["cus_b"]).await;
    let shown = get(&house, "/", "sbo1.v").await.checked();
    assert!(shown.has(&card("Seats today", "2")), "{}", shown.body);
    assert!(!shown.has("Revenue") && !shown.has("8.00") && !shown.has("/statements/"), "{}", shown.body);
    let shown = get(&house, "/", "sbo1.b").await.checked();
    assert!(
        shown.has(&card("Revenue so far, cost not known", "8.00")) && !shown.has("cus_b"),
        "{}",
        shown.body
    );
    assert!(shown.has("2 of 2 heard from"));
    let shown = get(&house, "/", "sbo1.o").await.checked();
    assert!(shown.has(&card("Seats today", "0")) && shown.has("customer cus_b uses"), "{}", shown.body);
    assert!(!shown.has("cus_a") && !shown.has("Revenue") && shown.has("1 of 1 heard from"), "{}", shown.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_were_given_up_are_not_in_the_field_and_silent_ones_show() {
    let (house, machines) = fleet().await;
    let ban = wire::MachineBanned { machine: machines[0].id.to_string(), banned: true };
    page(&house, "/").await;
    house.write(Fact::MachineBanned(ban)).await;
    let shown = page(&house, "/").await;
    assert!(shown.has("<td class=\"mono\">0.1.0</td><td class=\"number\">2</td>"), "{}", shown.body);
    let house = house.again("2026-10-30T12:00:00Z").await;
    let shown = page(&house, "/").await;
    assert!(shown.has("0 of 2 heard from in 14 days"), "{}", shown.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_waits_comes_first_and_one_that_is_sealed_is_compared_with() {
    let (house, _) = fleet().await;
    let house = house.again("2026-11-06T12:00:00Z").await;
    let shown = page(&house, "/").await;
    assert!(shown.has("one thing is in the way of the statement of 2026-10"), "{}", shown.body);
    assert!(shown.has("by 2026-11-09 23:00:00Z"), "{}", shown.body);
    assert!(shown.has("2026-10, not sealed: 2, 2 fewer now"), "{}", shown.body);
    let needs = shown.body.find("What needs you first").unwrap();
    assert!(needs < shown.body.find("Seats today").unwrap());

    let at = "2026-10-01T00:00:00Z";
    let not_billed = Change::SkuAssigned(wire::SkuAssigned {
        customer: "cus_b".to_owned(),
        product: "spnt".to_owned(),
        sku: None,
        at_ms: instant::to_ms(at.parse().unwrap()),
    });
    house.client().amend(by_hand(not_billed)).await.unwrap();
    let period = wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let digest = house.client().draft_statement(period).await.unwrap().into_inner().digest;
    let seal = wire::SealRequest {
        period: "2026-10".to_owned(),
        digest,
        reason: "checked".to_owned(),
        supersede: false,
    };
    house.client().seal_statement(seal).await.unwrap();
    let shown = page(&house, "/").await;
    assert!(!shown.has("in the way of the statement of 2026-10"), "{}", shown.body);
    assert!(shown.has("2026-10: 2, 2 fewer now") && shown.has("2026-10: 8.00"), "{}", shown.body);
}

/// With days that each machine has to reach, the forecast is made from the machines.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_with_least_days_has_a_forecast_too() {
    let (house, _) = fleet().await;
    let toml = format!("{POLICY}[sku.DS]\nmin_days = 3\n");
    let set = wire::SetPolicyRequest { toml, valid_from: String::new(), reason: "agreed".to_owned() };
    house.client().set_policy(set).await.unwrap();
    let shown = page(&house, "/").await;
    assert!(shown.has(&card("Seats in 2026-10 so far", "0")), "{}", shown.body);
    assert!(shown.has("expected: 8.00, from 0.00 to 8.00"), "{}", shown.body);
}
