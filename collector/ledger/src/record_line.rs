//! Records as JSON Lines, in and out.
//! Invariant: nothing is guessed. A line is one whole record with every field it needs and no other, or it is
//! refused with its number; what is written reads back equal.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use seatbeat_proto::ids::{MachineId, ProductId, SpoolId};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::record::{
    COMPUTED_FLAGS, Entry, Event, QUANTITY_MAX, Record, Report, SEQUENCE_MAX, Sighting, State, check_name,
};
use crate::strict::{Object, objects, word};

/// A line that is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct RecordError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Record {
    /// The records of an interchange file; blank lines are allowed.
    pub fn parse_jsonl(text: &str) -> Result<Vec<Self>, RecordError> {
        Self::each_of_jsonl(text).collect()
    }

    /// The records of an interchange file, one at a time.
    pub fn each_of_jsonl(text: &str) -> impl Iterator<Item = Result<Self, RecordError>> + '_ {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(index, line)| Self::parse_line(line).map_err(|what| RecordError { line: index + 1, what }))
    }

    /// One record; the error says what is wrong.
    pub fn parse_line(line: &str) -> Result<Self, String> {
        let Object(Tag { kind }) = serde_json::from_str(line).map_err(plain)?;
        if kind == "report" {
            let Object(line) = serde_json::from_str(line).map_err(plain)?;
            return report(line).map(Self::Report);
        }
        let mut fields: Fields = serde_json::from_str(line).map_err(plain)?;
        let event = event(&kind, &mut fields)?;
        let entry = entry(event, &mut fields)?;
        match fields.0.pop_first() {
            Some((name, _)) => Err(format!("unknown field `{name}`")),
            None => Ok(Self::Entry(entry)),
        }
    }

    /// The record as one line, without its line break.
    pub fn to_json_line(&self) -> String {
        match self {
            Self::Report(report) => written(&WrittenReport::from(report)),
            Self::Entry(entry) => written(&WrittenEntry::from(entry)),
        }
    }
}

/// An RFC 3339 instant, any offset. Stricter than ISO 8601: date, `T`, time to the second and offset must all stand.
pub fn parse_instant(text: &str) -> Result<Timestamp, String> {
    let refused = || format!("`{}` is not an RFC 3339 instant", text.chars().take(40).collect::<String>());
    if !has_instant_shape(text.as_bytes()) {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

fn has_instant_shape(text: &[u8]) -> bool {
    let shaped = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                b'T' => byte.eq_ignore_ascii_case(&b'T'),
                other => byte == other,
            })
    };
    let Some((moment, rest)) = text.split_at_checked(19) else { return false };
    // A leap second has no place among instants that are compared.
    if !shaped(moment, b"0000-00-00T00:00:00") || &moment[17..] >= b"60".as_slice() {
        return false;
    }
    let offset = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    match offset {
        b"Z" | b"z" => true,
        [b'+' | b'-', hours @ ..] => {
            shaped(hours, b"00:00") && &hours[..2] <= b"23".as_slice() && &hours[3..] <= b"59".as_slice()
        }
        _ => false,
    }
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportLine<'a> {
    #[serde(rename = "type")]
    _kind: serde::de::IgnoredAny,
    machine: MachineId,
    spool: SpoolId,
    sequence: u64,
    #[serde(borrow)]
    observed_at: Cow<'a, str>,
    #[serde(borrow)]
    received_at: Cow<'a, str>,
    #[serde(deserialize_with = "objects")]
    products: Vec<ProductLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductLine {
    product: ProductId,
    #[serde(deserialize_with = "word")]
    state: State,
    #[serde(default)]
    version: Option<String>,
}

fn report(line: ReportLine<'_>) -> Result<Report, String> {
    if line.sequence > SEQUENCE_MAX {
        return Err(format!("field `sequence`: {} is more than {SEQUENCE_MAX}", line.sequence));
    }
    let mut products = BTreeMap::new();
    for ProductLine { product, state, version } in line.products {
        if products.insert(product.clone(), Sighting { state, version }).is_some() {
            return Err(format!("product `{product}` is reported twice"));
        }
    }
    Ok(Report {
        machine: line.machine,
        spool: line.spool,
        sequence: line.sequence,
        observed_at: parse_instant(&line.observed_at)
            .map_err(|what| format!("field `observed_at`: {what}"))?,
        received_at: parse_instant(&line.received_at)
            .map_err(|what| format!("field `received_at`: {what}"))?,
        products,
    })
}

fn event(kind: &str, fields: &mut Fields) -> Result<Event, String> {
    Ok(match kind {
        "machine_assigned" => {
            Event::MachineAssigned { machine: fields.take("machine")?, customer: fields.take("customer")? }
        }
        "sku_assigned" => Event::SkuAssigned {
            customer: fields.take("customer")?,
            product: fields.take("product")?,
            sku: fields.take("sku")?,
        },
        "switched_off" => {
            Event::SwitchedOff { machine: fields.take("machine")?, product: fields.take("product")? }
        }
        "switched_on" => {
            Event::SwitchedOn { machine: fields.take("machine")?, product: fields.take("product")? }
        }
        "licence_suspended" => {
            Event::LicenceSuspended { customer: fields.take("customer")?, sku: fields.take("sku")? }
        }
        "licence_resumed" => {
            Event::LicenceResumed { customer: fields.take("customer")?, sku: fields.take("sku")? }
        }
        "machine_retired" => Event::MachineRetired { machine: fields.take("machine")? },
        "machines_merged" => {
            let (kept, absorbed) = pair(fields)?;
            Event::MachinesMerged { kept, absorbed }
        }
        "machines_split" => {
            let (kept, absorbed) = pair(fields)?;
            Event::MachinesSplit { kept, absorbed }
        }
        "machine_flagged" => Event::MachineFlagged { machine: fields.take("machine")?, flag: flag(fields)? },
        "declared" => Event::Declared {
            customer: fields.take("customer")?,
            sku: fields.take("sku")?,
            period: fields.take("period")?,
            quantity: limited("quantity", fields.take("quantity")?, |quantity: &u64| *quantity)?,
        },
        "adjusted" => Event::Adjusted {
            customer: fields.take("customer")?,
            sku: fields.take("sku")?,
            period: fields.take("period")?,
            delta: limited("delta", fields.take("delta")?, |delta: &i64| delta.unsigned_abs())?,
        },
        _ => return Err(format!("unknown type `{}`", kind.chars().take(40).collect::<String>())),
    })
}

fn pair(fields: &mut Fields) -> Result<(MachineId, MachineId), String> {
    let (kept, absorbed): (MachineId, MachineId) = (fields.take("kept")?, fields.take("absorbed")?);
    if kept == absorbed {
        return Err(format!("machine `{kept}` is paired with itself"));
    }
    Ok((kept, absorbed))
}

fn flag(fields: &mut Fields) -> Result<String, String> {
    let flag: String = fields.take("flag")?;
    check_name(&flag, "a flag").map_err(|e| format!("field `flag`: {e}"))?;
    if COMPUTED_FLAGS.contains(&flag.as_str()) {
        return Err(format!("flag `{flag}` is computed and cannot be raised by a record"));
    }
    Ok(flag)
}

fn limited<T: fmt::Display>(name: &str, value: T, size: impl Fn(&T) -> u64) -> Result<T, String> {
    if size(&value) > QUANTITY_MAX {
        return Err(format!("field `{name}`: {value} is beyond {QUANTITY_MAX}"));
    }
    Ok(value)
}

fn entry(event: Event, fields: &mut Fields) -> Result<Entry, String> {
    let at = fields.instant("at")?.ok_or("missing field `at`")?;
    Ok(Entry {
        at,
        recorded_at: fields.instant("recorded_at")?.unwrap_or(at),
        id: fields.text("id")?,
        operator: fields.text("operator")?,
        reason: fields.text("reason")?,
        event,
    })
}

/// The fields of a flat object, each at most once; what a record knows is taken out, what is left is unknown.
struct Fields(BTreeMap<String, Value>);

impl Fields {
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        let value = self.0.remove(name).ok_or_else(|| format!("missing field `{name}`"))?;
        serde_json::from_value(value).map_err(|error| format!("field `{name}`: {error}"))
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        if self.0.contains_key(name) { self.take(name).map(Some) } else { Ok(None) }
    }

    fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, String> {
        let text = self.text(name)?;
        text.map(|text| parse_instant(&text).map_err(|what| format!("field `{name}`: {what}"))).transpose()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if fields.contains_key(&name) {
                return Err(serde::de::Error::custom(format_args!("duplicate field `{name}`")));
            }
            fields.insert(name, value);
        }
        fields.remove("type");
        Ok(Fields(fields))
    }
}

/// The parser's own line is always 1 here and would only confuse; the column helps.
fn plain(error: serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line 1 column ") {
        Some((what, column)) => format!("{what} (column {column})"),
        None => text,
    }
}

#[derive(Serialize)]
struct WrittenReport<'a> {
    r#type: &'static str,
    machine: &'a MachineId,
    spool: &'a SpoolId,
    sequence: u64,
    observed_at: Timestamp,
    received_at: Timestamp,
    products: Vec<WrittenProduct<'a>>,
}

#[derive(Serialize)]
struct WrittenProduct<'a> {
    product: &'a ProductId,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
}

impl<'a> From<&'a Report> for WrittenReport<'a> {
    fn from(report: &'a Report) -> Self {
        let products = report.products.iter().map(|(product, sighting)| WrittenProduct {
            product,
            state: sighting.state,
            version: sighting.version.as_deref(),
        });
        Self {
            r#type: "report",
            machine: &report.machine,
            spool: &report.spool,
            sequence: report.sequence,
            observed_at: report.observed_at,
            received_at: report.received_at,
            products: products.collect(),
        }
    }
}

#[derive(Serialize)]
struct WrittenEntry<'a> {
    #[serde(flatten)]
    event: &'a Event,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> From<&'a Entry> for WrittenEntry<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            event: &entry.event,
            at: entry.at,
            recorded_at: (entry.recorded_at != entry.at).then_some(entry.recorded_at),
            id: entry.id.as_deref(),
            operator: entry.operator.as_deref(),
            reason: entry.reason.as_deref(),
        }
    }
}

fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a record has text keys and plain values")
}

#[cfg(test)]
#[path = "record_line_tests.rs"]
mod tests;
