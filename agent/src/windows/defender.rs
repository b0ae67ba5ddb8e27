//! Whether Windows Defender is kept off by policy: an antivirus that leaves can leave that behind, and the machine with
//! nothing. Invariant: it is only looked at and told; a policy may be the customer's own wish.

use winreg::RegKey;
use winreg::enums::{HKEY_LOCAL_MACHINE, KEY_READ, KEY_WOW64_64KEY};

const POLICY: &str = r"SOFTWARE\Policies\Microsoft\Windows Defender";

/// Values of the policy, each of which keeps it off when it is 1.
const VALUES: [&str; 2] = ["DisableAntiSpyware", "DisableRoutinelyTakingAction"];

/// The value that keeps it off.
pub fn kept_off() -> Option<String> {
    let policy =
        RegKey::predef(HKEY_LOCAL_MACHINE).open_subkey_with_flags(POLICY, KEY_READ | KEY_WOW64_64KEY).ok()?;
    let is_set = |name: &&&str| policy.get_value::<u32, _>(**name).is_ok_and(|value| value == 1);
    VALUES.iter().find(is_set).map(|name| (*name).to_owned())
}
