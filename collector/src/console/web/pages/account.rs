//! One's own account: password, second factor, programs' tokens, and the session. Invariant: a secret that is made here
//! is in the one answer that made it; whoever comes with a token changes no password.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::operators::{Reach, Role};
use seatbeat_proto::ids::ApiTokenId;
use seatbeat_proto::wire::ApiTokenRow;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::api_tokens::{ApiTokenAsked, Until};
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::console::operators::{customer_ids, named_role};
use crate::console::rights::Needs;
use crate::console::sign_in::change::OwnPasswordAsked;
use crate::console::sign_in::enter::InSession;
use crate::console::sign_in::session::Means;
use crate::console::sign_in::totp::Enrolment;
use crate::console::web::form::{Fields, ReasonForm, ids};
use crate::console::web::sign_in::{Visit, in_session};
use crate::console::web::{Route, Web};

/// Days of a token that nobody names another number for.
const TOKEN_DAYS: i64 = 90;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    let route = |path, service| Route { path, needs: Needs::SignedIn, service };
    vec![
        route("/account", get(page)),
        route("/account/password", post(password)),
        route("/account/totp/begin", post(begin_totp)),
        route("/account/totp/confirm", post(confirm_totp)),
        route("/account/totp/remove", post(remove_totp)),
        route("/account/tokens", post(create_token)),
        route("/account/tokens/{token}/revoke", post(revoke_token)),
    ]
}

#[derive(Template)]
#[template(path = "account/page.html")]
struct Body {
    shell: Shell,
    roles: Vec<Role>,
    /// None: all of them.
    customers: Option<Vec<String>>,
    login: String,
    has_password: bool,
    has_totp: bool,
    session: Option<InSession>,
    sessions: Vec<InSession>,
    tokens: Vec<ApiTokenRow>,
    days: i64,
    now_ms: i64,
    /// A second factor that was just begun.
    enrolment: Option<Enrolment>,
    made: Option<Made>,
}

/// A program's token that was just made.
struct Made {
    token: Zeroizing<String>,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    #[serde(default)]
    current: String,
    #[serde(default)]
    name: String,
    password: String,
    again: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TotpForm {
    #[serde(default)]
    password: String,
    #[serde(default)]
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenForm {
    #[serde(default)]
    role: String,
    #[serde(default)]
    customers: String,
    days: i64,
    reason: String,
}

type Session = Option<Extension<InSession>>;

impl Body {
    async fn of(shell: Shell, web: &Web, caller: &Caller, session: Session) -> Result<Self, Fault> {
        let account = web.console.account(caller.operator()).await?;
        let own = caller.operator().to_string();
        let mut tokens = web.console.api_tokens(caller, 0).await?;
        tokens.retain(|token| token.operator == own);
        let means = account.means();
        Ok(Self {
            roles: caller.let_in.grants.iter().map(|grant| grant.role).collect(),
            customers: match caller.reach() {
                Reach::House => None,
                Reach::Customers(customers) => Some(customers.iter().map(ToString::to_string).collect()),
            },
            has_password: means.contains(&"password"),
            has_totp: means.contains(&"totp"),
            login: account.login,
            session: session.map(|Extension(session)| session),
            sessions: web.console.sessions_of(caller.operator()).await?,
            tokens,
            days: TOKEN_DAYS,
            now_ms: web.console.now().as_millisecond(),
            enrolment: None,
            made: None,
            shell,
        })
    }

    /// Whether this is the session that asks.
    fn is_this(&self, session: &InSession) -> bool {
        self.session.as_ref().is_some_and(|own| own.handle == session.handle)
    }

    /// Whether the current password is asked for: who came by a link has lost it, or never had one.
    fn asks_for_current(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.session.means != Means::Link)
    }
}

async fn page(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    session: Session,
) -> Shown {
    Ok(Page(Body::of(shell, &web, &caller, session).await?).into_response())
}

async fn password(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    session: Session,
    visit: Visit,
    Fields(form): Fields<PasswordForm>,
) -> Shown {
    let session = in_session(session)?;
    let (password, again) = (Zeroizing::new(form.password), Zeroizing::new(form.again));
    if password != again {
        return Err(Fault::value("the password", "is not the same twice").into());
    }
    let asked = OwnPasswordAsked { current: Zeroizing::new(form.current), login: form.name, password };
    let renewed = web.console.set_own_password(&caller, &session, asked).await?;
    Ok(visit.led_to("/account?done=password", &renewed))
}

async fn begin_totp(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    session: Session,
    Fields(form): Fields<TotpForm>,
) -> Shown {
    in_session(session.clone())?;
    let enrolment = web.console.begin_totp(&caller, Zeroizing::new(form.password)).await?;
    let body = Body::of(shell, &web, &caller, session).await?;
    Ok(Page(Body { enrolment: Some(enrolment), ..body }).into_response())
}

async fn confirm_totp(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    session: Session,
    Fields(form): Fields<TotpForm>,
) -> Shown {
    in_session(session)?;
    web.console.confirm_totp(&caller, &form.code).await?;
    Ok(led("totp"))
}

async fn remove_totp(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    session: Session,
    Fields(form): Fields<TotpForm>,
) -> Shown {
    in_session(session)?;
    web.console.remove_own_totp(&caller, Zeroizing::new(form.password), &form.code).await?;
    Ok(led("no-totp"))
}

async fn create_token(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    session: Session,
    Fields(form): Fields<TokenForm>,
) -> Shown {
    let hours = form.days.checked_mul(24).filter(|hours| *hours <= i64::from(i32::MAX));
    let hours = hours.ok_or_else(|| Fault::value("the days", "are more than a year"))?;
    let asked = ApiTokenAsked {
        operator: None,
        role: Some(form.role.as_str()).filter(|role| !role.is_empty()).map(named_role).transpose()?,
        customers: customer_ids(&ids(&form.customers))?,
        until: Until::After(SignedDuration::from_hours(hours)),
        reason: form.reason,
    };
    let made = web.console.create_api_token(&caller, asked).await?;
    let body = Body::of(shell, &web, &caller, session).await?;
    let made = Made { token: made.token, expires_at: made.expires_at };
    Ok(Page(Body { made: Some(made), ..body }).into_response())
}

async fn revoke_token(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(token): Path<String>,
    Fields(form): Fields<ReasonForm>,
) -> Shown {
    let token: ApiTokenId = token.parse().map_err(Fault::from)?;
    web.console.revoke_api_token(&caller, token, &form.reason).await?;
    Ok(led("saved"))
}

fn led(done: &str) -> Response {
    Redirect::to(&format!("/account?done={done}")).into_response()
}
