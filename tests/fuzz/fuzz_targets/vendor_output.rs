//! What the vendor's own programs answer, in whatever encoding a console saved it. Invariant: a broken byte becomes three
//! at most, and findings follow from any answer on every system.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_agent::detect::forms::{Form, read};
use seatbeat_fuzz::{bounded, now};
use seatbeat_proto::catalogue::{Catalogue, Observations, Os, pattern_number};

fuzz_target!(|bytes: &[u8]| {
    for os in [Os::Linux, Os::Windows] {
        let wanted = Catalogue::embedded().wanted(os);
        let told = bounded(bytes.len(), 512, || read(Form::VendorOutput, bytes, &wanted));
        let answers = told.seen.vendor_output.values();
        assert!(answers.clone().all(|answer| answer.len() <= 3 * bytes.len()));
        answers.flat_map(|answer| answer.lines()).for_each(|line| drop(pattern_number(line)));
        let paths = wanted.paths.iter().map(|&path| path.to_owned()).collect();
        let seen = Observations { os, paths, ..told.seen };
        let explained = bounded(bytes.len(), 4096, || Catalogue::embedded().explain(&seen, now()));
        assert!(!explained.is_empty());
    }
});
