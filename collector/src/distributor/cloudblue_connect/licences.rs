//! Assets there: which there are, how many of what they have, and requests that suspend and resume them. Invariant:
//! while a request of its kind is open, or has done what is wanted, no other is made; a receipt is of a request that was
//! approved.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::StatusCode;
use jiff::Timestamp;
use seatbeat_ledger::mapping::{Fields, Mapping};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::arm::{Arm, ArmError, Licence, Receipt, Step};
use super::super::call::SendError;
use super::super::connector::{FarSeats, FarSubscription};
use super::api::{Api, in_query, read};
use super::{ASSET, CloudblueConnect, ITEM, ITEM_CRITERIA};

/// An asset: what a customer has of a product.
#[derive(Debug, Clone, Deserialize)]
struct Asset {
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    product: Named,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default)]
    tiers: Tiers,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Named {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Tiers {
    #[serde(default)]
    customer: Named,
}

/// How many of something an asset has.
#[derive(Debug, Clone, Deserialize)]
struct Item {
    id: String,
    #[serde(default)]
    local_id: Option<String>,
    #[serde(default)]
    mpn: Option<String>,
    #[serde(default)]
    display_name: Option<String>,
    /// A number, or one as text; `unlimited` where there is no limit.
    #[serde(default)]
    quantity: Value,
}

/// A request about an asset.
#[derive(Debug, Clone, Deserialize)]
struct AssetRequest {
    id: String,
    #[serde(default)]
    status: RequestStatus,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    updated: Option<String>,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RequestStatus {
    Approved,
    Failed,
    Revoked,
    /// On its way, by whatever name.
    #[default]
    #[serde(other)]
    Open,
}

impl Item {
    fn quantity(&self) -> Option<u64> {
        match &self.quantity {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn is_called(&self, name: &str) -> bool {
        [Some(&self.id), self.local_id.as_ref(), self.mpn.as_ref()].into_iter().flatten().any(|id| id == name)
    }
}

impl Asset {
    /// Parameters come in a list, or in lists of one, depending on where they are asked for.
    fn parameter(&self, name: &str) -> Option<&str> {
        let flat = self.params.iter().flat_map(|param| match param {
            Value::Array(params) => params.as_slice(),
            one => std::slice::from_ref(one),
        });
        let mut named = flat.filter(|param| param["id"] == name);
        named.find_map(|param| param["value"].as_str())
    }
}

impl CloudblueConnect {
    /// Assets that are in force, or are suspended.
    async fn assets(&self) -> Result<Vec<Asset>, SendError> {
        let path = format!("/assets?product.id={}", in_query(&self.product));
        let all: Vec<Asset> = self.api.list("the list of assets", &path).await?;
        Ok(all.into_iter().filter(|asset| matches!(asset.status.as_str(), "active" | "suspended")).collect())
    }

    /// What a row of the mapping calls an asset.
    fn called<'a>(&self, asset: &'a Asset) -> Option<&'a str> {
        match &self.asset_parameter {
            Some(name) => asset.parameter(name),
            None => Some(&asset.id),
        }
    }

    /// What is on the platform's books now: it keeps none of months that are over.
    pub(super) async fn far_seats(&self, mapping: &Mapping) -> Result<Vec<FarSeats>, SendError> {
        let mut all = Vec::new();
        for asset in self.assets().await? {
            let called = self.called(&asset);
            for item in &asset.items {
                let is_this = |fields: &Fields| {
                    fields.get(ASSET).is_some_and(|name| Some(name.as_str()) == called)
                        && fields.get(ITEM).is_some_and(|name| item.is_called(name))
                };
                let line = mapping.iter().find(|(_, fields)| is_this(fields)).map(|(line, _)| line.clone());
                let provisioned = item.quantity();
                all.push(FarSeats {
                    line,
                    called: format!("{}/{}", asset.id, item.id),
                    provisioned,
                    used: None,
                });
            }
        }
        Ok(all)
    }

    /// What a mapping can name.
    pub(super) async fn far_subscriptions(&self) -> Result<Vec<FarSubscription>, SendError> {
        let mut all = Vec::new();
        for asset in self.assets().await? {
            let Some(called) = self.called(&asset) else { continue };
            for item in &asset.items {
                let (criteria, name) = match &item.mpn {
                    Some(mpn) => ("item.mpn", mpn),
                    None => ("item.local_id", item.local_id.as_ref().unwrap_or(&item.id)),
                };
                let fields = [(ASSET, called), (ITEM, name.as_str()), (ITEM_CRITERIA, criteria)];
                let words = [&asset.product.name, &item.display_name, &item.mpn, &item.local_id];
                all.push(FarSubscription {
                    mapped: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                    customer: asset.tiers.customer.name.clone().unwrap_or_default(),
                    product: words.into_iter().flatten().cloned().collect(),
                    quantity: item.quantity(),
                });
            }
        }
        Ok(all)
    }

    /// The asset that a licence is.
    async fn asset_of(&self, licence: &Licence) -> Result<Asset, SendError> {
        let Some(called) = licence.mapped.get(ASSET) else {
            let (customer, sku) = (&licence.customer, &licence.sku);
            return Err(SendError::stop(
                format!("customer `{customer}`, SKU `{sku}`: not mapped: {ASSET} missing"),
                "map it: `seatbeat mapping set`",
            ));
        };
        let Some(parameter) = &self.asset_parameter else {
            return self.api.get("the asset", &format!("/assets/{}", in_query(called))).await;
        };
        let path = format!(
            "/assets?product.id={}&params.id={}&params.value={}",
            in_query(&self.product),
            in_query(parameter),
            in_query(called)
        );
        let found: Vec<Asset> = self.api.list("the list of assets", &path).await?;
        // The filters look at any parameter each; both have to hold of one.
        let mut assets =
            found.into_iter().filter(|asset| asset.parameter(parameter) == Some(called.as_str()));
        match (assets.next(), assets.next()) {
            (Some(asset), None) => Ok(asset),
            (found, _) => {
                let how_many = if found.is_some() { "more than one asset" } else { "no asset" };
                Err(SendError::stop(
                    format!("{how_many} has `{parameter}` = `{called}`"),
                    "mend the mapping's `asset`, or the destination's `asset_parameter`",
                ))
            }
        }
    }

    async fn carried_out(&self, step: Step, licence: &Licence) -> Result<Receipt, ArmError> {
        let asset = self.asset_of(licence).await.map_err(arm_error)?;
        let made = match self.standing(step, &asset).await.map_err(arm_error)? {
            Some(standing) => standing,
            None => self.request(step, &asset).await.map_err(arm_error)?,
        };
        // Whatever was just made may be approved already.
        let path = format!("/requests/{}", in_query(&made.id));
        let now: AssetRequest = self.api.get("the request", &path).await.map_err(arm_error)?;
        match now.status {
            RequestStatus::Approved => Ok(receipt(&self.api, now)),
            RequestStatus::Open => Err(ArmError::NoAnswer {
                arm: self.name(),
                why: format!("request `{}` is there and not approved yet", now.id),
            }),
            RequestStatus::Failed | RequestStatus::Revoked => Err(ArmError::Refused {
                arm: self.name(),
                why: format!(
                    "request `{}`: {}",
                    now.id,
                    now.reason.unwrap_or_else(|| "no reason".to_owned())
                ),
                hint: "settle it with the distributor, then ask again".to_owned(),
            }),
        }
    }

    /// A request that is on its way or, where the asset is as it is wanted, the newest one that made it so.
    async fn standing(&self, step: Step, asset: &Asset) -> Result<Option<AssetRequest>, SendError> {
        let path = format!("/requests?asset.id={}&type={}", in_query(&asset.id), step.name());
        let all: Vec<AssetRequest> = self.api.list("the list of requests", &path).await?;
        let is_done = asset.status == if step == Step::Suspend { "suspended" } else { "active" };
        let newest = |status| {
            let of_status = all.iter().filter(|request| request.status == status);
            of_status.max_by_key(|request| (request.updated.clone(), request.id.clone())).cloned()
        };
        Ok(newest(RequestStatus::Open).or_else(|| newest(RequestStatus::Approved).filter(|_| is_done)))
    }

    async fn request(&self, step: Step, asset: &Asset) -> Result<AssetRequest, SendError> {
        let body = json!({ "type": step.name(), "asset": { "id": asset.id } });
        let answer = self.api.post("/requests", Some(&body)).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::CREATED => read("the request", &answer),
            _ => Err(SendError::of("the request", &answer)),
        }
    }
}

fn receipt(api: &Api, request: AssetRequest) -> Receipt {
    let now = api.now();
    // The platform writes UTC, with an offset or without one.
    let instant =
        |text: &str| -> Option<Timestamp> { text.parse().or_else(|_| format!("{text}Z").parse()).ok() };
    let at = request.updated.as_deref().and_then(instant).map_or(now, |at| at.min(now));
    Receipt { id: request.id, at }
}

fn arm_error(error: SendError) -> ArmError {
    let arm = super::NAME;
    match error {
        SendError::Again { why, .. } => ArmError::NoAnswer { arm, why },
        SendError::Stop { why, hint } => ArmError::Refused { arm, why, hint },
    }
}

impl Arm for CloudblueConnect {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn act<'a>(
        &'a self,
        step: Step,
        licence: &'a Licence,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Receipt, ArmError>> {
        self.carried_out(step, licence).boxed()
    }
}
