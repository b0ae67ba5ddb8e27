//! `seatbeat-installer`: packages of the agent and the collector, a kind a subcommand. Invariant: the path of what was
//! made goes to stdout, everything else to stderr; exit 0 done, 1 failed, 2 wrong usage; the same sources give the same
//! bytes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod compile;
mod msi;
mod sign;

/// Build packages of Seatbeat.
#[derive(Debug, Parser)]
#[command(name = "seatbeat-installer", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The agent for Windows: one .msi for all machines
    Msi(msi::MsiArgs),
}

/// What every kind of package is told.
#[derive(Debug, Clone, Args)]
struct Common {
    /// Folder that packages are written to [default: target/packages]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Cargo's profile; `dist` is what goes out, others build faster
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
    /// Pack this program, which was built already, and build none
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Command that signs a file in place; it gets the file's path as its last word. Without it nothing is signed
    #[arg(long, value_name = "COMMAND")]
    sign_command: Option<String>,
}

impl Common {
    /// The folder for packages, made if need be.
    fn folder(&self) -> anyhow::Result<PathBuf> {
        let folder = self.to.clone().unwrap_or_else(|| compile::root().join("target/packages"));
        std::fs::create_dir_all(&folder)
            .map_err(|error| anyhow::anyhow!("failed to make the folder `{}`: {error}", folder.display()))?;
        Ok(folder)
    }

    /// Has what was made signed, where somebody named a command for it.
    fn sign(&self, made: &Path) -> anyhow::Result<()> {
        self.sign_command.as_deref().map_or(Ok(()), |command| sign::sign(command, made))
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Msi(args) => msi::build(&args),
    };
    match done {
        Ok(made) => {
            let mut out = std::io::stdout().lock();
            match made.iter().try_for_each(|path| writeln!(out, "{}", path.display())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "error: {error:#}");
            if let Some(hint) =
                error.downcast_ref::<compile::CompileError>().and_then(compile::CompileError::hint)
            {
                let _ = writeln!(err, "hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
