//! The connection to the collector: TCP, pinned TLS, gRPC. Invariant: not a byte of the conversation goes to anybody
//! but the holder of the pinned key; every wait has an end.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use ed25519_dalek::SigningKey;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::pki_types::ServerName;
use seatbeat_proto::standby;
use seatbeat_proto::tls::{PinVerifier, TlsError, client_config};
use seatbeat_proto::wire::agent_link_client::AgentLinkClient;
use seatbeat_proto::wire::{self, RETRY_AFTER};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::identity::Identity;
use crate::plain::plain;
use crate::road::out::OutError;
use crate::road::{Bytes, Road, Tcp};
use crate::session::{Loss, WINDOW};

/// Longest wait for a connection, names included.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Longest wait for the TLS handshake: as long as the collector waits.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Longest wait for an answer to a single question.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Silence after which the connection is asked whether it lives: shorter than what middleboxes forget after.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// Longest wait for the answer to that.
const KEEP_ALIVE_ANSWER_MAX: Duration = Duration::from_secs(20);

/// Messages waiting to be written: the session's window, and beats.
const OUTBOUND_MAX: usize = WINDOW as usize + 16;

/// Messages read and not handled yet; the collector waits when it is full.
const INBOUND_MAX: usize = 64;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection.
    #[error("failed to reach the collector at `{address}`")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nothing came in time.
    #[error("the collector at `{address}` does not answer ({waited_s} s)")]
    Silent {
        /// Host and port.
        address: String,
        /// How long it was waited for.
        waited_s: u64,
    },
    /// Somebody else answers: a TLS-inspecting proxy, or another collector.
    #[error("the certificate at `{address}` is not ours, issuer {issuer}")]
    Foreign {
        /// Host and port.
        address: String,
        /// Who issued what was presented.
        issuer: String,
    },
    /// No TLS.
    #[error("failed to agree on TLS with `{address}`")]
    Handshake {
        /// Host and port.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Our own side of TLS.
    #[error(transparent)]
    Setup(#[from] TlsError),
    /// TLS, but no gRPC.
    #[error("failed to speak to the collector at `{address}`")]
    Speech {
        /// Host and port.
        address: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
    /// The collector does not want this machine.
    #[error("the collector refuses this machine: {0}")]
    Rejected(String),
    /// The collector has too much to do, or a limit was reached.
    #[error("the collector takes no more at the moment: {0}")]
    Exhausted(String),
    /// The collector ended it, and said when it is worth another try.
    #[error("the collector takes nothing for {} s: {said}", after.as_secs())]
    Later {
        /// In its words.
        said: String,
        /// After how long.
        after: Duration,
    },
    /// The conversation broke.
    #[error("the connection to the collector broke: {0}")]
    Broken(String),
    /// The collector ended the conversation.
    #[error("the collector closed the connection")]
    Closed,
}

impl LinkError {
    /// What it means for the conversation.
    pub fn loss(&self) -> Loss {
        match self {
            Self::Rejected(_) => Loss::Rejected,
            Self::Unreachable { .. } => Loss::Unreachable,
            Self::Later { after, .. } => Loss::Asked { after: *after },
            _ => Loss::Broken,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { source, .. } if proxied(source).is_some() => proxied(source)?.hint(),
            Self::Unreachable { .. } | Self::Silent { .. } => {
                "check the address in the token, name resolution, and that the firewall lets this port out"
            }
            Self::Foreign { .. } => {
                "exempt the collector's address from TLS inspection; when the collector was set up anew, enrol again with a token of its own"
            }
            Self::Handshake { .. } | Self::Speech { .. } => {
                "check that the address leads to the collector's agent port (8443 unless changed)"
            }
            Self::Rejected(_) => {
                "ask the operator whether the machine was banned or removed (`seatbeat machines show`)"
            }
            Self::Exhausted(_) | Self::Later { .. } => "it is tried again by itself",
            Self::Setup(_) | Self::Broken(_) | Self::Closed => return None,
        })
    }
}

impl From<Status> for LinkError {
    fn from(status: Status) -> Self {
        let said = plain(status.message());
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Rejected(said),
            _ if let Some(after) = after(&status) => Self::Later { said, after },
            Code::ResourceExhausted => Self::Exhausted(said),
            code => Self::Broken(if said.is_empty() { code.description().to_owned() } else { said }),
        }
    }
}

/// What the collector says of the next try.
fn after(status: &Status) -> Option<Duration> {
    let said = status.metadata().get(RETRY_AFTER)?.to_str().ok()?;
    said.parse().ok().map(Duration::from_millis)
}

/// Opens connections to one collector.
#[derive(Debug, Clone)]
pub struct Dialler {
    addresses: Vec<String>,
    verifier: Arc<PinVerifier>,
    tls: TlsConnectorOf,
    /// The same under the name of a connection on standby.
    standby_tls: TlsConnectorOf,
    road: Arc<dyn Road>,
}

#[derive(Clone)]
struct TlsConnectorOf(TlsConnector);

impl std::fmt::Debug for TlsConnectorOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl Dialler {
    /// For a machine that is enrolled.
    ///
    /// # Errors
    /// When TLS cannot be set up with the key.
    pub fn new(identity: &Identity, key: &SigningKey) -> Result<Self, LinkError> {
        Self::to(identity.addresses.clone(), identity.pin, Some(key))
    }

    /// To these addresses (there is at least one), where the pinned key is.
    ///
    /// # Errors
    /// When TLS cannot be set up with the key.
    pub fn to(addresses: Vec<String>, pin: [u8; 32], key: Option<&SigningKey>) -> Result<Self, LinkError> {
        let verifier = PinVerifier::new(vec![pin]);
        let config = client_config(Arc::clone(&verifier), key)?;
        let mut standby_config = config.clone();
        standby_config.alpn_protocols = vec![standby::ALPN.to_vec()];
        let connector = |config| TlsConnectorOf(TlsConnector::from(Arc::new(config)));
        let (tls, standby_tls) = (connector(config), connector(standby_config));
        Ok(Self { addresses, verifier, tls, standby_tls, road: Arc::new(Tcp) })
    }

    /// The same, on another road.
    #[must_use]
    pub fn over(mut self, road: Arc<dyn Road>) -> Self {
        self.road = road;
        self
    }

    /// How many addresses there are.
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// A channel to the holder of the pinned key at one of the addresses; attempts take turns.
    ///
    /// # Errors
    /// When nobody is reached, or somebody else is.
    pub async fn dial(&self, attempt: u32) -> Result<Channel, LinkError> {
        let address = self.address(attempt);
        let stream = self.secure(address, &self.tls).await?;
        let speech = |source| LinkError::Speech { address: address.to_owned(), source };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(speech)?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER_MAX)
            .keep_alive_while_idle(true);
        let once = Arc::new(Mutex::new(Some(stream)));
        let connector = tower::service_fn(move |_| {
            let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(stream.map(TokioIo::new).ok_or(io::Error::from(io::ErrorKind::NotConnected)))
        });
        match tokio::time::timeout(HANDSHAKE_MAX, endpoint.connect_with_connector(connector)).await {
            Ok(connected) => connected.map_err(speech),
            Err(_) => Err(silent(address, HANDSHAKE_MAX)),
        }
    }

    /// A connection on standby with the holder of the pinned key, at the address that the attempt chooses.
    async fn dial_standby(&self, attempt: u32) -> Result<TlsStream<Box<dyn Bytes>>, LinkError> {
        let address = self.address(attempt);
        let stream = self.secure(address, &self.standby_tls).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(standby::ALPN) => Ok(stream),
            _ => Err(LinkError::Broken("nobody may stand by there".to_owned())),
        }
    }

    fn address(&self, attempt: u32) -> &str {
        &self.addresses[attempt as usize % self.addresses.len().max(1)]
    }

    async fn secure(
        &self,
        address: &str,
        tls: &TlsConnectorOf,
    ) -> Result<TlsStream<Box<dyn Bytes>>, LinkError> {
        let bytes = tokio::time::timeout(CONNECT_MAX, self.road.open(address))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "nothing answers")))
            .map_err(|source| LinkError::Unreachable { address: address.to_owned(), source })?;
        let handshake = tls.0.connect(server_name(address), bytes);
        match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
            Err(_) => Err(silent(address, HANDSHAKE_MAX)),
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => Err(match self.verifier.refused() {
                Some(foreign) if is_refusal(&source) => {
                    LinkError::Foreign { address: address.to_owned(), issuer: plain(&foreign.issuer) }
                }
                _ => LinkError::Handshake { address: address.to_owned(), source },
            }),
        }
    }
}

/// What happens on a connection.
#[derive(Debug)]
pub enum LinkEvent {
    /// The collector is at the other end.
    Connected,
    /// It said this.
    Received(wire::CollectorMessage),
    /// It is over.
    Lost(LinkError),
}

/// One conversation; dropping it ends it.
#[derive(Debug)]
pub struct Connection {
    outbound: mpsc::Sender<wire::AgentMessage>,
    inbound: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Begins to connect.
    pub fn open(dialler: Dialler, attempt: u32) -> Self {
        Self::with(move |to_send, events| async move { converse(&dialler, attempt, to_send, &events).await })
    }

    /// Begins to connect for standing by.
    pub fn stand_by(dialler: Dialler, attempt: u32) -> Self {
        Self::with(move |to_send, events| async move { stand_by(&dialler, attempt, to_send, &events).await })
    }

    fn with<F>(
        conversation: impl FnOnce(mpsc::Receiver<wire::AgentMessage>, mpsc::Sender<LinkEvent>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<(), LinkError>> + Send + 'static,
    {
        let (outbound, to_send) = mpsc::channel(OUTBOUND_MAX);
        let (events, inbound) = mpsc::channel(INBOUND_MAX);
        let conversation = conversation(to_send, events.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = conversation.await {
                let _ = events.send(LinkEvent::Lost(error)).await;
            }
        });
        Self { outbound, inbound, task }
    }

    /// What happens next; after [`LinkEvent::Lost`] nothing does.
    pub async fn next(&mut self) -> LinkEvent {
        match self.inbound.recv().await {
            Some(event) => event,
            None => LinkEvent::Lost(LinkError::Closed),
        }
    }

    /// Says something; false: the connection does not take any more.
    pub fn send(&self, message: wire::AgentMessage) -> bool {
        self.outbound.try_send(message).is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    dialler: &Dialler,
    attempt: u32,
    to_send: mpsc::Receiver<wire::AgentMessage>,
    events: &mpsc::Sender<LinkEvent>,
) -> Result<(), LinkError> {
    let mut client = client(dialler.dial(attempt).await?);
    // Hello is queued before the stream is opened: the collector may answer only after it.
    if events.send(LinkEvent::Connected).await.is_err() {
        return Ok(());
    }
    let mut inbound = client.link(ReceiverStream::new(to_send)).await?.into_inner();
    while let Some(message) = inbound.message().await? {
        if events.send(LinkEvent::Received(message)).await.is_err() {
            return Ok(());
        }
    }
    Err(LinkError::Closed)
}

async fn stand_by(
    dialler: &Dialler,
    attempt: u32,
    mut to_send: mpsc::Receiver<wire::AgentMessage>,
    events: &mpsc::Sender<LinkEvent>,
) -> Result<(), LinkError> {
    let mut stream = dialler.dial_standby(attempt).await?;
    let mut came = BytesMut::with_capacity(standby::READ_LENGTH);
    if events.send(LinkEvent::Connected).await.is_err() {
        return Ok(());
    }
    let broken = |error: &dyn std::fmt::Display| LinkError::Broken(plain(&error.to_string()));
    let lost = |error: io::Error| match error.kind() {
        // It was killed, and had no time to say so.
        io::ErrorKind::UnexpectedEof => LinkError::Closed,
        _ => broken(&error),
    };
    loop {
        while let Some(frame) = standby::unframe(&mut came).map_err(|error| broken(&error))? {
            let message = wire::CollectorMessage::decode(frame).map_err(|error| broken(&error))?;
            if events.send(LinkEvent::Received(message)).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            message = to_send.recv() => {
                let Some(message) = message else { return Ok(()) };
                let frame = standby::frame(&message).map_err(|error| broken(&error))?;
                stream.write_all(&frame).await.map_err(lost)?;
                stream.flush().await.map_err(lost)?;
            }
            read = stream.read_buf(&mut came) => {
                if read.map_err(lost)? == 0 {
                    return Err(LinkError::Closed);
                }
            }
        }
    }
}

/// Asks to be let in.
///
/// # Errors
/// The outer one when nobody answered, the inner one is the collector's no.
pub async fn enrol(
    dialler: &Dialler,
    attempt: u32,
    request: wire::EnrolRequest,
) -> Result<Result<wire::EnrolResponse, Status>, LinkError> {
    let mut client = client(dialler.dial(attempt).await?);
    let address = dialler.address(attempt);
    match tokio::time::timeout(ANSWER_MAX, client.enrol(request)).await {
        Err(_) => Err(silent(address, ANSWER_MAX)),
        Ok(Ok(response)) => Ok(Ok(response.into_inner())),
        Ok(Err(status)) => Ok(Err(status)),
    }
}

/// Says that the agent is removed from this machine.
///
/// # Errors
/// The outer one when nobody answered, the inner one is the collector's no.
pub async fn leave(dialler: &Dialler, attempt: u32) -> Result<Result<(), Status>, LinkError> {
    let mut client = client(dialler.dial(attempt).await?);
    Ok(client.leave(wire::LeaveRequest {}).await.map(|_| ()))
}

/// What a proxy on the way did.
fn proxied(error: &io::Error) -> Option<&OutError> {
    error.get_ref()?.downcast_ref()
}

/// Whether a handshake failed because of the certificate that was presented in it.
fn is_refusal(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

fn client(channel: Channel) -> AgentLinkClient<Channel> {
    AgentLinkClient::new(channel)
        .max_decoding_message_size(wire::MESSAGE_LENGTH_MAX)
        .max_encoding_message_size(wire::MESSAGE_LENGTH_MAX)
}

fn silent(address: &str, waited: Duration) -> LinkError {
    LinkError::Silent { address: address.to_owned(), waited_s: waited.as_secs() }
}

/// The name TLS wants to hear; only the pinned key counts.
fn server_name(address: &str) -> ServerName<'static> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host)
        .unwrap_or_else(|_| ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_collector_says_decides_how_patiently_it_is_asked_again() {
        let lost = |code| LinkError::from(Status::new(code, "banned\u{7}"));
        assert_eq!(lost(Code::PermissionDenied).loss(), Loss::Rejected);
        assert_eq!(lost(Code::Unauthenticated).loss(), Loss::Rejected);
        assert_eq!(lost(Code::ResourceExhausted).loss(), Loss::Broken);
        assert_eq!(lost(Code::Unavailable).loss(), Loss::Broken);
        let mut asked = Status::unavailable("shutting down");
        asked.metadata_mut().insert(RETRY_AFTER, "2500".parse().unwrap());
        let after = Duration::from_millis(2500);
        assert_eq!(LinkError::from(asked.clone()).loss(), Loss::Asked { after });
        asked.metadata_mut().insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(LinkError::from(asked).loss(), Loss::Broken);
        assert_eq!(lost(Code::PermissionDenied).to_string(), "the collector refuses this machine: banned");
    }

    #[test]
    fn any_address_gives_tls_a_name() {
        for (address, name) in [
            ("collector.example:8443", "collector.example"),
            ("192.0.2.1:8443", "192.0.2.1"),
            ("[2001:db8::1]:8443", "2001:db8::1"),
            ("under_score.example:1", "under_score.example"),
            ("!:1", "127.0.0.1"),
        ] {
            assert_eq!(server_name(address).to_str(), name, "{address}");
        }
    }
}
