//! Records by hand that change what is counted: who owns a machine, which machines are one, what a product is billed
//! as, units declared and adjusted. Invariant: each carries its operator and a reason, and shows what it does to the
//! statements that are not sealed; the preview and the write go through the same checks.

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::record::{COMPUTED_FLAGS, NAME_LENGTH_MAX, QUANTITY_MAX};
use seatbeat_ledger::usage::Bond;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};
use seatbeat_proto::instant;
use seatbeat_proto::wire::amend_request::Change;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{JournalRecord, MachinesMerged, MachinesSplit};

use super::Console;
use super::auth::Caller;
use super::command::checked_reason;
use super::fault::{Fault, period};
use super::named::Around;
use super::rows::Amended;

/// A change that has been checked: what is written, and the month that it speaks of.
struct Checked {
    fact: Fact,
    period: Option<Period>,
}

impl Console {
    /// Writes a record by hand and says what it does to the open statements; with `preview` only says so.
    ///
    /// # Errors
    /// When it names nobody that is known, takes effect in the future, has no reason, or cannot be written.
    pub async fn amend(
        &self,
        caller: &Caller,
        change: Change,
        reason: &str,
        preview: bool,
    ) -> Result<Amended, Fault> {
        checked_reason(reason)?;
        if reason.trim().is_empty() {
            return Err(Fault::value("the reason", "is missing: a count that is changed by hand says why"));
        }
        let now = self.books.clock().now();
        let Checked { fact, period } = self.books.read(|fold| checked(fold, change, now))?;
        let record = JournalRecord {
            recorded_at_ms: instant::to_ms(now),
            actor: caller.operator().to_string(),
            reason: reason.to_owned(),
            fact: Some(fact.clone()),
            ..Default::default()
        };
        let closing = self.closing.clone();
        let effects = tokio::task::spawn_blocking(move || closing.effect(&record, period)).await??;
        let position = match preview {
            true => None,
            false => Some(self.write(caller, reason, fact).await?.0),
        };
        Ok(Amended { position, effects })
    }
}

fn checked(fold: &Fold, change: Change, now: Timestamp) -> Result<Checked, Fault> {
    let plain = |fact| Ok(Checked { fact, period: None });
    match change {
        Change::MachineAssigned(mut change) => {
            known_machine(fold, &change.machine)?;
            known_customer(fold, &change.customer)?;
            change.at_ms = past(change.at_ms, now)?;
            plain(Fact::MachineAssigned(change))
        }
        Change::MachineRetired(mut change) => {
            known_machine(fold, &change.machine)?;
            change.at_ms = past(change.at_ms, now)?;
            plain(Fact::MachineRetired(change))
        }
        Change::MachinesMerged(MachinesMerged { kept, absorbed, at_ms }) => {
            two_of_one_customer(fold, &kept, &absorbed)?;
            let at_ms = past(at_ms, now)?;
            plain(Fact::MachinesMerged(MachinesMerged { kept, absorbed, at_ms }))
        }
        Change::MachinesSplit(MachinesSplit { kept, absorbed, at_ms }) => {
            let pair = (known_machine(fold, &kept)?, known_machine(fold, &absorbed)?);
            if fold.usage().bond_of(&pair.0, &pair.1) != Some(Bond::Merged) {
                return Err(Fault::value("the pair", format!("{kept} and {absorbed} was never merged")));
            }
            let at_ms = past(at_ms, now)?;
            plain(Fact::MachinesSplit(MachinesSplit { kept, absorbed, at_ms }))
        }
        Change::MachineFlagged(mut change) => {
            known_machine(fold, &change.machine)?;
            checked_flag(&change.flag)?;
            change.at_ms = past(change.at_ms, now)?;
            plain(Fact::MachineFlagged(change))
        }
        Change::SkuAssigned(mut change) => {
            known_customer(fold, &change.customer)?;
            let product: ProductId = change
                .product
                .parse()
                .map_err(|error| Fault::value("`product`", format!("is not valid: {error}")))?;
            if product.is_family() {
                let why = format!("`{product}` is a family that could not be told apart: it is never billed");
                return Err(Fault::value("`product`", why));
            }
            if let Some(sku) = &change.sku {
                known_sku(fold, sku, now)?;
            }
            change.at_ms = past(change.at_ms, now)?;
            plain(Fact::SkuAssigned(change))
        }
        Change::Declared(mut change) => {
            known_customer(fold, &change.customer)?;
            known_sku(fold, &change.sku, now)?;
            let period = near(fold, &change.period, now)?;
            quantity("`quantity`", change.quantity)?;
            change.at_ms = past(change.at_ms, now)?;
            Ok(Checked { fact: Fact::Declared(change), period: Some(period) })
        }
        Change::Adjusted(mut change) => {
            known_customer(fold, &change.customer)?;
            known_sku(fold, &change.sku, now)?;
            let period = near(fold, &change.period, now)?;
            if change.delta == 0 {
                return Err(Fault::value("`delta`", "is 0: it would adjust nothing"));
            }
            quantity("`delta`", change.delta.unsigned_abs())?;
            change.at_ms = past(change.at_ms, now)?;
            Ok(Checked { fact: Fact::Adjusted(change), period: Some(period) })
        }
    }
}

fn known_machine(fold: &Fold, text: &str) -> Result<MachineId, Fault> {
    let machine: MachineId = text.parse()?;
    if fold.registry().machine(&machine).is_none() {
        return Err(Fault::UnknownMachine(machine));
    }
    Ok(machine)
}

fn known_customer(fold: &Fold, text: &str) -> Result<(), Fault> {
    let customer: CustomerId = text.parse()?;
    if fold.registry().has_customer(&customer) { Ok(()) } else { Err(Fault::UnknownCustomer(customer)) }
}

fn known_sku(fold: &Fold, text: &str, now: Timestamp) -> Result<(), Fault> {
    Around::of(fold, now).named()?.sku(text).map(|_| ())
}

/// Machines of two customers are never one.
fn two_of_one_customer(fold: &Fold, kept: &str, absorbed: &str) -> Result<(), Fault> {
    let (kept, absorbed) = (known_machine(fold, kept)?, known_machine(fold, absorbed)?);
    if kept == absorbed {
        return Err(Fault::value("the pair", format!("is one machine, {kept}")));
    }
    let customer = |machine| fold.registry().machine(machine).map(|machine| machine.customer.clone());
    if customer(&kept) != customer(&absorbed) {
        let why = format!("{kept} and {absorbed} belongs to two customers: assign one of them first");
        return Err(Fault::value("the pair", why));
    }
    Ok(())
}

fn checked_flag(flag: &str) -> Result<(), Fault> {
    if COMPUTED_FLAGS.contains(&flag) {
        return Err(Fault::value("`flag`", format!("`{flag}` is computed and cannot be raised by hand")));
    }
    let is_name = !flag.is_empty()
        && flag.len() <= NAME_LENGTH_MAX
        && flag.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_name { Ok(()) } else { Err(Fault::value("`flag`", "is not a name: a-z, 0-9 and _ are")) }
}

fn quantity(field: &'static str, size: u64) -> Result<(), Fault> {
    if size > QUANTITY_MAX {
        return Err(Fault::value(field, format!("is more than {QUANTITY_MAX}")));
    }
    Ok(())
}

/// When a change takes effect: now, or an earlier instant.
fn past(at_ms: i64, now: Timestamp) -> Result<i64, Fault> {
    if at_ms == 0 {
        return Ok(instant::to_ms(now));
    }
    let at = super::fault::instant("`at_ms`", at_ms)?;
    if at > now {
        return Err(Fault::value("`at`", format!("is yet to come: it is {now}")));
    }
    Ok(at_ms)
}

/// A month that units can be entered for: none behind the next, which would be a typing error.
fn near(fold: &Fold, text: &str, now: Timestamp) -> Result<Period, Fault> {
    let asked = period(text)?;
    let running = Period::of_day(fold.usage().zone().usage_day(now));
    if asked > running.next() {
        return Err(Fault::value("`period`", format!("{asked} is too far ahead: it is {running}")));
    }
    Ok(asked)
}
