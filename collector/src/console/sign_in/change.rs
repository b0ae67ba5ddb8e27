//! Changing what operators sign in with. Invariant: each change is on record before it holds; one's own is changed by
//! who knows it or holds one's token, another operator's by an admin, and no program changes any.

use seatbeat_ledger::operators::{Reach, Right};
use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use zeroize::Zeroizing;

use super::accounts::{Account, Login, by_identity, by_login};
use super::enter::{InSession, NewSession};
use super::password::{KeptPassword, checked};
use super::read;
use super::session::Means;
use crate::console::Console;
use crate::console::auth::Caller;
use crate::console::command::checked_reason;
use crate::console::fault::Fault;
use crate::journal::Position;

/// Longest name of somebody at an identity provider: OpenID Connect's own limit of a subject.
const IDENTITY_LENGTH_MAX: usize = 255;

/// What an operator's password is to be.
pub struct PasswordAsked {
    /// Whose.
    pub operator: OperatorId,
    /// The login name; empty: stays.
    pub login: String,
    /// The password.
    pub password: Zeroizing<String>,
}

/// What an operator wants their own password to be.
pub struct OwnPasswordAsked {
    /// The one of now; none is asked for after a sign-in link.
    pub current: Zeroizing<String>,
    /// The login name; empty: stays.
    pub login: String,
    /// The password.
    pub password: Zeroizing<String>,
}

/// What can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// The password, and the second factor with it.
    Password,
    /// The second factor.
    Totp,
    /// Who they are at the identity provider.
    Oidc,
}

impl Credential {
    /// As requests and records name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Totp => "totp",
            Self::Oidc => "oidc",
        }
    }
}

impl std::str::FromStr for Credential {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let all = [Self::Password, Self::Totp, Self::Oidc];
        let found = all.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| {
            Fault::value("the means", format!("`{text}` is none: there are password, totp and oidc"))
        })
    }
}

impl Console {
    /// Sets an operator's password; their sessions end.
    ///
    /// # Errors
    /// When who asks may not, name or password cannot be one, or it cannot be written.
    pub async fn set_password(
        &self,
        caller: &Caller,
        asked: PasswordAsked,
        reason: &str,
    ) -> Result<Position, Fault> {
        self.may_change(caller, &asked.operator)?;
        checked_reason(reason)?;
        let PasswordAsked { operator, login, password } = asked;
        let _one_at_a_time = self.one_at_a_time().await;
        let position = self.new_password(caller, &operator, (&login, password), reason).await?;
        self.end_sessions(|_, session| session.operator == operator).await?;
        Ok(position)
    }

    /// Sets the password of who is in a session; their other sessions end, and this one gets another cookie.
    ///
    /// # Errors
    /// When there were too many tries, the current password is wrong, the new one cannot be one, or it cannot be
    /// written.
    pub async fn set_own_password(
        &self,
        caller: &Caller,
        session: &InSession,
        asked: OwnPasswordAsked,
    ) -> Result<NewSession, Fault> {
        let operator = caller.operator();
        if session.session.means != Means::Link {
            self.knows_password(caller, asked.current).await?;
        }
        let _one_at_a_time = self.one_at_a_time().await;
        self.new_password(caller, operator, (&asked.login, asked.password), "").await?;
        let handle = session.handle.clone();
        self.end_sessions(|one, session| session.operator == *operator && one != handle).await?;
        let (session, cookie) = session.session.renewed(self.books.clock().now());
        if !self.keep_changed_session(&handle, &session).await? {
            return Err(Fault::Forbidden("this session was ended: sign in again"));
        }
        Ok(NewSession { cookie, session: InSession { handle, session } })
    }

    /// Takes away what an operator signs in with; their sessions end.
    ///
    /// # Errors
    /// When who asks may not, or it cannot be written.
    pub async fn remove_credential(
        &self,
        caller: &Caller,
        operator: &OperatorId,
        credential: Credential,
        reason: &str,
    ) -> Result<Position, Fault> {
        self.may_change(caller, operator)?;
        checked_reason(reason)?;
        let _one_at_a_time = self.one_at_a_time().await;
        let position = self.without(caller, operator, credential, reason).await?;
        self.end_sessions(|_, session| session.operator == *operator).await?;
        Ok(position)
    }

    /// Says who an operator is at the identity provider.
    ///
    /// # Errors
    /// When who asks is no admin, no provider is configured, it is another operator already, or it cannot be written.
    pub async fn link_identity(
        &self,
        caller: &Caller,
        operator: &OperatorId,
        value: &str,
        reason: &str,
    ) -> Result<Position, Fault> {
        self.may_change(caller, operator)?;
        checked_reason(reason)?;
        let provider = self.provider.as_ref();
        let provider = provider.ok_or_else(|| Fault::value("`[sign_in.oidc]`", "is not configured here"))?;
        let is_text = value.chars().all(|c| !c.is_control() && !c.is_whitespace());
        if value.is_empty() || value.len() > IDENTITY_LENGTH_MAX || !is_text {
            let why = format!("has to be 1 to {IDENTITY_LENGTH_MAX} characters without spaces");
            return Err(Fault::value("the subject", why));
        }
        let identity = provider.identity(value);
        let _one_at_a_time = self.one_at_a_time().await;
        let holder = by_identity(&read(self.kept().await?).accounts, &identity).cloned();
        if holder.is_some_and(|holder| holder != *operator) {
            return Err(Fault::value("the subject", "is linked to another operator already"));
        }
        let account = self.account(operator).await?;
        let position = self.credential(caller, operator, "oidc", false, reason).await?;
        let linked = Account { identity: Some(identity), ..account.clone() };
        self.keep_account(operator, &account, linked).await?;
        self.end_sessions(|_, session| session.operator == *operator && session.means == Means::Oidc).await?;
        Ok(position)
    }

    /// Whether who asks may change what an operator signs in with.
    pub(super) fn may_change(&self, caller: &Caller, operator: &OperatorId) -> Result<(), Fault> {
        caller.in_person()?;
        let may_all = caller.let_in.has(Right::Administer) && caller.reach() == Reach::House;
        if !may_all && caller.operator() != operator {
            return Err(Fault::Forbidden("it is another operator's: it needs the role admin"));
        }
        self.let_in_operator(operator)
    }

    /// Puts a change on record.
    pub(super) async fn credential(
        &self,
        caller: &Caller,
        operator: &OperatorId,
        means: &str,
        removed: bool,
        reason: &str,
    ) -> Result<Position, Fault> {
        let (operator, means) = (operator.to_string(), means.to_owned());
        let fact = Fact::CredentialSet(wire::CredentialSet { operator, means, removed });
        self.write(caller, reason, fact).await
    }

    /// Whether who is in a session knows their password, which is given back as it is kept.
    pub(super) async fn knows_password(
        &self,
        caller: &Caller,
        password: Zeroizing<String>,
    ) -> Result<Option<KeptPassword>, Fault> {
        let operator = caller.operator();
        self.throttled(|throttle, now| throttle.at_name(operator.as_str(), caller.from, now)).await?;
        let kept = self.account(operator).await?.password;
        if kept.is_none() {
            return Err(Fault::value("the password", "is none yet: one comes first"));
        }
        if self.is_password(kept.clone(), password).await? {
            return Ok(kept);
        }
        self.refuse(operator, Means::Password, caller.from);
        Err(Fault::SignInRefused)
    }

    /// Whoever calls it holds `changing`.
    async fn new_password(
        &self,
        caller: &Caller,
        operator: &OperatorId,
        (login, password): (&str, Zeroizing<String>),
        reason: &str,
    ) -> Result<Position, Fault> {
        let before = self.account(operator).await?;
        let mut account = before.clone();
        if !login.is_empty() {
            let login = login.parse::<Login>().map_err(|error| Fault::value("the login name", error))?;
            account.login = login.to_string();
        }
        if account.login.is_empty() {
            return Err(Fault::value("the login name", "is missing: the operator has none yet"));
        }
        let holder = {
            let kept = read(self.kept().await?);
            by_login(&kept.accounts, &account.login).map(|(id, _)| id.clone())
        };
        if holder.is_some_and(|holder| holder != *operator) {
            let why = format!("`{}` is another operator's", account.login);
            return Err(Fault::value("the login name", why));
        }
        checked(&account.login, &password)?;
        let kept = self.costly(move || KeptPassword::of(&password)).await?;
        let position = self.credential(caller, operator, "password", false, reason).await?;
        account.password = Some(kept);
        self.keep_account(operator, &before, account).await?;
        Ok(position)
    }

    /// Whoever calls it holds `changing`.
    pub(super) async fn without(
        &self,
        caller: &Caller,
        operator: &OperatorId,
        credential: Credential,
        reason: &str,
    ) -> Result<Position, Fault> {
        let before = self.account(operator).await?;
        let mut account = before.clone();
        match credential {
            Credential::Password => account.password = None,
            Credential::Totp => {}
            Credential::Oidc => account.identity = None,
        }
        if credential != Credential::Oidc {
            (account.totp, account.totp_begun) = (None, None);
        }
        let position = self.credential(caller, operator, credential.as_str(), true, reason).await?;
        self.keep_account(operator, &before, account).await?;
        Ok(position)
    }
}
