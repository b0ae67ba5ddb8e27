//! `seatbeat doctor`. Invariant: it changes nothing, and works whether a collector runs or not; 1 when something is wrong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use seatbeat_collector::clock::Clock;
use seatbeat_collector::doctor::{Finding, Level, is_running, look};
use seatbeat_proto::wire;

use crate::cli::Context;
use crate::{hints, out, store};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The collector's store [default: the user's data folder, /var/lib/seatbeat for root]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Ask each destination's far side, too, where a collector runs
    #[arg(long)]
    connectors: bool,
}

/// Runs the verb.
///
/// # Errors
/// When nothing can be written.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = store::folder(args.store.as_deref())?;
    let now = context.clock.map_or_else(Clock::real, Clock::as_of).now();
    let mut findings = look(&folder, now);
    findings.extend(running(&folder, args.connectors, context));
    let is_bad = findings.iter().any(|finding| finding.level == Level::Error);
    context.out.value(&findings, || page(&findings))?;
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the collector says itself, where one runs on the store.
fn running(folder: &Path, connectors: bool, context: &Context) -> Vec<Finding> {
    let Some(process) = is_running(folder) else {
        let check = "collector";
        let todo = "`seatbeat serve` runs it";
        return vec![match folder.is_dir() {
            true => Finding::warning(check, "no collector runs on this store", todo),
            false => Finding::warning(check, "no collector runs there", todo),
        }];
    };
    let mut findings = vec![Finding::ok("collector", format!("process {process} runs on this store"))];
    let asked = context.ask(async |collector| {
        let request = wire::DoctorRequest { connectors };
        let reply = collector.call(async |console| console.doctor(request).await).await?;
        let said: Vec<Finding> = serde_json::from_str(&reply.json)?;
        findings.extend(said);
        Ok(())
    });
    if let Err(error) = asked {
        let what = format!("it was not asked how it is: {}", hints::chain(&error));
        let todo = hints::of(&error).unwrap_or_else(|| "see the collector's log".to_owned());
        findings.push(Finding::warning("collector", what, todo));
    }
    findings
}

fn page(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let line = |finding: &Finding| {
        let level = match finding.level {
            Level::Ok => "ok     ",
            Level::Warning => "warning",
            Level::Error => "ERROR  ",
        };
        let what = format!("{level}  {:width$}  {}", finding.check, out::clean(&finding.what));
        if finding.todo.is_empty() {
            what
        } else {
            format!("{what}\n         {:width$}  → {}", "", out::clean(&finding.todo))
        }
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_beside_what_to_do() {
        let findings =
            [Finding::ok("journal", "9 records"), Finding::error("keys", "the key is missing", "restore it")];
        assert_eq!(
            page(&findings),
            "ok       journal  9 records\nERROR    keys     the key is missing\n                  → restore it"
        );
    }
}
