//! What needs somebody, and who is told: a board of what is open, a webhook, mail. Invariant: each alert opens once and
//! closes by itself; what was opened is told on every way there is, or is still waiting to be.

pub mod board;
pub mod mail;
pub mod settings;
pub mod webhook;

use futures_util::future::BoxFuture;

use crate::distributor::call::SendError;
use board::Event;

/// A way of telling somebody.
pub trait Teller: Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// How many it takes at once.
    fn at_once(&self) -> usize;

    /// Tells of some, in their order.
    fn tell<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, Result<(), SendError>>;
}
