//! What a catalogue needs to be looked at: sources read these names and nothing else.
//! Invariant: whatever a signal, rule or version of the catalogue asks on a system is in here.

use std::collections::BTreeSet;

use super::kind::Kind;
use super::names::{Folder, folder_of};
use super::rule::{Rule, Test};
use super::signal::Signal;
use super::value::ValueSource;
use super::{Catalogue, Os, VendorCommand};

/// Names to look for on one system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Debian packages.
    pub debs: BTreeSet<&'a str>,
    /// rpm packages.
    pub rpms: BTreeSet<&'a str>,
    /// systemd units.
    pub units: BTreeSet<&'a str>,
    /// Names in `/etc/init.d`.
    pub init_scripts: BTreeSet<&'a str>,
    /// Programs: full paths, or bare names.
    pub programs: BTreeSet<&'a str>,
    /// Files and folders.
    pub paths: BTreeSet<&'a str>,
    /// Groups.
    pub groups: BTreeSet<&'a str>,
    /// Kernel modules, drivers.
    pub kernel_modules: BTreeSet<&'a str>,
    /// Ports.
    pub ports: BTreeSet<u16>,
    /// Vendor programs.
    pub commands: BTreeSet<VendorCommand>,
    /// Registry keys.
    pub registry_keys: BTreeSet<&'a str>,
    /// Registry values, `key!name`.
    pub registry_values: BTreeSet<&'a str>,
    /// Keys and display names of Uninstall entries.
    pub uninstall: BTreeSet<&'a str>,
    /// Windows Installer product codes.
    pub msi_product_codes: BTreeSet<&'a str>,
    /// Windows Installer upgrade codes.
    pub msi_upgrade_codes: BTreeSet<&'a str>,
    /// Windows services, by name or display name.
    pub services: BTreeSet<&'a str>,
    /// Security Center rows.
    pub security_center: BTreeSet<&'a str>,
    /// Files whose version resource is read.
    pub file_versions: BTreeSet<&'a str>,
    /// Named pipes.
    pub pipes: BTreeSet<&'a str>,
    /// macOS receipts.
    pub receipts: BTreeSet<&'a str>,
    /// launchd labels.
    pub launchd: BTreeSet<&'a str>,
    /// macOS bundles.
    pub bundles: BTreeSet<&'a str>,
    /// macOS system extensions.
    pub system_extensions: BTreeSet<&'a str>,
    /// Property list values, `path!key`.
    pub plists: BTreeSet<&'a str>,
    /// Ini file values, `path!section!key`.
    pub ini_values: BTreeSet<&'a str>,
    /// Values of the Windows `Run` keys.
    pub run_values: BTreeSet<&'a str>,
    /// Tasks of a Domino server.
    pub domino_tasks: BTreeSet<&'a str>,
}

impl Catalogue {
    /// What this catalogue asks about a machine with this system.
    pub fn wanted(&self, os: Os) -> Wanted<'_> {
        let mut wanted = Wanted::default();
        let rules = |by_os: &'_ std::collections::BTreeMap<Os, Rule>| by_os.get(&os).is_some();
        for family in &self.families {
            wanted.add_signals(&family.signals, os);
            wanted.add_values(&family.version, os);
            wanted.add_values(&family.pattern, os);
            if rules(&family.active) {
                wanted.add_rule(&family.active[&os], os);
            }
        }
        for product in &self.products {
            if !product.signals.iter().any(|signal| signal.os == os) && !rules(&product.active) {
                continue;
            }
            wanted.add_signals(&product.signals, os);
            wanted.add_values(&product.version, os);
            wanted.add_values(&product.pattern, os);
            let variants = product.variants.iter().map(|variant| &variant.when);
            let notes = product.notes.iter().map(|note| &note.when);
            variants.chain(notes).chain(product.active.get(&os)).for_each(|rule| wanted.add_rule(rule, os));
        }
        wanted
    }
}

impl<'a> Wanted<'a> {
    fn add_signals(&mut self, signals: &'a [Signal], os: Os) {
        signals.iter().filter(|signal| signal.os == os).for_each(|signal| self.add_signal(signal));
    }

    fn add_signal(&mut self, signal: &'a Signal) {
        let names = signal.matches.iter().map(String::as_str);
        match signal.kind {
            Kind::Deb => self.debs.extend(names),
            Kind::Rpm => self.rpms.extend(names),
            Kind::Unit => self.units.extend(names),
            Kind::InitScript => self.init_scripts.extend(names),
            Kind::Process => self.programs.extend(names),
            Kind::Path => names.for_each(|path| {
                self.add_folder(path);
                self.paths.insert(path);
            }),
            Kind::Group => self.groups.extend(names),
            Kind::KernelModule => self.kernel_modules.extend(names),
            Kind::ListenPort => self.ports.extend(names.filter_map(|name| name.parse::<u16>().ok())),
            Kind::RegistryKey => self.registry_keys.extend(names),
            Kind::RegistryValue => self.registry_values.extend(names),
            Kind::UninstallKey | Kind::UninstallName => self.uninstall.extend(names),
            Kind::MsiProductCode => self.msi_product_codes.extend(names),
            Kind::MsiUpgradeCode => self.msi_upgrade_codes.extend(names),
            Kind::Service | Kind::ServiceDisplay => self.services.extend(names),
            Kind::SecurityCenter => self.security_center.extend(names),
            Kind::Pipe => self.pipes.extend(names),
            Kind::Receipt => self.receipts.extend(names),
            Kind::Launchd => self.launchd.extend(names),
            Kind::Bundle => self.bundles.extend(names),
            Kind::SystemExtension => self.system_extensions.extend(names),
            Kind::RunValue => self.run_values.extend(names),
            Kind::DominoTask => self.domino_tasks.extend(names),
        }
    }

    fn add_rule(&mut self, rule: &'a Rule, os: Os) {
        rule.for_each(&mut |test| {
            let names = |names: &'a [String]| names.iter().map(String::as_str);
            match test {
                Test::Seen(signal) if signal.os == os => self.add_signal(signal),
                Test::UnitActive(units) => self.units.extend(names(units)),
                Test::ServiceRunning(services) | Test::ServiceDisplayRunning(services) => {
                    self.services.extend(names(services));
                }
                Test::ProcessRunning(programs) => self.programs.extend(names(programs)),
                Test::LaunchdLoaded(labels) => self.launchd.extend(names(labels)),
                Test::ExtensionEnabled(ids) => self.system_extensions.extend(names(ids)),
                Test::SecurityCenterOn(rows)
                | Test::SecurityCenterOff(rows)
                | Test::SecurityCenterOutdated(rows) => self.security_center.extend(names(rows)),
                Test::Value { of, minus, .. } => {
                    self.add_values(std::slice::from_ref(of), os);
                    self.add_values(minus.as_slice(), os);
                }
                Test::Seen(_) | Test::All(_) | Test::Any(_) | Test::Not(_) | Test::Unless(_) => {}
                Test::CannotTell(_) => {}
            }
        });
    }

    /// A path under a folder that a registry value names asks for that value.
    fn add_folder(&mut self, path: &'a str) {
        if let Some((Folder::RegistryValue(name), _)) = folder_of(path) {
            self.registry_values.insert(name);
        }
    }

    fn add_values(&mut self, sources: &'a [ValueSource], os: Os) {
        sources.iter().filter(|source| source.exists_on(os)).for_each(|source| self.add_value(source));
    }

    fn add_value(&mut self, source: &'a ValueSource) {
        let names = |names: &'a [String]| names.iter().map(String::as_str);
        match source {
            ValueSource::Output { command, .. } => {
                self.commands.insert(*command);
            }
            ValueSource::Registry(name) => {
                self.registry_values.insert(name);
            }
            ValueSource::Uninstall(entries) => self.uninstall.extend(names(entries)),
            ValueSource::Package(packages) => {
                self.debs.extend(names(packages));
                self.rpms.extend(names(packages));
            }
            ValueSource::FileVersion(path) => {
                self.add_folder(path);
                self.file_versions.insert(path);
            }
            ValueSource::Bundle(path) => {
                self.bundles.insert(path);
            }
            ValueSource::Receipt(id) => {
                self.receipts.insert(id);
            }
            ValueSource::Plist(name) => {
                self.plists.insert(name);
            }
            ValueSource::Ini(name) => {
                self.add_folder(name);
                self.ini_values.insert(name);
            }
        }
    }
}
