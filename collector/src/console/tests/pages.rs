//! Pages as a browser is shown them. Invariant: all of it goes through the door, with a token as a program would.

use super::sign_in::{Answer, Browser, form};
use super::*;

mod customers;
mod house;
mod machines;
mod month;
mod prices;
mod shown;

/// A page, asked for by somebody with this token.
async fn page(house: &House, token: &str, path: &str) -> Answer {
    let request = http::Request::get(path)
        .header("host", "seats.example")
        .header("accept", "text/html")
        .header("authorization", format!("Bearer {token}"));
    Browser::at(house, "192.0.2.1").send(request.body(axum::body::Body::empty()).unwrap()).await
}

/// A form, sent by somebody with this token.
async fn sent(house: &House, token: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {token}");
    let request = form(path, fields, &[("authorization", &bearer), ("accept", "text/html")]);
    Browser::at(house, "192.0.2.1").send(request).await
}
