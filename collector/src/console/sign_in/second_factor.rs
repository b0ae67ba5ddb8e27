//! One's own second factor: begun, put in force, taken away. Invariant: it holds only once its owner has shown that an
//! authenticator knows it, and nobody takes it away who has not both factors.

use zeroize::Zeroizing;

use super::accounts::Account;
use super::change::Credential;
use super::totp::{Enrolment, KeptTotp};
use crate::console::Console;
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::journal::Position;

impl Console {
    /// Begins a second factor: it holds once a code of it was given.
    ///
    /// # Errors
    /// When there were too many tries, the password is wrong, there is one already, or it cannot be written.
    pub async fn begin_totp(&self, caller: &Caller, password: Zeroizing<String>) -> Result<Enrolment, Fault> {
        self.knows_password(caller, password).await?;
        let _one_at_a_time = self.one_at_a_time().await;
        let account = self.account(caller.operator()).await?;
        if account.totp.is_some() {
            return Err(Fault::value("the second factor", "is there already: remove it before"));
        }
        let begun = KeptTotp::random();
        let enrolment = begun.enrolment(&account.login)?;
        let changed = Account { totp_begun: Some(begun), ..account.clone() };
        self.keep_account(caller.operator(), &account, changed).await?;
        Ok(enrolment)
    }

    /// Puts a second factor in force that was begun.
    ///
    /// # Errors
    /// When there were too many tries, none was begun, the code is not one of it, or it cannot be written.
    pub async fn confirm_totp(&self, caller: &Caller, code: &str) -> Result<Position, Fault> {
        let operator = caller.operator();
        self.throttled(|throttle, now| throttle.at_name(operator.as_str(), caller.from, now)).await?;
        let _one_at_a_time = self.one_at_a_time().await;
        let account = self.account(operator).await?;
        let Some(mut totp) = account.totp_begun.clone() else {
            return Err(Fault::value("the second factor", "was not begun"));
        };
        if !totp.take(code, self.books.clock().now()) {
            return Err(Fault::SignInRefused);
        }
        let position = self.credential(caller, operator, "totp", false, "").await?;
        let changed = Account { totp: Some(totp), totp_begun: None, ..account.clone() };
        self.keep_account(operator, &account, changed).await?;
        Ok(position)
    }

    /// Takes one's own second factor away.
    ///
    /// # Errors
    /// When there were too many tries, password or code are wrong, or it cannot be written.
    pub async fn remove_own_totp(
        &self,
        caller: &Caller,
        password: Zeroizing<String>,
        code: &str,
    ) -> Result<Position, Fault> {
        let kept = self.knows_password(caller, password).await?;
        if !self.takes_code(caller.operator(), kept.as_ref(), code).await? {
            return Err(Fault::SignInRefused);
        }
        let _one_at_a_time = self.one_at_a_time().await;
        self.without(caller, caller.operator(), Credential::Totp, "").await
    }
}
