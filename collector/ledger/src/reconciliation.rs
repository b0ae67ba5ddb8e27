//! What others say of a sealed month: the vendor's platform of what is provisioned, the distributor of what it bills.
//! Invariant: a set of rows is in force whole or not at all; an explanation holds for exactly the numbers that it was
//! given for; ids and numbers only.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::money::{Decimal, Quantity};
use crate::record::{NameError, Sku, check_name};
use crate::registry::Refusal;

pub mod compare;
#[cfg(test)]
pub(crate) mod house;
pub mod parts;
pub mod read;
pub mod why;

/// Sets on their way at once: operators and destinations are few. The oldest gives way.
const STAGED_MAX: usize = 8;

/// Parts of a set: 32 MiB, which is some 400,000 rows.
pub const PARTS_MAX: u32 = 256;

/// Longest digest of a set, in bytes.
const DIGEST_MAX: usize = 100;

/// Whose and of what.
pub type Key = (CustomerId, Sku);

/// What a distributor's invoice is called where a destination could stand.
const INVOICE: &str = "invoice";

/// Who says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// The distributor, by what it bills.
    Invoice,
    /// A destination, by what it has on its own books.
    Destination(String),
}

/// A sealed month of a distributor, and who says something of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Against {
    /// The month.
    pub period: Period,
    /// Whose statement.
    pub distributor: String,
    /// Who says it.
    pub source: Source,
}

/// What is said of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Theirs {
    /// Billed, or provisioned; none: it is listed without a number.
    pub quantity: Option<Quantity>,
    /// In use, by their own count.
    pub used: Option<u64>,
    /// Billed for it.
    pub amount: Option<Decimal>,
}

/// Subscriptions there that no mapping names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmapped {
    /// How many.
    pub subscriptions: u64,
    /// How many seats in all of them.
    pub seats: u64,
}

/// All that is said of a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Digest over its rows, as its records have it.
    pub digest: String,
    /// Of its amounts; none where there are no amounts.
    pub currency: Option<String>,
    /// What is in no row.
    pub unmapped: Unmapped,
    /// By line.
    pub rows: Arc<BTreeMap<Key, Theirs>>,
    /// When its last part was written down.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// The two sides of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// As sealed.
    pub ours: Quantity,
    /// As they say.
    pub theirs: Quantity,
    /// What it costs, as sealed; none where nothing is compared in money.
    pub cost: Option<Decimal>,
    /// What is billed for it.
    pub amount: Option<Decimal>,
}

/// Why a line differs, in somebody's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// What was looked at: with other numbers it holds no more.
    pub sides: Sides,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A part of a set, as it came.
pub(crate) struct Part {
    pub set: String,
    pub part: u32,
    pub parts: u32,
    pub currency: Option<String>,
    pub unmapped: Unmapped,
    pub rows: Vec<(Key, Theirs)>,
}

/// A set of which parts are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Staged {
    begun: u64,
    parts_there: u32,
    parts: u32,
    set: Set,
}

/// All that was ever said of sealed months.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    sets: BTreeMap<Against, Set>,
    staged: BTreeMap<Against, Staged>,
    explained: BTreeMap<Against, BTreeMap<Key, Explained>>,
}

impl Source {
    /// As it is written: `invoice`, or what the destination is called.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invoice => INVOICE,
            Self::Destination(name) => name,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == INVOICE {
            return Ok(Self::Invoice);
        }
        check_name(text, "a destination")?;
        Ok(Self::Destination(text.to_owned()))
    }
}

impl TryFrom<String> for Source {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.to_string()
    }
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} against {}", self.period, self.distributor, self.source)
    }
}

impl Reconciliation {
    /// What is said of a month.
    pub fn get(&self, against: &Against) -> Option<&Set> {
        self.sets.get(against)
    }

    /// All sets in force, in the order of their months.
    pub fn iter(&self) -> impl Iterator<Item = (&Against, &Set)> {
        self.sets.iter()
    }

    /// Why a line differs, when somebody said so of these numbers.
    pub fn explained(&self, against: &Against, key: &Key, sides: &Sides) -> Option<&Explained> {
        let explained = self.explained.get(against)?.get(key)?;
        (explained.sides == *sides).then_some(explained)
    }

    /// Takes a part in; the set is in force with its last one.
    pub(crate) fn stage(
        &mut self,
        against: Against,
        part: Part,
        position: u64,
        (at, by): (Timestamp, &str),
    ) -> Result<(), Refusal> {
        let is_sound = part.part < part.parts && part.parts <= PARTS_MAX && part.set.len() <= DIGEST_MAX;
        if !is_sound {
            return Err(Refusal::Malformed);
        }
        if self.sets.get(&against).is_some_and(|set| set.digest == part.set) {
            return Err(Refusal::Repeated);
        }
        if part.part == 0 {
            let Part { set, parts, currency, unmapped, .. } = &part;
            let set = Set {
                digest: set.clone(),
                currency: currency.clone(),
                unmapped: *unmapped,
                rows: Arc::default(),
                at,
                by: by.to_owned(),
            };
            let staged = Staged { begun: position, parts_there: 0, parts: *parts, set };
            self.staged.insert(against.clone(), staged);
            self.forget_the_oldest();
        }
        let staged = self.staged.get_mut(&against).ok_or(Refusal::Overtaken)?;
        let is_next = (staged.set.digest.as_str(), staged.parts_there, staged.parts)
            == (part.set.as_str(), part.part, part.parts)
            && (&staged.set.currency, staged.set.unmapped) == (&part.currency, part.unmapped);
        if !is_next {
            return Err(Refusal::Overtaken);
        }
        let rows = Arc::make_mut(&mut staged.set.rows);
        for (key, theirs) in part.rows {
            if rows.insert(key, theirs).is_some() {
                self.staged.remove(&against);
                return Err(Refusal::Malformed);
            }
        }
        staged.parts_there += 1;
        if staged.parts_there == staged.parts {
            let Staged { set, .. } = self.staged.remove(&against).ok_or(Refusal::Overtaken)?;
            self.sets.insert(against, Set { at, by: by.to_owned(), ..set });
        }
        Ok(())
    }

    fn forget_the_oldest(&mut self) {
        if self.staged.len() > STAGED_MAX {
            let oldest = self.staged.iter().min_by_key(|(_, staged)| staged.begun);
            let oldest = oldest.map(|(against, _)| against.clone());
            oldest.map(|against| self.staged.remove(&against));
        }
    }

    /// Somebody says why a line differs.
    pub(crate) fn explain(
        &mut self,
        against: Against,
        key: Key,
        explained: Explained,
    ) -> Result<(), Refusal> {
        if explained.reason.trim().is_empty() {
            return Err(Refusal::Malformed);
        }
        if !self.sets.contains_key(&against) {
            return Err(Refusal::NotSealed);
        }
        self.explained.entry(against).or_default().insert(key, explained);
        Ok(())
    }
}
