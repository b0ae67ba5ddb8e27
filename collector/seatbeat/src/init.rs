//! `seatbeat init`: a new collector. Invariant: nothing that is there is touched, and the operator's token is in a file
//! of the operator's own, or was never made.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::console::sign_in::accounts::Login;
use seatbeat_collector::found::{FoundError, FoundedStore, Founding, opened_by};
use seatbeat_ledger::calendar::Zone;
use serde::Serialize;

use crate::cli::Context;
use crate::hints::Hinted;
#[cfg(unix)]
use crate::installed;
use crate::journal::Access;
use crate::profile::{self, Place, Profile};
use crate::{out, store};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The collector's store [default: the user's data folder, /var/lib/seatbeat for root]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Where agents reach this collector, goes into each token; can be given more than once
    #[arg(long = "agent-address", value_name = "HOST:PORT", value_parser = address)]
    pub agent_addresses: Vec<String>,
    /// Where it listens for agents
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    pub agent_listen: SocketAddr,
    /// Where it listens for operators: a loopback address, until it has a certificate
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = loopback)]
    pub operator_listen: SocketAddr,
    /// Billing zone (IANA name): it stays once there is evidence
    #[arg(long, default_value = "UTC", value_parser = zone)]
    pub zone: String,
    /// Name that the first operator, an admin, signs in with in a browser
    #[arg(long, value_name = "NAME")]
    pub admin: Option<Login>,
    /// Name of the first customer, who gets an enrolment token at once; where root sets up the package's collector
    #[arg(long, value_name = "NAME")]
    pub customer: Option<String>,
    /// Database that is to keep the journal, postgres://USER@HOST/DATABASE [default: none, the store keeps it]
    #[arg(long, value_name = "DATABASE")]
    pub journal: Option<String>,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Serialize)]
struct Founded {
    store: PathBuf,
    reseller: String,
    operator: String,
    profile: PathBuf,
    statement_key: String,
}

/// Runs the verb.
///
/// # Errors
/// When a store or a profile is there already, or a folder cannot be written.
pub fn run(args: Args, context: &Context) -> anyhow::Result<()> {
    #[cfg(unix)]
    if let Some(user) = installed::user().filter(|_| args.store.is_none() && context.profile.is_none()) {
        return installed::run(&args, user, context);
    }
    if args.customer.is_some() {
        return Err(Hinted {
            message: "`--customer` needs a collector that runs at once, as root has from the package"
                .to_owned(),
            hint: "leave it out; with `seatbeat serve` running, `seatbeat customers add` and `tokens create`"
                .to_owned(),
        }
        .into());
    }
    let folder = store::folder(args.store.as_deref())?;
    let config = Config {
        agent_listen: args.agent_listen,
        agent_addresses: args.agent_addresses,
        operator_listen: args.operator_listen,
        journal: args.journal,
        journal_password_file: absolute(args.access.journal_password_file)?,
        journal_certificate: absolute(args.access.journal_certificate)?,
        ..Config::default()
    };
    let mut place = Place::take(&profile::path(context.profile.as_deref())?)?;
    let clock = context.clock.map_or_else(Clock::real, Clock::as_of);
    let founded = match Founding::begin(&folder, &config, &first_policy(&args.zone), clock) {
        Ok(founding) => {
            let token = founding.founded().operator_token.to_string();
            place.write(&Profile { address: config.operator_listen.to_string(), token, ca: None })?;
            if let Some(login) = &args.admin {
                founding.set_login(login)?;
            }
            founding.finish()?
        }
        Err(FoundError::Founded(folder)) => left_over(&folder, &place)?,
        Err(error) => return Err(error.into()),
    };
    let profile = place.publish()?;
    let founded = Founded {
        store: folder,
        reseller: founded.reseller.to_string(),
        operator: founded.operator.to_string(),
        profile,
        statement_key: STANDARD.encode(founded.statement_key),
    };
    context.out.value(&founded, || page(&founded))?;
    out::note(&format!(
        "to sign in in a browser: start `seatbeat serve`, then open what `seatbeat operators link {}` prints, an address at \
         http://{} that is good once",
        founded.operator, config.operator_listen
    ));
    if config.addresses().is_empty() {
        out::note(&format!(
            "agents need an address of this machine: set `agent_addresses` in `{}` before making tokens",
            founded.store.join(Config::FILE).display()
        ));
    }
    Ok(())
}

/// The configuration names files by their whole paths.
fn absolute(path: Option<PathBuf>) -> std::io::Result<Option<PathBuf>> {
    path.map(std::path::absolute).transpose()
}

/// A store whose founding was cut short just before its profile was in its place.
fn left_over(folder: &Path, place: &Place) -> Result<FoundedStore, FoundError> {
    let known = match place.left() {
        Some(profile) => opened_by(folder, &profile.token)?,
        None => None,
    };
    known.ok_or_else(|| FoundError::Founded(folder.to_owned()))
}

fn page(founded: &Founded) -> String {
    out::fields(&[
        ("store", founded.store.display().to_string()),
        ("reseller", founded.reseller.clone()),
        ("operator", founded.operator.clone()),
        ("profile", founded.profile.display().to_string()),
        ("statement key", founded.statement_key.clone()),
    ])
}

/// What a collector counts by until its operator sets prices and SKUs.
fn first_policy(zone: &str) -> String {
    format!(
        "# Rules, SKUs and prices. Change a copy, then `seatbeat policy set FILE`.\n\
         zone = \"{zone}\"\n\
         presume_days = 7\n"
    )
}

fn zone(text: &str) -> Result<String, String> {
    Zone::named(text).map(|zone| zone.name().to_owned()).map_err(|error| error.to_string())
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected an address and a port".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("name a loopback address: another one needs `operator_certificate` in seatbeat.toml".into())
    }
}

/// A host and a port, as they go into tokens and profiles.
///
/// # Errors
/// What is expected instead.
pub fn address(text: &str) -> Result<String, String> {
    let refused = || "expected HOST:PORT, as in `collector.example.com:8443`".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = !bare.is_empty()
        && (bare == host
            && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
            || bare != host && bare.parse::<std::net::Ipv6Addr>().is_ok());
    match port.parse::<u16>() {
        Ok(1..) if is_host => Ok(text.to_owned()),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_policy_is_one() {
        let policy = seatbeat_ledger::policy::Policy::parse(&first_policy("Europe/Berlin")).unwrap();
        assert_eq!((policy.zone.name(), policy.presume_days), ("Europe/Berlin", 7));
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for right in ["collector.example.com:8443", "10.0.0.1:1", "[::1]:8443", "box:65535"] {
            assert_eq!(address(right).unwrap(), right);
        }
        for wrong in [
            "",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "https://host:1",
            ":1",
            "a b:1",
            "::1:8443",
            "[x]:1",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn operators_come_by_loopback_only() {
        assert!(loopback("127.0.0.1:8080").is_ok() && loopback("[::1]:0").is_ok());
        assert!(loopback("0.0.0.0:8080").is_err() && loopback("x").is_err());
    }
}
