//! Why a question or an action came to nothing. Invariant: each fault has a kind from a closed set, which travels
//! beside its words, so that no skin has to read the words.

use jiff::Timestamp;
use seatbeat_ledger::calendar::{Period, PeriodError};
use seatbeat_ledger::fold::FoldError;
use seatbeat_ledger::money::TooLarge;
use seatbeat_ledger::policy::PolicyError;
use seatbeat_ledger::reconciliation::Against;
use seatbeat_ledger::registry::Refusal;
use seatbeat_ledger::sample::SampleError;
use seatbeat_proto::catalogue::PushedError;
use seatbeat_proto::ids::{
    ApiTokenId, BatchId, CustomerId, IdError, LicenceId, MachineId, OperatorId, TokenId,
};
use seatbeat_proto::tls::TlsError;

use super::orders::make::NotMade;
use crate::backup::BackupError;
use crate::books::{NotReached, WriteError};
use crate::distributor::arm::ArmError;
use crate::jobs::close::CloseError;
use crate::jobs::close::effect::EffectError;
use crate::jobs::proofs::ProofError;
use crate::journal::JournalError;
use crate::order_key::KeyError;
use crate::search::SearchError;
use crate::vault::VaultError;

/// Name of the gRPC metadata that carries a fault's [`Reason`].
pub const REASON_KEY: &str = "seatbeat-reason";

/// Name of the gRPC metadata that carries what to do about a fault, where that depends on more than its reason.
pub const HINT_KEY: &str = "seatbeat-hint-bin";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The kind of a fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Its name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The reason of this name.
            pub fn named(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// No operator token, or not one of this collector.
    NotLetIn = "not_let_in",
    /// The role or the customers of who asks do not take it in.
    Forbidden = "forbidden",
    /// Too many tries: later again.
    TooOften = "too_often",
    /// Nothing is at that address.
    NoSuchPage = "no_such_page",
    /// A value that cannot be used.
    Invalid = "invalid",
    /// Nobody of that id.
    UnknownCustomer = "unknown_customer",
    /// No machine of that id.
    UnknownMachine = "unknown_machine",
    /// No token of that id.
    UnknownToken = "unknown_token",
    /// No licence of that id.
    UnknownLicence = "unknown_licence",
    /// Nobody gave these orders.
    UnknownBatch = "unknown_batch",
    /// An order that would not be taken.
    OrderRefused = "order_refused",
    /// A licence has not so many seats to give.
    SeatsTaken = "seats_taken",
    /// The id is taken.
    Exists = "exists",
    /// Tokens need an address that agents can reach.
    NoAddress = "no_address",
    /// The policy is not one.
    Policy = "policy",
    /// The billing zone stays once there is evidence.
    ZoneFixed = "zone_fixed",
    /// The catalogue is not one, or not newer.
    Catalogue = "catalogue",
    /// The month is not over.
    NotOver = "not_over",
    /// Nobody was enrolled in it.
    NobodyYet = "nobody_yet",
    /// Its evidence may still arrive.
    InGrace = "in_grace",
    /// It is sealed.
    AlreadySealed = "already_sealed",
    /// It is not sealed.
    NotSealed = "not_sealed",
    /// Somebody has to decide first.
    Blocked = "blocked",
    /// What was sealed stays.
    NotSuperseded = "not_superseded",
    /// Another draft was approved.
    DraftChanged = "draft_changed",
    /// Another price list was put in force meanwhile.
    Overtaken = "overtaken",
    /// Nobody of that id is let in.
    UnknownOperator = "unknown_operator",
    /// Somebody who may let others in has to be left.
    LastAdmin = "last_admin",
    /// Name, password or code are wrong.
    SignInRefused = "sign_in_refused",
    /// The identity provider cannot be asked.
    Provider = "provider",
    /// A form beyond what is read.
    BodyTooLong = "body_too_long",
    /// A write that this collector does not know yet.
    NotReached = "not_reached",
    /// The journal takes no records now.
    NotWritten = "not_written",
    /// Something is wrong with the collector.
    Failed = "failed",
}

/// Why a question or an action came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No operator token, or not one of this collector.
    #[error("no operator of this collector has this token")]
    NotLetIn,
    /// The role or the customers of who asks do not take it in.
    #[error("you may not: {0}")]
    Forbidden(&'static str),
    /// Nothing is at that address.
    #[error("nothing is at this address")]
    NoSuchPage,
    /// A page could not be made.
    #[error("the page could not be made: {0}")]
    Page(String),
    /// An id is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A period is none.
    #[error(transparent)]
    Period(#[from] PeriodError),
    /// A value that cannot be used.
    #[error("{field} {why}")]
    Value {
        /// Which value.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody of that id.
    #[error("customer `{0}` is not known here")]
    UnknownCustomer(CustomerId),
    /// No machine of that id.
    #[error("machine `{0}` is not known here")]
    UnknownMachine(MachineId),
    /// No token of that id.
    #[error("token `{0}` is not known here")]
    UnknownToken(TokenId),
    /// No operator of that id who is let in.
    #[error("operator `{0}` is not let in here")]
    UnknownOperator(OperatorId),
    /// Nobody else could let others in.
    #[error("operator `{0}` is the last one who may let others in")]
    LastAdmin(OperatorId),
    /// No API token of that id, or another operator's.
    #[error("API token `{0}` is not known here")]
    UnknownApiToken(ApiTokenId),
    /// No licence of that id.
    #[error("licence `{0}` is not known here")]
    UnknownLicence(LicenceId),
    /// No orders of that id.
    #[error("orders `{0}` are not known here")]
    UnknownBatch(BatchId),
    /// The fold would not take an order, or what belongs to one.
    #[error("nothing was written: {0}")]
    OrderRefused(Refusal),
    /// Something else would be ordered than what was shown.
    #[error("nothing was ordered: what would happen has changed since it was shown")]
    PlanChanged,
    /// Something is missing that an order needs.
    #[error(transparent)]
    NotMade(#[from] NotMade),
    /// The key that signs orders does not open.
    #[error(transparent)]
    OrderKey(#[from] KeyError),
    /// The collector keeps no key that signs orders.
    #[error("this collector keeps no key that signs orders")]
    NoOrderKey,
    /// Seats that are not there.
    #[error("{0}")]
    SeatsTaken(String),
    /// The id is taken.
    #[error("customer `{0}` is there already")]
    CustomerExists(CustomerId),
    /// Tokens need an address that agents can reach.
    #[error(
        "no token can be made: the configuration names no address that agents reach this collector under"
    )]
    NoAddress,
    /// The policy is not one.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The billing zone stays.
    #[error(
        "the policy's zone `{asked}` cannot be taken: evidence is counted by the days of `{zone}` already"
    )]
    ZoneFixed {
        /// What it would be.
        asked: String,
        /// What it is.
        zone: String,
    },
    /// A catalogue is not taken.
    #[error(transparent)]
    Catalogue(#[from] PushedError),
    /// Another price list came first.
    #[error("the price list was not put in force: another one was, since it was checked")]
    Overtaken,
    /// Another set of rows came first.
    #[error("what is said of {0} was not taken: another import came between")]
    SaidOtherwise(Against),
    /// A month was not closed.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// A record by hand has no effect that can be told.
    #[error(transparent)]
    Effect(#[from] EffectError),
    /// A proof was not made.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Too many tries.
    #[error("there were too many tries: the next one is in {wait_s} s")]
    TooOften {
        /// Seconds until the next one.
        wait_s: u64,
    },
    /// Not said which: whoever guesses would learn from it.
    #[error("the name, the password or the code is not right")]
    SignInRefused,
    /// The identity provider cannot be asked, or makes no sense.
    #[error("the identity provider cannot be asked: {0}")]
    Provider(String),
    /// A form beyond what is read.
    #[error("the form is longer than {0} bytes")]
    BodyTooLong(usize),
    /// Amounts beyond what can be added.
    #[error("failed to compute the earnings")]
    TooLarge(#[from] TooLarge),
    /// A write that this collector does not know yet.
    #[error(transparent)]
    NotReached(#[from] NotReached),
    /// The journal does not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Records cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Records cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The distributor's arm did not do it.
    #[error(transparent)]
    Arm(#[from] ArmError),
    /// Names cannot be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Search rows cannot be read.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The collector's certificate cannot be read.
    #[error("failed to read the collector's certificate")]
    Certificate(#[from] TlsError),
    /// Nothing was backed up.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A task of the collector ended with a panic.
    #[error("the collector failed to answer")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Fault {
    /// A value that cannot be used.
    pub fn value(field: &'static str, why: impl ToString) -> Self {
        Self::Value { field, why: why.to_string() }
    }

    /// Its kind.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotLetIn => Reason::NotLetIn,
            Self::Forbidden(_) => Reason::Forbidden,
            Self::NoSuchPage => Reason::NoSuchPage,
            Self::Id(_) | Self::Period(_) | Self::Value { .. } => Reason::Invalid,
            Self::UnknownCustomer(_) => Reason::UnknownCustomer,
            Self::UnknownMachine(_) => Reason::UnknownMachine,
            Self::UnknownToken(_) | Self::UnknownApiToken(_) => Reason::UnknownToken,
            Self::UnknownOperator(_) => Reason::UnknownOperator,
            Self::LastAdmin(_) => Reason::LastAdmin,
            Self::TooOften { .. } => Reason::TooOften,
            Self::SignInRefused => Reason::SignInRefused,
            Self::Provider(_) => Reason::Provider,
            Self::BodyTooLong(_) => Reason::BodyTooLong,
            Self::UnknownLicence(_) => Reason::UnknownLicence,
            Self::UnknownBatch(_) => Reason::UnknownBatch,
            Self::OrderRefused(_) => Reason::OrderRefused,
            Self::SeatsTaken(_) => Reason::SeatsTaken,
            Self::CustomerExists(_) => Reason::Exists,
            Self::NoAddress => Reason::NoAddress,
            Self::Policy(_) => Reason::Policy,
            Self::ZoneFixed { .. } => Reason::ZoneFixed,
            Self::Catalogue(_) => Reason::Catalogue,
            Self::Overtaken | Self::SaidOtherwise(_) | Self::PlanChanged => Reason::Overtaken,
            Self::NotMade(_) | Self::OrderKey(_) | Self::NoOrderKey => Reason::Invalid,
            Self::Close(error) | Self::Effect(EffectError::Close(error)) => close_reason(error),
            Self::Effect(EffectError::Refused(_)) => Reason::Invalid,
            Self::Effect(EffectError::Fold(_)) => Reason::Failed,
            Self::Proof(error) => proof_reason(error),
            Self::NotReached(_) => Reason::NotReached,
            Self::Write(_) | Self::Arm(ArmError::NotWritten { .. }) => Reason::NotWritten,
            Self::Arm(_) | Self::Backup(BackupError::Exists(_) | BackupError::Place(_)) => Reason::Invalid,
            Self::TooLarge(_)
            | Self::Journal(_)
            | Self::Fold(_)
            | Self::Vault(_)
            | Self::Search(_)
            | Self::Certificate(_)
            | Self::Backup(_)
            | Self::Page(_)
            | Self::Panicked(_) => Reason::Failed,
        }
    }

    /// What to do about it, where that depends on more than its kind.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Arm(error) => error.hint(),
            Self::OrderRefused(Refusal::StillHere) => {
                Some("`seatbeat customers offboard` has a customer leave for good".to_owned())
            }
            Self::Backup(error) => error.hint(),
            Self::OrderKey(error) => Some(error.hint().to_owned()),
            Self::NoOrderKey => Some(
                "`seatbeat orders sign` signs on the workstation that has it; `seatbeat orders key new` makes one"
                    .to_owned(),
            ),
            Self::PlanChanged => Some("load the page again and look at what would happen now".to_owned()),
            Self::UnknownApiToken(_) => Some("`seatbeat api-tokens list` shows them".to_owned()),
            _ => None,
        }
    }

    /// Seconds after which it is worth another try, where that is known.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::TooOften { wait_s } => Some(*wait_s),
            _ => None,
        }
    }

    /// Its words, with those of what caused it.
    pub fn words(&self) -> String {
        let mut words = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let deeper = error.to_string();
            if !words.ends_with(&deeper) {
                words = format!("{words}: {deeper}");
            }
            cause = error.source();
        }
        words
    }
}

fn close_reason(error: &CloseError) -> Reason {
    match error {
        CloseError::NotOver(_) => Reason::NotOver,
        CloseError::Nobody(_) => Reason::NobodyYet,
        CloseError::Grace { .. } => Reason::InGrace,
        CloseError::AlreadySealed(_) => Reason::AlreadySealed,
        CloseError::NotSealed(_) => Reason::NotSealed,
        CloseError::Blocked { .. } => Reason::Blocked,
        CloseError::UnknownDraft { .. } => Reason::DraftChanged,
        CloseError::NotSuperseded { .. } => Reason::NotSuperseded,
        CloseError::Write(_) => Reason::NotWritten,
        CloseError::Policy(_) => Reason::Policy,
        CloseError::Ledger(_)
        | CloseError::Body(_)
        | CloseError::Sealed { .. }
        | CloseError::Compare(_)
        | CloseError::File(_)
        | CloseError::MadeOtherwise { .. }
        | CloseError::Again { .. } => Reason::Failed,
    }
}

fn proof_reason(error: &ProofError) -> Reason {
    match error {
        ProofError::NotSealed { .. } => Reason::NotSealed,
        ProofError::Close(error) => close_reason(error),
        ProofError::Several { .. }
        | ProofError::NoEvidence(_)
        | ProofError::Given(_)
        | ProofError::Ahead { .. }
        | ProofError::Sample(SampleError::Nonce(_)) => Reason::Invalid,
        _ => Reason::Failed,
    }
}

/// The period that a request names.
///
/// # Errors
/// When the text is none.
pub fn period(text: &str) -> Result<Period, Fault> {
    Ok(text.parse()?)
}

/// The instant of Unix milliseconds in a request.
///
/// # Errors
/// When they are none.
pub fn instant(field: &'static str, ms: i64) -> Result<Timestamp, Fault> {
    seatbeat_proto::instant::from_ms(ms)
        .map_err(|error| Fault::value(field, format!("is not an instant: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_known_by_its_name() {
        assert_eq!(Reason::named(Reason::InGrace.as_str()), Some(Reason::InGrace));
        assert_eq!(Reason::named("a newer one"), None);
    }

    #[test]
    fn a_fault_is_told_with_its_cause_and_without_repeating_it() {
        let fault = Fault::Policy(PolicyError::Parse("unknown key `colour`".to_owned()));
        assert_eq!(fault.words(), "policy does not parse: unknown key `colour`");
        let fault = Fault::from(CloseError::Policy(PolicyError::Parse("x".to_owned())));
        assert_eq!(fault.words(), "failed to read the policy in force: policy does not parse: x");
    }
}
