//! What people carry from place to place as text: enrolment tokens, order keys, public keys, ids. Invariant: text that is
//! read is written again so that it is read the same; a token that is read is complete.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use seatbeat_collector::order_key::LockedKey;
use seatbeat_fuzz::{bounded, same, text};
use seatbeat_proto::ids::{CustomerId, ID_LENGTH_MAX, MachineId, ProductId, SpoolId, TokenId};
use seatbeat_proto::signed::{key_from_text, key_text};
use seatbeat_proto::wire::{OrderKeys, TokenText};
use seatbeat_proto::{hex, token, trust};

fuzz_target!(|bytes: &[u8]| {
    // A message, wrapped as a token is: what its checksum would refuse of changed ones gets through.
    if let Ok(message) = <TokenText as prost::Message>::decode(bytes) {
        enrolment(&token::format(&message));
    }
    if let Ok(message) = <OrderKeys as prost::Message>::decode(bytes) {
        order_keys(&trust::format(&message));
    }
    let Some(text) = text(bytes) else { return };
    enrolment(text);
    order_keys(text);
    if let Ok(key) = key_from_text(text) {
        assert_eq!(key_text(&key), text.trim());
    }
    if let Some(bytes) = hex::parse_all(text) {
        assert_eq!(hex::format(&bytes), text.to_lowercase());
    }
    id::<MachineId>(text);
    id::<CustomerId>(text);
    id::<SpoolId>(text);
    id::<ProductId>(text);
    if let Ok(key) = bounded(text.len(), 256, || LockedKey::from_text(text)) {
        assert!(LockedKey::from_text(&key.to_text()).is_ok_and(|again| again.to_text() == key.to_text()));
        let _ = key.public();
    }
});

fn enrolment(text: &str) {
    let Ok(token) = bounded(text.len(), 256, || token::parse(text)) else { return };
    same(&token::parse(&token::format(&token)), &Ok(token.clone()));
    assert!(token.token.parse::<TokenId>().is_ok() && token.secret.len() == token::SECRET_LENGTH);
    assert!(
        !token.addresses.is_empty() && [&token.pin, &token.salt, &token.service_key].map(Vec::len) == [32; 3]
    );
}

fn order_keys(text: &str) {
    let Ok(keys) = bounded(text.len(), 256, || trust::parse(text)) else { return };
    same(&trust::parse(&trust::format(&keys)), &Ok(keys.clone()));
    assert!(keys.revision > 0 && (1..=trust::KEYS_MAX).contains(&keys.keys.len()));
}

fn id<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    let Ok(id) = text.parse::<T>() else { return };
    let shown = id.to_string();
    assert_eq!(shown, text);
    assert!(shown.len() <= ID_LENGTH_MAX && shown.bytes().all(|byte| byte.is_ascii_graphic()));
}
