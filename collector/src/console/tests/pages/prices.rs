//! Prices, what-if and licences as pages. Invariant: whoever may not see money is shown none of it, and a code only whoever
//! asked for it by name.

use super::super::documents::PRICED;
use super::*;

async fn house() -> House {
    let house = House::founded("2026-10-20T12:00:00Z");
    let policy = wire::SetPolicyRequest { toml: PRICED.to_owned(), ..Default::default() };
    house.client().set_policy(policy).await.unwrap();
    let request = wire::AddCustomerRequest {
        customer: "cus_acme".to_owned(),
        name: "<script>acme</script>".to_owned(),
    };
    house.client().add_customer(request).await.unwrap();
    house.machine(&house.token("cus_acme").await).await.reports(&house, "dsa").await;
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    house.operator("opr_t", "sbo1.t", Role::Technician, &[]).await;
    house
}

async fn shown(house: &House, token: &str, path: &str) -> String {
    let answer = page(house, token, path).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.body);
    assert!(!answer.body.contains("<script>acme"), "{path}");
    answer.body
}

fn has(page: &str, words: &[&str]) {
    for word in words {
        assert!(page.contains(word), "{word:?} in {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_those_of_the_months_policy_and_are_shown_to_who_bills() {
    let house = house().await;
    let prices = shown(&house, &house.token, "/prices").await;
    has(
        &prices,
        &["Prices of 2026-10", ">DS</th>", "most on a day", "4.00", "from 1: 2.10 EUR, from 10: 1.50 EUR"],
    );
    has(&prices, &["/prices/what-if?sku=DS&amp;seats=1", "/prices/files/2026-10/tiers.csv"]);
    assert!(!shown(&house, &house.token, "/prices?search=nothing").await.contains(">DS</th>"));
    for token in ["sbo1.v", "sbo1.t"] {
        assert_eq!(page(&house, token, "/prices").await.status.as_u16(), 403);
        assert_eq!(page(&house, token, "/statements/2026-10").await.status.as_u16(), 403);
        assert!(!shown(&house, token, "/licences").await.contains("href=\"/prices\""), "it leads nowhere");
    }
    let file = page(&house, &house.token, "/prices/files/2026-10/skus.csv").await;
    assert!(file.body.starts_with("sku,name,price_group"), "{}", file.body);
    assert_eq!(page(&house, &house.token, "/prices/files/2026-10/passwd").await.status.as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_if_answers_as_the_ledger_does_and_draws_the_steps_of_tiers() {
    let house = house().await;
    let empty = shown(&house, &house.token, "/prices/what-if").await;
    has(&empty, &["Name a SKU"]);
    let told = shown(&house, &house.token, "/prices/what-if?sku=DS&seats=9&customer=cus_acme").await;
    has(&told, &["<th scope=\"row\">Cost</th><td class=\"number\">2.10</td><td class=\"number\">15.00</td>"]);
    has(
        &told,
        &["<td class=\"number\">12.90</td>", "class=\"mark\"", "Cost and margin over units", "Unit cost"],
    );
    // Each side of the step stands in the table behind the chart.
    has(
        &told,
        &[
            "<th scope=\"row\">9</th><td class=\"number\">18.90</td>",
            "<th scope=\"row\">10</th><td class=\"number\">15.00</td>",
        ],
    );
    let tiers = shown(&house, &house.token, "/prices/what-if?sku=DS&seats=1&tiers=1%3D1.00").await;
    has(&tiers, &["<td class=\"number\">2.00</td>"]);
    for (query, words) in [
        ("sku=DX", "has no price group"),
        ("sku=DS&seats=-5", "there are only 1 seats"),
        ("sku=DS&seats=x", "the seats are no whole number"),
        ("sku=DS&price=cheap", "`cheap` is not a price"),
        ("sku=DS&tiers=25", "a tier is written as 25=1.80"),
    ] {
        let answer = page(&house, &house.token, &format!("/prices/what-if?{query}")).await;
        assert_eq!(answer.status.as_u16(), 400, "{query}");
        assert!(answer.body.contains(words), "{words:?} in {}", answer.body);
    }
}

const CSV: &str = "product,sku,seats,code\ndsa,DS,5,AB-CDEF-12345-67890-ABCDE-FGHIJ-KLMNO\n";

#[tokio::test(flavor = "multi_thread")]
async fn licences_are_pasted_checked_given_taken_back_revealed_and_withdrawn() {
    let house = house().await;
    let size = || house.console.books.read(seatbeat_ledger::fold::Fold::position);
    let before = size();
    let wrong = sent(&house, "sbo1.t", "/licences/check", &[("csv", "product,sku,seats\ndsa,DX,0\n")]).await;
    has(&wrong.body, &["Nothing can be added", "Line 2", "no number of seats"]);
    let right = sent(&house, "sbo1.t", "/licences/check", &[("csv", CSV)]).await;
    has(&right.body, &["1 licence can be added", "ABCDE-FGHIJ"]);
    let refused =
        sent(&house, "sbo1.t", "/licences/import", &[("csv", "product,sku,seats\ndsa,DS,0\n")]).await;
    assert_eq!(refused.status.as_u16(), 400);
    has(&refused.body, &["line 2"]);
    assert_eq!(size(), before, "nothing was added");
    let added = sent(&house, "sbo1.t", "/licences/import", &[("csv", CSV), ("reason", "bought")]).await;
    assert_eq!(added.header("location"), "/licences?done=imported");
    let list = shown(&house, "sbo1.v", "/licences").await;
    has(&list, &["AB-…-LMNO", "<td class=\"number\">5</td>", "&#60;script&#62;acme", "badge bad\">1<"]);
    assert!(!list.contains("FGHIJ") && !list.contains("/licences/import"), "{list}");

    let id = list.split("href=\"/licences/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let act = async |verb: &str, fields: &[(&str, &str)]| {
        sent(&house, "sbo1.t", &format!("/licences/{id}/{verb}"), fields).await
    };
    let seats =
        |seats| [("customer", "cus_acme"), ("machine", ""), ("seats", seats), ("reason", "as agreed")];
    has(&act("allot", &seats("9")).await.body, &["9 were asked for"]);
    has(&act("allot", &seats("many")).await.body, &["the seats are no whole number"]);
    assert_eq!(act("allot", &seats("3")).await.header("location"), format!("/licences/{id}?done=saved"));
    let one = shown(&house, "sbo1.t", &format!("/licences/{id}")).await;
    has(&one, &["5, of them 2 free", "&#60;script&#62;acme", "Take back", "Withdraw"]);
    assert!(!shown(&house, "sbo1.v", &format!("/licences/{id}")).await.contains("Take back"));
    act("free", &seats("3")).await;
    has(&shown(&house, "sbo1.t", &format!("/licences/{id}")).await, &["of them 5 free", "Nobody yet"]);

    has(&act("reveal", &[("reason", " ")]).await.body, &["the reason is missing"]);
    has(&act("reveal", &[("reason", "a call")]).await.body, &["AB-CDEF-12345-67890-ABCDE-FGHIJ-KLMNO"]);
    has(&act("withdraw", &[("reason", "")]).await.body, &["the reason is missing"]);
    assert_eq!(act("withdraw", &[("reason", "over")]).await.header("location"), "/licences?done=withdrawn");
    assert_eq!(page(&house, "sbo1.t", &format!("/licences/{id}")).await.status.as_u16(), 404);
    for verb in ["allot", "free", "withdraw", "reveal"] {
        let answer = sent(&house, "sbo1.v", &format!("/licences/{id}/{verb}"), &[("reason", "x")]).await;
        assert_eq!(answer.status.as_u16(), 403, "{verb}");
    }
}
