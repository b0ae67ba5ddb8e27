//! Who else may use the operator door, and what for. Invariant: a token is shown once and kept as a hash alone;
//! somebody who may let others in is always left.

use std::collections::BTreeSet;

use seatbeat_ledger::operators::{Grant, Operator, Reach, Role, RoleError};
use seatbeat_proto::ids::{CustomerId, OperatorId};
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use zeroize::Zeroizing;

use super::Console;
use super::auth::Caller;
use super::command::{checked_name, checked_reason};
use super::fault::Fault;
use super::query::known_customer;
use super::sign_in::accounts::Account;
use crate::found::new_operator_token;
use crate::journal::Position;
use crate::vault::VaultRow;

impl Console {
    /// Lets an operator in. The token is in the answer and nowhere else.
    ///
    /// # Errors
    /// When a program asks, the name is none, a customer is not known, or it cannot be written.
    pub async fn add_operator(
        &self,
        caller: &Caller,
        name: &str,
        grant: Grant,
        reason: &str,
    ) -> Result<(OperatorId, Zeroizing<String>, Position), Fault> {
        caller.in_person()?;
        let (name, operator, token) = (checked_name(name)?, OperatorId::random(), new_operator_token());
        checked_reason(reason)?;
        self.known_reach(&grant.reach)?;
        let (books, id) = (self.books.clone(), operator.clone());
        let put = move || books.vault().put(VaultRow::OperatorName(&id), name.as_bytes());
        tokio::task::spawn_blocking(put).await??;
        let fact = Fact::OperatorAdded(wire::OperatorAdded {
            operator: operator.to_string(),
            token_hash: hash(token.as_bytes()).to_vec(),
            role: grant.role.to_string(),
            customers: customer_texts(&grant.reach),
        });
        let position = self.write(caller, reason, fact).await?;
        Ok((operator, token, position))
    }

    /// All operators, those that were let go included.
    ///
    /// # Errors
    /// When the position is not known here in time, or the vault fails.
    pub async fn operators(&self, caller: &Caller, after: u64) -> Result<Vec<wire::OperatorRow>, Fault> {
        self.books.reached(after).await?;
        let known: Vec<(OperatorId, Operator)> = self
            .books
            .read(|fold| fold.operators().all().map(|(id, one)| (id.clone(), one.clone())).collect());
        let accounts = self.accounts().await?;
        let row = |(operator, known): (OperatorId, Operator)| {
            let account = accounts.get(&operator);
            Ok(wire::OperatorRow {
                login: account.map(|account| account.login.clone()).unwrap_or_default(),
                means: account
                    .map(Account::means)
                    .unwrap_or_default()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
                name: self.name(VaultRow::OperatorName(&operator))?,
                you: operator == *caller.operator(),
                operator: operator.to_string(),
                revoked: known.revoked,
                role: known.grant.role.to_string(),
                customers: customer_texts(&known.grant.reach),
            })
        };
        known.into_iter().map(row).collect()
    }

    /// Changes what an operator may. It holds from their next request on.
    ///
    /// # Errors
    /// When a program asks, there is no such operator or customer, it is the last one who may let others in, or it
    /// cannot be written.
    pub async fn allow_operator(
        &self,
        caller: &Caller,
        operator: OperatorId,
        grant: Grant,
        reason: &str,
    ) -> Result<Position, Fault> {
        caller.in_person()?;
        checked_reason(reason)?;
        self.known_reach(&grant.reach)?;
        let _one_at_a_time = self.adding.lock().await;
        self.let_in_operator(&operator)?;
        if grant != Grant::FULL {
            self.not_the_last_admin(&operator)?;
        }
        let fact = Fact::OperatorAllowed(wire::OperatorAllowed {
            operator: operator.to_string(),
            role: grant.role.to_string(),
            customers: customer_texts(&grant.reach),
        });
        self.write(caller, reason, fact).await
    }

    /// Lets an operator go: no token, password or session of theirs opens anything any more.
    ///
    /// # Errors
    /// When there is no such operator, it is the last one who may let others in, or it cannot be written.
    pub async fn revoke_operator(
        &self,
        caller: &Caller,
        operator: OperatorId,
        reason: &str,
    ) -> Result<Position, Fault> {
        let _one_at_a_time = self.adding.lock().await;
        self.let_in_operator(&operator)?;
        self.not_the_last_admin(&operator)?;
        let fact = Fact::OperatorRevoked(wire::OperatorRevoked { operator: operator.to_string() });
        let position = self.write(caller, reason, fact).await?;
        // It opens nothing any more; what the vault keeps now, it loses at the next start.
        if let Err(fault) = self.forget(&operator).await {
            tracing::warn!(%operator, error = %fault.words(), "what an operator signed in with is not erased yet");
        }
        Ok(position)
    }

    /// Whether an operator is let in.
    ///
    /// # Errors
    /// When nobody of that id is.
    pub(super) fn let_in_operator(&self, operator: &OperatorId) -> Result<(), Fault> {
        let let_in = self.books.read(|fold| fold.operators().let_in(operator));
        let_in.map(|_| ()).ok_or_else(|| Fault::UnknownOperator(operator.clone()))
    }

    fn not_the_last_admin(&self, operator: &OperatorId) -> Result<(), Fault> {
        match self.books.read(|fold| fold.operators().is_last_admin(operator)) {
            true => Err(Fault::LastAdmin(operator.clone())),
            false => Ok(()),
        }
    }

    fn known_reach(&self, reach: &Reach) -> Result<(), Fault> {
        let Reach::Customers(customers) = reach else { return Ok(()) };
        let known = |customer| self.books.read(|fold| known_customer(fold, &Reach::House, Some(customer)));
        customers.iter().try_for_each(known)
    }
}

/// What somebody may, as a request names it; without customers it is about all of them.
///
/// # Errors
/// When there is no such role, or a customer's id is none.
pub(super) fn grant(role: &str, customers: &[String]) -> Result<Grant, Fault> {
    Ok(Grant { role: named_role(role)?, reach: Reach::of(customer_ids(customers)?) })
}

pub(super) fn named_role(text: &str) -> Result<Role, Fault> {
    text.parse().map_err(|error: RoleError| Fault::value("the role", error))
}

pub(super) fn customer_ids(texts: &[String]) -> Result<BTreeSet<CustomerId>, Fault> {
    Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
}

pub(super) fn customer_texts(reach: &Reach) -> Vec<String> {
    match reach {
        Reach::House => Vec::new(),
        Reach::Customers(customers) => customers.iter().map(ToString::to_string).collect(),
    }
}
