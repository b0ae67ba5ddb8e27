//! Listings that somebody collected on another machine with the system's own programs, and property lists of a Mac at
//! their own places below the folder, added to a snapshot of it. Invariant: pure but for reading the files; bounded; only what is wanted is kept; a line that is not
//! understood is skipped.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use seatbeat_proto::catalogue::{
    Hive, Observations, Os, Package, PackageManager, Service, Source, Uninstall, Wanted, glob, msi_code,
};

use super::Sensor;
use super::mac_files::MacFiles;
use super::vendor::text;

/// Bytes of each listing that are read: an export of all that the vendor's keys and the Uninstall keys hold is some
/// hundred KiB.
const LENGTH_MAX: u64 = 4 * 1024 * 1024;

/// Services and entries that are kept; a machine has some tens of the vendor's. The first ones stay.
const FOUND_MAX: usize = 1000;

type Parser = fn(&str, &Wanted<'_>, &mut Observations);

/// Name of each listing, what it tells of, and how it is read.
const LISTINGS: [(&str, Source, Parser); 6] = [
    ("rpm-qa.txt", Source::Rpm, packages),
    ("registry.reg", Source::Registry, registry),
    ("sc-query.txt", Source::Services, services),
    ("pkgutil-pkgs.txt", Source::Receipts, receipts),
    ("launchctl-list.txt", Source::Launchd, launchd),
    ("systemextensionsctl-list.txt", Source::SystemExtensions, extensions),
];

/// A folder of listings.
pub struct Listings(pub PathBuf);

impl Sensor for Listings {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        for (name, source, parse) in LISTINGS {
            let path = self.0.join(name);
            let mut bytes = Vec::new();
            match File::open(&path).and_then(|file| file.take(LENGTH_MAX).read_to_end(&mut bytes)) {
                Ok(_) => {
                    seen.unreadable.remove(&source);
                    parse(&text(&bytes), wanted, seen);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let why = format!("failed to read `{}`: {error}", path.display());
                    seen.unreadable.insert(source, why);
                }
            }
        }
        if seen.os == Os::Macos {
            MacFiles(&self.0).look(wanted, seen);
        }
    }
}

/// `rpm -qa`: `name-version-release.arch` a line.
pub(super) fn packages(text: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    for line in text.lines().map(str::trim) {
        let whole = line.rsplit_once('.').map_or(line, |(whole, _)| whole);
        let mut parts = whole.rsplitn(3, '-');
        let (Some(release), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let is_new = |package: &Package| seen.packages.len() < FOUND_MAX && !seen.packages.contains(package);
        let package = Package {
            manager: PackageManager::Rpm,
            name: name.to_owned(),
            version: format!("{version}-{release}"),
            state: Package::INSTALLED.to_owned(),
        };
        if wanted.rpms.iter().any(|known| glob(known, name)) && is_new(&package) {
            seen.packages.push(package);
        }
    }
}

/// `reg export` (`Windows Registry Editor Version 5.00`).
pub(super) fn registry(text: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    let views = |names: &BTreeSet<&str>| names.iter().map(|name| one_view(name)).collect::<Vec<_>>();
    let (keys, values) = (views(&wanted.registry_keys), views(&wanted.registry_values));
    let is_one_of = |known: &[String], name: &str| {
        let name = one_view(name);
        known.iter().any(|known| glob(known, &name))
    };
    let mut key = String::new();
    let mut entry: Option<Uninstall> = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            keep(entry.take(), wanted, seen);
            // `[-…]` would delete the key.
            key = if name.starts_with('-') { String::new() } else { short(name) };
            if !key.is_empty() && is_one_of(&keys, &key) {
                seen.registry_keys.insert(key.clone());
            }
            installer_code(&key, wanted, seen);
            entry = uninstall_entry(&key);
        } else if let Some((name, value)) = value(line).filter(|_| !key.is_empty()) {
            if let Some(entry) = &mut entry {
                match name.as_str() {
                    "DisplayName" => entry.name.clone_from(&value),
                    "DisplayVersion" => entry.version.clone_from(&value),
                    "Publisher" => entry.publisher.clone_from(&value),
                    _ => {}
                }
            }
            let is_run_key = key.to_ascii_lowercase().ends_with(r"\microsoft\windows\currentversion\run");
            if is_run_key && key.starts_with("HKLM") && wanted.run_values.iter().any(|one| glob(one, &name)) {
                seen.run_values.insert(name.clone());
            }
            let whole = format!("{key}!{name}");
            if is_one_of(&values, &whole) {
                seen.registry_values.insert(whole, value);
            }
        }
    }
    keep(entry, wanted, seen);
}

fn short(key: &str) -> String {
    for (long, short) in
        [("HKEY_LOCAL_MACHINE", "HKLM"), ("HKEY_CURRENT_USER", "HKCU"), ("HKEY_USERS", "HKU")]
    {
        if let Some(rest) = key.strip_prefix(long) {
            return format!("{short}{rest}");
        }
    }
    key.to_owned()
}

/// The name in lower case, without the word that leads to the 32-bit view.
fn one_view(name: &str) -> String {
    name.to_ascii_lowercase().replace(r"\wow6432node\", r"\")
}

/// Windows Installer keeps a key of each product's packed code, and of each upgrade code.
pub(super) fn installer_code(key: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    let lower = key.to_ascii_lowercase();
    let Some(at) = lower.find(r"\installer\") else { return };
    let mut words = lower[at..].split('\\').skip(2);
    let (kind, code) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(kind @ ("products" | "upgradecodes")), Some(code), ..) => (kind, code),
        (Some("userdata"), Some(_), Some("products"), Some(code)) => ("products", code),
        _ => return,
    };
    let Some(code) = msi_code(code) else { return };
    let (known, into) = match kind {
        "products" => (&wanted.msi_product_codes, &mut seen.msi_product_codes),
        _ => (&wanted.msi_upgrade_codes, &mut seen.msi_upgrade_codes),
    };
    if known.iter().any(|one| glob(one, &code)) {
        into.insert(code);
    }
}

fn uninstall_entry(key: &str) -> Option<Uninstall> {
    let (folder, name) = key.rsplit_once('\\')?;
    let place = folder.to_ascii_lowercase();
    let is_entry = place.ends_with(r"\microsoft\windows\currentversion\uninstall");
    let hive = match (place.starts_with("hklm"), place.contains(r"\wow6432node\")) {
        (true, true) => Hive::Machine32,
        (true, false) => Hive::Machine,
        _ => Hive::User,
    };
    is_entry.then(|| Uninstall {
        key: name.to_owned(),
        name: String::new(),
        version: String::new(),
        publisher: String::new(),
        hive,
    })
}

pub(super) fn keep(entry: Option<Uninstall>, wanted: &Wanted<'_>, seen: &mut Observations) {
    let is_wanted = |entry: &Uninstall| {
        let named = |name: &&str| glob(name, &entry.key) || glob(name, &entry.name);
        let code = msi_code(&entry.key);
        let coded = |name: &&str| code.as_ref().is_some_and(|code| glob(name, code));
        wanted.uninstall.iter().any(named) || wanted.msi_product_codes.iter().any(coded)
    };
    let is_new = |entry: &Uninstall| seen.uninstall.len() < FOUND_MAX && !seen.uninstall.contains(entry);
    let fresh = entry.filter(is_wanted).filter(is_new);
    seen.uninstall.extend(fresh);
}

/// `"Name"="text"` or `"Name"=dword:0000002a`; other kinds hold nothing that is asked for.
fn value(line: &str) -> Option<(String, String)> {
    let (name, rest) = quoted(line)?;
    let rest = rest.strip_prefix('=')?;
    if let Some(digits) = rest.strip_prefix("dword:") {
        return Some((name, u32::from_str_radix(digits.trim(), 16).ok()?.to_string()));
    }
    Some((name, quoted(rest)?.0))
}

/// A text in quotes, its `\\` and `\"` undone, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut plain = String::new();
    let mut letters = text.strip_prefix('"')?.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((plain, &text[at + 2..])),
            '\\' => plain.push(letters.next()?.1),
            _ => plain.push(letter),
        }
    }
    None
}

/// `sc query state= all`: blocks of `NAME: value`.
pub(super) fn services(text: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    let mut service: Option<Service> = None;
    let mut keep = |service: Option<Service>| {
        let is_wanted = |service: &Service| {
            wanted.services.iter().any(|name| glob(name, &service.name) || glob(name, &service.display))
        };
        seen.services.extend(service.filter(is_wanted).filter(|_| seen.services.len() < FOUND_MAX));
    };
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match (name.trim(), &mut service) {
            ("SERVICE_NAME", service) => {
                let fresh = Service {
                    name: value.into(),
                    display: String::new(),
                    running: false,
                    start: String::new(),
                };
                keep(service.replace(fresh));
            }
            ("DISPLAY_NAME", Some(service)) => service.display = value.to_owned(),
            // `4  RUNNING`; the word is in the system's language, the number is not.
            ("STATE", Some(service)) => service.running = value.split_whitespace().next() == Some("4"),
            _ => {}
        }
    }
    keep(service);
}

/// `pkgutil --pkgs`: an id a line, without versions.
pub(super) fn receipts(text: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    for id in text.lines().map(str::trim).filter(|id| wanted.receipts.iter().any(|name| glob(name, id))) {
        seen.receipts.entry(id.to_owned()).or_default();
    }
}

/// `launchctl list`: number, status, label.
pub(super) fn launchd(text: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    for label in text.lines().filter_map(|line| line.split_whitespace().nth(2)) {
        if wanted.launchd.iter().any(|name| glob(name, label)) {
            seen.launchd.insert(label.to_owned(), true);
        }
    }
}

/// `systemextensionsctl list`: `*  *  TEAM  bundle.id (1.0/1)  Name  [activated enabled]`.
pub(super) fn extensions(text: &str, wanted: &Wanted<'_>, seen: &mut Observations) {
    for line in text.lines().filter(|line| line.contains('[')) {
        let id =
            line.split_whitespace().find(|word| wanted.system_extensions.iter().any(|name| glob(name, word)));
        if let Some(id) = id {
            let enabled = line.contains("[activated enabled]");
            // An older one that waits to be removed stands beside the one that works.
            *seen.system_extensions.entry(id.to_owned()).or_default() |= enabled;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_of_the_registry_is_read_in_both_views_and_of_each_user() {
        let export = "Windows Registry Editor Version 5.00\r\n\r\n\
            [HKEY_LOCAL_MACHINE\\SOFTWARE\\WOW6432Node\\TrendMicro\\Osprey]\r\n\"A\"=\"C:\\\\x \\\"y\\\"\"\r\n\"N\"=dword:0000002a\r\n\
            \"B\"=hex:01,\\\r\n  02\r\n\r\n\
            [HKEY_USERS\\S-1\\Software\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\Wofie]\r\n\
            \"DisplayName\"=\"Agent\"\r\n\"DisplayVersion\"=\"20.0\"\r\n\r\n\
            [-HKEY_LOCAL_MACHINE\\SOFTWARE\\TrendMicro\\Gone]\r\n";
        let wanted = Wanted {
            registry_keys: [r"HKLM\SOFTWARE\TrendMicro\Osprey", r"HKLM\SOFTWARE\TrendMicro\Gone"].into(),
            registry_values: [r"HKLM\SOFTWARE\TrendMicro\Osprey!A", r"HKLM\SOFTWARE\TrendMicro\Osprey!N"]
                .into(),
            uninstall: ["Wofie"].into(),
            ..Wanted::default()
        };
        let mut seen = Observations::default();
        registry(export, &wanted, &mut seen);
        assert_eq!(seen.registry_keys.len(), 1);
        let values: Vec<&str> = seen.registry_values.values().map(String::as_str).collect();
        assert_eq!(values, [r#"C:\x "y""#, "42"]);
        let entry = &seen.uninstall[0];
        assert_eq!((entry.name.as_str(), entry.version.as_str()), ("Agent", "20.0"));
    }

    #[test]
    fn an_export_tells_windows_installers_codes_and_what_starts_with_windows() {
        let export = r#"[HKEY_CLASSES_ROOT\Installer\Products\2A8B0DEB68928F94096DAF00D8733A2D]
[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Installer\UserData\S-1-5-18\Products\338E6F1CE52B93C40A623D5293850B0D\InstallProperties]
[HKEY_LOCAL_MACHINE\SOFTWARE\Classes\Installer\UpgradeCodes\8A88AE84D667B304CB368C99791A74A6]
[HKEY_LOCAL_MACHINE\SOFTWARE\Classes\Installer\Products\00000000000000000000000000000000]
[HKEY_LOCAL_MACHINE\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Run]
"OfficeScanNT Monitor"="\"C:\\Program Files (x86)\\Trend Micro\\PccNTMon.exe\" -HideWindow"
"Other"="x"
[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\{BED0B8A2-2986-49F8-90D6-FA008D37A3D2}]
"DisplayName"="A name of its own"
"#;
        let wanted = Wanted {
            msi_product_codes: [
                "{BED0B8A2-2986-49F8-90D6-FA008D37A3D2}",
                "{C1F6E833-B25E-4C39-A026-D3253958B0D0}",
            ]
            .into(),
            msi_upgrade_codes: ["{48EA88A8-766D-403B-BC63-C89997A1476A}"].into(),
            run_values: ["OfficeScanNT Monitor"].into(),
            ..Wanted::default()
        };
        let mut seen = Observations::default();
        registry(export, &wanted, &mut seen);
        assert!(seen.msi_product_codes.iter().map(String::as_str).eq(wanted.msi_product_codes));
        assert!(seen.msi_upgrade_codes.iter().map(String::as_str).eq(wanted.msi_upgrade_codes));
        assert_eq!(seen.run_values, ["OfficeScanNT Monitor".to_owned()].into());
        assert_eq!((seen.uninstall.len(), seen.uninstall[0].name.as_str()), (1, "A name of its own"));
    }

    #[test]
    fn a_list_of_rpm_packages_is_read() {
        let wanted = Wanted { rpms: ["ds_agent", "SProtectLinux"].into(), ..Wanted::default() };
        let mut seen = Observations::default();
        packages(
            "bash-5.1.8-6.el9.x86_64\nds_agent-20.0.2-1390.ol7.x86_64\nds_agent-tools-1-1.noarch\nds_agent\n",
            &wanted,
            &mut seen,
        );
        let found: Vec<_> =
            seen.packages.iter().map(|one| (one.name.as_str(), one.version.as_str())).collect();
        assert_eq!(found, [("ds_agent", "20.0.2-1390.ol7")]);
    }

    #[test]
    fn listings_of_services_receipts_jobs_and_extensions_are_read() {
        let wanted = Wanted {
            services: ["ntrtscan", "Apex One NT Listener"].into(),
            receipts: ["com.trendmicro.*"].into(),
            launchd: ["com.trendmicro.dsa"].into(),
            system_extensions: ["com.trendmicro.icore.es"].into(),
            ..Wanted::default()
        };
        let mut seen = Observations::default();
        let sc = "\nSERVICE_NAME: ntrtscan\nDISPLAY_NAME: Scan\n        TYPE  : 10  WIN32\n        STATE : 4  RUNNING\n\n\
            SERVICE_NAME: tmlisten\nDISPLAY_NAME: Apex One NT Listener\n        STATE : 1  STOPPED\n\n\
            SERVICE_NAME: other\nDISPLAY_NAME: Other\n";
        services(sc, &wanted, &mut seen);
        let listed: Vec<_> =
            seen.services.iter().map(|service| (service.name.as_str(), service.running)).collect();
        assert_eq!(listed, [("ntrtscan", true), ("tmlisten", false)]);
        receipts("com.apple.pkg.Core\ncom.trendmicro.tmsm.tmappextra\n", &wanted, &mut seen);
        launchd("PID\tStatus\tLabel\n-\t0\tcom.apple.x\n77\t0\tcom.trendmicro.dsa\n", &wanted, &mut seen);
        extensions(
            "1 extension(s)\nenabled\tactive\tteamID\tbundleID (version)\tname\t[state]\n\
             *\t*\tE8P47U2H32\tcom.trendmicro.icore.es (3.5/1)\tiCore\t[activated enabled]\n\
             \t\tE8P47U2H32\tcom.trendmicro.icore.es (3.4/1)\tiCore\t[terminated waiting to uninstall on reboot]\n",
            &wanted,
            &mut seen,
        );
        assert_eq!(seen.receipts.len(), 1);
        assert!(seen.launchd["com.trendmicro.dsa"] && seen.system_extensions["com.trendmicro.icore.es"]);
    }
}
