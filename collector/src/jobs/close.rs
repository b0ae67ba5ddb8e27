//! The close: from a month's evidence to its sealed statement. Invariant: what is sealed is byte for byte the draft
//! whose digest was approved, and it names the cut of the journal that it was closed from.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use seatbeat_ledger::calendar::{Day, Period};
use seatbeat_ledger::close as ledger;
use seatbeat_ledger::fold::{Approval, COLLECTOR, Fold};
use seatbeat_ledger::forecast::{Forecast, forecast};
use seatbeat_ledger::life::{Life, Phase, Standing, Wait, standings};
use seatbeat_ledger::month_to_date::{DaySeats, MonthToDate};
use seatbeat_ledger::sealed;
use seatbeat_ledger::statement::MeterOutput;
use seatbeat_proto::wire::Signed;

use crate::books::{Actor, Books};
use crate::config::Config;
use crate::journal::Position;
use crate::lately::Wanted;
use crate::store;

mod approved;
mod draft;
pub mod effect;
mod fault;
mod kept;

pub use approved::Approved;
pub use draft::{Draft, draft};
pub(crate) use draft::{corrections_of, evidence};
pub use fault::{AgainError, CloseError};
use kept::Kept;

/// Drafts that can still be approved; an older one is drafted anew.
const DRAFTS_MAX: usize = 16;

/// Name of the alarm about a month that waits for a person.
const WAITING: &str = "statement";

/// Months whose drafts are told although nobody asked for them: the running one, and those whose evidence may still
/// come. An older one that was never sealed is closed by its name.
const MONTHS_TOLD: usize = 3;

/// Records read at once.
const BATCH: usize = 4096;

/// Closes months.
#[derive(Clone)]
pub struct Closing {
    books: Books,
    config: Config,
    folder: PathBuf,
    drafts: Arc<Mutex<VecDeque<Arc<Draft>>>>,
    kept: Arc<Kept>,
    /// One seal at a time: between an approval and its seals nobody takes it for one that was cut off.
    sealing: Arc<tokio::sync::Mutex<()>>,
}

/// A month of the whole house as it was counted.
#[derive(Debug)]
pub struct SoFar {
    /// Statement and earnings, without the flags of machines.
    pub output: Arc<MeterOutput>,
    /// Its seats, day by day.
    pub by_day: DaySeats,
    /// How many flags of machines there are.
    pub flag_count: usize,
}

/// Which draft is to be sealed, by whom and why.
#[derive(Debug, Clone, Copy)]
pub struct Seal<'a> {
    /// The month.
    pub period: Period,
    /// The draft's digest.
    pub digest: &'a str,
    /// In place of what was sealed of that month.
    pub supersede: bool,
    /// Who approves it.
    pub actor: Actor<'a>,
    /// Why, in their words.
    pub reason: &'a str,
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

impl Closing {
    /// Closes months of these books; sealed statements are dropped in `folder`.
    pub fn new(books: Books, config: Config, folder: PathBuf) -> Self {
        Self { books, config, folder, drafts: Arc::default(), kept: Arc::default(), sealing: Arc::default() }
    }

    /// The folder that sealed statements are dropped in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a period's statement would be now, on any day, with as many records in it as that. Of a large house it may
    /// be some moments old, as [`crate::lately`] says. Blocks while it computes.
    ///
    /// # Errors
    /// When the policy or an earlier statement cannot be used.
    pub fn draft(&self, period: Period, size_min: u64) -> Result<Arc<Draft>, CloseError> {
        let wanted = self.wanted(self.books.decided().0.max(size_min));
        let draft = self.kept.drafts.get(period, wanted, || self.drafted_anew(period))?;
        let mut drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        drafts.retain(|known| known.digest != draft.digest);
        drafts.push_back(Arc::clone(&draft));
        while drafts.len() > DRAFTS_MAX {
            drafts.pop_front();
        }
        Ok(draft)
    }

    /// Statement and earnings of a period up to now, without what it corrects of earlier ones. Of a month that was
    /// asked for before only what has changed since is counted. Blocks while it computes.
    ///
    /// # Errors
    /// When the policy cannot be used.
    pub fn to_date(&self, period: Period) -> Result<MeterOutput, CloseError> {
        Ok(self.counted_of(period, MonthToDate::output)??)
    }

    /// As [`Closing::to_date`], without the flags of machines: nothing of it is as long as the fleet. Blocks while it
    /// computes.
    ///
    /// # Errors
    /// When the policy cannot be used.
    pub fn so_far(&self, period: Period) -> Result<Arc<MeterOutput>, CloseError> {
        Ok(self.counted_of(period, MonthToDate::so_far)??)
    }

    /// As [`Closing::so_far`], of so many records at least. Of a large house it may be some moments old, as [`crate::lately`]
    /// says. Blocks while it computes.
    ///
    /// # Errors
    /// When the policy cannot be used.
    pub fn lately(&self, period: Period, size_min: u64) -> Result<Arc<SoFar>, CloseError> {
        let wanted = self.wanted(self.books.decided().0.max(size_min));
        self.kept.so_far.get(period, wanted, || self.counted_anew(period))
    }

    fn counted_anew(&self, period: Period) -> Result<(Arc<SoFar>, u64), CloseError> {
        let size = self.books.read(Fold::position);
        let counted = self.counted_of(period, |month| -> Result<_, ledger::CloseError> {
            let (output, by_day) = (month.so_far()?, month.by_day(|_| true));
            Ok(SoFar { output, by_day, flag_count: month.flag_count() })
        })??;
        Ok((Arc::new(counted), size))
    }

    /// What a running month will come to. Of a large house it may be some moments old, as
    /// [`crate::lately`] says. Blocks while it computes.
    ///
    /// # Errors
    /// When the policy cannot be used, or amounts are too large to add.
    pub fn forecast(&self, period: Period) -> Result<Arc<Forecast>, CloseError> {
        self.kept.forecasts.get(period, self.wanted(self.books.decided().0), || self.forecast_anew(period))
    }

    fn forecast_anew(&self, period: Period) -> Result<(Arc<Forecast>, u64), CloseError> {
        let (now, size) = (self.books.clock().now(), self.books.read(Fold::position));
        let from_counts = self.counted_of(period, |month| month.forecast(now))?;
        let made = match from_counts.map_err(ledger::CloseError::from)? {
            Some(forecast) => forecast,
            None => self.compute(|fold| -> Result<Forecast, CloseError> {
                let policy = fold.terms().policy(period)?;
                Ok(forecast(fold.usage(), &policy, period, now).map_err(ledger::CloseError::from)?)
            })?,
        };
        Ok((Arc::new(made), size))
    }

    /// Asks a month, counted up to now. Blocks while it computes.
    ///
    /// # Errors
    /// When the policy cannot be used.
    pub fn counted_of<T>(
        &self,
        period: Period,
        ask: impl FnOnce(&MonthToDate) -> T,
    ) -> Result<T, CloseError> {
        let now = self.books.clock().now();
        // Reading the policy takes a while: not under the lock.
        let (usage, terms) = self.books.read(|fold| (fold.usage().clone(), fold.terms().clone()));
        let policy = terms.policy(period)?;
        let mut counted = self.kept.counted();
        let month = match counted.remove(&period) {
            Some(mut month) => {
                month.refresh(usage, policy, now);
                month
            }
            None => MonthToDate::new(usage, policy, period, now),
        };
        let answer = ask(&month);
        counted.insert(period, month);
        Ok(answer)
    }

    /// Counts what has changed in the months that anybody has asked for, and drafts and forecasts anew what is asked for:
    /// the next question is answered from that, and the state of the last one is let go.
    pub fn keep_drafted(&self) {
        let first = running_period(&self.books).previous();
        let mut counted = self.kept.counted();
        counted.retain(|period, _| *period >= first);
        let periods: Vec<Period> = counted.keys().copied().collect();
        drop(counted);
        let wanted = self.wanted(self.books.read(Fold::position));
        let told = periods.into_iter().try_for_each(|period| self.so_far(period).map(drop));
        let told =
            told.and_then(|()| self.kept.forecasts.refresh(wanted, |period| self.forecast_anew(period)));
        warn(told.and_then(|()| self.kept.drafts.refresh(wanted, |period| self.drafted_anew(period))));
    }

    /// Counts anew the months of a large house that are asked for, and the running one, asked for or not: the next
    /// question is answered from that.
    pub fn keep_counted(&self) {
        let wanted = self.wanted(self.books.read(Fold::position));
        if wanted.is_of_large_house() {
            let told = self.lately(running_period(&self.books), 0).map(drop);
            warn(told.and_then(|()| self.kept.so_far.refresh(wanted, |period| self.counted_anew(period))));
        }
    }

    /// What has to be in whatever is given out now.
    pub fn wanted(&self, size_min: u64) -> Wanted {
        let machines = self.books.read(|fold| fold.registry().machine_count());
        Wanted { now: self.books.clock().now(), size_min, machines }
    }

    fn drafted_anew(&self, period: Period) -> Result<(Arc<Draft>, u64), CloseError> {
        let now = self.books.clock().now();
        let made =
            |fold: &Fold| draft(fold, period, now, &self.config)?.with_evidence(fold, self.books.keys());
        let draft = Arc::new(self.compute(made)?);
        let size = draft.journal_size();
        Ok((draft, size))
    }

    /// Computes on a copy of the fold, which shares all that does not change meanwhile: writers do not wait for it.
    fn compute<T>(&self, ask: impl FnOnce(&Fold) -> T) -> T {
        let fold = self.books.read(Fold::clone);
        ask(&fold)
    }

    /// Seals exactly the draft of this digest, and drops its files.
    ///
    /// # Errors
    /// When the period is not over, in its grace, sealed already or blocked, or the digest is of no draft.
    pub async fn seal(&self, asked: Seal<'_>) -> Result<Vec<SealedFile>, CloseError> {
        let Seal { period, digest, supersede, actor, reason } = asked;
        let _one_at_a_time = self.sealing.lock().await;
        let draft = self.drafted(period, digest)?;
        self.books.read(|fold| draft.may_be_sealed(fold, supersede))?;
        let approved = draft.approved(self.books.keys().statement());
        match actor.name {
            COLLECTOR => self.books.write_as_leader(reason, approved.facts()).await?,
            _ => self.books.write_all(actor, reason, approved.facts()).await?,
        };
        // Two may have sealed at once: the journal's order decided, and the fold tells which draft it was.
        if !self.books.read(|fold| approved.is_sealed_in(fold)) {
            return Err(CloseError::AlreadySealed(period));
        }
        self.drop_files(period);
        self.sealed_files(period)
    }

    /// Asks a draft that was made before and can still be approved; none: it is not known any more.
    pub fn known_draft<T>(&self, period: Period, digest: &str, ask: impl FnOnce(&Draft) -> T) -> Option<T> {
        let drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = drafts.iter().find(|draft| draft.digest == digest && draft.period == period);
        found.map(|draft| ask(draft))
    }

    fn drafted(&self, period: Period, digest: &str) -> Result<Arc<Draft>, CloseError> {
        let drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = drafts.iter().find(|draft| draft.digest == digest && draft.period == period);
        found.cloned().ok_or_else(|| CloseError::UnknownDraft { period, digest: digest.to_owned() })
    }

    /// Where the statements stand: all that were sealed, and those of the last months. Blocks while it computes.
    ///
    /// # Errors
    /// As [`Closing::draft`].
    pub fn standings(&self, size_min: u64) -> Result<Vec<Standing>, CloseError> {
        let now = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        let mut period = Period::of_day(fold.usage().zone().usage_day(now));
        let mut periods: Vec<Period> = fold.sealed_periods().chain(fold.approved_periods()).collect();
        for _ in 0..MONTHS_TOLD {
            if !nobody_enrolled_in(&fold, period) {
                periods.push(period);
            }
            period = period.previous();
        }
        periods.sort();
        periods.dedup();
        let mut found = Vec::new();
        for period in periods {
            let drafted = || self.draft(period, size_min).map(|draft| draft.drafted());
            found.extend(standings(&fold, &self.config.timetable(), period, now, drafted)?);
        }
        Ok(found)
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
        match self.seal_what_is_due().await {
            Ok(None) => self.books.alarms().clear(WAITING),
            Ok(Some(words)) => self.books.alarms().raise(WAITING, words),
            Err(error) => {
                tracing::warn!(%error, "a month was not closed");
                let words = in_words(&error);
                self.books.alarms().raise(WAITING, words);
            }
        }
    }

    /// What waits for a person, in words.
    async fn seal_what_is_due(&self) -> Result<Option<String>, CloseError> {
        self.seal_what_was_approved().await?;
        let now = self.books.clock().now();
        let Some((period, is_attended)) = self.books.read(|fold| {
            due(fold, &self.config, now).map(|period| (period, !self.config.unattended_approval))
        }) else {
            return Ok(None);
        };
        let how = format!("`seatbeat statement close {period} --dry-run` shows it");
        if is_attended {
            return Ok(Some(format!("the statement of {period} waits to be approved: {how}")));
        }
        let draft = self.drafted_aside(period).await?;
        match draft.life() {
            Life::Draft { wait: Wait::Collector, .. } => {
                let reason = "nothing blocks it on the day of unattended approval";
                let digest = draft.digest.as_str();
                self.seal(Seal { period, digest, supersede: false, actor: COLLECTOR.into(), reason }).await?;
                tracing::info!(%period, digest, "a month was sealed");
                Ok(None)
            }
            Life::Draft { wait: Wait::Person { since }, .. } => {
                let blocked = self.books.read(|fold| draft.may_be_sealed(fold, false));
                let why = blocked.err().map(|error| format!("{error}; ")).unwrap_or_default();
                Ok(Some(format!("the statement of {period} waits for a person since {since}: {why}{how}")))
            }
            _ => Ok(None),
        }
    }

    async fn drafted_aside(&self, period: Period) -> Result<Arc<Draft>, CloseError> {
        let closing = self.clone();
        let drafted = tokio::task::spawn_blocking(move || closing.draft(period, 0)).await;
        drafted.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// A collector that ended between an approval and the last of its seals makes the same draft again, from the same
    /// records, and seals what is missing.
    async fn seal_what_was_approved(&self) -> Result<(), CloseError> {
        let _one_at_a_time = self.sealing.lock().await;
        let waiting: Vec<(Period, Approval)> = self.books.read(|fold| {
            let periods = fold.approved_periods();
            periods.filter_map(|period| Some((period, fold.approved(period)?.clone()))).collect()
        });
        for (period, approval) in waiting {
            let (closing, asked) = (self.clone(), approval.clone());
            let again = tokio::task::spawn_blocking(move || closing.made_again(period, &asked)).await;
            let again = again.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            let facts = self.books.read(|fold| again.left_to_seal(fold));
            self.books.write_all(approval.by.as_str(), &approval.reason, facts).await?;
            self.drop_files(period);
            tracing::info!(%period, digest = approval.digest, "an approved month was sealed after a restart");
        }
        Ok(())
    }

    fn made_again(&self, period: Period, approval: &Approval) -> Result<Approved, CloseError> {
        let again = |source| CloseError::Again { period, source };
        let fold = self.folded_until(approval.journal_size).map_err(again)?;
        let draft =
            draft(&fold, period, approval.at, &self.config)?.with_evidence(&fold, self.books.keys())?;
        if draft.digest != approval.digest {
            return Err(CloseError::MadeOtherwise { period, digest: approval.digest.clone() });
        }
        Ok(draft.approved(self.books.keys().statement()))
    }

    fn folded_until(&self, size: u64) -> Result<Fold, AgainError> {
        let mut fold = Fold::default();
        while fold.position() < size {
            let from = fold.position();
            let left = usize::try_from(size - from).unwrap_or(BATCH).min(BATCH);
            let batch = self.books.records(Position(from), left)?;
            if batch.is_empty() {
                return Err(AgainError::Short(from));
            }
            for (_, record) in batch {
                fold.apply(&record)?;
            }
        }
        Ok(fold)
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

/// The last month, when it is to be decided upon by now: nothing is sealed of it, there was somebody to count, and the
/// day of unattended approval has come or, where there is none, its grace is over.
pub fn due(fold: &Fold, config: &Config, now: Timestamp) -> Option<Period> {
    let zone = fold.usage().zone();
    let last = Period::of_day(zone.usage_day(now)).previous();
    if fold.sealed(last).next().is_some() || nobody_enrolled_in(fold, last) {
        return None;
    }
    let timetable = config.timetable();
    let is_due = match config.unattended_approval {
        true => now >= timetable.approves_at(zone, last),
        false => matches!(timetable.phase(zone, last, now), Phase::Over { .. }),
    };
    is_due.then_some(last)
}

/// Whether no machine was let in before a month was over.
pub(crate) fn nobody_enrolled_in(fold: &Fold, period: Period) -> bool {
    let end = fold.usage().zone().first_instant(period.next().first_day());
    !fold.registry().enrolled_before(end)
}

fn warn(told: Result<(), CloseError>) {
    if let Err(error) = told {
        tracing::warn!(%error, "a month could not be counted");
    }
}

/// An error with what caused it.
fn in_words(error: &CloseError) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        words = format!("{words}: {deeper}");
        cause = deeper.source();
    }
    words
}

/// The running month.
pub fn running_period(books: &Books) -> Period {
    let now = books.clock().now();
    Period::of_day(books.read(|fold| -> Day { fold.usage().zone().usage_day(now) }))
}
