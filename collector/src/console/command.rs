//! Every action, once. Invariant: an action is refused before it is written where it can be known that it would come
//! to nothing, and answered only after the fold has taken it at its position; who did it and why is in its record.

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::usage::Usage;
use seatbeat_proto::ids::{CustomerId, MachineId, TokenId};
use seatbeat_proto::signed::hash;
use seatbeat_proto::token::{self, SECRET_LENGTH, TEXT_LENGTH_MAX};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{CustomerAdded, MachineBanned, PolicySet, TokenCreated, TokenRevoked, TokenText};
use seatbeat_proto::{instant, tls};

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::query::known_customer;
use super::rows::{Customer, NewToken, SealedStatements};
use crate::books::Books;
use crate::jobs::close::Seal;
use crate::journal::Position;
use crate::vault::{VaultError, VaultRow};

/// Longest customer name in bytes: it is a column of every table.
const NAME_LENGTH_MAX: usize = 200;

/// Longest reason in bytes: a sentence or two, or a ticket.
const REASON_LENGTH_MAX: usize = 1000;

/// Longest life of a token: what is rolled out over more than ten years is a typing error.
const TOKEN_LIFE_MAX: SignedDuration = SignedDuration::from_hours(24 * 3653);

/// What a token lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTerms {
    /// Whose machines.
    pub customer: CustomerId,
    /// How many.
    pub uses_max: u32,
    /// Until when.
    pub expires_at: Timestamp,
    /// How many an hour; 0: no such limit.
    pub uses_per_hour: u32,
}

impl Console {
    /// Adds a customer; without an id, under a new one. The name goes to the vault.
    ///
    /// # Errors
    /// When the name is none, the id is taken, or it cannot be written.
    pub async fn add_customer(
        &self,
        caller: &Caller,
        customer: Option<CustomerId>,
        name: &str,
    ) -> Result<(Customer, Position), Fault> {
        let name = checked_name(name)?;
        let customer = customer.unwrap_or_else(CustomerId::random);
        let _one_at_a_time = self.adding.lock().await;
        if self.books.read(|fold| fold.registry().has_customer(&customer)) {
            return Err(Fault::CustomerExists(customer));
        }
        put_name(self.books.clone(), customer.clone(), name.clone()).await?;
        let fact = Fact::CustomerAdded(CustomerAdded { customer: customer.to_string() });
        let position = self.write(caller, "", fact).await?;
        Ok((Customer { customer, name, machines: 0 }, position))
    }

    /// Makes an enrolment token. Its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// When the customer is not known, the terms let nobody in, no address is configured, or it cannot be written.
    pub async fn create_token(&self, caller: &Caller, terms: TokenTerms) -> Result<NewToken, Fault> {
        let now = self.books.clock().now();
        if terms.uses_max == 0 {
            return Err(Fault::value("`uses_max`", "has to be at least 1"));
        }
        if terms.expires_at <= now {
            return Err(Fault::value("`expires_at`", format!("is over: it is {now}")));
        }
        if terms.expires_at.duration_since(now) > TOKEN_LIFE_MAX {
            return Err(Fault::value("`expires_at`", "is more than ten years away"));
        }
        self.books.read(|fold| known_customer(fold, &caller.reach(), Some(&terms.customer)))?;
        let addresses = self.config.addresses();
        if addresses.is_empty() {
            return Err(Fault::NoAddress);
        }
        let token = TokenId::random();
        let secret = new_secret();
        let fact = TokenCreated {
            token: token.to_string(),
            customer: terms.customer.to_string(),
            secret_hash: hash(&secret).to_vec(),
            uses_max: terms.uses_max,
            expires_at_ms: instant::to_ms(terms.expires_at),
            uses_per_hour: terms.uses_per_hour,
        };
        let keys = self.books.keys();
        let trusted = self.trusted();
        let text = token::format(&TokenText {
            token: token.to_string(),
            secret: secret.to_vec(),
            addresses,
            pin: tls::pin(keys.tls_certificate())?.to_vec(),
            salt: keys.salt().to_vec(),
            service_key: keys.service().verifying_key().to_bytes().to_vec(),
            order_keys: trusted.keys,
            expires_at_ms: fact.expires_at_ms,
            recovery_key: trusted.recovery_key,
            order_keys_revision: trusted.revision,
        });
        if text.len() > TEXT_LENGTH_MAX {
            return Err(Fault::value("`agent_addresses`", "are too many or too long for a token"));
        }
        let position = self.write(caller, "", Fact::TokenCreated(fact)).await?;
        Ok(NewToken { token, text, position: position.0 })
    }

    /// Takes a token back; one that was taken back stays so.
    ///
    /// # Errors
    /// When it is not known, or it cannot be written.
    pub async fn revoke_token(
        &self,
        caller: &Caller,
        token: TokenId,
        reason: &str,
    ) -> Result<Position, Fault> {
        let reach = caller.reach();
        let revoked = self.books.read(|fold| {
            fold.registry().token(&token).filter(|one| reach.has(&one.customer)).map(|one| one.revoked)
        });
        match revoked {
            None => Err(Fault::UnknownToken(token)),
            Some(true) => Ok(self.position()),
            Some(false) => {
                let fact = Fact::TokenRevoked(TokenRevoked { token: token.to_string() });
                self.write(caller, reason, fact).await
            }
        }
    }

    /// Shuts a machine out, or lets it in again; what is so already stays so.
    ///
    /// # Errors
    /// When it is not known, or it cannot be written.
    pub async fn ban_machine(
        &self,
        caller: &Caller,
        machine: MachineId,
        banned: bool,
        reason: &str,
    ) -> Result<Position, Fault> {
        let (of, is_banned) =
            self.known_machine(&machine, |machine| (machine.customer.clone(), machine.banned))?;
        caller.reaches(&of).map_err(|_| Fault::UnknownMachine(machine.clone()))?;
        if is_banned == banned {
            return Ok(self.position());
        }
        let fact = Fact::MachineBanned(MachineBanned { machine: machine.to_string(), banned });
        self.write(caller, reason, fact).await
    }

    /// Puts a policy in force from a month on; without one, for every month that is not sealed.
    ///
    /// # Errors
    /// When it is not one, it has another zone than the evidence is counted in, or it cannot be written.
    pub async fn set_policy(
        &self,
        caller: &Caller,
        toml: &str,
        valid_from: Option<Period>,
        reason: &str,
    ) -> Result<Position, Fault> {
        let policy = Policy::parse(toml)?;
        if let Some(fixed) = self.books.read(|fold| fixed_zone(fold, &policy)) {
            return Err(fixed);
        }
        let fact = Fact::PolicySet(PolicySet {
            toml: toml.to_owned(),
            valid_from: valid_from.map(String::from).unwrap_or_default(),
        });
        let position = self.write(caller, reason, fact).await?;
        // Evidence may have come in between: the fold has decided.
        self.books.read(|fold| match fold.terms().policy_set_for(valid_from) {
            Some(set) if set == toml => Ok(position),
            _ => Err(Fault::ZoneFixed {
                asked: policy.zone.name().to_owned(),
                zone: fold.usage().zone().name().to_owned(),
            }),
        })
    }

    /// Seals exactly the draft of this digest, if asked so in place of what was sealed of the period.
    ///
    /// # Errors
    /// When the period cannot be sealed, the digest is of no draft, or it cannot be written.
    pub async fn seal(
        &self,
        caller: &Caller,
        period: Period,
        digest: &str,
        reason: &str,
        supersede: bool,
    ) -> Result<SealedStatements, Fault> {
        checked_reason(reason)?;
        if supersede && reason.trim().is_empty() {
            return Err(Fault::value("the reason", "is missing: what was sealed is superseded for one"));
        }
        let actor = caller.into();
        let files = self.closing.seal(Seal { period, digest, supersede, actor, reason }).await?;
        self.sealed_rows(period, files, self.position().0)
    }

    pub(super) async fn write(&self, caller: &Caller, reason: &str, fact: Fact) -> Result<Position, Fault> {
        checked_reason(reason)?;
        Ok(self.books.write(caller, reason, fact).await?)
    }

    fn known_machine<T>(
        &self,
        machine: &MachineId,
        ask: impl FnOnce(&seatbeat_ledger::registry::Machine) -> T,
    ) -> Result<T, Fault> {
        let known = self.books.read(|fold| fold.registry().machine(machine).map(ask));
        known.ok_or_else(|| Fault::UnknownMachine(machine.clone()))
    }

    pub(super) fn position(&self) -> Position {
        Position(self.books.read(Fold::position))
    }
}

/// Why a policy of this zone cannot be taken, if so.
pub(super) fn fixed_zone(fold: &Fold, policy: &Policy) -> Option<Fault> {
    let zone = fold.usage().zone();
    if policy.zone == *zone || *fold.usage() == Usage::new(zone.clone()) {
        return None;
    }
    Some(Fault::ZoneFixed { asked: policy.zone.name().to_owned(), zone: zone.name().to_owned() })
}

async fn put_name(books: Books, customer: CustomerId, name: String) -> Result<(), Fault> {
    // The vault waits for the disk.
    let put = move || -> Result<(), VaultError> {
        books.vault().put(VaultRow::CustomerName(&customer), name.as_bytes())
    };
    Ok(tokio::task::spawn_blocking(put).await??)
}

fn new_secret() -> [u8; SECRET_LENGTH] {
    let mut secret = [0u8; SECRET_LENGTH];
    getrandom::fill(&mut secret).expect("the operating system gives random bytes");
    secret
}

pub(super) fn checked_name(name: &str) -> Result<String, Fault> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Fault::value("the customer's name", "is empty"));
    }
    if name.len() > NAME_LENGTH_MAX {
        return Err(Fault::value("the customer's name", format!("is longer than {NAME_LENGTH_MAX} bytes")));
    }
    if name.chars().any(char::is_control) {
        return Err(Fault::value("the customer's name", "has a control character"));
    }
    Ok(name.to_owned())
}

pub(super) fn checked_reason(reason: &str) -> Result<(), Fault> {
    if reason.len() > REASON_LENGTH_MAX {
        return Err(Fault::value("the reason", format!("is longer than {REASON_LENGTH_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printable_and_not_empty() {
        assert_eq!(checked_name("  Müller & Söhne ").unwrap(), "Müller & Söhne");
        for (name, words) in [
            (" ", "the customer's name is empty"),
            ("a\u{1b}[31m", "the customer's name has a control character"),
        ] {
            assert_eq!(checked_name(name).unwrap_err().words(), words);
        }
        assert!(checked_name(&"x".repeat(NAME_LENGTH_MAX + 1)).is_err());
        assert!(checked_reason(&"x".repeat(REASON_LENGTH_MAX + 1)).is_err());
    }
}
