//! The proxy of this machine's services. Invariant: only read, each time anew: it may be set while the agent runs.

use winreg::RegKey;
use winreg::enums::{HKEY_LOCAL_MACHINE, KEY_READ, KEY_WOW64_64KEY};

use crate::proxy::{Found, of_list, of_winhttp};

const SETTINGS: &str = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings";
const POLICY: &str = r"SOFTWARE\Policies\Microsoft\Windows\CurrentVersion\Internet Settings";

/// What was set by `netsh winhttp set proxy`, else by the policy that the whole machine has one proxy.
pub fn found() -> Option<Found> {
    let kept =
        key(&format!(r"{SETTINGS}\Connections")).and_then(|key| key.get_raw_value("WinHttpSettings").ok());
    kept.and_then(|kept| of_winhttp(&kept.bytes)).or_else(of_machine)
}

fn of_machine() -> Option<Found> {
    let per_user: u32 = key(POLICY)?.get_value("ProxySettingsPerUser").ok()?;
    let settings = key(SETTINGS).filter(|_| per_user == 0)?;
    let enabled: u32 = settings.get_value("ProxyEnable").ok()?;
    let proxies: String = settings.get_value("ProxyServer").ok().filter(|_| enabled != 0)?;
    let by: String = settings.get_value("ProxyOverride").unwrap_or_default();
    of_list(&proxies, &by)
}

fn key(path: &str) -> Option<RegKey> {
    RegKey::predef(HKEY_LOCAL_MACHINE).open_subkey_with_flags(path, KEY_READ | KEY_WOW64_64KEY).ok()
}
