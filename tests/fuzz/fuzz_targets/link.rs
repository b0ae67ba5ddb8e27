//! What a collector says to an agent. Invariant: no message makes the conversation panic, nothing that another key signed
//! is followed, and evidence is acknowledged only as far as it was sent.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seatbeat_agent::chain::Chain;
use seatbeat_agent::jitter::Jitter;
use seatbeat_agent::moment::Moment;
use seatbeat_agent::orders::Book;
use seatbeat_agent::session::{Effect, Event, Past, Profile, Session};
use seatbeat_agent::settings::Settings;
use seatbeat_fuzz::{key, now};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, sign, verify};
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::{self, CollectorMessage, Signed};

const SERVICE: u8 = 20;
const RELEASE: u8 = 21;
const EVIDENCE: u8 = 40;

fuzz_target!(|bytes: &[u8]| {
    let machine: MachineId = "mch_fuzz".parse().expect("it is an id");
    let profile = Profile {
        machine: machine.clone(),
        host_name: "host".to_owned(),
        agent_version: "0.1.0".to_owned(),
        service: key(SERVICE).verifying_key(),
    };
    let past = Past { settings: Settings::initial(0), book: Book::default(), acknowledged: 0 };
    let mut at = Moment { wall: now(), uptime: Duration::ZERO };
    let mut chain = Chain::starting_after("spl_fuzz".parse().expect("it is an id"), 5, Some([5; 32]));
    (6..EVIDENCE).for_each(|number| chain.push([number; 32]));
    let mut session = Session::new(profile, past, Jitter::from_seed(1), at)
        .with_catalogue(1, Some(key(RELEASE).verifying_key()));
    let mut rest = bytes;
    while let Ok(message) = CollectorMessage::decode_length_delimited(&mut rest) {
        if !session.is_connected() {
            at.uptime = session.timer();
            session.handle(Event::Timer, &chain, at);
            session.handle(Event::Connected, &chain, at);
        }
        if message.body.is_none() {
            // Time passes, so that it may stand by.
            at.uptime = session.timer() + Duration::from_secs(600);
            session.handle(Event::Timer, &chain, at);
            session.handle(Event::Connected, &chain, at);
        }
        let message = signed(message, &machine);
        for effect in session.handle(Event::Received(message), &chain, at) {
            check(&effect);
        }
        assert!(session.acknowledged() <= chain.tip());
    }
});

/// What has no signature is signed; an order that names no machine is for this one.
fn signed(mut message: CollectorMessage, machine: &MachineId) -> CollectorMessage {
    let resign = |signed: &mut Signed, number: u8, domain: Domain| {
        if signed.signature.is_empty() {
            *signed = sign(&key(number), domain, std::mem::take(&mut signed.payload));
        }
    };
    match &mut message.body {
        Some(Body::Settings(signed)) => resign(signed, SERVICE, Domain::Settings),
        Some(Body::Catalogue(signed)) => resign(signed, RELEASE, Domain::Catalogue),
        Some(Body::Order(wire::OrderDelivery { order: Some(signed), .. })) => {
            if let Ok(order) = wire::Order::decode(signed.payload.as_slice())
                && order.machine.is_empty()
            {
                signed.payload = wire::Order { machine: machine.to_string(), ..order }.encode_to_vec();
            }
            resign(signed, SERVICE, Domain::Order);
        }
        _ => {}
    }
    message
}

fn check(effect: &Effect) {
    let holds = |number: u8, domain, signed| verify(&key(number).verifying_key(), domain, signed).is_ok();
    match effect {
        Effect::ApplySettings { signed, .. } => assert!(holds(SERVICE, Domain::Settings, signed)),
        Effect::TakeCatalogue { signed, .. } => assert!(holds(RELEASE, Domain::Catalogue, signed)),
        Effect::SendEvidence { sequence } => assert!((6..u64::from(EVIDENCE)).contains(sequence)),
        Effect::OpenNewSpool { carry_after, .. } => assert!(*carry_after < u64::from(EVIDENCE)),
        _ => {}
    }
}
