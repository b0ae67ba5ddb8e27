//! The journal record that sealed a statement, without repeating the statement. Invariant: what is put together
//! again is the record's bytes, and it is taken only when it decodes to the sealing of exactly this statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{JournalRecord, Signed, StatementSealed};
use serde::{Deserialize, Serialize};

/// The record's bytes before and after the body (base64).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Around {
    /// What follows the body.
    pub after: String,
    /// What precedes it.
    pub before: String,
}

/// Why a record is not the one that sealed a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtherRecord {
    /// It does not decode around a body of this length.
    #[error("the bundle's record does not fit a body of {0} bytes: it sealed another")]
    Body(usize),
    /// It sealed the body, but in another signature.
    #[error("the bundle's record holds another signature than the statement's")]
    Signature,
}

impl Around {
    /// Cuts a body out of the record that sealed it; `None` when it is not in there.
    pub fn cut(record: &[u8], body: &[u8]) -> Option<Self> {
        let at = record.windows(body.len().max(1)).position(|part| part == body)?;
        let (before, after) = (&record[..at], &record[at + body.len()..]);
        Some(Self { after: STANDARD.encode(after), before: STANDARD.encode(before) })
    }

    /// The record around this statement.
    ///
    /// # Errors
    /// When it is not the record that sealed it.
    pub fn record(&self, statement: &Signed) -> Result<(Vec<u8>, StatementSealed), OtherRecord> {
        let other = OtherRecord::Body(statement.payload.len());
        let part = |text: &str| STANDARD.decode(text).map_err(|_| other);
        let record = [part(&self.before)?.as_slice(), &statement.payload, &part(&self.after)?].concat();
        let fact = JournalRecord::decode(record.as_slice()).map_err(|_| other)?.fact;
        let Some(Fact::StatementSealed(sealed)) = fact else { return Err(other) };
        match &sealed.statement {
            Some(inside) if inside == statement => Ok((record, sealed)),
            Some(inside) if inside.payload == statement.payload => Err(OtherRecord::Signature),
            _ => Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_put_together_around_its_own_statement_only() {
        let statement = Signed { payload: b"{\"body\":1}".to_vec(), signature: vec![7; 64] };
        let record = JournalRecord {
            recorded_at_ms: 5,
            actor: "opr_a".into(),
            reason: "agreed".into(),
            fact: Some(Fact::StatementSealed(StatementSealed {
                distributor: "d".into(),
                period: "2026-10".into(),
                revision: 1,
                statement: Some(statement.clone()),
            })),
            ..Default::default()
        };
        let bytes = record.encode_to_vec();
        let around = Around::cut(&bytes, &statement.payload).unwrap();
        assert_eq!(around.record(&statement).unwrap().0, bytes);
        let other = Signed { payload: b"{\"body\":2}".to_vec(), ..statement.clone() };
        assert!(around.record(&other).is_ok_and(|(record, _)| record != bytes));
        let resigned = Signed { signature: vec![8; 64], ..statement };
        assert_eq!(around.record(&resigned), Err(OtherRecord::Signature));
        let longer = Signed { payload: b"{\"body\":22}".to_vec(), ..resigned };
        assert_eq!(around.record(&longer), Err(OtherRecord::Body(11)));
        assert_eq!(Around::cut(&bytes, b"absent"), None);
    }
}
