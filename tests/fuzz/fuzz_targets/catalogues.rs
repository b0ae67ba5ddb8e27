//! Catalogue files. Invariant: one that is taken can be looked at with, explained and searched for mistakes on every
//! system; the same bytes are taken from whoever signed them, and from nobody else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, key, now, text};
use seatbeat_proto::catalogue::{CATALOGUE_LENGTH_MAX, Catalogue, Observations, Os};
use seatbeat_proto::signed::{Domain, sign};

const RELEASE: u8 = 21;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = text(bytes) else { return };
    let parsed = bounded(text.len(), 4096, || Catalogue::parse(text));
    let signed = sign(&key(RELEASE), Domain::Catalogue, bytes.to_vec());
    let taken = Catalogue::from_signed(&signed, &key(RELEASE).verifying_key(), 0);
    assert_eq!(taken.is_ok(), parsed.is_ok() && bytes.len() <= CATALOGUE_LENGTH_MAX);
    assert!(Catalogue::from_signed(&signed, &key(RELEASE + 1).verifying_key(), 0).is_err());
    let Ok(catalogue) = parsed else { return };
    assert!(Catalogue::from_signed(&signed, &key(RELEASE).verifying_key(), catalogue.version).is_err());
    catalogue.lint();
    for os in [Os::Linux, Os::Windows, Os::Macos] {
        let wanted = catalogue.wanted(os);
        // All that is wanted is there.
        let own =
            |names: &std::collections::BTreeSet<&str>| names.iter().map(|&name| name.to_owned()).collect();
        let seen = Observations {
            os,
            paths: own(&wanted.paths),
            groups: own(&wanted.groups),
            kernel_modules: own(&wanted.kernel_modules),
            registry_keys: own(&wanted.registry_keys),
            listening_ports: wanted.ports.clone(),
            ..Observations::default()
        };
        for seen in [seen, Observations { os, ..Observations::default() }] {
            let explained = catalogue.explain(&seen, now());
            assert!(explained.len() <= catalogue.products.len() + catalogue.families.len());
        }
    }
});
