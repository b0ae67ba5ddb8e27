//! `seatbeat machines`. Invariant: the list is complete, page after page; a machine is named by its id.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use seatbeat_collector::console::machines::{MachineSort, MachineState};
use seatbeat_collector::console::rows::{Evidence, Machine, MachineDetail, MachinePage, Product, Spool};
use seatbeat_collector::console::wire_machines::state_text;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};
use seatbeat_proto::wire;
use seatbeat_proto::wire::amend_request::Change;
use serde::Serialize;

use crate::amend::{How, amend};
use crate::connect::Collector;
use crate::moment;
use crate::out::{self, Align, Column, Out};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List machines
    List(List),
    /// All that is known of one machine
    Show {
        /// Which machine
        machine: MachineId,
    },
    /// Give a machine up: it is presumed to use nothing from then on
    Retire {
        /// Which machine
        machine: MachineId,
        #[command(flatten)]
        how: How,
    },
    /// Give a machine to a customer
    Assign {
        /// Which machine
        machine: MachineId,
        /// To whom
        #[arg(long)]
        customer: CustomerId,
        #[command(flatten)]
        how: How,
    },
    /// Say that two agents are one machine, for all time
    Merge {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        how: How,
    },
    /// Say that two merged agents are two machines after all
    Split {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        how: How,
    },
    /// Flag a machine, such as `pool`: one of a pool of short-lived virtual machines
    Flag {
        /// Which machine
        machine: MachineId,
        /// As what
        flag: String,
        #[command(flatten)]
        how: How,
    },
    /// Shut a machine out: nothing that it sends is taken
    Ban(Which),
    /// Let a machine that was shut out in again
    Unban(Which),
}

#[derive(Debug, Args)]
pub struct List {
    /// Of this customer only
    #[arg(long)]
    customer: Option<CustomerId>,
    /// In this state only
    #[arg(long, value_parser = PossibleValuesParser::new(MachineState::NAMES))]
    state: Option<String>,
    /// With this product, in whatever state
    #[arg(long)]
    product: Option<ProductId>,
    /// With an agent of this version
    #[arg(long, value_name = "VERSION")]
    agent_version: Option<String>,
    /// Whose name has this in it, or whose id begins so
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// In which order [default: id]
    #[arg(long, value_parser = PossibleValuesParser::new(MachineSort::NAMES))]
    sort: Option<String>,
}

#[derive(Debug, Args)]
pub struct Pair {
    /// The machine that stays
    kept: MachineId,
    /// The machine that is the same, or was taken to be
    absorbed: MachineId,
}

#[derive(Debug, Args)]
pub struct Which {
    /// Which machine
    machine: MachineId,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Serialize)]
struct Machines {
    machines: Vec<Machine>,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::List(asked) => {
            let is_of_all = asked.request() == wire::ListMachinesRequest::default();
            let all = Machines { machines: list(collector, &asked).await? };
            out.value(&all, || table(&all.machines))?;
            if all.machines.is_empty() && !out.is_json() {
                out::note(if is_of_all {
                    "no machines: an agent enrols with `seatbeat-agent enrol --token …`"
                } else {
                    "no machine is like that"
                });
            }
        }
        Verb::Show { machine } => {
            let request = wire::ShowMachineRequest { machine: machine.to_string(), after_position: 0 };
            let detail: MachineDetail =
                collector.ask(async |console| console.show_machine(request).await).await?;
            out.value(&detail, || page(&detail))?;
        }
        Verb::Retire { machine, how } => {
            let change = wire::MachineRetired { machine: machine.to_string(), at_ms: how.at_ms() };
            let done = format!("{machine} is retired");
            amend(Change::MachineRetired(change), how, &done, collector, out).await?;
        }
        Verb::Assign { machine, customer, how } => {
            let done = format!("{machine} belongs to {customer}");
            let (machine, customer) = (machine.to_string(), customer.to_string());
            let change = wire::MachineAssigned { machine, customer, at_ms: how.at_ms() };
            amend(Change::MachineAssigned(change), how, &done, collector, out).await?;
        }
        Verb::Merge { pair: Pair { kept, absorbed }, how } => {
            let done = format!("{kept} and {absorbed} are one machine");
            let (kept, absorbed) = (kept.to_string(), absorbed.to_string());
            let change = wire::MachinesMerged { kept, absorbed, at_ms: how.at_ms() };
            amend(Change::MachinesMerged(change), how, &done, collector, out).await?;
        }
        Verb::Split { pair: Pair { kept, absorbed }, how } => {
            let done = format!("{kept} and {absorbed} are two machines");
            let (kept, absorbed) = (kept.to_string(), absorbed.to_string());
            let change = wire::MachinesSplit { kept, absorbed, at_ms: how.at_ms() };
            amend(Change::MachinesSplit(change), how, &done, collector, out).await?;
        }
        Verb::Flag { machine, flag, how } => {
            let done = format!("{machine} is flagged `{flag}`");
            let change = wire::MachineFlagged { machine: machine.to_string(), flag, at_ms: how.at_ms() };
            amend(Change::MachineFlagged(change), how, &done, collector, out).await?;
        }
        Verb::Ban(which) => ban(which, true, collector, out).await?,
        Verb::Unban(which) => ban(which, false, collector, out).await?,
    }
    Ok(())
}

impl List {
    fn request(&self) -> wire::ListMachinesRequest {
        let text = |asked: &Option<String>| asked.clone().unwrap_or_default();
        wire::ListMachinesRequest {
            customer: self.customer.clone().map(String::from).unwrap_or_default(),
            state: text(&self.state),
            product: self.product.clone().map(String::from).unwrap_or_default(),
            agent_version: text(&self.agent_version),
            search: text(&self.search),
            sort: text(&self.sort),
            ..Default::default()
        }
    }
}

async fn list(collector: &mut Collector, asked: &List) -> anyhow::Result<Vec<Machine>> {
    let mut request = asked.request();
    let mut machines = Vec::new();
    loop {
        let page = request.clone();
        let page: MachinePage = collector.ask(async |console| console.list_machines(page).await).await?;
        machines.extend(page.machines);
        match page.next {
            Some(next) => request.page_after = next.to_string(),
            None => return Ok(machines),
        }
    }
}

async fn ban(which: Which, banned: bool, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let Which { machine, reason } = which;
    let request = wire::BanMachineRequest { machine: machine.to_string(), banned, reason };
    let done = collector.call(async |console| console.ban_machine(request).await).await?;
    let state = if banned { "shut out" } else { "let in again" };
    out::done(out, done.position, &format!("{machine} is {state}"))?;
    Ok(())
}

fn table(machines: &[Machine]) -> String {
    let columns = [
        Column("MACHINE", Align::Left),
        Column("CUSTOMER", Align::Left),
        Column("HOST", Align::Left),
        Column("STATE", Align::Left),
        Column("LAST REPORT", Align::Left),
        Column("PRODUCTS", Align::Left),
    ];
    let row = |row: &Machine| {
        vec![
            row.machine.to_string(),
            row.customer.to_string(),
            row.host_name.clone(),
            state(row).to_owned(),
            row.last_report.map(moment::shown).unwrap_or_default(),
            products_line(&row.products),
        ]
    };
    out::table(&columns, machines.iter().map(row).collect())
}

/// The strongest thing that can be said of a machine.
fn state(machine: &Machine) -> &'static str {
    match machine {
        Machine { banned: true, .. } => "banned",
        Machine { retired: true, .. } => "retired",
        Machine { connected: true, .. } => "connected",
        _ => "away",
    }
}

fn products_line(products: &[Product]) -> String {
    let one = |found: &Product| match found.state {
        seatbeat_ledger::record::State::Active => found.product.to_string(),
        state => format!("{} ({})", found.product, state_text(state)),
    };
    products.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn page(detail: &MachineDetail) -> String {
    let machine = &detail.machine;
    let head = out::fields(&[
        ("machine", machine.machine.to_string()),
        ("customer", machine.customer.to_string()),
        ("host", machine.host_name.clone()),
        ("state", state(machine).to_owned()),
        ("agent", machine.agent_version.clone()),
        ("catalogue", version(machine.catalogue_version)),
        ("enrolled", moment::shown(detail.enrolled_at)),
        ("last report", machine.last_report.map(moment::shown).unwrap_or_default()),
        ("flags", detail.flags.join(", ")),
    ]);
    out::page([
        Some(head),
        out::section("Products", &products(&machine.products)),
        out::section("Signals", &signals(&machine.products)),
        out::section("Chains", &spools(&detail.spools)),
        out::section("Newest evidence", &recent(&detail.recent)),
    ])
}

/// The version of a catalogue; empty: not known.
fn version(catalogue: u32) -> String {
    if catalogue == 0 { String::new() } else { catalogue.to_string() }
}

fn products(products: &[Product]) -> String {
    let columns = [
        Column("PRODUCT", Align::Left),
        Column("STATE", Align::Left),
        Column("VERSION", Align::Left),
        Column("WHY", Align::Left),
    ];
    let row = |row: &Product| {
        vec![row.product.to_string(), state_text(row.state).to_owned(), row.version.clone(), row.why.clone()]
    };
    out::table(&columns, products.iter().map(row).collect())
}

/// What spoke for each product, one a line: a product may have a dozen.
fn signals(products: &[Product]) -> String {
    let columns = [Column("PRODUCT", Align::Left), Column("SIGNAL", Align::Left)];
    let rows = products
        .iter()
        .flat_map(|found| found.signals.iter().map(|signal| vec![found.product.to_string(), signal.clone()]));
    out::table(&columns, rows.collect())
}

fn spools(spools: &[Spool]) -> String {
    let columns =
        [Column("SPOOL", Align::Left), Column("SEQUENCE", Align::Right), Column("HASH", Align::Left)];
    let row = |row: &Spool| vec![row.spool.to_string(), row.sequence.to_string(), row.hash.clone()];
    out::table(&columns, spools.iter().map(row).collect())
}

fn recent(recent: &[Evidence]) -> String {
    let columns = [
        Column("POSITION", Align::Right),
        Column("SEQUENCE", Align::Right),
        Column("OBSERVED", Align::Left),
        Column("RECEIVED", Align::Left),
        Column("PRODUCTS", Align::Left),
    ];
    let row = |row: &Evidence| {
        vec![
            row.position.to_string(),
            row.sequence.to_string(),
            moment::shown(row.observed_at),
            moment::shown(row.received_at),
            products_line(&row.products),
        ]
    };
    out::table(&columns, recent.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatbeat_ledger::record::State;

    fn machine() -> Machine {
        let product = |id: &str, state| Product {
            product: id.parse().unwrap(),
            state,
            version: "20.0".to_owned(),
            signals: vec!["unit:ds_agent".to_owned()],
            why: String::new(),
        };
        Machine {
            machine: "mch_a".parse().unwrap(),
            customer: "cus_acme".parse().unwrap(),
            host_name: "ws-1".to_owned(),
            agent_version: "0.1.0".to_owned(),
            catalogue_version: 1,
            last_report: Some("2026-10-01T07:02:11Z".parse().unwrap()),
            connected: true,
            banned: false,
            retired: false,
            products: vec![product("dsa", State::Active), product("spnt", State::Inactive)],
        }
    }

    #[test]
    fn a_machine_is_one_line() {
        let shown = table(&[machine()]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines,
            [
                "MACHINE  CUSTOMER  HOST  STATE      LAST REPORT           PRODUCTS",
                "mch_a    cus_acme  ws-1  connected  2026-10-01 07:02:11Z  dsa, spnt (inactive)",
            ]
        );
    }

    #[test]
    fn a_ban_outweighs_everything() {
        assert_eq!(state(&machine()), "connected");
        assert_eq!(state(&Machine { connected: false, ..machine() }), "away");
        assert_eq!(state(&Machine { retired: true, ..machine() }), "retired");
        assert_eq!(state(&Machine { retired: true, banned: true, ..machine() }), "banned");
    }
}
