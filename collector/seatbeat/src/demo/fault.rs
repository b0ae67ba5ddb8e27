//! What can keep the demonstration from being shown. Invariant: each names the failed act and its object, and has a
//! hint where a person can do something about it.

use std::net::SocketAddr;
use std::path::PathBuf;

use seatbeat_collector::found::FoundError;
use seatbeat_collector::serve::ServeError;
use seatbeat_fleet::PlanError;
use seatbeat_fleet::client::ClientError;

use crate::connect::RemoteError;
use crate::profile::ProfileError;

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The bundled zone data.
    #[error("failed to read the billing zone: {0}")]
    Zone(String),
    /// The plan.
    #[error("failed to plan the month")]
    Plan(#[from] PlanError),
    /// No folder to keep it in.
    #[error("failed to find a folder for the demonstration: no home folder is known")]
    Homeless,
    /// The folder cannot be used.
    #[error("failed to {act} `{path}`")]
    Folder {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Something else lives there.
    #[error("`{0}` is there and was not made by a demonstration")]
    Foreign(PathBuf),
    /// The store cannot be founded.
    #[error("failed to found the demonstration's store")]
    Found(#[from] FoundError),
    /// The configuration cannot be written as TOML.
    #[error("failed to write the configuration as TOML")]
    Config(#[from] toml::ser::Error),
    /// A door is taken.
    #[error("failed to listen on {address} for {door}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// `agents` or `operators`.
        door: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The collector.
    #[error("failed to run the collector")]
    Serve(#[source] ServeError),
    /// It is gone.
    #[error("the collector ended by itself")]
    Ended,
    /// The operator's profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The operator door.
    #[error("the collector did not do what it was asked")]
    Remote(#[from] RemoteError),
    /// A fact was not written.
    #[error("failed to record what an operator did")]
    Write(#[from] seatbeat_collector::books::WriteError),
    /// The distributor's platform as a process.
    #[error("failed to {act} the platform that stands in for a distributor")]
    Platform {
        /// What was tried.
        act: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What the platform calls customers was refused.
    #[error("the mapping of the distributor's platform was refused:\n{}", .0.join("\n"))]
    Unmapped(Vec<String>),
    /// A statement did not arrive.
    #[error("a statement is not settled with its distributor:\n{}", .0.join("\n"))]
    NotSettled(Vec<String>),
    /// An answer that is none.
    #[error("the collector's answer is not understood")]
    Answer(#[source] anyhow::Error),
    /// The agent process.
    #[error("failed to {act} the agent on this machine; its log is `{log}`")]
    Agent {
        /// What was tried.
        act: &'static str,
        /// What it said.
        log: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The agent process is up and nothing comes.
    #[error("nothing was heard of the agent on this machine for {wait_s} s; its log is `{log}`")]
    AgentSilent {
        /// How long.
        wait_s: u64,
        /// What it said.
        log: PathBuf,
    },
    /// A simulated machine.
    #[error("simulated machine `{name}` failed")]
    Machine {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// The simulated machines are up and say nothing.
    #[error("nothing that could be switched off was heard of the simulated machines of {0}")]
    NothingToSwitch(&'static str),
    /// The key that signs orders.
    #[error("failed to make or open the demonstration's order key")]
    OrderKey(#[source] seatbeat_collector::order_key::KeyError),
    /// A task of the fleet.
    #[error("a simulated machine ended unexpectedly")]
    Panicked(#[from] tokio::task::JoinError),
    /// The sealed file is not what was sealed.
    #[error("`{path}` is not a statement of this collector: {why}")]
    Unverified {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The month is not what it has to be.
    #[error("the statement is not what was worked out by hand:\n  {}", .0.join("\n  "))]
    Differs(Vec<String>),
    /// Nothing can be shown.
    #[error("failed to write the output")]
    Output(#[from] std::io::Error),
    /// A signal came before the checks were done.
    #[error("interrupted before the checks were done")]
    Interrupted,
}

impl From<ServeError> for Fault {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Listen { address, door, source } => Self::Listen { address, door, source },
            other => Self::Serve(other),
        }
    }
}

impl Fault {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Listen { door, source, .. } => {
                let option = if *door == "agents" { "--agent-listen" } else { "--operator-listen" };
                match source.kind() {
                    std::io::ErrorKind::AddrInUse => format!(
                        "another program listens there, perhaps another demonstration: end it, or add \
                         `{option} 127.0.0.1:0` for any free port"
                    ),
                    _ => format!("name an address of this machine with `{option} IP:PORT`"),
                }
            }
            Self::Folder { .. } | Self::Homeless => {
                "name a folder that you may write: `--folder DIR`".to_owned()
            }
            Self::Foreign(_) => "name another folder: `--folder DIR`".to_owned(),
            Self::Machine { source: ClientError::OtherChain(_), .. } => {
                "the folder's demonstration is of another version: name a new one with `--folder DIR`"
                    .to_owned()
            }
            _ => return None,
        })
    }
}
