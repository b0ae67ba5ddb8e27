//! `seatbeat licences`. Invariant: an activation code is seen in full only where it was asked for by name, and goes to
//! stdout alone.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use seatbeat_collector::console::licences::{
    HolderRow, HoldingRow, LicenceList, LicenceRow, LicencesImported,
};
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::{CustomerId, IdError, LicenceId, MachineId};
use seatbeat_proto::wire;
use serde_json::json;

use crate::connect::Collector;
use crate::out::{self, Align, Column, Out};
use crate::{moment, prices};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add the licences of a CSV file: `product,sku,seats`, and `code` where there are activation codes
    Import {
        /// Which file
        file: PathBuf,
        /// Change nothing, only say what is wrong
        #[arg(long)]
        dry_run: bool,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// List licences and who holds seats of them, and what customers hold and use this month
    List {
        /// Only those that a customer holds seats of
        #[arg(long)]
        customer: Option<CustomerId>,
        /// Only those billed as this SKU
        #[arg(long)]
        sku: Option<Sku>,
    },
    /// Give seats to a customer, or to one of its machines; with --from, of those that somebody else holds
    Allot {
        /// Which licence
        licence: LicenceId,
        /// Who gets them: a customer, or CUSTOMER/MACHINE
        #[arg(long, value_name = "HOLDER")]
        to: Holder,
        /// Who gives them up [default: nobody, they are free]
        #[arg(long, value_name = "HOLDER")]
        from: Option<Holder>,
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        seats: u32,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Take seats back: they are free again
    Free {
        /// Which licence
        licence: LicenceId,
        /// Who gives them up: a customer, or CUSTOMER/MACHINE
        #[arg(long, value_name = "HOLDER")]
        from: Holder,
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        seats: u32,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Take a licence out of use; nobody holds seats of it any more and its code is erased
    Withdraw {
        /// Which licence
        licence: LicenceId,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Have the distributor, or the vendor's platform, suspend a customer's SKU now: from the next day it is not counted
    Suspend(There),
    /// Have the distributor, or the vendor's platform, switch a customer's SKU on again
    Resume(There),
    /// The distributor, or the vendor's platform, has suspended a customer's SKU: from the next day it is not counted
    Suspended(Receipt),
    /// The distributor, or the vendor's platform, has a customer's SKU on again
    Resumed(Receipt),
    /// Show a licence's activation code; that you did is on record
    Reveal {
        /// Which licence
        licence: LicenceId,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// What is to be done at the distributor.
#[derive(Debug, Args)]
pub struct There {
    /// Whose
    customer: CustomerId,
    /// Which SKU
    sku: Sku,
    /// Through which destination of seatbeat.toml [default: the one of the SKU's distributor that can]
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Why
    #[arg(long)]
    reason: String,
}

impl There {
    fn request(self, suspend: bool) -> wire::SwitchSkuRequest {
        wire::SwitchSkuRequest {
            customer: self.customer.to_string(),
            sku: self.sku.to_string(),
            suspend,
            reason: self.reason,
            by_connector: true,
            destination: self.destination.unwrap_or_default(),
            ..Default::default()
        }
    }
}

/// What was done at the distributor.
#[derive(Debug, Args)]
pub struct Receipt {
    /// Whose
    customer: CustomerId,
    /// Which SKU
    sku: Sku,
    /// What the distributor answered: an id, a ticket
    #[arg(long)]
    receipt: String,
    /// When it did [default: now]
    #[arg(long, value_parser = moment::instant)]
    at: Option<jiff::Timestamp>,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// A customer, or one of its machines.
#[derive(Debug, Clone)]
pub struct Holder {
    customer: CustomerId,
    machine: Option<MachineId>,
}

impl FromStr for Holder {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (customer, machine) = match text.split_once('/') {
            Some((customer, machine)) => (customer, Some(machine.parse()?)),
            None => (text, None),
        };
        Ok(Self { customer: customer.parse()?, machine })
    }
}

impl From<Holder> for wire::LicenceHolder {
    fn from(holder: Holder) -> Self {
        Self {
            customer: holder.customer.into(),
            machine: holder.machine.map(String::from).unwrap_or_default(),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be read, something is wrong with it, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Import { file, dry_run, reason } => {
            let csv = std::fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
            let request = wire::LicenceImport { csv, dry_run, reason };
            let reply = collector.call(async |console| console.import_licences(request).await).await?;
            imported(&serde_json::from_str(&reply.json)?, dry_run, out)
        }
        Verb::List { customer, sku } => {
            let request = wire::LicenceRequest {
                customer: customer.map(String::from).unwrap_or_default(),
                sku: sku.map(String::from).unwrap_or_default(),
                after_position: 0,
            };
            let reply = collector.call(async |console| console.list_licences(request).await).await?;
            let list: LicenceList = serde_json::from_str(&reply.json)?;
            out.value(&list, || page(&list))?;
            if list.licences.is_empty() && !out.is_json() {
                out::note("no such licences: `seatbeat licences import FILE.csv` adds some");
            }
            Ok(())
        }
        Verb::Allot { licence, to, from, seats, reason } => {
            let words = format!("{} of {licence} given", out::count(seats.into(), "seat", "seats"));
            let (from, to) = (from.map(Into::into), Some(to.into()));
            let change = wire::LicenceAllotted { licence: licence.to_string(), from, to, seats };
            allot(change, reason, &words, collector, out).await
        }
        Verb::Free { licence, from, seats, reason } => {
            let words = format!("{} of {licence} free again", out::count(seats.into(), "seat", "seats"));
            let from = Some(from.into());
            let change = wire::LicenceAllotted { licence: licence.to_string(), from, to: None, seats };
            allot(change, reason, &words, collector, out).await
        }
        Verb::Withdraw { licence, reason } => {
            let request = wire::LicenceActRequest { licence: licence.to_string(), reason };
            let done = collector.call(async |console| console.withdraw_licence(request).await).await?;
            Ok(out::done(out, done.position, &format!("{licence} is out of use"))?)
        }
        Verb::Suspend(there) => switch_sku(there.request(true), collector, out).await,
        Verb::Resume(there) => switch_sku(there.request(false), collector, out).await,
        Verb::Suspended(receipt) => switch_sku(receipt.request(true), collector, out).await,
        Verb::Resumed(receipt) => switch_sku(receipt.request(false), collector, out).await,
        Verb::Reveal { licence, reason } => {
            let request = wire::LicenceActRequest { licence: licence.to_string(), reason };
            let revealed = collector.call(async |console| console.reveal_licence(request).await).await?;
            let value = json!({ "licence": licence, "code": revealed.code, "position": revealed.position });
            Ok(out.value(&value, || revealed.code.clone())?)
        }
    }
}

impl Receipt {
    fn request(self, suspend: bool) -> wire::SwitchSkuRequest {
        wire::SwitchSkuRequest {
            customer: self.customer.to_string(),
            sku: self.sku.to_string(),
            suspend,
            receipt: self.receipt,
            at_ms: self.at.map_or(0, seatbeat_proto::instant::to_ms),
            reason: self.reason,
            ..Default::default()
        }
    }
}

async fn switch_sku(
    request: wire::SwitchSkuRequest,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let standing = if request.suspend { "suspended" } else { "on again" };
    let words = format!("{} of {} is {standing}", request.sku, request.customer);
    let done = collector.call(async |console| console.switch_sku(request).await).await?;
    Ok(out::done(out, done.position, &words)?)
}

async fn allot(
    change: wire::LicenceAllotted,
    reason: String,
    words: &str,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let request = wire::AllotRequest { change: Some(change), reason };
    let done = collector.call(async |console| console.allot_licence(request).await).await?;
    Ok(out::done(out, done.position, words)?)
}

fn imported(imported: &LicencesImported, dry_run: bool, out: Out) -> anyhow::Result<()> {
    if !imported.problems.is_empty() {
        if out.is_json() {
            out::data(&out::json(imported))?;
        }
        return Err(prices::refused(&imported.problems, "added").into());
    }
    let ids = || imported.licences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    out.value(imported, ids)?;
    if !out.is_json() {
        let licences = out::count(imported.rows as u64, "licence", "licences");
        out::note(&match dry_run {
            true => format!("{licences} could be added; nothing was: this was a dry run"),
            false => format!("{licences} added"),
        });
    }
    Ok(())
}

fn page(list: &LicenceList) -> String {
    out::page([
        out::section("Licences", &licences(&list.licences)),
        out::section("Held and used", &holdings(&list.holdings)),
    ])
}

fn licences(rows: &[LicenceRow]) -> String {
    let columns = [
        Column("LICENCE", Align::Left),
        Column("PRODUCT", Align::Left),
        Column("SKU", Align::Left),
        Column("CODE", Align::Left),
        Column("SEATS", Align::Right),
        Column("ALLOTTED", Align::Right),
        Column("FREE", Align::Right),
        Column("ADDED", Align::Left),
        Column("HELD BY", Align::Left),
    ];
    let row = |row: &LicenceRow| {
        vec![
            row.licence.to_string(),
            row.product.to_string(),
            row.sku.to_string(),
            if row.code.is_empty() { "subscription".to_owned() } else { row.code.clone() },
            row.seats.to_string(),
            row.allotted.to_string(),
            row.free.to_string(),
            moment::shown(row.added_at),
            row.holders.iter().map(holder).collect::<Vec<_>>().join(", "),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

fn holder(row: &HolderRow) -> String {
    match &row.machine {
        Some(machine) => format!("{}/{machine}", row.customer),
        None => format!("{} {}", row.customer, row.seats),
    }
}

fn holdings(rows: &[HoldingRow]) -> String {
    let columns = [
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("ALLOTTED", Align::Right),
        Column("USED", Align::Right),
        Column("BEYOND", Align::Right),
    ];
    let row = |row: &HoldingRow| {
        vec![
            row.customer.to_string(),
            row.sku.to_string(),
            row.allotted.to_string(),
            row.used.to_string(),
            if row.beyond == 0 { String::new() } else { row.beyond.to_string() },
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}
