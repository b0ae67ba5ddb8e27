//! Orders and order keys, as the part of the agent that carries them out gets them. Invariant: nothing is done that an
//! order key of this machine did not sign for this machine.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seatbeat_agent::act::actor::{Actor, pin};
use seatbeat_agent::act::arm::Ask;
use seatbeat_agent::act::{Hands, Stand, Task};
use seatbeat_agent::moment::Moment;
use seatbeat_agent::spool::disk::RealDisk;
use seatbeat_fuzz::{folder, key, now};
use seatbeat_proto::ids::{MachineId, ProductId};
use seatbeat_proto::signed::{Domain, sign, verify};
use seatbeat_proto::wire::{self, OrderDelivery, OrderSecrets, Signed};

const SERVICE: u8 = 20;
const OPERATOR: u8 = 22;

/// Orders of an input; each is on the disk before the next one is read.
const ORDERS_MAX: usize = 6;

struct Idle;

impl Hands for Idle {
    fn ready(&mut self, _: &Task, _: Option<&OrderSecrets>) -> Result<(), String> {
        Ok(())
    }

    fn carry_out(&mut self, _: &Task, _: Option<&OrderSecrets>) -> Result<String, String> {
        Ok("done".to_owned())
    }

    fn look(&mut self, _: &ProductId) -> Result<Stand, String> {
        Ok(Stand::Inactive)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let machine: MachineId = "mch_fuzz".parse().expect("it is an id");
    let service = key(SERVICE).verifying_key();
    let place = folder().join("orders");
    let _ = std::fs::remove_dir_all(&place);
    let operator = key(OPERATOR).verifying_key();
    let keys =
        wire::OrderKeys { revision: 1, keys: vec![operator.to_bytes().to_vec()], ..Default::default() };
    pin(&place, Box::new(RealDisk), &machine, &service, &keys, false).expect("the keys can be pinned");
    let mut actor = Actor::open(&place, Box::new(RealDisk), &machine, &service).expect("the folder is new");
    let mut at = Moment { wall: now(), uptime: Duration::ZERO };
    let (mut rest, mut allowed) = (bytes, Vec::new());
    for _ in 0..ORDERS_MAX {
        let Ok(delivery) = OrderDelivery::decode_length_delimited(&mut rest) else { break };
        let ask = ask(delivery, &machine);
        if let Ask::Order(OrderDelivery { order: Some(signed), .. }) = &ask
            && verify(&operator, Domain::Order, signed).is_ok()
            && let Ok(order) = wire::Order::decode(signed.payload.as_slice())
            && order.machine == machine.as_str()
        {
            allowed.push(order.order);
        }
        actor.ask(ask, at);
        at.uptime += Duration::from_secs(4000);
        if let (_, Some(job)) = actor.begin(at, &mut Idle) {
            assert!(allowed.contains(&job.order.to_string()), "{}", job.order);
            actor.end(job, Ok("done".to_owned()), at);
        }
        actor.ask(Ask::Recap, at);
    }
    drop(actor);
    Actor::open(&place, Box::new(RealDisk), &machine, &service).expect("what was kept is read again");
});

/// What has no signature is signed by the operator; what brings secrets and no order are keys.
fn ask(mut delivery: OrderDelivery, machine: &MachineId) -> Ask {
    let Some(signed) = &mut delivery.order else {
        return Ask::Keys(sign(&key(OPERATOR), Domain::OrderKeys, delivery.sealed));
    };
    if signed.signature.is_empty() {
        let mut payload = std::mem::take(&mut signed.payload);
        if let Ok(order) = wire::Order::decode(payload.as_slice())
            && order.machine.is_empty()
        {
            payload = wire::Order { machine: machine.to_string(), ..order }.encode_to_vec();
        }
        let Signed { payload, signature } = sign(&key(OPERATOR), Domain::Order, payload);
        (signed.payload, signed.signature) = (payload, signature);
    }
    Ask::Order(delivery)
}
