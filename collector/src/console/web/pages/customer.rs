//! One customer: its machines, what it comes to, what it holds, what it is asked for and billed, its tokens, and how it
//! stands. Invariant: each part is shown to those who may ask for it; nothing here is worked out that a question does
//! not say.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::invoice::Invoices;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::operators::Right;
use seatbeat_proto::ids::CustomerId;

use super::chart::{Chart, Series, Shape, highest_first};
use super::machines::Badge;
use super::shell::Shell;
use super::{MonthAsked, Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::customer_sums::{PriceTold, StandingTold};
use crate::console::departures::ArmRow;
use crate::console::documents::CustomerBilling;
use crate::console::fault::{Fault, period};
use crate::console::licences::LicenceList;
use crate::console::machines::{MachineQuery, MachineSort};
use crate::console::orders::OrderQuery;
use crate::console::rights::{Needs, Whose};
use crate::console::rows::{Machine, Token, Usage};
use crate::console::seat_history::SeatHistory;
use crate::console::usage::UsageQuery;
use crate::console::web::form::Asked;
use crate::console::web::{Route, Web};
use crate::console::words;

/// Machines that are shown; the list has all of them.
const MACHINES_MAX: u32 = 10;

/// Tokens that are shown, the newest first.
const TOKENS_MAX: usize = 50;

/// Flags that are told one by one.
const FLAGS_MAX: usize = 20;

/// The route of this room.
pub fn routes() -> Vec<Route> {
    let needs = Needs::Right(Right::See, Whose::Customers);
    vec![Route { path: "/customers/{customer}", needs, service: get(one) }]
}

#[derive(Template)]
#[template(path = "customers/one.html")]
struct One {
    shell: Shell,
    customer: CustomerId,
    name: String,
    standing: StandingTold,
    machines: Vec<(Machine, Badge)>,
    has_more: bool,
    usage: Usage,
    usage_path: String,
    usage_query: String,
    in_the_way: Vec<words::Advice>,
    flags: Vec<String>,
    flags_left_out: usize,
    chart: String,
    /// Of the house alone, as its question is.
    held: Option<Held>,
    money: Option<Money>,
    tokens: Vec<(Token, &'static str)>,
    here: String,
}

/// What it holds beside what runs, and both arms.
struct Held {
    licences: LicenceList,
    arms: Vec<ArmRow>,
}

/// What it is asked for and billed.
struct Money {
    billing: CustomerBilling,
    prices: Vec<PriceTold>,
    months: Vec<Period>,
    invoice: Option<Invoices>,
}

impl One {
    fn title(&self) -> &str {
        if self.name.is_empty() { self.customer.as_str() } else { &self.name }
    }

    fn may_order(&self) -> bool {
        self.shell.serves() && self.shell.has_house()
    }

    fn may_depart(&self) -> bool {
        self.shell.administers() && self.shell.has_house()
    }

    fn at(&self, at: &Timestamp) -> String {
        moment::shown(*at)
    }

    fn at_or(&self, at: &Option<Timestamp>) -> String {
        moment::shown_or(*at, "none yet")
    }

    /// The seats of this customer in a licence.
    fn seats_of(&self, licence: &crate::console::licences::LicenceRow) -> u32 {
        licence.holders.iter().filter(|one| one.customer == self.customer).map(|one| one.seats).sum()
    }
}

async fn one(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(customer): Path<String>,
    Asked(asked): Asked<MonthAsked>,
) -> Shown {
    let (console, id) = (&web.console, customer.parse::<CustomerId>().map_err(Fault::from)?);
    let standing = console.customer_standing(&caller, &id)?;
    let query = MachineQuery {
        customer: Some(id.clone()),
        sort: MachineSort::HostName,
        page_size: MACHINES_MAX,
        ..MachineQuery::default()
    };
    let page = console.machines(&caller, query, 0).await?;
    let silent_before = console.silent_before();
    let badge = |machine: Machine| {
        let badge = Badge::of(&machine, silent_before);
        (machine, badge)
    };
    let query = UsageQuery { period: None, customer: Some(id.clone()), flags_max: FLAGS_MAX };
    let (usage, flags_left_out) = console.used(&caller, query, 0).await?;
    let mut tokens = console.tokens(&caller, 0).await?.tokens;
    tokens.retain(|token| token.customer == id);
    tokens.sort_by(|one, other| (other.expires_at, &other.token).cmp(&(one.expires_at, &one.token)));
    tokens.truncate(TOKENS_MAX);
    let now = console.now();
    let state = |token: Token| {
        let words = match &token {
            Token { revoked: true, .. } => "revoked",
            Token { expires_at, .. } if *expires_at <= now => "over",
            Token { used, uses_max, .. } if used >= uses_max => "used up",
            _ => "open",
        };
        (token, words)
    };
    let held = match shell.has_house() {
        true => Some(held(&web, &id).await?),
        false => None,
    };
    let money = match shell.bills() && shell.has_house() {
        true => Some(money(&web, &id, &asked.month).await?),
        false => None,
    };
    let history = console.seat_history(&caller, &id).await?;
    let here = match asked.month.as_str() {
        "" => format!("/customers/{id}"),
        _ => format!("/customers/{id}?month={}", period(&asked.month)?),
    };
    Ok(Page(One {
        name: console.customer_name(&id)?,
        standing,
        has_more: page.next.is_some(),
        machines: page.machines.into_iter().map(badge).collect(),
        in_the_way: usage.blockers.iter().map(words::blocker).collect(),
        flags: usage.flags.iter().map(words::flag).collect(),
        flags_left_out,
        usage_path: format!("/v1/usage/{}", usage.period),
        usage_query: format!("?customer={id}"),
        usage,
        chart: chart(history),
        held,
        money,
        tokens: tokens.into_iter().map(state).collect(),
        here,
        customer: id,
        shell,
    })
    .into_response())
}

async fn held(web: &Web, customer: &CustomerId) -> Result<Held, Fault> {
    let query = OrderQuery { customer: Some(customer.clone()), ..OrderQuery::default() };
    Ok(Held {
        licences: web.console.licences(Some(customer.clone()), "", 0).await?,
        arms: web.console.orders(query, 0).await?.arms,
    })
}

async fn money(web: &Web, customer: &CustomerId, month: &str) -> Result<Money, Fault> {
    let months = web.console.sealed_months();
    let month = match month {
        "" => months.first().copied(),
        text => Some(period(text)?),
    };
    let invoice = match month {
        Some(month) => Some(web.console.customer_invoice(month, customer.clone()).await?),
        None => None,
    };
    Ok(Money {
        billing: web.console.customer_billing(customer)?,
        prices: web.console.customer_prices(customer.clone()).await?,
        months,
        invoice,
    })
}

/// Seats month by month.
fn chart(history: SeatHistory) -> String {
    let SeatHistory { months, skus } = history;
    let is_whole = skus.values().flatten().all(|one| one.hundredths() % 100 == 0);
    let value = |one: &Quantity| {
        let hundredths = i64::try_from(one.hundredths()).unwrap_or(i64::MAX);
        Some(if is_whole { hundredths / 100 } else { hundredths })
    };
    let series = skus
        .iter()
        .map(|(sku, values)| Series { name: sku.to_string(), values: values.iter().map(value).collect() });
    let chart = Chart {
        title: "Seats by month".to_owned(),
        over: "Month",
        unit: "seats".to_owned(),
        places: if is_whole { 0 } else { 2 },
        labels: months.iter().map(ToString::to_string).collect(),
        series: highest_first(series.collect()),
        shape: Shape::Stack,
        marks: Vec::new(),
    };
    chart.drawn()
}
