//! Detection: what is on this machine, or under a folder, or in a snapshot file. One outside source a file, each a
//! [`Sensor`]; what it means is decided elsewhere (`seatbeat_proto::catalogue`).
//! Invariant: only what the catalogue names is looked at, each file at most once a scan; under a foreign root nothing
//! is executed and no link leads out of it; a source that cannot be read says so instead of saying "nothing".

#[cfg(target_os = "linux")]
mod changes;
mod collected;
#[cfg(target_os = "linux")]
mod dpkg;
#[cfg(not(any(target_os = "linux", windows)))]
mod elsewhere;
#[cfg(any(unix, windows))]
pub(crate) mod exec;
pub mod facts;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
pub mod forms;
#[cfg(target_os = "linux")]
mod lines;
pub mod lookout;
#[cfg(any(target_os = "macos", test))]
mod mac;
mod mac_files;
#[cfg(target_os = "linux")]
pub(crate) mod notify;
#[cfg(target_os = "linux")]
mod paths;
#[cfg(target_os = "linux")]
pub(crate) mod places;
mod plist;
#[cfg(target_os = "linux")]
mod ports;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod rpm;
pub mod snapshot;
#[cfg(target_os = "linux")]
mod stamps;
#[cfg(target_os = "linux")]
mod units;
mod vendor;
pub mod watch;
mod windows;

use std::path::PathBuf;

use seatbeat_proto::catalogue::{Catalogue, Observations, Os, Source, VendorCommand, Wanted};

#[cfg(windows)]
pub use self::windows::Nudges;
#[cfg(not(any(target_os = "linux", windows)))]
pub use elsewhere::Nudges;
#[cfg(target_os = "linux")]
pub use notify::Nudges;
#[cfg(target_os = "linux")]
use root::Root;

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Another system's files, mounted or unpacked here. Nothing is executed under it, and its running state is not
    /// known. Default: this machine.
    pub root: Option<PathBuf>,
    /// A folder of `<command>.txt` files (`dsa_query-GetAgentStatus.txt`) that is read instead of running the vendor's
    /// programs; beside a snapshot also of listings of that machine (`rpm-qa.txt`, `registry.reg`,
    /// `sc-query.txt`, `pkgutil-pkgs.txt`, `launchctl-list.txt`, `systemextensionsctl-list.txt`; of a Mac also its
    /// property lists at their own places), which are added to it.
    pub vendor_output: Option<PathBuf>,
    /// A snapshot file that is read instead of looking at anything.
    pub snapshot: Option<PathBuf>,
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The root is no folder that can be opened.
    #[error("failed to open root `{path}`")]
    Root {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder of collected output is none.
    #[error("failed to open the folder of collected output `{path}`")]
    VendorOutput {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The snapshot file cannot be used.
    #[error(transparent)]
    Snapshot(#[from] snapshot::SnapshotError),
}

impl DetectError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Root { .. } => Some("name a folder that another system's disk is mounted on".into()),
            Self::VendorOutput { .. } => {
                let names: Vec<&str> = VendorCommand::ALL.iter().map(|command| command.id()).collect();
                Some(format!("a folder with files named <command>.txt, of {}", names.join(", ")))
            }
            Self::Snapshot(error) => Some(error.hint()),
        }
    }
}

/// One outside source: the real one, a folder's, or a snapshot's.
pub trait Sensor {
    /// Looks for what is wanted and notes what is there, or that it could not be read.
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations);
}

/// Looks at everything that the catalogue asks. Blocks, for some tens of milliseconds and as long as the vendor's
/// programs take (at most [`exec::TIME_S_MAX`] each).
///
/// # Errors
/// When the root or the snapshot cannot be opened. A source that fails is noted in the observations.
pub fn observe(scope: &Scope, catalogue: &Catalogue) -> Result<Observations, DetectError> {
    let mut seen = Observations { os: this_os(), ..Observations::default() };
    let sensors = sensors(scope, &mut seen)?;
    let wanted = catalogue.wanted(seen.os);
    for sensor in sensors {
        sensor.look(&wanted, &mut seen);
    }
    Ok(seen)
}

fn sensors(scope: &Scope, seen: &mut Observations) -> Result<Vec<Box<dyn Sensor>>, DetectError> {
    let mut sensors: Vec<Box<dyn Sensor>> = Vec::new();
    if let Some(file) = &scope.snapshot {
        let snapshot = snapshot::Snapshot::open(file)?;
        seen.os = snapshot.os();
        sensors.push(Box::new(snapshot));
    } else {
        sensors.extend(machine(scope, seen)?);
    }
    if let Some(folder) = &scope.vendor_output {
        // Refused: a name that was misspelt would look like programs that do not answer.
        std::fs::read_dir(folder)
            .map_err(|source| DetectError::VendorOutput { path: folder.clone(), source })?;
        sensors.push(Box::new(vendor::Collected(folder.clone())));
        if scope.snapshot.is_some() || scope.root.is_some() {
            sensors.push(Box::new(collected::Listings(folder.clone())));
        }
    }
    Ok(sensors)
}

/// The sources of the running machine, or of the one whose files stand under the root.
#[cfg(target_os = "linux")]
fn machine(scope: &Scope, seen: &mut Observations) -> Result<Vec<Box<dyn Sensor>>, DetectError> {
    let root = match &scope.root {
        None => Root::live(),
        Some(path) => {
            seen.os = Os::Linux;
            Root::foreign(path).map_err(|source| DetectError::Root { path: path.clone(), source })?
        }
    };
    let mut sensors: Vec<Box<dyn Sensor>> = vec![
        Box::new(dpkg::Dpkg(root.clone())),
        Box::new(rpm::Rpm(root.clone())),
        Box::new(units::Units(root.clone())),
        Box::new(paths::Paths(root.clone())),
        Box::new(files::Groups(root.clone())),
        Box::new(files::KernelModules(root.clone())),
        Box::new(ports::Ports(root.clone())),
        Box::new(processes::Processes(root.clone())),
    ];
    if scope.vendor_output.is_none() {
        sensors.push(Box::new(vendor::Commands(root)));
    }
    Ok(sensors)
}

/// The sources of the running machine; another one's files say little without its registry.
#[cfg(windows)]
fn machine(scope: &Scope, _seen: &mut Observations) -> Result<Vec<Box<dyn Sensor>>, DetectError> {
    if let Some(path) = scope.root.clone() {
        return Err(DetectError::Root { path, source: std::io::ErrorKind::Unsupported.into() });
    }
    let mut sensors = self::windows::sensors();
    if scope.vendor_output.is_none() {
        sensors.push(Box::new(vendor::Commands));
    }
    Ok(sensors)
}

/// The sources of a running Mac; of another root nothing.
#[cfg(not(any(target_os = "linux", windows)))]
fn machine(scope: &Scope, _seen: &mut Observations) -> Result<Vec<Box<dyn Sensor>>, DetectError> {
    if let Some(path) = scope.root.clone() {
        return Err(DetectError::Root { path, source: std::io::ErrorKind::Unsupported.into() });
    }
    let mut sensors: Vec<Box<dyn Sensor>> = vec![Box::new(elsewhere::Processes)];
    #[cfg(target_os = "macos")]
    sensors.push(Box::new(mac::Mac(PathBuf::from("/"), mac::Own)));
    for source in [Source::KernelModules, Source::ListeningPorts, Source::Groups, Source::VendorOutput] {
        sensors.push(Box::new(elsewhere::Unread(source)));
    }
    Ok(sensors)
}

/// Asks the running machine's vendor programs anew.
fn ask_vendor(catalogue: &Catalogue, seen: &mut Observations) {
    seen.vendor_output.clear();
    seen.unreadable.remove(&Source::VendorOutput);
    #[cfg(target_os = "linux")]
    vendor::Commands(Root::live()).look(&catalogue.wanted(Os::Linux), seen);
    #[cfg(windows)]
    vendor::Commands.look(&catalogue.wanted(Os::Windows), seen);
    #[cfg(not(any(target_os = "linux", windows)))]
    let _ = catalogue;
}

fn this_os() -> Os {
    Os::from_name(std::env::consts::OS).unwrap_or_default()
}

#[cfg(all(test, target_os = "linux"))]
mod fuzz;
#[cfg(all(test, target_os = "linux"))]
mod sample_tests;
#[cfg(all(test, target_os = "linux"))]
mod tests;
