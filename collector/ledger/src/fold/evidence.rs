//! A machine's signed evidence, read once: the payload as it came becomes a value whose every field is valid.
//! Invariant: what parses here folds without an error; doors refuse what does not parse.

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::ids::{IdError, MachineId, OrderId, ProductId, ProductIdError, SpoolId};
use seatbeat_proto::instant::{self, InstantError};
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::{self, evidence};

use crate::orders::Told;
use crate::record::{self, SEQUENCE_MAX, Sighting, State};
use crate::registry::{Facts, LastReport, Product, SealKey, Seen};

/// Most products in one report: five times what one machine was ever seen to have of one vendor.
pub const PRODUCTS_MAX: usize = 200;

/// Longest text in a report, in bytes: versions and signals are short.
pub const TEXT_LENGTH_MAX: usize = 512;

/// Longest hashed fact in bytes: it is cut to 16 where it is made.
pub const FACT_LENGTH_MAX: usize = 32;

/// Most network addresses among the facts: servers have some ten.
pub const MACS_MAX: usize = 64;

/// One link of a machine's chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Who says it.
    pub machine: MachineId,
    /// In which chain.
    pub spool: SpoolId,
    /// Its place there, from 1.
    pub sequence: u64,
    /// Hash of the evidence before it; empty for the first.
    pub previous: Vec<u8>,
    /// Its own hash.
    pub hash: [u8; 32],
    /// The machine's clock, corrected.
    pub observed_at: Timestamp,
    /// The collector's clock.
    pub received_at: Timestamp,
    /// Newest checkpoint that the machine has seen; empty: none.
    pub checkpoint: String,
    /// What it says.
    pub body: Body,
}

/// What evidence says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Which products were found.
    Report(Report),
    /// What an order led to.
    OrderResult {
        /// Which order.
        order: OrderId,
        /// What it led to; none: nothing that this version knows.
        told: Option<Told>,
        /// What was seen, cut to [`TEXT_LENGTH_MAX`].
        detail: String,
    },
}

/// A report: for the count, and for whoever looks at the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The metering record.
    pub record: record::Report,
    /// The machine as it shows itself.
    pub seen: Box<Seen>,
}

/// A payload that is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Its bytes are none.
    #[error("the evidence cannot be decoded")]
    Undecodable(#[from] prost::DecodeError),
    /// It says nothing that this version knows.
    #[error("the evidence holds neither a report nor a result")]
    NoBody,
    /// Sequences start at 1, and stay exact in JSON.
    #[error("the evidence has sequence {0}")]
    Sequence(u64),
    /// An id is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A product id is none.
    #[error(transparent)]
    Product(#[from] ProductIdError),
    /// An instant is none.
    #[error(transparent)]
    Instant(#[from] InstantError),
    /// A state is none of the four.
    #[error("product `{0}` has no state that is known")]
    State(ProductId),
    /// A product is listed twice.
    #[error("product `{0}` is listed twice")]
    Twice(ProductId),
    /// More products than a machine can have.
    #[error("the report lists {0} products, more than {PRODUCTS_MAX}")]
    TooMany(usize),
    /// Facts that no machine has.
    #[error("the machine's facts are longer or more than they can be")]
    Facts,
    /// A seal key that is none.
    #[error("the machine's seal key has not 32 bytes")]
    SealKey,
    /// A text is too long.
    #[error("a text of the report has {0} bytes, more than {TEXT_LENGTH_MAX}")]
    TextTooLong(usize),
}

impl Evidence {
    /// Reads a payload that came in at `received_at`.
    ///
    /// # Errors
    /// When a field is not what it has to be.
    pub fn parse(payload: &[u8], received_at: Timestamp) -> Result<Self, EvidenceError> {
        let wire = wire::Evidence::decode(payload)?;
        if wire.sequence == 0 || wire.sequence > SEQUENCE_MAX {
            return Err(EvidenceError::Sequence(wire.sequence));
        }
        let observed_at = instant::from_ms(wire.observed_at_ms)?;
        let machine: MachineId = wire.machine.parse()?;
        let spool: SpoolId = wire.spool.parse()?;
        let body = match wire.body.ok_or(EvidenceError::NoBody)? {
            evidence::Body::Report(report) => {
                let products = products(report.products)?;
                let record = record::Report {
                    machine: machine.clone(),
                    spool: spool.clone(),
                    sequence: wire.sequence,
                    observed_at,
                    received_at,
                    products: products.iter().map(counted).collect(),
                };
                let last = LastReport { observed_at, received_at, products: products.into() };
                let facts = report.facts.map(bounded).transpose()?;
                let (agent_version, catalogue_version) =
                    (short(report.agent_version)?.into(), report.catalogue_version);
                let seal_key = report.seal_key.map(seal_key).transpose()?;
                let seen = Box::new(Seen { agent_version, catalogue_version, facts, seal_key, last });
                Body::Report(Report { record, seen })
            }
            evidence::Body::OrderResult(result) => Body::OrderResult {
                order: result.order.parse()?,
                told: Told::of(result.outcome()),
                detail: cut(result.detail),
            },
        };
        Ok(Self {
            machine,
            spool,
            sequence: wire.sequence,
            previous: wire.previous,
            hash: hash(payload),
            observed_at,
            received_at,
            checkpoint: wire.checkpoint,
            body,
        })
    }
}

fn products(found: Vec<wire::FoundProduct>) -> Result<Vec<Product>, EvidenceError> {
    if found.len() > PRODUCTS_MAX {
        return Err(EvidenceError::TooMany(found.len()));
    }
    let mut products: Vec<Product> = Vec::with_capacity(found.len());
    for one in found {
        let product: ProductId = one.product.parse()?;
        if products.iter().any(|seen| seen.product == product) {
            return Err(EvidenceError::Twice(product));
        }
        let state = match one.state() {
            wire::ProductState::Active => State::Active,
            wire::ProductState::Inactive => State::Inactive,
            wire::ProductState::SwitchedOff => State::SwitchedOff,
            wire::ProductState::Unknown => State::Unknown,
            wire::ProductState::Unspecified => return Err(EvidenceError::State(product)),
        };
        let signals = one.signals.into_iter().map(short).collect::<Result<_, _>>()?;
        products.push(Product {
            product,
            state,
            version: short(one.version)?,
            signals,
            why: short(one.why)?,
        });
    }
    Ok(products)
}

/// Facts as they are kept, when none is longer than a hash.
///
/// # Errors
/// When one is.
pub fn bounded(facts: wire::Facts) -> Result<Facts, EvidenceError> {
    let single = [
        &facts.smbios_uuid,
        &facts.system_serial,
        &facts.board_serial,
        &facts.disk_serial,
        &facts.os_id,
        &facts.host_name,
    ];
    let longest = single.into_iter().chain(&facts.macs).map(Vec::len).max().unwrap_or(0);
    if longest > FACT_LENGTH_MAX || facts.macs.len() > MACS_MAX || facts.os.len() > FACT_LENGTH_MAX {
        return Err(EvidenceError::Facts);
    }
    Ok(facts.into())
}

fn counted(product: &Product) -> (ProductId, Sighting) {
    let version = (!product.version.is_empty()).then(|| product.version.clone());
    (product.product.clone(), Sighting { state: product.state, version })
}

fn seal_key(key: wire::SealKey) -> Result<SealKey, EvidenceError> {
    let public_key = match key.public_key.as_slice() {
        [] => None,
        bytes => Some(bytes.try_into().map_err(|_| EvidenceError::SealKey)?),
    };
    Ok(SealKey { public_key, order_keys_revision: key.order_keys_revision })
}

/// A result is never refused for the length of its words.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_LENGTH_MAX));
    text
}

fn short(text: String) -> Result<String, EvidenceError> {
    if text.len() > TEXT_LENGTH_MAX { Err(EvidenceError::TextTooLong(text.len())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_lists_so_many_products_and_none_of_them_twice() {
        let found = |count: usize| -> Vec<wire::FoundProduct> {
            let state = wire::ProductState::Active.into();
            let of =
                |number| wire::FoundProduct { product: format!("p{number}"), state, ..Default::default() };
            (0..count).map(of).collect()
        };
        assert_eq!(products(found(PRODUCTS_MAX)).unwrap().len(), PRODUCTS_MAX);
        let error = products(found(PRODUCTS_MAX + 1)).unwrap_err();
        assert!(matches!(error, EvidenceError::TooMany(count) if count == PRODUCTS_MAX + 1), "{error}");
        let error = products([found(2), found(1)].concat()).unwrap_err();
        assert!(matches!(error, EvidenceError::Twice(_)), "{error}");
    }
}
