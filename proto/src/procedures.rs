//! What can be done to a product on a machine: a closed set, compiled into both sides. Invariant: a catalogue names
//! procedures and cannot add one, and each is for the products it was written for and no other.

use crate::catalogue::{Catalogue, Os};
use crate::ids::ProductId;

/// What an order wants of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Switch {
    /// It is to run no longer.
    Off,
    /// It is to run again.
    On,
    /// It is to be removed.
    Uninstall,
}

/// Whether a procedure wants to be told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It has no use for it.
    No,
    /// Where the vendor's console asks for it.
    May,
    /// It does nothing without.
    Must,
}

/// One way to switch one of the vendor's products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Procedure {
    /// Deep Security: `dsa_control -r`.
    DsaReset,
    /// Deep Security: `dsa_control -a`.
    DsaActivate,
    /// Vision One sensor on Linux: its service is stopped and disabled.
    SensorStop,
    /// Vision One sensor on Linux: its service is enabled and started.
    SensorStart,
    /// ServerProtect for Linux: its service is stopped and disabled.
    SplxStop,
    /// ServerProtect for Linux: its service is enabled and started.
    SplxStart,
    /// Worry-Free, OfficeScan, Apex One: `PccNTMon.exe -n`.
    PccntmonUnload,
    /// Worry-Free, OfficeScan, Apex One: `PccNTMon.exe`.
    PccntmonStart,
    /// The Debian package is removed.
    DebRemove,
    /// The RPM package is removed.
    RpmRemove,
    /// The Windows Installer package is removed.
    MsiRemove,
}

impl Procedure {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::DsaReset,
        Self::DsaActivate,
        Self::SensorStop,
        Self::SensorStart,
        Self::SplxStop,
        Self::SplxStart,
        Self::PccntmonUnload,
        Self::PccntmonStart,
        Self::DebRemove,
        Self::RpmRemove,
        Self::MsiRemove,
    ];

    /// Its name in a catalogue.
    pub fn name(self) -> &'static str {
        match self {
            Self::DsaReset => "dsa-reset",
            Self::DsaActivate => "dsa-activate",
            Self::SensorStop => "sensor-stop",
            Self::SensorStart => "sensor-start",
            Self::SplxStop => "splx-stop",
            Self::SplxStart => "splx-start",
            Self::PccntmonUnload => "pccntmon-unload",
            Self::PccntmonStart => "pccntmon-start",
            Self::DebRemove => "deb-remove",
            Self::RpmRemove => "rpm-remove",
            Self::MsiRemove => "msi-remove",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|procedure| procedure.name() == name)
    }

    /// What it brings about.
    pub fn switch(self) -> Switch {
        match self {
            Self::DsaReset | Self::SensorStop | Self::SplxStop | Self::PccntmonUnload => Switch::Off,
            Self::DsaActivate | Self::SensorStart | Self::SplxStart | Self::PccntmonStart => Switch::On,
            Self::DebRemove | Self::RpmRemove | Self::MsiRemove => Switch::Uninstall,
        }
    }

    /// Whether it is for this system.
    pub fn runs_on(self, os: Os) -> bool {
        match self {
            Self::DsaReset | Self::DsaActivate => true,
            Self::SensorStop | Self::SensorStart | Self::SplxStop | Self::SplxStart => os == Os::Linux,
            Self::DebRemove | Self::RpmRemove => os == Os::Linux,
            Self::PccntmonUnload | Self::PccntmonStart | Self::MsiRemove => os == Os::Windows,
        }
    }

    /// Whether it was written for this product, by the id of the product itself and not of an edition.
    pub fn is_for(self, product: &str) -> bool {
        match self {
            Self::DsaReset | Self::DsaActivate => product == "dsa",
            Self::SensorStop | Self::SensorStart => product == "v1es",
            Self::SplxStop | Self::SplxStart => product == "splx",
            Self::PccntmonUnload | Self::PccntmonStart => {
                matches!(product, "wfbs-svc" | "wfbs-onprem" | "officescan" | "apexone")
            }
            Self::DebRemove => product == "dsa",
            Self::RpmRemove => matches!(product, "dsa" | "splx"),
            Self::MsiRemove => matches!(product, "dsa" | "wfbs-svc"),
        }
    }

    /// Whether it wants the password of the product's self-protection or of its unloading.
    pub fn password(self) -> Need {
        match self {
            Self::PccntmonUnload => Need::Must,
            Self::DsaReset | Self::DebRemove | Self::RpmRemove | Self::MsiRemove => Need::May,
            _ => Need::No,
        }
    }

    /// Whether it wants the vendor's manager, tenant and token.
    pub fn activation(self) -> Need {
        if self == Self::DsaActivate { Need::Must } else { Need::No }
    }

    /// What it does, for whoever decides on it.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::DsaReset => "activation and policy are dropped (`dsa_control -r`); protection ends",
            Self::DsaActivate => "it is activated with its manager again (`dsa_control -a`)",
            Self::SensorStop => "its service `tmxbc` is stopped and does not start any more",
            Self::SensorStart => "its service `tmxbc` is enabled and started",
            Self::SplxStop => "its service `splx` is stopped and does not start any more",
            Self::SplxStart => "its service `splx` is enabled and started",
            Self::PccntmonUnload => {
                "it is unloaded (`PccNTMon.exe -n`) until it is started or the machine starts anew"
            }
            Self::PccntmonStart => "it is started (`PccNTMon.exe`)",
            Self::DebRemove => "its Debian package is removed",
            Self::RpmRemove => "its RPM package is removed",
            Self::MsiRemove => "its Windows Installer package is removed",
        }
    }
}

/// How a product, or the product that this is an edition of, can be switched on a system; of several, one that fits is
/// chosen on the machine.
pub fn procedures(catalogue: &Catalogue, product: &ProductId, os: Os, switch: Switch) -> Vec<Procedure> {
    let Some(known) = catalogue.product_of(product) else { return Vec::new() };
    let named = known.actions.iter().filter_map(|name| Procedure::from_name(name));
    named.filter(|one| one.switch() == switch && one.runs_on(os) && one.is_for(known.id.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(product: &str, os: Os, switch: Switch) -> Vec<&'static str> {
        let catalogue = Catalogue::embedded();
        let found = procedures(catalogue, &product.parse().unwrap(), os, switch);
        found.into_iter().map(Procedure::name).collect()
    }

    #[test]
    fn each_system_has_its_own_procedures_and_an_edition_those_of_its_product() {
        assert_eq!(names("dsa-cloud", Os::Linux, Switch::Off), ["dsa-reset"]);
        assert_eq!(names("dsa", Os::Windows, Switch::On), ["dsa-activate"]);
        assert_eq!(names("dsa", Os::Linux, Switch::Uninstall), ["deb-remove", "rpm-remove"]);
        assert_eq!(names("wfbs-svc", Os::Windows, Switch::Off), ["pccntmon-unload"]);
        assert_eq!(names("wfbs-svc", Os::Windows, Switch::Uninstall), ["msi-remove"]);
        assert_eq!(names("v1es", Os::Linux, Switch::Off), ["sensor-stop"]);
        assert!(names("v1es", Os::Windows, Switch::Off).is_empty());
        assert!(names("smex", Os::Windows, Switch::Off).is_empty());
        assert!(names("nothing", Os::Linux, Switch::Off).is_empty());
    }

    #[test]
    fn the_embedded_catalogue_names_every_procedure_and_only_for_its_products() {
        let catalogue = Catalogue::embedded();
        for procedure in Procedure::ALL {
            let named = catalogue
                .products
                .iter()
                .filter(|product| product.actions.iter().any(|name| name == procedure.name()));
            let products: Vec<_> = named.map(|product| product.id.as_str()).collect();
            assert!(!products.is_empty(), "{procedure:?}");
            assert!(products.iter().all(|product| procedure.is_for(product)), "{procedure:?}: {products:?}");
            assert_eq!(Procedure::from_name(procedure.name()), Some(procedure));
        }
    }
}
