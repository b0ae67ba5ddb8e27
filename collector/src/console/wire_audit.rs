//! What was done, to wire messages and back. Invariant: as in `wire_rows`.

use jiff::civil::Date;
use seatbeat_proto::{instant, wire};

use super::audit::{AuditPage, AuditQuery, AuditRow};
use super::downloads::asked::day;
use super::fault::Fault;
use super::wire_rows::{RowError, all, into_all, time};

impl TryFrom<wire::AuditRequest> for AuditQuery {
    type Error = Fault;

    fn try_from(wire: wire::AuditRequest) -> Result<Self, Fault> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let read = |field: &'static str, text: String| -> Result<Option<Date>, Fault> {
            let read =
                |text: String| day(&text).ok_or_else(|| Fault::value(field, "is not a day as `2026-10-31`"));
            some(text).map(read).transpose()
        };
        Ok(Self {
            from: read("`from`", wire.from)?,
            to: read("`to`", wire.to)?,
            who: some(wire.who),
            what: some(wire.what),
            customer: some(wire.customer).map(|text| text.parse()).transpose()?,
            before: Some(wire.before).filter(|before| *before > 0),
            limit: wire.limit as usize,
        })
    }
}

impl From<AuditRow> for wire::AuditRow {
    fn from(row: AuditRow) -> Self {
        Self {
            position: row.position,
            at_ms: instant::to_ms(row.at),
            who: row.who,
            name: row.name,
            from: row.from,
            what: row.what,
            about: row.about,
            reason: row.reason,
        }
    }
}

impl TryFrom<wire::AuditRow> for AuditRow {
    type Error = RowError;

    fn try_from(wire: wire::AuditRow) -> Result<Self, RowError> {
        Ok(Self {
            position: wire.position,
            at: time("at_ms", wire.at_ms)?,
            who: wire.who,
            name: wire.name,
            from: wire.from,
            what: wire.what,
            about: wire.about,
            reason: wire.reason,
        })
    }
}

impl From<AuditPage> for wire::AuditList {
    fn from(row: AuditPage) -> Self {
        Self { rows: into_all(row.rows), next_before: row.next.unwrap_or(0) }
    }
}

impl TryFrom<wire::AuditList> for AuditPage {
    type Error = RowError;

    fn try_from(wire: wire::AuditList) -> Result<Self, RowError> {
        let next = Some(wire.next_before).filter(|before| *before > 0);
        Ok(Self { rows: all(wire.rows)?, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_survives_the_wire() {
        let row = AuditRow {
            position: 7,
            at: time("", 9).unwrap(),
            who: "opr_a".to_owned(),
            name: "Ann".to_owned(),
            from: "::1".to_owned(),
            what: "customer_added".to_owned(),
            about: vec!["cus_a".to_owned()],
            reason: "new".to_owned(),
        };
        let page = AuditPage { rows: vec![row], next: Some(3) };
        assert_eq!(AuditPage::try_from(wire::AuditList::from(page.clone())).unwrap(), page);
    }

    #[test]
    fn a_day_that_is_none_is_named() {
        let request = wire::AuditRequest { to: "2026-02-30".to_owned(), ..Default::default() };
        let fault = AuditQuery::try_from(request).unwrap_err().words();
        assert_eq!(fault, "`to` is not a day as `2026-10-31`");
    }
}
