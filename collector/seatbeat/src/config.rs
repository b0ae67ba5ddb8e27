//! `seatbeat config`. Invariant: what is shown is what `serve` would run with, defaults included; no secret is in it.

use std::path::PathBuf;

use clap::Subcommand;
use seatbeat_collector::config::Config;

use crate::cli::Context;
use crate::{out, store};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the configuration that `serve` runs with
    Show {
        /// The collector's store
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
    },
}

/// Runs the verb.
///
/// # Errors
/// When the configuration cannot be read or used.
pub fn run(verb: Verb, context: &Context) -> anyhow::Result<()> {
    let Verb::Show { store } = verb;
    let path = store::folder(store.as_deref())?.join(Config::FILE);
    let config = Config::read(&path)?;
    if context.out.is_json() {
        out::data(&out::json(&config))?;
    } else {
        out::data(&format!("# {}\n{}", path.display(), toml::to_string(&config)?))?;
    }
    Ok(())
}
