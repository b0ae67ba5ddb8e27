//! `seatbeat operators`. Invariant: a new operator's token goes into a profile of its owner's alone, and nowhere else.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use seatbeat_ledger::operators::Role;
use seatbeat_proto::ids::{CustomerId, OperatorId};
use seatbeat_proto::wire;
use seatbeat_proto::wire::erase_request::Who;
use serde_json::json;

use crate::connect::Collector;
use crate::credentials;
use crate::out::{self, Align, Column, Out};
use crate::profile::Place;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Let another operator in; writes the profile that `seatbeat --profile FILE` uses
    Add {
        /// What the operator is called
        name: String,
        /// Where the profile is written
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        #[command(flatten)]
        grant: Grant,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// List all operators
    List,
    /// Change what an operator may, from their next request on
    Allow {
        /// Which
        operator: OperatorId,
        #[command(flatten)]
        grant: Grant,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Take out of the vault what an operator who was let go is called
    Erase {
        /// Which
        operator: OperatorId,
        /// Why
        #[arg(long)]
        reason: String,
    },
    #[command(flatten)]
    Credentials(credentials::Verb),
    /// Let an operator go
    Revoke {
        /// Which
        operator: OperatorId,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// What an operator may.
#[derive(Debug, Args)]
pub struct Grant {
    /// viewer (what runs where), billing (and money), technician (and orders, no money) or admin
    #[arg(long, default_value = "admin")]
    role: Role,
    /// Only this customer's; can be given more than once [default: everybody's]
    #[arg(long = "customer", value_name = "CUSTOMER")]
    customers: Vec<CustomerId>,
}

/// Runs the verb.
///
/// # Errors
/// When a profile is there already or cannot be written, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Add { name, to, grant, reason } => {
            let mut place = Place::take(&to)?;
            let (role, customers) = grant.texts();
            let request = wire::AddOperatorRequest { name, reason, role, customers };
            let added = collector.call(async |console| console.add_operator(request).await).await?;
            place.write(&collector.profile_of(added.token))?;
            let profile = place.publish()?;
            let value = json!({ "operator": added.operator, "profile": profile, "position": added.position });
            out.value(&value, || added.operator.clone())?;
            if !out.is_json() {
                out::note(&format!(
                    "`{}` opens the operator door: give it to nobody else",
                    profile.display()
                ));
            }
            Ok(())
        }
        Verb::List => {
            let request = wire::ListRequest { after_position: 0 };
            let list = collector.call(async |console| console.list_operators(request).await).await?;
            let value: Vec<_> = list.operators.iter().map(json_row).collect();
            out.value(&value, || table(&list.operators))?;
            Ok(())
        }
        Verb::Allow { operator, grant, reason } => {
            let (role, customers) = grant.texts();
            let words = format!("{operator} is {role} now, {}", of(&customers));
            let request =
                wire::AllowOperatorRequest { operator: operator.to_string(), role, customers, reason };
            let done = collector.call(async |console| console.allow_operator(request).await).await?;
            Ok(out::done(out, done.position, &words)?)
        }
        Verb::Credentials(verb) => credentials::run(verb, collector, out).await,
        Verb::Erase { operator, reason } => {
            let words = format!("{operator} has no name any more");
            let who = Some(Who::Operator(operator.to_string()));
            let request = wire::EraseRequest { who, reason };
            let done = collector.call(async |console| console.erase(request).await).await?;
            Ok(out::done(out, done.position, &words)?)
        }
        Verb::Revoke { operator, reason } => {
            let request = wire::RevokeOperatorRequest { operator: operator.to_string(), reason };
            let done = collector.call(async |console| console.revoke_operator(request).await).await?;
            Ok(out::done(out, done.position, &format!("{operator} is let in no more"))?)
        }
    }
}

impl Grant {
    fn texts(&self) -> (String, Vec<String>) {
        (self.role.to_string(), self.customers.iter().map(ToString::to_string).collect())
    }
}

fn of(customers: &[String]) -> String {
    if customers.is_empty() { "of all customers".to_owned() } else { format!("of {}", customers.join(", ")) }
}

fn json_row(row: &wire::OperatorRow) -> serde_json::Value {
    json!({
        "operator": row.operator,
        "name": row.name,
        "role": row.role,
        "customers": row.customers,
        "login": row.login,
        "means": row.means,
        "revoked": row.revoked,
        "you": row.you,
    })
}

fn table(rows: &[wire::OperatorRow]) -> String {
    let columns =
        ["OPERATOR", "NAME", "ROLE", "CUSTOMERS", "LOGIN", "BY", ""].map(|head| Column(head, Align::Left));
    let row = |row: &wire::OperatorRow| {
        let note = match (row.revoked, row.you) {
            (true, _) => "let go",
            (false, true) => "you",
            (false, false) => "",
        };
        vec![
            row.operator.clone(),
            out::clean(&row.name),
            row.role.clone(),
            row.customers.join(" "),
            row.login.clone(),
            row.means.join(" "),
            note.to_owned(),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}
