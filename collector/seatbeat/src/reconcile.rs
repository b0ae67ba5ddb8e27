//! `seatbeat reconcile`. Invariant: what was sealed is only shown; what is said of it is taken whole or not at all, and
//! why a line differs is somebody's words.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use seatbeat_collector::console::reconcile::{
    Compared, ComparedRow, DifferenceTold, InvoiceTaken, Reconciled, Unnamed,
};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::reconciliation::Source;
use seatbeat_ledger::reconciliation::read::BYTES_MAX;
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::out::{self, Align, Column, Out};
use crate::{moment, prices};

/// Bytes of a file in one message.
const PIECE_LENGTH: usize = 128 * 1024;

/// Lines that a person is shown of one comparison; `--json` has more.
const ROWS_SHOWN: usize = 50;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Which month, as `2026-10`; it has to be sealed
    #[arg(required = true)]
    month: Option<Period>,
    /// Of this distributor only
    #[arg(long, value_name = "NAME")]
    distributor: Option<String>,
    /// Against this only: `invoice`, or a destination
    #[arg(long, conflicts_with = "invoice")]
    source: Option<Source>,
    /// Ask destinations for what is on their books first
    #[arg(long, conflicts_with = "invoice")]
    fetch: bool,
    /// Take the distributor's invoice in: CSV in UTF-8; it takes the place of the one before
    #[arg(long, value_name = "FILE", requires = "columns")]
    invoice: Option<PathBuf>,
    /// What its columns are called, as TOML: customer, sku, quantity, amount, and currency or all_in
    #[arg(long, value_name = "FILE", requires = "invoice")]
    columns: Option<PathBuf>,
    /// Show what it says, and take nothing in
    #[arg(long, requires = "invoice")]
    dry_run: bool,
    /// Its numbers have a decimal comma (`2,10`)
    #[arg(long, requires = "invoice")]
    decimal_comma: bool,
    /// Why
    #[arg(long, requires = "invoice")]
    reason: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say why a line differs: the next months can be closed then
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// Which month, as `2026-10`
    month: Period,
    /// Whose line
    #[arg(long)]
    customer: CustomerId,
    /// Of what
    #[arg(long)]
    sku: Sku,
    /// Why it differs
    #[arg(long)]
    reason: String,
    /// Of this distributor, where several say something else of it
    #[arg(long, value_name = "NAME")]
    distributor: Option<String>,
    /// Against this, likewise: `invoice`, or a destination
    #[arg(long)]
    source: Option<Source>,
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be read, something is wrong with it, or the collector refuses.
pub async fn run(args: Args, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    if let Some(Verb::Explain(explain)) = args.verb {
        return told(explain, collector, out).await;
    }
    let month = args.month.context("no month was named")?;
    match (&args.invoice, &args.columns) {
        (Some(invoice), Some(columns)) => {
            let terms = wire::InvoiceTerms {
                period: month.to_string(),
                distributor: args.distributor.unwrap_or_default(),
                file: file_name(invoice),
                columns: std::fs::read_to_string(columns)
                    .with_context(|| format!("failed to read `{}`", columns.display()))?,
                dry_run: args.dry_run,
                decimal_comma: args.decimal_comma,
                reason: args.reason.unwrap_or_default(),
            };
            take(invoice, terms, collector, out).await
        }
        _ => {
            let source = args.source.map(|source| source.to_string()).unwrap_or_default();
            let request = wire::ReconcileRequest {
                period: month.to_string(),
                distributor: args.distributor.unwrap_or_default(),
                source,
                fetch: args.fetch,
                after_position: 0,
            };
            show(request, collector, out).await
        }
    }
}

async fn show(request: wire::ReconcileRequest, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let progress = out::progress("comparing");
    let reply = collector.call(async |console| console.reconcile(request).await).await;
    progress.finish_and_clear();
    let reconciled: Reconciled = read(&reply?.json)?;
    out.value(&reconciled, || page(&reconciled))?;
    if !out.is_json() {
        tell(&reconciled);
    }
    Ok(())
}

async fn take(
    file: &Path,
    terms: wire::InvoiceTerms,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()))?;
    if bytes.len() > BYTES_MAX {
        bail!("`{}` has more than {} MiB, which is no invoice", file.display(), BYTES_MAX / 1024 / 1024);
    }
    let (dry_run, period) = (terms.dry_run, terms.period.clone());
    let first = wire::InvoiceImport { terms: Some(terms), piece: Vec::new() };
    let piece = |piece: &[u8]| wire::InvoiceImport { terms: None, piece: piece.to_vec() };
    let messages: Vec<_> = std::iter::once(first).chain(bytes.chunks(PIECE_LENGTH).map(piece)).collect();
    let progress = out::progress("invoice");
    let stream = tokio_stream::iter(messages);
    let reply = collector.call(async |console| console.import_invoice(stream).await).await;
    progress.finish_and_clear();
    let taken: InvoiceTaken = read(&reply?.json)?;
    if let Some(problems) = &taken.problems {
        if out.is_json() {
            out::data(&out::json(&taken))?;
        }
        return Err(prices::refused(problems, "taken in").into());
    }
    out.value(&taken, || out::page(taken.compared.iter().map(compared)))?;
    if !out.is_json() {
        let lines = out::count(taken.lines as u64, "line", "lines");
        match (dry_run, taken.is_new) {
            (true, _) => out::note(&format!("nothing was taken in of {lines}: this was a dry run")),
            (_, true) => out::note(&format!("{lines} of the invoice of {} are on record", taken.distributor)),
            _ => out::note("nothing to take in: it is what is on record already"),
        }
        taken.compared.iter().for_each(|one| note_open(one, &period));
    }
    Ok(())
}

async fn told(explain: Explain, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let request = wire::ExplainDifferenceRequest {
        period: explain.month.to_string(),
        distributor: explain.distributor.unwrap_or_default(),
        source: explain.source.map(|source| source.to_string()).unwrap_or_default(),
        customer: explain.customer.to_string(),
        sku: explain.sku.to_string(),
        reason: explain.reason,
    };
    let reply = collector.call(async |console| console.explain_difference(request).await).await?;
    let told: DifferenceTold = read(&reply.json)?;
    out.value(&told, || {
        out::fields(&[
            ("month", told.period.to_string()),
            ("line", format!("{} of {}", told.sku, told.customer)),
            ("against", format!("{} of {}", told.source, told.distributor)),
            ("ours", told.sides.ours.to_string()),
            ("theirs", told.sides.theirs.to_string()),
            ("still open", told.open.to_string()),
        ])
    })?;
    if !out.is_json() {
        out::note("it is explained, as long as both sides say what they say now");
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> anyhow::Result<T> {
    serde_json::from_str(json).context("the collector's answer is not valid")
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn page(reconciled: &Reconciled) -> String {
    let blocks = reconciled.compared.iter().map(compared);
    out::page(blocks.chain([out::section("Listed there, and no mapping names it", &unnamed(reconciled))]))
}

fn compared(one: &Compared) -> Option<String> {
    let currency = one.currency.as_deref().unwrap_or_default();
    let side = |seats: &dyn Display, money: Option<&dyn Display>| match money {
        Some(money) => format!("{seats} seats, {money} {currency}"),
        None => format!("{seats} seats"),
    };
    let money = match (one.cost, one.amount) {
        (Some(cost), Some(amount)) => amount.minus(cost).ok(),
        _ => None,
    };
    let fields = out::fields(&[
        ("distributor", one.distributor.clone()),
        ("revision", one.revision.to_string()),
        ("against", one.source.to_string()),
        ("known since", moment::shown(one.at)),
        ("ours", side(&one.ours, one.cost.as_ref().map(|cost| cost as &dyn Display))),
        ("theirs", side(&one.theirs, one.amount.as_ref().map(|amount| amount as &dyn Display))),
        ("difference", side(&one.difference, money.as_ref().map(|money| money as &dyn Display))),
        ("not mapped there", unmapped(one)),
        ("listed without a number", if one.untold > 0 { one.untold.to_string() } else { String::new() }),
    ]);
    let mut table = rows(&one.rows[..one.rows.len().min(ROWS_SHOWN)], currency);
    let more = one.total.saturating_sub(ROWS_SHOWN as u64);
    if more > 0 {
        table = format!("{table}\nand {more} more: --json shows them");
    }
    Some(out::page([Some(fields), Some(table)]))
}

fn unmapped(one: &Compared) -> String {
    if one.unmapped.subscriptions == 0 {
        return String::new();
    }
    let subscriptions = out::count(one.unmapped.subscriptions, "subscription", "subscriptions");
    format!("{subscriptions} of {} seats", one.unmapped.seats)
}

fn rows(rows: &[ComparedRow], currency: &str) -> String {
    let columns = [
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("OURS", Align::Right),
        Column("THEIRS", Align::Right),
        Column("DIFFERENCE", Align::Right),
        Column("MONEY", Align::Right),
        Column("PROBABLY", Align::Left),
        Column("EXPLAINED", Align::Left),
    ];
    let row = |row: &ComparedRow| {
        let one = &row.difference;
        vec![
            one.customer.to_string(),
            one.sku.to_string(),
            one.sides.ours.to_string(),
            one.sides.theirs.to_string(),
            one.difference.to_string(),
            one.money.map(|money| format!("{money} {currency}")).unwrap_or_default(),
            row.why_words.clone(),
            match (&row.explained, row.is_open) {
                (Some(explained), _) => explained.reason.clone(),
                (None, true) => "no: needs a reason".to_owned(),
                (None, false) => "needs none".to_owned(),
            },
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

fn unnamed(reconciled: &Reconciled) -> String {
    let columns = [
        Column("DESTINATION", Align::Left),
        Column("CALLED", Align::Left),
        Column("PROVISIONED", Align::Right),
        Column("USED", Align::Right),
    ];
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let row = |one: &Unnamed| {
        vec![one.destination.clone(), one.called.clone(), number(one.provisioned), number(one.used)]
    };
    out::table(&columns, reconciled.unnamed.iter().map(row).collect())
}

fn tell(reconciled: &Reconciled) {
    let period = reconciled.period.to_string();
    for distributor in &reconciled.distributors {
        if !reconciled.compared.iter().any(|one| one.distributor == *distributor) {
            out::note(&format!(
                "nothing is known of what {distributor} says of {period}: \
                 `seatbeat reconcile {period} --invoice FILE --columns FILE` takes its invoice in"
            ));
        }
    }
    reconciled.compared.iter().for_each(|one| note_open(one, &period));
}

fn note_open(one: &Compared, period: &str) {
    if one.open > 0 {
        let lines = out::count(one.open, "line needs", "lines need");
        out::note(&format!(
            "{lines} a reason before the next month is closed: `seatbeat reconcile explain {period} --customer C \
             --sku S --reason WHY`"
        ));
    } else if one.total == 0 {
        out::note(&format!("{} of {} says the same", one.source, one.distributor));
    }
}
