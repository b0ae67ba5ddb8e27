//! The operator door: every question once (`query`), every action once (`command`), and gRPC as a thin skin over both.
//! Invariant: nobody is answered without an operator's token; an action is in the journal before it is answered.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use seatbeat_proto::wire::MESSAGE_LENGTH_MAX;
use seatbeat_proto::wire::console_server::ConsoleServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::books::Books;
use crate::config::Config;
use crate::gateway::presence::Presence;
use crate::jobs::close::Closing;
use crate::jobs::proofs::Proofs;
use crate::jobs::upload::Uploads;

mod amend;
pub mod auth;
mod catalogue;
pub mod command;
pub mod departures;
pub mod documents;
pub mod explain;
pub mod export;
pub mod fault;
pub mod kit;
pub mod licences;
pub mod mapping;
mod named;
pub mod operators;
pub mod orders;
pub mod prices;
pub mod proofs;
pub mod query;
pub mod reconcile;
pub mod rows;
mod service;
pub mod uploads;
mod wire_amend;
pub mod wire_machines;
pub mod wire_rows;
pub mod words;

/// How long answers that are under way may still take when the collector ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Pause after the system has no descriptor left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Questions under way on one connection: a script may ask side by side, but not without end.
const STREAMS_MAX: u32 = 32;

/// All that questions and actions need.
#[derive(Clone)]
pub struct Console {
    books: Books,
    presence: Presence,
    config: Arc<Config>,
    closing: Closing,
    proofs: Proofs,
    uploads: Uploads,
    /// One at a time: a name goes to the vault before its customer is in the journal.
    adding: Arc<Mutex<()>>,
    /// One at a time: each holds all its files in memory.
    importing: Arc<Mutex<()>>,
}

/// The operator door does not work.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The server ended.
    #[error("the operator door failed")]
    Serve(#[from] tonic::transport::Error),
}

impl Console {
    /// A console over these parts of a collector.
    pub fn new(books: Books, presence: Presence, config: Config, closing: Closing, proofs: Proofs) -> Self {
        Self {
            books,
            presence,
            config: Arc::new(config),
            closing,
            proofs,
            uploads: Uploads::default(),
            adding: Arc::default(),
            importing: Arc::default(),
        }
    }
}

impl Console {
    /// With statements on their way.
    #[must_use]
    pub fn with_uploads(self, uploads: Uploads) -> Self {
        Self { uploads, ..self }
    }
}

/// Serves the operator door until `shutdown` is ready, without TLS: the listener is on a loopback address.
///
/// # Errors
/// When the server ends by itself.
pub async fn serve(
    listener: TcpListener,
    console: Console,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ConsoleError> {
    let door = auth::Door::new(console.books.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ConsoleServer<Console>>().await;
    let service = ConsoleServer::new(console).max_decoding_message_size(MESSAGE_LENGTH_MAX);
    let (draining, drained) = oneshot::channel::<()>();
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .add_service(health_service)
        .add_service(InterceptedService::new(service, door))
        .serve_with_incoming_shutdown(incoming(listener), async {
            shutdown.await;
            // The receiver is gone only when the server is.
            let _ = draining.send(());
        });
    tokio::select! {
        ended = server => Ok(ended?),
        () = async { if drained.await.is_ok() { tokio::time::sleep(DRAIN).await } else { std::future::pending().await } } => {
            tracing::info!("answers that were under way are given up");
            Ok(())
        }
    }
}

/// Connections, for as long as there is a listener: one that fails costs a pause, not the door.
fn incoming(listener: TcpListener) -> impl Stream<Item = std::io::Result<TcpStream>> {
    unfold(listener, async |listener| {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(stream), listener)),
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests;
