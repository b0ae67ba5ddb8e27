//! All machines in the order of each key that they are sorted by. Invariant: derived and in memory alone, some hundred
//! bytes a machine, made again with each start; equal to what fold and vault say at its position.
//!
//! In memory, since the names in it may be kept in clear nowhere else, and since a hundred thousand machines are ten
//! megabytes. A row on disk for each key would be written with each report. It is brought up to date from the shelves
//! of the registry that have changed since, so that a question pays for the reports between it and the one before. A
//! page is the run behind its cursor in the order that is asked for, or the machines of one customer sorted; a filter
//! that hardly any machine passes looks at some bytes of each.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_ledger::alerts::is_in_use;
use seatbeat_ledger::operators::Reach;
use seatbeat_ledger::registry::{Machine, Product, Registry};
use seatbeat_ledger::standing::CustomerStanding;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};

use super::field::Field;
use super::names::Names;
use super::{Cursor, InTheField, MachineQuery, MachineSort, MachineState};

/// A place of a machine in the rows; it keeps it.
type Slot = u32;

/// Machines that a search finds at once; where it finds more, the order that is asked for is gone through.
const FOUND_MAX: usize = 5_000;

/// The orders, by what they are sorted by.
const SORTS: [MachineSort; 4] =
    [MachineSort::Id, MachineSort::Customer, MachineSort::LastReport, MachineSort::HostName];

/// See the module's text.
#[derive(Default)]
pub struct Listing {
    position: u64,
    renames: u64,
    /// What the rows were made of.
    registry: Registry,
    rows: Vec<Row>,
    slots: HashMap<MachineId, Slot>,
    /// Names of machines that are not in the registry yet: a name may come before its machine.
    early: HashMap<MachineId, Box<str>>,
    orders: [Vec<Slot>; SORTS.len()],
    field: Field,
    /// Numbers of customers, for rows.
    owners: HashMap<CustomerId, u32>,
    names: Names,
}

/// What a machine is found and sorted by.
struct Row {
    id: MachineId,
    customer: CustomerId,
    /// The customer's number in the listing.
    owner: u32,
    /// In lower case.
    host_name: Box<str>,
    last_report: Option<Timestamp>,
    /// As alerts reckon it: its newest report, or when it was let in.
    heard_at: Timestamp,
    banned: bool,
    retired: bool,
    /// Nobody gave it up.
    in_use: bool,
    agent_version: Arc<str>,
    products: Arc<[Product]>,
}

/// What a page is to hold.
pub struct Wanted<'a> {
    query: &'a MachineQuery,
    reach: Reach,
    /// In lower case.
    search: Option<String>,
    /// Who was heard from before it is silent.
    silent_before: Timestamp,
}

impl<'a> Wanted<'a> {
    /// What a question asks for, within somebody's reach.
    pub fn new(query: &'a MachineQuery, reach: Reach, silent_before: Timestamp) -> Self {
        let search = query.search.as_ref().map(|text| text.to_lowercase());
        Self { query, reach, search, silent_before }
    }

    fn takes(&self, row: &Row) -> bool {
        let MachineQuery { customer, state, product, agent_version, .. } = self.query;
        customer.as_ref().is_none_or(|customer| row.customer == *customer)
            && self.reach.has(&row.customer)
            && state.is_none_or(|state| row.state(self.silent_before) == state)
            && agent_version.as_ref().is_none_or(|version| *row.agent_version == **version)
            && product.as_ref().is_none_or(|product| row.has(product))
            && self.search.as_ref().is_none_or(|text| row.host_name.contains(text) || row.is_called(text))
    }

    /// Whose machines alone can be on the page; none: anybody's.
    fn customers(&self) -> Option<Vec<&CustomerId>> {
        match (&self.query.customer, &self.reach) {
            (Some(customer), _) => Some(vec![customer]),
            (None, Reach::Customers(customers)) => Some(customers.iter().collect()),
            (None, Reach::House) => None,
        }
    }
}

impl Row {
    fn of(id: MachineId, machine: &Machine, owner: u32, host_name: Box<str>) -> Self {
        let last = machine.last.as_ref();
        Self {
            id,
            customer: machine.customer.clone(),
            owner,
            host_name,
            last_report: last.map(|last| last.observed_at),
            heard_at: last.map_or(machine.enrolled_at, |last| last.observed_at),
            banned: machine.banned,
            retired: machine.retired_at.is_some(),
            in_use: is_in_use(machine),
            agent_version: Arc::clone(&machine.agent_version),
            products: last.map(|last| Arc::clone(&last.products)).unwrap_or_default(),
        }
    }

    fn state(&self, silent_before: Timestamp) -> MachineState {
        match self {
            Self { banned: true, .. } => MachineState::Banned,
            Self { retired: true, .. } => MachineState::Retired,
            Self { heard_at, .. } if *heard_at >= silent_before => MachineState::Reporting,
            _ => MachineState::Silent,
        }
    }

    fn has(&self, product: &ProductId) -> bool {
        self.products.iter().any(|found| found.product == *product)
    }

    /// Whether its id begins so, with or without what every id begins with.
    fn is_called(&self, text: &str) -> bool {
        let id = self.id.as_str();
        id.starts_with(text) || id[MachineId::PREFIX.len()..].starts_with(text)
    }

    /// What it is sorted by, as text that sorts alike.
    fn key(&self, sort: MachineSort) -> String {
        match sort {
            MachineSort::Id => String::new(),
            MachineSort::Customer => self.customer.to_string(),
            MachineSort::HostName => self.host_name.to_string(),
            // Sixteen digits reach beyond the year 9999.
            MachineSort::LastReport => {
                self.last_report.map(|at| format!("{:016}", at.as_millisecond().max(0))).unwrap_or_default()
            }
        }
    }

    fn compare(&self, other: &Self, sort: MachineSort) -> Ordering {
        let by_key = match sort {
            MachineSort::Id => Ordering::Equal,
            MachineSort::Customer => self.customer.cmp(&other.customer),
            MachineSort::HostName => self.host_name.cmp(&other.host_name),
            MachineSort::LastReport => {
                let ms = |row: &Self| row.last_report.map(|at| at.as_millisecond().max(0));
                ms(self).cmp(&ms(other))
            }
        };
        by_key.then_with(|| self.id.cmp(&other.id))
    }

    fn is_behind(&self, cursor: &Cursor, sort: MachineSort) -> bool {
        (self.key(sort).as_str(), &self.id) > (cursor.key.as_str(), &cursor.machine)
    }
}

impl Listing {
    /// How many records it reflects.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many names it reflects.
    pub fn renames(&self) -> u64 {
        self.renames
    }

    /// Takes in what has changed: the registry at a position, and names.
    pub fn refresh(
        &mut self,
        registry: Option<(u64, Registry)>,
        renames: u64,
        names: Vec<(MachineId, String)>,
    ) {
        let mut changed: [Vec<Slot>; SORTS.len()] = Default::default();
        for (id, name) in names {
            let name = name.to_lowercase().into_boxed_str();
            match self.slots.get(&id) {
                Some(slot) => self.rename(*slot, name, &mut changed),
                None => drop(self.early.insert(id, name)),
            }
        }
        self.renames = renames;
        if let Some((position, registry)) = registry {
            let before = std::mem::take(&mut self.registry);
            for (id, machine) in registry.changed_since(&before) {
                self.take(id, machine, &mut changed);
            }
            (self.position, self.registry) = (position, registry);
        }
        if !changed[MachineSort::HostName as usize].is_empty() {
            self.names = Names::of(self.rows.iter().map(|row| &*row.host_name));
        }
        for ((sort, order), changed) in SORTS.into_iter().zip(&mut self.orders).zip(changed) {
            reorder(order, changed, &self.rows, sort);
        }
    }

    fn rename(&mut self, slot: Slot, name: Box<str>, changed: &mut [Vec<Slot>; SORTS.len()]) {
        let row = &mut self.rows[slot as usize];
        if row.host_name != name {
            row.host_name = name;
            changed[MachineSort::HostName as usize].push(slot);
        }
    }

    fn take(&mut self, id: &MachineId, machine: &Machine, changed: &mut [Vec<Slot>; SORTS.len()]) {
        let owner = self.owner(&machine.customer);
        let Some(&slot) = self.slots.get(id) else {
            // A collector does not let in more than that in a lifetime.
            let slot = Slot::try_from(self.rows.len()).expect("fewer than four thousand million machines");
            let name = self.early.remove(id).unwrap_or_default();
            let row = Row::of(id.clone(), machine, owner, name);
            if row.in_use {
                self.field.add(&row.customer, &row.agent_version);
            }
            self.rows.push(row);
            self.slots.insert(id.clone(), slot);
            changed.iter_mut().for_each(|changed| changed.push(slot));
            return;
        };
        let row = &mut self.rows[slot as usize];
        let name = std::mem::take(&mut row.host_name);
        let before = std::mem::replace(row, Row::of(id.clone(), machine, owner, name));
        if before.in_use {
            self.field.remove(&before.customer, &before.agent_version);
        }
        if row.in_use {
            self.field.add(&row.customer, &row.agent_version);
        }
        if row.customer != before.customer {
            changed[MachineSort::Customer as usize].push(slot);
        }
        if row.last_report != before.last_report {
            changed[MachineSort::LastReport as usize].push(slot);
        }
    }

    /// How many machines are in the field within somebody's reach, and how many of them were not heard from since.
    pub fn in_the_field(&self, reach: &Reach, heard_since: Timestamp) -> InTheField {
        let is_here = |customer: &CustomerId| {
            reach.has(customer) && self.registry.standing(customer) == CustomerStanding::Active
        };
        let versions = self.field.versions(is_here);
        let mut here = vec![false; self.owners.len()];
        self.owners.iter().for_each(|(customer, owner)| here[*owner as usize] = is_here(customer));
        let is_silent = |row: &&Row| row.in_use && row.heard_at < heard_since && here[row.owner as usize];
        let order = &self.orders[MachineSort::LastReport as usize];
        let end = order.partition_point(|slot| {
            self.row(*slot).last_report.is_none_or(|last_report| last_report < heard_since)
        });
        // Where they are many it is faster to go through all as they lie in memory.
        let silent = match end < self.rows.len() / 4 {
            true => order[..end].iter().map(|slot| self.row(*slot)).filter(is_silent).count(),
            false => self.rows.iter().filter(is_silent).count(),
        };
        InTheField { machines: versions.values().sum(), silent: silent as u64, versions }
    }

    fn owner(&mut self, customer: &CustomerId) -> u32 {
        if let Some(owner) = self.owners.get(customer) {
            return *owner;
        }
        // Fewer than there are machines.
        let owner = u32::try_from(self.owners.len()).expect("fewer than four thousand million customers");
        self.owners.insert(customer.clone(), owner);
        owner
    }

    /// The machines of some customers, whatever became of them.
    pub fn ids_of(&self, customers: &BTreeSet<CustomerId>) -> Vec<MachineId> {
        let by_customer = &self.orders[MachineSort::Customer as usize];
        let of = |customer: &CustomerId| {
            let start = by_customer.partition_point(|slot| self.row(*slot).customer < *customer);
            let end = by_customer.partition_point(|slot| self.row(*slot).customer <= *customer);
            by_customer[start..end].iter().map(|slot| self.row(*slot).id.clone())
        };
        customers.iter().flat_map(of).collect()
    }

    /// The machines of a page, and where the next one begins.
    pub fn page(&self, wanted: &Wanted<'_>, size: usize) -> (Vec<(MachineId, Machine)>, Option<Cursor>) {
        let sort = wanted.query.sort;
        let limit = size + 1;
        let mut slots = if let Some(customers) = wanted.customers() {
            self.of_customers(&customers, wanted, limit)
        } else if let Some(found) = wanted.search.as_deref().and_then(|words| self.found(words)) {
            self.first(found, wanted, limit)
        } else {
            let order = &self.orders[sort as usize];
            let start = match &wanted.query.page_after {
                Some(cursor) => order.partition_point(|slot| !self.row(*slot).is_behind(cursor, sort)),
                None => 0,
            };
            let behind = order[start..].iter().copied();
            behind.filter(|slot| wanted.takes(self.row(*slot))).take(limit).collect()
        };
        let has_more = slots.len() > size;
        slots.truncate(size);
        let next = slots.last().filter(|_| has_more).map(|slot| {
            let last = self.row(*slot);
            Cursor { key: last.key(sort), machine: last.id.clone() }
        });
        let machine = |slot: Slot| {
            let id = &self.row(slot).id;
            Some((id.clone(), self.registry.machine(id)?.clone()))
        };
        (slots.into_iter().filter_map(machine).collect(), next)
    }

    /// All machines whose names have these words in them or whose ids begin so; none: they are too many.
    fn found(&self, words: &str) -> Option<Vec<Slot>> {
        let mut found = self.names.with(words, FOUND_MAX)?;
        let by_id = &self.orders[MachineSort::Id as usize];
        for start in [words.to_owned(), format!("{}{words}", MachineId::PREFIX)] {
            let from = by_id.partition_point(|slot| self.row(*slot).id.as_str() < start.as_str());
            let begins_so = |slot: &&Slot| self.row(**slot).id.as_str().starts_with(&start);
            found.extend(by_id[from..].iter().take_while(begins_so).take(FOUND_MAX));
            if found.len() >= FOUND_MAX {
                return None;
            }
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }

    /// The first of some customers' machines behind the cursor.
    fn of_customers(&self, customers: &[&CustomerId], wanted: &Wanted<'_>, limit: usize) -> Vec<Slot> {
        let by_customer = &self.orders[MachineSort::Customer as usize];
        let mut theirs: Vec<Slot> = Vec::new();
        for customer in customers {
            let start = by_customer.partition_point(|slot| self.row(*slot).customer < **customer);
            let of = by_customer[start..].iter().copied();
            theirs.extend(of.take_while(|slot| self.row(*slot).customer == **customer));
        }
        self.first(theirs, wanted, limit)
    }

    /// The first of these that are wanted, behind the cursor.
    fn first(&self, mut slots: Vec<Slot>, wanted: &Wanted<'_>, limit: usize) -> Vec<Slot> {
        let (sort, cursor) = (wanted.query.sort, wanted.query.page_after.as_ref());
        slots.retain(|slot| {
            let row = self.row(*slot);
            cursor.is_none_or(|cursor| row.is_behind(cursor, sort)) && wanted.takes(row)
        });
        let compare = |one: &Slot, other: &Slot| self.row(*one).compare(self.row(*other), sort);
        if slots.len() > limit {
            slots.select_nth_unstable_by(limit, compare);
            slots.truncate(limit);
        }
        slots.sort_unstable_by(compare);
        slots
    }

    fn row(&self, slot: Slot) -> &Row {
        &self.rows[slot as usize]
    }
}

/// Puts what has changed into its place: the rest moves as it stands and is not compared.
fn reorder(order: &mut Vec<Slot>, mut changed: Vec<Slot>, rows: &[Row], sort: MachineSort) {
    if changed.is_empty() {
        return;
    }
    changed.sort_unstable();
    changed.dedup();
    if !order.is_empty() {
        let mut is_changed = vec![false; rows.len()];
        changed.iter().for_each(|slot| is_changed[*slot as usize] = true);
        order.retain(|slot| !is_changed[*slot as usize]);
    }
    let compare = |one: &Slot, other: &Slot| rows[*one as usize].compare(&rows[*other as usize], sort);
    changed.sort_unstable_by(compare);
    let stayed = std::mem::take(order);
    order.reserve(stayed.len() + changed.len());
    let mut left = stayed.as_slice();
    for slot in changed {
        let before = left.partition_point(|one| compare(one, &slot) == Ordering::Less);
        order.extend_from_slice(&left[..before]);
        order.push(slot);
        left = &left[before..];
    }
    order.extend_from_slice(left);
}
