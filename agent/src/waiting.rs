//! A token that waits in the state folder until the collector lets this machine in: an installer leaves it there, and who
//! starts the agent needs not know. Invariant: the token stays until the identity is on disk and goes then; why it is
//! still there can be read beside it, without the token.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use seatbeat_proto::token::{self, TokenError};
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};
use tonic::Code;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::enrol::{self, EnrolError, Request};
use crate::identity::{Identity, IdentityError};
use crate::jitter::Jitter;
use crate::marks::{self, Verdict};
use crate::plain::chain;
use crate::road::Road;
use crate::state::{StateError, StateFolder};
use crate::status::Trouble;

/// The token's file in the state folder.
pub const FILE: &str = "waiting.token";

/// Beside it: what came of it so far.
const PROGRESS: &str = "waiting.json";

/// How long is waited between tries.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// After the first try that failed; a house of machines starts within minutes of each other.
    pub first: Duration,
    /// At most: a collector that comes back has its machines within this.
    pub longest: Duration,
    /// After a no: only a person changes that.
    pub refused: Duration,
    /// Between two looks whether somebody brought a token.
    pub nothing: Duration,
}

impl Pace {
    /// What an agent keeps to.
    pub const USUAL: Self = Self {
        first: Duration::from_secs(10),
        longest: Duration::from_secs(15 * 60),
        refused: Duration::from_secs(3600),
        nothing: Duration::from_secs(60),
    };
}

/// What came of a waiting token so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Tries that failed.
    pub tries: u32,
    /// When the first of them did, what went wrong with the last, and what can be done.
    pub trouble: Trouble,
    /// When it was last tried.
    pub last_tried_at: Timestamp,
}

/// Why a token was not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The text is no token.
    #[error("failed to read the token")]
    Token(#[from] TokenError),
    /// The folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The identity that is there.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl KeepError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Token(_) => Some(enrol::WHOLE_TOKEN.into()),
            Self::State(error) => error.hint(),
            Self::Identity(error) => error.hint(),
        }
    }
}

/// Keeps a token until the agent runs; false: this machine is enrolled already, and nothing waits.
///
/// # Errors
/// When it is none, or cannot be kept.
pub fn keep(state: &StateFolder, text: &str) -> Result<bool, KeepError> {
    token::parse(text)?;
    match Identity::load(state) {
        Ok(_) => return Ok(false),
        Err(IdentityError::NotEnrolled) => {}
        Err(error) => return Err(error.into()),
    }
    state.create()?;
    state.remove(PROGRESS)?;
    state.write(FILE, text.trim().as_bytes())?;
    Ok(true)
}

/// What came of the token that waits; `None`: none does, or it was not tried yet.
pub fn progress(state: &StateFolder) -> Option<Progress> {
    serde_json::from_slice(&state.read(PROGRESS).ok()??).ok()
}

/// Whether one waits.
pub fn is_there(state: &StateFolder) -> bool {
    state.path().join(FILE).is_file()
}

/// What happens where there is neither an identity nor a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It is an error: somebody is there to read it.
    Refuse,
    /// Somebody may bring a token, or enrol: a service that is installed waits for it.
    Wait,
}

/// A machine that wants to be let in.
pub struct Newcomer<'a, F: Fn(&[u8; 32]) -> wire::Facts> {
    /// Its folder.
    pub state: &'a StateFolder,
    /// Shown to operators.
    pub host_name: &'a str,
    /// Reads its facts under a token's salt.
    pub facts: F,
    /// Its clock.
    pub clock: Clock,
    /// How long it waits between tries.
    pub pace: Pace,
    /// Its way to the collector.
    pub road: Arc<dyn Road>,
}

/// The identity of this machine: the one that is there, or the one that a waiting token brings, however long that takes.
///
/// # Errors
/// When there is neither, or what is there cannot be used.
pub async fn identity<F: Fn(&[u8; 32]) -> wire::Facts>(
    newcomer: Newcomer<'_, F>,
    jitter: &mut Jitter,
    otherwise: Otherwise,
) -> Result<Identity, IdentityError> {
    let Newcomer { state, host_name, facts, clock, pace, road } = newcomer;
    let (mut pause, mut is_told) = (pace.first, false);
    loop {
        match Identity::load(state) {
            Ok(identity) => {
                if marks::settle(state, &identity, &facts, clock.now().wall)? == Verdict::Copy {
                    continue;
                }
                forget(state)?;
                return Ok(identity);
            }
            Err(IdentityError::NotEnrolled) => {}
            Err(error) => return Err(error),
        }
        let Some(bytes) = state.read(FILE)?.map(Zeroizing::new) else {
            if otherwise == Otherwise::Refuse {
                return Err(IdentityError::NotEnrolled);
            }
            if !is_told {
                tracing::info!("this machine is not enrolled: waiting for a token (`seatbeat-agent enrol`)");
                is_told = true;
            }
            tokio::time::sleep(pace.nothing).await;
            continue;
        };
        let token = String::from_utf8_lossy(&bytes).trim().to_owned();
        let request = Request { token, again: false, host_name: host_name.to_owned() };
        match enrol::enrol_over(Arc::clone(&road), state, &request, &facts, clock.now()).await {
            Ok(enrolment) => {
                let machine = enrolment.identity.machine.as_str();
                tracing::info!(machine, "this machine was let in with the token that waited");
            }
            Err(error) => {
                note(state, &error, clock.now().wall);
                let wait = if is_no(&error) { pace.refused } else { pause };
                tokio::time::sleep(jitter.a_tenth_off(wait)).await;
                pause = (pause * 2).min(pace.longest);
            }
        }
    }
}

/// A no that time does not change; that others were too many for the collector, it does.
fn is_no(error: &EnrolError) -> bool {
    match error {
        EnrolError::Refused { code, .. } => matches!(code, Code::Unauthenticated | Code::PermissionDenied),
        EnrolError::Token(_) | EnrolError::TokenKeys => true,
        _ => false,
    }
}

fn forget(state: &StateFolder) -> Result<(), StateError> {
    state.remove(FILE)?;
    state.remove(PROGRESS)
}

fn note(state: &StateFolder, error: &EnrolError, now: Timestamp) {
    let before = progress(state);
    let (tries, since) = before.map_or((0, now), |before| (before.tries, before.trouble.at));
    let trouble = Trouble { at: since, what: chain(error), hint: error.hint() };
    tracing::warn!(error = trouble.what, "this machine is not let in yet");
    let progress = Progress { tries: tries.saturating_add(1), trouble, last_tried_at: now };
    let stored = serde_json::to_vec_pretty(&progress).map(|text| state.write_unsynced(PROGRESS, &text));
    if let Ok(Err(error)) = stored {
        tracing::debug!(error = chain(&error), "why this machine is not let in was not written");
    }
}

#[cfg(test)]
mod tests;
