//! One machine: what runs on it and how that was found, its days of a month, its reports, who it was, and its orders.
//! Invariant: nothing is told of days or owners that are another customer's to whom may not know of that one.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::explain::SeatTold;
use seatbeat_ledger::operators::Right;
use seatbeat_ledger::record::State as ProductState;
use seatbeat_ledger::statement::Flag;
use seatbeat_ledger::unbilled::Unbilled;
use seatbeat_proto::ids::{MachineId, ProductId};

use super::machines::{Badge, product_name};
use super::shell::Shell;
use super::{MonthAsked, Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::fault::{Fault, period};
use crate::console::machine_days::{Lineage, MachineDays, Stands};
use crate::console::orders::{OrderQuery, OrderRow};
use crate::console::rights::{Needs, Whose};
use crate::console::rows::{Evidence, MachineDetail, Product};
use crate::console::web::form::Asked;
use crate::console::web::{Route, Web};
use crate::console::wire_machines::state_text;
use crate::console::words;

/// The route of this room.
pub fn routes() -> Vec<Route> {
    let needs = Needs::Right(Right::See, Whose::Customers);
    vec![Route { path: "/machines/{machine}", needs, service: get(one) }]
}

#[derive(Template)]
#[template(path = "machines/one.html")]
struct One {
    shell: Shell,
    detail: MachineDetail,
    badge: Badge,
    customer_name: String,
    products: Vec<ProductShown>,
    flags: Vec<String>,
    days: MachineDays,
    lineage: Lineage,
    orders: Option<Vec<OrderRow>>,
    here: String,
}

struct ProductShown {
    found: Product,
    name: String,
    state: &'static str,
    colour: &'static str,
}

impl One {
    fn name(&self) -> &str {
        let machine = &self.detail.machine;
        if machine.host_name.is_empty() { machine.machine.as_str() } else { &machine.host_name }
    }

    fn customer(&self) -> &str {
        let id = self.detail.machine.customer.as_str();
        if self.customer_name.is_empty() { id } else { &self.customer_name }
    }

    fn last_report(&self) -> String {
        moment::shown_or(self.detail.machine.last_report, "none yet")
    }

    /// Whether they may switch it off and on.
    fn may_order(&self) -> bool {
        self.shell.serves() && self.shell.has_house()
    }

    /// Whether they may say by hand who it is.
    fn may_amend(&self) -> bool {
        self.shell.bills() && self.shell.has_house()
    }

    fn stands(&self) -> [(Stands, usize); 4] {
        [Stands::Confirmed, Stands::Presumed, Stands::Seen, Stands::Silent]
            .map(|stands| (stands, self.days.count(stands)))
    }

    fn at(&self, at: &Timestamp) -> String {
        moment::shown(*at)
    }

    fn at_or(&self, at: &Option<Timestamp>) -> String {
        moment::shown_or(*at, "")
    }

    fn class(&self, stands: &Stands) -> &'static str {
        match stands {
            Stands::Confirmed => "confirmed",
            Stands::Presumed => "presumed",
            Stands::Seen => "seen",
            Stands::Silent => "silent",
            Stands::Before | Stands::Ahead => "none",
        }
    }

    fn confirmed(&self, seat: &SeatTold) -> String {
        words::days(&seat.confirmed)
    }

    fn presumed(&self, seat: &SeatTold) -> String {
        words::days(&seat.presumed)
    }

    fn reason_days(&self, row: &Unbilled) -> String {
        words::days(&row.days)
    }

    fn found(&self, evidence: &Evidence) -> String {
        let one = |found: &Product| match found.state {
            ProductState::Active => found.product.to_string(),
            state => format!("{} ({})", found.product, state_text(state)),
        };
        evidence.products.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn product(&self, product: &Option<ProductId>) -> String {
        product.as_ref().map_or_else(|| "the agent".to_owned(), ToString::to_string)
    }
}

async fn one(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    Asked(asked): Asked<MonthAsked>,
) -> Shown {
    let id: MachineId = machine.parse().map_err(Fault::from)?;
    let month: Option<Period> =
        Some(asked.month.as_str()).filter(|text| !text.is_empty()).map(period).transpose()?;
    let detail = web.console.machine(&caller, id.clone(), 0).await?;
    let days = web.console.machine_days(&caller, &id, month).await?;
    let lineage = web.console.lineage(&caller, &id).await?;
    // Orders are the house's: who has some customers is not shown them.
    let orders = match shell.has_house() {
        true => {
            let query = OrderQuery { machine: Some(id.clone()), ..OrderQuery::default() };
            let mut orders = web.console.orders(query, 0).await?.orders;
            orders.reverse();
            Some(orders)
        }
        false => None,
    };
    let flag = |flag: &String| words::flag(&Flag::of_machine(flag, &id));
    let shown = |found: &Product| ProductShown {
        name: product_name(&found.product),
        state: state_text(found.state),
        colour: match found.state {
            ProductState::Active => "good",
            ProductState::Unknown => "warn",
            ProductState::Inactive | ProductState::SwitchedOff => "",
        },
        found: found.clone(),
    };
    Ok(Page(One {
        badge: Badge::of(&detail.machine, web.console.silent_before()),
        customer_name: web.console.customer_name(&detail.machine.customer)?,
        products: detail.machine.products.iter().map(shown).collect(),
        flags: detail.flags.iter().map(flag).collect(),
        here: format!("/machines/{id}?month={}", days.period),
        detail,
        days,
        lineage,
        orders,
        shell,
    })
    .into_response())
}
