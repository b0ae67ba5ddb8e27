//! `seatbeat api-tokens`. Invariant: a token's text is seen once, when it is made, and goes to stdout alone.

use clap::{Args, Subcommand};
use seatbeat_ledger::operators::Role;
use seatbeat_proto::ids::{ApiTokenId, CustomerId, OperatorId};
use seatbeat_proto::{instant, wire};
use serde_json::json;

use crate::connect::Collector;
use crate::moment::{self, Moment};
use crate::out::{self, Align, Column, Out};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a token for a program; prints its text, which is kept nowhere
    Create(Create),
    /// List your tokens; of an admin, everybody's
    List,
    /// Take a token back: it opens nothing any more
    Revoke {
        /// Which token
        api_token: ApiTokenId,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// What it may, at most what its operator may [default: the operator's role]
    #[arg(long)]
    role: Option<Role>,
    /// Only this customer's; can be given more than once [default: the operator's]
    #[arg(long = "customer", value_name = "CUSTOMER")]
    customers: Vec<CustomerId>,
    /// Until when: a span (`90d`, `12h`) or an instant (RFC 3339), at most a year
    #[arg(long, default_value = "90d", value_name = "WHEN")]
    expires: Moment,
    /// For whom it asks, if not for you
    #[arg(long)]
    operator: Option<OperatorId>,
    /// What for
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Create(create) => make(create, collector, out).await,
        Verb::List => {
            let request = wire::ListRequest::default();
            let list = collector.call(async |console| console.list_api_tokens(request).await).await?;
            let value = list.api_tokens.iter().map(json_row).collect::<Result<Vec<_>, _>>()?;
            let text = table(&list.api_tokens)?;
            out.value(&value, || text)?;
            if list.api_tokens.is_empty() && !out.is_json() {
                out::note("no API tokens yet: `seatbeat api-tokens create --role viewer`");
            }
            Ok(())
        }
        Verb::Revoke { api_token, reason } => {
            let request = wire::RevokeApiTokenRequest { api_token: api_token.to_string(), reason };
            let done = collector.call(async |console| console.revoke_api_token(request).await).await?;
            Ok(out::done(out, done.position, &format!("{api_token} opens nothing any more"))?)
        }
    }
}

async fn make(create: Create, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    // The collector's clock decides when a token is over, so a span counts by it, too.
    let (expires_at_ms, life_ms) = match create.expires {
        Moment::At(instant) => (instant::to_ms(instant), 0),
        Moment::After(span) => (0, i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
    };
    let request = wire::CreateApiTokenRequest {
        operator: create.operator.map(String::from).unwrap_or_default(),
        role: create.role.map(|role| role.to_string()).unwrap_or_default(),
        customers: create.customers.into_iter().map(String::from).collect(),
        expires_at_ms,
        life_ms,
        reason: create.reason,
    };
    let made = collector.call(async |console| console.create_api_token(request).await).await?;
    let expires_at = instant::from_ms(made.expires_at_ms)?;
    let value = json!({
        "api_token": made.api_token,
        "token": made.token,
        "expires_at": expires_at,
        "position": made.position,
    });
    out.value(&value, || made.token.clone())?;
    if !out.is_json() {
        out::note(&format!("{} opens the operator door until {}", made.api_token, moment::shown(expires_at)));
    }
    Ok(())
}

fn json_row(row: &wire::ApiTokenRow) -> anyhow::Result<serde_json::Value> {
    Ok(json!({
        "api_token": row.api_token,
        "operator": row.operator,
        "role": row.role,
        "customers": row.customers,
        "expires_at": instant::from_ms(row.expires_at_ms)?,
        "revoked": row.revoked,
    }))
}

fn table(rows: &[wire::ApiTokenRow]) -> anyhow::Result<String> {
    let columns = ["API TOKEN", "OPERATOR", "ROLE", "CUSTOMERS", "EXPIRES", "REVOKED"]
        .map(|head| Column(head, Align::Left));
    let row = |row: &wire::ApiTokenRow| -> anyhow::Result<Vec<String>> {
        Ok(vec![
            row.api_token.clone(),
            row.operator.clone(),
            row.role.clone(),
            row.customers.join(" "),
            moment::shown(instant::from_ms(row.expires_at_ms)?),
            out::yes(row.revoked),
        ])
    };
    Ok(out::table(&columns, rows.iter().map(row).collect::<Result<_, _>>()?))
}
