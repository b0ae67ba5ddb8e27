//! Signals: single things that can be seen and speak for a product, a family, or against one.
//! Invariant: a signal of a source that could not be read is neither seen nor absent; it is unknown.

use super::observations::{Observations, Os, PackageManager, Source};
use super::text::{self, glob};

/// What a signal looks at. The set is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An installed Debian package, by name.
    Deb,
    /// An installed rpm package, by name.
    Rpm,
    /// A systemd unit file, by full unit name.
    Unit,
    /// A script in `/etc/init.d`.
    InitScript,
    /// A running process: by full path, or by program name when the match has no separator.
    Process,
    /// An existing file or folder.
    Path,
    /// A local group.
    Group,
    /// A loaded kernel module or driver.
    KernelModule,
    /// A listening port.
    ListenPort,
    /// A registry key.
    RegistryKey,
    /// A registry value `key!name`, optionally with `contains`.
    RegistryValue,
    /// Name of an Uninstall key.
    UninstallKey,
    /// `DisplayName` of an Uninstall entry.
    UninstallName,
    /// A Windows Installer product code.
    MsiProductCode,
    /// A Windows Installer upgrade code.
    MsiUpgradeCode,
    /// A Windows service, by name.
    Service,
    /// A Windows service, by display name.
    ServiceDisplay,
    /// A row of Windows Security Center whose program still exists.
    SecurityCenter,
    /// A named pipe.
    Pipe,
    /// A macOS installer receipt.
    Receipt,
    /// A launchd job, by label.
    Launchd,
    /// A macOS application bundle, by path.
    Bundle,
    /// A macOS system extension, by bundle id.
    SystemExtension,
}

impl Kind {
    /// Every kind and its word in the catalogue.
    pub const WORDS: [(&'static str, Self); 23] = [
        ("deb", Self::Deb),
        ("rpm", Self::Rpm),
        ("unit", Self::Unit),
        ("init_script", Self::InitScript),
        ("process", Self::Process),
        ("path", Self::Path),
        ("group", Self::Group),
        ("kernel_module", Self::KernelModule),
        ("listen_port", Self::ListenPort),
        ("registry_key", Self::RegistryKey),
        ("registry_value", Self::RegistryValue),
        ("uninstall_key", Self::UninstallKey),
        ("uninstall_name", Self::UninstallName),
        ("msi_product_code", Self::MsiProductCode),
        ("msi_upgrade_code", Self::MsiUpgradeCode),
        ("service", Self::Service),
        ("service_display", Self::ServiceDisplay),
        ("security_center", Self::SecurityCenter),
        ("pipe", Self::Pipe),
        ("receipt", Self::Receipt),
        ("launchd", Self::Launchd),
        ("bundle", Self::Bundle),
        ("system_extension", Self::SystemExtension),
    ];

    /// Its word in the catalogue.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// The source that sees it.
    pub fn source(self) -> Source {
        match self {
            Self::Deb => Source::Dpkg,
            Self::Rpm => Source::Rpm,
            Self::Unit => Source::UnitFiles,
            Self::InitScript => Source::InitScripts,
            Self::Process => Source::Processes,
            Self::Path => Source::Paths,
            Self::Group => Source::Groups,
            Self::KernelModule => Source::KernelModules,
            Self::ListenPort => Source::ListeningPorts,
            Self::RegistryKey | Self::RegistryValue | Self::UninstallKey | Self::UninstallName => {
                Source::Registry
            }
            Self::MsiProductCode | Self::MsiUpgradeCode => Source::Msi,
            Self::Service | Self::ServiceDisplay => Source::Services,
            Self::SecurityCenter => Source::SecurityCenter,
            Self::Pipe => Source::Pipes,
            Self::Receipt => Source::Receipts,
            Self::Launchd => Source::Launchd,
            Self::Bundle => Source::Bundles,
            Self::SystemExtension => Source::SystemExtensions,
        }
    }

    /// Whether a machine with this system can have it at all.
    pub fn exists_on(self, os: Os) -> bool {
        match self {
            Self::Process | Self::Path => true,
            Self::KernelModule | Self::ListenPort => os != Os::Macos,
            Self::Group => os != Os::Windows,
            Self::Deb | Self::Rpm | Self::Unit | Self::InitScript => os == Os::Linux,
            Self::Receipt | Self::Launchd | Self::Bundle | Self::SystemExtension => os == Os::Macos,
            _ => os == Os::Windows,
        }
    }
}

/// What a signal is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Names the product.
    Identify,
    /// Adds confidence; never enough.
    Support,
    /// Names a family of products, none of them.
    Family,
    /// The product must not be this one.
    Exclude,
}

impl Role {
    /// Every role and its word in the catalogue.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("identify", Self::Identify),
        ("support", Self::Support),
        ("family", Self::Family),
        ("exclude", Self::Exclude),
    ];
}

/// One line of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The system it is looked for on.
    pub os: Os,
    /// What it looks at.
    pub kind: Kind,
    /// Names, any of which will do; `*` stands for any text.
    pub matches: Vec<String>,
    /// Of a registry value: what its text must contain.
    pub contains: Option<String>,
    /// What it is worth.
    pub role: Role,
    /// Where the fact comes from.
    pub source: String,
    /// Whether the fact is from memory only: such a signal never finds a product alone.
    pub recalled: bool,
}

/// What a look at a signal gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It is there; the name that was found.
    Seen(String),
    /// Something of that name is there, but does not count, because of this.
    Discounted(String),
    /// It is not there.
    Absent,
    /// Its source could not be read, because of this.
    Unreadable(String),
}

impl Signal {
    /// Looks for this signal in what was observed.
    pub fn look(&self, seen: &Observations) -> Sight {
        let mut discounted = None;
        for wanted in &self.matches {
            match self.look_for(wanted, seen) {
                Sight::Seen(name) => return Sight::Seen(format!("{}:{name}", self.kind.word())),
                Sight::Discounted(why) => discounted = Some(Sight::Discounted(why)),
                Sight::Absent | Sight::Unreadable(_) => {}
            }
        }
        if let Some(why) = seen.unreadable.get(&self.kind.source()) {
            return Sight::Unreadable(why.clone());
        }
        discounted.unwrap_or(Sight::Absent)
    }

    /// `kind:match`, as it is shown to people when it was not seen.
    pub fn describe(&self) -> String {
        let mut text = format!("{}:{}", self.kind.word(), self.matches.join("|"));
        if let Some(part) = &self.contains {
            text.push_str(&format!(" contains \"{part}\""));
        }
        text
    }

    fn look_for(&self, wanted: &str, seen: &Observations) -> Sight {
        let is = |name: &&String| glob(wanted, name);
        let first = |mut names: Box<dyn Iterator<Item = &String> + '_>| match names.find(is) {
            Some(name) => Sight::Seen(name.clone()),
            None => Sight::Absent,
        };
        match self.kind {
            Kind::Deb => look_for_package(PackageManager::Dpkg, wanted, seen),
            Kind::Rpm => look_for_package(PackageManager::Rpm, wanted, seen),
            Kind::Unit => first(Box::new(seen.units.keys())),
            Kind::InitScript => first(Box::new(seen.init_scripts.iter())),
            Kind::Process => {
                match seen.processes.iter().find(|process| text::is_program(wanted, &process.exe)) {
                    Some(process) => Sight::Seen(process.exe.clone()),
                    None => Sight::Absent,
                }
            }
            Kind::Path => first(Box::new(seen.paths.iter())),
            Kind::Group => first(Box::new(seen.groups.iter())),
            Kind::KernelModule => first(Box::new(seen.kernel_modules.iter())),
            Kind::ListenPort => match wanted.parse().is_ok_and(|port| seen.listening_ports.contains(&port)) {
                true => Sight::Seen(wanted.to_owned()),
                false => Sight::Absent,
            },
            Kind::RegistryKey => first(Box::new(seen.registry_keys.iter())),
            Kind::RegistryValue => self.look_for_value(wanted, seen),
            Kind::UninstallKey => first(Box::new(seen.uninstall.iter().map(|entry| &entry.key))),
            Kind::UninstallName => first(Box::new(seen.uninstall.iter().map(|entry| &entry.name))),
            Kind::MsiProductCode => first(Box::new(seen.msi_product_codes.iter())),
            Kind::MsiUpgradeCode => first(Box::new(seen.msi_upgrade_codes.iter())),
            Kind::Service => first(Box::new(seen.services.iter().map(|service| &service.name))),
            Kind::ServiceDisplay => first(Box::new(seen.services.iter().map(|service| &service.display))),
            Kind::SecurityCenter => look_for_row(wanted, seen),
            Kind::Pipe => first(Box::new(seen.pipes.iter())),
            Kind::Receipt => first(Box::new(seen.receipts.keys())),
            Kind::Launchd => first(Box::new(seen.launchd.keys())),
            Kind::Bundle => first(Box::new(seen.bundles.keys())),
            Kind::SystemExtension => first(Box::new(seen.system_extensions.keys())),
        }
    }

    fn look_for_value(&self, wanted: &str, seen: &Observations) -> Sight {
        let found = seen.registry_values.iter().find(|(name, value)| {
            glob(wanted, name) && self.contains.as_ref().is_none_or(|part| text::contains(value, part))
        });
        match found {
            Some((name, value)) if self.contains.is_some() => Sight::Seen(format!("{name}={value}")),
            Some((name, _)) => Sight::Seen(name.clone()),
            None => Sight::Absent,
        }
    }
}

fn look_for_package(manager: PackageManager, wanted: &str, seen: &Observations) -> Sight {
    let mut discounted = Sight::Absent;
    for package in
        seen.packages.iter().filter(|package| package.manager == manager && glob(wanted, &package.name))
    {
        if package.is_installed() {
            return Sight::Seen(package.name.clone());
        }
        discounted =
            Sight::Discounted(format!("package {} is `{}`, not installed", package.name, package.state));
    }
    discounted
}

fn look_for_row(wanted: &str, seen: &Observations) -> Sight {
    let mut discounted = Sight::Absent;
    for row in seen.security_center.iter().filter(|row| glob(wanted, &row.name)) {
        if row.program_exists {
            return Sight::Seen(row.name.clone());
        }
        discounted =
            Sight::Discounted(format!("the Security Center row `{}` outlived its program", row.name));
    }
    discounted
}
