//! Orders: batches with what became of them, the orders of one, and confirming and cancelling. Invariant: what is shown
//! is on record; an order is signed elsewhere, and the page says where.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use seatbeat_ledger::operators::Right;
use seatbeat_proto::ids::BatchId;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::downloads::ORDER_STATES;
use crate::console::fault::Fault;
use crate::console::orders::page::Paged;
use crate::console::orders::{BatchRow, OrderQuery, OrderRow};
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::{Asked, Fields};
use crate::console::web::{Route, Web};

/// Rows on a page.
const PAGE_SIZE: usize = 50;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    let sees = Needs::Right(Right::See, Whose::House);
    let serves = Needs::Right(Right::Serve, Whose::House);
    vec![
        Route { path: "/orders", needs: sees, service: get(list) },
        Route { path: "/orders/{batch}", needs: sees, service: get(batch) },
        Route { path: "/orders/{batch}/confirm", needs: serves, service: post(confirm) },
        Route { path: "/orders/{batch}/cancel", needs: serves, service: post(cancel) },
    ]
}

/// What orders are narrowed to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filter {
    customer: String,
    machine: String,
    state: String,
    from: usize,
    #[serde(rename = "done")]
    _done: String,
}

impl Filter {
    fn query(&self) -> Result<OrderQuery, Fault> {
        let id = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(OrderQuery {
            batch: None,
            customer: id(&self.customer).map(|text| text.parse()).transpose()?,
            machine: id(&self.machine).map(|text| text.parse()).transpose()?,
        })
    }

    fn status(&self) -> Option<&str> {
        Some(self.state.as_str()).filter(|state| !state.is_empty())
    }
}

#[derive(Template)]
#[template(path = "orders/list.html")]
struct List {
    shell: Shell,
    filter: Filter,
    states: &'static [&'static str],
    /// Of everything, nothing is asked for: batches.
    batches: Option<Paged<BatchRow>>,
    orders: Option<Paged<OrderRow>>,
}

#[derive(Template)]
#[template(path = "orders/batch.html")]
struct OfBatch {
    shell: Shell,
    batch: BatchRow,
    filter: Filter,
    orders: Paged<OrderRow>,
    waits_for_signature: bool,
    is_open: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acted {
    #[serde(default)]
    order: String,
    reason: String,
}

async fn list(shell: Shell, State(web): State<Web>, Asked(filter): Asked<Filter>) -> Shown {
    let (console, query) = (web.console.clone(), filter.query()?);
    let status = filter.status().map(str::to_owned);
    let from = filter.from;
    let asks_for_all = query == OrderQuery::default() && status.is_none();
    let reading = move || -> Result<_, Fault> {
        if asks_for_all {
            return Ok((Some(console.batch_page(from, PAGE_SIZE)?), None));
        }
        Ok((None, Some(console.order_page(&query, status.as_deref(), from, PAGE_SIZE)?)))
    };
    let (batches, orders) = tokio::task::spawn_blocking(reading).await.map_err(Fault::from)??;
    Ok(Page(List { shell, filter, states: ORDER_STATES, batches, orders }).into_response())
}

async fn batch(
    shell: Shell,
    State(web): State<Web>,
    Path(id): Path<String>,
    Asked(filter): Asked<Filter>,
) -> Shown {
    let id: BatchId = id.parse().map_err(Fault::from)?;
    let (console, status, from) = (web.console.clone(), filter.status().map(str::to_owned), filter.from);
    let query = OrderQuery { batch: Some(id.clone()), ..filter.query()? };
    let reading = move || console.order_page(&query, status.as_deref(), from, PAGE_SIZE);
    let orders = tokio::task::spawn_blocking(reading).await.map_err(Fault::from)??;
    let (batch, waits_for_signature) = web.console.batch(&id)?;
    let is_over = |status: &&String| !matches!(status.as_str(), "ordered" | "delivered" | "doing");
    let is_open = !batch.statuses.keys().all(|status| is_over(&status));
    let page = OfBatch { shell, batch, filter, orders, waits_for_signature, is_open };
    Ok(Page(page).into_response())
}

async fn confirm(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(batch): Path<String>,
    Fields(acted): Fields<Acted>,
) -> Shown {
    let batch: BatchId = batch.parse().map_err(Fault::from)?;
    let fact = Fact::OrdersConfirmed(wire::OrdersConfirmed { batch: batch.to_string() });
    web.console.act_on_orders(&caller, fact, &acted.reason).await?;
    Ok(Redirect::to(&format!("/orders/{batch}?done=confirmed")).into_response())
}

async fn cancel(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(batch): Path<String>,
    Fields(acted): Fields<Acted>,
) -> Shown {
    let batch: BatchId = batch.parse().map_err(Fault::from)?;
    if acted.reason.trim().is_empty() {
        return Err(Fault::value("the reason", "is missing: say why nothing more of it is to be done").into());
    }
    let (of, order) = (batch.to_string(), acted.order);
    let fact = Fact::OrderCancelled(wire::OrderCancelled { batch: of, order });
    web.console.act_on_orders(&caller, fact, &acted.reason).await?;
    Ok(Redirect::to(&format!("/orders/{batch}?done=cancelled")).into_response())
}

impl List {
    /// The next page's query, behind what is asked for.
    fn next(&self) -> Option<String> {
        let next = self.batches.as_ref().map_or(self.orders.as_ref()?.next, |batches| batches.next)?;
        Some(self.filter.more(next))
    }
}

impl OfBatch {
    fn next(&self) -> Option<String> {
        Some(self.filter.more(self.orders.next?))
    }
}

impl Filter {
    fn more(&self, from: usize) -> String {
        let Self { customer, machine, state, .. } = self;
        openidconnect::url::form_urlencoded::Serializer::for_suffix("?".to_owned(), 1)
            .append_pair("customer", customer)
            .append_pair("machine", machine)
            .append_pair("state", state)
            .append_pair("from", &from.to_string())
            .finish()
    }
}

/// How a status looks.
fn tone(status: &str) -> &'static str {
    match status {
        "confirmed" | "done" => "good",
        "contradicted" | "failed" | "refused" => "bad",
        "expired" | "cancelled" | "superseded" => "",
        _ => "warn",
    }
}

/// What a batch is about, in words.
fn scope(batch: &BatchRow) -> String {
    let seatbeat_ledger::orders::Scope { customer, machine, licence, product } = &batch.scope;
    let texts = [
        customer.as_ref().map(ToString::to_string),
        machine.as_ref().map(ToString::to_string),
        licence.as_ref().map(ToString::to_string),
        product.as_ref().map(ToString::to_string),
    ];
    texts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
