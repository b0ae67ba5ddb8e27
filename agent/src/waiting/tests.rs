//! A token waits through what goes wrong on the way. Invariant: real TLS to a collector of the test's own, real files,
//! and pauses of milliseconds.

use tonic::Status;

use super::*;
use crate::fake::FakeCollector;

const PACE: Pace = Pace {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(20),
    refused: Duration::from_millis(30),
    nothing: Duration::from_millis(5),
};

fn facts(_: &[u8; 32]) -> wire::Facts {
    wire::Facts::default()
}

fn folder() -> (tempfile::TempDir, StateFolder) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateFolder::at(dir.path().join("state"));
    (dir, state)
}

async fn come_in(state: &StateFolder) -> Result<Identity, IdentityError> {
    come_in_or(state, Otherwise::Refuse).await
}

async fn come_in_or(state: &StateFolder, otherwise: Otherwise) -> Result<Identity, IdentityError> {
    let (clock, road) = (Clock::start(None), Arc::new(crate::road::Tcp));
    let newcomer = Newcomer { state, host_name: "host", facts, clock, pace: PACE, road };
    identity(newcomer, &mut Jitter::from_seed(1), otherwise).await
}

/// Waits until so many tries failed, and answers what stands there of the last.
async fn failed(state: &StateFolder, tries: u32) -> Progress {
    loop {
        match progress(state) {
            Some(progress) if progress.tries >= tries => return progress,
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

#[tokio::test]
async fn a_collector_that_is_away_is_asked_until_it_is_there_and_the_token_goes() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = folder();
    assert!(keep(&state, &token::format(&fake.token("1"))).unwrap());
    fake.memory().no = Some(Status::unavailable("it is restarting"));
    let (let_in, why) = tokio::join!(come_in(&state), async {
        let why = failed(&state, 3).await;
        assert!(is_there(&state));
        fake.memory().no = None;
        why
    });
    assert!(why.trouble.what.contains("restarting") && why.trouble.at <= why.last_tried_at, "{why:?}");
    assert_eq!(let_in.unwrap(), Identity::load(&state).unwrap());
    assert!(!is_there(&state) && progress(&state).is_none());
    let keys: Vec<_> = fake.memory().claims.iter().map(|claim| claim.public_key.clone()).collect();
    assert!(keys.len() >= 4 && keys.iter().all(|key| *key == keys[0]), "as one machine, however often");
}

#[tokio::test]
async fn a_token_that_was_taken_back_says_so_and_is_asked_again_seldom() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = folder();
    keep(&state, &token::format(&fake.token("1"))).unwrap();
    fake.memory().no = Some(Status::permission_denied("the token was revoked"));
    let why = tokio::select! {
        let_in = come_in(&state) => panic!("it goes on waiting: {let_in:?}"),
        why = failed(&state, 1) => why,
    };
    assert!(why.trouble.what.ends_with("the token was revoked"), "{why:?}");
    assert!(why.trouble.hint.unwrap().contains("tokens list"));
    assert!(is_there(&state));
    // Another one is brought, as an administrator would.
    fake.memory().no = None;
    assert!(keep(&state, &token::format(&fake.token("2"))).unwrap());
    assert!(progress(&state).is_none(), "what was said of the first is not said of the second");
    assert_eq!(come_in(&state).await.unwrap().token.as_str(), "tok_2");
}

#[tokio::test]
async fn two_agents_that_start_at_once_are_one_machine() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = folder();
    keep(&state, &token::format(&fake.token("1"))).unwrap();
    let (one, other) = tokio::join!(come_in(&state), come_in(&state));
    assert_eq!(one.unwrap(), other.unwrap());
    let keys: Vec<_> = fake.memory().claims.iter().map(|claim| claim.public_key.clone()).collect();
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[tokio::test]
async fn a_token_that_is_left_over_beside_an_identity_goes_unasked() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = folder();
    let text = token::format(&fake.token("1"));
    keep(&state, &text).unwrap();
    let first = come_in(&state).await.unwrap();
    // As after a crash between the two.
    state.write(FILE, text.as_bytes()).unwrap();
    assert_eq!(come_in(&state).await.unwrap(), first);
    assert!(!is_there(&state));
    assert_eq!(fake.memory().claims.len(), 1);
    assert!(!keep(&state, &token::format(&fake.token("2"))).unwrap(), "an upgrade brings its token again");
    assert!(!is_there(&state));
}

#[tokio::test]
async fn without_a_token_or_with_a_text_that_is_none_nothing_waits() {
    let (_dir, state) = folder();
    assert!(matches!(come_in(&state).await, Err(IdentityError::NotEnrolled)));
    let refused = keep(&state, "sb1.AAAA").unwrap_err();
    assert!(refused.hint().unwrap().contains("sb1."), "{refused}");
    assert!(!is_there(&state));
}

#[tokio::test]
async fn a_service_waits_until_somebody_brings_a_token() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = folder();
    let (let_in, ()) = tokio::join!(come_in_or(&state, Otherwise::Wait), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        keep(&state, &token::format(&fake.token("1"))).unwrap();
    });
    assert_eq!(let_in.unwrap().token.as_str(), "tok_1");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_without_room_keeps_the_token_waiting() {
    let fake = FakeCollector::start().await;
    let (_dir, state) = folder();
    keep(&state, &token::format(&fake.token("1"))).unwrap();
    // No key can be made where its file would be a folder, as none can on a full disk.
    let key = state.path().join("machine.key.tmp");
    std::fs::create_dir(&key).unwrap();
    let (let_in, why) = tokio::join!(come_in(&state), async {
        let why = failed(&state, 2).await;
        std::fs::remove_dir(&key).unwrap();
        why
    });
    assert!(why.trouble.what.contains("machine.key"), "{why:?}");
    assert!(let_in.is_ok() && !is_there(&state));
    assert_eq!(fake.memory().claims.len(), 1, "nobody hears of a key that is not on disk");
}
