//! A collector for tests: real TLS and gRPC, and of a gateway only the rule that the next one is taken.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_proto::ids::ProductId;
use seatbeat_proto::procedures::Switch;
use seatbeat_proto::signed::{Domain, hash, new_key, sign};
use seatbeat_proto::tls::{ALPN, machine_certificate, pin, provider};
use seatbeat_proto::wire::agent_link_server::{AgentLink, AgentLinkServer};
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::{token, wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::act::{Hands, Stand, Task};
use crate::clock::Clock;
use crate::enrol;
use crate::state::StateFolder;

/// Hands that note what they did; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct FakeHands(Arc<Mutex<Done>>);

/// What hands did, and how it goes.
#[derive(Debug, Default)]
pub struct Done {
    /// What was begun, with the password that came along.
    pub begun: Vec<(Task, Option<String>)>,
    /// How products stand.
    pub stands: BTreeMap<String, Stand>,
    /// Why nothing can be done.
    pub not_ready: Option<String>,
    /// Why it goes wrong.
    pub fails: Option<String>,
    /// It is not over before somebody says so.
    pub holds: bool,
}

impl FakeHands {
    pub fn done(&self) -> MutexGuard<'_, Done> {
        self.0.lock().unwrap()
    }

    /// What was begun.
    pub fn begun(&self) -> Vec<(String, Switch)> {
        self.done().begun.iter().map(|(task, _)| (task.product.to_string(), task.switch)).collect()
    }
}

impl Hands for FakeHands {
    fn ready(&mut self, _: &Task, _: Option<&wire::OrderSecrets>) -> Result<(), String> {
        self.done().not_ready.clone().map_or(Ok(()), Err)
    }

    fn carry_out(&mut self, task: &Task, secrets: Option<&wire::OrderSecrets>) -> Result<String, String> {
        let password = secrets.map(|secrets| secrets.password.clone());
        self.done().begun.push((task.clone(), password));
        while self.done().holds {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut done = self.done();
        if let Some(why) = done.fails.clone() {
            return Err(why);
        }
        let stand = match task.switch {
            Switch::Off => Stand::Inactive,
            Switch::On => Stand::Active,
            Switch::Uninstall => Stand::Absent,
        };
        done.stands.insert(task.product.to_string(), stand);
        Ok("it was done".to_owned())
    }

    fn look(&mut self, product: &ProductId) -> Result<Stand, String> {
        let stand = self.done().stands.get(product.as_str()).copied();
        stand.ok_or_else(|| "nobody looked".to_owned())
    }
}

/// What the collector knows, and how it behaves.
#[derive(Default)]
pub struct Memory {
    /// Payloads taken, by spool.
    pub spools: BTreeMap<String, Vec<Vec<u8>>>,
    /// Refusals given.
    pub refusals: Vec<wire::RefusalReason>,
    /// Said behind every welcome.
    pub push: Vec<Body>,
    /// Answer to every call.
    pub no: Option<Status>,
    /// Ahead of the agent's clock, in milliseconds.
    pub ahead_ms: i64,
    /// Conversations begun.
    pub links: u32,
    /// Version of the catalogue that each conversation began with.
    pub hello_versions: Vec<u32>,
    /// Revision of the order keys that each conversation began with.
    pub hello_order_keys: Vec<u64>,
    /// How often a machine said that it leaves.
    pub left: u32,
    /// Enrolments asked for.
    pub claims: Vec<wire::EnrolmentClaim>,
}

impl Memory {
    /// All evidence taken, spool by spool.
    pub fn evidence(&self) -> Vec<wire::Evidence> {
        let payloads = self.spools.values().flatten();
        payloads.map(|payload| wire::Evidence::decode(payload.as_slice()).unwrap()).collect()
    }
}

/// A running collector; it stops with the test's runtime.
#[derive(Clone)]
pub struct FakeCollector {
    memory: Arc<Mutex<Memory>>,
    pub address: String,
    pub pin: [u8; 32],
    pub service: SigningKey,
    /// Signs what switches anything.
    pub operator: SigningKey,
}

impl FakeCollector {
    pub async fn start() -> Self {
        let (certificate, private) = machine_certificate(&new_key()).unwrap();
        let pin = pin(&certificate).unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .unwrap();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fake = Self { memory: Arc::default(), address, pin, service: new_key(), operator: new_key() };
        let (accepted, incoming) = mpsc::channel(8);
        tokio::spawn(accept(listener, tokio_rustls::TlsAcceptor::from(Arc::new(tls)), accepted));
        let service = AgentLinkServer::new(fake.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        fake
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// A token that leads here.
    pub fn token(&self, name: &str) -> wire::TokenText {
        wire::TokenText {
            token: format!("tok_{name}"),
            secret: vec![7; token::SECRET_LENGTH],
            addresses: vec![self.address.clone()],
            pin: self.pin.to_vec(),
            salt: vec![3; 32],
            service_key: self.service.verifying_key().to_bytes().to_vec(),
            order_keys: vec![self.operator.verifying_key().to_bytes().to_vec()],
            order_keys_revision: 1,
            expires_at_ms: 0,
            ..wire::TokenText::default()
        }
    }

    /// A machine that was let in, with its state in a folder of its own.
    pub async fn enrolled(&self, facts: wire::Facts) -> (tempfile::TempDir, StateFolder) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::at(dir.path().join("state"));
        let request =
            enrol::Request { token: token::format(&self.token("1")), again: false, host_name: "host".into() };
        enrol::enrol(&state, &request, |_| facts, Clock::start(None).now()).await.unwrap();
        (dir, state)
    }

    /// A signed order for a report.
    pub fn report_order(&self, number: u64, machine: &str, now_ms: i64) -> Body {
        let order = wire::Order {
            order: format!("ord_{number}"),
            machine: machine.to_owned(),
            action: wire::Action::ReportNow.into(),
            sequence: number,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms + 3_600_000,
            ..wire::Order::default()
        };
        let order = Some(sign(&self.service, Domain::Order, order.encode_to_vec()));
        Body::Order(wire::OrderDelivery { order, sealed: Vec::new() })
    }

    /// An order that an operator signed.
    pub fn switch_order(&self, number: u64, machine: &str, action: wire::Action, now_ms: i64) -> Body {
        let order = wire::Order {
            order: format!("ord_{number}"),
            machine: machine.to_owned(),
            action: action.into(),
            product: if action == wire::Action::Unenrol { String::new() } else { "dsa".to_owned() },
            sequence: number,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms + 3_600_000,
            ..wire::Order::default()
        };
        let order = Some(sign(&self.operator, Domain::Order, order.encode_to_vec()));
        Body::Order(wire::OrderDelivery { order, sealed: Vec::new() })
    }

    fn answer(&self, message: wire::AgentMessage) -> Vec<Body> {
        use wire::agent_message::Body as Said;
        let mut memory = self.memory();
        match message.body {
            Some(Said::Hello(hello)) => {
                memory.links += 1;
                memory.hello_versions.push(hello.catalogue_version);
                memory.hello_order_keys.push(hello.order_keys_revision);
                let held = memory.spools.get(&hello.spool).map_or(&[][..], Vec::as_slice);
                let sequence = held
                    .last()
                    .map_or(0, |payload| wire::Evidence::decode(payload.as_slice()).unwrap().sequence);
                let welcome = wire::Welcome {
                    hello_sent_at_ms: hello.sent_at_ms,
                    now_ms: hello.sent_at_ms + memory.ahead_ms,
                    spool: hello.spool,
                    sequence,
                    hash: held.last().map(|payload| hash(payload).to_vec()).unwrap_or_default(),
                    checkpoint: "checkpoint".into(),
                    standby_after_ms: 0,
                };
                [vec![Body::Welcome(welcome)], memory.push.clone()].concat()
            }
            Some(Said::Evidence(signed)) => vec![memory.take(&signed)],
            Some(Said::Beat(_)) | None => vec![],
        }
    }
}

impl Memory {
    fn take(&mut self, signed: &wire::Signed) -> Body {
        let evidence = wire::Evidence::decode(signed.payload.as_slice()).unwrap();
        let (spool, sequence) = (evidence.spool.clone(), evidence.sequence);
        let held = self.spools.entry(spool.clone()).or_default();
        let last = held.last().map(|payload| wire::Evidence::decode(payload.as_slice()).unwrap().sequence);
        let follows = match (last, held.last()) {
            (Some(last), Some(payload)) => sequence == last + 1 && evidence.previous == hash(payload),
            _ => true,
        };
        if follows {
            held.push(signed.payload.clone());
        } else if !held.contains(&signed.payload) {
            let reason = match last {
                Some(last) if sequence <= last => wire::RefusalReason::Forked,
                _ => wire::RefusalReason::BrokenChain,
            };
            self.refusals.push(reason);
            let detail = String::new();
            return Body::Refusal(wire::Refusal { reason: reason.into(), spool, sequence, detail });
        }
        Body::Ack(wire::Ack { spool, sequence })
    }
}

#[tonic::async_trait]
impl AgentLink for FakeCollector {
    type LinkStream = ReceiverStream<Result<wire::CollectorMessage, Status>>;

    async fn enrol(
        &self,
        request: Request<wire::EnrolRequest>,
    ) -> Result<Response<wire::EnrolResponse>, Status> {
        let claim = request.into_inner().claim.unwrap();
        let claim = wire::EnrolmentClaim::decode(claim.payload.as_slice()).unwrap();
        let machine = seatbeat_proto::ids::MachineId::derived_from(&claim.public_key).to_string();
        let mut memory = self.memory();
        memory.claims.push(claim);
        match memory.no.clone() {
            Some(no) => Err(no),
            None => Ok(Response::new(wire::EnrolResponse { machine, customer: "cus_a".into() })),
        }
    }

    async fn leave(&self, _: Request<wire::LeaveRequest>) -> Result<Response<wire::LeaveResponse>, Status> {
        let mut memory = self.memory();
        memory.left += 1;
        memory.no.clone().map_or(Ok(Response::new(wire::LeaveResponse {})), Err)
    }

    async fn link(
        &self,
        request: Request<Streaming<wire::AgentMessage>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        if let Some(no) = self.memory().no.clone() {
            return Err(no);
        }
        let mut inbound = request.into_inner();
        let (answers, outbound) = mpsc::channel(64);
        let fake = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                for body in fake.answer(message) {
                    let _ = answers.send(Ok(wire::CollectorMessage { body: Some(body) })).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

async fn accept(
    listener: TcpListener,
    tls: tokio_rustls::TlsAcceptor,
    accepted: mpsc::Sender<io::Result<Secure>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, accepted) = (tls.clone(), accepted.clone());
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(tcp).await {
                let _ = accepted.send(Ok(Secure(stream))).await;
            }
        });
    }
}

/// A TLS stream that tonic's server takes.
struct Secure(TlsStream<TcpStream>);

impl tonic::transport::server::Connected for Secure {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
