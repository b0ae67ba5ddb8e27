//! What operators sign in with, in the vault. Invariant: a login name is one operator's; whoever is let go has none.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use seatbeat_proto::ids::OperatorId;
use serde::{Deserialize, Serialize};

use super::password::KeptPassword;
use super::totp::KeptTotp;

/// Longest login name in bytes: an e-mail address.
const LOGIN_LENGTH_MAX: usize = 100;

/// What one operator signs in with.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// The name; empty: none yet.
    pub login: String,
    /// The password.
    pub password: Option<KeptPassword>,
    /// The second factor.
    pub totp: Option<KeptTotp>,
    /// A second factor that no code has confirmed yet.
    pub totp_begun: Option<KeptTotp>,
    /// Who the operator is at the identity provider.
    pub identity: Option<Identity>,
}

/// Somebody at an identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// The claim that names them.
    pub claim: String,
    /// What it says.
    pub value: String,
}

/// Everybody's.
pub type Accounts = BTreeMap<OperatorId, Account>;

impl Account {
    /// By what means the operator can come in.
    pub fn means(&self) -> Vec<&'static str> {
        let held = [
            ("password", self.password.is_some()),
            ("totp", self.totp.is_some()),
            ("oidc", self.identity.is_some()),
        ];
        held.into_iter().filter(|(_, has)| *has).map(|(means, _)| means).collect()
    }
}

/// A login name as it is kept and compared: in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login(String);

impl Login {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no login name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has to be 1 to {LOGIN_LENGTH_MAX} letters, digits or one of `. _ - + @`")]
pub struct LoginError;

impl FromStr for Login {
    type Err = LoginError;

    fn from_str(text: &str) -> Result<Self, LoginError> {
        let text = text.trim().to_ascii_lowercase();
        let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
        let is_login = !text.is_empty() && text.len() <= LOGIN_LENGTH_MAX && text.bytes().all(is_sign);
        is_login.then_some(Self(text)).ok_or(LoginError)
    }
}

/// Whose login name this is.
pub fn by_login<'a>(accounts: &'a Accounts, login: &str) -> Option<(&'a OperatorId, &'a Account)> {
    accounts.iter().find(|(_, account)| account.login == login && !login.is_empty())
}

/// Who is linked to somebody at an identity provider.
pub fn by_identity<'a>(accounts: &'a Accounts, identity: &Identity) -> Option<&'a OperatorId> {
    accounts.iter().find(|(_, account)| account.identity.as_ref() == Some(identity)).map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_name_is_short_and_plain() {
        assert_eq!(" Tess.O@Example ".parse::<Login>().unwrap().as_str(), "tess.o@example");
        for wrong in ["", " ", "a b", "a/b", "<b>", "tëss", &"x".repeat(101)] {
            assert!(wrong.parse::<Login>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_has_no_name() {
        let accounts = Accounts::from([("opr_a".parse().unwrap(), Account::default())]);
        assert!(by_login(&accounts, "").is_none());
    }
}
