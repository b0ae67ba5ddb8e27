//! TD SYNNEX StreamOne Ion v3. Invariant: a refresh token is taken once; numbers of 64 bits are texts; an order's item
//! says all that the spec requires. That a subscription takes one order at a time is assumed: the spec is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use crate::orders::{Order, Orders, Progress, Subscription};
use crate::{Platform, Verdict, json as answer};

/// How long an access token lasts, in seconds.
const TOKEN_S: u64 = 7200;

/// Rows of a page, where more were asked for.
const PAGE_ROWS_MAX: usize = 2;

/// The admin portal, where a person gets a refresh token.
#[derive(Clone)]
pub struct Portal(Arc<Mutex<Tokens>>);

#[derive(Default)]
struct Tokens {
    issued: u32,
    /// The one that will be taken.
    refresh: String,
    access: BTreeSet<String>,
}

/// The marketplace.
pub struct Ion {
    tokens: Portal,
    account: String,
    orders: Orders,
}

impl Portal {
    /// A new refresh token, in place of the one before.
    pub fn refresh_token(&self) -> String {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.issued += 1;
        tokens.refresh = format!("refresh-{}", tokens.issued);
        tokens.refresh.clone()
    }

    /// The refresh token that will be taken.
    pub fn taken(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refresh.clone()
    }

    fn access_token(&self) -> String {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let token = format!("access-{}", tokens.issued);
        tokens.access.insert(token.clone());
        token
    }

    fn lets_in(&self, token: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).access.contains(token)
    }
}

impl Ion {
    /// Of a reseller's account; the portal gives out its tokens.
    pub fn new(account: &str) -> (Self, Portal) {
        let portal = Portal(Arc::default());
        (Self { tokens: portal.clone(), account: account.to_owned(), orders: Orders::default() }, portal)
    }

    /// With a subscription of a customer's to a product of that number; its SKU and plan are named after it.
    #[must_use]
    pub fn subscription(mut self, id: &str, customer: &str, product: &str, quantity: u64) -> Self {
        let article = BTreeMap::from([
            ("resourceId", format!("resource-{id}")),
            ("productId", product.to_owned()),
            ("skuId", format!("{product}-sku")),
            ("planId", format!("{product}-plan")),
        ]);
        let subscription = Subscription { customer: customer.to_owned(), article, quantity };
        self.orders.subscriptions.insert(id.to_owned(), subscription);
        self
    }

    fn token(&self, body: &[u8]) -> Response<Bytes> {
        let body = String::from_utf8_lossy(body);
        let form: BTreeMap<&str, &str> = body.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let is_taken = form.get("refresh_token").is_some_and(|token| **token == self.tokens.taken());
        if form.get("grant_type") != Some(&"refresh_token") || !is_taken {
            return answer(400, &json!({ "error": "cannot validate token: redis: nil" }));
        }
        let refresh = self.tokens.refresh_token();
        let access = self.tokens.access_token();
        let body = json!({
            "access_token": access, "expires_in": TOKEN_S, "refresh_token": refresh, "token_type": "Bearer",
        });
        answer(200, &body)
    }

    fn shown(&self, id: &str, subscription: &Subscription) -> Value {
        json!({
            "id": id,
            "customerId": subscription.customer,
            "resellerId": self.account,
            "subscriptionId": subscription.article["resourceId"],
            "subscriptionName": "Worry-Free Services",
            "ccpProductId": subscription.article["productId"],
            "ccpSkuId": subscription.article["skuId"],
            "ccpPlanId": subscription.article["planId"],
            "subscriptionTotalLicenses": subscription.quantity.to_string(),
            "unitType": "LICENSES",
            "subscriptionStatus": "ACTIVE",
            "customerName": format!("Customer {}", subscription.customer),
        })
    }

    fn subscriptions_listed(&self, query: &BTreeMap<String, String>) -> Response<Bytes> {
        let number =
            |name: &str, usual: usize| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(usual);
        let (offset, limit) = (number("pagination.offset", 0), number("pagination.limit", 100));
        let total = self.orders.subscriptions.len();
        let some = self.orders.subscriptions.iter().skip(offset).take(limit.min(PAGE_ROWS_MAX));
        let items: Vec<Value> = some.map(|(id, subscription)| self.shown(id, subscription)).collect();
        answer(200, &json!({ "totalCount": total.to_string(), "items": items }))
    }

    fn orders_listed(&self, customer: &str, query: &BTreeMap<String, String>) -> Response<Bytes> {
        let Some(size) = query.get("pageSize").and_then(|text| text.parse::<usize>().ok()) else {
            return refusal(
                400,
                "INVALID_REQUEST",
                "At least one of page_size and page_token must be present",
            );
        };
        let size = size.clamp(1, PAGE_ROWS_MAX);
        let first: usize = query.get("pageToken").and_then(|text| text.parse().ok()).unwrap_or(0);
        let all: Vec<&Order> = self.orders.orders.iter().filter(|order| order.customer == customer).collect();
        let some: Vec<Value> =
            all.iter().skip(first).take(size).map(|order| self.order_shown(order)).collect();
        let mut body = json!({ "orders": some });
        if first + size < all.len() {
            body["nextPageToken"] = json!((first + size).to_string());
        }
        answer(200, &body)
    }

    fn order_shown(&self, order: &Order) -> Value {
        let status = match order.progress {
            Progress::New => "NEW",
            Progress::Working => "IN_PROGRESS",
            Progress::Completed => "COMPLETED",
            Progress::Failed | Progress::FailedForNow => "ERROR",
        };
        let errors = match order.progress {
            Progress::Failed | Progress::FailedForNow => json!([{ "code": "X", "detail": "out of credit" }]),
            _ => json!([]),
        };
        json!({
            "name": format!("accounts/{}/customers/{}/orders/{}", self.account, order.customer, order.id),
            "accountId": self.account,
            "customerId": order.customer,
            "orderId": order.id,
            "referenceId": order.number,
            "status": status,
            "errors": errors,
        })
    }

    fn order(&mut self, customer: &str, body: &[u8]) -> Response<Bytes> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return refusal(400, "BAD_REQUEST", "the body is not JSON");
        };
        let Some([item]) = body["orderItems"].as_array().map(Vec::as_slice) else {
            return refusal(400, "BAD_REQUEST", "orderItems has one item");
        };
        for name in ["action", "productId", "skuId", "planId", "quantity", "attributes"] {
            if item[name].is_null() {
                let why = format!("The '{name}' attribute must be present in the 'order.orderItem' object.");
                return refusal(400, "BAD_REQUEST: Invalid provisioning data", &why);
            }
        }
        let Some(quantity @ 1..=0x7fff_ffff) = item["quantity"].as_u64() else {
            return refusal(400, "BAD_REQUEST", "quantity is not a positive number of 32 bits");
        };
        let is_attribute = |value: &Value| value["name"].is_string() && value["value"].is_string();
        if item["action"] != "UPDATE"
            || !item["attributes"].as_array().is_some_and(|all| all.iter().all(is_attribute))
        {
            return refusal(400, "BAD_REQUEST", "action is not UPDATE, or attributes are none");
        }
        let named =
            self.orders.subscriptions.iter().find(|(_, known)| {
                known.article.iter().all(|(name, value)| item[*name].as_str() == Some(value))
            });
        let Some(id) = named.map(|(id, _)| id.clone()) else {
            return refusal(
                400,
                "BAD_REQUEST",
                "resourceId, productId, skuId and planId are of no subscription",
            );
        };
        let number = body["referenceId"].as_str().unwrap_or_default().to_owned();
        match self.orders.place(customer, &number, &id, quantity).cloned() {
            Ok(order) => answer(200, &self.order_shown(&order)),
            Err(why) => refusal(400, "BAD_REQUEST", &why),
        }
    }
}

impl Platform for Ion {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let (method, path) = (request.method().clone(), request.uri().path());
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        if path == "/oauth/token" && method == Method::POST {
            if header("content-type") != "application/x-www-form-urlencoded" {
                return refusal(400, "BAD_REQUEST", "the body is no form");
            }
            return self.token(request.body());
        }
        if !header("authorization").strip_prefix("Bearer ").is_some_and(|token| self.tokens.lets_in(token)) {
            return refusal(401, "UNAUTHENTICATED", "the token is not valid");
        }
        let query: BTreeMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let ["api", "v3", "accounts", account, ref rest @ ..] = segments[..] else {
            return refusal(404, "NOT_FOUND", "there is no such call");
        };
        if account != self.account {
            return refusal(
                403,
                "PERMISSION_DENIED",
                &format!("permission denied to access accounts/{account}"),
            );
        }
        match (&method, rest) {
            (&Method::GET, ["subscriptions"]) => self.subscriptions_listed(&query),
            (&Method::GET, ["customers", customer, "subscriptions", id]) => {
                match self.orders.subscriptions.get(*id).filter(|known| known.customer == *customer) {
                    Some(subscription) => answer(200, &self.shown(id, subscription)),
                    None => refusal(404, "NOT_FOUND", "the subscription is not found"),
                }
            }
            (&Method::GET, ["customers", customer, "orders"]) => self.orders_listed(customer, &query),
            (&Method::POST, ["customers", customer, "orders"]) => self.order(customer, request.body()),
            (&Method::GET, ["customers", _, "orders", id]) => match self.orders.look_at(id).cloned() {
                Some(order) => answer(200, &self.order_shown(&order)),
                None => refusal(404, "NOT_FOUND", &format!("resource '{path}' not found")),
            },
            _ => refusal(404, "NOT_FOUND", "there is no such call"),
        }
    }

    fn effects(&self) -> Vec<String> {
        self.orders.effects()
    }

    fn decide(&mut self, verdict: Verdict) {
        self.orders.decide(verdict);
    }
}

fn refusal(status: u16, error: &str, message: &str) -> Response<Bytes> {
    answer(status, &json!({ "code": status, "error": error, "message": message }))
}
