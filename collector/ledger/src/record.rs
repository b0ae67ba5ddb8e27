//! The records of the ledger, as they are inside: parsed and valid.
//! Invariant: two records that say the same are equal here, however their instants were spelled or their products
//! ordered; a record's `recorded_at` is always set.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId, SpoolId};
use serde::{Deserialize, Serialize};

use crate::calendar::Period;

/// Largest declared quantity or adjustment: beyond a billion seats it is a typing error, and sums stay exact.
pub const QUANTITY_MAX: u64 = 1_000_000_000;
/// Largest report sequence: beyond it JSON readers stop telling numbers apart (RFC 8785 relies on it).
pub const SEQUENCE_MAX: u64 = (1 << 53) - 1;
/// Longest SKU and flag name in bytes: they are keys in a statement.
pub const NAME_LENGTH_MAX: usize = 200;
/// The flags that the rules compute; nobody may raise them by hand.
pub const COMPUTED_FLAGS: [&str; 7] = [
    "forked_spool",
    "went_silent",
    "active_after_retirement",
    "merged_while_both_alive",
    "active_after_switch_off",
    "running_on_suspended_licence",
    "declared_missing",
];
/// The flag of a machine in a pool of short-lived virtual machines (rule 3).
pub const POOL_FLAG: &str = "pool";

/// One record of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// A machine's observation of itself.
    Report(Report),
    /// Anything else, with when it takes effect and who wrote it down.
    Entry(Entry),
}

/// One observation by one machine. A product it does not list is absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    /// Who reports, as it named itself: before any merge.
    pub machine: MachineId,
    /// The chain of evidence in which it stands.
    pub spool: SpoolId,
    /// Its place in that chain.
    pub sequence: u64,
    /// When it was so, by the machine's clock.
    pub observed_at: Timestamp,
    /// When the collector had it, by the collector's clock.
    pub received_at: Timestamp,
    /// What was found.
    pub products: BTreeMap<ProductId, Sighting>,
}

/// A product as it was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// What it was doing.
    pub state: State,
    /// Its version, where detection could tell.
    pub version: Option<String>,
}

/// What a product on a machine was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Running, protecting: the only state that is usage.
    Active,
    /// Installed, not protecting.
    Inactive,
    /// This machine carried out an order to switch it off.
    SwitchedOff,
    /// Detection failed: says nothing.
    Unknown,
}

/// A record that is not a report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// When it takes effect.
    pub at: Timestamp,
    /// When it was written down.
    pub recorded_at: Timestamp,
    /// Its own id, if it has one.
    pub id: Option<String>,
    /// Who entered it, if a person did.
    pub operator: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What it says.
    pub event: Event,
}

impl Entry {
    /// An entry written down when it takes effect, without id, operator or reason.
    pub fn new(at: Timestamp, event: Event) -> Self {
        Self { at, recorded_at: at, id: None, operator: None, reason: None, event }
    }
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the record, and say what they are")]
pub enum Event {
    /// From now on the machine is the customer's.
    MachineAssigned { machine: MachineId, customer: CustomerId },
    /// From now on the customer's product or suite is billed as this SKU; `None`: not billed.
    SkuAssigned { customer: CustomerId, product: ProductId, sku: Option<Sku> },
    /// The machine carried out an order to switch the product off.
    SwitchedOff { machine: MachineId, product: ProductId },
    /// The machine carried out an order to switch the product on.
    SwitchedOn { machine: MachineId, product: ProductId },
    /// The distributor or vendor confirmed that the licence is suspended.
    LicenceSuspended { customer: CustomerId, sku: Sku },
    /// The distributor or vendor confirmed that the licence runs again.
    LicenceResumed { customer: CustomerId, sku: Sku },
    /// The machine is gone.
    MachineRetired { machine: MachineId },
    /// Two agents are one machine.
    MachinesMerged { kept: MachineId, absorbed: MachineId },
    /// They are two after all.
    MachinesSplit { kept: MachineId, absorbed: MachineId },
    /// Something about the machine needs a look.
    MachineFlagged { machine: MachineId, flag: String },
    /// Units that no agent can see.
    Declared { customer: CustomerId, sku: Sku, period: Period, quantity: u64 },
    /// A correction by hand.
    Adjusted { customer: CustomerId, sku: Sku, period: Period, delta: i64 },
}

/// What the distributor bills: its article number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(Arc<str>);

/// A name (of a SKU, flag, price group or distributor) that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: expected 1 to {NAME_LENGTH_MAX} bytes of printable text")]
pub struct NameError {
    text: String,
    kind: &'static str,
}

/// Refuses a name that is empty, too long or not printable.
pub(crate) fn check_name(text: &str, kind: &'static str) -> Result<(), NameError> {
    if text.is_empty() || text.len() > NAME_LENGTH_MAX || text.chars().any(char::is_control) {
        return Err(NameError { text: text.chars().take(60).collect(), kind });
    }
    Ok(())
}

impl Sku {
    /// The SKU's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sku {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_name(text, "a SKU")?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Sku {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> String {
        sku.0.as_ref().to_owned()
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
