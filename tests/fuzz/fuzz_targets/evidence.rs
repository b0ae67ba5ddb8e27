//! What a machine says to the agent door: evidence, and the claim by which it asks to be let in. Invariant: what is taken
//! was signed by the machine's own key and is of this machine; a record that came of it can be metered and written down.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seatbeat_collector::gateway::admission::Asker;
use seatbeat_collector::gateway::decide::{Fault, place, read};
use seatbeat_fuzz::{bounded, key, now, parts, same};
use seatbeat_ledger::calendar::Zone;
use seatbeat_ledger::fold::evidence::{Body, Evidence};
use seatbeat_ledger::record::Record;
use seatbeat_ledger::record_set::RecordSet;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire::{self, EnrolRequest, Signed};

const MACHINE: u8 = 7;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    match mode % 3 {
        0 => signed_here(bytes),
        1 => as_it_came(bytes),
        _ => claim(bytes),
    }
});

fn machine() -> MachineId {
    MachineId::derived_from(key(MACHINE).verifying_key().as_bytes())
}

/// Evidence of a machine that signs whatever it likes. A machine that the payload does not name is named.
fn signed_here(payload: &[u8]) {
    let mut payload = payload.to_vec();
    if let Ok(evidence) = wire::Evidence::decode(payload.as_slice())
        && evidence.machine.is_empty()
    {
        payload = wire::Evidence { machine: machine().to_string(), ..evidence }.encode_to_vec();
    }
    let key = key(MACHINE);
    let signed = sign(&key, Domain::Evidence, payload.clone());
    let length = payload.len();
    let taken = bounded(length, 4096, || read(&signed, &machine(), &key.verifying_key(), now()));
    match taken {
        Ok(evidence) => {
            assert_eq!(evidence.machine, machine());
            place(&evidence, None);
            metered(evidence);
        }
        Err(fault) => {
            assert!(!matches!(fault, Fault::BadSignature));
            assert!(fault.refusal(&payload).spool.len() <= seatbeat_proto::ids::ID_LENGTH_MAX);
        }
    }
}

/// Bytes of a message, signature and all: nobody but the machine can have made what is taken.
fn as_it_came(bytes: &[u8]) {
    let Ok(signed) = Signed::decode(bytes) else { return };
    let genuine = sign(&key(MACHINE), Domain::Evidence, signed.payload.clone());
    if read(&signed, &machine(), &key(MACHINE).verifying_key(), now()).is_ok() {
        assert_eq!(signed.signature, genuine.signature);
    }
}

fn metered(evidence: Evidence) {
    let Body::Report(report) = evidence.body else { return };
    let record = Record::Report(report.record);
    same(&Ok(record.clone()), &Record::parse_line(&record.to_json_line()));
    for zone in ["Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
        let zone = Zone::named(zone).expect("the zone is known");
        drop(RecordSet::new([record.clone()], None).usage(&zone));
    }
}

fn claim(bytes: &[u8]) {
    let [secret, host_name, payload] = parts(bytes);
    let key = key(MACHINE);
    let mut payload = payload.to_vec();
    if let Ok(claim) = wire::EnrolmentClaim::decode(payload.as_slice())
        && claim.public_key.is_empty()
    {
        let public_key = key.verifying_key().to_bytes().to_vec();
        payload = wire::EnrolmentClaim { public_key, ..claim }.encode_to_vec();
    }
    let request = EnrolRequest {
        token_secret: secret.to_vec(),
        host_name: String::from_utf8_lossy(host_name).into_owned(),
        claim: Some(sign(&key, Domain::EnrolmentClaim, payload)),
    };
    if let Ok(asker) = bounded(bytes.len(), 4096, || Asker::read(request)) {
        assert_eq!(asker.machine, machine());
        assert!(!asker.host_name.contains(char::is_control));
    }
}
