//! Machines, narrowed, searched and sorted, a page at a time. Invariant: a page is read from a listing that is brought
//! up to date with the fold before, and costs what is on it: no question folds or decrypts all machines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::operators::Reach;
use seatbeat_ledger::registry;
use seatbeat_proto::ids::{CustomerId, IdError, MachineId, ProductId};
use seatbeat_proto::wire;

use super::Console;
use super::auth::Caller;
use super::downloads::SEARCH_LENGTH_MAX;
use super::fault::Fault;
use super::query::known_customer;
use super::rows::MachinePage;
use crate::vault::{VaultKind, VaultRow};
use listing::{Listing, Wanted};

mod field;
mod listing;
mod names;

/// Machines in a page that asks for no size.
const PAGE_SIZE: usize = 500;

/// Most machines in a page: a thousand of them with their products are about a megabyte.
const PAGE_SIZE_MAX: usize = 1000;

/// How often the listing is brought up to date where nobody asks: what changes meanwhile is in memory twice.
const LISTED_EVERY: Duration = Duration::from_secs(30);

/// Which machines are asked for; what is none narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineQuery {
    /// Of this customer only.
    pub customer: Option<CustomerId>,
    /// In this state only.
    pub state: Option<MachineState>,
    /// With this product, in whatever state.
    pub product: Option<ProductId>,
    /// With an agent of this version.
    pub agent_version: Option<String>,
    /// Whose name has this in it, in capitals or not, or whose id begins so.
    pub search: Option<String>,
    /// In which order.
    pub sort: MachineSort,
    /// Behind this place.
    pub page_after: Option<Cursor>,
    /// How many at once; 0: 500.
    pub page_size: u32,
}

impl TryFrom<wire::ListMachinesRequest> for MachineQuery {
    type Error = Fault;

    fn try_from(wire: wire::ListMachinesRequest) -> Result<Self, Fault> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let product = |text: String| text.parse().map_err(|error| Fault::value("`product`", error));
        let searched = |text: String| match text.chars().count() {
            ..=SEARCH_LENGTH_MAX => Ok(text),
            _ => Err(Fault::value("`search`", format!("is longer than {SEARCH_LENGTH_MAX} characters"))),
        };
        Ok(Self {
            customer: some(wire.customer).map(|text| text.parse()).transpose()?,
            state: some(wire.state).map(|text| MachineState::named(&text)).transpose()?,
            product: some(wire.product).map(product).transpose()?,
            agent_version: some(wire.agent_version),
            search: some(wire.search).map(searched).transpose()?,
            sort: some(wire.sort).map_or(Ok(MachineSort::default()), |text| MachineSort::named(&text))?,
            page_after: some(wire.page_after).map(|text| text.parse()).transpose()?,
            page_size: wire.page_size,
        })
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $field:literal { $($(#[$of:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $variant,)* }

        impl $name {
            /// The names of all.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// The one of this name.
            ///
            /// # Errors
            /// When there is none.
            pub fn named(text: &str) -> Result<Self, Fault> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(Fault::value($field, format!("is none of {}", Self::NAMES.join(", ")))),
                }
            }

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

words! {
    /// The strongest thing that can be said of a machine.
    MachineState, "`state`" {
        /// It was heard from within the days after which an alert calls it silent (`alerts.silent_days`).
        Reporting = "reporting",
        /// It was not.
        Silent = "silent",
        /// Shut out by an operator.
        Banned = "banned",
        /// Given up by an operator.
        Retired = "retired",
    }
}

words! {
    /// What machines are sorted by; those that are equal in it, by id.
    #[derive(Default)]
    MachineSort, "`sort`" {
        /// Their ids.
        #[default]
        Id = "id",
        /// Whose they are.
        Customer = "customer",
        /// Their newest reports, the oldest first.
        LastReport = "last_report",
        /// Their names, whatever the case.
        HostName = "host_name",
    }
}

/// A place between machines: what the one before it is sorted by, and its id. It stays where it is, whatever becomes
/// of that machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Of the machine before it; empty when they are sorted by id.
    pub key: String,
    /// The machine before it.
    pub machine: MachineId,
}

impl From<MachineId> for Cursor {
    fn from(machine: MachineId) -> Self {
        Self { key: String::new(), machine }
    }
}

impl FromStr for Cursor {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // No id has a stroke in it.
        let (key, machine) = text.rsplit_once('/').unwrap_or(("", text));
        Ok(Self { key: key.to_owned(), machine: machine.parse()? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { self.machine.fmt(f) } else { write!(f, "{}/{}", self.key, self.machine) }
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The machines that ought to be heard from: of customers that are here, and nobody gave them up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InTheField {
    /// How many.
    pub machines: u64,
    /// Those that were not heard from.
    pub silent: u64,
    /// By version of the agent; empty: it never said.
    pub versions: BTreeMap<String, u64>,
}

/// The listing that all questions share.
#[derive(Clone, Default)]
pub struct Listed(Arc<Mutex<Listing>>);

impl Console {
    /// A page of machines.
    ///
    /// # Errors
    /// When the position is not known here in time, the customer is not known, or the vault cannot be read.
    pub async fn machines(
        &self,
        caller: &Caller,
        query: MachineQuery,
        after: u64,
    ) -> Result<MachinePage, Fault> {
        self.books.reached(after).await?;
        let reach = caller.reach();
        self.books.read(|fold| known_customer(fold, &reach, query.customer.as_ref()))?;
        let console = self.clone();
        let page = move || {
            let size = match query.page_size as usize {
                0 => PAGE_SIZE,
                size => size.min(PAGE_SIZE_MAX),
            };
            let wanted = Wanted::new(&query, reach, console.silent_before());
            let (found, next) = console.listing(|listing| listing.page(&wanted, size))?;
            let row = |(id, machine): (MachineId, registry::Machine)| console.machine_row(id, &machine);
            Ok(MachinePage { machines: found.into_iter().map(row).collect::<Result<_, Fault>>()?, next })
        };
        tokio::task::spawn_blocking(page).await?
    }

    /// Machines that were heard from last before this instant are silent.
    pub fn silent_before(&self) -> Timestamp {
        let silent_after = SignedDuration::from_hours(24 * i64::from(self.config.alerts.silent_days));
        self.books.clock().now().checked_sub(silent_after).unwrap_or(Timestamp::MIN)
    }

    /// The machines in the field. Blocks while names are read.
    pub(super) fn in_the_field(&self, reach: &Reach, heard_since: Timestamp) -> Result<InTheField, Fault> {
        self.listing(|listing| listing.in_the_field(reach, heard_since))
    }

    /// How many of some customers' machines have an open stream. Blocks while names are read.
    pub(super) fn connected_of(&self, customers: &BTreeSet<CustomerId>) -> Result<usize, Fault> {
        self.listing(|listing| {
            let theirs = listing.ids_of(customers);
            theirs.iter().filter(|machine| self.presence.connected(machine)).count()
        })
    }

    /// Keeps the listing up to date until `stopped`: a question finds it so, and what the fold has left behind is not
    /// held on to.
    pub async fn keep_listed(&self, stopped: impl Future<Output = ()>) {
        let mut tick = tokio::time::interval(LISTED_EVERY);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                _ = tick.tick() => {
                    let console = self.clone();
                    let listed = tokio::task::spawn_blocking(move || console.listing(|_| ()));
                    if let Err(error) = listed.await.map_err(Fault::from).and_then(|listed| listed) {
                        tracing::warn!(error = %error.words(), "the machines could not be listed");
                    }
                }
            }
        }
    }

    /// Asks the listing as it is now.
    fn listing<T>(&self, ask: impl FnOnce(&Listing) -> T) -> Result<T, Fault> {
        let mut listing = self.listed.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Names before machines: a name that changes in between is looked at again the next time.
        let (vault, known) = (self.books.vault(), listing.renames());
        let (renames, renamed) = vault.renamed_since(known);
        let registry = self.books.read(|fold| {
            let is_new = fold.position() != listing.position();
            is_new.then(|| (fold.position(), fold.registry().clone()))
        });
        if registry.is_none() && renames == known && renames != 0 {
            return Ok(ask(&listing));
        }
        let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let names: Vec<(MachineId, String)> = match renamed {
            Some(machines) => {
                let named = |machine: MachineId| {
                    let kept = vault.get(VaultRow::HostName(&machine))?;
                    Ok((machine, kept.map(|kept| name(&kept)).unwrap_or_default()))
                };
                machines.into_iter().map(named).collect::<Result<_, Fault>>()?
            }
            None => {
                let all = vault.scan(VaultKind::HostName)?.into_iter();
                all.filter_map(|(id, kept)| Some((id.parse().ok()?, name(&kept)))).collect()
            }
        };
        listing.refresh(registry, renames, names);
        Ok(ask(&listing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_whatever_its_key_holds() {
        for key in ["", "ws-1", "a/b mch_x/", "Ärzte"] {
            let cursor = Cursor { key: key.to_owned(), machine: "mch_a".parse().unwrap() };
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
        for wrong in ["", "ws-1", "ws-1/", "ws/cus_a"] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_word_is_known_by_its_name() {
        for name in MachineState::NAMES {
            assert_eq!(MachineState::named(name).unwrap().as_str(), *name);
        }
        for name in MachineSort::NAMES {
            assert_eq!(MachineSort::named(name).unwrap().as_str(), *name);
        }
        let fault = MachineSort::named("colour").unwrap_err().words();
        assert_eq!(fault, "`sort` is none of id, customer, last_report, host_name");
    }
}
