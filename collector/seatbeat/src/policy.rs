//! `seatbeat policy`. Invariant: a policy is shown byte for byte as it was set.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::wire::{self, MESSAGE_LENGTH_MAX};

use crate::connect::Collector;
use crate::out::{self, Out};

/// Longest policy in bytes: it goes in one message, with a reason and what frames them.
const LENGTH_MAX: usize = MESSAGE_LENGTH_MAX - 8 * 1024;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the policy of a month as it was set (TOML)
    Show {
        /// Which month, as `2026-10` [default: the running one]
        #[arg(long)]
        period: Option<Period>,
    },
    /// Put a policy in force
    Set {
        /// The policy (TOML); `-` reads it from stdin
        file: PathBuf,
        /// The first month it holds in, as `2026-10` [default: every month that is not sealed]
        #[arg(long, value_name = "MONTH")]
        from: Option<Period>,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

/// Runs the verb.
///
/// # Errors
/// When the file cannot be read or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Show { period } => {
            let period = period.map(String::from).unwrap_or_default();
            let request = wire::PolicyRequest { period, after_position: 0 };
            let policy = collector.call(async |console| console.get_policy(request).await).await?;
            match out {
                Out::Json => out::data(&out::json(&serde_json::json!({ "toml": policy.toml })))?,
                Out::Text => out::data(&policy.toml)?,
            }
        }
        Verb::Set { file, from, reason } => {
            let toml = read(&file)?;
            if toml.len() > LENGTH_MAX {
                bail!(
                    "`{}` has {} bytes, more than a policy can have ({LENGTH_MAX})",
                    file.display(),
                    toml.len()
                );
            }
            let request = wire::SetPolicyRequest {
                toml,
                reason,
                valid_from: from.map(String::from).unwrap_or_default(),
            };
            let done = collector
                .call(async |console| console.set_policy(request).await)
                .await
                .with_context(|| format!("`{}` was not put in force", file.display()))?;
            out::done(out, done.position, "the policy is in force")?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read the policy from stdin")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("failed to read `{}`", file.display()))
}
