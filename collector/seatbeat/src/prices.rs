//! `seatbeat prices`. Invariant: a list is in force whole or not at all; what is wrong with it is told row by row.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use seatbeat_collector::console::prices::PriceImported;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::prices::changes::{ChangedPrice, Changes};
use seatbeat_ledger::prices::read::{BYTES_MAX, Problem, Problems};
use seatbeat_proto::wire;
use serde_json::json;

use crate::connect::Collector;
use crate::out::{self, Align, Column, Out};
use crate::{files, hints::Hinted, whatif};

/// Bytes of a file in one message.
const PIECE_LENGTH: usize = 128 * 1024;

/// Rows of each kind that a person is shown; `--json` has more.
const SHOWN_MAX: usize = 20;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Put price lists in force from a month on: SKUs, tiers and sell prices from CSV, all or nothing
    Import(Import),
    /// Write what price lists say of a month, as files that can be imported again
    Export {
        /// Which month, as `2026-10`
        #[arg(long)]
        period: Period,
        /// The folder that the files go to
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// What would it cost and earn with other seats, another price, other tiers
    Whatif(whatif::Args),
}

#[derive(Debug, clap::Args)]
pub struct Import {
    /// CSV in UTF-8: SKUs (sku, distributor, currency, price_group or cost, …), tiers (price_group, from, cost) or
    /// sell prices (sku, customer, price); which, is told by the columns
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The first month it holds in, as `2026-10`; sealed months stay as they are
    #[arg(long, value_name = "MONTH")]
    from: Period,
    /// Show what changes, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Prices have a decimal comma (`2,10`)
    #[arg(long)]
    decimal_comma: bool,
    /// Pass over columns that mean nothing here
    #[arg(long)]
    ignore_columns: bool,
    /// What becomes of a distributor's SKUs that its list does not name any more
    #[arg(long, value_enum)]
    gone: Option<Gone>,
    /// A distributor that nothing was bought from before
    #[arg(long, value_name = "NAME")]
    new_distributor: Vec<String>,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Gone {
    /// They stay as they are
    Keep,
    /// They are taken out
    Drop,
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be read or written, something is wrong with it, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Import(import) => {
            let dry_run = import.dry_run;
            let imported = send(import, collector).await?;
            if let Some(problems) = &imported.problems {
                if out.is_json() {
                    out::data(&out::json(&imported))?;
                }
                return Err(refused(problems, "put in force").into());
            }
            out.value(&imported, || imported.changes.as_ref().map(page).unwrap_or_default())?;
            if !out.is_json() {
                tell(&imported, dry_run);
            }
        }
        Verb::Whatif(args) => whatif::run(args, collector, out).await?,
        Verb::Export { period, to } => {
            let request = wire::PeriodRequest { period: period.to_string(), after_position: 0 };
            let chunks = collector.call(async |console| console.export_prices(request).await).await?;
            let written = files::save(collector, chunks, &to).await?;
            out.value(&json!({ "period": period, "files": written }), || files::listed(&written))?;
        }
    }
    Ok(())
}

async fn send(import: Import, collector: &mut Collector) -> anyhow::Result<PriceImported> {
    let mut messages = vec![wire::PriceImport {
        terms: Some(wire::PriceImportTerms {
            valid_from: import.from.to_string(),
            dry_run: import.dry_run,
            decimal_comma: import.decimal_comma,
            ignore_columns: import.ignore_columns,
            gone: import
                .gone
                .map(|gone| if matches!(gone, Gone::Keep) { "keep" } else { "drop" })
                .unwrap_or_default()
                .to_owned(),
            new_distributors: import.new_distributor,
            reason: import.reason,
        }),
        ..Default::default()
    }];
    let mut length = 0;
    for file in &import.files {
        let bytes = std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()))?;
        length += bytes.len();
        if length > BYTES_MAX {
            bail!("the files have more than {} MiB, which is no price list", BYTES_MAX / 1024 / 1024);
        }
        messages.extend(pieces(file, &bytes));
    }
    let progress = out::progress("price lists");
    let sent = progress.clone();
    let stream =
        tokio_stream::iter(messages.into_iter().inspect(move |message| sent.inc(message.piece.len() as u64)));
    let reply = collector.call(async |console| console.import_prices(stream).await).await;
    progress.finish_and_clear();
    serde_json::from_str(&reply?.json).context("the collector's answer is not valid")
}

fn pieces(file: &Path, bytes: &[u8]) -> Vec<wire::PriceImport> {
    let name = file
        .file_name()
        .map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned());
    let begun = wire::PriceImport { file: name, ..Default::default() };
    let piece = |piece: &[u8]| wire::PriceImport { piece: piece.to_vec(), ..Default::default() };
    std::iter::once(begun).chain(bytes.chunks(PIECE_LENGTH).map(piece)).collect()
}

/// What is wrong with files, so that nothing of them was `done`.
pub fn refused(problems: &Problems, done: &str) -> Hinted {
    let told = |problem: &Problem| match (problem.file.as_str(), problem.line) {
        ("", _) => format!("- {}", out::clean(&problem.what)),
        (file, 0) => format!("- {}: {}", out::clean(file), out::clean(&problem.what)),
        (file, line) => format!("- {}, line {line}: {}", out::clean(file), out::clean(&problem.what)),
    };
    let mut lines: Vec<String> = problems.first.iter().map(told).collect();
    let more = problems.count.saturating_sub(problems.first.len() as u64);
    if more > 0 {
        lines.push(format!("- and {more} more"));
    }
    let mut hints: Vec<&str> = problems.first.iter().filter_map(|problem| problem.hint.as_deref()).collect();
    hints.sort_unstable();
    hints.dedup();
    let hint = if hints.is_empty() {
        "mend the rows and import it again".to_owned()
    } else {
        hints.join("\nhint: ")
    };
    let things = out::count(problems.count, "thing is", "things are");
    Hinted { message: format!("nothing was {done}: {things} wrong\n{}", lines.join("\n")), hint }
}

fn page(changes: &Changes) -> String {
    let counts = &changes.counts;
    let number = |count: u64| if count == 0 { String::new() } else { count.to_string() };
    let fields = out::fields(&[
        ("from", changes.valid_from.to_string()),
        ("SKUs new", number(counts.new)),
        ("SKUs changed", number(counts.changed)),
        ("SKUs taken out", number(counts.dropped)),
        ("SKUs kept", number(changes.kept.len() as u64)),
        ("SKUs as before", number(counts.same)),
        ("costs up", number(counts.costs_up)),
        ("costs down", number(counts.costs_down)),
        ("costs new or gone", number(counts.costs_other)),
        ("prices up", number(counts.prices_up)),
        ("prices down", number(counts.prices_down)),
        ("prices new or gone", number(counts.prices_other)),
    ]);
    let named = |skus: &[seatbeat_ledger::record::Sku]| {
        let mut names: Vec<&str> =
            skus.iter().take(SHOWN_MAX).map(seatbeat_ledger::record::Sku::as_str).collect();
        if skus.len() > SHOWN_MAX {
            names.push("…");
        }
        out::clean(&names.join(", "))
    };
    out::page([
        Some(fields),
        out::section("New", &named(&changes.new)),
        out::section("Changed", &changed(changes)),
        out::section("Taken out", &named(&changes.dropped)),
        out::section("Costs", &prices(&changes.costs)),
        out::section("Sell prices", &prices(&changes.prices)),
    ])
}

fn changed(changes: &Changes) -> String {
    let rows = changes.changed.iter().take(SHOWN_MAX).flat_map(|change| {
        change
            .terms
            .iter()
            .map(|(term, [was, now])| vec![change.sku.to_string(), term.clone(), was.clone(), now.clone()])
    });
    let columns = ["SKU", "TERM", "WAS", "NOW"].map(|head| Column(head, Align::Left));
    out::table(&columns, rows.collect())
}

fn prices(changes: &[ChangedPrice]) -> String {
    let columns = [Column("OF", Align::Left), Column("WAS", Align::Right), Column("NOW", Align::Right)];
    let shown = |price: &Option<seatbeat_ledger::money::UnitPrice>| {
        price.as_ref().map_or("-".to_owned(), ToString::to_string)
    };
    let mut rows: Vec<Vec<String>> = changes
        .iter()
        .take(SHOWN_MAX)
        .map(|change| vec![change.of.clone(), shown(&change.was), shown(&change.now)])
        .collect();
    if changes.len() > SHOWN_MAX {
        rows.push(vec!["…".to_owned(), String::new(), String::new()]);
    }
    out::table(&columns, rows)
}

fn tell(imported: &PriceImported, dry_run: bool) {
    if !imported.sealed.is_empty() {
        let months: Vec<String> = imported.sealed.iter().map(ToString::to_string).collect();
        out::note(&format!("sealed already, and staying as they are: {}", months.join(", ")));
    }
    match &imported.list {
        Some(list) => out::note(&format!("in force from {} on, as {list}", imported.valid_from)),
        None if dry_run => out::note("nothing was changed: this was a dry run"),
        None => out::note("nothing to change: all of it holds already"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_by_file_and_line_with_each_hint_once() {
        let mut problems = Problems::default();
        problems.note_with("a.csv", 3, "cost `1,5` has a comma", Some("say --decimal-comma"));
        problems.note_with("a.csv", 4, "cost `2,5` has a comma", Some("say --decimal-comma"));
        problems.note("b.csv", 0, "it is empty");
        problems.count += 7;
        let told = refused(&problems, "put in force");
        assert_eq!(
            told.message,
            "nothing was put in force: 10 things are wrong\n- a.csv, line 3: cost `1,5` has a comma\n\
             - a.csv, line 4: cost `2,5` has a comma\n- b.csv: it is empty\n- and 7 more"
        );
        assert_eq!(told.hint, "say --decimal-comma");
    }

    #[test]
    fn a_file_goes_in_pieces_behind_its_name() {
        let sent = pieces(Path::new("/lists/skus.csv"), &vec![b'x'; PIECE_LENGTH + 1]);
        let told: Vec<(&str, usize)> = sent.iter().map(|one| (one.file.as_str(), one.piece.len())).collect();
        assert_eq!(told, [("skus.csv", 0), ("", PIECE_LENGTH), ("", 1)]);
    }
}
