//! A set of rows as the records that carry it. Invariant: the same rows give the same records; no part is longer than
//! [`PART_BYTES_MAX`].

use prost::Message;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{InvoiceImported, InvoicedRow, ProvisionedNoted, ProvisionedRow, SetPart};

use super::{Against, Key, PARTS_MAX, Source, Theirs, Unmapped};
use crate::money::Quantity;
use crate::sealed::digest;

/// Bytes of the rows of one part: half of what a message may have, a fraction of a journal record.
pub const PART_BYTES_MAX: usize = 128 * 1024;

/// Bytes that frame a row beside its own.
const ROW_FRAME: usize = 8;

/// More rows than a set can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are more rows than {} MiB hold", PARTS_MAX as usize * PART_BYTES_MAX / 1024 / 1024)]
pub struct TooMany;

/// What a destination has on its books, as records. Of rows without a mapping only their number.
///
/// # Errors
/// When there are more than a set can have.
pub fn provisioned<'a>(
    against: &Against,
    rows: impl Iterator<Item = (&'a Key, &'a Theirs)>,
    unmapped: Unmapped,
) -> Result<Vec<Fact>, TooMany> {
    let row = |((customer, sku), theirs): (&Key, &Theirs)| ProvisionedRow {
        customer: customer.to_string(),
        sku: sku.to_string(),
        provisioned: theirs.quantity.map(Quantity::rounded_up),
        used: theirs.used,
    };
    let (set, packed) = packed(rows.map(row).collect(), &format!("{unmapped:?}"))?;
    let noted = |(part, rows)| {
        Fact::ProvisionedNoted(ProvisionedNoted {
            destination: match &against.source {
                Source::Destination(name) => name.clone(),
                Source::Invoice => String::new(),
            },
            distributor: against.distributor.clone(),
            period: against.period.to_string(),
            part: Some(part),
            rows,
            unmapped: unmapped.subscriptions,
            unmapped_seats: unmapped.seats,
        })
    };
    Ok(numbered(&set, packed).map(noted).collect())
}

/// What a distributor bills, as records.
///
/// # Errors
/// When there are more than a set can have.
pub fn invoiced<'a>(
    against: &Against,
    currency: &str,
    rows: impl Iterator<Item = (&'a Key, &'a Theirs)>,
) -> Result<Vec<Fact>, TooMany> {
    let row = |((customer, sku), theirs): (&Key, &Theirs)| InvoicedRow {
        customer: customer.to_string(),
        sku: sku.to_string(),
        quantity: theirs.quantity.unwrap_or_default().to_string(),
        amount: theirs.amount.map(|amount| amount.to_string()).unwrap_or_default(),
    };
    let (set, packed) = packed(rows.map(row).collect(), currency)?;
    let imported = |(part, rows)| {
        Fact::InvoiceImported(InvoiceImported {
            distributor: against.distributor.clone(),
            period: against.period.to_string(),
            currency: currency.to_owned(),
            part: Some(part),
            rows,
        })
    };
    Ok(numbered(&set, packed).map(imported).collect())
}

/// The digest that records carry of a set; none where it is none of them.
pub fn digest_in(fact: &Fact) -> Option<&str> {
    let part = match fact {
        Fact::ProvisionedNoted(noted) => noted.part.as_ref(),
        Fact::InvoiceImported(imported) => imported.part.as_ref(),
        _ => None,
    };
    part.map(|part| part.set.as_str())
}

/// Rows by part, and the digest over all of them.
fn packed<R: Message>(rows: Vec<R>, beside: &str) -> Result<(String, Vec<Vec<R>>), TooMany> {
    let mut said = beside.as_bytes().to_vec();
    let (mut packed, mut bytes) = (vec![Vec::new()], 0);
    for row in rows {
        said.extend(row.encode_length_delimited_to_vec());
        let length = row.encoded_len() + ROW_FRAME;
        if bytes > 0 && bytes + length > PART_BYTES_MAX {
            packed.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        packed.last_mut().expect("there is one from the start").push(row);
    }
    if packed.len() > PARTS_MAX as usize {
        return Err(TooMany);
    }
    Ok((digest(&said), packed))
}

fn numbered<R>(set: &str, packed: Vec<Vec<R>>) -> impl Iterator<Item = (SetPart, Vec<R>)> {
    let parts = u32::try_from(packed.len()).unwrap_or(u32::MAX);
    (0..parts).zip(packed).map(move |(part, rows)| (SetPart { set: set.to_owned(), part, parts }, rows))
}
