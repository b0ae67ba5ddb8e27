//! The command line: its words, and which verb answers to them. Invariant: what a verb does is in the verb's file;
//! here it is only named.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::connect::{self, Collector};
#[cfg(feature = "demo")]
use crate::demo;
use crate::out::{self, Out};
use crate::profile::{self, Profile};
use crate::{
    alerts, api_tokens, audit, backup, catalogue, config, customers, doctor, document, export, hints, init,
    join, journal, licences, machines, mapping, meter, moment, operators, orders, pass, policy, prices,
    reconcile, serve, statement, status, tokens, upload, usage, verify,
};

/// Heading of the options that every verb takes.
const EVERYWHERE: &str = "Everywhere";

/// Pay for the licences that were used, and prove it.
#[derive(Debug, Parser)]
#[command(name = "seatbeat", version, max_term_width = 110)]
pub struct Cli {
    /// Print data as one JSON document
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    /// Operator profile [default: $SEATBEAT_OPERATOR, else operator.toml in the configuration folder]
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    profile: Option<PathBuf>,
    /// Ask the collector at this operator address, not at the profile's
    #[arg(long, global = true, value_name = "[https://]HOST:PORT", value_parser = connect::address, help_heading = EVERYWHERE)]
    address: Option<String>,
    /// Trust this authority's certificates (PEM) at the operator address, too [default: the profile's `ca`]
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    ca: Option<PathBuf>,
    /// Run as of another time (RFC 3339)
    #[arg(long, global = true, hide = true, value_name = "TIME", value_parser = moment::instant)]
    clock: Option<Timestamp>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set up a new collector: store, keys, first operator
    Init(init::Args),
    /// Set up one more collector on a database
    Join(join::Args),
    /// Run the collector
    Serve(serve::Args),
    /// Carry agents of a site without a way out to a collector, on another machine
    Pass(pass::Args),
    /// How the collector is
    Status,
    /// Look for what is wrong with a collector, running or not, and what to do about it
    Doctor(doctor::Args),
    /// Copy all that a collector cannot do without, while it runs
    Backup(backup::Args),
    /// Make a store of a backup
    Restore(backup::RestoreArgs),
    /// A journal in a database
    #[command(subcommand)]
    Journal(journal::Verb),
    /// Make the tables of a journal in a database, or what they lack
    Migrate(journal::MigrateArgs),
    /// End customers
    #[command(subcommand)]
    Customers(customers::Verb),
    /// Enrolment tokens
    #[command(subcommand)]
    Tokens(tokens::Verb),
    /// Machines with an agent
    #[command(subcommand)]
    Machines(machines::Verb),
    /// Licences: seats that the reseller has, and who holds them
    #[command(subcommand)]
    Licences(licences::Verb),
    /// Orders to machines: switching products off and on
    #[command(subcommand)]
    Orders(orders::Verb),
    /// What needs somebody now, and who is told of it
    #[command(subcommand)]
    Alerts(alerts::Verb),
    /// Who may use the operator door
    #[command(subcommand)]
    Operators(operators::Verb),
    /// Ways in for programs: of some role, for some customers, until some day
    #[command(subcommand)]
    ApiTokens(api_tokens::Verb),
    /// What was used, by customer and SKU, with what it costs and earns
    Usage(usage::Args),
    /// Rules, prices and the billing zone
    #[command(subcommand)]
    Policy(policy::Verb),
    /// What agents look for: signing a newer catalogue, and sending it to them
    #[command(subcommand)]
    Catalogue(catalogue::Verb),
    /// What a month earns: by line, customer, SKU, distributor, beside yearly licences
    Earnings(document::EarningsArgs),
    /// What customers are billed for a month, in the columns of another program
    Invoices(document::InvoicesArgs),
    /// What the running month will come to, between two bounds
    Forecast(document::ForecastArgs),
    /// Price lists of distributors, and what customers are asked
    #[command(subcommand, visible_alias = "price")]
    Prices(prices::Verb),
    /// Monthly statements
    #[command(subcommand)]
    Statement(statement::Verb),
    /// A sealed month beside what the vendor's platform and the distributor's invoice say of it
    Reconcile(reconcile::Args),
    /// Sealed statements on their way to distributors
    #[command(subcommand)]
    Upload(upload::Verb),
    /// What destinations call customers and SKUs
    #[command(subcommand)]
    Mapping(mapping::Verb),
    /// Write what a period's statement is computed from, for anyone to recompute it
    Export(export::Args),
    /// Who did what, when, from where and why
    Audit(audit::Args),
    /// Compute a statement from files, without a collector
    Meter(meter::Args),
    /// Check a sealed statement, without a collector
    Verify(verify::Args),
    /// The collector's configuration
    #[command(subcommand)]
    Config(config::Verb),
    /// A reseller's month on this machine, end to end
    #[cfg(feature = "demo")]
    Demo(demo::Args),
}

/// What every verb is told.
pub struct Context {
    /// How data is written.
    pub out: Out,
    /// The operator profile, when one was named.
    pub profile: Option<PathBuf>,
    /// The collector's address, when it is not the profile's.
    pub address: Option<String>,
    /// An authority that is trusted there, when it is not the profile's.
    pub ca: Option<PathBuf>,
    /// The time to run as of.
    pub clock: Option<Timestamp>,
}

/// The agent in this same binary, as the demonstration starts it. Its command line is its own: it is not parsed here.
#[cfg(feature = "demo")]
const AGENT: &str = "__agent";

/// The distributor's platform in this same binary, likewise.
#[cfg(feature = "demo")]
pub const PLATFORM: &str = "__platform";

/// Runs the program: 0 done, 1 failed, 2 wrong usage.
pub fn main_from(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    leave_no_core_file();
    let args: Vec<OsString> = args.into_iter().collect();
    #[cfg(feature = "demo")]
    if let [program, agent, rest @ ..] = args.as_slice()
        && agent == AGENT
    {
        return seatbeat_agent::cli::main_from(std::iter::once(program.clone()).chain(rest.iter().cloned()));
    }
    #[cfg(feature = "demo")]
    if args.get(1).is_some_and(|verb| verb == PLATFORM) {
        return demo::platform::main();
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Help that nobody can read is not worth another failure.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let out = if cli.json { Out::Json } else { Out::Text };
    let context = Context { out, profile: cli.profile, address: cli.address, ca: cli.ca, clock: cli.clock };
    match run(cli.verb, &context) {
        Ok(code) => code,
        Err(error) => {
            out::failure(&hints::chain(&error), hints::of(&error).as_deref());
            ExitCode::FAILURE
        }
    }
}

/// Keys are in memory: whatever ends this process, none of it goes to a disk. Where that is refused, the system's own
/// settings stand.
fn leave_no_core_file() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

fn run(verb: Verb, context: &Context) -> anyhow::Result<ExitCode> {
    let done = match verb {
        Verb::Init(args) => init::run(args, context),
        Verb::Join(args) => join::run(args, context),
        Verb::Serve(args) => serve::run(&args, context),
        Verb::Pass(args) => pass::run(&args, context),
        Verb::Config(verb) => config::run(verb, context),
        Verb::Meter(args) => meter::run(&args, context),
        Verb::Backup(args) => backup::run(&args, context),
        Verb::Restore(args) => backup::run_restore(args, context),
        Verb::Journal(verb) => journal::run(&verb, context),
        Verb::Migrate(args) => journal::run_migrate(&args, context),
        Verb::Doctor(args) => return doctor::run(&args, context),
        Verb::Verify(args) => return verify::run(&args, context),
        #[cfg(feature = "demo")]
        Verb::Demo(args) => return demo::run(&args, context),
        Verb::Status => context.ask(async |collector| status::run(collector, context.out).await),
        Verb::Customers(verb) => {
            context.ask(async |collector| customers::run(verb, collector, context.out).await)
        }
        Verb::Tokens(verb) => context.ask(async |collector| tokens::run(verb, collector, context.out).await),
        Verb::Machines(verb) => {
            context.ask(async |collector| machines::run(verb, collector, context.out).await)
        }
        Verb::Licences(verb) => {
            context.ask(async |collector| licences::run(verb, collector, context.out).await)
        }
        Verb::Orders(verb) => context.ask(async |collector| orders::run(verb, collector, context.out).await),
        Verb::Alerts(verb) => context.ask(async |collector| alerts::run(verb, collector, context.out).await),
        Verb::Operators(verb) => {
            context.ask(async |collector| operators::run(verb, collector, context.out).await)
        }
        Verb::ApiTokens(verb) => {
            context.ask(async |collector| api_tokens::run(verb, collector, context.out).await)
        }
        Verb::Usage(args) => context.ask(async |collector| usage::run(args, collector, context.out).await),
        Verb::Policy(verb) => context.ask(async |collector| policy::run(verb, collector, context.out).await),
        Verb::Catalogue(verb) => catalogue::run(verb, context),
        Verb::Earnings(args) => {
            context.ask(async |collector| document::earnings(args, collector, context.out).await)
        }
        Verb::Invoices(args) => {
            context.ask(async |collector| document::invoices(args, collector, context.out).await)
        }
        Verb::Forecast(args) => {
            context.ask(async |collector| document::forecast(args, collector, context.out).await)
        }
        Verb::Prices(verb) => context.ask(async |collector| prices::run(verb, collector, context.out).await),
        Verb::Statement(verb) => {
            context.ask(async |collector| statement::run(verb, collector, context.out).await)
        }
        Verb::Reconcile(args) => {
            context.ask(async |collector| reconcile::run(args, collector, context.out).await)
        }
        Verb::Upload(verb) => context.ask(async |collector| upload::run(verb, collector, context.out).await),
        Verb::Mapping(verb) => {
            context.ask(async |collector| mapping::run(verb, collector, context.out).await)
        }
        Verb::Audit(args) => context.ask(async |collector| audit::run(args, collector, context.out).await),
        Verb::Export(args) => context.ask(async |collector| export::run(args, collector, context.out).await),
    };
    done.map(|()| ExitCode::SUCCESS)
}

impl Context {
    /// Runs a verb that speaks to the collector.
    ///
    /// # Errors
    /// When there is no profile, nobody answers, or the verb fails.
    pub fn ask(&self, verb: impl AsyncFnOnce(&mut Collector) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let path = profile::path(self.profile.as_deref())?;
        let Profile { address, token, ca } = Profile::read(&path)?;
        let address = self.address.clone().unwrap_or(address);
        let asked = self.ca.as_deref().map(std::path::absolute).transpose()?;
        // A path in a profile begins beside it: a profile is handed on with its authority.
        let beside = ca.map(|ca| path.parent().map_or_else(|| ca.clone(), |folder| folder.join(&ca)));
        let profile = Profile { address, token, ca: asked.or(beside) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut collector = Collector::connect(profile, path).await?;
            verb(&mut collector).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_not_understood_is_wrong_usage() {
        for args in [
            vec!["seatbeat"],
            vec!["seatbeat", "frobnicate"],
            vec!["seatbeat", "usage", "--period", "2026-13"],
            vec!["seatbeat", "statement", "close"],
            vec!["seatbeat", "machines", "show", "cus_a"],
            vec!["seatbeat", "reconcile"],
            vec!["seatbeat", "reconcile", "2026-13"],
            vec!["seatbeat", "reconcile", "2026-10", "--invoice", "i.csv"],
            vec!["seatbeat", "reconcile", "2026-10", "--dry-run"],
            vec!["seatbeat", "reconcile", "explain", "2026-10", "--customer", "cus_a", "--sku", "A"],
            vec!["seatbeat", "tokens", "create", "--customer", "cus_a", "--expires", "soon"],
            vec!["seatbeat", "api-tokens", "create", "--role", "owner"],
            vec!["seatbeat", "operators", "allow", "opr_a", "--role", "viewer"],
            vec!["seatbeat", "operators", "forget", "opr_a", "token", "--reason", "x"],
            vec!["seatbeat", "init", "--admin", "two words"],
        ] {
            let error = Cli::try_parse_from(&args).unwrap_err();
            assert!(error.use_stderr() && error.exit_code() == 2, "{args:?}");
        }
    }
}
