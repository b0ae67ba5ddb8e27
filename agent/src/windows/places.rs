//! Where things are on this Windows. Invariant: folders come from the system itself, never from an environment that
//! somebody may have set.

use std::path::PathBuf;

use winreg::RegKey;
use winreg::enums::{HKEY_LOCAL_MACHINE, KEY_READ, KEY_WOW64_64KEY};

use super::raw;

/// The service's name, and that of its source in the event log.
pub const SERVICE: &str = "SeatbeatAgent";

/// The folder that the agent keeps its state and settings in.
///
/// # Errors
/// When the system does not say where data is kept.
pub fn data_folder() -> std::io::Result<PathBuf> {
    Ok(raw::program_data()?.join("Seatbeat").join("Agent"))
}

/// `%ProgramFiles%`
pub fn programs() -> String {
    folder("ProgramFilesDir", r"C:\Program Files")
}

/// `%ProgramFiles(x86)%` on 64-bit Windows, `%ProgramFiles%` on 32-bit.
pub fn programs_x86() -> String {
    let own = programs();
    folder("ProgramFilesDir (x86)", &own)
}

/// `%SystemRoot%`
pub fn windows() -> String {
    let key = RegKey::predef(HKEY_LOCAL_MACHINE)
        .open_subkey_with_flags(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion", KEY_READ | KEY_WOW64_64KEY);
    key.and_then(|key| key.get_value("SystemRoot")).unwrap_or_else(|_| r"C:\Windows".to_owned())
}

fn folder(name: &str, usual: &str) -> String {
    let key = RegKey::predef(HKEY_LOCAL_MACHINE)
        .open_subkey_with_flags(r"SOFTWARE\Microsoft\Windows\CurrentVersion", KEY_READ | KEY_WOW64_64KEY);
    key.and_then(|key| key.get_value(name)).unwrap_or_else(|_| usual.to_owned())
}
