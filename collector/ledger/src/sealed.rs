//! A sealed statement as a file: the body in its canonical form, the public key and the signature over it.
//! Invariant: what verifies is byte for byte what was signed; a file in any other spelling is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{SigningKey, VerifyingKey};
use seatbeat_proto::hex;
use seatbeat_proto::signed::{Domain, hash, public_key, sign, verify as verify_signature};
use seatbeat_proto::wire::Signed;
use serde::Serialize;
use serde_json::{Value, json};

use crate::jcs::{JcsError, to_canonical};

/// What stands in the file's `seatbeat` field.
pub const KIND: &str = "statement/1";

/// A file that is no sealed statement, or not one of this key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not JSON.
    #[error("the file is not JSON: {0}")]
    Json(String),
    /// JSON of another kind.
    #[error("the file is not a sealed statement: its `seatbeat` field is not `{KIND}`")]
    Kind,
    /// A field is missing or of another type.
    #[error("the file's `{0}` is missing or not what it has to be")]
    Field(&'static str),
    /// It has a value without canonical form.
    #[error("the file has a value that no statement has: {0}")]
    Value(#[from] JcsError),
    /// Spelled otherwise than it was written: fields added, repeated or moved, white space.
    #[error("the file is not in canonical form (RFC 8785): it was changed after it was sealed")]
    NotCanonical,
    /// The signature does not belong to the body.
    #[error("the signature does not belong to the body: it was changed, or another key signed it")]
    Signature,
    /// Signed, but by somebody else.
    #[error("the statement was signed by the key {found}, not by {expected}")]
    OtherKey {
        /// The key in the file, base64.
        found: String,
        /// The key asked for, base64.
        expected: String,
    },
}

/// A statement whose signature holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The body.
    pub body: Value,
    /// Who signed it, as the file says; asked for or not.
    pub key: VerifyingKey,
}

/// SHA-256 of a body's canonical bytes, as text.
pub fn digest(body: &[u8]) -> String {
    format!("sha256:{}", hex::format(&hash(body)))
}

/// A body's canonical bytes.
///
/// # Errors
/// When it has a number that is not a whole one.
pub fn body_bytes(body: &impl Serialize) -> Result<Vec<u8>, JcsError> {
    to_canonical(body).map(String::into_bytes)
}

/// Signs a body's canonical bytes.
pub fn seal(body: Vec<u8>, key: &SigningKey) -> Signed {
    sign(key, Domain::Statement, body)
}

/// The file of a sealed statement.
///
/// # Errors
/// When the body is not canonical JSON.
pub fn file(statement: &Signed, key: &[u8; 32]) -> Result<Vec<u8>, VerifyError> {
    let body: Value =
        serde_json::from_slice(&statement.payload).map_err(|error| VerifyError::Json(error.to_string()))?;
    let file = to_canonical(&json!({
        "body": body,
        "key": STANDARD.encode(key),
        "seatbeat": KIND,
        "signature": STANDARD.encode(&statement.signature),
    }))?;
    Ok(file.into_bytes())
}

/// Verifies a file; with `expected`, also that this key signed it.
///
/// # Errors
/// What is wrong with the file.
pub fn verify(file: &[u8], expected: Option<&VerifyingKey>) -> Result<Verified, VerifyError> {
    let file = file.strip_suffix(b"\n").unwrap_or(file);
    let parsed: Value = serde_json::from_slice(file).map_err(|error| VerifyError::Json(error.to_string()))?;
    if parsed["seatbeat"] != KIND {
        return Err(VerifyError::Kind);
    }
    let body = parsed.get("body").filter(|body| body.is_object()).ok_or(VerifyError::Field("body"))?;
    let decoded = |field: &'static str| {
        let text = parsed[field].as_str().ok_or(VerifyError::Field(field))?;
        STANDARD.decode(text).map_err(|_| VerifyError::Field(field))
    };
    let key = public_key(&decoded("key")?).map_err(|_| VerifyError::Field("key"))?;
    let signature = decoded("signature")?;
    let canonical = to_canonical(&json!({
        "body": body, "key": parsed["key"], "seatbeat": KIND, "signature": parsed["signature"],
    }))?;
    if canonical.as_bytes() != file {
        return Err(VerifyError::NotCanonical);
    }
    let signed = Signed { payload: to_canonical(body)?.into_bytes(), signature };
    verify_signature(&key, Domain::Statement, &signed).map_err(|_| VerifyError::Signature)?;
    if let Some(expected) = expected.filter(|expected| **expected != key) {
        let text = |key: &VerifyingKey| STANDARD.encode(key.as_bytes());
        return Err(VerifyError::OtherKey { found: text(&key), expected: text(expected) });
    }
    Ok(Verified { body: body.clone(), key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatbeat_proto::signed::new_key;

    fn sealed(key: &SigningKey) -> Vec<u8> {
        let body = json!({"period": "2026-10", "lines": [{"quantity": "11"}]});
        let signed = seal(body_bytes(&body).unwrap(), key);
        file(&signed, key.verifying_key().as_bytes()).unwrap()
    }

    #[test]
    fn a_sealed_file_verifies_with_its_key() {
        let key = new_key();
        let verified = verify(&sealed(&key), Some(&key.verifying_key())).unwrap();
        assert_eq!(verified.body["lines"][0]["quantity"], "11");
        assert_eq!(verify(&sealed(&key), None).unwrap().key, key.verifying_key());
    }

    #[test]
    fn each_change_has_its_own_refusal() {
        let (key, other) = (new_key(), new_key());
        let text = String::from_utf8(sealed(&key)).unwrap();
        let check = |changed: String| verify(changed.as_bytes(), Some(&key.verifying_key())).unwrap_err();
        assert_eq!(check(text.replace("\"11\"", "\"10\"")), VerifyError::Signature);
        assert_eq!(check(text.replace("{\"body\"", "{ \"body\"")), VerifyError::NotCanonical);
        let added = text.replace("\"key\"", "\"extra\":1,\"key\"");
        assert_eq!(check(added), VerifyError::NotCanonical);
        assert_eq!(check(text.replace("statement/1", "statement/2")), VerifyError::Kind);
        assert!(matches!(check(text[..text.len() / 2].to_owned()), VerifyError::Json(_)));
        assert!(matches!(
            verify(&sealed(&other), Some(&key.verifying_key())),
            Err(VerifyError::OtherKey { .. })
        ));
    }
}
