//! Signing a batch that waits for nothing else, where the collector keeps the key. Invariant: what is signed is what was
//! shown, by its digest.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;
use seatbeat_ledger::operators::Right;
use seatbeat_proto::ids::BatchId;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::console::orders::placing::{Signer, digest_of};
use crate::console::orders::{BatchRow, OrderQuery, words};
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::Fields;
use crate::console::web::{Route, Web};

/// Orders that are shown one by one; the others are told by their number.
const ROWS_MAX: usize = 100;

/// The route of this room.
pub fn routes() -> Vec<Route> {
    let needs = Needs::Right(Right::Serve, Whose::House);
    vec![Route { path: "/orders/{batch}/sign", needs, service: get(form).post(sign) }]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignForm {
    digest: String,
    passphrase: String,
}

#[derive(Template)]
#[template(path = "sign.html")]
struct Waiting {
    shell: Shell,
    batch: BatchId,
    /// Who asked for it, when and why.
    asked: BatchRow,
    asked_at: String,
    rows: Vec<Row>,
    more: usize,
    digest: String,
    is_here: bool,
}

struct Row {
    machine: String,
    what: String,
    product: String,
}

async fn form(shell: Shell, State(web): State<Web>, Path(batch): Path<String>) -> Shown {
    let batch: BatchId = batch.parse().map_err(Fault::from)?;
    let query = OrderQuery { batch: Some(batch.clone()), ..OrderQuery::default() };
    let asked = web.console.orders(query, 0).await?.batches.into_iter().next();
    let asked = asked.ok_or_else(|| Fault::UnknownBatch(batch.clone()))?;
    let waiting = web.console.unsigned_orders(Some(batch.clone()), 0).await?;
    let row = |order: &seatbeat_proto::wire::Order| Row {
        machine: order.machine.clone(),
        what: words(order.action(), order.uninstall),
        product: if order.product.is_empty() { "the agent".to_owned() } else { order.product.clone() },
    };
    Ok(Page(Waiting {
        asked_at: moment::shown(asked.at),
        asked,
        rows: waiting.iter().take(ROWS_MAX).map(row).collect(),
        more: waiting.len().saturating_sub(ROWS_MAX),
        digest: digest_of(&waiting),
        is_here: web.console.signer().await? == Signer::Here,
        batch,
        shell,
    })
    .into_response())
}

async fn sign(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(batch): Path<String>,
    Fields(form): Fields<SignForm>,
) -> Shown {
    let batch: BatchId = batch.parse().map_err(Fault::from)?;
    let passphrase = Zeroizing::new(form.passphrase);
    web.console.sign_batch(&caller, batch.clone(), &form.digest, passphrase).await?;
    Ok(Redirect::to(&format!("/orders/{batch}?done=ordered")).into_response())
}
