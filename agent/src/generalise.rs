//! A machine that becomes a golden image. Invariant: nothing of who it was stays, a token waits for its copies, and what
//! its administrator set goes with it.

use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::token;

use crate::config::FILE;
use crate::leave::{self, Told};
use crate::road::Road;
use crate::state::StateFolder;
use crate::waiting::{self, KeepError};

/// Has the machine leave, and keeps the token for its copies.
///
/// # Errors
/// When it is no token, another agent runs, or a file cannot be removed or written.
pub async fn generalise(
    state: &StateFolder,
    road: Arc<dyn Road>,
    token: &str,
    now: Timestamp,
) -> Result<Told, KeepError> {
    // Before anything is forgotten.
    token::parse(token)?;
    let set = state.read(FILE)?;
    let told = leave::leave(state, road, now).await?;
    state.create()?;
    if let Some(set) = set {
        state.write(FILE, &set)?;
    }
    waiting::keep(state, token)?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeCollector;
    use crate::identity::{Identity, IdentityError};
    use crate::road::Tcp;
    use crate::state::StateError;
    use seatbeat_proto::wire;

    fn now() -> Timestamp {
        "2026-11-22T20:00:00Z".parse().unwrap()
    }

    #[tokio::test]
    async fn an_image_is_nobody_and_has_a_token_and_its_settings() {
        let fake = FakeCollector::start().await;
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        state.write(FILE, b"pool = true\n").unwrap();
        let token = token::format(&fake.token("2"));
        assert_eq!(generalise(&state, Arc::new(Tcp), &token, now()).await.unwrap(), Told::Collector);
        assert!(matches!(Identity::load(&state), Err(IdentityError::NotEnrolled)));
        assert!(state.key().is_err() && waiting::is_there(&state));
        assert_eq!(state.read(FILE).unwrap().unwrap(), b"pool = true\n");
        assert_eq!(fake.memory().left, 1);
        assert_eq!(
            generalise(&state, Arc::new(Tcp), &token, now()).await.unwrap(),
            Told::Nobody,
            "once more"
        );
        assert!(waiting::is_there(&state));
    }

    #[tokio::test]
    async fn what_is_no_token_and_an_agent_that_runs_leave_the_machine_as_it_is() {
        let fake = FakeCollector::start().await;
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        let refused = generalise(&state, Arc::new(Tcp), "sb1.AAAA", now()).await.unwrap_err();
        assert!(matches!(refused, KeepError::Token(_)));
        let running = state.lock().unwrap();
        let token = token::format(&fake.token("2"));
        let refused = generalise(&state, Arc::new(Tcp), &token, now()).await.unwrap_err();
        assert!(matches!(refused, KeepError::State(StateError::InUse(_))));
        drop(running);
        assert!(Identity::load(&state).is_ok() && !waiting::is_there(&state));
    }
}
