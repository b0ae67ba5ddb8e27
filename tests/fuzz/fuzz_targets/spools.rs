//! Files of an agent's spool. Invariant: what is looked at is opened, too; what is kept was signed by this machine, follows
//! one from the other, and goes on where it ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seatbeat_agent::spool::Spool;
use seatbeat_agent::spool::disk::RealDisk;
use seatbeat_fuzz::{bounded, folder, key, parts};
use seatbeat_proto::frame;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire;

const MACHINE: u8 = 7;
const HEADER: &[u8; 8] = b"SBSPOOL\x01";
const NAME: &str = "000001.spl_1.00000000000000000001.frames";

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let place = folder().join("spool");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).expect("a folder can be made");
    let given = if mode & 1 == 1 { signed_here(bytes) } else { bytes.to_vec() };
    std::fs::write(place.join(NAME), &given).expect("a file in memory can be written");
    let key = key(MACHINE);
    let machine = MachineId::derived_from(key.verifying_key().as_bytes());
    let looked = bounded(given.len(), 256, || Spool::inspect(&place, &machine, &key.verifying_key()));
    let opened = Spool::open(&place, Box::new(RealDisk), &machine, &key);
    let (Ok(looked), Ok(opened)) = (looked, opened) else { return };
    assert_eq!(looked.damage.is_some(), opened.damage.is_some());
    assert!(opened.kept.iter().all(|evidence| evidence.machine == machine.as_str()));
    assert!(opened.kept.is_sorted_by(|one, other| one.sequence + 1 == other.sequence));
    // Where nothing is carried over, no file is written: what was set aside, or another machine's, is the newest one.
    if opened.kept.is_empty() {
        return;
    }
    let again = Spool::inspect(&place, &machine, &key.verifying_key()).expect("what was opened is whole");
    assert!(again.damage.is_none(), "{:?}", again.damage);
    assert_eq!(again.kept, opened.kept.len() as u64);
});

/// Evidence whose bodies the input says, as a machine would sign and chain it.
fn signed_here(bytes: &[u8]) -> Vec<u8> {
    let key = key(MACHINE);
    let machine = MachineId::derived_from(key.verifying_key().as_bytes());
    let (mut file, mut previous) = (HEADER.to_vec(), Vec::new());
    for (index, body) in parts::<8>(bytes).into_iter().enumerate().filter(|(_, body)| !body.is_empty()) {
        let evidence = wire::Evidence::decode(body).unwrap_or_default();
        let is_said = |number: u64, said: u64| if said == 0 { number } else { said };
        let evidence = wire::Evidence {
            machine: if evidence.machine.is_empty() { machine.to_string() } else { evidence.machine },
            spool: if evidence.spool.is_empty() { "spl_1".to_owned() } else { evidence.spool },
            sequence: is_said(index as u64 + 1, evidence.sequence),
            previous: std::mem::take(&mut previous),
            ..evidence
        };
        let signed = sign(&key, Domain::Evidence, evidence.encode_to_vec());
        previous = hash(&signed.payload).to_vec();
        frame::append(&mut file, &signed.encode_to_vec()).expect("a short body fits");
    }
    file
}
