//! Assets, and requests about them. Invariant: of an asset one request is open at a time, and an asset changes by an
//! approved one alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};

use super::{Connect, NOW, Refused, body, invalid, not_found, page};
use crate::{Verdict, json as answer};

/// What a customer has.
pub struct Asset {
    customer: String,
    parameter: (String, String),
    is_suspended: bool,
    /// Article numbers, and how many.
    pub items: Vec<(String, u64)>,
}

/// A request about an asset.
pub struct AssetRequest {
    id: String,
    asset: String,
    kind: String,
    status: &'static str,
    /// What is going to be decided.
    verdict: Verdict,
}

impl Asset {
    /// An active one, without items.
    pub fn new(customer: &str, parameter: (&str, &str)) -> Self {
        Self {
            customer: customer.to_owned(),
            parameter: (parameter.0.to_owned(), parameter.1.to_owned()),
            is_suspended: false,
            items: Vec::new(),
        }
    }

    fn shown(&self, id: &str, product: &str) -> Value {
        let items = self.items.iter().enumerate().map(|(index, (mpn, quantity))| {
            json!({ "id": format!("{product}-{:04}", index + 1), "mpn": mpn, "quantity": quantity })
        });
        let reference = |id: &str| json!({ "id": id, "name": id });
        json!({
            "id": id,
            "status": if self.is_suspended { "suspended" } else { "active" },
            "external_id": "10005",
            "external_uid": "1c378bdd-9c8a-4566-be8a-bd90a51aa42a",
            "product": { "id": product, "name": "Worry-Free" },
            "connection": {
                "id": "CT-0000-0000-0001", "type": "production", "provider": reference("PA-000-001"),
                "vendor": reference("VA-000-001"), "hub": reference("HB-0000-0001"),
            },
            "items": items.collect::<Vec<_>>(),
            // A list of lists, as the platform's document has it.
            "params": [[{ "id": self.parameter.0, "value": self.parameter.1, "type": "text" }]],
            "tiers": { "customer": { "name": self.customer } },
            "marketplace": reference("MP-00001"),
            "contract": reference("CRD-00000-00000-00001"),
        })
    }
}

impl AssetRequest {
    fn shown(&self) -> Value {
        let reason = if self.status == "failed" { "The distributor does not agree." } else { "" };
        json!({
            "id": self.id, "type": self.kind, "status": self.status, "reason": reason, "created": NOW,
            "updated": NOW, "asset": { "id": self.asset },
        })
    }
}

impl Connect {
    pub(super) fn list_assets(&self, query: &BTreeMap<String, String>) -> Response<Bytes> {
        let is_wanted = |(_, asset): &(&String, &Asset)| {
            let is = |name: &str, value: &str| query.get(name).is_none_or(|wanted| wanted == value);
            is("product.id", &self.product)
                && is("params.id", &asset.parameter.0)
                && is("params.value", &asset.parameter.1)
        };
        let wanted = self.assets.iter().filter(is_wanted);
        page(wanted.map(|(id, asset)| asset.shown(id, &self.product)).collect(), query)
    }

    pub(super) fn show_asset(&self, id: &str) -> Result<Response<Bytes>, Refused> {
        let asset = self.assets.get(id).ok_or_else(|| not_found(id))?;
        Ok(answer(200, &asset.shown(id, &self.product)))
    }

    pub(super) fn list_requests(&self, query: &BTreeMap<String, String>) -> Response<Bytes> {
        let is_wanted = |request: &&AssetRequest| {
            let is = |name: &str, value: &str| query.get(name).is_none_or(|wanted| wanted == value);
            is("asset.id", &request.asset) && is("type", &request.kind)
        };
        page(self.requests.iter().filter(is_wanted).map(AssetRequest::shown).collect(), query)
    }

    pub(super) fn make_request(&mut self, request: &Request<Bytes>) -> Result<Response<Bytes>, Refused> {
        let body = body(request)?;
        let (Some(kind), Some(id)) = (body["type"].as_str(), body["asset"]["id"].as_str()) else {
            return Err(invalid("type, asset: This field is required.".to_owned()));
        };
        let asset = self.assets.get(id).ok_or_else(|| invalid("asset: does not exist.".to_owned()))?;
        let is_possible = match kind {
            "suspend" => !asset.is_suspended,
            "resume" => asset.is_suspended,
            _ => return Err(invalid("type: is not a valid choice.".to_owned())),
        };
        let is_open = self.requests.iter().any(|request| request.asset == id && request.status == "pending");
        if is_open || !is_possible {
            return Err(invalid("asset: is not in a status that lets it be done.".to_owned()));
        }
        let made = AssetRequest {
            id: format!("PR-0000-0000-{:04}-001", self.requests.len() + 1),
            asset: id.to_owned(),
            kind: kind.to_owned(),
            status: "pending",
            verdict: self.verdicts.pop_front().unwrap_or(Verdict::Accept),
        };
        self.effects.push(format!("request {} {kind} {id}", made.id));
        let shown = made.shown();
        self.requests.push(made);
        Ok(answer(201, &shown))
    }

    pub(super) fn show_request(&mut self, id: &str) -> Result<Response<Bytes>, Refused> {
        let found = self.requests.iter_mut().find(|request| request.id == id);
        let request = found.ok_or_else(|| not_found(id))?;
        let shown = request.shown();
        if request.status == "pending" {
            let is_agreed = matches!(request.verdict, Verdict::Accept | Verdict::AcceptThenReject);
            request.status = if is_agreed { "approved" } else { "failed" };
            if let Some(asset) = self.assets.get_mut(&request.asset).filter(|_| is_agreed) {
                asset.is_suspended = request.kind == "suspend";
                self.effects.push(format!(
                    "asset {} {}ed",
                    request.asset,
                    request.kind.trim_end_matches('e')
                ));
            }
        }
        Ok(answer(200, &shown))
    }
}
