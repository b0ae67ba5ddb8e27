//! The end of an agent on a machine: what an uninstaller runs. Invariant: the collector is told first, for a limited time,
//! and whatever it says nothing of the agent's is left afterwards.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use tonic::Status;

use crate::identity::{Identity, IdentityError};
use crate::link::{self, Dialler};
use crate::plain::{chain, plain};
use crate::road::Road;
use crate::state::{StateError, StateFolder};

/// How long a collector gets: who uninstalls waits for it.
pub const TIME_MAX: Duration = Duration::from_secs(10);

/// Where it stands that another version takes this one's place, and how long that holds: longer than an installer takes.
const STAY: &str = "stay";
const STAY_TIME: Duration = Duration::from_secs(600);

/// How often is looked whether an agent that is stopping has gone, and how many times.
const GONE_POLL: (Duration, u32) = (Duration::from_millis(100), 50);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Another version takes its place: nothing was done.
    Stays,
    /// This machine was nobody's.
    Nobody,
    /// The collector has it on record.
    Collector,
    /// Why the collector does not know: it shows the machine as silent.
    Unheard(String),
}

/// Says that the next removal within [`STAY_TIME`] is one in favour of another version.
///
/// # Errors
/// When that cannot be kept.
pub fn stay(state: &StateFolder, now: Timestamp) -> Result<(), StateError> {
    if !state.path().is_dir() {
        return Ok(());
    }
    state.write(STAY, now.to_string().as_bytes())
}

/// Whether somebody said so. It holds once.
fn stays(state: &StateFolder, now: Timestamp) -> Result<bool, StateError> {
    let Some(bytes) = state.read(STAY)? else { return Ok(false) };
    state.remove(STAY)?;
    let said_at = String::from_utf8_lossy(&bytes).parse::<Timestamp>().ok();
    Ok(said_at.is_some_and(|said_at| now.duration_since(said_at).unsigned_abs() <= STAY_TIME))
}

/// Tells the collector, and removes everything that was kept; nothing of both where [`stay`] was said.
///
/// # Errors
/// When another agent runs, or a file cannot be removed.
pub async fn leave(state: &StateFolder, road: Arc<dyn Road>, now: Timestamp) -> Result<Told, StateError> {
    if !state.path().is_dir() {
        return Ok(Told::Nobody);
    }
    if stays(state, now)? {
        return Ok(Told::Stays);
    }
    let lock = lock(state).await?;
    let told = match Identity::load(state) {
        Ok(identity) => tell(state, road, &identity).await,
        Err(IdentityError::NotEnrolled) => Told::Nobody,
        Err(error) => Told::Unheard(chain(&error)),
    };
    // Who it was goes first: whatever is left of a removal that is cut short is nobody's.
    Identity::forget(state)?;
    state.forget_key()?;
    // An open file cannot be removed everywhere.
    drop(lock);
    remove(state.path())?;
    Ok(told)
}

/// One that was told to stop is still finishing.
async fn lock(state: &StateFolder) -> Result<crate::state::Lock, StateError> {
    let (pause, times) = GONE_POLL;
    for _ in 0..times {
        match state.lock() {
            Err(StateError::InUse(_)) => tokio::time::sleep(pause).await,
            other => return other,
        }
    }
    state.lock()
}

async fn tell(state: &StateFolder, road: Arc<dyn Road>, identity: &Identity) -> Told {
    let said = async {
        let key = state.key().map_err(|error| chain(&error))?;
        let dialler = Dialler::new(identity, &key).map_err(|error| chain(&error))?.over(road);
        let mut why = "it has no address".to_owned();
        for attempt in 0..u32::try_from(dialler.addresses()).unwrap_or(u32::MAX) {
            match link::leave(&dialler, attempt).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(status)) => why = said(&status),
                Err(error) => why = chain(&error),
            }
        }
        Err(why)
    };
    match timeout(TIME_MAX, said).await {
        Ok(Ok(())) => Told::Collector,
        Ok(Err(why)) => Told::Unheard(why),
        Err(_) => Told::Unheard(format!("the collector did not answer within {} s", TIME_MAX.as_secs())),
    }
}

fn said(status: &Status) -> String {
    let message = plain(status.message());
    if message.is_empty() { status.code().description().to_owned() } else { message }
}

/// The folder, and the one above it where that was made for it and is empty now.
fn remove(folder: &Path) -> Result<(), StateError> {
    let fault = |source| StateError::File { act: "remove", path: folder.to_owned(), source };
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    if cfg!(windows)
        && let Some(above) = folder.parent().filter(|above| above.ends_with("Seatbeat"))
    {
        // Something else of ours may be there.
        let _ = std::fs::remove_dir(above);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeCollector;
    use crate::road::Tcp;
    use seatbeat_proto::wire;

    fn now() -> Timestamp {
        "2026-11-22T20:00:00Z".parse().unwrap()
    }

    #[tokio::test]
    async fn a_version_that_is_replaced_stays_once_and_for_a_while() {
        let fake = FakeCollector::start().await;
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        stay(&state, now()).unwrap();
        assert_eq!(leave(&state, Arc::new(Tcp), now()).await.unwrap(), Told::Stays);
        assert!(Identity::load(&state).is_ok());
        stay(&state, now() - STAY_TIME - Duration::from_secs(1)).unwrap();
        assert_eq!(
            leave(&state, Arc::new(Tcp), now()).await.unwrap(),
            Told::Collector,
            "that was another time"
        );
        stay(&state, now()).unwrap();
        assert!(!state.path().exists(), "nothing is made where nothing was");
    }

    #[tokio::test]
    async fn the_collector_hears_that_the_agent_goes_and_nothing_is_left() {
        let fake = FakeCollector::start().await;
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        std::fs::create_dir_all(state.spool()).unwrap();
        assert_eq!(leave(&state, Arc::new(Tcp), now()).await.unwrap(), Told::Collector);
        assert!(!state.path().exists());
        assert_eq!(fake.memory().left, 1);
        assert_eq!(leave(&state, Arc::new(Tcp), now()).await.unwrap(), Told::Nobody);
    }

    #[tokio::test]
    async fn a_collector_that_says_no_or_nothing_does_not_keep_the_agent() {
        let fake = FakeCollector::start().await;
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        fake.memory().no = Some(tonic::Status::unavailable("restarting"));
        let told = leave(&state, Arc::new(Tcp), now()).await.unwrap();
        assert!(matches!(&told, Told::Unheard(why) if why.contains("restarting")), "{told:?}");
        assert!(!state.path().exists());
    }

    #[tokio::test]
    async fn an_agent_that_runs_is_not_pulled_from_under() {
        let fake = FakeCollector::start().await;
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        let running = state.lock().unwrap();
        assert!(matches!(leave(&state, Arc::new(Tcp), now()).await, Err(StateError::InUse(_))));
        assert!(Identity::load(&state).is_ok());
        drop(running);
        assert_eq!(leave(&state, Arc::new(Tcp), now()).await.unwrap(), Told::Collector);
    }
}
