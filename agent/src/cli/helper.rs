//! The helper as a program, and an agent that has one. Invariant: what root writes for the helper comes from root's own
//! command line, never from a folder of the agent's.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::catalogue::{Catalogue, PushedError};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::token;
use seatbeat_proto::wire::{OrderKeys, Signed};
use tokio::net::UnixListener;

use super::commands::{STOP_MAX, facts, runtime, setting, sight, start_log, stop_signal};
use super::{CliError, Place};
use crate::act::actor::{self, Actor, ActorError};
use crate::act::{VendorHands, worker};
use crate::catalogue::{FILE, Shelf};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::{Daemon, DaemonError, Sight};
use crate::detect::Scope;
use crate::detect::lookout::Lookout;
use crate::enrol::{self, EnrolError};
use crate::helper::pinned::{MACHINE_FOLDER, Pinned, PinnedError};
use crate::helper::reach;
use crate::helper::serve::{Helper, IDLE_TIME, LookWanted, Looker, SeenByHelper};
use crate::identity::Identity;
use crate::marks;
use crate::plain::chain;
use crate::spool::disk::RealDisk;
use crate::state::{StateError, StateFolder, is_root};

/// Where users of this machine stand.
const USERS: &str = "/etc/passwd";

#[derive(Debug, Args)]
pub(super) struct HelperArgs {
    /// The user, by name or number, that the agent runs as; nobody else is listened to
    #[arg(long, value_name = "USER", default_value = "seatbeat-agent")]
    peer: String,
    /// Milliseconds until it ends when there is nothing to do
    #[arg(long, value_name = "MS", hide = true)]
    idle_ms: Option<u64>,
}

/// What a helper, or who prepares one, could not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelperError {
    #[error("the helper has to run as root")]
    NotRoot,
    #[error("there is no user `{0}` on this machine")]
    Nobody(String),
    #[error("failed to read the users of this machine in `{USERS}`")]
    Users(#[source] io::Error),
    #[error("the helper's input is no socket that listens")]
    Socket(#[source] io::Error),
    #[error("the helper failed")]
    Serve(#[source] io::Error),
    #[error("the folder `{}` belongs to user {owner}: what root writes there could be led elsewhere", path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error("the helper runs, and uses `{}`", .0.display())]
    Running(PathBuf),
    #[error(transparent)]
    Pinned(#[from] PinnedError),
    #[error(transparent)]
    Orders(#[from] ActorError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl HelperError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NotRoot | Self::Socket(_) => Some(
                "it is started by its socket: `systemctl enable --now seatbeat-agent-helper.socket`".into(),
            ),
            Self::Nobody(_) => {
                Some("`systemd-sysusers` makes it, or name another one with `--peer USER`".into())
            }
            Self::Running(_) => Some(
                "`systemctl stop seatbeat-agent seatbeat-agent-helper`, then again, and start the agent"
                    .into(),
            ),
            Self::Users(_) | Self::Serve(_) => None,
            Self::Foreign { path, .. } => Some(format!(
                "`systemctl stop seatbeat-agent && chown -R root: {}`, then again; starting the agent gives it back",
                path.display()
            )),
            Self::Pinned(error) => error.hint(),
            Self::Orders(error) => error.hint(),
            Self::State(error) => error.hint(),
        }
    }
}

/// The helper, until there is nothing to do.
pub(super) fn helper(args: HelperArgs, place: &Place, clock: Clock) -> Result<ExitCode, CliError> {
    if !is_root() {
        return Err(HelperError::NotRoot.into());
    }
    start_log();
    let peer = user(&args.peer)?;
    let folder = place.helper_folder.clone().unwrap_or_else(|| MACHINE_FOLDER.into());
    let state = StateFolder::at(folder.clone());
    // Never one in a folder of the agent's.
    let config = match Config::path(place.config.clone(), None) {
        Some(path) => Config::load(&path, place.config.is_some())?,
        None => Config::default(),
    };
    let pinned = Pinned::load(&folder).map_err(HelperError::from)?;
    let _lock = state.lock()?;
    let shelf = Shelf::open(&state, config.release_key()?)?;
    let hands = VendorHands::new(clock, shelf.in_use.clone());
    let book = actor::folder_in(&folder);
    let actor = Actor::open(&book, Box::new(RealDisk), &pinned.machine, &pinned.service);
    let actor = actor.map_err(HelperError::from)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let stop = stop_signal().map_err(HelperError::Serve)?;
        let arm = worker::start(actor, Box::new(hands), clock).map_err(HelperError::Serve)?;
        let (lookout, _) = Lookout::new(Scope::default());
        let looker = looker(sight(lookout, Scope::default(), pinned.salt, config.pool), shelf, state);
        let idle = args.idle_ms.map_or(IDLE_TIME, Duration::from_millis);
        let helper = Helper::new(listener().map_err(HelperError::Socket)?, peer, arm, looker);
        helper.idle_after(idle).run(stop).await.map_err(HelperError::Serve)
    });
    runtime.shutdown_timeout(STOP_MAX);
    done?;
    Ok(ExitCode::SUCCESS)
}

/// The socket that systemd hands over as the input.
fn listener() -> io::Result<UnixListener> {
    let listener = StdListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn user(name: &str) -> Result<u32, HelperError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let users = std::fs::read_to_string(USERS).map_err(HelperError::Users)?;
    uid(&users, name).ok_or_else(|| HelperError::Nobody(name.to_owned()))
}

fn uid(users: &str, name: &str) -> Option<u32> {
    let mut of = users.lines().map(|line| line.split(':'));
    of.find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?)
}

/// Looks with the newest catalogue that the release key signed.
fn looker(sight: Sight, shelf: Shelf, state: StateFolder) -> Looker {
    let shelf = Mutex::new(shelf);
    std::sync::Arc::new(move |wanted: LookWanted| {
        let catalogue = {
            let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(signed) = &wanted.catalogue {
                take(&mut shelf, signed, &state);
            }
            shelf.in_use.clone()
        };
        let at = Timestamp::from_millisecond(wanted.at_ms).map_err(|error| error.to_string())?;
        let seen = sight(at, wanted.look, &catalogue)?;
        Ok(SeenByHelper {
            products: seen.products,
            facts: Some(seen.facts),
            catalogue_version: seen.catalogue_version,
        })
    })
}

fn take(shelf: &mut Shelf, signed: &Signed, state: &StateFolder) {
    let Some(key) = shelf.release_key else {
        tracing::warn!("the agent's catalogue is not used: the helper trusts no release key");
        return;
    };
    match Catalogue::from_signed(signed, &key, shelf.in_use.version) {
        Ok(catalogue) => match state.write(FILE, &signed.encode_to_vec()) {
            Ok(()) => shelf.take(catalogue.into()),
            Err(error) => tracing::warn!(error = chain(&error), "the agent's catalogue is not used"),
        },
        Err(PushedError::NotNewer { .. }) => {}
        Err(error) => tracing::warn!(error = chain(&error), "the agent's catalogue is not used"),
    }
}

/// `run` with a helper.
pub(super) fn run_with(
    state: StateFolder,
    config: Config,
    scope: Scope,
    clock: Clock,
    socket: PathBuf,
) -> Result<ExitCode, CliError> {
    start_log();
    let eyes = reach::sight(socket.clone(), state.clone());
    if let Ok(identity) = Identity::load(&state) {
        let facts = |salt: &[u8; 32]| facts(&scope, salt, config.pool);
        marks::settle(&state, &identity, facts, clock.now().wall).map_err(DaemonError::from)?;
    }
    let road = config.road()?;
    let setting = setting(state, config, clock)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let stop = stop_signal().map_err(DaemonError::Runtime)?;
        // Only who tells that something moved: that needs no rights.
        let (_, nudges) = Lookout::new(scope);
        Daemon::new(setting, eyes)?
            .told_by(nudges)
            .over(road)
            .with_arm(Ok(reach::arm(socket)))
            .run(stop)
            .await
    });
    runtime.shutdown_timeout(STOP_MAX);
    done?;
    Ok(ExitCode::SUCCESS)
}

/// What root writes has to stay where it was written.
pub(super) fn check_owner(state: &StateFolder) -> Result<(), HelperError> {
    let path = state.path().to_owned();
    match std::fs::symlink_metadata(&path) {
        Ok(about) if is_root() && about.uid() != 0 => Err(HelperError::Foreign { path, owner: about.uid() }),
        _ => Ok(()),
    }
}

/// Tells this machine's helper who it is and whose orders it takes, once it was let in.
pub(super) fn pin(folder: &Path, token: &str, identity: &Identity) -> Result<(), CliError> {
    let token = token::parse(token).map_err(EnrolError::from)?;
    Pinned::of(identity).store(folder).map_err(HelperError::from)?;
    Ok(enrol::trust_orders_of(&token, identity, folder)?)
}

/// Tells this machine's helper whose orders it takes. `Some`: that is all, as the agent's folder is not root's, and what
/// this machine is the helper knows itself.
pub(super) fn trust(
    helper: Option<&Path>,
    state: &StateFolder,
    keys: &OrderKeys,
) -> Result<Option<MachineId>, CliError> {
    let foreign = check_owner(state);
    let Some(folder) = helper else {
        foreign?;
        return Ok(None);
    };
    let pinned = match Pinned::load(folder) {
        Ok(pinned) => pinned,
        Err(PinnedError::Missing(_)) => {
            foreign?;
            return Ok(None);
        }
        Err(error) => return Err(HelperError::from(error).into()),
    };
    trust_as(folder, &pinned, keys)?;
    Ok(foreign.is_err().then_some(pinned.machine))
}

/// As [`trust`], of a helper that is told which machine this is.
pub(super) fn trust_as(folder: &Path, pinned: &Pinned, keys: &OrderKeys) -> Result<(), CliError> {
    let lock = StateFolder::at(folder.to_owned()).lock().map_err(|error| match error {
        StateError::InUse(path) => HelperError::Running(path),
        error => error.into(),
    });
    let _lock = lock?;
    pinned.store(folder).map_err(HelperError::from)?;
    let book = actor::folder_in(folder);
    actor::pin(&book, Box::new(RealDisk), &pinned.machine, &pinned.service, keys, false)
        .map_err(HelperError::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use seatbeat_proto::signed::new_key;

    use super::*;
    use crate::act::arm::{Ask, Told};

    #[test]
    fn a_user_is_found_by_name_and_by_no_part_of_it() {
        let users = "root:x:0:0:root:/root:/bin/sh\nseatbeat-agent:x:997:997::/:/usr/sbin/nologin\nodd\n";
        assert_eq!(uid(users, "root"), Some(0));
        assert_eq!(uid(users, "seatbeat-agent"), Some(997));
        assert_eq!(uid(users, "seatbeat"), None);
        assert_eq!(uid(users, "odd"), None);
        assert_eq!(user("1234").unwrap(), 1234);
    }

    #[test]
    fn root_writes_nothing_where_the_agent_could_lead_it_and_asks_its_helper_who_it_is() {
        if !is_root() {
            crate::act::standin::skip("root, to give a folder away (run the tests as root)");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (state, helper) = (dir.path().join("state"), dir.path().join("helper"));
        std::fs::create_dir(&state).unwrap();
        std::os::unix::fs::chown(&state, Some(4242), Some(4242)).unwrap();
        let keys = OrderKeys {
            revision: 3,
            keys: vec![new_key().verifying_key().to_bytes().to_vec()],
            recovery_key: Vec::new(),
        };
        let folder = StateFolder::at(state.clone());
        let refused = trust(Some(&helper), &folder, &keys).unwrap_err();
        assert!(refused.to_string().contains("belongs to user 4242"), "{refused}");
        assert!(refused.hint().unwrap().contains("chown -R root"));
        let service = new_key().verifying_key();
        let pinned = Pinned { machine: "mch_a".parse().unwrap(), service, salt: [0; 32] };
        pinned.store(&helper).unwrap();
        assert_eq!(trust(Some(&helper), &folder, &keys).unwrap(), Some(pinned.machine.clone()));
        let book = actor::folder_in(&helper);
        let mut actor = Actor::open(&book, Box::new(RealDisk), &pinned.machine, &service).unwrap();
        let told = actor.ask(Ask::Recap, Clock::start(None).now());
        assert!(matches!(&told[0], Told::Standing(standing) if standing.seal_key.order_keys_revision == 3));
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "nothing was written there");
        let _lock = StateFolder::at(helper.clone()).lock().unwrap();
        let busy = trust(Some(&helper), &folder, &keys).unwrap_err();
        assert!(busy.to_string().starts_with("the helper runs"), "{busy}");
    }
}
