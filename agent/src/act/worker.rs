//! Orders carried out within the agent, on a thread of its own, as hands may take minutes. Invariant: everything that was
//! asked is heard before anything is begun: what is called back by then is not done.

use std::io;

use tokio::runtime::Handle;

use super::Hands;
use super::actor::Actor;
use super::arm::{Arm, ArmEnd, Told};
use crate::clock::Clock;

/// Puts an actor to work; it ends when the other end of the arm is gone and nothing is under way. To be called within the
/// event loop whose clock it goes by.
///
/// # Errors
/// When the system gives no thread.
pub fn start(actor: Actor, hands: Box<dyn Hands>, clock: Clock) -> io::Result<Arm> {
    let (arm, end) = Arm::pair();
    let event_loop = Handle::current();
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
        let _clock = event_loop.enter();
        work(actor, hands, clock, end);
    })?;
    Ok(arm)
}

/// Works until the other end is gone.
pub fn work(mut actor: Actor, mut hands: Box<dyn Hands>, clock: Clock, mut end: ArmEnd) {
    let mut told = Vec::new();
    loop {
        while let Ok(ask) = end.asks.try_recv() {
            told.extend(actor.ask(ask, clock.now()));
        }
        let (begun, job) = actor.begin(clock.now(), hands.as_mut());
        told.extend(begun);
        tell(&end, &mut told);
        if let Some(job) = job {
            let done = hands.carry_out(&job.task, job.secrets.as_ref());
            told.extend(actor.end(job, done, clock.now()));
            continue;
        }
        let Some(ask) = end.asks.blocking_recv() else { return };
        told.extend(actor.ask(ask, clock.now()));
    }
}

/// An agent that has gone is told when it asks again.
fn tell(end: &ArmEnd, told: &mut Vec<Told>) {
    for told in told.drain(..) {
        let _ = end.told.blocking_send(told);
    }
}
