//! What tests look for on a page. Invariant: what is looked for stands there as text; a page that weighs too much fails.

use axum::body::{Body as HttpBody, to_bytes};
use axum::http::{StatusCode, header};

use super::super::*;

/// What a page may weigh with all that it loads, in bytes; what it loads is about 70,000.
const PAGE_MAX: usize = 200_000;

/// What somebody is answered.
pub(super) struct Got {
    /// The status.
    pub(super) status: StatusCode,
    /// Where it leads.
    pub(super) to: String,
    /// What is shown.
    pub(super) body: String,
}

impl Got {
    #[track_caller]
    pub(super) fn holds(&self, words: &str) -> &Self {
        assert!(self.body.contains(words), "{words:?} in {} {}", self.status, self.body);
        self
    }

    #[track_caller]
    pub(super) fn lacks(&self, words: &str) -> &Self {
        assert!(!self.body.contains(words), "{words:?} in {}", self.body);
        self
    }

    /// The value of a hidden field.
    #[track_caller]
    pub(super) fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&start).unwrap_or_else(|| panic!("{name} in {}", self.body));
        rest.split('"').next().unwrap().to_owned()
    }
}

async fn sent(house: &House, token: &str, request: http::request::Builder, body: HttpBody) -> Got {
    let request = request
        .header("host", "seats.example")
        .header("accept", "text/html")
        .header("authorization", format!("Bearer {token}"));
    let mut server = house.server();
    let response =
        Service::<http::Request<HttpBody>>::call(&mut server, request.body(body).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let to = head.headers.get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned());
    let body = to_bytes(body, 4 << 20).await.unwrap();
    let got = Got {
        status: head.status,
        to: to.unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    assert!(got.body.len() < PAGE_MAX, "{} bytes", got.body.len());
    got
}

/// A page, as an operator of this token gets it.
pub(super) async fn page(house: &House, token: &str, path: &str) -> Got {
    sent(house, token, http::Request::get(path), HttpBody::empty()).await
}

/// A page, as its founder gets it.
pub(super) async fn own(house: &House, path: &str) -> Got {
    page(house, &house.token, path).await
}

/// What a form does.
pub(super) async fn posted(house: &House, token: &str, path: &str, fields: &[(&str, &str)]) -> Got {
    let encoded = |text: &str| -> String {
        openidconnect::url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
    };
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    let request = http::Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    sent(house, token, request, HttpBody::from(pairs.join("&"))).await
}

pub(super) fn size(house: &House) -> u64 {
    house.console.books.read(|fold| fold.position())
}
