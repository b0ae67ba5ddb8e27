//! The vendor's Licensing Management Platform: units of a subscription are set, licences are suspended and resumed, and
//! its report says what is provisioned. Invariant: units are absolute, so that setting them again changes nothing; a
//! licence is never cancelled, which cannot be undone there; the billing report is not submitted from here, for there
//! is no such call.

mod arm;
mod reports;
mod signature;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::mapping::{Fields, Mapping};
use seatbeat_ledger::uploads::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::signature::Signed;
use super::arm::Arm;
use super::call::SendError;
use super::connector::{Answer, Connector, FarSeats, FarSubscription, Tools};
use super::destination::{Column, Destination, DestinationError};
use super::far::{encoded, read, request, secret_header};
use super::projection::{OutPart, Outgoing, Projection, ProjectionError, ShownRequest};
use super::seats::{Takes, Wanted, called};

/// Where the vendor has it.
const USUAL_URL: &str = "https://cspi.trendmicro.com";

/// Most units of a subscription.
const UNITS_MAX: u64 = 999_999;

/// What its mapping says. The report calls customers and plans by name only.
pub const COLUMNS: [Column; 4] = [
    Column { name: "far_customer", is_needed: true },
    Column { name: "subscription", is_needed: true },
    Column { name: "customer_name", is_needed: false },
    Column { name: "service_plan", is_needed: false },
];

/// The vendor's platform.
pub struct Lmpi {
    url: String,
    takes: Takes,
    tools: Tools,
}

/// A subscription as it is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subscription {
    enabled: bool,
    is_auto_renewal: bool,
    licenses: Vec<License>,
}

/// A licence of a subscription's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct License {
    units: u64,
    enabled: bool,
    license_expiration_date: String,
}

impl Lmpi {
    /// As configured. It has no options.
    ///
    /// # Errors
    /// When there is one, or the address is none.
    pub fn new(destination: &Destination, tools: Tools) -> Result<Self, DestinationError> {
        destination.only_options(&[])?;
        let takes = Takes {
            most: UNITS_MAX,
            instead_of_none: "suspend it",
            allow_decrease: destination.allow_decrease,
        };
        Ok(Self { url: destination.base_url(Some(USUAL_URL))?, takes, tools })
    }

    async fn set(&self, part: &OutPart) -> Result<Answer, SendError> {
        let wanted = match Wanted::of(part) {
            Ok(wanted) => wanted,
            Err(answer) => return Ok(answer),
        };
        let before = self.subscription(wanted.mapped).await?;
        if let Some(answer) = self.settled(&wanted, &before)? {
            return Ok(answer);
        }
        let act = "the change of units";
        let body = json!({ "units_per_license": wanted.seats });
        let answer = self.call(Method::PUT, &path(wanted.mapped, "v2", "")?, Some(&body), None).await?;
        if !answer.status().is_success() {
            return Err(SendError::of(act, &answer));
        }
        self.verdict(&wanted).await
    }

    /// What is there after units were set.
    async fn verdict(&self, wanted: &Wanted<'_>) -> Result<Answer, SendError> {
        let subscription = wanted.called("subscription")?;
        let after = self.subscription(wanted.mapped).await?;
        if let Some(answer) = self.settled(wanted, &after)? {
            return Ok(answer);
        }
        let said = format!("{} in force after {} were set", after.units(), wanted.seats);
        Ok(Answer::new(Status::Acknowledged, subscription).saying(said))
    }

    /// The answer where nothing is to be set. Licences that differ are set even, unless that lowers one of them.
    fn settled(&self, wanted: &Wanted<'_>, subscription: &Subscription) -> Result<Option<Answer>, SendError> {
        let units = subscription.units();
        let answer = wanted.without_setting(units, self.takes, wanted.called("subscription")?)?;
        Ok(answer.filter(|_| subscription.is_even() || units != wanted.seats))
    }

    async fn subscription(&self, mapped: &Fields) -> Result<Subscription, SendError> {
        self.get("the subscription", &path(mapped, "v3", "")?).await
    }

    async fn get<T: DeserializeOwned>(&self, act: &str, target: &str) -> Result<T, SendError> {
        read(act, &self.call(Method::GET, target, None, None).await?)
    }

    /// Sends a signed request; `trace` is what it is known by in the vendor's logs, by default a number of its own.
    async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
        trace: Option<&str>,
    ) -> Result<Response<Bytes>, SendError> {
        let token = self.tools.secrets.get("access_token").await?;
        let key = self.tools.secrets.get("secret_key").await?;
        let posix_s = self.tools.clock.now().as_second().to_string();
        let mut request = request(method, &format!("{}{target}", self.url), body)?;
        let signed = request.uri().path_and_query().map_or(target, |target| target.as_str());
        let signature =
            Signed { posix_s: &posix_s, method: request.method(), target: signed, body: request.body() }
                .by(&key);
        let trace = trace.map_or_else(signature::trace, str::to_owned);
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert("x-access-token", secret_header(&token)?);
        headers.insert("x-signature", secret_header(&signature)?);
        headers.insert("x-posix-time", secret_header(&posix_s)?);
        headers.insert("x-traceid", secret_header(&trace)?);
        let answer = self.tools.transport.call(request).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let SendError::Stop { why, hint } = SendError::of("the signed request", &answer) else {
                return Ok(answer);
            };
            let hint = format!("{hint}; and see that this machine's clock is right to a quarter of an hour");
            return Err(SendError::Stop { why, hint });
        }
        Ok(answer)
    }
}

impl Subscription {
    /// Units in force: of several licences the most, for all of them are set as one.
    fn units(&self) -> u64 {
        self.licenses.iter().map(|license| license.units).max().unwrap_or(0)
    }

    /// Whether all its licences have the same units.
    fn is_even(&self) -> bool {
        self.licenses.iter().all(|license| license.units == self.units())
    }
}

impl Connector for Lmpi {
    fn project(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        outgoing.seats_by_line(&["far_customer", "subscription"], |mapped, seats| {
            let target = path(mapped, "v2", "").map(|path| format!("{}{path}", self.url));
            let body = json!({ "units_per_license": seats }).to_string();
            target.map_or_else(
                |_| Vec::new(),
                |target| vec![ShownRequest { method: "PUT".to_owned(), target, body }],
            )
        })
    }

    fn send<'a>(&'a self, part: &'a OutPart, _: &'a str) -> BoxFuture<'a, Result<Answer, SendError>> {
        self.set(part).boxed()
    }

    fn follow<'a>(
        &'a self,
        part: &'a OutPart,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Answer, SendError>> {
        async {
            match Wanted::of(part) {
                Ok(wanted) => self.verdict(&wanted).await,
                Err(answer) => Ok(answer),
            }
        }
        .boxed()
    }

    fn in_force<'a>(&'a self, part: &'a OutPart) -> BoxFuture<'a, Result<Option<u64>, SendError>> {
        async {
            let Ok(wanted) = Wanted::of(part) else { return Ok(None) };
            Ok(Some(self.subscription(wanted.mapped).await?.units()))
        }
        .boxed()
    }

    fn arm(&self) -> Option<&dyn Arm> {
        Some(self)
    }

    fn tells_months(&self) -> bool {
        true
    }

    fn provisioned<'a>(
        &'a self,
        period: Period,
        mapping: &'a Mapping,
    ) -> BoxFuture<'a, Result<Option<Vec<FarSeats>>, SendError>> {
        async move { self.summary(period, mapping).await.map(Some) }.boxed()
    }

    fn subscriptions(&self) -> BoxFuture<'_, Result<Option<Vec<FarSubscription>>, SendError>> {
        async { self.listed().await.map(Some) }.boxed()
    }
}

/// Where a mapped subscription is.
fn path(mapped: &Fields, version: &str, act: &str) -> Result<String, SendError> {
    let (customer, subscription) = (called(mapped, "far_customer")?, called(mapped, "subscription")?);
    Ok(format!(
        "/LMPI/{version}/customers/{}/subscriptions/{}{act}",
        encoded(customer),
        encoded(subscription)
    ))
}

#[cfg(test)]
mod tests;
