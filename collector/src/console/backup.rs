//! A backup that an operator asks for. Invariant: one at a time, on the collector's own disk; no key goes over the wire.

use std::path::PathBuf;

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use crate::backup::{BackedUp, back_up};

impl Console {
    /// Backs the books up into a folder of the collector's machine.
    ///
    /// # Errors
    /// When the folder is there or cannot be written, or a part cannot be read; nothing is left of it then.
    pub async fn back_up(&self, caller: &Caller, folder: PathBuf) -> Result<BackedUp, Fault> {
        let _one_at_a_time = self.importing.lock().await;
        let books = self.books.clone();
        let made = tokio::task::spawn_blocking(move || back_up(&books, &folder)).await??;
        // Who has it has the keys: that somebody asked for it has to show somewhere.
        tracing::info!(operator = %caller.operator(), records = made.records, "the books were backed up");
        Ok(made)
    }
}
