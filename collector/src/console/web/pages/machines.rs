//! Machines: searched as somebody types, narrowed, sorted, a page at a time. Invariant: what is asked for stands in the
//! address, so a page can be kept, sent and loaded again; whoever has some customers sees theirs alone.

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use jiff::Timestamp;
use openidconnect::url::form_urlencoded;
use seatbeat_ledger::operators::Right;
use seatbeat_ledger::record::State as ProductState;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::ids::ProductId;
use seatbeat_proto::wire;
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::machines::{MachineQuery, MachineSort, MachineState};
use crate::console::rights::{Needs, Whose};
use crate::console::rows::{Customer, Machine, Product};
use crate::console::web::form::Asked;
use crate::console::web::{Route, Web};
use crate::console::wire_machines::state_text;

/// Machines of a page: some screens, and far below what a page may weigh.
const PAGE_SIZE: u32 = 50;

/// Customers that are offered by name: beyond that an id is typed in.
const OFFERED_MAX: usize = 300;

/// Products of a machine that a row names.
const NAMED_MAX: usize = 4;

/// What each order is called.
const SORTS: [(&str, &str); 4] =
    [("host_name", "Name"), ("customer", "Customer"), ("last_report", "Oldest report first"), ("id", "Id")];

/// The route of this room.
pub fn routes() -> Vec<Route> {
    vec![Route { path: "/machines", needs: Needs::Right(Right::See, Whose::Customers), service: get(list) }]
}

/// What stands in the address; what is empty narrows nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListAsked {
    search: String,
    customer: String,
    state: String,
    product: String,
    agent_version: String,
    sort: String,
    after: String,
    done: String,
}

impl ListAsked {
    fn wire(&self) -> wire::ListMachinesRequest {
        let sort = if self.sort.is_empty() { MachineSort::HostName.as_str() } else { self.sort.trim() };
        wire::ListMachinesRequest {
            customer: self.customer.trim().to_owned(),
            state: self.state.clone(),
            product: self.product.trim().to_owned(),
            agent_version: self.agent_version.trim().to_owned(),
            search: self.search.trim().to_owned(),
            sort: sort.to_owned(),
            page_after: self.after.clone(),
            page_size: PAGE_SIZE,
            ..Default::default()
        }
    }

    /// What narrows the list, as a query.
    fn pairs(&self, sort: bool) -> form_urlencoded::Serializer<'static, String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("search", self.search.trim()),
            ("customer", self.customer.trim()),
            ("state", self.state.as_str()),
            ("product", self.product.trim()),
            ("agent_version", self.agent_version.trim()),
            ("sort", if sort { self.sort.as_str() } else { "" }),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query
    }

    fn address(&self, after: &str) -> String {
        let mut query = self.pairs(true);
        if !after.is_empty() {
            query.append_pair("after", after);
        }
        with_query("/machines", &query.finish())
    }

    fn is_narrowed(&self) -> bool {
        !self.pairs(false).finish().is_empty()
    }
}

/// An address with its query, if it has one.
pub fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// How a machine is, in one word, and how that is coloured.
pub struct Badge {
    /// The word.
    pub word: &'static str,
    /// `good`, `warn`, `bad` or nothing.
    pub colour: &'static str,
}

impl Badge {
    /// The strongest thing that can be said of a machine.
    pub fn of(machine: &Machine, silent_before: Timestamp) -> Self {
        let (word, colour) = match machine {
            Machine { banned: true, .. } => ("banned", "bad"),
            Machine { retired: true, .. } => ("retired", ""),
            Machine { connected: true, .. } => ("connected", "good"),
            Machine { last_report: None, .. } => ("no report yet", "warn"),
            Machine { last_report: Some(at), .. } if *at < silent_before => ("silent", "warn"),
            _ => ("away", ""),
        };
        Self { word, colour }
    }
}

/// What a product or one of its editions is called.
pub fn product_name(product: &ProductId) -> String {
    products().find(|(id, _)| *id == product).map_or_else(|| product.to_string(), |(_, name)| name.to_owned())
}

/// All products and editions that agents look for.
pub fn products() -> impl Iterator<Item = (&'static ProductId, &'static str)> {
    Catalogue::embedded().products.iter().flat_map(|product| {
        let editions = product.variants.iter().map(|edition| (&edition.id, edition.name.as_str()));
        std::iter::once((&product.id, product.name.as_str())).chain(editions)
    })
}

#[derive(Template)]
#[template(path = "machines/list.html")]
struct List {
    shell: Shell,
    asked: ListAsked,
    rows: Vec<Row>,
    offered: Vec<Customer>,
    products: Vec<(String, &'static str)>,
    states: &'static [&'static str],
    sorts: [(&'static str, &'static str); 4],
    here: String,
    next: Option<String>,
    first: Option<String>,
    downloads: String,
    is_narrowed: bool,
}

struct Row {
    machine: Machine,
    badge: Badge,
    last_report: String,
    products: Vec<String>,
    more: usize,
}

impl List {
    fn is_offered(&self) -> bool {
        self.asked.customer.is_empty()
            || self.offered.iter().any(|one| one.customer.as_str() == self.asked.customer)
    }
}

async fn list(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Asked(asked): Asked<ListAsked>,
) -> Shown {
    let page = web.console.machines(&caller, MachineQuery::try_from(asked.wire())?, 0).await?;
    let mut offered = web.console.customers(&caller, 0).await?.customers;
    if offered.len() > OFFERED_MAX {
        offered.clear();
    }
    offered.sort_by_cached_key(|one| (one.name.to_lowercase(), one.customer.clone()));
    let silent_before = web.console.silent_before();
    let row = |machine: Machine| Row {
        badge: Badge::of(&machine, silent_before),
        last_report: moment::shown_or(machine.last_report, "none yet"),
        products: machine.products.iter().take(NAMED_MAX).map(named).collect(),
        more: machine.products.len().saturating_sub(NAMED_MAX),
        machine,
    };
    let downloads = with_query("", &asked.pairs(true).finish());
    Ok(Page(List {
        rows: page.machines.into_iter().map(row).collect(),
        offered,
        products: products().map(|(id, name)| (id.to_string(), name)).collect(),
        states: MachineState::NAMES,
        sorts: SORTS,
        here: asked.address(&asked.after),
        next: page.next.map(|next| asked.address(&next.to_string())),
        first: (!asked.after.is_empty()).then(|| asked.address("")),
        downloads,
        is_narrowed: asked.is_narrowed(),
        shell,
        asked,
    })
    .into_response())
}

fn named(found: &Product) -> String {
    match found.state {
        ProductState::Active => found.product.to_string(),
        state => format!("{} ({})", found.product, state_text(state)),
    }
}
