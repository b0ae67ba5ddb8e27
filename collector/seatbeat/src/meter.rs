//! `seatbeat meter`: a statement from files, without a collector. Invariant: the JSON on stdout is the ledger's output
//! and nothing else; a refused input leaves stdout empty.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::meter::{MeterError, MeterInput, meter};

use crate::cli::Context;
use crate::{moment, out, shown};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Records, one JSON object a line
    #[arg(long, value_name = "FILE")]
    records: PathBuf,
    /// The reseller's policy (TOML)
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Which month, as `2026-10`
    #[arg(long)]
    period: Period,
    /// Leave out what was known later (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment::instant)]
    as_of: Option<Timestamp>,
    /// Bodies of statements sealed before, as a JSON array
    #[arg(long, value_name = "FILE")]
    sealed: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// When a file cannot be read or is refused; the error names it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let records = read(&args.records)?;
    let policy = read(&args.policy)?;
    let sealed = args.sealed.as_deref().map(read).transpose()?;
    let progress = out::progress("metering");
    let input = MeterInput {
        records: &records,
        policy: &policy,
        period: args.period,
        as_of: args.as_of,
        sealed: sealed.as_deref(),
    };
    let output = meter(input);
    progress.finish_and_clear();
    let output = output.map_err(|error| named(error, args))?;
    if context.out.is_json() {
        out::data(&output.to_json())?;
    } else {
        let blocks = [shown::statement(&output.statement), shown::earnings(&output.earnings)];
        out::data(&out::page(blocks.map(Some)))?;
    }
    Ok(())
}

/// The error with the file it is about.
fn named(error: MeterError, args: &Args) -> anyhow::Error {
    let file = match &error {
        MeterError::Record(_) => Some(args.records.as_path()),
        MeterError::Policy(_) => Some(args.policy.as_path()),
        MeterError::Sealed(_) => args.sealed.as_deref(),
        MeterError::Close(_) => None,
    };
    let error = anyhow::Error::new(error);
    match file {
        Some(file) => error.context(format!("`{}` is refused", file.display())),
        None => error,
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}
