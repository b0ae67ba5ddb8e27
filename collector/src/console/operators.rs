//! Who else may use the operator door. Invariant: a token is shown once and kept as a hash alone; the last operator
//! cannot be let go.

use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use zeroize::Zeroizing;

use super::Console;
use super::auth::Caller;
use super::command::{checked_name, checked_reason};
use super::fault::Fault;
use crate::found::new_operator_token;
use crate::journal::Position;
use crate::vault::VaultRow;

impl Console {
    /// Lets an operator in. The token is in the answer and nowhere else.
    ///
    /// # Errors
    /// When the name is none, or it cannot be written.
    pub async fn add_operator(
        &self,
        caller: &Caller,
        name: &str,
        reason: &str,
    ) -> Result<(OperatorId, Zeroizing<String>, Position), Fault> {
        let (name, operator, token) = (checked_name(name)?, OperatorId::random(), new_operator_token());
        checked_reason(reason)?;
        let (books, id) = (self.books.clone(), operator.clone());
        let put = move || books.vault().put(VaultRow::OperatorName(&id), name.as_bytes());
        tokio::task::spawn_blocking(put).await??;
        let token_hash = hash(token.as_bytes()).to_vec();
        let fact = Fact::OperatorAdded(wire::OperatorAdded {
            operator: operator.to_string(),
            token_hash,
            ..Default::default()
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
        let known: Vec<(OperatorId, bool)> = self
            .books
            .read(|fold| fold.operators().all().map(|(id, one)| (id.clone(), one.revoked)).collect());
        let row = |(operator, revoked): (OperatorId, bool)| {
            Ok(wire::OperatorRow {
                name: self.name(VaultRow::OperatorName(&operator))?,
                you: operator == *caller.operator(),
                operator: operator.to_string(),
                revoked,
            })
        };
        known.into_iter().map(row).collect()
    }

    /// Lets an operator go: the token opens nothing any more.
    ///
    /// # Errors
    /// When there is no such operator, it is the last one, or it cannot be written.
    pub async fn revoke_operator(
        &self,
        caller: &Caller,
        operator: OperatorId,
        reason: &str,
    ) -> Result<Position, Fault> {
        let _one_at_a_time = self.adding.lock().await;
        let in_force: Vec<OperatorId> = self.books.read(|fold| {
            let known = fold.operators().all().filter(|(_, one)| !one.revoked);
            known.map(|(id, _)| id.clone()).collect()
        });
        if !in_force.contains(&operator) {
            return Err(Fault::value("the operator", format!("`{operator}` is not let in here")));
        }
        if in_force.len() == 1 {
            return Err(Fault::value("the operator", "is the last one: let another one in before"));
        }
        let fact = Fact::OperatorRevoked(wire::OperatorRevoked { operator: operator.to_string() });
        self.write(caller, reason, fact).await
    }
}
