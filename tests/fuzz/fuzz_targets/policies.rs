//! The policy that a month is priced by. Invariant: a policy that is read is written down as it was read, and what goes
//! into a sealed body of it is read as the same policy without sell prices.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, same, text};
use seatbeat_ledger::policy::Policy;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = text(bytes) else { return };
    let Ok(policy) = bounded(text.len(), 4096, || Policy::parse(text)) else { return };
    same(&Policy::parse(&policy.to_toml()), &Ok(policy.clone()));
    let public = policy.public_toml_or_json();
    let read = Policy::from_public(&public).expect("what is public of a policy is one");
    assert!(read.price.is_empty());
    same(&read, &Policy { price: read.price.clone(), ..policy });
});
