//! The bytes of a conversation as they are inside TLS: HTTP/2 frames that carry messages. Invariant: what is said again
//! is what was said, but for what a test changes in a message.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use rustls::pki_types::ServerName;
use seatbeat_agent::state::StateFolder;
use seatbeat_proto::signed::new_key;
use seatbeat_proto::{tls, token};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

/// What a client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// In front of each frame: its length, kind, flags and stream.
const FRAME_HEADER: usize = 9;
const DATA: u8 = 0;
/// Frames that end a stream or the connection: whoever says it again listens for the answer.
const ENDINGS: [u8; 2] = [3, 7];
/// In front of each message in them: whether it is compressed, and its length.
const MESSAGE_HEADER: usize = 5;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What both sides of a connection said.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub agent: Vec<u8>,
    pub collector: Vec<u8>,
}

/// Whole frames: header and payload.
fn frames(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let mut whole = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(FRAME_HEADER) {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let Some((payload, after)) = after.split_at_checked(length) else { break };
        whole.push((header, payload));
        rest = after;
    }
    whole
}

fn unpacked(mut carried: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some((header, after)) = carried.split_at_checked(MESSAGE_HEADER) {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let Some((message, after)) = after.split_at_checked(length) else { break };
        messages.push(message.to_vec());
        carried = after;
    }
    messages
}

fn packed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

fn frame(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &header[3..], payload].concat()
}

/// The messages that a side said, in its only stream.
pub fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let data = frames(bytes).into_iter().filter(|(header, _)| header[3] == DATA);
    unpacked(&data.flat_map(|(_, payload)| payload.to_vec()).collect::<Vec<u8>>())
}

/// A client's bytes with its messages changed, or left out.
pub fn changed(bytes: &[u8], change: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut made = PREFACE.to_vec();
    for (header, payload) in frames(bytes).into_iter().filter(|(header, _)| !ENDINGS.contains(&header[3])) {
        if header[3] != DATA || payload.is_empty() {
            made.extend(frame(header, payload));
            continue;
        }
        let carried = unpacked(payload);
        let length: usize = carried.iter().map(|message| message.len() + MESSAGE_HEADER).sum();
        assert_eq!(length, payload.len(), "a recorded frame carries whole messages");
        let carried: Vec<u8> =
            carried.into_iter().filter_map(&change).flat_map(|message| packed(&message)).collect();
        made.extend(frame(header, &carried));
    }
    made
}

/// One more message of a client, in its first stream.
pub fn append(bytes: &mut Vec<u8>, message: &[u8]) {
    bytes.extend(frame(&[0, 0, 0, DATA, 0, 0, 0, 0, 1], &packed(message)));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

async fn connect(to: SocketAddr, pin: [u8; 32], key: Option<&SigningKey>) -> TlsStream<TcpStream> {
    let config = tls::client_config(tls::PinVerifier::new(vec![pin]), key).expect("a configuration");
    let stream = TcpStream::connect(to).await.expect("the collector listens");
    let name = ServerName::try_from("seatbeat-collector").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("the pinned collector")
}

/// Says a client's bytes to a collector and answers what it says, until that is enough.
pub fn said_again(
    to: SocketAddr,
    pin: [u8; 32],
    key: Option<&SigningKey>,
    bytes: &[u8],
    is_enough: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    runtime().block_on(async {
        let mut stream = connect(to, pin, key).await;
        stream.write_all(bytes).await.expect("the collector listens");
        let mut answer = Vec::new();
        let listen =
            async { while !is_enough(&answer) && matches!(stream.read_buf(&mut answer).await, Ok(1..)) {} };
        let heard = tokio::time::timeout(PATIENCE, listen).await;
        assert!(heard.is_ok() && is_enough(&answer), "it said no more than {:?}", messages(&answer));
        answer
    })
}

/// Somebody between an agent and its collector whom both believe: who has the machine's key, and whose own the token
/// pins. Writes down what they say.
pub struct Relay {
    token: String,
    said: Arc<Mutex<Vec<Said>>>,
    _runtime: Runtime,
}

impl Relay {
    /// For the agent of a state folder, which is given [`Relay::token`] in place of this token.
    pub fn start(given: &str, state: PathBuf) -> Self {
        let runtime = runtime();
        let mut token = token::parse(given).expect("a token");
        let to: SocketAddr = token.addresses[0].parse().expect("an address");
        let pin: [u8; 32] = token.pin.as_slice().try_into().expect("a pin has 32 bytes");
        let (certificate, key) = tls::machine_certificate(&new_key()).expect("a certificate");
        token.pin = tls::pin(&certificate).expect("a pin").to_vec();
        let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .expect("a provider has versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a key that fits");
        config.alpn_protocols = vec![tls::ALPN.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        token.addresses = vec![listener.local_addr().expect("an address").to_string()];
        let said = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&said);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let agent = acceptor.accept(stream).await.expect("an agent that believes the token");
                // It enrols before it has proven its key.
                let number = kept.lock().expect("nobody panicked").len();
                let key =
                    (number > 0).then(|| StateFolder::at(state.clone()).key().expect("it has a key by now"));
                let collector = connect(to, pin, key.as_ref()).await;
                kept.lock().expect("nobody panicked").push(Said::default());
                let ((from_agent, to_agent), (from_collector, to_collector)) =
                    (split(agent), split(collector));
                let (one, other) = (Arc::clone(&kept), Arc::clone(&kept));
                let write_agent =
                    move |bytes: &[u8]| one.lock().expect("nobody panicked")[number].agent.extend(bytes);
                let write_collector = move |bytes: &[u8]| {
                    other.lock().expect("nobody panicked")[number].collector.extend(bytes)
                };
                tokio::spawn(pump(from_agent, to_collector, write_agent));
                tokio::spawn(pump(from_collector, to_agent, write_collector));
            }
        });
        Self { token: token::format(&token), said, _runtime: runtime }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Each connection, in the order that they came.
    pub fn said(&self) -> Vec<Said> {
        self.said.lock().expect("nobody panicked").clone()
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, write: impl Fn(&[u8])) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        write(&bytes[..count]);
        if to.write_all(&bytes[..count]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
