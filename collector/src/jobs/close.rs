//! The close: from a month's evidence to its sealed statement. Invariant: what is sealed is byte for byte the draft
//! whose digest was approved, and it names the cut of the journal that it was closed from.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::body::{JournalCut, SealedBody, StatementBody, bodies_by_distributor};
use seatbeat_ledger::bundle::gather::{GatherInput, MonthEvidence};
use seatbeat_ledger::bundle::write::Part;
use seatbeat_ledger::calendar::{Day, Period};
use seatbeat_ledger::close::{self as ledger, CloseInput};
use seatbeat_ledger::fold::{COLLECTOR, Fold};
use seatbeat_ledger::jcs::JcsError;
use seatbeat_ledger::month_to_date::MonthToDate;
use seatbeat_ledger::policy::{Policy, PolicyError};
use seatbeat_ledger::sealed::{self, VerifyError, body_bytes, digest, seal};
use seatbeat_ledger::statement::{Blocker, MeterOutput};
use seatbeat_ledger::variance::{VarianceRow, variance};
use seatbeat_ledger::{RULES_VERSION, zone_data_version};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Signed, StatementSealed};

use crate::books::{Books, WriteError};
use crate::config::Config;
use crate::keys::Keys;
use crate::store;

pub mod effect;

/// Drafts that can still be approved; an older one is drafted anew.
const DRAFTS_MAX: usize = 16;

/// Name of the alarm about a month that waits for a person.
const WAITING: &str = "statement";

/// Closes months.
#[derive(Clone)]
pub struct Closing {
    books: Books,
    config: Config,
    folder: PathBuf,
    drafts: Arc<Mutex<VecDeque<Draft>>>,
    /// The running month, counted up to when it was last asked for. One computation at a time.
    running: Arc<Mutex<Option<MonthToDate>>>,
}

/// Where a period stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is not over.
    Open,
    /// Its evidence may still arrive.
    Grace,
    /// It can be approved.
    Draft,
    /// It is sealed.
    Sealed,
}

/// What a period's statement would be.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The month.
    pub period: Period,
    /// Where it stands.
    pub stage: Stage,
    /// The end of its grace.
    pub closes_at: Timestamp,
    /// Of all bodies, in the order of their distributors; what an approval names.
    pub digest: String,
    /// Statement and earnings.
    pub output: MeterOutput,
    /// Why its lines differ from the month before; `None`: that one was never sealed.
    pub variance: Option<Vec<VarianceRow>>,
    /// What would be signed, by distributor.
    bodies: Vec<(String, Vec<u8>)>,
}

/// A sealed statement as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Whose.
    pub distributor: String,
    /// From 1.
    pub revision: u32,
    /// The file.
    pub bytes: Vec<u8>,
}

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
    /// Somebody has to decide first.
    #[error("{} thing(s) block the statement of period {period}: {}", blockers.len(), list(blockers))]
    Blocked {
        /// Which month.
        period: Period,
        /// What blocks it.
        blockers: Vec<Blocker>,
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

fn list(blockers: &[Blocker]) -> String {
    let shown: Vec<String> = blockers.iter().take(8).filter_map(|blocker| body_text(blocker).ok()).collect();
    shown.join(", ")
}

fn body_text(value: &impl serde::Serialize) -> Result<String, JcsError> {
    seatbeat_ledger::jcs::to_canonical(value)
}

impl Closing {
    /// Closes months of these books; sealed statements are dropped in `folder`.
    pub fn new(books: Books, config: Config, folder: PathBuf) -> Self {
        Self { books, config, folder, drafts: Arc::default(), running: Arc::default() }
    }

    /// The folder that sealed statements are dropped in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a period's statement would be now, on any day. Blocks while it computes.
    ///
    /// # Errors
    /// When the policy or an earlier statement cannot be used.
    pub fn draft(&self, period: Period) -> Result<Draft, CloseError> {
        let now = self.books.clock().now();
        let grace = SignedDuration::from_hours(i64::from(self.config.grace_hours));
        let keys = self.books.keys();
        let draft = self.compute(|fold| draft(fold, period, now, grace)?.with_evidence(fold, keys))?;
        let mut drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        drafts.retain(|known| known.digest != draft.digest);
        drafts.push_back(draft.clone());
        while drafts.len() > DRAFTS_MAX {
            drafts.pop_front();
        }
        Ok(draft)
    }

    /// Statement and earnings of a period up to now, without what it corrects of earlier ones. Of the running month
    /// only what has changed since it was asked for last is counted. Blocks while it computes.
    ///
    /// # Errors
    /// When the policy cannot be used.
    pub fn to_date(&self, period: Period) -> Result<MeterOutput, CloseError> {
        let now = self.books.clock().now();
        // Reading the policy takes a while: not under the lock.
        let (usage, terms) = self.books.read(|fold| (fold.usage().clone(), fold.terms().clone()));
        let policy = terms.policy(period)?;
        if Period::of_day(usage.zone().usage_day(now)) != period {
            let _one_at_a_time = self.running();
            return Ok(MonthToDate::new(usage, policy, period, now).output()?);
        }
        let mut running = self.running();
        let month = match running.take().filter(|month| month.period() == period) {
            Some(mut month) => {
                month.refresh(usage, policy, now);
                month
            }
            None => MonthToDate::new(usage, policy, period, now),
        };
        let output = month.output();
        *running = Some(month);
        Ok(output?)
    }

    /// Counts what has changed in the running month, if anybody ever asked for it: the next question is answered
    /// from counters, and the state of the last one is let go.
    pub fn keep_counted(&self) {
        let period = running_period(&self.books);
        let mut running = self.running();
        *running = running.take().filter(|month| month.period() == period);
        let is_asked_for = running.is_some();
        drop(running);
        if is_asked_for && let Err(error) = self.to_date(period) {
            tracing::warn!(%error, "the running month could not be counted");
        }
    }

    /// Computes on a copy of the fold, which shares all that does not change meanwhile: writers do not wait for it.
    fn compute<T>(&self, ask: impl FnOnce(&Fold) -> T) -> T {
        let _one_at_a_time = self.running();
        let fold = self.books.read(Fold::clone);
        ask(&fold)
    }

    fn running(&self) -> MutexGuard<'_, Option<MonthToDate>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals exactly the draft of this digest, and drops its files.
    ///
    /// # Errors
    /// When the period is not over, in its grace, sealed already or blocked, or the digest is of no draft.
    pub async fn seal(
        &self,
        period: Period,
        approved: &str,
        actor: &str,
        reason: &str,
    ) -> Result<Vec<SealedFile>, CloseError> {
        let draft = self.approved(period, approved)?;
        self.books.read(|fold| draft.may_be_sealed(fold))?;
        let statements = draft.sealed_with(self.books.keys().statement());
        self.books.write_all(actor, reason, facts(period, &statements)).await?;
        // Two may have sealed at once: the journal's order decided, and the fold tells which draft it was.
        if !self.books.read(|fold| is_sealed_as(fold, period, &statements)) {
            return Err(CloseError::AlreadySealed(period));
        }
        self.drop_files(period);
        self.sealed_files(period)
    }

    fn approved(&self, period: Period, approved: &str) -> Result<Draft, CloseError> {
        let drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = drafts.iter().find(|draft| draft.digest == approved && draft.period == period);
        found.cloned().ok_or_else(|| CloseError::UnknownDraft { period, digest: approved.to_owned() })
    }

    /// The sealed statements of a period, as they go out.
    ///
    /// # Errors
    /// When there are none.
    pub fn sealed_files(&self, period: Period) -> Result<Vec<SealedFile>, CloseError> {
        let key = self.books.keys().statement().verifying_key().to_bytes();
        let sealed: Vec<(String, u32, Signed)> = self.books.read(|fold| {
            fold.sealed(period)
                .map(|(distributor, sealed)| {
                    let statement =
                        Signed { payload: sealed.body.clone(), signature: sealed.signature.clone() };
                    (distributor.to_owned(), sealed.revision, statement)
                })
                .collect()
        });
        if sealed.is_empty() {
            return Err(CloseError::NotSealed(period));
        }
        sealed
            .into_iter()
            .map(|(distributor, revision, statement)| {
                Ok(SealedFile { distributor, revision, bytes: sealed::file(&statement, &key)? })
            })
            .collect()
    }

    /// Runs once: seals what is due where nothing blocks it, and sees that each sealed file is in its folder.
    pub async fn run(&self) {
        let periods: Vec<Period> = self.books.read(|fold| fold.sealed_periods().collect());
        for period in periods {
            self.drop_files(period);
        }
        if let Err(error) = self.seal_what_is_due().await {
            match error {
                CloseError::Blocked { .. } => self.books.alarms().raise(WAITING, error.to_string()),
                error => tracing::warn!(%error, "a month was not closed"),
            }
        }
    }

    async fn seal_what_is_due(&self) -> Result<(), CloseError> {
        let now = self.books.clock().now();
        let Some((period, is_due)) = self.books.read(|fold| due(fold, &self.config, now)) else {
            self.books.alarms().clear(WAITING);
            return Ok(());
        };
        if !is_due {
            return Ok(());
        }
        let closing = self.clone();
        let drafted = tokio::task::spawn_blocking(move || closing.draft(period)).await;
        let draft = drafted.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        if draft.stage == Stage::Draft {
            let reason = "nothing blocks it on the day of unattended approval";
            self.seal(period, &draft.digest, COLLECTOR, reason).await?;
            self.books.alarms().clear(WAITING);
            tracing::info!(%period, digest = draft.digest, "a month was sealed");
        }
        Ok(())
    }

    fn path(&self, period: Period, distributor: &str, revision: u32) -> PathBuf {
        self.folder.join(format!("{period}-{}-r{revision}.json", file_name(distributor)))
    }

    /// Drops a period's files where they are missing; what is there stays.
    fn drop_files(&self, period: Period) {
        let sealed: Vec<(String, u32)> = self.books.read(|fold| {
            fold.sealed(period)
                .map(|(distributor, sealed)| (distributor.to_owned(), sealed.revision))
                .collect()
        });
        // Asked again and again of every month there ever was: bodies are read only where a file is missing.
        if sealed.iter().all(|(distributor, revision)| self.path(period, distributor, *revision).exists()) {
            return;
        }
        let Ok(files) = self.sealed_files(period) else { return };
        for file in files {
            let path = self.path(period, &file.distributor, file.revision);
            if path.exists() {
                continue;
            }
            let written = std::fs::create_dir_all(&self.folder)
                .map_err(|error| error.to_string())
                .and_then(|()| store::write_file(&path, &file.bytes).map_err(|error| error.to_string()));
            match written {
                Ok(()) => self.books.alarms().clear("statements-folder"),
                Err(error) => self.books.alarms().raise(
                    "statements-folder",
                    format!(
                        "a sealed statement could not be dropped in `{}`: {error}",
                        self.folder.display()
                    ),
                ),
            }
        }
    }
}

/// A distributor's name as part of a file name.
pub(crate) fn file_name(distributor: &str) -> String {
    distributor
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' })
        .collect()
}

impl Draft {
    /// Whether nothing stands in the way of sealing it.
    ///
    /// # Errors
    /// What does: it is not over, in its grace, sealed already, of nobody, or blocked.
    pub fn may_be_sealed(&self, fold: &Fold) -> Result<(), CloseError> {
        let period = self.period;
        match self.stage {
            Stage::Open => return Err(CloseError::NotOver(period)),
            Stage::Grace => return Err(CloseError::Grace { period, until: self.closes_at }),
            Stage::Draft | Stage::Sealed => {}
        }
        if fold.sealed(period).next().is_some() {
            return Err(CloseError::AlreadySealed(period));
        }
        let statement = &self.output.statement;
        let nothing = statement.lines.is_empty() && statement.corrections.is_empty();
        if nothing && nobody_enrolled_in(fold, period) {
            return Err(CloseError::Nobody(period));
        }
        if !statement.blockers.is_empty() {
            return Err(CloseError::Blocked { period, blockers: statement.blockers.clone() });
        }
        Ok(())
    }

    /// Commits its bodies to the evidence of each machine, if it can be sealed: what a bundle then proves.
    ///
    /// # Errors
    /// When the policy cannot be used.
    pub fn with_evidence(mut self, fold: &Fold, keys: &Keys) -> Result<Self, CloseError> {
        let Some(founded) = fold.founded().filter(|_| self.stage == Stage::Draft) else { return Ok(self) };
        let policy = fold.terms().policy(self.period)?;
        let (evidence, key) = (evidence(fold, &policy, self.period), keys.pseudonyms());
        for (distributor, bytes) in &mut self.bodies {
            let mut body: StatementBody = serde_json::from_slice(bytes)
                .map_err(|error| CloseError::Sealed { period: self.period, why: error.to_string() })?;
            let part = Part { evidence: &evidence, key: &key, period: self.period, distributor };
            body.evidence = Some(part.commitment(&founded.reseller, founded.service_key));
            *bytes = body_bytes(&body)?;
        }
        self.digest = digest_of(&self.bodies);
        Ok(self)
    }

    /// Its bodies, signed, each with its distributor.
    pub fn sealed_with(self, key: &SigningKey) -> Vec<(String, Signed)> {
        self.bodies.into_iter().map(|(distributor, body)| (distributor, seal(body, key))).collect()
    }
}

/// What puts the sealed statements of a period on record.
pub fn facts(period: Period, statements: &[(String, Signed)]) -> Vec<Fact> {
    let fact = |(distributor, statement): &(String, Signed)| {
        Fact::StatementSealed(StatementSealed {
            distributor: distributor.clone(),
            period: period.to_string(),
            revision: 1,
            statement: Some(statement.clone()),
        })
    };
    statements.iter().map(fact).collect()
}

/// Whether a period is sealed as exactly these statements.
pub fn is_sealed_as(fold: &Fold, period: Period, statements: &[(String, Signed)]) -> bool {
    statements.iter().all(|(name, statement)| {
        fold.sealed(period).any(|(other, sealed)| other == name && sealed.body == statement.payload)
    })
}

/// The last month, as long as it is not sealed and there was somebody to count, and whether it is to be sealed by now
/// without being asked for.
pub fn due(fold: &Fold, config: &Config, now: Timestamp) -> Option<(Period, bool)> {
    let zone = fold.usage().zone();
    let last = Period::of_day(zone.usage_day(now)).previous();
    if fold.sealed(last).next().is_some() || nobody_enrolled_in(fold, last) {
        return None;
    }
    let day = last.next().first_day().plus(i32::from(config.approve_on_day) - 1);
    Some((last, config.unattended_approval && now >= zone.first_instant(day)))
}

/// Whether every machine was enrolled after a period.
fn nobody_enrolled_in(fold: &Fold, period: Period) -> bool {
    let end = fold.usage().zone().first_instant(period.next().first_day());
    !fold.registry().enrolled_before(end)
}

/// What a period's statement would be by this fold, with a grace of so long behind the month's end.
///
/// # Errors
/// When the policy or an earlier statement cannot be used.
pub fn draft(
    fold: &Fold,
    period: Period,
    now: Timestamp,
    grace: SignedDuration,
) -> Result<Draft, CloseError> {
    let policy = fold.terms().policy(period)?;
    let end = policy.zone.first_instant(period.next().first_day());
    let closes_at = end.checked_add(grace).unwrap_or(Timestamp::MAX);
    let stage = if fold.sealed(period).next().is_some() {
        Stage::Sealed
    } else if now < end {
        Stage::Open
    } else if now < closes_at {
        Stage::Grace
    } else {
        Stage::Draft
    };
    let as_of = (now < end).then_some(now);
    let output = compute(fold, &policy, period, as_of)?;
    let variance = variance_to_last(fold, &policy, &output, as_of)?;
    let bodies = bodies(fold, &policy, &output)?;
    Ok(Draft { period, stage, closes_at, digest: digest_of(&bodies), output, variance, bodies })
}

fn variance_to_last(
    fold: &Fold,
    policy: &Policy,
    output: &MeterOutput,
    as_of: Option<Timestamp>,
) -> Result<Option<Vec<VarianceRow>>, CloseError> {
    let period = output.statement.period;
    let last = fold.sealed(period.previous()).map(|(_, sealed)| sealed.sealed_at).min();
    let Some(sealed_at) = last else { return Ok(None) };
    let sealed = sealed_before(fold, period)?;
    let (usage, usage_elsewhere) = (fold.usage(), [].as_slice());
    let input = CloseInput { usage, usage_elsewhere, policy, period, as_of, sealed: &sealed };
    Ok(variance(&input, &output.statement.lines, sealed_at)?)
}

fn digest_of(bodies: &[(String, Vec<u8>)]) -> String {
    let all: Vec<u8> = bodies.iter().flat_map(|(_, body)| seatbeat_proto::signed::hash(body)).collect();
    digest(&all)
}

/// The evidence of a whole month by this fold.
pub(crate) fn evidence(fold: &Fold, policy: &Policy, period: Period) -> MonthEvidence {
    let seats = ledger::seats(fold.usage(), policy, period, None);
    MonthEvidence::gather(GatherInput {
        usage: fold.usage(),
        registry: Some(fold.registry()),
        policy,
        period,
        seats: &seats,
    })
}

fn compute(
    fold: &Fold,
    policy: &Policy,
    period: Period,
    as_of: Option<Timestamp>,
) -> Result<MeterOutput, CloseError> {
    let sealed = sealed_before(fold, period)?;
    let (usage, usage_elsewhere) = (fold.usage(), [].as_slice());
    Ok(ledger::close(CloseInput { usage, usage_elsewhere, policy, period, as_of, sealed: &sealed })?)
}

/// The sealed bodies of the two periods before this one: those that it may correct, and their own corrections.
fn sealed_before(fold: &Fold, period: Period) -> Result<Vec<SealedBody>, CloseError> {
    let first = period.previous().previous();
    let earlier = fold.sealed_periods().filter(|sealed| (first..period).contains(sealed));
    earlier
        .flat_map(|sealed| fold.sealed(sealed).map(move |(_, statement)| (sealed, statement)))
        .map(|(period, statement)| {
            serde_json::from_slice(&statement.body)
                .map_err(|error| CloseError::Sealed { period, why: error.to_string() })
        })
        .collect()
}

fn bodies(fold: &Fold, policy: &Policy, output: &MeterOutput) -> Result<Vec<(String, Vec<u8>)>, CloseError> {
    let journal = JournalCut { size: fold.position(), root: STANDARD.encode(fold.root()) };
    bodies_by_distributor(&output.statement)
        .into_iter()
        .map(|(distributor, statement)| {
            let body = StatementBody {
                statement,
                distributor: distributor.clone(),
                revision: 1,
                policy: policy.public_toml_or_json(),
                rules_version: RULES_VERSION,
                zone_data: zone_data_version(),
                journal: journal.clone(),
                evidence: None,
            };
            Ok((distributor, body_bytes(&body)?))
        })
        .collect()
}

/// The running month.
pub fn running_period(books: &Books) -> Period {
    let now = books.clock().now();
    Period::of_day(books.read(|fold| -> Day { fold.usage().zone().usage_day(now) }))
}
