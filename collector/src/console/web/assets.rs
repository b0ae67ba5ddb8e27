//! What pages load: built into the program. Invariant: an address names the very bytes that it answers with, so a
//! browser keeps them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use seatbeat_proto::hex;
use seatbeat_proto::signed::hash;

use super::Route;
use super::problem::Problem;
use crate::console::fault::Fault;
use crate::console::rights::Needs;

/// Hexadecimal digits that tell one content from another.
const TAG_LENGTH: usize = 16;

const KEPT: &str = "public, max-age=31536000, immutable";

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

static ASSETS: [Asset; 4] = [
    Asset {
        name: "seatbeat.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../../../assets/seatbeat.css"),
    },
    Asset {
        name: "seatbeat.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../assets/seatbeat.js"),
    },
    Asset {
        name: "htmx.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../assets/htmx-2.0.11.min.js"),
    },
    Asset {
        name: "seatbeat.svg",
        kind: "image/svg+xml",
        bytes: include_bytes!("../../../assets/seatbeat.svg"),
    },
];

static ADDRESSES: LazyLock<Vec<String>> = LazyLock::new(|| {
    ASSETS
        .iter()
        .map(|asset| format!("/assets/{}/{}", &hex::format(&hash(asset.bytes))[..TAG_LENGTH], asset.name))
        .collect()
});

/// The route of this room.
pub fn routes() -> Vec<Route> {
    vec![Route { path: "/assets/{tag}/{name}", needs: Needs::Nobody, service: get(asset) }]
}

/// Where a page finds one of them.
///
/// # Panics
/// With a name that none has.
pub fn address(name: &str) -> &'static str {
    let at = ASSETS.iter().position(|asset| asset.name == name).expect("pages name what there is");
    &ADDRESSES[at]
}

async fn asset(Path((tag, name)): Path<(String, String)>) -> Response {
    let asked = format!("/assets/{tag}/{name}");
    match ADDRESSES.iter().position(|address| *address == asked) {
        Some(at) => {
            let headers = [(CONTENT_TYPE, ASSETS[at].kind), (CACHE_CONTROL, KEPT)];
            (StatusCode::OK, headers, ASSETS[at].bytes).into_response()
        }
        None => Problem::of(&Fault::NoSuchPage).into_response(),
    }
}
