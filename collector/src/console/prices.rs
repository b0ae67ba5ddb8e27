//! Price lists in and out. Invariant: a list is in force whole or not at all, and was compared with exactly what was
//! in force before it; files that come out change nothing when they are imported again.

use std::collections::BTreeSet;

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::prices::changes::{Changes, changes};
use seatbeat_ledger::prices::check::{Checked, Gone, Known, Terms, check};
use seatbeat_ledger::prices::read::{BYTES_MAX, File, Problems, Reading};
use seatbeat_ledger::prices::{PriceList, staging, write};
use seatbeat_proto::ids::{CustomerId, PriceListId};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, PricesApplied};
use serde::{Deserialize, Serialize};
use tonic::Streaming;

use super::Console;
use super::auth::Caller;
use super::command::checked_reason;
use super::fault::{Fault, period};
use crate::books::Actor;

/// Files of one import: three kinds, some of them in parts.
const FILES_MAX: usize = 32;

/// Parts written at once: a fraction of what may wait to be written.
const PARTS_AT_ONCE: usize = 16;

/// Bytes of a file in one message.
const PIECE_LENGTH: usize = 128 * 1024;

/// A file as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// What it is called.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl NamedFile {
    /// The file in messages; one at least.
    pub(super) fn into_pieces(self) -> Vec<wire::FileChunk> {
        let mut pieces: Vec<wire::FileChunk> = self
            .bytes
            .chunks(PIECE_LENGTH)
            .map(|piece| wire::FileChunk { name: String::new(), piece: piece.to_vec() })
            .collect();
        if pieces.is_empty() {
            pieces.push(wire::FileChunk::default());
        }
        pieces[0].name = self.name;
        pieces
    }
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceImported {
    /// The first month it holds in.
    pub valid_from: Period,
    /// The list that is in force now; none when something is wrong, nothing changes, or it was only asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<PriceListId>,
    /// All that is wrong; nothing is in force then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Problems>,
    /// What it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Months that it would hold in and that are sealed: their statements stay as they are.
    pub sealed: Vec<Period>,
    /// Where the journal stood behind it.
    pub position: u64,
}

impl From<PriceImported> for wire::PriceImportReply {
    fn from(row: PriceImported) -> Self {
        let json = serde_json::to_string(&row).expect("rows have text keys and plain values");
        Self { json, position: row.position }
    }
}

/// An import as it came.
struct Order {
    valid_from: Period,
    dry_run: bool,
    reason: String,
    terms: Terms,
    files: Vec<File>,
}

impl Console {
    /// Imports price list files.
    ///
    /// # Errors
    /// When the request is none, another list overtakes it, or it cannot be written. What is wrong with the files is
    /// in the answer.
    pub async fn import_prices(
        &self,
        caller: &Caller,
        messages: Streaming<wire::PriceImport>,
    ) -> Result<PriceImported, Fault> {
        let _one_at_a_time = self.importing.lock().await;
        let Order { valid_from, dry_run, reason, terms, files } = order(messages).await?;
        checked_reason(&reason)?;
        let (known, customers, sealed) = self.books.read(|fold| {
            let customers: BTreeSet<CustomerId> = fold.registry().customers().cloned().collect();
            let sealed: Vec<Period> = fold.sealed_periods().filter(|month| *month >= valid_from).collect();
            (fold.terms().clone(), customers, sealed)
        });
        let revision = known.prices().revision();
        let checking = move || -> Result<(Result<Checked, Problems>, Option<Changes>), Fault> {
            let policy = known.policy(valid_from)?;
            let book = known.prices();
            let is_customer = |customer: &CustomerId| customers.contains(customer);
            let checked = check(
                &files,
                &terms,
                &Known { book, policy: &policy, from: valid_from, is_customer: &is_customer },
            );
            let told = checked.as_ref().ok().map(|ok| changes(book, valid_from, &ok.list, &ok.gone));
            Ok((checked, told))
        };
        let (checked, changes) = tokio::task::spawn_blocking(checking).await??;
        let position = self.books.read(seatbeat_ledger::fold::Fold::position);
        let mut imported =
            PriceImported { valid_from, list: None, problems: None, changes, sealed, position };
        let list = match checked {
            Ok(checked) => checked.list,
            Err(problems) => return Ok(PriceImported { problems: Some(problems), ..imported }),
        };
        let changes_nothing = imported.changes.as_ref().is_none_or(|changes| changes.counts.is_nothing());
        if !dry_run && !changes_nothing {
            let id = PriceListId::random();
            imported.position = self.apply(caller, &reason, &id, &list, valid_from, revision + 1).await?;
            imported.list = Some(id);
        }
        Ok(imported)
    }

    async fn apply(
        &self,
        caller: &Caller,
        reason: &str,
        id: &PriceListId,
        list: &PriceList,
        valid_from: Period,
        revision: u64,
    ) -> Result<u64, Fault> {
        let actor = Actor::from(caller);
        let parts = staging::parts(id, list);
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        for some in parts.chunks(PARTS_AT_ONCE) {
            let facts = some.iter().cloned().map(Fact::PricesStaged).collect();
            self.books.write_all(actor, reason, facts).await?;
        }
        let applied = PricesApplied {
            list: id.to_string(),
            parts: count,
            valid_from: valid_from.to_string(),
            revision,
        };
        let position = self.books.write(actor, reason, Fact::PricesApplied(applied)).await?;
        let ours = self.books.read(|fold| fold.terms().prices().applied().iter().any(|one| one.list == *id));
        if ours { Ok(position.0) } else { Err(Fault::Overtaken) }
    }

    /// What price lists say of a period, as files.
    ///
    /// # Errors
    /// When the position is not known here in time.
    pub async fn export_prices(&self, period: Period, after: u64) -> Result<Vec<NamedFile>, Fault> {
        self.books.reached(after).await?;
        let terms = self.books.read(|fold| fold.terms().clone());
        let writing = move || write::files(&terms.prices().in_force(period));
        let files = tokio::task::spawn_blocking(writing).await?;
        let named =
            |(name, text): (&str, String)| NamedFile { name: name.to_owned(), bytes: text.into_bytes() };
        Ok(files.into_iter().map(named).collect())
    }
}

/// Takes an import in, message after message.
async fn order(mut messages: Streaming<wire::PriceImport>) -> Result<Order, Fault> {
    let mut terms: Option<wire::PriceImportTerms> = None;
    let (mut files, mut length): (Vec<File>, usize) = (Vec::new(), 0);
    let lost = |status: tonic::Status| {
        Fault::value("the price list", format!("did not arrive: {}", status.message()))
    };
    while let Some(message) = messages.message().await.map_err(lost)? {
        if let Some(first) = message.terms {
            terms.get_or_insert(first);
        }
        length += message.piece.len();
        if length > BYTES_MAX || files.len() > FILES_MAX {
            return Err(Fault::value(
                "the price list",
                format!("has more than {FILES_MAX} files or {} MiB", BYTES_MAX / 1024 / 1024),
            ));
        }
        if !message.file.is_empty() {
            files.push(File { name: message.file, bytes: message.piece });
        } else if let Some(file) = files.last_mut() {
            file.bytes.extend(message.piece);
        } else if !message.piece.is_empty() {
            return Err(Fault::value("the price list", "has a piece of no file"));
        }
    }
    let Some(asked) = terms else { return Err(Fault::value("the price list", "came without its terms")) };
    let gone = match asked.gone.as_str() {
        "" => Gone::Refuse,
        "keep" => Gone::Keep,
        "drop" => Gone::Drop,
        _ => return Err(Fault::value("`gone`", "is neither keep nor drop")),
    };
    let reading = Reading { decimal_comma: asked.decimal_comma, ignores_columns: asked.ignore_columns };
    Ok(Order {
        valid_from: period(&asked.valid_from)?,
        dry_run: asked.dry_run,
        reason: asked.reason,
        terms: Terms { reading, gone, new_distributors: asked.new_distributors.into_iter().collect() },
        files,
    })
}
