//! Operators in the fold, and what they said of the house itself: alerts not to be told, names taken out of the vault.
//! Invariant: who may what is decided at a record's position, so that two operators who change it at once agree.

use jiff::Timestamp;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;

use super::{Entry, Fold, Stop, refuse_unless};
use crate::mutes::Mute;
use crate::operators::{ApiToken, Grant, Reach, Role};
use crate::registry::Refusal;
use crate::standing::CustomerStanding;

impl Fold {
    pub(super) fn add_operator(&mut self, entry: &Entry, fact: &wire::OperatorAdded) -> Result<(), Stop> {
        let token_hash = match fact.token_hash.as_slice() {
            [] => None,
            hash => Some(entry.bytes32("token_hash", hash)?),
        };
        // Who was let in before there were roles may all.
        let role = if fact.role.is_empty() { Role::Admin.as_str() } else { &fact.role };
        let grant = grant(entry, role, &fact.customers)?;
        self.operators.add(entry.id("operator", &fact.operator)?, token_hash, grant);
        Ok(())
    }

    pub(super) fn allow_operator(&mut self, entry: &Entry, fact: &wire::OperatorAllowed) -> Result<(), Stop> {
        let grant = grant(entry, &fact.role, &fact.customers)?;
        Ok(self.operators.allow(&entry.id("operator", &fact.operator)?, grant)?)
    }

    pub(super) fn add_api_token(
        &mut self,
        entry: &Entry,
        fact: &wire::ApiTokenCreated,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let token = ApiToken {
            operator: entry.id("operator", &fact.operator)?,
            token_hash: entry.bytes32("token_hash", &fact.token_hash)?,
            grant: grant(entry, &fact.role, &fact.customers)?,
            expires_at: entry.instant("expires_at_ms", fact.expires_at_ms)?,
            revoked: false,
        };
        Ok(self.operators.add_api_token(entry.id("api_token", &fact.api_token)?, token, at)?)
    }

    pub(super) fn mute_alert(
        &mut self,
        entry: &Entry,
        fact: &wire::AlertMuted,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let mute = Mute {
            until: entry.instant("until_ms", fact.until_ms)?,
            by: entry.record.actor.clone(),
            reason: entry.record.reason.clone(),
        };
        refuse_unless(self.mutes.set(&fact.alert, mute, at), Refusal::Malformed)
    }

    pub(super) fn erase_customer(&mut self, entry: &Entry, fact: &wire::CustomerErased) -> Result<(), Stop> {
        let customer: CustomerId = entry.id("customer", &fact.customer)?;
        let has_left = matches!(self.registry.standing(&customer), CustomerStanding::Left(_));
        refuse_unless(has_left, Refusal::StillHere)?;
        refuse_unless(self.registry.erased.insert(customer), Refusal::Repeated)
    }
}

fn grant(entry: &Entry, role: &str, customers: &[String]) -> Result<Grant, Stop> {
    let customers =
        customers.iter().map(|customer| entry.id("customers", customer)).collect::<Result<_, _>>()?;
    Ok(Grant { role: entry.id("role", role)?, reach: Reach::of(customers) })
}
