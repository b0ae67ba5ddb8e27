//! Sealed statement bodies: how they are made, one per distributor, and what a later close needs of them.
//! Invariant: a body says everything that its recomputation rests on, and no sell price. Reading is tolerant: a
//! plain statement is a body too, of the policy that the reader is given.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::bundle::Commitment;
use crate::calendar::Period;
use crate::money::{Decimal, Quantity, TooLarge, UnitPrice};
use crate::policy::Policy;
use crate::record::Sku;
use crate::statement::{Correction, DEFAULT_DISTRIBUTOR, Line, Statement, totals};
use crate::strict::Object;

/// Which part of the journal a statement was closed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalCut {
    /// So many records.
    pub size: u64,
    /// The root of the log over them, as its checkpoint writes it.
    pub root: String,
}

/// What is sealed: a distributor's statement with all that its recomputation rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementBody {
    /// The statement, its fields at the top of the body.
    #[serde(flatten)]
    pub statement: Statement,
    /// For whom.
    pub distributor: String,
    /// Counted from 1; a later one supersedes it.
    pub revision: u64,
    /// `Policy::public_toml_or_json`.
    pub policy: Value,
    /// `RULES_VERSION`.
    pub rules_version: u32,
    /// `zone_data_version()`.
    pub zone_data: String,
    /// The records it was closed from.
    pub journal: JournalCut,
    /// The evidence of each machine behind it; bodies sealed before there were bundles have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Commitment>,
}

/// What a later close reads of a sealed body.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SealedBody {
    /// The month.
    pub period: Period,
    /// What was billed.
    #[serde(default)]
    pub lines: Vec<SealedLine>,
    /// What was corrected of the months before.
    #[serde(default)]
    pub corrections: Vec<Correction>,
    /// For whom, if the body says.
    #[serde(default)]
    pub distributor: Option<String>,
    /// Which revision, if the body says.
    #[serde(default)]
    pub revision: Option<u64>,
    /// By which policy; a plain statement does not say.
    #[serde(default, deserialize_with = "public_policy")]
    pub policy: Option<Policy>,
    /// By which rules, if the body says.
    #[serde(default)]
    pub rules_version: Option<u32>,
    /// In which zone data, if the body says.
    #[serde(default)]
    pub zone_data: Option<String>,
    /// From which records, if the body says.
    #[serde(default)]
    pub journal: Option<JournalCut>,
}

/// What a later close reads of a sealed line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SealedLine {
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// How many were billed.
    pub quantity: Quantity,
    /// By whom.
    #[serde(default)]
    pub distributor: Option<String>,
    /// At which price each.
    #[serde(default)]
    pub unit_cost: Option<UnitPrice>,
    /// For how much.
    #[serde(default)]
    pub cost: Option<Decimal>,
    /// In which currency.
    #[serde(default)]
    pub currency: Option<String>,
}

fn public_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Policy>, D::Error> {
    let value: Option<Value> = Option::deserialize(deserializer)?;
    value.map(|value| Policy::from_public(&value).map_err(serde::de::Error::custom)).transpose()
}

impl SealedBody {
    /// The bodies of a JSON array; the error says what is wrong.
    pub fn parse_array(text: &str) -> Result<Vec<Self>, String> {
        let bodies: Vec<Object<Self>> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(bodies.into_iter().map(|Object(body)| body).collect())
    }
}

/// Of each (period, distributor) the newest revision; bodies that do not say which they are all stay.
pub fn newest_revisions(bodies: &[SealedBody]) -> Vec<&SealedBody> {
    let mut newest: BTreeMap<(Period, &str), u64> = BTreeMap::new();
    let told = |body: &'_ SealedBody| body.revision.unwrap_or(0);
    for body in bodies {
        if let Some(distributor) = &body.distributor {
            let revision = newest.entry((body.period, distributor)).or_insert(told(body));
            *revision = told(body).max(*revision);
        }
    }
    let is_newest = |body: &&SealedBody| match &body.distributor {
        Some(distributor) => newest.get(&(body.period, distributor.as_str())) == Some(&told(body)),
        None => true,
    };
    bodies.iter().filter(is_newest).collect()
}

/// A statement's part for each distributor that has a line or a correction in it, else all of it for `default`.
/// What names a SKU goes to its distributor, what names only a machine to every one.
pub fn bodies_by_distributor(statement: &Statement) -> BTreeMap<String, Statement> {
    let owner_of: BTreeMap<&Sku, &str> =
        statement.lines.iter().map(|line| (&line.sku, line_distributor(line))).collect();
    let of_sku =
        |sku: &Option<Sku>| sku.as_ref().map(|sku| owner_of.get(sku).copied().unwrap_or(DEFAULT_DISTRIBUTOR));
    let corrected = statement.corrections.iter().map(correction_distributor);
    let mut names: BTreeSet<&str> = statement.lines.iter().map(line_distributor).chain(corrected).collect();
    if names.is_empty() {
        names.insert(DEFAULT_DISTRIBUTOR);
    }
    // Whoever a flag is for may have no part; then it goes to every one rather than to none.
    let is_for = |sku: &Option<Sku>, name: &str| {
        of_sku(sku).is_none_or(|distributor| distributor == name || !names.contains(distributor))
    };
    let part = |name: &str| {
        let lines: Vec<Line> =
            statement.lines.iter().filter(|line| line_distributor(line) == name).cloned().collect();
        Statement {
            totals: totals(&lines).unwrap_or_else(|TooLarge| statement.totals.clone()),
            lines,
            corrections: statement
                .corrections
                .iter()
                .filter(|correction| correction_distributor(correction) == name)
                .cloned()
                .collect(),
            flags: statement.flags.iter().filter(|flag| is_for(&flag.sku, name)).cloned().collect(),
            blockers: statement.blockers.iter().filter(|one| is_for(&one.sku, name)).cloned().collect(),
            period: statement.period,
            zone: statement.zone.clone(),
            rejected: statement.rejected.clone(),
        }
    };
    names.iter().map(|name| ((*name).to_owned(), part(name))).collect()
}

fn line_distributor(line: &Line) -> &str {
    line.price.as_ref().map_or(DEFAULT_DISTRIBUTOR, |price| price.distributor.as_str())
}

fn correction_distributor(correction: &Correction) -> &str {
    correction.distributor.as_deref().unwrap_or(DEFAULT_DISTRIBUTOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn sold() -> Scenario {
        let group = |name: &str| {
            format!(
                "[sku.{name}]\nprice_group = \"{name}\"\n[price_group.{name}]\ndistributor = \"of-{name}\"\n\
                 currency = \"USD\"\ntiers = [{{ from = 1, cost = \"1.00\" }}]\n"
            )
        };
        Scenario::new().policy(&group("A")).policy(&group("B")).policy("presume_days = 0")
    }

    fn parts(scenario: &Scenario) -> Vec<(String, Vec<String>)> {
        let parts = bodies_by_distributor(&scenario.output().statement).into_iter();
        let skus = |part: Statement| part.lines.iter().map(|line| line.sku.to_string()).collect();
        parts.map(|(name, part)| (name, skus(part))).collect()
    }

    fn part(name: &str, skus: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), skus.iter().map(|sku| (*sku).to_owned()).collect())
    }

    #[test]
    fn each_distributor_has_its_own_lines_and_those_without_a_group_go_to_default() {
        let scenario = sold().report("m", "10-05 08:00", "a b c");
        assert_eq!(parts(&scenario), [part("default", &["C"]), part("of-A", &["A"]), part("of-B", &["B"])]);
        let statement = &bodies_by_distributor(&scenario.output().statement)["of-A"];
        assert_eq!(statement.totals.len(), 1);
    }

    #[test]
    fn a_month_with_nothing_to_bill_is_still_one_statement() {
        assert_eq!(parts(&sold()), [part("default", &[])]);
    }

    #[test]
    fn a_correction_goes_to_its_distributor_even_without_a_line() {
        let sealed = sold().period("2026-09").statement_json();
        let late = sold().report("m", "09-05 08:00", "b").sealed(&format!("[{sealed}]"));
        let parts = bodies_by_distributor(&late.output().statement);
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["of-B"]);
        assert_eq!(parts["of-B"].corrections.len(), 1);
    }

    #[test]
    fn a_flag_with_a_sku_goes_to_its_distributor_and_one_of_a_machine_to_all() {
        let scenario = sold()
            .reports("m", [1, 5], "a b")
            .licence("suspended", "10-02 08:00", "acme", "A")
            .flagged("10-05 08:00", "m", "possible_clone");
        let parts = bodies_by_distributor(&scenario.output().statement);
        let flags = |name: &str| parts[name].flags.iter().map(|flag| flag.flag.clone()).collect::<Vec<_>>();
        let machine = ["possible_clone", "went_silent"];
        assert_eq!(flags("of-A"), ["possible_clone", "running_on_suspended_licence", "went_silent"]);
        assert_eq!(flags("of-B"), machine);
    }

    #[test]
    fn what_is_sealed_reads_back_with_its_policy() {
        let statement = sold().report("m", "10-05 08:00", "a").output().statement;
        let policy = Policy::parse("presume_days = 3\n[price.A]\nreseller = \"9\"").unwrap();
        let body = StatementBody {
            statement,
            distributor: "of-A".to_owned(),
            revision: 2,
            policy: policy.public_toml_or_json(),
            rules_version: crate::RULES_VERSION,
            zone_data: crate::zone_data_version(),
            journal: JournalCut { size: 7, root: "abc".to_owned() },
            evidence: None,
        };
        let text = crate::jcs::to_canonical(&body).unwrap();
        assert!(!text.contains("\"9\""));
        let read = SealedBody::parse_array(&format!("[{text}]")).unwrap().remove(0);
        assert_eq!((read.revision, read.rules_version, read.lines.len()), (Some(2), Some(1), 1));
        assert_eq!(read.policy.unwrap().presume_days, 3);
        assert_eq!(read.journal.unwrap().size, 7);
    }
}
