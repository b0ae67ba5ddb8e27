//! Who comes in at the operator door. Invariant: what is answered passed here first, and carries who asked and from
//! where; a method that finds nobody refuses.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seatbeat_ledger::operators::{LetIn, Reach};
use seatbeat_proto::ids::{CustomerId, OperatorId};
use seatbeat_proto::signed::hash;
use tonic::{Request, Status};

use super::fault::Fault;
use super::service::status;
use crate::books::{Actor, Books};

/// Longest token that is looked at: ours have 48 characters.
const TOKEN_LENGTH_MAX: usize = 256;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, and what they may.
    pub let_in: LetIn,
    /// The address they ask from.
    pub from: Option<IpAddr>,
}

impl Caller {
    /// The operator.
    pub fn operator(&self) -> &OperatorId {
        &self.let_in.operator
    }

    /// Whether they may know of a customer. Who may not is told what somebody is told who asks for nobody.
    ///
    /// # Errors
    /// When it is out of their reach.
    pub fn reaches(&self, customer: &CustomerId) -> Result<(), Fault> {
        if self.let_in.reach().has(customer) { Ok(()) } else { Err(Fault::UnknownCustomer(customer.clone())) }
    }

    /// Whether it is an operator who asks and no program. A way in that a program made would outlast its token.
    ///
    /// # Errors
    /// When it is a program.
    pub fn in_person(&self) -> Result<(), Fault> {
        match self.let_in.api_token {
            None => Ok(()),
            Some(_) => Err(Fault::Forbidden("a program's token lets nobody in: ask as the operator")),
        }
    }

    /// Whose things they may know of.
    pub fn reach(&self) -> Reach {
        self.let_in.reach()
    }
}

impl<'a> From<&'a Caller> for Actor<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self { name: caller.operator().as_str(), from: caller.from }
    }
}

/// Who is let in by what a request says of itself.
pub fn by_token(books: &Books, headers: &HeaderMap) -> Option<LetIn> {
    let token = token(headers)?;
    let now = books.clock().now();
    // What is compared are hashes of 256 random bits: the time it takes tells nothing that leads to a token.
    books.read(|fold| fold.operators().by_token(&hash(token.as_bytes()), now))
}

/// Who asks; the door has put it there.
///
/// # Errors
/// When the request came in another way.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| status(&Fault::NotLetIn))
}

/// The token, as a bearer or as the password of any user (spreadsheets and scripts know nothing else). Of several
/// headers none is taken: who sits between might have looked at another one.
fn token(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") && rest.len() <= 2 * TOKEN_LENGTH_MAX {
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        pair.split_once(':')?.1.to_owned()
    } else {
        return None;
    };
    (!token.is_empty() && token.len() <= TOKEN_LENGTH_MAX).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        assert_eq!(token(&headers).as_deref(), expected, "{header}");
    }

    #[test]
    fn a_token_comes_as_a_bearer_or_as_a_password() {
        check("Bearer sbo1.x", Some("sbo1.x"));
        check("bearer  sbo1.x ", Some("sbo1.x"));
        check(&format!("Basic {}", STANDARD.encode("excel:sbo1.x")), Some("sbo1.x"));
        check(&format!("Basic {}", STANDARD.encode(":sbo1.x:y")), Some("sbo1.x:y"));
        check(&format!("Basic {}", STANDARD.encode("sbo1.x")), None);
        check("Basic sbo1.x", None);
        check("Digest sbo1.x", None);
        check("Bearer ", None);
        check("sbo1.x", None);
        check(&format!("Bearer {}", "x".repeat(257)), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }

    #[test]
    fn of_two_headers_none_is_taken() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(token(&headers), None);
    }

    #[test]
    fn a_request_that_did_not_come_through_the_door_has_no_caller() {
        assert!(caller(&Request::new(())).is_err());
    }
}
