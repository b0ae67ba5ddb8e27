//! The agent door: TLS, enrolment, and one open stream for each machine. Invariant: a message means what the key of
//! its connection may say, and nothing is acknowledged that is not durable and folded.

pub mod admission;
mod catalogue;
pub mod clocks;
mod connection;
pub mod decide;
pub(crate) mod door;
mod enrol;
pub mod greeting;
mod guest;
mod host_names;
mod intake;
mod leave;
pub mod limits;
mod link;
mod listener;
pub mod meters;
mod orders;
pub mod plan;
pub mod presence;
mod retry;
mod rounds;
mod standby;
mod streams;
#[cfg(test)]
mod tests;
pub mod tls;
mod turns;
pub mod witness;

pub use listener::Listener;

use std::future::Future;
use std::sync::Arc;

use seatbeat_proto::wire::agent_link_server::{AgentLink, AgentLinkServer};
use seatbeat_proto::wire::{
    AgentMessage, EnrolRequest, EnrolResponse, LeaveRequest, LeaveResponse, MESSAGE_LENGTH_MAX, Signed,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::books::Books;
use connection::Peer;
use door::Door;
use limits::{
    DOWN_QUEUE, GOODBYE_TIME, HEADERS_LENGTH_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Patience,
    STREAM_WINDOW, STREAMS_MAX,
};
use presence::Presence;

/// A door that could not open, or did not stay open.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The collector's key or certificate.
    #[error("failed to set up TLS for the agent door")]
    Tls(#[from] rustls::Error),
    /// The server.
    #[error("the agent door failed")]
    Serve(#[from] tonic::transport::Error),
    /// A part of it ended with a panic.
    #[error("a part of the agent door ended unexpectedly")]
    Panicked(#[from] tokio::task::JoinError),
    /// Nobody is let in any more, and nobody asked for it.
    #[error("the agent door stopped accepting connections")]
    Stopped,
}

/// Serves agents on `listener` until `shutdown` is ready; then says goodbye to those who are connected, and returns
/// after ten seconds at the latest. `settings` are sent to agents whose revision is older, at once when they change.
///
/// # Errors
/// When the collector's certificate cannot be used.
pub async fn serve(
    listener: impl Listener + Sync,
    books: Books,
    presence: Presence,
    settings: watch::Receiver<Signed>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), GatewayError> {
    serve_with(listener, books, presence, settings, Patience::default(), shutdown).await
}

/// As [`serve`], with another patience.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(
    listener: impl Listener + Sync,
    books: Books,
    presence: Presence,
    settings: watch::Receiver<Signed>,
    patience: Patience,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), GatewayError> {
    let tls = tls::server_config(books.keys())?;
    let door = Arc::new(Door::new(books.clone(), presence, settings, patience));
    let mut by_itself = JoinSet::new();
    by_itself.spawn(rounds::bans(Arc::clone(&door)));
    by_itself.spawn(rounds::tidy(Arc::clone(&door)));
    by_itself.spawn(catalogue::follow(Arc::clone(&door)));
    by_itself.spawn(orders::follow(Arc::clone(&door)));
    by_itself.spawn(host_names::follow(Arc::clone(&door)));
    let (incoming, standing_by) = listener::connections(listener, tls, books, patience);
    let standing_by = standby::serve(Arc::clone(&door), standing_by);
    let (all_called, are_all_called) = oneshot::channel::<()>();
    by_itself.spawn(async move {
        standing_by.await;
        drop(all_called);
    });

    let service = AgentLinkServer::new(Service { door: Arc::clone(&door) })
        .max_decoding_message_size(MESSAGE_LENGTH_MAX)
        .max_encoding_message_size(MESSAGE_LENGTH_MAX);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<AgentLinkServer<Service>>().await;
    let (closing, mut closed) = watch::channel(false);
    let until = async move {
        shutdown.await;
        health.set_not_serving::<AgentLinkServer<Service>>().await;
        door.streams.close();
        closing.send_replace(true);
    };
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW)
        .http2_max_header_list_size(HEADERS_LENGTH_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health_service)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, until);
    let is_closing = closed.clone();
    let server = async {
        let served = server.await;
        // It has ended the listening; those who stand by are told when to come back.
        if *is_closing.borrow() {
            let _ = are_all_called.await;
        }
        served
    };
    let asked_to_end = closed.clone();
    let goodbye_is_over = async move {
        if closed.wait_for(|closing| *closing).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GOODBYE_TIME).await;
    };
    tokio::select! {
        served = server => match served {
            Ok(()) if !*asked_to_end.borrow() => Err(GatewayError::Stopped),
            served => Ok(served?),
        },
        () = goodbye_is_over => Ok(()),
        Some(Err(ended)) = by_itself.join_next() => Err(ended.into()),
    }
}

/// The calls of the agent door.
struct Service {
    door: Arc<Door>,
}

#[tonic::async_trait]
impl AgentLink for Service {
    type LinkStream = link::Sent;

    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let address = request.extensions().get::<Peer>().map(|peer| peer.address);
        enrol::enrol(&self.door, address, request.into_inner()).await.map(Response::new)
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        let (machine, _) = guest::machine_of(&self.door, request.extensions().get::<Peer>()).await?;
        leave::leave(&self.door, &machine).await.map(|()| Response::new(LeaveResponse {}))
    }

    async fn link(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (machine, key) = guest::machine_of(&self.door, request.extensions().get::<Peer>()).await?;
        let (down, stream) = mpsc::channel(DOWN_QUEUE);
        let span = tracing::info_span!("stream", %machine);
        let talk = link::talk(Arc::clone(&self.door), machine, key, request.into_inner(), down);
        tokio::spawn(talk.instrument(span));
        Ok(Response::new(link::Sent::new(stream)))
    }
}
