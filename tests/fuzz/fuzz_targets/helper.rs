//! What the agent and its helper, which is root, say to each other. Invariant: what is understood is said again in the
//! same words; a clock is never said to be early.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use seatbeat_agent::act::arm::{Ask, Told};
use seatbeat_agent::helper::words::{Answer, Answered, LENGTH_MAX, LookAt, Said, Saying, receive_blocking};
use seatbeat_fuzz::{bounded, same};
use seatbeat_proto::frame;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let mut framed = Vec::new();
    if mode & 1 == 0 {
        framed.extend_from_slice(bytes);
    } else if frame::append(&mut framed, bytes).is_err() {
        return;
    }
    if mode & 2 == 0 { said(&framed) } else { answered(&framed) }
});

fn received<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    // A length that is told is believed as far as a message may be long.
    let read = bounded(bytes.len() + LENGTH_MAX, 2, || {
        let mut rest = bytes;
        let body = receive_blocking::<Raw>(&mut rest);
        body.map(|_| ())
    });
    read.ok()?;
    receive_blocking::<M>(&mut &*bytes).ok()
}

/// Any message: what is in it is passed over.
#[derive(Clone, PartialEq, Message)]
struct Raw {}

fn said(bytes: &[u8]) {
    let Some(said) = received::<Said>(bytes) else { return };
    let Some(saying) = said.saying else { return };
    if let Saying::Look(look) = &saying {
        same(&look.look(), &LookAt { look: LookAt::number(look.look()), ..look.clone() }.look());
    }
    let Ok(ask) = Ask::try_from(saying) else { return };
    if let Ask::Clock { offset_ms } = &ask {
        assert!(*offset_ms >= 0);
    }
    same(&Ask::try_from(Saying::from(ask.clone())), &Ok(ask));
}

fn answered(bytes: &[u8]) {
    let Some(answered) = received::<Answered>(bytes) else { return };
    let Some(Ok(told)) = answered.answer.map(Told::try_from) else { return };
    same(&Told::try_from(Answer::from(told.clone())), &Ok(told));
}
