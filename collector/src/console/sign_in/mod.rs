//! Signing in: what operators sign in with, and the sessions that follow. Invariant: memory is what the vault holds, others'
//! changes with it, and is changed by one at a time; who may what is read from the fold at each request, never kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use jiff::Timestamp;
use seatbeat_ledger::operators::Operators;
use seatbeat_proto::ids::OperatorId;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use super::Console;
use super::fault::Fault;
use crate::books::Books;
use crate::vault::{VaultError, VaultKind, VaultRow};
use accounts::{Account, Accounts};
use session::Session;
use throttle::Throttle;

pub mod accounts;
pub mod change;
pub mod enter;
pub mod link;
pub mod oidc;
pub mod oidc_config;
pub mod password;
pub mod second_factor;
pub mod session;
pub mod throttle;
pub mod totp;

/// How long no session is noted as used once the vault took no write: each try may wait for it.
const REST: Duration = Duration::from_secs(60);

/// How signing in stands.
pub struct SignIn {
    kept: OnceCell<RwLock<Kept>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    checking: Semaphore,
    throttle: Mutex<Throttle>,
    /// Until when nobody notes that a session is used: the vault takes no writes.
    rests_until: Mutex<Option<Instant>>,
    opened: Instant,
}

/// What the vault holds of it, and links, which end with the process.
#[derive(Default)]
struct Kept {
    accounts: Accounts,
    /// By the name of their row.
    sessions: BTreeMap<String, Session>,
    links: BTreeMap<OperatorId, Link>,
    /// Up to where changes of the vault were taken in.
    seen: u64,
    /// Sessions that are over here, whose rows are not erased yet.
    ended: BTreeSet<String>,
    /// Operators that were let go, whose accounts are not erased yet.
    let_go: Vec<OperatorId>,
}

/// A code that signs somebody in once.
struct Link {
    code_hash: [u8; 32],
    expires_at: Timestamp,
}

impl Default for SignIn {
    fn default() -> Self {
        Self {
            kept: OnceCell::new(),
            changing: tokio::sync::Mutex::default(),
            checking: Semaphore::new(password::CHECKS_MAX),
            throttle: Mutex::default(),
            rests_until: Mutex::default(),
            opened: Instant::now(),
        }
    }
}

impl SignIn {
    /// Whether a write that can be left out is left out for now.
    fn rests(&self) -> bool {
        let until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Leaves such writes out for a while.
    fn rest(&self) {
        let mut until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + REST);
    }
}

impl Console {
    async fn kept(&self) -> Result<&RwLock<Kept>, Fault> {
        let books = self.books.clone();
        let load = async move || {
            let loaded = tokio::task::spawn_blocking(move || {
                let mut kept = load(&books)?;
                kept.tidy(&books);
                Ok::<_, VaultError>(kept)
            });
            Ok::<_, Fault>(RwLock::new(loaded.await??))
        };
        let kept = self.sign_in.kept.get_or_try_init(load).await?;
        self.take_in_changes(kept)?;
        Ok(kept)
    }

    /// One change at a time, here; and with what other collectors have changed before.
    async fn one_at_a_time(&self) -> tokio::sync::MutexGuard<'_, ()> {
        let alone = self.sign_in.changing.lock().await;
        let books = self.books.clone();
        let caught_up = tokio::task::spawn_blocking(move || books.vault().catch_up()).await;
        if let Ok(Err(error)) = caught_up {
            // What is to be written says so to whom it concerns.
            tracing::debug!(%error, "what others changed is not seen");
        }
        alone
    }

    /// What was written to the vault since, here or by another collector.
    fn take_in_changes(&self, kept: &RwLock<Kept>) -> Result<(), Fault> {
        let vault = self.books.vault();
        let seen = read(kept).seen;
        let (now, _) = vault.signed_since(seen);
        if now == seen {
            return Ok(());
        }
        let mut kept = write(kept);
        let (now, changed) = vault.signed_since(kept.seen);
        match changed {
            Some(names) => {
                names.iter().try_for_each(|name| kept.take_in(&self.books, name))?;
                kept.seen = now;
            }
            None => {
                let loaded = load(&self.books)?;
                let (links, ended) = (std::mem::take(&mut kept.links), std::mem::take(&mut kept.ended));
                *kept = Kept { links, ..loaded };
                kept.sessions.retain(|handle, _| !ended.contains(handle));
                kept.ended.extend(ended);
            }
        }
        Ok(())
    }

    /// What an operator signs in with.
    pub(super) async fn account(&self, operator: &OperatorId) -> Result<Account, Fault> {
        Ok(read(self.kept().await?).accounts.get(operator).cloned().unwrap_or_default())
    }

    /// What everybody signs in with.
    pub(super) async fn accounts(&self) -> Result<Accounts, Fault> {
        Ok(read(self.kept().await?).accounts.clone())
    }

    /// Keeps what an operator signs in with, where it still is as it was before; whoever calls it holds `changing`.
    async fn keep_account(
        &self,
        operator: &OperatorId,
        before: &Account,
        account: Account,
    ) -> Result<(), Fault> {
        let kept = self.kept().await?;
        let (books, id, before) = (self.books.clone(), operator.clone(), before.clone());
        let value = serde_json::to_vec(&account).expect("an account has text keys and plain values");
        let is_as_before = move |current: Option<&[u8]>| {
            let current: Option<Account> = current.and_then(|value| serde_json::from_slice(value).ok());
            current.unwrap_or_default() == before
        };
        let put = move || books.vault().put_if(VaultRow::Account(&id), is_as_before, &value);
        let is_kept = tokio::task::spawn_blocking(put).await??;
        self.take_in_changes(kept)?;
        let elsewhere = "was changed at another collector just now: look at it, and try again";
        is_kept.then_some(()).ok_or_else(|| Fault::value("what the operator signs in with", elsewhere))
    }

    /// Keeps a new session; whoever calls it holds `changing`.
    async fn keep_session(&self, handle: &str, session: &Session) -> Result<(), Fault> {
        let kept = self.kept().await?;
        let (books, row, value) = (self.books.clone(), handle.to_owned(), session.to_bytes());
        let put = move || books.vault().put(VaultRow::Session(&row), &value);
        tokio::task::spawn_blocking(put).await??;
        self.take_in_changes(kept)
    }

    /// Keeps a session that has changed; false when it was ended elsewhere. Whoever calls it holds `changing`.
    async fn keep_changed_session(&self, handle: &str, session: &Session) -> Result<bool, Fault> {
        let kept = self.kept().await?;
        let (books, row, value) = (self.books.clone(), handle.to_owned(), session.to_bytes());
        let put = move || books.vault().put_if(VaultRow::Session(&row), |current| current.is_some(), &value);
        let goes_on = tokio::task::spawn_blocking(put).await??;
        self.take_in_changes(kept)?;
        Ok(goes_on)
    }

    /// Ends sessions. In memory they end at once, whatever becomes of the vault; what it does not erase now it is asked
    /// to with the next.
    async fn end_sessions(&self, ends: impl Fn(&str, &Session) -> bool) -> Result<(), Fault> {
        let kept = self.kept().await?;
        let ended: Vec<String> = {
            let mut kept = write(kept);
            let Kept { sessions, ended, .. } = &mut *kept;
            sessions.retain(|handle, one| {
                let goes_on = !ends(handle, one);
                if !goes_on {
                    ended.insert(handle.clone());
                }
                goes_on
            });
            ended.iter().cloned().collect()
        };
        if ended.is_empty() {
            return Ok(());
        }
        let (books, rows) = (self.books.clone(), ended.clone());
        let delete = move || {
            let rows: Vec<_> = rows.iter().map(|handle| VaultRow::Session(handle)).collect();
            books.vault().delete_all(&rows)
        };
        tokio::task::spawn_blocking(delete).await??;
        let mut kept = write(kept);
        kept.ended.retain(|handle| !ended.contains(handle));
        Ok(())
    }

    /// Takes away whatever an operator signs in with who was let go.
    pub(super) async fn forget(&self, operator: &OperatorId) -> Result<(), Fault> {
        let _one_at_a_time = self.sign_in.changing.lock().await;
        self.end_sessions(|_, session| session.operator == *operator).await?;
        let kept = self.kept().await?;
        {
            let mut kept = write(kept);
            kept.accounts.remove(operator);
            kept.links.remove(operator);
        }
        let (books, id) = (self.books.clone(), operator.clone());
        Ok(tokio::task::spawn_blocking(move || books.vault().delete(VaultRow::Account(&id))).await??)
    }

    /// Waits as long as a try has to.
    pub(in crate::console) async fn throttled(
        &self,
        ask: impl FnOnce(&mut Throttle, Duration) -> Result<Duration, Fault>,
    ) -> Result<(), Fault> {
        let wait = {
            let mut throttle = self.sign_in.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            ask(&mut throttle, self.sign_in.opened.elapsed())?
        };
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Does what takes much memory, with few others at once.
    pub(in crate::console) async fn costly<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let _place = self.sign_in.checking.acquire().await.expect("it is never closed");
        tokio::task::spawn_blocking(act).await?
    }
}

/// Where a request comes from, and the cookie that it had.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The address.
    pub from: Option<IpAddr>,
    /// The session that it had: another one takes its place.
    pub cookie: Option<&'a str>,
}

/// Random bytes.
fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

fn read(kept: &RwLock<Kept>) -> RwLockReadGuard<'_, Kept> {
    kept.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(kept: &RwLock<Kept>) -> RwLockWriteGuard<'_, Kept> {
    kept.write().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// Erases what is over; what cannot be erased now is left for later.
    fn tidy(&mut self, books: &Books) {
        let sessions = self.ended.iter().map(|handle| VaultRow::Session(handle));
        let rows: Vec<_> = sessions.chain(self.let_go.iter().map(VaultRow::Account)).collect();
        match books.vault().delete_all(&rows) {
            Ok(()) => (self.ended, self.let_go) = Default::default(),
            Err(error) => tracing::warn!(%error, "sessions that are over stay in the vault for now"),
        }
    }

    /// One row, as the vault holds it now.
    fn take_in(&mut self, books: &Books, name: &str) -> Result<(), VaultError> {
        let vault = books.vault();
        let Some((kind, id)) = name.split_once('/') else { return Ok(()) };
        match (kind, id.parse::<OperatorId>()) {
            ("account", Ok(operator)) => {
                let value = vault.get(VaultRow::Account(&operator))?;
                match value.and_then(|value| serde_json::from_slice(&value).ok()) {
                    Some(account) => drop(self.accounts.insert(operator, account)),
                    None => drop(self.accounts.remove(&operator)),
                }
            }
            ("session", _) => {
                let value = vault.get(VaultRow::Session(id))?;
                match value.and_then(|value| Session::from_bytes(&value)) {
                    _ if self.ended.contains(id) => {}
                    Some(session) => drop(self.sessions.insert(id.to_owned(), session)),
                    None => drop(self.sessions.remove(id)),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the vault holds; sessions that are over and whatever belongs to nobody any more are left out.
fn load(books: &Books) -> Result<Kept, VaultError> {
    let (vault, now) = (books.vault(), books.clock().now());
    let (seen, _) = vault.signed_since(0);
    let operators: Operators = books.read(|fold| fold.operators().clone());
    // Whom another collector let in just now this one's fold may not know yet.
    let is_let_in = |operator: &OperatorId| vault.is_shared() || operators.let_in(operator).is_some();
    let mut kept = Kept { seen, ..Kept::default() };
    for (id, value) in vault.scan(VaultKind::Account)? {
        let Ok(operator) = id.parse::<OperatorId>() else { continue };
        match serde_json::from_slice(&value) {
            Ok(account) if is_let_in(&operator) => drop(kept.accounts.insert(operator, account)),
            Ok(_) => kept.let_go.push(operator),
            Err(_) => tracing::warn!(%operator, "what this operator signs in with cannot be read"),
        }
    }
    for (handle, value) in vault.scan(VaultKind::Session)? {
        match Session::from_bytes(&value) {
            Some(session) if is_let_in(&session.operator) && !session.is_over(now) => {
                kept.sessions.insert(handle, session);
            }
            _ => {
                kept.ended.insert(handle);
            }
        }
    }
    Ok(kept)
}
