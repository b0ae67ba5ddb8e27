//! The commands, one function each.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::trust;
use seatbeat_proto::wire::{self, OrderKeys};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::{CliError, EnrolArgs};
use crate::act::actor::{self, Actor};
use crate::act::{VendorHands, worker};
use crate::catalogue::Shelf;
use crate::check;
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::{Daemon, DaemonError, Seen, Setting, Sight};
use crate::detect::lookout::Lookout;
use crate::detect::{self, Scope};
use crate::enrol::{self, Enrolment, Request};
use crate::generalise;
#[cfg(target_os = "linux")]
use crate::helper::pinned::Pinned;
use crate::identity::{Identity, IdentityError};
use crate::jitter::Jitter;
use crate::leave::{self, Told};
use crate::marks::{self, Copied};
use crate::plain::chain;
use crate::road::out::Out;
use crate::scan::{self, ScanArgs, ScanError};
use crate::spool::disk::RealDisk;
use crate::state::StateFolder;
use crate::status::{LinkStatus, OrdersStatus, Status, Trouble};
use crate::waiting::{self, Newcomer, Otherwise, Pace, Progress};

/// How long a scan that hangs may hold up the end of the process.
pub(super) const STOP_MAX: Duration = Duration::from_secs(2);

pub(super) fn enrol(
    state: &StateFolder,
    config: &Config,
    args: EnrolArgs,
    clock: &Clock,
    helper: Option<&Path>,
) -> Result<ExitCode, CliError> {
    #[cfg(target_os = "linux")]
    super::helper::check_owner(state)?;
    let token = match (args.token, args.token_file) {
        (Some(token), _) => token,
        (None, Some(path)) => {
            std::fs::read_to_string(&path).map_err(|source| CliError::TokenFile { path, source })?
        }
        (None, None) => return Err(CliError::NoToken),
    };
    if args.later {
        return keep_for_later(state, &token);
    }
    let scope = Scope::from(args.scope);
    let facts = |salt: &[u8; 32]| facts(&scope, salt, config.pool);
    let request = Request { token, again: args.again, host_name: host_name() };
    let Enrolment { identity, already } =
        runtime()?.block_on(enrol::enrol_over(config.road()?, state, &request, facts, clock.now()))?;
    #[cfg(target_os = "linux")]
    if let Some(folder) = helper {
        super::helper::pin(folder, &request.token, &identity)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = helper;
    let mut out = io::stdout().lock();
    if args.json {
        let answer = serde_json::json!({
            "machine": identity.machine.as_str(),
            "customer": identity.customer.as_str(),
            "already": already,
        });
        writeln!(out, "{answer}")?;
    } else if already {
        writeln!(out, "already enrolled as {} of {}", identity.machine, identity.customer)?;
    } else {
        writeln!(out, "enrolled as {} of {}", identity.machine, identity.customer)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn leave(
    state: &StateFolder,
    config: &Result<Config, CliError>,
    silently: bool,
    now: Timestamp,
) -> Result<ExitCode, CliError> {
    if silently && !matches!(Identity::load(state), Err(IdentityError::NotEnrolled)) {
        return Ok(ExitCode::SUCCESS);
    }
    // A configuration that is not understood keeps nobody from leaving.
    let road = config.as_ref().ok().and_then(|config| config.road().ok());
    let road = road.unwrap_or_else(|| Arc::new(Out::default()));
    let told = runtime()?.block_on(leave::leave(state, road, now))?;
    let mut out = io::stdout().lock();
    match told {
        Told::Stays => writeln!(out, "another version takes this one's place: everything is left as it is")?,
        Told::Nobody => writeln!(out, "this machine was not enrolled; nothing is left")?,
        Told::Collector => writeln!(out, "the collector knows; nothing is left")?,
        Told::Unheard(why) => {
            writeln!(out, "nothing is left; the collector does not know, and shows it silent: {why}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn generalise(
    state: &StateFolder,
    config: &Config,
    token_file: PathBuf,
    now: Timestamp,
) -> Result<ExitCode, CliError> {
    let token = std::fs::read_to_string(&token_file)
        .map_err(|source| CliError::TokenFile { path: token_file, source })?;
    let told = runtime()?.block_on(generalise::generalise(state, config.road()?, &token, now))?;
    let mut out = io::stdout().lock();
    if let Told::Unheard(why) = told {
        writeln!(out, "the collector does not know that this machine is an image now: {why}")?;
    }
    writeln!(out, "this machine is an image: keep the agent stopped, and capture it")?;
    Ok(ExitCode::SUCCESS)
}

/// The token waits in the state folder until the agent runs and the collector answers.
fn keep_for_later(state: &StateFolder, token: &str) -> Result<ExitCode, CliError> {
    let kept = waiting::keep(state, token)?;
    let mut out = io::stdout().lock();
    match kept {
        true => writeln!(out, "the token waits: `seatbeat-agent run` enrols this machine with it")?,
        false => writeln!(out, "this machine is enrolled already: no token waits")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What an agent runs on.
pub(super) fn setting(state: StateFolder, config: Config, clock: Clock) -> Result<Setting, CliError> {
    let catalogue = Shelf::open(&state, config.release_key()?).map_err(DaemonError::from)?;
    let (disk, jitter, host_name) = (Box::new(RealDisk), Jitter::random(), host_name());
    Ok(Setting { catalogue, state, config, clock, disk, jitter, host_name })
}

pub(super) fn run(
    state: StateFolder,
    config: Config,
    scope: Scope,
    clock: Clock,
) -> Result<ExitCode, CliError> {
    start_log();
    let runtime = runtime()?;
    // Within the event loop, which hears of signals.
    let stop = runtime.block_on(async { stop_signal() }).map_err(DaemonError::Runtime)?;
    let agent = Agent { state, config, scope, clock, otherwise: Otherwise::Refuse };
    run_until(agent, runtime, stop)?;
    Ok(ExitCode::SUCCESS)
}

/// As the service manager's.
#[cfg(windows)]
pub(super) fn serve(
    state: StateFolder,
    config: Config,
    scope: Scope,
    clock: Clock,
) -> Result<ExitCode, CliError> {
    use tracing_subscriber::prelude::*;
    let _ = tracing_subscriber::registry()
        .with(crate::windows::events::EventLog.with_filter(levels()))
        .try_init();
    let agent = Agent { state, config, scope, clock, otherwise: Otherwise::Wait };
    let work = move |mut stopped: tokio::sync::watch::Receiver<bool>| {
        let done = runtime().and_then(|runtime| {
            run_until(agent, runtime, async move {
                // Who would say stop has gone: so does the process.
                let _ = stopped.wait_for(|stop| *stop).await;
            })
        });
        done.map_err(|error| chain(&error))
    };
    crate::windows::service::run(work).map_err(|error| CliError::Service(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// What runs.
struct Agent {
    state: StateFolder,
    config: Config,
    scope: Scope,
    clock: Clock,
    otherwise: Otherwise,
}

fn run_until(agent: Agent, runtime: Runtime, stop: impl Future<Output = ()>) -> Result<(), CliError> {
    let Agent { state, config, scope, clock, otherwise } = agent;
    let mut stop = std::pin::pin!(stop);
    let (pool, road) = (config.pool, config.road()?);
    let newcomer = Newcomer {
        state: &state,
        host_name: &host_name(),
        facts: |salt: &[u8; 32]| facts(&scope, salt, pool),
        clock,
        pace: Pace::USUAL,
        road: Arc::clone(&road),
    };
    let mut jitter = Jitter::random();
    let identity = runtime.block_on(async {
        tokio::select! {
            biased;
            () = &mut stop => None,
            identity = waiting::identity(newcomer, &mut jitter, otherwise) => Some(identity),
        }
    });
    let Some(identity) = identity.transpose().map_err(DaemonError::from)? else { return Ok(()) };
    // Before the connection and its buffers: what parsing needed is free for them, and the peak is lower.
    let setting = setting(state, config, clock)?;
    let _ = setting.catalogue.in_use.version;
    let hands = VendorHands::new(clock, setting.catalogue.in_use.clone());
    let actor = actor(&setting.state, &identity, &scope);
    let done = runtime.block_on(async {
        // Inside of the event loop, which listens for nudges.
        let (lookout, nudges) = Lookout::new(scope.clone());
        let sight = sight(lookout, scope, identity.salt, pool);
        let daemon = Daemon::new(setting, sight)?.told_by(nudges).over(road);
        let work =
            |actor| worker::start(actor, Box::new(hands), clock).map_err(|error| (chain(&error), None));
        daemon.with_arm(actor.and_then(work)).run(stop).await
    });
    runtime.shutdown_timeout(STOP_MAX);
    Ok(done?)
}

/// Whoever carries orders out on this machine, and on no other system that is looked at in place of it.
fn actor(state: &StateFolder, identity: &Identity, scope: &Scope) -> Result<Actor, (String, Option<String>)> {
    if *scope != Scope::default() {
        return Err(("another system is looked at, and nothing is switched there".to_owned(), None));
    }
    let folder = actor::folder_in(state.path());
    Actor::open(&folder, Box::new(RealDisk), &identity.machine, &identity.service)
        .map_err(|error| (chain(&error), error.hint()))
}

pub(super) fn trust_orders(
    state: &StateFolder,
    text: &str,
    json: bool,
    helper: Option<&Path>,
) -> Result<ExitCode, CliError> {
    let keys = trust::parse(text)?;
    #[cfg(target_os = "linux")]
    if let Some(machine) = super::helper::trust(helper, state, &keys)? {
        return told_trust(&machine, &keys, json);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = helper;
    let identity = Identity::load(state).map_err(DaemonError::from)?;
    // A running agent knows whom it trusts, and would write over it.
    let _lock = state.lock()?;
    let folder = actor::folder_in(state.path());
    actor::pin(&folder, Box::new(RealDisk), &identity.machine, &identity.service, &keys, false)?;
    #[cfg(target_os = "linux")]
    if let Some(folder) = helper {
        super::helper::trust_as(folder, &Pinned::of(&identity), &keys)?;
    }
    told_trust(&identity.machine, &keys, json)
}

fn told_trust(machine: &MachineId, keys: &OrderKeys, json: bool) -> Result<ExitCode, CliError> {
    let mut out = io::stdout().lock();
    let OrderKeys { revision, keys, recovery_key } = keys;
    if json {
        let answer = serde_json::json!({
            "machine": machine.as_str(),
            "order_keys_revision": revision,
            "keys": keys.len(),
            "recovery_key": !recovery_key.is_empty(),
        });
        writeln!(out, "{answer}")?;
    } else {
        writeln!(out, "{machine} takes orders by the keys of revision {revision}")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn scan(args: &ScanArgs, now: Timestamp) -> Result<ExitCode, CliError> {
    match scan::run(args, now, &mut io::stdout().lock()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(ScanError::Print(error)) => Err(error.into()),
        Err(error) => Err(CliError::Scan(error)),
    }
}

pub(super) fn check(
    state: &StateFolder,
    config: &Config,
    clock: &Clock,
    json: bool,
) -> Result<ExitCode, CliError> {
    let release_key = config.release_key()?;
    let findings = runtime()?.block_on(check::check(state, release_key, config.road()?, clock, &host_name()));
    let ok = findings.iter().all(|finding| finding.ok);
    let mut out = io::stdout().lock();
    if json {
        print_json(&mut out, &serde_json::json!({ "ok": ok, "checks": findings }))?;
    } else {
        for finding in &findings {
            let mark = if finding.ok { "ok" } else { "FAILED" };
            writeln!(out, "{:<13} {mark:<7} {}", finding.check, finding.detail)?;
            if let Some(hint) = &finding.hint {
                writeln!(out, "{:<21} hint: {hint}", "")?;
            }
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `status` prints.
#[derive(Debug, Serialize)]
struct Shown {
    enrolled: bool,
    token_waits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_of: Option<Copied>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolment: Option<Progress>,
    running: bool,
    machine: Option<String>,
    customer: Option<String>,
    #[serde(flatten)]
    status: Option<Status>,
}

pub(super) fn status(state: &StateFolder, json: bool) -> Result<ExitCode, CliError> {
    let identity = match Identity::load(state) {
        Ok(identity) => Some(identity),
        Err(IdentityError::NotEnrolled) => None,
        Err(error) => return Err(DaemonError::from(error).into()),
    };
    let running = state.is_in_use();
    let mut status = Status::load(state);
    if let Some(status) = status.as_mut().filter(|_| !running) {
        status.link = LinkStatus::Disconnected;
    }
    let (has_token, waits) = (waiting::is_there(state), waiting::progress(state));
    let mut out = io::stdout().lock();
    if json {
        let shown = Shown {
            enrolled: identity.is_some(),
            token_waits: has_token,
            copy_of: marks::copied(state),
            enrolment: waits,
            running,
            machine: identity.as_ref().map(|identity| identity.machine.to_string()),
            customer: identity.as_ref().map(|identity| identity.customer.to_string()),
            status,
        };
        print_json(&mut out, &shown)?;
    } else {
        if identity.is_none() {
            print_newcomer(&mut out, marks::copied(state).as_ref(), (has_token, waits))?;
        }
        print_status(&mut out, identity.as_ref(), running, status.as_ref())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a machine waits for that nobody let in yet.
fn print_newcomer(
    out: &mut impl Write,
    copied: Option<&Copied>,
    (has_token, waits): (bool, Option<Progress>),
) -> io::Result<()> {
    writeln!(out, "not enrolled")?;
    if let Some(copied) = copied {
        writeln!(out, "a copy        of {}, noticed {}", copied.of, to_seconds(copied.at))?;
        if !has_token {
            writeln!(
                out,
                "{:<13} hint: `seatbeat-agent enrol --later --token sb1.…` lets it in as itself",
                ""
            )?;
        }
    }
    if let Some(progress) = waits {
        let (tried, tries) = (to_seconds(progress.last_tried_at), progress.tries);
        writeln!(out, "{:<13} since {}", "a token waits", to_seconds(progress.trouble.at))?;
        writeln!(out, "last tried    {tried}, {tries} times in vain")?;
        print_trouble(out, "last error", Some(&progress.trouble))?;
    } else if has_token {
        writeln!(out, "a token waits, and was not tried yet")?;
    }
    Ok(())
}

fn print_status(
    out: &mut impl Write,
    identity: Option<&Identity>,
    running: bool,
    status: Option<&Status>,
) -> io::Result<()> {
    let Some(identity) = identity else { return Ok(()) };
    writeln!(out, "machine       {}", identity.machine)?;
    writeln!(out, "customer      {}", identity.customer)?;
    writeln!(out, "agent         {}", if running { "running" } else { "not running" })?;
    let Some(status) = status else { return Ok(()) };
    let link = match status.link {
        LinkStatus::Connected => "connected",
        LinkStatus::Disconnected => "not connected",
    };
    writeln!(out, "collector     {link}")?;
    if let Some(at) = status.last_connected_at {
        writeln!(out, "last welcome  {}", to_seconds(at))?;
    }
    print_trouble(out, "last error", status.last_error.as_ref())?;
    print_trouble(out, "reporting", status.reporting_stopped.as_ref())?;
    let source = if status.catalogue.pushed { "pushed" } else { "built in" };
    writeln!(out, "catalogue     {}, {source}", status.catalogue.version)?;
    print_trouble(out, "", status.catalogue.refused.as_ref())?;
    print_orders(out, &status.orders)?;
    writeln!(out, "waiting       {} not acknowledged", status.waiting)?;
    writeln!(out, "clock         {} ms from the collector's", status.clock_offset_ms)?;
    match &status.last_report {
        None => writeln!(out, "last report   none")?,
        Some(report) => {
            writeln!(out, "last report   {} ({})", to_seconds(report.observed_at), report.reason)?;
            for found in &report.products {
                let why = if found.why.is_empty() { String::new() } else { format!("  {}", found.why) };
                writeln!(out, "  {:<20} {:<12} {}{why}", found.product, found.state, found.version)?;
            }
        }
    }
    Ok(())
}

fn print_orders(out: &mut impl Write, orders: &OrdersStatus) -> io::Result<()> {
    match orders.keys_revision {
        0 => writeln!(out, "orders        of nobody are taken")?,
        revision => writeln!(out, "orders        by the keys of revision {revision}")?,
    }
    print_trouble(out, "", orders.stopped.as_ref())?;
    for order in &orders.orders {
        let what = format!("{} {}", order.action, order.product);
        let (at, outcome, detail) = (to_seconds(order.at), &order.outcome, &order.detail);
        let order = &order.order;
        writeln!(out, "  {at}  {order:<24} {:<20} {outcome:<10} {detail}", what.trim_end())?;
    }
    for trouble in &orders.noticed {
        print_trouble(out, "", Some(trouble))?;
    }
    Ok(())
}

fn print_trouble(out: &mut impl Write, name: &str, trouble: Option<&Trouble>) -> io::Result<()> {
    let Some(trouble) = trouble else { return Ok(()) };
    writeln!(out, "{name:<13} {} (since {})", trouble.what, to_seconds(trouble.at))?;
    match &trouble.hint {
        Some(hint) => writeln!(out, "{:<13} hint: {hint}", ""),
        None => Ok(()),
    }
}

fn to_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn print_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), CliError> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// The agent's eyes: detection, and the catalogue that knows what it sees.
pub(super) fn sight(lookout: Lookout, scope: Scope, salt: [u8; 32], pool: bool) -> Sight {
    let kept: Mutex<Option<wire::Facts>> = Mutex::new(None);
    Arc::new(move |now: Timestamp, look, catalogue: &Catalogue| {
        let looked = lookout.look(look, catalogue).map_err(|error| chain(&error))?;
        let products = catalogue.find(&looked.seen, now).into_iter().map(|finding| wire::FoundProduct {
            product: finding.product.to_string(),
            state: wire::ProductState::from(finding.state).into(),
            version: finding.version.unwrap_or_default(),
            signals: finding.signals,
            why: finding.why.unwrap_or_default(),
        });
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.everything {
            *kept = None;
        }
        Ok(Seen {
            products: products.collect(),
            facts: kept.get_or_insert_with(|| facts(&scope, &salt, pool)).clone(),
            catalogue_version: catalogue.version,
        })
    })
}

pub(super) fn facts(scope: &Scope, salt: &[u8; 32], pool: bool) -> wire::Facts {
    detect::facts::read(scope.root.as_deref().unwrap_or(Path::new("/")), salt, pool)
}

#[cfg(target_os = "linux")]
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn host_name() -> String {
    sysinfo::System::host_name().unwrap_or_default()
}

pub(super) fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)
}

#[cfg(unix)]
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Levels by target, as `RUST_LOG` says; without regular expressions, which an agent would carry for nothing else.
fn levels() -> tracing_subscriber::filter::Targets {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

pub(super) fn start_log() {
    use tracing_subscriber::prelude::*;
    let lines =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let _ = tracing_subscriber::registry().with(lines.with_filter(levels())).try_init();
}
