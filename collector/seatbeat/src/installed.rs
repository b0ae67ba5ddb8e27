//! `seatbeat init` by root on a machine where the package made a user for the collector. Invariant: root writes nothing in
//! the store; what is done there is done by that user, whose the store is.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use seatbeat_collector::console::rows::{Customer, NewToken, Status};
use seatbeat_proto::{instant, wire};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::hints::Hinted;
use crate::out;
use crate::profile::SYSTEM as PROFILE;
use crate::store::SYSTEM as STORE;
use crate::{credentials, init};

/// The user that the package made.
const USER: &str = "seatbeat";

/// What the package starts.
const UNIT: &str = "seatbeat.service";

/// Where users of this machine stand.
const USERS: &str = "/etc/passwd";

/// There where systemd runs the machine.
const SYSTEMD: &str = "/run/systemd/system";

/// For how many machines and days the first token is: a first rollout, not a house.
const FIRST_USES: u32 = 50;
const FIRST_TIME: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

/// A user's number and its group's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
}

/// The user that the collector is to belong to, where root asks on such a machine.
pub fn user() -> Option<User> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    named(&std::fs::read_to_string(USERS).ok()?, USER)
}

fn named(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let mut numbers = fields.skip(1);
        Some(User { uid: numbers.next()?.parse().ok()?, gid: numbers.next()?.parse().ok()? })
    })
}

/// Sets the collector up as its user, starts it, and tells what comes next.
///
/// # Errors
/// When the store cannot be founded, or the collector does not start.
pub fn run(args: &init::Args, user: User, context: &Context) -> anyhow::Result<()> {
    let mut told = found(args, user, context)?;
    let firewall = firewall(args.agent_listen, has);
    told["firewall"] = json!(firewall);
    if Path::new(SYSTEMD).exists() {
        start()?;
        first(args.customer.as_deref(), context, &mut told)?;
    }
    context.out.value(&told, || page(&told))?;
    if !context.out.is_json() {
        if told["sign_in"].is_null() {
            out::note(&format!("start it with `systemctl start {UNIT}`"));
        }
        out::note(&format!("agents come to {}: {}", args.agent_listen, firewall.join("; ")));
    }
    Ok(())
}

/// Has the collector's user set it up.
fn found(args: &init::Args, user: User, context: &Context) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--json").args(["--profile", PROFILE]);
    if let Some(clock) = context.clock {
        command.arg(format!("--clock={clock}"));
    }
    command.args(["init", "--store", STORE, "--zone", &args.zone]);
    command.arg(format!("--agent-listen={}", args.agent_listen));
    command.arg(format!("--operator-listen={}", args.operator_listen));
    command.args(args.agent_addresses.iter().map(|address| format!("--agent-address={address}")));
    command.args(args.admin.iter().map(|login| format!("--admin={login}")));
    command.args(args.journal.iter().map(|database| format!("--journal={database}")));
    let files = [
        ("--journal-password-file", &args.access.journal_password_file),
        ("--journal-certificate", &args.access.journal_certificate),
    ];
    for (option, path) in files {
        command.args(path.iter().map(|path| format!("{option}={}", path.display())));
    }
    // Of the user's own, and nothing of root's.
    command.env_clear().env("HOME", STORE).current_dir("/").uid(user.uid).gid(user.gid);
    let said = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    let err = String::from_utf8_lossy(&said.stderr);
    if !said.status.success() {
        let line = |start: &str| err.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
        let message =
            line("error: ").unwrap_or_else(|| format!("`seatbeat init` ended with {}", said.status));
        let hint = line("hint: ").unwrap_or_else(|| format!("the store is `{STORE}`, of the user {USER}"));
        return Err(Hinted { message, hint }.into());
    }
    Ok(serde_json::from_slice(&said.stdout)?)
}

/// Starts the collector and waits until both doors are open, which it tells systemd.
fn start() -> anyhow::Result<()> {
    let done = Command::new("systemctl").args(["enable", "--quiet", "--now", UNIT]).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(Hinted {
        message: format!("the collector is set up, and does not start: {}", said.trim()),
        hint: format!("`journalctl -u {UNIT}` says why; then `systemctl restart {UNIT}`"),
    }
    .into())
}

/// What the first operator opens in a browser, and the first customer's token.
fn first(customer: Option<&str>, context: &Context, told: &mut Value) -> anyhow::Result<()> {
    let profile = Some(PROFILE.into());
    let context = Context { out: context.out, profile, address: None, ca: None, clock: context.clock };
    let operator = told["operator"].as_str().unwrap_or_default().to_owned();
    context.ask(async |collector| {
        let request = wire::CreateSignInLinkRequest { operator, reason: "set up".to_owned() };
        let link = collector.call(async |console| console.create_sign_in_link(request).await).await?;
        told["sign_in"] = json!(credentials::link_address(collector, &link.code));
        let Some(name) = customer else { return Ok(()) };
        let request = wire::AddCustomerRequest { customer: String::new(), name: name.to_owned() };
        let added: Customer = collector.ask(async |console| console.add_customer(request).await).await?;
        let asked = wire::StatusRequest::default();
        let status: Status = collector.ask(async |console| console.status(asked).await).await?;
        let request = wire::CreateTokenRequest {
            customer: added.customer.to_string(),
            uses_max: FIRST_USES,
            expires_at_ms: instant::to_ms(status.now + FIRST_TIME),
            uses_per_hour: 0,
        };
        let made: NewToken = collector.ask(async |console| console.create_token(request).await).await?;
        told["customer"] = json!(added.customer.to_string());
        told["token"] = json!(made.text);
        Ok(())
    })
}

/// How the agents' port is opened, as the machine's own tools have it.
fn firewall(agents: SocketAddr, has: impl Fn(&str) -> bool) -> Vec<String> {
    if agents.ip().is_loopback() {
        return vec!["a loopback address, nothing to open".to_owned()];
    }
    let port = agents.port();
    let mut words = Vec::new();
    if has("ufw") {
        words.push(format!("`ufw allow {port}/tcp`"));
    }
    if has("firewall-cmd") {
        words.push(format!("`firewall-cmd --permanent --add-port={port}/tcp && firewall-cmd --reload`"));
    }
    if words.is_empty() {
        words.push(format!("let TCP port {port} in through the firewall"));
    }
    words
}

fn has(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

fn page(told: &Value) -> String {
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let shown = [
        ("store", "store"),
        ("reseller", "reseller"),
        ("operator", "operator"),
        ("profile", "profile"),
        ("statement key", "statement_key"),
        ("sign in once", "sign_in"),
        ("customer", "customer"),
        ("token", "token"),
    ];
    let fields: Vec<(&str, String)> = shown.iter().map(|(name, key)| (*name, text(key))).collect();
    out::fields(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\nseatbeat-agent:x:997:996::/:/bin/false\nseatbeat:x:995:994::/:/bin/false\n";
        assert_eq!(named(users, USER), Some(User { uid: 995, gid: 994 }));
        assert_eq!(named("seatbeat-agent:x:997:996::/:/bin/false\n", USER), None);
    }

    #[test]
    fn the_firewall_is_told_in_the_words_of_the_machines_own_tools() {
        let agents = "0.0.0.0:8443".parse().unwrap();
        assert_eq!(firewall(agents, |program| program == "ufw"), ["`ufw allow 8443/tcp`"]);
        assert!(firewall(agents, |_| false)[0].contains("TCP port 8443"));
        assert!(firewall("127.0.0.1:1".parse().unwrap(), |_| true)[0].contains("nothing to open"));
    }
}
