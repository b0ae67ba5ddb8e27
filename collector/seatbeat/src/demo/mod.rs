//! `seatbeat demo`: a reseller's month on this machine, end to end, through the doors that real agents and operators
//! use. Invariant: it decides nothing about a count; it compares what was sealed with what was worked out by hand.

mod agent;
mod check;
mod fault;
mod fleet;
mod folder;
mod house;
mod licences;
mod live;
mod orders;
pub mod platform;
mod steps;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::tz::TimeZone;
use seatbeat_collector::clock::Clock;
use seatbeat_fleet::Plan;

use self::agent::Agent;
use self::fault::Fault;
use self::folder::Place;
use self::house::House;
use self::platform::Platform;
use self::steps::Steps;
use crate::cli::Context;
use crate::{hints, out};

/// The billing zone: one with daylight-saving days.
const ZONE: &str = "Europe/Berlin";

/// Decides the simulated machines' keys and hours.
const SEED: u64 = 1;

/// What the demonstration is told. `--clock TIME` runs it as of another time.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after the checks instead of staying up
    #[arg(long)]
    exit: bool,
    /// Where everything is kept [default: a folder `demo` in the user's data folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Where agents connect; port 0: any that is free
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8443", value_parser = own_address)]
    agent_listen: SocketAddr,
    /// Where operators connect; port 0: any that is free
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", value_parser = loopback)]
    operator_listen: SocketAddr,
}

fn own_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "expected IP:PORT, such as 127.0.0.1:8443".to_owned())?;
    if address.ip().is_unspecified() {
        return Err("name one address of this machine: it goes into the enrolment tokens".to_owned());
    }
    Ok(address)
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = own_address(text)?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("this door has no TLS: name 127.0.0.1".to_owned())
    }
}

/// Runs the verb.
///
/// # Errors
/// When the runtime cannot be made.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let clock = context.clock.map_or_else(Clock::real, Clock::as_of);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(demonstrate(args, clock));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(fault) => {
            let hint = fault.hint();
            let error = anyhow::Error::new(fault);
            out::failure(&hints::chain(&error), hint.or_else(|| hints::of(&error)).as_deref());
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn demonstrate(args: &Args, clock: Clock) -> Result<(), Fault> {
    let zone = TimeZone::get(ZONE).map_err(|error| Fault::Zone(error.to_string()))?;
    let plan = seatbeat_fleet::plan(clock.now(), ZONE, &zone, SEED)?;
    let mut steps = Steps::default();
    let place = Place::take(args.folder.clone(), &plan.period, clock.now())?;
    let platform = Platform::start()?;
    let destinations = platform.destinations(&place, &plan)?;
    let mut house = House::open(place, &plan.policy, destinations, args, clock, &mut steps).await?;
    let outcome = tokio::select! {
        shown = show(&mut house, &plan, &platform, args, &mut steps) => shown,
        // After the checks it is the way to end; before them it is a failure.
        () = stop_signal() => Err(Fault::Interrupted),
    };
    let outcome = match outcome {
        Err(Fault::Interrupted) if house.is_checked() => Ok(()),
        Err(_) if house.has_ended() => Err(Fault::Ended),
        other => other,
    };
    let closed = house.close().await;
    // What made the collector end says more than what its end led to.
    match (outcome, closed) {
        (Ok(()) | Err(Fault::Ended), Err(fault)) => Err(fault),
        (outcome, _) => outcome,
    }
}

async fn show(
    house: &mut House,
    plan: &Plan,
    platform: &Platform,
    args: &Args,
    steps: &mut Steps,
) -> Result<(), Fault> {
    let tokens = house.add_customers(steps).await?;
    platform::map(house, steps).await?;
    let _agent = Agent::start(house, &tokens, steps).await?;
    fleet::enrol(house, plan, &tokens, steps).await?;
    fleet::send(house, plan, &tokens, steps).await?;
    let sealed = check::close_month(house, plan, steps).await?;
    platform::settled(house, plan, platform, steps).await?;
    licences::add(house, steps).await?;
    orders::keys(house, steps).await?;
    house.checked()?;
    let verify = sealed.first().map(|file| house.verify_command(file));
    out::data(&format!("\n{}", out::page([Some(house.whereabouts()), verify])))?;
    if args.exit {
        return Ok(());
    }
    let address = house.sign_in_address().await?;
    out::data(&format!("\nOpen in a browser, once and within a quarter of an hour\n  {address}"))?;
    out::data(&format!("\n{}", house.tries()))?;
    live::stay(house, plan, &tokens).await
}

async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
