//! Removing a program, only where an order says so, by whoever installed it. Invariant: the system's installer removes
//! what its own database names, and no file is deleted beside it.
//!
//! - Preconditions: its package is in the database of dpkg, rpm or Windows Installer; that program is the system's alone.
//!   Deep Security's self-protection is ended first where a password came with the order.
//! - Command: `dpkg -r ds-agent`, then `dpkg --purge ds-agent`; `rpm -ev ds_agent` (`SProtectLinux`);
//!   `msiexec /x {code} /quiet /norestart`.
//! - Success: status 0 (Windows Installer: 3010 as well, the machine has to start anew), and detection sees it no longer.
//! - Not undone here: it is installed anew.

use std::time::Duration;

use seatbeat_proto::catalogue::{Observations, Os, Package, PackageManager};
use seatbeat_proto::procedures::Procedure;
use seatbeat_proto::wire::OrderSecrets;

use super::deep_security;
use super::services::{done, first};
use super::tool::{Call, Tools};

/// Installers run scripts of the package, which stop services.
const TIME: Duration = Duration::from_secs(900);

const DPKG: &[&str] = &["/usr/bin/dpkg", "/bin/dpkg"];
const RPM: &[&str] = &["/usr/bin/rpm", "/bin/rpm"];

/// Done, but the machine has to start anew.
const RESTART_NEEDED: i32 = 3010;

/// The product code of Worry-Free Services' agent.
const WFBS_SVC_CODE: &str = "{BED0B8A2-2986-49F8-90D6-FA008D37A3D2}";

/// What is to be removed, by which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installed {
    /// How.
    pub procedure: Procedure,
    /// Its name or code there.
    pub name: String,
}

/// What the databases know of a product, by its own id.
pub(super) fn installed(product: &str, procedures: &[Procedure], seen: &Observations) -> Option<Installed> {
    procedures.iter().find_map(|procedure| {
        let name = match procedure {
            Procedure::DebRemove => package(seen, PackageManager::Dpkg, "ds-agent"),
            Procedure::RpmRemove if product == "splx" => package(seen, PackageManager::Rpm, "SProtectLinux"),
            Procedure::RpmRemove => package(seen, PackageManager::Rpm, "ds_agent"),
            Procedure::MsiRemove if product == "wfbs-svc" => {
                let known = |code: &&String| code.eq_ignore_ascii_case(WFBS_SVC_CODE);
                seen.msi_product_codes.iter().find(known).map(|_| WFBS_SVC_CODE.to_owned())
            }
            Procedure::MsiRemove => code(seen, "Trend Micro Deep Security Agent"),
            _ => None,
        };
        name.map(|name| Installed { procedure: *procedure, name })
    })
}

fn package(seen: &Observations, manager: PackageManager, name: &str) -> Option<String> {
    let known = |package: &&Package| {
        package.manager == manager && package.name == name && !package.state.contains("deinstall")
    };
    seen.packages.iter().find(known).map(|package| package.name.clone())
}

/// The code of the entry with this name: Windows Installer names its entries by it.
fn code(seen: &Observations, name: &str) -> Option<String> {
    let entry = seen.uninstall.iter().find(|entry| entry.name == name && is_code(&entry.key));
    entry.map(|entry| entry.key.clone())
}

/// `{8-4-4-4-12}`
fn is_code(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return false };
    let lengths = inner.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && inner.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Where the installer is.
///
/// # Errors
/// Why it cannot be run.
pub(super) fn program(tools: &dyn Tools, procedure: Procedure) -> Result<String, String> {
    match procedure {
        Procedure::DebRemove => first(tools, DPKG).map(str::to_owned),
        Procedure::RpmRemove => first(tools, RPM).map(str::to_owned),
        _ => {
            let windows = std::env::var("SystemRoot").unwrap_or_else(|_| r"C:\Windows".into());
            let program = format!(r"{windows}\System32\msiexec.exe");
            tools.check(&program).map(|()| program)
        }
    }
}

/// Removes it.
///
/// # Errors
/// Why not, and what was done nevertheless.
pub(super) fn remove(
    tools: &dyn Tools,
    os: Os,
    product: &str,
    what: &Installed,
    secrets: Option<&OrderSecrets>,
) -> Result<String, String> {
    let program = program(tools, what.procedure)?;
    let unprotected = product == "dsa" && deep_security::unprotect(tools, os, secrets)?;
    let removed = match what.procedure {
        Procedure::DebRemove => remove_deb(tools, &program, &what.name),
        Procedure::RpmRemove => {
            let shown = format!("rpm -ev {}", what.name);
            done(tools, &Call::new(&program, &["-ev", &what.name], TIME), &shown, secrets)
                .map(|()| format!("`{shown}` removed it"))
        }
        _ => remove_msi(tools, &program, &what.name),
    };
    match removed {
        Err(why) if unprotected && tools.check(&deep_security::program(os)).is_ok() => {
            Err(format!("{why}; {}", deep_security::protect_again(tools, os, secrets)))
        }
        other => other,
    }
}

fn remove_deb(tools: &dyn Tools, program: &str, name: &str) -> Result<String, String> {
    let (remove, purge) = (format!("dpkg -r {name}"), format!("dpkg --purge {name}"));
    done(tools, &Call::new(program, &["-r", name], TIME), &remove, None)?;
    done(tools, &Call::new(program, &["--purge", name], TIME), &purge, None)
        .map_err(|why| format!("done in part: `{remove}` removed it, its settings are left; {why}"))?;
    Ok(format!("`{remove}` and `{purge}` removed it"))
}

fn remove_msi(tools: &dyn Tools, program: &str, code: &str) -> Result<String, String> {
    let said = tools.run(&Call::new(program, &["/x", code, "/quiet", "/norestart"], TIME))?;
    match said.code {
        Some(0) => Ok(format!("`msiexec /x {code}` removed it")),
        Some(RESTART_NEEDED) => {
            Ok(format!("`msiexec /x {code}` removed it; the machine has to start anew for the rest"))
        }
        _ if said.late => Err(format!("`msiexec /x {code}` did not end in its time and was stopped")),
        Some(status) => Err(format!("`msiexec /x {code}` ended with status {status}")),
        None => Err(format!("`msiexec /x {code}` was ended")),
    }
}
