//! Licences of the reseller's: blocks of seats, and who holds how many of them. Invariant: of a licence never more
//! seats are held than it has; no count and no bill depends on it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, LicenceId, MachineId, ProductId};
use serde::{Deserialize, Serialize};

use crate::record::Sku;
use crate::registry::Refusal;

/// A licence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// What it is for.
    pub product: ProductId,
    /// What it is billed as.
    pub sku: Sku,
    /// Seats of the block.
    pub seats: u32,
    /// Tells its activation code; none: a subscription without one.
    pub code_mac: Option<[u8; 32]>,
    /// When it was added.
    pub added_at: Timestamp,
    /// When the reseller had it no longer.
    pub withdrawn_at: Option<Timestamp>,
    holders: BTreeMap<Holder, Held>,
}

/// Who holds seats.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// Which customer.
    pub customer: CustomerId,
    /// For which of its machines; none: for any.
    pub machine: Option<MachineId>,
}

/// Seats that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How many, at least one.
    pub seats: u32,
    /// Since when it holds any.
    pub since: Timestamp,
}

/// Seats that change hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Whose they were; none: nobody's.
    pub from: Option<Holder>,
    /// Whose they will be; none: nobody's.
    pub to: Option<Holder>,
    /// How many.
    pub seats: u32,
}

/// All licences.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licences(BTreeMap<LicenceId, Licence>);

impl Licence {
    /// A licence that nobody holds seats of.
    pub fn new(product: ProductId, sku: Sku, seats: u32, code_mac: Option<[u8; 32]>, at: Timestamp) -> Self {
        Self { product, sku, seats, code_mac, added_at: at, withdrawn_at: None, holders: BTreeMap::new() }
    }

    /// Who holds how many seats.
    pub fn holders(&self) -> impl Iterator<Item = (&Holder, &Held)> {
        self.holders.iter()
    }

    /// Seats that somebody holds.
    pub fn allotted(&self) -> u32 {
        self.holders.values().map(|held| held.seats).sum()
    }

    /// Seats that nobody holds.
    pub fn free(&self) -> u32 {
        self.seats - self.allotted()
    }

    /// Seats of a customer, for whichever of its machines.
    pub fn allotted_to(&self, customer: &CustomerId) -> u32 {
        let of_customer = self.holders.iter().filter(|(holder, _)| holder.customer == *customer);
        of_customer.map(|(_, held)| held.seats).sum()
    }

    /// Seats that somebody holds, or nobody.
    pub fn seats_of(&self, holder: Option<&Holder>) -> u32 {
        match holder {
            Some(holder) => self.holders.get(holder).map_or(0, |held| held.seats),
            None => self.free(),
        }
    }

    /// Lets seats change hands. A machine holds one at most.
    ///
    /// # Errors
    /// When there are not so many, or nothing would change.
    pub fn allot(&mut self, seats: &Move, at: Timestamp) -> Result<(), Refusal> {
        if seats.seats == 0 || seats.from == seats.to {
            return Err(Refusal::Malformed);
        }
        if self.seats_of(seats.from.as_ref()) < seats.seats {
            return Err(Refusal::SeatsTaken);
        }
        let to_machine = seats.to.as_ref().filter(|to| to.machine.is_some());
        if to_machine.is_some_and(|to| seats.seats > 1 || self.holders.contains_key(to)) {
            return Err(Refusal::SeatsTaken);
        }
        if let Some(from) = &seats.from {
            match self.holders.get_mut(from) {
                Some(held) if held.seats > seats.seats => held.seats -= seats.seats,
                _ => drop(self.holders.remove(from)),
            }
        }
        if let Some(to) = &seats.to {
            self.holders.entry(to.clone()).or_insert(Held { seats: 0, since: at }).seats += seats.seats;
        }
        Ok(())
    }
}

impl Licences {
    /// All of them by id, those that were withdrawn included.
    pub fn iter(&self) -> impl Iterator<Item = (&LicenceId, &Licence)> {
        self.0.iter()
    }

    /// Those that the reseller has, by id.
    pub fn in_force(&self) -> impl Iterator<Item = (&LicenceId, &Licence)> {
        self.0.iter().filter(|(_, licence)| licence.withdrawn_at.is_none())
    }

    /// One that the reseller has.
    pub fn get(&self, id: &LicenceId) -> Option<&Licence> {
        self.0.get(id).filter(|licence| licence.withdrawn_at.is_none())
    }

    /// The one with an activation code, among those that the reseller has.
    pub fn with_code(&self, code_mac: &[u8; 32]) -> Option<&LicenceId> {
        self.in_force().find(|(_, licence)| licence.code_mac.as_ref() == Some(code_mac)).map(|(id, _)| id)
    }

    /// Adds one.
    ///
    /// # Errors
    /// When its id or its activation code is there already, or it has no seats.
    pub fn add(&mut self, id: LicenceId, licence: Licence) -> Result<(), Refusal> {
        let code_is_known = licence.code_mac.is_some_and(|mac| self.with_code(&mac).is_some());
        if self.0.contains_key(&id) || code_is_known {
            return Err(Refusal::Repeated);
        }
        if licence.seats == 0 {
            return Err(Refusal::Malformed);
        }
        self.0.insert(id, licence);
        Ok(())
    }

    /// [`Licence::allot`] of one.
    ///
    /// # Errors
    /// When the licence is not there, or there are not so many seats.
    pub fn allot(&mut self, id: &LicenceId, seats: &Move, at: Timestamp) -> Result<(), Refusal> {
        let known = self.0.get_mut(id).filter(|licence| licence.withdrawn_at.is_none());
        known.ok_or(Refusal::UnknownLicence)?.allot(seats, at)
    }

    /// Takes one out of use.
    ///
    /// # Errors
    /// When it is not there.
    pub fn withdraw(&mut self, id: &LicenceId, at: Timestamp) -> Result<(), Refusal> {
        let known = self.0.get_mut(id).filter(|licence| licence.withdrawn_at.is_none());
        let licence = known.ok_or(Refusal::UnknownLicence)?;
        licence.withdrawn_at = Some(at);
        licence.holders.clear();
        Ok(())
    }
}

/// Seats of a licence that a customer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSeats {
    /// Which licence.
    pub licence: LicenceId,
    /// First and last letters of its activation code, where somebody who may know it has put them in; empty: a
    /// subscription.
    pub code: String,
    /// How many.
    pub seats: u32,
}

/// Seats by customer and SKU, and since when it holds any.
pub type Given = BTreeMap<(CustomerId, Sku), (Vec<HeldSeats>, Timestamp)>;

impl Licences {
    /// Who holds what of those that the reseller has.
    pub fn given(&self) -> Given {
        let mut given = Given::new();
        for (id, licence) in self.in_force() {
            for (holder, held) in licence.holders() {
                let key = (holder.customer.clone(), licence.sku.clone());
                let (seats, since) = given.entry(key).or_insert_with(|| (Vec::new(), held.since));
                *since = held.since.min(*since);
                match seats.last_mut().filter(|last| last.licence == *id) {
                    Some(last) => last.seats += held.seats,
                    None => {
                        seats.push(HeldSeats { licence: id.clone(), code: String::new(), seats: held.seats })
                    }
                }
            }
        }
        given
    }
}

/// Seats of a customer and a SKU: how many it holds, and how many run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Which customer.
    pub customer: CustomerId,
    /// Which SKU.
    pub sku: Sku,
    /// Seats that it holds.
    pub allotted: u64,
    /// Seats that are counted.
    pub used: u64,
}

impl Holding {
    /// Seats that run and that nobody gave it.
    pub fn beyond(&self) -> u64 {
        self.used.saturating_sub(self.allotted)
    }
}

/// What customers hold and use, of the SKUs that the reseller has licences of: a SKU without one is billed by use
/// alone. `used` is what is counted, seats by customer and SKU.
pub fn holdings(licences: &Licences, used: &BTreeMap<(CustomerId, Sku), u64>) -> Vec<Holding> {
    let licensed: BTreeSet<&Sku> = licences.in_force().map(|(_, licence)| &licence.sku).collect();
    let seats = |held: Vec<HeldSeats>| held.iter().map(|held| u64::from(held.seats)).sum();
    let given = licences.given().into_iter();
    let mut held: BTreeMap<(CustomerId, Sku), u64> =
        given.map(|(key, (held, _))| (key, seats(held))).collect();
    for key in used.keys().filter(|(_, sku)| licensed.contains(sku)) {
        held.entry(key.clone()).or_default();
    }
    let holding = |((customer, sku), allotted): ((CustomerId, Sku), u64)| {
        let used = used.get(&(customer.clone(), sku.clone())).copied().unwrap_or_default();
        Holding { customer, sku, allotted, used }
    };
    held.into_iter().map(holding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn holder(customer: &str, machine: &str) -> Option<Holder> {
        let machine = (!machine.is_empty()).then(|| machine.parse().unwrap());
        Some(Holder { customer: customer.parse().unwrap(), machine })
    }

    fn licence(sku: &str, seats: u32, mac: Option<u8>) -> Licence {
        let code_mac = mac.map(|byte| [byte; 32]);
        Licence::new("dsa".parse().unwrap(), sku.parse().unwrap(), seats, code_mac, at(0))
    }

    fn one(seats: u32) -> (Licences, LicenceId) {
        let (mut licences, id) = (Licences::default(), "lic_a".parse::<LicenceId>().unwrap());
        licences.add(id.clone(), licence("DS", seats, Some(1))).unwrap();
        (licences, id)
    }

    #[test]
    fn no_more_seats_are_held_than_there_are() {
        let (mut licences, id) = one(3);
        let mut allot = |from, to, seats| licences.allot(&id, &Move { from, to, seats }, at(1));
        allot(None, holder("cus_a", ""), 2).unwrap();
        assert_eq!(allot(None, holder("cus_b", ""), 2), Err(Refusal::SeatsTaken));
        allot(None, holder("cus_b", "mch_b"), 1).unwrap();
        assert_eq!(allot(None, holder("cus_a", ""), 1), Err(Refusal::SeatsTaken));
        assert_eq!(allot(holder("cus_a", ""), holder("cus_b", ""), 3), Err(Refusal::SeatsTaken));
        allot(holder("cus_a", ""), holder("cus_b", ""), 1).unwrap();
        allot(holder("cus_b", ""), None, 1).unwrap();
        let licence = licences.get(&id).unwrap();
        let held = |customer: &str| licence.allotted_to(&customer.parse().unwrap());
        assert_eq!((held("cus_a"), held("cus_b"), licence.free()), (1, 1, 1));
    }

    #[test]
    fn a_machine_holds_one_seat_and_whoever_holds_none_is_no_holder() {
        let (mut licences, id) = one(5);
        let mut allot = |from, to, seats| licences.allot(&id, &Move { from, to, seats }, at(1));
        assert_eq!(allot(None, holder("cus_a", "mch_a"), 2), Err(Refusal::SeatsTaken));
        allot(None, holder("cus_a", "mch_a"), 1).unwrap();
        assert_eq!(allot(None, holder("cus_a", "mch_a"), 1), Err(Refusal::SeatsTaken));
        assert_eq!(allot(None, holder("cus_a", ""), 0), Err(Refusal::Malformed));
        assert_eq!(allot(holder("cus_a", ""), holder("cus_a", ""), 1), Err(Refusal::Malformed));
        allot(holder("cus_a", "mch_a"), holder("cus_a", "mch_b"), 1).unwrap();
        let holders = licences.get(&id).unwrap().holders().map(|(holder, _)| holder.machine.clone());
        assert_eq!(holders.collect::<Vec<_>>(), [Some("mch_b".parse().unwrap())]);
    }

    #[test]
    fn a_code_is_there_once_and_may_come_again_when_its_licence_was_withdrawn() {
        let (mut licences, id) = one(2);
        let again = "lic_b".parse::<LicenceId>().unwrap();
        assert_eq!(licences.add(id.clone(), licence("DS", 1, None)), Err(Refusal::Repeated));
        assert_eq!(licences.add(again.clone(), licence("DS", 1, Some(1))), Err(Refusal::Repeated));
        assert_eq!(licences.add(again.clone(), licence("DS", 0, None)), Err(Refusal::Malformed));
        licences.allot(&id, &Move { from: None, to: holder("cus_a", ""), seats: 2 }, at(1)).unwrap();
        licences.withdraw(&id, at(2)).unwrap();
        assert_eq!(licences.withdraw(&id, at(3)), Err(Refusal::UnknownLicence));
        let seat = Move { from: None, to: holder("cus_a", ""), seats: 1 };
        assert_eq!(licences.allot(&id, &seat, at(3)), Err(Refusal::UnknownLicence));
        licences.add(again.clone(), licence("DS", 1, Some(1))).unwrap();
        assert_eq!(licences.with_code(&[1; 32]), Some(&again));
        assert_eq!(licences.iter().count(), 2);
    }

    #[test]
    fn what_runs_beyond_what_was_given_shows_where_there_are_licences_at_all() {
        let (mut licences, id) = one(5);
        licences.allot(&id, &Move { from: None, to: holder("cus_a", ""), seats: 2 }, at(1)).unwrap();
        let used = [("cus_a", "DS", 3), ("cus_b", "DS", 1), ("cus_b", "WF", 9)];
        let used =
            used.map(|(customer, sku, seats)| ((customer.parse().unwrap(), sku.parse().unwrap()), seats));
        let shown: Vec<_> = holdings(&licences, &used.into())
            .iter()
            .map(|holding| (holding.customer.to_string(), holding.allotted, holding.used, holding.beyond()))
            .collect();
        assert_eq!(shown, [("cus_a".to_owned(), 2, 3, 1), ("cus_b".to_owned(), 0, 1, 1)]);
    }
}
