//! The vendor's Licensing Management Platform. Invariant: each request is signed, by the clock of who asks within a
//! quarter of an hour of this one's where it has one; units are set at once; a suspended subscription takes no change.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{Method, Request, Response};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{Platform, Verdict, json as answer};

/// Farthest that the clock of who asks may be off, in seconds.
const SKEW_MAX_S: i64 = 15 * 60;

/// A subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Whose.
    pub customer: String,
    /// Of which service plan.
    pub plan: String,
    /// How many.
    pub units: u64,
    /// Whether it goes on at its end; one that does not cannot be suspended.
    pub is_auto_renewal: bool,
    /// When its licence ends.
    pub ends: String,
}

/// The platform.
pub struct Lmpi {
    access_token: String,
    secret_key: String,
    /// Its clock, in seconds since 1970; none: it takes any.
    posix_s: Option<i64>,
    /// Names by ids.
    customers: BTreeMap<String, String>,
    subscriptions: BTreeMap<String, Subscription>,
    verdicts: VecDeque<Verdict>,
    effects: Vec<String>,
}

/// When a subscription ends that goes on and on.
const FAR_OFF: &str = "2099-01-01T00:00:00Z";

/// When one ended that was suspended.
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

impl Lmpi {
    /// Lets in who has these.
    pub fn new(access_token: &str, secret_key: &str) -> Self {
        Self {
            access_token: access_token.to_owned(),
            secret_key: secret_key.to_owned(),
            posix_s: None,
            customers: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            verdicts: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// With a clock.
    #[must_use]
    pub fn at(mut self, posix_s: i64) -> Self {
        self.posix_s = Some(posix_s);
        self
    }

    /// With a customer.
    #[must_use]
    pub fn customer(mut self, id: &str, name: &str) -> Self {
        self.customers.insert(id.to_owned(), name.to_owned());
        self
    }

    /// With a subscription of a customer's, that goes on.
    #[must_use]
    pub fn subscription(mut self, id: &str, customer: &str, plan: &str, units: u64) -> Self {
        let subscription = Subscription {
            customer: customer.to_owned(),
            plan: plan.to_owned(),
            units,
            is_auto_renewal: true,
            ends: FAR_OFF.to_owned(),
        };
        self.subscriptions.insert(id.to_owned(), subscription);
        self
    }

    fn is_let_in(&self, request: &Request<Bytes>) -> bool {
        let header =
            |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let posix = header("x-posix-time");
        let Ok(posix_s) = posix.parse::<i64>() else { return false };
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret_key.as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(format!("{posix}{}{target}", request.method()).as_bytes());
        if !request.body().is_empty() {
            mac.update(STANDARD.encode(Md5::digest(request.body())).as_bytes());
        }
        header("x-access-token") == self.access_token
            && header("x-signature") == STANDARD.encode(mac.finalize().into_bytes())
            && header("content-type") == "application/json; charset=utf-8"
            && header("x-traceid").len() == 36
            && posix.len() <= 10
            && self.posix_s.is_none_or(|now| now.abs_diff(posix_s) <= SKEW_MAX_S.unsigned_abs())
    }

    fn show(&self, id: &str) -> Value {
        let subscription = &self.subscriptions[id];
        json!({
            "subscription_id": id,
            "name": subscription.plan,
            "enabled": subscription.ends == FAR_OFF,
            "is_auto_renewal": subscription.is_auto_renewal,
            "auto_renewal_month": u8::from(subscription.is_auto_renewal),
            "service_url": "https://clp.example/Dashboard",
            "expiration_notification": 30,
            "licenses": [{
                "ac_code": "WF-XXXX",
                "product_id": "WFSBWXE3X",
                "license_start_date": "2019-01-01T00:00:00Z",
                "license_expiration_date": subscription.ends,
                "start_charge_date": "2019-01-01T00:00:00Z",
                "grace_period": 1,
                "units": subscription.units,
                "enabled": true,
            }],
        })
    }

    fn set_units(&mut self, id: &str, body: &[u8]) -> Response<Bytes> {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return refusal(400, "the body is not JSON");
        };
        let Some(units) = body["units_per_license"].as_u64().filter(|units| (1..=999_999).contains(units))
        else {
            return refusal(400, "units_per_license must be a positive integer (1-999,999)");
        };
        if matches!(self.verdicts.pop_front(), Some(Verdict::Reject | Verdict::RejectThenAccept)) {
            return refusal(400, "The subscription cannot be updated.");
        }
        let Some(subscription) = self.subscriptions.get_mut(id) else {
            return refusal(404, "unknown subscription");
        };
        if subscription.ends != FAR_OFF {
            return refusal(400, "The subscription is suspended.");
        }
        if subscription.units != units {
            self.effects.push(format!("subscription {id}: {} to {units} units", subscription.units));
            subscription.units = units;
        }
        answer(200, &self.show(id))
    }

    fn suspend(&mut self, id: &str) -> Response<Bytes> {
        let Some(subscription) = self.subscriptions.get_mut(id) else {
            return refusal(404, "unknown subscription");
        };
        if !subscription.is_auto_renewal {
            return refusal(400, "Subscriptions with auto-renewal disabled cannot be suspended.");
        }
        subscription.is_auto_renewal = false;
        subscription.ends = LONG_AGO.to_owned();
        self.effects.push(format!("subscription {id} suspended"));
        Response::new(Bytes::new())
    }

    fn unsuspend(&mut self, id: &str) -> Response<Bytes> {
        let Some(subscription) = self.subscriptions.get_mut(id) else {
            return refusal(404, "unknown subscription");
        };
        if subscription.ends == FAR_OFF {
            return refusal(400, "The subscription is not suspended.");
        }
        subscription.is_auto_renewal = true;
        subscription.ends = FAR_OFF.to_owned();
        self.effects.push(format!("subscription {id} unsuspended"));
        Response::new(Bytes::new())
    }

    fn report(&self, body: &[u8]) -> Response<Bytes> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (year, month) = (body["report_cycle_year"].as_str(), body["report_cycle_month"].as_str());
        if year.is_none_or(|year| year.len() != 4) || month.is_none_or(|month| month.len() != 2) {
            return refusal(400, "report_cycle_year and report_cycle_month are required");
        }
        let rows = self.subscriptions.values().map(|subscription| {
            json!({
                "customer": self.customers.get(&subscription.customer),
                "city": "",
                "state": "",
                "owned_by_vendor": "Reseller",
                "created_by_vendor": "Reseller",
                "product_name": "Worry-Free Services",
                "service_plan": subscription.plan,
                "provisioned": subscription.units,
                "used": null,
                "unit": "Seats",
            })
        });
        answer(200, &json!({ "summary": rows.collect::<Vec<_>>() }))
    }

    /// A page of rows, by the number and length in the query.
    fn page(&self, query: &str, name: &str, rows: Vec<Value>) -> Response<Bytes> {
        let asked: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if !asked.contains_key("created_start") || !asked.contains_key("created_end") {
            return refusal(400, "created_start and created_end are required");
        }
        let number = |name: &str, usual: usize| asked.get(name).map_or(Some(usual), |text| text.parse().ok());
        let (Some(page @ 1..), Some(limit @ 1..=100)) = (number("page", 1), number("limit", 25)) else {
            return refusal(400, "page and limit are positive, limit is 100 at most");
        };
        let total = rows.len();
        let some: Vec<Value> = rows.into_iter().skip((page - 1) * limit).take(limit).collect();
        let mut body = json!({ "paging": { "total": total, "limit": limit, "page": page } });
        body[name] = Value::Array(some);
        answer(200, &body)
    }

    fn listed(&self, path: &str, query: &str) -> Option<Response<Bytes>> {
        Some(match path {
            "/LMPI/v3/customers" => {
                let rows = self.customers.iter().map(|(id, name)| json!({ "customer_id": id, "name": name }));
                self.page(query, "customers", rows.collect())
            }
            "/LMPI/v2.5/customers/subscriptions" => {
                let rows = self.subscriptions.iter().map(|(id, subscription)| {
                    json!({
                        "subscription_id": id,
                        "name": subscription.plan,
                        "enabled": true,
                        "is_auto_renewal": subscription.is_auto_renewal,
                        "auto_renewal_month": 1,
                        "service_plan_id": format!("plan of {}", subscription.plan),
                        "customer_id": subscription.customer,
                    })
                });
                self.page(query, "subscriptions", rows.collect())
            }
            "/LMPI/v2/me/serviceplans" => {
                let plans: BTreeMap<&str, Value> = self
                    .subscriptions
                    .values()
                    .map(|subscription| {
                        let plan = subscription.plan.as_str();
                        let id = format!("plan of {plan}");
                        let row = json!({
                            "service_plan_id": id, "name": plan, "product": "Worry-Free Services",
                            "product_code": "WFSBWXE3X", "version": "full",
                        });
                        (plan, row)
                    })
                    .collect();
                answer(200, &plans.into_values().collect())
            }
            _ => return None,
        })
    }
}

impl Platform for Lmpi {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        if !self.is_let_in(request) {
            return refusal(401, "The request is not signed as it should be.");
        }
        let path = request.uri().path();
        if request.method() == Method::GET
            && let Some(listed) = self.listed(path, request.uri().query().unwrap_or_default())
        {
            return listed;
        }
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (method, body) = (request.method(), request.body());
        let owns = |customer: &str, id: &str| {
            self.subscriptions.get(id).is_some_and(|subscription| subscription.customer == customer)
        };
        match segments[..] {
            ["LMPI", "v3", "reports", "summary"] if method == Method::POST => self.report(body),
            ["LMPI", version, "customers", customer, "subscriptions", id, ref act @ ..] => {
                if !owns(customer, id) {
                    return refusal(404, "The subscription does not exist.");
                }
                match (method, version, act) {
                    (&Method::GET, "v3", []) => answer(200, &self.show(id)),
                    (&Method::PUT, "v2", []) => self.set_units(id, body),
                    (&Method::PUT, "v3", ["suspend"]) => self.suspend(id),
                    (&Method::PUT, "v3", ["unsuspend"]) => self.unsuspend(id),
                    _ => refusal(404, "There is no such call."),
                }
            }
            _ => refusal(404, "There is no such call."),
        }
    }

    fn effects(&self) -> Vec<String> {
        self.effects.clone()
    }

    fn decide(&mut self, verdict: Verdict) {
        self.verdicts.push_back(verdict);
    }
}

fn refusal(status: u16, message: &str) -> Response<Bytes> {
    answer(status, &json!({ "error_subject": "Bad request", "error_message": message }))
}
