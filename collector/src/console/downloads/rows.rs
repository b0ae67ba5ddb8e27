//! The rows of downloads, from the same answers that gRPC gives. Invariant: a row has a cell for each column of its
//! table; nothing is worked out here that a question does not say.

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::life::{Life, Standing};
use seatbeat_ledger::record::State;

use super::asked::day;
use super::{Asked, Download, Source};
use crate::console::Console;
use crate::console::audit::{AuditQuery, AuditRow};
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::console::machines::{MachineQuery, MachineSort, MachineState};
use crate::console::orders::OrderRow;
use crate::console::rows::{Customer, Machine, Product};
use crate::console::usage::UsageQuery;
use crate::console::wire_machines::state_text;
use crate::outputs::document::Cell;
use crate::outputs::tables;

/// Some rows of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows, each with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// Where the next page begins; none: this is the last.
    pub next: Option<String>,
}

impl Page {
    fn whole(rows: Vec<Vec<Cell>>) -> Self {
        Self { rows, next: None }
    }
}

impl Console {
    /// A page of a table: the one that is asked for, or the one that begins at `cursor`, with at most `limit` rows
    /// where the table comes in pages.
    ///
    /// # Errors
    /// As the question behind the table.
    pub async fn page(
        &self,
        caller: &Caller,
        table: &Download,
        asked: &Asked,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, Fault> {
        Ok(match table.source {
            Source::Customers => {
                let list = self.customers(caller, 0).await?;
                Page::whole(list.customers.iter().map(customer).collect())
            }
            Source::Machines => {
                let query = machine_query(asked, cursor, limit)?;
                let page = self.machines(caller, query, 0).await?;
                let next = page.next.map(|next| next.to_string());
                Page { rows: page.machines.iter().map(machine).collect(), next }
            }
            Source::Usage => {
                let query = UsageQuery { period: asked.period, customer: asked.customer(), flags_max: 0 };
                let (usage, _) = self.used(caller, query, 0).await?;
                main_rows(tables::usage(usage))
            }
            Source::Statements => {
                let list = self.statements(0).await?;
                Page::whole(list.statements.iter().map(standing).collect())
            }
            Source::StatementLines => {
                let (period, customer) = (period(asked)?, asked.customer());
                let is_draft = asked.value("draft").unwrap_or(false);
                let console = self.clone();
                let lines = move || console.statement_lines(period, customer.as_ref(), is_draft);
                Page::whole(tokio::task::spawn_blocking(lines).await??.rows)
            }
            Source::Orders => {
                let rows = self.order_rows(asked.customer().as_ref(), asked.text("state"))?;
                Page::whole(rows.iter().map(order).collect())
            }
            Source::Audit => {
                let page = self.audit(audit_query(asked, cursor, limit)?, 0).await?;
                Page {
                    rows: page.rows.iter().map(done).collect(),
                    next: page.next.map(|next| next.to_string()),
                }
            }
        })
    }
}

/// The rows of a document's main table.
fn main_rows(document: crate::outputs::document::Document) -> Page {
    Page::whole(document.tables.into_iter().next().map(|table| table.rows).unwrap_or_default())
}

fn machine_query(asked: &Asked, cursor: Option<&str>, limit: usize) -> Result<MachineQuery, Fault> {
    Ok(MachineQuery {
        customer: asked.customer(),
        state: asked.text("state").map(MachineState::named).transpose()?,
        product: asked.value("product"),
        agent_version: asked.text("agent_version").map(str::to_owned),
        search: asked.text("search").map(str::to_owned),
        sort: asked.text("sort").map_or(Ok(MachineSort::default()), MachineSort::named)?,
        page_after: cursor.map(str::parse).transpose()?,
        page_size: u32::try_from(limit).unwrap_or(u32::MAX),
    })
}

fn audit_query(asked: &Asked, cursor: Option<&str>, limit: usize) -> Result<AuditQuery, Fault> {
    let before = cursor.map(str::parse).transpose();
    Ok(AuditQuery {
        from: asked.text("from").and_then(day),
        to: asked.text("to").and_then(day),
        who: asked.text("who").map(str::to_owned),
        what: asked.text("what").map(str::to_owned),
        customer: asked.customer(),
        before: before.map_err(|_| Fault::value("`before`", "is not a position of the journal"))?,
        limit,
    })
}

fn period(asked: &Asked) -> Result<Period, Fault> {
    asked.period.ok_or(Fault::NoSuchPage)
}

fn instant(at: Timestamp) -> Cell {
    Cell::text(at)
}

fn flag(is_so: bool) -> Cell {
    Cell::text(is_so)
}

fn customer(row: &Customer) -> Vec<Cell> {
    vec![Cell::text(&row.customer), Cell::text(&row.name), Cell::number(row.machines)]
}

fn machine(row: &Machine) -> Vec<Cell> {
    vec![
        Cell::text(&row.machine),
        Cell::text(&row.customer),
        Cell::text(&row.host_name),
        Cell::text(&row.agent_version),
        Cell::maybe(Some(row.catalogue_version).filter(|version| *version > 0)),
        row.last_report.map_or(Cell::Empty, instant),
        flag(row.connected),
        flag(row.banned),
        flag(row.retired),
        Cell::text(products(&row.products)),
    ]
}

/// Products in a line, with the state of each that is not active.
pub fn products(found: &[Product]) -> String {
    let one = |found: &Product| match found.state {
        State::Active => found.product.to_string(),
        state => format!("{} ({})", found.product, state_text(state)),
    };
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn standing(row: &Standing) -> Vec<Cell> {
    let (revision, digest, at, by, blockers) = match &row.life {
        Life::Open { ends_at } => (None, "", *ends_at, "", None),
        Life::Grace { until } => (None, "", *until, "", None),
        Life::Draft { since, digest, blockers, .. } => {
            (None, digest.as_str(), *since, "", Some(blockers.len()))
        }
        Life::Approved { digest, by, at } => (None, digest.as_str(), *at, by.as_str(), None),
        Life::Sealed { revision, digest, by, at, .. } => {
            (Some(*revision), digest.as_str(), *at, by.as_str(), None)
        }
        Life::Superseded { revision, digest, at, .. } => (Some(*revision), digest.as_str(), *at, "", None),
    };
    vec![
        Cell::text(row.period),
        Cell::text(row.distributor.as_deref().unwrap_or_default()),
        Cell::text(row.life.name()),
        Cell::maybe(revision),
        Cell::text(digest),
        instant(at),
        Cell::text(by),
        Cell::maybe(blockers),
    ]
}

fn order(row: &OrderRow) -> Vec<Cell> {
    vec![
        Cell::text(&row.order),
        row.batch.as_ref().map_or(Cell::Empty, Cell::text),
        Cell::text(&row.machine),
        Cell::text(&row.host_name),
        Cell::text(&row.action),
        row.product.as_ref().map_or(Cell::Empty, Cell::text),
        Cell::text(&row.status),
        Cell::text(&row.detail),
        row.since.map_or(Cell::Empty, instant),
        instant(row.expires_at),
    ]
}

fn done(row: &AuditRow) -> Vec<Cell> {
    vec![
        Cell::number(row.position),
        instant(row.at),
        Cell::text(&row.who),
        Cell::text(&row.name),
        Cell::text(&row.from),
        Cell::text(&row.what),
        Cell::text(row.about.join(" ")),
        Cell::text(&row.reason),
    ]
}
