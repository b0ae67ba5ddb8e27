//! `seatbeat customers`. Invariant: what is printed is the collector's answer; a new customer's id alone goes to
//! stdout, so that a script can keep it.

use clap::Subcommand;
use seatbeat_collector::console::rows::{Customer, CustomerList};
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;

use crate::connect::Collector;
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
    /// List all customers
    List,
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
