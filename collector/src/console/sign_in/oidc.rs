//! Signing in with an identity provider: OpenID Connect's authorisation code flow with PKCE. Invariant: nobody is
//! believed whom the provider did not name in a signed ID token made for this collector, this browser and this very
//! attempt; each attempt is good once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, TokenResponse as _,
};
use seatbeat_proto::signed::hash;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::accounts::Identity;
use super::oidc_config::{Claim, OidcConfig};
use super::random;
use crate::console::fault::Fault;
use crate::distributor::call::{CallError, Transport as _};
use crate::distributor::http::{Http, HttpError};

/// How long somebody may take at the provider.
const AWAY_MAX: Duration = Duration::from_secs(600);

/// People who are there at once, with those who gave up.
const AWAY_COUNT_MAX: usize = 1000;

/// How long what the provider says of itself is taken for true.
const METADATA_LIFE: Duration = Duration::from_secs(600);

/// After so long an ID token by an unknown key is reason to ask for its keys again.
const KEYS_LIFE: Duration = Duration::from_secs(10);

/// Longest answers that the provider sends a browser back with, in bytes.
const ANSWER_LENGTH_MAX: usize = 4096;

/// Signatures that only the provider can make: none that this collector's secret makes, and not none.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why an identity provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The secret is not there.
    #[error("failed to read the identity provider's `secret_file` `{path}`")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no way to speak to it.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// An identity provider, and who is there just now.
pub struct Provider {
    config: OidcConfig,
    secret: Option<Zeroizing<String>>,
    carrier: Carrier,
    known: tokio::sync::Mutex<Option<(Instant, CoreProviderMetadata)>>,
    /// By the hash of what the provider gives back.
    away: Mutex<HashMap<[u8; 32], Away>>,
}

/// Somebody who was sent to the provider.
struct Away {
    browser: [u8; 32],
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    to: String,
    until: Instant,
}

/// Where somebody is sent, and the cookie that knows their browser again.
pub struct SentAway {
    /// The provider's page.
    pub url: String,
    /// The cookie.
    pub cookie: Zeroizing<String>,
}

/// Who came back, and where they were on their way to.
#[derive(Debug)]
pub struct CameBack {
    /// Who the provider says that they are.
    pub identity: Identity,
    /// Where they wanted to go.
    pub to: String,
}

impl Provider {
    /// A provider as it is configured; it is not asked before somebody signs in.
    ///
    /// # Errors
    /// When its secret or its authorities cannot be read.
    pub fn new(config: &OidcConfig) -> Result<Self, ProviderError> {
        let secret = config.secret_file.as_ref().map(|path| {
            let text = std::fs::read_to_string(path).map(Zeroizing::new);
            let text = text.map_err(|source| ProviderError::Secret { path: path.clone(), source })?;
            Ok::<_, ProviderError>(Zeroizing::new(text.trim().to_owned()))
        });
        Ok(Self {
            config: config.clone(),
            secret: secret.transpose()?,
            carrier: Carrier(Arc::new(Http::new(config.ca_file.as_deref())?)),
            known: tokio::sync::Mutex::default(),
            away: Mutex::default(),
        })
    }

    /// Who an operator is linked to by this value of the claim that names people.
    pub fn identity(&self, value: &str) -> Identity {
        let claim = self.config.claim;
        let value = match claim {
            Claim::Sub => value.to_owned(),
            Claim::Email => value.to_lowercase(),
        };
        Identity { issuer: self.config.issuer.clone(), claim: claim.as_str().to_owned(), value }
    }

    /// Sends somebody to the provider.
    ///
    /// # Errors
    /// When it does not answer, or too many are there already.
    pub async fn send_away(&self, to: &str) -> Result<SentAway, Fault> {
        let client = self.client(METADATA_LIFE).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
        if self.config.claim == Claim::Email {
            request = request.add_scope(Scope::new("email".to_owned()));
        }
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        let cookie = Zeroizing::new(URL_SAFE_NO_PAD.encode(random::<32>()));
        let browser = hash(cookie.as_bytes());
        let now = Instant::now();
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.len() >= AWAY_COUNT_MAX {
            away.retain(|_, one| now < one.until);
        }
        if away.len() >= AWAY_COUNT_MAX {
            return Err(Fault::TooOften { wait_s: 60 });
        }
        let sent = Away { browser, nonce, verifier, to: to.to_owned(), until: now + AWAY_MAX };
        away.insert(hash(state.secret().as_bytes()), sent);
        Ok(SentAway { url: url.into(), cookie })
    }

    /// Who came back, with what the provider sent along.
    ///
    /// # Errors
    /// When they were not sent from here, by this browser, just now and once; when the provider does not vouch for them
    /// or does not answer.
    pub async fn come_back(
        &self,
        state: &str,
        code: Option<&str>,
        browser: Option<&str>,
        now: Timestamp,
    ) -> Result<CameBack, Fault> {
        let sent = self.away.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(state.as_bytes()));
        let sent = sent.filter(|sent| Instant::now() < sent.until);
        let is_browser = |sent: &Away| browser.is_some_and(|cookie| hash(cookie.as_bytes()) == sent.browser);
        let Some(sent) = sent.filter(is_browser) else { return Err(Fault::SignInRefused) };
        let code = code.filter(|code| code.len() <= ANSWER_LENGTH_MAX).ok_or(Fault::SignInRefused)?;
        let client = self.client(METADATA_LIFE).await?;
        let code = AuthorizationCode::new(code.to_owned());
        let exchange = client.exchange_code(code).map_err(|error| Fault::Provider(error.to_string()))?;
        let answer = exchange.set_pkce_verifier(sent.verifier).request_async(&self.carrier).await;
        let answer = answer.map_err(|error| match error {
            RequestTokenError::ServerResponse(error) => refused(&error),
            RequestTokenError::Request(error) => Fault::Provider(error.to_string()),
            other => Fault::Provider(other.to_string()),
        })?;
        let token = answer.id_token().ok_or_else(|| refused(&"its answer has no ID token"))?;
        let named = match self.named(&client, token, &sent.nonce, now) {
            Ok(named) => named,
            // The provider may have new keys.
            Err(_) => self.named(&self.client(KEYS_LIFE).await?, token, &sent.nonce, now)?,
        };
        Ok(CameBack { identity: self.identity(&named), to: sent.to })
    }

    /// Whom an ID token names, once all of it is checked.
    fn named(
        &self,
        client: &Client,
        token: &CoreIdToken,
        nonce: &Nonce,
        now: Timestamp,
    ) -> Result<String, Fault> {
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || SystemTime::from(now).into());
        let claims = token.claims(&verifier, nonce).map_err(|error| refused(&error))?;
        match self.config.claim {
            Claim::Sub => Ok(claims.subject().as_str().to_owned()),
            Claim::Email if claims.email_verified() == Some(true) => {
                let email = claims.email().ok_or_else(|| refused(&"its ID token has no e-mail address"))?;
                Ok(email.as_str().to_owned())
            }
            Claim::Email => Err(refused(&"it has not verified the e-mail address")),
        }
    }

    /// What speaks to the provider, by what it says of itself that is not older than this.
    async fn client(&self, life: Duration) -> Result<Client, Fault> {
        let mut known = self.known.lock().await;
        let metadata = match known.as_ref().filter(|(at, _)| at.elapsed() < life) {
            Some((_, metadata)) => metadata.clone(),
            None => {
                let issuer = IssuerUrl::new(self.config.issuer.clone());
                let issuer = issuer.map_err(|error| Fault::Provider(error.to_string()))?;
                let found = CoreProviderMetadata::discover_async(issuer, &self.carrier).await;
                let found = found.map_err(|error| Fault::Provider(told(&error)))?;
                *known = Some((Instant::now(), found.clone()));
                found
            }
        };
        let back = format!("{}/sign-in/oidc/callback", self.config.public_url);
        let back = RedirectUrl::new(back).map_err(|error| Fault::Provider(error.to_string()))?;
        let secret = self.secret.as_ref().map(|secret| ClientSecret::new(secret.as_str().to_owned()));
        let id = ClientId::new(self.config.client_id.clone());
        Ok(CoreClient::from_provider_metadata(metadata, id, secret).set_redirect_uri(back))
    }
}

/// Carries the requests that the flow makes.
struct Carrier(Arc<Http>);

impl<'c> AsyncHttpClient<'c> for Carrier {
    type Error = CallError;
    type Future = BoxFuture<'c, Result<HttpResponse, CallError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let http = Arc::clone(&self.0);
        async move {
            let (head, body) = request.into_parts();
            let answer = http.call(http::Request::from_parts(head, Bytes::from(body))).await?;
            let (head, body) = answer.into_parts();
            Ok(http::Response::from_parts(head, body.to_vec()))
        }
        .boxed()
    }
}

/// Why the provider does not vouch for somebody: for the log, not for them.
fn refused(why: &dyn std::fmt::Display) -> Fault {
    tracing::info!(%why, "the identity provider does not vouch for somebody");
    Fault::SignInRefused
}

fn told(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
