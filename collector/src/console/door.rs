//! The operator door: one listener for gRPC and for pages, with TLS where it is reached from elsewhere. Invariant: a
//! connection costs a bounded number of seconds and streams; when the collector ends, answers that are under way have
//! a moment, and no longer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use seatbeat_proto::wire::console_server::ConsoleServer;
use seatbeat_proto::wire::{FILE_DESCRIPTORS, MESSAGE_LENGTH_MAX};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::auth::{Caller, by_token};
use super::fault::Fault;
use super::rights::of_rpc;
use super::service::status;
use super::{Console, web};
use crate::books::Books;

/// How long answers that are under way may still take when the collector ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Pause after the system has no descriptor left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Questions under way on one connection: a script may ask side by side, but not without end.
const STREAMS_MAX: u32 = 32;

/// Connections at once: browsers hold six each, and scripts one.
const CONNECTIONS_MAX: usize = 1024;

/// How long a handshake, or the head of a request, may take to come.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Bytes of a request's head: cookies and a token.
const HEAD_LENGTH_MAX: usize = 16 * 1024;

/// Tells an answer without an end that the door closes: once it is true.
#[derive(Clone)]
pub struct Closing(pub watch::Receiver<bool>);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Says that a request came in TLS.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted;

/// All that the door answers.
pub async fn router(console: Console) -> Router {
    let books = console.books.clone();
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ConsoleServer<Console>>().await;
    let service = ConsoleServer::new(console.clone()).max_decoding_message_size(MESSAGE_LENGTH_MAX);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were made by this build");
    let grpc = Routes::new(service).add_service(health_service).add_service(reflection).prepare();
    let grpc = grpc.into_axum_router().route_layer(from_fn_with_state(books, let_in));
    // What nothing answers is said by the pages' router, as HTTP says it.
    web::router(console).merge(grpc.reset_fallback())
}

/// Lets an RPC through, with who asks.
async fn let_in(books: axum::extract::State<Books>, mut request: Request, next: Next) -> Response {
    let who = by_token(&books, request.headers());
    let needs = of_rpc(request.uri().path());
    if let Err(fault) = needs.ok_or(Fault::NotLetIn).and_then(|needs| needs.check(who.as_ref())) {
        return status(&fault).into_http::<axum::body::Body>().into_response();
    }
    if let Some(let_in) = who {
        let from = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        request.extensions_mut().insert(Caller { let_in, from });
    }
    next.run(request).await
}

/// Serves the operator door until `shutdown` is ready; without `tls` the listener is on a loopback address.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    console: Console,
    shutdown: impl Future<Output = ()>,
) {
    let router = router(console).await;
    let router = if tls.is_some() { router.layer(Extension(Encrypted)) } else { router };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stopped) = watch::channel(false);
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, from, place) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = open.join_next() => continue,
            came = next(&listener, &places) => came,
        };
        let (router, tls, stopped) = (router.clone(), tls.clone(), stopped.clone());
        open.spawn(async move {
            match tls {
                None => answer(stream, from, router, stopped).await,
                Some(tls) => match timeout(HEAD_TIME, tls.accept(stream)).await {
                    Ok(Ok(stream)) => answer(stream, from, router, stopped).await,
                    Ok(Err(error)) => tracing::debug!(%from, %error, "no handshake at the operator door"),
                    Err(_) => tracing::debug!(%from, "a handshake at the operator door took too long"),
                },
            }
            drop(place);
        });
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while open.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::info!("answers that were under way are given up");
    }
}

/// The next connection that there is a place for: one that fails costs a pause, not the door.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("it is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // A socket that refuses is served all the same.
                let _ = stream.set_nodelay(true);
                return (stream, from, place);
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let closing = Closing(stopped.clone());
    let service = router.into_service().map_request(move |mut request: axum::http::Request<_>| {
        request.extensions_mut().insert(Peer(from));
        request.extensions_mut().insert(closing.clone());
        request
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_LENGTH_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_LENGTH_MAX as u32);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    // An error means that the door is gone: that is an end, too.
    let stopped = async { drop(stopped.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stopped => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, %error, "a connection to the operator door ended");
    }
}
