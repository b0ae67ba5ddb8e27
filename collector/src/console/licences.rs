//! Licences: in from a file, given to customers and machines, shown with what runs of them. Invariant: an activation
//! code is in the vault before its licence is on record, leaves it for an operator by name only, and stands in no other
//! answer, record or log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::entitlements::{Held, Holder, Licence, Move, holdings};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::prices::read::Problems;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::registry::Refusal;
use seatbeat_ledger::review::{self, LicenceState};
use seatbeat_ledger::statement::Line;
use seatbeat_proto::ids::{CustomerId, LicenceId, MachineId, ProductId};
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{LicenceAdded, LicenceAllotted, LicenceRevealed, LicenceWithdrawn};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Console;
use super::auth::Caller;
use super::command::checked_reason;
use super::fault::Fault;
use super::named::Around;
use crate::books::Books;
use crate::jobs::close;
use crate::journal::Position;
use crate::vault::{VaultError, VaultRow};

pub mod file;

use file::{FILE, PRODUCTS, Row, code_mac, masked, read_rows};

/// What came of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicencesImported {
    /// The new licences, in the file's order; none when something is wrong or it was only asked.
    pub licences: Vec<LicenceId>,
    /// How many the file has.
    pub rows: usize,
    /// All that is wrong; nothing was added then.
    pub problems: Problems,
    /// The journal behind it; 0: nothing was written.
    pub position: u64,
}

/// A licence as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenceRow {
    /// Which one.
    pub licence: LicenceId,
    /// What it is for.
    pub product: ProductId,
    /// What it is billed as.
    pub sku: Sku,
    /// First and last letters of its activation code; empty: a subscription without one.
    pub code: String,
    /// Seats of the block.
    pub seats: u32,
    /// Of them, those that somebody holds.
    pub allotted: u32,
    /// Of them, those that nobody holds.
    pub free: u32,
    /// When it was added.
    pub added_at: Timestamp,
    /// Who holds seats of it.
    pub holders: Vec<HolderRow>,
}

/// Who holds seats of a licence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderRow {
    /// Which customer.
    pub customer: CustomerId,
    /// For which of its machines; none: for any.
    pub machine: Option<MachineId>,
    /// How many.
    pub seats: u32,
    /// Since when.
    pub since: Timestamp,
}

/// What a customer holds and uses of a SKU in the running month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingRow {
    /// Which customer.
    pub customer: CustomerId,
    /// Which SKU.
    pub sku: Sku,
    /// Seats that it holds.
    pub allotted: u64,
    /// Seats that are counted.
    pub used: u64,
    /// Seats that run and that nobody gave it.
    pub beyond: u64,
}

/// Licences, and what runs of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenceList {
    /// By id.
    pub licences: Vec<LicenceRow>,
    /// By customer and SKU, of SKUs that there are licences of.
    pub holdings: Vec<HoldingRow>,
}

/// An activation code, in clear.
pub struct Revealed {
    /// The code.
    pub code: Zeroizing<String>,
    /// The journal behind the record of it.
    pub position: Position,
}

impl Console {
    /// Adds the licences of a CSV file (`product, sku, seats`, and `code` where there are activation codes), all or,
    /// when something is wrong with one of them or on a dry run, none.
    ///
    /// # Errors
    /// When it cannot be written. What is wrong with the file is in the answer.
    pub async fn import_licences(
        &self,
        caller: &Caller,
        csv: &[u8],
        dry_run: bool,
        reason: &str,
    ) -> Result<LicencesImported, Fault> {
        checked_reason(reason)?;
        // One at a time: what is there already is looked up before it is written.
        let _one_at_a_time = self.adding.lock().await;
        let (rows, problems) = self.checked_rows(csv)?;
        let mut imported = LicencesImported { rows: rows.len(), problems, ..LicencesImported::default() };
        if dry_run || rows.is_empty() || !imported.problems.is_empty() {
            return Ok(imported);
        }
        let rows: Vec<_> = rows.into_iter().map(|row| (LicenceId::random(), row)).collect();
        let salt = *self.books.keys().salt();
        let facts = rows.iter().map(|(licence, row)| {
            Fact::LicenceAdded(LicenceAdded {
                licence: licence.to_string(),
                product: row.product.to_string(),
                sku: row.sku.to_string(),
                seats: row.seats,
                code_mac: row.code.as_ref().map(|code| code_mac(&salt, code).to_vec()).unwrap_or_default(),
            })
        });
        let facts = facts.collect();
        imported.licences = rows.iter().map(|(licence, _)| licence.clone()).collect();
        let books = self.books.clone();
        tokio::task::spawn_blocking(move || put_codes(&books, &rows)).await??;
        imported.position = self.books.write_all(caller, reason, facts).await?.0;
        Ok(imported)
    }

    fn checked_rows(&self, csv: &[u8]) -> Result<(Vec<Row>, Problems), Fault> {
        let (now, salt) = (self.books.clock().now(), *self.books.keys().salt());
        let (read, mut problems) = read_rows(csv);
        let (around, licences) = self.books.read(|fold| (Around::of(fold, now), Arc::clone(fold.licences())));
        let named = around.named()?;
        let mut seen = BTreeSet::new();
        let mut rows = Vec::new();
        for (line, row) in read {
            if let Err(fault) = named.sku(row.sku.as_str()) {
                problems.note(FILE, line, fault.words());
            }
            if !named.has_product(&row.product) {
                problems.note_with(FILE, line, format!("`{}` is no product", row.product), Some(PRODUCTS));
            }
            if let Some(mac) = row.code.as_ref().map(|code| code_mac(&salt, code)) {
                if !seen.insert(mac) {
                    problems.note(FILE, line, "the code stands in the file twice");
                }
                if let Some(known) = licences.with_code(&mac) {
                    problems.note(FILE, line, format!("the code is there already, as {known}"));
                }
            }
            rows.push(row);
        }
        Ok((rows, problems))
    }

    /// Licences and who holds seats of them, and what customers hold and use in the running month.
    ///
    /// # Errors
    /// When the position is not known here in time, or the month cannot be computed.
    pub async fn licences(
        &self,
        customer: Option<CustomerId>,
        sku: &str,
        after: u64,
    ) -> Result<LicenceList, Fault> {
        self.books.reached(after).await?;
        let period = close::running_period(&self.books);
        let closing = self.closing.clone();
        let month = tokio::task::spawn_blocking(move || closing.lately(period, after)).await??;
        let mut used: BTreeMap<(CustomerId, Sku), u64> = BTreeMap::new();
        for line in &month.output.statement.lines {
            used.insert((line.customer.clone(), line.sku.clone()), line.measured.rounded_up());
        }
        let is_asked = |one: &CustomerId| customer.as_ref().is_none_or(|asked| asked == one);
        let is_sku = |one: &Sku| sku.is_empty() || one.as_str() == sku;
        let licences = self.books.read(|fold| Arc::clone(fold.licences()));
        let rows = licences.in_force().filter(|(_, licence)| is_sku(&licence.sku)).filter(|(_, licence)| {
            customer.is_none() || licence.holders().any(|(holder, _)| is_asked(&holder.customer))
        });
        let rows = rows.map(|(id, licence)| self.licence_row(id, licence)).collect::<Result<_, _>>()?;
        let holdings = holdings(&licences, &used)
            .into_iter()
            .filter(|one| is_asked(&one.customer) && is_sku(&one.sku))
            .map(|one| HoldingRow {
                beyond: one.beyond(),
                customer: one.customer,
                sku: one.sku,
                allotted: one.allotted,
                used: one.used,
            });
        Ok(LicenceList { licences: rows, holdings: holdings.collect() })
    }

    fn licence_row(&self, id: &LicenceId, licence: &Licence) -> Result<LicenceRow, Fault> {
        let code = match licence.code_mac {
            Some(_) => self.code_of(id)?.map_or_else(|| "erased".to_owned(), |code| masked(&code)),
            None => String::new(),
        };
        let holder = |(holder, held): (&Holder, &Held)| HolderRow {
            customer: holder.customer.clone(),
            machine: holder.machine.clone(),
            seats: held.seats,
            since: held.since,
        };
        Ok(LicenceRow {
            licence: id.clone(),
            product: licence.product.clone(),
            sku: licence.sku.clone(),
            code,
            seats: licence.seats,
            allotted: licence.allotted(),
            free: licence.free(),
            added_at: licence.added_at,
            holders: licence.holders().map(holder).collect(),
        })
    }

    /// Which licences lines have, and since when they are on or suspended.
    pub(super) fn licences_of(&self, lines: &[Line], period: Period) -> Result<Vec<LicenceState>, Fault> {
        let mut states =
            self.books.read(|fold| review::licences(fold.usage(), fold.licences(), lines, period));
        self.put_codes_in(&mut states)?;
        Ok(states)
    }

    /// Puts the masked codes in.
    pub(super) fn put_codes_in(&self, states: &mut [LicenceState]) -> Result<(), Fault> {
        for held in states.iter_mut().flat_map(|state| &mut state.held) {
            held.code = self.code_of(&held.licence)?.map_or_else(String::new, |code| masked(&code));
        }
        Ok(())
    }

    fn code_of(&self, licence: &LicenceId) -> Result<Option<Zeroizing<String>>, Fault> {
        let code = self.books.vault().get(VaultRow::LicenceCode(licence))?;
        Ok(code.map(|code| Zeroizing::new(String::from_utf8_lossy(&code).into_owned())))
    }

    /// Gives seats to a customer or one of its machines, moves or takes them back.
    ///
    /// # Errors
    /// When somebody in it is not known, there are not so many seats, or it cannot be written.
    pub async fn allot_licence(
        &self,
        caller: &Caller,
        change: LicenceAllotted,
        reason: &str,
    ) -> Result<Position, Fault> {
        let licence: LicenceId = change.licence.parse()?;
        self.act(caller, &licence, Fact::LicenceAllotted(change), reason).await
    }

    /// Takes a licence out of use: nobody holds seats of it any more. Its code is erased.
    ///
    /// # Errors
    /// When it is not known, or it cannot be written.
    pub async fn withdraw_licence(
        &self,
        caller: &Caller,
        licence: LicenceId,
        reason: &str,
    ) -> Result<Position, Fault> {
        let fact = Fact::LicenceWithdrawn(LicenceWithdrawn { licence: licence.to_string() });
        let position = self.act(caller, &licence, fact, reason).await?;
        let books = self.books.clone();
        tokio::task::spawn_blocking(move || books.vault().delete(VaultRow::LicenceCode(&licence))).await??;
        Ok(position)
    }

    /// The activation code of a licence; that it was shown, to whom and why, is on record before it is.
    ///
    /// # Errors
    /// When it is not known, has none, no reason is given, or it cannot be written.
    pub async fn reveal_licence(
        &self,
        caller: &Caller,
        licence: LicenceId,
        reason: &str,
    ) -> Result<Revealed, Fault> {
        if reason.trim().is_empty() {
            return Err(Fault::value("the reason", "is missing: who is shown a code says why"));
        }
        let fact = Fact::LicenceRevealed(LicenceRevealed { licence: licence.to_string() });
        let Some(code) = self.code_of(&licence)? else {
            self.books.read(|fold| refused(fold, &licence, &fact))?;
            return Err(Fault::value("the licence", format!("{licence} has no activation code")));
        };
        let position = self.act(caller, &licence, fact, reason).await?;
        Ok(Revealed { code, position })
    }

    /// Writes what somebody does with a licence. What the fold would refuse is refused before; who comes between the
    /// two is told by the fold at the record's position.
    async fn act(
        &self,
        caller: &Caller,
        licence: &LicenceId,
        fact: Fact,
        reason: &str,
    ) -> Result<Position, Fault> {
        let _one_at_a_time = self.adding.lock().await;
        self.books.read(|fold| refused(fold, licence, &fact))?;
        self.write(caller, reason, fact).await
    }
}

/// Why the fold would not take it now.
fn refused(fold: &Fold, licence: &LicenceId, fact: &Fact) -> Result<(), Fault> {
    let Some(known) = fold.licences().get(licence) else {
        return Err(Fault::UnknownLicence(licence.clone()));
    };
    let Fact::LicenceAllotted(change) = fact else { return Ok(()) };
    let (from, to) = (holder(fold, change.from.as_ref())?, holder(fold, change.to.as_ref())?);
    let seats = Move { from, to, seats: change.seats };
    if let Some(Holder { customer, machine: Some(machine) }) = &seats.to {
        let owner = fold.registry().machine(machine).map(|machine| machine.customer.clone());
        match owner {
            None => return Err(Fault::UnknownMachine(machine.clone())),
            Some(owner) if owner != *customer => {
                let why = format!("`{machine}` is a machine of {owner}, not of {customer}");
                return Err(Fault::value("`machine`", why));
            }
            Some(_) => {}
        }
    }
    let mut tried = known.clone();
    tried.allot(&seats, known.added_at).map_err(|refusal| why_not(licence, known, &seats, refusal))
}

/// Why seats do not change hands, for whoever asked.
fn why_not(id: &LicenceId, licence: &Licence, seats: &Move, refusal: Refusal) -> Fault {
    let Move { from, to, seats: asked } = seats;
    if refusal == Refusal::Malformed {
        return match asked {
            0 => Fault::value("`seats`", "has to be at least 1"),
            _ => Fault::value("`to`", "is who holds them already"),
        };
    }
    let there = licence.seats_of(from.as_ref());
    if let Some(Holder { machine: Some(machine), .. }) = to
        && there >= *asked
    {
        return Fault::SeatsTaken(format!("{machine} can hold one seat of {id} and no more"));
    }
    let whose = from.as_ref().map_or("nobody holds".to_owned(), |from| format!("{} holds", from.customer));
    Fault::SeatsTaken(format!(
        "{whose} {there} of the {} seats of {id}: {asked} were asked for",
        licence.seats
    ))
}

fn holder(fold: &Fold, holder: Option<&wire::LicenceHolder>) -> Result<Option<Holder>, Fault> {
    let Some(holder) = holder else { return Ok(None) };
    let customer: CustomerId = holder.customer.parse()?;
    if !fold.registry().has_customer(&customer) {
        return Err(Fault::UnknownCustomer(customer));
    }
    let machine = if holder.machine.is_empty() { None } else { Some(holder.machine.parse::<MachineId>()?) };
    Ok(Some(Holder { customer, machine }))
}

fn put_codes(books: &Books, rows: &[(LicenceId, Row)]) -> Result<(), VaultError> {
    let codes: Vec<_> = rows
        .iter()
        .filter_map(|(id, row)| Some((VaultRow::LicenceCode(id), row.code.as_ref()?.as_bytes())))
        .collect();
    books.vault().put_all(&codes)
}

impl From<LicencesImported> for wire::LicenceImportReply {
    fn from(imported: LicencesImported) -> Self {
        Self { json: super::wire_rows::json(&imported) }
    }
}

impl From<LicenceList> for wire::LicenceList {
    fn from(list: LicenceList) -> Self {
        Self { json: super::wire_rows::json(&list) }
    }
}

impl From<Revealed> for wire::LicenceCode {
    fn from(revealed: Revealed) -> Self {
        Self { code: revealed.code.as_str().to_owned(), position: revealed.position.0 }
    }
}
