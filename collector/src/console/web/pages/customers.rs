//! Customers: who they are, how many machines they have, and one of them in full. Invariant: whoever has some customers
//! sees theirs alone.

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use seatbeat_ledger::operators::Right;

use super::shell::Shell;
use super::{Page, Shown};
use crate::console::auth::Caller;
use crate::console::rights::{Needs, Whose};
use crate::console::rows::Customer;
use crate::console::web::{Route, Web};

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![Route { path: "/customers", needs: Needs::Right(Right::See, Whose::Customers), service: get(list) }]
}

#[derive(Template)]
#[template(path = "customers/list.html")]
struct List {
    shell: Shell,
    customers: Vec<Customer>,
}

async fn list(shell: Shell, State(web): State<Web>, Extension(caller): Extension<Caller>) -> Shown {
    let customers = web.console.customers(&caller, 0).await?.customers;
    Ok(Page(List { shell, customers }).into_response())
}
