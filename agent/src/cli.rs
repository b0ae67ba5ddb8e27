//! The command line. Invariant: data on stdout, everything else on stderr; exit 0 done, 1 failed, 2 wrong usage; an
//! error is printed once, as a chain, with what can be done about it.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use seatbeat_proto::trust::TrustError;

use crate::act::actor::ActorError;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::daemon::DaemonError;
use crate::detect::Scope;
use crate::enrol::EnrolError;
#[cfg(target_os = "linux")]
use crate::helper::pinned::MACHINE_FOLDER;
use crate::leave;
use crate::plain::chain;
use crate::scan::{ScanArgs, ScanError};
use crate::state::{StateError, StateFolder};
use crate::waiting::KeepError;

mod commands;
#[cfg(target_os = "linux")]
mod helper;

/// Finds the vendor's security products on this machine and reports them to the reseller's collector.
#[derive(Debug, Parser)]
#[command(name = "seatbeat-agent", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the agent lives.
#[derive(Debug, Args)]
struct Place {
    /// State folder [default: /var/lib/seatbeat-agent for root, else one of the user's own]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Configuration [default: agent.toml in the state folder named with --state, else in /etc/seatbeat-agent for
    /// root, else in the user's configuration folder]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the helper that runs as root [default: /var/lib/seatbeat-agent-helper for root, unless a state folder is
    /// named]
    #[cfg(target_os = "linux")]
    #[arg(long, global = true, value_name = "DIR")]
    helper_folder: Option<PathBuf>,
    /// Run as if started at this instant (RFC 3339)
    #[arg(long, global = true, value_name = "TIME", hide = true)]
    clock: Option<Timestamp>,
}

impl Place {
    /// The folder of this machine's helper, if it may have one.
    #[cfg(target_os = "linux")]
    fn helper(&self) -> Option<PathBuf> {
        let machine = || (self.state.is_none() && crate::state::is_root()).then(|| MACHINE_FOLDER.into());
        self.helper_folder.clone().or_else(machine)
    }

    #[cfg(not(target_os = "linux"))]
    fn helper(&self) -> Option<PathBuf> {
        None
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let this machine in with a token from the operator
    Enrol(EnrolArgs),
    /// Report until stopped (what the service runs)
    Run {
        #[command(flatten)]
        scope: HiddenScope,
        /// Be run by Windows' service manager
        #[cfg(windows)]
        #[arg(long, hide = true)]
        service: bool,
        /// Have the helper at this socket look and carry orders out, so that this needs no rights of its own
        #[cfg(target_os = "linux")]
        #[arg(long, value_name = "SOCKET")]
        helper: Option<PathBuf>,
    },
    /// Look and carry orders out as root for an agent that is not (what its socket starts; listens on its input)
    #[cfg(target_os = "linux")]
    Helper(helper::HelperArgs),
    /// Print the products found on this machine, and what speaks for each
    Scan {
        #[command(flatten)]
        scope: OpenScope,
        /// Write what was seen to this file, to be read again with --snapshot
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Check that everything is in place for reports to arrive
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell the collector that the agent goes, and remove all it kept (what an uninstaller runs)
    Leave {
        /// As one that never was here: an installation that failed is undone
        #[arg(long, hide = true)]
        silently: bool,
        /// Not at the next time: another version takes this one's place
        #[arg(long, hide = true, conflicts_with = "silently")]
        not_now: bool,
        /// Nothing yet: only wait until the agent that was told to stop has ended
        #[cfg(windows)]
        #[arg(long, hide = true, conflicts_with_all = ["silently", "not_now"])]
        ended: bool,
    },
    /// Make this machine a golden image: it forgets who it is, and each copy enrols as itself at its first start
    Generalise {
        /// A file that holds the token for the copies: it waits in the image
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
    /// Take the orders of whoever holds these keys (`so1.…`, from `seatbeat orders key show`), whatever was trusted before
    TrustOrders {
        /// The order keys
        keys: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what the agent reported last, what was ordered, and how the connection stands
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct EnrolArgs {
    /// The token, `sb1.…`
    #[arg(long, env = "SEATBEAT_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    token: Option<String>,
    /// A file that holds the token, so that it shows in no process list
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Enrol although this machine is enrolled already
    #[arg(long)]
    again: bool,
    /// Only keep the token: the agent enrols with it when it runs and the collector answers
    #[arg(long, conflicts_with = "again")]
    later: bool,
    /// The proxy to the collector, `http://host:port` (or `none`): it is kept in agent.toml
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    scope: HiddenScope,
}

/// What is looked at in place of this machine.
#[derive(Debug, Args)]
struct OpenScope {
    /// Look below this folder in place of `/`; nothing is executed then
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Read the vendor's command output from files in this folder in place of running its commands; with --snapshot
    /// also listings of that machine (rpm-qa.txt, registry.reg, sc-query.txt, pkgutil-pkgs.txt, launchctl-list.txt,
    /// systemextensionsctl-list.txt; of a Mac its property lists at their own places)
    #[arg(long, value_name = "DIR")]
    vendor_output: Option<PathBuf>,
    /// Read what would be observed from this file, a machine of its own
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    snapshot: Option<PathBuf>,
}

/// As [`OpenScope`], for tests and demonstrations.
#[derive(Debug, Args)]
struct HiddenScope {
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
    #[arg(long, value_name = "DIR", hide = true)]
    vendor_output: Option<PathBuf>,
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "root")]
    snapshot: Option<PathBuf>,
}

impl From<OpenScope> for Scope {
    fn from(scope: OpenScope) -> Self {
        let OpenScope { root, vendor_output, snapshot } = scope;
        Self { root, vendor_output, snapshot }
    }
}

impl From<HiddenScope> for Scope {
    fn from(scope: HiddenScope) -> Self {
        let HiddenScope { root, vendor_output, snapshot } = scope;
        Self { root, vendor_output, snapshot }
    }
}

/// What a command could not do.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Helper(#[from] helper::HelperError),
    #[error("failed to read the order keys")]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Orders(#[from] ActorError),
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[cfg(windows)]
    #[error("the service manager did not start this process: {0}")]
    Service(String),
    #[error("no token was given")]
    NoToken,
    #[error("failed to read the token file `{}`", path.display())]
    TokenFile { path: PathBuf, source: std::io::Error },
    #[error("failed to set up the event loop")]
    Runtime(#[source] std::io::Error),
    #[error("failed to write the output")]
    Output(#[from] std::io::Error),
    #[error(transparent)]
    Scan(ScanError),
}

impl CliError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::State(error) => error.hint(),
            Self::Enrol(error) => error.hint(),
            Self::Daemon(error) => error.hint(),
            Self::Keep(error) => error.hint(),
            #[cfg(windows)]
            Self::Service(_) => {
                Some("`sc start SeatbeatAgent`, or `seatbeat-agent run` without `--service`".into())
            }
            #[cfg(target_os = "linux")]
            Self::Helper(error) => error.hint(),
            Self::NoToken => {
                Some("`--token sb1.…`, `--token-file FILE`, or the variable SEATBEAT_TOKEN".into())
            }
            Self::Config(error) => Some(error.hint()),
            Self::Trust(_) => Some("copy all of it, from `so1.` on, from `seatbeat orders key show`".into()),
            Self::Orders(error) => error.hint(),
            Self::Scan(error) => error.hint(),
            Self::TokenFile { .. } | Self::Runtime(_) | Self::Output(_) => None,
        }
    }
}

/// Runs the agent with a command line, the program's name first.
pub fn main_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    leave_no_core_file();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(code) => code,
        // Who reads our output has gone.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "error: {}", chain(&error));
            if let Some(hint) = error.hint() {
                let _ = writeln!(stderr, "hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Keys are in memory: whatever ends this process, none of it goes to a disk. Where that is refused, the system's own
/// settings stand.
fn leave_no_core_file() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
}

fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let clock = Clock::start(cli.place.clock);
    if let Command::Scan { scope, save, json } = cli.command {
        let args = ScanArgs { scope: scope.into(), json, save };
        return commands::scan(&args, clock.now().wall);
    }
    let path = cli.place.state.clone().map_or_else(StateFolder::default_path, Ok)?;
    let state = StateFolder::at(path);
    let config_path = Config::path(cli.place.config.clone(), cli.place.state.as_deref());
    let config = || -> Result<Config, CliError> {
        let (named, path) = (cli.place.config.is_some(), config_path.as_deref());
        Ok(path.map_or_else(|| Ok(Config::default()), |path| Config::load(path, named))?)
    };
    match cli.command {
        Command::Enrol(args) => {
            let mut config = config()?;
            // What an installer leaves empty says nothing.
            if let (Some(proxy), Some(path)) =
                (args.proxy.as_deref().filter(|proxy| !proxy.is_empty()), &config_path)
            {
                // Private from its first instant, where the file is to lie in it.
                state.create()?;
                config.keep_proxy(path, proxy)?;
            }
            commands::enrol(&state, &config, args, &clock, cli.place.helper().as_deref())
        }
        #[cfg(target_os = "linux")]
        Command::Run { scope, helper: Some(socket) } => {
            helper::run_with(state, config()?, scope.into(), clock, socket)
        }
        #[cfg(windows)]
        Command::Run { scope, service: true } => commands::serve(state, config()?, scope.into(), clock),
        Command::Run { scope, .. } => commands::run(state, config()?, scope.into(), clock),
        #[cfg(target_os = "linux")]
        Command::Helper(args) => helper::helper(args, &cli.place, clock),
        Command::Generalise { token_file } => {
            commands::generalise(&state, &config()?, token_file, clock.now().wall)
        }
        Command::Leave { not_now: true, .. } => {
            leave::stay(&state, clock.now().wall)?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(windows)]
        Command::Leave { ended: true, .. } => {
            let has_ended = crate::windows::ended::others();
            Ok(if has_ended { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Leave { silently, .. } => commands::leave(&state, &config(), silently, clock.now().wall),
        Command::Check { json } => commands::check(&state, &config()?, &clock, json),
        Command::Status { json } => commands::status(&state, json),
        Command::TrustOrders { keys, json } => {
            commands::trust_orders(&state, &keys, json, cli.place.helper().as_deref())
        }
        Command::Scan { .. } => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Order keys of revision 1 without a recovery key.
    const TRUSTED: &str = "so1.CAESINdamAGCsQq31Uv-08lkBzoO4XLz2qYjJa8CGmj3B1EaovyDsA";

    fn ran(args: &[&str]) -> Result<ExitCode, (String, Option<String>)> {
        let args = ["seatbeat-agent"].iter().chain(args);
        run(Cli::try_parse_from(args).unwrap()).map_err(|error| (chain(&error), error.hint()))
    }

    fn usage(args: &[&str]) -> i32 {
        let args = ["seatbeat-agent"].iter().chain(args);
        Cli::try_parse_from(args).unwrap_err().exit_code()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_exits_2_and_help_0() {
        for args in [
            &["fly"][..],
            &[],
            &["enrol", "--token", "a", "--token-file", "b"],
            &["run", "--clock", "noon"],
            &["scan", "--snapshot", "s.json", "--root", "/mnt"],
        ] {
            assert_eq!(usage(args), 2, "{args:?}");
        }
        assert_eq!(usage(&["--help"]), 0);
        assert_eq!(usage(&["--version"]), 0);
    }

    #[test]
    fn what_cannot_be_done_says_what_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state").display().to_string();
        let file = dir.path().join("token").display().to_string();
        for (args, error, hint) in [
            (&["run"][..], "this machine is not enrolled", "enrol --token"),
            (
                &["enrol", "--token", "hello"],
                "failed to read the token: the token does not start with `sb1.`",
                "copy",
            ),
            (&["enrol", "--token", "sb1.abc"], "failed to read the token: the token is damaged", "copy"),
            (
                &["trust-orders", "so1.abc"],
                "failed to read the order keys: the order keys are damaged",
                "copy",
            ),
            (&["trust-orders", TRUSTED], "this machine is not enrolled", "enrol --token"),
        ] {
            let (said, advice) = ran(&[args, &["--state", &state]].concat()).unwrap_err();
            assert!(said.starts_with(error), "{said}");
            assert!(advice.as_deref().unwrap_or_default().contains(hint), "{advice:?}");
        }
        let (said, _) = ran(&["enrol", "--token-file", &file, "--state", &state]).unwrap_err();
        assert!(said.starts_with(&format!("failed to read the token file `{file}`: ")), "{said}");
        assert!(!dir.path().join("state").exists(), "nothing was begun");
    }

    #[test]
    fn a_scan_that_cannot_be_done_says_what_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("bad.json"), "{}").unwrap();
        for (args, error, hint) in [
            (["--snapshot", &path("none.json")], "failed to read snapshot `", "scan --save"),
            (["--snapshot", &path("bad.json")], "`", "scan --save"),
            (["--root", &path("none")], "failed to open root `", "mounted"),
            (
                ["--vendor-output", &path("none")],
                "failed to open the folder of collected output `",
                "<command>.txt",
            ),
            (["--save", &path("none/s.json")], "failed to write snapshot `", "folder"),
        ] {
            let (said, advice) = ran(&[&["scan"][..], &args].concat()).unwrap_err();
            assert!(said.starts_with(error), "{said}");
            assert!(advice.as_deref().unwrap_or_default().contains(hint), "{said}: {advice:?}");
        }
    }

    #[test]
    fn an_unknown_key_in_the_configuration_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("agent.toml"), "speed = 9\n").unwrap();
        let (said, hint) = ran(&["run", "--state", &dir.path().display().to_string()]).unwrap_err();
        assert!(said.contains("agent.toml") && said.contains("unknown field `speed`"), "{said}");
        assert!(hint.is_some());
    }

    #[test]
    fn status_of_a_machine_that_is_not_enrolled_is_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().display().to_string();
        assert_eq!(ran(&["status", "--state", &state]), Ok(ExitCode::SUCCESS));
        assert_eq!(ran(&["status", "--json", "--state", &state]), Ok(ExitCode::SUCCESS));
    }
}
