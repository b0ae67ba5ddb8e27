//! What of a sealed statement goes to a destination, before anything is sent. Invariant: a function of the statement,
//! the mapping and the running month's high water; the same gives the same bytes and the same digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_ledger::body::StatementBody;
use seatbeat_ledger::mapping::{Fields, Mapping};
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::sealed::digest;
use seatbeat_ledger::statement::Correction;
use seatbeat_ledger::uploads::PartId;
use seatbeat_proto::ids::CustomerId;
use serde::Serialize;

/// A sealed statement as a connector sees it.
pub struct Outgoing<'a> {
    /// What was sealed.
    pub body: &'a StatementBody,
    /// The signed file, as it goes out.
    pub file: &'a [u8],
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// What customers are called there: a name, or the id that stands in the statement.
    pub names: &'a BTreeMap<CustomerId, String>,
    /// The running month's high water so far. A quantity that is in force now is never set below it.
    pub live: &'a BTreeMap<(CustomerId, Sku), Quantity>,
    /// What the far side calls what is in it.
    pub mapping: &'a Mapping,
}

/// What goes out, part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// In the order in which they are sent.
    pub parts: Vec<OutPart>,
}

/// What is sent, and answered, as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutPart {
    /// Which.
    pub id: PartId,
    /// What is set there; empty where a file says it.
    pub quantity: String,
    /// Of what is sent, `sha256:…`.
    pub digest: String,
    /// The requests that send it, as far as they are known before the far side answers, without secrets.
    pub requests: Vec<ShownRequest>,
    /// What they carry.
    pub load: Load,
}

/// What a part carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// A quantity of a subscription.
    Seats {
        /// What the far side calls it.
        mapped: Fields,
        /// What is to be set: the sealed quantity, or the running month's high water when that is more.
        seats: u64,
        /// What was sealed.
        sealed: Quantity,
    },
    /// Files.
    Files(Vec<OutFile>),
    /// Nothing that the far side takes: a person settles it.
    ByHand(Correction),
}

/// A file that goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutFile {
    /// What it is called there.
    pub name: String,
    /// Its media type.
    pub media_type: &'static str,
    /// What is in it.
    pub bytes: Arc<[u8]>,
}

/// A request as a person is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownRequest {
    /// `PUT`; of a drop `write`, `rename`.
    pub method: String,
    /// Where to. What only the far side knows stands in braces.
    pub target: String,
    /// What goes with it; of a file its name.
    pub body: String,
}

/// Why a statement cannot go to a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectionError {
    /// Nobody has said what the far side calls it.
    #[error("customer `{customer}`, SKU `{sku}`: not mapped: {missing} missing")]
    Unmapped {
        /// Whose.
        customer: CustomerId,
        /// Of what.
        sku: Sku,
        /// Which columns.
        missing: String,
    },
    /// The far side takes whole units.
    #[error(
        "customer `{customer}`, SKU `{sku}`: {quantity} is not a whole number, which is all that this destination takes"
    )]
    Fraction {
        /// Whose.
        customer: CustomerId,
        /// Of what.
        sku: Sku,
        /// How many.
        quantity: Quantity,
    },
    /// Other terms than the destination's.
    #[error("the statement is in {found}, the destination takes {expected}")]
    Currency {
        /// What it is in.
        found: String,
        /// What is taken.
        expected: String,
    },
    /// It cannot be written.
    #[error("{0}")]
    Other(String),
}

impl OutPart {
    /// A part that sets a quantity, digested over what it sets where.
    pub fn seats(
        id: PartId,
        mapped: Fields,
        seats: u64,
        sealed: Quantity,
        requests: Vec<ShownRequest>,
    ) -> Self {
        let said = serde_json::json!({ "mapped": mapped, "quantity": seats });
        Self {
            id,
            quantity: seats.to_string(),
            digest: digest(said.to_string().as_bytes()),
            requests,
            load: Load::Seats { mapped, seats, sealed },
        }
    }

    /// A part that is files, digested over their names and bytes.
    pub fn files(files: Vec<OutFile>, requests: Vec<ShownRequest>) -> Self {
        let mut all = Vec::new();
        for file in &files {
            all.extend(digest(&file.bytes).into_bytes());
            all.extend(format!("  {}\n", file.name).into_bytes());
        }
        Self {
            id: PartId::Whole,
            quantity: String::new(),
            digest: digest(&all),
            requests,
            load: Load::Files(files),
        }
    }

    /// A correction that the destination cannot be sent.
    pub fn by_hand(correction: &Correction) -> Self {
        let Correction { for_period, customer, sku, delta, .. } = correction;
        let said = serde_json::json!({ "for_period": for_period, "delta": delta });
        Self {
            id: PartId::Correction(customer.clone(), sku.clone(), *for_period),
            quantity: delta.to_string(),
            digest: digest(said.to_string().as_bytes()),
            requests: Vec::new(),
            load: Load::ByHand(correction.clone()),
        }
    }
}

impl Outgoing<'_> {
    /// What distinguishes this statement from all others: the idempotency key of whatever is sent of it.
    pub fn key(&self, submission: u32) -> String {
        statement_key(self.body, self.file, submission)
    }

    /// The mapped fields of a line that a connector cannot do without.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn mapped(
        &self,
        customer: &CustomerId,
        sku: &Sku,
        needed: &[&str],
    ) -> Result<&Fields, ProjectionError> {
        static NONE: Fields = Fields::new();
        let fields = self.mapping.get(&(customer.clone(), sku.clone())).unwrap_or(&NONE);
        let missing: Vec<&str> = needed.iter().copied().filter(|name| !fields.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(fields);
        }
        let missing = missing.join(", ");
        Err(ProjectionError::Unmapped { customer: customer.clone(), sku: sku.clone(), missing })
    }

    /// One part for each line, whose quantity is set in force, and one for each correction, which a person settles.
    /// What is set is the sealed quantity or, when that is more, the running month's high water: what is in force now
    /// has to be enough for what runs now.
    ///
    /// # Errors
    /// When a line is not mapped, or is no whole number.
    pub fn seats_by_line(
        &self,
        needed: &[&str],
        requests: impl Fn(&Fields, u64) -> Vec<ShownRequest>,
    ) -> Result<Projection, ProjectionError> {
        let mut parts = Vec::new();
        for line in &self.body.statement.lines {
            let (customer, sku) = (&line.customer, &line.sku);
            let mapped = self.mapped(customer, sku, needed)?.clone();
            let sealed = line.quantity;
            let fraction = |quantity: Quantity| ProjectionError::Fraction {
                customer: customer.clone(),
                sku: sku.clone(),
                quantity,
            };
            if sealed.hundredths() % 100 != 0 {
                return Err(fraction(sealed));
            }
            let live = self.live.get(&(customer.clone(), sku.clone())).copied().unwrap_or(Quantity::ZERO);
            let seats = sealed.max(live).rounded_up();
            let id = PartId::Line(customer.clone(), sku.clone());
            let shown = requests(&mapped, seats);
            parts.push(OutPart::seats(id, mapped, seats, sealed, shown));
        }
        parts.extend(self.body.statement.corrections.iter().map(OutPart::by_hand));
        Ok(Projection { parts })
    }
}

/// Statement id, digest of what was signed, and submission where it is not the first.
pub fn statement_key(body: &StatementBody, file: &[u8], submission: u32) -> String {
    let digest = digest(file);
    let short = digest.trim_start_matches("sha256:").get(..16).unwrap_or_default();
    let mut key = format!(
        "{}-{}-r{}-{short}",
        body.statement.period,
        crate::jobs::close::file_name(&body.distributor),
        body.revision
    );
    if submission > 1 {
        key.push_str(&format!("-s{submission}"));
    }
    key
}
