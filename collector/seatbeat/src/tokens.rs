//! `seatbeat tokens`. Invariant: a token's text is seen once, when it is made, and goes to stdout alone.

use clap::{Args, Subcommand};
use seatbeat_collector::console::rows::{NewToken, Status, Token, TokenList};
use seatbeat_proto::ids::{CustomerId, TokenId};
use seatbeat_proto::{instant, token, wire};

use crate::connect::Collector;
use crate::moment::{self, Moment};
use crate::out::{self, Align, Column, Out};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make an enrolment token; prints its text, which is kept nowhere
    Create(Create),
    /// List all tokens
    List,
    /// Take a token back: it lets nobody in any more
    Revoke {
        /// Which token
        token: TokenId,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// Whose machines it lets in
    #[arg(long)]
    customer: CustomerId,
    /// How many machines it lets in
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// Until when: a span (`30d`, `12h`) or an instant (RFC 3339)
    #[arg(long, default_value = "30d", value_name = "WHEN")]
    expires: Moment,
    /// How many machines an hour; 0: no such limit
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    per_hour: u32,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Create(create) => {
            // The collector's clock decides when a token is over, so a span counts by it, too.
            let asked = wire::StatusRequest::default();
            let status: Status = collector.ask(async |console| console.status(asked).await).await?;
            let expires_at = create.expires.from(status.now);
            let request = wire::CreateTokenRequest {
                customer: create.customer.to_string(),
                uses_max: create.uses,
                expires_at_ms: instant::to_ms(expires_at),
                uses_per_hour: create.per_hour,
            };
            let made: NewToken = collector.ask(async |console| console.create_token(request).await).await?;
            out.value(&made, || made.text.clone())?;
            if !out.is_json() {
                let machines = out::count(u64::from(create.uses), "machine", "machines");
                let until = moment::shown(expires_at);
                out::note(&format!("{} lets in {machines} of {} until {until}", made.token, create.customer));
                if token::parse(&made.text).is_ok_and(|text| text.order_keys_revision == 0) {
                    out::note(
                        "machines that it lets in take no orders: there is no order key yet (`seatbeat orders key new`)",
                    );
                }
            }
        }
        Verb::List => {
            let request = wire::ListRequest::default();
            let list: TokenList = collector.ask(async |console| console.list_tokens(request).await).await?;
            out.value(&list, || table(&list.tokens))?;
            if list.tokens.is_empty() && !out.is_json() {
                out::note("no tokens yet: `seatbeat tokens create --customer CUSTOMER`");
            }
        }
        Verb::Revoke { token, reason } => {
            let request = wire::RevokeTokenRequest { token: token.to_string(), reason };
            let done = collector.call(async |console| console.revoke_token(request).await).await?;
            out::done(out, done.position, &format!("{token} lets nobody in any more"))?;
        }
    }
    Ok(())
}

fn table(tokens: &[Token]) -> String {
    let columns = [
        Column("TOKEN", Align::Left),
        Column("CUSTOMER", Align::Left),
        Column("USED", Align::Right),
        Column("OF", Align::Right),
        Column("EXPIRES", Align::Left),
        Column("REVOKED", Align::Left),
    ];
    let row = |row: &Token| {
        vec![
            row.token.to_string(),
            row.customer.to_string(),
            row.used.to_string(),
            row.uses_max.to_string(),
            moment::shown(row.expires_at),
            out::yes(row.revoked),
        ]
    };
    out::table(&columns, tokens.iter().map(row).collect())
}
