//! The enrolment token: one string that holds all an installer needs (`sb1.` and base64url of [`TokenText`]).
//! Invariant: text that parses is complete (id, secret, address, pin, salt, service key).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;

use crate::ids::{IdError, TokenId};
use crate::wire::TokenText;

/// What every token starts with; the number is the version of what follows.
pub const PREFIX: &str = "sb1.";

/// Longest token text in bytes: it has to fit into a command line and an installer's property.
pub const TEXT_LENGTH_MAX: usize = 2048;

/// Length of a token's secret in bytes.
pub const SECRET_LENGTH: usize = 16;

/// Text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another prefix, or none.
    #[error("the token does not start with `{PREFIX}`")]
    Prefix,
    /// It was cut, mistyped or changed.
    #[error("the token is damaged: it was cut or changed when it was copied")]
    Damaged,
    /// Too long to be one.
    #[error("the token has {0} characters, more than {TEXT_LENGTH_MAX}")]
    TooLong(usize),
    /// The id inside is none.
    #[error("the token names no token id")]
    Id(#[from] IdError),
}

/// Writes a token's text.
pub fn format(token: &TokenText) -> String {
    let mut bytes = token.encode_to_vec();
    bytes.extend_from_slice(&check(&bytes));
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Reads a token's text.
///
/// # Errors
/// When it is not a whole token; the error says in which way.
pub fn parse(text: &str) -> Result<TokenText, TokenError> {
    let text = text.trim();
    if text.len() > TEXT_LENGTH_MAX {
        return Err(TokenError::TooLong(text.len()));
    }
    let encoded = text.strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Damaged)?;
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(TokenError::Damaged)?;
    if check(body) != *checksum {
        return Err(TokenError::Damaged);
    }
    let token = TokenText::decode(body).map_err(|_| TokenError::Damaged)?;
    let complete = token.secret.len() == SECRET_LENGTH
        && !token.addresses.is_empty()
        && token.pin.len() == 32
        && token.salt.len() == 32
        && token.service_key.len() == 32;
    if !complete {
        return Err(TokenError::Damaged);
    }
    token.token.parse::<TokenId>()?;
    Ok(token)
}

fn check(body: &[u8]) -> [u8; 4] {
    crc32c::crc32c(body).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> TokenText {
        TokenText {
            token: "tok_1".into(),
            secret: vec![1; SECRET_LENGTH],
            addresses: vec!["collector.example:8443".into()],
            pin: vec![2; 32],
            salt: vec![3; 32],
            service_key: vec![4; 32],
            order_keys: vec![],
            expires_at_ms: 5,
            ..TokenText::default()
        }
    }

    #[test]
    fn a_token_comes_out_as_it_went_in() {
        let text = format(&token());
        assert!(text.starts_with("sb1."));
        assert_eq!(parse(&format!(" {text}\n")).unwrap(), token());
    }

    #[test]
    fn a_token_that_was_cut_or_changed_is_not_taken() {
        let text = format(&token());
        for cut in 4..text.len() {
            assert!(parse(&text[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(parse("hello"), Err(TokenError::Prefix));
        assert_eq!(parse("sb1.%%%"), Err(TokenError::Damaged));
        let incomplete = TokenText { pin: vec![], ..token() };
        assert_eq!(parse(&format(&incomplete)), Err(TokenError::Damaged));
    }
}
