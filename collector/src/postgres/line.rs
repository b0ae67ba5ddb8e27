//! The way to a database that may go away: a session that is made anew, and how long it is tried. Invariant: a session
//! that failed is never used again; what does not pass by itself is not tried again.

use std::time::Duration;

use tokio::time::Instant;

use super::{Address, PostgresError};

/// How long a database is tried that was away before.
const PATIENCE_WHILE_AWAY: Duration = Duration::from_secs(2);

/// Pause between tries, at most; it begins with a tenth.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection with what is prepared on it.
pub(crate) trait Session: Sized + Send {
    /// Connects and prepares.
    fn open(address: &Address) -> impl Future<Output = Result<Self, PostgresError>> + Send;

    /// Whether the connection has ended.
    fn is_closed(&self) -> bool;
}

/// See the module's text.
pub(crate) struct Line<S> {
    address: Address,
    session: Option<S>,
    sessions: u64,
    is_away: bool,
    patience: Duration,
}

impl<S: Session> Line<S> {
    /// Nobody is connected yet. A database that goes away is tried for so long.
    pub(crate) fn new(address: Address, patience: Duration) -> Self {
        Self { address, session: None, sessions: 0, is_away: false, patience }
    }

    /// Where it is, without user and password.
    pub(crate) fn place(&self) -> String {
        self.address.to_string()
    }

    /// How often it was connected to.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions
    }

    /// The session, made where there is none.
    pub(crate) async fn session(&mut self) -> Result<&mut S, PostgresError> {
        let session = match self.session.take() {
            Some(session) if !session.is_closed() => session,
            _ => {
                let session = S::open(&self.address).await?;
                self.sessions += 1;
                session
            }
        };
        Ok(self.session.insert(session))
    }

    /// It answered as it should.
    pub(crate) fn is_well(&mut self) {
        self.is_away = false;
    }

    /// As many tries as there is patience for: little with one that was away already.
    pub(crate) fn tries(&self) -> Tries {
        Tries::for_at_most(if self.is_away { PATIENCE_WHILE_AWAY } else { self.patience })
    }

    /// What an error means: nothing when it is tried again.
    pub(crate) async fn after(
        &mut self,
        error: PostgresError,
        tries: &mut Tries,
    ) -> Result<(), PostgresError> {
        if error.passes() && tries.again().await {
            self.session = None;
            tracing::debug!(%error, "the database is tried again");
            return Ok(());
        }
        let error = self.ends(error);
        self.is_away = error.is_away();
        Err(error)
    }

    /// The same error for whoever asks once: the session is given up.
    pub(crate) fn ends(&mut self, error: PostgresError) -> PostgresError {
        self.session = None;
        if !error.passes() {
            return error;
        }
        PostgresError::Away { place: self.place(), source: Box::new(error) }
    }
}

/// Tries, and how long they may go on.
pub(crate) struct Tries {
    until: Instant,
    pause: Duration,
}

impl Tries {
    /// From now on.
    pub(crate) fn for_at_most(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, pause: PAUSE_MAX / 10 }
    }

    /// The patience with what was away before.
    pub(crate) fn few() -> Self {
        Self::for_at_most(PATIENCE_WHILE_AWAY)
    }

    /// Waits for the next try; false when there is none.
    async fn again(&mut self) -> bool {
        if Instant::now() + self.pause > self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = PAUSE_MAX.min(self.pause * 2);
        true
    }
}
