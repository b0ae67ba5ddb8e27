//! Whose orders a machine is to take, as text that an administrator carries to it (`so1.` and base64url of
//! [`OrderKeys`]). Invariant: text that parses names a revision, at least one key, and nothing but keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;

use crate::signed::public_key;
use crate::wire::OrderKeys;

/// What the text starts with; the number is the version of what follows.
pub const PREFIX: &str = "so1.";

/// Most order keys of a revision: each is tried on each order.
pub const KEYS_MAX: usize = 16;

/// Longest text in bytes: all keys of a revision, with room.
pub const TEXT_LENGTH_MAX: usize = 1024;

/// Text that names no order keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Another prefix, or none.
    #[error("the order keys do not start with `{PREFIX}`")]
    Prefix,
    /// It was cut, mistyped or changed.
    #[error("the order keys are damaged: they were cut or changed when they were copied")]
    Damaged,
    /// It is whole, and what is in it cannot be used.
    #[error(
        "the order keys are not usable: a revision from 1, 1 to {KEYS_MAX} Ed25519 keys and at most one recovery key"
    )]
    Unusable,
}

/// Writes order keys as text.
pub fn format(keys: &OrderKeys) -> String {
    let mut bytes = keys.encode_to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Reads order keys from their text.
///
/// # Errors
/// When it is not a whole one; the error says in which way.
pub fn parse(text: &str) -> Result<OrderKeys, TrustError> {
    let text = text.trim();
    let encoded = text.strip_prefix(PREFIX).ok_or(TrustError::Prefix)?;
    if text.len() > TEXT_LENGTH_MAX {
        return Err(TrustError::Damaged);
    }
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TrustError::Damaged)?;
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(TrustError::Damaged)?;
    if crc32c::crc32c(body).to_le_bytes() != *checksum {
        return Err(TrustError::Damaged);
    }
    let keys = OrderKeys::decode(body).map_err(|_| TrustError::Damaged)?;
    if is_usable(&keys) { Ok(keys) } else { Err(TrustError::Unusable) }
}

/// Whether a machine can take orders by them.
pub fn is_usable(keys: &OrderKeys) -> bool {
    keys.revision > 0
        && (1..=KEYS_MAX).contains(&keys.keys.len())
        && keys.keys.iter().all(|key| public_key(key).is_ok())
        && (keys.recovery_key.is_empty() || public_key(&keys.recovery_key).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed::new_key;

    fn keys() -> OrderKeys {
        let key = || new_key().verifying_key().to_bytes().to_vec();
        OrderKeys { revision: 2, keys: vec![key(), key()], recovery_key: key() }
    }

    #[test]
    fn order_keys_are_read_as_they_were_written() {
        let most = OrderKeys { keys: vec![keys().keys[0].clone(); KEYS_MAX], ..keys() };
        for keys in [keys(), most, OrderKeys { recovery_key: Vec::new(), ..keys() }] {
            let text = format(&keys);
            assert_eq!(parse(&format!(" {text}\n")), Ok(keys));
        }
    }

    #[test]
    fn what_was_cut_changed_or_is_no_key_is_refused() {
        let text = format(&keys());
        assert_eq!(parse("sb1.abc"), Err(TrustError::Prefix));
        assert_eq!(parse(&text[..text.len() - 3]), Err(TrustError::Damaged));
        assert_eq!(parse(&text.replacen("so1.C", "so1.D", 1)), Err(TrustError::Damaged));
        assert_eq!(parse(&format!("{text}{}", "A".repeat(TEXT_LENGTH_MAX))), Err(TrustError::Damaged));
        for unusable in [
            OrderKeys { revision: 0, ..keys() },
            OrderKeys { keys: Vec::new(), ..keys() },
            OrderKeys { keys: vec![keys().keys[0].clone(); KEYS_MAX + 1], ..keys() },
            OrderKeys { keys: vec![vec![1; 31]], ..keys() },
            OrderKeys { recovery_key: vec![1; 31], ..keys() },
        ] {
            assert_eq!(parse(&format(&unusable)), Err(TrustError::Unusable), "{unusable:?}");
        }
    }

    /// Order keys with a field of a later version in them, and the text that long.
    fn padded_to(length: usize) -> String {
        let fits = |padding: usize| {
            let mut bytes = keys().encode_to_vec();
            prost::encoding::bytes::encode(15, &vec![0u8; padding], &mut bytes);
            bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
        };
        (0..length).map(fits).find(|text| text.len() >= length).unwrap()
    }

    #[test]
    fn longer_text_is_refused_whole_or_not() {
        let longest = padded_to(TEXT_LENGTH_MAX);
        assert_eq!(longest.len(), TEXT_LENGTH_MAX);
        assert!(parse(&longest).is_ok());
        for longer in [TEXT_LENGTH_MAX + 2, TEXT_LENGTH_MAX * 2] {
            assert_eq!(parse(&padded_to(longer)), Err(TrustError::Damaged), "{longer}");
        }
    }
}
