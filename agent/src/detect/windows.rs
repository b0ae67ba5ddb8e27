//! The sources of a Windows machine, one a file. Invariant: what reads (`registry`, `services`, `programs`, `files`,
//! `security_center`) decides nothing; what is decided (`names`, `version`, `ini`, `smbios`) is pure and tried on every
//! system.

#[cfg(windows)]
mod changes;
#[cfg(windows)]
pub(super) mod facts;
#[cfg(windows)]
mod files;
#[cfg(any(windows, target_os = "linux", test))]
pub(super) mod ini;
#[cfg(any(windows, test))]
mod names;
#[cfg(windows)]
mod programs;
#[cfg(windows)]
mod registry;
#[cfg(windows)]
mod security_center;
#[cfg(windows)]
mod services;
#[cfg(any(windows, target_os = "linux", test))]
pub(super) mod smbios;
#[cfg(any(windows, target_os = "linux", test))]
pub(super) mod version;
#[cfg(windows)]
mod wmi_query;

#[cfg(windows)]
pub use changes::{Changes, Nudges, Stamps};

#[cfg(windows)]
use super::Sensor;

/// Everything that looks at the running machine but the vendor's own programs. The registry comes first: paths stand
/// under folders that it names.
#[cfg(windows)]
pub(super) fn sensors() -> Vec<Box<dyn Sensor>> {
    vec![
        Box::new(registry::Registry),
        Box::new(services::Services),
        Box::new(programs::Programs),
        Box::new(files::Files),
        Box::new(security_center::SecurityCenter),
    ]
}

/// The program behind a command of the catalogue's, and its arguments; `None`: there is no such program here.
#[cfg(windows)]
pub(super) fn command_line(
    command: seatbeat_proto::catalogue::VendorCommand,
) -> Option<(String, &'static [&'static str])> {
    use seatbeat_proto::catalogue::VendorCommand;
    let arguments: &[&str] = match command {
        VendorCommand::DsaAgentStatus => &["-c", "GetAgentStatus"],
        VendorCommand::DsaComponentInfo => &["-c", "GetComponentInfo"],
        VendorCommand::TmxbcVersion => return None,
    };
    let folder = registry::text(r"SOFTWARE\TrendMicro\Deep Security Agent", "InstallationFolder");
    let usual = || format!(r"{}\Trend Micro\Deep Security Agent", crate::windows::places::programs());
    let folder = folder.unwrap_or_else(usual);
    Some((format!(r"{}\dsa_query.cmd", folder.trim().trim_end_matches('\\')), arguments))
}
