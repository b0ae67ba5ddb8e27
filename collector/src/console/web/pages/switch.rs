//! Switching off and on, from a machine's page and a customer's; and what goes with a customer that leaves, is suspended
//! or comes back. Invariant: where, how, why not and what it does to the month are shown before anything can be
//! ordered, and exactly that is ordered.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;
use seatbeat_ledger::forecast::switched::SwitchLine;
use seatbeat_ledger::money::Decimal;
use seatbeat_ledger::operators::Right;
use seatbeat_ledger::orders::Scope;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};

use super::machines::product_name;
use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::console::orders::placing::{Signer, Waits};
use crate::console::orders::{Asked as Needed, OrderPlan, PlanRow, Wish};
use crate::console::rights::{Needs, Whose};
use crate::console::web::form::{Asked, Fields};
use crate::console::web::{Route, Web};
use asked::{
    AgreedForm, DepartAsked, Departing, EXPIRES_DAYS, WishAsked, product_asked, wish_name, wish_named,
    wish_title,
};

mod asked;

/// Rows of a plan that are shown one by one; the others are told by their number.
const ROWS_MAX: usize = 100;

const SERVES: Needs = Needs::Right(Right::Serve, Whose::House);
const ADMINISTERS: Needs = Needs::Right(Right::Administer, Whose::House);

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route {
            path: "/machines/{machine}/orders",
            needs: SERVES,
            service: get(of_machine).post(order_on_machine),
        },
        Route {
            path: "/customers/{customer}/orders",
            needs: SERVES,
            service: get(of_customer).post(order_of_customer),
        },
        Route {
            path: "/customers/{customer}/depart",
            needs: ADMINISTERS,
            service: get(departing).post(depart),
        },
    ]
}

#[derive(Template)]
#[template(path = "switch.html")]
struct Planned {
    shell: Shell,
    title: String,
    about: &'static str,
    /// The part that it is of, and where it leads back to.
    part: (&'static str, &'static str),
    back: String,
    name: String,
    action: String,
    departing: Option<Departing>,
    wishes: [(&'static str, &'static str, bool); 4],
    product: String,
    products: Vec<(ProductId, String)>,
    plan: OrderPlan,
    digest: String,
    rows: Vec<Row>,
    more: usize,
    whys: Vec<(String, usize)>,
    signer: Signer,
    asks_password: bool,
    asks_activation: bool,
    must_password: bool,
    must_activation: bool,
    is_many: bool,
    days: u32,
}

struct Row {
    machine: MachineId,
    name: String,
    product: String,
    what: String,
    when: String,
    cannot: bool,
}

impl Row {
    fn of(row: &PlanRow) -> Self {
        let what = match (&row.cannot, row.product.is_some()) {
            (Some(cannot), _) => format!("nothing: {cannot}"),
            (None, true) => row.how.join(", or "),
            (None, false) => "the agent forgets who it is, once nothing runs any more".to_owned(),
        };
        let when = match (row.cannot, row.connected, row.last_seen) {
            (Some(_), ..) => String::new(),
            (None, true, _) => "now".to_owned(),
            (None, false, Some(at)) => format!("when it returns (heard {})", moment::shown(at)),
            (None, false, None) => "when it returns".to_owned(),
        };
        Self {
            name: if row.host_name.is_empty() { row.machine.to_string() } else { row.host_name.clone() },
            machine: row.machine.clone(),
            product: row.what(),
            what,
            when,
            cannot: row.cannot.is_some(),
        }
    }
}

impl Planned {
    fn can(&self) -> bool {
        self.plan.possible().next().is_some()
    }

    /// Whether the key is asked for here.
    fn opens_key(&self) -> bool {
        self.can() && self.signer == Signer::Here && !self.plan.needs_second
    }

    fn waits_for_operator(&self) -> bool {
        self.can() && self.signer == Signer::Operator
    }

    fn has_no_key(&self) -> bool {
        self.signer == Signer::Nobody
    }

    fn amount(&self, amount: &Option<Decimal>) -> String {
        amount.map(|amount| amount.to_string()).unwrap_or_default()
    }

    fn currency(&self, line: &SwitchLine) -> String {
        line.without.currency.clone().or_else(|| line.with.currency.clone()).unwrap_or_default()
    }
}

/// Who something is ordered for, and where that is found.
struct Place {
    scope: Scope,
    part: (&'static str, &'static str),
    path: String,
    name: String,
}

impl Place {
    fn machine(web: &Web, machine: &str, product: Option<ProductId>) -> Result<Self, Fault> {
        let id: MachineId = machine.parse()?;
        let name = web.console.host_name(&id)?;
        Ok(Self {
            part: ("/machines", "Machines"),
            path: format!("/machines/{id}"),
            name: if name.is_empty() { id.to_string() } else { name },
            scope: Scope { machine: Some(id), product, ..Scope::default() },
        })
    }

    fn customer(web: &Web, customer: &str, product: Option<ProductId>) -> Result<Self, Fault> {
        let id: CustomerId = customer.parse()?;
        let name = web.console.customer_name(&id)?;
        Ok(Self {
            part: ("/customers", "Customers"),
            path: format!("/customers/{id}"),
            name: if name.is_empty() { id.to_string() } else { name },
            scope: Scope { customer: Some(id), product, ..Scope::default() },
        })
    }

    async fn planned(self, shell: Shell, web: &Web, wish: Wish, departing: Option<Departing>) -> Shown {
        let plan = web.console.plan_orders(wish, &self.scope, 0).await?;
        let mut whys: BTreeMap<String, usize> = BTreeMap::new();
        let mut products: Vec<ProductId> = Vec::new();
        for row in &plan.rows {
            if let Some(cannot) = row.cannot {
                *whys.entry(cannot.to_string()).or_default() += 1;
            }
            products.extend(row.product.clone().filter(|product| !products.contains(product)));
        }
        products.sort();
        let asked =
            |need: fn(&PlanRow) -> Needed, at_least: Needed| plan.possible().any(|row| need(row) >= at_least);
        let wishes = [Wish::SwitchOff, Wish::SwitchOn, Wish::Uninstall, Wish::Unenrol];
        let title = match departing {
            Some(Departing::Suspend) => format!("Suspend {}", self.name),
            Some(Departing::Offboard) => format!("Offboard {}", self.name),
            Some(Departing::Resume) => format!("Resume {}", self.name),
            None => format!("{} on {}", wish_title(wish), self.name),
        };
        let path = if departing.is_some() { "depart" } else { "orders" };
        Ok(Page(Planned {
            title,
            about: departing.map_or("", Departing::about),
            part: self.part,
            action: format!("{}/{path}", self.path),
            back: self.path,
            name: self.name,
            departing,
            wishes: wishes.map(|one| (wish_name(one), wish_title(one), one == wish)),
            product: self.scope.product.as_ref().map(ToString::to_string).unwrap_or_default(),
            products: products.into_iter().map(|id| (id.clone(), product_name(&id))).collect(),
            digest: plan.digest(&self.scope),
            rows: plan.rows.iter().take(ROWS_MAX).map(Row::of).collect(),
            more: plan.rows.len().saturating_sub(ROWS_MAX),
            whys: whys.into_iter().collect(),
            signer: web.console.signer().await?,
            asks_password: asked(|row| row.password, Needed::May),
            asks_activation: asked(|row| row.activation, Needed::May),
            must_password: asked(|row| row.password, Needed::Must),
            must_activation: asked(|row| row.activation, Needed::Must),
            is_many: self.scope.machine.is_none(),
            days: EXPIRES_DAYS,
            plan,
            shell,
        })
        .into_response())
    }

    async fn order(self, web: &Web, caller: &Caller, form: AgreedForm) -> Shown {
        let wish = wish_named(&form.wish)?;
        let agreed = form.agreed(web, wish, self.scope)?;
        let ordered = web.console.order(caller, agreed).await?;
        Ok(Redirect::to(&format!("{}?done={}", self.path, done(ordered.waits))).into_response())
    }
}

/// What is said on the page that it leads to.
fn done(waits: Waits) -> &'static str {
    match waits {
        Waits::Machines => "ordered",
        Waits::Second => "ordered_second",
        Waits::Signature => "ordered_unsigned",
        Waits::Nothing => "saved",
    }
}

async fn of_machine(
    shell: Shell,
    State(web): State<Web>,
    Path(machine): Path<String>,
    Asked(asked): Asked<WishAsked>,
) -> Shown {
    let place = Place::machine(&web, &machine, product_asked(&asked.product)?)?;
    place.planned(shell, &web, wish_named(&asked.wish)?, None).await
}

async fn of_customer(
    shell: Shell,
    State(web): State<Web>,
    Path(customer): Path<String>,
    Asked(asked): Asked<WishAsked>,
) -> Shown {
    let place = Place::customer(&web, &customer, product_asked(&asked.product)?)?;
    place.planned(shell, &web, wish_named(&asked.wish)?, None).await
}

async fn order_on_machine(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    Fields(form): Fields<AgreedForm>,
) -> Shown {
    Place::machine(&web, &machine, product_asked(&form.product)?)?.order(&web, &caller, form).await
}

async fn order_of_customer(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    Fields(form): Fields<AgreedForm>,
) -> Shown {
    Place::customer(&web, &customer, product_asked(&form.product)?)?.order(&web, &caller, form).await
}

async fn departing(
    shell: Shell,
    State(web): State<Web>,
    Path(customer): Path<String>,
    Asked(asked): Asked<DepartAsked>,
) -> Shown {
    let departing = Departing::named(&asked.departure)?;
    let place = Place::customer(&web, &customer, None)?;
    place.planned(shell, &web, departing.wish(), Some(departing)).await
}

async fn depart(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    Fields(form): Fields<AgreedForm>,
) -> Shown {
    let departing = Departing::named(&form.departure)?;
    let place = Place::customer(&web, &customer, None)?;
    let agreed = form.agreed(&web, departing.wish(), place.scope)?;
    let ordered = web.console.depart_and_order(&caller, departing.wire(), agreed).await?;
    Ok(Redirect::to(&format!("{}?done={}", place.path, done(ordered.waits))).into_response())
}
