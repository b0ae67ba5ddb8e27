//! Detection: what is on this machine, or under a folder, or in a snapshot file. One outside source a file, each a
//! [`Sensor`]; what it means is decided elsewhere (`seatbeat_proto::catalogue`).
//! Invariant: only what the catalogue names is looked at, each file at most once a scan; under a foreign root nothing
//! is executed and no link leads out of it; a source that cannot be read says so instead of saying "nothing".

mod dpkg;
mod exec;
pub mod facts;
mod files;
mod lines;
mod paths;
mod ports;
mod processes;
mod root;
mod rpm;
pub mod snapshot;
mod units;
mod vendor;

use std::path::PathBuf;

use seatbeat_proto::catalogue::{Catalogue, Observations, Os, Wanted};

pub use root::Root;

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Another system's files, mounted or unpacked here. Nothing is executed under it, and its running state is not
    /// known. Default: this machine.
    pub root: Option<PathBuf>,
    /// A folder of `<command>.txt` files (`dsa_query-GetAgentStatus.txt`) that is read instead of running the vendor's
    /// programs.
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
    /// The snapshot file cannot be used.
    #[error(transparent)]
    Snapshot(#[from] snapshot::SnapshotError),
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
        let root = match &scope.root {
            None => Root::live(),
            Some(path) => {
                Root::foreign(path).map_err(|source| DetectError::Root { path: path.clone(), source })?
            }
        };
        if scope.root.is_some() {
            seen.os = Os::Linux;
        }
        sensors.push(Box::new(dpkg::Dpkg(root.clone())));
        sensors.push(Box::new(rpm::Rpm(root.clone())));
        sensors.push(Box::new(units::Units(root.clone())));
        sensors.push(Box::new(paths::Paths(root.clone())));
        sensors.push(Box::new(files::Groups(root.clone())));
        sensors.push(Box::new(files::KernelModules(root.clone())));
        sensors.push(Box::new(ports::Ports(root.clone())));
        sensors.push(Box::new(processes::Processes(root.clone())));
        if scope.vendor_output.is_none() {
            sensors.push(Box::new(vendor::Commands(root)));
        }
    }
    if let Some(folder) = &scope.vendor_output {
        sensors.push(Box::new(vendor::Collected(folder.clone())));
    }
    Ok(sensors)
}

fn this_os() -> Os {
    Os::from_name(std::env::consts::OS).unwrap_or_default()
}

#[cfg(test)]
mod tests;
