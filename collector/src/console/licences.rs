//! Licences: in from a file, given to customers and machines, shown with what runs of them. Invariant: an activation
//! code is in the vault before its licence is on record, leaves it for an operator by name only, and stands in no other
//! answer, record or log.

use std::collections::{BTreeMap, BTreeSet};

use csv::{ReaderBuilder, StringRecord, Trim};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::entitlements::{Held, Holder, Licence, holdings};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::prices::read::Problems;
use seatbeat_ledger::record::Sku;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::ids::{CustomerId, LicenceId, MachineId, ProductId};
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{LicenceAdded, LicenceAllotted, LicenceRevealed, LicenceWithdrawn};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Console;
use super::amend::known_sku;
use super::auth::Caller;
use super::command::checked_reason;
use super::fault::Fault;
use crate::books::Books;
use crate::jobs::close;
use crate::journal::Position;
use crate::vault::{VaultError, VaultRow};

/// Licences of one file: they are written as one group.
pub const LICENCES_MAX: usize = 400;

/// What the file is called in what is said of it.
const FILE: &str = "the file";

/// Most seats of a licence: more is a typing error.
const SEATS_MAX: u32 = 1_000_000;

/// Letters of an activation code in each of its parts.
const CODE_PARTS: [usize; 7] = [2, 4, 5, 5, 5, 5, 5];

/// Where products are found.
const PRODUCTS: &str =
    "products are those of `proto/catalogue/trend-micro.toml` and of the policy's `default_sku`";

/// Columns of a file; all but the last have to be there.
const COLUMNS: [&str; 4] = ["product", "sku", "seats", "code"];

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

/// A row of a file.
struct Row {
    product: ProductId,
    sku: Sku,
    seats: u32,
    code: Option<Zeroizing<String>>,
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
        imported.position = self.books.write_all(caller.0.as_str(), reason, facts).await?.0;
        Ok(imported)
    }

    fn checked_rows(&self, csv: &[u8]) -> Result<(Vec<Row>, Problems), Fault> {
        let (now, salt) = (self.books.clock().now(), *self.books.keys().salt());
        let (read, mut problems) = read_rows(csv);
        let mut seen = BTreeSet::new();
        let mut rows = Vec::new();
        for (line, row) in read {
            if let Err(fault) = self.books.read(|fold| known_sku(fold, row.sku.as_str(), now)) {
                problems.note(FILE, line, fault.words());
            }
            if !self.is_product(&row.product, now)? {
                problems.note_with(FILE, line, format!("`{}` is no product", row.product), Some(PRODUCTS));
            }
            if let Some(mac) = row.code.as_ref().map(|code| code_mac(&salt, code)) {
                if !seen.insert(mac) {
                    problems.note(FILE, line, "the code stands in the file twice");
                }
                if let Some(known) = self.books.read(|fold| fold.licences().with_code(&mac).cloned()) {
                    problems.note(FILE, line, format!("the code is there already, as {known}"));
                }
            }
            rows.push(row);
        }
        Ok((rows, problems))
    }

    /// Whether the catalogue knows it, or the policy has a SKU for it.
    fn is_product(&self, product: &ProductId, now: Timestamp) -> Result<bool, Fault> {
        if Catalogue::embedded().products.iter().any(|known| known.id == *product) {
            return Ok(true);
        }
        let (period, terms) = self
            .books
            .read(|fold| (Period::of_day(fold.usage().zone().usage_day(now)), fold.terms().clone()));
        let policy = terms.policy(period)?;
        Ok(policy.default_sku.contains_key(product))
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
        let output = tokio::task::spawn_blocking(move || closing.to_date(period)).await??;
        let mut used: BTreeMap<(CustomerId, Sku), u64> = BTreeMap::new();
        for line in &output.statement.lines {
            used.insert((line.customer.clone(), line.sku.clone()), line.measured.rounded_up());
        }
        let is_asked = |one: &CustomerId| customer.as_ref().is_none_or(|asked| asked == one);
        let is_sku = |one: &Sku| sku.is_empty() || one.as_str() == sku;
        let licences = self.books.read(|fold| fold.licences().clone());
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
        let no_code = || Fault::value("the licence", format!("{licence} has no activation code"));
        let code = self.code_of(&licence)?.filter(|code| !code.is_empty());
        let fact = Fact::LicenceRevealed(LicenceRevealed { licence: licence.to_string() });
        if self.books.read(|fold| fold.licences().get(&licence).is_some()) && code.is_none() {
            return Err(no_code());
        }
        let position = self.act(caller, &licence, fact, reason).await?;
        Ok(Revealed { code: code.ok_or_else(no_code)?, position })
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
    if change.seats == 0 {
        return Err(Fault::value("`seats`", "has to be at least 1"));
    }
    if from == to {
        return Err(Fault::value("`to`", "is who holds them already"));
    }
    if let Some(Holder { customer, machine: Some(machine) }) = &to {
        let owner = fold.registry().machine(machine).map(|machine| machine.customer.clone());
        match owner {
            None => return Err(Fault::UnknownMachine(machine.clone())),
            Some(owner) if owner != *customer => {
                let why = format!("`{machine}` is a machine of {owner}, not of {customer}");
                return Err(Fault::value("`machine`", why));
            }
            Some(_) => {}
        }
        if change.seats > 1 || known.holders().any(|(holder, _)| Some(holder) == to.as_ref()) {
            return Err(Fault::SeatsTaken(format!("{machine} can hold one seat of {licence} and no more")));
        }
    }
    let (there, whose) = match &from {
        Some(from) => {
            let held = known.holders().find(|(holder, _)| *holder == from).map_or(0, |(_, held)| held.seats);
            (held, format!("{} holds", from.customer))
        }
        None => (known.free(), "nobody holds".to_owned()),
    };
    if there < change.seats {
        let asked = change.seats;
        return Err(Fault::SeatsTaken(format!(
            "{whose} {there} of the {} seats of {licence}: {asked} were asked for",
            known.seats
        )));
    }
    Ok(())
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

/// Tells a code without being one.
fn code_mac(salt: &[u8; 32], code: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes a key of any length");
    mac.update(b"seatbeat licence code\0");
    mac.update(code.as_bytes());
    mac.finalize().into_bytes().into()
}

/// First and last letters of a code.
fn masked(code: &str) -> String {
    let letters: Vec<char> = code.chars().collect();
    let end = letters.len().saturating_sub(4);
    letters.iter().take(2).chain("-…-".chars().collect::<Vec<_>>().iter()).chain(&letters[end..]).collect()
}

/// The rows of a file that can be read, each with its line, and what is wrong with the others.
fn read_rows(csv: &[u8]) -> (Vec<(u64, Row)>, Problems) {
    let mut problems = Problems::default();
    let mut rows = Vec::new();
    if std::str::from_utf8(csv).is_err() {
        problems.note_with(FILE, 0, "the file is not UTF-8", Some("save it as CSV in UTF-8"));
        return (rows, problems);
    }
    let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv);
    let head = csv.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = if head.contains(&b';') { b';' } else { b',' };
    let mut reader = ReaderBuilder::new().delimiter(delimiter).trim(Trim::All).from_reader(csv);
    let Some(columns) = columns(&mut reader, &mut problems) else { return (rows, problems) };
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                match row(&record, &columns) {
                    Ok(row) => rows.push((line, row)),
                    Err(what) => problems.note(FILE, line, what),
                }
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                problems.note(FILE, line, "it has not as many cells as the first line");
            }
        }
    }
    if rows.len() > LICENCES_MAX {
        let words = format!("there are more than {LICENCES_MAX} licences in it");
        problems.note_with(FILE, 0, words, Some("cut it into several files"));
    }
    (rows, problems)
}

fn columns(reader: &mut csv::Reader<&[u8]>, problems: &mut Problems) -> Option<BTreeMap<String, usize>> {
    let head = reader.headers().ok()?.clone();
    let mut columns = BTreeMap::new();
    for (index, name) in head.iter().map(str::to_lowercase).enumerate() {
        if !COLUMNS.contains(&name.as_str()) {
            let known = format!("the columns are {}", COLUMNS.join(", "));
            problems.note_with(FILE, 1, format!("column `{name}` means nothing here"), Some(&known));
        } else if columns.insert(name.clone(), index).is_some() {
            problems.note(FILE, 1, format!("column `{name}` is there twice"));
        }
    }
    for name in &COLUMNS[..3] {
        if !columns.contains_key(*name) {
            problems.note(FILE, 1, format!("column `{name}` is missing"));
        }
    }
    problems.is_empty().then_some(columns)
}

fn row(record: &StringRecord, columns: &BTreeMap<String, usize>) -> Result<Row, String> {
    let cell = |name: &str| {
        let cell = columns.get(name).and_then(|index| record.get(*index)).unwrap_or_default();
        seatbeat_ledger::cells::unguarded(cell)
    };
    let product = cell("product");
    let parsed: ProductId = product.parse().map_err(|_| format!("`{product}` is no product"))?;
    if parsed.is_family() {
        return Err(format!("`{product}` is a family that could not be told apart, no product"));
    }
    let seats = cell("seats");
    let seats = seats.parse().ok().filter(|seats| (1..=SEATS_MAX).contains(seats)).ok_or_else(|| {
        format!("`{seats}` is no number of seats: a whole number from 1 to {SEATS_MAX} was expected")
    })?;
    let sku = cell("sku");
    let sku = sku.parse().map_err(|_| format!("`{sku}` is no SKU"))?;
    let code = cell("code").to_uppercase();
    if !code.is_empty() && !is_code(&code) {
        // A code that is nearly one is a secret all the same: it is not repeated.
        return Err("the code is none: two, four and five times five letters or digits were expected, \
                    with hyphens between"
            .to_owned());
    }
    Ok(Row { product: parsed, sku, seats, code: (!code.is_empty()).then(|| Zeroizing::new(code)) })
}

fn is_code(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == CODE_PARTS.len()
        && parts.iter().zip(CODE_PARTS).all(|(part, length)| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "WF-YEZ5-N2A97-CF68K-NE9QT-28NQ3-UEU5M";

    fn problems(csv: &str) -> Vec<(u64, String)> {
        read_rows(csv.as_bytes()).1.first.into_iter().map(|problem| (problem.line, problem.what)).collect()
    }

    #[test]
    fn a_file_is_read_with_either_separator_and_in_either_case() {
        for csv in [
            format!("product,sku,seats,code\ndsa,DS,25,{CODE}\nwfbs-svc,WF,5,\n"),
            format!(
                "\u{feff}SKU;Seats;Product;Code\r\nDS;25;dsa;{}\r\nWF;5;wfbs-svc;\r\n",
                CODE.to_lowercase()
            ),
        ] {
            let (rows, problems) = read_rows(csv.as_bytes());
            assert!(problems.is_empty(), "{problems:?}");
            let seen: Vec<_> = rows
                .iter()
                .map(|(line, row)| (*line, row.seats, row.code.as_ref().map(|code| code.as_str())))
                .collect();
            assert_eq!(seen, [(2, 25, Some(CODE)), (3, 5, None)]);
        }
    }

    #[test]
    fn each_fault_of_a_file_is_told_with_its_line() {
        let check = |csv: &str, line: u64, words: &str| {
            let found = problems(csv);
            assert!(found.iter().any(|(at, what)| *at == line && what.contains(words)), "{found:?}");
        };
        check("product,sku\ndsa,DS\n", 1, "column `seats` is missing");
        check("product,sku,seats,colour\ndsa,DS,1,red\n", 1, "column `colour` means nothing here");
        check("product,sku,seats,sku\ndsa,DS,1,DS\n", 1, "column `sku` is there twice");
        check("product,sku,seats\ndsa,DS,0\n", 2, "`0` is no number of seats");
        check("product,sku,seats\ndsa,DS,2.5\n", 2, "`2.5` is no number of seats");
        check("product,sku,seats\nfamily/x,DS,2\n", 2, "is a family");
        check("product,sku,seats\ndsa,,2\n", 2, "is no SKU");
        check("product,sku,seats\ndsa,DS\n", 2, "not as many cells");
        check("product,sku,seats,code\ndsa,DS,2,WF-YEZ5\n", 2, "the code is none");
        let many = format!("product,sku,seats\n{}", "dsa,DS,1\n".repeat(LICENCES_MAX + 1));
        check(&many, 0, "more than 400 licences");
        let (_, problems) = read_rows(b"product,sku,seats\nds\xe4,DS,1\n");
        assert_eq!(problems.first[0].what, "the file is not UTF-8");
    }

    #[test]
    fn a_code_that_is_wrong_is_not_repeated() {
        let nearly = &CODE[..CODE.len() - 1];
        let found = problems(&format!("product,sku,seats,code\ndsa,DS,2,{nearly}\n"));
        assert!(!found.is_empty() && found.iter().all(|(_, what)| !what.contains("YEZ5")), "{found:?}");
    }

    #[test]
    fn a_masked_code_keeps_six_letters() {
        assert_eq!(masked(CODE), "WF-…-EU5M");
        assert_eq!(masked("x"), "x-…-x");
    }

    #[test]
    fn a_code_is_told_by_its_salt_and_letters() {
        assert_eq!(code_mac(&[1; 32], CODE), code_mac(&[1; 32], CODE));
        assert_ne!(code_mac(&[1; 32], CODE), code_mac(&[2; 32], CODE));
        assert_ne!(code_mac(&[1; 32], CODE), code_mac(&[1; 32], "other"));
    }
}
