//! Signals: single things that can be seen and speak for a product, a family, or against one.
//! Invariant: a signal of a source that could not be read is neither seen nor absent; it is unknown.

use super::kind::Kind;
use super::names::{is_path, is_registry_name, msi_code};
use super::observations::{Observations, Os};
use super::text::{self, glob};
use super::things::{PackageManager, Uninstall};

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
    /// Of an uninstall entry: who may have published it; an entry that names somebody else does not count. Empty when
    /// it does not matter.
    pub publishers: Vec<String>,
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
            Kind::Path => first_where(seen.paths.iter(), |path| is_path(wanted, path, &seen.registry_values)),
            Kind::Group => first(Box::new(seen.groups.iter())),
            Kind::KernelModule => first(Box::new(seen.kernel_modules.iter())),
            Kind::ListenPort => match wanted.parse().is_ok_and(|port| seen.listening_ports.contains(&port)) {
                true => Sight::Seen(wanted.to_owned()),
                false => Sight::Absent,
            },
            Kind::RegistryKey => first_where(seen.registry_keys.iter(), |key| is_registry_name(wanted, key)),
            Kind::RegistryValue => self.look_for_value(wanted, seen),
            Kind::UninstallKey => self.look_for_entry(wanted, |entry| &entry.key, seen),
            Kind::UninstallName => self.look_for_entry(wanted, |entry| &entry.name, seen),
            Kind::MsiProductCode => {
                let keys = seen.uninstall.iter().map(|entry| &entry.key);
                first_where(seen.msi_product_codes.iter().chain(keys), |code| is_code(wanted, code))
            }
            Kind::MsiUpgradeCode => first_where(seen.msi_upgrade_codes.iter(), |code| is_code(wanted, code)),
            Kind::Service => first(Box::new(seen.services.iter().map(|service| &service.name))),
            Kind::ServiceDisplay => first(Box::new(seen.services.iter().map(|service| &service.display))),
            Kind::SecurityCenter => look_for_row(wanted, seen),
            Kind::Pipe => first(Box::new(seen.pipes.iter())),
            Kind::Receipt => first(Box::new(seen.receipts.keys())),
            Kind::Launchd => first(Box::new(seen.launchd.keys())),
            Kind::Bundle => first(Box::new(seen.bundles.keys())),
            Kind::SystemExtension => first(Box::new(seen.system_extensions.keys())),
            Kind::RunValue => first(Box::new(seen.run_values.iter())),
            Kind::DominoTask => first(Box::new(seen.domino_tasks.iter())),
        }
    }

    fn look_for_entry(
        &self,
        wanted: &str,
        name: impl Fn(&Uninstall) -> &String,
        seen: &Observations,
    ) -> Sight {
        let mut discounted = Sight::Absent;
        for entry in seen.uninstall.iter().filter(|entry| glob(wanted, name(entry))) {
            let publisher = entry.publisher.trim();
            if publisher.is_empty()
                || self.publishers.is_empty()
                || self.publishers.iter().any(|known| glob(known, publisher))
            {
                return Sight::Seen(name(entry).clone());
            }
            discounted = Sight::Discounted(format!("`{}` was published by `{publisher}`", name(entry)));
        }
        discounted
    }

    fn look_for_value(&self, wanted: &str, seen: &Observations) -> Sight {
        let found = seen.registry_values.iter().find(|(name, value)| {
            is_registry_name(wanted, name)
                && self.contains.as_ref().is_none_or(|part| text::contains(value, part))
        });
        match found {
            Some((name, value)) if self.contains.is_some() => Sight::Seen(format!("{name}={value}")),
            Some((name, _)) => Sight::Seen(name.clone()),
            None => Sight::Absent,
        }
    }
}

fn first_where<'a>(mut names: impl Iterator<Item = &'a String>, is: impl Fn(&str) -> bool) -> Sight {
    names.find(|name| is(name)).map_or(Sight::Absent, |name| Sight::Seen(name.clone()))
}

/// Whether both are the same Windows Installer code, however each is written.
fn is_code(wanted: &str, code: &str) -> bool {
    glob(wanted, code) || msi_code(code).is_some_and(|code| glob(wanted, &code))
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
