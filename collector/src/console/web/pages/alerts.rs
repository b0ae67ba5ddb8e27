//! Alerts: what is open, what is muted until when and why, and whether telling works. Invariant: whoever has some
//! customers sees theirs alone; nothing is muted without a reason and an end.

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use jiff::SignedDuration;
use seatbeat_ledger::operators::Right;
use seatbeat_proto::wire::{AlertRow, AlertWay};
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::{Fields, NoFields};
use crate::console::web::{Route, Web};

/// For how many hours an alert can be muted, and in words.
const SPANS: [(i64, &str); 5] =
    [(1, "an hour"), (24, "a day"), (24 * 7, "a week"), (24 * 30, "30 days"), (24 * 180, "180 days")];

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    let serves = Needs::Right(Right::Serve, Whose::House);
    vec![
        Route { path: "/alerts", needs: Needs::Right(Right::See, Whose::Customers), service: get(list) },
        Route { path: "/alerts/mute", needs: serves, service: post(mute) },
        Route { path: "/alerts/unmute", needs: serves, service: post(unmute) },
        Route {
            path: "/alerts/test",
            needs: Needs::Right(Right::Administer, Whose::House),
            service: post(test),
        },
    ]
}

#[derive(Template)]
#[template(path = "alerts/list.html")]
struct List {
    shell: Shell,
    open: Vec<AlertRow>,
    muted: Vec<AlertRow>,
    ways: Vec<AlertWay>,
    spans: &'static [(i64, &'static str)],
    mutes: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Muted {
    alert: String,
    hours: i64,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unmuted {
    alert: String,
    reason: String,
}

async fn list(shell: Shell, State(web): State<Web>, Extension(caller): Extension<Caller>) -> Shown {
    let list = web.console.alerts(&caller, 0).await?;
    let (open, muted) = list.alerts.into_iter().partition(|alert| alert.muted_until_ms == 0);
    let mutes = shell.serves() && shell.has_house();
    Ok(Page(List { shell, open, muted, ways: list.ways, spans: &SPANS, mutes }).into_response())
}

async fn mute(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Fields(muted): Fields<Muted>,
) -> Shown {
    let hours = SPANS.iter().find(|(hours, _)| *hours == muted.hours).map(|(hours, _)| *hours);
    let hours = hours.ok_or_else(|| Fault::value("the time", "is none of those that are offered"))?;
    let until = web.console.now().checked_add(SignedDuration::from_hours(hours));
    let until = until.map_err(|error| Fault::value("the time", error))?;
    web.console.mute_alert(&caller, &muted.alert, until, &muted.reason).await?;
    Ok(Redirect::to("/alerts?done=muted").into_response())
}

async fn unmute(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Fields(unmuted): Fields<Unmuted>,
) -> Shown {
    // A mute that ends now.
    let now = web.console.now();
    web.console.mute_alert(&caller, &unmuted.alert, now, &unmuted.reason).await?;
    Ok(Redirect::to("/alerts?done=unmuted").into_response())
}

async fn test(State(web): State<Web>, Fields(_): Fields<NoFields>) -> Shown {
    web.console.test_alerts()?;
    Ok(Redirect::to("/alerts?done=tested").into_response())
}
