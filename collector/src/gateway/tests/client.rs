//! A tiny agent: says what a test wants it to say, true or not.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::signed::{Domain, hash, new_key, sign};
use seatbeat_proto::tls::{PinVerifier, client_config};
use seatbeat_proto::wire::agent_link_client::AgentLinkClient;
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::{
    AgentMessage, Beat, CollectorMessage, EnrolRequest, EnrolResponse, EnrolmentClaim, Evidence,
    FoundProduct, Hello, PROTOCOL_VERSION, ProductState, Report, Signed, Welcome, evidence,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};

use super::{Collector, Token};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A machine with its key and its chain.
pub struct Agent {
    pub key: SigningKey,
    pub id: MachineId,
    pub spool: SpoolId,
    sequence: u64,
    previous: Vec<u8>,
}

impl Agent {
    pub fn new() -> Self {
        let key = new_key();
        let id = MachineId::derived_from(key.verifying_key().as_bytes());
        Self { key, id, spool: SpoolId::random(), sequence: 0, previous: Vec::new() }
    }

    /// The same machine as it is now: what a snapshot of it would go on as.
    pub fn snapshot(&self) -> Self {
        let (id, spool, previous) = (self.id.clone(), self.spool.clone(), self.previous.clone());
        Self { key: self.key.clone(), id, spool, sequence: self.sequence, previous }
    }

    pub fn open_spool(&mut self) {
        *self = Self { spool: SpoolId::random(), sequence: 0, previous: Vec::new(), ..self.snapshot() };
    }

    pub fn claim(&self, token: &Token) -> EnrolmentClaim {
        EnrolmentClaim {
            public_key: self.key.verifying_key().to_bytes().to_vec(),
            token: token.id.to_string(),
            claimed_at_ms: 1,
            facts: None,
            agent_version: "0.1.0".into(),
        }
    }

    pub fn request(&self, token: &Token) -> EnrolRequest {
        let claim = sign(&self.key, Domain::EnrolmentClaim, self.claim(token).encode_to_vec());
        EnrolRequest { token_secret: token.secret.clone(), claim: Some(claim), host_name: "ws-17".into() }
    }

    pub async fn enrol(&self, collector: &Collector, token: &Token) -> Result<EnrolResponse, Status> {
        let mut client = client(collector, None).await;
        client.enrol(self.request(token)).await.map(tonic::Response::into_inner)
    }

    /// The next evidence of the chain, not yet signed.
    pub fn evidence(&self, observed_at_ms: i64) -> Evidence {
        let product = FoundProduct {
            product: "wfbs-svc".into(),
            state: ProductState::Active.into(),
            ..FoundProduct::default()
        };
        let report = Report { products: vec![product], agent_version: "0.1.0".into(), ..Report::default() };
        Evidence {
            machine: self.id.to_string(),
            spool: self.spool.to_string(),
            sequence: self.sequence + 1,
            previous: self.previous.clone(),
            observed_at_ms,
            body: Some(evidence::Body::Report(report)),
            ..Evidence::default()
        }
    }

    /// Makes evidence the chain's end.
    pub fn signs(&mut self, evidence: &Evidence) -> Signed {
        let signed = sign(&self.key, Domain::Evidence, evidence.encode_to_vec());
        self.sequence = evidence.sequence;
        self.previous = hash(&signed.payload).to_vec();
        signed
    }

    pub fn reports(&mut self, observed_at_ms: i64) -> Signed {
        self.signs(&self.evidence(observed_at_ms))
    }

    pub fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            agent_version: "0.1.0".into(),
            spool: self.spool.to_string(),
            sequence: self.sequence,
            hash: self.previous.clone(),
            sent_at_ms: seatbeat_proto::instant::to_ms(crate::clock::Clock::real().now()),
            settings_revision: 99,
            host_name: String::new(),
            catalogue_version: 1,
            order_keys_revision: 0,
        }
    }

    /// A stream on which nothing was said yet.
    pub async fn open(&self, collector: &Collector) -> Result<Link, Status> {
        let mut client = client(collector, Some(&self.key)).await;
        let (up, messages) = mpsc::channel(512);
        let down = client.link(ReceiverStream::new(messages)).await?.into_inner();
        Ok(Link { up, down })
    }

    /// A stream that was welcomed.
    pub async fn link(&self, collector: &Collector) -> (Link, Welcome) {
        let mut link = self.open(collector).await.unwrap();
        link.say(Up::Hello(self.hello())).await;
        match link.hears().await {
            Ok(Down::Welcome(welcome)) => (link, welcome),
            other => panic!("no welcome: {other:?}"),
        }
    }
}

/// An open stream.
pub struct Link {
    up: mpsc::Sender<AgentMessage>,
    down: Streaming<CollectorMessage>,
}

impl Link {
    pub async fn say(&self, body: Up) {
        // A stream that the door has ended shows in what it says last.
        let _ = self.up.send(AgentMessage { body: Some(body) }).await;
    }

    pub async fn send(&self, evidence: Signed) {
        self.say(Up::Evidence(evidence)).await;
    }

    pub async fn beat(&self, sent_at_ms: i64) {
        self.say(Up::Beat(Beat { sent_at_ms, waiting: 3, answer: false })).await;
    }

    pub async fn hears(&mut self) -> Result<Down, Status> {
        let message = timeout(PATIENCE, self.down.message()).await.expect("the door says something in time");
        Ok(message?.ok_or_else(|| Status::cancelled("the stream is over"))?.body.unwrap())
    }

    /// Hears acknowledgements until the one of `sequence`.
    pub async fn acked(&mut self, sequence: u64) {
        loop {
            match self.hears().await {
                Ok(Down::Ack(ack)) if ack.sequence == sequence => return,
                Ok(Down::Ack(ack)) if ack.sequence < sequence => {}
                other => panic!("no acknowledgement of {sequence}: {other:?}"),
            }
        }
    }

    pub async fn refused(&mut self) -> seatbeat_proto::wire::Refusal {
        match self.hears().await {
            Ok(Down::Refusal(refusal)) => refusal,
            other => panic!("no refusal: {other:?}"),
        }
    }

    /// Hears until the stream ends.
    pub async fn ended(&mut self) -> (Code, String) {
        loop {
            if let Err(status) = self.hears().await {
                return (status.code(), status.message().to_owned());
            }
        }
    }
}

/// A client with the pinned collector at the other end.
pub async fn client(collector: &Collector, key: Option<&SigningKey>) -> AgentLinkClient<Channel> {
    let config = client_config(PinVerifier::new(vec![collector.pin]), key).unwrap();
    AgentLinkClient::new(channel(collector.address, config).await.unwrap())
}

pub async fn channel(address: SocketAddr, config: ClientConfig) -> Result<Channel, tonic::transport::Error> {
    let dialler = Dialler { address, tls: TlsConnector::from(Arc::new(config)) };
    Endpoint::from_static("http://collector").connect_with_connector(dialler).await
}

#[derive(Clone)]
struct Dialler {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Service<Uri> for Dialler {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, tls } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("collector").unwrap();
            Ok(TokioIo::new(tls.connect(name, stream).await?))
        })
    }
}
