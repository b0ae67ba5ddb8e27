//! Who is known: customers, tokens, machines and the tips of their chains.
//! Invariant: what must be unique or limited (a token's last use, an id) is decided here, at a record's position,
//! from the records before it alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId, SpoolId, TokenId};
use serde::{Deserialize, Serialize};

use crate::few::FewMap;
use crate::names::SharedNames;
use crate::shelf::{Share, Shelves};
use crate::standing::Departure;
use crate::usage::{AGE_MAX, AHEAD_MAX};

/// Everybody the journal has named so far. Copies share what has not changed: there are tens of thousands of customers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    pub(crate) customers: Arc<BTreeSet<CustomerId>>,
    pub(crate) tokens: Arc<BTreeMap<TokenId, Token>>,
    /// Customers whose names were taken out of the vault.
    pub(crate) erased: BTreeSet<CustomerId>,
    pub(crate) machines: Shelves<Machine>,
    /// The machines of each customer.
    owned: Arc<BTreeMap<CustomerId, Arc<BTreeSet<MachineId>>>>,
    /// Customers that are suspended or left.
    pub(crate) departures: BTreeMap<CustomerId, Departure>,
    /// When the first machine was let in, by the collector's clock.
    first_enrolled_at: Option<Timestamp>,
    #[serde(skip)]
    names: SharedNames,
}

/// An enrolment token: who it lets in, how often, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The customer its machines belong to.
    pub customer: CustomerId,
    /// SHA-256 of the secret; the secret itself is kept nowhere.
    pub secret_hash: [u8; 32],
    /// How many machines it lets in.
    pub uses_max: u32,
    /// How many it has let in.
    pub used: u32,
    /// It lets nobody in from here on.
    pub expires_at: Timestamp,
    /// How many machines an hour; 0: no such limit.
    pub uses_per_hour: u32,
    /// Taken back by an operator.
    pub revoked: bool,
    /// When it let machines in during the last hour.
    recent: VecDeque<Timestamp>,
}

/// One machine key that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// Whose it is now.
    pub customer: CustomerId,
    /// The token that let it in.
    pub token: TokenId,
    /// When it was let in.
    pub enrolled_at: Timestamp,
    /// Shut out by an operator.
    pub banned: bool,
    /// Given up by an operator.
    pub retired_at: Option<Timestamp>,
    /// Recognised by the collector as this other machine set up anew, and when.
    pub absorbed_into: Option<(MachineId, Timestamp)>,
    /// Version its agent reported last.
    pub agent_version: Arc<str>,
    /// Version of the catalogue that its newest report was made with; 0: none yet.
    pub catalogue_version: u32,
    /// Its chains.
    pub spools: FewMap<SpoolId, Tip>,
    /// When each of them was last continued, by the collector's clock.
    pub(crate) continued_at: FewMap<SpoolId, Timestamp>,
    /// Its newest report by its own clock.
    pub last: Option<LastReport>,
    /// What was noticed about it, with the instant.
    pub flags: FewMap<String, Timestamp>,
    /// Its hardware and system facts, as it told them last.
    pub facts: Option<Facts>,
    /// What secrets of orders are sealed to, and whose orders it takes; none: it never said.
    pub seal_key: Option<SealKey>,
}

/// What a machine says of the orders that it takes ([`seatbeat_proto::wire::SealKey`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealKey {
    /// X25519; none: nothing can be sealed to it.
    pub public_key: Option<[u8; 32]>,
    /// Revision of the order keys that it takes orders of; 0: nobody's.
    pub order_keys_revision: u64,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Sequence of the newest evidence.
    pub sequence: u64,
    /// SHA-256 of its payload.
    pub hash: [u8; 32],
}

/// What a machine said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReport {
    /// The machine's clock.
    pub observed_at: Timestamp,
    /// The collector's clock.
    pub received_at: Timestamp,
    /// Products found; machines that show the same share one list.
    pub products: Arc<[Product]>,
}

impl LastReport {
    /// Whether the machine's clock was too far ahead for the report to be accepted.
    fn is_ahead(&self) -> bool {
        self.observed_at.duration_since(self.received_at) > AHEAD_MAX
    }
}

/// A product as a report lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Product {
    /// Its id.
    pub product: ProductId,
    /// `active`, `inactive`, `switched_off` or `unknown`.
    pub state: crate::record::State,
    /// Empty: not known.
    pub version: String,
    /// What spoke for it.
    pub signals: Vec<String>,
    /// Why it is not active.
    pub why: String,
}

/// Salted hashes of a machine's facts ([`seatbeat_proto::wire::Facts`]); an empty one is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// SMBIOS UUID.
    pub smbios_uuid: Vec<u8>,
    /// Serial of the system.
    pub system_serial: Vec<u8>,
    /// Serial of the board.
    pub board_serial: Vec<u8>,
    /// Serial of the system disk.
    pub disk_serial: Vec<u8>,
    /// Onboard network addresses, sorted.
    pub macs: Vec<Vec<u8>>,
    /// machine-id, MachineGuid or IOPlatformUUID.
    pub os_id: Vec<u8>,
    /// Host name.
    pub host_name: Vec<u8>,
    /// linux, windows or macos.
    pub os: String,
    /// One of a pool of short-lived virtual machines.
    pub pool: bool,
}

impl From<seatbeat_proto::wire::Facts> for Facts {
    fn from(facts: seatbeat_proto::wire::Facts) -> Self {
        Self {
            smbios_uuid: facts.smbios_uuid,
            system_serial: facts.system_serial,
            board_serial: facts.board_serial,
            disk_serial: facts.disk_serial,
            macs: facts.macs,
            os_id: facts.os_id,
            host_name: facts.host_name,
            os: facts.os,
            pool: facts.pool,
        }
    }
}

/// Why the fold did not do what a record asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such token.
    #[error("the token is not known here")]
    UnknownToken,
    /// Taken back.
    #[error("the token was revoked")]
    TokenRevoked,
    /// Over.
    #[error("the token has expired")]
    TokenExpired,
    /// Its last use is gone.
    #[error("the token is used up")]
    TokenUsedUp,
    /// Too many in this hour.
    #[error("the token has let in as many machines as it may in an hour")]
    TokenRate,
    /// No such machine.
    #[error("the machine is not known here")]
    UnknownMachine,
    /// No such customer.
    #[error("the customer is not known here")]
    UnknownCustomer,
    /// It is there already.
    #[error("it is there already")]
    Repeated,
    /// A newer one is there.
    #[error("it is not newer than what is there")]
    NotNewer,
    /// Evidence that is not the next of its chain.
    #[error("the evidence does not continue its chain")]
    BrokenChain,
    /// Days are counted in another zone already.
    #[error("the billing zone cannot change once there is evidence")]
    ZoneFixed,
    /// Its fields are not what they have to be.
    #[error("it is malformed")]
    Malformed,
    /// The period has been sealed for this distributor in this revision.
    #[error("the statement is sealed already")]
    Sealed,
    /// Another price list was put in force since it was checked.
    #[error("another price list was put in force meanwhile")]
    Overtaken,
    /// No such licence, or it was withdrawn.
    #[error("the licence is not known here")]
    UnknownLicence,
    /// Fewer seats are there than are asked for.
    #[error("there are not so many seats of the licence")]
    SeatsTaken,
    /// A machine holds seats for its customer.
    #[error("the machine is another customer's")]
    ForeignMachine,
    /// Somebody has to be left who may let others in.
    #[error("it is the last operator who may let others in")]
    LastAdmin,
    /// What it is asked for is for those who have left for good.
    #[error("the customer has not left for good")]
    StillHere,
    /// No such operator, or no longer let in.
    #[error("the operator is not known here")]
    UnknownOperator,
    /// No such statement on its way to such a destination.
    #[error("there is no such statement on its way there")]
    UnknownUpload,
    /// Nothing is sealed that it could be compared with.
    #[error("no statement of that distributor is sealed for the month")]
    NotSealed,
    /// No such batch.
    #[error("the batch of orders is not known here")]
    UnknownBatch,
    /// No such order.
    #[error("the order is not known here")]
    UnknownOrder,
    /// Its orders are placed by who asked for it.
    #[error("the batch of orders was asked for by somebody else")]
    ForeignBatch,
    /// Another machine, product, action or time, or more than were asked for.
    #[error("the order is not one of those that its batch asked for")]
    OutsideBatch,
    /// Nothing of a batch is signed before all of it is on record.
    #[error("the other orders of its batch are not placed yet")]
    BatchNotWhole,
    /// More machines than one operator may switch off alone.
    #[error("the batch of orders waits for a second operator")]
    Held,
    /// There is nothing to confirm.
    #[error("the batch of orders does not wait for a second operator")]
    NotHeld,
    /// The second operator is to be another one.
    #[error("who asked for the orders cannot confirm them: another operator has to")]
    SameOperator,
    /// Not by who may give orders.
    #[error("the signature is none by a key that may give it")]
    BadSignature,
    /// Signed bytes that differ from what was placed.
    #[error("what was signed is not the order as it was placed")]
    OtherOrder,
    /// Expired, cancelled, superseded or ended.
    #[error("the order is over")]
    OrderOver,
    /// The machine is at it.
    #[error("the machine has begun the order: it cannot be cancelled any more")]
    OrderBegun,
}

impl Registry {
    /// Whether the customer is known.
    pub fn has_customer(&self, customer: &CustomerId) -> bool {
        self.customers.contains(customer)
    }

    /// All customers, by id.
    pub fn customers(&self) -> impl Iterator<Item = &CustomerId> {
        self.customers.iter()
    }

    /// Whether a customer's name was taken out of the vault.
    pub fn is_erased(&self, customer: &CustomerId) -> bool {
        self.erased.contains(customer)
    }

    /// The token of this id.
    pub fn token(&self, token: &TokenId) -> Option<&Token> {
        self.tokens.get(token)
    }

    /// All tokens, by id.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenId, &Token)> {
        self.tokens.iter()
    }

    /// The machine of this id.
    pub fn machine(&self, machine: &MachineId) -> Option<&Machine> {
        self.machines.get(machine)
    }

    /// All machines behind this id, or all from the start.
    pub fn machines_after(&self, after: Option<&MachineId>) -> impl Iterator<Item = (&MachineId, &Machine)> {
        self.machines.after(after)
    }

    /// The machines that are new, or of which anything is known that was not, since an earlier copy of this registry.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> Vec<(&'a MachineId, &'a Machine)> {
        let changed = self.machines.differing(&before.machines);
        changed.into_iter().filter_map(|id| Some((id, self.machines.get(id)?))).collect()
    }

    /// How many machines each customer has, those without any left out.
    pub fn machines_of_customers(&self) -> impl Iterator<Item = (&CustomerId, usize)> {
        self.owned.iter().map(|(customer, machines)| (customer, machines.len()))
    }

    /// The machines of a customer behind this id, or all from the start.
    pub fn machines_of<'a>(
        &'a self,
        customer: &CustomerId,
        after: Option<&'a MachineId>,
    ) -> impl Iterator<Item = (&'a MachineId, &'a Machine)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let owned = self.owned.get(customer).into_iter();
        owned
            .flat_map(move |machines| machines.range::<MachineId, _>((from, Unbounded)))
            .filter_map(|id| Some((id, self.machines.get(id)?)))
    }

    /// Whether any machine was let in before an instant.
    pub fn enrolled_before(&self, end: Timestamp) -> bool {
        self.first_enrolled_at.is_some_and(|first| first < end)
    }

    /// Gives a machine to a customer.
    pub(crate) fn assign(&mut self, machine: &MachineId, customer: &CustomerId) -> Result<(), Refusal> {
        let mut customer = customer.clone();
        self.names.customer(&mut customer);
        let known = self.machines.get_mut(machine).ok_or(Refusal::UnknownMachine)?;
        if known.customer == customer {
            return Ok(());
        }
        let owned = Arc::make_mut(&mut self.owned);
        if let Some(machines) = owned.get_mut(&known.customer) {
            Arc::make_mut(machines).remove(machine);
            if machines.is_empty() {
                owned.remove(&known.customer);
            }
        }
        Arc::make_mut(owned.entry(customer.clone()).or_default()).insert(machine.clone());
        known.customer = customer;
        Ok(())
    }

    /// What a report shows, with the names that other machines show too.
    pub(crate) fn share(&mut self, seen: &mut Seen) {
        self.names.text(&mut seen.agent_version);
        self.names.list(&mut seen.last.products);
    }

    /// How many machines there are.
    pub fn machine_count(&self) -> usize {
        self.machines.len()
    }

    /// The customer of a machine that this token would let in at `now`.
    ///
    /// # Errors
    /// Why the token lets nobody in.
    pub fn admits(&self, token: &TokenId, now: Timestamp) -> Result<&CustomerId, Refusal> {
        let token = self.tokens.get(token).ok_or(Refusal::UnknownToken)?;
        if token.revoked {
            return Err(Refusal::TokenRevoked);
        }
        if now >= token.expires_at {
            return Err(Refusal::TokenExpired);
        }
        if token.used >= token.uses_max {
            return Err(Refusal::TokenUsedUp);
        }
        let this_hour = token.recent.iter().filter(|at| within_hour(**at, now)).count();
        if token.uses_per_hour > 0 && this_hour >= token.uses_per_hour as usize {
            return Err(Refusal::TokenRate);
        }
        Ok(&token.customer)
    }

    /// Lets a machine in: once for each key, and only where its token admits it.
    pub(crate) fn enrol(&mut self, id: &MachineId, new: NewMachine, now: Timestamp) -> Result<(), Refusal> {
        if self.machines.contains_key(id) {
            return Err(Refusal::Repeated);
        }
        let mut customer = self.admits(&new.token, now)?.clone();
        let mut new = new;
        self.names.customer(&mut customer);
        self.names.token(&mut new.token);
        self.names.text(&mut new.agent_version);
        if let Some(token) = Arc::make_mut(&mut self.tokens).get_mut(&new.token) {
            token.used += 1;
            token.recent.retain(|at| within_hour(*at, now));
            token.recent.push_back(now);
        }
        let owned = Arc::make_mut(&mut self.owned);
        Arc::make_mut(owned.entry(customer.clone()).or_default()).insert(id.clone());
        self.first_enrolled_at = Some(self.first_enrolled_at.map_or(now, |first| first.min(now)));
        self.machines.insert(id.clone(), Machine::new(new, customer, now));
        Ok(())
    }
}

impl Share for Machine {
    fn share(&mut self, names: &mut SharedNames) {
        names.customer(&mut self.customer);
        names.token(&mut self.token);
        names.text(&mut self.agent_version);
        if let Some(last) = &mut self.last {
            names.list(&mut last.products);
        }
    }
}

/// What a machine says of itself when it asks to be let in.
pub(crate) struct NewMachine {
    pub key: [u8; 32],
    pub token: TokenId,
    pub agent_version: Arc<str>,
    pub facts: Option<Facts>,
}

impl Token {
    pub(crate) fn new(
        customer: CustomerId,
        secret_hash: [u8; 32],
        uses_max: u32,
        expires_at: Timestamp,
        uses_per_hour: u32,
    ) -> Self {
        Self {
            customer,
            secret_hash,
            uses_max,
            used: 0,
            expires_at,
            uses_per_hour,
            revoked: false,
            recent: VecDeque::new(),
        }
    }
}

/// What a report shows of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Version of the agent.
    pub agent_version: Arc<str>,
    /// Version of its catalogue.
    pub catalogue_version: u32,
    /// Facts, when the report has them.
    pub facts: Option<Facts>,
    /// Its seal key, when the report has it.
    pub seal_key: Option<SealKey>,
    /// Products and instants.
    pub last: LastReport,
}

/// Where a link of evidence stands to its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It continues the chain, or begins one.
    Next,
    /// It is the tip itself, come again.
    Tip,
    /// Its sequence was taken before the tip: a repeat, or a fork that only the evidence of old can tell.
    Earlier,
    /// Its sequence is the tip's and its content is not: a fork.
    Fork,
    /// Evidence is missing before it, or it does not name the tip as the one before.
    Broken,
}

impl Machine {
    fn new(new: NewMachine, customer: CustomerId, now: Timestamp) -> Self {
        Self {
            key: new.key,
            customer,
            token: new.token,
            enrolled_at: now,
            banned: false,
            retired_at: None,
            absorbed_into: None,
            agent_version: new.agent_version,
            catalogue_version: 0,
            spools: FewMap::new(),
            continued_at: FewMap::new(),
            last: None,
            flags: FewMap::new(),
            facts: new.facts,
            seal_key: None,
        }
    }

    /// Keeps what a report showed, when nothing newer is known.
    pub(crate) fn remember(&mut self, seen: Seen) {
        self.agent_version = seen.agent_version;
        self.catalogue_version = seen.catalogue_version;
        if seen.facts.is_some() {
            self.facts = seen.facts;
        }
        if seen.seal_key.is_some() {
            self.seal_key = seen.seal_key;
        }
        // A report of a clock that was ahead would stand for years.
        let is_newer = |last: &LastReport| last.observed_at <= seen.last.observed_at || last.is_ahead();
        if self.last.as_ref().is_none_or(is_newer) {
            self.last = Some(seen.last);
        }
    }

    /// Begins a chain or continues it. With a new one, those are forgotten that have been still for so long that
    /// nothing of them would be accepted any more.
    pub(crate) fn continue_chain(&mut self, spool: &SpoolId, tip: Tip, at: Timestamp) {
        if self.spools.insert(spool.clone(), tip).is_none() {
            let still = |since: &Timestamp| at.duration_since(*since) > AGE_MAX + AHEAD_MAX;
            self.continued_at.retain(|_, since| !still(since));
            let continued_at = &self.continued_at;
            self.spools.retain(|known, _| known == spool || continued_at.contains_key(known));
        }
        self.continued_at.insert(spool.clone(), at);
    }

    /// Where evidence stands to this machine's chains.
    pub fn standing(&self, spool: &SpoolId, sequence: u64, previous: &[u8], hash: &[u8; 32]) -> Standing {
        Standing::of(self.spools.get(spool), sequence, previous, hash)
    }
}

impl Standing {
    /// Where evidence stands to the chain that ends with `tip`. A chain that is not known may begin anywhere: after
    /// a collector lost its disk, the agent sends again what it kept.
    pub fn of(tip: Option<&Tip>, sequence: u64, previous: &[u8], hash: &[u8; 32]) -> Self {
        let Some(tip) = tip else {
            let begins = sequence >= 1 && (sequence > 1 || previous.is_empty());
            return if begins { Self::Next } else { Self::Broken };
        };
        if sequence == tip.sequence {
            return if *hash == tip.hash { Self::Tip } else { Self::Fork };
        }
        if sequence < tip.sequence {
            return if sequence == 0 { Self::Broken } else { Self::Earlier };
        }
        if sequence == tip.sequence + 1 && previous == tip.hash { Self::Next } else { Self::Broken }
    }
}

fn within_hour(at: Timestamp, now: Timestamp) -> bool {
    now.as_second() - at.as_second() < 3600
}
