//! Files and folders that exist, init scripts among them. Invariant: nothing is opened for reading.

use seatbeat_proto::catalogue::{Observations, Source, Wanted};

use super::Sensor;
use super::root::Root;

/// The file system under a root.
pub struct Paths(pub Root);

impl Sensor for Paths {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        for path in wanted.paths.iter().filter(|path| path.starts_with('/')) {
            match self.0.exists(path) {
                Ok(true) => {
                    seen.paths.insert((*path).to_owned());
                }
                Ok(false) => {}
                Err(error) => {
                    seen.unreadable.insert(Source::Paths, format!("failed to look for {path}: {error}"));
                }
            }
        }
        for name in &wanted.init_scripts {
            let path = format!("/etc/init.d/{name}");
            match self.0.exists(&path) {
                Ok(true) => {
                    seen.init_scripts.insert((*name).to_owned());
                }
                Ok(false) => {}
                Err(error) => {
                    seen.unreadable
                        .insert(Source::InitScripts, format!("failed to look for {path}: {error}"));
                }
            }
        }
    }
}
