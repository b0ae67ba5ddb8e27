//! TD SYNNEX StreamOne Ion v3: orders that change quantities. Experimental: whether the vendor's products are there is
//! not known. Invariant: a refresh token is taken once, so the next one is durable before anything is done with the
//! access token that came with it; nothing can be suspended there.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response};
use seatbeat_ledger::mapping::Fields;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::call::SendError;
use super::connector::{FarSubscription, Tools};
use super::destination::{Column, Destination, DestinationError};
use super::far::{Session, Token, encoded, id, read, request, whole};
use super::marketplace::{Marketplace, Order, Progress};
use super::projection::{Outgoing, Projection, ProjectionError, ShownRequest};
use super::seats::{Takes, Wanted, called};

/// Where its maker has it.
const USUAL_URL: &str = "https://ion.tdsynnex.com";

/// What its mapping says; the ids of product, SKU and plan are the subscription's own.
pub const COLUMNS: [Column; 2] =
    [Column { name: "far_customer", is_needed: true }, Column { name: "subscription", is_needed: true }];

const NEEDED: [&str; 2] = ["far_customer", "subscription"];

/// Rows that a page is asked for; it may have fewer.
const PAGE_ROWS: u64 = 100;

/// Most pages of a list: more subscriptions, or orders of one customer, than these hold are read by nobody.
const PAGES_MAX: u64 = 500;

/// Quantities of orders are numbers of 32 bits there.
const QUANTITY_MAX: u64 = 0x7fff_ffff;

/// The marketplace.
pub struct TdSynnexIon {
    url: String,
    account: String,
    attributes: Vec<Value>,
    takes: Takes,
    session: Session,
    tools: Tools,
}

/// A subscription, with what an order says of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Subscribed {
    subscription_id: String,
    ccp_product_id: String,
    ccp_sku_id: String,
    ccp_plan_id: String,
    subscription_total_licenses: Value,
    #[serde(skip)]
    quantity: u64,
}

#[derive(Deserialize)]
struct Fresh {
    access_token: String,
    expires_in: u64,
    #[serde(default)]
    refresh_token: String,
}

impl TdSynnexIon {
    /// As configured: option `account` is the reseller's number there, `attributes` what its provisioning template
    /// asks for in each order (`name=value;name=value`).
    ///
    /// # Errors
    /// When the account is missing, or an attribute has no value.
    pub fn new(destination: &Destination, tools: Tools) -> Result<Self, DestinationError> {
        destination.only_options(&["account", "attributes"])?;
        let takes = Takes {
            most: QUANTITY_MAX,
            instead_of_none: "end it there",
            allow_decrease: destination.allow_decrease,
        };
        let account = encoded(destination.needed("account")?);
        let attributes = destination.option("attributes").unwrap_or_default().split(';');
        let attributes = attributes.map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| DestinationError::Value {
                option: "attributes",
                why: format!("has `{pair}`, which is not `name=value`"),
            })?;
            Ok(json!({ "name": name.trim(), "value": value.trim() }))
        });
        let attributes = attributes.collect::<Result<_, _>>()?;
        let url = destination.base_url(Some(USUAL_URL))?;
        Ok(Self { url, account, attributes, takes, session: Session::default(), tools })
    }

    /// A new access token for the refresh token, which is used up by that.
    async fn token(&self) -> Result<Token, SendError> {
        let secrets = &self.tools.secrets;
        let refresh = secrets.get("refresh_token").await?;
        let form = format!("grant_type=refresh_token&refresh_token={}", encoded(&refresh));
        let mut request = request(Method::POST, &format!("{}/oauth/token", self.url), None)?;
        *request.body_mut() = Bytes::from(form);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        let answer = self.tools.transport.call(request).await?;
        let fresh = read("the access token", &answer).map_err(|error| match error {
            SendError::Stop { why, .. } => SendError::stop(
                why,
                "a refresh token is taken once, within 32 days: get a new one in the portal of StreamOne Ion and give \
                 it as `refresh_token`",
            ),
            again => again,
        });
        let Fresh { access_token, expires_in, refresh_token } = fresh?;
        let access = Zeroizing::new(access_token);
        // Durable first: whoever dies behind this line has a token to go on with.
        if !refresh_token.is_empty() {
            secrets.put("refresh_token", Zeroizing::new(refresh_token)).await?;
        }
        Ok(Token { value: access, lasts_s: expires_in })
    }

    /// Sends a request below the reseller's account.
    async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Response<Bytes>, SendError> {
        let address = format!("{}/api/v3/accounts/{}{target}", self.url, self.account);
        let request = request(method, &address, body)?;
        self.session.ask(&self.tools, request, || self.token()).await
    }

    async fn subscribed(&self) -> Result<Vec<FarSubscription>, SendError> {
        let act = "the list of subscriptions";
        let mut listed: Vec<FarSubscription> = Vec::new();
        for _ in 0..PAGES_MAX {
            let offset = listed.len();
            // In one order, so that a page begins where the one before ended.
            let target = format!(
                "/subscriptions?pagination.limit={PAGE_ROWS}&pagination.offset={offset}&pagination.sortOrder=ASC"
            );
            let answer: Value = read(act, &self.call(Method::GET, &target, None).await?)?;
            let rows = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            listed.extend(rows.iter().map(far_subscription));
            let is_whole = whole(&answer["totalCount"]).is_some_and(|total| listed.len() as u64 >= total);
            if rows.is_empty() || is_whole {
                return Ok(listed);
            }
        }
        Err(SendError::stop(format!("{act} has more than {PAGES_MAX} pages"), "write the mapping by hand"))
    }

    fn order_body(&self, seats: u64, number: &str, subscribed: &Subscribed) -> Value {
        json!({
            "referenceId": number,
            "displayName": number,
            "orderItems": [{
                "referenceId": number,
                "action": "UPDATE",
                "resourceId": subscribed.subscription_id,
                "productId": subscribed.ccp_product_id,
                "skuId": subscribed.ccp_sku_id,
                "planId": subscribed.ccp_plan_id,
                "quantity": seats,
                "attributes": self.attributes,
            }],
        })
    }
}

impl Marketplace for TdSynnexIon {
    type Subscription = Subscribed;

    fn orders(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        let unknown = Subscribed {
            subscription_id: "{resourceId}".to_owned(),
            ccp_product_id: "{productId}".to_owned(),
            ccp_sku_id: "{skuId}".to_owned(),
            ccp_plan_id: "{planId}".to_owned(),
            ..Subscribed::default()
        };
        outgoing.seats_by_line(&NEEDED, |mapped, seats| {
            let customer = mapped.get("far_customer").map(|id| encoded(id)).unwrap_or_default();
            vec![ShownRequest {
                method: "POST".to_owned(),
                target: format!("{}/api/v3/accounts/{}/customers/{customer}/orders", self.url, self.account),
                body: self.order_body(seats, "{referenceId}", &unknown).to_string(),
            }]
        })
    }

    fn takes(&self) -> Takes {
        self.takes
    }

    fn subscription<'a>(&'a self, mapped: &'a Fields) -> BoxFuture<'a, Result<Subscribed, SendError>> {
        async {
            let target =
                format!("{}/subscriptions/{}", customer(mapped)?, encoded(called(mapped, "subscription")?));
            let act = "the subscription";
            let shown: Subscribed = read(act, &self.call(Method::GET, &target, None).await?)?;
            let quantity = whole(&shown.subscription_total_licenses)
                .ok_or_else(|| SendError::again("the subscription has no number of licences"))?;
            Ok(Subscribed { quantity, ..shown })
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
            let act = "the list of orders";
            let mut page = String::new();
            for _ in 0..PAGES_MAX {
                let target = format!("{}/orders?pageSize={PAGE_ROWS}{page}", customer(mapped)?);
                let answer: Value = read(act, &self.call(Method::GET, &target, None).await?)?;
                let mut rows = answer["orders"].as_array().into_iter().flatten();
                if let Some(row) = rows.find(|row| row["referenceId"] == number) {
                    return Ok(Some(order_of(row)));
                }
                let next = id(&answer["nextPageToken"]);
                if next.is_empty() {
                    return Ok(None);
                }
                page = format!("&pageToken={}", encoded(&next));
            }
            Err(SendError::stop(
                format!("{act} has more than {PAGES_MAX} pages"),
                "see what is ordered there",
            ))
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
            let target = format!("{}/orders", customer(wanted.mapped)?);
            let body = self.order_body(wanted.seats, number, subscription);
            let answer = self.call(Method::POST, &target, Some(&body)).await?;
            Ok(order_of(&read("the order", &answer)?))
        }
        .boxed()
    }

    fn order<'a>(&'a self, mapped: &'a Fields, id: &'a str) -> BoxFuture<'a, Result<Order, SendError>> {
        async move {
            let target = format!("{}/orders/{}", customer(mapped)?, encoded(id));
            let answer = self.call(Method::GET, &target, None).await?;
            Ok(order_of(&read("the order", &answer)?))
        }
        .boxed()
    }

    fn listed(&self) -> BoxFuture<'_, Result<Vec<FarSubscription>, SendError>> {
        self.subscribed().boxed()
    }
}

fn customer(mapped: &Fields) -> Result<String, SendError> {
    Ok(format!("/customers/{}", encoded(called(mapped, "far_customer")?)))
}

fn order_of(shown: &Value) -> Order {
    let status = id(&shown["status"]);
    let progress = match status.as_str() {
        "COMPLETED" => Progress::Completed,
        "ERROR" | "CANCELED" => Progress::Failed,
        _ => Progress::UnderWay,
    };
    let mut said = format!("order {} {status}", id(&shown["orderId"]));
    for error in shown["errors"].as_array().into_iter().flatten() {
        said.push_str("; ");
        said.push_str(&id(&error["detail"]));
    }
    Order { id: id(&shown["orderId"]), progress, said }
}

fn far_subscription(row: &Value) -> FarSubscription {
    let mapped = [("far_customer", id(&row["customerId"])), ("subscription", id(&row["id"]))];
    let mut product = vec![
        id(&row["subscriptionName"]),
        id(&row["ccpProductId"]),
        id(&row["ccpSkuId"]),
        id(&row["ccpPlanId"]),
    ];
    product.retain(|name| !name.is_empty());
    FarSubscription {
        mapped: mapped.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        customer: id(&row["customerName"]),
        product,
        quantity: whole(&row["subscriptionTotalLicenses"]),
    }
}

#[cfg(test)]
mod tests;
