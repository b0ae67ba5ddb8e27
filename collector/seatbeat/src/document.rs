//! Statement, earnings, usage, invoices and forecast, shown or written in a format. Invariant: what is written is the
//! collector's file byte for byte; a workbook never goes to a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use seatbeat_collector::outputs::document::{Cell, Document, Table};
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::out::{self, Align, Column, Out};

/// In which form something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Data
    Json,
    /// The main table, for other programs
    Csv,
    /// A workbook
    Xlsx,
    /// A page to print
    Html,
}

impl Format {
    /// Its name, and the ending of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Html => "html",
        }
    }
}

/// Where it goes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Target {
    /// Write it in this format
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The file that it goes to [default: stdout]
    #[arg(long, value_name = "FILE", requires = "format")]
    pub to: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct EarningsArgs {
    /// Which month, as `2026-10` [default: the running one]
    period: Option<Period>,
    /// Of this customer only
    #[arg(long)]
    customer: Option<CustomerId>,
    /// Margin of the yearly licences that it is compared with [default: as configured, 0.20]
    #[arg(long, value_name = "PART")]
    licence_margin: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub struct InvoicesArgs {
    /// Which month, as `2026-10`
    period: Period,
    /// Of this customer only
    #[arg(long)]
    customer: Option<CustomerId>,
    /// The columns: plain, connectwise, autotask, xero, or a file of your own (TOML)
    #[arg(long, value_name = "NAME|FILE", default_value = "plain")]
    mapping: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub struct ForecastArgs {
    /// Which month, as `2026-10` [default: the running one]
    #[arg(long)]
    period: Option<Period>,
    /// Of this customer only
    #[arg(long)]
    customer: Option<CustomerId>,
    #[command(flatten)]
    target: Target,
}

/// `seatbeat earnings`.
///
/// # Errors
/// When the collector refuses or the file cannot be written.
pub async fn earnings(args: EarningsArgs, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let request = wire::DocumentRequest {
        kind: "earnings".to_owned(),
        period: args.period.map(String::from).unwrap_or_default(),
        customer: args.customer.map(String::from).unwrap_or_default(),
        licence_margin: args.licence_margin.unwrap_or_default(),
        ..Default::default()
    };
    show(request, &args.target, collector, out).await
}

/// `seatbeat invoices`.
///
/// # Errors
/// As [`earnings`], and when the mapping cannot be read.
pub async fn invoices(args: InvoicesArgs, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let request = wire::DocumentRequest {
        kind: "invoices".to_owned(),
        period: args.period.to_string(),
        customer: args.customer.map(String::from).unwrap_or_default(),
        mapping: mapping(&args.mapping)?,
        ..Default::default()
    };
    show(request, &args.target, collector, out).await
}

/// `seatbeat forecast`.
///
/// # Errors
/// As [`earnings`].
pub async fn forecast(args: ForecastArgs, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let request = wire::DocumentRequest {
        kind: "forecast".to_owned(),
        period: args.period.map(String::from).unwrap_or_default(),
        customer: args.customer.map(String::from).unwrap_or_default(),
        ..Default::default()
    };
    show(request, &args.target, collector, out).await
}

/// The name of a mapping that comes along, or the text of a file.
fn mapping(name: &str) -> anyhow::Result<String> {
    let shipped = seatbeat_collector::outputs::mapping::SHIPPED.iter().any(|(known, _)| *known == name);
    if shipped {
        return Ok(name.to_owned());
    }
    std::fs::read_to_string(name).with_context(|| {
        format!("`{name}` is no mapping that comes along (plain, connectwise, autotask, xero), nor a file")
    })
}

/// Shows a document, or writes it in a format.
///
/// # Errors
/// When the collector refuses or the file cannot be written.
pub async fn show(
    mut request: wire::DocumentRequest,
    target: &Target,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let format = target.format.map(Format::name).or(out.is_json().then_some("json"));
    if format == Some("xlsx") && target.to.is_none() && io::stdout().is_terminal() {
        bail!("a workbook cannot be shown here: name a file with --to FILE");
    }
    request.format = format.unwrap_or("document").to_owned();
    let bytes = fetch(request, collector).await?;
    match (format, &target.to) {
        (None, _) => {
            out::data(&text(&serde_json::from_slice(&bytes).context("the collector's answer is not valid")?))?
        }
        (Some(_), Some(path)) => {
            write(path, &bytes)?;
            out::note(&format!("written to `{}`", path.display()));
        }
        (Some(_), None) => raw(&bytes)?,
    }
    Ok(())
}

/// The file of a request.
///
/// # Errors
/// When the collector refuses, or the file does not arrive whole.
pub async fn fetch(request: wire::DocumentRequest, collector: &mut Collector) -> anyhow::Result<Vec<u8>> {
    let progress = out::progress("computing");
    let chunks = collector.call(async |console| console.document(request).await).await;
    let mut bytes = Vec::new();
    let fetched = match chunks {
        Ok(mut chunks) => loop {
            match chunks.message().await {
                Ok(Some(chunk)) => {
                    progress.inc(chunk.piece.len() as u64);
                    bytes.extend(chunk.piece);
                }
                Ok(None) => break Ok(bytes),
                Err(status) => break Err(collector.failed(&status)),
            }
        },
        Err(error) => Err(error),
    };
    progress.finish_and_clear();
    Ok(fetched?)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    crate::files::write(path.to_owned(), bytes).map(drop)
}

/// Bytes on stdout as they are. A reader that has seen enough is no error.
fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A document for a person: facts, then the tables that have rows.
fn text(document: &Document) -> String {
    let facts: Vec<(&str, String)> =
        document.facts.iter().map(|(name, fact)| (name.as_str(), fact.clone())).collect();
    let head = format!("{}\n{}", out::clean(&document.title), out::fields(&facts));
    let tables =
        document.tables.iter().map(|table| out::section(&out::clean(&table.name), &table_text(table)));
    out::page(std::iter::once(Some(head)).chain(tables))
}

fn table_text(table: &Table) -> String {
    // Columns without a value say nothing on a terminal, and cost the width that others need.
    let is_used =
        |index: &usize| table.rows.iter().any(|row| !matches!(row.get(*index), None | Some(Cell::Empty)));
    let used: Vec<usize> = (0..table.columns.len()).filter(is_used).collect();
    let is_number =
        |index: usize| table.rows.iter().any(|row| matches!(row.get(index), Some(Cell::Number(_))));
    let heads: Vec<String> =
        used.iter().map(|index| table.columns[*index].to_uppercase().replace('_', " ")).collect();
    let columns: Vec<Column<'_>> = used
        .iter()
        .zip(&heads)
        .map(|(index, head)| Column(head, if is_number(*index) { Align::Right } else { Align::Left }))
        .collect();
    let row = |row: &Vec<Cell>| {
        used.iter().map(|index| row.get(*index).map_or("", Cell::shown).to_owned()).collect::<Vec<_>>()
    };
    out::table(&columns, table.rows.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_shown_without_the_columns_that_nobody_filled() {
        let mut table = Table::new("Lines", &["customer", "customer_name", "unit_price"]);
        table.rows = vec![vec![Cell::text("cus_a"), Cell::text(""), Cell::number("3.75")]];
        let document = Document::new(
            "Earnings 2026-10".to_owned(),
            [("state", "sealed".to_owned())],
            vec![table, Table::new("None", &["x"])],
        );
        assert_eq!(
            text(&document),
            "Earnings 2026-10\nstate  sealed\n\nLines\nCUSTOMER  UNIT PRICE\ncus_a           3.75"
        );
    }

    #[test]
    fn a_mapping_is_one_that_comes_along_or_a_file() {
        assert_eq!(mapping("xero").unwrap(), "xero");
        assert!(mapping("/nowhere/m.toml").unwrap_err().to_string().contains("no mapping that comes along"));
    }
}
