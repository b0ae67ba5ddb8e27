//! Services and kernel drivers: what is installed stands in the registry, what runs the service manager says.
//! Invariant: only wanted names are asked for; one whose state may not be asked says so.

use std::io;

use seatbeat_proto::catalogue::{Observations, Service, Source, Wanted, glob};
use windows_service::Error;
use windows_service::service::{ServiceAccess, ServiceState};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use winreg::RegKey;
use winreg::enums::KEY_WOW64_64KEY;

use super::super::Sensor;
use super::registry;

const SERVICES: &str = r"SYSTEM\CurrentControlSet\Services";

/// Services and drivers that are looked at: a machine has some 700.
const NAMES_MAX: usize = 20_000;

/// Bits of `Type` that a driver has.
const DRIVER: u32 = 0x1 | 0x2;

/// The service manager does not know it: its key is left over, or is to be removed with the next start.
const UNKNOWN: i32 = 1060;

/// The running machine's.
pub struct Services;

impl Sensor for Services {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if wanted.services.is_empty() && wanted.kernel_modules.is_empty() {
            return;
        }
        if let Err(error) = look(wanted, seen) {
            for source in [Source::Services, Source::KernelModules] {
                seen.unreadable.entry(source).or_insert_with(|| format!("failed to list services: {error}"));
            }
        }
    }
}

fn look(wanted: &Wanted<'_>, seen: &mut Observations) -> io::Result<()> {
    let manager =
        ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT).map_err(system)?;
    let Some(list) = registry::machine(SERVICES, KEY_WOW64_64KEY)? else { return Ok(()) };
    for name in list.enum_keys().take(NAMES_MAX) {
        let name = name?;
        let Ok(key) = list.open_subkey(&name) else { continue };
        let number = |value: &str| key.get_value::<u32, _>(value).unwrap_or_default();
        if number("Type") & DRIVER != 0 {
            if wanted.kernel_modules.iter().any(|one| glob(one, &name)) {
                match is_running(&manager, &name) {
                    Ok(Some(true)) => drop(seen.kernel_modules.insert(name)),
                    Ok(_) => {}
                    Err(error) => refused(seen, Source::KernelModules, &name, &error),
                }
            }
            continue;
        }
        let display = key.get_value::<String, _>("DisplayName").unwrap_or_default();
        if !wanted.services.iter().any(|one| glob(one, &name) || glob(one, &display)) {
            continue;
        }
        match is_running(&manager, &name) {
            Ok(Some(running)) => {
                let start = start(&key);
                seen.services.push(Service { name, display, running, start });
            }
            Ok(None) => {}
            Err(error) => refused(seen, Source::Services, &name, &error),
        }
    }
    Ok(())
}

fn refused(seen: &mut Observations, source: Source, name: &str, error: &io::Error) {
    seen.unreadable
        .entry(source)
        .or_insert_with(|| format!("failed to ask for the service `{name}`: {error}"));
}

fn system(error: Error) -> io::Error {
    match error {
        Error::Winapi(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// `None`: the service manager does not know it.
fn is_running(manager: &ServiceManager, name: &str) -> io::Result<Option<bool>> {
    let asked =
        manager.open_service(name, ServiceAccess::QUERY_STATUS).and_then(|service| service.query_status());
    match asked.map_err(system) {
        Ok(status) => Ok(Some(status.current_state == ServiceState::Running)),
        Err(error) if error.raw_os_error() == Some(UNKNOWN) => Ok(None),
        Err(error) => Err(error),
    }
}

fn start(key: &RegKey) -> String {
    let word = match key.get_value::<u32, _>("Start") {
        Ok(0) => "boot",
        Ok(1) => "system",
        Ok(2) => "auto",
        Ok(3) => "demand",
        Ok(4) => "disabled",
        _ => "",
    };
    word.to_owned()
}
