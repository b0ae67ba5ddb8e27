//! Codes that sign an operator in once: for the first password, and for a lost one. Invariant: a code is in one answer
//! and nowhere else; it is over once it was used, another one was made, or the process ends.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::signed::hash;
use zeroize::Zeroizing;

use super::session::Means;
use super::{Link, random, write};
use crate::console::Console;
use crate::console::auth::Caller;
use crate::console::command::checked_reason;
use crate::console::fault::Fault;
use crate::journal::Position;

/// How long a code is good.
const LINK_LIFE: SignedDuration = SignedDuration::from_mins(15);

/// Codes that nobody has used yet, of all operators; one operator has one.
const LINKS_MAX: usize = 1000;

/// A code that signs somebody in once.
pub struct SignInLink {
    /// The code; it is kept nowhere.
    pub code: Zeroizing<String>,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Behind its record.
    pub position: Position,
}

impl Console {
    /// Makes a code that signs an operator in once; it takes the place of the one before and ends with the process.
    ///
    /// # Errors
    /// When who asks may not, there are too many, or it cannot be written.
    pub async fn sign_in_link(
        &self,
        caller: &Caller,
        operator: &OperatorId,
        reason: &str,
    ) -> Result<SignInLink, Fault> {
        self.may_change(caller, operator)?;
        checked_reason(reason)?;
        let now = self.books.clock().now();
        let position = self.credential(caller, operator, Means::Link.as_str(), false, reason).await?;
        let code = Zeroizing::new(URL_SAFE_NO_PAD.encode(random::<32>()));
        let link = Link { code_hash: hash(code.as_bytes()), expires_at: now + LINK_LIFE };
        let expires_at = link.expires_at;
        let mut kept = write(self.kept().await?);
        kept.links.retain(|_, link| now < link.expires_at);
        if kept.links.len() >= LINKS_MAX {
            return Err(Fault::value("the sign-in link", "is one too many: wait until some are used"));
        }
        kept.links.insert(operator.clone(), link);
        Ok(SignInLink { code, expires_at, position })
    }
}
