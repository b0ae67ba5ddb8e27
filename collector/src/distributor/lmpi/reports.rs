//! What the platform has on its own books. Invariant: a row that the mapping does not name is shown by its names there,
//! not guessed; lists are read to their end or not at all.

use std::collections::BTreeMap;

use http::Method;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::mapping::{Fields, Mapping};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::call::SendError;
use super::super::connector::{FarSeats, FarSubscription};
use super::super::far::{encoded, id, read, whole};
use super::Lmpi;

/// Rows of a page: the most that it gives.
const PAGE_ROWS: u64 = 100;

/// Most pages of a list: a reseller with more customers than these hold is none of ours.
const PAGES_MAX: u64 = 500;

/// Nothing is older there.
const FIRST_DAY: &str = "2000-01-01T00:00:00Z";

#[derive(Deserialize)]
struct Summary {
    summary: Vec<SummaryRow>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct SummaryRow {
    customer: String,
    product_name: String,
    service_plan: String,
    provisioned: Value,
    used: Value,
}

impl Lmpi {
    /// The report of a month, by customer and service plan.
    pub(super) async fn summary(
        &self,
        period: Period,
        mapping: &Mapping,
    ) -> Result<Vec<FarSeats>, SendError> {
        let period = period.to_string();
        let (year, month) = period.split_once('-').unwrap_or((&period, ""));
        let body = json!({ "report_cycle_year": year, "report_cycle_month": month });
        let answer = self.call(Method::POST, "/LMPI/v3/reports/summary", Some(&body), None).await?;
        let Summary { summary } = read("the month's report", &answer)?;
        let name = |fields: &Fields, column: &str| fields.get(column).map(|name| name.trim().to_lowercase());
        let mut lines = BTreeMap::new();
        for (line, fields) in mapping {
            if let (Some(customer), Some(plan)) =
                (name(fields, "customer_name"), name(fields, "service_plan"))
            {
                // Names that two lines share name neither of them.
                lines.entry((customer, plan)).and_modify(|known| *known = None).or_insert(Some(line.clone()));
            }
        }
        let named = |row: &SummaryRow| {
            let names = (row.customer.trim().to_lowercase(), row.service_plan.trim().to_lowercase());
            lines.get(&names).cloned().flatten()
        };
        let rows = summary.into_iter().map(|row| FarSeats {
            line: named(&row),
            called: [&row.customer, &row.product_name, &row.service_plan]
                .map(|name| name.trim())
                .into_iter()
                .filter(|name| !name.is_empty())
                .collect::<Vec<_>>()
                .join(" / "),
            provisioned: whole(&row.provisioned),
            used: whole(&row.used),
        });
        Ok(rows.collect())
    }

    /// All subscriptions, with what their customers and plans are called.
    pub(super) async fn listed(&self) -> Result<Vec<FarSubscription>, SendError> {
        let plans: Vec<Value> = self.get("the service plans", "/LMPI/v2/me/serviceplans").await?;
        let plans = by_id(&plans, "service_plan_id");
        let customers = self.pages("/LMPI/v3/customers", "customers").await?;
        let customers = by_id(&customers, "customer_id");
        let subscriptions = self.pages("/LMPI/v2.5/customers/subscriptions", "subscriptions").await?;
        let listed = subscriptions.iter().map(|subscription| {
            let of = |rows: &BTreeMap<String, &Value>, column: &str, field: &str| {
                rows.get(&id(&subscription[column])).map(|row| id(&row[field])).unwrap_or_default()
            };
            let customer = of(&customers, "customer_id", "name");
            let plan = of(&plans, "service_plan_id", "name");
            let mapped = [
                ("far_customer", id(&subscription["customer_id"])),
                ("subscription", id(&subscription["subscription_id"])),
                ("customer_name", customer.clone()),
                ("service_plan", plan.clone()),
            ];
            let mut product = vec![
                id(&subscription["name"]),
                plan,
                of(&plans, "service_plan_id", "product"),
                of(&plans, "service_plan_id", "product_code"),
            ];
            product.retain(|name| !name.is_empty());
            product.dedup();
            let mapped = mapped
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.to_owned(), value));
            FarSubscription { mapped: mapped.collect(), customer, product, quantity: None }
        });
        Ok(listed.collect())
    }

    async fn pages(&self, path: &str, rows: &str) -> Result<Vec<Value>, SendError> {
        let until = self.tools.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let act = format!("the list of {rows}");
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let target = format!(
                "{path}?created_start={}&created_end={}&page={page}&limit={PAGE_ROWS}",
                encoded(FIRST_DAY),
                encoded(&until)
            );
            let mut answer: Value = self.get(&act, &target).await?;
            let total = whole(&answer["paging"]["total"]);
            let Value::Array(some) = answer[rows].take() else {
                return Err(SendError::again(format!("{act}: the answer has no `{rows}`")));
            };
            let is_last = some.is_empty() || total.is_some_and(|total| page * PAGE_ROWS >= total);
            all.extend(some);
            if is_last {
                return Ok(all);
            }
        }
        Err(SendError::stop(
            format!("{act} has more than {} rows", PAGES_MAX * PAGE_ROWS),
            "write the mapping by hand",
        ))
    }
}

fn by_id<'a>(rows: &'a [Value], column: &str) -> BTreeMap<String, &'a Value> {
    rows.iter().map(|row| (id(&row[column]), row)).collect()
}
