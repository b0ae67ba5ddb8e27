//! What a conversation has to say to a person.

use seatbeat_proto::catalogue::PushedError;
use seatbeat_proto::wire::RefusalReason;

use crate::catalogue::Refused;
use crate::orders::Ignored;
use crate::settings::SettingsError;

/// See the variants' texts.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Note {
    /// Connecting or greeting took too long.
    #[error("the collector does not answer")]
    Silent,
    /// Anything but Welcome came first.
    #[error("the collector spoke before it said welcome")]
    BeforeWelcome,
    /// Welcome came to an open conversation.
    #[error("the collector said welcome twice")]
    WelcomeTwice,
    /// A message of a later version.
    #[error("the collector said something this agent version does not know")]
    Unknown,
    /// An answer about another spool than the current one.
    #[error("the collector spoke of a spool that is not the current one")]
    OtherSpool,
    /// An acknowledgement of what was never sent.
    #[error("the collector acknowledged sequence {sequence}, which was not sent")]
    AckOfUnsent {
        /// As it said.
        sequence: u64,
    },
    /// Evidence was not taken.
    #[error("the collector refused the evidence of sequence {sequence}: {}", words(*reason, detail))]
    Refused {
        /// Why.
        reason: RefusalReason,
        /// Of the refused evidence.
        sequence: u64,
        /// In the collector's words, safe to show.
        detail: String,
    },
    /// New spools were refused as well.
    #[error("the collector refuses one new spool after the other: it is asked again later")]
    SpoolsInVain,
    /// The collector's clock shows what no clock can.
    #[error("the collector's clock shows no instant")]
    NoInstant,
    /// A checkpoint that would not fit into evidence.
    #[error("the collector's checkpoint is too long to keep")]
    LongCheckpoint,
    /// Settings that are not followed.
    #[error(transparent)]
    Settings(SettingsError),
    /// A catalogue that is not taken.
    #[error(transparent)]
    Catalogue(Refused),
    /// An order that is passed over.
    #[error(transparent)]
    Order(Ignored),
}

impl Note {
    /// Whether a person should look at it: somebody may be forging, or evidence does not get through.
    pub fn is_grave(&self) -> bool {
        match self {
            Self::Settings(why) => *why == SettingsError::Forged,
            Self::Catalogue(why) => !matches!(why, Refused::Unfit(PushedError::NotNewer { .. })),
            Self::Refused { .. } | Self::SpoolsInVain | Self::AckOfUnsent { .. } => true,
            Self::Silent
            | Self::BeforeWelcome
            | Self::WelcomeTwice
            | Self::Unknown
            | Self::OtherSpool
            | Self::NoInstant
            | Self::LongCheckpoint
            | Self::Order(_) => false,
        }
    }
}

fn words(reason: RefusalReason, detail: &str) -> String {
    let reason = match reason {
        RefusalReason::Unspecified => "no reason given",
        RefusalReason::BadSignature => "bad signature",
        RefusalReason::BrokenChain => "broken chain",
        RefusalReason::Forked => "forked",
        RefusalReason::WrongMachine => "wrong machine",
        RefusalReason::Malformed => "malformed",
        RefusalReason::Banned => "this machine is banned",
    };
    if detail.is_empty() { reason.to_owned() } else { format!("{reason} ({detail})") }
}
