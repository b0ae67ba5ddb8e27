//! The messages of both doors and of the journal. Invariant: a message that decodes is written down so that it decodes to
//! the same, and takes memory by its length.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use seatbeat_fuzz::{bounded, same};
use seatbeat_proto::wire;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let check = CHECKS[usize::from(*kind) % CHECKS.len()];
    check(bytes);
});

const CHECKS: [fn(&[u8]); 16] = [
    check::<wire::AgentMessage>,
    check::<wire::CollectorMessage>,
    check::<wire::EnrolRequest>,
    check::<wire::EnrolmentClaim>,
    check::<wire::EnrolResponse>,
    check::<wire::Evidence>,
    check::<wire::LeaveRequest>,
    check::<wire::Order>,
    check::<wire::OrderKeys>,
    check::<wire::OrderSecrets>,
    check::<wire::Settings>,
    check::<wire::TokenText>,
    check::<wire::JournalRecord>,
    check::<wire::AmendRequest>,
    check::<wire::InvoiceImport>,
    check::<wire::PricesStaged>,
];

fn check<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) {
    // An empty message of a list is two bytes on the wire, and some hundreds in memory.
    let Ok(message) = bounded(bytes.len(), 2048, || M::decode(bytes)) else { return };
    let written = message.encode_to_vec();
    same(&message, &M::decode(written.as_slice()).expect("what was written decodes"));
    assert_eq!(written, message.encode_to_vec());
}
