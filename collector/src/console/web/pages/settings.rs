//! Settings: what the collector runs by, what is wrong with it, and the policy, which is set here. Invariant: the
//! configuration is shown and not changed: it is a file of the collector's machine.

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::operators::Right;
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::fault::{Fault, period};
use crate::console::rights::{Needs, Whose};
use crate::console::rows::{CatalogueState, Status};
use crate::console::settings::PolicyEffect;
use crate::console::web::form::{Asked, Fields};
use crate::console::web::{Route, Web};
use crate::doctor::{Finding, Level};

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    let needs = Needs::Right(Right::Administer, Whose::House);
    let route = |path, service| Route { path, needs, service };
    vec![
        route("/settings", get(page)),
        route("/settings/policy", post(set_policy)),
        route("/settings/policy/preview", post(preview)),
    ]
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Shows {
    /// The policy of this month; empty: of the running one.
    period: String,
    /// Whether destinations are asked, too.
    ask: bool,
    #[serde(rename = "done")]
    _done: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyForm {
    toml: String,
    #[serde(default)]
    valid_from: String,
    #[serde(default)]
    reason: String,
}

impl PolicyForm {
    fn valid_from(&self) -> Result<Option<Period>, Fault> {
        match self.valid_from.trim() {
            "" => Ok(None),
            month => period(month).map(Some),
        }
    }

    /// As a file has it: forms send lines that end otherwise.
    fn toml(&self) -> String {
        self.toml.replace("\r\n", "\n")
    }
}

#[derive(Template)]
#[template(path = "settings/page.html")]
struct Body {
    shell: Shell,
    status: Status,
    findings: Vec<Finding>,
    asked: bool,
    policy: String,
    period: String,
    configuration: String,
    destinations: Vec<(String, String, String)>,
    catalogue: CatalogueState,
}

#[derive(Template)]
#[template(path = "settings/preview.html")]
struct Preview {
    effect: PolicyEffect,
}

async fn page(shell: Shell, State(web): State<Web>, Asked(shows): Asked<Shows>) -> Shown {
    let asked = match shows.period.trim() {
        "" => None,
        month => Some(period(month)?),
    };
    let console = &web.console;
    let destinations = console.destinations().iter().map(|(name, one)| {
        let kind = serde_json::to_value(one.connector).ok();
        let kind = kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        (name.clone(), kind, one.distributor.clone())
    });
    let mut findings = console.doctor(shows.ask).await;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let body = Body {
        status: console.status(0).await?,
        policy: console.policy(asked, 0).await?,
        period: asked.map(String::from).unwrap_or_default(),
        configuration: console.configuration()?,
        catalogue: console.catalogue(0).await?,
        destinations: destinations.collect(),
        asked: shows.ask,
        findings,
        shell,
    };
    Ok(Page(body).into_response())
}

async fn set_policy(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Fields(form): Fields<PolicyForm>,
) -> Shown {
    if form.reason.trim().is_empty() {
        return Err(Fault::value("the reason", "is missing: prices and rules change what is billed").into());
    }
    web.console.set_policy(&caller, &form.toml(), form.valid_from()?, &form.reason).await?;
    Ok(Redirect::to("/settings?done=saved").into_response())
}

async fn preview(State(web): State<Web>, Fields(form): Fields<PolicyForm>) -> Shown {
    let effect = web.console.policy_effect(form.toml(), form.valid_from()?).await?;
    Ok(Page(Preview { effect }).into_response())
}

/// How a finding looks, and its word.
fn badge(level: &Level) -> (&'static str, &'static str) {
    match level {
        Level::Ok => ("good", "ok"),
        Level::Warning => ("warn", "warning"),
        Level::Error => ("bad", "error"),
    }
}
