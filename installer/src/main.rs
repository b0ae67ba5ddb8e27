//! `seatbeat-installer`: packages of the agent and the collector, a kind a subcommand. Invariant: the path of what was
//! made goes to stdout, everything else to stderr; exit 0 done, 1 failed, 2 wrong usage; the same sources give the same
//! bytes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod compile;
mod content;
mod deb;
mod edition;
mod elf;
mod flat;
mod linux;
mod msi;
mod rpm;
mod sbom;
mod sign;
mod sums;
mod tarball;
mod twice;

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
    /// Agent or collector for Debian and Ubuntu
    Deb(linux::OneArgs),
    /// Agent or collector for Red Hat, Fedora and SUSE
    Rpm(linux::OneArgs),
    /// Agent or collector for any other Linux
    Tar(linux::OneArgs),
    /// The agent for macOS, around a program that was built on a Mac
    Pkg(flat::PkgArgs),
    /// All packages for Linux, with sums and bills of materials
    All(linux::AllArgs),
    /// Build the agent here and elsewhere, and compare every byte
    Twice(twice::TwiceArgs),
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
        folder(self.to.as_deref())
    }

    /// Has what was made signed, where somebody named a command for it.
    fn sign(&self, made: &Path) -> anyhow::Result<()> {
        self.sign_command.as_deref().map_or(Ok(()), |command| sign::sign(command, made))
    }
}

/// The folder for packages, made if need be.
fn folder(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = asked.map_or_else(|| compile::root().join("target/packages"), Path::to_owned);
    std::fs::create_dir_all(&folder)
        .map_err(|error| anyhow::anyhow!("failed to make the folder `{}`: {error}", folder.display()))?;
    Ok(folder)
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Msi(args) => msi::build(&args),
        Command::Deb(args) => linux::deb(&args),
        Command::Rpm(args) => linux::rpm(&args),
        Command::Tar(args) => linux::tar(&args),
        Command::Pkg(args) => flat::build(&args),
        Command::All(args) => linux::all(&args),
        Command::Twice(args) => twice::compare(&args),
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
