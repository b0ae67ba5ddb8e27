//! What is done with a customer: its install kit, what the books say of it, tokens taken back, names erased. Invariant:
//! a kit's token and codes are in the answer to the form that made them, and on no page that can be loaded again.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use seatbeat_ledger::operators::Right;
use seatbeat_proto::ids::{CustomerId, TokenId};
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::command::TokenTerms;
use crate::console::fault::Fault;
use crate::console::kit::Kit;
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::Fields;
use crate::console::web::{Route, Web};

/// Days that a kit's token lets machines in, unless something else is asked for.
const KIT_DAYS: u32 = 30;

/// Machines that it lets in, unless something else is asked for.
const KIT_USES: u32 = 25;

const SERVES: Needs = Needs::Right(Right::Serve, Whose::Customers);
const BILLS: Needs = Needs::Right(Right::Bill, Whose::House);
const ADMINISTERS: Needs = Needs::Right(Right::Administer, Whose::House);

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/customers/{customer}/kit", needs: SERVES, service: get(kit_form).post(make_kit) },
        Route { path: "/customers/{customer}/revoke-token", needs: SERVES, service: post(revoke_token) },
        Route { path: "/customers/{customer}/set", needs: BILLS, service: post(set) },
        Route { path: "/customers/{customer}/erase", needs: ADMINISTERS, service: post(erase) },
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KitForm {
    uses: u32,
    days: u32,
    codes: Option<String>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeForm {
    token: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetForm {
    name: String,
    customer_ref: String,
    tax_code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EraseForm {
    reason: String,
    typed: String,
}

#[derive(Template)]
#[template(path = "customers/kit.html")]
struct KitPage {
    shell: Shell,
    customer: CustomerId,
    name: String,
    uses: u32,
    days: u32,
    made: Option<Kit>,
}

impl KitPage {
    fn title(&self) -> &str {
        if self.name.is_empty() { self.customer.as_str() } else { &self.name }
    }

    fn until(&self) -> String {
        self.made.as_ref().map(|kit| moment::shown(kit.expires_at)).unwrap_or_default()
    }
}

fn named(customer: &str) -> Result<CustomerId, Fault> {
    Ok(customer.parse()?)
}

async fn kit_form(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
) -> Shown {
    let customer = named(&customer)?;
    web.console.customer_standing(&caller, &customer)?;
    let name = web.console.customer_name(&customer)?;
    let page = KitPage { shell, customer, name, uses: KIT_USES, days: KIT_DAYS, made: None };
    Ok(Page(page).into_response())
}

async fn make_kit(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    Fields(form): Fields<KitForm>,
) -> Shown {
    let customer = named(&customer)?;
    let terms = TokenTerms {
        customer: customer.clone(),
        uses_max: form.uses,
        expires_at: moment::days_after(web.console.now(), form.days),
        uses_per_hour: 0,
    };
    let (kit, _) = web.console.new_kit(&caller, terms, form.codes.is_some(), &form.reason).await?;
    let (name, uses, days) = (kit.customer_name.clone(), form.uses, form.days);
    Ok(Page(KitPage { shell, customer, name, uses, days, made: Some(kit) }).into_response())
}

async fn revoke_token(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    Fields(form): Fields<RevokeForm>,
) -> Shown {
    let customer = named(&customer)?;
    let token: TokenId = form.token.parse().map_err(Fault::from)?;
    if form.reason.trim().is_empty() {
        return Err(Fault::value("the reason", "is missing: who takes a token back says why").into());
    }
    web.console.revoke_token(&caller, token, &form.reason).await?;
    Ok(Redirect::to(&format!("/customers/{customer}?done=token_revoked")).into_response())
}

async fn set(State(web): State<Web>, Path(customer): Path<String>, Fields(form): Fields<SetForm>) -> Shown {
    let customer = named(&customer)?;
    let SetForm { name, customer_ref, tax_code, .. } = form;
    web.console.set_customer(customer.clone(), Some(name), Some(customer_ref), Some(tax_code)).await?;
    Ok(Redirect::to(&format!("/customers/{customer}?done=kept")).into_response())
}

async fn erase(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    Fields(form): Fields<EraseForm>,
) -> Shown {
    let customer = named(&customer)?;
    if form.typed.trim() != customer.as_str() {
        return Err(Fault::value("what was typed", "is not the customer's id: nothing was erased").into());
    }
    web.console.erase_customer(&caller, customer.clone(), &form.reason).await?;
    Ok(Redirect::to(&format!("/customers/{customer}?done=erased")).into_response())
}
