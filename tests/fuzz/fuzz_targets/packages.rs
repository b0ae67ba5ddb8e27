//! What package managers say: dpkg's status file, rpm's answers and listings. Invariant: only what the catalogue names is
//! kept of a listing, a line is no longer than its limit, and never more than so many.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_agent::detect::forms::{Form, read};
use seatbeat_fuzz::{bounded, now};
use seatbeat_proto::catalogue::{Catalogue, Os};

const FORMS: [Form; 3] = [Form::DpkgStatus, Form::RpmAnswer, Form::RpmListing];

fuzz_target!(|bytes: &[u8]| {
    let wanted = Catalogue::embedded().wanted(Os::Linux);
    for form in FORMS {
        let told = bounded(bytes.len(), 256, || read(form, bytes, &wanted));
        if form != Form::RpmAnswer {
            assert!(told.seen.packages.len() <= 1000);
        }
        // A byte that is no text becomes three.
        let kept: usize = told.seen.packages.iter().map(|one| one.name.len() + one.version.len()).sum();
        assert!(kept <= 3 * bytes.len());
        Catalogue::embedded().explain(&told.seen, now());
    }
});
