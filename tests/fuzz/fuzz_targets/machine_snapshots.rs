//! Snapshot files of machines. Invariant: what opens is saved and opened again equal, and findings follow from it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_agent::detect::{Scope, observe, snapshot};
use seatbeat_fuzz::{bounded, file, now, same};
use seatbeat_proto::catalogue::Catalogue;

fuzz_target!(|bytes: &[u8]| {
    let catalogue = Catalogue::embedded();
    let path = file("snapshot.json", bytes);
    let scope = Scope { snapshot: Some(path.clone()), ..Scope::default() };
    let observed = || observe(&scope, catalogue);
    let Ok(seen) = bounded(bytes.len(), 1024, observed) else { return };
    snapshot::save(&seen, &path).expect("a file in memory can be written");
    same(&observed().ok(), &Some(seen.clone()));
    catalogue.explain(&seen, now());
});
