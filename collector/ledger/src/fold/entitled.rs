//! Licences in the fold. Invariant: who holds how many seats is decided at a record's position, so that two operators
//! cannot give the same seat away.

use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::ids::LicenceId;
use seatbeat_proto::wire;

use super::{Entry, Fold, Stop, refuse_unless};
use crate::entitlements::{Holder, Licence, Move};
use crate::registry::Refusal;

impl Fold {
    pub(super) fn add_licence(
        &mut self,
        entry: &Entry,
        fact: &wire::LicenceAdded,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let code_mac = match fact.code_mac.as_slice() {
            [] => None,
            mac => Some(entry.bytes32("code_mac", mac)?),
        };
        let (product, sku) = (entry.id("product", &fact.product)?, entry.id("sku", &fact.sku)?);
        let licence = Licence::new(product, sku, fact.seats, code_mac, at);
        Ok(Arc::make_mut(&mut self.licences).add(entry.id("licence", &fact.licence)?, licence)?)
    }

    pub(super) fn allot_licence(
        &mut self,
        entry: &Entry,
        fact: &wire::LicenceAllotted,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let from = fact.from.as_ref().map(|holder| self.holder(entry, holder)).transpose()?;
        let to = fact.to.as_ref().map(|holder| self.holder(entry, holder)).transpose()?;
        // Seats come back from a machine that has changed hands; none is given to it.
        if let Some(Holder { customer, machine: Some(machine) }) = &to {
            let owner = self.registry.machine(machine).ok_or(Refusal::UnknownMachine)?;
            refuse_unless(owner.customer == *customer, Refusal::ForeignMachine)?;
        }
        let licence: LicenceId = entry.id("licence", &fact.licence)?;
        Ok(Arc::make_mut(&mut self.licences).allot(&licence, &Move { from, to, seats: fact.seats }, at)?)
    }

    pub(super) fn withdraw_licence(
        &mut self,
        entry: &Entry,
        fact: &wire::LicenceWithdrawn,
        at: Timestamp,
    ) -> Result<(), Stop> {
        Ok(Arc::make_mut(&mut self.licences).withdraw(&entry.id("licence", &fact.licence)?, at)?)
    }

    /// It changes nothing: that it was done is what is on record.
    pub(super) fn note_revealed(&self, entry: &Entry, fact: &wire::LicenceRevealed) -> Result<(), Stop> {
        let licence: LicenceId = entry.id("licence", &fact.licence)?;
        refuse_unless(self.licences.get(&licence).is_some(), Refusal::UnknownLicence)
    }

    fn holder(&self, entry: &Entry, holder: &wire::LicenceHolder) -> Result<Holder, Stop> {
        let customer = entry.id("customer", &holder.customer)?;
        refuse_unless(self.registry.has_customer(&customer), Refusal::UnknownCustomer)?;
        let machine = match holder.machine.as_str() {
            "" => None,
            machine => Some(entry.id("machine", machine)?),
        };
        Ok(Holder { customer, machine })
    }
}
