//! PostgreSQL, as the journal and the vault use it. Invariant: a database that is set to forget is used for nothing;
//! whoever asks gets an answer or an error within a time that is known; a caller that blocks needs no runtime of its own.

mod address;
mod connect;
mod error;
mod line;
pub(crate) mod schema;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

use std::io;
use std::thread;

use seatbeat_proto::hex;
use tokio::runtime::{Builder, Handle, Runtime};

pub use address::Address;
pub(crate) use connect::{answered, asked, connect, failed, prepared};
pub use error::PostgresError;
pub(crate) use line::{Line, Session, Tries};

/// A runtime of its own, for who asks the database and waits.
pub(crate) struct Engine(Option<Runtime>);

impl Engine {
    /// Starts it.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self(Some(Builder::new_current_thread().enable_all().build()?)))
    }

    /// Runs to the end on this thread, or on one of its own where this one serves other tasks.
    pub(crate) fn wait<T: Send>(&self, act: impl Future<Output = T> + Send) -> T {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        if Handle::try_current().is_err() {
            return runtime.block_on(act);
        }
        let run = thread::scope(|scope| scope.spawn(|| runtime.block_on(act)).join());
        run.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Not waited for: whoever drops it may be a task of another runtime.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// 128 random bits: two openings never have the same.
pub(crate) fn random_name() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::format(&bytes)
}
