//! `seatbeat mapping`: what destinations call customers and SKUs. Invariant: a file is taken whole or not at all.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use seatbeat_collector::console::mapping::MappingImported;
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::out::{self, Out};
use crate::{files, prices};

/// Bytes of a file in one message.
const PIECE_LENGTH: usize = 128 * 1024;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take the rows of a CSV file: `customer,sku` and the columns of the destination's connector
    Import {
        /// As in seatbeat.toml
        destination: String,
        /// Which file
        file: PathBuf,
        /// Change nothing, only say what is wrong
        #[arg(long)]
        dry_run: bool,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// The mapping in force, as a file that can be imported again
    Show {
        /// As in seatbeat.toml
        destination: String,
    },
    /// Rows for what is used and not mapped yet, from the subscriptions that the far side lists
    Suggest {
        /// As in seatbeat.toml
        destination: String,
    },
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be read, something is wrong with it, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Import { destination, file, dry_run, reason } => {
            let csv = std::fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
            let first = wire::MappingImport { destination, dry_run, reason, piece: Vec::new() };
            let pieces = csv
                .chunks(PIECE_LENGTH)
                .map(|piece| wire::MappingImport { piece: piece.to_vec(), ..Default::default() });
            let messages: Vec<_> = std::iter::once(first).chain(pieces).collect();
            let reply = collector
                .call(async |console| console.import_mapping(tokio_stream::iter(messages)).await)
                .await?;
            imported(&serde_json::from_str(&reply.json)?, dry_run, out)
        }
        Verb::Show { destination } => {
            let request = wire::MappingRequest { destination, after_position: 0 };
            let chunks = collector.call(async |console| console.export_mapping(request).await).await?;
            print(files::receive(collector, chunks).await?, out)
        }
        Verb::Suggest { destination } => {
            let request = wire::MappingRequest { destination: destination.clone(), after_position: 0 };
            let chunks = collector.call(async |console| console.suggest_mapping(request).await).await?;
            print(files::receive(collector, chunks).await?, out)?;
            if !out.is_json() {
                out::note(&format!(
                    "look through it, then `seatbeat mapping import {} FILE.csv`",
                    out::clean(&destination)
                ));
            }
            Ok(())
        }
    }
}

fn print(received: Vec<(String, Vec<u8>)>, out: Out) -> anyhow::Result<()> {
    let csv = received.into_iter().next().map(|(_, bytes)| bytes).unwrap_or_default();
    let csv = String::from_utf8(csv).context("the collector's answer is not text")?;
    out.value(&serde_json::json!({ "csv": csv }), || csv.trim_end().to_owned())?;
    Ok(())
}

fn imported(imported: &MappingImported, dry_run: bool, out: Out) -> anyhow::Result<()> {
    if out.is_json() {
        out.value(imported, String::new)?;
    }
    if let Some(problems) = &imported.problems {
        return Err(prices::refused(problems, "mapped").into());
    }
    if !out.is_json() {
        out::data(&out::fields(&[
            ("rows set", imported.set.to_string()),
            ("rows gone", imported.removed.to_string()),
            ("rows as before", imported.same.to_string()),
        ]))?;
        if dry_run {
            out::note("nothing was changed: this was a dry run");
        }
    }
    Ok(())
}
