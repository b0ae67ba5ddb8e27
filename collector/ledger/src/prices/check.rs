//! From the rows of price list files to a price list that can be put in force. Invariant: what comes out names no
//! customer, price group or distributor that is not known, and each SKU, tier and sell price once; else nothing does.

use std::collections::{BTreeMap, BTreeSet};

use csv::StringRecord;
use seatbeat_proto::ids::CustomerId;

use super::read::{BYTES_MAX, File, Kind, Problems, Reading, Table, table};
use super::{Buyer, GroupTerms, PriceBook, PriceList, SkuTerms};
use crate::calendar::Period;
use crate::currency::minor_digits;
use crate::money::UnitPrice;
use crate::policy::{Count, Policy, PriceMode};
use crate::record::{QUANTITY_MAX, Sku, check_name};

/// Confirmed days that can be asked for: no month has more.
const MIN_DAYS_MAX: u32 = 31;

/// What becomes of SKUs that a distributor's earlier list had and its new one has not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gone {
    /// Nobody has said: the import is refused.
    #[default]
    Refuse,
    /// They stay as they are.
    Keep,
    /// They are taken out.
    Drop,
}

/// How an import is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// How the files are read.
    pub reading: Reading,
    /// What becomes of SKUs that are gone.
    pub gone: Gone,
    /// Distributors that nothing is bought from yet.
    pub new_distributors: BTreeSet<String>,
}

/// What an import is checked against.
pub struct Known<'a> {
    /// The price book as it is.
    pub book: &'a PriceBook,
    /// The policy of the month, the book laid over it.
    pub policy: &'a Policy,
    /// The month.
    pub from: Period,
    /// Whether a customer is known.
    pub is_customer: &'a dyn Fn(&CustomerId) -> bool,
}

/// A list that can be put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The list.
    pub list: PriceList,
    /// SKUs of the same distributors that it does not name.
    pub gone: Vec<Sku>,
}

/// The price list of these files; or all that is wrong with them.
///
/// # Errors
/// When anything is.
pub fn check(files: &[File], terms: &Terms, known: &Known<'_>) -> Result<Checked, Problems> {
    let mut problems = Problems::default();
    let length: usize = files.iter().map(|file| file.bytes.len()).sum();
    if files.is_empty() || length > BYTES_MAX {
        let name = files.first().map_or("", |file| &file.name);
        let what = if files.is_empty() { "no file was named".to_owned() } else { too_long(length) };
        problems.note(name, 0, what);
        return Err(problems);
    }
    let tables: Vec<Table> =
        files.iter().filter_map(|file| table(file, terms.reading, &mut problems)).collect();
    let mut import = Import { terms, known, problems, list: PriceList::default(), seen: BTreeMap::new() };
    for kind in [Kind::Skus, Kind::Tiers, Kind::Sell] {
        for table in tables.iter().filter(|table| table.kind == kind) {
            import.take(table);
        }
    }
    import.finish()
}

fn too_long(length: usize) -> String {
    format!("the files have {length} bytes, more than an import can have ({BYTES_MAX})")
}

/// Where something was said first.
#[derive(Clone)]
struct Place {
    file: String,
    line: u64,
}

struct Import<'a> {
    terms: &'a Terms,
    known: &'a Known<'a>,
    problems: Problems,
    list: PriceList,
    /// Where each key was said.
    seen: BTreeMap<String, Place>,
}

/// A row with what reads it; what is wrong with it is said of its line.
struct Row<'a> {
    table: &'a Table,
    line: u64,
    record: &'a StringRecord,
}

impl Row<'_> {
    fn cell(&self, column: &str) -> &str {
        self.table.cell(self.record, column)
    }
}

type Said<T> = Result<T, (String, Option<&'static str>)>;

fn wrong<T>(what: impl Into<String>) -> Said<T> {
    Err((what.into(), None))
}

impl Import<'_> {
    fn take(&mut self, table: &Table) {
        for (line, record) in &table.rows {
            let row = Row { table, line: *line, record };
            let taken = match table.kind {
                Kind::Skus => self.take_sku(&row),
                Kind::Tiers => self.take_tier(&row),
                Kind::Sell => self.take_price(&row),
            };
            if let Err((what, hint)) = taken {
                self.problems.note_with(&table.file, *line, what, hint);
            }
        }
    }

    /// Refuses what was said in an earlier row.
    fn once(&mut self, key: String, what: &str, row: &Row<'_>) -> Said<()> {
        if let Some(place) = self.seen.get(&key) {
            let at = if place.file == row.table.file { String::new() } else { format!(" of {}", place.file) };
            return wrong(format!("{what} is in line {}{at} already", place.line));
        }
        self.seen.insert(key, Place { file: row.table.file.clone(), line: row.line });
        Ok(())
    }

    fn take_sku(&mut self, row: &Row<'_>) -> Said<()> {
        let sku = sku(row.cell("sku"))?;
        self.once(format!("sku {sku}"), &format!("SKU `{sku}`"), row)?;
        let distributor = self.distributor(row.cell("distributor"))?;
        let currency = currency(row.cell("currency"))?;
        let cost = match row.cell("cost") {
            "" => None,
            text => Some(self.price("cost", text)?),
        };
        let group = match (row.cell("price_group"), &cost) {
            ("", None) => return wrong(format!("SKU `{sku}` has neither a price group nor a cost")),
            ("", Some(_)) => sku.to_string(),
            (name, _) => name.to_owned(),
        };
        check_name(&group, "a price group").or_else(|error| wrong(error.to_string()))?;
        let mode = mode(row.cell("mode"))?;
        self.take_group(row, &group, distributor, currency, mode, cost)?;
        if !row.cell("price").is_empty() {
            let price = self.price("price", row.cell("price"))?;
            self.once(sell_key(&sku, &Buyer::Everybody), &format!("the sell price of SKU `{sku}`"), row)?;
            self.list.sell.entry(sku.clone()).or_default().insert(Buyer::Everybody, Some(price));
        }
        let terms = SkuTerms {
            name: plain(row.cell("name"), "the name")?,
            unit: plain(row.cell("unit"), "the unit")?,
            count: count(row.cell("count"))?,
            min_days: min_days(row.cell("min_days"))?,
            free_first_month: yes(row.cell("free_first_month"))?,
            price_group: group,
        };
        self.list.skus.insert(sku, Some(terms));
        Ok(())
    }

    /// Notes a SKU's price group; all SKUs of one have to agree on it.
    fn take_group(
        &mut self,
        row: &Row<'_>,
        name: &str,
        distributor: &str,
        currency: &str,
        mode: Option<PriceMode>,
        cost: Option<UnitPrice>,
    ) -> Said<()> {
        let tiers: Vec<(u64, UnitPrice)> = cost.into_iter().map(|cost| (1, cost)).collect();
        let Some(group) = self.list.groups.get_mut(name) else {
            let (distributor, currency) = (distributor.to_owned(), currency.to_owned());
            let group = GroupTerms { distributor, currency, mode: mode.unwrap_or_default(), tiers };
            self.list.groups.insert(name.to_owned(), group);
            let place = Place { file: row.table.file.clone(), line: row.line };
            self.seen.insert(format!("group {name}"), place);
            return Ok(());
        };
        let line = self.seen.get(&format!("group {name}")).map_or(0, |place| place.line);
        let differs = |what: &str, here: &str, there: &str| {
            wrong(format!("price group `{name}` has {what} `{here}` here, but `{there}` in line {line}"))
        };
        if group.distributor != distributor {
            return differs("distributor", distributor, &group.distributor);
        }
        if group.currency != currency {
            return differs("currency", currency, &group.currency);
        }
        match (group.tiers.first(), tiers.first()) {
            (Some((_, there)), Some((_, here))) if here.value() != there.value() => {
                differs("cost", &here.to_string(), &there.to_string())
            }
            (None, Some(_)) => {
                group.tiers = tiers;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_tier(&mut self, row: &Row<'_>) -> Said<()> {
        let name = row.cell("price_group").to_owned();
        let from = match row.cell("from").parse::<u64>() {
            Ok(from) if from <= QUANTITY_MAX => from,
            _ => return wrong(format!("`from` is `{}`, not a whole number of units", row.cell("from"))),
        };
        let cost = self.price("cost", row.cell("cost"))?;
        let mode = mode(row.cell("mode"))?;
        let tiers = format!("tiers of {name}");
        if !self.seen.contains_key(&tiers) {
            self.begin_tiers(&name)?;
            self.seen.insert(tiers, Place { file: row.table.file.clone(), line: row.line });
        }
        let Some(group) = self.list.groups.get_mut(&name) else { return Ok(()) };
        if let Some((last, _)) = group.tiers.last()
            && *last >= from
        {
            return wrong(format!(
                "the tier from {from} of `{name}` comes after the one from {last}: tiers have to rise"
            ));
        }
        match mode {
            Some(mode) if group.tiers.is_empty() => group.mode = mode,
            Some(mode) if group.mode != mode => {
                return wrong(format!("price group `{name}` has another mode than in its first tier"));
            }
            _ => {}
        }
        group.tiers.push((from, cost));
        Ok(())
    }

    /// Before the first tier of a group: its SKUs in these files have said what it is, or the book knows it.
    fn begin_tiers(&mut self, name: &str) -> Said<()> {
        if let Some(group) = self.list.groups.get(name) {
            if !group.tiers.is_empty() {
                return wrong(format!("price group `{name}` has tiers here and a cost beside its SKUs"));
            }
            return Ok(());
        }
        let Some(known) = self.known.book.group(name, self.known.from) else {
            return wrong(format!("price group `{name}` is not known: no SKU is in it"));
        };
        self.list.groups.insert(name.to_owned(), GroupTerms { tiers: Vec::new(), ..known.clone() });
        Ok(())
    }

    fn take_price(&mut self, row: &Row<'_>) -> Said<()> {
        let sku = sku(row.cell("sku"))?;
        let buyer = match row.cell("customer") {
            "" => Buyer::Everybody,
            text => {
                let customer: CustomerId = text.parse().or_else(|error| wrong(format!("{error}")))?;
                if !(self.known.is_customer)(&customer) {
                    return Err((
                        format!("customer `{customer}` is not known here"),
                        Some("`seatbeat customers list` shows them"),
                    ));
                }
                Buyer::Customer(customer)
            }
        };
        self.once(sell_key(&sku, &buyer), &format!("the price of SKU `{sku}` to {buyer}"), row)?;
        let Some(bought_in) = self.bought_in(&sku) else {
            return wrong(format!("SKU `{sku}` is in no price list and in no policy"));
        };
        match (row.cell("currency"), bought_in) {
            ("", _) | (_, None) => {}
            (sold_in, Some(bought_in)) if sold_in != bought_in => {
                return wrong(format!("SKU `{sku}` is sold in {sold_in} here, but bought in {bought_in}"));
            }
            _ => {}
        }
        let price = match row.cell("price") {
            "" => None,
            text => Some(self.price("price", text)?),
        };
        self.list.sell.entry(sku).or_default().insert(buyer, price);
        Ok(())
    }

    /// In which currency a SKU is bought; the outer `None`: nobody knows the SKU.
    fn bought_in(&self, sku: &Sku) -> Option<Option<String>> {
        if let Some(Some(terms)) = self.list.skus.get(sku) {
            return Some(self.list.groups.get(&terms.price_group).map(|group| group.currency.clone()));
        }
        let policy = self.known.policy;
        let named = policy.sku.contains_key(sku)
            || policy.price.contains_key(sku)
            || policy.default_sku.values().any(|one| one == sku);
        named.then(|| policy.group(sku).map(|(_, group)| group.currency.clone()))
    }

    fn distributor<'r>(&self, name: &'r str) -> Said<&'r str> {
        check_name(name, "a distributor").or_else(|error| wrong(error.to_string()))?;
        let known = self.known.policy.price_group.values().any(|group| group.distributor == name);
        if known || self.terms.new_distributors.contains(name) {
            return Ok(name);
        }
        Err((
            format!("nothing is bought from distributor `{name}` yet"),
            Some("a new one is named with --new-distributor NAME; a wrong one gets a statement of its own"),
        ))
    }

    fn price(&self, what: &str, text: &str) -> Said<UnitPrice> {
        let spelt = self.terms.reading.spelt(what, text)?;
        if spelt.starts_with('-') {
            return wrong(format!("{what} `{text}` is negative"));
        }
        spelt
            .parse()
            .or_else(|_| wrong(format!("{what} `{text}` is not a plain number such as 2.10, up to 10^9")))
    }

    fn finish(mut self) -> Result<Checked, Problems> {
        self.complete_groups();
        let gone = self.gone();
        if !gone.is_empty() && self.terms.gone == Gone::Refuse {
            let shown: Vec<String> = gone.iter().take(5).map(|sku| format!("`{sku}`")).collect();
            let more = if gone.len() > shown.len() { " …" } else { "" };
            self.problems.note_with(
                "",
                0,
                format!(
                    "{} SKU(s) of the same distributor are not in the list any more: {}{more}",
                    gone.len(),
                    shown.join(", ")
                ),
                Some("--gone drop takes them out, --gone keep leaves them as they are"),
            );
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        if self.terms.gone == Gone::Drop {
            self.list.skus.extend(gone.iter().map(|sku| (sku.clone(), None)));
        }
        Ok(Checked { list: self.list, gone })
    }

    /// A group that only SKUs named has the tiers it had; one that never had any is told.
    fn complete_groups(&mut self) {
        let known = |name: &str| self.known.book.group(name, self.known.from);
        let (mut held, mut missing) = (Vec::new(), Vec::new());
        for (name, group) in self.list.groups.iter_mut().filter(|(_, group)| group.tiers.is_empty()) {
            match known(name) {
                Some(known) if known.distributor == group.distributor && known.currency == group.currency => {
                    held.push(name.clone());
                }
                Some(_) => {
                    missing.push((name.clone(), "changes its distributor or currency, which needs new tiers"))
                }
                None => missing.push((name.clone(), "has no tiers")),
            }
        }
        for name in held {
            self.list.groups.remove(&name);
        }
        for (name, what) in missing {
            let place = self.seen.get(&format!("group {name}")).cloned();
            let Place { file, line } = place.unwrap_or(Place { file: String::new(), line: 0 });
            self.problems.note_with(
                &file,
                line,
                format!("price group `{name}` {what}"),
                Some("give a `cost` beside the SKU, or a file with price_group, from, cost"),
            );
        }
    }

    /// SKUs in force of the distributors whose SKUs the list has, which it does not name.
    fn gone(&self) -> Vec<Sku> {
        if self.list.skus.is_empty() {
            return Vec::new();
        }
        let now = self.known.book.in_force(self.known.from);
        let distributor = |terms: &SkuTerms| {
            let group =
                self.list.groups.get(&terms.price_group).or_else(|| now.groups.get(&terms.price_group));
            group.map(|group| group.distributor.clone())
        };
        let listed: BTreeSet<String> = self.list.skus.values().flatten().filter_map(distributor).collect();
        let is_gone = |sku: &Sku, terms: &SkuTerms| {
            let held = now.groups.get(&terms.price_group);
            !self.list.skus.contains_key(sku) && held.is_some_and(|group| listed.contains(&group.distributor))
        };
        let named = now.skus.iter().filter_map(|(sku, terms)| Some((sku, terms.as_ref()?)));
        named.filter(|(sku, terms)| is_gone(sku, terms)).map(|(sku, _)| sku.clone()).collect()
    }
}

fn sell_key(sku: &Sku, buyer: &Buyer) -> String {
    format!("price {}\n{sku}", buyer.key())
}

fn sku(text: &str) -> Said<Sku> {
    text.parse().or_else(|error| wrong(format!("{error}")))
}

fn currency(code: &str) -> Said<&str> {
    match minor_digits(code) {
        Some(_) => Ok(code),
        None => wrong(format!("currency `{code}` is not one of ISO 4217")),
    }
}

fn plain(text: &str, what: &str) -> Said<String> {
    match text {
        "" => Ok(String::new()),
        text => match check_name(text, "") {
            Ok(()) => Ok(text.to_owned()),
            Err(_) => wrong(format!("{what} is not printable text of at most 200 bytes")),
        },
    }
}

/// The word of a policy, spelt with blanks or not; the default when it is not said.
fn word<T: serde::de::DeserializeOwned + Default>(text: &str, what: &str, words: &str) -> Said<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let spelt = text.to_lowercase().replace([' ', '-'], "_");
    let read = serde_json::from_value(serde_json::Value::String(spelt));
    read.map(Some).or_else(|_| wrong(format!("{what} `{text}` is none of {words}")))
}

fn count(text: &str) -> Said<Count> {
    Ok(word(text, "count rule", "high_water, distinct, month_end, average")?.unwrap_or_default())
}

fn mode(text: &str) -> Said<Option<PriceMode>> {
    word(text, "mode", "volume, graduated")
}

fn min_days(text: &str) -> Said<u32> {
    match (text, text.parse::<u32>()) {
        ("", _) => Ok(0),
        (_, Ok(days)) if days <= MIN_DAYS_MAX => Ok(days),
        _ => wrong(format!("`min_days` is `{text}`, not a number of days up to {MIN_DAYS_MAX}")),
    }
}

fn yes(text: &str) -> Said<bool> {
    match text.to_lowercase().as_str() {
        "" | "no" | "false" => Ok(false),
        "yes" | "true" => Ok(true),
        _ => wrong(format!("`free_first_month` is `{text}`, neither yes nor no")),
    }
}

#[cfg(test)]
mod tests;
