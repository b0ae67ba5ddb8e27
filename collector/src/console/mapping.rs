//! What destinations call customers and SKUs: in from a file, out as one, and suggested from what the far side lists.
//! Invariant: a file is taken whole or not at all; a suggestion is a row for a person to look at, never in force by
//! itself.

use std::collections::BTreeSet;

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::mapping::Fields;
use seatbeat_ledger::prices::read::Problems;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::statement::DEFAULT_DISTRIBUTOR;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, MappedField, MappingRow, MappingSet};
use serde::{Deserialize, Serialize};
use tonic::Streaming;

use super::Console;
use super::auth::Caller;
use super::command::checked_reason;
use super::fault::Fault;
use super::named::Around;
use super::prices::NamedFile;
use crate::distributor::connector::FarSubscription;
use crate::distributor::mapping_file::{Row, read, write, write_rows};
use crate::jobs::close::running_period;

/// Bytes of a file: more than its rows may ever have.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// Rows of a record: some 100 KiB.
const ROWS_PER_RECORD: usize = 500;

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingImported {
    /// All that is wrong; nothing is set then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Problems>,
    /// Rows that are new or other than before.
    pub set: u64,
    /// Rows that are gone.
    pub removed: u64,
    /// Rows that are as they were.
    pub same: u64,
    /// Where the journal stood behind it.
    pub position: u64,
}

impl From<MappingImported> for wire::MappingImportReply {
    fn from(row: MappingImported) -> Self {
        let json = serde_json::to_string(&row).expect("rows have text keys and plain values");
        Self { json, position: row.position }
    }
}

impl Console {
    /// Imports a mapping file.
    ///
    /// # Errors
    /// When there is no such destination, or it cannot be written. What is wrong with the file is in the answer.
    pub async fn import_mapping(
        &self,
        caller: &Caller,
        mut messages: Streaming<wire::MappingImport>,
    ) -> Result<MappingImported, Fault> {
        let _one_at_a_time = self.importing.lock().await;
        let broken = |_| Fault::value("the import", "broke off");
        let first = messages.message().await.map_err(broken)?.unwrap_or_default();
        let wire::MappingImport { destination, dry_run, reason, piece: mut csv } = first;
        while let Some(next) = messages.message().await.map_err(broken)? {
            csv.extend(next.piece);
            if csv.len() > BYTES_MAX {
                return Err(Fault::value("the file", format!("is longer than {BYTES_MAX} bytes")));
            }
        }
        checked_reason(&reason)?;
        let columns = self.desk(&destination)?.destination().connector.columns();
        let now = self.books.clock().now();
        let (customers, around) = self.books.read(|fold| {
            let customers: BTreeSet<CustomerId> = fold.registry().customers().cloned().collect();
            (customers, Around::of(fold, now))
        });
        let named = around.named()?;
        let is_known = |customer: &CustomerId, sku: &Sku| {
            if !customers.contains(customer) {
                return Err(format!("customer `{customer}` is not known here"));
            }
            named.sku(sku.as_str()).map(drop).map_err(|_| format!("SKU `{sku}` is not named in the policy"))
        };
        let mut imported = MappingImported { problems: None, set: 0, removed: 0, same: 0, position: 0 };
        let rows = match read(&csv, columns, is_known) {
            Ok(rows) => self.changed(&destination, rows, &mut imported),
            Err(problems) => return Ok(MappingImported { problems: Some(problems), ..imported }),
        };
        imported.position = self.books.read(Fold::position);
        if dry_run || rows.is_empty() {
            return Ok(imported);
        }
        let facts = rows.chunks(ROWS_PER_RECORD).map(|rows| fact(&destination, rows)).collect();
        imported.position = self.books.write_all(caller, &reason, facts).await?.0;
        Ok(imported)
    }

    /// The rows that change something.
    fn changed(&self, destination: &str, rows: Vec<Row>, imported: &mut MappingImported) -> Vec<Row> {
        let before = self.books.read(|fold| fold.mappings().of(destination).cloned()).unwrap_or_default();
        let mut changed = Vec::new();
        for (customer, sku, fields) in rows {
            let key = (customer, sku);
            let known = before.get(&key);
            if known == Some(&fields) || (known.is_none() && fields.is_empty()) {
                imported.same += 1;
                continue;
            }
            if fields.is_empty() {
                imported.removed += 1
            } else {
                imported.set += 1
            }
            changed.push((key.0, key.1, fields));
        }
        changed
    }

    /// A destination's mapping as a file that can be imported again.
    ///
    /// # Errors
    /// When there is no such destination, or the position is not known here in time.
    pub async fn export_mapping(&self, destination: &str, after: u64) -> Result<Vec<NamedFile>, Fault> {
        self.books.reached(after).await?;
        let columns = self.desk(destination)?.destination().connector.columns();
        let mapping = self.books.read(|fold| fold.mappings().of(destination).cloned()).unwrap_or_default();
        Ok(vec![NamedFile { name: format!("{destination}.csv"), bytes: write(&mapping, columns) }])
    }

    /// Rows for what is used and not mapped, filled where exactly one subscription of that customer and article is
    /// listed there.
    ///
    /// # Errors
    /// When there is no such destination, it lists none, or it does not answer.
    pub async fn suggest_mapping(&self, destination: &str, after: u64) -> Result<Vec<NamedFile>, Fault> {
        self.books.reached(after).await?;
        let desk = self.desk(destination)?.clone();
        let columns = desk.destination().connector.columns();
        let listed = desk.connector().subscriptions().await;
        let listed = listed.map_err(|error| {
            Fault::value("the destination", desk.scrub(&format!("does not answer: {error}")))
        })?;
        let Some(listed) = listed else {
            return Err(Fault::value("the destination", "lists no subscriptions: write its mapping by hand"));
        };
        let mapping = desk.mapping();
        let used = self.used_of(&desk.destination().distributor).await?;
        let (mut rows, mut notes) = (Vec::new(), Vec::new());
        for (customer, sku) in used {
            if mapping.contains_key(&(customer.clone(), sku.clone())) {
                continue;
            }
            let name = self.customer_name(&customer)?;
            let (fields, note) = suggestion(&name, &sku, &listed);
            rows.push((customer, sku, fields));
            notes.push(note);
        }
        if rows.is_empty() {
            notes.push(String::new());
        }
        let bytes = write_rows(rows.into_iter(), columns, &notes);
        Ok(vec![NamedFile { name: format!("{destination}.csv"), bytes }])
    }

    /// Customers and SKUs of a distributor's in the running month and the one before.
    async fn used_of(&self, distributor: &str) -> Result<BTreeSet<(CustomerId, Sku)>, Fault> {
        let running = running_period(&self.books);
        let mut used = BTreeSet::new();
        for period in [running.previous(), running] {
            let closing = self.closing.clone();
            let output = tokio::task::spawn_blocking(move || closing.so_far(period)).await??;
            let of = |line: &&seatbeat_ledger::statement::Line| {
                line.price.as_ref().map_or(DEFAULT_DISTRIBUTOR, |price| price.distributor.as_str())
                    == distributor
            };
            let lines = output.statement.lines.iter().filter(of);
            used.extend(lines.map(|line| (line.customer.clone(), line.sku.clone())));
        }
        Ok(used)
    }

    /// The distributor that a SKU is bought from in a month.
    ///
    /// # Errors
    /// When its policy is none.
    pub(super) fn distributor_of(&self, sku: &Sku, period: Period) -> Result<String, Fault> {
        let terms = self.books.read(|fold| fold.terms().clone());
        let policy = terms.policy(period)?;
        let group = policy.sku.get(sku).and_then(|rule| rule.price_group.as_ref());
        let group = group.and_then(|group| policy.price_group.get(group));
        Ok(group.map_or(DEFAULT_DISTRIBUTOR, |group| group.distributor.as_str()).to_owned())
    }
}

fn fact(destination: &str, rows: &[Row]) -> Fact {
    let field = |(name, value): (&String, &String)| MappedField { name: name.clone(), value: value.clone() };
    let row = |(customer, sku, fields): &Row| MappingRow {
        customer: customer.to_string(),
        sku: sku.to_string(),
        fields: fields.iter().map(field).collect(),
    };
    Fact::MappingSet(MappingSet { destination: destination.to_owned(), rows: rows.iter().map(row).collect() })
}

/// What a customer's SKU is called there, where that is certain, and a note on how it was found.
fn suggestion(customer: &str, sku: &Sku, listed: &[FarSubscription]) -> (Fields, String) {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let is_theirs = |one: &&FarSubscription| plain(&one.customer) == plain(customer) && !customer.is_empty();
    let is_it = |one: &&FarSubscription| one.product.iter().any(|text| plain(text) == plain(sku.as_str()));
    let theirs: Vec<&FarSubscription> = listed.iter().filter(is_theirs).collect();
    let found: Vec<&&FarSubscription> = theirs.iter().filter(|one| is_it(one)).collect();
    match found.as_slice() {
        [one] => (one.mapped.clone(), format!("found there for `{}`", one.customer)),
        [] if theirs.is_empty() => (Fields::new(), "nobody there is called as this customer is".to_owned()),
        [] => {
            let there: Vec<&str> =
                theirs.iter().filter_map(|one| one.product.first()).map(String::as_str).collect();
            (Fields::new(), format!("this customer has no such article there, but: {}", there.join(", ")))
        }
        several => {
            (Fields::new(), format!("{} subscriptions of this customer's are that article", several.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, customer: &str, product: &[&str]) -> FarSubscription {
        FarSubscription {
            mapped: [("subscription".to_owned(), id.to_owned())].into(),
            customer: customer.to_owned(),
            product: product.iter().map(|text| (*text).to_owned()).collect(),
            quantity: None,
        }
    }

    #[test]
    fn only_what_is_certain_is_suggested() {
        let all = [
            listed("1", "Acme, Inc.", &["Worry-Free Services", "WF-SVC"]),
            listed("2", "Acme Inc", &["Deep Security", "DS"]),
            listed("3", "Beta", &["WF-SVC"]),
            listed("4", "Beta", &["WF SVC"]),
        ];
        let of = |customer: &str, sku: &str| suggestion(customer, &sku.parse().unwrap(), &all);
        assert_eq!(of("ACME Inc", "WF-SVC").0["subscription"], "1");
        for (customer, sku, words) in [
            ("Beta", "WF-SVC", "2 subscriptions"),
            ("Acme Inc", "X", "no such article"),
            ("Gamma", "DS", "nobody"),
            ("", "DS", "nobody"),
        ] {
            let (fields, note) = of(customer, sku);
            assert!(fields.is_empty() && note.contains(words), "{note}");
        }
    }
}
