//! What the door is compared with: the same TLS, the same messages, and less behind them. Invariant: nothing here is
//! ever part of a collector.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};

use clap::ValueEnum;
use seatbeat_collector::books::Books;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::gateway::tls::{peer_key, server_config};
use seatbeat_collector::journal::{Journal, JournalError, Position};
use seatbeat_collector::keys::Keys;
use seatbeat_collector::vault::Vault;
use seatbeat_proto::signed::{Domain, public_key, verify};
use seatbeat_proto::wire::agent_link_server::{AgentLink, AgentLinkServer};
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::{
    self, Ack, AgentMessage, CollectorMessage, EnrolRequest, EnrolResponse, LeaveRequest, LeaveResponse,
    MESSAGE_LENGTH_MAX, Welcome,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use crate::table;

/// How much of a collector there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Each message is answered at once, unread
    Echo,
    /// Signatures are verified, evidence is acknowledged at once, nothing is kept
    Verified,
    /// The collector with a journal that keeps nothing
    Unkept,
}

/// Serves until the process is ended; prints its address.
pub fn run(kind: Kind, store: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if kind == Kind::Unkept {
            let open = || {
                Books::open_with(store, Clock::real(), |journal| Box::new(Unkept { size: journal.size() }))
            };
            let running = seatbeat_collector::serve::start_with(store, open).await?;
            ready(running.agent_address);
            return Ok(running.until(std::future::pending()).await?);
        }
        let keys = Keys::read(&Vault::open(&store.join("vault"))?)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        ready(listener.local_addr()?);
        let service = AgentLinkServer::new(Bare(kind))
            .max_decoding_message_size(MESSAGE_LENGTH_MAX)
            .max_encoding_message_size(MESSAGE_LENGTH_MAX);
        let acceptor = TlsAcceptor::from(server_config(&keys)?);
        Server::builder().add_service(service).serve_with_incoming(connections(listener, acceptor)).await?;
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn ready(agents: std::net::SocketAddr) {
    table::say(&serde_json::json!({ "agents": agents }).to_string());
}

/// Acknowledges and forgets.
struct Unkept {
    size: Position,
}

impl Journal for Unkept {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        let first = self.size;
        self.size = first.plus(batch.len() as u64);
        Ok(first)
    }

    fn read_from(&self, _from: Position, _limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        Ok(Vec::new())
    }

    fn size(&self) -> Position {
        self.size
    }
}

fn connections(
    listener: TcpListener,
    acceptor: TlsAcceptor,
) -> impl Stream<Item = Result<Connection, Infallible>> {
    let (accepted, connections) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = accepted.send(Ok(Connection(stream))).await;
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

struct Bare(Kind);

#[tonic::async_trait]
impl AgentLink for Bare {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<CollectorMessage, Status>> + Send>>;

    async fn enrol(&self, _request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        Err(Status::unimplemented("nobody enrols here"))
    }

    async fn leave(&self, _: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        Err(Status::unimplemented("nobody leaves here"))
    }

    async fn link(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (kind, key) = (self.0, request.extensions().get::<Peer>().and_then(|peer| peer.0));
        let (mut spool, mut count) = (String::new(), 0);
        let answer = move |message: Result<AgentMessage, Status>| match message.map(|message| message.body) {
            Ok(Some(Up::Hello(hello))) => {
                spool.clone_from(&hello.spool);
                Some(Ok(Down::Welcome(Welcome { spool: hello.spool, ..Welcome::default() })))
            }
            Ok(Some(Up::Beat(beat))) => {
                let sequence = beat.sent_at_ms.unsigned_abs();
                (kind == Kind::Echo).then(|| Ok(Down::Ack(Ack { spool: String::new(), sequence })))
            }
            Ok(Some(Up::Evidence(_))) if kind == Kind::Echo => {
                count += 1;
                Some(Ok(Down::Ack(Ack { spool: spool.clone(), sequence: count })))
            }
            Ok(Some(Up::Evidence(signed))) => Some(acknowledged(key, &signed, &spool)),
            Ok(None) => None,
            Err(status) => Some(Err(status)),
        };
        let answers = request.into_inner().filter_map(answer);
        Ok(Response::new(Box::pin(answers.map(|body| Ok(CollectorMessage { body: Some(body?) })))))
    }
}

fn acknowledged(key: Option<[u8; 32]>, signed: &wire::Signed, spool: &str) -> Result<Down, Status> {
    let refused = |_| Status::permission_denied("the signature is not this machine's");
    let key = public_key(&key.unwrap_or_default()).map_err(refused)?;
    verify(&key, Domain::Evidence, signed).map_err(refused)?;
    let evidence = <wire::Evidence as prost::Message>::decode(signed.payload.as_slice())
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(Down::Ack(Ack { spool: spool.to_owned(), sequence: evidence.sequence }))
}

/// The key of the other side.
#[derive(Clone, Copy)]
struct Peer(Option<[u8; 32]>);

struct Connection(TlsStream<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(peer_key(self.0.get_ref().1))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
