//! Coming in: a password, a code that is good once, and the cookie of a session. Invariant: whoever signs in gets a
//! session of its own, on record before it opens anything; who is refused is not told which part was wrong.

use std::net::IpAddr;
use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_ledger::operators::LetIn;
use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use zeroize::Zeroizing;

use super::accounts::{Login, by_identity, by_login};
use super::oidc::SentAway;
use super::password::{BYTES_MAX, KeptPassword};
use super::session::{Due, Means, Session};
use super::{Origin, random, read, write};
use crate::books::Actor;
use crate::console::Console;
use crate::console::fault::Fault;

/// Sessions of one operator: some browsers on some machines. The oldest gives way.
const SESSIONS_MAX: usize = 20;

/// What somebody types in.
pub struct Tried {
    /// The login name.
    pub name: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// The code of the second factor; empty: none.
    pub code: String,
}

/// A session that a request belongs to.
#[derive(Clone)]
pub struct InSession {
    /// The name of its row.
    pub handle: String,
    /// The session.
    pub session: Session,
}

/// A session, and the cookie that it is known by from now on.
pub struct NewSession {
    /// The cookie.
    pub cookie: Zeroizing<String>,
    /// The session.
    pub session: InSession,
}

/// Who comes by a cookie.
pub struct Entered {
    /// Who, and what they may now.
    pub let_in: LetIn,
    /// In which session.
    pub session: InSession,
    /// The cookie that takes the place of theirs, if one does.
    pub cookie: Option<Zeroizing<String>>,
}

impl Console {
    /// Signs somebody in by name and password.
    ///
    /// # Errors
    /// When there were too many tries, something is wrong, or it cannot be put on record.
    pub async fn sign_in(&self, tried: Tried, origin: Origin<'_>) -> Result<NewSession, Fault> {
        // What cannot be a name is nobody's.
        let login = tried.name.parse::<Login>().map(|login| login.to_string()).unwrap_or_default();
        self.throttled(|throttle, now| throttle.at_name(&login, origin.from, now)).await?;
        let found = {
            let kept = read(self.kept().await?);
            by_login(&kept.accounts, &login).map(|(id, account)| (id.clone(), account.clone()))
        };
        let password = found.as_ref().and_then(|(_, account)| account.password.clone());
        let is_password = self.is_password(password.clone(), tried.password).await?;
        let Some((operator, _)) = found else { return Err(Fault::SignInRefused) };
        let is_let_in = self.let_in_operator(&operator).is_ok();
        if is_let_in && is_password && self.takes_code(&operator, password.as_ref(), &tried.code).await? {
            return self.begin(&operator, Means::Password, origin).await;
        }
        self.refuse(&operator, Means::Password, origin.from);
        Err(Fault::SignInRefused)
    }

    /// Signs somebody in by a code that is good once.
    ///
    /// # Errors
    /// When there were too many tries, the code is none or over, or it cannot be put on record.
    pub async fn sign_in_by_link(&self, code: &str, origin: Origin<'_>) -> Result<NewSession, Fault> {
        self.throttled(|throttle, now| throttle.at_address(origin.from, now)).await?;
        let (code_hash, now) = (hash(code.trim().as_bytes()), self.books.clock().now());
        let operator = {
            let mut kept = write(self.kept().await?);
            let mut links = kept.links.iter();
            let found = links.find(|(_, link)| link.code_hash == code_hash && now < link.expires_at);
            let operator = found.map(|(operator, _)| operator.clone());
            if let Some(operator) = &operator {
                kept.links.remove(operator);
            }
            operator
        };
        let operator = operator.filter(|operator| self.let_in_operator(operator).is_ok());
        let operator = operator.ok_or(Fault::SignInRefused)?;
        self.begin(&operator, Means::Link, origin).await
    }

    /// Sends somebody to the identity provider.
    ///
    /// # Errors
    /// When there is none, it does not answer, or there were too many tries.
    pub async fn send_to_provider(&self, to: &str, origin: Origin<'_>) -> Result<SentAway, Fault> {
        self.throttled(|throttle, now| throttle.at_address(origin.from, now)).await?;
        let provider = self.provider.as_ref().ok_or(Fault::NoSuchPage)?;
        provider.send_away(to).await
    }

    /// Signs somebody in whom the identity provider sends back; also gives where they were on their way to.
    ///
    /// # Errors
    /// When the provider does not vouch for them or does not answer, no operator is linked to them, there were too many
    /// tries, or it cannot be put on record.
    pub async fn sign_in_by_provider(
        &self,
        state: &str,
        code: Option<&str>,
        browser: Option<&str>,
        origin: Origin<'_>,
    ) -> Result<(NewSession, String), Fault> {
        self.throttled(|throttle, now| throttle.at_address(origin.from, now)).await?;
        let provider = self.provider.as_ref().ok_or(Fault::NoSuchPage)?;
        let back = provider.come_back(state, code, browser, self.books.clock().now()).await?;
        let operator = {
            let kept = read(self.kept().await?);
            by_identity(&kept.accounts, &back.identity).cloned()
        };
        let operator = operator.filter(|operator| self.let_in_operator(operator).is_ok());
        let nobodys = Fault::Forbidden("no operator here is linked to that account: an admin can link one");
        let operator = operator.ok_or(nobodys)?;
        Ok((self.begin(&operator, Means::Oidc, origin).await?, back.to))
    }

    /// Who comes by a cookie; nobody: its session is over, or was none.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub async fn by_cookie(&self, cookie: &str, by_itself: bool) -> Result<Option<Entered>, Fault> {
        let (id_hash, now) = (hash(cookie.as_bytes()), self.books.clock().now());
        let Some(session) = self.session_behind_others(&id_hash).await? else { return Ok(None) };
        let let_in = self.books.read(|fold| fold.operators().let_in(&session.session.operator));
        let Some(let_in) = let_in.filter(|_| !session.session.is_over(now)) else {
            let _one_at_a_time = self.sign_in.changing.lock().await;
            if let Err(fault) = self.end_sessions(|handle, _| handle == session.handle).await {
                tracing::warn!(error = %fault.words(), "a session that is over stays in the vault for now");
            }
            return Ok(None);
        };
        if by_itself || session.session.due(&id_hash, now) == Due::Nothing || self.sign_in.rests() {
            return Ok(Some(Entered { let_in, session, cookie: None }));
        }
        let _one_at_a_time = self.sign_in.changing.lock().await;
        // Somebody else may have done it, or ended it, meanwhile.
        let Some(InSession { handle, session }) = self.session_of(&id_hash).await? else { return Ok(None) };
        let (changed, cookie) = match session.due(&id_hash, now) {
            Due::Nothing => (session.clone(), None),
            Due::Note => (session.noted(now), None),
            Due::Rotation => {
                let (rotated, id) = session.rotated(now);
                (rotated, Some(id))
            }
        };
        if changed == session {
            return Ok(Some(Entered { let_in, session: InSession { handle, session }, cookie: None }));
        }
        match self.keep_changed_session(&handle, &changed).await {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(Entered { let_in, session: InSession { handle, session: changed }, cookie })),
            // A vault that takes no writes now leaves the session as it was: it ends on time.
            Err(fault) => {
                tracing::warn!(error = %fault.words(), "a session is not noted");
                self.sign_in.rest();
                Ok(Some(Entered { let_in, session: InSession { handle, session }, cookie: None }))
            }
        }
    }

    /// An operator's sessions that are not over, the newest first.
    ///
    /// # Errors
    /// When the vault fails.
    pub async fn sessions_of(&self, operator: &OperatorId) -> Result<Vec<InSession>, Fault> {
        let (kept, now) = (read(self.kept().await?), self.books.clock().now());
        let theirs = kept.sessions.iter().filter(|(_, one)| one.operator == *operator && !one.is_over(now));
        let session = |(handle, session): (&String, &Session)| InSession {
            handle: handle.clone(),
            session: session.clone(),
        };
        let mut found: Vec<InSession> = theirs.map(session).collect();
        found.sort_by_key(|one| std::cmp::Reverse(one.session.created_at()));
        Ok(found)
    }

    /// Whether a session goes on, and its operator is let in.
    ///
    /// # Errors
    /// When the vault fails.
    pub async fn goes_on(&self, session: &InSession) -> Result<bool, Fault> {
        let (kept, now) = (read(self.kept().await?), self.books.clock().now());
        let goes_on = kept.sessions.get(&session.handle).is_some_and(|session| !session.is_over(now));
        let operator = &session.session.operator;
        Ok(goes_on && self.books.read(|fold| fold.operators().let_in(operator)).is_some())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the vault does not take it; it has ended all the same until the collector starts again.
    pub async fn sign_out(&self, session: &InSession) -> Result<(), Fault> {
        let _one_at_a_time = self.sign_in.changing.lock().await;
        self.end_sessions(|handle, _| handle == session.handle).await
    }

    /// Begins a session, on record; the one that a browser had is over then.
    pub(super) async fn begin(
        &self,
        operator: &OperatorId,
        means: Means,
        origin: Origin<'_>,
    ) -> Result<NewSession, Fault> {
        self.record(operator.as_str(), operator, means, false, origin.from).await?;
        let now = self.books.clock().now();
        let _one_at_a_time = self.one_at_a_time().await;
        let had = origin.cookie.map(|cookie| hash(cookie.as_bytes()));
        let given_way = self.given_way(operator).await?;
        let ends = |handle: &str, session: &Session| {
            session.is_over(now)
                || had.is_some_and(|had| session.is(&had, now))
                || given_way.iter().any(|one| one == handle)
        };
        self.end_sessions(ends).await?;
        let (session, cookie) = Session::new(operator.clone(), means, now);
        let handle = URL_SAFE_NO_PAD.encode(random::<16>());
        self.keep_session(&handle, &session).await?;
        Ok(NewSession { cookie, session: InSession { handle, session } })
    }

    /// Puts on record that somebody was refused who tried to come in as an operator, as long as that is not too often.
    /// They are not kept waiting for it: the time would tell them that the name is known.
    pub(super) fn refuse(&self, operator: &OperatorId, means: Means, from: Option<IpAddr>) {
        let recorded = {
            let mut throttle = self.sign_in.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            throttle.is_recorded(operator, self.sign_in.opened.elapsed())
        };
        if !recorded {
            return;
        }
        let (console, operator) = (self.clone(), operator.clone());
        tokio::spawn(async move {
            // Who it was is not known.
            if let Err(fault) = console.record(COLLECTOR, &operator, means, true, from).await {
                tracing::warn!(error = %fault.words(), "a refused try to sign in is not on record");
            }
        });
    }

    /// Whether this is the password; nobody's takes as long.
    pub(super) async fn is_password(
        &self,
        kept: Option<KeptPassword>,
        password: Zeroizing<String>,
    ) -> Result<bool, Fault> {
        let is_kept = kept.is_some();
        let kept = kept.unwrap_or_else(KeptPassword::nobodys);
        let is_short = password.len() <= BYTES_MAX;
        let checked = if is_short { password } else { Zeroizing::default() };
        Ok(self.costly(move || kept.is(&checked)).await? && is_kept && is_short)
    }

    /// Takes a code, where the operator has a second factor; the password has to be the one that was checked.
    pub(super) async fn takes_code(
        &self,
        operator: &OperatorId,
        checked: Option<&KeptPassword>,
        code: &str,
    ) -> Result<bool, Fault> {
        let _one_at_a_time = self.one_at_a_time().await;
        let before = self.account(operator).await?;
        let mut account = before.clone();
        if account.password.as_ref() != checked {
            return Ok(false);
        }
        let Some(totp) = &mut account.totp else { return Ok(true) };
        if !totp.take(code, self.books.clock().now()) {
            return Ok(false);
        }
        self.keep_account(operator, &before, account).await?;
        Ok(true)
    }

    /// The session of a cookie, which another collector may have begun just now.
    async fn session_behind_others(&self, id_hash: &[u8; 32]) -> Result<Option<InSession>, Fault> {
        let known = self.session_of(id_hash).await?;
        if known.is_some() || !self.books.vault().is_shared() {
            return Ok(known);
        }
        self.books.vault().caught_up().await;
        self.session_of(id_hash).await
    }

    async fn session_of(&self, id_hash: &[u8; 32]) -> Result<Option<InSession>, Fault> {
        let now = self.books.clock().now();
        let kept = read(self.kept().await?);
        let mut sessions = kept.sessions.iter();
        let found = sessions.find(|(_, session)| session.is(id_hash, now));
        Ok(found.map(|(handle, session)| InSession { handle: handle.clone(), session: session.clone() }))
    }

    /// Sessions of an operator that give way to one more.
    async fn given_way(&self, operator: &OperatorId) -> Result<Vec<String>, Fault> {
        let kept = read(self.kept().await?);
        let of_operator = kept.sessions.iter().filter(|(_, session)| session.operator == *operator);
        let mut of_operator: Vec<_> =
            of_operator.map(|(handle, session)| (session.created_at(), handle.clone())).collect();
        of_operator.sort();
        let more = (of_operator.len() + 1).saturating_sub(SESSIONS_MAX);
        Ok(of_operator.into_iter().take(more).map(|(_, handle)| handle).collect())
    }

    async fn record(
        &self,
        name: &str,
        operator: &OperatorId,
        means: Means,
        refused: bool,
        from: Option<IpAddr>,
    ) -> Result<(), Fault> {
        let means = means.as_str().to_owned();
        let fact = Fact::SignedIn(wire::SignedIn { operator: operator.to_string(), means, refused });
        self.books.write(Actor { name, from }, "", fact).await?;
        Ok(())
    }
}
