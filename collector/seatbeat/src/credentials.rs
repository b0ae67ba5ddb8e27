//! What operators sign in with in a browser: `seatbeat operators password/link/link-oidc/forget`. Invariant: a password
//! is read from a terminal or a file, never from the command line, and a sign-in code goes to stdout alone.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Subcommand;
use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::{instant, wire};
use serde_json::json;
use zeroize::Zeroizing;

use crate::connect::Collector;
use crate::hints::Hinted;
use crate::moment;
use crate::orders::secret_of;
use crate::out::{self, Out};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Set what an operator signs in with in a browser; asks for the password twice
    Password {
        /// Whose
        operator: OperatorId,
        /// Name to sign in with [default: the one that the operator has]
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        login: String,
        /// File with the password [default: it is asked for]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Print an address that signs an operator in once, within a quarter of an hour
    Link {
        /// Whom
        operator: OperatorId,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Say who an operator is at the identity provider
    LinkOidc {
        /// Which operator
        operator: OperatorId,
        /// The claim's value there: the subject, or the e-mail address where `claim = "email"`
        #[arg(long, value_name = "TEXT")]
        subject: String,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Take away what an operator signs in with; their sessions end
    Forget {
        /// Whose
        operator: OperatorId,
        /// What: password (and the second factor with it), totp or oidc
        #[arg(value_parser = ["password", "totp", "oidc"])]
        means: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

/// Runs the verb.
///
/// # Errors
/// When nobody can be asked for the password, or the collector refuses.
pub async fn run(verb: Verb, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    match verb {
        Verb::Password { operator, login, password_file, reason } => {
            let password = password(password_file.as_ref())?.as_str().to_owned();
            let request =
                wire::SetPasswordRequest { operator: operator.to_string(), login, password, reason };
            let done = collector.call(async |console| console.set_password(request).await).await?;
            let words = format!("{operator} signs in with it at {}", page(collector, "/sign-in"));
            Ok(out::done(out, done.position, &words)?)
        }
        Verb::Link { operator, reason } => {
            let request = wire::CreateSignInLinkRequest { operator: operator.to_string(), reason };
            let link = collector.call(async |console| console.create_sign_in_link(request).await).await?;
            let expires_at = instant::from_ms(link.expires_at_ms)?;
            let address = link_address(collector, &link.code);
            let value = json!({
                "operator": operator,
                "code": link.code,
                "page": page(collector, "/sign-in/link"),
                "address": address,
                "expires_at": expires_at,
                "position": link.position,
            });
            out.value(&value, || address.clone())?;
            if !out.is_json() {
                let until = moment::shown(expires_at);
                out::note(&format!("opened in a browser, it signs {operator} in once, until {until}"));
            }
            Ok(())
        }
        Verb::LinkOidc { operator, subject, reason } => {
            let words = format!("{operator} is {subject} at the identity provider");
            let request = wire::LinkOidcRequest { operator: operator.to_string(), subject, reason };
            let done = collector.call(async |console| console.link_oidc(request).await).await?;
            Ok(out::done(out, done.position, &words)?)
        }
        Verb::Forget { operator, means, reason } => {
            let words = format!("{operator} has no {means} any more");
            let request = wire::RemoveCredentialRequest { operator: operator.to_string(), means, reason };
            let done = collector.call(async |console| console.remove_credential(request).await).await?;
            Ok(out::done(out, done.position, &words)?)
        }
    }
}

/// What somebody opens in a browser to sign in with a code: the page has the code in it, and a button.
pub fn link_address(collector: &Collector, code: &str) -> String {
    page(collector, &format!("/sign-in/link?code={code}"))
}

/// A page of the operator door, as a browser is told.
fn page(collector: &Collector, path: &str) -> String {
    let address = collector.address();
    if address.contains("://") { format!("{address}{path}") } else { format!("http://{address}{path}") }
}

/// The password from its file, or twice from whoever sits there.
fn password(file: Option<&PathBuf>) -> anyhow::Result<Zeroizing<String>> {
    if let Some(file) = file {
        return secret_of(file);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Hinted {
            message: "the password is missing, and nobody sits here to be asked".to_owned(),
            hint: "name a file that holds it with --password-file FILE".to_owned(),
        }
        .into());
    }
    let asked = Zeroizing::new(rpassword::prompt_password("Password: ")?);
    let again = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
    anyhow::ensure!(asked == again, "the two passwords differ");
    Ok(asked)
}
