//! A bench of several sizes: each in a process of its own, so that its memory is its own. Invariant: what the process
//! prints is its figures as one line of JSON, and nothing else.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Runs this program again with a hidden subcommand; the figures that it prints.
pub fn run<T: DeserializeOwned>(arguments: &[String]) -> anyhow::Result<T> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let output = Command::new(own)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start a measured process")?;
    if !output.status.success() {
        bail!("the measured process `{}` failed", arguments.join(" "));
    }
    serde_json::from_slice(&output.stdout).context("failed to read what was measured")
}

/// Prints figures for the process that waits for them.
///
/// # Errors
/// When they have no JSON form.
pub fn tell(figures: &impl Serialize) -> anyhow::Result<()> {
    crate::table::say(&serde_json::to_string(figures)?);
    Ok(())
}

/// Memory of this process in KiB: what it holds now, and the most it ever held.
///
/// # Errors
/// When the kernel does not say.
pub fn memory_kib() -> anyhow::Result<(u64, u64)> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("failed to read this process's status")?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("memory is not shown")?;
        line.trim().trim_end_matches(" kB").parse::<u64>().context("memory is no number")
    };
    Ok((of("VmRSS:")?, of("VmHWM:")?))
}
