//! Prices: SKUs, tiers and sell prices as the policy of a month says, and what would be otherwise. Invariant: nothing is
//! changed here; a price is shown as it was written.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::operators::Right;
use seatbeat_ledger::policy::{Count, PriceMode};
use serde::Deserialize;

use super::shell::Shell;
use super::statements::download;
use super::{Page, Shown};
use crate::console::auth::Caller;
use crate::console::fault::{Fault, period};
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::Asked;
use crate::console::web::{Route, Web};
use crate::console::what_if::{PricedSku, Prices};

mod what_if;

/// Prices are money.
const BILLS: Needs = Needs::Right(Right::Bill, Whose::House);

/// Rows of a list.
const ROWS_MAX: usize = 100;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route { path: "/prices", needs: BILLS, service: get(list) },
        Route { path: "/prices/files/{period}/{file}", needs: BILLS, service: get(export) },
        Route { path: "/prices/mapping/{destination}", needs: BILLS, service: get(mapping) },
    ];
    routes.extend(what_if::routes());
    routes
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListAsked {
    period: String,
    search: String,
}

/// A price group.
struct Group {
    name: String,
    distributor: String,
    currency: String,
    mode: &'static str,
    tiers: Vec<(u64, String)>,
}

#[derive(Template)]
#[template(path = "prices/list.html")]
struct List {
    shell: Shell,
    period: Period,
    search: String,
    skus: Vec<PricedSku>,
    skus_left_out: usize,
    groups: Vec<Group>,
    groups_left_out: usize,
    destinations: Vec<String>,
}

impl List {
    fn count(&self, count: &Count) -> &'static str {
        match count {
            Count::HighWater => "most on a day",
            Count::Distinct => "all of the month",
            Count::MonthEnd => "on the last day",
            Count::Average => "average of the days",
        }
    }
}

async fn list(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Asked(asked): Asked<ListAsked>,
) -> Shown {
    let of = Some(asked.period.as_str()).filter(|text| !text.is_empty()).map(period).transpose()?;
    let Prices { period, mut skus, groups } = web.console.prices(of, 0).await?;
    let search = asked.search.trim().to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&search);
    skus.retain(|one| has(one.sku.as_str()) || has(&one.name));
    let skus_left_out = skus.len().saturating_sub(ROWS_MAX);
    skus.truncate(ROWS_MAX);
    let groups_left_out = groups.len().saturating_sub(ROWS_MAX);
    let group = |(name, group): (String, seatbeat_ledger::policy::PriceGroup)| Group {
        name,
        distributor: group.distributor,
        currency: group.currency,
        mode: match group.mode {
            PriceMode::Volume => "all units at the tier of their number",
            PriceMode::Graduated => "each unit at its own tier",
        },
        tiers: group.tiers.into_iter().map(|tier| (tier.from, tier.cost.to_string())).collect(),
    };
    let page = List {
        shell,
        period,
        search: asked.search,
        skus,
        skus_left_out,
        groups: groups.into_iter().take(ROWS_MAX).map(group).collect(),
        groups_left_out,
        destinations: web.console.destinations().keys().cloned().collect(),
    };
    Ok(Page(page).into_response())
}

/// What price lists say of a month, as a file that can be imported again.
async fn export(
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path((of, file)): Path<(String, String)>,
) -> Shown {
    let files = web.console.export_prices(period(&of)?, 0).await?;
    let found = files.into_iter().find(|one| one.name == file).ok_or(Fault::NoSuchPage)?;
    Ok(download(&format!("{of}-{file}"), "text/csv; charset=utf-8", found.bytes))
}

/// What a destination calls customers and SKUs, as a file that can be imported again.
async fn mapping(
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path(destination): Path<String>,
) -> Shown {
    let files = web.console.export_mapping(&destination, 0).await?;
    let file = files.into_iter().next().ok_or(Fault::NoSuchPage)?;
    Ok(download(&file.name, "text/csv; charset=utf-8", file.bytes))
}
