//! `seatbeat customers`. Invariant: what is printed is the collector's answer; a new customer's id alone goes to
//! stdout, so that a script can keep it.

use clap::Subcommand;
use jiff::Timestamp;
use seatbeat_collector::console::orders::Wish;
use seatbeat_collector::console::rows::{Customer, CustomerList};
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::{CustomerId, ProductId};
use seatbeat_proto::wire;
use seatbeat_proto::wire::amend_request::Change;
use seatbeat_proto::wire::erase_request::Who;

use crate::amend::{How, amend};
use crate::connect::Collector;
use crate::moment::Moment;
use crate::orders::send::{self, SendArgs};
use crate::out::{self, Align, Column, Out};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a customer; prints its id
    Add {
        /// What the customer is called
        name: String,
        /// Its id (`cus_…`) [default: a new one is made]
        #[arg(long, value_name = "CUSTOMER")]
        id: Option<CustomerId>,
    },
    /// Say what a customer is called, and what your own books say of it; without anything to say, show it
    Set {
        /// Which
        customer: CustomerId,
        /// What it is called
        #[arg(long)]
        name: Option<String>,
        /// What your books call it: goes on invoice lines
        #[arg(long = "ref", value_name = "REF")]
        customer_ref: Option<String>,
        /// How it is taxed, as your books say it
        #[arg(long)]
        tax_code: Option<String>,
    },
    /// List all customers
    List,
    /// Say as what a customer's product or suite is billed
    Map {
        /// Whose product
        customer: CustomerId,
        /// Which product or suite
        product: ProductId,
        /// As this SKU
        #[arg(long, required_unless_present = "unbilled", conflicts_with = "unbilled")]
        sku: Option<Sku>,
        /// Deliberately not
        #[arg(long)]
        unbilled: bool,
        #[command(flatten)]
        how: How,
    },
    /// Take out of the vault what a customer who left for good, and its machines, are called
    Erase {
        /// Which
        customer: CustomerId,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// A customer leaves for good: all is switched off, its tokens are revoked, its agents are let go
    Offboard {
        /// Which
        customer: CustomerId,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        how: send::How,
    },
    /// A customer does not pay: all is switched off until it is resumed
    Suspend {
        /// Which
        customer: CustomerId,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        how: send::How,
    },
    /// A suspended customer pays again: what was switched off is switched on
    Resume {
        /// Which
        customer: CustomerId,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        how: send::How,
    },
    /// The one line that a deployment tool runs on each machine of a customer, with a new token
    InstallCommand {
        /// For whom
        customer: CustomerId,
        /// The machines' system; `linux` is one with Debian's packages
        #[arg(long, value_name = "SYSTEM", value_parser = ["windows", "linux", "linux-rpm", "macos"])]
        os: String,
        /// How many machines the token lets in
        #[arg(long, value_name = "MACHINES", value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// Until when
        #[arg(long, default_value = "30d", value_name = "WHEN")]
        expires: Moment,
    },
    /// All that a technician needs to roll a customer out, with a new token: as a page, or with --json as data
    Kit {
        /// For whom
        customer: CustomerId,
        /// How many machines the token lets in
        #[arg(long, value_name = "MACHINES")]
        uses: u32,
        /// Until when
        #[arg(long, default_value = "30d", value_name = "WHEN")]
        expires: Moment,
        /// With the activation codes of the licences that it holds; that you see them is on record
        #[arg(long)]
        codes: bool,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Add { name, id } => {
            let request =
                wire::AddCustomerRequest { customer: id.map(String::from).unwrap_or_default(), name };
            let added: Customer = collector.ask(async |console| console.add_customer(request).await).await?;
            out.value(&added, || added.customer.to_string())?;
        }
        Verb::Erase { customer, reason } => {
            let words = format!("{customer} and its machines have no names any more");
            let who = Some(Who::Customer(customer.to_string()));
            let request = wire::EraseRequest { who, reason };
            let done = collector.call(async |console| console.erase(request).await).await?;
            out::done(out, done.position, &words)?;
        }
        Verb::Offboard { customer, reason, how } => {
            depart(customer, wire::Departure::Offboarded, reason, how, collector, out).await?;
        }
        Verb::Suspend { customer, reason, how } => {
            depart(customer, wire::Departure::Suspended, reason, how, collector, out).await?;
        }
        Verb::Resume { customer, reason, how } => {
            depart(customer, wire::Departure::Returned, reason, how, collector, out).await?;
        }
        Verb::Kit { customer, uses, expires, codes, reason } => {
            let now = now(collector).await?;
            let request = wire::InstallKitRequest {
                customer: customer.to_string(),
                codes,
                format: if out.is_json() { "json" } else { "html" }.to_owned(),
                reason,
                uses_max: uses,
                expires_at_ms: seatbeat_proto::instant::to_ms(expires.from(now)),
            };
            let kit = collector.call(async |console| console.install_kit(request).await).await?;
            out::data(&kit.text)?;
        }
        Verb::InstallCommand { customer, os, uses, expires } => {
            let now = now(collector).await?;
            let until = expires.from(now);
            let request = wire::InstallKitRequest {
                customer: customer.to_string(),
                format: "json".to_owned(),
                uses_max: uses,
                expires_at_ms: seatbeat_proto::instant::to_ms(until),
                ..wire::InstallKitRequest::default()
            };
            let kit = collector.call(async |console| console.install_kit(request).await).await?;
            let kit: serde_json::Value = serde_json::from_str(&kit.text)?;
            let rows = kit["install"].as_array().map_or(&[][..], Vec::as_slice);
            let line = rows.iter().find(|row| row["os"] == os.as_str()).and_then(|row| row["line"].as_str());
            let line = line.ok_or_else(|| anyhow::anyhow!("the collector knows no line for {os}"))?;
            out.value(&serde_json::json!({ "os": os, "line": line, "token": kit["token"] }), || {
                line.to_owned()
            })?;
            if !out.is_json() {
                let machines = out::count(u64::from(uses), "machine", "machines");
                out::note(&format!(
                    "it lets in {machines} of {customer} until {}",
                    crate::moment::shown(until)
                ));
            }
        }
        Verb::Map { customer, product, sku, how, .. } => {
            let done = match &sku {
                Some(sku) => format!("{product} of {customer} is billed as {sku}"),
                None => format!("{product} of {customer} is not billed"),
            };
            let change = wire::SkuAssigned {
                customer: customer.to_string(),
                product: product.to_string(),
                sku: sku.map(String::from),
                at_ms: how.at_ms(),
            };
            amend(Change::SkuAssigned(change), how, &done, collector, out).await?;
        }
        Verb::Set { customer, name, customer_ref, tax_code } => {
            let request =
                wire::SetCustomerRequest { customer: customer.to_string(), name, customer_ref, tax_code };
            let set = collector.call(async |console| console.set_customer(request).await).await?;
            let row = serde_json::json!({
                "customer": set.customer, "name": set.name, "customer_ref": set.customer_ref,
                "tax_code": set.tax_code,
            });
            out.value(&row, || {
                out::fields(&[
                    ("customer", set.customer.clone()),
                    ("name", set.name.clone()),
                    ("ref", set.customer_ref.clone()),
                    ("tax code", set.tax_code.clone()),
                ])
            })?;
        }
        Verb::List => {
            let request = wire::ListRequest::default();
            let list: CustomerList =
                collector.ask(async |console| console.list_customers(request).await).await?;
            out.value(&list, || table(&list.customers))?;
            if list.customers.is_empty() && !out.is_json() {
                out::note("no customers yet: `seatbeat customers add NAME`");
            }
        }
    }
    Ok(())
}

fn table(customers: &[Customer]) -> String {
    let columns =
        [Column("CUSTOMER", Align::Left), Column("NAME", Align::Left), Column("MACHINES", Align::Right)];
    let row = |row: &Customer| vec![row.customer.to_string(), row.name.clone(), row.machines.to_string()];
    out::table(&columns, customers.iter().map(row).collect())
}

/// By the collector's clock: it is the one that looks when a token is over.
async fn now(collector: &mut Collector) -> anyhow::Result<Timestamp> {
    let status = collector.call(async |console| console.status(wire::StatusRequest::default()).await).await?;
    Ok(seatbeat_proto::instant::from_ms(status.now_ms)?)
}

/// Puts on record that a customer leaves or returns, and orders what goes with it.
async fn depart(
    customer: CustomerId,
    departure: wire::Departure,
    reason: String,
    how: send::How,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let (wish, words) = match departure {
        wire::Departure::Offboarded => (Wish::Unenrol, "left"),
        wire::Departure::Suspended => (Wish::SwitchOff, "is suspended"),
        _ => (Wish::SwitchOn, "is back"),
    };
    let id = customer.to_string();
    let args = SendArgs::of_customer(customer, reason.clone(), how);
    let Some(ready) = send::prepare(wish, args, collector, out).await? else { return Ok(()) };
    let request = wire::DepartCustomerRequest { customer: id.clone(), departure: departure.into(), reason };
    let departed = collector.call(async |console| console.depart_customer(request).await).await?;
    if !out.is_json() {
        let revoked = out::count(departed.tokens_revoked.len() as u64, "token", "tokens");
        out::note(&format!("{id} {words}; {revoked} revoked"));
        out::note(&format!(
            "at the distributor nothing has changed yet: `seatbeat orders list --customer {id}` shows both arms"
        ));
    }
    ready.go(collector, out).await
}
