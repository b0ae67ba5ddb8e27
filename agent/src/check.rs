//! `check`: is everything in place for reports to arrive. Invariant: looking changes nothing, and sends no evidence.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{SigningKey, VerifyingKey};
use seatbeat_proto::ids::SpoolId;
use seatbeat_proto::wire;
use serde::Serialize;

use crate::catalogue::{PASSED_OVER_HINT, Shelf};
use crate::chain::Chain;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::jitter::Jitter;
use crate::link::{Connection, Dialler, LinkError, LinkEvent};
use crate::meter::CLOCK_STEP_MS_MAX;
use crate::orders::Book;
use crate::plain::chain;
use crate::road::Road;
use crate::session::{Effect, Event, Past, Profile, Session};
use crate::settings::Settings;
use crate::spool::{Inspection, Spool};
use crate::state::StateFolder;
use crate::status::{LinkStatus, Status};

/// Longest wait for the collector's welcome.
const WELCOME_MAX: Duration = Duration::from_secs(15);

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// What can be done; `None`: nothing needs to be.
    pub hint: Option<String>,
}

impl Finding {
    fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, detail: detail.into(), hint: None }
    }

    fn bad(check: &'static str, detail: impl Into<String>, hint: Option<String>) -> Self {
        Self { check, ok: false, detail: detail.into(), hint }
    }
}

/// Looks at everything; what rests on something that is not in place is left out.
pub async fn check(
    state: &StateFolder,
    release_key: Option<VerifyingKey>,
    road: Arc<dyn Road>,
    clock: &Clock,
    host_name: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let identity = match Identity::load(state) {
        Ok(identity) => {
            let who = format!("{} of {}", identity.machine, identity.customer);
            findings.push(Finding::good("identity", who));
            identity
        }
        Err(error) => {
            findings.push(Finding::bad("identity", chain(&error), error.hint()));
            return findings;
        }
    };
    let Some(key) = key(state, &identity, &mut findings) else { return findings };
    let inspection = spool(state, &identity, &key, &mut findings);
    let status = Status::load(state).filter(|_| state.is_in_use());
    findings.push(match &status {
        Some(status) => Finding::good("agent", format!("running, process {}", status.pid)),
        None if state.is_in_use() => Finding::good("agent", "running"),
        // It may be asked before the service is started.
        None => Finding::good("agent", "not running (`systemctl enable --now seatbeat-agent` starts it)"),
    });
    if let Some(trouble) = status.as_ref().and_then(|status| status.reporting_stopped.clone()) {
        findings.push(Finding::bad("reporting", trouble.what, trouble.hint));
    }
    findings.push(catalogue(state, release_key, status.as_ref()));
    let dialler = Dialler::new(&identity, &key).map(|dialler| dialler.over(road));
    collector(&identity, dialler, inspection.chain, status.as_ref(), clock, host_name, &mut findings).await;
    findings
}

fn catalogue(state: &StateFolder, release_key: Option<VerifyingKey>, status: Option<&Status>) -> Finding {
    let shelf = match Shelf::open(state, release_key) {
        Ok(shelf) => shelf,
        Err(error) => return Finding::bad("catalogue", chain(&error), error.hint()),
    };
    let source = if shelf.is_built_in() { "built in" } else { "pushed" };
    let detail = format!("version {}, {source}", shelf.in_use.version);
    let refused = status.and_then(|status| status.catalogue.refused.clone());
    if let Some(refused) = refused {
        return Finding::bad("catalogue", format!("{detail}; {}", refused.what), refused.hint);
    }
    match shelf.passed_over {
        Some(why) => Finding::bad("catalogue", format!("{detail}; {why}"), Some(PASSED_OVER_HINT.to_owned())),
        None if release_key.is_none() => Finding::good(
            "catalogue",
            format!("{detail}; a newer one is not taken: no release key is trusted"),
        ),
        None => Finding::good("catalogue", detail),
    }
}

fn key(state: &StateFolder, identity: &Identity, findings: &mut Vec<Finding>) -> Option<SigningKey> {
    let key = match state.key() {
        Ok(key) => key,
        Err(error) => {
            findings.push(Finding::bad("key", chain(&error), error.hint()));
            return None;
        }
    };
    match identity.check_key(&key.verifying_key()) {
        Ok(()) => {
            findings.push(Finding::good("key", "readable by its owner alone, and the one that was enrolled"));
            Some(key)
        }
        Err(error) => {
            findings.push(Finding::bad("key", chain(&error), error.hint()));
            None
        }
    }
}

fn spool(
    state: &StateFolder,
    identity: &Identity,
    key: &SigningKey,
    findings: &mut Vec<Finding>,
) -> Inspection {
    match Spool::inspect(&state.spool(), &identity.machine, &key.verifying_key()) {
        Ok(inspection) => {
            findings.push(match &inspection.damage {
                None => Finding::good(
                    "spool",
                    format!("{} reports kept, {} not acknowledged", inspection.kept, inspection.waiting),
                ),
                Some(damage) => Finding::bad(
                    "spool",
                    format!("damaged: {damage}"),
                    Some("start the agent: it sets the file aside and goes on in a new spool".into()),
                ),
            });
            inspection
        }
        Err(error) => {
            findings.push(Finding::bad("spool", chain(&error), error.hint().map(str::to_owned)));
            Inspection::default()
        }
    }
}

/// Asks the collector; one that the running agent talks to is not asked for its clock a second time.
async fn collector(
    identity: &Identity,
    dialler: Result<Dialler, LinkError>,
    spool: Option<Chain>,
    status: Option<&Status>,
    clock: &Clock,
    host_name: &str,
    findings: &mut Vec<Finding>,
) {
    let connected = status.filter(|status| status.link == LinkStatus::Connected);
    let reached = match dialler {
        Ok(dialler) => reach(dialler).await,
        Err(error) => Err(error),
    };
    let (dialler, attempt) = match reached {
        Ok((dialler, attempt)) => {
            let address = &identity.addresses[attempt as usize % identity.addresses.len()];
            findings.push(Finding::good("collector", format!("reached at `{address}`, with the pinned key")));
            (dialler, attempt)
        }
        Err(error) => {
            findings.push(Finding::bad("collector", chain(&error), error.hint().map(str::to_owned)));
            return;
        }
    };
    let offset_ms = match connected {
        Some(status) => Ok(status.clock_offset_ms),
        None => {
            let profile = Profile {
                machine: identity.machine.clone(),
                host_name: host_name.to_owned(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                service: identity.service,
            };
            greet(profile, dialler, attempt, spool, clock).await
        }
    };
    match offset_ms {
        Ok(offset_ms) => {
            findings.push(Finding::good("conversation", "the collector knows this machine"));
            findings.push(clock_finding(offset_ms));
        }
        Err(error) => {
            findings.push(Finding::bad("conversation", chain(&error), error.hint().map(str::to_owned)));
        }
    }
}

/// The first address that somebody with the pinned key is at.
async fn reach(dialler: Dialler) -> Result<(Dialler, u32), LinkError> {
    let mut reached = Err(LinkError::Closed);
    for attempt in 0..u32::try_from(dialler.addresses()).unwrap_or(1) {
        reached = dialler.dial(attempt).await.map(|_| attempt);
        if reached.is_ok() {
            break;
        }
    }
    reached.map(|attempt| (dialler, attempt))
}

fn clock_finding(offset_ms: i64) -> Finding {
    let detail = format!("{offset_ms} ms from the collector's");
    if offset_ms.unsigned_abs() <= CLOCK_STEP_MS_MAX {
        Finding::good("clock", detail)
    } else {
        let hint = "set the machine's clock (NTP); until then reports carry the corrected time";
        Finding::bad("clock", detail, Some(hint.into()))
    }
}

/// Says hello as the agent would, and hangs up after welcome: nothing is sent, nothing is kept.
async fn greet(
    profile: Profile,
    dialler: Dialler,
    attempt: u32,
    spool: Option<Chain>,
    clock: &Clock,
) -> Result<i64, LinkError> {
    let spool = spool.unwrap_or_else(|| Chain::new(SpoolId::random()));
    let past = Past { settings: Settings::initial(0), book: Book::default(), acknowledged: 0 };
    let mut now = clock.now();
    let mut session = Session::new(profile, past, Jitter::random(), now);
    now.uptime = session.timer();
    session.handle(Event::Timer, &spool, now);
    let mut connection = Connection::open(dialler, attempt);
    let welcomed = async {
        loop {
            let event = match connection.next().await {
                LinkEvent::Connected => Event::Connected,
                LinkEvent::Received(message) => Event::Received(message),
                LinkEvent::Lost(error) => return Err(error),
            };
            let welcomed = matches!(&event, Event::Received(message) if is_welcome(message));
            for effect in session.handle(event, &spool, clock.now()) {
                if let Effect::Send(message) = effect {
                    connection.send(message);
                }
            }
            if welcomed {
                return Ok(session.clock_offset_ms());
            }
        }
    };
    tokio::time::timeout(WELCOME_MAX, welcomed).await.unwrap_or_else(|_| {
        Err(LinkError::Broken(format!("it does not say welcome ({} s)", WELCOME_MAX.as_secs())))
    })
}

fn is_welcome(message: &wire::CollectorMessage) -> bool {
    matches!(message.body, Some(wire::collector_message::Body::Welcome(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeCollector;

    async fn failed(state: &StateFolder) -> Vec<(&'static str, String)> {
        let findings = check(state, None, Arc::new(crate::road::Tcp), &Clock::start(None), "host").await;
        assert!(findings.iter().all(|finding| finding.ok || finding.hint.is_some()), "{findings:?}");
        findings
            .into_iter()
            .filter(|finding| !finding.ok)
            .map(|finding| (finding.check, finding.detail))
            .collect()
    }

    #[tokio::test]
    async fn an_enrolled_machine_with_a_collector_has_everything_in_place() {
        let fake = FakeCollector::start().await;
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        assert_eq!(failed(&state).await, []);
        let memory = fake.memory();
        assert_eq!((memory.links, memory.spools.len()), (1, 0), "hello, and no evidence");
        assert!(!state.spool().exists(), "looking changes nothing");
    }

    #[tokio::test]
    async fn what_is_not_in_place_is_named() {
        let fake = FakeCollector::start().await;
        let nobody = tempfile::tempdir().unwrap();
        let expected = [("identity", "this machine is not enrolled".to_owned())];
        assert_eq!(failed(&StateFolder::at(nobody.path().to_owned())).await, expected);
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        fake.memory().ahead_ms = 7_200_000;
        let clock = failed(&state).await.into_iter().find(|(check, _)| *check == "clock").unwrap();
        assert!(clock.1.starts_with("7200") || clock.1.starts_with("7199"), "{}", clock.1);
        fake.memory().no = Some(tonic::Status::permission_denied("banned"));
        let banned = ("conversation", "the collector refuses this machine: banned".to_owned());
        assert!(failed(&state).await.contains(&banned));
        let other = FakeCollector::start().await;
        let identity = Identity::load(&state).unwrap();
        Identity { pin: other.pin, ..identity.clone() }.store(&state).unwrap();
        assert!(failed(&state).await[0].1.contains("is not ours, issuer CN="));
        Identity { addresses: vec!["127.0.0.1:1".into()], ..identity }.store(&state).unwrap();
        assert!(failed(&state).await[0].1.starts_with("failed to reach the collector at `127.0.0.1:1`: "));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_key_that_others_can_read_is_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let fake = FakeCollector::start().await;
        let (_dir, state) = fake.enrolled(wire::Facts::default()).await;
        let path = state.path().join("machine.key");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let findings = failed(&state).await;
        assert_eq!(findings.len(), 1);
        assert!(findings[0].1.ends_with("can be read by others (mode 640)"), "{findings:?}");
    }
}
