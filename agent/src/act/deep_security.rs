//! Deep Security, Workload Security, Server & Workload Protection: the agent's own `dsa_control`, on every system.
//! Invariant: success is what the vendor's words say and the machine shows, never an exit status alone.
//!
//! - Preconditions: the product is there; `dsa_control` and its folders are the system's alone.
//! - Off: `dsa_control --selfprotect=0 -p …` where a password came with the order, then `dsa_control -r [-p …]`, which
//!   drops activation and policy. On: `dsa_control -a dsm://… tenantID:… token:… [policyid:…]`.
//! - Success: `Agent self-protection successfully disabled.`; of a reset `HTTP Status: 200` or a completed session; of an
//!   activation `Command session completed.`. A 403 of an untrusted peer says that the agent does not let this program
//!   speak to it, not that a password is wrong; the vendor publishes no words for a wrong password, so a refusal that
//!   names the password, or a 401, is taken as one.
//! - Looked at by `dsa_query`: off is without a manager, on is green with one.
//! - Undone by the other of the two. Where a reset fails, self-protection is put back on.
//! - Password and token are arguments of the tool: root can read them in the process list while it runs.

use std::time::Duration;

use seatbeat_proto::catalogue::Os;
use seatbeat_proto::wire::OrderSecrets;

use super::secrets::last_word;
use super::tool::{Call, Said, Tools};

/// A reset talks to the agent on this machine only.
const RESET_TIME: Duration = Duration::from_secs(120);

/// An activation talks to the manager, and tries again by itself.
const ACTIVATE_TIME: Duration = Duration::from_secs(300);

/// Where it is.
pub(super) fn program(os: Os) -> String {
    match os {
        Os::Linux => "/opt/ds_agent/dsa_control".into(),
        Os::Macos => "/Library/Application Support/com.trendmicro.DSAgent/dsa_control".into(),
        Os::Windows => {
            let programs = std::env::var("ProgramFiles").unwrap_or_else(|_| r"C:\Program Files".into());
            format!(r"{programs}\Trend Micro\Deep Security Agent\dsa_control.cmd")
        }
    }
}

/// What the tool's words come to; of several the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Completed,
    Unprotected,
    Taken,
    WrongPassword,
    /// This program is not let speak to the agent here.
    ForeignCaller,
    /// The manager or the agent does not trust the other one.
    UntrustedPeer,
    Refused(u16),
    Unclear,
}

impl Word {
    fn of(text: &str) -> Self {
        let (mut word, mut unauthenticated) = (Self::Unclear, false);
        for line in text.lines().map(str::trim) {
            let lower = line.to_ascii_lowercase();
            unauthenticated |= lower.starts_with("process not authenticated");
            if let Some(status) = line.strip_prefix("HTTP Status:") {
                let code = status.split_whitespace().next().and_then(|code| code.parse::<u16>().ok());
                word = match code {
                    Some(200) => Self::Taken,
                    Some(401) => Self::WrongPassword,
                    Some(403) if unauthenticated => Self::ForeignCaller,
                    Some(403) if lower.contains("untrusted peer") => Self::UntrustedPeer,
                    Some(code) => Self::Refused(code),
                    None => word,
                };
            } else if line == "Command session completed." {
                word = Self::Completed;
            } else if line == "Agent self-protection successfully disabled." {
                word = Self::Unprotected;
            } else if lower.contains("passw")
                && ["incorrect", "invalid", "wrong", "fail", "denied", "required", "mismatch"]
                    .iter()
                    .any(|bad| lower.contains(bad))
            {
                word = Self::WrongPassword;
            }
        }
        word
    }

    /// Why it is a refusal.
    fn refusal(self, password_given: bool) -> Option<String> {
        Some(match self {
            Self::WrongPassword if password_given => "the agent refused the password".into(),
            Self::WrongPassword => {
                "the agent asks for the password of its self-protection, and the order brings none".into()
            }
            Self::ForeignCaller => "the agent does not let this program speak to it (403, process not \
                authenticated); the password was not looked at"
                .into(),
            Self::UntrustedPeer => {
                "the other side is not trusted (403, untrusted peer); the password was not looked at".into()
            }
            Self::Refused(status) => format!("it was refused with status {status}"),
            Self::Completed | Self::Unprotected | Self::Taken | Self::Unclear => return None,
        })
    }
}

fn password(secrets: Option<&OrderSecrets>) -> Option<&str> {
    secrets.map(|given| given.password.as_str()).filter(|password| !password.is_empty())
}

fn call(os: Os, arguments: &[&str], password: Option<&str>, time: Duration) -> Call {
    let mut call = Call::new(&program(os), arguments, time);
    if let Some(password) = password {
        call.arguments.extend(["-p".to_owned(), password.to_owned()]);
    }
    call
}

fn ask(tools: &dyn Tools, call: &Call, secrets: Option<&OrderSecrets>) -> Result<Word, String> {
    let said = tools.run(call)?;
    let word = Word::of(&said.text);
    if said.late {
        return Err("`dsa_control` did not end in its time and was stopped".into());
    }
    match word.refusal(password(secrets).is_some()) {
        Some(why) => Err(why),
        None if word == Word::Unclear && said.code != Some(0) => Err(unclear(&said, secrets)),
        None => Ok(word),
    }
}

fn unclear(said: &Said, secrets: Option<&OrderSecrets>) -> String {
    let status = said.code.map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"));
    match last_word(&said.text, said.cut, secrets) {
        Some(line) => format!("`dsa_control` ended with {status}: {line}"),
        None => format!("`dsa_control` ended with {status}"),
    }
}

/// Ends self-protection; whether there was a password to do it with.
///
/// # Errors
/// Why it is still on.
pub(super) fn unprotect(tools: &dyn Tools, os: Os, secrets: Option<&OrderSecrets>) -> Result<bool, String> {
    let Some(password) = password(secrets) else { return Ok(false) };
    let word = ask(tools, &call(os, &["--selfprotect=0"], Some(password), RESET_TIME), secrets)
        .map_err(|why| format!("self-protection stays on: {why}"))?;
    match word {
        Word::Unprotected => Ok(true),
        _ => Err("self-protection stays on: `dsa_control` did not say that it is off".into()),
    }
}

/// Puts self-protection back, and says so.
pub(super) fn protect_again(tools: &dyn Tools, os: Os, secrets: Option<&OrderSecrets>) -> &'static str {
    let call = call(os, &["--selfprotect=1"], password(secrets), RESET_TIME);
    match ask(tools, &call, secrets) {
        Ok(_) => "self-protection was switched off for it and on again",
        Err(_) => "self-protection was switched off for it and could not be switched on again",
    }
}

/// Off.
///
/// # Errors
/// Why not, and what was done nevertheless.
pub(super) fn reset(tools: &dyn Tools, os: Os, secrets: Option<&OrderSecrets>) -> Result<String, String> {
    let unprotected = unprotect(tools, os, secrets)?;
    match ask(tools, &call(os, &["-r"], password(secrets), RESET_TIME), secrets) {
        Ok(Word::Unclear) => Ok("`dsa_control -r` ended without a word that is known".into()),
        Ok(_) => Ok("`dsa_control -r` dropped its activation and policy".into()),
        Err(why) if unprotected => Err(format!("{why}; {}", protect_again(tools, os, secrets))),
        Err(why) => Err(why),
    }
}

/// On.
///
/// # Errors
/// Why not.
pub(super) fn activate(tools: &dyn Tools, os: Os, secrets: Option<&OrderSecrets>) -> Result<String, String> {
    let given = secrets.ok_or("the order brings no manager to activate it with")?;
    let (tenant, token) = (format!("tenantID:{}", given.tenant), format!("token:{}", given.token));
    let policy = format!("policyid:{}", given.policy);
    let mut arguments = vec!["-a", given.manager.as_str(), &tenant, &token];
    if !given.policy.is_empty() {
        arguments.push(&policy);
    }
    match ask(tools, &call(os, &arguments, None, ACTIVATE_TIME), secrets)? {
        Word::Completed => {
            Ok("`dsa_control -a` activated it, and the manager's session was completed".into())
        }
        _ => Err("`dsa_control -a` began, and the manager did not complete its session".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVATED: &str = include_str!("../detect/samples/dsa_control_activate_success.txt");
    const LOCAL_403: &str = include_str!("../detect/samples/dsa_control_403_local_peer_auth.txt");
    const UNPROTECTED: &str = include_str!("../detect/samples/dsa_control_selfprotect_disabled.txt");

    #[test]
    fn the_samples_say_what_they_mean() {
        assert_eq!(Word::of(ACTIVATED), Word::Completed);
        assert_eq!(Word::of(UNPROTECTED), Word::Unprotected);
        assert_eq!(Word::of(LOCAL_403), Word::ForeignCaller);
        assert_eq!(Word::of(&LOCAL_403.replace('\n', "\r\n")), Word::ForeignCaller);
    }

    #[test]
    fn a_refusal_is_told_apart_from_a_wrong_password_and_from_success() {
        for (text, word) in [
            ("HTTP Status: 403 - Forbidden - untrusted peer.", Word::UntrustedPeer),
            ("HTTP Status: 401 - Unauthorized", Word::WrongPassword),
            ("Error: invalid password", Word::WrongPassword),
            ("HTTP Status: 500 - Oops", Word::Refused(500)),
            ("HTTP Status: 500 - Oops\nHTTP Status: 200 - OK", Word::Taken),
            ("HTTP Status: 200 - OK\nHTTP Status: 403 - Forbidden - untrusted peer.", Word::UntrustedPeer),
            ("you said: Command session completed.", Word::Unclear),
            ("", Word::Unclear),
        ] {
            assert_eq!(Word::of(text), word, "{text}");
        }
        assert!(Word::of(LOCAL_403).refusal(true).unwrap().contains("password was not looked at"));
        assert!(Word::WrongPassword.refusal(false).unwrap().contains("the order brings none"));
        assert_eq!(Word::Completed.refusal(true), None);
    }
}
