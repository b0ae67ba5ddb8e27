//! Pages: what a browser shows of the questions and actions of the console. Invariant: a page asks as any other skin
//! does and works nothing out about a count; whatever it shows is text in it, and all of it is served from here.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::Route;
use super::problem::Problem;
use crate::console::fault::Fault;

mod account;
mod alerts;
mod audit;
pub mod chart;
mod customer;
mod customer_acts;
mod customers;
mod licences;
mod machine;
mod machine_acts;
mod machines;
pub mod moment;
mod operators;
mod orders;
mod overview;
mod prices;
mod settings;
pub mod shell;
mod sign;
mod statements;
mod switch;

/// The routes of all pages.
pub fn routes() -> Vec<Route> {
    let rooms = [
        overview::routes(),
        customers::routes(),
        customer::routes(),
        customer_acts::routes(),
        machines::routes(),
        machine::routes(),
        machine_acts::routes(),
        switch::routes(),
        orders::routes(),
        alerts::routes(),
        audit::routes(),
        operators::routes(),
        settings::routes(),
        account::routes(),
        statements::routes(),
        licences::routes(),
        prices::routes(),
        sign::routes(),
    ];
    rooms.into_iter().flatten().collect()
}

/// What a page answers: itself, or a fault that is shown as one.
pub type Shown = Result<Response, Problem>;

/// Which month a page of one thing shows; empty: the newest there is.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MonthAsked {
    month: String,
    /// What was done before, which the frame of the page tells.
    #[serde(rename = "done")]
    _done: String,
}

/// A page, from its template.
pub struct Page<T>(pub T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(text) => Html(text).into_response(),
            Err(error) => Problem::of(&Fault::Page(error.to_string())).into_response(),
        }
    }
}
