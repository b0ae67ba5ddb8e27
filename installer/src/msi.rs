//! The agent's .msi: builds the program for Windows and has `wixl` pack it. Invariant: nothing of the machine or the
//! hour that builds is in the package.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::Common;
use crate::compile::{self, Program};

/// What Windows machines run.
const TARGET: &str = "x86_64-pc-windows-gnu";

/// What to build it from.
#[derive(Debug, Args)]
pub struct MsiArgs {
    #[command(flatten)]
    common: Common,
}

/// Builds the package and answers its path.
///
/// # Errors
/// When the program does not build, or a tool is missing or fails.
pub fn build(args: &MsiArgs) -> Result<Vec<PathBuf>> {
    let program = match &args.common.binary {
        Some(path) => path.clone(),
        None => compile::program(&Program {
            package: "seatbeat-agent",
            name: "seatbeat-agent",
            target: Some(TARGET),
            profile: &args.common.profile,
            further: &[],
            flags: &["-Clink-arg=-Wl,--no-insert-timestamp"],
        })?,
    };
    let made = args.common.folder()?.join("seatbeat-agent.exe");
    std::fs::copy(&program, &made)?;
    args.common.sign(&made)?;
    Ok(vec![made])
}
