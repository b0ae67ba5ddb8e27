//! A distributor's invoice, from a file. Invariant: it is taken whole or not at all; whom a row means is found by what
//! is known here, and names stay out of the journal.

use std::collections::BTreeSet;
use std::sync::Arc;

use seatbeat_ledger::body::SealedBody;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::prices::read::{File, Problems, Reading};
use seatbeat_ledger::reconciliation::compare::sealed_body;
use seatbeat_ledger::reconciliation::read::{BYTES_MAX, Columns, Directory, Invoice, invoice};
use seatbeat_ledger::reconciliation::{Against, Set, Source, Unmapped, parts};
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};
use tonic::Streaming;

use super::{Compared, ReconcileQuery, sealed_for, write_set};
use crate::console::Console;
use crate::console::auth::Caller;
use crate::console::command::checked_reason;
use crate::console::fault::{Fault, period};
use crate::jobs::close::CloseError;

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceTaken {
    /// Whose invoice.
    pub distributor: String,
    /// Lines of it.
    pub lines: usize,
    /// All that is wrong; nothing was taken then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Problems>,
    /// Beside what was sealed, also of a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Whether it is on record by this import: not on a dry run, nor when it says what was known.
    pub is_new: bool,
    /// The journal behind it.
    pub position: u64,
}

/// What of a file was read, and beside what.
struct Checked {
    against: Against,
    invoice: Invoice,
    compared: Option<Compared>,
}

impl Console {
    /// Takes an invoice in.
    ///
    /// # Errors
    /// When the request is none, the month is not sealed, or it cannot be written. What is wrong with the file is in
    /// the answer.
    pub async fn import_invoice(
        &self,
        caller: &Caller,
        messages: Streaming<wire::InvoiceImport>,
    ) -> Result<InvoiceTaken, Fault> {
        let _one_at_a_time = self.importing.lock().await;
        let (terms, file) = order(messages).await?;
        checked_reason(&terms.reason)?;
        let (dry_run, reason) = (terms.dry_run, terms.reason.clone());
        let console = self.clone();
        let checking = move || console.checked(&terms, &file);
        let (distributor, checked) = tokio::task::spawn_blocking(checking).await??;
        let position = self.books.read(Fold::position);
        let Checked { against, invoice, compared } = match checked {
            Ok(checked) => checked,
            Err(problems) => {
                let problems = Some(problems);
                let (lines, compared, is_new) = (0, None, false);
                return Ok(InvoiceTaken { distributor, lines, problems, compared, is_new, position });
            }
        };
        let lines = invoice.rows.len();
        let facts = parts::invoiced(&against, &invoice.currency, invoice.rows.iter())
            .map_err(|error| Fault::value("the invoice", format!("is too long: {error}")))?;
        let written = match dry_run {
            true => None,
            false => write_set(&self.books, caller.into(), &reason, &against, facts).await?,
        };
        let (is_new, position) = (written.is_some(), written.unwrap_or(position));
        Ok(InvoiceTaken { distributor, lines, problems: None, compared, is_new, position })
    }

    /// Reads the file and compares what it says. Blocks while it does.
    fn checked(
        &self,
        terms: &wire::InvoiceTerms,
        file: &File,
    ) -> Result<(String, Result<Checked, Problems>), Fault> {
        let columns = Columns::parse(&terms.columns)
            .map_err(|why| Fault::value("the columns file", format!("cannot be used: {why}")))?;
        let fold = self.books.read(Fold::clone);
        let (period, source) = (period(&terms.period)?, Some(Source::Invoice));
        let distributor = Some(terms.distributor.clone()).filter(|name| !name.is_empty());
        let sealed = sealed_for(&fold, &ReconcileQuery { period, distributor, source })?;
        let [distributor] = sealed.as_slice() else {
            let why = format!("is missing: statements of {period} are sealed for {}", sealed.join(", "));
            return Err(Fault::value("`distributor`", why));
        };
        let body = sealed_body(&fold, period, distributor).map_err(CloseError::from)?;
        let Some((_, body)) = body else { return Err(CloseError::NotSealed(period).into()) };
        let directory = self.directory(&fold, distributor, &body)?;
        let reading = Reading { decimal_comma: terms.decimal_comma, ..Reading::default() };
        let invoice = match invoice(file, &columns, &directory, reading) {
            Ok(invoice) => invoice,
            Err(problems) => return Ok((distributor.clone(), Err(problems))),
        };
        let against = Against { period, distributor: distributor.clone(), source: Source::Invoice };
        let set = Set {
            digest: String::new(),
            currency: Some(invoice.currency.clone()),
            unmapped: Unmapped::default(),
            rows: Arc::new(invoice.rows.clone()),
            at: self.books.clock().now(),
            by: String::new(),
        };
        let compared = self.compared(&fold, &against, &set)?;
        Ok((distributor.clone(), Ok(Checked { against, invoice, compared })))
    }

    /// Who and what a row may name: by the ids here, the reseller's references, mappings and names.
    fn directory(&self, fold: &Fold, distributor: &str, body: &SealedBody) -> Result<Directory, Fault> {
        let policy = fold.terms().policy(body.period)?;
        let mut directory = Directory::default();
        for customer in fold.registry().customers() {
            let billing = self.customer_billing(customer)?;
            Directory::call(&mut directory.refs, &billing.customer_ref, customer.clone());
            Directory::call(&mut directory.names, &self.customer_name(customer)?, customer.clone());
            directory.customers.insert(customer.clone());
        }
        let of_distributor =
            self.config.destination.iter().filter(|(_, destination)| destination.distributor == distributor);
        for mapping in of_distributor.filter_map(|(name, _)| fold.mappings().of(name)) {
            directory.take_mapping(mapping);
        }
        let sealed: BTreeSet<_> = body.lines.iter().map(|line| line.sku.clone()).collect();
        let corrected = body.corrections.iter().map(|one| one.sku.clone());
        directory.skus = sealed.into_iter().chain(corrected).collect();
        directory.skus.extend(policy.default_sku.into_values());
        directory.skus.extend(policy.sku.into_keys().chain(policy.price.into_keys()));
        directory.currencies = body.lines.iter().filter_map(|line| line.currency.clone()).collect();
        Ok(directory)
    }
}

/// Takes a file in, message after message.
async fn order(mut messages: Streaming<wire::InvoiceImport>) -> Result<(wire::InvoiceTerms, File), Fault> {
    let (mut terms, mut bytes) = (None, Vec::new());
    let lost =
        |status: tonic::Status| Fault::value("the invoice", format!("did not arrive: {}", status.message()));
    while let Some(message) = messages.message().await.map_err(lost)? {
        if let Some(first) = message.terms {
            terms.get_or_insert(first);
        }
        bytes.extend(message.piece);
        if bytes.len() > BYTES_MAX {
            let why = format!("has more than {} MiB", BYTES_MAX / 1024 / 1024);
            return Err(Fault::value("the invoice", why));
        }
    }
    let terms: wire::InvoiceTerms =
        terms.ok_or_else(|| Fault::value("the invoice", "came without its terms"))?;
    let name = terms.file.clone();
    Ok((terms, File { name, bytes }))
}
