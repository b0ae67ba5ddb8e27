//! The registry: vendor keys and values, Uninstall entries and installer codes, in both views and of each user who is
//! signed in. Invariant: only wanted names are kept; a key that is there and may not be read says so.

use std::io;

use seatbeat_proto::catalogue::{Hive, Observations, Source, Uninstall, Wanted, glob};
use winreg::RegKey;
use winreg::enums::{HKEY_LOCAL_MACHINE, HKEY_USERS, KEY_READ, KEY_WOW64_32KEY, KEY_WOW64_64KEY};

use super::super::Sensor;
use super::super::collected::{installer_code, keep};
use super::names::{Root, in_32_bit_view, split_root, value_text};

const UNINSTALL: &str = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall";
const RUN: &str = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Run";
const PRODUCTS: &str = r"SOFTWARE\Classes\Installer\Products";
const USER_DATA: &str = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Installer\UserData";
const UPGRADE_CODES: [&str; 2] = [
    r"SOFTWARE\Classes\Installer\UpgradeCodes",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Installer\UpgradeCodes",
];

/// Names below one key that are looked at: a machine has some hundred programs, a server with all updates thousands.
const NAMES_MAX: usize = 20_000;

/// The two views of a 64-bit system; on a 32-bit one they are the same.
const VIEWS: [(u32, Hive); 2] = [(KEY_WOW64_64KEY, Hive::Machine), (KEY_WOW64_32KEY, Hive::Machine32)];

/// The running machine's.
pub struct Registry;

impl Sensor for Registry {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        for name in &wanted.registry_keys {
            noted(keys(name, seen), name, Source::Registry, seen);
        }
        for name in &wanted.registry_values {
            noted(values(name, seen), name, Source::Registry, seen);
        }
        if !wanted.uninstall.is_empty() || !wanted.msi_product_codes.is_empty() {
            noted(uninstall(wanted, seen), UNINSTALL, Source::Registry, seen);
        }
        if !wanted.run_values.is_empty() {
            noted(run_values(wanted, seen), RUN, Source::Registry, seen);
        }
        if !wanted.msi_product_codes.is_empty() || !wanted.msi_upgrade_codes.is_empty() {
            noted(codes(wanted, seen), PRODUCTS, Source::Msi, seen);
        }
    }
}

/// A value of the machine's as text, in whichever view has it.
pub(super) fn text(key: &str, name: &str) -> Option<String> {
    VIEWS.iter().find_map(|(view, _)| {
        let value = machine(key, *view).ok()??.get_raw_value(name).ok()?;
        value_text(value.vtype as u32, &value.bytes)
    })
}

/// The bytes of a value of the machine's.
pub(super) fn bytes(key: &str, name: &str) -> Option<Vec<u8>> {
    Some(machine(key, KEY_WOW64_64KEY).ok()??.get_raw_value(name).ok()?.bytes.into_owned())
}

/// A key of the machine's; `None`: it is not there.
pub(super) fn machine(path: &str, view: u32) -> io::Result<Option<RegKey>> {
    open(&RegKey::predef(HKEY_LOCAL_MACHINE), path, view)
}

fn open(root: &RegKey, path: &str, view: u32) -> io::Result<Option<RegKey>> {
    there(root.open_subkey_with_flags(path, KEY_READ | view))
}

/// What is not there is none; anything else that goes wrong is a fault.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first fault of a source stays.
fn noted(looked: io::Result<()>, name: &str, source: Source, seen: &mut Observations) {
    if let Err(error) = looked {
        seen.unreadable.entry(source).or_insert_with(|| format!("failed to read `{name}`: {error}"));
    }
}

/// Users whose part of the registry is loaded.
fn users() -> io::Result<Vec<RegKey>> {
    let all = RegKey::predef(HKEY_USERS);
    let mut users = Vec::new();
    for name in all.enum_keys().take(NAMES_MAX) {
        let name = name?;
        if !name.ends_with("_Classes") {
            // One who signs out meanwhile is gone, and one whose part may not be read is a fault.
            users.extend(open(&all, &name, 0)?);
        }
    }
    Ok(users)
}

/// Each place of a key of the catalogue: what it is opened from, and how it is spelt there.
fn places(name: &str) -> io::Result<Vec<(RegKey, String, u32, String)>> {
    let Some((root, path)) = split_root(name) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its root is not known"));
    };
    Ok(match root {
        Root::Machine => VIEWS
            .iter()
            .map(|(view, hive)| {
                let shown = if *hive == Hive::Machine { path.to_owned() } else { in_32_bit_view(path) };
                (RegKey::predef(HKEY_LOCAL_MACHINE), path.to_owned(), *view, format!(r"HKLM\{shown}"))
            })
            .collect(),
        Root::Users => {
            users()?.into_iter().map(|user| (user, path.to_owned(), 0, format!(r"HKCU\{path}"))).collect()
        }
    })
}

fn keys(name: &str, seen: &mut Observations) -> io::Result<()> {
    for (root, path, view, shown) in places(name)? {
        if open(&root, &path, view)?.is_some() {
            seen.registry_keys.insert(shown);
        }
    }
    Ok(())
}

/// `key!name`, where the name may hold a `*`.
fn values(name: &str, seen: &mut Observations) -> io::Result<()> {
    let (key, value) = name.rsplit_once('!').unwrap_or((name, ""));
    for (root, path, view, shown) in places(key)? {
        let Some(key) = open(&root, &path, view)? else { continue };
        let mut found = |name: &str, value: &winreg::RegValue<'_>| {
            if let Some(text) = value_text(value.vtype.clone() as u32, &value.bytes) {
                seen.registry_values.insert(format!("{shown}!{name}"), text);
            }
        };
        if value.contains('*') {
            for entry in key.enum_values().take(NAMES_MAX) {
                let (name, held) = entry?;
                if glob(value, &name) {
                    found(&name, &held);
                }
            }
        } else if let Some(held) = there(key.get_raw_value(value))? {
            found(value, &held);
        }
    }
    Ok(())
}

fn uninstall(wanted: &Wanted<'_>, seen: &mut Observations) -> io::Result<()> {
    for (view, hive) in VIEWS {
        if let Some(key) = machine(UNINSTALL, view)? {
            entries(&key, hive, wanted, seen)?;
        }
    }
    for user in users()? {
        for (view, _) in VIEWS {
            if let Some(key) = open(&user, UNINSTALL, view)? {
                entries(&key, Hive::User, wanted, seen)?;
            }
        }
    }
    Ok(())
}

fn entries(list: &RegKey, hive: Hive, wanted: &Wanted<'_>, seen: &mut Observations) -> io::Result<()> {
    for name in list.enum_keys().take(NAMES_MAX) {
        let name = name?;
        // One that is removed meanwhile is gone.
        let Some(key) = open(list, &name, 0)? else { continue };
        let text = |name: &str| {
            let value = key.get_raw_value(name).ok()?;
            value_text(value.vtype as u32, &value.bytes)
        };
        let entry = Uninstall {
            name: text("DisplayName").unwrap_or_default(),
            version: text("DisplayVersion").unwrap_or_default(),
            publisher: text("Publisher").unwrap_or_default(),
            key: name,
            hive,
        };
        keep(Some(entry), wanted, seen);
    }
    Ok(())
}

fn run_values(wanted: &Wanted<'_>, seen: &mut Observations) -> io::Result<()> {
    for (view, _) in VIEWS {
        let Some(key) = machine(RUN, view)? else { continue };
        for value in key.enum_values().take(NAMES_MAX) {
            let (name, _) = value?;
            if wanted.run_values.iter().any(|one| glob(one, &name)) {
                seen.run_values.insert(name);
            }
        }
    }
    Ok(())
}

/// Windows Installer's own keys are the same in both views.
fn codes(wanted: &Wanted<'_>, seen: &mut Observations) -> io::Result<()> {
    let mut lists = vec![PRODUCTS.to_owned()];
    lists.extend(UPGRADE_CODES.map(str::to_owned));
    if let Some(users) = machine(USER_DATA, KEY_WOW64_64KEY)? {
        for user in users.enum_keys().take(NAMES_MAX) {
            lists.push(format!(r"{USER_DATA}\{}\Products", user?));
        }
    }
    for list in lists {
        let Some(key) = machine(&list, KEY_WOW64_64KEY)? else { continue };
        for code in key.enum_keys().take(NAMES_MAX) {
            installer_code(&format!(r"HKLM\{list}\{}", code?), wanted, seen);
        }
    }
    Ok(())
}
