//! Benches that print ratios: ours beside others, measured in one run on one machine. Invariant: nothing is measured
//! but processes, by the kernel's own accounting; what another program is missing for is said, and not made up.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod desk;
mod idle;
mod measure;
mod scan;
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
    /// Runs a command and prints what it and its children used
    #[command(name = "__measure", hide = true)]
    Measure {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().bench {
        Bench::Scan { times } => scan::bench(times.max(1)),
        Bench::Idle { seconds } => idle::bench(seconds.max(1)),
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
