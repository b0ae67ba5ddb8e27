//! How customers stand with the reseller: with it, suspended, or gone for good. Invariant: who never left stands as
//! ever; no count and no bill depends on it.

use jiff::Timestamp;
use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use crate::registry::{Refusal, Registry};

/// How a customer stands with the reseller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerStanding<'a> {
    /// As usual.
    Active,
    /// Nothing of theirs is to run, and they are to come back.
    Suspended(&'a Departure),
    /// Nothing of theirs is to run, and their machines are to be unenrolled.
    Left(&'a Departure),
}

/// When and why a customer was suspended or left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// Not to come back.
    pub for_good: bool,
    /// When it was written down.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
}

impl Registry {
    /// How a customer stands with the reseller.
    pub fn standing(&self, customer: &CustomerId) -> CustomerStanding<'_> {
        match self.departures.get(customer) {
            None => CustomerStanding::Active,
            Some(departure) if departure.for_good => CustomerStanding::Left(departure),
            Some(departure) => CustomerStanding::Suspended(departure),
        }
    }

    /// Customers that are suspended or left.
    pub fn departures(&self) -> impl Iterator<Item = (&CustomerId, &Departure)> {
        self.departures.iter()
    }

    pub(crate) fn leave(&mut self, customer: CustomerId, departure: Departure) -> Result<(), Refusal> {
        if !self.has_customer(&customer) {
            return Err(Refusal::UnknownCustomer);
        }
        let before = self.departures.get(&customer).map(|before| before.for_good);
        if before == Some(departure.for_good) {
            return Err(Refusal::Repeated);
        }
        self.departures.insert(customer, departure);
        Ok(())
    }

    pub(crate) fn come_back(&mut self, customer: &CustomerId) -> Result<(), Refusal> {
        if !self.has_customer(customer) {
            return Err(Refusal::UnknownCustomer);
        }
        self.departures.remove(customer).map(drop).ok_or(Refusal::Repeated)
    }
}
