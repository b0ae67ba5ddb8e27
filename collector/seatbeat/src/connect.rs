//! The connection to a collector's operator door. Invariant: each answer is checked into rows before a verb sees it,
//! and each failure says whether nobody was there, nobody let us in, or somebody refused.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use seatbeat_collector::console::dial::{Dial, DialError};
use seatbeat_collector::console::fault::{HINT_KEY, REASON_KEY, Reason};
use seatbeat_collector::console::wire_rows::RowError;
use seatbeat_proto::wire::console_client::ConsoleClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::init;
use crate::profile::Profile;

/// How long a collector may take to accept a connection: it is near, or it is not there.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Silence after which a collector is asked whether it is still there, and how long it may take to say so: a draft
/// or an export may take minutes, a connection that leads nowhere must not.
const SILENCE: Duration = Duration::from_secs(15);

/// Largest answer in bytes: a draft of 100,000 machines with a blocker each is a third of it.
const ANSWER_LENGTH_MAX: usize = 64 * 1024 * 1024;

type Console = ConsoleClient<InterceptedService<Channel, Bearer>>;

/// A collector that answers.
pub struct Collector {
    console: Console,
    address: String,
    ca: Option<PathBuf>,
    profile: PathBuf,
}

/// A question or an action that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is none, or none that a token is sent to.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The token cannot be sent.
    #[error("the token in the operator profile `{0}` is not an operator token")]
    Token(PathBuf),
    /// Nobody is there.
    #[error("failed to reach the collector at {address}: {why}")]
    NotRunning {
        /// Where it should be.
        address: String,
        /// Why not.
        why: String,
    },
    /// The token opens nothing there.
    #[error("the collector at {address} does not accept the operator token of `{profile}`")]
    NotLetIn {
        /// Which collector.
        address: String,
        /// Whose token.
        profile: PathBuf,
    },
    /// The collector refused, and said why.
    #[error("{message}")]
    Refused {
        /// In words.
        message: String,
        /// In kind.
        reason: Reason,
        /// What it says is to be done about it.
        hint: Option<String>,
    },
    /// Something else answered, or a newer collector.
    #[error("the answer from {address} is not one of a collector: {message}")]
    Foreign {
        /// Who answered.
        address: String,
        /// What.
        message: String,
    },
    /// The answer is not valid.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// Sends the operator token along.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Collector {
    /// Connects to the collector of a profile, which was read from a file.
    ///
    /// # Errors
    /// When nobody listens there, or not who is trusted.
    pub async fn connect(profile: Profile, from: PathBuf) -> Result<Self, RemoteError> {
        let Profile { address, ca, .. } = profile;
        let dial = Dial::to(&address, ca.as_deref())?;
        let endpoint = Endpoint::from_shared(format!("http://{}", dial.authority()))
            .map_err(|_| DialError::Address(address.clone()))?
            .connect_timeout(CONNECT_WAIT)
            .http2_keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE);
        let mut bearer: MetadataValue<Ascii> =
            format!("Bearer {}", profile.token).parse().map_err(|_| RemoteError::Token(from.clone()))?;
        bearer.set_sensitive(true);
        let channel = endpoint
            .connect_with_connector(dial)
            .await
            .map_err(|error| RemoteError::NotRunning { address: address.clone(), why: root_cause(&error) })?;
        let console = ConsoleClient::with_interceptor(channel, Bearer(bearer))
            .max_decoding_message_size(ANSWER_LENGTH_MAX);
        Ok(Self { console, address, ca, profile: from })
    }

    /// The profile of somebody else who reaches it in the same way.
    pub fn profile_of(&self, token: String) -> Profile {
        Profile { address: self.address.clone(), token, ca: self.ca.clone() }
    }

    /// Where it is, as the profile names it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks, and turns the answer into a row.
    ///
    /// # Errors
    /// When the collector refuses or its answer is not valid.
    pub async fn ask<W, R>(
        &mut self,
        question: impl AsyncFnOnce(&mut Console) -> Result<Response<W>, Status>,
    ) -> Result<R, RemoteError>
    where
        R: TryFrom<W, Error = RowError>,
    {
        Ok(R::try_from(self.call(question).await?)?)
    }

    /// Asks, and gives the answer as it came.
    ///
    /// # Errors
    /// When the collector refuses.
    pub async fn call<W>(
        &mut self,
        question: impl AsyncFnOnce(&mut Console) -> Result<Response<W>, Status>,
    ) -> Result<W, RemoteError> {
        match question(&mut self.console).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(&status)),
        }
    }

    /// What a status means to the person who asked.
    pub fn failed(&self, status: &Status) -> RemoteError {
        let reason = status.metadata().get(REASON_KEY).and_then(|value| value.to_str().ok());
        if let Some(reason) = reason.and_then(Reason::named) {
            return match reason {
                Reason::NotLetIn => {
                    RemoteError::NotLetIn { address: self.address.clone(), profile: self.profile.clone() }
                }
                reason => {
                    let hint = status.metadata().get_bin(HINT_KEY).and_then(|value| value.to_bytes().ok());
                    let hint = hint.map(|hint| String::from_utf8_lossy(&hint).into_owned());
                    RemoteError::Refused { message: status.message().to_owned(), reason, hint }
                }
            };
        }
        let address = self.address.clone();
        match status.code() {
            Code::Unavailable | Code::Cancelled => {
                let why = status.source().map_or_else(|| status.message().to_owned(), root_cause);
                RemoteError::NotRunning { address, why }
            }
            _ => RemoteError::Foreign { address, message: status.message().to_owned() },
        }
    }
}

/// An operator address, as it goes into a profile.
///
/// # Errors
/// What is expected instead.
pub fn address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("https://").unwrap_or(text);
    init::address(bare).map_err(|_| "expected HOST:PORT of this machine, or https://HOST:PORT".to_owned())?;
    Ok(text.to_owned())
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
