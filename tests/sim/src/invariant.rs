//! What must hold, by name. Invariant: each is a promise of the product in a sentence; the code that looks whether it
//! holds shares no line with the code that keeps it.

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is told in words by `Invariant::sentence`")]
pub enum Invariant {
    AcknowledgedIsDurable,
    WrittenOnce,
    CountedOnce,
    ChainUnbroken,
    SpokenIsKept,
    NothingLost,
    AsSigned,
    ForkFlagged,
    BannedShutOut,
    TokenLimit,
    RevokedShutOut,
    AdmittedIsKnown,
    ActsStand,
    MergeRestsOnFacts,
    MergeWithinCustomer,
    HandDecides,
    SetUpAnewIsOne,
    ReturnedIsSplit,
    CopyFlagged,
    StatementOfTheSet,
    StatementOfThePage,
    SealedStands,
    SealedAndCorrected,
    FoldIsReplay,
    ClockCorrected,
    OrderAnsweredOnce,
    BegunOnce,
    NewestAlone,
    EndedStays,
    OrdersEnd,
    KeysFollowed,
    OldKeyRefused,
    SentIsOnRecord,
    UploadedOnce,
    RestoredCounts,
    AppendedOnce,
    LedByOne,
    QueuesBounded,
    Drains,
    StartsAgain,
}

impl Invariant {
    /// The promise in a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::AcknowledgedIsDurable => {
                "what was acknowledged is in the journal, or comes again after the journal was lost"
            }
            Self::WrittenOnce => "one collector writes a piece of evidence once",
            Self::CountedOnce => "one report counts once",
            Self::ChainUnbroken => {
                "a chain stands in the journal from its first link on, each naming the one before"
            }
            Self::SpokenIsKept => "an agent still has what it said, unless its disk was lost or set back",
            Self::NothingLost => "what an agent observed reaches the journal, under its own or a new number",
            Self::AsSigned => "evidence in the journal is what its machine signed",
            Self::ForkFlagged => "two versions of one link are both on record, and their machine is flagged",
            Self::BannedShutOut => "nothing of a banned machine is taken while the ban stands",
            Self::TokenLimit => "a token lets in no more machines than it may, whoever is asked",
            Self::RevokedShutOut => "nobody is let in with a token that was taken back before",
            Self::AdmittedIsKnown => "a machine that was told it is in is in the journal",
            Self::ActsStand => "an operator's act that was answered is on record",
            Self::MergeRestsOnFacts => {
                "machines are merged only on two strong facts, with the older silent since before the newer came"
            }
            Self::MergeWithinCustomer => "machines of two customers are never merged",
            Self::HandDecides => {
                "what an operator joined or parted stays so until an operator says otherwise"
            }
            Self::SetUpAnewIsOne => "a computer that was set up anew is one machine",
            Self::ReturnedIsSplit => "an absorbed machine that reports again is parted and flagged",
            Self::CopyFlagged => "a copy that reports beside its original is flagged",
            Self::StatementOfTheSet => "the statement depends on the set of records, not on order or repeats",
            Self::StatementOfThePage => "the statement says what the metering page says of the records",
            Self::SealedStands => "a sealed statement never changes",
            Self::SealedAndCorrected => "what was sealed and its corrections add up to a recount",
            Self::FoldIsReplay => "the running fold, a replay from zero, and snapshot with tail are the same",
            Self::ClockCorrected => "a report of a connected agent carries the collector's time",
            Self::OrderAnsweredOnce => "an order is answered once",
            Self::BegunOnce => "a destructive order is begun at most once on a disk",
            Self::NewestAlone => {
                "nothing is begun once a newer order of its product, a cancel for one, was answered"
            }
            Self::EndedStays => "an order that has an end on record is not delivered again",
            Self::OrdersEnd => {
                "when faults stop, every order that was begun has an end, and none is left to deliver"
            }
            Self::KeysFollowed => "when faults stop, every machine takes orders of the newest order keys",
            Self::OldKeyRefused => "an order under a key that a machine trusts no more is not taken by it",
            Self::SentIsOnRecord => "a statement that reaches a distributor is on record as sent",
            Self::UploadedOnce => "each sealed statement is taken by its distributor, once",
            Self::RestoredCounts => "what counted before a restore, and its machine still has, counts again",
            Self::AppendedOnce => "a batch that collectors append to a shared journal is in it once at most",
            Self::LedByOne => {
                "one collector at a time has the jobs' lease, and what an earlier one writes is refused"
            }
            Self::QueuesBounded => "every queue stays within its bound",
            Self::Drains => "when faults stop, every agent that is let in hands over all that it has",
            Self::StartsAgain => "agent and collector start again after every fault",
        }
    }
}

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub invariant: Invariant,
    /// Simulated instant, Unix milliseconds.
    pub at_ms: i64,
    /// Where, and what was seen.
    pub what: String,
    /// The last events before it.
    pub events: Vec<String>,
}
