//! `seatbeat orders`. Invariant: nothing is ordered that was not shown before; a key that signs orders is opened here,
//! signs what was shown, and goes nowhere.

use std::path::PathBuf;

use clap::Subcommand;
use seatbeat_collector::console::departures::ArmRow;
use seatbeat_collector::console::orders::{BatchRow, OrderList, OrderRow, Wish};
use seatbeat_ledger::orders::Scope;
use seatbeat_proto::ids::{BatchId, CustomerId, MachineId, OrderId};
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::moment;
use crate::out::{self, Align, Column, Out};

pub mod keys;
pub mod send;

use keys::SignArgs;
use send::SendArgs;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Switch products off: protection ends, and so does what is billed for it
    Off(SendArgs),
    /// Switch products on again
    On(SendArgs),
    /// Remove products with the system's installer
    Uninstall(SendArgs),
    /// Let agents go: what runs is switched off first, and when that is confirmed the agent forgets who it is
    Unenrol(SendArgs),
    /// Sign what waits for a signature
    Sign {
        /// Only this batch [default: all that wait]
        batch: Option<BatchId>,
        #[command(flatten)]
        sign: SignArgs,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Let a batch go on that another operator asked for and that is about many machines
    Confirm {
        /// Which batch
        batch: BatchId,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Cancel what is not begun of a batch, or one order of it
    Cancel {
        /// Which batch
        batch: BatchId,
        /// Only this order
        #[arg(long)]
        order: Option<OrderId>,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// List batches with what has become of them, or the orders of one, of a machine, of a customer
    List {
        /// The orders of this batch
        #[arg(long)]
        batch: Option<BatchId>,
        /// The orders of this customer's machines, and the distributor's arm beside them
        #[arg(long)]
        customer: Option<CustomerId>,
        /// The orders of this machine
        #[arg(long)]
        machine: Option<MachineId>,
    },
    /// Say how many machines one operator may switch off within a day alone
    Limit {
        /// How many
        machines: u32,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Whose orders machines take
    #[command(subcommand)]
    Key(keys::Verb),
}

/// Runs the verb.
///
/// # Errors
/// When nobody can sign, something is wrong with what is asked for, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Off(args) => send::run(Wish::SwitchOff, args, collector, out).await,
        Verb::On(args) => send::run(Wish::SwitchOn, args, collector, out).await,
        Verb::Uninstall(args) => send::run(Wish::Uninstall, args, collector, out).await,
        Verb::Unenrol(args) => send::run(Wish::Unenrol, args, collector, out).await,
        Verb::Sign { batch, sign, yes } => send::sign_waiting(batch, &sign, yes, collector, out).await,
        Verb::Confirm { batch, reason } => {
            let request = wire::OrdersActRequest { batch: batch.to_string(), order: String::new(), reason };
            let done = collector.call(async |console| console.confirm_orders(request).await).await?;
            Ok(out::done(out, done.position, &format!("{batch} goes on: it waits for a signature now"))?)
        }
        Verb::Cancel { batch, order, reason } => {
            let what = order.as_ref().map_or_else(|| batch.to_string(), ToString::to_string);
            let order = order.map(String::from).unwrap_or_default();
            let request = wire::OrdersActRequest { batch: batch.to_string(), order, reason };
            let done = collector.call(async |console| console.cancel_orders(request).await).await?;
            Ok(out::done(out, done.position, &format!("{what} is cancelled where it was not begun"))?)
        }
        Verb::List { batch, customer, machine } => list(batch, customer, machine, collector, out).await,
        Verb::Limit { machines, reason } => {
            let request = wire::LimitOrdersRequest { machines_a_day: machines, reason };
            let done = collector.call(async |console| console.limit_orders(request).await).await?;
            let words = format!("beyond {machines} machines a day a second operator has to confirm");
            Ok(out::done(out, done.position, &words)?)
        }
        Verb::Key(verb) => keys::run(verb, collector, out).await,
    }
}

async fn list(
    batch: Option<BatchId>,
    customer: Option<CustomerId>,
    machine: Option<MachineId>,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let request = wire::OrdersRequest {
        batch: batch.map(String::from).unwrap_or_default(),
        customer: customer.map(String::from).unwrap_or_default(),
        machine: machine.map(String::from).unwrap_or_default(),
        after_position: 0,
    };
    let reply = collector.call(async |console| console.list_orders(request).await).await?;
    let list: OrderList = serde_json::from_str(&reply.json)?;
    out.value(&list, || {
        out::page([
            out::section("Batches", &batches(&list.batches)),
            out::section("Orders", &orders(&list.orders)),
            out::section("At the distributor, and on the machines", &arms(&list.arms)),
        ])
    })?;
    if list.batches.is_empty() && list.orders.is_empty() && !out.is_json() {
        out::note(
            "nothing was ordered: `seatbeat orders off --machine MACHINE --dry-run` shows what would happen",
        );
    }
    Ok(())
}

fn batches(rows: &[BatchRow]) -> String {
    let columns = [
        Column("BATCH", Align::Left),
        Column("WHAT", Align::Left),
        Column("OF", Align::Left),
        Column("ASKED", Align::Left),
        Column("BY", Align::Left),
        Column("ORDERS", Align::Left),
        Column("UNTIL", Align::Left),
    ];
    let row = |row: &BatchRow| {
        let mut stand: Vec<String> =
            row.statuses.iter().map(|(status, number)| format!("{number} {status}")).collect();
        if row.held {
            stand.push("waits for a second operator".to_owned());
        }
        vec![
            row.batch.to_string(),
            row.action.clone(),
            scope(&row.scope),
            moment::shown(row.at),
            row.by.clone(),
            stand.join(", "),
            moment::shown(row.expires_at),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

/// What a batch is about, in words.
pub fn scope(scope: &Scope) -> String {
    let Scope { customer, machine, licence, product } = scope;
    let texts = [
        customer.as_ref().map(ToString::to_string),
        machine.as_ref().map(ToString::to_string),
        licence.as_ref().map(ToString::to_string),
        product.as_ref().map(ToString::to_string),
    ];
    texts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn orders(rows: &[OrderRow]) -> String {
    let columns = [
        Column("ORDER", Align::Left),
        Column("MACHINE", Align::Left),
        Column("NAME", Align::Left),
        Column("WHAT", Align::Left),
        Column("PRODUCT", Align::Left),
        Column("STATUS", Align::Left),
        Column("SINCE", Align::Left),
        Column("DETAIL", Align::Left),
    ];
    let row = |row: &OrderRow| {
        vec![
            row.order.to_string(),
            row.machine.to_string(),
            out::clean(&row.host_name),
            row.action.clone(),
            row.product.as_ref().map(ToString::to_string).unwrap_or_default(),
            row.status.clone(),
            row.since.map(moment::shown).unwrap_or_default(),
            out::clean(&row.detail),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

fn arms(rows: &[ArmRow]) -> String {
    let columns = [
        Column("SKU", Align::Left),
        Column("AT THE DISTRIBUTOR", Align::Left),
        Column("ACTIVE", Align::Right),
        Column("SWITCHED OFF", Align::Right),
        Column("IN FLIGHT", Align::Right),
    ];
    let row = |row: &ArmRow| {
        let platform = row
            .suspended_since
            .map_or_else(|| "on".to_owned(), |since| format!("suspended since {}", moment::shown(since)));
        vec![
            row.sku.to_string(),
            platform,
            row.active.to_string(),
            row.switched_off.to_string(),
            row.in_flight.to_string(),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

/// A file that holds one secret, without the line's end.
///
/// # Errors
/// When it cannot be read, or holds nothing.
pub fn secret_of(path: &PathBuf) -> anyhow::Result<zeroize::Zeroizing<String>> {
    use anyhow::Context as _;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let text = zeroize::Zeroizing::new(text);
    let secret = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!secret.is_empty(), "`{}` holds nothing", path.display());
    Ok(zeroize::Zeroizing::new(secret.to_owned()))
}
