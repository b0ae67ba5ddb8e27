//! Sealed statements as destinations are to have them. Invariant: what is projected is what was sealed, byte for byte;
//! of a month only its newest revision is sent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatbeat_ledger::body::StatementBody;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::mapping::Mapping;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::sealed;
use seatbeat_ledger::uploads::UploadId;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire::Signed;

use crate::books::Books;
use crate::config::Names;
use crate::distributor::destination::Destination;
use crate::distributor::projection::Outgoing;
use crate::vault::VaultRow;

/// Quantities by customer and SKU.
pub type Seats = BTreeMap<(CustomerId, Sku), Quantity>;

/// A sealed statement, ready to be projected.
pub struct SealedMonth {
    /// What was sealed.
    pub body: StatementBody,
    /// The signed file.
    pub file: Vec<u8>,
    /// When.
    pub sealed_at: Timestamp,
}

/// All that a destination is to have: the newest revisions of its distributor's months.
pub fn due(fold: &Fold, name: &str, destination: &Destination) -> Vec<UploadId> {
    let periods = fold.sealed_periods().filter(|period| *period >= destination.from);
    let of = |period: Period| {
        let mut all = fold.sealed(period);
        let (distributor, sealed) = all.find(|(distributor, _)| *distributor == destination.distributor)?;
        Some(UploadId {
            period,
            distributor: distributor.to_owned(),
            revision: sealed.revision,
            destination: name.to_owned(),
        })
    };
    periods.filter_map(of).collect()
}

impl SealedMonth {
    /// A signed statement; the words say what is wrong with it.
    pub fn of(statement: &Signed, sealed_at: Timestamp, key: &[u8; 32]) -> Result<Self, String> {
        let body = serde_json::from_slice(&statement.payload)
            .map_err(|error| format!("the sealed statement cannot be read: {error}"))?;
        let file = sealed::file(statement, key).map_err(|error| error.to_string())?;
        Ok(Self { body, file, sealed_at })
    }

    /// The newest revision of a month.
    pub fn newest(books: &Books, id: &UploadId) -> Result<Self, String> {
        let key = books.keys().statement().verifying_key().to_bytes();
        let sealed = books.read(|fold| {
            let mut all = fold.sealed(id.period);
            let found = all.find(|(name, sealed)| *name == id.distributor && sealed.revision == id.revision);
            found.map(|(_, sealed)| {
                let statement = Signed { payload: sealed.body.clone(), signature: sealed.signature.clone() };
                (statement, sealed.sealed_at)
            })
        });
        let (statement, sealed_at) = sealed.ok_or("another revision was sealed meanwhile")?;
        Self::of(&statement, sealed_at, &key)
    }

    /// What customers are called at a destination. Reads the vault.
    pub fn names(&self, books: &Books, names: Names) -> Result<BTreeMap<CustomerId, String>, String> {
        let statement = &self.body.statement;
        let lines = statement.lines.iter().map(|line| &line.customer);
        let customers = lines.chain(statement.corrections.iter().map(|correction| &correction.customer));
        let mut called = BTreeMap::new();
        for customer in customers {
            if called.contains_key(customer) {
                continue;
            }
            let name = match names {
                Names::Pseudonyms => None,
                Names::Real => books
                    .vault()
                    .get(VaultRow::CustomerName(customer))
                    .map_err(|error| error.to_string())?
                    .map(|name| String::from_utf8_lossy(&name).into_owned()),
            };
            called.insert(customer.clone(), name.unwrap_or_else(|| customer.to_string()));
        }
        Ok(called)
    }

    /// As a connector sees it.
    pub fn outgoing<'a>(
        &'a self,
        names: &'a BTreeMap<CustomerId, String>,
        live: &'a Seats,
        mapping: &'a Mapping,
    ) -> Outgoing<'a> {
        Outgoing { body: &self.body, file: &self.file, sealed_at: self.sealed_at, names, live, mapping }
    }
}
