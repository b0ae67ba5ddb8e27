//! How a machine is let in. Invariant: the machine key is on disk before anybody hears of it, so that asking again
//! is asking as the same machine; who is let in once is not let in elsewhere by mistake.

use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use seatbeat_proto::ids::{IdError, TokenId};
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::token::{self, TokenError};
use seatbeat_proto::{instant, wire};
use tonic::{Code, Status};

use crate::act::actor::{self, ActorError};
use crate::identity::{Identity, IdentityError};
use crate::link::{self, Dialler, LinkError};
use crate::marks::Marks;
use crate::moment::Moment;
use crate::plain::plain;
use crate::road::{Road, Tcp};
use crate::spool::disk::RealDisk;
use crate::state::{StateError, StateFolder};

/// What is asked, and by whom.
#[derive(Debug, Clone)]
pub struct Request {
    /// `sb1.…`
    pub token: String,
    /// Ask although the machine is enrolled already.
    pub again: bool,
    /// Shown to operators.
    pub host_name: String,
}

/// The answer.
#[derive(Debug)]
pub struct Enrolment {
    /// Who this machine is now.
    pub identity: Identity,
    /// It was that before: nobody was asked.
    pub already: bool,
}

/// Why a machine was not let in.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The text is no token.
    #[error("failed to read the token")]
    Token(#[from] TokenError),
    /// A key in the token is none.
    #[error("the token holds a key that is none: it was made by something else")]
    TokenKeys,
    /// Somebody let this machine in before.
    #[error("this machine is enrolled already, as {machine} of {customer}, with another token ({token})")]
    Already {
        /// As which machine.
        machine: String,
        /// Whose.
        customer: String,
        /// With which token.
        token: TokenId,
    },
    /// The collector said no.
    #[error("the collector does not let this machine in: {message}")]
    Refused {
        /// The kind of no.
        code: Code,
        /// In its words.
        message: String,
        /// The token's time is over by this machine's clock.
        looks_expired: bool,
    },
    /// The collector's answer makes no sense.
    #[error("the collector answered with something that is no id")]
    Answer(#[from] IdError),
    /// Nobody was asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The identity file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// Whose orders are taken.
    #[error(transparent)]
    Orders(#[from] ActorError),
}

/// What to do about a text that is no token.
pub(crate) const WHOLE_TOKEN: &str =
    "copy the whole token, from `sb1.` on, as `seatbeat tokens create` printed it";

impl EnrolError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Token(_) | Self::TokenKeys => {
                WHOLE_TOKEN.into()
            }
            Self::Already { .. } => "to enrol it anew, add `--again`".into(),
            Self::Refused { looks_expired: true, .. } => {
                "the token's time is over: ask the operator for a new one (`seatbeat tokens create`)".into()
            }
            Self::Refused { code: Code::ResourceExhausted, .. } => {
                "try again in an hour, or ask the operator for a token with more uses (`seatbeat tokens create`)".into()
            }
            Self::Refused { code: Code::Unauthenticated | Code::PermissionDenied, .. } => {
                "ask the operator whether the token still holds (`seatbeat tokens list`), or for a new one".into()
            }
            Self::Refused { .. } | Self::Answer(_) => {
                "look at the collector's log: agent and collector may be of different versions".into()
            }
            Self::Link(error) => return error.hint().map(str::to_owned),
            Self::Identity(error) => return error.hint(),
            Self::State(error) => return error.hint(),
            Self::Orders(ActorError::Keys) => {
                "the order keys in the token are damaged: ask the operator for a new one (`seatbeat tokens create`)".into()
            }
            Self::Orders(error) => return error.hint(),
        })
    }
}

/// Asks the collector that a token names to let this machine in, and keeps the answer. `facts` reads the machine's
/// hardware and system facts under the token's salt.
///
/// # Errors
/// When the token is none, the machine is enrolled with another one, nobody answers, or the answer is no.
pub async fn enrol(
    state: &StateFolder,
    request: &Request,
    facts: impl FnOnce(&[u8; 32]) -> wire::Facts,
    now: Moment,
) -> Result<Enrolment, EnrolError> {
    enrol_over(Arc::new(Tcp), state, request, facts, now).await
}

/// As [`enrol`], on another road.
///
/// # Errors
/// As [`enrol`].
pub async fn enrol_over(
    road: Arc<dyn Road>,
    state: &StateFolder,
    request: &Request,
    facts: impl FnOnce(&[u8; 32]) -> wire::Facts,
    now: Moment,
) -> Result<Enrolment, EnrolError> {
    let token = token::parse(&request.token)?;
    if !request.again
        && let Some(identity) = enrolled(state)?
    {
        return if identity.token.as_str() == token.token {
            identity.check_key(&state.key()?.verifying_key())?;
            Ok(Enrolment { identity, already: true })
        } else {
            Err(EnrolError::Already {
                machine: identity.machine.to_string(),
                customer: identity.customer.to_string(),
                token: identity.token,
            })
        };
    }
    let _lock = state.lock()?;
    let key = state.key_or_new()?;
    let salt: [u8; 32] = token.salt.as_slice().try_into().map_err(|_| EnrolError::TokenKeys)?;
    let pin: [u8; 32] = token.pin.as_slice().try_into().map_err(|_| EnrolError::TokenKeys)?;
    let facts = facts(&salt);
    let marks = Marks::of(&facts);
    let claim = wire::EnrolmentClaim {
        public_key: key.verifying_key().to_bytes().to_vec(),
        token: token.token.clone(),
        claimed_at_ms: instant::to_ms(now.wall),
        facts: Some(facts),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let asked = wire::EnrolRequest {
        token_secret: token.secret.clone(),
        claim: Some(sign(&key, Domain::EnrolmentClaim, claim.encode_to_vec())),
        host_name: request.host_name.clone(),
    };
    let dialler = Dialler::to(token.addresses.clone(), pin, None)?.over(road);
    let looks_expired = token.expires_at_ms != 0 && instant::to_ms(now.wall) > token.expires_at_ms;
    let answer = ask(&dialler, &asked).await?.map_err(|status| refused(&status, looks_expired))?;
    let (machine, customer) = (answer.machine.parse()?, answer.customer.parse()?);
    let identity =
        Identity::new(&token, machine, customer, key.verifying_key()).ok_or(EnrolError::TokenKeys)?;
    trust_orders_of(&token, &identity, state.path())?;
    marks.keep(state)?;
    identity.store(state)?;
    Ok(Enrolment { identity, already: false })
}

/// Whose orders this machine takes is brought by its token; later revisions that it knows already stay.
///
/// # Errors
/// When the keys are not usable, or cannot be kept in the folder.
pub fn trust_orders_of(
    token: &wire::TokenText,
    identity: &Identity,
    folder: &Path,
) -> Result<(), EnrolError> {
    if token.order_keys_revision == 0 {
        return Ok(());
    }
    let keys = wire::OrderKeys {
        revision: token.order_keys_revision,
        keys: token.order_keys.clone(),
        recovery_key: token.recovery_key.clone(),
    };
    let folder = actor::folder_in(folder);
    actor::pin(&folder, Box::new(RealDisk), &identity.machine, &identity.service, &keys, true)?;
    Ok(())
}

fn enrolled(state: &StateFolder) -> Result<Option<Identity>, EnrolError> {
    match Identity::load(state) {
        Ok(identity) => Ok(Some(identity)),
        Err(IdentityError::NotEnrolled) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Each address in turn, until one answers.
async fn ask(
    dialler: &Dialler,
    asked: &wire::EnrolRequest,
) -> Result<Result<wire::EnrolResponse, Status>, LinkError> {
    let mut attempt = 0;
    loop {
        match link::enrol(dialler, attempt, asked.clone()).await {
            Err(error) if attempt as usize + 1 >= dialler.addresses() => return Err(error),
            Err(_) => attempt += 1,
            Ok(Err(status))
                if status.code() == Code::Unavailable && (attempt as usize + 1) < dialler.addresses() =>
            {
                attempt += 1;
            }
            Ok(answer) => return Ok(answer),
        }
    }
}

fn refused(status: &Status, looks_expired: bool) -> EnrolError {
    let said = plain(status.message());
    let message = if said.is_empty() { status.code().description().to_owned() } else { said };
    EnrolError::Refused { code: status.code(), message, looks_expired }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::fake::FakeCollector;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn state(&self) -> StateFolder {
            StateFolder::at(self.0.path().join("state"))
        }

        async fn ask(&self, token: &wire::TokenText, again: bool) -> Result<Enrolment, EnrolError> {
            let request = Request { token: token::format(token), again, host_name: "host".into() };
            let facts = |salt: &[u8; 32]| wire::Facts { os_id: salt.to_vec(), ..Default::default() };
            enrol(&self.state(), &request, facts, Clock::start(None).now()).await
        }
    }

    #[tokio::test]
    async fn the_key_is_kept_before_it_is_claimed_and_asking_again_is_asking_as_the_same_machine() {
        let fake = FakeCollector::start().await;
        let machine = Machine::new();
        fake.memory().no = Some(Status::unavailable("restarting"));
        assert!(machine.ask(&fake.token("1"), false).await.is_err());
        let key = machine.state().key().unwrap();
        fake.memory().no = None;
        let first = machine.ask(&fake.token("1"), false).await.unwrap();
        assert!(!first.already);
        let claims = fake.memory().claims.clone();
        assert_eq!(claims[0].public_key, claims[1].public_key);
        assert_eq!(claims[1].public_key, key.verifying_key().to_bytes());
        assert_eq!(claims[1].facts.as_ref().unwrap().os_id, [3; 32], "under the salt of the token");
        let second = machine.ask(&fake.token("1"), false).await.unwrap();
        assert!(second.already && second.identity == first.identity);
        assert_eq!(fake.memory().claims.len(), 2, "nobody was asked");
    }

    #[tokio::test]
    async fn another_token_needs_to_be_meant() {
        let fake = FakeCollector::start().await;
        let machine = Machine::new();
        machine.ask(&fake.token("1"), false).await.unwrap();
        let refused = machine.ask(&fake.token("2"), false).await.unwrap_err();
        assert!(matches!(refused, EnrolError::Already { .. }), "{refused}");
        assert!(refused.hint().unwrap().contains("--again"));
        let again = machine.ask(&fake.token("2"), true).await.unwrap();
        assert_eq!(again.identity.token.as_str(), "tok_2");
        let _running = machine.state().lock().unwrap();
        let refused = machine.ask(&fake.token("3"), true).await.unwrap_err();
        assert!(refused.to_string().starts_with("another agent uses"), "{refused}");
    }

    #[tokio::test]
    async fn each_no_is_told_in_the_collectors_words_with_something_to_do() {
        let fake = FakeCollector::start().await;
        for (no, hint) in [
            (Status::unauthenticated("unknown token"), "tokens list"),
            (Status::permission_denied("the token was revoked"), "tokens list"),
            (Status::resource_exhausted("the token is used up"), "more uses"),
            (Status::invalid_argument("no claim"), "collector's log"),
        ] {
            fake.memory().no = Some(no.clone());
            let error = Machine::new().ask(&fake.token("1"), false).await.unwrap_err();
            let expected = format!("the collector does not let this machine in: {}", no.message());
            assert_eq!(error.to_string(), expected);
            assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        }
        let expired = wire::TokenText { expires_at_ms: 1, ..fake.token("1") };
        fake.memory().no = Some(Status::permission_denied("the token has expired"));
        let error = Machine::new().ask(&expired, false).await.unwrap_err();
        assert!(error.hint().unwrap().contains("time is over"));
    }

    #[tokio::test]
    async fn a_token_of_another_collector_is_told_by_the_certificate() {
        let (fake, other) = (FakeCollector::start().await, FakeCollector::start().await);
        let foreign = wire::TokenText { addresses: vec![fake.address.clone()], ..other.token("1") };
        let error = Machine::new().ask(&foreign, false).await.unwrap_err();
        assert!(error.to_string().contains("is not ours, issuer CN="), "{error}");
        assert!(fake.memory().claims.is_empty());
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let fake = FakeCollector::start().await;
        let addresses = vec!["127.0.0.1:1".to_owned(), fake.address.clone()];
        let token = wire::TokenText { addresses, ..fake.token("1") };
        Machine::new().ask(&token, false).await.unwrap();
    }
}
