//! `seatbeat operators`. Invariant: a new operator's token goes into a profile of its owner's alone, and nowhere else.

use std::path::PathBuf;

use clap::Subcommand;
use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::wire;
use serde_json::json;

use crate::connect::Collector;
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
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// List all operators
    List,
    /// Let an operator go
    Revoke {
        /// Which
        operator: OperatorId,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// Runs the verb.
///
/// # Errors
/// When a profile is there already or cannot be written, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Add { name, to, reason } => {
            let mut place = Place::take(&to)?;
            let request = wire::AddOperatorRequest { name, reason };
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
        Verb::Revoke { operator, reason } => {
            let request = wire::RevokeOperatorRequest { operator: operator.to_string(), reason };
            let done = collector.call(async |console| console.revoke_operator(request).await).await?;
            Ok(out::done(out, done.position, &format!("{operator} is let in no more"))?)
        }
    }
}

fn json_row(row: &wire::OperatorRow) -> serde_json::Value {
    json!({ "operator": row.operator, "name": row.name, "revoked": row.revoked, "you": row.you })
}

fn table(rows: &[wire::OperatorRow]) -> String {
    let columns = [Column("OPERATOR", Align::Left), Column("NAME", Align::Left), Column("", Align::Left)];
    let row = |row: &wire::OperatorRow| {
        let note = match (row.revoked, row.you) {
            (true, _) => "let go",
            (false, true) => "you",
            (false, false) => "",
        };
        vec![row.operator.clone(), out::clean(&row.name), note.to_owned()]
    };
    out::table(&columns, rows.iter().map(row).collect())
}
