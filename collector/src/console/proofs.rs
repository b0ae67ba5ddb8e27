//! Bundles and answers to samples, piece after piece. Invariant: what goes wrong half-way comes in place of a piece, so
//! that nobody takes half a file for a whole one.

use seatbeat_ledger::calendar::Period;
use tokio::sync::mpsc;

use super::Console;
use super::fault::Fault;
use crate::jobs::proofs::{BundleAsked, ProofError, Proofs};

/// Bytes in one piece: small enough for every client's message limit.
const PIECE_LENGTH: usize = 64 * 1024;

/// Pieces that wait for a slow reader; then making waits.
const PIECES_WAITING: usize = 4;

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Of the first: what the file is called.
    pub name: String,
    /// What comes next.
    pub bytes: Vec<u8>,
}

/// Pieces as they come.
pub type Pieces = mpsc::Receiver<Result<Piece, Fault>>;

impl Console {
    /// Makes a bundle.
    ///
    /// # Errors
    /// When the position is not known here in time, or there is no such bundle.
    pub async fn export_bundle(&self, asked: BundleAsked, after: u64) -> Result<Pieces, Fault> {
        self.books.reached(after).await?;
        let name = self.proofs.name(&asked)?;
        Ok(self.pieces(name, move |proofs, write| {
            proofs.bundle(&asked, |line| {
                write(line.as_bytes())?;
                write(b"\n")
            })
        }))
    }

    /// Answers a sample.
    ///
    /// # Errors
    /// As [`Console::export_bundle`], or when the nonce is too short.
    pub async fn answer_sample(
        &self,
        period: Period,
        distributor: Option<String>,
        nonce: String,
        after: u64,
    ) -> Result<Pieces, Fault> {
        self.books.reached(after).await?;
        Ok(self.pieces(String::new(), move |proofs, write| {
            let sample = proofs.answer(period, distributor.as_deref(), &nonce)?;
            let text = serde_json::to_vec(&sample).map_err(std::io::Error::other)?;
            write(&text)
        }))
    }

    fn pieces(
        &self,
        name: String,
        make: impl FnOnce(&Proofs, &mut dyn FnMut(&[u8]) -> Result<(), ProofError>) -> Result<(), ProofError>
        + Send
        + 'static,
    ) -> Pieces {
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let proofs = self.proofs.clone();
        tokio::task::spawn_blocking(move || {
            let mut piece = Piece { name, bytes: Vec::new() };
            let mut write = |bytes: &[u8]| {
                for part in bytes.chunks(PIECE_LENGTH) {
                    piece.bytes.extend_from_slice(part);
                    if piece.bytes.len() >= PIECE_LENGTH {
                        let next = Piece { name: String::new(), bytes: Vec::new() };
                        let full = std::mem::replace(&mut piece, next);
                        sender.blocking_send(Ok(full)).map_err(|_| ProofError::Gone)?;
                    }
                }
                Ok(())
            };
            let last = match make(&proofs, &mut write) {
                Ok(()) => Ok(piece),
                Err(ProofError::Gone) => return,
                Err(error) => Err(error.into()),
            };
            // An asker that is gone needs no answer.
            let _ = sender.blocking_send(last);
        });
        receiver
    }
}
