//! `[sign_in.oidc]`: the identity provider that operators may sign in with. Invariant: no secret is in it, and nothing
//! that proves who somebody is travels in clear beyond this machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How operators sign in, beside passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignInConfig {
    /// An identity provider that speaks OpenID Connect. Default: none.
    pub oidc: Option<OidcConfig>,
}

/// An identity provider, and what this collector is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// Its address, exactly as its ID tokens name it.
    pub issuer: String,
    /// What this collector is called there.
    pub client_id: String,
    /// File with this collector's secret there. Default: none, a public client.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Where browsers reach this collector, as `https://seats.example`. The provider is told to lead people back to
    /// `/sign-in/oidc/callback` there.
    pub public_url: String,
    /// What names a person. Default `sub`, which never changes; `email` where the provider has verified it.
    #[serde(default)]
    pub claim: Claim,
    /// Authorities that are trusted beside the system's, as PEM. Default: none.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// What names a person at an identity provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// The provider's own name for them.
    #[default]
    Sub,
    /// Their e-mail address, where the provider says that it has verified it.
    Email,
}

impl Claim {
    /// As it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sub => "sub",
            Self::Email => "email",
        }
    }
}

impl SignInConfig {
    /// Which key cannot be used, and why.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let oidc = self.oidc.as_ref()?;
        if !is_safe(&oidc.issuer) {
            return Some(("sign_in.oidc.issuer", "has to start with https://"));
        }
        let place = oidc.public_url.split_once("://").map(|(_, place)| place);
        if !is_safe(&oidc.public_url) || place.is_none_or(|place| place.is_empty() || place.contains('/')) {
            return Some((
                "sign_in.oidc.public_url",
                "has to be as in \"https://seats.example\", without a path",
            ));
        }
        oidc.client_id.is_empty().then_some(("sign_in.oidc.client_id", "is empty"))
    }
}

/// Whether what goes to an address is read by nobody else: it is TLS, or stays on this machine.
fn is_safe(address: &str) -> bool {
    let own = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
    let is_own = |own: &&str| {
        address.strip_prefix(*own).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    };
    address.starts_with("https://") || own.iter().any(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(issuer: &str, public_url: &str) -> Option<&'static str> {
        let oidc = OidcConfig {
            issuer: issuer.to_owned(),
            client_id: "seatbeat".to_owned(),
            secret_file: None,
            public_url: public_url.to_owned(),
            claim: Claim::Sub,
            ca_file: None,
        };
        SignInConfig { oidc: Some(oidc) }.fault().map(|(key, _)| key)
    }

    #[test]
    fn what_proves_who_somebody_is_does_not_travel_in_clear() {
        let (issuer, here) = ("https://id.example/realm", "https://seats.example");
        assert_eq!(fault(issuer, here), None);
        assert_eq!(fault("http://127.0.0.1:9/realm", "http://localhost:8080"), None);
        assert_eq!(fault("http://id.example", here), Some("sign_in.oidc.issuer"));
        assert_eq!(fault("http://localhost.example", here), Some("sign_in.oidc.issuer"));
        for wrong in ["http://seats.example", "https://seats.example/", "seats.example", "https://"] {
            assert_eq!(fault(issuer, wrong), Some("sign_in.oidc.public_url"), "{wrong}");
        }
    }
}
