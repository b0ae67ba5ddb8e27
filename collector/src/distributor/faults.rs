//! What goes wrong around a connector, in an order that a seed decides. Invariant: a test that fails names its seed;
//! `SEATBEAT_SEED` runs it again.

use futures_util::FutureExt as _;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::uploads::{PartId, Status};
use seatbeat_standin::wrong::Wrong;

use super::call::SendError;
use super::chance::Chance;
use super::connector::{Answer, Connector};
use super::projection::OutPart;
use super::standin::{Loop, Mortal};

/// Lives of a part that a test goes through.
const SEEDS: u64 = 200;

/// Steps in which something goes wrong; then all is well, and a few more have to do.
const STEPS_WRONG: u32 = 40;
/// See [`STEPS_WRONG`].
const STEPS_MAX: u32 = 60;

/// Under which a part is sent.
pub const KEY: &str = "2026-10-ingram-r1-0123456789abcdef";

/// The seeds to go through: from a random one on, or the one that is asked for.
pub fn seeds() -> impl Iterator<Item = u64> {
    let asked = std::env::var("SEATBEAT_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"));
    let first = asked.unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).expect("random bytes");
        u64::from(u32::from_le_bytes(bytes))
    });
    first..first + if asked.is_some() { 1 } else { SEEDS }
}

/// A line of that many seats.
pub fn line(mapped: &[(&str, &str)], seats: u64) -> OutPart {
    let id = PartId::Line("cus_acme".parse().expect("an id"), "WF-SVC".parse().expect("a SKU"));
    let mapped = mapped.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    OutPart::seats(id, mapped, seats, Quantity::units(seats), Vec::new())
}

/// What is at once.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits here")
}

/// Sends a part and follows it until it is settled, whatever goes wrong meanwhile: requests get lost, arrive twice or
/// torn, are refused for now, and the process dies in the middle of one, or before it has written down an answer.
/// `connector` is a process that starts; `mend` is a person whom a stop calls, false where they do not know how.
pub fn settled(
    seed: u64,
    (far, mortal): (&Loop, &Mortal),
    part: &OutPart,
    connector: impl Fn() -> Box<dyn Connector>,
    mend: impl Fn(&SendError) -> bool,
) -> Answer {
    let mut chance = Chance::of(seed);
    let mut alive = connector();
    let mut written: Option<String> = None;
    for step in 0..STEPS_MAX {
        if step < STEPS_WRONG {
            let wrong: Vec<Option<Wrong>> = (0..chance.below(5)).map(|_| chance.wrong()).collect();
            far.with(|standin| standin.tell(wrong));
            mortal.dies_after((chance.one_in(3)).then(|| chance.below(6)));
        } else {
            far.with(|standin| standin.heal());
            mortal.dies_after(None);
        }
        let asked = match &written {
            None => alive.send(part, KEY).now_or_never(),
            Some(far_id) => alive.follow(part, KEY, far_id).now_or_never(),
        };
        match asked {
            None => alive = connector(),
            Some(Ok(answer)) if answer.status == Status::Settled => return answer,
            Some(Ok(_)) if chance.one_in(4) => alive = connector(),
            Some(Ok(answer)) => written = Some(answer.far_id),
            Some(Err(SendError::Again { .. })) => {}
            Some(Err(stop)) => assert!(mend(&stop), "SEATBEAT_SEED={seed}: {stop}"),
        }
    }
    panic!("SEATBEAT_SEED={seed}: not settled after {STEPS_MAX} steps");
}
