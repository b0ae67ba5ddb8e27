//! Taking names and contacts out of the vault. Invariant: who is erased is on record before a row goes, so that a
//! collector that ended in between goes on with it; no count and no proof depends on what goes.

use seatbeat_ledger::registry::Refusal;
use seatbeat_ledger::standing::CustomerStanding;
use seatbeat_proto::ids::{CustomerId, MachineId, OperatorId, TokenId};
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use crate::books::Books;
use crate::journal::Position;
use crate::vault::{VaultError, VaultRow};

/// Rows that go at once; the vault's batches are small.
const ROWS_AT_ONCE: usize = 256;

impl Console {
    /// Erases a customer that has left for good: its name, how it is billed, what its machines are called, and notes
    /// about its tokens.
    ///
    /// # Errors
    /// When it is not known, has not left for good, there is no reason, or it cannot be written.
    pub async fn erase_customer(
        &self,
        caller: &Caller,
        customer: CustomerId,
        reason: &str,
    ) -> Result<Position, Fault> {
        with_reason(reason)?;
        let (is_known, has_left, is_erased) = self.books.read(|fold| {
            let registry = fold.registry();
            let has_left = matches!(registry.standing(&customer), CustomerStanding::Left(_));
            (registry.has_customer(&customer), has_left, registry.is_erased(&customer))
        });
        if !is_known {
            return Err(Fault::UnknownCustomer(customer));
        }
        if !has_left {
            return Err(Fault::OrderRefused(Refusal::StillHere));
        }
        let fact = Fact::CustomerErased(wire::CustomerErased { customer: customer.to_string() });
        let position = if is_erased { self.position() } else { self.write(caller, reason, fact).await? };
        self.sweep().await?;
        Ok(position)
    }

    /// Erases an operator who was let go: what they are called, and what they signed in with.
    ///
    /// # Errors
    /// When there is none, they are let in, there is no reason, or it cannot be written.
    pub async fn erase_operator(
        &self,
        caller: &Caller,
        operator: OperatorId,
        reason: &str,
    ) -> Result<Position, Fault> {
        with_reason(reason)?;
        let known =
            self.books.read(|fold| fold.operators().operator(&operator).map(|one| (one.revoked, one.erased)));
        let position = match known {
            None => return Err(Fault::value("the operator", format!("`{operator}` is not known here"))),
            Some((false, _)) => {
                return Err(Fault::value(
                    "the operator",
                    format!("`{operator}` is let in: revoke it before"),
                ));
            }
            Some((true, true)) => self.position(),
            Some((true, false)) => {
                let fact = wire::OperatorErased { operator: operator.to_string() };
                self.write(caller, reason, Fact::OperatorErased(fact)).await?
            }
        };
        self.sweep().await?;
        Ok(position)
    }

    async fn sweep(&self) -> Result<(), Fault> {
        let books = self.books.clone();
        Ok(tokio::task::spawn_blocking(move || sweep(&books)).await??)
    }
}

fn with_reason(reason: &str) -> Result<(), Fault> {
    if reason.trim().is_empty() {
        return Err(Fault::value("the reason", "is missing: what was erased cannot be asked"));
    }
    Ok(())
}

/// Takes out of the vault whatever belongs to those who are erased; when nothing is left of them, it does nothing.
///
/// # Errors
/// When the vault cannot be written.
pub fn sweep(books: &Books) -> Result<(), VaultError> {
    let (customers, machines, tokens, operators) = books.read(|fold| {
        let registry = fold.registry();
        let customers: Vec<CustomerId> =
            registry.customers().filter(|customer| registry.is_erased(customer)).cloned().collect();
        let machines: Vec<MachineId> = customers
            .iter()
            .flat_map(|customer| registry.machines_of(customer, None).map(|(id, _)| id.clone()))
            .collect();
        let tokens: Vec<TokenId> = registry
            .tokens()
            .filter(|(_, token)| registry.is_erased(&token.customer))
            .map(|(id, _)| id.clone())
            .collect();
        let operators: Vec<OperatorId> =
            fold.operators().all().filter(|(_, one)| one.erased).map(|(id, _)| id.clone()).collect();
        (customers, machines, tokens, operators)
    });
    let rows = customers
        .iter()
        .flat_map(|id| [VaultRow::CustomerName(id), VaultRow::CustomerBilling(id)])
        .chain(machines.iter().map(VaultRow::HostName))
        .chain(tokens.iter().map(VaultRow::TokenNote))
        .chain(operators.iter().flat_map(|id| [VaultRow::OperatorName(id), VaultRow::Account(id)]));
    let mut there = Vec::new();
    for row in rows {
        if books.vault().get(row)?.is_some() {
            there.push(row);
        }
    }
    there.chunks(ROWS_AT_ONCE).try_for_each(|rows| books.vault().delete_all(rows))
}
