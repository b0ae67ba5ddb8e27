//! Products on Linux that have no self-protection: their service is stopped and does not start any more.
//! Invariant: only the product's own service is named, and it is neither deleted nor masked.
//!
//! - Preconditions: the product is there; `systemctl`, or `service` and `chkconfig`, are root's alone.
//! - Vision One sensor: `systemctl disable --now tmxbc`, and `enable --now` to undo it.
//! - ServerProtect: `service splx stop; chkconfig splx off`, and `chkconfig splx on; service splx start` to undo it.
//! - Success: each ends with status 0, and detection no longer (or again) sees the unit active or the program run.
//! - Where the second of two fails, what the first did stays done and is told.

use std::time::Duration;

use seatbeat_proto::wire::OrderSecrets;

use super::secrets::last_word;
use super::tool::{Call, Tools};

/// Where systemd's tool is.
pub(super) const SYSTEMCTL: &[&str] = &["/usr/bin/systemctl", "/bin/systemctl"];

/// Where the tool for init scripts is, by age of the system.
pub(super) const SERVICE: &[&str] = &["/usr/sbin/service", "/sbin/service", "/usr/bin/service"];

/// Where the one that says when they start is.
pub(super) const CHKCONFIG: &[&str] = &["/usr/sbin/chkconfig", "/sbin/chkconfig", "/usr/bin/chkconfig"];

/// A service gets as long to stop as systemd gives it by default, and half as long again.
const TIME: Duration = Duration::from_secs(135);

/// The first of several places of a program that may be run.
///
/// # Errors
/// Why the first one that is there may not, or that none is there.
pub(super) fn first<'a>(tools: &dyn Tools, places: &[&'a str]) -> Result<&'a str, String> {
    let mut why = None;
    for place in places {
        match tools.check(place) {
            Ok(()) => return Ok(place),
            Err(refused) => why = why.or(Some(refused)),
        }
    }
    Err(why.unwrap_or_else(|| "there is no program for it".into()))
}

/// Runs a tool that says by its status how it went.
///
/// # Errors
/// What it said.
pub(super) fn done(
    tools: &dyn Tools,
    call: &Call,
    shown: &str,
    secrets: Option<&OrderSecrets>,
) -> Result<(), String> {
    let said = tools.run(call)?;
    if said.late {
        return Err(format!("`{shown}` did not end in its time and was stopped"));
    }
    let line = last_word(&said.text, said.cut, secrets).map_or_else(String::new, |line| format!(": {line}"));
    match said.code {
        Some(0) => Ok(()),
        Some(code) => Err(format!("`{shown}` ended with status {code}{line}")),
        None => Err(format!("`{shown}` was ended by a signal{line}")),
    }
}

/// One tool after the other; what was done before one failed is told.
fn both(tools: &dyn Tools, steps: &[(&[&str], &[&str], &str)]) -> Result<String, String> {
    let mut did: Vec<&str> = Vec::new();
    for (places, arguments, shown) in steps {
        let step = first(tools, places)
            .and_then(|program| done(tools, &Call::new(program, arguments, TIME), shown, None));
        match step {
            Ok(()) => did.push(shown),
            Err(why) if did.is_empty() => return Err(why),
            Err(why) => return Err(format!("done in part: `{}` was carried out; {why}", did.join("`, `"))),
        }
    }
    Ok(format!("`{}` was carried out", did.join("`, `")))
}

/// The sensor, off or on.
///
/// # Errors
/// Why not.
pub(super) fn sensor(tools: &dyn Tools, on: bool) -> Result<String, String> {
    match on {
        false => both(tools, &[(SYSTEMCTL, &["disable", "--now", "tmxbc"], "systemctl disable --now tmxbc")]),
        true => both(tools, &[(SYSTEMCTL, &["enable", "--now", "tmxbc"], "systemctl enable --now tmxbc")]),
    }
}

/// ServerProtect, off or on.
///
/// # Errors
/// Why not, and what was done nevertheless.
pub(super) fn splx(tools: &dyn Tools, on: bool) -> Result<String, String> {
    match on {
        false => both(
            tools,
            &[
                (SERVICE, &["splx", "stop"], "service splx stop"),
                (CHKCONFIG, &["splx", "off"], "chkconfig splx off"),
            ],
        ),
        true => both(
            tools,
            &[
                (CHKCONFIG, &["splx", "on"], "chkconfig splx on"),
                (SERVICE, &["splx", "start"], "service splx start"),
            ],
        ),
    }
}
