//! Who may come in at the operator door. Invariant: every RPC of Console passes here first; what passes carries the
//! operator's id, and a method that finds none refuses.

use seatbeat_ledger::fold::Fold;
use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::signed::hash;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::fault::Fault;
use super::service::status;
use crate::books::Books;

/// Longest token that is looked at: ours have 48 characters.
const TOKEN_LENGTH_MAX: usize = 256;

/// Lets operators in.
#[derive(Clone)]
pub struct Door {
    books: Books,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(pub OperatorId);

impl Door {
    /// The door to these books.
    pub fn new(books: Books) -> Self {
        Self { books }
    }
}

impl Interceptor for Door {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let operator =
            bearer(request.metadata()).and_then(|token| self.books.read(|fold| operator(fold, token)));
        match operator {
            Some(operator) => {
                request.extensions_mut().insert(Caller(operator));
                Ok(request)
            }
            None => Err(status(&Fault::NotLetIn)),
        }
    }
}

/// The operator who asks; the door has put it there.
///
/// # Errors
/// When the request came in another way.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| status(&Fault::NotLetIn))
}

fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= TOKEN_LENGTH_MAX)
        .then_some(token)
}

/// What is compared are hashes of 256 random bits: the time it takes tells nothing that leads to a token.
fn operator(fold: &Fold, token: &str) -> Option<OperatorId> {
    fold.registry().operator(&hash(token.as_bytes())).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &'static str, expected: Option<&str>) {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", header.parse().unwrap());
        assert_eq!(bearer(&metadata), expected, "{header}");
    }

    #[test]
    fn only_a_bearer_token_is_looked_at() {
        check("Bearer sbo1.x", Some("sbo1.x"));
        check("bearer  sbo1.x ", Some("sbo1.x"));
        check("Basic sbo1.x", None);
        check("Bearer ", None);
        check("sbo1.x", None);
        assert_eq!(bearer(&MetadataMap::new()), None);
    }

    #[test]
    fn a_request_that_did_not_come_through_the_door_has_no_caller() {
        assert!(caller(&Request::new(())).is_err());
        let mut request = Request::new(());
        request.extensions_mut().insert(Caller("opr_1".parse().unwrap()));
        assert_eq!(caller(&request).unwrap(), Caller("opr_1".parse().unwrap()));
    }
}
