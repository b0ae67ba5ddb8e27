//! `seatbeat-verify`: checks what a reseller sent, on a machine that knows nothing of it. Invariant: data on stdout,
//! everything else on stderr; exit 0 only when the file follows from the key that was named.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use seatbeat_verify::{Args, Report, check, self_attested};

/// Check a sealed statement or a bundle, without a collector.
#[derive(Debug, Parser)]
#[command(name = "seatbeat-verify", version, max_term_width = 110)]
struct Cli {
    /// Print data as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match check(&cli.args) {
        Ok(report) => {
            if print(&report, cli.json).is_err() {
                return ExitCode::FAILURE;
            }
            if !report.self_attested {
                return ExitCode::SUCCESS;
            }
            let (message, hint) = self_attested(&cli.args.file);
            fail(&message, Some(hint))
        }
        Err(refused) => fail(&refused.to_string(), refused.hint()),
    }
}

fn print(report: &Report, is_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if is_json {
        return writeln!(out, "{:#}", report.json);
    }
    for (name, value) in &report.fields {
        writeln!(out, "{name:<12} {value}")?;
    }
    for line in report.statement.iter().flat_map(|statement| &statement.lines) {
        let cost = line.price.as_ref().map(|price| format!("  {} {}", price.cost, price.currency));
        writeln!(out, "{}  {}  {}{}", line.customer, line.sku, line.quantity, cost.unwrap_or_default())?;
    }
    out.flush()
}

fn fail(message: &str, hint: Option<&str>) -> ExitCode {
    let mut told = format!("error: {message}\n");
    if let Some(hint) = hint {
        told.push_str(&format!("hint: {hint}\n"));
    }
    // Nobody is left to hear that stderr is gone.
    let _ = io::stderr().lock().write_all(told.as_bytes());
    ExitCode::FAILURE
}
