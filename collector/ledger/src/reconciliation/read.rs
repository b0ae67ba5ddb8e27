//! A distributor's invoice as a CSV file: its own columns into amounts by customer and SKU. Invariant: nothing is
//! guessed: whoever or whatever a row names is one customer and one SKU that are known, or the row is told.

use std::collections::{BTreeMap, BTreeSet};

use csv::StringRecord;
use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use super::{Key, Theirs};
use crate::cells;
use crate::currency::minor_digits;
use crate::mapping::Mapping;
use crate::money::{Decimal, Quantity};
use crate::prices::read::{File, Problems, Reading, sheet};
use crate::record::Sku;

/// Bytes of an invoice: some 100,000 lines, of a reseller with thousands of customers.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest amount of a row, in whole units of the currency: beyond it is a typing error.
const AMOUNT_MAX: i128 = 1_000_000_000;

/// What a distributor's columns are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Whose.
    pub customer: String,
    /// Of what.
    pub sku: String,
    /// How many.
    pub quantity: String,
    /// Billed for it.
    pub amount: String,
    /// In which currency; instead of it `all_in` may say it.
    #[serde(default)]
    pub currency: Option<String>,
    /// The currency of all rows, where no column has it.
    #[serde(default)]
    pub all_in: Option<String>,
    /// Article numbers of the distributor's, and the SKUs that they are.
    #[serde(default)]
    pub skus: BTreeMap<String, Sku>,
}

/// Who and what a row may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Customers that are known.
    pub customers: BTreeSet<CustomerId>,
    /// What the reseller's books call them.
    pub refs: BTreeMap<String, BTreeSet<CustomerId>>,
    /// What mappings call them.
    pub mapped: BTreeMap<String, BTreeSet<CustomerId>>,
    /// Their names.
    pub names: BTreeMap<String, BTreeSet<CustomerId>>,
    /// SKUs that are known.
    pub skus: BTreeSet<Sku>,
    /// What mappings call them.
    pub mapped_skus: BTreeMap<String, BTreeSet<Sku>>,
    /// Currencies of the sealed statement.
    pub currencies: BTreeSet<String>,
}

/// What an invoice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Of all its amounts.
    pub currency: String,
    /// By line.
    pub rows: BTreeMap<Key, Theirs>,
}

impl Columns {
    /// Of a TOML text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let columns: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        match (&columns.currency, &columns.all_in) {
            (Some(_), Some(_)) => Err("it has `currency` and `all_in`: one of them says it".to_owned()),
            (None, None) => {
                Err("it says nothing of the currency: `currency = \"COLUMN\"`, or `all_in = \"EUR\"`"
                    .to_owned())
            }
            (None, Some(code)) if minor_digits(code).is_none() => {
                Err(format!("`all_in` is `{code}`, which is no currency of ISO 4217"))
            }
            _ => Ok(columns),
        }
    }
}

impl Directory {
    /// What somebody is called in one of these ways; texts of nothing are left out.
    pub fn call<T: Ord>(names: &mut BTreeMap<String, BTreeSet<T>>, text: &str, one: T) {
        let text = folded(text);
        if !text.is_empty() {
            names.entry(text).or_default().insert(one);
        }
    }

    /// What a destination's mapping calls customers and SKUs.
    pub fn take_mapping(&mut self, mapping: &Mapping) {
        for ((customer, sku), fields) in mapping {
            for value in fields.values() {
                Self::call(&mut self.mapped, value, customer.clone());
                Self::call(&mut self.mapped_skus, value, sku.clone());
            }
        }
    }

    fn customer(&self, text: &str) -> Said<CustomerId> {
        if let Some(known) = text.parse().ok().and_then(|id: CustomerId| self.customers.get(&id)) {
            return Ok(known.clone());
        }
        let folded = folded(text);
        for names in [&self.refs, &self.mapped, &self.names] {
            match names.get(&folded).map(|known| known.iter().collect::<Vec<_>>()).as_deref() {
                Some([one]) => return Ok((*one).clone()),
                Some([one, other, ..]) => {
                    return Err((
                        format!("customer `{text}` is more than one: {one}, {other}"),
                        Some("`seatbeat customers set CUSTOMER --ref TEXT` says which one it is"),
                    ));
                }
                _ => {}
            }
        }
        Err((
            format!("customer `{text}` is not known here"),
            Some("`seatbeat customers set CUSTOMER --ref TEXT` says what your books call one"),
        ))
    }

    fn sku(&self, text: &str, columns: &Columns) -> Said<Sku> {
        if let Some(sku) = columns.skus.get(text) {
            return match self.skus.contains(sku) {
                true => Ok(sku.clone()),
                false => Err((format!("SKU `{sku}`, which `{text}` stands for, is not known here"), None)),
            };
        }
        if let Some(known) = text.parse().ok().and_then(|sku: Sku| self.skus.get(&sku)) {
            return Ok(known.clone());
        }
        let mapped = self.mapped_skus.get(&folded(text)).filter(|known| known.len() == 1);
        match mapped.and_then(BTreeSet::first) {
            Some(sku) => Ok(sku.clone()),
            None => Err((
                format!("SKU `{text}` is not known here"),
                Some("say what it is in the columns file: [skus], then `\"ARTICLE\" = \"SKU\"`"),
            )),
        }
    }
}

fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

type Said<T> = Result<T, (String, Option<&'static str>)>;

/// What an invoice says; or all that is wrong with it.
///
/// # Errors
/// When anything is.
pub fn invoice(
    file: &File,
    columns: &Columns,
    directory: &Directory,
    reading: Reading,
) -> Result<Invoice, Problems> {
    let mut problems = Problems::default();
    let read = read(file, columns, directory, reading, &mut problems);
    match read {
        Some(invoice) if problems.is_empty() => Ok(invoice),
        _ => Err(problems),
    }
}

fn read(
    file: &File,
    columns: &Columns,
    directory: &Directory,
    reading: Reading,
    problems: &mut Problems,
) -> Option<Invoice> {
    let sheet = sheet(file, problems)?;
    let places = Places::of(file, &sheet.head, columns, problems)?;
    let mut reader = Reader { columns, directory, reading, places, currency: columns.all_in.clone() };
    let mut rows: BTreeMap<Key, (u64, Theirs)> = BTreeMap::new();
    if let Some(Err((what, hint))) = reader.currency.as_deref().map(|code| reader.is_taken(code)) {
        problems.note_with(&file.name, 0, what, hint);
        return None;
    }
    for (line, row) in &sheet.rows {
        match reader.row(row) {
            Ok((key, theirs)) => match rows.get(&key) {
                Some((first, _)) => {
                    let what = format!("SKU `{}` of {} is in line {first} already", key.1, key.0);
                    problems.note_with(&file.name, *line, what, Some("add the rows of a line up to one"));
                }
                None => _ = rows.insert(key, (*line, theirs)),
            },
            Err((what, hint)) => problems.note_with(&file.name, *line, what, hint),
        }
    }
    let rows = rows.into_iter().map(|(key, (_, theirs))| (key, theirs)).collect();
    Some(Invoice { currency: reader.currency?, rows })
}

/// Where the columns stand.
struct Places {
    customer: usize,
    sku: usize,
    quantity: usize,
    amount: usize,
    currency: Option<usize>,
}

impl Places {
    fn of(
        file: &File,
        (line, head): &(u64, StringRecord),
        columns: &Columns,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut place = |name: &str| {
            let found: Vec<usize> = head
                .iter()
                .enumerate()
                .filter(|(_, cell)| folded(cells::unguarded(cell)) == folded(name))
                .map(|(index, _)| index)
                .collect();
            match found.as_slice() {
                [one] => return Some(*one),
                [] => {
                    let there: Vec<String> = head.iter().map(|cell| format!("`{cell}`")).collect();
                    let what = format!("it has no column `{name}`; there are {}", there.join(", "));
                    let hint = "the columns file says what each column is called";
                    problems.note_with(&file.name, *line, what, Some(hint));
                }
                _ => problems.note(&file.name, *line, format!("column `{name}` is there twice")),
            }
            None
        };
        let (customer, sku) = (place(&columns.customer), place(&columns.sku));
        let (quantity, amount) = (place(&columns.quantity), place(&columns.amount));
        let currency = columns.currency.as_deref().map(&mut place);
        Some(Self {
            customer: customer?,
            sku: sku?,
            quantity: quantity?,
            amount: amount?,
            currency: match currency {
                Some(place) => Some(place?),
                None => None,
            },
        })
    }
}

struct Reader<'a> {
    columns: &'a Columns,
    directory: &'a Directory,
    reading: Reading,
    places: Places,
    /// Of all rows; none before the first.
    currency: Option<String>,
}

impl Reader<'_> {
    fn row(&mut self, row: &StringRecord) -> Said<(Key, Theirs)> {
        let cell = |place: usize| cells::unguarded(row.get(place).unwrap_or_default());
        let code = self.places.currency.map(cell);
        let customer = self.directory.customer(cell(self.places.customer))?;
        let sku = self.directory.sku(cell(self.places.sku), self.columns)?;
        let (quantity, amount) = (cell(self.places.quantity), cell(self.places.amount));
        let currency = self.currency_of(code)?;
        let quantity: Quantity = self.reading.spelt("quantity", quantity)?.parse().map_err(|_| {
            (format!("quantity `{quantity}` is not a plain number with at most 2 decimals"), None)
        })?;
        let amount = self.amount(amount, &currency)?;
        Ok(((customer, sku), Theirs { quantity: Some(quantity), used: None, amount: Some(amount) }))
    }

    fn currency_of(&mut self, cell: Option<&str>) -> Said<String> {
        let Some(code) = cell else { return Ok(self.currency.clone().unwrap_or_default()) };
        match &self.currency {
            Some(first) if first != code => {
                Err((format!("it is in `{code}`, the rows before it are in {first}"), Some(ONE_CURRENCY)))
            }
            Some(first) => Ok(first.clone()),
            None => {
                self.is_taken(code)?;
                self.currency = Some(code.to_owned());
                Ok(code.to_owned())
            }
        }
    }

    /// Whether an invoice in a currency can be compared with what was sealed.
    fn is_taken(&self, code: &str) -> Said<()> {
        let sealed = &self.directory.currencies;
        if minor_digits(code).is_none() {
            return Err((format!("`{code}` is no currency of ISO 4217"), None));
        }
        if sealed.is_empty() || (sealed.len() == 1 && sealed.contains(code)) {
            return Ok(());
        }
        let sealed: Vec<&str> = sealed.iter().map(String::as_str).collect();
        Err((
            format!("it is in {code}, the statement was sealed in {}", sealed.join(" and ")),
            Some(ONE_CURRENCY),
        ))
    }

    fn amount(&self, text: &str, currency: &str) -> Said<Decimal> {
        let digits = minor_digits(currency).unwrap_or_default();
        let spelt = self.reading.spelt("amount", text)?;
        let amount: Decimal = spelt.parse().map_err(|_| {
            (format!("amount `{text}` is not a plain number such as 128.00, or -3.20 for a credit"), None)
        })?;
        let in_digits = Decimal::zero(digits).plus(amount).ok().and_then(|sum| sum.rescaled(digits).ok());
        let Some(mantissa) = in_digits else {
            return Err((format!("amount `{text}` has more than the {digits} decimals of {currency}"), None));
        };
        if mantissa.abs() / 10i128.pow(digits) >= AMOUNT_MAX {
            return Err((format!("amount `{text}` is not below 10^9"), None));
        }
        Decimal::rounded(mantissa, 1, digits, digits).map_err(|error| (error.to_string(), None))
    }
}

const ONE_CURRENCY: &str = "amounts of two currencies are not compared: an invoice is in the statement's one";

#[cfg(test)]
mod tests;
