//! Statements on their way: how far each has come at its destination, what keeps it, and all that was answered.
//! Invariant: what a far side said is shown as it was said; a retry and a settlement are a person's, on record.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use seatbeat_ledger::calendar::Period;

use super::super::shell::Shell;
use super::super::{Page, Shown, moment};
use super::files::download;
use super::{BILLS, Web};
use crate::console::auth::Caller;
use crate::console::fault::{Fault, period};
use crate::console::uploads::{UploadQuery, UploadRow};
use crate::console::web::Route;
use crate::console::web::form::{Fields, ReasonForm};

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/statements/{period}/delivery", needs: BILLS, service: get(list) },
        Route { path: "/statements/{period}/delivery/{destination}", needs: BILLS, service: get(one) },
        Route { path: "/statements/{period}/delivery/{destination}/plan", needs: BILLS, service: get(plan) },
        Route {
            path: "/statements/{period}/delivery/{destination}/retry",
            needs: BILLS,
            service: post(retry),
        },
        Route {
            path: "/statements/{period}/delivery/{destination}/settle",
            needs: BILLS,
            service: post(settle),
        },
    ]
}

/// A statement on its way.
struct Way {
    row: UploadRow,
    tone: &'static str,
    parts: String,
    next_try: String,
}

impl Way {
    fn of(row: UploadRow) -> Self {
        let tone = match row.status.as_str() {
            _ if row.superseded => "",
            "rejected" => "bad",
            "accepted" | "settled" => "good",
            _ if !row.trouble.is_empty() => "bad",
            _ => "warn",
        };
        let parts = row.parts.iter().map(|(status, count)| format!("{count} {status}"));
        Self {
            tone,
            parts: parts.collect::<Vec<_>>().join(", "),
            next_try: row.next_try.map(moment::shown).unwrap_or_default(),
            row,
        }
    }
}

#[derive(Template)]
#[template(path = "statements/delivery.html")]
struct List {
    shell: Shell,
    period: Period,
    is_sealed: bool,
    ways: Vec<Way>,
}

async fn list(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path(of): Path<String>,
) -> Shown {
    let period = period(&of)?;
    let query = UploadQuery { destination: None, period: Some(period) };
    let ways = web.console.uploads(query, 0).await?.into_iter().map(Way::of).collect();
    let is_sealed = web.console.is_sealed(period);
    Ok(Page(List { shell, period, is_sealed, ways }).into_response())
}

#[derive(Template)]
#[template(path = "statements/destination.html")]
struct One {
    shell: Shell,
    period: Period,
    destination: String,
    ways: Vec<Way>,
}

impl One {
    fn at(&self, instant: &jiff::Timestamp) -> String {
        moment::shown(*instant)
    }
}

async fn one(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path((of, destination)): Path<(String, String)>,
) -> Shown {
    let period = period(&of)?;
    let query = UploadQuery { destination: Some(destination.clone()), period: Some(period) };
    let ways: Vec<Way> = web.console.uploads(query, 0).await?.into_iter().map(Way::of).collect();
    if ways.is_empty() {
        let why = format!("{period} has no sealed statement that goes to `{destination}`");
        return Err(Fault::value("the month", why).into());
    }
    Ok(Page(One { shell, period, destination, ways }).into_response())
}

/// The requests that a month is sent with, as a file; nothing is sent.
async fn plan(
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path((of, destination)): Path<(String, String)>,
) -> Shown {
    let query = UploadQuery { destination: Some(destination.clone()), period: Some(period(&of)?) };
    let files = web.console.upload_plan(query, false, 0).await?;
    // The requests come first, and stand for all of them.
    let file = files.into_iter().next().ok_or_else(|| Fault::value("the plan", "is empty"))?;
    Ok(download(&format!("{of}-{destination}-requests.json"), "application/json", file.bytes))
}

async fn retry(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path((of, destination)): Path<(String, String)>,
    Fields(form): Fields<ReasonForm>,
) -> Shown {
    let period = period(&of)?;
    web.console.retry_upload(&caller, &destination, period, &form.reason).await?;
    Ok(back(period, "retried"))
}

async fn settle(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path((of, destination)): Path<(String, String)>,
    Fields(form): Fields<ReasonForm>,
) -> Shown {
    let period = period(&of)?;
    web.console.settle_upload(&caller, &destination, period, &form.reason).await?;
    Ok(back(period, "settled"))
}

fn back(period: Period, done: &str) -> Response {
    Redirect::to(&format!("/statements/{period}/delivery?done={done}")).into_response()
}
