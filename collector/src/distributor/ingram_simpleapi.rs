//! Ingram Micro's cloud marketplace by the SimpleAPI of CloudBlue Commerce: orders that change quantities. Invariant: an
//! order says of its product what the subscription says of it, with another quantity; nothing can be suspended there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response};
use seatbeat_ledger::mapping::Fields;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::call::SendError;
use super::connector::{FarSubscription, Tools};
use super::destination::{Column, Destination, DestinationError};
use super::far::{Session, Token, encoded, id, read, request, secret_header, whole};
use super::marketplace::{Marketplace, Order, Progress};
use super::projection::{Outgoing, Projection, ProjectionError, ShownRequest};
use super::seats::{Takes, Wanted, called};

/// What its mapping says.
pub const COLUMNS: [Column; 3] = [
    Column { name: "far_customer", is_needed: true },
    Column { name: "subscription", is_needed: true },
    Column { name: "mpn", is_needed: true },
];

const NEEDED: [&str; 3] = ["far_customer", "subscription", "mpn"];

/// Rows of a page.
const PAGE_ROWS: u64 = 100;

/// Most rows of a list: more subscriptions, or orders of one customer, than these are read by nobody.
const ROWS_MAX: u64 = 10_000;

/// Quantities are numbers of 32 bits there.
const QUANTITY_MAX: u64 = 0x7fff_ffff;

/// The marketplace.
pub struct IngramSimpleApi {
    url: String,
    marketplace: String,
    takes: Takes,
    session: Session,
    tools: Tools,
}

/// A product of a subscription's, with what an order says of it.
pub struct Subscribed {
    vendor: String,
    quantity: u64,
    billing_period: Value,
    subscription_period: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fresh {
    token: String,
    expires_in_seconds: u64,
}

impl IngramSimpleApi {
    /// As configured: option `marketplace` is its code (`us`).
    ///
    /// # Errors
    /// When the address or the marketplace is missing.
    pub fn new(destination: &Destination, tools: Tools) -> Result<Self, DestinationError> {
        destination.only_options(&["marketplace"])?;
        let takes = Takes {
            most: QUANTITY_MAX,
            instead_of_none: "end it there",
            allow_decrease: destination.allow_decrease,
        };
        let marketplace = destination.needed("marketplace")?.to_owned();
        Ok(Self { url: destination.base_url(None)?, marketplace, takes, session: Session::default(), tools })
    }

    /// A new token for user and password.
    async fn token(&self) -> Result<Token, SendError> {
        let secrets = &self.tools.secrets;
        let (user, password) = (secrets.get("user").await?, secrets.get("password").await?);
        let login = Zeroizing::new(format!("{}:{}", user.as_str(), password.as_str()));
        let basic = Zeroizing::new(format!("Basic {}", STANDARD.encode(login.as_bytes())));
        let body = json!({ "marketplace": self.marketplace });
        let mut request = self.request(Method::POST, "/token", Some(&body)).await?;
        request.headers_mut().insert(AUTHORIZATION, secret_header(&basic)?);
        let answer = self.tools.transport.call(request).await?;
        let Fresh { token, expires_in_seconds } = read("the token", &answer)?;
        Ok(Token { value: Zeroizing::new(token), lasts_s: expires_in_seconds })
    }

    async fn request(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Request<Bytes>, SendError> {
        let key = self.tools.secrets.get("subscription_key").await?;
        let mut request = request(method, &format!("{}{target}", self.url), body)?;
        request.headers_mut().insert("x-subscription-key", secret_header(&key)?);
        Ok(request)
    }

    async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Response<Bytes>, SendError> {
        let request = self.request(method, target, body).await?;
        self.session.ask(&self.tools, request, || self.token()).await
    }

    async fn get(&self, act: &str, target: &str) -> Result<Value, SendError> {
        Ok(inner(read(act, &self.call(Method::GET, target, None).await?)?))
    }

    /// All rows of a list, or the first that is looked for.
    async fn rows(
        &self,
        act: &str,
        target: &str,
        is_sought: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>, SendError> {
        let mut all = Vec::new();
        let mut offset = 0;
        while offset < ROWS_MAX {
            let page = format!("{target}offset={offset}&limit={PAGE_ROWS}");
            let mut answer: Value = read(act, &self.call(Method::GET, &page, None).await?)?;
            let total = whole(&answer["pagination"]["total"]);
            let Value::Array(mut some) = answer["data"].take() else {
                return Err(SendError::again(format!("{act}: the answer has no `data`")));
            };
            if let Some(at) = some.iter().position(&is_sought) {
                return Ok(vec![some.swap_remove(at)]);
            }
            offset += some.len() as u64;
            let is_last = some.is_empty() || total.is_some_and(|total| offset >= total);
            all.extend(some);
            if is_last {
                return Ok(all);
            }
        }
        Err(SendError::stop(
            format!("{act} has more than {ROWS_MAX} rows"),
            "what is older than a year can be archived there",
        ))
    }

    async fn subscribed(&self) -> Result<Vec<FarSubscription>, SendError> {
        let customers = self.rows("the list of customers", "/customers?", |_| false).await?;
        let rows = self.rows("the list of subscriptions", "/subscriptions?status=active&", |_| false).await?;
        let mut listed = Vec::new();
        for row in rows {
            let (customer, subscription) = (id(&row["customerId"]), id(&row["id"]));
            let details =
                self.get("the subscription", &format!("/subscriptions/{}", encoded(&subscription))).await?;
            let called = customers.iter().find(|row| id(&row["id"]) == customer);
            for product in details["products"].as_array().into_iter().flatten() {
                let mapped = [
                    ("far_customer", customer.clone()),
                    ("subscription", subscription.clone()),
                    ("mpn", id(&product["mpn"])),
                ];
                let mut names = vec![id(&product["name"]), id(&product["mpn"]), id(&details["name"])];
                names.retain(|name| !name.is_empty());
                listed.push(FarSubscription {
                    mapped: mapped.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                    customer: called.map(|row| id(&row["name"])).unwrap_or_default(),
                    product: names,
                    quantity: whole(&product["quantity"]),
                });
            }
        }
        Ok(listed)
    }
}

impl Marketplace for IngramSimpleApi {
    type Subscription = Subscribed;

    fn orders(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        let unknown = Subscribed {
            vendor: "{vendor}".to_owned(),
            quantity: 0,
            billing_period: json!("{billingPeriod}"),
            subscription_period: json!("{subscriptionPeriod}"),
        };
        outgoing.seats_by_line(&NEEDED, |mapped, seats| {
            vec![ShownRequest {
                method: "POST".to_owned(),
                target: format!("{}/orders", self.url),
                body: order_body(mapped, seats, "{poNumber}", &unknown).to_string(),
            }]
        })
    }

    fn takes(&self) -> Takes {
        self.takes
    }

    fn subscription<'a>(&'a self, mapped: &'a Fields) -> BoxFuture<'a, Result<Subscribed, SendError>> {
        async {
            let (customer, mpn) = (called(mapped, "far_customer")?, called(mapped, "mpn")?);
            let number = called(mapped, "subscription")?;
            let shown = self.get("the subscription", &format!("/subscriptions/{}", encoded(number))).await?;
            if id(&shown["customerId"]) != customer {
                return Err(SendError::stop(
                    format!("subscription {number} is not of customer {customer}"),
                    "see that the ids in the mapping are right",
                ));
            }
            let products = shown["products"].as_array().map(Vec::as_slice).unwrap_or_default();
            let Some(product) = products.iter().find(|product| product["mpn"] == mpn) else {
                let known: Vec<String> = products.iter().map(|product| id(&product["mpn"])).collect();
                return Err(SendError::stop(
                    format!("subscription {number} has no product `{mpn}`; it has: {}", known.join(", ")),
                    "set the column `mpn` in the mapping",
                ));
            };
            let quantity = whole(&product["quantity"]);
            Ok(Subscribed {
                vendor: id(&product["vendor"]),
                quantity: quantity.ok_or_else(|| SendError::again("the subscription has no quantity"))?,
                billing_period: period(&shown["billingPeriod"]),
                subscription_period: period(&shown["subscriptionPeriod"]),
            })
        }
        .boxed()
    }

    fn quantity(subscription: &Subscribed) -> u64 {
        subscription.quantity
    }

    fn find<'a>(
        &'a self,
        mapped: &'a Fields,
        number: &'a str,
    ) -> BoxFuture<'a, Result<Option<Order>, SendError>> {
        async move {
            let target = format!("/orders?customerId={}&", encoded(called(mapped, "far_customer")?));
            let is_ours = |row: &Value| row["poNumber"] == number;
            let rows = self.rows("the list of orders", &target, is_ours).await?;
            Ok(rows.iter().find(|row| is_ours(row)).map(order_of))
        }
        .boxed()
    }

    fn place<'a>(
        &'a self,
        wanted: Wanted<'a>,
        subscription: &'a Subscribed,
        number: &'a str,
    ) -> BoxFuture<'a, Result<Order, SendError>> {
        async move {
            let body = order_body(wanted.mapped, wanted.seats, number, subscription);
            let answer = self.call(Method::POST, "/orders", Some(&body)).await?;
            Ok(order_of(&inner(read("the order", &answer)?)))
        }
        .boxed()
    }

    fn order<'a>(&'a self, _: &'a Fields, id: &'a str) -> BoxFuture<'a, Result<Order, SendError>> {
        async move {
            let shown = self.get("the order", &format!("/orders/{}", encoded(id))).await?;
            Ok(order_of(&shown))
        }
        .boxed()
    }

    fn listed(&self) -> BoxFuture<'_, Result<Vec<FarSubscription>, SendError>> {
        self.subscribed().boxed()
    }
}

/// The order that has a mapped subscription's product changed to a quantity.
fn order_body(mapped: &Fields, seats: u64, number: &str, subscribed: &Subscribed) -> Value {
    let of = |column: &str| mapped.get(column).map(String::as_str).unwrap_or_default();
    json!({
        "type": "change",
        "customerId": of("far_customer"),
        "poNumber": number,
        "products": [{
            "subscriptionId": of("subscription"),
            "mpn": of("mpn"),
            "vendor": subscribed.vendor,
            "quantity": seats,
            "billingPeriod": subscribed.billing_period,
            "subscriptionPeriod": subscribed.subscription_period,
        }],
    })
}

fn order_of(shown: &Value) -> Order {
    let status = id(&shown["status"]);
    let progress = match status.as_str() {
        "completed" => Progress::Completed,
        "error" | "cancelled" => Progress::Failed,
        _ => Progress::UnderWay,
    };
    let (number, code) = (id(&shown["orderNumber"]), id(&shown["statusCode"]));
    let said = format!("order {number} {status} ({code})").replace(" ()", "");
    Order { id: id(&shown["id"]), progress, said }
}

/// What an answer holds: the spec shows it bare in one place, as `data` in another.
fn inner(mut answer: Value) -> Value {
    if answer["data"].is_object() { answer["data"].take() } else { answer }
}

/// A period with what an order takes of it.
fn period(shown: &Value) -> Value {
    json!({ "type": shown["type"], "duration": shown["duration"] })
}

#[cfg(test)]
mod tests;
