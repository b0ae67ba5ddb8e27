//! Why a month was not closed. Invariant: a variant names the month and what stands in its way.

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::close as ledger;
use seatbeat_ledger::fold::FoldError;
use seatbeat_ledger::jcs::JcsError;
use seatbeat_ledger::policy::PolicyError;
use seatbeat_ledger::reconciliation::compare::CompareError;
use seatbeat_ledger::review::InTheWay;
use seatbeat_ledger::sealed::VerifyError;

use crate::books::WriteError;
use crate::journal::JournalError;

/// A close that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// There is no policy that can be used.
    #[error("failed to read the policy in force")]
    Policy(#[from] PolicyError),
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] ledger::CloseError),
    /// A body has no canonical form.
    #[error("failed to write the statement's body")]
    Body(#[from] JcsError),
    /// A sealed body cannot be read back.
    #[error("failed to read the statement sealed for {period}: {why}")]
    Sealed {
        /// Which month.
        period: Period,
        /// What is wrong.
        why: String,
    },
    /// What others say of a sealed month cannot be compared with it.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A sealed file cannot be made.
    #[error(transparent)]
    File(#[from] VerifyError),
    /// Months are not closed before they are over.
    #[error("period {0} is not over")]
    NotOver(Period),
    /// Nor are months in which there was nobody to count.
    #[error("period {0} ended before any machine was enrolled, and nothing is declared for it")]
    Nobody(Period),
    /// Nor before their grace is.
    #[error("the evidence of period {period} may still arrive until {until}")]
    Grace {
        /// Which month.
        period: Period,
        /// The end of its grace.
        until: Timestamp,
    },
    /// It is done.
    #[error("period {0} is sealed already")]
    AlreadySealed(Period),
    /// Only what was sealed is superseded.
    #[error("the statement of period {period} cannot be superseded: {why}")]
    NotSuperseded {
        /// Which month.
        period: Period,
        /// What stands against it.
        why: &'static str,
    },
    /// An approved draft comes out otherwise from the same records.
    #[error(
        "the approved draft {digest} of period {period} was not sealed, and this version makes another one of its records: \
         approve the draft of now"
    )]
    MadeOtherwise {
        /// Which month.
        period: Period,
        /// What was approved.
        digest: String,
    },
    /// An approved draft's records cannot be read again.
    #[error("failed to make the approved draft of period {period} again")]
    Again {
        /// Which month.
        period: Period,
        /// What is wrong.
        #[source]
        source: AgainError,
    },
    /// Somebody has to decide first.
    #[error("{} thing(s) block the statement of period {period}: {}", blockers.len(), list(blockers))]
    Blocked {
        /// Which month.
        period: Period,
        /// What blocks it.
        blockers: Vec<InTheWay>,
    },
    /// The digest is of no draft that is known here.
    #[error("no draft of period {period} has the digest `{digest}`: it was drafted anew since")]
    UnknownDraft {
        /// Which month.
        period: Period,
        /// What was approved.
        digest: String,
    },
    /// The period has no sealed statement.
    #[error("period {0} is not sealed")]
    NotSealed(Period),
    /// The journal did not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why records were not folded again.
#[derive(Debug, thiserror::Error)]
pub enum AgainError {
    /// They cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// They cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// They are not there.
    #[error("the journal ends before record {0}")]
    Short(u64),
}

fn list(blockers: &[InTheWay]) -> String {
    let shown: Vec<String> = blockers.iter().take(8).filter_map(|blocker| body_text(blocker).ok()).collect();
    shown.join(", ")
}

fn body_text(value: &impl serde::Serialize) -> Result<String, JcsError> {
    seatbeat_ledger::jcs::to_canonical(value)
}
