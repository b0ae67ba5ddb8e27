//! A CloudBlue Commerce marketplace by its SimpleAPI 1.15. Invariant: each call has the gateway's subscription key and,
//! but for the one that gives it out, a token; an order says all that the spec lists for a change of quantity. That a
//! subscription takes one order at a time, and no error has a body of a known shape, is assumed: the spec is silent.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use crate::orders::{Order, Orders, Progress, Subscription};
use crate::{Platform, Verdict, json as answer};

/// How long a token lasts, in seconds: as the spec's example.
const TOKEN_S: u64 = 1500;

/// The marketplace.
pub struct SimpleApi {
    /// Of who asks, for the gateway.
    subscription_key: String,
    /// `user:password`.
    login: String,
    marketplace: String,
    tokens: BTreeSet<String>,
    /// Requests a token lasts for; it is refused from then on.
    token_uses: u32,
    uses: BTreeMap<String, u32>,
    orders: Orders,
}

impl SimpleApi {
    /// Lets in who has these.
    pub fn new(subscription_key: &str, user: &str, password: &str, marketplace: &str) -> Self {
        Self {
            subscription_key: subscription_key.to_owned(),
            login: format!("{user}:{password}"),
            marketplace: marketplace.to_owned(),
            tokens: BTreeSet::new(),
            token_uses: u32::MAX,
            uses: BTreeMap::new(),
            orders: Orders::default(),
        }
    }

    /// Tokens are refused after so many requests.
    #[must_use]
    pub fn token_uses(mut self, uses: u32) -> Self {
        self.token_uses = uses;
        self
    }

    /// With a subscription of a customer's to one product.
    #[must_use]
    pub fn subscription(mut self, id: &str, customer: &str, mpn: &str, vendor: &str, quantity: u64) -> Self {
        let article = BTreeMap::from([("mpn", mpn.to_owned()), ("vendor", vendor.to_owned())]);
        let subscription = Subscription { customer: customer.to_owned(), article, quantity };
        self.orders.subscriptions.insert(id.to_owned(), subscription);
        self
    }

    fn token(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let basic = format!("Basic {}", STANDARD.encode(&self.login));
        if header(request, "authorization") != basic {
            return refusal(401, "wrong user or password");
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        if body["marketplace"] != self.marketplace.as_str() {
            return refusal(400, "unknown marketplace");
        }
        let token = format!("token-{}", self.tokens.len() + 1);
        self.tokens.insert(token.clone());
        answer(200, &json!({ "token": token, "expiresInSeconds": TOKEN_S }))
    }

    fn is_let_in(&mut self, request: &Request<Bytes>) -> bool {
        let Some(token) = header(request, "authorization").strip_prefix("Bearer ").map(str::to_owned) else {
            return false;
        };
        let uses = self.uses.entry(token.clone()).or_default();
        *uses += 1;
        *uses <= self.token_uses && self.tokens.contains(&token)
    }

    fn subscription_shown(&self, id: &str) -> Response<Bytes> {
        let Some(subscription) = self.orders.subscriptions.get(id) else {
            return refusal(404, "the subscription is not found");
        };
        answer(200, &shown(id, subscription))
    }

    fn subscriptions_listed(&self, query: &BTreeMap<String, String>) -> Response<Bytes> {
        let rows = self
            .orders
            .subscriptions
            .iter()
            .filter(|(_, known)| query.get("customerId").is_none_or(|customer| *customer == known.customer))
            .map(|(id, known)| {
                let mut row = shown(id, known);
                // Products are told of one subscription only.
                row.as_object_mut().expect("it is one").remove("products");
                row
            });
        page(query, rows.collect())
    }

    fn customers_listed(&self, query: &BTreeMap<String, String>) -> Response<Bytes> {
        let customers: BTreeSet<&String> =
            self.orders.subscriptions.values().map(|subscription| &subscription.customer).collect();
        let rows = customers.iter().map(|id| json!({ "id": id, "name": format!("Customer {id}") }));
        page(query, rows.collect())
    }

    fn orders_listed(&self, query: &BTreeMap<String, String>) -> Response<Bytes> {
        let rows = self
            .orders
            .orders
            .iter()
            .rev()
            .filter(|order| query.get("customerId").is_none_or(|customer| *customer == order.customer))
            .map(order_shown);
        page(query, rows.collect())
    }

    fn order(&mut self, body: &[u8]) -> Response<Bytes> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return refusal(400, "the body is not JSON");
        };
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let (Some(customer), Some(number)) = (text(&body["customerId"]), text(&body["poNumber"])) else {
            return refusal(400, "customerId and poNumber are required");
        };
        if body["type"] != "change" {
            return refusal(400, "type is not `change`");
        }
        let Some([product]) = body["products"].as_array().map(Vec::as_slice) else {
            return refusal(400, "products has one product");
        };
        let is_period = |value: &Value| {
            matches!(value["type"].as_str(), Some("day" | "month" | "year" | "statement_day"))
                && value["duration"].as_u64().is_some_and(|duration| duration > 0)
        };
        if !is_period(&product["billingPeriod"]) || !is_period(&product["subscriptionPeriod"]) {
            return refusal(400, "billingPeriod and subscriptionPeriod are required");
        }
        let Some(quantity @ 1..) = product["quantity"].as_u64() else {
            return refusal(400, "quantity is not a positive whole number");
        };
        let id = text(&product["subscriptionId"]).unwrap_or_default();
        let is_of = self.orders.subscriptions.get(&id).is_some_and(|known| {
            known.article.iter().all(|(name, value)| product[*name].as_str() == Some(value))
        });
        if !is_of {
            return refusal(400, "mpn and vendor are not of the subscription's product");
        }
        match self.orders.place(&customer, &number, &id, quantity) {
            Ok(order) => answer(200, &order_shown(order)),
            Err(why) => refusal(400, &why),
        }
    }
}

impl Platform for SimpleApi {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        if header(request, "x-subscription-key") != self.subscription_key {
            return refusal(401, "the subscription key is unknown");
        }
        let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let query = query(request);
        let method = request.method().clone();
        if let (&Method::POST, ["token"]) = (&method, &segments[..]) {
            return self.token(request);
        }
        if !self.is_let_in(request) {
            return refusal(401, "the token is not valid");
        }
        match (&method, &segments[..]) {
            (&Method::GET, ["customers"]) => self.customers_listed(&query),
            (&Method::GET, ["subscriptions"]) => self.subscriptions_listed(&query),
            (&Method::GET, ["subscriptions", id]) => self.subscription_shown(id),
            (&Method::GET, ["orders"]) => self.orders_listed(&query),
            (&Method::POST, ["orders"]) => self.order(request.body()),
            (&Method::GET, ["orders", id]) => match self.orders.look_at(id) {
                Some(order) => answer(200, &order_shown(order)),
                None => refusal(404, "the order is not found"),
            },
            _ => refusal(404, "there is no such call"),
        }
    }

    fn effects(&self) -> Vec<String> {
        self.orders.effects()
    }

    fn decide(&mut self, verdict: Verdict) {
        self.orders.decide(verdict);
    }
}

fn shown(id: &str, subscription: &Subscription) -> Value {
    json!({
        "id": id,
        "name": format!("Subscription {id}"),
        "customerId": subscription.customer,
        "status": "active",
        "billingPeriod": { "type": "month", "duration": 1 },
        "subscriptionPeriod": { "type": "year", "duration": 1 },
        "products": [{
            "mpn": subscription.article["mpn"],
            "vendor": subscription.article["vendor"],
            "id": "1",
            "quantity": subscription.quantity,
            "name": "Worry-Free Services",
        }],
    })
}

fn order_shown(order: &Order) -> Value {
    let status = match order.progress {
        Progress::New => "submitted",
        Progress::Working => "processing",
        Progress::Completed => "completed",
        Progress::Failed | Progress::FailedForNow => "error",
    };
    json!({
        "id": order.id,
        "orderNumber": format!("SO{}", order.id),
        "type": "change",
        "customerId": order.customer,
        "poNumber": order.number,
        "status": status,
        "statusCode": "XX",
    })
}

/// A page of rows, by what the query says of offset and limit.
fn page(query: &BTreeMap<String, String>, rows: Vec<Value>) -> Response<Bytes> {
    let number = |name: &str, usual: usize| query.get(name).map_or(Some(usual), |text| text.parse().ok());
    let (Some(offset), Some(limit @ 1..)) = (number("offset", 0), number("limit", 10)) else {
        return refusal(400, "offset and limit are numbers");
    };
    let total = rows.len();
    let some: Vec<Value> = rows.into_iter().skip(offset).take(limit).collect();
    answer(200, &json!({ "data": some, "pagination": { "offset": offset, "limit": limit, "total": total } }))
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn query(request: &Request<Bytes>) -> BTreeMap<String, String> {
    let pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn refusal(status: u16, message: &str) -> Response<Bytes> {
    answer(status, &json!({ "message": message }))
}
