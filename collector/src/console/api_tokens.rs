//! Ways in for programs. Invariant: a token may at most what its operator may, ends by itself, and is shown once; a
//! program makes nobody a way in.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::operators::{API_TOKENS_MAX, ApiToken, Grant, Operators, Reach, Right, Role};
use seatbeat_proto::ids::{ApiTokenId, CustomerId, OperatorId};
use seatbeat_proto::instant::to_ms;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use zeroize::Zeroizing;

use super::Console;
use super::auth::Caller;
use super::command::checked_reason;
use super::fault::{Fault, instant};
use super::operators::{customer_ids, customer_texts, named_role};
use super::query::known_customer;
use crate::found::new_token;
use crate::journal::Position;

/// What every API token starts with.
pub const API_TOKEN_PREFIX: &str = "sba1.";

/// Longest life: whoever reads a program's configuration in two years finds nothing that opens.
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(24 * 366);

/// What a new token is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenAsked {
    /// For whom it asks; none: who wants it.
    pub operator: Option<OperatorId>,
    /// What for; none: what its operator is there for.
    pub role: Option<Role>,
    /// Whose; empty: its operator's.
    pub customers: BTreeSet<CustomerId>,
    /// Until when.
    pub until: Until,
    /// Why.
    pub reason: String,
}

/// When a token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Then.
    At(Timestamp),
    /// So long after it was made.
    After(SignedDuration),
}

/// A token that was just made.
pub struct MadeApiToken {
    /// Its id.
    pub id: ApiTokenId,
    /// What opens the operator door; it is kept nowhere.
    pub token: Zeroizing<String>,
    /// Until when.
    pub expires_at: Timestamp,
    /// Behind its record.
    pub position: Position,
}

impl TryFrom<wire::CreateApiTokenRequest> for ApiTokenAsked {
    type Error = Fault;

    fn try_from(asked: wire::CreateApiTokenRequest) -> Result<Self, Fault> {
        let is_named = |text: &str| !text.is_empty();
        Ok(Self {
            operator: is_named(&asked.operator).then(|| asked.operator.parse()).transpose()?,
            role: is_named(&asked.role).then(|| named_role(&asked.role)).transpose()?,
            customers: customer_ids(&asked.customers)?,
            until: match asked.expires_at_ms {
                0 => Until::After(SignedDuration::from_millis(asked.life_ms)),
                at_ms => Until::At(instant("`expires_at_ms`", at_ms)?),
            },
            reason: asked.reason,
        })
    }
}

impl Console {
    /// Makes a token for a program. Its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// When a program asks, the operator is another one and who asks may not let others in, it would be more than the
    /// operator may, it never ends, there are too many, or it cannot be written.
    pub async fn create_api_token(
        &self,
        caller: &Caller,
        asked: ApiTokenAsked,
    ) -> Result<MadeApiToken, Fault> {
        caller.in_person()?;
        checked_reason(&asked.reason)?;
        let now = self.books.clock().now();
        let expires_at = asked.until.checked(now)?;
        let operator = asked.operator.unwrap_or_else(|| caller.operator().clone());
        if operator != *caller.operator() {
            may_let_others_in(caller)?;
        }
        let _one_at_a_time = self.adding.lock().await;
        let own = self.books.read(|fold| {
            let own = own_grant(fold.operators(), &operator, now)?;
            let known = |customer| known_customer(fold, &own.reach, Some(customer));
            asked.customers.iter().try_for_each(known)?;
            Ok::<_, Fault>(own)
        })?;
        let role = asked.role.unwrap_or(own.role);
        if !role.is_within(own.role) {
            return Err(Fault::value("`role`", format!("is more than the operator's own: {}", own.role)));
        }
        let (id, token) = (ApiTokenId::random(), new_token(API_TOKEN_PREFIX));
        let fact = Fact::ApiTokenCreated(wire::ApiTokenCreated {
            api_token: id.to_string(),
            operator: operator.to_string(),
            token_hash: hash(token.as_bytes()).to_vec(),
            role: role.to_string(),
            customers: asked.customers.iter().map(ToString::to_string).collect(),
            expires_at_ms: to_ms(expires_at),
        });
        let position = self.write(caller, &asked.reason, fact).await?;
        Ok(MadeApiToken { id, token, expires_at, position })
    }

    /// Tokens of programs: one's own, and of who may let others in everybody's.
    ///
    /// # Errors
    /// When the position is not known here in time.
    pub async fn api_tokens(&self, caller: &Caller, after: u64) -> Result<Vec<wire::ApiTokenRow>, Fault> {
        self.books.reached(after).await?;
        let sees_all = may_let_others_in(caller).is_ok();
        Ok(self.books.read(|fold| {
            let tokens = fold.operators().api_tokens();
            let tokens = tokens.filter(|(_, token)| sees_all || token.operator == *caller.operator());
            tokens.map(|(id, token)| row(id, token)).collect()
        }))
    }

    /// Takes a token back; one that was taken back stays so. A program may give up its own and, when it may let
    /// others in, whose it likes.
    ///
    /// # Errors
    /// When it is not known to who asks, or it cannot be written.
    pub async fn revoke_api_token(
        &self,
        caller: &Caller,
        id: ApiTokenId,
        reason: &str,
    ) -> Result<Position, Fault> {
        let is_own = |token: &ApiToken| match &caller.let_in.api_token {
            None => token.operator == *caller.operator(),
            Some(own) => *own == id,
        };
        let may_all = may_let_others_in(caller).is_ok();
        let revoked = self.books.read(|fold| {
            let mut tokens = fold.operators().api_tokens();
            tokens.find(|(one, token)| **one == id && (may_all || is_own(token))).map(|(_, one)| one.revoked)
        });
        match revoked {
            None => Err(Fault::UnknownApiToken(id)),
            Some(true) => Ok(Position(self.books.read(|fold| fold.position()))),
            Some(false) => {
                let fact = Fact::ApiTokenRevoked(wire::ApiTokenRevoked { api_token: id.to_string() });
                self.write(caller, reason, fact).await
            }
        }
    }
}

impl Until {
    fn checked(self, now: Timestamp) -> Result<Timestamp, Fault> {
        let life = match self {
            Self::At(at) => at.duration_since(now),
            Self::After(life) => life,
        };
        if life <= SignedDuration::ZERO {
            return Err(Fault::value("the token's end", format!("is over: it is {now}")));
        }
        if life > LIFE_MAX {
            return Err(Fault::value("the token's end", "is more than a year away"));
        }
        now.checked_add(life).map_err(|error| Fault::value("the token's end", error))
    }
}

/// What an operator may, who can have one more token.
fn own_grant(operators: &Operators, operator: &OperatorId, now: Timestamp) -> Result<Grant, Fault> {
    let known = operators.operator(operator).filter(|one| !one.revoked);
    let known = known.ok_or_else(|| Fault::UnknownOperator(operator.clone()))?;
    let in_force = |token: &ApiToken| token.operator == *operator && !token.revoked && token.expires_at > now;
    if operators.api_tokens().filter(|(_, token)| in_force(token)).count() >= API_TOKENS_MAX {
        let why = format!("has {API_TOKENS_MAX} API tokens already: take one back before");
        return Err(Fault::value("the operator", why));
    }
    Ok(known.grant.clone())
}

fn may_let_others_in(caller: &Caller) -> Result<(), Fault> {
    if caller.let_in.has(Right::Administer) && caller.reach() == Reach::House {
        Ok(())
    } else {
        Err(Fault::Forbidden("it is another operator's: it needs the role admin"))
    }
}

fn row(id: &ApiTokenId, token: &ApiToken) -> wire::ApiTokenRow {
    wire::ApiTokenRow {
        api_token: id.to_string(),
        operator: token.operator.to_string(),
        role: token.grant.role.to_string(),
        customers: customer_texts(&token.grant.reach),
        expires_at_ms: to_ms(token.expires_at),
        revoked: token.revoked,
    }
}
