//! A sealed month beside what others say of it. Invariant: nothing that was sealed changes by it; a reason is given for
//! the line, the statement and the source that it was given for.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use seatbeat_ledger::calendar::Period;
use serde::Deserialize;

use super::super::shell::Shell;
use super::super::{Page, Shown, moment};
use super::lines::known;
use super::{BILLS, Web};
use crate::console::auth::Caller;
use crate::console::fault::{Fault, period};
use crate::console::reconcile::{Compared, DifferenceAsked, ReconcileQuery, Unnamed};
use crate::console::web::Route;
use crate::console::web::form::Fields;

/// Lines of a comparison: those that need a reason come first.
const ROWS_MAX: usize = 100;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/statements/{period}/reconcile", needs: BILLS, service: get(compared) },
        Route { path: "/statements/{period}/reconcile/explain", needs: BILLS, service: post(explained) },
        Route { path: "/statements/{period}/reconcile/fetch", needs: BILLS, service: post(fetched) },
    ]
}

/// A statement beside one source.
struct Beside {
    distributor: String,
    source: String,
    revision: u32,
    at: String,
    ours: String,
    theirs: String,
    difference: String,
    unmapped: String,
    open: u64,
    total: u64,
    rows: Vec<Row>,
    more: u64,
}

/// A line that differs.
struct Row {
    customer: String,
    name: String,
    sku: String,
    ours: String,
    theirs: String,
    difference: String,
    money: String,
    why: String,
    explained: String,
    is_open: bool,
}

impl Beside {
    fn of(compared: Compared) -> Self {
        let currency = compared.currency.clone().unwrap_or_default();
        let side = |seats: String, money: Option<_>| match known(money) {
            none if none.is_empty() => format!("{seats} seats"),
            money => format!("{seats} seats, {money} {currency}"),
        };
        let money = compared.amount.zip(compared.cost).and_then(|(amount, cost)| amount.minus(cost).ok());
        let unmapped = compared.unmapped;
        let row = |row: crate::console::reconcile::ComparedRow| {
            let one = row.difference;
            let money = known(one.money);
            Row {
                name: if row.customer_name.is_empty() { one.customer.to_string() } else { row.customer_name },
                customer: one.customer.to_string(),
                sku: one.sku.to_string(),
                ours: one.sides.ours.to_string(),
                theirs: one.sides.theirs.to_string(),
                difference: one.difference.to_string(),
                money: if money.is_empty() { money } else { format!("{money} {currency}") },
                why: row.why_words,
                explained: row.explained.map(|told| told.reason).unwrap_or_default(),
                is_open: row.is_open,
            }
        };
        let rows: Vec<Row> = compared.rows.into_iter().take(ROWS_MAX).map(row).collect();
        Self {
            ours: side(compared.ours.to_string(), compared.cost),
            theirs: side(compared.theirs.to_string(), compared.amount),
            difference: side(compared.difference.to_string(), money),
            distributor: compared.distributor,
            source: compared.source.to_string(),
            revision: compared.revision,
            at: moment::shown(compared.at),
            unmapped: match unmapped.subscriptions {
                0 => String::new(),
                count => format!("{count} subscriptions of {} seats", unmapped.seats),
            },
            open: compared.open,
            total: compared.total,
            more: compared.total.saturating_sub(rows.len() as u64),
            rows,
        }
    }
}

#[derive(Template)]
#[template(path = "statements/reconcile.html")]
struct Reconcile {
    shell: Shell,
    period: Period,
    is_sealed: bool,
    compared: Vec<Beside>,
    /// Distributors of whom nothing is known.
    unheard: Vec<String>,
    unnamed: Vec<Unnamed>,
}

async fn page(shell: Shell, web: &Web, period: Period, unnamed: Vec<Unnamed>) -> Shown {
    let mut page = Reconcile {
        shell,
        period,
        is_sealed: web.console.is_sealed(period),
        compared: Vec::new(),
        unheard: Vec::new(),
        unnamed,
    };
    if page.is_sealed {
        let query = ReconcileQuery { period, distributor: None, source: None };
        let found = web.console.reconcile(query, 0).await?;
        let is_known = |name: &&String| found.compared.iter().any(|one| one.distributor == **name);
        page.unheard = found.distributors.iter().filter(|name| !is_known(name)).cloned().collect();
        page.compared = found.compared.into_iter().map(Beside::of).collect();
    }
    Ok(Page(page).into_response())
}

async fn compared(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path(of): Path<String>,
) -> Shown {
    page(shell, &web, period(&of)?, Vec::new()).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainForm {
    distributor: String,
    source: String,
    customer: String,
    sku: String,
    #[serde(default)]
    reason: String,
}

async fn explained(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(of): Path<String>,
    Fields(form): Fields<ExplainForm>,
) -> Shown {
    let period = period(&of)?;
    let invalid = |what| move |error| Fault::value(what, format!("is not valid: {error}"));
    let source = form.source.parse().map_err(invalid("the source"))?;
    let of = ReconcileQuery { period, distributor: Some(form.distributor), source: Some(source) };
    let key = (form.customer.parse().map_err(Fault::from)?, form.sku.parse().map_err(invalid("the SKU"))?);
    web.console.explain_difference(&caller, DifferenceAsked { of, key, reason: form.reason }).await?;
    Ok(Redirect::to(&format!("/statements/{period}/reconcile?done=explained")).into_response())
}

/// Asks the destinations now; what they list and no mapping names is on this answer alone.
async fn fetched(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path(of): Path<String>,
) -> Shown {
    let period = period(&of)?;
    let query = ReconcileQuery { period, distributor: None, source: None };
    let unnamed = web.console.fetch_provisioned(&query).await?;
    page(shell, &web, period, unnamed).await
}
