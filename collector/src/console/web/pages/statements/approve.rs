//! Approving a month. Invariant: what is sealed is the draft whose digest stood on the page, and a person has ticked that
//! they want it; whether it may be sealed the ledger decides.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use seatbeat_ledger::life::{Life, overall};
use serde::Deserialize;

use super::super::shell::Shell;
use super::super::{Page, Shown};
use super::lines::{SumShown, sums};
use super::look::{InWay, in_the_way};
use super::standing::{may_be_approved, next};
use super::{BILLS, Web};
use crate::console::auth::Caller;
use crate::console::fault::{Fault, period};
use crate::console::months::{DraftOf, LineQuery, Month};
use crate::console::web::Route;
use crate::console::web::form::Fields;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/statements/{period}/approve", needs: BILLS, service: get(asked) },
        Route { path: "/statements/{period}/seal", needs: BILLS, service: post(sealed) },
    ]
}

#[derive(Template)]
#[template(path = "statements/approve.html")]
struct Approve {
    shell: Shell,
    month: Month,
    draft: DraftOf,
    in_the_way: Vec<InWay>,
    sums: Vec<SumShown>,
    next: String,
    may_be_approved: bool,
    /// Something of the month is sealed: this takes its place.
    supersedes: bool,
}

async fn asked(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path(of): Path<String>,
) -> Shown {
    let mut month = web.console.month(period(&of)?, true, LineQuery::default(), 0).await?;
    let draft = month.draft.clone().ok_or_else(|| Fault::value("the draft", "is none"))?;
    let (next, may_be_approved) = (next(&month), may_be_approved(&month));
    month.lines.lines.clear();
    let page = Approve {
        shell,
        in_the_way: in_the_way(month.period, &draft.review.blockers),
        sums: sums(&month.sums),
        next,
        may_be_approved,
        supersedes: matches!(overall(&month.standings), Some(Life::Sealed { .. } | Life::Superseded { .. })),
        draft,
        month,
    };
    Ok(Page(page).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealForm {
    digest: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    sure: bool,
    #[serde(default)]
    supersede: bool,
}

async fn sealed(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(of): Path<String>,
    Fields(form): Fields<SealForm>,
) -> Shown {
    let period = period(&of)?;
    if !form.sure {
        return Err(Fault::value("the tick", "is missing: what is sealed is not taken back").into());
    }
    web.console.seal(&caller, period, &form.digest, &form.reason, form.supersede).await?;
    Ok(Redirect::to(&format!("/statements/{period}?done=sealed")).into_response())
}
