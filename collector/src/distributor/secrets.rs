//! What lets us in at a far side. Invariant: a value leaves here for a request only; whatever is said, logged or put
//! on record goes through [`Secrets::scrub`] first.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use zeroize::Zeroizing;

/// Why there is no secret, or it cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nobody has given it.
    #[error("the secret `{0}` is missing")]
    Missing(String),
    /// It cannot be read or kept.
    #[error("the destination's secrets cannot be used: {0}")]
    Failed(String),
}

/// The secrets of one destination, by name.
pub trait Secrets: Send + Sync {
    /// One of them.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Zeroizing<String>, SecretError>>;

    /// Keeps a new value of one; it is durable when this returns.
    fn put<'a>(&'a self, name: &'a str, value: Zeroizing<String>) -> BoxFuture<'a, Result<(), SecretError>>;

    /// Takes them from where they come from, if they are others there; `asks`: also where that costs something. Whether
    /// there were any new ones.
    fn renew(&self, asks: bool) -> BoxFuture<'_, Result<bool, SecretError>> {
        let _ = asks;
        ready(Ok(false)).boxed()
    }

    /// A text without any of them.
    fn scrub(&self, text: &str) -> String;
}

impl From<SecretError> for super::call::SendError {
    fn from(error: SecretError) -> Self {
        let hint = "give it in the destination's `secrets_file` or by its `secrets_command`: lines of `name = \"value\"`";
        Self::stop(error.to_string(), hint)
    }
}
