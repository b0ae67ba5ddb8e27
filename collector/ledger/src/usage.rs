//! The fold: records in, the compact state from which every statement is closed.
//! Invariant: the state depends on the set of records only. Facts are kept by the machine that reported them, so a
//! merge, a split or anything dated back changes what a close reads and nothing needs folding again.
//! A copy is cheap: it shares all that has not changed since.
//!
//! An exact repeat of a record changes nothing. A report sent again with another `received_at` must be settled
//! before (the collector's gateway takes only the next of a chain; `RecordSet` does it for a file), as must a fork.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId, SpoolId};
use serde::{Deserialize, Serialize};

use crate::attendance::Attendance;
use crate::calendar::{Day, Period, Zone};
use crate::few::{FewMap, FewSet};
use crate::names::SharedNames;
use crate::record::{Entry, Event, POOL_FLAG, Record, Report, Sku};
use crate::shelf::{Share, Shelves};

/// A machine's clock may be this far ahead of the collector's.
pub(crate) const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Two months, so that all of the last period can still arrive.
pub(crate) const AGE_MAX: SignedDuration = SignedDuration::from_hours(62 * 24);

/// Why a report was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Observed more than ten minutes after it was received.
    ClockAhead,
    /// Received more than 62 days after it was observed.
    TooOld,
}

/// Whether a report is accepted.
pub fn judge(report: &Report) -> Result<(), RejectReason> {
    let age = report.received_at.duration_since(report.observed_at);
    if age < -AHEAD_MAX {
        Err(RejectReason::ClockAhead)
    } else if age > AGE_MAX {
        Err(RejectReason::TooOld)
    } else {
        Ok(())
    }
}

/// A report that was not accepted, as a statement lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rejected {
    /// Who sent it, under its own name.
    pub machine: MachineId,
    /// Its chain.
    pub spool: SpoolId,
    /// Its place in the chain.
    pub sequence: u64,
    /// Why.
    pub reason: RejectReason,
}

/// A switch of a product on a machine; at one instant on wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Switch {
    /// Switched off.
    Off,
    /// Switched on.
    On,
}

/// A step in the life of a licence; at one instant resumed wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LicenceStep {
    /// Suspended.
    Suspended,
    /// Resumed.
    Resumed,
}

/// What is known of a pair of machines; at one instant split wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bond {
    /// One machine.
    Merged,
    /// Two.
    Split,
}

/// What is known of one agent's machine, or of several joined in one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// What its reports amount to.
    pub attendance: Attendance,
    /// Its owners over time.
    pub assigned: FewSet<(Timestamp, CustomerId)>,
    /// When it was retired.
    pub retired: BTreeSet<Timestamp>,
    /// Flags raised by records, `pool` included.
    pub flagged: BTreeSet<(Timestamp, String)>,
    /// Switches of its products.
    pub switches: FewMap<ProductId, BTreeSet<(Timestamp, Switch)>>,
    /// Days with a report that is one of a fork.
    pub forked: BTreeSet<Day>,
}

impl MachineFacts {
    /// Takes in what is known of another agent on the same machine.
    pub fn absorb(&mut self, other: &Self) {
        self.attendance.absorb(&other.attendance);
        other.assigned.iter().for_each(|one| _ = self.assigned.insert(one.clone()));
        self.retired.extend(&other.retired);
        self.flagged.extend(other.flagged.iter().cloned());
        self.forked.extend(&other.forked);
        for (product, switches) in other.switches.iter() {
            self.switches.get_or_default(product).extend(switches);
        }
    }

    /// Whether it was flagged as one of a pool at or before an instant.
    pub fn is_pool(&self, instant: Timestamp) -> bool {
        self.flagged.iter().take_while(|(at, _)| *at <= instant).any(|(_, flag)| flag == POOL_FLAG)
    }
}

impl Share for MachineFacts {
    fn share(&mut self, names: &mut SharedNames) {
        self.assigned.iter_mut().for_each(|(_, customer)| names.customer(customer));
        self.attendance.share(names);
    }
}

type Bonds = BTreeMap<MachineId, BTreeMap<MachineId, (Timestamp, Bond)>>;

/// What a product was billed as over time; `None`: deliberately not billed.
type SkuHistory = BTreeSet<(Timestamp, Option<Sku>)>;
type ByCustomerSku<T> = BTreeMap<CustomerId, BTreeMap<Sku, T>>;

/// Everything that a statement is closed from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    zone: Zone,
    machines: Shelves<MachineFacts>,
    /// The smaller id of a pair to the larger, with the latest decision.
    bonds: Arc<Bonds>,
    sku_assigned: Arc<BTreeMap<CustomerId, BTreeMap<ProductId, SkuHistory>>>,
    licences: Arc<ByCustomerSku<BTreeSet<(Timestamp, LicenceStep)>>>,
    /// The latest declaration: when, and how many.
    declared: Arc<BTreeMap<Period, ByCustomerSku<(Timestamp, u64)>>>,
    /// Every adjustment as it was written, as equal ones are one.
    adjusted: Arc<BTreeMap<Period, ByCustomerSku<BTreeSet<Adjustment>>>>,
    rejected: Arc<BTreeMap<Day, BTreeSet<Rejected>>>,
    #[serde(skip)]
    names: SharedNames,
}

/// An adjustment, with all that tells it from another of the same size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Adjustment {
    /// When it takes effect.
    pub at: Timestamp,
    /// When it was written down.
    pub recorded_at: Timestamp,
    /// Its own id, if it has one.
    pub id: Option<String>,
    /// Who entered it.
    pub operator: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// By how much.
    pub delta: i64,
}

impl Usage {
    /// Nothing known yet; days will be those of this zone.
    pub fn new(zone: Zone) -> Self {
        Self { zone, ..Self::default() }
    }

    /// The zone whose days these are.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Takes in one record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Report(report) => self.apply_report(report),
            Record::Entry(entry) => self.apply_entry(entry),
        }
    }

    /// Takes in one report, accepted or not.
    pub fn apply_report(&mut self, report: &Report) {
        match judge(report) {
            Ok(()) => {
                let day = self.zone.usage_day(report.observed_at);
                let attendance = &mut self.machines.get_or_default(&report.machine).attendance;
                attendance.add(day, report.observed_at, &report.products, &mut self.names);
            }
            Err(reason) => {
                let day = self.zone.usage_day(report.received_at);
                Arc::make_mut(&mut self.rejected).entry(day).or_default().insert(Rejected {
                    machine: report.machine.clone(),
                    spool: report.spool.clone(),
                    sequence: report.sequence,
                    reason,
                });
            }
        }
    }

    /// Notes that an accepted report is one of several different ones at the same place of a chain.
    pub fn note_fork(&mut self, machine: &MachineId, observed_at: Timestamp) {
        let day = self.zone.usage_day(observed_at);
        self.machine(machine).forked.insert(day);
    }

    /// Takes in one record that is not a report.
    pub fn apply_entry(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.event {
            Event::MachineAssigned { machine, customer } => {
                let mut customer = customer.clone();
                self.names.customer(&mut customer);
                self.machine(machine).assigned.insert((at, customer));
            }
            Event::SkuAssigned { customer, product, sku } => {
                let products = Arc::make_mut(&mut self.sku_assigned).entry(customer.clone()).or_default();
                products.entry(product.clone()).or_default().insert((at, sku.clone()));
            }
            Event::SwitchedOff { machine, product } => self.switch(machine, product, (at, Switch::Off)),
            Event::SwitchedOn { machine, product } => self.switch(machine, product, (at, Switch::On)),
            Event::LicenceSuspended { customer, sku } => {
                self.step(customer, sku, (at, LicenceStep::Suspended))
            }
            Event::LicenceResumed { customer, sku } => self.step(customer, sku, (at, LicenceStep::Resumed)),
            Event::MachineRetired { machine } => {
                self.machine(machine).retired.insert(at);
            }
            Event::MachinesMerged { kept, absorbed } => self.bond(kept, absorbed, (at, Bond::Merged)),
            Event::MachinesSplit { kept, absorbed } => self.bond(kept, absorbed, (at, Bond::Split)),
            Event::MachineFlagged { machine, flag } => {
                self.machine(machine).flagged.insert((at, flag.clone()));
            }
            Event::Declared { customer, sku, period, quantity } => {
                let periods = Arc::make_mut(&mut self.declared);
                let skus = periods.entry(*period).or_default().entry(customer.clone()).or_default();
                let kept = skus.entry(sku.clone()).or_insert((at, *quantity));
                *kept = (*kept).max((at, *quantity));
            }
            Event::Adjusted { customer, sku, period, delta } => {
                let periods = Arc::make_mut(&mut self.adjusted);
                let skus = periods.entry(*period).or_default().entry(customer.clone()).or_default();
                skus.entry(sku.clone()).or_default().insert(Adjustment {
                    at,
                    recorded_at: entry.recorded_at,
                    id: entry.id.clone(),
                    operator: entry.operator.clone(),
                    reason: entry.reason.clone(),
                    delta: *delta,
                });
            }
        }
    }

    fn machine(&mut self, id: &MachineId) -> &mut MachineFacts {
        self.machines.get_or_default(id)
    }

    fn switch(&mut self, machine: &MachineId, product: &ProductId, switch: (Timestamp, Switch)) {
        self.machine(machine).switches.get_or_default(product).insert(switch);
    }

    fn step(&mut self, customer: &CustomerId, sku: &Sku, step: (Timestamp, LicenceStep)) {
        let skus = Arc::make_mut(&mut self.licences).entry(customer.clone()).or_default();
        skus.entry(sku.clone()).or_default().insert(step);
    }

    fn bond(&mut self, one: &MachineId, other: &MachineId, bond: (Timestamp, Bond)) {
        let (small, large) = if one < other { (one, other) } else { (other, one) };
        let bonds = Arc::make_mut(&mut self.bonds);
        let kept = bonds.entry(small.clone()).or_default().entry(large.clone()).or_insert(bond);
        *kept = (*kept).max(bond);
    }

    /// What is known of each machine, under the name it reported by.
    pub fn machines(&self) -> &Shelves<MachineFacts> {
        &self.machines
    }

    /// The latest decision about a pair of machines, when there was one.
    pub fn bond_of(&self, one: &MachineId, other: &MachineId) -> Option<Bond> {
        let (small, large) = if one < other { (one, other) } else { (other, one) };
        self.bonds.get(small)?.get(large).map(|(_, bond)| *bond)
    }

    /// The pairs of machines that are one by the latest decision.
    pub fn merged_pairs(&self) -> impl Iterator<Item = (&MachineId, &MachineId)> + '_ {
        self.bonds.iter().flat_map(|(small, others)| {
            others.iter().filter(|(_, (_, bond))| *bond == Bond::Merged).map(move |(large, _)| (small, large))
        })
    }

    /// The latest decision about each pair that a machine is of: the other one, when, and what.
    pub fn bonds_of<'a>(
        &'a self,
        machine: &'a MachineId,
    ) -> impl Iterator<Item = (&'a MachineId, Timestamp, Bond)> + 'a {
        let larger = self.bonds.get(machine).into_iter().flatten();
        let smaller = self.bonds.range::<MachineId, _>(..machine);
        let smaller = smaller.filter_map(|(small, others)| Some((small, others.get(machine)?)));
        larger.chain(smaller).map(|(other, (at, bond))| (other, *at, *bond))
    }

    /// The pairs of machines last decided upon at or after an instant.
    pub fn bonds_since(&self, since: Timestamp) -> impl Iterator<Item = (&MachineId, &MachineId, Bond)> + '_ {
        let pairs = self.bonds.iter().flat_map(|(small, others)| others.iter().map(move |one| (small, one)));
        pairs
            .filter(move |(_, (_, (at, _)))| *at >= since)
            .map(|(small, (large, (_, bond)))| (small, large, *bond))
    }

    /// The latest SKU assigned to a customer's product before an instant; the greater one at the same instant.
    pub fn sku_assigned_before(
        &self,
        customer: &CustomerId,
        product: &ProductId,
        end: Timestamp,
    ) -> Option<&Option<Sku>> {
        let assigned = self.sku_assigned.get(customer)?.get(product)?;
        assigned.range(..(end, None)).next_back().map(|(_, sku)| sku)
    }

    /// The steps in the life of a customer's licence.
    pub fn licence(&self, customer: &CustomerId, sku: &Sku) -> Option<&BTreeSet<(Timestamp, LicenceStep)>> {
        self.licences.get(customer)?.get(sku)
    }

    /// The customers whose SKUs or licences were told otherwise here than in `other`.
    pub(crate) fn customers_told_otherwise(&self, other: &Self) -> BTreeSet<CustomerId> {
        let mut found = differing(&self.sku_assigned, &other.sku_assigned);
        found.extend(differing(&self.licences, &other.licences));
        found
    }

    /// Whether all that is told beside the machines is what `other` knows.
    pub(crate) fn is_told_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bonds, &other.bonds)
            && Arc::ptr_eq(&self.sku_assigned, &other.sku_assigned)
            && Arc::ptr_eq(&self.licences, &other.licences)
            && Arc::ptr_eq(&self.declared, &other.declared)
            && Arc::ptr_eq(&self.adjusted, &other.adjusted)
            && Arc::ptr_eq(&self.rejected, &other.rejected)
    }

    /// The agents of pairs that are joined in one of the two and parted in the other.
    pub(crate) fn joined_otherwise(&self, other: &Self) -> BTreeSet<MachineId> {
        if Arc::ptr_eq(&self.bonds, &other.bonds) {
            return BTreeSet::new();
        }
        let (own, others): (BTreeSet<_>, BTreeSet<_>) =
            (self.merged_pairs().collect(), other.merged_pairs().collect());
        own.symmetric_difference(&others).flat_map(|(one, two)| [(*one).clone(), (*two).clone()]).collect()
    }

    /// The instants at which something was said about the SKU of a customer's products, or about its licences.
    pub(crate) fn told_at(&self, customer: &CustomerId) -> impl Iterator<Item = Timestamp> + '_ {
        let skus = self.sku_assigned.get(customer).into_iter().flatten();
        let steps = self.licences.get(customer).into_iter().flatten();
        skus.flat_map(|(_, history)| history.iter().map(|(at, _)| *at))
            .chain(steps.flat_map(|(_, steps)| steps.iter().map(|(at, _)| *at)))
    }

    /// What stands declared for a period.
    pub fn declared(&self, period: Period) -> BTreeMap<(CustomerId, Sku), u64> {
        flat(self.declared.get(&period)).map(|(key, (_, quantity))| (key, *quantity)).collect()
    }

    /// The sum of the adjustments of a period.
    pub fn adjusted(&self, period: Period) -> BTreeMap<(CustomerId, Sku), i128> {
        flat(self.adjusted.get(&period))
            .map(|(key, all)| (key, all.iter().map(|adjustment| i128::from(adjustment.delta)).sum()))
            .collect()
    }

    /// The reports rejected on the days from `first` to before `end`.
    pub fn rejected(&self, first: Day, end: Day) -> impl Iterator<Item = &Rejected> + '_ {
        self.rejected.range(first..end).flat_map(|(_, rejected)| rejected)
    }
}

fn differing<T: PartialEq>(
    one: &Arc<BTreeMap<CustomerId, T>>,
    other: &Arc<BTreeMap<CustomerId, T>>,
) -> BTreeSet<CustomerId> {
    if Arc::ptr_eq(one, other) {
        return BTreeSet::new();
    }
    let all = one.keys().chain(other.keys());
    all.filter(|customer| one.get(*customer) != other.get(*customer)).cloned().collect()
}

fn flat<T>(nested: Option<&ByCustomerSku<T>>) -> impl Iterator<Item = ((CustomerId, Sku), &T)> + '_ {
    nested.into_iter().flatten().flat_map(|(customer, skus)| {
        skus.iter().map(move |(sku, value)| ((customer.clone(), sku.clone()), value))
    })
}
