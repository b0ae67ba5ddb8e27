//! A period's records and policy, for anyone to recompute its statement. Invariant: they are those up to the cut that
//! the sealed statement names; of a period that is not sealed, all that are known.

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use tokio::sync::mpsc;

use super::Console;
use super::fault::Fault;
use crate::books::Books;
use crate::journal::Position;

/// Bytes of records in one piece: small enough for every client's message limit.
const CHUNK_LENGTH: usize = 256 * 1024;

/// Pieces that wait for a slow reader; then reading waits.
const CHUNKS_WAITING: usize = 4;

/// Records read at once.
const BATCH: usize = 4096;

/// A piece of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Whole lines of records.
    Records(String),
    /// A piece of the policy of the period, price lists included; these come last.
    Policy(String),
}

impl Console {
    /// Reads a period's records and policy, piece after piece.
    ///
    /// # Errors
    /// When the position is not known here in time; what goes wrong later comes in place of a piece.
    pub async fn export(
        &self,
        period: Period,
        after: u64,
    ) -> Result<mpsc::Receiver<Result<Chunk, Fault>>, Fault> {
        self.books.reached(after).await?;
        let cut = self.sealed_cut(period).unwrap_or_else(|| self.books.read(|fold| fold.position()));
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let books = self.books.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(Stopped::Fault(fault)) = write(&books, period, cut, &sender) {
                // An asker that is gone needs no answer.
                let _ = sender.blocking_send(Err(fault));
            }
        });
        Ok(receiver)
    }
}

enum Stopped {
    Fault(Fault),
    Gone,
}

impl<E: Into<Fault>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

fn write(
    books: &Books,
    period: Period,
    cut: u64,
    sender: &mpsc::Sender<Result<Chunk, Fault>>,
) -> Result<(), Stopped> {
    let send = |chunk| sender.blocking_send(Ok(chunk)).map_err(|_| Stopped::Gone);
    let mut fold = Fold::default();
    let mut lines = String::new();
    while fold.position() < cut {
        let from = Position(fold.position());
        let left = usize::try_from(cut - from.0).unwrap_or(BATCH).min(BATCH);
        let batch = books.records(from, left)?;
        if batch.is_empty() {
            return Err(
                Fault::value("the journal", format!("ends at {from}, before the cut at {cut}")).into()
            );
        }
        for (_, record) in batch {
            let (_, Some(counted)) = fold.replay(&record)? else { continue };
            lines.push_str(&counted.to_json_line());
            lines.push('\n');
            if lines.len() >= CHUNK_LENGTH {
                send(Chunk::Records(std::mem::take(&mut lines)))?;
            }
        }
    }
    if !lines.is_empty() {
        send(Chunk::Records(lines))?;
    }
    let policy = fold.terms().policy_toml(period)?;
    for piece in pieces(&policy) {
        send(Chunk::Policy(piece.to_owned()))?;
    }
    Ok(())
}

/// A text in pieces that each fit into a message.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, behind) = rest.split_at(rest.floor_char_boundary(CHUNK_LENGTH));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}
