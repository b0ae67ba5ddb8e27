//! Statements: where each stands, and a month with its lines and what is in its way. Invariant: a page shows one draft
//! and no second one; a month that is sealed is shown as it was sealed.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::operators::Right;
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown};
use crate::console::auth::Caller;
use crate::console::fault::period;
use crate::console::months::{LineQuery, Month};
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::Asked;
use crate::console::web::{Route, Web};
use crate::console::words;
use lines::{LineShown, SumShown, sums};
use look::{InWay, Look, in_the_way};
use standing::Stands;

mod adjust;
mod approve;
mod delivery;
mod explained;
mod files;
mod lines;
mod look;
mod reconciled;
mod standing;

pub use files::download;
pub use lines::percent;

/// Statements are of all customers, and in money.
const BILLS: Needs = Needs::Right(Right::Bill, Whose::House);

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    let own = vec![
        Route { path: "/statements", needs: BILLS, service: get(list) },
        Route { path: "/statements/{period}", needs: BILLS, service: get(month) },
    ];
    let rooms = [
        own,
        approve::routes(),
        adjust::routes(),
        explained::routes(),
        delivery::routes(),
        reconciled::routes(),
        files::routes(),
    ];
    rooms.into_iter().flatten().collect()
}

#[derive(Template)]
#[template(path = "statements/list.html")]
struct List {
    shell: Shell,
    rows: Vec<Row>,
}

/// A statement in the list.
struct Row {
    period: Period,
    distributor: String,
    stands: Stands,
    seats: String,
    cost: String,
}

async fn list(shell: Shell, State(web): State<Web>, Extension(_caller): Extension<Caller>) -> Shown {
    let row = |row: crate::console::months::StandingRow| {
        let cost = |(currency, cost): (String, _)| format!("{cost} {currency}");
        let sums = row.sums;
        Row {
            period: row.standing.period,
            distributor: row.standing.distributor.clone().unwrap_or_default(),
            stands: Stands::of(&row.standing.life),
            seats: sums.as_ref().map(|sums| sums.seats.to_string()).unwrap_or_default(),
            cost: sums
                .map(|sums| sums.costs.into_iter().map(cost).collect::<Vec<_>>().join(", "))
                .unwrap_or_default(),
        }
    };
    let rows = web.console.months(0).await?.into_iter().map(row).collect();
    Ok(Page(List { shell, rows }).into_response())
}

/// What of a month is asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LinesAsked {
    search: String,
    page: usize,
    /// The draft of now, also of a month that is sealed.
    now: bool,
}

#[derive(Template)]
#[template(path = "statements/month.html")]
struct MonthPage {
    shell: Shell,
    standings: Vec<(String, Stands)>,
    in_the_way: Vec<InWay>,
    flags: Vec<String>,
    sums: Vec<SumShown>,
    lines: Vec<LineShown>,
    look: Option<Look>,
    asked: LinesAsked,
    next: String,
    may_be_approved: bool,
    month: Month,
}

async fn month(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path(of): Path<String>,
    Asked(asked): Asked<LinesAsked>,
) -> Shown {
    let query = LineQuery { search: asked.search.clone(), page: asked.page };
    let month = web.console.month(period(&of)?, asked.now, query, 0).await?;
    let page = MonthPage {
        shell,
        standings: standing::shown(&month.standings),
        in_the_way: month
            .draft
            .iter()
            .flat_map(|draft| in_the_way(month.period, &draft.review.blockers))
            .collect(),
        flags: month.flags.iter().map(words::flag).collect(),
        sums: sums(&month.sums),
        lines: month.lines.lines.iter().map(|line| LineShown::of(line, &month)).collect(),
        look: month.draft.as_ref().map(|draft| Look::of(draft, &month)),
        asked,
        next: standing::next(&month),
        may_be_approved: standing::may_be_approved(&month),
        month,
    };
    Ok(Page(page).into_response())
}

impl MonthPage {
    /// Where another page of the lines is.
    fn turned(&self, page: usize) -> String {
        let search: String =
            openidconnect::url::form_urlencoded::byte_serialize(self.asked.search.as_bytes()).collect();
        let now = if self.asked.now { "&now=true" } else { "" };
        format!("/statements/{}?page={page}&search={search}{now}", self.month.period)
    }
}
