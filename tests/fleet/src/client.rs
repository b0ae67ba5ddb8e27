//! The shell of a simulated machine: enrolment and the link over TLS, with the collector's key pinned. Invariant: a
//! link that was sent and not acknowledged is known as such; what is refused ends the connection with the reason.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jiff::Timestamp;
use prost::Message as _;
use rustls::pki_types::ServerName;
use seatbeat_proto::ids::{CustomerId, MachineId};
use seatbeat_proto::tls::{ForeignCertificate, PinVerifier, TlsError};
use seatbeat_proto::token::{self, TokenError};
use seatbeat_proto::wire::agent_link_client::AgentLinkClient;
use seatbeat_proto::wire::{self, agent_message, collector_message};
use seatbeat_proto::{instant, standby, tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::machine::{Link, Machine, Tip};

/// Links on the way without an acknowledgement. Enough to keep a group commit full; a machine that is asked for more
/// waits.
pub const WINDOW: u64 = 256;

/// How long a connection, a welcome or the next acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A conversation that did not go as it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token.
    #[error("the enrolment token cannot be used")]
    Token(#[from] TokenError),
    /// An id in an answer.
    #[error("the collector's answer names no id")]
    Id(#[from] seatbeat_proto::ids::IdError),
    /// The keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody answers there.
    #[error("failed to connect to the collector at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The handshake broke.
    #[error("failed to shake hands with the collector at {address}")]
    Handshake {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else answers there.
    #[error("the certificate at {address} is not the collector's (issuer {})", certificate.issuer)]
    Foreign {
        /// Where.
        address: String,
        /// What was presented.
        certificate: ForeignCertificate,
    },
    /// The collector said no, or the connection broke.
    #[error("the collector does not take the machine: {}", .0.message())]
    Status(#[from] Box<tonic::Status>),
    /// A link was refused.
    #[error("the collector refuses link {sequence} of the chain: {reason:?} {detail}")]
    Refused {
        /// Why.
        reason: wire::RefusalReason,
        /// Which link.
        sequence: u64,
        /// In words.
        detail: String,
    },
    /// The conversation ended.
    #[error("the connection to the collector ended, {acked} links were acknowledged")]
    Ended {
        /// How many of the chain.
        acked: u64,
    },
    /// The collector is silent.
    #[error("the collector has not answered for {} s", PATIENCE.as_secs())]
    Silent,
    /// What the collector holds is not what this machine wrote.
    #[error("the collector holds another chain of {0}: it was written by another version or another seed")]
    OtherChain(String),
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Where the collector is, and how it is known.
#[derive(Debug, Clone)]
pub struct Door {
    address: String,
    pin: [u8; 32],
    token: String,
    secret: Vec<u8>,
    order_keys_revision: u64,
}

impl Door {
    /// The door that a token opens.
    ///
    /// # Errors
    /// When the text is no token.
    pub fn of(token_text: &str) -> Result<Self, ClientError> {
        let token = token::parse(token_text)?;
        Ok(Self {
            address: token.addresses.first().cloned().unwrap_or_default(),
            pin: token.pin.as_slice().try_into().map_err(|_| TokenError::Damaged)?,
            token: token.token,
            secret: token.secret,
            order_keys_revision: 0,
        })
    }

    /// The same door under another address.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.address);
        self
    }

    /// The same door for machines that take orders of this revision of the keys; else they take nobody's.
    #[must_use]
    pub fn taking_orders(self, order_keys_revision: u64) -> Self {
        Self { order_keys_revision, ..self }
    }

    /// A TLS handshake that proves the machine's key, and nothing behind it.
    ///
    /// # Errors
    /// When nobody answers there, or not the pinned collector.
    pub async fn shake_hands(&self, machine: &Machine) -> Result<(), ClientError> {
        let mut stream = self.bare(machine, tls::ALPN).await?;
        // The collector's first bytes tell that it is through with the handshake, too.
        let mut first = [0; 1];
        let read = stream.read_exact(&mut first).await;
        read.map(|_| ()).map_err(|source| ClientError::Handshake { address: self.address.clone(), source })
    }

    /// A TLS stream with the machine's key, for whatever bytes of a protocol.
    ///
    /// # Errors
    /// When nobody answers there, or not the pinned collector.
    pub async fn bare(
        &self,
        machine: &Machine,
        alpn: &[u8],
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
        let verifier = PinVerifier::new(vec![self.pin]);
        let mut config = tls::client_config(verifier, Some(machine.key()))?;
        config.alpn_protocols = vec![alpn.to_vec()];
        let shake = dial(tokio_rustls::TlsConnector::from(Arc::new(config)), self.address.clone());
        let shaken = tokio::time::timeout(PATIENCE, shake).await.map_err(|_| ClientError::Silent)?;
        shaken.map_err(|source| ClientError::Handshake { address: self.address.clone(), source })
    }

    async fn connect(&self, machine: Option<&Machine>) -> Result<AgentLinkClient<Channel>, ClientError> {
        let verifier = PinVerifier::new(vec![self.pin]);
        let config = tls::client_config(Arc::clone(&verifier), machine.map(Machine::key))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let address = self.address.clone();
        let dial = tower::service_fn(move |_: tonic::transport::Uri| {
            let dialled = dial(connector.clone(), address.clone());
            async move { dialled.await.map(hyper_util::rt::TokioIo::new) }
        });
        // Not https: TLS is the connector's affair, and the path is all that counts.
        let endpoint = Endpoint::from_static("http://seatbeat-collector").connect_timeout(PATIENCE);
        let channel = endpoint.connect_with_connector(dial).await.map_err(|source| {
            let address = self.address.clone();
            match verifier.refused() {
                Some(certificate) => ClientError::Foreign { address, certificate },
                None => ClientError::Connect { address, source },
            }
        })?;
        Ok(AgentLinkClient::new(channel).max_decoding_message_size(wire::MESSAGE_LENGTH_MAX))
    }

    /// Asks to be let in.
    ///
    /// # Errors
    /// When the collector is not there, is not the pinned one, or says no.
    pub async fn enrol(
        &self,
        machine: &Machine,
        now: Timestamp,
    ) -> Result<(MachineId, CustomerId), ClientError> {
        let request = wire::EnrolRequest {
            token_secret: self.secret.clone(),
            claim: Some(machine.claim(&self.token, now)),
            host_name: machine.name().to_owned(),
        };
        let answer = self.connect(None).await?.enrol(request).await?.into_inner();
        Ok((answer.machine.parse()?, answer.customer.parse()?))
    }
}

async fn dial(
    connector: tokio_rustls::TlsConnector,
    address: String,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, std::io::Error> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // The name means nothing: the key is pinned.
    let name = ServerName::try_from("seatbeat-collector").map_err(std::io::Error::other)?;
    connector.connect(name, stream).await
}

fn hello(door: &Door, machine: &Machine, now: Timestamp) -> wire::AgentMessage {
    let hello = wire::Hello {
        protocol: wire::PROTOCOL_VERSION,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        spool: machine.spool().as_str().to_owned(),
        sequence: machine.tip().map_or(0, |tip| tip.sequence),
        hash: machine.tip().map(|tip| tip.hash.to_vec()).unwrap_or_default(),
        sent_at_ms: instant::to_ms(now),
        settings_revision: 0,
        order_keys_revision: door.order_keys_revision,
        host_name: machine.name().to_owned(),
        // It has no release key, and detects nothing by one.
        catalogue_version: 0,
    };
    wire::AgentMessage { body: Some(agent_message::Body::Hello(hello)) }
}

/// A machine on standby.
pub struct Line {
    stream: tokio_rustls::client::TlsStream<TcpStream>,
    came: BytesMut,
    beats: u64,
}

impl Line {
    /// Stands by, for a machine whose chain the collector has up to its tip.
    ///
    /// # Errors
    /// When the collector is not there, is not the pinned one, or wants a stream.
    pub async fn open(door: &Door, machine: &Machine, now: Timestamp) -> Result<Self, ClientError> {
        let stream = door.bare(machine, standby::ALPN).await?;
        let mut line = Self { stream, came: BytesMut::with_capacity(standby::READ_LENGTH), beats: 0 };
        line.say(&hello(door, machine, now)).await?;
        line.is_well().await?;
        Ok(line)
    }

    /// Says that the machine is alive; every second time, as an agent that beats each minute, it waits for the answer.
    ///
    /// # Errors
    /// When the machine is called, or the connection ended.
    pub async fn beat(&mut self, now: Timestamp) -> Result<(), ClientError> {
        self.beats += 1;
        let answer = self.beats.is_multiple_of(2);
        let beat = wire::Beat { sent_at_ms: instant::to_ms(now), waiting: 0, answer };
        self.say(&wire::AgentMessage { body: Some(agent_message::Body::Beat(beat)) }).await?;
        if answer { self.is_well().await } else { Ok(()) }
    }

    /// Waits until the machine is called into a stream.
    ///
    /// # Errors
    /// When the connection ended otherwise.
    pub async fn called(&mut self) -> Result<(), ClientError> {
        loop {
            if self.hears().await?.come {
                return Ok(());
            }
        }
    }

    async fn is_well(&mut self) -> Result<(), ClientError> {
        let heard = tokio::time::timeout(PATIENCE, self.hears()).await.map_err(|_| ClientError::Silent)??;
        if heard == wire::Standby::default() { Ok(()) } else { Err(ClientError::Ended { acked: 0 }) }
    }

    /// The next word about standing by; settings, which every machine is sent first, mean nothing here.
    async fn hears(&mut self) -> Result<wire::Standby, ClientError> {
        loop {
            let frame = standby::unframe(&mut self.came).map_err(|_| ClientError::Ended { acked: 0 })?;
            let Some(frame) = frame else {
                match self.stream.read_buf(&mut self.came).await {
                    Ok(1..) => continue,
                    _ => return Err(ClientError::Ended { acked: 0 }),
                }
            };
            let message = wire::CollectorMessage::decode(frame);
            if let Ok(Some(collector_message::Body::Standby(standby))) = message.map(|message| message.body) {
                return Ok(standby);
            }
        }
    }

    async fn say(&mut self, message: &wire::AgentMessage) -> Result<(), ClientError> {
        let frame = standby::frame(message).map_err(|_| ClientError::Ended { acked: 0 })?;
        let said = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        said.await.map_err(|_| ClientError::Ended { acked: 0 })
    }
}

/// How a conversation stands.
#[derive(Debug, Clone, Default)]
enum Standing {
    #[default]
    Open,
    Refused(wire::Refusal),
    Ended,
}

#[derive(Debug, Clone, Default)]
struct Heard {
    acked: u64,
    /// Ids of the orders that came.
    orders: Vec<String>,
    standing: Standing,
}

/// An open link of one machine.
pub struct Connection {
    up: mpsc::Sender<wire::AgentMessage>,
    heard: watch::Receiver<Heard>,
    welcome: wire::Welcome,
    sent: u64,
    orders_taken: usize,
    reader: tokio::task::JoinHandle<()>,
}

impl Connection {
    /// Opens the conversation for a machine that is let in.
    ///
    /// # Errors
    /// When the collector is not there, is not the pinned one, or does not know the machine.
    pub async fn open(door: &Door, machine: &Machine, now: Timestamp) -> Result<Self, ClientError> {
        let mut client = door.connect(Some(machine)).await?;
        let (up, outgoing) = mpsc::channel(64);
        let _ = up.send(hello(door, machine, now)).await;
        let opening = async {
            let mut down = client.link(ReceiverStream::new(outgoing)).await?.into_inner();
            while let Some(message) = down.message().await? {
                match message.body {
                    Some(collector_message::Body::Welcome(welcome)) => return Ok((down, welcome)),
                    Some(collector_message::Body::Refusal(refusal)) => return Err(refused(&refusal)),
                    _ => {}
                }
            }
            Err(ClientError::Ended { acked: 0 })
        };
        let (down, welcome) =
            tokio::time::timeout(PATIENCE, opening).await.map_err(|_| ClientError::Silent)??;
        let (tell, heard) = watch::channel(Heard { acked: welcome.sequence, ..Heard::default() });
        let sent = welcome.sequence;
        let reader = tokio::spawn(listen(down, machine.spool().to_string(), tell));
        Ok(Self { up, heard, welcome, sent, orders_taken: 0, reader })
    }

    /// The tip that the collector held when the conversation began.
    pub fn welcomed_at(&self) -> Option<Tip> {
        let hash = self.welcome.hash.as_slice().try_into().ok()?;
        (self.welcome.sequence > 0).then_some(Tip { sequence: self.welcome.sequence, hash })
    }

    /// Everything of the chain up to and with this is durable on the collector.
    pub fn acked(&self) -> u64 {
        self.heard.borrow().acked
    }

    /// Sends one link; waits while [`WINDOW`] links are on the way.
    ///
    /// # Errors
    /// When the collector refused a link or the conversation ended.
    pub async fn send(&mut self, link: &Link) -> Result<(), ClientError> {
        self.wait_acked((link.tip.sequence).saturating_sub(WINDOW)).await?;
        self.say(agent_message::Body::Evidence(link.signed.clone())).await?;
        self.sent = self.sent.max(link.tip.sequence);
        Ok(())
    }

    /// Says that the machine is alive.
    ///
    /// # Errors
    /// When the conversation ended.
    pub async fn beat(&mut self, now: Timestamp) -> Result<(), ClientError> {
        let waiting = u32::try_from(self.sent.saturating_sub(self.acked())).unwrap_or(u32::MAX);
        self.say(agent_message::Body::Beat(wire::Beat {
            sent_at_ms: instant::to_ms(now),
            waiting,
            answer: false,
        }))
        .await
    }

    /// Waits until the chain is acknowledged up to and with `sequence`.
    ///
    /// # Errors
    /// When the collector refused a link, is silent, or the conversation ended.
    pub async fn wait_acked(&mut self, sequence: u64) -> Result<(), ClientError> {
        loop {
            {
                let heard = self.heard.borrow_and_update();
                match &heard.standing {
                    Standing::Refused(refusal) => return Err(refused(refusal)),
                    _ if heard.acked >= sequence => return Ok(()),
                    Standing::Ended => return Err(ClientError::Ended { acked: heard.acked }),
                    Standing::Open => {}
                }
            }
            match tokio::time::timeout(PATIENCE, self.heard.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ClientError::Ended { acked: self.acked() }),
                Err(_) => return Err(ClientError::Silent),
            }
        }
    }

    /// Waits for the next order that comes, however long that takes; its id.
    ///
    /// # Errors
    /// When the conversation ended.
    pub async fn next_order(&mut self) -> Result<String, ClientError> {
        let taken = self.orders_taken;
        let heard = self.heard.wait_for(|heard| heard.orders.len() > taken).await;
        let next = heard.map(|heard| heard.orders[taken].clone());
        let next = next.map_err(|_| ClientError::Ended { acked: self.acked() })?;
        self.orders_taken += 1;
        Ok(next)
    }

    /// Sends what the collector does not hold yet of a chain, and waits until all of it is acknowledged.
    ///
    /// # Errors
    /// As [`Connection::send`]; and when what the collector holds is not of this chain.
    pub async fn send_all(&mut self, links: &[Link]) -> Result<(), ClientError> {
        if let Some(held) = self.welcomed_at()
            && !links.iter().any(|link| link.tip == held)
        {
            return Err(ClientError::OtherChain(self.welcome.spool.clone()));
        }
        let held = self.welcome.sequence;
        for link in links.iter().filter(|link| link.tip.sequence > held) {
            self.send(link).await?;
        }
        self.wait_acked(links.last().map_or(0, |link| link.tip.sequence)).await
    }

    /// Ends the conversation.
    pub async fn close(self) {
        drop(self.up);
        let _ = tokio::time::timeout(Duration::from_secs(5), self.reader).await;
    }

    async fn say(&mut self, body: agent_message::Body) -> Result<(), ClientError> {
        if self.up.send(wire::AgentMessage { body: Some(body) }).await.is_ok() {
            return Ok(());
        }
        match &self.heard.borrow().standing {
            Standing::Refused(refusal) => Err(refused(refusal)),
            _ => Err(ClientError::Ended { acked: self.heard.borrow().acked }),
        }
    }
}

async fn listen(
    mut down: tonic::Streaming<wire::CollectorMessage>,
    spool: String,
    tell: watch::Sender<Heard>,
) {
    while let Ok(Some(message)) = down.message().await {
        match message.body {
            Some(collector_message::Body::Ack(ack)) if ack.spool == spool => {
                tell.send_modify(|heard| heard.acked = heard.acked.max(ack.sequence));
            }
            Some(collector_message::Body::Order(delivery)) => {
                let payload = delivery.order.map(|order| order.payload).unwrap_or_default();
                if let Ok(order) = <wire::Order as prost::Message>::decode(payload.as_slice()) {
                    tell.send_modify(|heard| heard.orders.push(order.order));
                }
            }
            Some(collector_message::Body::Refusal(refusal)) => {
                tell.send_modify(|heard| heard.standing = Standing::Refused(refusal));
                return;
            }
            _ => {}
        }
    }
    tell.send_modify(|heard| heard.standing = Standing::Ended);
}

fn refused(refusal: &wire::Refusal) -> ClientError {
    ClientError::Refused {
        reason: refusal.reason(),
        sequence: refusal.sequence,
        detail: refusal.detail.clone(),
    }
}
