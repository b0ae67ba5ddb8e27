//! Who is let in. Invariant: no clock, no store, no network; the fold decides, and the same key is always answered the
//! same.

use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::fold::evidence::bounded;
use seatbeat_ledger::registry::Refusal;
use seatbeat_proto::ids::{IdError, MachineId, TokenId};
use seatbeat_proto::signed::{BadSignature, Domain, hash, public_key, verify};
use seatbeat_proto::token::SECRET_LENGTH;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{EnrolRequest, EnrolResponse, EnrolmentClaim, EnrolmentRequested, Signed};
use subtle::ConstantTimeEq as _;
use tonic::Status;

use super::host_names::{HOST_NAME_LENGTH_MAX, is_host_name};

/// Longest version, in bytes.
const WORD_LENGTH_MAX: usize = 64;

/// Who asks to be let in, with whose token.
#[derive(Debug)]
pub struct Asker {
    /// Named by its key.
    pub machine: MachineId,
    /// By which it asks.
    pub token: TokenId,
    secret_hash: [u8; 32],
    claim: Signed,
    /// What the machine is called.
    pub host_name: String,
}

/// A request that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing is claimed.
    #[error("the request has no claim")]
    NoClaim,
    /// Its bytes are none.
    #[error("the claim cannot be decoded")]
    Undecodable(#[from] prost::DecodeError),
    /// Somebody else signed it.
    #[error("the claim is not signed with the key that it names")]
    Signature(#[from] BadSignature),
    /// Its id is none.
    #[error(transparent)]
    Token(#[from] IdError),
    /// A secret of another length.
    #[error("the token's secret has {0} bytes, not {SECRET_LENGTH}")]
    Secret(usize),
    /// A field beyond its limit.
    #[error("`{0}` of the claim is longer than it can be")]
    TooLong(&'static str),
    /// A name that is none.
    #[error("the host name is longer than {HOST_NAME_LENGTH_MAX} bytes or not printable")]
    HostName,
}

impl Asker {
    /// Reads a request.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(request: EnrolRequest) -> Result<Self, Malformed> {
        let EnrolRequest { token_secret, claim: signed, host_name } = request;
        let signed = signed.ok_or(Malformed::NoClaim)?;
        let claim = EnrolmentClaim::decode(signed.payload.as_slice())?;
        let key: VerifyingKey = public_key(&claim.public_key)?;
        verify(&key, Domain::EnrolmentClaim, &signed)?;
        if token_secret.len() != SECRET_LENGTH {
            return Err(Malformed::Secret(token_secret.len()));
        }
        if claim.agent_version.len() > WORD_LENGTH_MAX {
            return Err(Malformed::TooLong("agent_version"));
        }
        claim.facts.clone().map(bounded).transpose().map_err(|_| Malformed::TooLong("facts"))?;
        if !is_host_name(&host_name) {
            return Err(Malformed::HostName);
        }
        Ok(Self {
            machine: MachineId::derived_from(key.as_bytes()),
            token: claim.token.parse()?,
            secret_hash: hash(&token_secret),
            claim: signed,
            host_name,
        })
    }

    /// What it is told at once; none: its [`Asker::fact`] has to be written, then it is told [`Asker::told`].
    ///
    /// # Errors
    /// Why it is not let in, in a technician's words.
    pub fn known(&self, fold: &Fold, now: Timestamp) -> Result<Option<EnrolResponse>, Status> {
        holds_token(fold, self)?;
        match answer(fold, &self.machine) {
            Some(answer) => answer.map(Some),
            None => fold.registry().admits(&self.token, now).map(|_| None).map_err(refused),
        }
    }

    /// What it asks for, as a record.
    pub fn fact(&self) -> Fact {
        Fact::EnrolmentRequested(EnrolmentRequested { claim: Some(self.claim.clone()) })
    }

    /// What it is told once the fold has seen its record.
    ///
    /// # Errors
    /// As [`Asker::known`].
    pub fn told(&self, fold: &Fold, now: Timestamp) -> Result<EnrolResponse, Status> {
        answer(fold, &self.machine).unwrap_or_else(|| {
            // Another machine had the last use, or an operator was faster.
            let refusal = fold.registry().admits(&self.token, now).err();
            Err(refused(refusal.unwrap_or(Refusal::TokenUsedUp)))
        })
    }
}

/// Whether the asker has the token's secret. An unknown id and a wrong secret are told the same.
fn holds_token(fold: &Fold, asker: &Asker) -> Result<(), Status> {
    let holds = fold
        .registry()
        .token(&asker.token)
        .is_some_and(|token| token.secret_hash.ct_eq(&asker.secret_hash).into());
    if holds { Ok(()) } else { Err(refused(Refusal::UnknownToken)) }
}

/// What a machine that is in is told; none when it is not.
fn answer(fold: &Fold, id: &MachineId) -> Option<Result<EnrolResponse, Status>> {
    let machine = fold.registry().machine(id)?;
    if machine.banned {
        return Some(Err(Status::permission_denied("this machine is banned")));
    }
    Some(Ok(EnrolResponse { machine: id.to_string(), customer: machine.customer.to_string() }))
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::UnknownToken => {
            Status::unauthenticated("the token is not one of this collector's: was it made by another one?")
        }
        Refusal::TokenRevoked => Status::permission_denied("the token was revoked: ask for a new one"),
        Refusal::TokenExpired => Status::permission_denied("the token has expired: ask for a new one"),
        Refusal::TokenUsedUp => Status::resource_exhausted("the token is used up: ask for a new one"),
        Refusal::TokenRate => Status::resource_exhausted(
            "the token has let in as many machines as it may in an hour: try again later",
        ),
        other => Status::failed_precondition(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use seatbeat_proto::signed::{new_key, sign};
    use tonic::Code;

    use super::*;
    use seatbeat_proto::wire::Facts;

    fn request() -> (EnrolmentClaim, EnrolRequest) {
        let key = new_key();
        let claim = EnrolmentClaim {
            public_key: key.verifying_key().to_bytes().to_vec(),
            token: "tok_a".into(),
            claimed_at_ms: 1,
            facts: Some(Facts { smbios_uuid: vec![1; 16], ..Facts::default() }),
            agent_version: "0.1.0".into(),
        };
        let signed = sign(&key, Domain::EnrolmentClaim, claim.encode_to_vec());
        let request = EnrolRequest {
            token_secret: vec![7; SECRET_LENGTH],
            claim: Some(signed),
            host_name: "ws-17".into(),
        };
        (claim, request)
    }

    fn signed_anew(change: impl FnOnce(&mut EnrolmentClaim)) -> EnrolRequest {
        let (mut claim, request) = request();
        let key = new_key();
        claim.public_key = key.verifying_key().to_bytes().to_vec();
        change(&mut claim);
        EnrolRequest { claim: Some(sign(&key, Domain::EnrolmentClaim, claim.encode_to_vec())), ..request }
    }

    #[test]
    fn a_machine_is_named_by_its_own_key() {
        let (claim, request) = request();
        assert_eq!(Asker::read(request).unwrap().machine, MachineId::derived_from(&claim.public_key));
    }

    #[test]
    fn what_is_not_a_whole_claim_is_malformed() {
        let check = |request: EnrolRequest, expected: &str| {
            assert_eq!(Asker::read(request).unwrap_err().to_string(), expected);
        };
        let (_, fine) = request();
        check(EnrolRequest { claim: None, ..fine.clone() }, "the request has no claim");
        check(
            EnrolRequest { token_secret: vec![], ..fine.clone() },
            "the token's secret has 0 bytes, not 16",
        );
        let name = "the host name is longer than 255 bytes or not printable";
        check(EnrolRequest { host_name: "x".repeat(300), ..fine.clone() }, name);
        let unsigned = "the claim is not signed with the key that it names";
        check(
            signed_anew(|claim| claim.public_key = new_key().verifying_key().to_bytes().to_vec()),
            unsigned,
        );
        check(signed_anew(|claim| claim.public_key.truncate(31)), unsigned);
        let no_token =
            "`cus_a` is not a token id: expected `tok_` and 1 to 68 letters, digits, `-`, `_` or `.`";
        check(signed_anew(|claim| claim.token = "cus_a".into()).clone(), no_token);
        let long = "`agent_version` of the claim is longer than it can be";
        check(signed_anew(|claim| claim.agent_version = "1".repeat(65)), long);
        let facts = |facts| signed_anew(|claim| claim.facts = Some(facts));
        let long = "`facts` of the claim is longer than it can be";
        check(facts(Facts { os_id: vec![0; 33], ..Facts::default() }), long);
        check(facts(Facts { macs: vec![vec![0; 16]; 65], ..Facts::default() }), long);
    }

    #[test]
    fn a_refused_token_is_told_in_a_technicians_words() {
        let check = |refusal: Refusal, code: Code, word: &str| {
            let status = refused(refusal);
            assert_eq!(status.code(), code);
            assert!(status.message().contains(word), "{}", status.message());
        };
        check(Refusal::UnknownToken, Code::Unauthenticated, "not one of this collector's");
        check(Refusal::TokenRevoked, Code::PermissionDenied, "revoked");
        check(Refusal::TokenExpired, Code::PermissionDenied, "expired");
        check(Refusal::TokenUsedUp, Code::ResourceExhausted, "used up");
        check(Refusal::TokenRate, Code::ResourceExhausted, "hour");
    }
}
