//! The other arm of a switch-off: a customer's licence of a SKU is suspended or resumed where it was bought, at the
//! distributor or on the vendor's platform. Invariant: nothing counts before there is a receipt; an act asked for again
//! under the same key has one effect and the same receipt.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use seatbeat_ledger::mapping::Fields;
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::instant;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{LicenceResumed, LicenceSuspended};

use crate::books::{Actor, Books, WriteError};
use crate::journal::Position;

/// Longest id of a receipt, in bytes: a request number, or the address of a page that shows it.
pub const RECEIPT_LENGTH_MAX: usize = 256;

/// What is to be done with a licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing of it is billed or usable until it is resumed.
    Suspend,
    /// It is as before.
    Resume,
}

/// Whose licence of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licence {
    /// Whose.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// What the other side calls it; empty where nobody has said.
    pub mapped: Fields,
}

/// What the other side answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What the act is known by there.
    pub id: String,
    /// From when on it holds.
    pub at: Timestamp,
}

/// Why a licence was not suspended or resumed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// There is no such act there.
    #[error("{arm} cannot {act} licences of SKU `{sku}`")]
    Unsupported {
        /// Which connector.
        arm: &'static str,
        /// `suspend` or `resume`.
        act: &'static str,
        /// Of what.
        sku: Sku,
    },
    /// It was refused there; asked again it will be refused again.
    #[error("{arm} refused: {why}")]
    Refused {
        /// Which connector.
        arm: &'static str,
        /// In its words.
        why: String,
        /// What to do about it.
        hint: String,
    },
    /// Nobody knows whether it was done: to be asked again under the same key.
    #[error("{arm} gave no answer: {why}")]
    NoAnswer {
        /// Which connector.
        arm: &'static str,
        /// What happened.
        why: String,
    },
    /// A receipt that is none.
    #[error("the receipt is not one: {0}")]
    Receipt(&'static str),
    /// It was done there and is not on record.
    #[error("it was done under receipt `{receipt}`, and the journal did not take that")]
    NotWritten {
        /// The receipt.
        receipt: String,
        /// Why.
        #[source]
        source: WriteError,
    },
}

impl Step {
    /// The act in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        }
    }
}

impl ArmError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unsupported { act, .. } => format!(
                "{act} the licence in the vendor's or distributor's console, then state the receipt of that here"
            ),
            Self::Refused { hint, .. } => hint.clone(),
            Self::NoAnswer { .. } => "ask again: what was done already is not done twice".to_owned(),
            Self::Receipt(_) => {
                format!(
                    "a receipt is 1 to {RECEIPT_LENGTH_MAX} printable characters and an instant that is not to come"
                )
            }
            Self::NotWritten { receipt, .. } => {
                format!("state receipt `{receipt}` once the journal takes records")
            }
        })
    }
}

/// Where licences are suspended and resumed.
pub trait Arm: Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Does it, or says why it was not done. `key` tells an act that is asked for again from a new one.
    fn act<'a>(
        &'a self,
        step: Step,
        licence: &'a Licence,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Receipt, ArmError>>;
}

/// Suspends or resumes a licence and puts its receipt on record: from the day behind it on its seats count otherwise.
/// `key` as in [`Arm::act`]; answers the receipt and the position behind its record.
///
/// # Errors
/// When it was not done, or was done and is not on record: asked again under the same key it is put there.
pub async fn carry_out(
    books: &Books,
    arm: &dyn Arm,
    step: Step,
    licence: &Licence,
    key: &str,
    (actor, reason): (Actor<'_>, &str),
) -> Result<(Receipt, Position), ArmError> {
    let receipt = arm.act(step, licence, key).await?;
    checked(&receipt, books.clock().now())?;
    let (customer, sku) = (licence.customer.to_string(), licence.sku.to_string());
    let (at_ms, id) = (instant::to_ms(receipt.at), receipt.id.clone());
    let fact = match step {
        Step::Suspend => Fact::LicenceSuspended(LicenceSuspended { customer, sku, at_ms, receipt: id }),
        Step::Resume => Fact::LicenceResumed(LicenceResumed { customer, sku, at_ms, receipt: id }),
    };
    match books.write(actor, reason, fact).await {
        Ok(position) => Ok((receipt, position)),
        Err(source) => Err(ArmError::NotWritten { receipt: receipt.id, source }),
    }
}

fn checked(receipt: &Receipt, now: Timestamp) -> Result<(), ArmError> {
    if receipt.id.trim().is_empty() {
        return Err(ArmError::Receipt("it has no id"));
    }
    if receipt.id.len() > RECEIPT_LENGTH_MAX || receipt.id.chars().any(char::is_control) {
        return Err(ArmError::Receipt("its id is too long, or not printable"));
    }
    if receipt.at > now {
        return Err(ArmError::Receipt("it is of an instant that is still to come"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
