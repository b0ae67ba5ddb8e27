//! Listings of systems: units, sockets, groups, modules, the registry, services, receipts, jobs. Invariant: what is kept is
//! bounded by the bytes, and matching takes whatever it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_agent::detect::forms::{Form, read};
use seatbeat_fuzz::{bounded, now};
use seatbeat_proto::catalogue::{Catalogue, Observations, Os};

const FORMS: [(Form, Os); 12] = [
    (Form::Units, Os::Linux),
    (Form::Sockets, Os::Linux),
    (Form::Groups, Os::Linux),
    (Form::KernelModules, Os::Linux),
    (Form::Arguments, Os::Linux),
    (Form::FileEvents, Os::Linux),
    (Form::RegistryExport, Os::Windows),
    (Form::WindowsServices, Os::Windows),
    (Form::Receipts, Os::Macos),
    (Form::LaunchdJobs, Os::Macos),
    (Form::SystemExtensions, Os::Macos),
    (Form::Ini, Os::Windows),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((form, bytes)) = bytes.split_first() else { return };
    let (form, os) = FORMS[usize::from(*form) % FORMS.len()];
    let wanted = Catalogue::embedded().wanted(os);
    let told = bounded(bytes.len(), 1024, || read(form, bytes, &wanted));
    let texts: usize = told.texts.iter().map(String::len).sum();
    assert!(texts <= 3 * bytes.len());
    assert!(told.seen.services.len() <= 1000 && told.seen.uninstall.len() <= 1000);
    assert!(told.seen.listening_ports.is_subset(&wanted.ports));
    Catalogue::embedded().explain(&Observations { os, ..told.seen }, now());
});
