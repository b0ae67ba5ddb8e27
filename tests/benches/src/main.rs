//! Benches that print ratios: ours beside others, measured in one run on one machine. Invariant: memory and CPU are
//! those of whole processes, by the kernel's own accounting; what is missing for a comparison is said, not made up.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

mod desk;
mod gate;
mod idle;
mod journal;
mod measure;
mod month;
mod own;
mod proof;
mod queries;
mod report;
mod results;
mod scan;
mod start;
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
    /// Reports kept in PostgreSQL, by one collector and by three, beside files
    Database,
    /// 64,000 machines connected to four collectors on one database
    Many,
    /// Idle connections and small messages beside Debian's MQTT broker
    Mosquitto,
    /// How long an order takes from its signature to its machine
    Orders,
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
    /// A month of a whole fleet closed: time and memory, against the number of machines
    Close(Fleets),
    /// The running month to date, against the number of machines
    Usage(Fleets),
    /// Pages of machines and customers, against the number of machines
    Lists(Fleets),
    /// A sealed month's bundle made and verified, against the number of machines
    Proof {
        /// Machines of each fleet
        #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
        machines: Vec<usize>,
    },
    /// Questions to the console and first pages of downloads
    Queries {
        /// Machines
        #[arg(long, default_value_t = 100_000)]
        machines: usize,
        /// Months of history
        #[arg(long, default_value_t = 12)]
        months: usize,
        /// Times each question is asked
        #[arg(long, default_value_t = 300)]
        times: usize,
        /// One question alone, by its name; nothing is published then
        #[arg(long)]
        only: Option<String>,
    },
    /// Durable rows a second and bytes a row, beside sled alone
    Journal {
        /// Rows of each run
        #[arg(long, default_value_t = 400_000)]
        rows: usize,
        /// Runs; the middle one is shown
        #[arg(long, default_value_t = 3)]
        times: usize,
    },
    /// What one more report costs behind the gateway, against the number of machines
    Report {
        /// Machines of each fleet
        #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000, 100_000, 1_000_000])]
        machines: Vec<usize>,
        /// Reports that are measured
        #[arg(long, default_value_t = 131_072)]
        reports: usize,
    },
    /// Opening a collector's books, against the length of its history
    Start {
        /// Machines of each store and reports of each of them
        #[arg(long, value_delimiter = ',', value_parser = fleet_of, default_values_t = START.map(Fleet))]
        fleets: Vec<Fleet>,
    },
    /// One fleet of the bench of reports, in a process of its own
    #[command(name = "__report", hide = true)]
    OneReport {
        #[arg(long)]
        machines: usize,
        #[arg(long)]
        reports: usize,
    },
    /// One opening of the bench of starts, in a process of its own
    #[command(name = "__start", hide = true)]
    OneStart {
        #[arg(long)]
        stage: String,
        #[arg(long)]
        store: PathBuf,
        #[arg(long)]
        machines: usize,
        #[arg(long)]
        reports: usize,
    },
    /// One fleet of the benches of months, in a process of its own
    #[command(name = "__month", hide = true)]
    Month {
        #[arg(long)]
        machines: usize,
        #[arg(long)]
        months: usize,
    },
    /// The bundle of the bench of proofs, made in a process of its own
    #[command(name = "__bundle", hide = true)]
    Bundle {
        #[arg(long)]
        machines: usize,
        #[arg(long)]
        bundle: PathBuf,
    },
    /// That bundle verified, in a process of its own
    #[command(name = "__verify", hide = true)]
    Verify {
        #[arg(long)]
        bundle: PathBuf,
        #[arg(long)]
        level: String,
        #[arg(long)]
        key: String,
    },
    /// Runs a command and prints what it and its children used
    #[command(name = "__measure", hide = true)]
    Measure {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Stores that are opened: more history of one fleet, then more machines.
const START: [(usize, usize); 5] = [(50_000, 10), (50_000, 20), (50_000, 40), (200_000, 10), (1_000_000, 1)];

/// Machines, and reports of each.
#[derive(Debug, Clone, Copy)]
struct Fleet((usize, usize));

impl std::fmt::Display for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.0.0, self.0.1)
    }
}

fn fleet_of(text: &str) -> Result<Fleet, String> {
    let parts = text.split_once('x').and_then(|(one, two)| Some((one.parse().ok()?, two.parse().ok()?)));
    parts.map(Fleet).ok_or_else(|| format!("`{text}` is not machines and reports, as `1000x20`"))
}

#[derive(Debug, clap::Args)]
struct Fleets {
    /// Machines of each fleet
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    machines: Vec<usize>,
    /// Months of history, the closed one included
    #[arg(long, default_value_t = 12)]
    months: usize,
}

/// What `all` runs, each in a process of its own.
const ALL: &[&str] = &[
    "close",
    "connections",
    "database",
    "handshakes",
    "idle",
    "journal",
    "lists",
    "many",
    "messages",
    "mosquitto",
    "orders",
    "proof",
    "queries",
    "report",
    "scan",
    "start",
    "storm",
    "usage",
];

fn main() -> ExitCode {
    let done = match Cli::parse().bench {
        Bench::All => all(),
        Bench::Scan { times } => scan::bench(times.max(1)),
        Bench::Idle { seconds } => idle::bench(seconds.max(1)),
        Bench::Messages => gate::messages(),
        Bench::Connections => gate::connections(),
        Bench::Handshakes => gate::handshakes(),
        Bench::Storm => gate::storm(),
        Bench::Database => gate::database::bench(),
        Bench::Many => gate::database::many(),
        Bench::Mosquitto => gate::mosquitto::bench(),
        Bench::Orders => gate::orders::bench(),
        Bench::Load { token, address } => gate::load::run(&token, &address),
        Bench::Door { kind, store } => gate::bare::run(kind, &store),
        Bench::Close(of) => month::bench("close", &of.machines, of.months.clamp(3, 12)),
        Bench::Usage(of) => month::bench("usage", &of.machines, of.months.clamp(3, 12)),
        Bench::Lists(of) => month::bench("lists", &of.machines, of.months.clamp(3, 12)),
        Bench::Proof { machines } => proof::bench(&machines),
        Bench::Bundle { machines, bundle } => proof::make(machines.max(1), &bundle),
        Bench::Verify { bundle, level, key } => proof::check(&bundle, &level, &key),
        Bench::Queries { machines, months, times, only } => {
            queries::bench(machines.max(1), months.clamp(1, 12), times, only.as_deref())
        }
        Bench::Journal { rows, times } => journal::bench(rows.max(1), times.max(1)),
        Bench::Report { machines, reports } => report::bench(&machines, reports.max(512)),
        Bench::Start { fleets } => start::bench(&fleets.iter().map(|fleet| fleet.0).collect::<Vec<_>>()),
        Bench::OneReport { machines, reports } => report::child(machines.max(1), reports),
        Bench::OneStart { stage, store, machines, reports } => {
            start::child(&stage, &store, machines.max(1), reports)
        }
        Bench::Month { machines, months } => month::child(machines.max(1), months),
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
