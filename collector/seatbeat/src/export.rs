//! `seatbeat export`: what anyone needs to recompute a period's statement. Invariant: the files belong together, and
//! each is there whole or not at all.

use std::path::{Path, PathBuf};

use seatbeat_collector::console::fault::Reason;
use seatbeat_collector::console::rows::{PeriodState, SealedStatements, Status};
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::wire;
use serde::Serialize;

use crate::connect::{Collector, RemoteError};
use crate::files::{self, Draft};
use crate::out::{self, Out};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which month, as `2026-10`
    #[arg(long)]
    period: Period,
    /// The folder that the files go to
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Serialize)]
struct Exported {
    period: Period,
    records: PathBuf,
    policy: PathBuf,
    /// Bodies of the statements sealed for the two months before: they are what corrections rest on.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<PathBuf>,
    /// What computes the statement again.
    command: String,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses or a file cannot be written.
pub async fn run(args: Args, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let Args { period, to } = args;
    files::folder(&to)?;
    let as_of = as_of(collector, period).await?;
    let (records, policy) = records(collector, period, &to).await?;
    let mut bodies = Vec::new();
    for earlier in [period.previous().previous(), period.previous()] {
        bodies.extend(sealed_bodies(collector, earlier).await?);
    }
    let sealed = match bodies.as_slice() {
        [] => None,
        bodies => Some(files::write(to.join("sealed.json"), &serde_json::to_vec(bodies)?)?),
    };
    let command = command(period, &records, &policy, sealed.as_deref(), as_of.as_deref());
    let exported = Exported { period, records, policy, sealed, command };
    out.value(&exported, || {
        let sealed = exported.sealed.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        out::fields(&[
            ("records", exported.records.display().to_string()),
            ("policy", exported.policy.display().to_string()),
            ("sealed", sealed),
        ])
    })?;
    if !out.is_json() {
        out::note(&format!("anyone can compute it again: `{}`", exported.command));
    }
    Ok(())
}

/// The cut-off of a period that is still running: without it, days to come would be presumed.
async fn as_of(collector: &mut Collector, period: Period) -> Result<Option<String>, RemoteError> {
    let request = wire::PeriodRequest { period: period.to_string(), after_position: 0 };
    let draft: seatbeat_collector::console::rows::Draft =
        collector.ask(async |console| console.draft_statement(request).await).await?;
    if draft.state != PeriodState::Open {
        return Ok(None);
    }
    let asked = wire::StatusRequest::default();
    let status: Status = collector.ask(async |console| console.status(asked).await).await?;
    Ok(Some(status.now.to_string()))
}

async fn records(collector: &mut Collector, period: Period, to: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let request = wire::PeriodRequest { period: period.to_string(), after_position: 0 };
    let mut chunks = collector.call(async |console| console.export_records(request).await).await?;
    let mut records = Draft::begin(to.join("records.jsonl"))?;
    let mut policy = String::new();
    let progress = out::progress("records");
    while let Some(chunk) = chunks.message().await.map_err(|status| collector.failed(&status))? {
        progress.inc(chunk.records_jsonl.len() as u64);
        records.write(chunk.records_jsonl.as_bytes())?;
        policy.push_str(&chunk.policy_toml);
    }
    progress.finish_and_clear();
    let records = records.finish()?;
    let policy = files::write(to.join("policy.toml"), policy.as_bytes())?;
    Ok((records, policy))
}

async fn sealed_bodies(collector: &mut Collector, period: Period) -> anyhow::Result<Vec<serde_json::Value>> {
    let request = wire::PeriodRequest { period: period.to_string(), after_position: 0 };
    let sealed: Result<SealedStatements, RemoteError> =
        collector.ask(async |console| console.show_statement(request).await).await;
    let statements = match sealed {
        Ok(sealed) => sealed.statements,
        Err(RemoteError::Refused { reason: Reason::NotSealed, .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut bodies = Vec::new();
    for statement in statements {
        let mut file: serde_json::Value = serde_json::from_slice(&statement.file)?;
        bodies.push(file["body"].take());
    }
    Ok(bodies)
}

fn command(
    period: Period,
    records: &Path,
    policy: &Path,
    sealed: Option<&Path>,
    as_of: Option<&str>,
) -> String {
    let mut command =
        format!("seatbeat meter --records {} --policy {} --period {period}", quoted(records), quoted(policy));
    if let Some(sealed) = sealed {
        command.push_str(&format!(" --sealed {}", quoted(sealed)));
    }
    if let Some(as_of) = as_of {
        command.push_str(&format!(" --as-of {as_of}"));
    }
    command
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':' | '\\');
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted() {
        let period = "2026-10".parse().unwrap();
        let shown = command(
            period,
            Path::new("/tmp/my books/r.jsonl"),
            Path::new("p.toml"),
            None,
            Some("2026-10-05T00:00:00Z"),
        );
        assert_eq!(
            shown,
            "seatbeat meter --records '/tmp/my books/r.jsonl' --policy p.toml --period 2026-10 --as-of 2026-10-05T00:00:00Z"
        );
    }
}
