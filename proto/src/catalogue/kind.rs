//! What a signal can look at. Invariant: the set is closed; each kind has one word in the catalogue, one source that
//! sees it, and systems it exists on.

use super::observations::{Os, Source};

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
    /// A value of the machine's Windows `Run` keys, by name.
    RunValue,
    /// A task of a Domino server.
    DominoTask,
}

impl Kind {
    /// Every kind and its word in the catalogue.
    pub const WORDS: [(&'static str, Self); 25] = [
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
        ("run_value", Self::RunValue),
        ("domino_task", Self::DominoTask),
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
            Self::RegistryKey
            | Self::RegistryValue
            | Self::UninstallKey
            | Self::UninstallName
            | Self::RunValue => Source::Registry,
            Self::MsiProductCode | Self::MsiUpgradeCode => Source::Msi,
            Self::Service | Self::ServiceDisplay => Source::Services,
            Self::SecurityCenter => Source::SecurityCenter,
            Self::Pipe => Source::Pipes,
            Self::Receipt => Source::Receipts,
            Self::Launchd => Source::Launchd,
            Self::Bundle => Source::Bundles,
            Self::SystemExtension => Source::SystemExtensions,
            Self::DominoTask => Source::DominoTasks,
        }
    }

    /// Whether a machine with this system can have it at all.
    pub fn exists_on(self, os: Os) -> bool {
        match self {
            Self::Process | Self::Path => true,
            Self::KernelModule | Self::ListenPort | Self::DominoTask => os != Os::Macos,
            Self::Group => os != Os::Windows,
            Self::Deb | Self::Rpm | Self::Unit | Self::InitScript => os == Os::Linux,
            Self::Receipt | Self::Launchd | Self::Bundle | Self::SystemExtension => os == Os::Macos,
            _ => os == Os::Windows,
        }
    }
}
