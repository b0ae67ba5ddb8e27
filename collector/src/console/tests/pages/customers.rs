//! Customers: the list, one in full, install kits, what the books say, and customers that leave.

use axum::http::StatusCode;

use super::super::orders::{WORDS, keyed, ready};
use super::super::*;
use super::shown::{own, page, posted, size};

const INJECTED: &str = "<script>alert(1)</script>";

/// Two customers, of which one uses what has a cost and a price; a viewer, one of one customer alone, a technician.
async fn house() -> House {
    let house = House::founded("2026-10-15T12:00:00Z");
    let policy = "zone = \"Europe/Berlin\"\n[default_sku]\ndsa = \"DS\"\n[price_group.g]\ndistributor = \"ingram\"\n\
                  currency = \"EUR\"\ntiers = [{ from = 1, cost = \"2.50\" }]\n[sku.DS]\nprice_group = \"g\"\n\
                  [price.DS]\nreseller = \"4.00\"\n";
    let request = wire::SetPolicyRequest { toml: policy.to_owned(), ..Default::default() };
    house.client().set_policy(request).await.unwrap();
    let add =
        |id: &str, name: &str| wire::AddCustomerRequest { customer: id.to_owned(), name: name.to_owned() };
    house.client().add_customer(add("cus_a", "Acme")).await.unwrap();
    house.client().add_customer(add("cus_b", INJECTED)).await.unwrap();
    let token = house.token("cus_a").await;
    for _ in 0..2 {
        house.machine(&token).await.reports(&house, "dsa").await;
    }
    house.operator("opr_v", "sbo1.v", Role::Viewer, &[]).await;
    house.operator("opr_a", "sbo1.a", Role::Billing, &["cus_a"]).await;
    house.operator("opr_t", "sbo1.t", Role::Technician, &["cus_b"]).await;
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_what_customers_come_to_and_money_to_who_may_see_it() {
    let house = house().await;
    let all = own(&house, "/customers").await;
    all.holds("Acme").holds("&#60;script&#62;alert").lacks(INJECTED);
    all.holds("5.00 EUR").holds("8.00").holds("/v1/customers.csv");
    page(&house, "sbo1.v", "/customers")
        .await
        .holds("Acme")
        .lacks("EUR")
        .lacks("5.00")
        .lacks("8.00")
        .lacks("Add a customer");
    page(&house, "sbo1.a", "/customers").await.holds("Acme").lacks("cus_b");
    own(&house, "/customers?search=acm").await.holds("Acme").lacks("&#60;script");
    own(&house, "/customers?search=nobody").await.holds("No customer is called that");
    assert_eq!(own(&house, "/customers?page=x").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_added_by_who_may() {
    let house = house().await;
    let fields = [("name", "Zeta & Söhne"), ("customer", "cus_zeta")];
    assert_eq!(posted(&house, "sbo1.v", "/customers/add", &fields).await.status, StatusCode::FORBIDDEN);
    assert_eq!(posted(&house, "sbo1.t", "/customers/add", &fields).await.status, StatusCode::FORBIDDEN);
    let added = posted(&house, &house.token, "/customers/add", &fields).await;
    assert_eq!(added.to, "/customers/cus_zeta?done=customer_added");
    own(&house, &added.to)
        .await
        .holds("Zeta &#38; Söhne")
        .holds("No machines yet")
        .holds("Nothing was used this month");
    let again = posted(&house, &house.token, "/customers/add", &fields).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let empty = posted(&house, &house.token, "/customers/add", &[("name", " ")]).await;
    empty.holds("name is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_shown_in_full_to_who_may_see_it() {
    let house = house().await;
    let shown = own(&house, "/customers/cus_a").await;
    shown
        .holds("2026-10, so far")
        .holds("<td>DS</td><td class=\"number\">2</td>")
        .holds("8.00")
        .holds("4.00");
    shown.holds("Seats by month").holds("<th scope=\"row\">2026-10</th><td class=\"number\">2</td>");
    shown.holds("No month is sealed yet").holds("everybody's").holds("Offboard").holds("Install kit");
    shown.holds("/v1/usage/2026-10.csv?customer=cus_a");
    let viewed = page(&house, "sbo1.v", "/customers/cus_a").await;
    viewed.holds("Acme").holds("<td>DS</td><td class=\"number\">2</td>").holds("Licences held");
    viewed
        .lacks("8.00")
        .lacks("4.00")
        .lacks("2.50")
        .lacks("EUR")
        .lacks("Offboard")
        .lacks("Install kit")
        .lacks("Revoke");
    // Money of their own customer, and nothing that is the house's.
    let theirs = page(&house, "sbo1.a", "/customers/cus_a").await;
    theirs.holds("8.00").lacks("Licences held").lacks("Invoice lines").lacks("In your books");
    for path in ["/customers/cus_b", "/customers/cus_none"] {
        assert_eq!(page(&house, "sbo1.a", path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    own(&house, "/customers/cus_b").await.holds("&#60;script&#62;alert").lacks(INJECTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_is_shown_once_and_its_token_is_taken_back() {
    let house = house().await;
    let form = own(&house, "/customers/cus_b/kit").await;
    form.holds("A new kit").lacks("sb1.").lacks(INJECTED);
    let fields = [("uses", "3"), ("days", "10"), ("reason", "")];
    assert_eq!(posted(&house, "sbo1.v", "/customers/cus_b/kit", &fields).await.status, StatusCode::FORBIDDEN);
    assert_eq!(posted(&house, "sbo1.t", "/customers/cus_a/kit", &fields).await.status, StatusCode::NOT_FOUND);
    let made = posted(&house, "sbo1.t", "/customers/cus_b/kit", &fields).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    made.holds("sudo seatbeat-agent enrol --token sb1.")
        .holds("SEATBEAT_TOKEN=sb1.")
        .holds("data-copy=\"line-linux-rpm\"")
        .holds("data-copy=\"line-windows\"")
        .holds("2026-10-25 12:00");
    let (_, text) = made.body.split_once("enrol --token sb1.").unwrap();
    let text = format!("sb1.{}", text.split('<').next().unwrap());
    assert!(token::parse(&text).is_ok(), "{text}");
    let listed = page(&house, "sbo1.t", "/customers/cus_b").await;
    listed.lacks(&text).holds("Revoke");
    own(&house, "/customers/cus_b/kit").await.lacks(&text);
    let id = listed.field("token");
    let back = [("token", id.as_str()), ("reason", "lost")];
    assert_eq!(
        posted(&house, "sbo1.a", "/customers/cus_b/revoke-token", &back).await.status,
        StatusCode::FORBIDDEN
    );
    let revoked = posted(&house, "sbo1.t", "/customers/cus_b/revoke-token", &back).await;
    page(&house, "sbo1.t", &revoked.to)
        .await
        .holds("lets nobody in any more")
        .holds("revoked")
        .lacks("Revoke<");
    let none = posted(&house, "sbo1.t", "/customers/cus_b/kit", &[("uses", "0"), ("days", "10")]).await;
    none.holds("has to be at least 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_books_say_goes_on_the_lines_of_a_sealed_month() {
    let house = house().await;
    let fields = [("name", "Acme Ltd"), ("customer_ref", "D-4711"), ("tax_code", "OUTPUT2")];
    assert_eq!(posted(&house, "sbo1.a", "/customers/cus_a/set", &fields).await.status, StatusCode::FORBIDDEN);
    let set = posted(&house, &house.token, "/customers/cus_a/set", &fields).await;
    own(&house, &set.to).await.holds("value=\"D-4711\"").holds("Acme Ltd");
    let house = house.again("2026-11-05T12:00:00Z").await;
    house.console.closing.run().await;
    let shown = own(&house, "/customers/cus_a").await;
    shown.holds("Invoice lines of 2026-10").holds("<td class=\"number\">8.00</td><td>EUR</td>");
    shown.holds("<th scope=\"row\">2026-10</th>").holds("<th scope=\"row\">2026-11</th>");
    own(&house, "/customers/cus_b").await.holds("It is billed nothing for 2026-10");
    page(&house, "sbo1.v", "/customers/cus_a").await.lacks("Invoice lines").lacks("8.00");
    let month = own(&house, "/customers/cus_a?month=2026-09").await;
    assert_eq!(month.status, StatusCode::NOT_FOUND, "it is not sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_suspended_comes_back_and_who_leaves_is_let_go_and_erased() {
    let (house, _) = keyed("2026-10-15T12:00:00Z").await;
    ready(&house, "dsa-cloud").await;
    house.operator("opr_t", "sbo1.t", Role::Technician, &[]).await;
    let path = "/customers/cus_acme/depart";
    let asked = |departing: &str| format!("{path}?as={departing}");
    assert_eq!(page(&house, "sbo1.t", &asked("suspend")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(own(&house, &asked("leave")).await.status, StatusCode::BAD_REQUEST);
    let depart = async |departing: &str, machines: &str, passphrase: &str| {
        let digest = own(&house, &asked(departing)).await.field("digest");
        let fields = [
            ("as", departing),
            ("digest", &digest),
            ("reason", "not paid"),
            ("machines", machines),
            ("passphrase", passphrase),
        ];
        posted(&house, &house.token, path, &fields).await
    };
    own(&house, &asked("suspend")).await.holds("1 machine would be told").holds("What this month comes to");
    let before = size(&house);
    depart("suspend", "2", WORDS).await.holds("is not 1: nothing was ordered");
    depart("suspend", "1", "four other words here").await.holds("does not open this key");
    assert_eq!(size(&house), before, "neither suspended nor ordered");
    let suspended = depart("suspend", "1", WORDS).await;
    own(&house, &suspended.to).await.holds("Signed and on the way").holds("Suspended since").holds("Resume");

    let erase = "/customers/cus_acme/erase";
    let gone = depart("offboard", "1", WORDS).await;
    own(&house, &gone.to).await.holds("Left on").holds("Erase its names").holds("revoked");
    let wrong = posted(&house, &house.token, erase, &[("reason", "law"), ("typed", "cus_other")]).await;
    wrong.holds("nothing was erased");
    let erased = posted(&house, &house.token, erase, &[("reason", "law"), ("typed", "cus_acme")]).await;
    own(&house, &erased.to).await.holds("are erased").lacks("Name of cus_acme");
}
