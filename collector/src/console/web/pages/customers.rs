//! Customers: who they are, how many machines they have, and what they come to this month. Invariant: whoever has some
//! customers sees theirs alone, and no amount is shown to who may not see money.

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use openidconnect::url::form_urlencoded;
use seatbeat_ledger::operators::Right;
use seatbeat_proto::ids::CustomerId;
use serde::Deserialize;

use super::machines::with_query;
use super::shell::Shell;
use super::{Page, Shown};
use crate::console::auth::Caller;
use crate::console::customer_sums::CustomerSum;
use crate::console::fault::Fault;
use crate::console::rights::{Needs, Whose};
use crate::console::rows::Customer;
use crate::console::web::form::{Asked, Fields};
use crate::console::web::{Route, Web};

/// Customers of a page: some screens, and far below what a page may weigh.
const PAGE_SIZE: usize = 100;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/customers", needs: Needs::Right(Right::See, Whose::Customers), service: get(list) },
        Route { path: "/customers/add", needs: Needs::Right(Right::Serve, Whose::House), service: post(add) },
    ]
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ListAsked {
    search: String,
    page: usize,
    #[serde(rename = "done")]
    _done: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddForm {
    name: String,
    #[serde(default)]
    customer: String,
}

#[derive(Template)]
#[template(path = "customers/list.html")]
struct List {
    shell: Shell,
    search: String,
    rows: Vec<Row>,
    found: usize,
    here: String,
    before: Option<String>,
    next: Option<String>,
}

struct Row {
    customer: Customer,
    seats: String,
    cost: String,
    revenue: String,
}

impl Row {
    fn of(customer: Customer, sum: Option<&CustomerSum>) -> Self {
        let amounts = |of: fn(&crate::console::customer_sums::MoneySum) -> Option<_>| {
            let all = sum.iter().flat_map(|sum| &sum.money);
            let told = all.filter_map(|(currency, money)| {
                let amount: seatbeat_ledger::money::Decimal = of(money)?;
                Some(format!("{amount} {currency}").trim_end().to_owned())
            });
            told.collect::<Vec<_>>().join(", ")
        };
        Self {
            seats: sum.map_or_else(|| "0".to_owned(), |sum| sum.seats.to_string()),
            cost: amounts(|money| money.cost),
            revenue: amounts(|money| money.revenue),
            customer,
        }
    }
}

impl List {
    fn may_add(&self) -> bool {
        self.shell.serves() && self.shell.has_house()
    }
}

async fn list(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Asked(asked): Asked<ListAsked>,
) -> Shown {
    let search = asked.search.trim().to_lowercase();
    let mut customers = web.console.customers(&caller, 0).await?.customers;
    customers
        .retain(|one| one.name.to_lowercase().contains(&search) || one.customer.as_str().contains(&search));
    customers.sort_by_cached_key(|one| (one.name.to_lowercase(), one.customer.clone()));
    let sums = web.console.customer_sums(&caller).await?;
    let found = customers.len();
    let address = |page: usize| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !search.is_empty() {
            query.append_pair("search", asked.search.trim());
        }
        if page > 0 {
            query.append_pair("page", &page.to_string());
        }
        with_query("/customers", &query.finish())
    };
    let first = asked.page.saturating_mul(PAGE_SIZE);
    let shown = customers.into_iter().skip(first).take(PAGE_SIZE);
    let row = |one: Customer| {
        let sum = sums.get(&one.customer);
        Row::of(one, sum)
    };
    Ok(Page(List {
        rows: shown.map(row).collect(),
        found,
        here: address(asked.page),
        before: asked.page.checked_sub(1).map(address),
        next: (first.saturating_add(PAGE_SIZE) < found).then(|| address(asked.page + 1)),
        search: asked.search,
        shell,
    })
    .into_response())
}

async fn add(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Fields(form): Fields<AddForm>,
) -> Shown {
    let id: Option<CustomerId> = match form.customer.trim() {
        "" => None,
        text => Some(text.parse().map_err(Fault::from)?),
    };
    let (added, _) = web.console.add_customer(&caller, id, &form.name).await?;
    Ok(Redirect::to(&format!("/customers/{}?done=customer_added", added.customer)).into_response())
}
