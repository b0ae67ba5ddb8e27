//! A stand-in as a process of its own, over HTTP. Invariant: what it is told comes by `/_standin` paths alone, which no
//! far side has: `POST /_standin/wrong` (a list of what goes wrong, `null` for nothing), `POST /_standin/decide`,
//! `GET /_standin/effects`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{Standin, Verdict, json as answer, wrong::Wrong};

/// Nobody was answered: the connection is cut.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut, as was told")
    }
}

impl std::error::Error for Cut {}

/// Serves a stand-in for as long as the future is driven.
pub async fn serve(listener: TcpListener, standin: Standin) -> Infallible {
    let standin = Arc::new(Mutex::new(standin));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let standin = Arc::clone(&standin);
        tokio::spawn(async move {
            let service = service_fn(move |request| one(Arc::clone(&standin), request));
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

async fn one(standin: Arc<Mutex<Standin>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let mut standin = standin.lock().unwrap_or_else(PoisonError::into_inner);
    let answered = match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/_standin/wrong") => match serde_json::from_slice::<Vec<Option<Wrong>>>(&body) {
            Ok(wrong) => {
                standin.tell(wrong);
                Some(answer(200, &json!({})))
            }
            Err(error) => Some(answer(400, &json!({ "error": error.to_string() }))),
        },
        (&Method::POST, "/_standin/decide") => match serde_json::from_slice::<Verdict>(&body) {
            Ok(verdict) => {
                standin.decide(verdict);
                Some(answer(200, &json!({})))
            }
            Err(error) => Some(answer(400, &json!({ "error": error.to_string() }))),
        },
        (&Method::GET, "/_standin/effects") => Some(answer(200, &json!(standin.effects()))),
        _ => standin.call(&Request::from_parts(parts, body)),
    };
    answered.map(|response| response.map(Full::new)).ok_or(Cut)
}
