//! Rows to wire messages and back. Invariant: a row survives the round trip, so that a script sees the same through
//! gRPC and on the command line; what a collector answers is checked before it becomes a row.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use seatbeat_ledger::life::Standing;
use seatbeat_proto::{instant, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::{
    Customer, CustomerList, Draft, NewToken, PeriodState, SealedStatement, SealedStatements, StatementList,
    Status, Token, TokenList, Usage, UsageRow,
};

/// An answer that is not what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the collector's answer has a `{field}` that is not valid: {why}")]
pub struct RowError {
    field: &'static str,
    why: String,
}

pub(super) fn invalid(field: &'static str, why: impl Display) -> RowError {
    RowError { field, why: why.to_string() }
}

pub(super) fn id<T: FromStr<Err: Display>>(field: &'static str, text: &str) -> Result<T, RowError> {
    text.parse().map_err(|error| invalid(field, error))
}

pub(super) fn time(field: &'static str, ms: i64) -> Result<Timestamp, RowError> {
    instant::from_ms(ms).map_err(|error| invalid(field, error))
}

pub(super) fn all<W, R: TryFrom<W, Error = RowError>>(wire: Vec<W>) -> Result<Vec<R>, RowError> {
    wire.into_iter().map(R::try_from).collect()
}

pub(super) fn into_all<R, W: From<R>>(rows: Vec<R>) -> Vec<W> {
    rows.into_iter().map(W::from).collect()
}

impl From<Status> for wire::StatusReply {
    fn from(row: Status) -> Self {
        Self {
            reseller: row.reseller.to_string(),
            version: row.version,
            now_ms: instant::to_ms(row.now),
            journal_size: row.journal_size,
            journal_root: STANDARD.decode(row.journal_root).unwrap_or_default(),
            folded: row.folded,
            machines: row.machines,
            connected: row.connected,
            customers: row.customers,
            zone: row.zone,
            agent_address: row.agent_address,
            alarms: row.alarms,
            statement_key: STANDARD.decode(row.statement_key).unwrap_or_default(),
            beats: row.beats,
            evidence_received: row.evidence_received,
        }
    }
}

impl TryFrom<wire::StatusReply> for Status {
    type Error = RowError;

    fn try_from(wire: wire::StatusReply) -> Result<Self, RowError> {
        Ok(Self {
            reseller: id("reseller", &wire.reseller)?,
            version: wire.version,
            now: time("now_ms", wire.now_ms)?,
            zone: wire.zone,
            agent_address: wire.agent_address,
            machines: wire.machines,
            connected: wire.connected,
            customers: wire.customers,
            beats: wire.beats,
            evidence_received: wire.evidence_received,
            journal_size: wire.journal_size,
            journal_root: STANDARD.encode(wire.journal_root),
            folded: wire.folded,
            statement_key: STANDARD.encode(wire.statement_key),
            alarms: wire.alarms,
        })
    }
}

impl From<Customer> for wire::Customer {
    fn from(row: Customer) -> Self {
        Self { customer: row.customer.to_string(), name: row.name, machines: row.machines, position: 0 }
    }
}

impl TryFrom<wire::Customer> for Customer {
    type Error = RowError;

    fn try_from(wire: wire::Customer) -> Result<Self, RowError> {
        Ok(Self { customer: id("customer", &wire.customer)?, name: wire.name, machines: wire.machines })
    }
}

impl From<CustomerList> for wire::CustomerList {
    fn from(row: CustomerList) -> Self {
        Self { customers: into_all(row.customers) }
    }
}

impl TryFrom<wire::CustomerList> for CustomerList {
    type Error = RowError;

    fn try_from(wire: wire::CustomerList) -> Result<Self, RowError> {
        Ok(Self { customers: all(wire.customers)? })
    }
}

impl From<NewToken> for wire::CreatedToken {
    fn from(row: NewToken) -> Self {
        Self { token: row.token.to_string(), text: row.text, position: row.position }
    }
}

impl TryFrom<wire::CreatedToken> for NewToken {
    type Error = RowError;

    fn try_from(wire: wire::CreatedToken) -> Result<Self, RowError> {
        Ok(Self { token: id("token", &wire.token)?, text: wire.text, position: wire.position })
    }
}

impl From<Token> for wire::Token {
    fn from(row: Token) -> Self {
        Self {
            token: row.token.to_string(),
            customer: row.customer.to_string(),
            uses_max: row.uses_max,
            used: row.used,
            expires_at_ms: instant::to_ms(row.expires_at),
            revoked: row.revoked,
        }
    }
}

impl TryFrom<wire::Token> for Token {
    type Error = RowError;

    fn try_from(wire: wire::Token) -> Result<Self, RowError> {
        Ok(Self {
            token: id("token", &wire.token)?,
            customer: id("customer", &wire.customer)?,
            uses_max: wire.uses_max,
            used: wire.used,
            expires_at: time("expires_at_ms", wire.expires_at_ms)?,
            revoked: wire.revoked,
        })
    }
}

impl From<TokenList> for wire::TokenList {
    fn from(row: TokenList) -> Self {
        Self { tokens: into_all(row.tokens) }
    }
}

impl TryFrom<wire::TokenList> for TokenList {
    type Error = RowError;

    fn try_from(wire: wire::TokenList) -> Result<Self, RowError> {
        Ok(Self { tokens: all(wire.tokens)? })
    }
}

impl From<Usage> for wire::UsageReply {
    fn from(row: Usage) -> Self {
        Self {
            period: row.period.to_string(),
            zone: row.zone,
            rows: into_all(row.rows),
            blockers: row.blockers.iter().map(json).collect(),
            flags: row.flags.iter().map(json).collect(),
        }
    }
}

impl TryFrom<wire::UsageReply> for Usage {
    type Error = RowError;

    fn try_from(wire: wire::UsageReply) -> Result<Self, RowError> {
        Ok(Self {
            period: id("period", &wire.period)?,
            zone: wire.zone,
            rows: all(wire.rows)?,
            blockers: objects("blockers", &wire.blockers)?,
            flags: objects("flags", &wire.flags)?,
        })
    }
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("rows have text keys and plain values")
}

fn objects<T: DeserializeOwned>(field: &'static str, texts: &[String]) -> Result<Vec<T>, RowError> {
    texts.iter().map(|text| serde_json::from_str(text).map_err(|error| invalid(field, error))).collect()
}

impl From<UsageRow> for wire::UsageRow {
    fn from(row: UsageRow) -> Self {
        Self {
            customer: row.customer.to_string(),
            customer_name: row.customer_name,
            sku: row.sku,
            quantity: row.quantity,
            confirmed: row.confirmed,
            presumed: row.presumed,
            unit_cost: row.unit_cost.unwrap_or_default(),
            cost: row.cost.unwrap_or_default(),
            revenue: row.revenue.unwrap_or_default(),
            profit: row.profit.unwrap_or_default(),
            currency: row.currency.unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::UsageRow> for UsageRow {
    type Error = RowError;

    fn try_from(wire: wire::UsageRow) -> Result<Self, RowError> {
        let known = |text: String| (!text.is_empty()).then_some(text);
        Ok(Self {
            customer: id("customer", &wire.customer)?,
            customer_name: wire.customer_name,
            sku: wire.sku,
            quantity: wire.quantity,
            confirmed: wire.confirmed,
            presumed: wire.presumed,
            unit_cost: known(wire.unit_cost),
            cost: known(wire.cost),
            revenue: known(wire.revenue),
            profit: known(wire.profit),
            currency: known(wire.currency),
        })
    }
}

const PERIOD_STATES: [PeriodState; 5] =
    [PeriodState::Open, PeriodState::Grace, PeriodState::Draft, PeriodState::Approved, PeriodState::Sealed];

impl PeriodState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Grace => "grace",
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Sealed => "sealed",
        }
    }
}

impl From<Draft> for wire::Draft {
    fn from(row: Draft) -> Self {
        Self {
            period: row.period.to_string(),
            digest: row.digest,
            state: row.state.as_str().to_owned(),
            closes_at_ms: instant::to_ms(row.closes_at),
            json: row.output.to_json(),
            variance_json: row.variance.map(|rows| json(&rows)).unwrap_or_default(),
            standings_json: json(&row.standings),
            review_json: row.review.map(|review| json(&review)).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::Draft> for Draft {
    type Error = RowError;

    fn try_from(wire: wire::Draft) -> Result<Self, RowError> {
        let state = PERIOD_STATES.into_iter().find(|state| state.as_str() == wire.state);
        Ok(Self {
            period: id("period", &wire.period)?,
            state: state.ok_or_else(|| invalid("state", &wire.state))?,
            standings: list("standings_json", &wire.standings_json)?,
            digest: wire.digest,
            closes_at: time("closes_at_ms", wire.closes_at_ms)?,
            output: serde_json::from_str(&wire.json).map_err(|error| invalid("json", error))?,
            variance: optional("variance_json", &wire.variance_json)?,
            review: optional("review_json", &wire.review_json)?,
        })
    }
}

/// A value as JSON that may be left out.
fn optional<T: DeserializeOwned>(field: &'static str, text: &str) -> Result<Option<T>, RowError> {
    match text {
        "" => Ok(None),
        text => serde_json::from_str(text).map(Some).map_err(|error| invalid(field, error)),
    }
}

/// A list as JSON; an older collector leaves it out.
fn list<T: DeserializeOwned>(field: &'static str, text: &str) -> Result<Vec<T>, RowError> {
    match text {
        "" => Ok(Vec::new()),
        text => serde_json::from_str(text).map_err(|error| invalid(field, error)),
    }
}

impl From<StatementList> for wire::StatementList {
    fn from(row: StatementList) -> Self {
        let standing = |one: &Standing| wire::StatementStanding {
            period: one.period.to_string(),
            distributor: one.distributor.clone().unwrap_or_default(),
            state: one.life.name().to_owned(),
            json: json(one),
        };
        Self { statements: row.statements.iter().map(standing).collect() }
    }
}

impl TryFrom<wire::StatementList> for StatementList {
    type Error = RowError;

    fn try_from(wire: wire::StatementList) -> Result<Self, RowError> {
        let read = |one: wire::StatementStanding| {
            serde_json::from_str(&one.json).map_err(|error| invalid("json", error))
        };
        Ok(Self { statements: wire.statements.into_iter().map(read).collect::<Result<_, _>>()? })
    }
}

impl From<SealedStatements> for wire::SealedStatements {
    fn from(row: SealedStatements) -> Self {
        let statements = row.statements.into_iter().map(|one| wire::SealedStatement {
            distributor: one.distributor,
            revision: one.revision,
            file: one.file,
        });
        Self {
            period: row.period.to_string(),
            statements: statements.collect(),
            earnings_json: json(&row.earnings),
            licences_json: json(&row.licences),
            position: row.position,
        }
    }
}

impl TryFrom<wire::SealedStatements> for SealedStatements {
    type Error = RowError;

    fn try_from(wire: wire::SealedStatements) -> Result<Self, RowError> {
        let statements = wire.statements.into_iter().map(|one| SealedStatement {
            distributor: one.distributor,
            revision: one.revision,
            file: one.file,
        });
        let earnings = list("earnings_json", &wire.earnings_json)?;
        Ok(Self {
            period: id("period", &wire.period)?,
            statements: statements.collect(),
            earnings,
            licences: list("licences_json", &wire.licences_json)?,
            position: wire.position,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatbeat_ledger::statement::MeterOutput;

    #[test]
    fn a_draft_survives_the_wire() {
        let statement = r#"{"period":"2026-10","zone":"UTC","lines":[],"corrections":[],"totals":[],"flags":[],
            "blockers":[{"blocker":"unassigned","machine":"mch_a"}],"rejected":[]}"#;
        let output =
            MeterOutput { statement: serde_json::from_str(statement).unwrap(), earnings: Vec::new() };
        let draft = Draft {
            period: "2026-10".parse().unwrap(),
            state: PeriodState::Grace,
            standings: Vec::new(),
            digest: "sha256:00".to_owned(),
            closes_at: time("", 1).unwrap(),
            output,
            variance: Some(Vec::new()),
            review: None,
        };
        assert_eq!(Draft::try_from(wire::Draft::from(draft.clone())).unwrap(), draft);
    }

    #[test]
    fn a_period_in_a_state_that_is_not_known_is_refused() {
        let draft =
            wire::Draft { state: "soon".to_owned(), period: "2026-10".to_owned(), ..Default::default() };
        assert!(Draft::try_from(draft).unwrap_err().to_string().contains("`state`"));
    }
}
