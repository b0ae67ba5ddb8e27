//! Operators: who may come in, what for and how, and letting them in and go. Invariant: a token and a link are in the
//! one answer that made them; each act has a reason.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use seatbeat_ledger::operators::{Right, Role};
use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::wire::OperatorRow;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::console::operators::grant;
use crate::console::rights::{Needs, Whose};
use crate::console::sign_in::change::Credential;
use crate::console::sign_in::link::SignInLink;
use crate::console::web::entry::Place;
use crate::console::web::form::{Fields, ids};
use crate::console::web::{Route, Web};

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    let needs = Needs::Right(Right::Administer, Whose::House);
    let route = |path, service| Route { path, needs, service };
    vec![
        route("/operators", get(list).post(add)),
        route("/operators/{operator}", get(one)),
        route("/operators/{operator}/allow", post(allow)),
        route("/operators/{operator}/revoke", post(revoke)),
        route("/operators/{operator}/link", post(link)),
        route("/operators/{operator}/forget", post(forget)),
    ]
}

#[derive(Template)]
#[template(path = "operators/list.html")]
struct List {
    shell: Shell,
    operators: Vec<OperatorRow>,
    roles: &'static [Role],
    made: Option<Made>,
}

#[derive(Template)]
#[template(path = "operators/one.html")]
struct One {
    shell: Shell,
    operator: OperatorRow,
    roles: &'static [Role],
    made: Option<Made>,
}

/// Ways in that were just made.
struct Made {
    operator: OperatorId,
    /// None: a link alone.
    token: Option<Zeroizing<String>>,
    /// What they open in a browser.
    address: Zeroizing<String>,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    name: String,
    role: String,
    #[serde(default)]
    customers: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    role: String,
    #[serde(default)]
    customers: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasoned {
    reason: String,
    #[serde(default)]
    means: String,
}

impl Made {
    fn of(operator: OperatorId, token: Option<Zeroizing<String>>, link: &SignInLink, place: &Place) -> Self {
        let address = Zeroizing::new(format!("{}/sign-in/link?code={}", place.0, link.code.as_str()));
        Self { operator, token, address, expires_at: link.expires_at }
    }
}

async fn list(shell: Shell, State(web): State<Web>, Extension(caller): Extension<Caller>) -> Shown {
    let operators = web.console.operators(&caller, 0).await?;
    Ok(Page(List { shell, operators, roles: &Role::ALL, made: None }).into_response())
}

async fn add(
    shell: Shell,
    place: Place,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Fields(form): Fields<Added>,
) -> Shown {
    given(&form.reason)?;
    let grant = grant(&form.role, &ids(&form.customers))?;
    let (operator, token, _) = web.console.add_operator(&caller, &form.name, grant, &form.reason).await?;
    let link = web.console.sign_in_link(&caller, &operator, &form.reason).await?;
    let made = Made::of(operator, Some(token), &link, &place);
    let operators = web.console.operators(&caller, 0).await?;
    Ok(Page(List { shell, operators, roles: &Role::ALL, made: Some(made) }).into_response())
}

async fn one(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(operator): Path<String>,
) -> Shown {
    Ok(shown(shell, &web, &caller, operator.parse().map_err(Fault::from)?, None).await?)
}

async fn allow(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(operator): Path<String>,
    Fields(form): Fields<Allowed>,
) -> Shown {
    given(&form.reason)?;
    let grant = grant(&form.role, &ids(&form.customers))?;
    let operator: OperatorId = operator.parse().map_err(Fault::from)?;
    web.console.allow_operator(&caller, operator.clone(), grant, &form.reason).await?;
    Ok(led(&operator))
}

async fn revoke(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(operator): Path<String>,
    Fields(form): Fields<Reasoned>,
) -> Shown {
    given(&form.reason)?;
    let operator: OperatorId = operator.parse().map_err(Fault::from)?;
    web.console.revoke_operator(&caller, operator.clone(), &form.reason).await?;
    Ok(led(&operator))
}

async fn link(
    shell: Shell,
    place: Place,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(operator): Path<String>,
    Fields(form): Fields<Reasoned>,
) -> Shown {
    given(&form.reason)?;
    let operator: OperatorId = operator.parse().map_err(Fault::from)?;
    let link = web.console.sign_in_link(&caller, &operator, &form.reason).await?;
    let made = Made::of(operator.clone(), None, &link, &place);
    Ok(shown(shell, &web, &caller, operator, Some(made)).await?)
}

async fn forget(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(operator): Path<String>,
    Fields(form): Fields<Reasoned>,
) -> Shown {
    given(&form.reason)?;
    let operator: OperatorId = operator.parse().map_err(Fault::from)?;
    let means: Credential = form.means.parse()?;
    web.console.remove_credential(&caller, &operator, means, &form.reason).await?;
    Ok(led(&operator))
}

async fn shown(
    shell: Shell,
    web: &Web,
    caller: &Caller,
    id: OperatorId,
    made: Option<Made>,
) -> Result<Response, Fault> {
    let operators = web.console.operators(caller, 0).await?;
    let operator = operators.into_iter().find(|row| row.operator == id.as_str());
    let operator = operator.ok_or(Fault::UnknownOperator(id))?;
    Ok(Page(One { shell, operator, roles: &Role::ALL, made }).into_response())
}

fn led(operator: &OperatorId) -> Response {
    Redirect::to(&format!("/operators/{operator}?done=saved")).into_response()
}

fn given(reason: &str) -> Result<(), Fault> {
    match reason.trim() {
        "" => Err(Fault::value("the reason", "is missing: who may come in is asked about later")),
        _ => Ok(()),
    }
}
