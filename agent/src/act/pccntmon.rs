//! Worry-Free, OfficeScan and Apex One on Windows: the security agent's own `PccNTMon.exe`.
//! Invariant: the vendor's program does it with the password that the customer set, and nothing here goes around it:
//! no registry value, service, driver or process of the vendor's is touched.
//!
//! - Preconditions: the product is there, with `PccNTMon.exe` in one of the folders it installs to; a password to unload.
//! - Off: `PccNTMon.exe -n <password>`. On: `PccNTMon.exe`, which stays.
//! - Success: its services are seen stopped (or running); its exit status and words are not published.
//! - Undone by the other of the two. Unloaded is until it is started or the machine starts anew: a report after a start
//!   shows it active again.
//! - The password is an argument of the tool: administrators can read it in the process list while it runs.

use std::time::Duration;

use seatbeat_proto::wire::OrderSecrets;

use super::tool::{Call, Tools};

/// Unloading stops some ten services.
const UNLOAD_TIME: Duration = Duration::from_secs(180);

/// One that cannot start says so within this.
const START_TIME: Duration = Duration::from_secs(5);

const FOLDERS: [&str; 3] = ["Security Agent", "OfficeScan Client", "Client Server Security Agent"];

/// Where it may be.
fn places() -> Vec<String> {
    let variable = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let folders = [
        variable("ProgramFiles(x86)", r"C:\Program Files (x86)"),
        variable("ProgramFiles", r"C:\Program Files"),
    ];
    let below = |programs: &String| {
        FOLDERS.map(|folder| format!(r"{programs}\Trend Micro\{folder}\PccNTMon.exe")).to_vec()
    };
    folders.iter().flat_map(below).collect()
}

/// Where it is.
///
/// # Errors
/// Why it cannot be run.
pub(super) fn program(tools: &dyn Tools) -> Result<String, String> {
    let places = places();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    super::services::first(tools, &places).map(str::to_owned)
}

/// Off.
///
/// # Errors
/// Why not.
pub(super) fn unload(tools: &dyn Tools, secrets: Option<&OrderSecrets>) -> Result<String, String> {
    let password = secrets.map(|given| given.password.as_str()).unwrap_or_default();
    let said = tools.run(&Call::new(&program(tools)?, &["-n", password], UNLOAD_TIME))?;
    match said.late {
        true => Err("`PccNTMon.exe -n` did not end in its time and was stopped".into()),
        false => Ok("`PccNTMon.exe -n` was carried out".into()),
    }
}

/// On.
///
/// # Errors
/// Why not.
pub(super) fn start(tools: &dyn Tools) -> Result<String, String> {
    let call = Call { stays: true, ..Call::new(&program(tools)?, &[], START_TIME) };
    tools.run(&call)?;
    Ok("`PccNTMon.exe` was started".into())
}
