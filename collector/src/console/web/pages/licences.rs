//! Licences: what there is, who holds seats of it, and what is done with one. Invariant: an activation code is on a page
//! only as the answer to whoever asked for it by name and said why; what was pasted is repeated to nobody but them.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use seatbeat_ledger::operators::Right;
use seatbeat_ledger::prices::read::Problems;
use seatbeat_proto::ids::{CustomerId, LicenceId};
use seatbeat_proto::wire::{LicenceAllotted, LicenceHolder};
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::console::licences::{HoldingRow, LicenceList, LicenceRow};
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::{Asked, Fields, ReasonForm};
use crate::console::web::{Route, Web};

const SEES: Needs = Needs::Right(Right::See, Whose::House);
const SERVES: Needs = Needs::Right(Right::Serve, Whose::House);

/// Rows of a list.
const ROWS_MAX: usize = 100;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/licences", needs: SEES, service: get(list) },
        Route { path: "/licences/check", needs: SERVES, service: post(checked) },
        Route { path: "/licences/import", needs: SERVES, service: post(imported) },
        Route { path: "/licences/{licence}", needs: SEES, service: get(one) },
        Route { path: "/licences/{licence}/allot", needs: SERVES, service: post(allotted) },
        Route { path: "/licences/{licence}/free", needs: SERVES, service: post(freed) },
        Route { path: "/licences/{licence}/withdraw", needs: SERVES, service: post(withdrawn) },
        Route { path: "/licences/{licence}/reveal", needs: SERVES, service: post(revealed) },
    ]
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ListAsked {
    customer: String,
    sku: String,
}

/// What was pasted, and what came of looking at it.
#[derive(Default)]
struct Pasted {
    csv: String,
    reason: String,
    /// Rows that could be added; none: nobody has asked.
    rows: Option<usize>,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "licences/list.html")]
struct List {
    shell: Shell,
    asked: ListAsked,
    rows: Vec<LicenceRow>,
    holdings: Vec<(String, HoldingRow)>,
    left_out: usize,
    pasted: Pasted,
}

async fn page(shell: Shell, web: &Web, asked: ListAsked, pasted: Pasted) -> Shown {
    let customer: Option<CustomerId> = Some(asked.customer.trim())
        .filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(Fault::from)?;
    let LicenceList { licences: mut rows, mut holdings } =
        web.console.licences(customer, asked.sku.trim(), 0).await?;
    // Those that are short come first.
    holdings.sort_by_key(|one| std::cmp::Reverse(one.beyond));
    let left_out = rows.len().saturating_sub(ROWS_MAX) + holdings.len().saturating_sub(ROWS_MAX);
    rows.truncate(ROWS_MAX);
    holdings.truncate(ROWS_MAX);
    let named = |one: HoldingRow| Ok((web.console.called(&one.customer)?, one));
    let holdings = holdings.into_iter().map(named).collect::<Result<_, Fault>>()?;
    Ok(Page(List { shell, asked, rows, holdings, left_out, pasted }).into_response())
}

async fn list(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Asked(asked): Asked<ListAsked>,
) -> Shown {
    page(shell, &web, asked, Pasted::default()).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportForm {
    csv: String,
    #[serde(default)]
    reason: String,
}

/// Looks at what was pasted; nothing is added.
async fn checked(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Fields(form): Fields<ImportForm>,
) -> Shown {
    let found = web.console.import_licences(&caller, form.csv.as_bytes(), true, &form.reason).await?;
    let (rows, problems) = (Some(found.rows), found.problems);
    page(shell, &web, ListAsked::default(), Pasted { csv: form.csv, reason: form.reason, rows, problems })
        .await
}

async fn imported(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Fields(form): Fields<ImportForm>,
) -> Shown {
    let found = web.console.import_licences(&caller, form.csv.as_bytes(), false, &form.reason).await?;
    if found.problems.is_empty() && found.rows > 0 {
        return Ok(Redirect::to("/licences?done=imported").into_response());
    }
    if found.rows == 0 && found.problems.is_empty() {
        return Err(Fault::value("the text", "has no licence: paste its head, and a line for each").into());
    }
    // Which lines are wrong is the answer; what was pasted stays where it is.
    let first = found.problems.first.first();
    let told = first.map(|one| format!("line {}: {}", one.line, one.what)).unwrap_or_default();
    let more = found.problems.count.saturating_sub(1);
    let more = if more > 0 { format!("; and {more} more, which Check shows") } else { String::new() };
    drop(shell);
    Err(Fault::value("the text", format!("cannot be taken: {told}{more}")).into())
}

#[derive(Template)]
#[template(path = "licences/licence.html")]
struct One {
    shell: Shell,
    licence: LicenceRow,
    added_at: String,
    holders: Vec<Holder>,
    /// The activation code, where it was asked for just now.
    code: Option<zeroize::Zeroizing<String>>,
}

/// Who holds seats.
struct Holder {
    name: String,
    customer: CustomerId,
    machine: String,
    seats: u32,
    since: String,
}

async fn licence_page(
    shell: Shell,
    web: &Web,
    id: &LicenceId,
    code: Option<zeroize::Zeroizing<String>>,
) -> Shown {
    let all = web.console.licences(None, "", 0).await?.licences;
    let found = all.into_iter().find(|one| one.licence == *id);
    let licence = found.ok_or_else(|| Fault::UnknownLicence(id.clone()))?;
    let mut holders = Vec::new();
    for one in &licence.holders {
        holders.push(Holder {
            name: web.console.called(&one.customer)?,
            customer: one.customer.clone(),
            machine: one.machine.as_ref().map(ToString::to_string).unwrap_or_default(),
            seats: one.seats,
            since: moment::shown(one.since),
        });
    }
    let added_at = moment::shown(licence.added_at);
    Ok(Page(One { shell, licence, added_at, holders, code }).into_response())
}

async fn one(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Shown {
    licence_page(shell, &web, &id.parse().map_err(Fault::from)?, None).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeatsForm {
    customer: String,
    #[serde(default)]
    machine: String,
    seats: String,
    #[serde(default)]
    reason: String,
}

impl SeatsForm {
    fn holder(&self) -> LicenceHolder {
        let (customer, machine) = (self.customer.trim().to_owned(), self.machine.trim().to_owned());
        LicenceHolder { customer, machine }
    }

    fn seats(&self) -> Result<u32, Fault> {
        self.seats.trim().parse().map_err(|_| Fault::value("the seats", "are no whole number from 1 on"))
    }
}

async fn allotted(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Fields(form): Fields<SeatsForm>,
) -> Shown {
    let change =
        LicenceAllotted { licence: id.clone(), from: None, to: Some(form.holder()), seats: form.seats()? };
    web.console.allot_licence(&caller, change, &form.reason).await?;
    Ok(back(&id))
}

async fn freed(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Fields(form): Fields<SeatsForm>,
) -> Shown {
    let change =
        LicenceAllotted { licence: id.clone(), from: Some(form.holder()), to: None, seats: form.seats()? };
    web.console.allot_licence(&caller, change, &form.reason).await?;
    Ok(back(&id))
}

fn back(id: &str) -> Response {
    Redirect::to(&format!("/licences/{id}?done=saved")).into_response()
}

async fn withdrawn(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Fields(form): Fields<ReasonForm>,
) -> Shown {
    if form.reason.trim().is_empty() {
        return Err(Fault::value("the reason", "is missing: the code is erased with it").into());
    }
    web.console.withdraw_licence(&caller, id.parse().map_err(Fault::from)?, &form.reason).await?;
    Ok(Redirect::to("/licences?done=withdrawn").into_response())
}

async fn revealed(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Fields(form): Fields<ReasonForm>,
) -> Shown {
    let id: LicenceId = id.parse().map_err(Fault::from)?;
    let revealed = web.console.reveal_licence(&caller, id.clone(), &form.reason).await?;
    licence_page(shell, &web, &id, Some(revealed.code)).await
}
