//! What needs somebody, found in the books: each with a name that stays while it lasts. Invariant: a function of the
//! fold, a month's count and an instant; what nobody could act on is no alert.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use seatbeat_proto::ids::{CustomerId, MachineId};
use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::coverage;
use crate::fold::Fold;
use crate::money::Quantity;
use crate::record::{POOL_FLAG, Sku};
use crate::registry::{self, Registry};
use crate::standing::CustomerStanding;
use crate::statement::{Blocker, Flag, Statement};

/// Machines that an alert names; the rest is a number.
pub const MACHINES_NAMED_MAX: usize = 20;

/// What somebody is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Machines of a customer have not been heard from.
    MachineSilent,
    /// So many of all that a count would be a guess.
    CoverageLow,
    /// A product is in use that nothing is billed for.
    ProductUnlicensed,
    /// A product cannot be told from another one.
    ProductAmbiguous,
    /// What was switched off still runs.
    SwitchOffContradicted,
    /// More seats than was agreed with the customer.
    SeatsAboveQuota,
    /// One machine's chain came from two.
    PossibleClone,
    /// The far side did not take a statement, or does not answer.
    UploadRejected,
    /// The month has to be with the distributor soon.
    DeadlineNear,
    /// The disk is nearly full.
    Disk,
    /// The collector's clock and the machines' do not agree.
    Clock,
    /// Something else of the collector.
    Collector,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its name: the same for as long as it is about the same.
    pub alert: String,
    /// By which rule.
    pub rule: Rule,
    /// Whose, where it is one customer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Some of the machines that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineId>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// How much is too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// A machine that was not heard from for so many days is silent.
    pub silent_days: u16,
    /// When too few were heard from altogether.
    pub coverage: coverage::Rule,
    /// Seats agreed with a customer, by SKU.
    pub quota: BTreeMap<(CustomerId, Sku), u64>,
    /// A month that is over and still open, and the instant by which its statement has to be with the distributor.
    pub due: Option<(Period, Timestamp)>,
    /// How long before that it is told.
    pub due_notice: SignedDuration,
}

/// All that the books show now; `running` is the count of the running month so far.
pub fn of_books(fold: &Fold, running: &Statement, bounds: &Bounds, now: Timestamp) -> Vec<Alert> {
    let mut alerts = silent(fold.registry(), bounds, now);
    alerts.extend(above_quota(running, bounds));
    alerts.extend(running.blockers.iter().filter_map(of_blocker));
    alerts.extend(running.flags.iter().filter_map(of_flag));
    if let Some((period, by)) = bounds.due
        && now >= by.saturating_sub(bounds.due_notice).unwrap_or(Timestamp::MIN)
    {
        let is_late = now >= by;
        alerts.push(Alert {
            alert: format!("deadline-near/{period}"),
            rule: Rule::DeadlineNear,
            customer: None,
            machines: Vec::new(),
            what: if is_late {
                format!("the statement of {period} had to be with the distributor by {by}, and is not sealed")
            } else {
                format!("the statement of {period} has to be with the distributor by {by}, and is not sealed")
            },
            remedy: format!("look at it with `seatbeat statement close {period} --dry-run`, and approve it"),
        });
    }
    alerts
}

fn silent(registry: &Registry, bounds: &Bounds, now: Timestamp) -> Vec<Alert> {
    let since =
        |days: i64| now.saturating_sub(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MIN);
    let (silent_since, covered_since) =
        (since(i64::from(bounds.silent_days)), since(i64::from(bounds.coverage.days)));
    let (mut expected, mut unheard) = (0u64, 0u64);
    let mut silent: BTreeMap<&CustomerId, (u64, Vec<MachineId>)> = BTreeMap::new();
    for (id, machine) in registry.machines_after(None).filter(|(_, machine)| is_expected(registry, machine)) {
        let heard_at = machine.last.as_ref().map_or(machine.enrolled_at, |last| last.observed_at);
        expected += 1;
        unheard += u64::from(heard_at < covered_since);
        if heard_at < silent_since {
            let (count, named) = silent.entry(&machine.customer).or_default();
            *count += 1;
            if named.len() < MACHINES_NAMED_MAX {
                named.push(id.clone());
            }
        }
    }
    let mut alerts: Vec<Alert> = silent
        .into_iter()
        .map(|(customer, (count, machines))| Alert {
            alert: format!("machine-silent/{customer}"),
            rule: Rule::MachineSilent,
            customer: Some(customer.clone()),
            machines,
            what: format!("{count} machine(s) have not been heard from for {} days", bounds.silent_days),
            remedy: "see whether they still run; retire those that are gone: `seatbeat machines retire`"
                .to_owned(),
        })
        .collect();
    let coverage = coverage::Coverage {
        heard: expected - unheard,
        expected,
        percent: bounds.coverage.percent,
        days: bounds.coverage.days,
    };
    if coverage.is_low() {
        alerts.push(Alert {
            alert: "coverage-low".to_owned(),
            rule: Rule::CoverageLow,
            customer: None,
            machines: Vec::new(),
            what: format!(
                "only {} of {expected} machines were heard from in the last {} days, fewer than {} of 100",
                coverage.heard, coverage.days, coverage.percent
            ),
            remedy: "a month is not approved like this: bring the silent ones back, or retire them"
                .to_owned(),
        });
    }
    alerts
}

/// Whether a machine ought to be heard from: it is of a customer that is here, and nobody gave it up.
fn is_expected(registry: &Registry, machine: &registry::Machine) -> bool {
    is_in_use(machine) && registry.standing(&machine.customer) == CustomerStanding::Active
}

/// Whether nobody gave a machine up, and it is none of a pool.
pub fn is_in_use(machine: &registry::Machine) -> bool {
    let is_given_up = machine.banned || machine.retired_at.is_some() || machine.absorbed_into.is_some();
    let is_short_lived = machine.flags.keys().any(|flag| flag == POOL_FLAG);
    !is_given_up && !is_short_lived
}

fn above_quota(running: &Statement, bounds: &Bounds) -> Vec<Alert> {
    let over = |((customer, sku), quota): (&(CustomerId, Sku), &u64)| {
        let line = running.lines.iter().find(|line| line.customer == *customer && line.sku == *sku)?;
        (line.quantity > Quantity::units(*quota)).then(|| Alert {
            alert: format!("seats-above-quota/{customer}/{sku}"),
            rule: Rule::SeatsAboveQuota,
            customer: Some(customer.clone()),
            machines: Vec::new(),
            what: format!("{} seats of {sku} are in use, and {quota} were agreed", line.quantity),
            remedy: "agree on more with the customer, or switch off what is too much: `seatbeat orders`"
                .to_owned(),
        })
    };
    bounds.quota.iter().filter_map(over).collect()
}

fn of_blocker(blocker: &Blocker) -> Option<Alert> {
    let (customer, product) = (blocker.customer.as_ref()?, blocker.product.as_ref()?);
    if blocker.blocker != "unmapped_product" {
        return None;
    }
    let is_family = product.is_family();
    let (rule, name) = match is_family {
        true => (Rule::ProductAmbiguous, "product-ambiguous"),
        false => (Rule::ProductUnlicensed, "product-unlicensed"),
    };
    Some(Alert {
        alert: format!("{name}/{customer}/{product}"),
        rule,
        customer: Some(customer.clone()),
        machines: blocker.machine.iter().cloned().collect(),
        what: match is_family {
            true => format!("a product of {product} is in use that could not be told apart"),
            false => format!("product {product} is in use, and nothing is billed for it"),
        },
        remedy: match is_family {
            true => "see `seatbeat machines show` for its signals, and set the machine right".to_owned(),
            false => format!("`seatbeat customers map {customer} {product} --sku SKU`, or have it taken off"),
        },
    })
}

fn of_flag(flag: &Flag) -> Option<Alert> {
    let machine = flag.machine.as_ref()?;
    let (rule, name, what, remedy) = match flag.flag.as_str() {
        "forked_spool" | "merged_while_both_alive" => (
            Rule::PossibleClone,
            "possible-clone",
            "two machines report as one: it may have been cloned, or restored from a snapshot",
            "`seatbeat machines show` tells its chains; `seatbeat machines split` parts them",
        ),
        "active_after_retirement" => (
            Rule::SwitchOffContradicted,
            "switch-off-contradicted",
            "it was retired and is still in use",
            "have its products switched off, or take it back into use",
        ),
        flag if flag.starts_with("active_after") => (
            Rule::SwitchOffContradicted,
            "switch-off-contradicted",
            "what was switched off on it still runs",
            "look at the machine, then order it again: `seatbeat orders`",
        ),
        _ => return None,
    };
    Some(Alert {
        alert: format!("{name}/{machine}"),
        rule,
        customer: flag.customer.clone(),
        machines: vec![machine.clone()],
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    })
}

#[cfg(test)]
mod tests;
