//! Sealed statements. Invariant: what verifies is, byte for byte, a file that the key's holder made of its body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, key, same};
use seatbeat_ledger::body::{SealedBody, StatementBody};
use seatbeat_ledger::sealed::{body_bytes, file, seal, verify};
use serde_json::Value;

const STATEMENT: u8 = 108;

fuzz_target!(|bytes: &[u8]| {
    let key = key(STATEMENT);
    let public = key.verifying_key();
    if let Ok(verified) = bounded(bytes.len(), 2048, || verify(bytes, Some(&public))) {
        let body = body_bytes(&verified.body).expect("what verified has a form");
        let made = file(&seal(body, &key), public.as_bytes()).expect("what verified is a statement");
        assert_eq!(bytes.strip_suffix(b"\n").unwrap_or(bytes), made);
    }
    // Any body, signed: it verifies as what it is, and its one form is written as it is read.
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(body) = body_bytes(&value) else { return };
    same(&serde_json::from_slice(&body).ok(), &Some(value.clone()));
    let made = file(&seal(body.clone(), &key), public.as_bytes()).expect("the body is canonical");
    match verify(&made, Some(&public)) {
        Ok(verified) => same(&verified.body, &value),
        Err(error) => assert!(!value.is_object(), "{error}"),
    }
    let _ = bounded(body.len(), 2048, || serde_json::from_slice::<SealedBody>(&body).is_ok());
    if let Ok(statement) = serde_json::from_slice::<StatementBody>(&body) {
        let written = body_bytes(&statement).expect("a statement has a form");
        same(&serde_json::from_slice(&written).ok(), &Some(statement));
    }
});
