//! Benches that print ratios: ours beside others, measured in one run on one machine. Invariant: memory and CPU are
//! those of whole processes, by the kernel's own accounting; what is missing for a comparison is said, not made up.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

mod desk;
mod gate;
mod idle;
mod measure;
mod results;
mod scan;
mod stopwatch;
mod table;

/// What Seatbeat costs.
#[derive(Debug, Parser)]
#[command(name = "seatbeat-benches", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Every bench with its usual sizes, one after the other
    All,
    /// CPU time and memory of looking for products, beside Debian's inventory agents
    Scan {
        /// Times each scan is measured; the middle one is shown
        #[arg(long, default_value_t = 5)]
        times: usize,
    },
    /// CPU time and wake-ups of an agent that has nothing to do
    Idle {
        /// How long to watch
        #[arg(long, default_value_t = 180)]
        seconds: u64,
    },
    /// Beats and reports: the collector beside the same stream without a journal and beside a bare echo
    Messages,
    /// Memory of idle connections
    Connections,
    /// Full handshakes and enrolments
    Handshakes,
    /// Ten thousand machines that lost their connection come back at once
    Storm,
    /// Simulated machines that do what they are asked on stdin
    #[command(name = "__load", hide = true)]
    Load {
        #[arg(long)]
        token: String,
        #[arg(long)]
        address: String,
    },
    /// A server that a collector is compared with
    #[command(name = "__door", hide = true)]
    Door {
        #[arg(long, value_enum)]
        kind: gate::bare::Kind,
        #[arg(long)]
        store: PathBuf,
    },
    /// Runs a command and prints what it and its children used
    #[command(name = "__measure", hide = true)]
    Measure {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// What `all` runs, each in a process of its own.
const ALL: &[&str] = &["idle", "scan", "messages", "connections", "handshakes", "storm"];

fn main() -> ExitCode {
    let done = match Cli::parse().bench {
        Bench::All => all(),
        Bench::Scan { times } => scan::bench(times.max(1)),
        Bench::Idle { seconds } => idle::bench(seconds.max(1)),
        Bench::Messages => gate::messages(),
        Bench::Connections => gate::connections(),
        Bench::Handshakes => gate::handshakes(),
        Bench::Storm => gate::storm(),
        Bench::Load { token, address } => gate::load::run(&token, &address),
        Bench::Door { kind, store } => gate::bare::run(kind, &store),
        Bench::Measure { command } => measure::child(&command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            table::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs every bench; one that fails does not keep the others from running.
fn all() -> anyhow::Result<ExitCode> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let mut failed = false;
    for name in ALL {
        table::say(&format!("\n{name}"));
        let (status, took) = stopwatch::timed(|| Command::new(&own).arg(name).status());
        let status = status.context("failed to start a bench")?;
        table::progress(&format!("{name} took {} s", took.as_secs()));
        failed |= !status.success();
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
