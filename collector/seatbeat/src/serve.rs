//! `seatbeat serve`: runs the collector. Invariant: the addresses are printed when both doors are open, not before.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::serve;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::cli::Context;
use crate::out::{self, Out};
use crate::store;

/// Says which log lines are written.
const LOG_VARIABLE: &str = "SEATBEAT_LOG";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The collector's store [default: the user's data folder, /var/lib/seatbeat for root]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// How log lines are written on stderr; SEATBEAT_LOG says which [default level: info]
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Serialize)]
struct Ready {
    agents: SocketAddr,
    operators: SocketAddr,
}

/// Runs the verb until the process is told to end.
///
/// # Errors
/// When the collector cannot start, or a part of it fails.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    log(args.log_format);
    let folder = store::folder(args.store.as_deref())?;
    let clock = context.clock.map_or_else(Clock::real, Clock::as_of);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the collector's threads")?;
    runtime.block_on(async {
        let end = told_to_end()?;
        let running = serve::start(&folder, clock).await?;
        let ready = Ready { agents: running.agent_address, operators: running.operator_address };
        match context.out {
            // On one line: whoever waits for it reads lines while this goes on.
            Out::Json => out::data(&serde_json::to_string(&ready)?)?,
            Out::Text => out::data(&page(&ready))?,
        }
        running.until(end).await?;
        Ok(())
    })
}

fn page(ready: &Ready) -> String {
    out::fields(&[("agents", ready.agents.to_string()), ("operators", ready.operators.to_string())])
}

/// Log lines on stderr, as the environment says.
pub fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever runs several collectors in one process has set their own already.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

/// Ready when the process is told to end; it listens from now on.
#[cfg(unix)]
pub fn told_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = "failed to listen for signals";
    // Listened to, it does not end the process: a write beyond a limit of file sizes fails like one on a full disk.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).context(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(failed)?;
    let mut terminate = signal(SignalKind::terminate()).context(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ready when the process is told to end.
#[cfg(not(unix))]
pub fn told_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without the signal it ends with its process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}
