//! What an order would do where: each machine and product that it is about, whether and how it can be done, and why
//! not. Invariant: nothing is left out in silence; what is planned here is what can be placed.

use std::collections::BTreeSet;

use jiff::Timestamp;
use seatbeat_ledger::entitlements::Holder;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::orders::{Order, Outcome, Scope};
use seatbeat_ledger::record::State;
use seatbeat_ledger::registry::{Machine, Product};
use seatbeat_proto::catalogue::{Catalogue, Count, Os};
use seatbeat_proto::ids::{CustomerId, MachineId, OrderId, ProductId};
use seatbeat_proto::procedures::{Need, Procedure, Switch, procedures};
use seatbeat_proto::wire::Action;
use serde::{Deserialize, Serialize};

use crate::console::fault::Fault;

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Products are to run no longer.
    SwitchOff,
    /// Products are to run again.
    SwitchOn,
    /// Products are to be removed.
    Uninstall,
    /// Agents are to go, once nothing runs any more.
    Unenrol,
}

/// One order as it would be placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRow {
    /// On which machine.
    pub machine: MachineId,
    /// What the machine is called; empty: not known.
    pub host_name: String,
    /// Whose it is.
    pub customer: CustomerId,
    /// Of what; none: of the agent itself.
    pub product: Option<ProductId>,
    /// How it stands, as was reported last.
    pub state: Option<State>,
    /// What is done there, in a sentence; of several, one that fits is chosen on the machine.
    pub how: Vec<String>,
    /// Why it cannot be done; none: it can.
    pub cannot: Option<Cannot>,
    /// Whether the machine is connected now.
    pub connected: bool,
    /// When it was heard from last.
    pub last_seen: Option<Timestamp>,
    /// Whether a password of the product's is asked for.
    pub password: Asked,
    /// Whether the vendor's manager, tenant and token are asked for.
    pub activation: Asked,
    /// What secrets are sealed to, base64; empty: none can be.
    #[serde(with = "base64_text")]
    pub seal_key: Vec<u8>,
    /// The order whose place it takes.
    pub supersedes: Option<OrderId>,
}

/// Whether something is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// There is no use for it.
    #[default]
    No,
    /// Where it is set in the vendor's console.
    May,
    /// Nothing is done without.
    Must,
}

/// Why something cannot be done on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Cannot {
    /// No procedure for it.
    #[error("there is no way to do it on the machine: do it at the distributor or in the vendor's console")]
    NoProcedure,
    /// It is as it is to be.
    #[error("it is so already")]
    AlreadySo,
    /// It is not there.
    #[error("the product was not seen on the machine")]
    NotThere,
    /// The machine never reported.
    #[error("nothing was heard of the machine yet")]
    NeverHeard,
    /// Its agent is of before there were orders.
    #[error("its agent takes no orders: install the newer one")]
    OldAgent,
    /// Its agent knows no order key.
    #[error(
        "its agent knows no order key: run `seatbeat-agent trust-orders` there with the text of `seatbeat orders key show`"
    )]
    TrustsNobody,
    /// It is not let in.
    #[error("the machine is banned")]
    Banned,
    /// It is another one now.
    #[error("the machine was merged into another one")]
    Merged,
}

impl PlanRow {
    fn new(id: &MachineId, machine: &Machine) -> Self {
        let key = machine.seal_key.and_then(|key| key.public_key);
        Self {
            machine: id.clone(),
            host_name: String::new(),
            customer: machine.customer.clone(),
            product: None,
            state: None,
            how: Vec::new(),
            cannot: why_no_orders(machine),
            connected: false,
            last_seen: machine.last.as_ref().map(|last| last.received_at),
            password: Asked::No,
            activation: Asked::No,
            seal_key: key.map(|key| key.to_vec()).unwrap_or_default(),
            supersedes: None,
        }
    }

    fn with_product(
        mut self,
        product: &ProductId,
        state: Option<State>,
        os: Option<Os>,
        switch: Switch,
    ) -> Self {
        let ways = os.map(|os| procedures(Catalogue::embedded(), product, os, switch)).unwrap_or_default();
        let asked = |need: fn(Procedure) -> Need| {
            ways.iter().map(|way| Asked::from(need(*way))).max().unwrap_or_default()
        };
        let is_so = match (switch, state) {
            (_, None) => Some(Cannot::NotThere),
            (Switch::Off, Some(State::Inactive | State::SwitchedOff)) | (Switch::On, Some(State::Active)) => {
                Some(Cannot::AlreadySo)
            }
            _ => None,
        };
        let no_way = ways.is_empty().then_some(Cannot::NoProcedure);
        self.cannot = self.cannot.or(is_so).or(no_way);
        (self.password, self.activation) = (asked(Procedure::password), asked(Procedure::activation));
        self.how = ways.iter().map(|way| way.sentence().to_owned()).collect();
        (self.product, self.state) = (Some(product.clone()), state);
        self
    }
}

/// The rows of a wish, by machine and product; names and presence are put in by who knows them.
///
/// # Errors
/// When the scope names nobody that is known, or nothing at all.
pub fn plan(fold: &Fold, wish: Wish, scope: &Scope, now: Timestamp) -> Result<Vec<PlanRow>, Fault> {
    let mut rows = Vec::new();
    let product = product_of(fold, scope)?;
    for (id, machine) in machines(fold, scope)? {
        let switch = match wish {
            Wish::SwitchOff | Wish::Unenrol => Switch::Off,
            Wish::SwitchOn => Switch::On,
            Wish::Uninstall => Switch::Uninstall,
        };
        let os = machine.facts.as_ref().and_then(|facts| Os::from_name(&facts.os));
        let found = machine.last.iter().flat_map(|last| last.products.iter());
        let orders = fold.orders().of_machine(&id);
        let named = |found: &Product| match wish {
            Wish::SwitchOn => switched_as(orders, &found.product),
            _ => found.product.clone(),
        };
        let found: Vec<(ProductId, State)> = found
            .map(|one| (named(one), one.state))
            .filter(|(one, _)| is_asked(one, product.as_ref()))
            .collect();
        for (one, state) in &found {
            let row = PlanRow::new(&id, machine).with_product(one, Some(*state), os, switch);
            // What does not run is in nobody's way.
            if wish != Wish::Unenrol || row.cannot != Some(Cannot::AlreadySo) {
                rows.push(row);
            }
        }
        if let (Some(product), true, false) = (&product, found.is_empty(), wish == Wish::Unenrol) {
            rows.push(PlanRow::new(&id, machine).with_product(product, None, os, switch));
        }
        if wish == Wish::Unenrol {
            rows.push(PlanRow::new(&id, machine));
        }
    }
    for row in rows.iter_mut().filter(|row| row.cannot.is_none()) {
        let before = fold.orders().of_machine(&row.machine).iter();
        let mut live =
            before.filter(|order| order.batch.is_some() && order.is_live() && now < order.expires_at);
        row.supersedes = live.find(|order| order.product == row.product).map(|order| order.id.clone());
    }
    Ok(rows)
}

/// Whether a product that was found is one that orders are about: seats of machines, and the one asked for.
fn is_asked(found: &ProductId, asked: Option<&ProductId>) -> bool {
    let of = Catalogue::embedded().product_of(found);
    match asked {
        Some(asked) => found == asked || of.is_some_and(|product| product.id == *asked),
        None => !found.is_family() && of.is_none_or(|product| product.count == Count::Device),
    }
}

/// What a product that was found is switched on as: the edition that an order switched off. Without its manager it shows
/// no edition.
pub(in crate::console) fn switched_as(orders: &[Order], found: &ProductId) -> ProductId {
    let same = |product: &ProductId| {
        let of = Catalogue::embedded().product_of(product);
        of.is_some() && of.map(|of| &of.id) == Catalogue::embedded().product_of(found).map(|of| &of.id)
    };
    let is_done = |order: &&Order| order.end.as_ref().is_some_and(|end| end.outcome == Outcome::Done);
    let done = orders.iter().rev().filter(|order| order.action() == Action::SwitchOff).filter(is_done);
    done.filter_map(|order| order.product.as_ref()).find(|product| same(product)).unwrap_or(found).clone()
}

fn why_no_orders(machine: &Machine) -> Option<Cannot> {
    if machine.absorbed_into.is_some() {
        return Some(Cannot::Merged);
    }
    if machine.banned {
        return Some(Cannot::Banned);
    }
    if machine.last.is_none() {
        return Some(Cannot::NeverHeard);
    }
    match machine.seal_key {
        None => Some(Cannot::OldAgent),
        Some(key) if key.order_keys_revision == 0 => Some(Cannot::TrustsNobody),
        Some(_) => None,
    }
}

fn product_of(fold: &Fold, scope: &Scope) -> Result<Option<ProductId>, Fault> {
    let licence = match &scope.licence {
        Some(id) => Some(fold.licences().get(id).ok_or_else(|| Fault::UnknownLicence(id.clone()))?),
        None => None,
    };
    let of_licence = licence.map(|licence| licence.product.clone());
    match (&scope.product, of_licence) {
        (Some(product), Some(other)) if *product != other => {
            Err(Fault::value("`product`", format!("is `{product}`, and the licence is for `{other}`")))
        }
        (Some(product), _) if product.is_family() => {
            Err(Fault::value("`product`", format!("`{product}` is a family that could not be told apart")))
        }
        (asked, of_licence) => Ok(asked.clone().or(of_licence)),
    }
}

/// The machines that a scope names, by id.
fn machines<'a>(fold: &'a Fold, scope: &Scope) -> Result<Vec<(MachineId, &'a Machine)>, Fault> {
    let registry = fold.registry();
    if let Some(customer) = scope.customer.as_ref().filter(|customer| !registry.has_customer(customer)) {
        return Err(Fault::UnknownCustomer(customer.clone()));
    }
    let mut named: Option<BTreeSet<MachineId>> = None;
    if let Some(machine) = &scope.machine {
        registry.machine(machine).ok_or_else(|| Fault::UnknownMachine(machine.clone()))?;
        named = Some([machine.clone()].into());
    }
    if let Some(id) = &scope.licence {
        let licence = fold.licences().get(id).ok_or_else(|| Fault::UnknownLicence(id.clone()))?;
        let holders = licence.holders().flat_map(|(Holder { customer, machine }, _)| match machine {
            Some(machine) => vec![machine.clone()],
            None => registry.machines_of(customer, None).map(|(id, _)| id.clone()).collect(),
        });
        let held: BTreeSet<MachineId> = holders.collect();
        named = Some(match named {
            Some(before) => before.intersection(&held).cloned().collect(),
            None => held,
        });
    }
    let named: Vec<MachineId> = match (named, &scope.customer) {
        (Some(named), _) => named.into_iter().collect(),
        (None, Some(customer)) => registry.machines_of(customer, None).map(|(id, _)| id.clone()).collect(),
        (None, None) => {
            return Err(Fault::value("the scope", "names nobody: a machine, a customer or a licence"));
        }
    };
    let known = named.into_iter().filter_map(|id| Some((id.clone(), registry.machine(&id)?)));
    let is_theirs =
        |machine: &Machine| scope.customer.as_ref().is_none_or(|customer| machine.customer == *customer);
    Ok(known.filter(|(_, machine)| is_theirs(machine)).collect())
}

impl From<Need> for Asked {
    fn from(need: Need) -> Self {
        match need {
            Need::No => Self::No,
            Need::May => Self::May,
            Need::Must => Self::Must,
        }
    }
}

mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}
