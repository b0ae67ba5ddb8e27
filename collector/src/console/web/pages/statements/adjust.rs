//! Units by hand: declared or adjusted, with what that does to the months that are not sealed. Invariant: the preview
//! and the entry are the same change, and what was typed in stays on the page.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::wire::amend_request::Change;
use seatbeat_proto::wire::{Adjusted, Declared};
use serde::Deserialize;

use super::super::shell::Shell;
use super::super::{Page, Shown};
use super::{BILLS, Web};
use crate::console::auth::Caller;
use crate::console::fault::{Fault, period};
use crate::console::rows::{Customer, Effect};
use crate::console::web::Route;
use crate::console::web::form::{Asked, Fields};

/// Customers that are offered to choose from: of more, the id is typed in.
const OFFERED_MAX: usize = 200;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/statements/{period}/adjust", needs: BILLS, service: get(asked) },
        Route { path: "/statements/{period}/adjust/preview", needs: BILLS, service: post(preview) },
        Route { path: "/statements/{period}/adjust/enter", needs: BILLS, service: post(entered) },
    ]
}

/// What is typed in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Form {
    kind: String,
    customer: String,
    sku: String,
    units: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "statements/adjust.html")]
struct Adjust {
    shell: Shell,
    period: Period,
    is_sealed: bool,
    form: Form,
    offered: Vec<Customer>,
    effects: Option<Vec<Effect>>,
}

async fn page(
    shell: Shell,
    web: &Web,
    caller: &Caller,
    period: Period,
    form: Form,
    effects: Option<Vec<Effect>>,
) -> Shown {
    let mut offered = web.console.customers(caller, 0).await?.customers;
    offered.truncate(OFFERED_MAX);
    let is_sealed = web.console.is_sealed(period);
    Ok(Page(Adjust { shell, period, is_sealed, form, offered, effects }).into_response())
}

async fn asked(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(of): Path<String>,
    Asked(form): Asked<Form>,
) -> Shown {
    page(shell, &web, &caller, period(&of)?, form, None).await
}

async fn preview(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(of): Path<String>,
    Fields(form): Fields<Form>,
) -> Shown {
    let period = period(&of)?;
    let amended = web.console.amend(&caller, form.change(period)?, &form.reason, true).await?;
    page(shell, &web, &caller, period, form, Some(amended.effects)).await
}

async fn entered(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(of): Path<String>,
    Fields(form): Fields<Form>,
) -> Shown {
    let period = period(&of)?;
    web.console.amend(&caller, form.change(period)?, &form.reason, false).await?;
    Ok(Redirect::to(&format!("/statements/{period}?done=amended")).into_response())
}

impl Form {
    fn change(&self, period: Period) -> Result<Change, Fault> {
        let (customer, sku) = (self.customer.trim().to_owned(), self.sku.trim().to_owned());
        let (period, units) = (period.to_string(), self.units.trim());
        let not_whole =
            |kind: &str| Fault::value("the units", format!("are no whole number{kind}: `{units}`"));
        match self.kind.as_str() {
            "declare" => {
                let quantity = units.parse().map_err(|_| not_whole(" from 0 on"))?;
                Ok(Change::Declared(Declared { customer, sku, period, quantity, at_ms: 0 }))
            }
            "adjust" => {
                let delta = units.parse().map_err(|_| not_whole(""))?;
                Ok(Change::Adjusted(Adjusted { customer, sku, period, delta, at_ms: 0 }))
            }
            _ => Err(Fault::value("the kind", "is neither `adjust` nor `declare`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(kind: &str, units: &str) -> Result<Change, String> {
        let form = Form { kind: kind.to_owned(), units: units.to_owned(), ..Form::default() };
        form.change("2026-10".parse().unwrap()).map_err(|fault| fault.words())
    }

    #[test]
    fn units_that_are_none_are_named() {
        assert!(matches!(form("adjust", " -2 "), Ok(Change::Adjusted(Adjusted { delta: -2, .. }))));
        assert!(matches!(form("declare", "7"), Ok(Change::Declared(Declared { quantity: 7, .. }))));
        assert_eq!(form("declare", "-1").unwrap_err(), "the units are no whole number from 0 on: `-1`");
        assert_eq!(form("adjust", "1.5").unwrap_err(), "the units are no whole number: `1.5`");
        assert!(form("", "1").unwrap_err().contains("neither"));
    }
}
