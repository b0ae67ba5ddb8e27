//! Level 3: the month metered again from all records. Invariant: the body that comes out is the sealed one byte for
//! byte, and the machines behind each line have the days that the rows say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Failure, RowDays};
use crate::body::{StatementBody, bodies_by_distributor};
use crate::bundle::Section;
use crate::bundle::marks::DaySet;
use crate::close::seats;
use crate::meter::{MeterInput, meter};
use crate::policy::Policy;
use crate::record_set::RecordSet;
use crate::statement::Statement;

/// What `seatbeat export` writes of a month.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// `records.jsonl`.
    pub records: String,
    /// `policy.toml`.
    pub policy: String,
    /// `sealed.json`, where there is one.
    pub sealed: Option<String>,
}

impl Replay {
    pub(super) fn check(&self, body: &StatementBody, days: &RowDays, found: &mut Vec<Failure>) {
        let computed = self.compute(body);
        match computed {
            Ok(again) => {
                let (told, due) = (serde_json::to_value(body), serde_json::to_value(&again));
                if let (Ok(told), Ok(due)) = (told, due) {
                    found.extend(difference("body", &told, &due).map(Failure::Replay));
                }
            }
            Err(why) => return found.push(Failure::Replay(why)),
        }
        match self.row_days(body) {
            Ok(due) => compare_days(body, days, due, found),
            Err(why) => found.push(Failure::Replay(why)),
        }
    }

    /// The body that these records make; what follows from the journal alone is taken from the sealed one.
    fn compute(&self, body: &StatementBody) -> Result<StatementBody, String> {
        let period = body.statement.period;
        let output = meter(MeterInput {
            records: &self.records,
            policy: &self.policy,
            period,
            as_of: None,
            sealed: self.sealed.as_deref(),
        })
        .map_err(|error| error.to_string())?;
        let policy = Policy::parse(&self.policy).map_err(|error| error.to_string())?;
        let mut parts = bodies_by_distributor(&output.statement);
        let statement: Statement = parts
            .remove(&body.distributor)
            .ok_or_else(|| format!("these records make no statement for {}", body.distributor))?;
        // A sealed correction does not name its distributor.
        let unnamed = |one: &crate::statement::Correction| crate::statement::Correction {
            distributor: None,
            ..one.clone()
        };
        let corrections = statement.corrections.iter().map(unnamed).collect();
        Ok(StatementBody {
            statement: Statement { corrections, ..statement },
            policy: policy.public_toml_or_json(),
            rules_version: crate::RULES_VERSION,
            zone_data: crate::zone_data_version(),
            ..body.clone()
        })
    }

    fn row_days(&self, body: &StatementBody) -> Result<RowDays, String> {
        let policy = Policy::parse(&self.policy).map_err(|error| error.to_string())?;
        let records = RecordSet::parse_jsonl(&self.records, None).map_err(|error| error.to_string())?;
        let period = body.statement.period;
        let seats = seats(&records.usage(&policy.zone), &policy, period, None);
        let days = seats.iter().map(|((customer, sku), machines)| {
            let rows = machines.values().map(|counted| {
                let of = |confirmed| {
                    let some = counted.iter().filter(|day| day.confirmed == confirmed);
                    DaySet::of(period, some.map(|day| day.day))
                };
                (of(true), of(false))
            });
            (Section::line(customer, sku), rows.collect())
        });
        Ok(days.collect())
    }
}

fn compare_days(body: &StatementBody, told: &RowDays, due: RowDays, found: &mut Vec<Failure>) {
    let due: BTreeMap<Section, _> = due;
    for line in &body.statement.lines {
        let section = Section::line(&line.customer, &line.sku);
        let sorted = |days: Option<&Vec<(DaySet, DaySet)>>| {
            let mut days = days.cloned().unwrap_or_default();
            days.sort();
            days
        };
        if sorted(told.get(&section)) != sorted(due.get(&section)) {
            found.push(Failure::Replay(format!("{section}: its machines have other days by these records")));
        }
    }
}

/// The first place where two values differ, in words.
fn difference(place: &str, told: &Value, due: &Value) -> Option<String> {
    match (told, due) {
        (Value::Object(told), Value::Object(due)) => {
            let keys: std::collections::BTreeSet<&String> = told.keys().chain(due.keys()).collect();
            keys.into_iter().find_map(|key| {
                let none = Value::Null;
                let of = |fields: &'_ serde_json::Map<String, Value>| fields.get(key).cloned();
                let (told, due) = (of(told).unwrap_or(none.clone()), of(due).unwrap_or(none));
                difference(&format!("{place}.{key}"), &told, &due)
            })
        }
        (Value::Array(told), Value::Array(due)) if told.len() == due.len() => {
            let pairs = told.iter().zip(due).enumerate();
            pairs
                .into_iter()
                .find_map(|(index, (told, due))| difference(&format!("{place}[{index}]"), told, due))
        }
        (told, due) if told == due => None,
        (told, due) => {
            let short = |value: &Value| value.to_string().chars().take(120).collect::<String>();
            Some(format!("{place} is {}, these records make {}", short(told), short(due)))
        }
    }
}
