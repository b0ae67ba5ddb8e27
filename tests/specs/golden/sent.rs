//! The golden journal of statements on their way and of what far sides say of them. Invariant: as of the others, its
//! bytes stay as they were written once.

use std::fmt::Write as _;

use seatbeat_ledger::fold::Fold;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire;
use seatbeat_proto::wire::UploadStatus;
use seatbeat_proto::wire::journal_record::Fact;

use super::{Scribe, key};

const DISTRIBUTOR: &str = "ingram";
const PERIOD: &str = "2026-09";

/// A month that is sealed, mapped, sent, rejected, sent again and settled; books of both sides, and a difference that
/// somebody explained.
pub fn write(scribe: &mut Scribe) {
    let row = |customer: &str, fields: &[(&str, &str)]| wire::MappingRow {
        customer: customer.into(),
        sku: "WF-SVC".into(),
        fields: fields
            .iter()
            .map(|(name, value)| wire::MappedField { name: (*name).into(), value: (*value).into() })
            .collect(),
    };
    let rows = vec![row("cus_a", &[("item", "I-1"), ("asset", "AS-1")]), row("cus_b", &[("item", "I-1")])];
    let mapping = |rows| Fact::MappingSet(wire::MappingSet { destination: "connect".into(), rows });
    scribe.write("opr_golden", "agreed", mapping(rows));
    scribe.write("opr_golden", "a mistake", mapping(vec![row("cus_b", &[])]));
    let body = b"{\"period\":\"2026-09\"}".to_vec();
    let sealed = wire::StatementSealed {
        distributor: DISTRIBUTOR.into(),
        period: PERIOD.into(),
        revision: 1,
        statement: Some(sign(&key(202), Domain::Statement, body)),
    };
    scribe.write("opr_golden", "checked", Fact::StatementSealed(sealed));
    sent(scribe);
    compared(scribe);
}

fn sent(scribe: &mut Scribe) {
    let noted = |submission, status: UploadStatus, far_id: &str, said: &str| {
        let part = wire::UploadPart {
            digest: "sha256:golden".into(),
            far_id: far_id.into(),
            said: said.into(),
            ..Default::default()
        };
        let is_built = status == UploadStatus::Built;
        Fact::UploadNoted(wire::UploadNoted {
            destination: "connect".into(),
            distributor: DISTRIBUTOR.into(),
            period: PERIOD.into(),
            revision: 1,
            submission,
            status: status.into(),
            parts: u32::from(is_built),
            noted: if is_built { Vec::new() } else { vec![part] },
        })
    };
    let before = [
        noted(1, UploadStatus::Built, "", ""),
        noted(1, UploadStatus::Sent, "", ""),
        noted(1, UploadStatus::Sent, "", ""),
        noted(1, UploadStatus::Acknowledged, "UF-1", ""),
        noted(1, UploadStatus::Rejected, "UF-1", "the item is not known"),
    ];
    before.into_iter().for_each(|fact| scribe.write("collector", "", fact));
    let retried = wire::UploadRetried {
        destination: "connect".into(),
        distributor: DISTRIBUTOR.into(),
        period: PERIOD.into(),
        revision: 1,
        submission: 2,
    };
    scribe.write("opr_golden", "mapped", Fact::UploadRetried(retried));
    for (status, far_id) in [
        (UploadStatus::Sent, ""),
        (UploadStatus::Acknowledged, "UF-2"),
        (UploadStatus::Accepted, "UF-2"),
        (UploadStatus::Settled, "UF-2"),
    ] {
        scribe.write("collector", "", noted(2, status, far_id, ""));
    }
}

fn compared(scribe: &mut Scribe) {
    let part = |part, set: &str| Some(wire::SetPart { set: format!("sha256:{set}"), part, parts: 2 });
    for number in [0, 1] {
        let customer = if number == 0 { "cus_a" } else { "cus_b" };
        let rows = vec![wire::ProvisionedRow {
            customer: customer.into(),
            sku: "WF-SVC".into(),
            provisioned: Some(7),
            used: None,
        }];
        let noted = wire::ProvisionedNoted {
            destination: "connect".into(),
            distributor: DISTRIBUTOR.into(),
            period: PERIOD.into(),
            part: part(number, "provisioned"),
            rows,
            unmapped: 1,
            unmapped_seats: 2,
        };
        scribe.write("collector", "", Fact::ProvisionedNoted(noted));
        let rows = vec![wire::InvoicedRow {
            customer: customer.into(),
            sku: "WF-SVC".into(),
            quantity: "9".into(),
            amount: "18.90".into(),
        }];
        let imported = wire::InvoiceImported {
            distributor: DISTRIBUTOR.into(),
            period: PERIOD.into(),
            currency: "EUR".into(),
            part: part(number, "invoice"),
            rows,
        };
        scribe.write("opr_golden", "of October", Fact::InvoiceImported(imported));
    }
    let explained = wire::DifferenceExplained {
        distributor: DISTRIBUTOR.into(),
        period: PERIOD.into(),
        source: "invoice".into(),
        customer: "cus_a".into(),
        sku: "WF-SVC".into(),
        ours: "0".into(),
        theirs: "9".into(),
        amount: "18.90".into(),
        ..Default::default()
    };
    scribe.write("opr_golden", "credited in November", Fact::DifferenceExplained(explained));
}

/// Uploads, mappings and what was compared; nothing where there is none.
pub fn show(text: &mut String, fold: &Fold) {
    for (id, upload) in fold.uploads().iter() {
        writeln!(text, "{id:?}: {:?}", upload.status()).expect("text grows");
        for (part, of_part) in upload.parts() {
            writeln!(text, "{part:?}: {:?}", of_part.answers()).expect("text grows");
        }
    }
    let (mappings, reconciliation) = (fold.mappings(), fold.reconciliation());
    if *mappings != Default::default() {
        writeln!(text, "{mappings:?}").expect("text grows");
    }
    if *reconciliation != Default::default() {
        writeln!(text, "{reconciliation:?}").expect("text grows");
    }
}
