//! Property lists, XML and binary. Invariant: what is kept is bounded by the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_agent::detect::forms::{Form, read};
use seatbeat_fuzz::bounded;
use seatbeat_proto::catalogue::{Catalogue, Os};

fuzz_target!(|bytes: &[u8]| {
    let wanted = Catalogue::embedded().wanted(Os::Macos);
    let told = bounded(bytes.len(), 4096, || read(Form::PropertyList, bytes, &wanted));
    let kept: usize = told.texts.iter().map(String::len).sum();
    assert!(kept <= 64 * 1024 + 40 * bytes.len(), "{kept} of {}", bytes.len());
});
