//! What is read of binary files: the firmware's table, and the version of a program for Windows. Invariant: nothing that
//! stands in one is believed beyond its bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_agent::detect::forms::{Form, read};
use seatbeat_agent::proxy::of_winhttp;
use seatbeat_fuzz::bounded;
use seatbeat_proto::catalogue::{Catalogue, Os};

fuzz_target!(|bytes: &[u8]| {
    let wanted = Catalogue::embedded().wanted(Os::Windows);
    for form in [Form::Firmware, Form::Program] {
        let told = bounded(bytes.len(), 64, || read(form, bytes, &wanted));
        let kept: usize = told.texts.iter().map(String::len).sum();
        assert!(kept <= 64 + 3 * bytes.len());
    }
    let _ = bounded(bytes.len(), 64, || of_winhttp(bytes));
});
