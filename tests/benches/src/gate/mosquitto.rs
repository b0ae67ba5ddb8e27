//! Mosquitto, Debian's MQTT broker, beside the collector: memory of idle connections over TLS, and CPU of a message.
//! Invariant: both get as many connections and messages of about a beat's length in one run; Mosquitto keeps nothing, and
//! knows nobody by a certificate.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::ensure;
use rustls::pki_types::ServerName;
use seatbeat_proto::tls::{PinVerifier, client_config, pin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::load::Ask;
use super::processes::{Load, Server};
use super::store::{Prepared, free_address};
use super::{AT_ONCE, SETTLE, hundredths, quiet};
use crate::results::Section;
use crate::{desk, table};

const PROGRAM: &str = "mosquitto";

/// Connections at rest, and connections that talk.
const IDLE: usize = 10_000;
const TALKING: usize = 64;

/// Messages of each of those.
const ROUNDS: u32 = 400;

/// Bytes of a message, as a beat has with its frame.
const BODY: usize = 24;

/// A connection that said who it is.
struct Client(TlsStream<TcpStream>);

impl Client {
    async fn open(connector: &TlsConnector, address: SocketAddr, number: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
        let name = format!("bench-{number}");
        // CONNECT of MQTT 3.1.1 (section 3.1): protocol, level 4, clean session, no keep-alive, the client's name.
        let mut packet = b"\0\x04MQTT\x04\x02\0\0".to_vec();
        packet.extend((name.len() as u16).to_be_bytes());
        packet.extend(name.as_bytes());
        stream.write_all(&[&[0x10, packet.len() as u8], packet.as_slice()].concat()).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        ensure!(answer == [0x20, 2, 0, 0], "the broker answered {answer:?}");
        Ok(Self(stream))
    }

    /// Publishes with QoS 1 (section 3.3), and waits for the acknowledgement.
    async fn publish(&mut self, number: u16) -> anyhow::Result<()> {
        let mut packet = b"\0\x04beat".to_vec();
        packet.extend(number.to_be_bytes());
        packet.extend([7; BODY]);
        self.0.write_all(&[&[0x32, packet.len() as u8], packet.as_slice()].concat()).await?;
        let mut answer = [0; 4];
        self.0.read_exact(&mut answer).await?;
        ensure!(answer[..2] == [0x40, 2], "the broker answered {answer:?}");
        Ok(())
    }
}

/// Both, one after the other.
pub fn bench() -> anyhow::Result<ExitCode> {
    if Command::new(PROGRAM).arg("-h").output().is_err() {
        table::say("skipped: needs mosquitto (apt-get install -y --no-install-recommends mosquitto)");
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let (theirs, their_us) = runtime.block_on(broker(folder.path()))?;
    let (streams, stream_us) = collector(false)?;
    let (standby, standby_us) = collector(true)?;
    let row = |name: &str, idle: u64, each: u64| {
        vec![
            name.to_owned(),
            table::tenths(idle),
            hundredths(idle, theirs),
            table::tenths(each),
            hundredths(each, their_us),
        ]
    };
    let head = ["SERVER", "KiB EACH, OF 10,000", "OF MOSQUITTO'S", "CPU us / MESSAGE", "OF MOSQUITTO'S"];
    let about = "Connections over TLS 1.3 that said who they are; then small messages of 64 connections: beats, and PUBLISH \
                 with QoS 1 and its PUBACK. Mosquitto knows nobody by a certificate and keeps nothing; the collector \
                 verifies each machine's and knows when it was there.";
    let mut section = Section::new("mosquitto", about);
    let rows = vec![
        row(PROGRAM, theirs, their_us),
        row("seatbeat serve, streams", streams, stream_us),
        row("seatbeat serve, standby", standby, standby_us),
    ];
    section.table(&head, rows);
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

/// Tenths of a KiB a connection, and of a microsecond a message.
async fn broker(folder: &Path) -> anyhow::Result<(u64, u64)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    std::fs::write(folder.join("certificate.pem"), made.cert.pem())?;
    let address = free_address()?;
    let config = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\nmax_connections -1\n\
         certfile {folder}/certificate.pem\nkeyfile {folder}/key.pem\nuser root\n",
        address.port(),
        folder = folder.display()
    );
    std::fs::write(folder.join("mosquitto.conf"), config)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(folder.join("mosquitto.conf"));
    let server = Server::listening(command, address)?;
    let config = client_config(PinVerifier::new(vec![pin(made.cert.der())?]), None)?;
    let connector = TlsConnector::from(Arc::new(config));
    let empty = server.resident_kib()?;
    table::progress(&format!("{PROGRAM}: {IDLE} connections"));
    let mut clients = Vec::new();
    while clients.len() < IDLE {
        let mut opening = JoinSet::new();
        for number in clients.len()..IDLE.min(clients.len() + AT_ONCE) {
            let connector = connector.clone();
            opening.spawn(async move { Client::open(&connector, address, number).await });
        }
        while let Some(opened) = opening.join_next().await {
            clients.push(opened??);
        }
    }
    quiet(&server)?;
    let idle = (server.resident_kib()? - empty) * 10 / IDLE as u64;
    table::progress(&format!("{PROGRAM}: messages"));
    let before = server.cpu_us()?;
    let mut talking = JoinSet::new();
    for mut client in clients.drain(..TALKING) {
        talking.spawn(async move {
            for round in 0..ROUNDS {
                client.publish(round as u16 + 1).await?;
            }
            anyhow::Ok(client)
        });
    }
    while let Some(talked) = talking.join_next().await {
        clients.push(talked??);
    }
    tokio::time::sleep(SETTLE).await;
    let messages = TALKING as u64 * u64::from(ROUNDS);
    Ok((idle, (server.cpu_us()? - before) * 10 / messages))
}

/// The same of the collector.
fn collector(stands_by: bool) -> anyhow::Result<(u64, u64)> {
    let come = |count| match stands_by {
        true => Ask::StandBy { count, at_once: AT_ONCE },
        false => Ask::Connect { count, at_once: AT_ONCE },
    };
    let seatbeat = desk::collector()?;
    table::progress(&format!("enrolling {IDLE} machines"));
    let prepared = Prepared::new(IDLE)?;
    let server = Server::collector(&seatbeat, &prepared.copy(&format!("collector-{stands_by}"))?)?;
    let mut load = Load::start(&prepared.token, server.agents)?;
    load.ask(&Ask::Prepare { from: 0, to: IDLE, reports: 0 })?;
    let empty = server.resident_kib()?;
    table::progress(&format!("seatbeat serve: {IDLE} connections"));
    load.ask(&come(IDLE))?;
    quiet(&server)?;
    let idle = (server.resident_kib()? - empty) * 10 / IDLE as u64;
    drop(load);
    quiet(&server)?;
    let mut load = Load::start(&prepared.token, server.agents)?;
    load.ask(&Ask::Prepare { from: 0, to: TALKING, reports: 0 })?;
    load.ask(&come(TALKING))?;
    quiet(&server)?;
    table::progress("seatbeat serve: beats");
    let before = server.cpu_us()?;
    let told = load.ask(&Ask::Beats { rounds: ROUNDS, per_second: 10_000 })?;
    std::thread::sleep(SETTLE);
    Ok((idle, (server.cpu_us()? - before) * 10 / told.count.max(1)))
}
